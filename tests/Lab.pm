# What the tests share: the lab they run in, programs that die with the test, and packets as text.
# With it come Test::More, sockets, temporary directories, and sleep and time that know fractions of a second.
package Lab;
use v5.36;
use Exporter 'import';
use Cwd qw(abs_path getcwd);
use File::Basename 'dirname';
use File::Temp 'tempdir';
use IO::Socket::INET;
use POSIX ':sys_wait_h';
use Socket qw(:DEFAULT IPPROTO_TCP TCP_NODELAY TCP_QUICKACK SO_LINGER);
use Test::More;
use Time::HiRes qw(sleep time);
our @EXPORT = (qw($root %wire which need skip_or_fail private_network enter_lab build slurp save eventually
    hang_up start stop ended shows serve run said pinned steps packets conversations begin_recording
    end_recording), qw(getcwd tempdir sleep time IPPROTO_TCP TCP_NODELAY TCP_QUICKACK SO_LINGER),
    @Test::More::EXPORT, @Socket::EXPORT);

# The packets of each sample: direction seen from the client, flags, length if not 0.
our %wire = (1 => '>S <S. >. >P.4 <. <P.4 >. >F. <. <F. >.', 2 => '>S <S. >. >P.4 <. <P.4 >. <R.');
$wire{3} = $wire{2};
our $root = dirname(dirname(abs_path(__FILE__)));
our %started;          # pid => 1 of what start() began and what has not been seen to end
our $patience = 300;    # seconds: a limit against hanging, never a measurement
chdir $root or die "chdir $root: $!";
$SIG{$_} = sub { die "$0: SIG$_[0]\n" } for qw(ALRM HUP INT TERM);    # so that END is reached
alarm 4 * $patience;

