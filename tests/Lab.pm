# What the tests share: the lab they run in, programs that die with the test, and packets as text.
#
# Where a test runs
#   enter_lab()          the whole file goes on inside scripts/lab.sh, in a network of its own
#   private_network()    there has to be a lab, or the file is skipped
#   need(TOOL...)        so have these commands; in a subtest it skips that alone
#   skip_or_fail(REASON) skips the file, or the subtest it stands in; under CI=true it dies
# Programs: a PROCESS is { pid, out, err }, its output is in the files {out} and {err}
#   start(COMMAND)       begins it                serve(COMMAND)       ... and it listens
#   shows(PROCESS, RE)   waits for output         ended(PROCESS)       waits for its own end: $?
#   stop(PROCESS, SIG)   ends it: $?              run(COMMAND)         does all: (status, out, err)
#   said(COMMAND)        run() as one string      pinned(COMMAND)      on one CPU
#   eventually(CODE)     looks until CODE is true, but not for ever
#   converse(N)          one conversation of sampleN, by hand: the lines of client and server
# Packets: '<P.4' is four bytes with PSH and ACK from the server, see %wire
#   begin_recording(FILTER), end_recording(PROCESS)     a tcpdump that loses nothing
#   packets(FILE), conversations(FILE)                  what is in a recording
# Files
#   save(FILE, TEXT)     writes it                    slurp(FILE)     what it holds
#   written(FILE)        when it was last written to
#   shim(DIR, NAME, SCRIPT)      a command that hides the real one
#   build(NAME, SOURCE, FLAGS)   a program of the tests, in tests/bin
#
# With it come Test::More, sockets, temporary directories, and sleep and time that know fractions.
package Lab;
use v5.36;
use Exporter 'import';
use Fcntl 'SEEK_END';
use Cwd qw(abs_path getcwd);
use File::Basename 'dirname';
use File::Temp 'tempdir';
use IO::Socket::INET;
use POSIX ':sys_wait_h';
use Socket qw(:DEFAULT IPPROTO_TCP TCP_NODELAY TCP_QUICKACK SO_LINGER);
use Test::More;
use Time::HiRes qw(sleep time);

our @EXPORT = (
    qw($root %wire),
    qw(which need skip_or_fail private_network enter_lab),
    qw(start serve shows stop ended run said pinned eventually converse),
    qw(begin_recording end_recording packets conversations steps hang_up),
    qw(save slurp written shim build getcwd tempdir sleep time),
    qw(IPPROTO_TCP TCP_NODELAY TCP_QUICKACK),
    @Test::More::EXPORT, @Socket::EXPORT,
);

our $root = dirname(dirname(abs_path(__FILE__)));
my $test = abs_path($0);
chdir $root or die "chdir $root: $!";

# The packets of each sample: direction seen from the client, flags, length if not 0.
our %wire = (
    1 => '>S <S. >. >P.4 <. <P.4 >. >F. <. <F. >.',
    2 => '>S <S. >. >P.4 <. <P.4 >. <R.',
    3 => '>S <S. >. >P.4 <. <P.4 >. <R.',
);

my $in_lab = @ARGV && $ARGV[0] eq '--in-lab';
shift @ARGV if $in_lab;

# No test goes on with a program that is older than its source.
if (!$in_lab) {
    local $ENV{MAKEFLAGS} = '';    # those of make test are not for this one
    system('make', '--silent', '--question') == 0 or BAIL_OUT('run make first');
}

# Seconds that a test waits for what never comes. PATIENCE=600 for emulated machines.
our $patience = $ENV{PATIENCE} // 120;
alarm 6 * $patience;    # for the whole file

our %started;           # pid => 1 of what start() began and what has not been seen to end

for my $signal (qw(ALRM HUP INT PIPE TERM)) {
    $SIG{$signal} = sub { die "$0: SIG$signal\n" };    # so that END is reached
}

# ---- where a test runs --------------------------------------------------------------------------

