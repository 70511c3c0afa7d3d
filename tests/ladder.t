#!/usr/bin/perl
# scripts/ladder.sh as a command: its drawings byte for byte, its options, what it says of files
# that it cannot draw, and its exit status. (What it makes of packets: cases.t. Of text: text.t. Of
# connections as they are: live.t.)
use v5.36;
use FindBin;
use lib $FindBin::Bin;
use Lab;

need(qw(tcpdump mawk gawk setpriv));
delete @ENV{qw(LC_ALL LC_CTYPE AWK)};
$ENV{LANG} = 'C.UTF-8';
$ENV{TZ} = 'UTC';
my $dir = tempdir(CLEANUP => 1);
my ($sample1, $sample2) = map { "tests/reference/$_.pcap" } qw(sample1 sample2);
my $data = 'tests/ladder/data.pcap';
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
my %options = (calls => [], ascii => [], 'no-time' => ['--no-time'], mermaid => ['--mermaid']);
for my $awk ('mawk', 'gawk', 'original-awk', 'busybox') {
    subtest "$awk draws the reference recordings byte for byte" => sub {
        plan(skip_all => "$awk is not installed") if !which($awk);
        my $command = $awk eq 'busybox' ? 'busybox awk' : $awk;
        local $ENV{AWK} = shim($dir, $awk, qq{echo $awk >>$dir/used; exec $command "\$@"});
        for my $golden (glob 'tests/ladder/*.{calls,ascii,no-time,mermaid}') {
            my ($recording, $kind) = $golden =~ m{([^/]+)\.([^.]+)$};
            local $ENV{LC_ALL} = 'C' if $kind eq 'ascii';
            unlink "$dir/used";
            my @options = @{ $options{$kind} };
            push @options, '--no-time' if $golden =~ /sample1\.mermaid/;
            my $drawn = ladder(0, @options, "tests/reference/$recording.pcap");
            save($golden, $drawn) if $ENV{UPDATE_GOLDEN};
            is($drawn, slurp($golden), $golden);
            is(slurp("$dir/used"), "$awk\n$awk\n", 'no other awk was used');
        }
    };
}

subtest 'a UTF-8 locale gets box characters, every other one ASCII' => sub {
    delete local $ENV{LANG};
    for my $variable (qw(LC_ALL=ja_JP.utf8 LC_CTYPE=C.UTF-8 LANG=de_DE.UTF8)) {
        like(said('env', $variable, 'scripts/ladder.sh', $sample2), qr/▶│/, $variable);
    }
    for my $variable (qw(LC_ALL=ja_JP.eucJP LANG=C)) {
        like(said('env', $variable, 'scripts/ladder.sh', $sample2), qr/->\|/, $variable);
    }
    my @utf8 = qw(LC_CTYPE=C.UTF-8 LANG=C.UTF-8);
    like(said('env', @utf8, 'LC_ALL=C', 'scripts/ladder.sh', $sample2), qr/->\|/,
        'LC_ALL comes first');
    like(said('env', 'LC_CTYPE=C', 'LANG=C.UTF-8', 'scripts/ladder.sh', $sample2), qr/->\|/,
        'then LC_CTYPE');
};

