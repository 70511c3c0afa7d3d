#!/usr/bin/perl
# scripts/ladder.sh: golden ladders of the reference recordings, every special case, and ss as judge.
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
    fail("ladder.sh @words: status $rc, not $status: $err") if $rc != $status || $status =~ /[03]/ && $err;
    my @lines = $out =~ /```|^[\d:.]{15} |^usage/ ? () : split /\n/, decode('UTF-8', $out);
    ($widest) = sort { $b <=> $a } $widest, map { length } @lines;
    return $out . $err;
}

# ---- the reference recordings, byte for byte, by an awk that leaves its mark
my %options = ('no-time' => ['--no-time'], mermaid => ['--mermaid']);
for my $awk ('mawk', 'gawk') {
    local $ENV{AWK} = save("$dir/$awk", qq{#!/bin/sh\necho $awk >>$dir/mark\nexec $awk "\$@"\n});
    for my $golden (glob 'tests/ladder/*.*') {
        my ($recording, $kind) = $golden =~ m{([^/]+)\.([^.]+)$};
        local $ENV{LC_ALL} = 'C' if $kind eq 'ascii';
        unlink "$dir/mark";
        my @options = (@{ $options{$kind} // [] }, $golden =~ /sample1.mermaid/ ? '--no-time' : ());
        my $drawn = ladder(0, @options, "tests/reference/$recording.pcap");
        save($golden, $drawn) if $ENV{UPDATE_GOLDEN}; # for a changed drawing: look at the difference
        is($drawn, slurp($golden), "$awk draws $golden byte for byte");
        is(slurp("$dir/mark"), "$awk\n$awk\n", "... and nothing else does");
    }
}
for ('LC_ALL=ja_JP.utf8', 'LC_CTYPE=C.UTF-8', 'LANG=de_DE.UTF8', 'LC_ALL=ja_JP.eucJP') {
    local @ENV{ 'LANG', (split /=/)[0] } = ('C', (split /=/)[1]);
    my $bar = /utf/i ? '│' : '|';
    like(ladder(0, $sample2), qr/[>▶]\Q$bar\E/, "$_ gets $bar");
}

# ---- recordings made here
my %bit = (F => 1, S => 2, R => 4, P => 8, A => 16, E => 64, W => 128);
sub tcp ($from, $to, $flags, $seq, $ack = 0, $data = undef) {
    my $bits = eval join '+', 0, @bit{ split //, $flags };
    return pack('nnNNCCnnn', $from, $to, $seq % 2**32, $ack, 0x50, $bits, 512, 0, 0) . ($data // '');
}
sub ip ($protocol, $payload) {
    my $header = pack('CCnnnCCn', 0x45, 0, 20 + length $payload, 0, 0x4000, 64, $protocol, 0);
    return $header . "\x7f\0\0\1" x 2 . $payload;
}
sub udp ($port, $payload) { return ip(17, pack('nnnn', 1000, $port, 8 + length $payload, 0) . $payload) }
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
        $bytes .= pack('VVVV', int $t, ($t - int $t) * 1e6 + 0.5, length $part, length $packet) . $part;
    }
    return save("$dir/" . ++$files . '.pcap', $bytes);
}
my $epoch = 1795382651; # 21:24:11 in UTC
# A conversation of port 40000 with 8081, a packet each millisecond: ">FLAGS:DATA,SEQ,ACK~SECONDS before".
sub written ($packets) {
    my ($t, %next) = (-0.001, '>' => 100, '<' => 300);
    return recording(map {
        my ($way, $flags, $data, $seq, $ack, $wait) = /^(.)(\w+)(?::([^,~]+))?(?:,(\d+),(\d+))?(?:~(.+))?$/;
        $seq //= $next{$way};
        $ack //= $next{$way =~ tr/<>/></r};
        $next{$way} = $seq + length($data // '') + ($flags =~ /[SF]/);
        $t += 0.001 + ($wait // 0);
        [$epoch + $t, ip(6, tcp($way eq '>' ? (40000, 8081) : (8081, 40000), $flags, $seq, $ack, $data))];
    } split / /, $packets);
}
# ---- special cases: the table in tests/ladder/cases
my %short = (OPEN => '>S <SA >A', DATA => '>S <SA >A >PA:ABCD <A <PA:CDEF >A',
    UP => 'end missing: client ESTABLISHED, server ESTABLISHED.');
for my $case (split /\n(?! )/, slurp('tests/ladder/cases') =~ s/^#.*\n//mgr) {
    $case =~ s/(?<![A-Z])(OPEN|DATA|UP)\b/$short{$1}/g;
    my ($what, $packets, $verdict, $pattern) = split /\s*\| |\n\z/, $case;
    my $file = written($packets =~ s/(\w)\*(\d+)/$1 x $2/ger =~ s/\\x(..)/chr hex $1/ger);
    like(ladder(0, $file), qr/$pattern/, "$what: drawn as such");
    my $said = (run('scripts/ladder.sh', '--verdict', $file))[1] =~ s/TIME-WAIT: (?=\w+\.$)//mgr;
    $said =~ s/^[\d:.]{15} \S+ > \S+: | after \d+ packets?(?=:)//mg;
    is($said, ($verdict =~ s/\\n/\n/r) . "\n", '... and judged');
}
like(ladder(0, '--mermaid', written("$short{OPEN} >PA:\";#<")), qr/: PSH, ACK ""#59;#35;#60;"\n/,
    'Mermaid gets ; # and < as text');
my $long = join ':', '2001', ('dbff') x 7;
my $inside = "\x08\0\0\0\0\0\x05\0" . "\2\0\0\0\0\1" x 2 . "\x08\0" . ip(6, tcp(7002, 80, 'S', 1));
for (
    ['a connection to itself', qr/ ACK .*▶│\n  one end, connected to itself, 3 packets: no states\./,
        map { ip(6, tcp(7000, 7000, @$_)) } ['S', 1], ['SA', 1, 2], ['A', 2, 2]],
    ['behind IPv6 extension headers are addresses and data',
        qr/client \[2001:db8::1\]:7001 +server \[::2\]:80\n(.*\n)*.*SYN "ABCD"(.*\n)*.*\[2001:db8::3\]/,
        map { ip6("2001:db8::$_", '::2', tcp(7001, 80, 'S', $_, 0, 'ABCD')) } 1, 3],
    ['long addresses get a line each', qr/(?:^tcp \d +client \[.*\]:65\n +server \[.*\]:66\n(?:.*\n)+){2}/m,
        map { ip6(@$_, tcp(65, 66, 'S', 1)) } [$long, '::1'], ['::1', $long]],
    ['in VXLAN is TCP', qr/client :7002 .*\n.*\n.* SYN /, udp(4789, $inside)],
) {
    my ($title, $pattern, @packets) = @$_;
    like(ladder(0, recording(map { [1, $_] } @packets)), $pattern, $title);
}
like(ladder(1, recording([1, udp(69, "\0\1x IP 1.1.1.1.1 > 2.2.2.2.2: Flags [S], seq 1\0octet\0")])), qr/TCP/,
    'text in UDP that reads like TCP is none');
like(ladder(0, recording([1, ip(6, tcp(7003, 80, 'PA', 1, 1, 'ABCD')), 42])), qr/PSH, ACK 4 bytes/,
    'data that the snap length cut has its length');

# ---- what is no recording of TCP, and how it ends
my ($junk, $empty, $cut) = map { save("$dir/" . ++$files, $_) } 'x' x 100, '', substr slurp($sample1), 0, 900;
my %bad = ($junk => 'neither a recording nor text', $empty => 'empty file', $cut => 'truncated', $dir => 'a directory',
    "$dir/none" => 'no such file', "$dir/no.log" => 'no log', recording() => 'no packets',
    recording([1, udp(9, '')]) => 'no TCP');
like(ladder(1, $_, $sample2), qr/reset it after 8 .*\n(?:.*\n)*ladder\.sh: \Q$_\E: $bad{$_}.* \(.+\)$/m,
    "$bad{$_}: said with a way out, and the next file is drawn") for keys %bad;
chmod 0, $junk; # but root, and the lab's user, may read everything
like(said('setpriv', $> ? '--ambient-caps' : '--bounding-set', '-all', 'scripts/ladder.sh', $junk),
    qr/: may not be read by you \(.+\)$/, 'a file that one may not read');
like(ladder(1, $cut), qr/FIN-WAIT-1/, 'what a broken recording holds is still drawn');
like(ladder(2, @$_), qr/^ladder\.sh: .*usage: /, "usage error: ladder.sh @$_")
    for [], ['--wrong', $cut], [''], ['--verdict'];
like(ladder(0, '--help'), qr/^usage: /, '--help is none');
is(ladder(0, '--verdict', $sample1, $sample2),
    "21:24:11.396569 127.0.0.1.39636 > 127.0.0.1.8081: "
    . "client closed after 11 packets: FIN in four packets. TIME-WAIT: client.\n"
    . "21:24:11.491559 127.0.0.1.38702 > 127.0.0.1.8082: server reset it after 8 packets: RST, no FIN. TIME-WAIT: nobody.\n",
    '--verdict is a line a conversation, and 0 if all are whole');
like(ladder(3, '--verdict', written($_), $sample1), qr/missing.*\n.* after 11 /, '... 3 if one is not')
    for $short{DATA}, '>PA:AB >RA';
like(ladder(1, '--verdict', written($short{DATA}), $cut), qr/missing/, '... and 1 if a recording is broken');
is(said('sh', '-c', "scripts/ladder.sh $sample2 >&-"),
    "1 ladder.sh: stdout is closed (there is nowhere to draw)\n", 'a closed stdout is said');
my $many = recording((map { [$epoch + $_ / 1e5, ip(6, tcp(10000 + $_, 8081, 'S', 1))] } 1 .. 2000),
    map { [$epoch + 1, ip(6, tcp(8081, 10000 + $_, 'RA', 0, 2))] } 1 .. 2000);
my $text = ladder(0, $many);
ok(join(' ', $text =~ /client :(\d+)(?:.*\n){4}.*refused it after 2 /g) eq join(' ', 10001 .. 12000),
    '2000 interleaved conversations are drawn in their order') or diag($text =~ /^((?:.*\n){20})/);
is((run('sh', '-c', "scripts/ladder.sh $many | head -n 1"))[2], '', 'a reader that goes ends it quietly');

# ---- the programs' lines: any zone, midnight
sub with_calls ($connect, $close) { # at these times of day; the recording's SYN is at 21:24:11
    my $file = written("$short{DATA} >FA");
    save($file =~ s/pcap$/client.log/r,
        "$connect client connect 127.0.0.1:8081 from 127.0.0.1:40000\n$close client close \xc3\xa9\e[2J\n");
    return ladder(0, $file);
}
like(with_calls('02:54:11.002500', '02:54:11.006500'),
    qr/\n0\.002500  connect .*\n0\.003000 .*PSH.*\n(?:.*\n){3}0\.006500  close \.\.\.\[2J .*\n.*FIN/,
    'calls stand at their time, though their clock is of another zone, +05:30, and are ASCII');
unlike(with_calls('21:34:11.003500', '21:34:11.007500'), qr/connect/, '... but not those of an older one');
my $midnight = recording([86399.5, ip(6, tcp(7, 8081, 'S', 1))], [86401.5, ip(6, tcp(7, 8081, 'R', 2))]);
save($midnight =~ s/pcap$/client.log/r,
    "23:59:59.800000 client connect 127.0.0.1:8081 from 127.0.0.1:7\n00:00:01.000000 client close\n");
like(ladder(0, $midnight), qr/\n0\.300000  connect.*\n.*1\.2 s.*\n1\.500000  clo/, '... midnight may pass');
my $copy = save("$dir/all.pcap", slurp($sample1));
my @logs = map { "tests/reference/sample1.$_.log" } 'client', 'server';
my ($calls, $no_time) = map { slurp("tests/ladder/sample1.$_") } 'calls', 'no-time';
is(ladder(0, @logs, $copy), $calls, 'logs may be named');
is(ladder(0, $copy, @logs, @logs), $calls, '... also twice, or if they are found anyway');
is(ladder(0, '--no-time', $copy, @logs), $no_time, '... and are left out with the times');
like(ladder(1, $copy, 'tests/reference/sample2.client.log'), qr/\nladder.sh: .*client.log: its calls are of no conv/,
    'a log that belongs to another recording is refused');
save($_ =~ s{.*/}{$dir/all.}r, slurp($_)) for glob 'tests/reference/sample*.log';
is(ladder(0, $copy), $calls, 'of all.pcap, each conversation finds its own');

# ---- real connections in this lab, not of Ethernet (-i any): ss says in which states the ends really are
my $live = "$dir/live.pcap";
my @user = ('-Z', scalar(getpwuid $<) // 'root');
my $tcpdump = start('tcpdump', @user, qw(-i any -s 256 -U --immediate-mode -w), $live, 'tcp');
shows($tcpdump, qr/listening on/, 'err') or BAIL_OUT(slurp($tcpdump->{err}));
my $drawn;
sub drawn ($port) {
    system "tcpdump -r $live -w $dir/part.pcap port $port 2>/dev/null";
    $drawn = (run('scripts/ladder.sh', '--no-time', "$dir/part.pcap"))[1];
    return join ' / ', map { $drawn =~ $_ ? $1 : '' } qr/.*^([A-Z]\S+) +[├│]/ms, qr/.*[┤│]  (\S+)$/ms;
}
sub real ($port) {
    my %is = map { ((split)[3] =~ /:$port$/ ? 'server' : 'client') => (split)[0] }
        grep { /:$port\b/ && !/^LISTEN/ } `ss -Htan`;
    return join ' / ', map { ($is{$_} // 'CLOSED') =~ s/^ESTAB$/ESTABLISHED/r } 'client', 'server';
}
sub agree ($what, $port, $expected) { # what was done, the states of client and server to come
    for my $witness (\&real, \&drawn) {
        my $seen;
        eventually(sub { ($seen = $witness->($port)) eq $expected });
        is($seen, $expected, $witness == \&real ? "$what: ss says $expected" : '... and so does the ladder');
    }
}
sub pair ($host, $port) { # the two ends of a connection
    my $listener = IO::Socket::IP->new(LocalHost => $host, LocalPort => $port, Listen => 1) // die "listen";
    my $client = IO::Socket::IP->new(PeerHost => $host, PeerPort => $port) // die "connect: $@";
    return ($client, $listener->accept);
}
my ($c, $s) = pair('127.0.0.1', 9001);
agree('connect', 9001, 'ESTABLISHED / ESTABLISHED');
$c->shutdown(1);
agree('a FIN of the client', 9001, 'FIN-WAIT-2 / CLOSE-WAIT');
close $s;
agree('then one of the server', 9001, 'TIME-WAIT / CLOSED');
($c, $s) = pair('::1', 9002);
$s->shutdown(1);
agree('a FIN of the server', 9002, 'CLOSE-WAIT / FIN-WAIT-2');
close $c;
agree('then one of the client', 9002, 'CLOSED / TIME-WAIT');
($c, $s) = pair('::1', 9003);
hang_up($s);
agree('a reset', 9003, 'CLOSED / CLOSED');
like($drawn, qr/^tcp 1 +client \[::1\] +server \[::1\]:9003\n/, '... of IPv6 as well');
stop($tcpdump, 'INT');
cmp_ok($widest, '<=', 80, 'no line of all these is longer than 80 characters');
done_testing();
