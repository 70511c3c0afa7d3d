#!/usr/bin/perl
# scripts/ladder.sh: golden ladders of the reference recordings, reports and special cases with
# the right verdict, and ss as judge. To add a case: what tcpdump printed, and the verdict, as a
# file like tests/ladder/forged-rst.txt; or a line in tests/ladder/cases.
use v5.36;
use FindBin; use lib $FindBin::Bin; use Lab;
use Encode 'decode';
use IO::Socket::IP;
use Socket qw(inet_pton AF_INET6);

need('tcpdump', 'ss', 'mawk', 'gawk', 'setpriv');
enter_lab();

my $dir = tempdir(CLEANUP => 1);
delete @ENV{qw(LC_ALL LC_CTYPE AWK)};
$ENV{LANG} = 'C.UTF-8';
$ENV{TZ} = 'UTC';
my $widest = 0; # of all the lines that were drawn
my ($sample1, $sample2) = map { "tests/reference/$_.pcap" } 'sample1', 'sample2';

# Draws with the arguments, which has to end with STATUS, and to say nothing on stderr but then.
sub ladder ($status, @words) {
    my ($rc, $out, $err) = run('scripts/ladder.sh', @words);
    my $wrong = $rc != $status || $status =~ /[03]/ && $err;
    fail("ladder.sh @words: status $rc, not $status: $err") if $wrong;
    my @lines = $out =~ /```|^[\d:.]{15} |^usage/ ? () : split /\n/, decode('UTF-8', $out);
    ($widest) = sort { $b <=> $a } $widest, map { length } @lines;
    return $out . $err;
}

# ---- the reference recordings, byte for byte, by an awk that leaves its mark
my %options = (calls => [], ascii => [], 'no-time' => ['--no-time'], mermaid => ['--mermaid']);
for my $awk ('mawk', 'gawk', 'original-awk', 'busybox') {
    subtest "$awk draws the reference recordings byte for byte" => sub {
        plan skip_all => "$awk is not installed" if !which($awk);
        my $command = $awk eq 'busybox' ? 'busybox awk' : $awk;
        local $ENV{AWK} = shim($dir, $awk, qq{echo $awk >>$dir/mark; exec $command "\$@"});
        for my $golden (glob 'tests/ladder/*.{calls,ascii,no-time,mermaid}') {
            my ($recording, $kind) = $golden =~ m{([^/]+)\.([^.]+)$};
            local $ENV{LC_ALL} = 'C' if $kind eq 'ascii';
            unlink "$dir/mark";
            my @options = (@{ $options{$kind} }, $golden =~ /sample1.mermaid/ ? '--no-time' : ());
            my $drawn = ladder(0, @options, "tests/reference/$recording.pcap");
            save($golden, $drawn) if $ENV{UPDATE_GOLDEN};    # then look at the difference
            is($drawn, slurp($golden), $golden);
            is(slurp("$dir/mark"), "$awk\n$awk\n", 'no other awk was used');
        }
    };
}
subtest 'a UTF-8 locale gets box characters, every other one ASCII' => sub {
    for ('LC_ALL=ja_JP.utf8', 'LC_CTYPE=C.UTF-8', 'LANG=de_DE.UTF8', 'LC_ALL=ja_JP.eucJP') {
        local @ENV{ 'LANG', (split /=/)[0] } = ('C', (split /=/)[1]);
        my $bar = /utf/i ? '│' : '|';
        like(ladder(0, $sample2), qr/[>▶]\Q$bar\E/, "$_ gets $bar");
    }
};

# ---- what people have: text that tcpdump printed, see tests/ladder/*.txt
# The verdicts of FILE, without times and ends.
sub verdicts (@words) {
    my (undef, $out, $err) = run('scripts/ladder.sh', '--verdict', @words);
    return $out =~ s/^[\d:.]{15} \S+ > \S+: //gmr . $err;
}
for my $report (glob 'tests/ladder/*.txt') {
    my $text = slurp($report);
    my ($claim) = $text =~ /^(.*)/;
    is(verdicts($report), join('', map { "$_\n" } $text =~ /^Verdict: (.*)/gm), "$claim ($report)");
}
subtest 'what tcpdump prints with any options has the verdict of its recording' => sub {
    for my $sample ('sample1', 'sample2', 'lost-rst') {
        my $recording = "tests/reference/$sample.pcap";
        my $right = verdicts($recording);
        for my $options ('-nn', '-n', '', '-nnS', '-nnv', '-nnvv -e', '-nne', '-nnX', '-nnA',
            '-nnt', '-nntt', '-nnttt',
            '-nntttt', '-nnttttt', '-vXe') {
            my $text = save("$dir/text",
                "Look at this:\n\n" . `tcpdump $options -r $recording 2>&1`);
            is(verdicts($text), $right, "$sample, tcpdump $options");
        }
        my $later = save("$dir/text", scalar `tcpdump -nn -r $recording 2>/dev/null | tail -n +4`);
        my $lacking = $right =~ s/ after \d+ packets/, beginning missing/r =~ s/RST, no FIN/RST/r;
        is(verdicts($later), $lacking, "$sample, without its first lines");
        my $quoted = save("$dir/text", scalar(`tcpdump -nnv -r $recording 2>/dev/null`)
            =~ s/^/> /gmr);
        is(verdicts($quoted), $right, "$sample, quoted in a mail");
    }
};
subtest '- is standard input: a recording or text' => sub {
    for my $what ("cat $sample2", "tcpdump -nn -r $sample2 2>&1", "tcpdump -nnv -r $sample2 2>&1") {
        is(said('sh', '-c', "$what | scripts/ladder.sh --no-time - | tail -n 1"),
            "0   server reset it after 8 packets: RST, no FIN. TIME-WAIT: nobody.\n", $what);
    }
};
subtest 'a log of tcpdump is text, whatever its name, and no log of the programs' => sub {
    my $log = save("$dir/sample2.log", scalar `tcpdump -nnv -r $sample2 2>/dev/null`);
    like(ladder(0, $log), qr/ RST, ACK (.*\n)+.*reset it after 8 /, 'drawn');
};
subtest 'lines that end as on Windows are text as well' => sub {
    my $text = `tcpdump -nnv -r $sample2 2>/dev/null` =~ s/\n/\r\n/gr;
    is(verdicts(save("$dir/text", $text)), verdicts($sample2), 'verdict');
};
subtest 'text goes on after midnight' => sub {
    my $text = `tcpdump -nn -r $sample2 2>/dev/null` =~ s/^[\d:]+/23:59:59/gmr;
    $text =~ s/.*\K23:59:59(?=.*Flags \[R)/00:00:01/s;
    like(ladder(0, save("$dir/text", $text)), qr/⋮ .* [12]\.\d s .*\n[12]\.\d.* RST, ACK/,
        'the RST comes 2 s later, not a day earlier');
};
subtest 'without times the drawing has none' => sub {
    my $text = save("$dir/text", scalar `tcpdump -nnt -r $sample2 2>/dev/null`);
    unlike(ladder(0, $text), qr/seconds/, 'no column of times');
};

# ---- recordings made here
my %bit = (F => 1, S => 2, R => 4, P => 8, A => 16, E => 64, W => 128);
sub tcp ($from, $to, $flags, $seq, $ack = 0, $data = undef) {
    my $bits = eval join '+', 0, @bit{ split //, $flags };
    my $header = pack('nnNNCCnnn', $from, $to, $seq % 2**32, $ack, 0x50, $bits, 512, 0, 0);
    return $header . ($data // '');
}
sub ip ($protocol, $payload) {
    my $header = pack('CCnnnCCn', 0x45, 0, 20 + length $payload, 0, 0x4000, 64, $protocol, 0);
    return $header . "\x7f\0\0\1" x 2 . $payload;
}
sub udp ($port, $payload) {
    return ip(17, pack('nnnn', 1000, $port, 8 + length $payload, 0) . $payload);
}
sub ip6 ($from, $to, $tcp) { # behind an extension header
    return pack('NnCC', 0x60000000, 8 + length $tcp, 60, 64) .
        inet_pton(AF_INET6, $from) . inet_pton(AF_INET6, $to) . pack('CCCCN', 6, 0, 1, 4, 0) . $tcp;
}
my $files = 0;
sub recording (@packets) { # [TIME, PACKET, bytes kept]...: a file of raw IP
    my $bytes = pack('VvvVVVV', 0xa1b2c3d4, 2, 4, 0, 0, 262144, 101);
    for (@packets) {
        my ($t, $packet, $kept) = @$_;
        my $part = substr $packet, 0, $kept // length $packet;
        my $microseconds = ($t - int $t) * 1e6 + 0.5;
        $bytes .= pack('VVVV', int $t, $microseconds, length $part, length $packet) . $part;
    }
    return save("$dir/" . ++$files . '.pcap', $bytes);
}
my $epoch = 1795382651; # 21:24:11 in UTC
# The same as pcapng, which Wireshark writes; at the time 0.
sub pcapng (@packets) {
    my $bytes = pack('VVVvvq<V', 0x0a0d0d0a, 28, 0x1a2b3c4d, 1, 0, -1, 28)
        . pack('VVvvVV', 1, 20, 101, 0, 262144, 20);
    for my $packet (@packets) {
        my $padded = $packet . "\0" x (-length($packet) % 4);
        my $size = 32 + length $padded;
        $bytes .= pack('V7', 6, $size, 0, 0, 0, (length $packet) x 2) . $padded . pack('V', $size);
    }
    return save("$dir/" . ++$files . '.pcapng', $bytes);
}
# A conversation of port 40000 with 8081, a packet each millisecond: ">FLAGS:DATA,SEQ,ACK~SECONDS
# before".
sub written ($packets) {
    my ($t, %next) = (-0.001, '>' => 100, '<' => 300);
    return recording(map {
        my ($way, $flags, $data, $seq, $ack, $wait) =
            /^(.)(\w+)(?::([^,~]+))?(?:,(\d+),(\d+))?(?:~(.+))?$/;
        $seq //= $next{$way};
        $ack //= $next{$way =~ tr/<>/></r};
        $next{$way} = $seq + length($data // '') + ($flags =~ /[SF]/);
        $t += 0.001 + ($wait // 0);
        [$epoch + $t, ip(6, tcp($way eq '>'
            ? (40000, 8081) : (8081, 40000), $flags, $seq, $ack, $data))];
    } split / /, $packets);
}
# ---- special cases: the table in tests/ladder/cases
my %short = (OPEN => '>S <SA >A', DATA => '>S <SA >A >PA:ABCD <A <PA:CDEF >A',
    UP => 'end missing: client ESTABLISHED, server ESTABLISHED.');
for my $case (split /\n(?! )/, slurp('tests/ladder/cases') =~ s/^#.*\n//mgr) {
    $case =~ s/(?<![A-Z])(OPEN|DATA|UP)\b/$short{$1}/g;
    my ($what, $packets, $verdict, $pattern) = split /\s*\| |\n\z/, $case;
    my $file = written($packets =~ s/(\w)\*(\d+)/$1 x $2/ger =~ s/\\x(..)/chr hex $1/ger);
    my $said = verdicts($file) =~ s/ after \d+ packets?(?=:)|TIME-WAIT: (?=\w+\.)//gr;
    subtest $what => sub {
        like(ladder(0, $file), qr/$pattern/, 'drawn as such');
        is($said, ($verdict =~ s/\\n/\n/r) . "\n", 'judged as such');
    };
}
like(ladder(0, '--mermaid', written("$short{OPEN} >PA:\";#<")), qr/: PSH, ACK ""#59;#35;#60;"\n/,
    'Mermaid gets ; # and < as text');
my $long = join ':', '2001', ('dbff') x 7;
my $inside = "\x08\0\0\0\0\0\x05\0" . "\2\0\0\0\0\1" x 2 . "\x08\0" . ip(6, tcp(7002, 80, 'S', 1));
my $l2tp = "\0\2\0\1\0\1\xff\3\0\x21" . ip(6, tcp(7004, 80, 'S', 1));
for (
    ['a connection to itself has no states',
        qr/ ACK .*▶│\n  one end, connected to itself, 3 packets: no states\./,
        map { ip(6, tcp(7000, 7000, @$_)) } ['S', 1], ['SA', 1, 2], ['A', 2, 2]],
    ['behind IPv6 extension headers are addresses and data',
        qr/\[2001:db8::1\]:7001 +server \[::2\]:80\n(.*\n)*.*SYN "ABCD"(.*\n)*.*\[2001:db8::3\]/,
        map { ip6("2001:db8::$_", '::2', tcp(7001, 80, 'S', $_, 0, 'ABCD')) } 1, 3],
    ['long addresses get a line each',
        qr/(?:^tcp \d +client \[.*\]:65\n +server \[.*\]:66\n(?:.*\n)+){2}/m,
        map { ip6(@$_, tcp(65, 66, 'S', 1)) } [$long, '::1'], ['::1', $long]],
    ['in VXLAN is TCP', qr/client :7002 .*\n.*\n.* SYN /, udp(4789, $inside)],
    ['in L2TP is TCP', qr/client :7004 .*\n.*\n.* SYN /, udp(1701, $l2tp)],
) {
    my ($title, $pattern, @packets) = @$_;
    like(ladder(0, recording(map { [1, $_] } @packets)), $pattern, $title);
}
subtest 'text in a payload never becomes a conversation' => sub {
    my $tcp = 'IP 1.1.1.1.1 > 2.2.2.2.2: Flags [S], seq 1';
    my $query = pack('n6', 1, 256, 1, 0, 0, 0) . pack('C/a*', "a $tcp") . "\0\0\1\0\1";
    like(ladder(1, recording([1, udp(69, "\0\1x $tcp\0octet\0")])), qr/no TCP/,
        'a file name of TFTP');
    like(ladder(1, recording([1, udp(53, $query)])), qr/no TCP/, 'a name of DNS');
    like(ladder(1, recording([1, udp(5060, "INVITE sip:$tcp SIP/2.0\r\n")])), qr/no TCP/,
        'a line of SIP');
};
like(ladder(0, pcapng(ip(6, tcp(7006, 80, 'S', 1)), ip(6, tcp(80, 7006, 'RA', 0, 2)))),
    qr/server refused it after 2 packets/, 'pcapng is a recording as well');
subtest 'what the snap length cut is said' => sub {
    my $data = recording([1, ip(6, tcp(7003, 80, 'PA', 1, 1, 'ABCD')), 42]);
    like(ladder(0, $data), qr/PSH, ACK 4 bytes/, 'data has its length');
    my $header = recording(map { [1, ip(6, tcp(7003, 80, 'PA', 1, 1, 'ABCD')), 30] } 1, 2);
    like(ladder(1, $header), qr/: 2 TCP packets cut too short by the snap length \(.+\)$/,
        'headers are missed');
};
subtest 'a packet that was recorded twice counts once, if its IP id tells' => sub {
    my $id = 0;
    my @once = map { $id++; my $ip = ip(6, tcp(@$_)); substr $ip, 4, 2, pack 'n', $id; $ip }
        [7005, 80, 'S', 1], [80, 7005, 'SA', 5, 2], [7005, 80, 'A', 2, 6], [7005, 80, 'RA', 2, 6];
    my $t = 1;
    my $file = recording(map { $t += 0.001; ([$t, $_], [$t + 0.0001, $_]) } @once);
    is(verdicts($file), "client reset it after 4 packets: RST, no FIN. TIME-WAIT: nobody.\n",
        'verdict');
    like(ladder(0, $file), qr/^  4 copies of packets left out\.$/m, 'said below the drawing');
};
mkdir "$dir/large";    # in PATH, every recording is large: read without -x, so without IP ids
shim("$dir/large", 'wc', 'echo 10000000');
subtest 'a long transfer is folded' => sub {
    my $n = 0;
    my $bulk = join ' ', map { $n += 4; ("<PA:ABCD", ">A,101," . (301 + $n)) } 1 .. 500;
    my $drawn = ladder(0, written("$short{OPEN} $bulk >FA <FA >A"));
    like($drawn, qr/⋮ +│ 994 packets, 1988 bytes +│\n/, 'a row says how many packets and bytes');
    is($drawn =~ tr/\n//, 16, 'the rest are few rows');
    my $short = join ' ', ('<PA:ABCD', '>A') x 8;
    unlike(ladder(0, written("$short{OPEN} $short")), qr/ packets, /, 'what fits a screen is not');
    my $download = join ' ',
        map { sprintf '<PA:ABCD,%d,%d', 305 + 4 * $_, $_ < 20 ? 105 : 106 } 0 .. 39;
    local $ENV{PATH} = "$dir/large:$ENV{PATH}";
    like(ladder(0, written("$short{DATA} >FA $download >A,106,465 <FA >A")),
        qr/⋮ +FIN-WAIT-2   │ +35 packets, 140 bytes +│\n/, 'a state that begins in it is said');
};
subtest 'conversations of one file have one clock' => sub {
    my $file = written("$short{OPEN} >RA >S,5000,0~60 <SA,7000,5001 >RA,5001,7001");
    like(ladder(0, $file), qr/\n0\.000000  SYN-SENT (.*\n)+60\.00400  SYN-SENT /,
        'the zero is the first');
};

# ---- what is no recording of TCP, and how it ends
my ($junk, $empty, $cut) = map { save("$dir/" . ++$files, $_) } 'x' x 100,
    '', substr slurp($sample1), 0, 900;
my %bad = (
    $junk => 'neither a recording nor text',
    $empty => 'empty file',
    $cut => 'truncated',
    $dir => 'a directory',
    "$dir/none" => 'no such file',
    "$dir/no.log" => 'no log',
    recording() => 'no packets',
    recording([1, udp(9, '')]) => 'no TCP',
);
like(ladder(1, $_, $sample2),
    qr/reset it after 8 .*\n(?:.*\n)*ladder\.sh: \Q$_\E: $bad{$_}.* \(.+\)$/m,
    "$bad{$_}: said with a way out, and the next file is drawn") for sort keys %bad;
chmod 0, $junk;    # but root, and the lab's user, may read everything
like(said('setpriv', $> ? '--ambient-caps' : '--bounding-set', '-all', 'scripts/ladder.sh', $junk),
    qr/: may not be read by you \(.+\)$/, 'a file that one may not read is said to be one');
like(ladder(1, $cut), qr/FIN-WAIT-1(?:.*\n)+.* \(stop the recorder before its file is read\)$/,
    'what a broken recording holds is still drawn');
subtest 'bad usage ends with 2 and the usage, --help with 0' => sub {
    like(ladder(2, @$_), qr/^ladder\.sh: .*usage: /, "ladder.sh @$_")
        for [], ['--wrong', $cut], [''], ['--verdict'];
    like(ladder(0, '--help'), qr/^usage: /, '--help');
};
subtest '-- FILTER chooses conversations of a recording' => sub {
    my $both = written("$short{OPEN} >RA");
    is(verdicts($both, '--', 'port', '40000'), verdicts($both), 'what matches is drawn');
    like(ladder(1, $both, '--', 'port 9'), qr/no TCP in it that FILTER chooses \(.+\)$/,
        'nothing matches');
    like(ladder(1, $both, '--', 'port'), qr/FILTER: .*syntax error \(.+\)$/, 'no filter');
    like(ladder(1, 'tests/ladder/sack.txt', '--', 'port 80'), qr/FILTER needs a recording/, 'text');
};
subtest '--verdict is a line a conversation: its time, its ends, the verdict' => sub {
    is(ladder(0, '--verdict', $sample1, $sample2),
        "21:24:11.396569 127.0.0.1.39636 > 127.0.0.1.8081: "
        . "client closed after 11 packets: FIN in four packets. TIME-WAIT: client.\n"
        . "21:24:11.491559 127.0.0.1.38702 > 127.0.0.1.8082: "
        . "server reset it after 8 packets: RST, no FIN. TIME-WAIT: nobody.\n",
            '0 if all are whole');
    local $ENV{TZ} = 'XYZ-05:30';
    like(ladder(0, '--verdict', $sample1), qr/^02:54:11\.396569 /, 'the time is local');
    $ENV{TZ} = 'XYZ+05:30';
    like(ladder(0, '--verdict', $sample1), qr/^15:54:11\.396569 /, 'also west of Greenwich');
    like(ladder(3, '--verdict', written($_), $sample1), qr/missing.*\n.* after 11 /,
        '3 if one is not whole')
        for $short{DATA}, '>PA:AB >RA';
    like(ladder(1, '--verdict', @$_), qr/missing/, '1 if a recording is broken, in any order')
        for [written($short{DATA}), $cut], [$cut, written($short{DATA})];
};
is(said('sh', '-c', "scripts/ladder.sh $sample2 >&-"),
    "1 ladder.sh: stdout is closed (there is nowhere to draw)\n", 'a closed stdout is said');
subtest '2000 interleaved conversations are drawn in their order' => sub {
    my $many = recording((map { [$epoch + $_ / 1e5, ip(6, tcp(10000 + $_, 8081,
        'S', 1))] } 1 .. 2000),
        map { [$epoch + 1, ip(6, tcp(8081, 10000 + $_, 'RA', 0, 2))] } 1 .. 2000);
    my $text = ladder(0, $many);
    my @ports = $text =~ /client :(\d+)(?:.*\n){4}.*refused it after 2 /g;
    ok("@ports" eq join(' ', 10001 .. 12000), 'in order')
        or diag($text =~ /^((?:.*\n){20})/);
    my $for_one_line = "{ scripts/ladder.sh $many; echo \$? >&2; } | head -n 2";
    is((run('sh', '-c', $for_one_line))[2], "141\n",
        'a reader that goes ends it quietly, as a signal does');
};
subtest 'a conversation of a known shape has its own ends and times' => sub {
    my @alike = map {
        my ($port, $t, $c, $s) = (7100 + $_, 10 * $_, 1000 * $_, 5000 * $_);
        my $last = $t + 1 + $_;
        ([$t, ip(6, tcp($port, 80, 'S', $c))], [$t + 0.5, ip(6, tcp(80, $port, 'SA', $s, $c + 1))],
            [$last, ip(6, tcp($port, 80, 'RA', $c + 1, $s + 1))]);
    } 1 .. 3;
    local $ENV{PATH} = "$dir/large:$ENV{PATH}";
    my @drawn = split /\n\n/, ladder(0, recording(@alike));
    for (0 .. 2) {
        my $port = 7101 + $_;
        my $silence = sprintf '%.1f s', 1.5 + $_;
        like($drawn[$_], qr/client :$port (?:.*\n)+.* $silence (?:.*\n)+.*RST, no FIN/,
            "conversation $_");
    }
};

# ---- the programs' lines: any zone, midnight
sub with_calls ($connect, $close) {    # at these times of day; the recording's SYN is at 21:24:11
    my $file = written("$short{DATA} >FA");
    save($file =~ s/pcap$/client.log/r,
        "$connect client connect 127.0.0.1:8081 from 127.0.0.1:40000\n"
        . "$close client close \xc3\xa9\e[2J\n");
    return ladder(0, $file);
}
like(with_calls('02:54:11.002500', '02:54:11.006500'),
    qr/\n0\.002500  connect .*\n0\.003000 .*PSH.*\n(?:.*\n){3}0\.006500  close \.{3}\[2J .*\n.*FIN/,
    'calls stand at their time, though their clock is of another zone, +05:30, and are ASCII');
unlike(with_calls(@$_), qr/connect/, "calls of another connection, at $_->[0], are left out")
    for ['21:34:11.003500', '21:34:11.007500'], ['21:24:07.003500', '21:24:07.007500'];
my $midnight = recording([86399.5, ip(6, tcp(7, 8081, 'S', 1))], [86401.5, ip(6, tcp(7, 8081,
    'R', 2))]);
save($midnight =~ s/pcap$/client.log/r,
    "23:59:59.800000 client connect 127.0.0.1:8081 from 127.0.0.1:7\n"
    . "00:00:01.000000 client close\n");
like(ladder(0, $midnight), qr/\n0\.300000  connect.*\n.*1\.2 s.*\n1\.500000  clo/,
    'calls go on after midnight');
my $six = recording([1, ip6('::1', '::1', tcp(7, 8081, 'S', 1))]);
save($six =~ s/pcap$/client.log/r, "00:00:01.100000 client connect [::1]:8081 from [::1]:7\n");
like(ladder(0, $six), qr/\n0\.100000  connect/, 'calls of IPv6 ends are drawn');
subtest 'logs may be named' => sub {
    my $copy = save("$dir/all.pcap", slurp($sample1));
    my @logs = map { "tests/reference/sample1.$_.log" } 'client', 'server';
    my ($calls, $no_time) = map { slurp("tests/ladder/sample1.$_") } 'calls', 'no-time';
    is(ladder(0, @logs, $copy), $calls, 'before the recording');
    is(ladder(0, $copy, @logs, @logs), $calls, 'twice');
    is(ladder(0, '--no-time', $copy, @logs), $no_time, 'and are left out with the times');
    like(ladder(1, $copy, 'tests/reference/sample2.client.log'),
        qr/\nladder.sh: .*client.log: its calls are of no conv/,
            'one that belongs to another recording is refused');
    like(ladder(0, $copy, $sample2, @logs), qr/connect(.*\n)+.*reset it/,
        'for one of several recordings');
    save($_ =~ s{.*/}{$dir/all.}r, slurp($_)) for glob 'tests/reference/sample*.log';
    is(ladder(0, $copy), $calls, 'of all.pcap, each conversation finds its own');
};

# ---- real connections in this lab, not of Ethernet (-i any): ss says in which states the ends
# really are
my $live = "$dir/live.pcap";
my @user = ('-Z', scalar(getpwuid $<) // 'root');
my $tcpdump = start('tcpdump', @user, qw(-i any -s 256 -U --immediate-mode -w), $live, 'tcp');
shows($tcpdump, qr/listening on/, 'err') or BAIL_OUT(slurp($tcpdump->{err}));
my $drawn;
sub drawn ($port) {
    system "tcpdump -r $live -w $dir/part.pcap port $port 2>/dev/null";
    $drawn = (run('scripts/ladder.sh', '--no-time', "$dir/part.pcap"))[1];
    return join ' / ', map { $drawn =~ $_ ? $1 : '' } qr/.*^([A-Z]\S+) +[├│]/ms,
        qr/.*[┤│]  (\S+)$/ms;
}
sub real ($port) {
    my %is = map { ((split)[3] =~ /:$port$/ ? 'server' : 'client') => (split)[0] }
        grep { /:$port\b/ && !/^LISTEN/ } `ss -Htan`;
    return join ' / ', map { ($is{$_} // 'CLOSED') =~ s/^ESTAB$/ESTABLISHED/r } 'client', 'server';
}
sub agree ($what, $port, $expected) {    # what was done, the states of client and server to come
    subtest "$what: ss and the ladder say $expected" => sub {
        for my $witness ('ss', 'ladder') {
            my $seen = '';
            eventually(sub { ($seen = $witness eq 'ss'
                ? real($port) : drawn($port)) eq $expected });
            is($seen, $expected, $witness);
        }
    };
}
sub pair ($host, $port) {    # the two ends of a connection
    my $listener = IO::Socket::IP->new(LocalHost => $host, LocalPort => $port, Listen => 1)
        // die "listen";
    my $client = IO::Socket::IP->new(PeerHost => $host, PeerPort => $port) // die "connect: $@";
    return ($client, $listener->accept);
}
my ($c, $s) = pair('127.0.0.1', 9001);
agree('connect', 9001, 'ESTABLISHED / ESTABLISHED');
$c->shutdown(1);
agree('a FIN of the client', 9001, 'FIN-WAIT-2 / CLOSE-WAIT');
close $s;
agree('a FIN of the client, then one of the server', 9001, 'TIME-WAIT / CLOSED');
($c, $s) = pair('::1', 9002);
$s->shutdown(1);
agree('a FIN of the server', 9002, 'CLOSE-WAIT / FIN-WAIT-2');
close $c;
agree('a FIN of the server, then one of the client', 9002, 'CLOSED / TIME-WAIT');
($c, $s) = pair('::1', 9003);
hang_up($s);
agree('a reset', 9003, 'CLOSED / CLOSED');
like($drawn, qr/^tcp 1 +client \[::1\] +server \[::1\]:9003\n/, 'ends of IPv6 are in brackets');
stop($tcpdump, 'INT');
cmp_ok($widest, '<=', 80, 'no line that was drawn is longer than 80 characters');
done_testing();
