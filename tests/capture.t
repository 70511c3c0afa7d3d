#!/usr/bin/perl
# scripts/capture.sh: what it records, what it refuses, and that nothing of it is left.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Cwd 'getcwd';
use File::Temp 'tempdir';
use IO::Socket::INET;
use Test::More;
use Time::HiRes qw(sleep time);

need(qw(tcpdump script setsid));
enter_lab();
my $user = $> == 0 ? as_user() : undef;

# A clone whose name is an awkward one, and a place for temporary files where leftovers show.
my $dir  = tempdir(CLEANUP => 1);
my $tree = "$dir/a clone +(";
mkdir $_ or die "mkdir $_: $!" for $tree, "$dir/tmp", "$dir/bin", "$dir/unbuilt", "$dir/readonly";
system('cp', '-R', glob('sample[123]'), 'scripts', $tree) == 0 or die 'cp';
system('cp', '-R', 'scripts', "$dir/unbuilt") == 0 or die 'cp';
chmod 0555, "$dir/readonly";
chdir $tree or die "chdir: $!";
delete $ENV{SUDO_UID};

my @begin = qw(>S <S. >. >P.4 <. <P.4 >.);
my %wire = (1 => "@begin >F. <. <F. >.", 2 => "@begin <R.", 3 => "@begin <R.");
my %packets = (1 => 11, 2 => 8, 3 => 8);
my $usage = qr/\(usage: scripts\/capture\.sh .*\)/;
my $stamp = qr/\d{8}-\d{6}(?:-\d)?/;

# ---- helpers -------------------------------------------------------------------------------------
my @capture = ('env', "TMPDIR=$dir/tmp", 'scripts/capture.sh');

# Starts capture.sh as a terminal would, in a process group of its own.
sub capture { return start('setsid', @capture, @_) }

# The same, and waits until it records.
sub ready {
    my $capture = capture(@_);
    eventually(5, sub { slurp($capture->{err}) =~ /ready/ }) or fail('ready: ' . slurp($capture->{err}));
    return $capture;
}

# Its end, after SIGNAL if any (to the group, as Ctrl-C): status, and the last line on stderr.
sub ended {
    my ($capture, $signal) = @_;
    kill $signal, -$capture->{pid} if $signal;
    eventually(8, sub { slurp("/proc/$capture->{pid}/stat") =~ /\) Z / }) or fail('it ends');
    my $status = stop($capture, '0');
    return ($status & 127 ? 'signal' : $status >> 8, (split /^/, slurp($capture->{err}))[-1] // '');
}

