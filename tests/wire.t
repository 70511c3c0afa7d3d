#!/usr/bin/perl
# What each sample puts on the wire, what it leaves in the kernel, and what its programs say of it. On one CPU,
# where the order of packets is certain.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use IO::Socket::INET;
use Socket qw(IPPROTO_TCP);
use Test::More;
use Time::HiRes 'time';

need(qw(tcpdump ss diff sort taskset));
# Local time in here is about noon: no midnight between two lines, and a UTC stamp would show.
$ENV{TZ} = 'Noon' . ((gmtime)[2] - 12);
enter_lab();
my $TCP_QUICKACK = 12;
my $ROUNDS = 10;    # of sample1 and sample2; sample3 takes 3 s
my $at = qr/\d\d:\d\d:\d\d\.\d{6}/;
my $linger = 'setsockopt SO_LINGER {1, 0}';
my %server_end = (1 => "recv 0 bytes (end of file)\nsetsockopt TCP_QUICKACK", 2 => $linger, 3 => $linger);
my %client_end = (1 => '', map { $_ => "recv ECONNRESET (Connection reset by peer)\n" } 2, 3);

sub seconds {    # of the day, of a line that begins with a time
    my ($h, $m, $s) = $_[0] =~ /^(\d\d):(\d\d):(\d\d\.\d{6}) / or return -1;
    return $h * 3600 + $m * 60 + $s;
}

# The kernel's counters of resets in this network, as NAME => value.
sub counters {
    my %value;
    my @lines = map { split /\n/, slurp("/proc/net/$_") } qw(snmp netstat);
    while (my ($names, $values) = splice @lines, 0, 2) {
        my ($group, @name) = split ' ', $names;
        @value{@name} = (split ' ', $values)[1 .. @name] if $group =~ /^Tcp/;
    }
    return \%value;
}

# How much they have grown since, as "NAME+1 ..."; those that have not are left out.
sub growth {
    my ($since, $now) = ($_[0], counters());
    return join ' ', map { my $n = $now->{$_} - $since->{$_}; $n ? "$_+$n" : () }
        qw(TCPAbortOnData TCPAbortOnClose EstabResets OutRsts);
}

# ---- the programs as text: neighbours differ in head comment, includes, sample, port, and the lesson ------
my %lesson = (client => [qr/send\(connection/, qr/say\("close"\)/], server => [qr/perror\("send"\)/, qr/^ {8}\} else$/]);
sub without_the_lesson {
    my ($n, $role) = @_;
    my ($text, $lesson, $head) = ('', 0, 1);
    for (split /^/, slurp("sample$n/$role.c")) {
        $lesson = 0 if /$lesson{$role}[1]/;
        $text .= s/sample$n/sampleN/gr =~ s/808$n/808N/gr =~ s{ /\* sends .*}{}r unless $head || $lesson || /^#include </;
        $lesson = 1 if /$lesson{$role}[0]/;
        $head = 0 if m{\*/};
    }
    return $text;
}
for my $role (qw(server client)) {
    is(without_the_lesson($_ + 1, $role), without_the_lesson($_, $role),
        "sample$_ and sample@{[$_ + 1]}: $role.c differs in nothing but the lesson") for 1, 2;
}

# ---- run them -------------------------------------------------------------------------------------------
my $recorder = start(qw(tcpdump -i lo -nn -s 256 -B 16384 -U --immediate-mode -w -), 'tcp portrange 8081-8083');
ok(eventually(sub { slurp($recorder->{err}) =~ /listening on/ }), 'tcpdump records');
my %server;
for my $n (1 .. 3) {
    $server{$n} = start(pinned("sample$n/server"));
    ok(eventually(sub { slurp($server{$n}{out}) =~ /^$at server listen 127\.0\.0\.1:808$n\n\z/ }),
        "sample$n: the server's first line, in a file, says that it listens");
}
is(join(' ', sort map { (split)[3] } `ss -Htln`), '127.0.0.1:8081 127.0.0.1:8082 127.0.0.1:8083',
    'the servers listen on 127.0.0.1 and nowhere else');
ok(!IO::Socket::INET->new('127.0.0.2:8081') && $!{ECONNREFUSED}, 'another address of this host is refused');

my (%log, %status, %growth, $data);    # of the clients: their lines, how they ended, what the kernel counted
my $closed = sub { my ($n) = @_; return scalar(() = slurp($server{$n}{out}) =~ /server close$/mg) };
for my $n (1, 2) {
    my $before = counters();
    for my $round (1 .. $ROUNDS) {
        my ($status, $out, $err) = run(pinned("sample$n/client"));
        push @{ $log{$n} }, $out;
        $status{$n} .= "$status$err";
        eventually(sub { $closed->($n) == $round });
    }
    $growth{$n} = growth($before);
}

# sample3's client into a pipe, to see that its lines come when they happen: at the RST it has not read.
my $before = counters();
open(my $pipe, '-|', pinned('sample3/client')) // die "sample3/client: $!";
push @{ $log{3} }, scalar(<$pipe>) . <$pipe>;
eventually(sub { $closed->(3) == 1 });
$growth{3} = growth($before);
my $rst_seen = time;
$log{3}[0] .= $_ while <$pipe>;
close $pipe;
$status{3} = $? >> 8;
like($log{3}[0], qr/\A$at client connect .*\n$at client send 4 bytes "ABCD"\n/, 'sample3: lines come through a pipe at once');
cmp_ok(time - $rst_seen, '>', 2, 'sample3: ... more than 2 s before the client reads');

