#!/usr/bin/perl
# scripts/ladder.sh and what tcpdump printed, with whatever options, as people have it in a mail, a
# report or a log: it gives the verdict of the recording, or says why it cannot be read.
use v5.36;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use File::Basename;

need('tcpdump');
$ENV{TZ} = 'UTC';
my $dir = tempdir(CLEANUP => 1);
my $sample2 = 'tests/reference/sample2.pcap';

# Those that are cut give other verdicts; the IP id tells what copies are, and only -v prints it.
my @recordings = grep { !/cut|payloads/ } glob 'tests/reference/*.pcap tests/ladder/*.pcap*';
my @without_id = grep { !/copies|node-sees-both/ } @recordings;
my @samples = map { "tests/reference/$_.pcap" } qw(sample1 sample2 lost-rst);

# What tcpdump prints of RECORDING with OPTIONS, and of itself.
sub printed ($recording, $options) {
    return scalar `tcpdump $options -r $recording 2>&1`;
}

# The verdicts of FILES, without times and ends; and what is said on stderr.
sub verdicts (@files) {
    my (undef, $out, $err) = run('scripts/ladder.sh', '--verdict', @files);
    return $out =~ s/^\S+ \S+ > \S+: //gmr . $err;
}

# The verdicts of TEXT in a file.
sub verdicts_of_text ($text) {
    return verdicts(save("$dir/text", $text));
}

# A conversation in lines of tcpdump -nn, with WORDS of a link or a tunnel before its addresses.
sub conversation ($words = 'IP ') {
    my ($client, $server) = ('192.0.2.1.40000', '198.51.100.1.80');
    return join '', map { "12:00:00.$_\n" } (
        "000000 $words$client > $server: Flags [S], seq 1000, win 512, length 0",
        "001000 $words$server > $client: Flags [S.], seq 3000000000, ack 1001, win 512, length 0",
        "002000 $words$client > $server: Flags [.], ack 1, win 512, length 0",
        "003000 $words$server > $client: Flags [R.], seq 1, ack 1, win 512, length 0",
    );
}
my $reset = "server reset it after 4 packets: RST, no FIN. TIME-WAIT: nobody.\n";

# ---- options ------------------------------------------------------------------------------------

# Is what tcpdump prints of RECORDINGS with OPTIONS as good as they are?
sub compare ($options, $expected, @recordings) {
    my @texts;
    for my $recording (@recordings) {
        push @texts, save("$dir/" . basename($recording) . '.txt',
            "Look at this:\n\n" . printed($recording, $options));
    }
    is(verdicts(@texts), $expected, "what tcpdump $options prints has the verdicts of recordings");
}

my $all = verdicts(@recordings);
compare($_, $all, @recordings) for '-nn -v', '-nn -vv -e', '-nn -# -tt -v -S';
my $without_id = verdicts(@without_id) =~ s/ ICMP: .*//gr;    # -v prints what an error quotes
compare($_, $without_id, @without_id)
    for '-nn', '-nn -S -e', '-nn -X -ttt', '-nn -A -tttt';
my $of_samples = verdicts(@samples);
compare($_, $of_samples, @samples) for '-n', '', '-v -XX -e', '-nn -t', '-nn -ttttt', '-nn -vvv -x';

# The times at which the rows of the drawing of FILE stand.
sub seconds ($file) {
    my (undef, $drawn) = run('scripts/ladder.sh', $file);
    return join ' ', $drawn =~ /^(\d\S+) /mg;
}

subtest 'the rows stand at the same seconds, whatever times tcpdump prints' => sub {
    for my $recording (@samples) {
        for my $options ('-nn', '-nn -tt', '-nn -ttt', '-nn -tttt', '-nn -ttttt') {
            my $text = save("$dir/text", printed($recording, $options));
            is(seconds($text), seconds(save("$dir/copy", slurp($recording))),
                "$recording, tcpdump $options");
        }
    }
};

subtest 'without times the drawing has none' => sub {
    my (undef, $drawn) = run('scripts/ladder.sh', save("$dir/text", printed($sample2, '-nn -t')));
    like($drawn, qr/ RST, ACK /, 'it is drawn');
    unlike($drawn, qr/seconds|^\d/m, 'without a column of times');
};

# ---- what stands around the packets -------------------------------------------------------------

