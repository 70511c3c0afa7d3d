#!/usr/bin/perl
# Servers and bad peers: each is told what it did in one line, and the next peer is served.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use IO::Socket::INET;
use Socket qw(SOL_SOCKET SO_LINGER SO_RCVTIMEO);
use Test::More;
use Time::HiRes qw(sleep time);

need('ss');
enter_lab();
$SIG{PIPE} = 'IGNORE';

my %server;
my $lesson = qr/setsockopt SO_LINGER \{1, 0\}\n/;    # what sample2 and sample3 do after CDEF

# ---- helpers -------------------------------------------------------------------------------------
sub serve {
    my ($n) = @_;
    $server{$n} = start("sample$n/server");
    return eventually(5, sub { slurp($server{$n}{out}) =~ / listen 127\.0\.0\.1:808$n\n/ });
}

sub peer {    # it waits for the server, but not for ever
    my $peer = IO::Socket::INET->new("127.0.0.1:808$_[0]") // die "connect 808$_[0]: $@";
    setsockopt $peer, SOL_SOCKET, SO_RCVTIMEO, pack('l!l!', 8, 0) or die "setsockopt: $!";
    return $peer;
}

# All that comes until the server closes; 'reset' at the end if it resets.
sub answer {
    my ($peer) = @_;
    my $data = '';
    while (1) {
        my $n = sysread $peer, $data, 100, length $data;
        return $data . ($!{ECONNRESET} ? 'reset' : $!) unless defined $n;
        return $data if $n == 0;
    }
}

sub hang_up_with_reset {
    my ($peer) = @_;
    setsockopt $peer, SOL_SOCKET, SO_LINGER, pack('ii', 1, 0) or die "setsockopt: $!";
    close $peer;
}

# The server's steps from the accept of the peer with PORT to its close.
sub steps_with {
    my ($n, $port) = @_;
    my $steps;
    eventually(8, sub { ($steps) = steps(slurp($server{$n}{out})) =~ /^accept 127\.0\.0\.1:$port\n((?:.*\n)*?close\n)/m });
    return $steps // '';
}

sub good {
    my ($n) = @_;
    my $peer = peer($n);
    syswrite $peer, 'ABCD';
    sysread $peer, my $answer, 4;
    return $answer;
}

sub descriptors { return scalar(() = glob "/proc/$server{$_[0]}{pid}/fd/*") }

# ---- the three that take 5 s, one a server -------------------------------------------------------
ok(serve($_), "sample$_: the server is ready") for 1 .. 3;
my %descriptors = map { $_ => descriptors($_) } 1 .. 3;
my $began = time;
my $idle = peer(1);    # keeps its side open after the answer
syswrite $idle, 'ABCD';
my $paused = peer(2);
syswrite $paused, 'AB';
my $silent = peer(3);
my $patient = peer(3);    # comes while the server waits for the silent one
syswrite $patient, 'ABCD';

ok(eventually(5, sub { slurp($server{2}{out}) =~ /"AB"\n/ }) && pause($server{2}), 'sample2: stopped in the middle of a read');

# Meanwhile, what needs no server, or one that has the port.
for my $n (1 .. 3) {
    my ($status, $out, $err) = run("sample$n/server");
    is("$status $out$err", "1 listen 127.0.0.1:808$n: Address already in use (ss -tlnp shows who has the port)\n",
        "sample$n: a port in use is named with a way out");
    for my $argument ('-h', '', '8080') {
        ($status, $out, $err) = run("sample$n/server", $argument);
        is("$status $out$err", "2 $argument: unexpected argument (usage: ./sample$n/server)\n",
            "sample$n: argument '$argument' is met with the usage and status 2");
    }
    ($status, $out, $err) = run('sh', '-c', "exec sample$n/server >&-");
    is("$status $out$err", "1 stdout: Bad file descriptor (it takes a line for every step)\n",
        "sample$n: closed stdout ends the server");
}

