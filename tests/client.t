#!/usr/bin/perl
# Clients and bad servers: each client says what it met and the way out, and never waits for ever.
use v5.36;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Fcntl qw(F_SETFD F_SETFL O_NONBLOCK);

enter_lab();
$SIG{PIPE} = 'IGNORE';

sub listener ($n) {
    my @address = (LocalAddr => "127.0.0.1:808$n", Listen => 99, ReuseAddr => 1);
    return IO::Socket::INET->new(@address) // die "listen: $@";
}

# Starts sampleN's client, with HOW before it, and takes its connection from LISTENER; returns both.
sub meet ($n, $listener, @how) {
    my $client = start(@how, "sample$n/client");
    my $peer = $listener->accept // die "sample$n: no client came";
    setsockopt $peer, IPPROTO_TCP, TCP_NODELAY, 1 or die "setsockopt: $!";    # or pieces wait
    return ($client, $peer);
}

# Two descriptors of a pipe: one to read from, and one that is full and inherited by children.
sub full_pipe () {
    pipe my $from, my $full or die "pipe: $!";
    fcntl $full, F_SETFL, O_NONBLOCK;
    1 while syswrite $full, "\n" x 4096;
    fcntl $full, F_SETFD, 0;
    return ($from, $full);
}

# A command that gets descriptor FILE as its stdout.
sub with_stdout ($file) {
    return ($^X, '-e', 'open STDOUT, ">&", shift or die; exec @ARGV', fileno $file);
}

for my $n (@samples) {
    subtest "sample$n: without a server the client says what to start" => sub {
        my $hint = "connect 127.0.0.1:808$n (start ./sample$n/server first)";
        is(said("sample$n/client"), "1 $hint: Connection refused\n", 'status 1 and one line');
    };

    subtest "sample$n: a client that cannot write its lines says so" => sub {
        my $listener = listener($n);
        my $stdout = 'stdout (it takes a line for every step)';
        is(said('sh', '-c', "exec sample$n/client >/dev/full"),
            "1 $stdout: No space left on device\n", 'a full disk');
        close $listener->accept;
        is(said('sh', '-c', "exec sample$n/client >&-"),
            "1 $stdout: Bad file descriptor\n", 'a closed stdout');
        my ($from, $full) = full_pipe();    # $from stays open
        is(said(with_stdout($full), "sample$n/client"),
            "1 $stdout: Resource temporarily unavailable\n", 'a full pipe that does not block');
    };

    subtest "sample$n: a server that is gone before ABCD is sent does not kill the client" => sub {
        my $listener = listener($n);
        my ($from, $full) = full_pipe();
        fcntl $full, F_SETFL, 0;    # it blocks: the client waits between connect() and send()
        my ($client, $peer) = meet($n, $listener, with_stdout($full));
        close $full;
        my $port = sprintf ': 0100007F:%04X ', $peer->peerport;
        shutdown $peer, 1;
        hang_up($peer);
        eventually(sub { slurp('/proc/net/tcp') !~ $port });    # the client's kernel knows
        my $lines = '';
        1 while sysread $from, $lines, 65536, length $lines;
        is(ended($client), 1 << 8, 'no SIGPIPE, but status 1');
        # on a slow machine it may still be in connect(), which says so as well
        like(slurp($client->{err}), qr/^(?:send|connect .*) \(.*\): Broken pipe\n\z/, 'the reason');
        my $first_lines = qr/connect \S+ from \S+\nsend 4 bytes "ABCD"\n/;
        like(steps($lines), qr/\A\n+(?:$first_lines)?\z/, 'its lines');
    };
}

subtest 'Ctrl-Z and fg do not end a client that waits' => sub {
    my ($client, $peer) = meet(1, listener(1));
    sysread $peer, my $data, 4;
    suspend_and_resume($client);
    syswrite $peer, 'CDEF';
    is(ended($client), 0, 'it gets its answer');
};

