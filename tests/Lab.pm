# What the tests share: the lab they run in, programs that die with the test, and packets as text.
package Lab;
use strict;
use warnings;
use Exporter 'import';
use Cwd 'abs_path';
use File::Basename qw(basename dirname);
use File::Temp 'tempdir';
use POSIX ':sys_wait_h';
use Socket;
use Test::More;
use Time::HiRes qw(sleep time);
our @EXPORT = qw(%wire need private_network build enter_lab pinned start stop ended eventually slurp run steps
    conversations hang_up_with_reset as_user as_user_ok skip_or_fail tempdir begin_recording end_recording);

# What each sample puts on the wire: direction seen from the client, flags, length if not 0.
my $begin = '>S <S. >. >P.4 <. <P.4 >.';
our %wire = (1 => "$begin >F. <. <F. >.", 2 => "$begin <R.", 3 => "$begin <R.");

our $root = dirname(dirname(abs_path(__FILE__)));
our %started;    # pid => 1 of what start() began and stop() has not ended
chdir $root or die "chdir $root: $!";
$SIG{$_} = sub { die "$0: SIG$_[0]\n" } for qw(ALRM HUP INT TERM);    # so that END is reached
alarm 600;    # a test that hangs is a failed one, however slow the machine

# Skips the whole file for want of REASON; under CI=true that is a failure.
sub skip_or_fail {
    my $reason = $_[0] =~ s/\s+/ /gr;
    BAIL_OUT($reason) if ($ENV{CI} // '') eq 'true';
    plan(skip_all => $reason);
}

# The file needs these commands.
sub need {
    for my $tool (@_) {
        next if grep { -x "$_/$tool" } split(/:/, $ENV{PATH}), '/usr/sbin', '/sbin';
        skip_or_fail("$tool is not installed");
    }
}

# Compiles SOURCE to tests/bin/NAME if that is older, with FLAGS; returns its path, or '' and says why.
sub build {
    my ($name, $source, @flags) = @_;
    my $binary = "tests/bin/$name";
    return $binary if -e $binary && -M $binary < -M $source;
    mkdir 'tests/bin';
    my $why = join ' ', $ENV{CC} // 'cc', '-std=c17', '-O2', '-g', @flags, '-o', "$binary.$$", $source;
    $why = `$why 2>&1`;
    return $binary if $? == 0 && rename "$binary.$$", $binary;
    unlink "$binary.$$";
    diag("$binary: not built: $why");
    return '';
}

# The file needs lab.sh to work.
sub private_network {
    my $why = `scripts/lab.sh true 2>&1 </dev/null`;
    skip_or_fail("no lab: $why") if $?;
}

# Runs this test file again inside scripts/lab.sh (with the given options), and only there goes on.
sub enter_lab {
    my @options = @_;
    return if ($ENV{IN_LAB} // '') eq $0;
    private_network();
    $ENV{IN_LAB} = $0;
    exec 'scripts/lab.sh', @options, $^X, "-I$root/tests", $0 or die "scripts/lab.sh: $!";
}

# Starts COMMAND with stdout and stderr in files; returns { pid, out, err }.
sub start {
    my @command = @_;
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

# Ends what start() returned with SIGNAL (TERM, or 0: wait for its own end); returns its $?.
sub stop {
    my ($process, $signal) = @_;
    return $process->{status} unless delete $started{ $process->{pid} };
    kill $signal // 'TERM', $process->{pid} unless ($signal // 'TERM') eq '0';
    waitpid $process->{pid}, 0;
    return $process->{status} = $?;
}

# Waits until PROCESS has ended by itself, SECONDS at most (60); then it is stopped, and false returned.
sub ended {
    my ($process, $seconds) = @_;
    my $by_itself = eventually($seconds // 60, sub { slurp("/proc/$process->{pid}/stat") =~ /\) Z / });
    stop($process, $by_itself ? '0' : 'KILL');
    return $by_itself;
}

# COMMAND on one CPU, where lo cannot swap packets: it queues them on the CPU that sends.
sub pinned {
    my ($cpu) = slurp('/proc/self/status') =~ /^Cpus_allowed_list:\s*(\d+)/m;
    return ('taskset', '-c', $cpu, @_);
}

# Closes a socket with RST.
sub hang_up_with_reset {
    my ($peer) = @_;
    setsockopt $peer, SOL_SOCKET, SO_LINGER, pack('ii', 1, 0) or die "setsockopt: $!";
    close $peer;
}

END {
    my $status = $?;
    kill 'TERM', keys %started;
    eventually(2, sub { delete @started{ grep { waitpid($_, WNOHANG) } keys %started }; !%started });
    kill 'KILL', keys %started;
    chdir '/';    # so that temporary directories can be removed
    $? = $status;
}

# Starts this test file once more as a user who is not root and owns a copy of what it needs.
sub as_user {
    my $user = 65534;    # nobody
    my $tree = tempdir(CLEANUP => 1);
    system('cp', '-R', glob('sample[123]'), 'scripts', 'tests', $tree) == 0 or die 'cp';
    system('chown', '-R', "$user:$user", $tree) == 0 or die 'chown';
    local @ENV{qw(HOME TMPDIR)} = ($tree, '/tmp');
    delete local $ENV{IN_LAB};
    return start('setpriv', "--reuid=$user", "--regid=$user", '--clear-groups', "$tree/tests/" . basename($0));
}

# What as_user() started must pass as well.
sub as_user_ok {
    my ($process) = @_;
    my $status = stop($process, '0');
    my ($out, $err) = map { slurp($process->{$_}) } qw(out err);
  SKIP: {
        skip("as an ordinary user: $1", 1) if $out =~ /^1\.\.0 # SKIP (.*)/;
        ok($status == 0 && $out =~ /^1\.\.\d+$/m, 'all this holds for an ordinary user, too')
            or diag(join "\n", $err, "status $status", $out =~ /^((?:not ok|Bail out).*)/mg);
    }
}

# Looks every 10 ms until CODE is true; returns what it was at the end. It is patient, 60 s if not told
# otherwise: what hangs is found, a slow machine only takes longer.
sub eventually {
    my ($code, $seconds) = reverse @_;
    my $end = time + ($seconds // 60);
    my $value;
    sleep 0.01 until $value = $code->() or time > $end;
    return $value;
}

sub slurp {
    my ($path) = @_;
    open my $file, '<', $path or return '';
    local $/;
    return scalar(<$file>) // '';
}

# Runs COMMAND to its end; returns (exit status, stdout, stderr).
sub run {
    my $process = start(@_);
    my $status = stop($process, '0');
    return ($status & 127 ? 128 + ($status & 127) : $status >> 8,
        slurp($process->{out}), slurp($process->{err}));
}

# The lines of a program without their times and its role.
sub steps {
    my ($lines) = @_;
    return $lines =~ s/^\d\d:\d\d:\d\d\.\d{6} (?:client|server) //gmr;
}

# The conversations in a recording, in order of their SYN, each as a list of packets such as
# '>S' '<S.' '>P.4': direction seen from the SYN's sender, flags, length if not 0. FILTER is tcpdump's.
sub conversations {
    my ($pcap, @filter) = @_;
    my (%at, @all);
    local $_;
    open my $packets, '-|', 'sh', '-c', 'tcpdump -nn -r "$@" 2>/dev/null', 'sh', $pcap, @filter or die "sh: $!";
    while (<$packets>) {
        my ($from, $to, $flags, $length) = /(\S+) > (\S+): Flags \[([^]]*)\].* length (\d+)/ or next;
        my ($out, $in) = ("$from $to", "$to $from");
        if ($flags =~ /S/ && $flags !~ /\./) {
            delete @at{ $out, $in };
            push @all, $at{$out} = [];
        }
        my $direction = exists $at{$in} ? '<' : '>';
        push @all, $at{$out} = [] unless exists $at{$out} || exists $at{$in};
        push @{ $at{$out} // $at{$in} }, $direction . $flags . ($length || '');
    }
    return @all;
}

# Starts a recording of FILTER, for many packets, and of a datagram that marks the end; returns when
# tcpdump is listening.
sub begin_recording {
    my ($filter) = @_;
    my $pcap = tempdir(CLEANUP => 1) . '/many.pcap';
    my $tcpdump = start('tcpdump', qw(-i lo -nn -s 96 -B 262144 -U -l), '-w', $pcap, $> ? () : qw(-Z root),
        "($filter) or udp port 9");
    $tcpdump->{pcap} = $pcap;
    eventually(20, sub { slurp($tcpdump->{err}) =~ /listening on/ }) or die slurp($tcpdump->{err});
    return $tcpdump;
}

# Waits until all that was sent before is in the file; returns the number of packets dropped.
sub end_recording {
    my ($tcpdump) = @_;
    socket my $mark, PF_INET, SOCK_DGRAM, 0 or die "socket: $!";
    send $mark, 'the end, as it were', 0, pack_sockaddr_in(9, INADDR_LOOPBACK);
    eventually(60, sub { `tail -c 100 $tcpdump->{pcap}` =~ /the end, as it were/ });
    stop($tcpdump, 'INT');
    return slurp($tcpdump->{err}) =~ /^(\d+) packets? dropped by kernel/m ? $1 : '?';
}

1;