is(answer($idle), 'CDEF', 'sample1: a peer that keeps its side open is given up');
my $took = time - $began;
ok($took > 4.9 && $took < 6.5, 'sample1: after 5 s') or diag $took;
is(steps_with(1, $idle->sockport), qq(recv 4 bytes "ABCD"\nsend 4 bytes "CDEF"\nrecv nothing for 5 s, given up\nclose\n),
    'sample1: a line says so');
is(answer($silent), '', 'sample3: a peer that says nothing is given up');
$took = time - $began;
ok($took > 4.9 && $took < 6.5, 'sample3: after 5 s') or diag $took;
is(steps_with(3, $silent->sockport), "recv nothing for 5 s, given up\nclose\n", 'sample3: a line says so');
is(answer($patient), 'CDEFreset', 'sample3: the next peer is served');

sleep 0.1 while time < $began + 5.5;    # the pause must be longer than the server's patience
syswrite $paused, 'CD';
kill 'CONT', $server{2}{pid};
is(answer($paused), 'CDEFreset', 'sample2: after a stop of more than 5 s the read goes on');
is($paused->sockport && steps_with(2, $paused->sockport) =~ s/$lesson//r,
    qq(recv 2 bytes "AB"\nrecv 2 bytes "CD"\nsend 4 bytes "CDEF"\nclose\n), 'sample2: nothing in its lines tells of the stop');

# ---- the rest, against each ----------------------------------------------------------------------
for my $n (1 .. 3) {
    my $end = $n == 1 ? qr/recv 0 bytes \(end of file\)\nsetsockopt TCP_QUICKACK\n/ : $lesson;

    my $peer = peer($n);
    my $port = $peer->sockport;
    my $seen = 1;
    for my $piece (split //, 'ABCD') {
        syswrite $peer, $piece;
        $seen &&= eventually(5, sub { slurp($server{$n}{out}) =~ /accept \S+:$port\n(?:.*\n)*.*recv 1 bytes "$piece"\n/ });
    }
    sysread $peer, my $answer, 4;
    close $peer;
    is($answer, 'CDEF', "sample$n: ABCD in four pieces is answered");
    like(steps_with($n, $port), qr/^(?:recv 1 bytes "[ABCD]"\n){4}send 4 bytes "CDEF"\n${end}close\n\z/,
        "sample$n: each piece has its line");

    $peer = peer($n);
    syswrite $peer, 'ABC';
    shutdown $peer, 1;
    is(answer($peer), '', "sample$n: ABC and FIN is not answered");
    is(steps_with($n, $peer->sockport), qq(recv 3 bytes "ABC"\nrecv 0 bytes (end of file)\nclose\n), "sample$n: its lines say why");

    for my $bad (['XXXX', 'XXXX'], ["\e[2J", '.[2J'], ["\xff\0\x7f\n", '....']) {
        $peer = peer($n);
        syswrite $peer, $bad->[0];
        is(answer($peer), '', "sample$n: $bad->[1] is not answered");
        is(steps_with($n, $peer->sockport), qq(recv 4 bytes "$bad->[1]"\nclose\n),
            "sample$n: its line shows $bad->[1] and the connection is closed");
    }

    for my $bad ('XYZ!', 'ABCD') {
        $peer = peer($n);
        $port = $peer->sockport;
        my $mebibyte = $bad x (1 << 18);
        while (length $mebibyte) {
            my $sent = syswrite($peer, $mebibyte) // last;
            substr $mebibyte, 0, $sent, '';
        }
        my $read = $bad eq 'ABCD' ? 'send 4 bytes "CDEF"\n' . ($n == 1 ? 'recv 1 bytes "A"\n' : $lesson) : '';
        like(steps_with($n, $port), qr/^recv 4 bytes "$bad"\n${read}close\n\z/,
            "sample$n: of 1 MiB of $bad it reads no more than it needs");
    }

    $peer = peer($n);
    $port = $peer->sockport;
    hang_up_with_reset($peer);
    is(steps_with($n, $port), "recv ECONNRESET (Connection reset by peer)\nclose\n",
        "sample$n: a reset right after connecting is reported");

    # A stopped server finds ABCD and the RST together: its first send fails, in two ways.
    for my $fin (0, 1) {
        $peer = peer($n);
        $port = $peer->sockport;
        eventually(5, sub { slurp($server{$n}{out}) =~ /accept 127\.0\.0\.1:$port\n/ }) && pause($server{$n}) or fail('stopped');
        syswrite $peer, 'ABCD';
        shutdown $peer, 1 if $fin;
        hang_up_with_reset($peer);
        kill 'CONT', $server{$n}{pid};
        my $why = $fin ? 'Broken pipe' : 'Connection reset by peer';
        my $how = $fin ? 'FIN and RST: no death by SIGPIPE' : 'RST';
        like(steps_with($n, $port), qr/^recv 4 bytes "ABCD"\nsend 4 bytes "CDEF"\nsend failed \($why\)\n$end?(recv 0 bytes \(end of file\)\n)?(?:setsockopt TCP_QUICKACK\n)?close\n\z/,
            "sample$n: a peer gone while we send, by $how");
    }

    $peer = peer($n);
    syswrite $peer, 'ABC';
    ok(eventually(5, sub { slurp($server{$n}{out}) =~ /"ABC"\n\z/ }) && pause($server{$n}), "sample$n: stopped in the middle of a read");
    kill 'CONT', $server{$n}{pid};
    ok(eventually(5, sub { slurp("/proc/$server{$n}{pid}/stat") =~ /\) S / }) && slurp($server{$n}{out}) =~ /"ABC"\n\z/,
        "sample$n: after SIGCONT it goes on reading");
    syswrite $peer, 'D';
    sysread $peer, $answer, 4;
    is($answer, 'CDEF', "sample$n: and answers the complete ABCD");
    close $peer;
}