# ---- bad servers --------------------------------------------------------------------------------
# Each is [what it does, the pieces that it sends, how it ends, what the client says of it]. It ends
# with close or reset, or the connection stays open; '' is said of one that is good enough.
sub bad_servers ($n) {
    my $no_cdef = qq(recv, not "CDEF" (is that ./sample$n/server?));
    my $no_reset = "recv, not ECONNRESET (the RST was lost, or that is not ./sample$n/server)";
    my @servers = (
        ['closes without answering', [], 'close', "$no_cdef: end of file"],
        ['resets without answering', [], 'reset', "$no_cdef: Connection reset by peer"],
        ['answers CD and closes', ['CD'], 'close', "$no_cdef: end of file"],
        ['answers CDE and resets', ['CDE'], 'reset', "$no_cdef: Connection reset by peer"],
        ['answers CDEX', ['CDEX'], 'open', "$no_cdef: other bytes"],
        ['answers XDEF', ['XDEF'], 'open', "$no_cdef: other bytes"],
        ['never answers', [], 'open', "$no_cdef: Connection timed out"],
        ['falls silent after CD', ['CD'], 'open', "$no_cdef: Connection timed out"],
    );
    if ($n == 1) {
        push @servers,
            ['answers in pieces', ['C', 'D', 'E', 'F'], 'close', ''],
            ['goes on talking', ['CDEFG'], 'close', ''],
            ['never closes', ['CDEF'], 'open', ''];
    } else {
        push @servers,
            ['answers in pieces and resets', ['C', 'D', 'E', 'F'], 'reset', ''],
            ['goes on talking', ['CDEFG'], 'open', "$no_reset: one more byte"],
            ['sends FIN', ['CDEF'], 'close', "$no_reset: end of file"],
            ['never resets', ['CDEF'], 'open', "$no_reset: Connection timed out"];
    }
    return @servers;
}

# Lets sampleN's client meet a server that sends PIECES and ends as END says.
sub provoke ($n, $listener, $pieces, $end) {
    my $began = time;
    my ($client, $peer) = meet($n, $listener);
    sysread $peer, my $data, 4;
    shows($client, qr/send/);
    for my $piece (@$pieces) {
        syswrite $peer, $piece;
        sleep 0.02 if @$pieces > 1;    # so that each comes alone
    }
    close $peer if $end eq 'close';
    hang_up($peer) if $end eq 'reset';
    return { n => $n, client => $client, peer => $peer, began => $began, got => $data };
}

# What sampleN's client prints that SAYS this, or nothing, on stderr.
sub expected_lines ($n, $says) {
    my @lines = ('connect PEER from SELF', 'send 4 bytes "ABCD"');
    return @lines if $says =~ /not "CDEF"/;
    push @lines, 'recv 4 bytes "CDEF"';
    return @lines if $says;
    push @lines, 'recv ECONNRESET (Connection reset by peer)' if $n != 1;
    return (@lines, 'close');
}

# All at the same time, for silence takes 5 s, and sample3's clients sleep for 3 s.
my @meetings;
for my $n (@samples) {
    my $listener = listener($n);
    for my $server (bad_servers($n)) {
        my ($does, $pieces, $end, $complaint) = @$server;
        my $meeting = provoke($n, $listener, $pieces, $end);
        push @meetings, { %$meeting, does => $does, says => $complaint };
    }
}

# ... and this takes its 5 s beside them.
subtest 'a client whose SYN nobody answers ends after 5 s' => sub {
    my $full = listener(1);
    listen $full, 0;    # Linux then takes one connection, and answers no other SYN
    my $first = IO::Socket::INET->new('127.0.0.1:8081') or die "connect: $@";
    my $began = time;
    my $hint = 'connect 127.0.0.1:8081 (start ./sample1/server first)';
    is(said('sample1/client'), "1 $hint: Connection timed out\n", 'it says so');
    my $seconds = time - $began;
    ok($seconds > 4.9 && $seconds < 15, "after 5 s: $seconds");
};

for my $meeting (@meetings) {
    my ($n, $client, $says) = @$meeting{qw(n client says)};
    my $met = $says || 'success';
    subtest "sample$n: a server that $meeting->{does} is met with: $met" => sub {
        is($meeting->{got}, 'ABCD', 'the client sends ABCD');
        my $status = $says ? 1 : 0;
        is(ended($client), $status << 8, "exit status $status");
        my $complaint = $says ? "$says\n" : '';
        is(slurp($client->{err}), $complaint, 'what it says on stderr');
        my $lines = steps(slurp($client->{out})) =~ s/\d\S+:808$n from \S+/PEER from SELF/r;
        is_deeply([split /\n/, $lines], [expected_lines($n, $says)], 'its lines');
        if ($says =~ /timed out/) {
            my $seconds = written($client->{err}) - $meeting->{began};
            $seconds -= 3 if $n == 3;    # it sleeps before it reads
            ok($seconds > 4.9 && $seconds < 15, "silence is given up after 5 s: $seconds");
        }
    };
}
done_testing;
