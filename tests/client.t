#!/usr/bin/perl
# Clients and bad servers: each client says what it met, names the way out, and never waits for ever.
use v5.36;
use FindBin; use lib $FindBin::Bin; use Lab;
use Fcntl qw(F_SETFD F_SETFL O_NONBLOCK);

enter_lab();
$SIG{PIPE} = 'IGNORE';
my (%listener, @jobs);

# Starts sampleN's client and takes its connection; returns both.
sub meet ($n, @how) {
    my $client = start(@how, "sample$n/client");
    return ($client, $listener{$n}->accept // die "sample$n: no client came");
}

# ---- before there is a server ---------------------------------------------------------------------
# A full queue does not answer a SYN. In a network of its own, for it takes 5 s.
my $no_answer = start('scripts/lab.sh', $^X, '-MIO::Socket::INET', '-e',
    'my $full = IO::Socket::INET->new(LocalAddr => "127.0.0.1:8081", Listen => 1) or die;
    listen $full, 0; my $first = IO::Socket::INET->new("127.0.0.1:8081") or die;
    system "sample1/client"; exit $? >> 8');
for my $n (1 .. 3) {
    is(said("sample$n/client"),
        "1 connect 127.0.0.1:808$n (start ./sample$n/server first): Connection refused\n",
        "sample$n: without a server the client says what to start");
    $listener{$n} = IO::Socket::INET->new(LocalAddr => "127.0.0.1:808$n", Listen => 99) or die "listen: $@";
    is(said('sh', '-c', "exec sample$n/client >/dev/full"),
        "1 stdout (it takes a line for every step): No space left on device\n", "sample$n: a full disk");
    close $listener{$n}->accept;
}

# ---- bad servers, all at the same time ------------------------------------------------------------
my $cdef = qq(recv 4 bytes "CDEF"\n);
for my $n (1 .. 3) {
    my $end = $n == 1 ? "close\n" : "recv ECONNRESET (Connection reset by peer)\nclose\n";
    my $not_cdef = qq(recv, not "CDEF" (is that ./sample$n/server?));
    my $not_reset = "recv, not ECONNRESET (the RST was lost, or that is not ./sample$n/server)";
    my ($silent, $wrong, $close) = ('Connection timed out', 'Protocol error', sub ($peer) { close $peer });
    my $good = [$cdef . $end, ''];    # to sample1 it is CDEF that counts
    for (
        ['answers in pieces', 'C D E F', $n == 1 ? $close : \&hang_up, @$good],
        ['closes without answering', '', $close, '', "$not_cdef: $wrong"],
        ['resets without answering', '', \&hang_up, '', "$not_cdef: Connection reset by peer"],
        ['answers CD and closes', 'CD', $close, '', "$not_cdef: $wrong"],
        ['answers CDEX', 'CDEX', undef, '', "$not_cdef: $wrong"],
        ['answers XDEF', 'XDEF', undef, '', "$not_cdef: $wrong"],
        ['goes on talking', 'CDEFG', undef, $n == 1 ? @$good : ($cdef, "$not_reset: $wrong")],
        ['sends FIN', 'CDEF', $close, $n == 1 ? @$good : ($cdef, "$not_reset: $wrong")],
        $n == 3 ? () : (    # sample3's would take 3 + 5 s
            ['never answers', '', undef, '', "$not_cdef: $silent"],
            ['falls silent after CD', 'CD', undef, '', "$not_cdef: $wrong"],
            ['never resets', 'CDEF', undef, $n == 1 ? @$good : ($cdef, "$not_reset: $silent")])
    ) {
        my ($title, $answer, $how, @expected) = @$_;
        my ($began, $client, $peer) = (time, meet($n));
        my $first = "connect 127.0.0.1:808$n from 127.0.0.1:" . $peer->peerport . qq(\nsend 4 bytes "ABCD"\n);
        sysread $peer, my $data, 4;
        is($data, 'ABCD', "sample$n: the client sends ABCD");
        shows($client, qr/send/) if $answer eq 'CDEF';    # or it gets no answer
        setsockopt $peer, IPPROTO_TCP, TCP_NODELAY, 1 or die "setsockopt: $!";
        for my $piece (split / /, $answer) {
            syswrite $peer, $piece;
            sleep 0.02 if length $piece == 1;    # so that it comes alone
        }
        $how->($peer) if $how;
        push @jobs, [$began, $n, $title, $client, $peer, $first, @expected];
    }

    # A full pipe as stdout holds the client between connect and send, until the server has gone.
    pipe my $from, my $full or die "pipe: $!";
    fcntl $full, F_SETFL, O_NONBLOCK;
    1 while syswrite $full, "\n" x 4096;
    fcntl $full, $_, 0 for F_SETFL, F_SETFD;    # for the client to inherit
    my @with_full = ($^X, '-e', 'open STDOUT, ">&", shift or die; exec @ARGV', fileno $full);
    my ($client, $peer, $said) = (meet($n, @with_full), '');
    close $full;
    my $port = sprintf ': 0100007F:%04X ', $peer->peerport;
    shutdown $peer, 1;
    hang_up($peer);
    eventually(sub { slurp('/proc/net/tcp') !~ $port });    # the client's kernel knows
    1 while sysread $from, $said, 65536, length $said;
    is(ended($client), 1 << 8, "sample$n: a server gone while we send: no death by SIGPIPE");
    # on a slow machine it may still be in connect(), which says so as well
    like(slurp($client->{err}), qr/^(?:send|connect .*) \(.*\): Broken pipe\n\z/, "sample$n: the reason");
    like(steps($said), qr/\A\n+(?:connect \S+ from \S+\nsend 4 bytes "ABCD"\n)?\z/, "sample$n: its lines");
}
for (@jobs) {
    my ($began, $n, $title, $client, $peer, $first, $steps, $why) = @$_;
    my $said = ended($client) . ' ' . steps(slurp($client->{out})) . slurp($client->{err});
    is($said, $why ? "256 $first$steps$why\n" : "0 $first$steps", "sample$n: a server that $title");
    cmp_ok(time - $began, '>', 4.9, "sample$n: is given up after 5 s") if $why =~ /timed out/;
}
is(ended($no_answer), 1 << 8, 'a SYN that nobody answers ends the client');
like(slurp($no_answer->{err}), qr/^connect 127.* \(start .*\): Connection timed out\n\z/, 'and it says so');
done_testing;