my %around = (
    'that is quoted in a mail' => sub ($text) { $text =~ s/^/> /gmr },
    'that ends its lines as Windows does' => sub ($text) { $text =~ s/\n/\r\n/gr },
    'that is indented by a tab' => sub ($text) { $text =~ s/^/\t/gmr },
    'that is indented by spaces' => sub ($text) { $text =~ s/^/    /gmr },
    'with the names of a log' => sub ($text) { $text =~ s/^(?=\d)/Nov 29 12:00:00 router: /gmr },
    'with a prompt before it' => sub ($text) { "root\@router:~# tcpdump -i any\n$text^C\n" },
    'with empty lines in it' => sub ($text) { $text =~ s/\n(?=\d)/\n\n/gr },
);
for my $what (sort keys %around) {
    subtest "text $what has the verdict of the recording" => sub {
        for my $options ('-nn', '-nn -v', '-nn -X') {
            is(verdicts_of_text($around{$what}->(printed($sample2, $options))),
                verdicts($sample2), "tcpdump $options");
        }
    };
}

subtest 'text without its first lines has a verdict without its beginning' => sub {
    my $text = printed($sample2, '-nn') =~ s/\A(?:.*\n){4}//r;
    like(verdicts_of_text($text), qr/\Aserver reset it, beginning missing: RST\./,
        'the handshake is cut off');
};

subtest 'a log of tcpdump is text, and no log of the programs' => sub {
    my $log = save("$dir/sample2.log", printed($sample2, '-nn -v'));
    is(verdicts($log), verdicts($sample2), 'though its name ends in .log');
};

# ---- words before the addresses -----------------------------------------------------------------

my $macs = '02:00:00:00:00:02 > 02:00:00:00:00:01, ethertype';
my $outer = 'IP 10.0.0.1.50000 > 10.0.0.2';
for my $words (
    '', 'IP6 ', 'In  IP ', 'eth0  Out IP ', 'AF IPv4 (2), length 68: ', 'IP (0x0021), length 42: ',
    'ff 03 44 IP: ', 'PPPoE  [ses 0x1] IP ', 'MPLS (label 16, tc 0, [S], ttl 64) IP ',
    'vlan 100, p 0, IP ', "$macs IPv4 (0x0800), length 54: ",
    "$macs 802.1Q-QinQ (0x88a8), length 62: vlan 1, p 0, ethertype 802.1Q (0x8100), vlan 2, p 0, "
        . 'ethertype IPv4 (0x0800), ',
    'BSSID:02:00:00:00:00:01 SA:02:00:00:00:00:02 DA:02:00:00:00:00:03 LLC, dsap SNAP (0xaa): ',
    '(en0, proc client:47431, svc BE, out, so) IP ', 'IP truncated-ip - 226 bytes missing! ',
    'IP 10.0.0.1 > 10.0.0.2: IP ', 'IP 10.0.0.1 > 10.0.0.2: ',
    'IP 10.0.0.1 > 10.0.0.2: GREv0, length 44: IP ',
    'IP 10.0.0.1 > 10.0.0.2: GREv1, call 1, seq 0, proto PPP (0x880b), length 54: IP ',
    "$outer.4790: VXLAN-GPE, flags [IP], vni 5: IP ",
    "$outer.6081: Geneve, Flags [none], vni 0x5, proto TEB (0x6558): $macs IPv4, length 54: ",
    "$outer.4789: VXLAN, flags [I] (0x08), vni 5\nIP ",
    "$outer.6635: MPLS (label 16, tc 0, [S], ttl 64) IP ", "$outer.1701:  l2tp:[](1/1) {IP ",
    "IP (tos 0x0, ttl 64, id 1, offset 0, flags [DF], proto GRE (47), length 64)\n"
        . "    10.0.0.1 > 10.0.0.2: GREv0, Flags [none], length 44\n"
        . "\tIP (tos 0x0, ttl 64, id 1, offset 0, flags [DF], proto TCP (6), length 40)\n    ",
) {
    is(verdicts_of_text(conversation($words)), $reset, "a packet may stand behind '$words'");
}

subtest 'behind IPv6 extension headers stand the ports alone' => sub {
    my $ends = qr/IP6 (\S+)\.(\d+) > (\S+)\.(\d+): /;
    my $text = conversation('IP6 ') =~ s/$ends/IP6 $1 > $3: HBH $2 > $4: /gr;
    is(verdicts_of_text($text), $reset, 'they belong to the addresses before them');
};