# Skips the whole file for want of REASON; under CI=true that is a failure.
sub skip_or_fail ($reason) {
    plan(skip_all => $reason) if ($ENV{CI} // '') ne 'true';
    fail($reason);
    done_testing();
    exit 1;
}

# The path of TOOL, or undef. An ordinary user's PATH lacks /usr/sbin.
sub which ($tool) { return (grep { -x } map { "$_/$tool" } split(/:/, $ENV{PATH}), '/usr/sbin')[0] }

# The file needs these commands.
sub need { which($_) or skip_or_fail("$_ is not installed") for @_ }

# The file needs a lab, and says in lab.sh's own words why there is none.
sub private_network () {
    my $why = `scripts/lab.sh true 2>&1 </dev/null`;
    skip_or_fail($why =~ s/\s+/ /gr) if $? >> 8 == 125;
    die "scripts/lab.sh true: status $?: $why" if $?;
}

# Runs this test file again inside scripts/lab.sh, and only there goes on.
sub enter_lab () {
    return if ($ENV{IN_LAB} // '') eq $0;
    private_network();
    $ENV{IN_LAB} = $0;
    exec 'scripts/lab.sh', $^X, "-I$root/tests", $0 or die "scripts/lab.sh: $!";
}

# Compiles SOURCE to tests/bin/NAME if that is older, with FLAGS; returns its path, or '' and says why.
sub build ($name, $source, @flags) {
    my $binary = "tests/bin/$name";
    return $binary if -e $binary && -M $binary < -M $source;
    mkdir 'tests/bin';
    my ($status, undef, $why) = run($ENV{CC} // 'cc', '-O2', '-g', @flags, '-o', "$binary.$$", $source);
    return $binary if $status == 0 && rename "$binary.$$", $binary;
    diag("$binary: not built: $why");
    return '';
}

# COMMAND for one CPU, on which packets keep their order: lo has a queue for each CPU that sends.
sub pinned (@command) {
    my ($first) = slurp('/proc/self/status') =~ /^Cpus_allowed_list:\s*(\d+)/m;
    return ('taskset', '-c', $first, @command);
}

# Starts COMMAND with stdout and stderr in files; returns { pid, out, err }.
sub start (@command) {
    my $dir = tempdir(CLEANUP => 1);
    my $pid = fork() // die "fork: $!";
    if ($pid == 0) {
        open STDIN,  '<', '/dev/null' or die;
        open STDOUT, '>', "$dir/out"  or die;
        open STDERR, '>', "$dir/err"  or die;
        $SIG{PIPE} = 'DEFAULT';    # ignored here, it would be ignored there
        exec { $command[0] } @command or POSIX::_exit(127);
    }
    $started{$pid} = 1;
    return { pid => $pid, out => "$dir/out", err => "$dir/err" };
}

# Starts COMMAND, a server of the samples; returns when it listens.
sub serve (@command) {
    my $server = start(@command);
    shows($server, qr/ listen /) or diag("@command: does not listen: " . slurp($server->{err}));
    return $server;
}

# Waits until PROCESS has put out what matches PATTERN, on stdout ('out') or stderr ('err'), or has ended.
sub shows ($process, $pattern, $where = 'out') {
    my $over = '';
    eventually(sub { slurp($process->{$where}) =~ $pattern or $over ||= defined stop($process, 0, WNOHANG) });
    return !!(slurp($process->{$where}) =~ $pattern);
}

# Ends PROCESS with SIGNAL (0: waits for its own end); returns its $?.
sub stop ($process, $signal = 'TERM', $flags = 0) {
    my $pid = $process->{pid};
    kill $signal, $pid if $signal && $started{$pid};
    $process->{status} = $? if $started{$pid} && waitpid($pid, $flags) > 0 && delete $started{$pid};
    return $process->{status};
}

# The $? with which PROCESS ends by itself.
sub ended ($process) {
    return eventually(sub { defined stop($process, 0, WNOHANG) }) ? $process->{status} : 'still running';
}

# Runs COMMAND to its end; returns (exit status, stdout, stderr).
sub run (@command) {
    my $process = start(@command);
    my $status = stop($process, 0);
    return ($status & 127 ? 128 + ($status & 127) : $status >> 8, map { slurp($process->{$_}) } qw(out err));
}

# The same as text: "STATUS STDOUT STDERR" without the space between the last two.
sub said (@command) { return sprintf '%d %s%s', run(@command) }

END {
    my $status = $?;
    my @all = map { ($_, -$_) } keys %started;    # with its group, if it has one of its own
    kill 'TERM', @all;
    eventually(sub { delete @started{ grep { waitpid($_, WNOHANG) } keys %started }; !%started }, 5);
    kill 'KILL', @all;
    chdir '/';    # so that temporary directories can be removed
    $? = $status;
}

# Looks every 10 ms until CODE is true, for SECONDS at most; returns what it was at the end.
sub eventually ($code, $seconds = $patience) {
    my $end = time + $seconds;
    my $value;
    sleep 0.01 until $value = $code->() or time > $end;
    return $value;
}

sub slurp ($path) {
    open my $file, '<', $path or return '';
    local $/;
    return scalar(<$file>) // '';
}

# Writes BYTES to FILE, a script if they begin like one; returns FILE.
sub save ($file, $bytes) {
    open my $out, '>:raw', $file or die "$file: $!";
    print $out $bytes and close $out or die "$file: $!";
    chmod 0755, $file if $bytes =~ /^#!/;
    return $file;
}

# Closes SOCKET with a RST.
sub hang_up ($socket) {
    setsockopt $socket, SOL_SOCKET, SO_LINGER, pack('ii', 1, 0) or die "setsockopt: $!";
    close $socket;
}

# The lines of a program without their times and its role.
sub steps ($lines) { return $lines =~ s/^\d\d:\d\d:\d\d\.\d{6} (?:client|server) //gmr }

# The conversations in a recording, in order of their SYN, each as a list of packets { line, client, server,
# is => '>P.4' }, as in %wire; what is agreed on about ECN is left out.
sub packets ($pcap) {
    local $_;
    my (%at, @all);
    open my $lines, '-|', 'sh', '-c', 'exec 2>/dev/null; exec tcpdump -nn -r - tcp <"$0"', $pcap or die "sh";
    while (<$lines>) {
        my ($from, $to, $flags, $length) = /(\S+) > (\S+): Flags \[([^]]*)\].* length (\d+)/ or next;
        $flags =~ tr/EWU//d;
        delete @at{ "$from $to", "$to $from" } if $flags eq 'S';
        my $back = $at{"$to $from"};
        push @all, $at{"$from $to"} = [] if !$back && !$at{"$from $to"};
        push @{ $back // $at{"$from $to"} }, { client => $back ? $to : $from, server => $back ? $from : $to,
            line => $_, is => ($back ? '<' : '>') . $flags . ($length || '') };
    }
    return @all;
}

# The same, each conversation as text, as in %wire.
sub conversations ($pcap) { return map { join ' ', map { $_->{is} } @$_ } packets($pcap) }

# Starts a recording of FILTER and of a datagram that marks the end, with a ring of KIB for bursts;
# returns when tcpdump is listening.
sub begin_recording ($filter, $kib = 16384) {
    my $tcpdump = start('tcpdump', qw(-i lo -s 96 -U -l -w - -B), $kib, "($filter) or udp port 9");
    shows($tcpdump, qr/listening on/, 'err') or die slurp($tcpdump->{err});
    return $tcpdump;
}

# Waits until all that was sent before is in the file {out}; returns the number of packets dropped.
sub end_recording ($tcpdump) {
    socket my $mark, PF_INET, SOCK_DGRAM, 0 or die "socket: $!";
    send $mark, 'the end, as it were', 0, pack_sockaddr_in(9, INADDR_LOOPBACK);
    eventually(sub { `tail -c 100 $tcpdump->{out}` =~ /the end, as it were/ });
    stop($tcpdump, 'INT');
    return slurp($tcpdump->{err}) =~ /^(\d+) packets? dropped by kernel/m ? $1 : '?';
}
1;
