#!/usr/bin/perl
# Servers and bad clients: a server says in one line what each did, and serves the next one.
use v5.36;
use FindBin;
use lib $FindBin::Bin;
use Lab;

enter_lab();
$SIG{PIPE} = 'IGNORE';
my $answered = qq(recv 4 bytes "ABCD"\nsend 4 bytes "CDEF"\n);

# A connection to sampleN's server that has sent BYTES.
sub peer ($n, $bytes) {
    my $peer = IO::Socket::INET->new("127.0.0.1:808$n") // die "connect 808$n: $@";
    setsockopt $peer, IPPROTO_TCP, TCP_NODELAY, 1 or die "setsockopt: $!";    # or pieces wait
    syswrite $peer, $bytes;
    return $peer;
}

# All that comes to PEER until the server closes; 'reset' at the end if it resets.
sub answer ($peer) {
    my $data = '';
    my $n = 1;
    while ($n) {
        $n = sysread $peer, $data, 100, length $data;
    }
    return $data if defined $n;
    return $data . ($!{ECONNRESET} ? 'reset' : $!);
}

# What a good client of sampleN gets.
sub good_gets ($n) {
    return $n == 1 ? 'CDEF' : 'CDEFreset';
}

# What SERVER says of the client at PORT, from after accept to close.
sub lines_about ($server, $port) {
    my $lines = '';
    my $has_closed_or_ended = sub {
        my $ended = Lab::over($server);    # looked at first, for it may write until then
        $lines = $1 if slurp($server->{out}) =~ /:$port\n((?:.*\n)*?.* close\n)/;
        return $lines || $ended;
    };
    eventually($has_closed_or_ended);
    return steps($lines);
}

# What SERVER says of a client of sampleN that has sent BYTES, and FIN, and RST, before it was seen.
sub lines_about_one_that_is_gone ($n, $server, $bytes) {
    kill 'STOP', $server->{pid};
    my $peer = peer($n, $bytes);
    my $port = $peer->sockport;
    shutdown $peer, 1 if $bytes;
    hang_up($peer);
    kill 'CONT', $server->{pid};
    return lines_about($server, $port);
}

for my $n (@samples) {
    subtest "sample$n: a server that cannot begin says why" => sub {
        my $server = serve("sample$n/server");
        my $bind = "bind 127.0.0.1:808$n (if it is in use, ss -tanp shows by what)";
        is(said("sample$n/server"), "1 $bind: Address already in use\n", 'a port in use');
        stop($server);
        my $stdout = 'stdout (it takes a line for every step)';
        is(said('sh', '-c', "exec sample$n/server >/dev/full"),
            "1 $stdout: No space left on device\n", 'a full disk');
        is(said('sh', '-c', "exec sample$n/server >&-"),
            "1 $stdout: Bad file descriptor\n", 'a closed stdout');
    };

    subtest "sample$n: ABCD in four pieces is answered" => sub {
        my $server = serve("sample$n/server");
        my $peer = peer($n, '');
        for my $piece (qw(A B C D)) {
            syswrite $peer, $piece;
            sleep 0.02;    # so that each comes alone
        }
        sysread $peer, my $data, 4;
        is($data, 'CDEF', 'the answer');
        stop($server);
    };

    subtest "sample$n: other bytes and end of file are told apart, and the next is served" => sub {
        my $server = serve("sample$n/server");
        my @wrong = (
            ['ABCX', 'recv other bytes'],
            ['XBCD', 'recv other bytes'],
            ['ABC', 'recv 0 bytes (end of file)'],
            ['', 'recv 0 bytes (end of file)'],
        );
        for my $wrong (@wrong) {
            my ($bytes, $line) = @$wrong;
            my $peer = peer($n, $bytes);
            shutdown $peer, 1 if length $bytes < 4;
            is(answer($peer), '', "'$bytes' gets no answer");
            is(lines_about($server, $peer->sockport), "$line\nclose\n", "what is said of '$bytes'");
        }
        my $peer = peer($n, 'ABCD');
        shutdown $peer, 1;
        is(answer($peer), good_gets($n), 'the next client');
        stop($server);
    };

    subtest "sample$n: a client that is gone is reported, without SIGPIPE" => sub {
        my $server = serve("sample$n/server");
        my $lines = lines_about_one_that_is_gone($n, $server, '');
        is($lines, "recv: Connection reset by peer\nclose\n", 'it was reset before it sent');
        $lines = lines_about_one_that_is_gone($n, $server, 'ABCD');
        like($lines, qr/^$answered(?:.+\n)*close\n/, 'it was reset before it got the answer');
        is(slurp($server->{err}), "send: Broken pipe\n", 'the complaint');
        is(stop($server, 'INT'), 2, 'the server lives until it is interrupted');
    };

    subtest "sample$n: its port can be had again at once, although TIME-WAIT is left at it" => sub {
        my $server = serve("sample$n/server");
        my $peer = peer($n, 'XXXX');
        answer($peer);    # the server has closed first: FIN
        close $peer;
        stop($server);
        my $time_wait = qr/: 0100007F:1F9$n \S+ 06 /;
        ok(eventually(sub { slurp('/proc/net/tcp') =~ $time_wait }), 'TIME-WAIT is at the server');
        $server = serve("sample$n/server");
        like(slurp($server->{out}), qr/ listen /, 'a new server listens');
        stop($server);
    };
}

subtest 'a client that falls silent is given up after 5 s, also after Ctrl-Z and fg' => sub {
    # sample1 waits for FIN, the others for the rest of ABCD
    my %sent = (1 => 'ABCD', 2 => 'AB', 3 => 'AB');
    my %answer = (1 => 'CDEF', 2 => '', 3 => '');
    my %lines = (1 => $answered, 2 => '', 3 => '');
    my (%server, %silent);
    my $began = time;
    for my $n (@samples) {
        $server{$n} = serve("sample$n/server");
        $silent{$n} = peer($n, $sent{$n});
        shows($server{$n}, qr/ accept /);
        suspend_and_resume($server{$n});
    }
    for my $n (@samples) {
        is(answer($silent{$n}), $answer{$n}, "sample$n: what the client gets");
        my $said = lines_about($server{$n}, $silent{$n}->sockport);
        is($said, "$lines{$n}recv: Connection timed out\nclose\n", "sample$n: what is said of it");
        my $seconds = written($server{$n}{out}) - $began;
        ok($seconds > 4.9 && $seconds < 15, "sample$n: it is said after 5 s: $seconds");
        my $next = peer($n, 'ABCD');
        shutdown $next, 1;
        is(answer($next), good_gets($n), "sample$n: the next client is served");
        stop($server{$n});
    }
};

for my $n (grep { $_ != 1 } @samples) {
    subtest "sample$n: a reset ends the wait for the ACK of CDEF" => sub {
        my $server = serve("sample$n/server");
        my $shortest = 5;    # seconds: a server that does not notice waits so long, every time
        for my $try (1 .. 3) {
            my $peer = peer($n, '');
            my $port = $peer->sockport;
            setsockopt $peer, IPPROTO_TCP, TCP_QUICKACK, 0 or die "setsockopt: $!";    # 40 ms
            syswrite $peer, 'ABCD';
            sysread $peer, my $answer, 4;
            my $began = time;
            hang_up($peer);
            lines_about($server, $port);
            my $seconds = time - $began;
            $shortest = $seconds if $seconds < $shortest;
            last if $shortest < 4;
        }
        cmp_ok($shortest, '<', 4, 'it goes on');
        stop($server);
    };
}
done_testing;
