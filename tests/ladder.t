#!/usr/bin/perl
# scripts/ladder.sh: golden ladders of the reference recordings, every special case, and ss as judge.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Test::More;
use Encode 'decode';
use File::Temp 'tempdir';
use IO::Socket::IP;
use Socket qw(SOL_SOCKET SO_LINGER inet_aton inet_pton AF_INET6);

need('tcpdump', 'ss', 'mawk', 'gawk');
enter_lab();

my $dir = tempdir(CLEANUP => 1);
delete @ENV{qw(LC_ALL LC_CTYPE AWK)};
$ENV{LANG} = 'C.UTF-8';
my $widest = 0; # of all the lines that were drawn

sub spew {
    my ($file, $bytes) = @_;
    open my $out, '>:raw', $file or die "$file: $!";
    print $out $bytes;
    close $out or die "$file: $!";
    return $file;
}

# Draws with the arguments, which has to end with STATUS, and to say nothing on stderr but then.
sub ladder {
    my ($status, @arguments) = @_;
    my ($rc, $out, $err) = run('scripts/ladder.sh', @arguments);
    fail("ladder.sh @arguments: status $rc, not $status: $err") if $rc != $status || $status =~ /[03]/ && $err;
    return $out . $err if "@arguments" =~ /--(mermaid|verdict|help)/;
    for (split /\n/, decode('UTF-8', $out)) { $widest = length if length > $widest }
    return $out . $err;
}

