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
use Socket qw(:DEFAULT IPPROTO_TCP inet_aton);
use Time::HiRes qw(sleep time);

need('tcpdump', 'ss', 'mawk', 'gawk');
enter_lab();

my $dir = tempdir(CLEANUP => 1);
my @awks = ('mawk', 'gawk');
delete @ENV{qw(LC_ALL NO_COLOR AWK)};
$ENV{LANG} = 'C.UTF-8';
my $widest = 0; # of all the lines that were drawn

# Draws with the arguments; returns what was printed. The status has to be STATUS, stderr empty at 0.
sub ladder {
    my ($status, @arguments) = @_;
    my ($rc, $out, $err) = run('scripts/ladder.sh', @arguments);
    note("ladder.sh @arguments: status $rc, $err") if $rc != $status || ($status == 0 && $err ne '');
    for (grep { !/C,S/ } split /\n/, decode('UTF-8', $out)) { $widest = length if length > $widest }
    return $status == 0 ? $out : "$out$err";
}

# ---- recordings made here: [TIME, 'FROM>TO' or 'FROM<TO' ports, flags, seq, ack, data]
my %bit = (F => 1, S => 2, R => 4, P => 8, A => 16, E => 64, W => 128);

sub segment {
    my ($from, $to, $flags, $seq, $ack, $data) = @_;
    my $bits = 0;
    $bits |= $bit{$_} for split //, $flags;
    $data //= '';
    my $tcp = pack('nnNNCCnnn', $from, $to, $seq % 2**32, $ack % 2**32, 0x50, $bits, 512, 0, 0) . $data;
    return pack('CCnnnCCn', 0x45, 0, 20 + length $tcp, 0, 0x4000, 64, 6, 0) . inet_aton('127.0.0.1') x 2 . $tcp;
}

sub pcap_header { return pack('VvvVVVV', 0xa1b2c3d4, 2, 4, 0, 0, 262144, 101) } # raw IP

sub record { # TIME, PACKET
    my ($t, $packet) = @_;
    my $us = sprintf '%.0f', ($t - int $t) * 1e6;
    return pack('VVVV', int $t, $us, (length $packet) x 2) . $packet;
}

my $files = 0;

sub save {
    my ($bytes) = @_;
    my $file = "$dir/" . ++$files . '.pcap';
    open my $out, '>:raw', $file or die "$file: $!";
    print $out $bytes;
    close $out;
    return $file;
}

