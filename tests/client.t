#!/usr/bin/perl
# Clients and bad servers: a client says on stderr what it met, and never waits for ever.
# Not of sample3: but for a sleep(3) its client is sample2's (tests/wire.t).
use v5.36;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Fcntl qw(F_SETFD F_SETFL O_NONBLOCK);

enter_lab();
$SIG{PIPE} = 'IGNORE';

sub listener ($n) {
    my $listener = IO::Socket::INET->new(
        LocalAddr => "127.0.0.1:808$n",
        Listen => 9,
        ReuseAddr => 1,
    );
    return $listener // die "listen: $@";
}

# Starts sampleN's client by COMMAND; returns it, and its connection, from LISTENER.
sub meet ($listener, @command) {
    my $client = start(@command);
    my $peer = $listener->accept // die "no client came";
    # or pieces wait
    setsockopt $peer, IPPROTO_TCP, TCP_NODELAY, 1 or die "setsockopt: $!";
    return ($client, $peer);
}

# The lines of a CLIENT, without ports.
sub lines_of ($client) {
    my $lines = steps(slurp($client->{out}));
    return $lines =~ s/from 127.0.0.1:\d+/from SELF/r;
}

# What sampleN's client prints before it has met a bad server.
sub begin ($n) {
    return qq(connect 127.0.0.1:808$n from SELF\nsend 4 bytes "ABCD"\n);
}
my $recv = qq(recv 4 bytes "CDEF"\n);
my $reset = "recv ECONNRESET (Connection reset by peer)\n";

for my $n (1, 2) {
    subtest "sample$n: without a server the client says what to start" => sub {
        my $hint = "connect 127.0.0.1:808$n (start ./sample$n/server first)";
        is(said("sample$n/client"), "1 $hint: Connection refused\n", 'one line');
    };

    subtest "sample$n: a client that cannot write its lines says so" => sub {
        my $listener = listener($n);
        is(said('sh', '-c', "exec sample$n/client >/dev/full"),
            "1 stdout: No space left on device\n", 'one line');
    };

    subtest "sample$n: a server that is gone before ABCD is sent is reported" => sub {
        # stdout is a full pipe: in it the client waits between connect() and send()
        pipe my $from, my $full or die "pipe: $!";
        fcntl $full, F_SETFD, 0;
        fcntl $full, F_SETFL, O_NONBLOCK;
        1 while syswrite $full, "\n" x 4096;
        fcntl $full, F_SETFL, 0;
        my $into_full = 'open STDOUT, ">&", shift or die; exec @ARGV';
        my @command = ($^X, '-e', $into_full, fileno $full, "sample$n/client");
        my $listener = listener($n);
        my ($client, $peer) = meet($listener, @command);
        close $full;
        my $port = sprintf ': 0100007F:%04X ', $peer->peerport;
        shutdown $peer, 1;
        hang_up($peer);
        eventually(sub { slurp('/proc/net/tcp') !~ $port });    # the client's kernel knows
        1 while sysread $from, my $lines, 65536;
        is(ended($client), 1 << 8, 'status 1, no SIGPIPE');
        # on a slow machine it may still be in connect()
        like(slurp($client->{err}), qr/^(?:send|connect .*): Broken pipe\n\z/, 'stderr');
    };

    subtest "sample$n: CDEF in four pieces is received" => sub {
        my $listener = listener($n);
        my ($client, $peer) = meet($listener, "sample$n/client");
        sysread $peer, my $data, 4;
        is($data, 'ABCD', 'the client sends ABCD');
        for my $piece (qw(C D E F)) {
            syswrite $peer, $piece;
            sleep 0.02;    # so that each comes alone
        }
        hang_up($peer) if $n == 2;
        is(ended($client), 0, 'exit status 0');
        my $met = $n == 2 ? $reset : '';
        is(lines_of($client), begin($n) . "$recv${met}close\n", 'stdout');
    };

    # [what the server sends, what it does then, what the client says]
    my $hint = "(is that ./sample$n/server?)";
    my @bad = (
        ['', 'FIN', "recv 0 of 4 bytes, not \"CDEF\" $hint"],
        ['CDE', 'FIN', "recv 3 of 4 bytes, not \"CDEF\" $hint"],
        ['CDEX', 'FIN', "recv 4 of 4 bytes, not \"CDEF\" $hint"],
        ['', 'RST', "recv, not \"CDEF\" in 5 s $hint: Connection reset by peer"],
    );
    if ($n == 2) {
        push @bad,
            ['CDEFG', 'FIN', 'recv returned 1, not ECONNRESET'],
            ['CDEF', 'FIN', 'recv returned 0, not ECONNRESET'];
    }
    for my $bad (@bad) {
        my ($bytes, $then, $complaint) = @$bad;
        subtest "sample$n: '$bytes' and $then are met with: $complaint" => sub {
            my $listener = listener($n);
            my ($client, $peer) = meet($listener, "sample$n/client");
            sysread $peer, my $data, 4;
            syswrite $peer, $bytes;
            hang_up($peer) if $then eq 'RST';
            close $peer;
            is(ended($client), 1 << 8, 'exit status 1');
            is(slurp($client->{err}), "$complaint\n", 'stderr');
            my $met = $complaint =~ /CDEF/ ? '' : $recv;
            is(lines_of($client), begin($n) . $met, 'stdout');
        };
    }
}

# At the same time, for each takes its 5 s.
subtest 'a silent server is given up after 5 s' => sub {
    my $in_vain = 'Resource temporarily unavailable';
    my @silent = (
        [1, '', "recv, not \"CDEF\" in 5 s (is that ./sample1/server?): $in_vain"],
        [2, 'CDEF', "recv, not ECONNRESET in 5 s (was the RST lost?): $in_vain"],
    );
    my (@clients, @peers);
    my $began = time;
    for my $silent (@silent) {
        my ($n, $bytes) = @$silent;
        my $listener = listener($n);
        my ($client, $peer) = meet($listener, "sample$n/client");
        syswrite $peer, $bytes;
        push @clients, $client;
        push @peers, $peer;    # stays open
    }
    for my $silent (@silent) {
        my ($n, undef, $complaint) = @$silent;
        my $client = shift @clients;
        is(ended($client), 1 << 8, "sample$n: exit status 1");
        is(slurp($client->{err}), "$complaint\n", "sample$n: stderr");
        my $seconds = written($client->{err}) - $began;
        ok($seconds > 4.9 && $seconds < 15, "sample$n: after 5 s: $seconds");
    }
};
done_testing;