# Skips the file, or the subtest in which it stands, for want of REASON.
sub skip_or_fail ($reason) {
    die "$reason\n" if ($ENV{CI} // '') eq 'true';
    plan(skip_all => $reason);
}

# The path of TOOL, or undef. An ordinary user's PATH lacks /usr/sbin.
sub which ($tool) {
    for my $place (split(/:/, $ENV{PATH}), '/usr/sbin') {
        return "$place/$tool" if -x "$place/$tool";
    }
    return undef;
}

# The file, or the subtest in which this stands, needs these commands.
sub need (@tools) {
    for my $tool (@tools) {
        which($tool) or skip_or_fail("$tool is not installed");
    }
}

# The file needs a lab, and says in lab.sh's own words why there is none.
sub private_network () {
    my $why = `scripts/lab.sh true 2>&1 </dev/null`;
    my $status = $? >> 8;
    skip_or_fail($why =~ s/\s+/ /gr) if $status == 125;
    die "scripts/lab.sh true: status $status: $why" if $status;
}

# Runs this test file again inside scripts/lab.sh, and only there goes on.
sub enter_lab () {
    return if $in_lab;
    private_network();
    exec 'scripts/lab.sh', $^X, "-I$root/tests", $test, '--in-lab', @ARGV
        or die "scripts/lab.sh: $!";
}

# ---- programs -----------------------------------------------------------------------------------

# Starts COMMAND with stdin empty, stdout and stderr in files; returns the PROCESS.
sub start (@command) {
    my $dir = tempdir(CLEANUP => 1);
    my $pid = fork() // die "fork: $!";
    if ($pid == 0) {
        open STDIN,  '<', '/dev/null' or die;
        open STDOUT, '>', "$dir/out"  or die;
        open STDERR, '>', "$dir/err"  or die;
        $SIG{PIPE} = 'DEFAULT';    # ignored here, it would be ignored there
        $SIG{QUIT} = 'DEFAULT';
        exec { $command[0] } @command or POSIX::_exit(127);
    }
    $started{$pid} = 1;
    return { pid => $pid, out => "$dir/out", err => "$dir/err", name => "@command" };
}

# Starts COMMAND, a server of the samples; returns the PROCESS when it listens.
sub serve (@command) {
    my $server = start(@command);
    shows($server, qr/ listen /) or diag(slurp($server->{err}));
    return $server;
}

# Waits until PROCESS has put out what matches PATTERN on stdout ('out') or stderr ('err'), or has
# ended; returns whether it has.
sub shows ($process, $pattern, $where = 'out') {
    my $over = 0;
    eventually(sub {
        return 1 if slurp($process->{$where}) =~ $pattern;
        my $was_over = $over;    # what it said last is read after its end was seen
        $over = over($process);
        return $was_over;
    });
    my $shown = slurp($process->{$where}) =~ $pattern;
    diag("$process->{name}: does not show $pattern") if !$shown;
    return !!$shown;
}

# Whether PROCESS has ended; if so, {status} is its $?.
sub over ($process) {
    my $pid = $process->{pid};
    if ($started{$pid} && waitpid($pid, WNOHANG) > 0) {
        $process->{status} = $?;
        delete $started{$pid};
    }
    return defined $process->{status};
}

# Waits for the end of PROCESS; returns its $?, or 'still running'.
sub ended ($process) {
    return $process->{status} if eventually(sub { over($process) });
    diag("$process->{name}: does not end");
    return 'still running';
}

# Ends PROCESS with SIGNAL; returns its $?.
sub stop ($process, $signal = 'TERM') {
    kill $signal, $process->{pid} if !over($process);
    return ended($process);
}

# Runs COMMAND to its end; returns (exit status, stdout, stderr). A signal is the status 128 + it,
# what does not end is killed, and the status says so.
sub run (@command) {
    my $process = start(@command);
    my $status = ended($process);
    if ($status eq 'still running') {
        stop($process, 'KILL');
    } else {
        my $signal = $status & 127;
        $status = $signal ? 128 + $signal : $status >> 8;
    }
    return ($status, slurp($process->{out}), slurp($process->{err}));
}

# The same as text: "STATUS STDOUTSTDERR".
sub said (@command) {
    return sprintf '%s %s%s', run(@command);
}

# COMMAND for one CPU, on which packets keep their order: lo has a queue for each CPU that sends.
sub pinned (@command) {
    my ($first) = slurp('/proc/self/status') =~ /^Cpus_allowed_list:\s*(\d+)/m;
    return ('taskset', '-c', $first, @command);
}

# One conversation of sampleN on one CPU; returns the lines of the client and of the server.
sub converse ($n) {
    my $server = serve(pinned("sample$n/server"));
    my ($status, $lines, $complaint) = run(pinned("sample$n/client"));
    fail("sample$n: a conversation: $complaint") if $status ne '0';
    shows($server, qr/server close$/m);
    stop($server);
    return ($lines, slurp($server->{out}));
}

# Looks every 10 ms until CODE is true, for SECONDS at most; returns what it was at the end.
sub eventually ($code, $seconds = $patience) {
    my $end = time + $seconds;
    my $value = $code->();
    while (!$value && time < $end) {
        sleep 0.01;    # between two looks
        $value = $code->();
    }
    my (undef, $file, $line) = caller;
    diag("$file line $line: waited $seconds s in vain") if !$value && $seconds == $patience;
    return $value;
}

END {
    my $status = $?;
    my @all = map { ($_, -$_) } keys %started;    # with its group, if it has one of its own
    kill 'TERM', @all;
    my $all_ended = sub {
        my @ended = grep { waitpid($_, WNOHANG) } keys %started;
        delete @started{@ended};
        return !%started;
    };
    eventually($all_ended, 5);
    kill 'KILL', @all;
    chdir '/';    # so that temporary directories can be removed
    $? = $status;
}

# ---- packets ------------------------------------------------------------------------------------

# Starts a recording of FILTER and of a datagram that marks the end, with a ring of KIB for bursts;
# returns the PROCESS when tcpdump is listening.
sub begin_recording ($filter, $kib = 16384) {
    my @options = (qw(-i lo -s 96 --immediate-mode -U -w - -B), $kib);
    my $tcpdump = start('tcpdump', @options, "($filter) or udp port 9");
    shows($tcpdump, qr/listening on/, 'err') or die slurp($tcpdump->{err});
    return $tcpdump;
}

# Waits until all that was sent before is in the file {out}; returns the number of packets dropped.
sub end_recording ($tcpdump) {
    socket my $mark, PF_INET, SOCK_DGRAM, 0 or die "socket: $!";
    send $mark, 'the end, as it were', 0, pack_sockaddr_in(9, INADDR_LOOPBACK);
    eventually(sub { slurp($tcpdump->{out}, 100) =~ /the end, as it were/ });
    stop($tcpdump, 'INT');
    my ($dropped) = slurp($tcpdump->{err}) =~ /^(\d+) packets? dropped by kernel/m;
    return $dropped // '?';
}

# The conversations in a recording, in order of their SYN, each as a list of packets { line, client,
# server, is => '>P.4' }, as in %wire; what is agreed on about ECN is left out.
sub packets ($pcap) {
    my (%conversation_of, @all);
    my $command = 'exec 2>/dev/null; exec tcpdump -nn -r - tcp <"$0"';
    open my $lines, '-|', 'sh', '-c', $command, $pcap or die "sh: $!";
    while (my $line = <$lines>) {
        my ($from, $to, $flags, $length) =
            $line =~ /(\S+) > (\S+): Flags \[([^]]*)\].* length (\d+)/ or next;
        $flags =~ tr/EWU//d;
        delete @conversation_of{ "$from $to", "$to $from" } if $flags eq 'S';
        my $back = $conversation_of{"$to $from"};
        my $conversation = $back // $conversation_of{"$from $to"};
        if (!$conversation) {
            $conversation = $conversation_of{"$from $to"} = [];
            push @all, $conversation;
        }
        push @$conversation, {
            client => $back ? $to : $from,
            server => $back ? $from : $to,
            line => $line,
            is => ($back ? '<' : '>') . $flags . ($length || ''),
        };
    }
    return @all;
}

