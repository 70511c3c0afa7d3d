#!/usr/bin/perl
# scripts/ladder.sh as a command: its drawings byte for byte, its options, what it says of files
# that it cannot draw, the programs' logs, and its exit status. (What it makes of packets: cases.t.
# That nothing else changes its answers: same.t.)
use v5.36;
use FindBin;
use lib $FindBin::Bin;
use Lab;

need('tcpdump');
$ENV{TZ} = 'UTC';
my $dir = tempdir(CLEANUP => 1);
my ($sample1, $sample2) = map { "tests/reference/$_.pcap" } qw(sample1 sample2);
my ($calls, $no_time) = map { slurp("tests/ladder/sample1.$_") } qw(calls no-time);
my $whole = slurp($sample1);
my $broken = save("$dir/broken", substr $whole, 0, 900);
my $text = 'tests/ladder/half-open.txt';
my $patterns = 'tests/reference/patterns.pcap';

# What ladder.sh says with ARGUMENTS: "STATUS STDOUTSTDERR".
sub ladder (@arguments) {
    return said('scripts/ladder.sh', @arguments);
}

# UPDATE_GOLDEN=1 writes the drawings instead: then look at the difference.
subtest 'the reference recordings are drawn byte for byte' => sub {
    my %options = (calls => [], 'no-time' => ['--no-time']);
    for my $golden (glob 'tests/ladder/*.{calls,no-time}') {
        my ($name, $kind) = $golden =~ m{([^/]+)\.([^.]+)$};
        my @arguments = ($options{$kind}->@*, "tests/reference/$name.pcap");
        my ($status, $drawn, $complaint) = run('scripts/ladder.sh', @arguments);
        save($golden, $drawn) if $ENV{UPDATE_GOLDEN};
        is("$status $complaint$drawn", '0 ' . slurp($golden), $golden);
    }
};

# ---- what cannot be drawn -----------------------------------------------------------------------

sub file ($bytes) {
    state $n = 0;
    return save("$dir/file" . $n++, $bytes);
}

my $cut = '12:00:00.0 IP a.1 > b.2: Flags ';
my %arguments = (
    'a directory' => [$dir],
    'no such file' => ["$dir/none"],
    'empty file' => [file('')],
    'no packets in it' => [file(substr $whole, 0, 24)],
    'neither a recording nor text of tcpdump' => [file('x' x 100)],
    '1 packet that tcpdump cannot decode: bad-len 0' => [file("12:00:00.0 IP bad-len 0\n")],
    'a recording of snoop' => [file("snoop\0\0\0\0\0\0\2")],
    '2 lines of TCP not understood, cut' => [file("$cut\[S], se\n$cut\[R.], seq 1, a\n")],
    'no TCP in it that FILTER chooses' => [$sample2, '--', 'port 9'],
    'FILTER: .*syntax error' => [$sample2, '--', 'port'],
    'FILTER needs a recording' => [$text, '--', 'port 80'],
);
for my $reason (sort keys %arguments) {
    subtest "$reason: told in one line with the way out" => sub {
        my $said = ladder($arguments{$reason}->@*);
        like($said, qr/\A1 ladder\.sh: .*$reason.* \(.+\)\n\z/, 'and the status is 1');
    };
}

my %compressed = (
    zcat => "\x1f\x8b\x08\0\0\0",
    bzcat => 'BZh91AY',
    xzcat => "\xfd7zXZ\0",
    zstdcat => "\x28\xb5\x2f\xfd",
);
subtest 'a compressed file: told which command opens it' => sub {
    for my $command (sort keys %compressed) {
        my $file = file($compressed{$command});
        my $way_out = "$command FILE | scripts/ladder.sh -";
        is(ladder($file), "1 ladder.sh: $file: compressed ($way_out)\n", $command);
    }
};

