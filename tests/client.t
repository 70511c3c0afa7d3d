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

# Starts a client of sampleN by COMMAND; returns it, and its connection.
sub meet ($n, @command) {
    my $listener = listener($n);
    my $client = start(@command);
    my $peer = $listener->accept // die 'no client came';
    # or pieces wait
    setsockopt $peer, IPPROTO_TCP, TCP_NODELAY, 1 or die "setsockopt: $!";
    return ($client, $peer);
}

# The claim is that a CLIENT of sampleN prints LINES after its first two.
sub prints ($n, $client, $lines) {
    my $all = steps(slurp($client->{out})) =~ s/from \S+/from SELF/r;
    is($all, <<~"END" . $lines, 'stdout');
        connect 127.0.0.1:808$n from SELF
        send 4 bytes "ABCD"
        END
}
my $recv = qq(recv 4 bytes "CDEF"\n);
my $reset = "recv ECONNRESET (Connection reset by peer)\n";

for my $n (1, 2) {
    subtest "sample$n: without a server the client says what to start" => sub {
        my $hint = "(start ./sample$n/server first)";
        is(said("sample$n/client"),
            "1 connect 127.0.0.1:808$n $hint: Connection refused\n", 'one line');
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
        my ($client, $peer) = meet($n, @command);
        close $full;
        my $port = sprintf ': 0100007F:%04X ', $peer->peerport;
        shutdown $peer, 1;
        hang_up($peer);
        eventually(sub { slurp('/proc/net/tcp') !~ $port });    # the kernel knows
        1 while sysread $from, my $lines, 65536;
        is(ended($client), 1 << 8, 'status 1, no SIGPIPE');
        # on a slow machine it may still be in connect()
        like(slurp($client->{err}), qr/^(?:send|connect .*): Broken pipe\n\z/, 'stderr');
    };

    subtest "sample$n: CDEF in four pieces is received" => sub {
        my ($client, $peer) = meet($n, "sample$n/client");
        sysread $peer, my $data, 4;
        is($data, 'ABCD', 'the client sends ABCD');
        for my $piece (qw(C D E F)) {
            syswrite $peer, $piece;
            sleep 0.02;    # so that each comes alone
        }
        hang_up($peer) if $n == 2;
        is(ended($client), 0, 'exit status 0');
        my $end = $n == 2 ? $reset : '';
        prints($n, $client, "$recv${end}close\n");
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
        subtest "sample$n: a server that sends '$bytes' and $then is reported" => sub {
            my ($client, $peer) = meet($n, "sample$n/client");
            sysread $peer, my $data, 4;
            syswrite $peer, $bytes;
            hang_up($peer) if $then eq 'RST';
            close $peer;
            is(ended($client), 1 << 8, 'exit status 1');
            is(slurp($client->{err}), "$complaint\n", 'stderr');
            prints($n, $client, $bytes =~ /CDEF/ ? $recv : '');
        };
    }
}

# Both at the same time, for each takes its 5 s.
subtest 'a silent server is given up after 5 s' => sub {
    my $in_vain = 'Resource temporarily unavailable';
    my %complaint = (
        1 => "recv, not \"CDEF\" in 5 s (is that ./sample1/server?): $in_vain\n",
        2 => "recv, not ECONNRESET in 5 s (was the RST lost?): $in_vain\n",
    );
    my $began = time;
    my ($client1, $peer1) = meet(1, 'sample1/client');
    my ($client2, $peer2) = meet(2, 'sample2/client');
    syswrite $peer2, 'CDEF';
    my %client = (1 => $client1, 2 => $client2);
    for my $n (1, 2) {
        my $client = $client{$n};
        is(ended($client), 1 << 8, "sample$n: exit status 1");
        is(slurp($client->{err}), $complaint{$n}, "sample$n: stderr");
        my $seconds = written($client->{err}) - $began;
        ok($seconds > 4.9 && $seconds < 8, "sample$n: after 5 s: $seconds");
    }
};
done_testing;