# ---- the reference recordings, byte for byte, by an awk that leaves its mark
my %options = ('no-time' => ['--no-time'], calls => [], ascii => [], mermaid => ['--mermaid']);
for my $awk ('mawk', 'gawk') {
    local $ENV{AWK} = spew("$dir/$awk", qq{#!/bin/sh\necho $awk >>$dir/mark\nexec $awk "\$@"\n});
    chmod 0755, $ENV{AWK};
    for my $golden (glob 'tests/ladder/*.*') {
        my ($recording, $kind) = $golden =~ m{([^/]+)\.([^.]+)$};
        local $ENV{LC_ALL} = 'C' if $kind eq 'ascii';
        unlink "$dir/mark";
        my $drawn = ladder(0, @{ $options{$kind} }, $golden eq 'tests/ladder/sample1.mermaid' ? '--no-time' : (),
            "tests/reference/$recording.pcap");
        spew($golden, $drawn) if $ENV{UPDATE_GOLDEN}; # for a changed drawing: look at the difference
        is($drawn, slurp($golden), "$awk draws $golden byte for byte");
        is(slurp("$dir/mark"), "$awk\n$awk\n", "... and nothing else does");
    }
}
for ('LC_ALL=ja_JP.utf8', 'LC_CTYPE=C.UTF-8', 'LANG=de_DE.UTF8', 'LC_ALL=ja_JP.eucJP') {
    my ($name, $value) = split /=/;
    local $ENV{LANG} = 'C';
    local $ENV{$name} = $value;
    my $expected = /utf/i ? '│' : '|';
    like(ladder(0, '--no-time', 'tests/reference/sample2.pcap'), qr/[>▶]\Q$expected\E/, "$_ gets $expected");
}

# ---- recordings made here
my %bit = (F => 1, S => 2, R => 4, P => 8, A => 16, E => 64, W => 128);
my $files = 0;

sub tcp {
    my ($from, $to, $flags, $seq, $ack, $data) = @_;
    my $bits = 0;
    $bits |= $bit{$_} for split //, $flags;
    return pack('nnNNCCnnn', $from, $to, $seq % 2**32, $ack % 2**32, 0x50, $bits, 512, 0, 0) . ($data // '');
}
sub ip { # PROTOCOL PAYLOAD
    return pack('CCnnnCCn', 0x45, 0, 20 + length $_[1], 0, 0x4000, 64, $_[0], 0) . inet_aton('127.0.0.1') x 2 . $_[1];
}
sub udp { return ip(17, pack('nnnn', 1000, $_[0], 8 + length $_[1], 0) . $_[1]) } # PORT PAYLOAD
sub ip6 { # FROM TO, PAYLOAD of TCP, behind an extension header
    my ($from, $to, $payload) = @_;
    return pack('NnCC', 0x60000000, 8 + length $payload, 60, 64)
        . inet_pton(AF_INET6, $from) . inet_pton(AF_INET6, $to) . pack('CCCCN', 6, 0, 1, 4, 0) . $payload;
}
sub recording { # [TIME, PACKET, bytes kept]...: a file of raw IP
    my $bytes = pack('VvvVVVV', 0xa1b2c3d4, 2, 4, 0, 0, 262144, 101);
    for (@_) {
        my ($t, $packet, $kept) = @$_;
        my $part = substr $packet, 0, $kept // length $packet;
        $bytes .= pack('VVVV', int $t, ($t - int $t) * 1e6 + 0.5, length $part, length $packet) . $part;
    }
    return spew("$dir/" . ++$files . '.pcap', $bytes);
}
my $epoch = 1795382651; # 21:24:11 in UTC

# A conversation of port 40000 with 8081: ">FLAGS,SEQ,ACK,DATA,SECONDS before it", a packet each millisecond.
sub written {
    my ($packets) = @_;
    my $t = -0.001;
    return recording(map {
        my ($flags, $seq, $ack, $data, $wait) = split /,/, $_;
        my @ports = $flags =~ s/^>// ? (40000, 8081) : (8081, 40000);
        [$epoch + ($t += 0.001 + ($wait || 0)), ip(6, tcp(@ports, $flags =~ s/<//r, $seq, $ack, $data))];
    } split / /, $packets);
}
my $open = '>S,100,0 <SA,300,101 >A,101,301';
my $data = "$open >PA,101,301,ABCD <A,301,105 <PA,301,105,CDEF >A,105,305";
my $both = '<FA,305,105 >A,106,306 <A,306,106';
my ($x, $y) = ('x' x 1000, 'y' x 20000);
my @late = map { 2**32 - $_ } 0 .. 6; # sequence numbers go round

my $up = 'end missing: client ESTABLISHED, server ESTABLISHED.';
my $refused = 'server refused it: RST to the SYN. TIME-WAIT: nobody.';
my $half_open = ">S,100,0 <A,9000,8000 >R,8000,0 $open";
my $round = ">S,$late[6],0 <SA,$late[2],$late[5] >A,$late[5],$late[1] >A,$late[5],$late[1],AB >A,$late[3],$late[1],CDEFGH"
    . " >A,3,$late[1],KL >A,$late[5],$late[1],AB <A,$late[1],5,IJ >FA,5,1 <FA,1,6 >A,6,2";

# [what it is, its packets, its verdict without the number of packets, a pattern in its drawing]
for my $case (
    ['a simultaneous close', "$data >FA,105,305 $both", 'both closed: FIN both ways at once. TIME-WAIT: both.',
        qr/FIN-WAIT-1 .*▶│\n.*CLOSING .*CLOSING\n.*TIME-WAIT\n.*TIME-WAIT .*\n/],
    ['... after a repeated FIN', "$data >FA,105,305 >FA,105,305 $both",
        'both closed: FIN both ways at once. TIME-WAIT: both.', qr/ FIN, ACK again .*▶│\n.*CLOSING .*CLOSING\n/],
    ['what is repeated', '>S,100,0 >S,100,0,,1 <SA,300,101 >A,101,301 >PA,101,301,ABCD >PA,101,301,ABCD <A,301,105'
        . ' >FA,105,301 >FA,105,301 <A,301,106 <FA,301,106 >A,106,302',
        'client closed: FIN in four packets. TIME-WAIT: client.',
        qr/⋮ .* 1\.0 s .*\n.* SYN again(.*\n)*.*"ABCD" again (.*\n)*.*FIN, ACK again /],
    ['data out of order', "$open >A,101,301,AB >A,105,301,EF >A,103,301,CD >A,105,301,EF", $up,
        qr/"AB" ─.*\n.*"EF" ─.*\n.*"CD" ─.*\n.*"EF" again ─/],
    ['ECN', '>SEW,100,0 <SAE,300,101 >A,101,301', $up, qr/ SYN, ECE, CWR .*\n.* SYN, ECE, ACK /],
    ['a beginning that is missing', '>PA,101,301,ABCD <A,301,105 >RA,105,301',
        'client reset it, beginning missing: RST. TIME-WAIT: nobody.', qr/ESTABLISHED  ├/],
    ['a middle', '<PA,301,105,CDEF >A,105,305', "beginning and $up", qr/client :40000 /],
    ['an answer to a missing SYN', '<SA,300,101 >A,101,301 >RA,101,301',
        'client reset it, beginning missing: RST. TIME-WAIT: nobody.', qr/client :40000.*\n.*\n\S+  EST.*SYN-RECEIVED\n/],
    ['one direction', '>S,100,0 >A,101,301 >PA,101,301,ABCD >FA,105,305',
        'end missing: client FIN-WAIT-1, server silent.', qr/SYN-SENT.*\n.*ESTABLISHED .* ACK /],
    ['the other direction', '<SA,300,101 <A,301,105 <PA,301,105,CDEF <FA,305,105',
        'beginning and end missing: client CLOSE-WAIT, server FIN-WAIT-1.', qr/SYN-RECEIVED\n(.*\n)+.* ESTABLISHED\n/],
    ['a simultaneous open', '>S,100,0 <S,300,0 >SA,100,301 <SA,300,101', $up, qr/SYN-RECEIVED .*SYN-RECEIVED/],
    ['RSTs that cross', "$open <RA,301,101 >RA,101,301", 'both reset it: RST both ways. TIME-WAIT: nobody.', qr/RST/],
    ['a RST and a FIN that cross', "$data <RA,305,105 >FA,105,305,,0.18 <R,305,0",
        'server reset it: RST crossed, FIN met RST. TIME-WAIT: nobody.', qr/ESTABLISHED  │◀─.* RST, ACK/],
    ['a lost RST', "$data <RA,305,105 >PA,105,305,GH,0.21 <R,305,0",
        'server reset it: RST lost, data met RST. TIME-WAIT: nobody.', qr/ESTABLISHED  │✗─.* RST, ACK/],
    ['a lost RST of the client', "$data >RA,105,305 <FA,305,105,,3 >R,105,0",
        'client reset it: RST lost, FIN met RST. TIME-WAIT: nobody.',
        qr/CLOSED .* RST, ACK .*✗│  ESTABLISHED\n.*3\.0 s.*\n.*  FIN-WAIT-1\n.*  CLOSED\n/],
    ['a half-open end', "$data <RA,305,105 >A,105,305,,3",
        'end missing: half-open, client ESTABLISHED, server CLOSED.', qr/✗/],
    ['a RST after a FIN', "$data >FA,105,305 <A,305,106 <RA,305,106",
        'server reset it: RST after FIN. TIME-WAIT: nobody.', qr/CLOSED /],
    ['a RST that is not where its receiver waits', "$data <R,9999,0", $up, qr/ RST ignored /],
    ['a RST that acknowledges another SYN, or none', '>S,100,0 <RA,0,999 <R,101,0',
        'end missing: client SYN-SENT, server silent.', qr/ RST, ACK ignored .*\n.* RST ignored /],
    ['the recovery of a half-open connection', $half_open, $up,
        qr/ ACK .*\n.* RST ─.* CLOSED\n.* SYN again .*\n.*ESTABLISHED .*SYN-RECEIVED/],
    ['a refused SYN that is sent again', '>S,100,0 <RA,0,101 >S,100,0 <RA,0,101', $refused, qr/SYN-SENT .* SYN again/],
    ['a port used again', '>S,100,0 <RA,0,101 >S,200,0 <RA,0,201', "$refused\n$refused", qr/CLOSED .*CLOSED/],
    ['numbers that go round', $round, 'client closed: FIN in three, ACK on FIN. TIME-WAIT: client.',
        qr/"CDEFGH" ─.*\n.*"KL" ─.*\n.*"AB" again ─/],
    ['long data', "$open >FPA,101,301,$x >FPA,101,301,$x <PA,301,1102,$y <PA,301,1102,$y",
        'end missing: client FIN-WAIT-2, server CLOSE-WAIT.',
        qr/FIN, PSH, ACK 1000 B ─.*\n.* FIN, ACK 1000 B again .*\n.* PSH, ACK 20000 bytes ─.*\n.* ACK 20000 B again /],
    ['bytes that would steer a terminal', "$open >PA,101,301,A\e[2J <PA,301,106,\xc3\xa9", $up,
        qr/^[^\e\xc3]* PSH, ACK 5 bytes [^\e\xc3]* ACK 2 bytes /],
) {
    my ($what, $packets, $verdict, $pattern) = @$case;
    my $file = written($packets);
    like(ladder(0, $file), $pattern, "$what: drawn as such");
    my $said = (run('scripts/ladder.sh', '--verdict', $file))[1];
    is($said =~ s/^(\d+) \S+(?: \d+)? (.*?)(?: after \1 packets)?(?=[:,])/$2/mgr, "$verdict\n", '... and judged');
}
my $text = ladder(0, '--mermaid', written("$open >PA,101,301,\";#<"));
like($text, qr/C->>S: PSH, ACK ""#59;#35;#60;"\n/, 'Mermaid gets ; # and < as text');
$text = ladder(0, recording(map { [$epoch, ip(6, tcp(7000, 7000, @$_))] } ['S', 1, 0], ['SA', 1, 2], ['A', 2, 2]));
like($text, qr/ ACK .*▶│\n  one end, connected to itself, 3 packets: no states\./, 'a connection to itself is one');
$text = ladder(0, recording(map { [1, ip6("2001:db8::$_", '::2', tcp(7001, 80, 'S', $_, 0, 'ABCD'))] } 1, 3));
like($text, qr/client \[2001:db8::1\]:7001 +server \[::2\]:80\n(.*\n)*.*SYN "ABCD"(.*\n)*.*client \[2001:db8::3\]/,
    'behind IPv6 extension headers are addresses and data');
my $long = join ':', '2001', ('dbff') x 7;
$text = ladder(0, recording(map { [1, ip6(@$_, tcp(65000, 65001, 'S', 1, 0))] } [$long, '::1'], ['::1', $long]));
is(() = $text =~ /^tcp \d +client \[.*:.*\]:65000\n +server \[.*:.*\]:65001$/mg, 2, 'long addresses have a line each');
my $inside = "\x08\0\0\0\0\0\x05\0" . "\2\0\0\0\0\1" x 2 . "\x08\0" . ip(6, tcp(7002, 80, 'S', 1, 0));
like(ladder(0, recording([1, udp(4789, $inside)])), qr/client :7002 .*\n.*\n.* SYN /, 'in VXLAN is TCP');
like(ladder(1, recording([1, udp(69, "\0\1x IP 1.1.1.1.1 > 2.2.2.2.2: Flags [S], seq 1\0octet\0")])), qr/no TCP/,
    'text in UDP that reads like TCP is none');
like(ladder(0, recording([1, ip(6, tcp(7003, 80, 'PA', 1, 1, 'ABCD')), 42])), qr/PSH, ACK 4 bytes/,
    'data that the snap length cut has its length');

# ---- what is no recording of TCP, and how it ends
my ($junk, $empty) = map { spew("$dir/" . ++$files, $_) } 'x' x 100, '';
my $cut = spew("$dir/cut.pcap", substr slurp('tests/reference/sample1.pcap'), 0, 900);
my $sample2 = 'tests/reference/sample2.pcap';
for (
    [$junk, 'not a recording', 'something else'], [$empty, 'empty file', 'an empty file'],
    [recording(), 'no packets', 'a recording of nothing'], [recording([1, udp(9, '')]), 'no TCP', 'one of UDP'],
    ["$dir/none.pcap", 'no such file', 'a file that is not there'], [$dir, 'a directory', 'a directory'],
    [$cut, 'truncated', 'a recording that breaks off'],
) {
    my ($file, $reason, $what) = @$_;
    my $out = ladder(1, $file, $sample2);
    like($out, qr/^ladder\.sh: \Q$file\E: $reason.* \(.+\)\n\z/m, "$what is an error with a reason and a way out");
    like($out, qr/server reset it after 8 packets/, '... and the next file is drawn');
}
SKIP: {
    skip 'root may read everything', 1 if $> == 0;
    chmod 0, $junk;
    my $err = (run('setpriv', '--ambient-caps', '-all', 'scripts/ladder.sh', $junk))[2]; # the lab's user may as well
    like($err, qr/^ladder\.sh: \Q$junk\E: may not be read by you \(.+\)$/m, 'so is a file that one may not read');
}
like(ladder(1, $cut), qr/FIN-WAIT-1/, 'what a broken recording holds is still drawn');
like(ladder(2, @$_), qr/^ladder\.sh: .*usage: /, "usage error: ladder.sh @$_")
    for [], ['--wrong', $cut], [''], ['-'], ['--verdict'], ["$dir/no.log", $cut];
like(ladder(0, '--help'), qr/^usage: /, '--help is none');
my @whole = map { "tests/reference/$_.pcap" } 'sample1', 'lost-rst';
is(ladder(0, '--verdict', @whole), "11 sample1 client closed after 11 packets: FIN in four packets. TIME-WAIT: client.\n"
    . "10 sample2 server reset it after 10 packets: RST lost, FIN met RST. TIME-WAIT: nobody.\n",
    '--verdict is a line a conversation, and 0 if all are whole');
like(ladder(3, '--verdict', written($_), @whole), qr/^\d+ sample1 .*missing/, '... 3 if one is not')
    for $data, '>PA,101,301,ABCD >RA,105,301';
like(ladder(1, '--verdict', written($data), $cut), qr/missing/, '... and 1 if a recording is broken');
is(join('', (run('sh', '-c', "scripts/ladder.sh $sample2 >&-"))[0, 2]),
    "1ladder.sh: stdout is closed (there is nowhere to draw)\n", 'a closed stdout is said');
my $many = recording((map { [$epoch + $_ / 1e5, ip(6, tcp(10000 + $_, 8081, 'S', 1, 0))] } 1 .. 2000),
    map { [$epoch + 1, ip(6, tcp(8081, 10000 + $_, 'RA', 0, 2))] } 1 .. 2000);
$text = ladder(0, $many);
ok(join(' ', $text =~ /client :(\d+)(?:.*\n){4}.*refused it after 2 /g) eq join(' ', 10001 .. 12000),
    '2000 interleaved conversations are drawn in their order') or diag($text =~ /^((?:.*\n){20})/);
is((run('sh', '-c', "scripts/ladder.sh $many | head -n 1"))[2], '', 'a reader that goes away ends it quietly');

# ---- the programs' lines: any zone, midnight
sub with_calls { # the times of day of connect and close; the recording's SYN is at 21:24:11
    my ($connect, $close) = @_;
    my $file = written("$data >FA,105,305");
    spew($file =~ s/pcap$/client.log/r,
        "$connect client connect 127.0.0.1:8081 from 127.0.0.1:40000\n$close client close \xc3\xa9\e[2J\n");
    return ladder(0, $file);
}
like(with_calls('02:54:11.002500', '02:54:11.006500'),
    qr/\n0\.002500  connect .*\n0\.003000 .*PSH.*\n(?:.*\n){3}0\.006500  close \.\.\.\[2J .*\n0\.007000 .*FIN/,
    'calls stand at their time, though their clock is of another zone, +05:30, and are ASCII');
unlike(with_calls('21:34:11.003500', '21:34:11.007500'), qr/connect/, '... but not those of an older recording');
my $midnight = recording([86399.5, ip(6, tcp(7, 8081, 'S', 1, 0))], [86401.5, ip(6, tcp(7, 8081, 'RA', 2, 2))]);
spew($midnight =~ s/pcap$/client.log/r,
    "23:59:59.800000 client connect 127.0.0.1:8081 from 127.0.0.1:7\n00:00:01.000000 client close\n");
like(ladder(0, $midnight), qr/\n0\.300000  connect .*\n.*1\.2 s.*\n1\.500000  close /, '... midnight may pass');
my $copy = spew("$dir/all.pcap", slurp('tests/reference/sample3.pcap'));
my @logs = map { "tests/reference/sample3.$_.log" } 'client', 'server';
my ($calls, $no_time) = map { slurp("tests/ladder/sample3.$_") } 'calls', 'no-time';
is(ladder(0, @logs, $copy), $calls, 'logs may be named');
is(ladder(0, $copy, @logs, @logs), $calls, '... also twice, or if they are found anyway');
is(ladder(0, '--no-time', $copy, @logs), $no_time, '... and are left out with the times');
unlike(ladder(0, $copy, 'tests/reference/sample2.client.log'), qr/recv/, '... and those of others not taken');
for my $log (glob 'tests/reference/sample*.log') { spew($log =~ s{.*/}{$dir/all.}r, slurp($log)) }
is(ladder(0, $copy), $calls, 'of all.pcap, each conversation finds its own');

# ---- real connections in this lab; after each step ss says in which states the ends really are
my $live = "$dir/live.pcap"; # -i any is not Ethernet
my $tcpdump = start('tcpdump', '-Z', scalar(getpwuid $<) // 'root', qw(-i any -s 256 -U --immediate-mode -w), $live, 'tcp');
eventually(20, sub { slurp($tcpdump->{err}) =~ /listening on/ }) or BAIL_OUT(slurp($tcpdump->{err}));

sub pair { # HOST PORT: the two ends of a connection
    my @to = (LocalHost => $_[0], LocalPort => $_[1], Listen => 5, ReuseAddr => 1);
    my $listener = IO::Socket::IP->new(@to) // die "listen: $@";
    my $client = IO::Socket::IP->new(PeerHost => $_[0], PeerPort => $_[1]) // die "connect: $@";
    return ($client, $listener->accept);
}
sub drawn { # of the latest conversation with PORT, as far as it is recorded: its drawing
    my $file = "$dir/part.pcap";
    system "tcpdump -r $live -w $file port $_[0] 2>/dev/null";
    return (run('scripts/ladder.sh', '--no-time', $file))[1];
}
sub agree { # what was done, PORT, the states of client and server to come
    my ($what, $port, @expected) = @_;
    my ($real, $seen);
    eventually(20, sub {
        my %state = map { my ($state, $own) = (split)[0, 3]; ($own =~ /:$port$/ ? 'server' : 'client', $state) }
            grep { /:$port\b/ && !/^LISTEN/ } `ss -Htan`;
        $real = join ' ', map { ($state{$_} // 'CLOSED') =~ s/^ESTAB$/ESTABLISHED/r } 'client', 'server';
        $real eq "@expected";
    });
    is($real, "@expected", "ss after $what");
    eventually(20, sub {
        my @lines = grep { /[├│].*[┤│]/ } split /\n/, drawn($port);
        $seen = join ' ', map { my $re = $_; (map { /$re/ } @lines)[-1] // '' } qr/^([A-Z]\S+)/, qr/  ([A-Z]\S+)$/;
        $seen eq $real;
    });
    is($seen, $real, '... and the ladder says the same');
}
my ($c, $s) = pair('127.0.0.1', 9001);
agree('connect', 9001, 'ESTABLISHED', 'ESTABLISHED');
$c->shutdown(1);
agree('the FIN of the client', 9001, 'FIN-WAIT-2', 'CLOSE-WAIT');
close $s;
agree('the FIN of the server', 9001, 'TIME-WAIT', 'CLOSED');
like(drawn(9001), qr/^ *client closed after \d packets: FIN in four packets\. TIME-WAIT: client\.$/m, '... which make four');
($c, $s) = pair('::1', 9002);
$s->shutdown(1);
agree('a FIN of the server first', 9002, 'CLOSE-WAIT', 'FIN-WAIT-2');
close $c;
agree('the FIN of the client', 9002, 'CLOSED', 'TIME-WAIT');
($c, $s) = pair('::1', 9003);
$c->syswrite('ABCD');
$s->sysread(my $buffer, 4);
setsockopt $s, SOL_SOCKET, SO_LINGER, pack('ii', 1, 0);
close $s;
agree('a reset', 9003, 'CLOSED', 'CLOSED');
like(drawn(9003), qr/client \[::1\] +server \[::1\]:9003\n(.*\n)*.*"ABCD".*\n(.*\n)*  server reset it/, '... of IPv6 as well');
stop($tcpdump, 'INT');
cmp_ok($widest, '<=', 80, 'no line of all these is longer than 80 characters');
done_testing();