# A conversation of port 40000 with 8081: '>SA' and so on, in steps of a millisecond.
sub written {
    my @packets = @_;
    my ($t, $bytes) = (0, pcap_header());
    for (@packets) {
        my ($what, $seq, $ack, $data, $later) = @$_;
        my ($way, $flags) = $what =~ /(.)(.*)/;
        $bytes .= record(1795382651 + ($t += 0.001 + ($later // 0)),
            segment($way eq '>' ? (40000, 8081) : (8081, 40000), $flags, $seq, $ack, $data));
    }
    return save($bytes);
}

# The states that a ladder shows after its last packet, "CLIENT / SERVER", and its verdict.
sub states {
    my ($drawing) = @_;
    my ($client, $server) = ('', '');
    for (split /\n/, $drawing) {
        next unless /[├◀✗]|[┤▶]/;
        $client = $1 if /^([A-Z]\S+|\?)/;
        $server = $1 if /  ([A-Z]\S+|\?)$/;
    }
    return "$client / $server";
}
sub verdict { return join "\n", $_[0] =~ /^ *(\S.*(?:TIME-WAIT: \w+|(?:client|server) [-\w?]+)\.)$/mg }

my @open = (['>S', 100, 0], ['<SA', 300, 101], ['>A', 101, 301]);
my @data = (@open, ['>PA', 101, 301, 'ABCD'], ['<A', 301, 105], ['<PA', 301, 105, 'CDEF'], ['>A', 105, 305]);

# ---- the reference recordings, byte for byte
my %golden = (
    'sample1.no-time' => ['--no-time', 'sample1.pcap'], 'sample2.no-time' => ['--no-time', 'sample2.pcap'],
    'sample3.no-time' => ['--no-time', 'sample3.pcap'], 'lost-rst.no-time' => ['--no-time', 'lost-rst.pcap'],
    'sample1.calls' => ['sample1.pcap'], 'sample2.calls' => ['sample2.pcap'], 'sample3.calls' => ['sample3.pcap'],
    'lost-rst.calls' => ['lost-rst.pcap'], 'sample3.mermaid' => ['--mermaid', 'sample3.pcap'],
    'sample1.mermaid' => ['--no-time', '--mermaid', 'sample1.pcap'], 'lost-rst.ascii' => ['lost-rst.pcap'],
);
for my $name (sort keys %golden) {
    my @arguments = map { s{^(?=\w)}{tests/reference/}r } @{ $golden{$name} };
    local $ENV{LC_ALL} = 'C' if $name =~ /ascii/;
    if ($ENV{UPDATE_GOLDEN}) { # for whoever changes the drawing: look at the difference
        open my $out, '>', "tests/ladder/$name" or die;
        print $out ladder(0, @arguments);
    }
    for my $awk (@awks) {
        local $ENV{AWK} = $awk;
        is(ladder(0, @arguments), slurp("tests/ladder/$name"), "$awk draws tests/ladder/$name byte for byte");
    }
}

# ---- special cases from packets written here
my $out = ladder(0, written(@data, ['>FA', 105, 305], ['<FA', 305, 105], ['>A', 106, 306], ['<A', 306, 106]));
is(verdict($out), 'both closed after 11 packets: FIN both ways at once. TIME-WAIT: both.', 'a simultaneous close is one');
like($out, qr/FIN-WAIT-1 .*▶│\n.*CLOSING .*CLOSING\n.*TIME-WAIT\n.*TIME-WAIT .*\n/, '... through CLOSING at both ends');

$out = ladder(0, written(['>S', 100, 0], ['>S', 100, 0, '', 1], ['<SA', 300, 101], ['>A', 101, 301],
    ['>PA', 101, 301, 'ABCD'], ['>PA', 101, 301, 'ABCD', 0.2], ['<A', 301, 105], ['>FA', 105, 301], ['>FA', 105, 301],
    ['<A', 301, 106], ['<FA', 301, 106], ['>A', 106, 302]));
is(() = $out =~ / again /g, 3, 'a repeated SYN, data and FIN are marked as such');
like($out, qr/⋮ .* 1\.0 s /, '... the second that the SYN waited is seen');
is(verdict($out), 'client closed after 12 packets: FIN in four packets. TIME-WAIT: client.', '... and all is one conversation');

$out = ladder(0, written(['>SEW', 100, 0], ['<SAE', 300, 101], ['>A', 101, 301]));
like($out, qr/ SYN, ECE, CWR .*\n.* SYN, ECE, ACK /, 'ECN flags have their names');
is(verdict($out), 'end missing after 3 packets: client ESTABLISHED, server ESTABLISHED.', 'an end that is missing is said');

$out = ladder(0, written(['>PA', 101, 301, 'ABCD'], ['<A', 301, 105], ['>RA', 105, 301]));
is(verdict($out), 'client reset it, beginning missing: RST. TIME-WAIT: nobody.', 'a beginning that is missing is said');
$out = ladder(0, written(['<PA', 301, 105, 'CDEF'], ['>A', 105, 305]));
is(verdict($out), 'beginning and end missing: client ESTABLISHED, server ESTABLISHED.', 'so are both');

$out = ladder(0, written(@open, ['<RA', 301, 101], ['>RA', 101, 301]));
is(verdict($out), 'both reset it after 5 packets: RST both ways. TIME-WAIT: nobody.', 'two RSTs that cross');
$out = ladder(0, written(@data, ['<RA', 305, 105], ['>FA', 105, 305], ['<R', 305, 0]));
is(verdict($out), 'server reset it after 10 packets: RST crossed, FIN met RST. TIME-WAIT: nobody.', 'a RST and a FIN that cross');
$out = ladder(0, written(@data, ['<RA', 305, 105], ['>PA', 105, 305, 'GH', 3], ['<R', 305, 0]));
is(verdict($out), 'server reset it after 10 packets: RST lost, data met RST. TIME-WAIT: nobody.', 'a lost RST that data meets');
$out = ladder(0, written(@data, ['<RA', 305, 105], ['>A', 105, 305, '', 3]));
is(verdict($out), 'end missing after 9 packets: half-open, client ESTABLISHED, server CLOSED.', 'a half-open end is said');
$out = ladder(0, written(@data, ['>FA', 105, 305], ['<A', 305, 106], ['<RA', 305, 106]));
is(verdict($out), 'server reset it after 10 packets: RST after FIN. TIME-WAIT: nobody.', 'a RST after a FIN');
my $top = 2**32; # sequence numbers go round there
$out = ladder(0, written(['>S', $top - 6, 0], ['<SA', $top - 2, $top - 5], ['>A', $top - 5, $top - 1], ['>PA', $top - 5, $top - 1, 'AB'],
    ['>PA', $top - 3, $top - 1, 'CDEFGH'], ['>PA', 3, $top - 1, 'KL'], ['>PA', $top - 5, $top - 1, 'AB'], ['<PA', $top - 1, 5, 'IJ'],
    ['>FA', 5, 1], ['<FA', 1, 6], ['>A', 6, 2]));
is(verdict($out), 'client closed after 11 packets: FIN in three, ACK on FIN. TIME-WAIT: client.', 'sequence numbers may go round');
is(join(' ', $out =~ /(".*?" ?a?)/g), '"AB"  "CDEFGH"  "KL"  "AB" a "IJ" ', '... and data from before that is repeated data');
$out = ladder(0, '--no-time', written(['>S', 100, 0], ['<S', 300, 0], ['>SA', 100, 301], ['<SA', 300, 101]));
is(states($out), 'ESTABLISHED / ESTABLISHED', 'a simultaneous open is one conversation');
$out = ladder(0, written(['>S', 100, 0], ['<RA', 0, 101], ['>S', 100, 0], ['<RA', 0, 101]));
is(() = $out =~ /server refused it after 2 packets/g, 2, 'a SYN after the end is another conversation');
$out = ladder(0, written(['<SA', 300, 101], ['>A', 101, 301], ['>RA', 101, 301]));
like($out, qr/client :40000 .*\n.*\n.*ESTABLISHED .*SYN-RECEIVED\n(?:.*\n)*.*client reset it, beginning missing/, 'who answers a SYN is the server');
$out = ladder(0, written(@data, ['>RA', 105, 305], ['<FA', 305, 105, '', 3], ['>R', 105, 0]));
like($out, qr/CLOSED .* RST, ACK (?:─)+✗│  ESTABLISHED\n.*3\.0 s.*\n.*  FIN-WAIT-1\n.*  CLOSED\n  client reset it after 10 packets: RST lost/, 'the RST of a client can be lost as well');
$out = ladder(0, written(@open, (['>FPA', 101, 301, 'x' x 1000]) x 2, (['<PA', 301, 1102, 'x' x 20000]) x 2));
like($out, qr/FIN, PSH, ACK 1000 B ─.*\n.* FIN, ACK 1000 B again .*\n.* PSH, ACK 20000 bytes ─.*\n.* ACK 20000 B again /, 'long labels become short');
$out = ladder(0, written(@open, ['>PA', 101, 301, "A\e[2J"], ['<PA', 301, 106, 'x' x 1000], ['>PA', 106, 1301, '"; #<']));
like($out, qr/ PSH, ACK 5 bytes .*\n.* PSH, ACK 1000 bytes .*\n.* PSH, ACK "";#? #?</, 'only printable short data is shown');
unlike($out, qr/\e/, '... and nothing of it steers the terminal');

# ---- what is no recording of TCP
my $junk = save('x' x 100);
my $udp = save(pcap_header() . record(1, pack('CCnnnCCn', 0x45, 0, 28, 0, 0, 64, 17, 0) . "\x7f\0\0\1" x 2 . pack('nnnn', 1, 2, 8, 0)));
my $cut = save(substr slurp('tests/reference/sample1.pcap'), 0, 900);
for (
    [$junk, qr/not a recording/, 'something else'], [save(''), qr/empty file/, 'an empty file'],
    [save(pcap_header()), qr/no packets/, 'a recording of nothing'], [$udp, qr/no TCP/, 'a recording without TCP'],
    ["$dir/none.pcap", qr/no such file/, 'a file that is not there'], [$dir, qr/directory/i, 'a directory'],
    [$cut, qr/truncated/, 'a recording that breaks off'],
) {
    my ($file, $reason, $what) = @$_;
    like(ladder(1, $file), qr/^ladder\.sh: \Q$file\E: .*$reason.* \(.+\)\n\z/m, "$what is an error that names file, reason and a way out");
}
SKIP: {
    skip 'root may read everything', 1 if $> == 0;
    chmod 0, $udp;
    my ($rc, $out, $err) = run('setpriv', '--ambient-caps', '-all', 'scripts/ladder.sh', $udp); # the lab's user may as well
    like($err, qr/^ladder\.sh: \Q$udp\E: may not be read by you \(.+\)$/m, 'so is a file that one may not read');
}
like(ladder(1, $cut), qr/FIN-WAIT-1/, 'what a broken recording holds is still drawn');
like(ladder(1, $junk, 'tests/reference/sample2.pcap'), qr/server reset it after 8 packets/, 'after a bad file comes the next one');
like(ladder(2, @$_), qr/usage: /, "usage error: ladder.sh @$_") for [], ['--wrong', 'x.pcap'], [''], ["$dir/no.log", $udp];

# ---- the programs' lines: any zone, midnight
sub with_calls {
    my ($first, @rest) = @_; # times of day of connect, send, close in the log, the recording's is 21:24:11.0
    my $file = written(@data, ['>FA', 105, 305]);
    (my $log = $file) =~ s/pcap$/client.log/;
    open my $out, '>', $log or die;
    print $out "$first client connect 127.0.0.1:8081 from 127.0.0.1:40000\n", map { "$_ client close\n" } @rest;
    close $out;
    return ladder(0, $file);
}
like(with_calls('02:54:11.003500', '02:54:11.007500'), qr/\n0\.002500  connect .*\n0\.003000 .*PSH.*\n(?:.*\n){3}0\.006500  close .*\n0\.007000 .*FIN/,
    'calls stand at their time, though their clock is of another zone, +05:30');
unlike(with_calls('21:34:11.003500', '21:34:11.007500'), qr/connect/, '... but not those of an older recording');
for my $awk (@awks) {
    local $ENV{AWK} = $awk;
    like(with_calls('21:24:11.003500', "21:24:11.007500 client \xc3\xa9\e[2J\n21:24:11.007600"), qr/  \.\.\.\[2J  /, "$awk lets no byte of a log through that is not ASCII");
}
$out = save(slurp('tests/reference/sample3.pcap'));
like(ladder(0, $out, map { "tests/reference/sample3.$_.log" } 'client', 'server'), qr/⋮ .* 3\.0 s .*\n3\.0\d+  recv 4 bytes "CDEF"/,
    'logs may be named');
unlike(ladder(0, $out), qr/recv/, '... and are not taken from elsewhere');
unlike(ladder(0, $out, 'tests/reference/sample2.client.log'), qr/recv/, '... and those of another connection not at all');
my $midnight = save(pcap_header() . join '', map { record(86400 * 20780 - 0.5 + $_->[0], segment(@$_[1 .. 6])) }
    [0, 40000, 8081, 'S', 1, 0, ''], [0.1, 8081, 40000, 'SA', 1, 2, ''], [0.2, 40000, 8081, 'A', 2, 2, ''], [2, 40000, 8081, 'RA', 2, 2, '']);
(my $log = $midnight) =~ s/pcap$/client.log/;
open my $lines, '>', $log or die;
print $lines "23:59:59.800000 client connect 127.0.0.1:8081 from 127.0.0.1:40000\n00:00:01.000000 client close\n";
close $lines;
like(ladder(0, $midnight), qr/\n0\.300000  connect .*\n.*1\.2 s.*\n1\.500000  close /, 'midnight may pass between two calls');

# ---- a terminal gets colour
SKIP: {
    skip 'script is not installed', 2 unless grep { -x "$_/script" } split /:/, $ENV{PATH};
    local $ENV{TERM} = 'xterm';
    my $on_terminal = "script -qec 'scripts/ladder.sh tests/reference/lost-rst.pcap' /dev/null </dev/null";
    like(`$on_terminal`, qr/\e\[1;31mRST, ACK\e.*\e\[1;33mFIN, ACK\e/s, 'RST and FIN stand out on a terminal');
    unlike(`NO_COLOR=1 $on_terminal`, qr/\e\[/, '... not with NO_COLOR');
}

# ---- a stream is drawn as it comes
for my $awk (@awks) {
    local $ENV{AWK} = $awk;
    pipe my $reader, my $writer or die "pipe: $!";
    my $pid = fork() // die "fork: $!";
    if ($pid == 0) {
        close $writer;
        open STDIN, '<&', $reader or die;
        open STDOUT, '>', "$dir/stream.$awk" or die;
        exec 'scripts/ladder.sh', '-' or die;
    }
    close $reader;
    binmode $writer;
    $writer->autoflush(1);
    my $bytes = slurp('tests/reference/lost-rst.pcap');
    my ($first, $second) = (24 + 2 * (16 + 74), length($bytes) - (16 + 66) - (16 + 54)); # two packets; all but two
    print $writer substr $bytes, 0, $first;
    ok(eventually(3, sub { slurp("$dir/stream.$awk") =~ /SYN, ACK/ }), "$awk draws a packet of a stream before the next one comes");
    print $writer substr $bytes, $first, $second - $first;
    ok(eventually(3, sub { slurp("$dir/stream.$awk") =~ /server reset it after 8 packets/ }), '... and the verdict with the last');
    print $writer substr $bytes, $second;
    close $writer;
    waitpid $pid, 0;
    like(slurp("$dir/stream.$awk"), qr/was lost: client was still ESTABLISHED\n.*FIN-WAIT-1.*\n.*CLOSED .*\n.*RST lost, FIN met RST/,
        '... and corrects itself when the RST turns out to be lost');
}

# ---- real connections in this lab; after each step ss says in which states the ends really are
my @tcpdump = ('-i', 'any', '-s', '256', '-U', '--immediate-mode', '-w');
my $live = "$dir/live.pcap";
my $tcpdump = start('tcpdump', '-Z', scalar(getpwuid $<) // 'root', @tcpdump, $live, 'tcp');
eventually(5, sub { slurp($tcpdump->{err}) =~ /listening on/ }) or BAIL_OUT('tcpdump does not start: ' . slurp($tcpdump->{err}));

sub listener { return IO::Socket::IP->new(LocalHost => $_[0], LocalPort => $_[1], Listen => 5, ReuseAddr => 1) // die "listen: $@" }

# The ends of the connections between PORT and the CLIENT port, from ss; an end that is gone is CLOSED.
sub real_states {
    my ($client, $port) = @_;
    my %state = (client => 'CLOSED', server => 'CLOSED');
    for (`ss -Htan`) {
        my ($state, $own, $peer) = (split)[0, 3, 4];
        next if $state eq 'LISTEN';
        s/.*:// for $own, $peer;
        $state =~ s/^ESTAB$/ESTABLISHED/;
        $state{client} = $state if $own == $client && $peer == $port;
        $state{server} = $state if $own == $port && $peer == $client;
    }
    return "$state{client} / $state{server}";
}

sub part { # of what is recorded so far: the connections of PORT
    my ($port) = @_;
    my $file = "$dir/port$port.pcap";
    system "tcpdump -r $live -w $file port $port 2>/dev/null";
    return $file;
}

sub agree { # CLIENT, PORT, the states to come, and what was done
    my ($client, $port, $expected, $what) = @_;
    eventually(1, sub { real_states($client, $port) eq $expected });
    my $real = real_states($client, $port);
    is($real, $expected, "ss after $what");
    my $drawn;
    eventually(1, sub { $drawn = states(ladder(0, '--no-time', part($port))); $drawn eq $real });
    is($drawn, $real, '... and the ladder says the same');
}

sub connect_to {
    my ($host, $port, $own) = @_;
    return IO::Socket::IP->new(PeerHost => $host, PeerPort => $port, $own ? (LocalPort => $own, ReuseAddr => 1) : ()) // die "connect: $@";
}
sub reset_it { setsockopt $_[0], SOL_SOCKET, SO_LINGER, pack('ii', 1, 0); close $_[0] }

my ($l, $c, $s);
$l = listener('127.0.0.1', 9001);
$c = connect_to('127.0.0.1', 9001);
$s = $l->accept;
my $own = $c->sockport;
agree($own, 9001, 'ESTABLISHED / ESTABLISHED', 'connect');
$c->syswrite('ABCD');
$s->sysread(my $buffer, 4);
$c->shutdown(1);
agree($own, 9001, 'FIN-WAIT-2 / CLOSE-WAIT', 'the client sends its FIN');
close $s;
agree($own, 9001, 'TIME-WAIT / CLOSED', 'the server sends its FIN');
$out = ladder(0, '--no-time', part(9001));
like($out, qr/^ *client closed after \d+ packets: FIN in four packets\. TIME-WAIT: client\.$/m, '... which makes four packets');

$l = listener('127.0.0.1', 9002);
$c = connect_to('127.0.0.1', 9002);
$s = $l->accept;
$own = $c->sockport;
$s->shutdown(1);
agree($own, 9002, 'CLOSE-WAIT / FIN-WAIT-2', 'the server sends the first FIN');
close $c;
agree($own, 9002, 'CLOSED / TIME-WAIT', 'the client sends its FIN');
like(ladder(0, part(9002)), qr/^ *server closed after .* TIME-WAIT: server\.$/m, '... so the server keeps TIME-WAIT');

$l = listener('127.0.0.1', 9003);
my @pairs = map { my $c = connect_to('127.0.0.1', 9003); [$c, $l->accept] } 1 .. 3;
$own = $pairs[2][0]->sockport;
for my $byte ('A', 'B') { $_->[0]->syswrite($byte) for @pairs }
for (@pairs) { $_->[1]->sysread($buffer, 9) }
reset_it($_->[1]) for @pairs[1, 0];
reset_it($pairs[2][1]);
agree($own, 9003, 'CLOSED / CLOSED', 'a reset');
$out = ladder(0, part(9003));
is(() = $out =~ /^ *server reset it after \d+ packets: RST, no FIN\. TIME-WAIT: nobody\.$/mg, 3, 'three interleaved conversations have a verdict each');
my @blocks = split /\n\n/, $out;
is(join(' ', map { my $n = () = /"A"|"B"/g; $n } @blocks), '2 2 2', '... and a block each');
is(join(' ', map { /client :(\d+)/ } @blocks), join(' ', map { $_->[0]->sockport } @pairs), '... in the order of their SYNs');

$l = listener('127.0.0.1', 9004);
for (1 .. 2) {
    $c = connect_to('127.0.0.1', 9004, 50000);
    $s = $l->accept;
    reset_it($s);
    close $c;
}
eventually(1, sub { my $n = () = ladder(0, part(9004)) =~ /server reset it after 4 packets/g; $n == 2 });
$out = ladder(0, part(9004));
is(() = $out =~ /client :50000 .*\n seconds\n.* SYN .*\n.* SYN, ACK .*\n.* ACK .*\n.* RST, ACK .*CLOSED\n  server reset it after 4 packets/g, 2,
    'a port used again is another conversation');

ok(!IO::Socket::IP->new(PeerHost => '127.0.0.1', PeerPort => 9005), 'nobody listens at 9005');
eventually(1, sub { slurp(part(9005)); ladder(0, part(9005)) =~ /RST/ });
like(ladder(0, part(9005)), qr/\n.*SYN-SENT .*\n.*CLOSED .* RST, ACK .*CLOSED\n  server refused it after 2 packets: RST to the SYN\. TIME-WAIT: nobody\.$/,
    'a refused connection is said to be one');

SKIP: {
    skip 'no IPv6 here', 1 unless -e '/proc/net/if_inet6' && slurp('/proc/net/if_inet6') =~ / lo$/m;
    $l = listener('::1', 9006);
    $c = connect_to('::1', 9006);
    $s = $l->accept;
    $c->syswrite('ABCD');
    $s->sysread($buffer, 4);
    reset_it($s);
    eventually(1, sub { ladder(0, part(9006)) =~ /RST/ });
    like(ladder(0, part(9006)), qr/client \[::1\]:\d+ +server \[::1\]:9006\n(?:.*\n){4}.*"ABCD".*\n(?:.*\n)*  server reset it/, 'IPv6 has its addresses and its data');
}
stop($tcpdump, 'INT');
like(`tcpdump -r $live -c 1 2>&1`, qr/LINUX_SLL2/, 'all of these came from -i any, which is not Ethernet');
# the same connection cut in the middle
system "tcpdump -r $dir/port9001.pcap -w $dir/tail.pcap 'tcp[13] & 1 != 0' 2>/dev/null";
like(ladder(0, "$dir/tail.pcap"), qr/beginning and end missing|, beginning missing: /, 'a capture that starts in the middle of a close says so');

# ---- many conversations: one after the other each in a block, and nothing is kept of those that ended
sub conversation_number {
    my ($n) = @_;
    my @port = (10000 + $n % 40000, 8081);
    return join '', map { record(5 + $n / 1000, segment(@$_)) } [@port, 'S', 1, 0], [reverse(@port), 'SA', 1, 2],
        [@port, 'A', 2, 2], [@port, 'PA', 2, 2, 'ABCD'], [reverse(@port), 'RA', 2, 6];
}
my $many = save(join '', pcap_header(), map { conversation_number($_) } 1 .. 600);
for ("scripts/ladder.sh $many", "scripts/ladder.sh - <$many") {
    my ($status, $drawn) = run('sh', '-c', $_);
    is(() = $drawn =~ /server reset it after 5 packets/g, 600, "$_ draws 600 conversations once each");
    is(join(' ', $drawn =~ /client :(\d+)/g), join(' ', 10001 .. 10600), '... in their order');
}
for my $awk (@awks) {
    local $ENV{AWK} = $awk;
    my $pid = open(my $stream, '|-', 'exec scripts/ladder.sh - >/dev/null') or die;
    binmode $stream;
    $stream->autoflush(1);
    my ($largest, @size) = 0;
    print $stream pcap_header();
    for my $part (0, 1) {
        print $stream conversation_number($_) for $part * 1000 + 1 .. $part * 3000 + 1000;
        sleep 0.3; # the rest is drawn
        my ($drawer) = grep { slurp("$_/cmdline") =~ /^$awk\0/ && slurp("$_/environ") =~ /IN_LAB=\Q$0\E/ } glob '/proc/[1-9]*';
        push @size, slurp("$drawer/status") =~ /VmHWM:\s+(\d+)/;
    }
    close $stream;
    cmp_ok($size[1] - $size[0], '<', 700, "$awk needs no more memory for 3000 more conversations of a stream") or diag("@size KB");
}
my @two = map { my $port = $_; [map { segment($port, 8081, @$_[0, 1, 2]) } ['S', 1, 0], ['A', 2, 1], ['RA', 2, 1]] } 40000, 40001;
my $mixed = save(join '', pcap_header(), map { record(5, $_) } map { ($two[0][$_], $two[1][$_]) } 0 .. 2);
my ($rc, $stream) = run('sh', '-c', "scripts/ladder.sh --no-time - <$mixed");
is(() = $stream =~ /client reset it after 3 packets/g, 2, 'interleaved conversations of a stream have a verdict each');
is(() = $stream =~ /^sample1 /mg, 2, '... and a block each');

# ---- long addresses
my @six = map { [0x2001, 0xdb8, $_, (0xffff) x 5] } 1, 2;
push @six, [(0) x 7, 1];
for ([0, 1], [0, 2], [2, 0]) {
    my $six = pack('NnCCn8n8', 0x60000000, 20, 6, 64, map { @{ $six[$_] } } @$_) . pack('nnNNCCnnn', 65000, 65001, 1, 0, 0x50, 2, 512, 0, 0);
    like(ladder(0, save(pcap_header() . record(1, $six))), qr/^tcp 1 +client \[.*:.*\]:65000\n +server \[.*:.*\]:65001$/m, 'long addresses have a line each');
}
cmp_ok($widest, '<=', 80, 'no line of all these is longer than 80 characters');
done_testing();
