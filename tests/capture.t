#!/usr/bin/perl
# scripts/capture.sh: what it records, what it refuses, and that nothing of it is left.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Cwd 'getcwd';
use IO::Socket::INET;
use Test::More;
use Time::HiRes qw(sleep time);

need(qw(tcpdump script setsid taskset tee));
enter_lab();
my $user = $> == 0 ? as_user() : undef;
# A clone whose name is an awkward one; where its files go, leftovers show.
my $dir  = tempdir(CLEANUP => 1);
my $tree = "$dir/a clone +('";
mkdir $_ or die "mkdir $_: $!" for $tree, "$dir/bin", "$dir/unbuilt", "$dir/tmp";
system('cp', '-R', glob('sample[123]'), 'scripts', $tree) == 0 or die 'cp';
system('cp', '-R', 'scripts', "$dir/unbuilt") == 0 or die 'cp';
chmod 0555, "$dir/tmp";
chdir $tree or die "chdir: $!";
delete $ENV{SUDO_UID};
$ENV{TMPDIR} = "$dir/tmp";    # it needs none
my $stamp = qr/\d{8}-\d{6}(?:-\d)?/;
my %packets = map { $_ => scalar split ' ', $wire{$_} } 1 .. 3;

# ---- helpers -------------------------------------------------------------------------------------
# as a terminal would, in a group of its own
sub capture { return start('setsid', 'scripts/capture.sh', @_) }
sub ready {    # the same, when it records
    my $capture = capture(@_);
    eventually(sub { slurp($capture->{err}) =~ /ready/ }) or fail('ready: ' . slurp($capture->{err}));
    return $capture;
}
# Its end, after SIGNAL if any (to the group, as Ctrl-C): status, and the last line on stderr.
sub finished {
    my ($capture, $signal) = @_;
    kill $signal, -$capture->{pid} if $signal;
    ended($capture) ne 'still running' or fail('it ends');
    return ($capture->{status} & 127 ? 'signal' : $capture->{status} >> 8,
        (split /^/, slurp($capture->{err}))[-1] // '');
}
sub nothing_left {    # processes of ours in this network, temporary files
    my ($title) = @_;
    my $here = readlink '/proc/self/ns/net';
    my @left = grep { !/^($$|self|thread-self)$/ && $_ != ($user ? $user->{pid} : 0)
        && ((stat "/proc/$_")[4] // -1) == $> &&
        (readlink("/proc/$_/ns/net") // '') eq $here } map { m{^/proc/(.*)} } glob '/proc/[0-9]*';
    is_deeply([(map { s/\0/ /gr } map { slurp("/proc/$_/cmdline") } @left),
        grep { !/\.(?:pcap|log)$|\/(?:all|sample3)\.\w+$/ } <captures/*>], [],
        "$title: nothing is left running or lying about");
}
sub recorded { my ($file) = @_; return join ' | ', map { "@$_" } conversations($file) }
sub converse {    # one conversation of sample N by hand, on one CPU; its lines go through COMMAND
    my ($n) = @_;
    my $server = start(pinned("sample$n/server"));
    eventually(sub { slurp($server->{out}) =~ /listen/ });
    my ($status, $out) = run(pinned("sample$n/client"));
    is($status, 0, "sample$n: a conversation") if $status;
    eventually(sub { slurp($server->{out}) =~ /server close$/m });
    stop($server);
    return ($out, slurp($server->{out}));
}
sub save { my ($file, $text) = @_; open my $f, '>', $file or die "$file: $!"; print $f $text;
    close $f or die; return $file }
# a command that stands before the real one
sub shim { chmod 0755, save("$dir/bin/$_[0]", "#!/bin/sh\n$_[1]\n") }

# ---- the slow ones, in networks of their own, while the rest goes on -----------------------------
my %slow = map { my ($name, @arguments) = @$_;
    $name => start('setsid', 'scripts/lab.sh', 'scripts/capture.sh', @arguments) }
    ['all', '--run', 'all'], ['sample3', '--run', 'sample3'],
        ['interrupted', '--run', '-w', 'interrupted.pcap', 'sample3'];
my $nft = grep { -x "$_/nft" } split(/:/, $ENV{PATH}), '/usr/sbin';
$slow{lost} = start('scripts/lab.sh', '--lose-rst', 'scripts/capture.sh', '--run', '-w', 'lost.pcap',
    'sample2') if $nft;

# Looked for at once: the client lives for 3 s.
ok(eventually(sub { grep { slurp("$_/cmdline") =~ m{\A\Q$tree\E/sample3/client\0\z} &&
    slurp("$_/status") =~ /^Cpus_allowed_list:\s*\d+$/m } glob '/proc/[0-9]*' }),
    '--run has its programs on one CPU');
eventually(sub { slurp($slow{interrupted}{out}) =~ /\[R/ });
my ($ended, $line) = finished($slow{interrupted}, 'INT');
like("$ended $line", qr/^1(?:30)? capture\.sh: .*interrupted(?:: nothing| \(8 .*incomplete\.)/,
    'Ctrl-C while sample3 sleeps is no success');

# ---- what it refuses: [title, arguments, status, reason], in one line ----------------------------
my $usage = qr/\(usage: scripts\/capture\.sh .*\)/;
my $busy = IO::Socket::INET->new(LocalAddr => '127.0.0.1:8081', Listen => 1) or die "listen: $@";
mkdir "$dir/directory.pcap" or die;
for (
    ['no sample', [], 2, qr/^no sample $usage/],
        ['an unknown sample', ['sample4'], 2, qr/^sample4: unknown sample $usage/],
    ['two samples', ['sample1', 'sample2'], 2, qr/^sample2: one sample, or all $usage/],
    ['an unknown option', ['-X', 'sample1'], 2, qr/^-X: unknown option; tcpdump's come after -- $usage/],
    ['-w without a file', ['-w'], 2, qr/^-w: no file $usage/],
        ['-w -', ['-w', '-', 'sample1'], 2, qr/^-w: no file $usage/],
    ['an option that tcpdump does not know', ['sample1', '--', '--nonsense'], 1,
        qr/^tcpdump: unrecognized option '--nonsense' \(/],
    ['a busy port', ['--run', 'sample1'], 1,
        qr/^sample1 server: bind 127\.0\.0\.1:8081 \(.*\): Address already in use/],
    ['a directory that is not there', ['-w', "$dir/none/x.pcap", 'sample1'], 1, qr/\Q$dir\E\/none\//],
    ['a place where nobody can write', ['-w', '/proc/x.pcap', 'sample1'], 1, qr/\/proc\/x/],
    ['a directory as the file', ['-w', "$dir/directory.pcap", 'sample1'], 1,
        qr/directory\.pcap: not a regular file/],
) {
    my ($title, $arguments, $status, $reason) = @$_;
    my ($ended, $out, $err) = run('scripts/capture.sh', @$arguments);
    is("$ended$out", $status, "$title: status $status, and nothing on stdout");
    like($err =~ s/^capture\.sh: //r, qr/$reason.*\n\z/, "$title: the reason, in one line");
    is($err =~ tr/\n//, 1, "$title: in one line") or diag $err;
}
close $busy;
nothing_left('after refusals');
is(join('', <captures/sample1*>), '', 'after refusals: no recording');
for my $how ([], ['--run']) {
    my ($status, $out, $err) = run("$dir/unbuilt/scripts/capture.sh", @$how, 'all');
    is("$status $out$err", "1 capture.sh: sample1/server: not built (run make first)\n",
        "@$how: unbuilt samples are named with the way out");
}
if ($> == 0) {
    local $ENV{SUDO_UID} = 1000;
    like((run('scripts/capture.sh', 'sample1'))[2],
        qr/^capture\.sh: started with sudo: run it as yourself.*\n\z/, 'it does not run under sudo');
}

# ---- --run ---------------------------------------------------------------------------------------
my ($status, $out, $err);
for my $n (1, 2) {
    # as Tab completes it
    ($status, $out, $err) = run('scripts/capture.sh', '--run', "sample$n" . ($n == 2 ? '/' : ''));
    is("$status $err", "0 capture.sh: $packets{$n} packets, 1 conversation, 0 dropped, kept as " .
        "captures/sample$n.pcap; next: scripts/ladder.sh captures/sample$n.pcap\n",
        "--run sample$n: one summary line");
    is(recorded("captures/sample$n.pcap"), $wire{$n}, "--run sample$n: the whole conversation is recorded");
    is(scalar(() = $out =~ /^\d\d:\d\d:\d\d\.\d{6} IP .*Flags/mg), $packets{$n},
        "--run sample$n: and printed");
    like(slurp("captures/sample$n.$_.log"), qr/^[\d:.]+ $_ .*\n(?:.* $_ .*\n)*.* $_ close\n\z/,
        "--run sample$n: the ${_}'s lines are beside it") for qw(server client);
    is_deeply([map { sprintf '%d %o', (stat)[4, 2] } <captures/sample$n.*>], [("$> 100600") x 3],
        "--run sample$n: for nobody else to read");
    nothing_left("--run sample$n");
}
my $log = slurp('captures/sample1.client.log');
chdir '/' or die;
($status, $out, $err) = run("$tree/scripts/capture.sh", '--run', 'sample1', '--', '-c', 3, '-tttt', '-S');
chdir $tree or die;
like($out, qr/\A(20\d\d-\d\d-\d\d \S+ IP .*\n){3}\z/, "tcpdump's options come after --");
my ($next) = $err =~ /^capture\.sh: 11 packets.*; next: (.*)$/ or diag $err;
like(`cd / && $next`, qr/client closed after 11 packets/,
    '... are for the printed packets alone; "next:" can be pasted, from anywhere');
my @old = grep { /\.$stamp\.pcap$/ } glob 'captures/sample1.*';
is(scalar @old, 1, 'the older recording is kept under its time');
is(slurp($old[0] =~ s/pcap$/client.log/r), $log, '... with its lines');
is_deeply([map { recorded($_) } 'captures/sample1.pcap', @old], [$wire{1}, $wire{1}], '... both are whole');

# A client that is refused.
if ($nft) {
    system "PATH=\$PATH:/usr/sbin; nft 'add table inet t
        add chain inet t i { type filter hook input priority 0; }
        add rule inet t i tcp dport 8082 reject with tcp reset'";
    ($status, $out, $err) = run('scripts/capture.sh', '--run', '-w', 'refused.pcap', 'sample2');
    system 'PATH=$PATH:/usr/sbin; nft delete table inet t';
    like("$status $err", qr/^1 .* sample2 client: connect .*: Connection refused\n.* 2 packets.* kept as /,
        'a client that was refused: its words, the recording, and status 1');
}

# ---- by hand: it prints while it records, until Ctrl-C -------------------------------------------
for my $round (1, 2) {
    my $capture = ready('-w', "$dir/my file +(1.pcap", 'sample2');
    like(slurp($capture->{err}), qr/\A.* start .\/sample2\/server, .* in this private network .* ends\n\z/,
        'it says what to start where, and how to end') if $round == 1;
    my ($client, $server) = converse(2);
    ok(eventually(sub { 8 == (() = slurp($capture->{out}) =~ /^[\d:.]+ IP .*\n/mg) }),
        'packets are printed while it records');
    my ($status, $line) = finished($capture, 'INT');
    is("$status $line", "0 capture.sh: 8 packets, 1 conversation, 0 dropped, kept as " .
        "$dir/my file +(1.pcap; next: scripts/ladder.sh '$dir/my file +(1.pcap'\n",
        'Ctrl-C ends it with a summary');
    nothing_left('by hand');
    next if $round == 1;
    my @logs = (save("$dir/client.log", $client), save("$dir/server.log", $server));
    like((run('scripts/ladder.sh', "$dir/my file +(1.pcap", @logs))[1],
        qr/connect(?:.*\n)*.*SO_LINGER(?:.*\n)*.*recv ECONNRESET/,
        'with the logs that tee has kept, the ladder draws the calls');
}
is(scalar(() = glob "\Q$dir/my file +(1\E*.pcap"), 2, '-w never overwrites either');
my $typescript = "$dir/typescript";
open(my $keys, '|-', 'script', '-qefc', 'scripts/capture.sh -w terminal.pcap sample1', $typescript)
    // die "script: $!";
$keys->autoflush(1);
eventually(sub { slurp($typescript) =~ /ready/ });
print $keys "\cC";
eventually(sub { slurp($typescript) =~ /no packets came/ });
close $keys;
like(slurp($typescript), qr/\n\r?capture\.sh: not a complete recording/,
    "on a terminal, ^C does not stand before our line");

# Two at once for the same name: each keeps its recording.
my @two = map { ready('sample2') } 1, 2;
converse(2);
eventually(sub { slurp($_->{out}) =~ /\[R/ }) for @two;
kill 'INT', map { -$_->{pid} } @two;
is_deeply([map { (finished($_))[0] } @two], [0, 0], 'two captures at once succeed');
my @after = <captures/sample2*.pcap>;
is_deeply([scalar @after, map { recorded($_) } @after], [3, ($wire{2}) x 3],
    '... and each keeps its recording');

# Another recording takes the name at the last moment: capture.sh has just looked for it, with date.
shim('date', '[ -e "$0.was" ] || { touch "$0.was"; echo other >late.pcap; exit 1; }; exec /bin/date "$@"');
{
    local $ENV{PATH} = "$dir/bin:$ENV{PATH}";
    run('scripts/capture.sh', '--run', '-w', 'late.pcap', 'sample1');
}
unlink "$dir/bin/date";
my @late = sort { -s $a <=> -s $b } glob 'late*.pcap';
is(join(' ', map { -s } @late), '6 950', 'a name that was taken meanwhile: both recordings are kept');

# Hundreds without a pause, and again while tcpdump's reader is stopped: nothing is lost.
my $polite = 'use IO::Socket::INET; for (1 .. 300) { my $c = IO::Socket::INET->new("127.0.0.1:8082") or die;
    syswrite $c, "ABCD"; 1 while sysread $c, my $x, 9 }';
my $fast = ready('-w', 'fast.pcap', 'sample2');
my $server = start(pinned('sample2/server'));
eventually(sub { slurp($server->{out}) =~ /listen/ });
run(pinned($^X, '-e', $polite));
eventually(sub { 300 == (() = slurp($fast->{out}) =~ /\[R\.\]/g) });
stop($server);
like((finished($fast, 'INT'))[1], qr/: 2400 packets, 300 conversations, 0 dropped/,
    'three hundred conversations without a pause: all are whole');

# ---- what does not pass for a recording ----------------------------------------------------------
for my $signal (qw(INT TERM HUP)) {
    my ($status, $line) = finished(ready('sample1'), $signal);
    is("$status $line", "1 capture.sh: not a complete recording: no packets came (0 packets, " .
        "0 conversations, 0 dropped)\n", "$signal before the first packet: said in one line");
}
my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1:8081', Listen => 9, ReuseAddr => 1)
    or die "listen: $@";
for my $lacks (qw(beginning end)) {
    my $capture = $lacks eq 'end' && ready('-w', 'x.pcap', 'sample1');
    my $client = IO::Socket::INET->new('127.0.0.1:8081') or die "connect: $@";
    my $server = $listener->accept;
    $capture ||= ready('-w', 'x.pcap', 'sample1');
    syswrite $client, 'ABCD';
    sysread $server, my $data, 4;
    do { close $client; sysread $server, $data, 1; close $server } if $lacks eq 'beginning';
    my $seen = $lacks eq 'end' ? qr/length 4\n.*length 0\n/
        : qr/Flags \[F(?:.*\n)*.*Flags \[F.*\n.*Flags \[\.\]/;
    ok(eventually(sub { slurp($capture->{out}) =~ $seen }), "the $lacks missing: the rest is seen");
    my ($status, $line) = finished($capture, 'INT');
    like("$status $line", qr/^1 capture\.sh: not a complete .*$lacks missing.* as x\.incomplete\.pcap\)\n/,
        "a conversation without its $lacks is an error, and has not the name of a recording");
    close $_ for grep { defined fileno $_ } $client, $server;
}
close $listener;
ok(!-e 'x.pcap', 'neither has taken the name of a recording');

# tcpdumps that are slow to begin, or that are killed; a full disk.
my $real = (grep { -x } '/usr/bin/tcpdump', '/usr/sbin/tcpdump')[0];
{
    local $ENV{PATH} = "$dir/bin:$ENV{PATH}";
    shim('tcpdump', "case \"\$*\" in *immediate*) touch '$dir/begun'; sleep 1 ;; esac; exec $real \"\$@\"");
    my $early = capture('-w', 'early.pcap', 'sample1');
    eventually(sub { -e "$dir/begun" });
    my ($status, $line) = finished($early, 'INT');
    like("$status $line", qr/^1(?:30)? capture\.sh: .*interrupted.*\n\z/,
        'a signal before tcpdump is ready is not forgotten');
    shim('tcpdump', "case \"\$*\" in *immediate*) echo \$\$ >'$dir/pid' ;; esac; exec $real \"\$@\"");
    my $killed = ready('-w', 'killed.pcap', 'sample1');
    converse(1);
    eventually(sub { 11 == (() = slurp($killed->{out}) =~ /\n/g) });
    slurp("$dir/pid") =~ /(\d+)/ ? kill('KILL', $1) : fail('tcpdump --immediate-mode was started');
    ($status, $line) = finished($killed);
    like("$status $line", qr/^1 capture\.sh: not a complete recording: tcpdump: .*\n\z/,
        'a tcpdump that was killed is an error');
}
# A client beside which tcpdump gets no time, from AFTER seconds until half a second after its end.
sub beside_sleeping_tcpdump {
    my ($n, $after, @command) = @_;
    my $place = "$dir/sleeping$n";
    mkdir $place or die "mkdir: $!";
    system('cp', '-R', map({ "$root/sample$_" } 1 .. 3), "$root/scripts", $place) == 0 or die 'cp';
    rename "$place/sample$n/client", "$place/sample$n/client.real" or die "rename: $!";
    open my $file, '>', "$place/sample$n/client" or die;
    print $file "#!/bin/sh\n\"\$0.real\" & $after\n", 'read -r pid <', "'$dir/pid'\n",
        'kill -STOP $pid; wait $!; s=$?; (sleep 0.5; kill -CONT $pid) >/dev/null 2>&1 & exit $s', "\n";
    close $file;
    chmod 0755, "$place/sample$n/client";
    local $ENV{PATH} = "$dir/bin:$ENV{PATH}";
    my ($status) = run(@command, "$place/scripts/capture.sh", '--run', '-w', "$place/x.pcap", "sample$n");
    return "$status " . recorded((glob "$place/x*.pcap")[0] // '');
}
is(beside_sleeping_tcpdump(1, ''), "0 $wire{1}", 'packets that tcpdump sees late are waited for');
SKIP: {
    skip('nft is not installed', 1) if !grep { -x "$_/nft" } split(/:/, $ENV{PATH}), '/usr/sbin';
    is(beside_sleeping_tcpdump(2, 'sleep 2', "$root/scripts/lab.sh", '--lose-rst'), "1 $wire{2} >F. <R",
        'so is what follows a RST that was lost');
}
unlink "$dir/bin/tcpdump";
for my $free ($> == 0 ? (0, 4, 8, 12, 16, 60) : ()) {    # KiB
    ($status, $out, $err) = run('unshare', '--mount', 'sh', '-c',
        'mount -t tmpfs -o size=128k tmpfs "$1" && head -c $2 /dev/zero >"$1/fill" &&
        scripts/capture.sh --run -w "$1/x.pcap" sample1; echo $?;
            ls "$1"', 'sh', "$dir/bin", (128 - $free) * 1024);
    like("$out$err", qr/^1\nfill\ncapture\.sh: .*x\.pcap: no room for it .*\n\z/,
        "with $free KiB left on the disk: said, not waited for, and nothing is left");
}
nothing_left('after errors');

# ---- the slow ones -------------------------------------------------------------------------------
($ended, $line) = finished($slow{sample3});
is("$ended " . recorded('captures/sample3.pcap'), "0 $wire{3}",
    '--run sample3 records the whole conversation');
($ended, $line) = finished($slow{all});
like("$ended $line", qr/^0 capture\.sh: 27 packets, 3 conversations, 0 dropped, kept as captures\/all/,
    '--run all records all three');
is_deeply([map { "@$_" } conversations('captures/all.pcap')], [@wire{1 .. 3}],
    '--run all: each is whole, in their order');
is_deeply([map { /all\.(.*)\.log/ } <captures/all.*.log>],
    [map { ("sample$_.client", "sample$_.server") } 1 .. 3],
    '--run all: the lines of all six programs are beside it');
if ($nft) {
    ($ended, $line) = finished($slow{lost});
    is("$ended " . recorded('lost.pcap'), '1 ' . $wire{2} =~ s/$/ >F. <R/r,
        'a lost RST is recorded, up to the reset that answers the FIN');
    like(slurp($slow{lost}{err}), qr/sample2 client: recv, not ECONNRESET \(the RST was lost/,
        '... the client is heard, and the status is not 0');
}
as_user_ok($user) if $user;
done_testing;
