#!/usr/bin/perl
# What each sample puts on the wire, what it leaves in the kernel, and what its programs say of it.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use IO::Socket::INET;
use Socket qw(IPPROTO_TCP);
use Test::More;
use Time::HiRes qw(sleep time);

need(qw(tcpdump ss diff sort));
# Local time in here is about noon: no midnight between two lines, and a UTC stamp would show.
$ENV{TZ} = 'Noon' . ((gmtime)[2] - 12);
enter_lab();

my $TCP_QUICKACK = 12;
my $ROUNDS = 10;    # of sample1 and sample2; sample3 takes 3 s

my @begin = qw(>S <S. >. >P.4 <. <P.4 >.);
my %wire  = (1 => [@begin, qw(>F. <. <F. >.)], 2 => [@begin, '<R.'], 3 => [@begin, '<R.']);

my $at = qr/\d\d:\d\d:\d\d\.\d{6}/;
my %client_end = (1 => [], 2 => ['recv ECONNRESET (Connection reset by peer)']);    # after CDEF, before close
my %server_end = (1 => ['recv 0 bytes (end of file)', 'setsockopt TCP_QUICKACK'], 2 => ['setsockopt SO_LINGER {1, 0}']);
$client_end{3} = $client_end{2};
$server_end{3} = $server_end{2};

# ---- helpers -------------------------------------------------------------------------------------
sub seconds {    # of the day, of a line that begins with a time
    my ($h, $m, $s) = $_[0] =~ /^(\d\d):(\d\d):(\d\d\.\d{6}) / or return -1;
    return $h * 3600 + $m * 60 + $s;
}

# The kernel's counters of this network, as NAME => value.
sub counters {
    my %value;
    my @lines = map { split /\n/, slurp("/proc/net/$_") } qw(snmp netstat);
    while (my ($names, $values) = splice @lines, 0, 2) {
        my ($group, @name) = split ' ', $names;
        my (undef, @number) = split ' ', $values;
        @value{@name} = @number if $group =~ /^Tcp/;
    }
    return \%value;
}

# How much NAMES have grown since, as "NAME+1 ..."; the ones that have not are left out.
sub growth {
    my ($since, @names) = @_;
    my $now = counters();
    return join ' ', map { my $n = $now->{$_} - $since->{$_}; $n ? "$_+$n" : () } @names;
}
my @aborts = qw(TCPAbortOnData TCPAbortOnClose EstabResets OutRsts);