subtest 'a packet behind unknown words is not passed over: the first is quoted' => sub {
    my $unknown = "IP 10.0.0.1 > 10.0.0.2: TUN\e[31mNEL, key 5: IP ";
    my $said = verdicts_of_text(conversation() . conversation($unknown));
    like($said, qr/\A\Q$reset\E.*: 4 lines of TCP .* unknown words: ".*TUN\.\[31mNEL.*" \(.+\)$/,
        'without its control characters, and it is said how many they are');
};

subtest 'a line of TCP that is cut is not passed over' => sub {
    my $text = conversation() =~ s/, ack 1, win 512, length 0\n\z/, a\n/r;
    like(verdicts_of_text($text), qr/: 1 line of TCP .* cut .*: ".*Flags \[R\.\], seq 1, a"/,
        'it is quoted');
};

# ---- payloads -----------------------------------------------------------------------------------

# A line of -A, and in it what looks like a packet.
my $body = conversation() =~ s/192\.0\.2\.1/203.0.113.9/gr;
my $dump = 'E..R..@.@........3d..@....BA.LKAP.......POST / HTTP/1.0' . "\n\n$body";
subtest 'a packet that -A prints as payload is none' => sub {
    my @lines = split /^/, conversation();
    my $short = "E..(..@.@........3d..@....BA........P.......\n\n";
    my $data = '12:00:00.002500 IP 192.0.2.1.40000 > 198.51.100.1.80: '
        . "Flags [P.], seq 1:501, ack 1, win 512, length 500\n";
    my $text = join '', map({ $_ . $short } @lines[0, 1, 2]), $data, $dump, $lines[3], $short;
    is(verdicts_of_text($text), $reset =~ s/4/5/r, 'though it has lines of its own');
};

# ---- what cannot be read ------------------------------------------------------------------------

my $dots = "\xe2\x86\x92";    # an arrow of tshark
my %unreadable = (
    'tcpdump -q' => [printed($sample2, '-nn -q'), qr/leaves out the flags \(.*without -q\)/],
    'tshark' => ["  1   0.000000  192.0.2.7 $dots 192.0.2.8 TCP 74 41128 $dots 80 [SYN] Seq=0 "
            . "Win=64240 Len=0 MSS=1460\n", qr/tshark or Wireshark \(.*tshark -r X -w Y.pcap\)/],
    'gzip' => ["\x1f\x8b\x08\0\0\0", qr/compressed \(zcat FILE \| scripts\/ladder.sh -\)/],
    'snoop' => ["snoop\0\0\0\0\0\0\2", qr/snoop \(editcap -F pcap .*\)/],
    'a novel' => ["Call me Ishmael.\n", qr/neither a recording nor text of tcpdump \(.+\)/],
    'UDP' => ["12:00:00.000000 IP 192.0.2.1.5 > 192.0.2.2.53: UDP, length 5\n",
        qr/no TCP in it \(.+\)/],
    'nothing' => ['', qr/empty file \(.+\)/],
);
for my $what (sort keys %unreadable) {
    my ($text, $pattern) = $unreadable{$what}->@*;
    like(verdicts_of_text($text), qr/\Aladder\.sh: .*$pattern\n\z/,
        "$what: said what it is, and the way out");
}

subtest 'no input takes long' => sub {
    my %large = (
        'a word of 100 KB' => 'x' x 100_000,
        '40,000 indented lines' => "    192.0.2.1.5 > 192.0.2.2.6\n" x 40_000,
        'zeros without a newline' => "\0" x 1_000_000,
        'as many arrows' => ' > ' x 300_000,
        'as many gaps' => 'x' . (' ' x 9 . 'x') x 100_000,
    );
    for my $what (sort keys %large) {
        my $file = save("$dir/text", conversation() . $large{$what});
        my (undef, $verdict) = run('timeout', '20', 'scripts/ladder.sh', '--verdict', $file);
        is($verdict =~ s/^\S+ \S+ > \S+: //r, $reset, $what);
    }
};

# ---- standard input -----------------------------------------------------------------------------

subtest '- is standard input, also without it: a recording or text' => sub {
    for my $command ("cat $sample2 |", "tcpdump -nn -v -r $sample2 2>&1 |") {
        for my $file ('-', '') {
            is(said('sh', '-c', "$command scripts/ladder.sh --no-time $file | tail -n 1"),
                "0   server reset it after 8 packets: RST, no FIN. TIME-WAIT: nobody.\n",
                "$command scripts/ladder.sh $file");
        }
    }
};
done_testing;