# The same, each conversation as text, as in %wire.
sub conversations ($pcap) {
    return map { join ' ', map { $_->{is} } @$_ } packets($pcap);
}

# The lines of a program without their times and its role.
sub steps ($lines) {
    return $lines =~ s/^\d\d:\d\d:\d\d\.\d{6} (?:client|server) //gmr;
}

# Closes SOCKET with a RST.
sub hang_up ($socket) {
    setsockopt $socket, SOL_SOCKET, SO_LINGER, pack('ii', 1, 0) or die "setsockopt: $!";
    close $socket;
}

# ---- files --------------------------------------------------------------------------------------

# What FILE holds, or its last BYTES; '' if it cannot be read.
sub slurp ($path, $bytes = undef) {
    open my $file, '<', $path or return '';
    seek $file, -$bytes, SEEK_END if $bytes;    # it fails where there is less, and all is read
    local $/;
    return scalar(<$file>) // '';
}

# When FILE was last written to, like time().
sub written ($file) {
    return (Time::HiRes::stat($file))[9];
}

# Writes BYTES to FILE, a script if they begin like one; returns FILE.
sub save ($file, $bytes) {
    open my $out, '>:raw', $file or die "$file: $!";
    print $out $bytes and close $out or die "$file: $!";
    chmod 0755, $file if $bytes =~ /^#!/;
    return $file;
}

# Makes in DIR a command NAME that does SCRIPT instead, once DIR is first in PATH; returns its path.
sub shim ($dir, $name, $script) {
    return save("$dir/$name", "#!/bin/sh\n$script\n");
}

# Compiles SOURCE to tests/bin/NAME if that is older, with FLAGS; returns its path, or says why not.
sub build ($name, $source, @flags) {
    my $binary = "tests/bin/$name";
    return $binary if -e $binary && -M $binary < -M $source;
    mkdir 'tests/bin';
    my $compiler = $ENV{CC} // 'cc';
    my ($status, undef, $why) = run($compiler, '-O2', '-g', @flags, '-o', "$binary.$$", $source);
    return $binary if $status eq '0' && rename "$binary.$$", $binary;
    diag("$binary: not built: $why");
    return '';
}
1;
