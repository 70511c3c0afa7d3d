#!/usr/bin/perl
# scripts/ladder.sh as a command: its drawings byte for byte, its options, what it says of files
# that it cannot draw, the programs' logs, and its exit status. (What it makes of packets: cases.t.
# Of text: text.t. That nothing else changes its answers: same.t.)
use v5.36;
use FindBin;
use lib $FindBin::Bin;
use Lab;

need(qw(tcpdump setpriv script));
$ENV{TZ} = 'UTC';
my $dir = tempdir(CLEANUP => 1);
my ($sample1, $sample2) = map { "tests/reference/$_.pcap" } qw(sample1 sample2);
my $incomplete = 'tests/ladder/half-open.txt';

# What ladder.sh says with ARGUMENTS; it has to end with STATUS.
sub ladder ($status, @arguments) {
    my ($is, $out, $err) = run('scripts/ladder.sh', @arguments);
    is($is, $status, "ladder.sh @arguments: exit status") if $is != $status;
    is($err, '', "ladder.sh @arguments: stderr") if $err && ($status == 0 || $status == 3);
    return $out . $err;
}

# ---- drawings -----------------------------------------------------------------------------------

# UPDATE_GOLDEN=1 writes the drawings instead: then look at the difference.
subtest 'the reference recordings are drawn byte for byte' => sub {
    my %options = (calls => [], 'no-time' => ['--no-time']);
    for my $golden (glob 'tests/ladder/*.{calls,no-time}') {
        my ($recording, $kind) = $golden =~ m{([^/]+)\.([^.]+)$};
        my $drawn = ladder(0, @{ $options{$kind} }, "tests/reference/$recording.pcap");
        save($golden, $drawn) if $ENV{UPDATE_GOLDEN};
        is($drawn, slurp($golden), $golden);
    }
};

# Text: a connection on which the server sends COUNT times 4 bytes, each acknowledged.
sub transfer ($count) {
    my ($client, $server) = ('192.0.2.1.40000', '198.51.100.1.80');
    my @lines = (
        "$client > $server: Flags [S], seq 100, length 0",
        "$server > $client: Flags [S.], seq 300, ack 101, length 0",
        "$client > $server: Flags [.], ack 1, length 0",
    );
    for my $n (1 .. $count) {
        my ($from, $to) = (4 * $n - 3, 4 * $n + 1);
        push @lines, "$server > $client: Flags [P.], seq $from:$to, ack 1, length 4";
        push @lines, "$client > $server: Flags [.], ack $to, length 0";
    }
    splice @lines, 12, 0, @lines[10, 11];    # one comes again
    my $n = 0;
    my @timed = map { sprintf "12:00:00.%06d IP %s\n", $n++, $_ } @lines;
    return save("$dir/transfer", join '', @timed);
}

