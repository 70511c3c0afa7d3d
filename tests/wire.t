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

need(qw(tcpdump diff taskset));
# Local time in here is about noon: no midnight between two lines, and a UTC stamp would show.
$ENV{TZ} = 'Noon' . ((gmtime)[2] - 12);
exec pinned($^X, $0) or die "taskset: $!" unless $ENV{PINNED}++;    # also what talks to the servers from here
enter_lab();

my $TCP_QUICKACK = 12;
my %rounds = (1 => 10, 2 => 10, 3 => 1);    # sample3 takes 3 s
my @received = ('recv 4 bytes "CDEF"', 'recv ECONNRESET (Connection reset by peer)');
my %client_end = (1 => [$received[0], 'close'], map { $_ => [@received, 'close'] } 2, 3);
my %server_end = (1 => ['recv 0 bytes (end of file)', 'setsockopt TCP_QUICKACK', 'close'],
    map { $_ => ['setsockopt SO_LINGER {1, 0}', 'close'] } 2, 3);

# The sockets of this network, as "LOCAL REMOTE STATE" with addresses in hex, as /proc/net/tcp has them.
sub sockets { return map { slurp("/proc/net/$_") =~ /: (\S+ \S+ \w\w) /g } @_ }

# How many resets the kernel has counted as TCPAbortOnData, that is as those of a linger.
sub resets {
    my ($names, $numbers) = slurp('/proc/net/netstat') =~ /^TcpExt: (.*)\nTcpExt: (.*)/m;
    my %counted;
    @counted{ split ' ', $names } = split ' ', $numbers;
    return $counted{TCPAbortOnData};
}

# The time of the first of TEXT's lines that match PATTERN, in seconds of the day.
sub at {
    my ($text, $pattern) = @_;
    my ($h, $m, $s) = $text =~ /^(\d\d):(\d\d):(\d\d\.\d{6}) .*$pattern/m;
    return defined $s ? $h * 3600 + $m * 60 + $s : fail("a line like $pattern");
}

