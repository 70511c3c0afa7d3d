#!/usr/bin/perl
# Clients and bad servers: a client says in one line what it met, and ends with status 1.
# Not of sample3: but for a sleep(3) its client is sample2's (tests/wire.t).
use v5.36;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Fcntl;

enter_lab();
$SIG{PIPE} = 'IGNORE';

sub listener ($n) {
    my @address = (LocalAddr => '127.0.0.1', LocalPort => "808$n", ReuseAddr => 1);
    return IO::Socket::INET->new(@address, Listen => 9) // die "listen: $@";
}

# Starts a client of sampleN by COMMAND; returns it, and its connection.
sub meet ($n, @command) {
    my $listener = listener($n);
    my $client = start(@command);
    my $peer = $listener->accept // die 'no client came';
    setsockopt $peer, IPPROTO_TCP, TCP_NODELAY, 1 or die "setsockopt: $!";
    return ($client, $peer);
}

# Sends each of BYTES alone over PEER, once ABCD has come.
sub answer ($peer, $bytes) {
    sysread $peer, my $data, 4;
    is($data, 'ABCD', 'the client sends ABCD');
    for my $byte (split //, $bytes) {
        syswrite $peer, $byte;
        sleep 0.01;    # so that it comes alone
    }
}

# The claim is that CLIENT ends with status 1, and with one line that begins with WHAT it has met.
sub tells ($client, $what) {
    is(ended($client), 1 << 8, 'status 1');
    like(slurp($client->{err}), qr/\A$what.*\n\z/, 'one line');
}

my @bad = (
    { sends => '', then => 'leaves', told => qr/recv 0 of 4 bytes/ },
    { sends => '', then => 'resets', told => qr/recv, .*Connection reset by peer/ },
    { sends => 'CDE', then => 'leaves', told => qr/recv 3 of 4 bytes/ },
    { sends => 'CDEX', then => 'leaves', told => qr/recv 4 of 4 bytes, not "CDEF"/ },
);
my @no_reset = (
    { sends => 'CDEFG', then => 'leaves', told => qr/recv returned 1, not ECONNRESET/ },
    { sends => 'CDEF', then => 'leaves', told => qr/recv returned 0, not ECONNRESET/ },
);
for my $n (1, 2) {
    subtest "sample$n: no server is told in one line, with status 1" => sub {
        my $line = qr/connect 127\.0\.0\.1:808$n .*: Connection refused/;
        like(said("sample$n/client"), qr/\A1 $line\n\z/, 'what the client says');
    };

    for my $bad (@bad, $n == 2 ? @no_reset : ()) {
        my $does = "sends '$bad->{sends}' and $bad->{then}";
        subtest "sample$n: a server that $does is told in one line, with status 1" => sub {
            my ($client, $peer) = meet($n, "sample$n/client");
            answer($peer, $bad->{sends});
            hang_up($peer) if $bad->{then} eq 'resets';
            close $peer;
            tells($client, $bad->{told});
        };
    }

    subtest "sample$n: a server that resets before ABCD is sent is told in one line" => sub {
        my $fifo = tempdir(CLEANUP => 1) . '/full';
        POSIX::mkfifo($fifo, 0600) or die "mkfifo: $!";
        sysopen my $full, $fifo, O_RDWR | O_NONBLOCK or die "$fifo: $!";
        1 while syswrite $full, 'x' x 4096;
        my ($client, $peer) = meet($n, 'sh', '-c', "exec sample$n/client >$fifo");
        shutdown $peer, 1;    # RST after FIN means SIGPIPE
        hang_up($peer);
        1 while sysread $full, my $lines, 65536;    # now it can go on from connect() to send()
        tells($client, '(?:connect|send|recv)');
    };

    subtest "sample$n: CDEF is read also if each byte comes alone" => sub {
        my ($client, $peer) = meet($n, "sample$n/client");
        answer($peer, 'CDEF');
        hang_up($peer) if $n == 2;
        is(ended($client), 0, 'the client succeeds');
    };

    subtest "sample$n: lines that cannot be written end the client with status 1" => sub {
        my $listener = listener($n);
        my $said = said('sh', '-c', "exec sample$n/client >/dev/full");
        is($said, "1 stdout: No space left on device\n", 'one line');
    };
}

# Both at the same time, for each takes its 5 s.
subtest 'a server that is silent for 5 s is told in one line, with status 1' => sub {
    my $began = time;
    my ($client1, $peer1) = meet(1, 'sample1/client');
    my ($client2, $peer2) = meet(2, 'sample2/client');
    answer($peer2, 'CDEF');
    tells($client1, 'recv, not "CDEF" in 5 s');
    tells($client2, 'recv, not ECONNRESET in 5 s');
    for my $client ($client1, $client2) {
        my $seconds = written($client->{err}) - $began;
        ok($seconds > 4.9 && $seconds < 8, "after 5 s: $seconds");
    }
};
done_testing;