subtest 'a name is told without what steers terminals' => sub {
    my $empty = save("$dir/\xe8\xa8\x98\e[2J\xc2\x9b2J", '');
    my $said = ladder($empty, "$empty/none");
    like($said, qr/^ladder\.sh: .*\xe8\xa8\x98\.\[2J\.2J: empty file/m, 'a dot for each of these');
    unlike($said, qr/\e|\xc2\x9b/, 'none is left');
};

subtest 'behind what cannot be read, the next file is drawn' => sub {
    like(ladder($dir, $sample2), qr/\A1 (?:.*\n)*.*server reset it after 8 packets/, 'a directory');
};

subtest 'what a broken recording holds is drawn' => sub {
    like(ladder($broken), qr/FIN-WAIT-1(?:.*\n)+ladder\.sh: /, 'up to where it breaks');
};

subtest 'a file that one may not read is said to be one' => sub {
    need('setpriv');
    my $secret = save("$dir/secret", $whole);
    chmod 0, $secret;
    my @nobody = $> == 0 ? ('setpriv', '--bounding-set', '-all') : ();    # root may read all
    like(said(@nobody, 'scripts/ladder.sh', $secret), qr/: may not be read by you \(.+\)$/,
        'with a way out');
};

subtest 'bad usage ends with 2 and the usage' => sub {
    like(ladder('--wrong', $sample1), qr/\A2 ladder\.sh: .*usage: .*\n\z/, 'an unknown option');
};

subtest 'a full disk is told' => sub {
    like(said('sh', '-c', "scripts/ladder.sh $sample2 >/dev/full"),
        qr/\A1 ladder\.sh: stdout: No space left on device \(.+\)\n\z/, 'with status 1');
};

subtest 'text needs no tcpdump, and a recording says that there is none' => sub {
    my $tools = tempdir(CLEANUP => 1);
    for my $tool (qw(sh dirname od sed)) {
        symlink which($tool), "$tools/$tool";
    }
    local $ENV{PATH} = $tools;
    like(ladder($text), qr/\A0 tcp 1 /, 'text');
    like(ladder($sample2), qr/\A1 ladder\.sh: .*: there is no tcpdump \(.+\)\n\z/, 'a recording');
};

subtest 'a clone in which nothing is built says make' => sub {
    my $ladder = save("$dir/ladder.sh", slurp('scripts/ladder.sh'));
    is(said($ladder, $sample2), "1 ladder.sh: $dir/ladder: not built (make)\n", 'one line');
};

# ---- --verdict ----------------------------------------------------------------------------------

subtest '--verdict is a line a conversation: its time, its ends, the verdict' => sub {
    my $ends = '127.0.0.1.39636 > 127.0.0.1.8081';
    my $verdict = 'client closed after 11 packets: FIN in four packets. TIME-WAIT: client.';
    is(ladder('--verdict', $sample1), "0 21:24:11.396569 $ends: $verdict\n", 'of sample1');
    like(ladder('--verdict', 'tests/ladder/middle.txt'), qr/ \(client guessed\)\n\z/,
        'without a SYN, that it is guessed who is client');
    my $untimed = save("$dir/untimed", scalar `tcpdump -nnt -r $sample2 2>/dev/null`);
    like(ladder('--verdict', $untimed), qr/\A0 - 127/, 'without times, - in their place');
};

subtest 'a long run that is folded is no pause' => sub {
    my $text = '';
    for my $n (1 .. 40) {
        my $next = $n + 1;
        my $time = sprintf '12:00:%04.1f', $n / 5;
        $text .= "$time IP a.1 > b.2: Flags [P.], seq $n:$next, ack 1, length 1\n";
    }
    my $drawn = ladder(file($text));
    like($drawn, qr/ 33 packets /, 'a run of 8 s');
    unlike($drawn, qr/\d s +\|/, 'no pause');
};

subtest 'each of a thousand conversations at once has its verdict' => sub {
    my ($syns, $resets) = ('', '');
    for my $port (1001 .. 2000) {
        my ($client, $server) = ("192.0.2.1.$port", "198.51.100.1.$port");
        $syns .= "12:00:00.0 IP $client > $server: Flags [S], seq $port, length 0\n";
        my $ack = $port + 1;
        $resets .= "12:00:00.1 IP $server > $client: Flags [R.], seq 0, ack $ack, length 0\n";
    }
    my $said = ladder('--verdict', file($syns . $resets));
    is(() = $said =~ / refused it after 2 packets/g, 1000, 'all are told apart');
};

subtest "--verdict's status tells whole recordings, incomplete ones and broken ones apart" => sub {
    my $middle = 'tests/ladder/middle-then-rst.txt';
    my @files = (
        [0, 'all are whole', $sample1, $sample2],
        [3, 'an end is missing', $text, $sample1],
        [3, 'an end is missing, not of the last one', $patterns, '--', 'portrange 8101-8104'],
        [3, 'a beginning is missing', $middle, $sample1],
        [1, 'one is broken', $text, $broken],
        [1, 'in any order', $broken, $text],
    );
    for my $case (@files) {
        my ($status, $what, @recordings) = @$case;
        is((run('scripts/ladder.sh', '--verdict', @recordings))[0], $status, $what);
    }
};

subtest 'the time of day is local time' => sub {
    local $ENV{TZ} = 'XYZ-05:30';
    like(ladder('--verdict', $sample1), qr/\A0 02:54:11\.396569 /, 'in the verdict');
    like(ladder($sample1), qr/^seconds since 02:54:11\.396569$/m, 'in the drawing');
    like(ladder('--verdict', 'tests/ladder/prose.txt'), qr/\A0 12:00:00\.000000 /,
        'text has it already, whatever other numbers stand in it');
};

# ---- the programs' lines ------------------------------------------------------------------------

# The drawing of a copy of sample1's recording, with logs that say HOUR_MINUTE for 06:24.
sub drawn_at ($hour_minute) {
    for my $role (qw(client server)) {
        my $log = slurp("tests/reference/sample1.$role.log");
        save("$dir/zone.$role.log", $log =~ s/^06:24/$hour_minute/gmr);
    }
    return ladder(save("$dir/zone.pcap", $whole));
}

subtest 'calls stand at their time, whatever the zone of their clock' => sub {
    for my $time ('06:24', '02:54', '15:39', '21:24') {
        is(drawn_at($time), "0 $calls", "in the recording it is 21:24, here $time");
    }
};

subtest 'calls before the connection are of an older one from the same port' => sub {
    unlike(drawn_at('06:23'), qr/connect/, 'a minute before');
};

subtest 'logs may be named, and names have spaces' => sub {
    my $copy = save("$dir/one *.pcap", $whole);
    save("$dir/one *.client.log", slurp('tests/reference/sample1.client.log'));
    my $log = save("$dir/a * log.log", slurp('tests/reference/sample1.server.log'));
    is(ladder($log, $copy), "0 $calls", 'one is found, one is named');
    is(ladder($copy, $log, $log), "0 $calls", 'twice');
    is(ladder('--no-time', $copy, $log), "0 $no_time", 'and they are left out with the times');
};

subtest 'beside all.pcap, each conversation finds its own calls' => sub {
    my $copy = save("$dir/all.pcap", $whole);
    for my $log (glob 'tests/reference/sample*.log') {
        save($log =~ s{.*/}{$dir/all.}r, slurp($log));
    }
    is(ladder($copy), "0 $calls", 'those of sample1');
};
done_testing;