# Processes of ours in this network, temporary files, recordings without a name.
sub leftovers {
    my $here = readlink '/proc/self/ns/net';
    my @processes = grep { !/^($$|self|thread-self)$/ && (readlink("/proc/$_/ns/net") // '') eq $here && (stat "/proc/$_")[4] == $> }
        map { m{^/proc/(.*)} } glob '/proc/[0-9]*';
    @processes = grep { $_ != ($user->{pid} // 0) } @processes;
    return (map { s/\0/ /gr } map { slurp("/proc/$_/cmdline") } @processes), glob("$dir/tmp/*"),
        grep { !/(?:all|sample3|interrupted|lost)\.\w+\.part/ } <captures/*.part.pcap>, <$dir/*.part.pcap>;
}
sub nothing_left { my ($title) = @_; is_deeply([leftovers()], [], "$title: nothing is left running or lying about") }

sub recorded { my ($file) = @_; return join ' | ', map { "@$_" } conversations($file) }

sub converse {    # one conversation of sample N
    my ($n) = @_;
    my $server = start("sample$n/server");
    eventually(5, sub { slurp($server->{out}) =~ /listen/ });
    my ($status) = run("sample$n/client");
    is($status, 0, "sample$n: a conversation") if $status;
    eventually(5, sub { slurp($server->{out}) =~ /server close$/m });
    stop($server);
}

sub shim {    # a command that stands before the real one in PATH
    my ($name, $text) = @_;
    open my $file, '>', "$dir/bin/$name" or die "$name: $!";
    print $file $text;
    close $file or die;
    chmod 0755, "$dir/bin/$name";
}

sub tcpdump_of {    # the pid of a capture's tcpdump
    my ($capture) = @_;
    return (map { m{^/proc/(\d+)} } grep { slurp($_) =~ /^\d+ \(tcpdump\) \S $capture->{pid} / } glob '/proc/[0-9]*/stat')[0];
}

# ---- the slow ones, in networks of their own, while the rest goes on -----------------------------
my $root = getcwd();
my %slow;
for (['all', '--run', 'all'], ['sample3', '--run', 'sample3'], ['interrupted', '--run', '-w', 'interrupted.pcap', 'sample3']) {
    my ($name, @arguments) = @$_;
    mkdir "$dir/$name" or die;
    $slow{$name} = start('setsid', 'env', "TMPDIR=$dir/$name", 'scripts/lab.sh', 'scripts/capture.sh', @arguments);
}
mkdir "$dir/lost" or die;
my $nft = grep { -x "$_/nft" } split(/:/, $ENV{PATH}), '/usr/sbin';
if ($nft) {
    $slow{lost} = start('env', "TMPDIR=$dir/lost", 'scripts/lab.sh', '--lose-rst', 'scripts/capture.sh', '--run', '-w', "$dir/lost.pcap", 'sample2');
}

# ---- what it refuses: [title, arguments, status, reason] -----------------------------------------
my $busy = IO::Socket::INET->new(LocalAddr => '127.0.0.1:8081', Listen => 1) or die "listen: $@";
mkdir "$dir/directory.pcap" or die;
for (
    ['no sample', [], 2, qr/^no sample $usage/],
    ['an unknown sample', ['sample4'], 2, qr/^sample4: unknown sample $usage/],
    ['two samples', ['sample1', 'sample2'], 2, qr/^sample2: one sample, or all $usage/],
    ['an unknown option', ['-X', 'sample1'], 2, qr/^-X: unknown option; tcpdump's come after -- $usage/],
    ['-w without a file', ['-w'], 2, qr/^-w: no file $usage/],
    (map { ["tcpdump's $_", ['sample1', '--', $_, 'x'], 2, qr/^$_: not for tcpdump here/] } qw(-w -r -G -C -W -Z)),
    ['an option that tcpdump does not know', ['sample1', '--', '--nonsense'], 1, qr/^tcpdump: unrecognized option '--nonsense'/],
    ['a busy port', ['--run', 'sample1'], 1, qr/^sample1 server: listen 127\.0\.0\.1:8081: Address already in use/],
    ['a directory that is not there', ['-w', "$dir/none/x.pcap", 'sample1'], 1, qr/\Q$dir\E\/none\/.*No such file/],
    ['a place where nobody can write', ['-w', '/proc/x.pcap', 'sample1'], 1, qr/\/proc\/x/],
    ['a directory as the file', ['-w', "$dir/directory.pcap", 'sample1'], 1, qr/directory\.pcap: not a regular file/],
) {
    my ($title, $arguments, $status, $reason) = @$_;
    my ($ended, $out, $err) = run(@capture, @$arguments);
    is($ended, $status, "$title: status $status");
    like($err =~ s/^capture\.sh: //r, $reason, "$title: the reason");
    is($err =~ tr/\n//, 1, "$title: in one line") or diag $err;
    is($out, '', "$title: and nothing on stdout");
}
close $busy;
nothing_left('after refusals');
is_deeply([<captures/sample1*>], [], 'after refusals: no recording');

my ($status, $out, $err) = run(@capture, '-h');
like("$status $out$err", qr/^0 usage: /, '-h prints the usage');
($status, $out, $err) = run('env', "TMPDIR=$dir/tmp", "$dir/unbuilt/scripts/capture.sh", '--run', 'all');
is("$status $out$err", "1 capture.sh: sample1/server: not built (run make first)\n", 'unbuilt samples are named with the way out');
open my $file, '>', "$dir/unbuilt/captures" or die;
($status, $out, $err) = run('env', "TMPDIR=$dir/tmp", "$dir/unbuilt/scripts/capture.sh", 'sample1');
like("$status $out$err", qr/^1 capture\.sh: mkdir: .*captures.*\n\z/, 'a captures that is no directory is named');
($status) = run('script', '-qec', 'scripts/capture.sh -w - sample1', "$dir/typescript");
like("$status " . slurp("$dir/typescript"), qr/^1 .*capture\.sh: -w -: stdout is a terminal \(pipe it, or name a file\)\r\n/s,
    '-w - is refused when stdout is a terminal');

for my $tool (qw(env id dirname tr sed)) {
    symlink((grep { -x } "/usr/bin/$tool", "/bin/$tool")[0], "$dir/bin/$tool") or die "$tool: $!";
}
SKIP: {
    skip 'tcpdump is in /usr/sbin, which is always searched', 1 if -x '/usr/sbin/tcpdump';
    local $ENV{PATH} = "$dir/bin";
    ($status, $out, $err) = run(@capture, 'sample1');
    is("$status $out$err", "1 capture.sh: tcpdump: not found (sudo apt-get install tcpdump)\n", 'without tcpdump it says what to install');
}
if ($> == 0) {
    local $ENV{SUDO_UID} = 1000;
    ($status, $out, $err) = run(@capture, '--run', 'sample1');
    is("$status $out$err", "1 capture.sh: started with sudo: run it as yourself, it uses sudo for tcpdump alone\n", 'it does not run under sudo');
} else {
    # Without the lab's capabilities: no sudo to be found, then one that keeps a record of its use.
    my @plain = ('setpriv', '--inh-caps=-all', '--ambient-caps=-all', '--');
    symlink((grep { -x } "/usr/bin/$_", "/usr/sbin/$_")[0], "$dir/bin/$_") for qw(tcpdump setpriv sh);
    {
        local $ENV{PATH} = "$dir/bin";
        ($status, $out, $err) = run(@plain, @capture, 'sample1');
    }
    SKIP: {
        skip 'sudo is in /usr/sbin, which is always searched', 1 if -x '/usr/sbin/sudo';
        like("$status $out$err", qr/^1 capture\.sh: .*permission.*\(install sudo, or use scripts\/lab\.sh .*\)\n\z/,
            'without the right to capture and without sudo it says so');
    }
    unlink "$dir/bin/tcpdump";
    shim('sudo', "#!/bin/sh\necho 'not to be used'\n");
    {
        local $ENV{PATH} = "$dir/bin:$ENV{PATH}";
        ($status, $out, $err) = run(@plain, @capture, '-w', "$dir/readonly/x.pcap", 'sample1');
    }
    like("$status $out$err", qr/^1 capture\.sh: mktemp: .*Permission denied\n\z/, 'a directory that may not be written to is named');
    shim('tcpdump', qq(#!/bin/sh\n[ "\$*" != '-i lo -L' ] || { echo 'no permission' >&2; exit 1; }\nPATH=\${PATH#*:} exec tcpdump "\$@"\n));
    shim('sudo', qq(#!/bin/sh\necho "\$@" >>'$dir/sudo.log'\nPATH=\${PATH#*:} exec "\$@"\n));
    local $ENV{PATH} = "$dir/bin:$ENV{PATH}";
    ($status, $out, $err) = run(@capture, '--run', '-w', "$dir/sudo.pcap", 'sample2');
    is("$status " . recorded("$dir/sudo.pcap"), "0 $wire{2}", 'where only sudo may capture it records with sudo');
    like(slurp("$dir/sudo.log"), qr/\Atcpdump [^\n]* -Z \S+ tcp port 8082\n\z/, 'sudo is used once, for tcpdump alone, which becomes the user');
    unlink "$dir/bin/tcpdump", "$dir/bin/sudo";
    nothing_left('after a capture with sudo');
}

# ---- --run ---------------------------------------------------------------------------------------
for my $n (1, 2) {
    ($status, $out, $err) = run(@capture, '--run', "sample$n");
    is("$status $err", "0 capture.sh: $packets{$n} packets, 1 conversation, 0 dropped, kept as captures/sample$n.pcap; next: scripts/ladder.sh captures/sample$n.pcap\n",
        "--run sample$n: one summary line");
    is(recorded("captures/sample$n.pcap"), $wire{$n}, "--run sample$n: the whole conversation is recorded");
    is(scalar(() = $out =~ /^\d\d:\d\d:\d\d\.\d{6} IP .*Flags/mg), $packets{$n}, "--run sample$n: and printed");
    for my $role (qw(server client)) {
        like(slurp("captures/sample$n.$role.log"), qr/^[\d:.]+ $role .*\n(?:.* $role .*\n)*.* $role close\n\z/, "--run sample$n: the ${role}'s lines are beside it");
    }
    is_deeply([map { sprintf '%o', (stat)[2] & 07777 } <captures/sample$n.*>], [(600) x 3], "--run sample$n: no one else may read them");
    is_deeply([map { (stat)[4] } <captures/sample$n.*>], [($>) x 3], "--run sample$n: they belong to who asked");
    nothing_left("--run sample$n");
}

my $log = slurp('captures/sample1.client.log');
chdir $dir or die;
($status, $out, $err) = run('env', "TMPDIR=$dir/tmp", "$root/scripts/capture.sh", '--run', 'sample1', '--', '-tttt', '-S', '-X');
chdir $root or die;
like("$status $err", qr/^0 .*kept as \Q$root\E\/captures\/sample1\.pcap; next/, 'from another directory it records in the same place');
like($out, qr/^20\d\d-\d\d-\d\d \S+ IP .*\n(?:.*\n)*.*seq \d{3,}:\d{3,}.*\n(?:.*\n)*.*ABCD$/m, "tcpdump's options come after --");
my @old = grep { /\.$stamp\.pcap$/ } <captures/sample1.*>;
is(scalar @old, 1, 'the older recording is kept under its time');
is(slurp($old[0] =~ s/pcap$/client.log/r), $log, 'and its lines with it');
is_deeply([map { recorded($_) } 'captures/sample1.pcap', @old], [$wire{1}, $wire{1}], 'both are whole');

# ---- by hand: it prints while it records, until Ctrl-C -------------------------------------------
my $awkward = "$dir/my file +(1.pcap";
for my $round (1, 2) {
    my $capture = ready('-w', $awkward, 'sample2');
    is(slurp($capture->{err}), "capture.sh: ready: start ./sample2/server, then ./sample2/client, in other terminals; Ctrl-C ends\n",
        'it says when to start the programs, and how to end') if $round == 1;
    converse(2);
    ok(eventually(5, sub { 8 == (() = slurp($capture->{out}) =~ /^[\d:.]+ IP .*\n/mg) }), 'packets are printed while it records');
    is(recorded(glob(quotemeta($awkward =~ s/\.pcap$//r) . '.*.part.pcap')), $wire{2}, 'and are recorded at that time');
    my ($ended, $line) = ended($capture, 'INT');
    is("$ended $line", "0 capture.sh: 8 packets, 1 conversation, 0 dropped, kept as $awkward; next: scripts/ladder.sh $awkward\n", 'Ctrl-C ends it with a summary');
    nothing_left('by hand');
}
is(scalar(() = glob "\Q$dir/my file +(1\E*.pcap"), 2, '-w never overwrites either');

# Two at once for the same name: each keeps its recording.
my @before = <captures/sample2*.pcap>;
my @two = map { ready('sample2') } 1, 2;
converse(2);
eventually(5, sub { slurp($_->{out}) =~ /\[R/ }) for @two;
is_deeply([map { (ended($_, 'INT'))[0] } @two], [0, 0], 'two captures at once succeed');
my @after = <captures/sample2*.pcap>;
is_deeply([scalar @after, map { recorded($_) } @after], [@before + 2, ($wire{2}) x (@before + 2)], 'and each keeps its recording');
nothing_left('two at once');

# ---- pcap to stdout ------------------------------------------------------------------------------
($status, $out, $err) = run(@capture, '--run', '-w', '-', 'sample1');
open $file, '>', "$dir/stdout.pcap" or die;
print $file $out;
close $file or die;
is("$status $err" . recorded("$dir/stdout.pcap"), "0 capture.sh: 11 packets, 1 conversation, 0 dropped\n$wire{1}", '-w - writes the recording to stdout and nothing else');
my $live = ready('-w', '-', 'sample2');
converse(2);
ok(eventually(5, sub { recorded($live->{out}) eq $wire{2} }), '-w - writes packets as they come');
is((ended($live, 'TERM'))[0], 0, '-w - ends with TERM');
($status, $out, $err) = run('sh', '-c', '"$@" -w - sample1 | head -c 1', 'sh', @capture);
like($err, qr/no packets came/, '-w - ends when its reader has gone');
eventually(5, sub { !leftovers() });
nothing_left('-w -');

# ---- what does not pass for a recording ----------------------------------------------------------
unlink <captures/sample1*>;
for my $signal (qw(INT TERM HUP)) {
    my ($ended, $line) = ended(ready('sample1'), $signal);
    is("$ended $line", "1 capture.sh: not a complete recording: no packets came (0 packets, 0 conversations, 0 dropped)\n", "$signal before the first packet: said in one line");
    nothing_left("$signal before the first packet");
}
for my $ms (0, 5, 15, 30, 60) {
    my $capture = capture('--run', 'sample1');
    sleep $ms / 1000;    # wherever it is by then
    my ($ended, $line) = ended($capture, 'INT');
    like("$ended $line", qr/^(1(30)? capture\.sh: .*|signal )$|^0 .* 11 packets/, "INT after $ms ms is met with a line, or with a whole recording");
    nothing_left("INT after $ms ms");
}
unlink <captures/sample1*>;

my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1:8081', Listen => 9, ReuseAddr => 1) or die "listen: $@";
for my $lacks (qw(beginning end)) {
    my $capture = $lacks eq 'end' && ready('sample1');
    my $client = IO::Socket::INET->new('127.0.0.1:8081') or die "connect: $@";
    my $server = $listener->accept;
    $capture ||= ready('sample1');
    syswrite $client, 'ABCD';
    sysread $server, my $data, 4;
    do { close $client; sysread $server, $data, 1; close $server } if $lacks eq 'beginning';
    my $seen = $lacks eq 'end' ? qr/length 4\n.*length 0\n/ : qr/Flags \[F(?:.*\n)*.*Flags \[F.*\n.*Flags \[\.\]/;
    ok(eventually(5, sub { slurp($capture->{out}) =~ $seen }), "the $lacks missing: the rest is seen");
    my ($ended, $line) = ended($capture, 'INT');
    like("$ended $line", qr/^1 capture\.sh: not a complete recording: the $lacks of the conversation 127\.0\.0\.1\.\d+ \S 127\.0\.0\.1\.\d+ is missing \(\d+ packets, 1 conversation, 0 dropped, kept as captures\/sample1\.incomplete\.pcap\)\n/,
        "a conversation without its $lacks is an error");
    close $_ for grep { defined fileno $_ } $client, $server;
}
close $listener;
for my $cut (8, 9, 10) {
    ($status, $out, $err) = run(@capture, '--run', 'sample1', '--', '-c', $cut);
    like("$status $err", qr/^1 .*: the end of the conversation .* is missing \($cut packets/, "one without its last " . (11 - $cut) . ' is an error');
}
($status, $out, $err) = run(@capture, '--run', '-w', "$dir/count.pcap", 'sample1', '--', '-c', 11);
like("$status $err", qr/^0 .*11 packets/, 'one that ends with the last packet is none');

my $stopped = ready('sample2', '--', '-B', '4');
kill 'STOP', tcpdump_of($stopped);
converse(2) for 1 .. 3;
kill 'CONT', tcpdump_of($stopped);
my ($ended, $line) = ended($stopped, 'INT');
like("$ended $line", qr/^1 capture\.sh: not a complete recording: [1-9]\d* packets were dropped by the kernel /, 'dropped packets are an error');
my $killed = ready('sample1');
converse(1);
eventually(5, sub { 11 == (() = slurp($killed->{out}) =~ /\n/g) });
kill 'KILL', tcpdump_of($killed);
($ended, $line) = ended($killed);
like("$ended $line", qr/^1 capture\.sh: not a complete recording: tcpdump ended with status 137: /, 'a tcpdump that was killed is an error');
ok(!-e 'captures/sample1.pcap', 'none of these has the name of a recording');
nothing_left('after errors');

# ---- the slow ones -------------------------------------------------------------------------------
eventually(5, sub { slurp($slow{interrupted}{out}) =~ /\[R/ });
($ended, $line) = ended($slow{interrupted}, 'INT');
is("$ended " . recorded('interrupted.pcap'), "0 $wire{3}", 'Ctrl-C while sample3 sleeps: the conversation is whole');
($ended, $line) = ended($slow{sample3});
is("$ended $line" . recorded('captures/sample3.pcap'), "0 capture.sh: 8 packets, 1 conversation, 0 dropped, kept as captures/sample3.pcap; next: scripts/ladder.sh captures/sample3.pcap\n$wire{3}",
    '--run sample3 records the whole conversation');
($ended, $line) = ended($slow{all});
like("$ended $line", qr/^0 capture\.sh: 27 packets, 3 conversations, 0 dropped, kept as captures\/all\.pcap/, '--run all records all three');
is_deeply([sort map { "@$_" } conversations('captures/all.pcap')], [sort values %wire], '--run all: each is whole');
is_deeply([map { /all\.(.*)\.log/ } <captures/all.*.log>], [map { ("sample$_.client", "sample$_.server") } 1 .. 3], '--run all: the lines of all six programs are beside it');
my ($first, $last) = map { my @t = split /[: ]/; $t[0] * 3600 + $t[1] * 60 + $t[2] } (split /^/, slurp('captures/all.sample3.client.log'))[0, -1];
cmp_ok($last - $first, '<', 4.5, '--run all takes about as long as sample3 alone');
SKIP: {
    skip 'nft is not installed', 3 unless $nft;
    ($ended, $line) = ended($slow{lost});
    is($ended, 0, 'a lost RST is recorded, too');
    is(recorded("$dir/lost.pcap"), "@begin <R. >F. <R", 'up to the reset that answers the FIN');
    like(slurp($slow{lost}{err}), qr/sample2 client: recv 127\.0\.0\.1:8082: nothing for 5 s, given up/, 'and the client is heard');
}
is_deeply([glob "$dir/{all,sample3,interrupted,lost}/*"], [], 'they have left no temporary file');
as_user_ok($user) if $user;
done_testing;