# The packets of a recording: { line, port (not the server's), sample, data }.
sub packets {
    my ($pcap) = @_;
    my @packets;
    for (`tcpdump -nn -x -r $pcap 2>/dev/null`) {
        if (/^\s+0x\w+:\s+(.*)/) { $packets[-1]{hex} .= $1 =~ s/\s+//gr; next }
        my ($from, $to) = /^$at IP [\d.]+\.(\d+) > [\d.]+\.(\d+): Flags/ or next;
        my ($port, $sample) = $to =~ /^808([123])$/ ? ($from, $1) : ($to, substr $from, -1);
        push @packets, { line => $_, port => $port, sample => $sample, hex => '' };
    }
    for (@packets) {
        my $ip = pack 'H*', $_->{hex};
        my $tcp = substr $ip, 4 * (ord($ip) & 15);
        $_->{data} = substr $tcp, 4 * (ord(substr $tcp, 12) >> 4);
    }
    return @packets;
}

# ---- the programs as text ------------------------------------------------------------------------
# Where neighbours differ: head comment, includes, three defines, and the lesson, between two lines.
my %lesson = (client => [qr/"send " ADDRESS/, qr/^    return 0;/], server => [qr/send failed/, qr/say\("close"\)/]);
for my $role (qw(server client)) {
    for my $pair ([1, 2], [2, 3]) {
        my (%allowed, @wrong);
        for my $n (@$pair) {
            my ($head, $lesson) = (1, 0);
            my @lines = split /\n/, slurp("sample$n/$role.c");
            for my $i (0 .. $#lines) {
                local $_ = $lines[$i];
                $lesson = 0 if /$lesson{$role}[1]/;
                $allowed{$n}[$i + 1] = $head || $lesson || /^#include </ || /^#define (SAMPLE|PORT|ADDRESS) /;
                $lesson = 1 if /$lesson{$role}[0]/;
                $head = 0 if m{\*/};
            }
        }
        my ($old, $new) = (0, 0);
        for (`diff -U 1000 sample$pair->[0]/$role.c sample$pair->[1]/$role.c`) {
            next if /^(---|\+\+\+|@@)/;
            $old++ if /^[- ]/;
            $new++ if /^[+ ]/;
            push @wrong, $_ if /^-/ && !$allowed{ $pair->[0] }[$old] || /^\+/ && !$allowed{ $pair->[1] }[$new];
        }
        is(join('', @wrong), '', "sample$pair->[0] and sample$pair->[1]: $role.c differs in nothing but the lesson");
    }
}

# ---- run them ------------------------------------------------------------------------------------
my $recorder = start(qw(tcpdump -i lo -nn -s 256 -B 16384 -U --immediate-mode -w -), 'tcp portrange 8081-8083');
ok(eventually(5, sub { slurp($recorder->{err}) =~ /listening on/ }), 'tcpdump records') or diag slurp($recorder->{err});

my %server;
for my $n (1 .. 3) {
    $server{$n} = start("sample$n/server");
    ok(eventually(5, sub { slurp($server{$n}{out}) =~ /^$at server listen 127\.0\.0\.1:808$n\n\z/ }),
        "sample$n: the server's first line, in a file, says that it listens");
}
is(join(' ', sort map { (split)[3] } `ss -Htln`), '127.0.0.1:8081 127.0.0.1:8082 127.0.0.1:8083',
    'the servers listen on 127.0.0.1 and nowhere else');
ok(!IO::Socket::INET->new('127.0.0.2:8081') && $!{ECONNREFUSED}, 'another address of this host is refused');

my (%log, %status, %growth);    # of the clients: what they said, how they ended, what the kernel counted
for my $n (1, 2) {
    my $before = counters();
    for my $round (1 .. $ROUNDS) {
        my ($status, $out, $err) = run("sample$n/client");
        push @{ $log{$n} }, $out;
        $status{$n} .= "$status$err";
        eventually(5, sub { $round == (() = slurp($server{$n}{out}) =~ /server close$/mg) });
    }
    $growth{$n} = growth($before, @aborts);
}

# sample3's client into a pipe, to see when its lines come; the others have time until it wakes up.
my $before3 = counters();
my $pid = open(my $pipe, '-|', 'sample3/client') // die "sample3/client: $!";
my $arrived = time;
my $latest = 0;    # the longest time between a line's stamp and its arrival here
push @{ $log{3} }, '';
while (1) {
    if ($log{3}[0] =~ /send/ && !exists $growth{3}) {
        eventually(2, sub { slurp($server{3}{out}) =~ /server close$/m });
        $growth{3} = growth($before3, @aborts);
    }
    my $line = <$pipe> // last;
    my ($s, $m, $h) = localtime(my $now = time);
    my $late = $h * 3600 + $m * 60 + $s + ($now - int $now) - seconds($line);
    $latest = $late if $late > $latest && $line !~ /connect/;
    $log{3}[0] .= $line;
}
close $pipe;
$status{3} = $? >> 8;

# A client that keeps its ACK of CDEF back for 40 ms: in pingpong mode (QUICKACK off) Linux does so.
for my $n (2, 3) {
    my $slow = IO::Socket::INET->new("127.0.0.1:808$n") or die "connect: $@";
    setsockopt($slow, IPPROTO_TCP, $TCP_QUICKACK, 0) or die "setsockopt: $!";
    syswrite $slow, 'ABCD';
    eventually(5, sub { slurp($server{$n}{out}) =~ /accept 127\.0\.0\.1:@{[$slow->sockport]}\n(.*\n)*.* close\n/ });
}

# Resets of another kind: data that nobody has read. Linux counts them elsewhere.
my $before = counters();
my $unread = IO::Socket::INET->new('127.0.0.1:8082') or die "connect: $@";
syswrite $unread, 'XXXXX';
is(sysread($unread, my $data, 1), undef, 'a server that closes with unread data resets the connection');
is(growth($before, @aborts), 'TCPAbortOnClose+1 EstabResets+2 OutRsts+1',
    'the kernel counts that reset as one for unread data, not for a linger');

# ---- what was seen -------------------------------------------------------------------------------
is($growth{1}, '', 'sample1: the kernel counts no reset');
is($growth{2}, "TCPAbortOnData+$ROUNDS EstabResets+" . 2 * $ROUNDS . " OutRsts+$ROUNDS",
    'sample2: the kernel counts every end as a linger reset, and none as one for unread data');
is($growth{3}, 'TCPAbortOnData+1 EstabResets+2 OutRsts+1', 'sample3: the same, before the client has read anything');

is($status{1}, '0' x $ROUNDS, 'sample1: every client exits with 0 and an empty stderr');
is($status{2}, '0' x $ROUNDS, 'sample2: every client exits with 0 and an empty stderr');
is($status{3}, 0, 'sample3: the client exits with 0');
cmp_ok($latest, '<', 0.5, 'each line of a client comes through a pipe when it happens');

my %ports = map { my $n = $_; $n => [map { /from 127\.0\.0\.1:(\d+)/ } @{ $log{$n} }] } 1 .. 3;
my @left = map { join ' ', (split)[0, 3, 4] } grep { !/^LISTEN/ } `ss -Htan`;
for my $n (1 .. 3) {
    is_deeply([sort grep { /:808$n$/ } @left], [$n > 1 ? () : sort map { "TIME-WAIT 127.0.0.1:$_ 127.0.0.1:8081" } @{ $ports{1} }],
        "sample$n: " . ($n == 1 ? 'every client port is in TIME-WAIT' : 'nothing is left at the client'));
    is_deeply([grep { /:808$n /} @left], [], "sample$n: nothing is left at the server");
}

my $end = qr/<R\.$|<F\. .*>\.$/;
eventually(5, sub { $ROUNDS * 2 + 5 == grep { "@$_" =~ $end } conversations($recorder->{out}) });
is(stop($recorder, 'INT'), 0, 'tcpdump ends without error');
like(slurp($recorder->{err}), qr/^0 packets dropped by kernel/m, 'tcpdump has dropped nothing');
stop($server{$_}) for 1 .. 3;
my @packets = packets($recorder->{out});
my @conversations = conversations($recorder->{out});
is("@{ shift @conversations }", '>S <R.', 'nobody answers at the other address');
is("@{ pop @conversations }", '>S <S. >. >P.5 <. <R.', 'unread data looks on the wire as a linger reset does');
is("@{ pop @conversations }", "@{ $wire{$_} }", "sample$_: the RST waits for a late ACK of CDEF") for 3, 2;
for my $n (1 .. 3) {
    my @mine = splice @conversations, 0, $n == 3 ? 1 : $ROUNDS;
    my @wrong = grep { $_ ne "@{ $wire{$n} }" } map { "@$_" } @mine;
    is_deeply(\@wrong, [], "sample$n: " . @mine . " of " . @mine . " conversations are @{ $wire{$n} }");
    unlike("@$_", $n == 1 ? qr/R/ : qr/F/, "sample$n: no " . ($n == 1 ? 'RST' : 'FIN')) for $mine[0];
}
is(scalar @conversations, 0, 'nobody else has connected');

for my $n (1 .. 3) {
    my @accepted = slurp($server{$n}{out}) =~ /accept 127\.0\.0\.1:(\d+)$/mg;
    is_deeply([@accepted[0 .. $#{ $ports{$n} }]], $ports{$n}, "sample$n: both sides name the client's port");
    {
        my $port = $ports{$n}[0];
        my @mine = grep { $_->{port} == $port } @packets;
        is(join(' ', map { $_->{data} ne '' ? "$_->{data}" : () } @mine), 'ABCD CDEF',
            "sample$n: the packets of that port carry ABCD and CDEF and no other byte");

        # The programs' lines of this conversation, then with the packets as one timeline.
        my ($said) = slurp($server{$n}{out}) =~ /(^\S+ server accept 127.0.0.1:$port\n(?:.*\n)*?\S+ server close\n)/m;
        my @client = ("connect 127.0.0.1:808$n from 127.0.0.1:$port", 'send 4 bytes "ABCD"',
            'recv 4 bytes "CDEF"', @{ $client_end{$n} }, 'close');
        my @server = ("accept 127.0.0.1:$port", 'recv 4 bytes "ABCD"', 'send 4 bytes "CDEF"', @{ $server_end{$n} }, 'close');
        like($log{$n}[0], qr/^@{[join '', map { "$at client \Q$_\E\n" } @client]}\z/, "sample$n: the client's lines");
        like($said, qr/^@{[join '', map { "$at server \Q$_\E\n" } @server]}\z/, "sample$n: the server's lines");

        my $dir = File::Temp::tempdir(CLEANUP => 1);
        my %text = (client => $log{$n}[0], server => $said, packets => join '', map { $_->{line} } @mine);
        for (keys %text) { open my $f, '>', "$dir/$_" or die; print $f $text{$_}; close $f or die }
        my @timeline = `LC_ALL=C sort -m $dir/client $dir/server $dir/packets`;
        is_deeply(\@timeline, [sort @timeline], "sample$n: sort -m of the lines and the packets is one timeline");
        my $order = join ' ', map { /client connect/ ? 'connect' : /(client|server) (send|recv \d bytes "|recv E)/ ? "$1:$2" =~ s/ .*?(E?)$/$1/r
            : /length 4/ ? 'packet' : /Flags \[R/ ? 'RST' : () } @timeline;
        my $read = 'client:recv' . ($n > 1 ? ' client:recvE' : '');
        my $last = $n == 1 ? "packet $read" : $n == 2 ? qr/packet (?:RST client:recv|client:recv RST) client:recvE/ : "packet RST $read";
        like($order, qr/^connect client:send packet server:recv server:send $last$/,
            "sample$n: in it, who sends speaks before the packet and who receives after it");
    }
}

my ($cdef) = grep { $_->{port} == $ports{3}[0] && $_->{data} eq 'CDEF' } @packets;
my ($rst) = grep { $_->{port} == $ports{3}[0] && $_->{line} =~ /Flags \[R\.\]/ } @packets;
my ($send, $recv) = (grep { / send | recv / } split /(?<=\n)/, $log{3}[0])[0, 1];
cmp_ok(seconds($rst->{line}) - seconds($cdef->{line}), '<', 0.1, 'sample3: the RST comes within 100 ms of CDEF');
my $slept = seconds($recv) - seconds($send);
ok($slept >= 3 && $slept < 3.9, 'sample3: the client reads 3 s after it has sent') or diag $slept;
cmp_ok(seconds($recv) - seconds($rst->{line}), '>', 2.5, 'sample3: the RST is there long before that read');
like($log{1}[0], qr/^1[1-3]:/, 'the times are local time');

done_testing;
