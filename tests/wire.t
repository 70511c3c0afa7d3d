#!/usr/bin/perl
# What each sample puts on the wire, what it leaves in the kernel, and what its programs say of it.
use v5.36;
use FindBin; use lib $FindBin::Bin; use Lab;

need(qw(tcpdump taskset ss nstat));
# Local time in here is about noon: no midnight between two lines, and a UTC stamp would show.
$ENV{TZ} = 'Noon' . ((gmtime)[2] - 12);
exec pinned($^X, $0) or die "taskset: $!" unless $ENV{PINNED}++;    # also what talks to the servers from here
enter_lab();

my %rounds = (1 => 10, 2 => 10, 3 => 1);    # sample3 takes 3 s

# The sockets of this network, as "STATE LOCAL PEER".
sub sockets () { return map { join ' ', (split)[0, 3, 4] } `ss -Htan` }

# How many resets the kernel has counted as TCPAbortOnData, that is as those of a linger.
sub resets () { return `nstat -asz TcpExtTCPAbortOnData` =~ /^TcpExtTCPAbortOnData +(\d+)/m ? $1 : '?' }

# Whether the first lines to match come in this order, by their times: TEXT => PATTERN, ...
sub in_order ($title, @lines) {
    my @at;
    while (my ($text, $pattern) = splice @lines, 0, 2) {
        push @at, $text =~ /^(\d\d:\d\d:\d\d\.\d{6}) .*$pattern/m ? $1 : fail("a line like $pattern");
    }
    is("@at", join(' ', sort @at), $title);
    return map { /(\d+):(\d+):(.*)/ ? $1 * 3600 + $2 * 60 + $3 : () } @at;
}

# ---- the programs as text ------------------------------------------------------------------------
# Neighbours differ in the head comment, the includes, the number, what close sends, and after "send".
sub frame ($n, $role) {
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
my %server = map { $_ => serve("sample$_/server") } 1 .. 3;
is(steps(slurp($server{$_}{out})), "listen 127.0.0.1:808$_\n", "sample$_ says that it listens") for 1 .. 3;
is_deeply([sort(sockets())], [map { "LISTEN 127.0.0.1:808$_ 0.0.0.0:*" } 1 .. 3],
    'the servers listen on 127.0.0.1 and nowhere else');
ok(!IO::Socket::INET->new('127.0.0.2:8081') && $!{ECONNREFUSED}, 'another address of this host is refused');
my (%log, %status, %resets, %ports);    # of the clients: what they said, how they ended, ...
for my $n (1 .. 3) {
    my $before = resets();
    for my $round (1 .. $rounds{$n}) {
        my ($status, $out, $err) = run("sample$n/client");
        $log{$n} .= $out;
        $status{$n} .= "$status$err";
        eventually(sub { $round == (() = slurp($server{$n}{out}) =~ / close$/mg) });
    }
    my $awaited = $n > 1 ? $rounds{$n} : 0;    # each is counted after it is sent
    eventually(sub { ($resets{$n} = resets() - $before) >= $awaited });
    $ports{$n} = [$log{$n} =~ /from 127\.0\.0\.1:(\d+)$/mg];
}
my @left = grep { !/^LISTEN/ } sockets();

# A client that keeps its ACK of CDEF back for 40 ms: in pingpong mode (QUICKACK off) Linux does so.
my %slow;    # open until the servers have ended
for my $n (2, 3) {
    my $slow = $slow{$n} = IO::Socket::INET->new("127.0.0.1:808$n") or die "connect: $@";
    setsockopt($slow, IPPROTO_TCP, TCP_QUICKACK, 0) or die "setsockopt: $!";
    syswrite $slow, 'ABCD';
    shows($server{$n}, qr/:@{[$slow->sockport]}\n(.*\n)*.* close\n/);
}
stop($server{$_}) for 1 .. 3;    # after which all that they have closed is closed
is(end_recording($recorder), 0, 'tcpdump has dropped nothing');

# ---- what was seen -------------------------------------------------------------------------------
my @all = packets($recorder->{out});
my @seen = conversations($recorder->{out});
is(shift @seen, '>S <R.', 'nobody answers at the other address');
is(pop @seen, $wire{$_}, "sample$_: the RST waits for a late ACK of CDEF") for 3, 2;
is_deeply(\@seen, [map { ($wire{$_}) x $rounds{$_} } 1 .. 3], 'every conversation is exact: ' . @seen);
my $bytes = slurp($recorder->{out});
is(scalar(() = $bytes =~ /$_/g), @seen + 2, "and carries $_ once") for qw(ABCD CDEF);

for my $n (1 .. 3) {
    my ($client, $server, $many) = ($log{$n}, slurp($server{$n}{out}), $rounds{$n});
    is($status{$n}, '0' x $many, "sample$n: every client exits with 0 and an empty stderr");
    is($resets{$n}, $n == 1 ? 0 : $many, "sample$n: the kernel counts $resets{$n} resets of a linger");
    is_deeply([sort grep { /:808$n$/ } @left],
        [sort map { $n == 1 ? "TIME-WAIT 127.0.0.1:$_ 127.0.0.1:8081" : () } @{ $ports{$n} }],
        "sample$n: " . ($n == 1 ? 'every client port is in TIME-WAIT' : 'nothing is left at the client'));
    is(join(' ', grep { /:808$n / } @left), '', "sample$n: nothing is left at the server");

    for my $role (qw(client server)) {    # as in the reference, once for each client
        my ($once, $each) = steps(slurp("tests/reference/sample$n.$role.log")) =~ /\A(listen \N*\n|)(.*)/s;
        my $all = join '', $once, map { $each =~ s/127\.0\.0\.1:(?!808\d\b)\K\d+/$_/r } @{ $ports{$n} };
        my $said = $role eq 'client' ? steps($client) : substr steps($server), 0, length $all;
        is($said, $all, "sample$n: the lines of the $role");
    }

    # Who sends speaks before the packet and who receives after it.
    $server =~ s/\A(?:.*\n)*?(?=.* accept )//;
    my $wire = join '', map { $_->{line} } @{ $all[{ 1 => 1, 2 => 11, 3 => 21 }->{$n}] };
    my @at = in_order("sample$n: ABCD is sent, comes by and is received",
        $client => 'send', $wire => "808$n: .*length 4", $server => 'recv 4');
    push @at, in_order("sample$n: so is CDEF",
        $server => 'send', $wire => '808\d > .*length 4', $client => 'recv 4');
    in_order("sample$n: the end", $n == 1 ? ($client => 'close', $wire => 'Flags \[F', $server => 'recv 0')
        : ($server => 'close', $wire => 'Flags \[R', $client => $n == 2 ? 'ECONNRESET' : 'recv 4'));
    cmp_ok($at[5] - $at[0], '>', 2.99, 'sample3: the client reads after 3 s') if $n == 3;
}
like($log{1}, qr/^1[1-3]:/, 'the times are local time');
done_testing;
