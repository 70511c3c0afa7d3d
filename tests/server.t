#!/usr/bin/perl
# Servers and bad clients: a server says on stderr what each of them did, and serves the next one.
# Not of sample3: its server is sample2's (tests/wire.t).
use v5.36;
use FindBin;
use lib $FindBin::Bin;
use Lab;

enter_lab();
$SIG{PIPE} = 'IGNORE';

# A connection to sampleN's server, over which each of BYTES has been sent alone.
sub peer ($n, $bytes) {
    my $peer = IO::Socket::INET->new("127.0.0.1:808$n") // die "connect: $@";
    setsockopt $peer, IPPROTO_TCP, TCP_NODELAY, 1 or die "setsockopt: $!";
    for my $byte (split //, $bytes) {
        syswrite $peer, $byte;
        sleep 0.01;    # so that it comes alone
    }
    return $peer;
}

# What comes to PEER until the server has closed.
sub answer ($peer) {
    my $data = '';
    1 while sysread $peer, $data, 100, length $data;
    return $data;
}

my @bad = (
    { sends => '', then => 'leaves', told => qr/recv 0 of 4 bytes/ },
    { sends => '', then => 'resets', told => qr/recv, .*Connection reset by peer/ },
    { sends => 'ABC', then => 'leaves', told => qr/recv 3 of 4 bytes/ },
    { sends => 'ABCX', then => 'leaves', told => qr/recv 4 of 4 bytes, not "ABCD"/ },
);
for my $n (1, 2) {
    subtest "sample$n: the port of a server that left TIME-WAIT can be had at once" => sub {
        my $server = serve("sample$n/server");
        my $peer = peer($n, '');
        shows($server, qr/ accept/);
        stop($server);    # this sends FIN
        is(answer($peer), '', 'the server closes first');
        close $peer;
        my $time_wait = qr/: 0100007F:1F9$n \S+ 06 /;
        ok(eventually(sub { slurp('/proc/net/tcp') =~ $time_wait }), 'TIME-WAIT');
        $server = serve("sample$n/server");
        like(slurp($server->{out}), qr/ listen /, 'a new server listens');
        stop($server);
    };

    for my $bad (@bad) {
        my $does = "sends '$bad->{sends}' and $bad->{then}";
        subtest "sample$n: a client that $does gets no answer, and the server says so" => sub {
            my $server = serve("sample$n/server");
            my $peer = peer($n, $bad->{sends});
            if ($bad->{then} eq 'leaves') {
                shutdown $peer, 1;
                is(answer($peer), '', 'no answer');
            } else {
                hang_up($peer);
            }
            shows($server, qr/ close\n/);
            like(slurp($server->{err}), qr/\A$bad->{told}.*\n\z/, 'what it did, on one line');
            my ($status) = run("sample$n/client");
            is($status, 0, 'the next client is served');
            stop($server);
        };
    }

    subtest "sample$n: a client that is gone before the answer does not end the server" => sub {
        my $server = serve("sample$n/server");
        kill 'STOP', $server->{pid};
        my $peer = peer($n, 'ABCD');
        shutdown $peer, 1;    # RST after FIN means SIGPIPE
        hang_up($peer);
        kill 'CONT', $server->{pid};
        my ($status) = run("sample$n/client");
        is($status, 0, 'the next client is served');
        is(slurp($server->{err}), "send: Broken pipe\n", 'what the server says');
        stop($server);
    };

    subtest "sample$n: ABCD is answered also if each byte comes alone" => sub {
        my $server = serve("sample$n/server");
        my $peer = peer($n, 'ABCD');
        shutdown $peer, 1;
        is(answer($peer), 'CDEF', 'the answer');
        stop($server);
    };

    subtest "sample$n: a server whose port is in use ends with status 1 and says so" => sub {
        my $server = serve("sample$n/server");
        my $reason = qr/bind 127\.0\.0\.1:808$n .*: Address already in use/;
        like(said("sample$n/server"), qr/\A1 $reason\n\z/, 'one line');
        stop($server);
    };

    subtest "sample$n: a server that cannot write its lines ends with status 1 and says so" => sub {
        my $said = said('sh', '-c', "exec sample$n/server >/dev/full");
        is($said, "1 stdout: No space left on device\n", 'one line');
    };
}

subtest 'sample1: what is no FIN is not taken for one' => sub {
    my $server = serve('sample1/server');
    my $peer = peer(1, 'ABCDE');
    is(answer($peer), 'CDEF', 'ABCD is answered');
    is(slurp($server->{err}), "recv 1 byte, not end of file\n", 'what the server says');
    stop($server);
};

# Both samples at the same time, for each silent client takes its 2 s.
subtest 'silent clients get no answer for 2 s each; a good client behind two is served' => sub {
    my (%server, %silent, %good);
    my $began = time;
    for my $n (1, 2) {
        $server{$n} = serve("sample$n/server");
        $silent{$n} = [peer($n, ''), peer($n, '')];
        $good{$n} = start("sample$n/client");
    }
    for my $n (1, 2) {
        is(ended($good{$n}), 0, "sample$n: the good client");
        my $seconds = written($good{$n}{out}) - $began;
        cmp_ok($seconds, '>', 3.9, "sample$n: it waited for both");
        is(join('', map { answer($_) } @{ $silent{$n} }), '', "sample$n: no answer");
        my $told = qr/recv, not "ABCD" in 2 s: .*\n/;
        like(slurp($server{$n}{err}), qr/\A(?:$told){2}\z/, "sample$n: what the server says");
        stop($server{$n});
    }
};

subtest 'sample2: the wait for an ACK of CDEF that never comes ends after 2 s' => sub {
    need('nft');
    my $rules = <<~'END';
        add table ip t
        add chain ip t in { type filter hook input priority 0; }
        add rule ip t in tcp dport 8082 tcp flags == ack drop
        END
    is(said('nft', $rules), '0 ', 'from now on a bare ACK is lost');
    my $server = serve('sample2/server');
    my $began = time;
    my $peer = peer(2, 'ABCD');
    ok(shows($server, qr/ close\n/), 'the server closes');
    cmp_ok(written($server->{out}) - $began, '>', 1.9, 'seconds');
    stop($server);
    run('nft', 'delete table ip t');
};
done_testing;