subtest 'a long transfer is folded' => sub {
    my $drawn = ladder(0, transfer(500));
    like($drawn, qr/: +\| 99\d packets, 19\d\d bytes +\|  1 came again\n/,
        'a row says how many packets, bytes, and packets that came again');
    is($drawn =~ tr/\n//, 13, 'the rest are few rows');
    unlike(ladder(0, transfer(7)), qr/ packets, /, 'what fits a screen is not folded');
};

subtest '2000 interleaved conversations are drawn in their order' => sub {
    my @ports = 10001 .. 12000;
    my $text = '';
    for my $port (@ports) {
        $text .= "12:00:00.000000 IP 192.0.2.1.$port > 198.51.100.1.80: Flags [S], seq $port\n";
    }
    for my $port (@ports) {
        my $ends = "198.51.100.1.80 > 192.0.2.1.$port";
        my $ack = $port + 1;
        $text .= "12:00:01.000000 IP $ends: Flags [R.], seq 0, ack $ack\n";
    }
    my $many = save("$dir/many", $text);
    my $refused = qr/client 192\.0\.2\.1:(\d+)(?:.*\n){5}  server refused it after 2 /;
    my @drawn = ladder(0, $many) =~ /$refused/g;
    ok("@drawn" eq "@ports", 'in order');
    my $for_two_lines = "{ scripts/ladder.sh $many; echo \$? >&2; } | head -n 2";
    is((run('sh', '-c', $for_two_lines))[2], "141\n",
        'a reader that leaves ends it quietly, as a signal does');
};

# ---- what cannot be drawn -----------------------------------------------------------------------

my $whole = slurp($sample1);
my $broken = save("$dir/broken", substr $whole, 0, 900);
my %reasons = (
    save("$dir/junk", 'x' x 100) => 'neither a recording nor text',
    save("$dir/empty", '') => 'empty file',
    save("$dir/header", substr $whole, 0, 24) => 'no packets',
    $broken => 'truncated',
    $dir => 'a directory',
    "$dir/none" => 'no such file',
    "$dir/no.log" => 'no log',
    'tests/ladder/payloads.pcap' => 'no TCP',
    'tests/ladder/headers-cut.pcap' => '2 TCP packets cut too short by the snap length',
);
for my $file (sort keys %reasons) {
    subtest "$reasons{$file}: said with a way out, and the next file is drawn" => sub {
        like(ladder(1, $file, $sample2),
            qr/reset it after 8 .*\nladder\.sh: \Q$file\E: .*$reasons{$file}.* \(.+\)\n\z/,
            'the status is 1');
    };
}

subtest 'what a broken recording holds is drawn' => sub {
    my $advice = qr/\(stop the recorder before its file is read\)/;
    like(ladder(1, $broken), qr/FIN-WAIT-1(?:.*\n)+.* $advice$/, 'up to where it breaks');
};

subtest 'a recording of which some packets are cut too short is drawn, and no whole one' => sub {
    like(ladder(1, 'tests/ladder/some-cut.pcap'),
        qr/ SYN, ACK (?:.*\n)+ladder\.sh: .*: 1 TCP packet cut too short .* \(.+\)\n\z/,
        'with a way out');
};

subtest 'a file that one may not read is said to be one' => sub {
    my $secret = save("$dir/secret", $whole);
    chmod 0, $secret;
    my @nobody = $> == 0 ? ('setpriv', '--bounding-set', '-all') : ();    # root may read all
    like(said(@nobody, 'scripts/ladder.sh', $secret), qr/: may not be read by you \(.+\)$/,
        'with a way out');
};

subtest 'text in a payload never becomes a conversation' => sub {
    my $printed = `tcpdump -nn -r tests/ladder/payloads.pcap 2>/dev/null`;
    is(() = $printed =~ /IP 1\.1\.1\.1\.1 > 2\.2\.2\.2\.2: Flags \[S\]/g, 3,
        'names in TFTP, DNS and SIP look like a packet');
    like(ladder(1, 'tests/ladder/payloads.pcap'), qr/\Aladder\.sh: .*no TCP/, 'in a recording');
    like(ladder(1, save("$dir/text", $printed)), qr/\Aladder\.sh: .*no TCP/, 'in text');
};

subtest 'bad usage ends with 2 and the usage, --help with 0' => sub {
    for my $arguments (['--wrong', $sample1], ['']) {
        like(ladder(2, @$arguments), qr/^ladder\.sh: .*usage: /, "ladder.sh @$arguments");
    }
    like(said(qw(script -qec scripts/ladder.sh /dev/null)), qr/\A2 ladder\.sh: .*usage: /,
        'nothing to read, at a terminal');
    like(ladder(0, '--help'), qr/\Ausage: .*\n(?:.*\n)+Exit status: /, '--help');
};

subtest 'a stdout that takes nothing is said' => sub {
    like(said('sh', '-c', "scripts/ladder.sh $sample2 >&-"),
        qr/\A1 ladder\.sh: stdout: Bad file descriptor \(.+\)\n\z/, 'closed');
    like(said('sh', '-c', "scripts/ladder.sh $sample2 >/dev/full"),
        qr/\A1 ladder\.sh: stdout: No space left on device \(.+\)\n\z/, 'a full disk');
};

subtest 'a clone in which nothing is built says make' => sub {
    mkdir "$dir/scripts";
    save("$dir/scripts/ladder.sh", slurp('scripts/ladder.sh'));
    is(said("$dir/scripts/ladder.sh", $sample2),
        "1 ladder.sh: $dir/scripts/ladder: not built (make)\n", 'one line');
};

subtest 'text needs no tcpdump, a recording does' => sub {
    my $without = tempdir(CLEANUP => 1);
    for my $tool (qw(sh cat dd dirname grep od rm sed wc)) {
        symlink which($tool), "$without/$tool";
    }
    local $ENV{PATH} = $without;
    my $script = slurp('scripts/ladder.sh') =~ s/^PATH=.*//mr;    # it would add /usr/sbin
    my $ladder = save("$dir/scripts/ladder.sh", $script);
    symlink getcwd() . '/scripts/ladder', "$dir/scripts/ladder";
    like(said($ladder, $incomplete), qr/\A0 tcp 1 /, 'text');
    like(said($ladder, $sample2), qr/\A1 ladder\.sh: .*: there is no tcpdump \(.+\)\n\z/,
        'a recording');
};

# ---- options ------------------------------------------------------------------------------------

subtest '-- FILTER chooses conversations of a recording' => sub {
    my $both = 'tests/reference/patterns.pcap';
    my @one = ladder(0, '--verdict', $both, '--', 'port 8104') =~ /\.(\d+): /g;
    is("@one", '8104', 'what matches is drawn');
    like(ladder(1, $both, '--', 'port 9'), qr/no TCP in it that FILTER chooses \(.+\)$/,
        'nothing matches');
    like(ladder(1, $both, '--', 'port'), qr/FILTER: .*syntax error \(.+\)$/, 'no filter');
    like(ladder(1, $both, '--', '-w', "$dir/written"), qr/FILTER: .*syntax error \(.+\)$/,
        'an option of tcpdump is no filter');
    ok(!-e "$dir/written", 'and does nothing');
    like(ladder(1, $incomplete, '--', 'port 80'), qr/FILTER needs a recording/, 'text');
};

subtest '--verdict is a line a conversation: its time, its ends, the verdict' => sub {
    is(ladder(0, '--verdict', $sample1, $sample2),
        "21:24:11.396569 127.0.0.1.39636 > 127.0.0.1.8081: "
        . "client closed after 11 packets: FIN in four packets. TIME-WAIT: client.\n"
        . "21:24:11.491559 127.0.0.1.38702 > 127.0.0.1.8082: "
        . "server reset it after 8 packets: RST, no FIN. TIME-WAIT: nobody.\n",
        'two recordings');
    like(ladder(3, '--verdict', 'tests/ladder/middle.txt'), qr/ \(client guessed\)\n\z/,
        'without a SYN, that it is guessed who is client');
    my $untimed = save("$dir/text", scalar `tcpdump -nnt -r $sample2 2>/dev/null`);
    like(ladder(0, '--verdict', $untimed), qr/\A- 127/, 'without times, - in their place');
};

subtest 'the time of day is local time, of that day' => sub {
    for my $zone (['XYZ-05:30', '02:54'], ['XYZ+05:30', '15:54']) {
        my ($tz, $time) = @$zone;
        local $ENV{TZ} = $tz;
        like(ladder(0, '--verdict', $sample1), qr/^$time:11\.396569 /, "TZ=$tz");
        like(ladder(0, $sample1), qr/^seconds since $time:11\.396569$/m, 'and in the drawing');
    }
    local $ENV{TZ} = 'CET-1CEST,M3.5.0,M10.5.0/3';
    my @printed = `tcpdump -nn -r tests/ladder/summer-time.pcap 2>/dev/null` =~ /^(\S+) .*\[S\]/gm;
    my @drawn = ladder(0, 'tests/ladder/summer-time.pcap') =~ /^seconds since (\S+)/gm;
    is("@drawn", "@printed", 'before and after the clocks change, as tcpdump says it');
};

subtest "--verdict's status tells whole recordings, incomplete ones and broken ones apart" => sub {
    my $middle = 'tests/ladder/middle-then-rst.txt';
    is((run('scripts/ladder.sh', '--verdict', $sample1, $sample2))[0], 0, 'all are whole');
    is((run('scripts/ladder.sh', '--verdict', $incomplete, $sample1))[0], 3, 'an end is missing');
    is((run('scripts/ladder.sh', '--verdict', $middle, $sample1))[0], 3, 'a beginning is missing');
    is((run('scripts/ladder.sh', '--verdict', $incomplete, $broken))[0], 1, 'one is broken');
    is((run('scripts/ladder.sh', '--verdict', $broken, $incomplete))[0], 1, 'in any order');
};

# ---- the programs' lines ------------------------------------------------------------------------

# A copy of sample1's recording, and of the lines of its programs: they say HOUR_MINUTE for 06:24,
# and TEXT after close.
sub with_calls_at ($hour_minute, $text = '') {
    for my $role (qw(client server)) {
        my $log = slurp("tests/reference/sample1.$role.log");
        save("$dir/zone.$role.log", $log =~ s/^06:24/$hour_minute/gmr =~ s/ close$/$&$text/gmr);
    }
    return save("$dir/zone.pcap", $whole);
}

subtest 'calls stand at their time, whatever the zone of their clock' => sub {
    my $golden = slurp('tests/ladder/sample1.calls');
    for my $time ('06:24', '02:54', '15:39', '21:24') {
        is(ladder(0, with_calls_at($time)), $golden, "in the recording it is 21:24, here $time");
    }
};

subtest 'calls before the connection are of an older one from the same port' => sub {
    for my $time ('06:23', '06:18') {
        unlike(ladder(0, with_calls_at($time)), qr/connect/, $time);
    }
};

subtest 'of connections from one port, each has its own calls' => sub {
    my ($client, $server) = ('127.0.0.1.39636', '127.0.0.1.8081');
    my ($text, $log) = ('', '');
    for my $n (0, 1, 2) {
        my $isn = 1000 + 5000000 * $n;
        my $ack = $isn + 1;
        $text .= "12:0$n:00.000000 IP $client > $server: Flags [S], seq $isn, length 0\n";
        $text .= "12:0$n:00.000100 IP $server > $client: Flags [R.], seq 0, ack $ack, length 0\n";
        $log .= "12:0$n:00.000050 client connect 127.0.0.1:8081 from 127.0.0.1:39636\n";
        $log .= "12:0$n:30.000000 client call $n\n";
    }
    my $called = save("$dir/called.log", $log);
    is(join(' ', ladder(0, save("$dir/text", $text), $called) =~ /^30\S+ +call (\d)/gm), '0 1 2',
        'all three');
    my $first = save("$dir/text", $text =~ s/(.*\n){4}\z//r);
    is(join(' ', ladder(0, $first, $called) =~ / call (\d)/g), '0', 'the first alone');
};

subtest 'calls are drawn in ASCII, without what steers terminals' => sub {
    my $drawn = ladder(0, with_calls_at('06:24', " \xc3\xa9\e[2J"));
    like($drawn, qr/ close \.\.\.\[2J /, 'a dot for each such byte');
    unlike($drawn, qr/\e/, 'none is left');
};

subtest 'logs may be named' => sub {
    my $copy = save("$dir/all.pcap", $whole);
    my @logs = map { "tests/reference/sample1.$_.log" } 'client', 'server';
    my ($calls, $no_time) = map { slurp("tests/ladder/sample1.$_") } 'calls', 'no-time';
    is(ladder(0, @logs, $copy), $calls, 'before the recording');
    is(ladder(0, $copy, @logs, @logs), $calls, 'twice');
    is(ladder(0, '--no-time', $copy, @logs), $no_time, 'and are left out with the times');
    like(ladder(1, $copy, 'tests/reference/sample2.client.log'),
        qr/\nladder.sh: .*client.log: its calls are of no conv/,
        'one that belongs to another recording is refused');
    like(ladder(0, $copy, $sample2, @logs), qr/connect(?:.*\n)+.*reset it/,
        'for one of several recordings');
};

subtest 'the names of recordings and logs may have spaces' => sub {
    my $copy = save("$dir/one *.pcap", $whole);
    my $found = save("$dir/one *.client.log", slurp('tests/reference/sample1.client.log'));
    my $named = save("$dir/a * log.log", slurp('tests/reference/sample1.server.log'));
    is(ladder(0, $copy, $named), slurp('tests/ladder/sample1.calls'), 'one is found, one is named');
};

subtest 'beside all.pcap, each conversation finds its own calls' => sub {
    my $copy = save("$dir/all.pcap", $whole);
    for my $log (glob 'tests/reference/sample*.log') {
        save($log =~ s{.*/}{$dir/all.}r, slurp($log));
    }
    is(ladder(0, $copy), slurp('tests/ladder/sample1.calls'), 'those of sample1');
};
done_testing;