# ---- the programs as text ------------------------------------------------------------------------
# Neighbours differ in the head comment, the includes, the number, what close sends, and after "send".
sub frame {
    my ($n, $role) = @_;
    my ($frame, $lesson) = ('', 0);
    for (split /^/, slurp("sample$n/$role.c") =~ s{\A/\*.*?\*/}{}sr) {
        $lesson = 0 if /^ *(?:\} else|say\("close"\))/;
        $frame .= $_ if !$lesson && !/^#include/;
        $lesson = 1 if /\bsend\(/;
    }
    return $frame =~ s{close\(.*\K/\*.*}{}r =~ s/sample$n\b/sampleN/gr =~ s/\b808$n\b/808N/gr;
}
for my $role (qw(server client)) {
    my $frame = frame(1, $role);
    is(frame($_, $role), $frame, "sample$_: its $role differs from sample1's in the lesson alone") for 2, 3;
    like($frame, qr/send\((?:.*\n){1,4} *say\("close"\);\n.*close\(/, "$role: the lesson is before close");
}

# ---- run them ------------------------------------------------------------------------------------
my $recorder = begin_recording('tcp');
my (%server, %log, %status, %resets, %ports);    # of the clients: what they said, how they ended, ...
for my $n (1 .. 3) {
    $server{$n} = start("sample$n/server");
    eventually(sub { slurp($server{$n}{out}) =~ / listen / });
    is(steps(slurp($server{$n}{out})), "listen 127.0.0.1:808$n\n", "sample$n: the server says it listens");
}
is_deeply([sort(sockets('tcp')), sockets('tcp6')], [map { "0100007F:1F9$_ 00000000:0000 0A" } 1 .. 3],
    'the servers listen on 127.0.0.1 and nowhere else');
ok(!IO::Socket::INET->new('127.0.0.2:8081') && $!{ECONNREFUSED}, 'another address of this host is refused');
for my $n (1 .. 3) {
    my $before = resets();
    for my $round (1 .. $rounds{$n}) {
        my ($status, $out, $err) = run("sample$n/client");
        $log{$n} .= $out;
        $status{$n} .= "$status$err";
        eventually(sub { $round == (() = slurp($server{$n}{out}) =~ / close$/mg) });
    }
    my $awaited = $n > 1 ? $rounds{$n} : 0;    # each is counted after it is sent
    eventually(5, sub { ($resets{$n} = resets() - $before) >= $awaited });
    $ports{$n} = [$log{$n} =~ /from 127\.0\.0\.1:(\d+)$/mg];
}
my %left = map { $_ => 1 } grep { !/0A$/ } sockets('tcp');

# A client that keeps its ACK of CDEF back for 40 ms: in pingpong mode (QUICKACK off) Linux does so.
my %slow;    # open until the servers have ended
for my $n (2, 3) {
    my $slow = $slow{$n} = IO::Socket::INET->new("127.0.0.1:808$n") or die "connect: $@";
    setsockopt($slow, IPPROTO_TCP, $TCP_QUICKACK, 0) or die "setsockopt: $!";
    syswrite $slow, 'ABCD';
    eventually(sub { slurp($server{$n}{out}) =~ /:@{[$slow->sockport]}\n(.*\n)*.* close\n/ });
}
stop($server{$_}) for 1 .. 3;    # after which all that they have closed is closed
is(end_recording($recorder), 0, 'tcpdump has dropped nothing');

# ---- what was seen -------------------------------------------------------------------------------
my @all = packets($recorder->{out});
my @seen = map { join ' ', map { $_->{is} } @$_ } @all;
is(shift @seen, '>S <R.', 'nobody answers at the other address');
is(pop @seen, $wire{$_}, "sample$_: the RST waits for a late ACK of CDEF") for 3, 2;
is_deeply(\@seen, [map { ($wire{$_}) x $rounds{$_} } 1 .. 3], 'every conversation is exact: ' . @seen);
my $bytes = slurp($recorder->{out});
is(scalar(() = $bytes =~ /$_/g), @seen + 2, "and carries $_ once") for qw(ABCD CDEF);

for my $n (1 .. 3) {
    my ($client, $server, $many) = ($log{$n}, slurp($server{$n}{out}), $rounds{$n});
    is($status{$n}, '0' x $many, "sample$n: every client exits with 0 and an empty stderr");
    is($resets{$n}, $n == 1 ? 0 : $many, "sample$n: the kernel counts $resets{$n} resets of a linger");
    my @local = map { sprintf '0100007F:%04X', $_ } 8080 + $n, @{ $ports{$n} };
    is_deeply([sort grep { / $local[0] / } keys %left],
        [sort map { $n == 1 ? "$_ $local[0] 06" : () } @local[1 .. $many]],
        "sample$n: " . ($n == 1 ? 'every client port is in TIME-WAIT' : 'nothing is left at the client'));
    is(join(' ', grep { /^$local[0] / } keys %left), '', "sample$n: nothing is left at the server");

    is(steps($client), join('', map { "$_\n" } map { ("connect 127.0.0.1:808$n from 127.0.0.1:$_",
        'send 4 bytes "ABCD"', @{ $client_end{$n} }) } @{ $ports{$n} }), "sample$n: the client's lines");
    my $said = join '', map { "$_\n" } "listen 127.0.0.1:808$n", map { ("accept 127.0.0.1:$_",
        'recv 4 bytes "ABCD"', 'send 4 bytes "CDEF"', @{ $server_end{$n} }) } @{ $ports{$n} };
    is(substr(steps($server), 0, length $said), $said, "sample$n: the server's lines");

    # Who sends speaks before the packet and who receives after it.
    $server =~ s/\A(?:.*\n)*?(?=.* accept )//;
    my $mine = join '', map { $_->{line} } @{ $all[{ 1 => 1, 2 => 11, 3 => 21 }->{$n}] };
    my @steps = (at($client, 'send'), at($mine, "808$n: .*length 4"), at($server, 'recv 4'));
    is_deeply(\@steps, [sort { $a <=> $b } @steps], "sample$n: ABCD is sent, comes by and is received");
    @steps = (at($server, 'send'), at($mine, '808\d > .*length 4'), at($client, 'recv 4'));
    is_deeply(\@steps, [sort { $a <=> $b } @steps], "sample$n: so is CDEF");
    @steps = $n == 1 ? (at($client, 'close'), at($mine, 'Flags \[F'), at($server, 'recv 0'))
        : (at($server, 'close'), at($mine, 'Flags \[R'), at($client, $n == 2 ? 'ECONNRESET' : 'recv 4'));
    is_deeply(\@steps, [sort { $a <=> $b } @steps], "sample$n: so is the end");
}
cmp_ok(at($log{3}, 'recv 4') - at($log{3}, 'send'), '>', 2.99, 'sample3: the client reads after 3 s');
like($log{1}, qr/^1[1-3]:/, 'the times are local time');
done_testing;