subtest 'Mermaid gets ; # and < as text' => sub {
    like(ladder(0, '--mermaid', $data), qr/: PSH, ACK ""#59;#35;#60;"\n/, 'their numbers');
};

subtest 'three conversations of one shape have three Mermaid diagrams' => sub {
    my $text = save("$dir/alike", scalar `tcpdump -nn -r tests/ladder/alike.pcap 2>/dev/null`);
    my @diagrams = split /^```mermaid\n/m, ladder(0, '--mermaid', $text);
    shift @diagrams;    # nothing stands before the first
    my @complete = grep { /: SYN\n(?:.*\n)+.*: RST, ACK\n/ } @diagrams;
    is(@complete, 3, 'each has its packets');
};

# A PATH with which every recording counts as large: its bytes are not read.
my $large = tempdir(CLEANUP => 1);
shim($large, 'wc', 'echo 10000000');

subtest 'a large recording is drawn like a small one, but for its data' => sub {
    my $alike = 'tests/ladder/alike.pcap';
    my $drawn = ladder(0, $alike);
    my $drawn_data = ladder(0, $data);
    local $ENV{PATH} = "$large:$ENV{PATH}";
    is(ladder(0, $alike), $drawn, 'without data');
    isnt(ladder(0, $data), $drawn_data, 'with data');
    like(ladder(0, $data), qr/ PSH, ACK 4 bytes /, 'of which it says how many bytes');
    like(ladder(0, 'tests/ladder/download.pcap'),
        qr/⋮ +FIN-WAIT-2   │ +35 packets, 140 bytes +│\n/,
        'a state that begins in packets that are folded is said');
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
    my $n = 0;
    my @timed = map { sprintf "12:00:00.%06d IP %s\n", $n++, $_ } @lines;
    return save("$dir/transfer", join '', @timed);
}

subtest 'a long transfer is folded' => sub {
    my $drawn = ladder(0, transfer(500));
    like($drawn, qr/⋮ +│ 99\d packets, 19\d\d bytes +│\n/, 'a row says how many packets and bytes');
    is($drawn =~ tr/\n//, 12, 'the rest are few rows');
    unlike(ladder(0, transfer(8)), qr/ packets, /, 'what fits a screen is not folded');
};

subtest '2000 interleaved conversations are drawn in their order' => sub {
    my @ports = 10001 .. 12000;
    my $text = '';
    for my $port (@ports) {
        $text .= "12:00:00.000000 IP 192.0.2.1.$port > 198.51.100.1.80: Flags [S], seq 1\n";
    }
    for my $port (@ports) {
        my $ends = "198.51.100.1.80 > 192.0.2.1.$port";
        $text .= "12:00:01.000000 IP $ends: Flags [R.], seq 0, ack 2\n";
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
    for my $arguments ([], ['--wrong', $sample1], [''], ['--verdict']) {
        like(ladder(2, @$arguments), qr/^ladder\.sh: .*usage: /, "ladder.sh @$arguments");
    }
    like(ladder(0, '--help'), qr/\Ausage: .*\n(?:.*\n)+Exit status: /, '--help');
};

subtest 'a closed stdout is said' => sub {
    is(said('sh', '-c', "scripts/ladder.sh $sample2 >&-"),
        "1 ladder.sh: stdout is closed (there is nowhere to draw)\n", 'status 1');
};

# ---- options ------------------------------------------------------------------------------------

subtest '-- FILTER chooses conversations of a recording' => sub {
    my @both = ("$dir/both.pcap", '--verdict');
    system("tcpdump -r $sample1 -w $both[0] 2>/dev/null") == 0 or die 'tcpdump';
    is(ladder(0, @both, '--', 'port', '8081'), ladder(0, @both), 'what matches is drawn');
    like(ladder(1, @both, '--', 'port 9'), qr/no TCP in it that FILTER chooses \(.+\)$/,
        'nothing matches');
    like(ladder(1, @both, '--', 'port'), qr/FILTER: .*syntax error \(.+\)$/, 'no filter');
    like(ladder(1, $incomplete, '--', 'port 80'), qr/FILTER needs a recording/, 'text');
};

subtest '--verdict is a line a conversation: its time, its ends, the verdict' => sub {
    is(ladder(0, '--verdict', $sample1, $sample2),
        "21:24:11.396569 127.0.0.1.39636 > 127.0.0.1.8081: "
        . "client closed after 11 packets: FIN in four packets. TIME-WAIT: client.\n"
        . "21:24:11.491559 127.0.0.1.38702 > 127.0.0.1.8082: "
        . "server reset it after 8 packets: RST, no FIN. TIME-WAIT: nobody.\n",
        'two recordings');
    for my $zone (['XYZ-05:30', '02:54'], ['XYZ+05:30', '15:54']) {
        my ($tz, $time) = @$zone;
        local $ENV{TZ} = $tz;
        like(ladder(0, '--verdict', $sample1), qr/^$time:11\.396569 /, "local time, TZ=$tz");
    }
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

subtest 'beside all.pcap, each conversation finds its own calls' => sub {
    my $copy = save("$dir/all.pcap", $whole);
    for my $log (glob 'tests/reference/sample*.log') {
        save($log =~ s{.*/}{$dir/all.}r, slurp($log));
    }
    is(ladder(0, $copy), slurp('tests/ladder/sample1.calls'), 'those of sample1');
};
done_testing;