# A client that keeps its ACK of CDEF back for 40 ms: in pingpong mode (QUICKACK off) Linux does so.
for my $n (2, 3) {
    my $slow = IO::Socket::INET->new("127.0.0.1:808$n") or die "connect: $@";
    setsockopt($slow, IPPROTO_TCP, $TCP_QUICKACK, 0) or die "setsockopt: $!";
    syswrite $slow, 'ABCD';
    eventually(sub { slurp($server{$n}{out}) =~ /accept 127\.0\.0\.1:@{[$slow->sockport]}\n(.*\n)*.* close\n/ });
}

# Resets of another kind: data that nobody has read. Linux counts them elsewhere.
$before = counters();
my $unread = IO::Socket::INET->new('127.0.0.1:8082') or die "connect: $@";
syswrite $unread, 'XXXXX';
is(sysread($unread, $data, 1), undef, 'a server that closes with unread data resets the connection');
is(growth($before), 'TCPAbortOnClose+1 EstabResets+2 OutRsts+1', 'the kernel counts that reset as one for unread data');

# ---- what was seen ----------------------------------------------------------------------------------------
is($growth{1}, '', 'sample1: the kernel counts no reset');
is($growth{$_->[0]}, "TCPAbortOnData+$_->[1] EstabResets+" . 2 * $_->[1] . " OutRsts+$_->[1]",
    "sample$_->[0]: the kernel counts each end as a linger reset, none as one for unread data") for [2, $ROUNDS], [3, 1];
is($status{$_}, 0 x @{ $log{$_} }, "sample$_: every client exits with 0 and an empty stderr") for 1 .. 3;

my %ports = map { my $n = $_; $n => [map { /from 127\.0\.0\.1:(\d+)/ } @{ $log{$n} }] } 1 .. 3;
is(join("\n", sort map { join ' ', (split)[0, 3, 4] } grep { !/^LISTEN/ } `ss -Htan`),
    join("\n", sort map { "TIME-WAIT 127.0.0.1:$_ 127.0.0.1:8081" } @{ $ports{1} }),
    'every client of sample1 is in TIME-WAIT; nothing else is left, neither at a server nor of samples 2 and 3');

eventually(sub { $ROUNDS * 2 + 5 == grep { "@$_" =~ /<R\.$|<F\. .*>\.$/ } conversations($recorder->{out}) });
is(stop($recorder, 'INT'), 0, 'tcpdump ends without error');
like(slurp($recorder->{err}), qr/^0 packets dropped by kernel/m, 'tcpdump has dropped nothing');
stop($_) for values %server;
my @conversations = map { "@$_" } conversations($recorder->{out});
is(shift @conversations, '>S <R.', 'nobody answers at the other address');
is(pop @conversations, '>S <S. >. >P.5 <. <R.', 'unread data looks on the wire as a linger reset does');
is(pop @conversations, $wire{$_}, "sample$_: the RST waits for a late ACK of CDEF") for 3, 2;
is(join("\n", @conversations), join("\n", ($wire{1}) x $ROUNDS, ($wire{2}) x $ROUNDS, $wire{3}),
    'all other conversations are exact: FIN, ACK, FIN, ACK without RST, then RST without FIN');

# ---- the lines of both programs and the packets of a sample's first conversation, as one timeline -----------
for my $n (1 .. 3) {
    my $port = $ports{$n}[0];
    my $dump = "tcpdump -nn -r $recorder->{out}";
    like(join('', `$dump -A port $port 2>/dev/null`), qr/\A(?:(?!CDEF).)*ABCD\n(?:(?!ABCD).)*CDEF\n/s,
        "sample$n: the packets carry ABCD, then CDEF");
    my ($said) = slurp($server{$n}{out}) =~ /(^\S+ server accept 127.0.0.1:$port\n(?:.*\n)*?\S+ server close\n)/m;
    is(steps($log{$n}[0]), <<"LINES", "sample$n: the client's lines");
connect 127.0.0.1:808$n from 127.0.0.1:$port
send 4 bytes "ABCD"
recv 4 bytes "CDEF"
$client_end{$n}close
LINES
    is(steps($said), <<"LINES", "sample$n: the server's lines, with the same port");
accept 127.0.0.1:$port
recv 4 bytes "ABCD"
send 4 bytes "CDEF"
$server_end{$n}
close
LINES
    my $dir = tempdir(CLEANUP => 1);
    my %text = (client => $log{$n}[0], server => $said, packets => join '', `$dump port $port 2>/dev/null`);
    for (keys %text) { open my $file, '>', "$dir/$_" or die; print $file $text{$_}; close $file or die }
    my @timeline = `LC_ALL=C sort -m $dir/client $dir/server $dir/packets`;
    my @times = map { seconds($_) } @timeline;
    is_deeply(\@times, [sort { $a <=> $b } @times], "sample$n: sort -m of them is one timeline");
    my @order = map { / (client|server) (send|recv \d bytes "|recv E)/ ? "$1:" . ($2 =~ /E/ ? 'error' : substr $2, 0, 4)
        : /length 4/ ? 'packet' : /Flags \[R/ ? 'RST' : () } @timeline;
    my ($send, $received) = ('client:send packet server:recv server:send packet', 'client:recv client:error');
    my %order = (1 => "$send client:recv", 2 => qr/$send(?= .*RST)(?: RST)? client:recv(?: RST)? client:error/, 3 => "$send RST $received");
    like("@order", qr/^$order{$n}$/, "sample$n: in it, who sends speaks before the packet and who receives after it");
}
my @read = grep { / send | recv / } split /^/, $log{3}[0];
cmp_ok(seconds($read[1]) - seconds($read[0]), '>=', 3, 'sample3: the client reads 3 s after it has sent');
like($log{1}[0], qr/^1[1-3]:/, 'the times are local time');
done_testing;
