#!/usr/bin/perl
# Servers and bad peers: nobody but ABCD is answered, nobody who is silent is waited for, the next is served.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use IO::Socket::INET;
use Socket qw(IPPROTO_TCP SOL_SOCKET SO_RCVTIMEO);
use Test::More;
use Time::HiRes qw(sleep time);

need('ss');
enter_lab();
$SIG{PIPE} = 'IGNORE';
my $TCP_QUICKACK = 12;
my %server;
my %end = (1 => "recv 0 bytes (end of file)\nsetsockopt TCP_QUICKACK\n", 2 => "setsockopt SO_LINGER {1, 0}\n");
$end{3} = $end{2};

sub serve {
    my ($n) = @_;
    $server{$n} = start("sample$n/server");
    return eventually(sub { slurp($server{$n}{out}) =~ / listen 127\.0\.0\.1:808$n\n/ });
}
sub peer {    # it waits for the server, but not for ever
    my $peer = IO::Socket::INET->new("127.0.0.1:808$_[0]") // die "connect 808$_[0]: $@";
    setsockopt $peer, SOL_SOCKET, SO_RCVTIMEO, pack('l!l!', 60, 0) or die "setsockopt: $!";
    return $peer;
}
sub answer {    # all that comes until the server closes; 'reset' at the end if it resets
    my ($peer) = @_;
    my $data = '';
    while (1) {
        my $n = sysread $peer, $data, 100, length $data;
        return $data . ($!{ECONNRESET} ? 'reset' : $!) unless defined $n;
        return $data if $n == 0;
    }
}
sub steps_with {    # the server's steps from the accept of PEER to its close
    my ($n, $port) = @_;
    my $steps;
    eventually(sub { ($steps) = steps(slurp($server{$n}{out})) =~ /^accept 127\.0\.0\.1:$port\n((?:.*\n)*?close\n)/m });
    return $steps // '';
}
sub descriptors { return scalar(() = glob "/proc/$server{$_[0]}{pid}/fd/*") }

# ---- the peers that cost 5 s, one a server, at the same time ----------------------------------------------
ok(serve($_), "sample$_: the server is ready") for 1 .. 3;
my %descriptors = map { $_ => descriptors($_) } 1 .. 3;
my $began = time;
my $idle = peer(1);    # keeps its side open after the answer
syswrite $idle, 'ABCD';
my $half = peer(2);
syswrite $half, 'AB';
my $silent = peer(3);
my $patient = peer(3);    # comes while the server waits for the silent one
syswrite $patient, 'ABCD';
for my $n (1 .. 3) {    # meanwhile, what needs no server, or one that has the port
    my ($status, $out, $err) = run("sample$n/server");
    is("$status $out$err", "1 bind 127.0.0.1:808$n (ss -tlnp shows who has it): Address already in use\n",
        "sample$n: a port in use is named with a way out");
    ($status, $out, $err) = run("sample$n/server", '8080');
    is("$status $out$err", "2 8080: unexpected argument (usage: ./sample$n/server)\n",
        "sample$n: an argument is met with the usage and status 2");
}
is(answer($idle), 'CDEF', 'sample1: a peer that keeps its side open is given up');
cmp_ok(time - $began, '>', 4.9, 'sample1: ... after 5 s');
is(steps_with(1, $idle->sockport), qq(recv 4 bytes "ABCD"\nsend 4 bytes "CDEF"\nrecv no FIN\nsetsockopt TCP_QUICKACK\nclose\n),
    'sample1: ... and its lines say so');
is(answer($half), '', 'sample2: a peer that falls silent after AB is not answered');
is(answer($silent), '', 'sample3: a peer that says nothing is given up');
is(steps_with(3, $silent->sockport), "Resource temporarily unavailable\nclose\n", 'sample3: ... its lines say why');
is(answer($patient), 'CDEFreset', 'sample3: ... and the next one is served');

