#!/usr/bin/perl
# Servers and bad peers: each is told what it did in one line, and the next peer is served.
use v5.36;
use FindBin; use lib $FindBin::Bin; use Lab;

enter_lab();
$SIG{PIPE} = 'IGNORE';

# A connection to sampleN's server that has sent BYTES.
sub peer ($n, $bytes) {
    my $peer = IO::Socket::INET->new("127.0.0.1:808$n") // die "connect 808$n: $@";
    syswrite $peer, $bytes;
    return $peer;
}

# All that comes until the server closes; 'reset' at the end if it resets.
sub answer ($peer) {
    my ($data, $n) = ('');
    while ($n = sysread $peer, $data, 100, length $data) { }
    return defined $n ? $data : $data . ($!{ECONNRESET} ? 'reset' : $!);
}

# The lines of SERVER from the accept of the peer with PORT to its close.
sub lines_with ($server, $port) {
    my $lines;
    eventually(sub { ($lines) = slurp($server->{out}) =~ /:$port\n((?:.*\n)*?.* close\n)/ });
    return $lines // '';
}

# ---- nobody who is silent for more than 5 s holds it: three such, one a server --------------------
my %server = map { $_ => serve("sample$_/server") } 1 .. 3;
my $began = time;
my %silent = map { $_ => peer($_, (qw(ABCD AB), '')[$_ - 1]) } 1 .. 3;    # sample1's keeps its side open
my %next = map { $_ => peer($_, 'ABCD') } 2, 3;
is(said("sample$_/server"), "1 bind 127.0.0.1:808$_ (ss -tlnp shows who has it): Address already in use\n",
    "sample$_: a port in use is named with a way out") for 1 .. 3;    # meanwhile
for my $n (1 .. 3) {
    is(answer($silent{$n}), $n == 1 ? 'CDEF' : '', "sample$n: a silent peer is given up");
    cmp_ok(time - $began, '>', 4.9, "sample$n: after 5 s");
    my @said = (qq(recv 4 bytes "ABCD"\nsend 4 bytes "CDEF"\nrecv no FIN\nsetsockopt TCP_QUICKACK\n),
        "recv other bytes\n", "Resource temporarily unavailable\n");
    is(steps(lines_with($server{$n}, $silent{$n}->sockport)), "$said[$n - 1]close\n", "sample$n: it says so");
    is(answer($next{$n}), 'CDEFreset', "sample$n: and the next one is served") if $n > 1;
}

# ---- what else peers do ---------------------------------------------------------------------------
for my $n (1 .. 3) {
    my ($server, $peer, $answer, %said) = ($server{$n}, peer($n, 'A'));
    for my $piece (qw(B C D)) {
        sleep 0.02;    # so that it comes alone
        syswrite $peer, $piece;
    }
    sysread $peer, $answer, 4;
    is($answer, 'CDEF', "sample$n: ABCD in four pieces is answered");
    close $peer;
    for my $wrong (qw(ABCX XBCD ABC), '') {
        $peer = peer($n, $wrong);
        shutdown $peer, 1 if length $wrong < 4;
        is(answer($peer) . steps(lines_with($server, $peer->sockport)),
            ($wrong ? 'recv other bytes' : 'recv 0 bytes (end of file)') . "\nclose\n", "sample$n: '$wrong'");
    }

    # A peer that is gone before a stopped server has seen it, and so when that sends (no SIGPIPE).
    for my $bytes ('', 'ABCD') {
        kill 'STOP', $server->{pid};
        my $port = ($peer = peer($n, $bytes))->sockport;
        shutdown $peer, 1 if $bytes;
        hang_up($peer);
        kill 'CONT', $server->{pid};
        $said{$bytes} = steps(lines_with($server, $port));
    }
    is($said{''}, "Connection reset by peer\nclose\n", "sample$n: a reset after connecting is reported");
    like($said{ABCD}, qr/^recv 4 .*\nsend 4 .*\n(?:.*\n)+close\n/, "sample$n: a peer gone while we send");
    is(slurp($server->{err}), "send: Broken pipe\n", "sample$n: is reported");

    # A reset while the peer's ACK of CDEF, kept back for 40 ms, is waited for: a server that does not notice
    # takes 5 s, and does so three times.
    my $seconds = 5;
    for (1 .. 3) {
        next if $n == 1 || $seconds < 5;
        my $port = ($peer = peer($n, ''))->sockport;
        setsockopt $peer, IPPROTO_TCP, TCP_QUICKACK, 0 or die "setsockopt: $!";
        syswrite $peer, 'ABCD';
        sysread $peer, $answer, 4;
        hang_up($peer);
        my @at = lines_with($server, $port) =~ /:(\d\d):(\S+) server (?:send|setsockopt)/g;
        $seconds = (($at[2] - $at[0]) * 60 + $at[3] - $at[1]) % 3600;
    }
    cmp_ok($seconds, '<', 5, "sample$n: a reset ends the wait for an ACK") if $n > 1;

    is(stop($server, 'INT'), 2, "sample$n: it lives until it is interrupted");
    like(slurp('/proc/net/tcp'), qr/: 0100007F:1F9$n \S+ 06 /, "sample$n: wrong peers have left TIME-WAIT");
    $server = serve("sample$n/server");
    like(slurp($server->{out}), qr/ listen /, "sample$n: a new server has the port all the same");
    stop($server);
    is(said('sh', '-c', "exec sample$n/server >/dev/full"),
        "1 stdout (it takes a line for every step): No space left on device\n", "sample$n: a full disk");
}
done_testing;