# A thousand bad peers of five kinds for each server, at the same time.
my %before = map { $_ => scalar(() = slurp($server{$_}{out}) =~ / close$/mg) } 1 .. 3;
my @children;
for my $n (1 .. 3) {
    push @children, fork() // die "fork: $!";
    next if $children[-1];
    for my $i (1 .. 1000) {
        my $peer = peer($n);
        my $kind = $i % 5;
        syswrite $peer, ('', '', 'ABC', 'XXXX', 'ABCD')[$kind];
        $kind == 1 || $kind == 4 ? hang_up_with_reset($peer) : close $peer;
    }
    POSIX::_exit(0);
}
is(join(' ', map { waitpid $_, 0; $? } @children), '0 0 0', 'a thousand bad peers for each server');
for my $n (1 .. 3) {
    ok(eventually(8, sub { $before{$n} + 1000 == (() = slurp($server{$n}{out}) =~ / close$/mg) }), "sample$n: has closed them all");
    is(descriptors($n), $descriptors{$n}, "sample$n: without leaking a descriptor");
    is(good($n), 'CDEF', "sample$n: and serves the next peer");
    eventually(5, sub { $before{$n} + 1001 == (() = slurp($server{$n}{out}) =~ / close$/mg) });
    unlike(slurp($server{$n}{out}), qr/[^\n\x20-\x7e]/, "sample$n: no control byte has reached its lines");
    is(slurp($server{$n}{err}), '', "sample$n: it had nothing to complain of");
    is(stop($server{$n}, 'INT'), 2, "sample$n: it lives until it is interrupted");
    like(scalar `ss -Htan state time-wait sport = 808$n`, qr/127\.0\.0\.1:808$n/, "sample$n: some connections have left TIME-WAIT at the server");
    ok(serve($n), "sample$n: a new server has the port all the same");
    stop($server{$n});
    my ($status, $out, $err) = run('sh', '-c', "exec sample$n/server >/dev/full");
    is("$status $out$err", "1 stdout: No space left on device (it takes a line for every step)\n", "sample$n: full stdout ends the server");
}

done_testing;
