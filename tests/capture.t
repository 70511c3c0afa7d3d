#!/usr/bin/perl
# scripts/capture.sh: what it records, what it refuses, and that nothing of it is left.
use v5.36;
use FindBin; use lib $FindBin::Bin; use Lab;

need(qw(tcpdump setsid taskset tee nft));
enter_lab();
# A clone whose name is an awkward one; where its files go, leftovers show.
my $dir = tempdir(CLEANUP => 1);
my $tree = "$dir/a clone +('";
mkdir $_ or die "mkdir $_: $!" for $tree, map { "$dir/$_" } qw(bin unbuilt directory.pcap);
system('cp', '-R', glob('sample[123]'), 'scripts', $tree) == 0 or die 'cp';
system('cp', '-R', 'scripts', "$dir/unbuilt") == 0 or die 'cp';
chdir $tree or die "chdir: $!";
delete $ENV{SUDO_UID};
my ($path, $nft, $capture) = ($ENV{PATH}, which('nft'), 'scripts/capture.sh');

# ---- helpers -------------------------------------------------------------------------------------
sub ready (@arguments) {    # by hand: as a terminal would, in a group of its own; returns when it records
    my $process = start('setsid', $capture, @arguments);
    shows($process, qr/ready/, 'err') or fail('ready: ' . slurp($process->{err}));
    return $process;
}
# How PROCESS ends, after SIGNAL if any (to the group, as Ctrl-C): status, and the last line on stderr.
sub finished ($process, $signal = '') {
    kill $signal, -$process->{pid} if $signal;
    my $status = ended($process);
    return ($status =~ /\D/ ? $status : $status >> 8) . ' ' . ((split /^/, slurp($process->{err}))[-1] // '');
}
sub nothing_left ($title) {    # processes of ours in this network, temporary files
    my $here = readlink '/proc/self/ns/net';
    my @left = grep { $_ != $$ && (readlink("/proc/$_/ns/net") // '') eq $here }
        map { m{^/proc/(.*)} } glob '/proc/[0-9]*';
    is_deeply([(map { s/\0/ /gr } map { slurp("/proc/$_/cmdline") } @left),
        grep { !/\.(?:pcap|log)$|\/(?:all|sample3)\.\w+$/ } <captures/*>], [],
        "$title: nothing is left running or lying about");
}
sub recorded (@files) { return join ' | ', map { conversations($_) } @files }
sub kept ($packets, $conversations, $file, $word = "scripts/ladder.sh $file") {    # the line that says so
    $conversations .= $conversations == 1 ? ' conversation' : ' conversations';
    return "0 capture.sh: $packets packets, $conversations, 0 dropped, kept as $file; next: $word\n";
}
sub converse ($n) {    # one conversation of sample N by hand, on one CPU; returns the two programs' lines
    my $server = serve(pinned("sample$n/server"));
    my ($status, $out) = run(pinned("sample$n/client"));
    is($status, 0, "sample$n: a conversation") if $status;
    shows($server, qr/server close$/m);
    stop($server);
    return ($out, slurp($server->{out}));
}
sub listener ($port) {
    return IO::Socket::INET->new(LocalAddr => "127.0.0.1:$port", Listen => 9, ReuseAddr => 1) // die $@;
}
# a command that stands before the real one, once $dir/bin is in PATH
sub shim ($name, $text) { return save("$dir/bin/$name", "#!/bin/sh\n$text\n") }

# Records sampleN in a LAB, whose tcpdump gets no time from AFTER seconds of the client's life until half a
# second after its end.
sub beside_sleeping_tcpdump ($n, $after, @lab) {
    my $place = "$dir/sleeping$n";
    mkdir $_ or die "mkdir $_: $!" for $place, "$place/bin";
    system('cp', '-R', glob('sample?'), 'scripts', $place) == 0 or die 'cp';
    rename "$place/sample$n/client", "$place/sample$n/client.real" or die "rename: $!";
    save("$place/bin/tcpdump", "#!/bin/sh\ncase \"\$*\" in *' -w '*) echo \$\$ >'$place/pid' ;; esac
        exec " . which('tcpdump') . ' "$@"');
    save("$place/sample$n/client", "#!/bin/sh\n\"\$0.real\" & $after\nread -r pid <'$place/pid'\n" .
        'kill -STOP $pid; wait $!; s=$?; (sleep 0.5; kill -CONT $pid) >/dev/null 2>&1 & exit $s');
    local $ENV{PATH} = "$place/bin:$path";
    return start(@lab, "$place/$capture", '--run', '-w', "sleeping$n.pcap", "sample$n");
}

# ---- the slow ones, in networks of their own, while the rest goes on -----------------------------
my %slow = map { my ($name, @arguments) = @$_; $name => start('setsid', 'scripts/lab.sh', @arguments) }
    ['all', $capture, '--run', 'all'], ['sample3', $capture, '--run', 'sample3'],
    ['interrupted', $capture, '--run', '-w', 'interrupted.pcap', 'sample3'],
    ['lost', '--lose-rst', $capture, '--run', '-w', 'lost.pcap', 'sample2'];
$slow{late} = beside_sleeping_tcpdump(1, '', 'scripts/lab.sh');
$slow{later} = beside_sleeping_tcpdump(2, 'sleep 2', 'scripts/lab.sh', '--lose-rst');

# Looked for at once: the client lives for 3 s.
ok(eventually(sub { grep { slurp("$_/cmdline") =~ m{\A\Q$tree\E/sample3/client\0\z} &&
    slurp("$_/status") =~ /^Cpus_allowed_list:\s*\d+$/m } glob '/proc/[0-9]*' }),
    '--run has its programs on one CPU');
shows($slow{interrupted}, qr/\[R/);
like(finished($slow{interrupted}, 'INT'), qr/^1(?:30)? .*interrupted(?:: nothing| \(8 .*\.incomplete)/,
    'Ctrl-C while sample3 sleeps is no success');

# ---- what it refuses: status, and a reason, in one line; nothing on stdout -----------------------
my $busy = listener(8081);
my $usage = qr/\(usage: scripts\/capture\.sh .*\)/;
for (
    [2, qr/no sample $usage/],
    [2, qr/sample4: unknown sample $usage/, 'sample4'],
    [2, qr/sample2: one sample, or all $usage/, 'sample1', 'sample2'],
    [2, qr/-X: unknown option; tcpdump's come after -- $usage/, '-X', 'sample1'],
    [2, qr/-w: no file $usage/, '-w'],
    [2, qr/-w: no file $usage/, '-w', '-', 'sample1'],
    [1, qr/tcpdump: unrecognized option '--nonsense' \(.*/, 'sample1', '--', '--nonsense'],
    [1, qr/sample1 server: bind 127\.0\.0\.1:8081 \(.*\): Address already in use/, '--run', 'sample1'],
    [1, qr/\Q$dir\E\/none: no such directory \(.*\)/, '-w', "$dir/none/x.pcap", 'sample1'],
    [1, qr/.*\/proc\/x.*/, '-w', '/proc/x.pcap', 'sample1'],
    [1, qr/.*directory\.pcap: not a regular file/, '-w', "$dir/directory.pcap", 'sample1'],
) {
    my ($status, $reason, @arguments) = @$_;
    like(said($capture, @arguments), qr/^$status capture\.sh: $reason\n\z/, "refused: @arguments");
}
close $busy;
nothing_left('after refusals');
is(join('', <captures/sample1*>), '', 'after refusals: no recording');
is(said("$dir/unbuilt/$capture", @$_, 'all'), "1 capture.sh: sample1/server: not built (run make first)\n",
    "@$_: unbuilt samples are named with the way out") for [], ['--run'];
like(said('env', 'SUDO_UID=1000', $capture, 'sample1'), qr/^1 .*: started with sudo: .*\n\z/, 'by sudo')
    if $> == 0;

# ---- --run ---------------------------------------------------------------------------------------
for (['sample1', 11], ['sample2/', 8]) {    # as Tab completes it
    my ($sample, $packets) = ($_->[0] =~ s/\///r, $_->[1]);
    my ($status, $out, $err) = run($capture, '--run', $_->[0]);
    is("$status $err", kept($packets, 1, "captures/$sample.pcap"), "--run $sample: one summary line");
    is(recorded("captures/$sample.pcap"), $wire{ substr $sample, -1 }, '... the conversation is recorded');
    is(scalar(() = $out =~ /^\d\d:\d\d:\d\d\.\d{6} IP .*Flags/mg), $packets, '... and printed');
    like(slurp("captures/$sample.$_.log"), qr/^[\d:.]+ $_ .*\n(?:.* $_ .*\n)*.* $_ close\n\z/,
        "... the ${_}'s lines are beside it") for qw(server client);
    is_deeply([map { sprintf '%d %o', (stat)[4, 2] } <captures/$sample.*>], [("$> 100600") x 3],
        '... for nobody else to read');
    nothing_left("--run $sample");
}
my $log = slurp('captures/sample1.client.log');
chdir '/';
my (undef, $out, $err) = run("$tree/$capture", '--run', 'sample1', '--', '-c', 3, '-tttt', '-S');
chdir $tree;
like($out, qr/\A(20\d\d-\d\d-\d\d \S+ IP .*\n){3}\z/, "tcpdump's options come after --");
my ($next) = $err =~ /^capture\.sh: 11 packets.*; next: (.*)$/ or diag $err;
like(`cd / && $next`, qr/client closed after 11 packets/,
    '... are for the printed packets alone; "next:" can be pasted, from anywhere');
my @old = grep { /\.\d{8}-\d{6}(?:-\d)?\.pcap$/ } glob 'captures/sample1.*';
is(recorded('captures/sample1.pcap', @old), "$wire{1} | $wire{1}", 'the older recording is kept as well');
is(slurp($old[0] =~ s/pcap$/client.log/r), $log, '... with its lines');
system "$nft 'add table inet t; add chain inet t i { type filter hook input priority 0; }
    add rule inet t i tcp dport 8082 reject with tcp reset'";
like(said($capture, '--run', '-w', 'refused.pcap', 'sample2'),
    qr/^1 (?:.*\n)+capture\.sh: sample2 client: connect .*: Connection refused\n.* 2 packets.* kept as /,
    'a client that was refused: its words, the recording, and status 1');
system "$nft delete table inet t";

# ---- by hand: it prints while it records, until Ctrl-C -------------------------------------------
my $awkward = "$dir/my file +(1.pcap";
my $by_hand = ready('-w', $awkward, 'sample2');
like(slurp($by_hand->{err}), qr/\A.* start .\/sample2\/server, .* in this private network .* ends\n\z/,
    'it says what to start where, and how to end');
my ($client, $server) = converse(2);
my @logs = (save("$dir/client.log", $client), save("$dir/server.log", $server));
ok(shows($by_hand, qr/\A(?:[\d:.]+ IP .*\n){8}\z/), 'packets are printed while it records');
is(finished($by_hand, 'INT'), kept(8, 1, $awkward, "scripts/ladder.sh '$awkward'"), 'Ctrl-C ends it');
nothing_left('by hand');
like(said('scripts/ladder.sh', $awkward, @logs), qr/connect(?:.*\n)*.*SO_LINGER(?:.*\n)*.*ECONNRESET/,
    'with the logs that tee has kept, the ladder draws the calls');
run($capture, '--run', '-w', $awkward, 'sample2');
is(scalar(() = glob "\Q$dir/my file +(1\E*.pcap"), 2, '-w never overwrites either');

# Two at once for the same name: each keeps its recording.
my @two = map { ready('sample2') } 1, 2;
converse(2);
shows($_, qr/\[R/) for @two;
kill 'INT', map { -$_->{pid} } @two;
like(join('', map { finished($_) } @two), qr/\A(?:0 .*\n){2}\z/, 'two captures at once succeed');
is(recorded(<captures/sample2*.pcap>), join(' | ', ($wire{2}) x 3), '... and each keeps its recording');

# Another recording takes the name at the last moment: capture.sh has just looked for it, with date.
shim('date', '[ -e "$0.was" ] || { touch "$0.was"; echo other >late.pcap; exit 1; }; exec /bin/date "$@"');
$ENV{PATH} = "$dir/bin:$path";
run($capture, '--run', '-w', 'late.pcap', 'sample1');
is(join(' ', sort map { -s } glob 'late*.pcap'), '6 950', 'a name taken meanwhile: both recordings are kept');

# Hundreds without a pause: nothing is lost.
my $fast = ready('-w', 'fast.pcap', 'sample2');
$server = serve(pinned('sample2/server'));
run(pinned($^X, '-MIO::Socket::INET', '-e', 'for (1 .. 300) { my $c = IO::Socket::INET->new("127.0.0.1:8082")
    or die; syswrite $c, "ABCD"; 1 while sysread $c, my $x, 9 }'));
eventually(sub { 300 == (() = slurp($fast->{out}) =~ /\[R\.\]/g) });
stop($server);
is(finished($fast, 'INT'), kept(2400, 300, 'fast.pcap'), '300 conversations without a pause are whole');

# ---- what does not pass for a recording ----------------------------------------------------------
is(finished(ready('sample1'), $_), '1 capture.sh: not a complete recording: no packets came (0 packets, ' .
    "0 conversations, 0 dropped)\n", "$_ before the first packet: said in one line") for qw(INT TERM HUP);
my $listener = listener(8081);
for my $lacks (qw(beginning end)) {
    my $half = $lacks eq 'end' && ready('-w', 'x.pcap', 'sample1');
    my $client = IO::Socket::INET->new('127.0.0.1:8081') or die "connect: $@";
    my $server = $listener->accept;
    $half ||= ready('-w', 'x.pcap', 'sample1');
    syswrite $client, 'ABCD';
    sysread $server, my $data, 4;
    do { close $client; sysread $server, $data, 1; close $server } if $lacks eq 'beginning';
    my $seen = $lacks eq 'end' ? qr/length 4\n.*length 0\n/ : qr/Flags \[F(?:.*\n)*.*Flags \[F.*\n.*\[\.\]/;
    ok(shows($half, $seen), "the $lacks missing: the rest is seen");
    like(finished($half, 'INT'), qr/^1 .*: not a complete .*$lacks missing.* as x\.incomplete\.pcap\)\n/,
        "a conversation without its $lacks is an error, and has not the name of a recording");
}
close $listener;
ok(!-e 'x.pcap', 'neither has taken the name of a recording');

# A disk that fills up, as tee says it. A capturing tcpdump that is slow to begin, or killed.
my $full = shim('tee', "echo 'tee: x: No space left on device' >&2; exec " . which('tee') . ' "$@"');
like(said($capture, '--run', '-w', 'full.pcap', 'sample1'), qr/^1 (?:.*\n)+.*complete .*: tee: x: No space/,
    'a disk that fills up makes no recording');
unlink $full;
shim('tcpdump', "case \"\$*\" in *' -w '*) echo \$\$ \$* >'$dir/tcpdump'
    while [ -e '$dir/wait' ]; do sleep 0.1; done ;; esac; exec " . which('tcpdump') . ' "$@"');
save("$dir/wait", '');
my $early = start('setsid', $capture, '-w', 'early.pcap', 'sample1');
eventually(sub { -s "$dir/tcpdump" });
kill 'TERM', $early->{pid};    # alone, not its sleep
unlink "$dir/wait";
like(finished($early), qr/^1(?:30)? .*interrupted.*\n\z/, 'a signal before it is ready is not forgotten');
like(slurp("$dir/tcpdump"), qr/^(?=.* --immediate-mode )(?=.* -B \d{5})(?=.* -w - )(?!.* -Z)/,
    'tcpdump hands over each packet at once, has room for a burst, and opens no file');
my $killed = ready('-w', 'killed.pcap', 'sample1');
converse(1);
shows($killed, qr/\A(?:.*\n){11}\z/);
slurp("$dir/tcpdump") =~ /^(\d+)/ ? kill('KILL', $1) : fail('the shim was started');
like(finished($killed), qr/^1 .*: not a complete .*: tcpdump: .*\n\z/, 'one that is killed is an error');
$ENV{PATH} = $path;
like(said('unshare', '--mount', 'sh', '-c', 'mount -t tmpfs -o size=128k tmpfs "$1" || exit
        head -c $2 /dev/zero >"$1/fill" && "$0" --run -w "$1/x.pcap" sample1; echo $?; ls "$1"',
        $capture, "$dir/bin", (128 - $_) * 1024), qr/^0 1\nfill\ncapture\.sh: .*: no room for it .*\n\z/,
    "$_ KiB left on the disk: said, not waited for, and nothing is left") for $> ? () : (0, 4, 8, 12, 16, 60);
nothing_left('after errors');

# ---- the slow ones -------------------------------------------------------------------------------
like(finished($slow{late}), qr/^0 /, 'a recording beside a tcpdump that gets no time');
is(recorded('sleeping1.pcap'), $wire{1}, '... packets that it sees late are waited for');
like(finished($slow{sample3}), qr/^0 /, '--run sample3 succeeds');
is(recorded('captures/sample3.pcap'), $wire{3}, '... the whole conversation is recorded');
is(finished($slow{all}), kept(27, 3, 'captures/all.pcap'), '--run all records all three');
is(recorded('captures/all.pcap'), join(' | ', @wire{1 .. 3}), '... each is whole, in their order');
is(join(' ', map { /all\.(.*)\.log/ } <captures/all.*.log>),
    join(' ', map { ("sample$_.client", "sample$_.server") } 1 .. 3), '... with the lines of all six');
like(finished($slow{lost}) . slurp($slow{lost}{err}), qr/^1 (?:.*\n)+.*client: recv, not ECONNRESET/,
    'with a lost RST the client is heard, and the status is not 0');
is(recorded('lost.pcap'), "$wire{2} >F. <R", '... recorded up to the reset that answers the FIN');
like(finished($slow{later}), qr/^1 /, '... also beside a tcpdump that gets no time');
is(recorded('sleeping2.pcap'), "$wire{2} >F. <R", '... what it sees late is waited for');
done_testing;