# ---- the rest, against each -------------------------------------------------------------------------------
for my $n (1 .. 3) {
    my $peer = peer($n);
    for my $piece (split //, 'ABCD') { syswrite $peer, $piece; sleep 0.01 } # so that each is a segment
    sysread $peer, my $answer, 4;
    close $peer;
    is($answer, 'CDEF', "sample$n: ABCD in four pieces is answered");

    for (['ABC', 'recv other bytes'], ['ABCX', 'recv other bytes'], ['XBCD', 'recv other bytes'],
        ["\e[2J", 'recv other bytes'], ['', 'recv 0 bytes (end of file)']) {
        my ($sent, $line) = @$_;
        $peer = peer($n);
        syswrite $peer, $sent;
        shutdown $peer, 1 if length $sent < 4;
        my $name = $sent =~ /^\w+$/ ? $sent : length $sent ? 'an escape sequence' : 'an end at once';
        is(answer($peer), '', "sample$n: $name is not answered");
        is(steps_with($n, $peer->sockport), "$line\nclose\n", "sample$n: ... its line says why");
    }

    # A stopped server finds ABCD and the RST together: its send fails, with SIGPIPE's error after a FIN.
    for my $fin (0, 1) {
        kill 'STOP', $server{$n}{pid};
        $peer = peer($n);
        my $port = $peer->sockport;
        syswrite $peer, 'ABCD';
        shutdown $peer, 1 if $fin;
        hang_up_with_reset($peer);
        kill 'CONT', $server{$n}{pid};
        like(steps_with($n, $port), qr/^recv 4 bytes "ABCD"\nsend 4 bytes "CDEF"\n(.*\n)*close\n\z/,
            "sample$n: a peer gone before the answer, by " . ($fin ? 'FIN and RST: no death by SIGPIPE' : 'RST'));
    }
    like(slurp($server{$n}{err}), qr/\Asend: .*\nsend: .*\n\z/, "sample$n: ... both failures are on stderr");

    # A client that keeps its ACK of CDEF back, and resets: without a look at it the server would wait for 5 s.
    my $took = 9;
    for (1 .. 3) {
        $peer = peer($n);
        my $port = $peer->sockport;
        setsockopt $peer, IPPROTO_TCP, $TCP_QUICKACK, 0 or die "setsockopt: $!";
        syswrite $peer, 'ABCD';
        sysread $peer, $answer, 4;
        my $reset_at = time;
        hang_up_with_reset($peer);
        steps_with($n, $port);
        $took = time - $reset_at if time - $reset_at < $took;
    }
    cmp_ok($took, '<', 4.5, "sample$n: a peer that resets instead of acknowledging CDEF does not hold the server");
}

# Hundreds of bad peers of five kinds for each server, at the same time.
my %before = map { $_ => scalar(() = slurp($server{$_}{out}) =~ / close$/mg) } 1 .. 3;
my @children;
for my $n (1 .. 3) {
    push @children, fork() // die "fork: $!";
    next if $children[-1];
    for my $i (1 .. 300) {
        my $peer = peer($n);
        my $kind = $i % 5;
        syswrite $peer, ('', '', 'ABC', 'XXXX', 'ABCD')[$kind];
        $kind == 1 || $kind == 4 ? hang_up_with_reset($peer) : close $peer;
    }
    POSIX::_exit(0);
}
is(join(' ', map { waitpid $_, 0; $? } @children), '0 0 0', 'three hundred bad peers for each server');
for my $n (1 .. 3) {
    ok(eventually(sub { $before{$n} + 300 == (() = slurp($server{$n}{out}) =~ / close$/mg) }), "sample$n: has closed them all");
    is(descriptors($n), $descriptors{$n}, "sample$n: without leaking a descriptor");
    is((run("sample$n/client"))[0], 0, "sample$n: and serves the next client");
    is(stop($server{$n}, 'INT'), 2, "sample$n: it lives until it is interrupted");
    like(scalar `ss -Htan state time-wait sport = 808$n`, qr/127\.0\.0\.1:808$n/, "sample$n: some connections have left TIME-WAIT at the server");
    ok(serve($n), "sample$n: a new server has the port all the same");
    stop($server{$n});
    my ($status, $out, $err) = run('sh', '-c', "exec sample$n/server >/dev/full");
    is("$status $out$err", "1 stdout (it takes a line for every step): No space left on device\n", "sample$n: full stdout ends the server");
}
done_testing;
