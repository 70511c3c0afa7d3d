#!/usr/bin/perl
# Clients and bad servers: each client says what it met, names the way out, and never waits for ever.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Fcntl qw(F_GETFL F_SETFD F_SETFL O_NONBLOCK);
use IO::Socket::INET;
use Socket qw(SOL_SOCKET SO_LINGER);
use Test::More;
use Time::HiRes qw(sleep time);

enter_lab();
$SIG{PIPE} = 'IGNORE';

my (%listener, @jobs);

# ---- helpers -------------------------------------------------------------------------------------
# Starts sampleN's client and takes its connection; returns both.
sub meet {
    my ($n, @how) = @_;
    my $client = start(@how, "sample$n/client");
    my $peer = $listener{$n}->accept // die "sample$n: no client came";
    return ($client, $peer);
}

# The same, and reads its ABCD.
sub meet_abcd {
    my ($n) = @_;
    my ($client, $peer) = meet($n);
    my $data = '';
    while (length $data < 4) { sysread($peer, $data, 4, length $data) or last }
    is($data, 'ABCD', "sample$n: the client sends ABCD") if $data ne 'ABCD';
    return ($client, $peer);
}

sub hang_up_with_reset {
    my ($peer) = @_;
    setsockopt $peer, SOL_SOCKET, SO_LINGER, pack('ii', 1, 0) or die "setsockopt: $!";
    close $peer;
}

# What sampleN's CLIENT will have said at the end: status, steps after "send", stderr. PEER stays open.
sub expect {
    my ($title, $n, $client, $peer, @rest) = @_;
    push @jobs, [$title, $n, $client, $peer, @rest];
}

# How a client ended by itself; one that does not is a failure.
sub ended {
    my ($client) = @_;
    return stop($client, '0') if eventually(9, sub { slurp("/proc/$client->{pid}/stat") =~ /\) Z / });
    stop($client, 'KILL');
    return 'still running';
}

my $reset = "recv ECONNRESET (Connection reset by peer)\n";
my $cdef = qq(recv 4 bytes "CDEF"\n);
sub no_cdef { my ($n, $why) = @_; return qq(recv 127.0.0.1:808$n: $why (not "CDEF": is that ./sample$n/server?)\n) }

# ---- before there is a server --------------------------------------------------------------------
# A full queue does not answer a SYN. In a network of its own, for it takes 5 s.
my $no_answer = start('scripts/lab.sh', $^X, '-MIO::Socket::INET', '-e',
    'my $full = IO::Socket::INET->new(LocalAddr => "127.0.0.1:8081", Listen => 1) or die;
    listen $full, 0; my $first = IO::Socket::INET->new("127.0.0.1:8081") or die;
    system "sample1/client"; exit $? >> 8');
for my $n (1 .. 3) {
    my ($status, $out, $err) = run("sample$n/client");
    is("$status $out$err", "1 connect 127.0.0.1:808$n: Connection refused (start ./sample$n/server first)\n",
        "sample$n: without a server the client says what to start");
    for my $argument ('-h', '', '8080') {
        ($status, $out, $err) = run("sample$n/client", $argument);
        is("$status $out$err", "2 $argument: unexpected argument (usage: ./sample$n/client)\n",
            "sample$n: argument '$argument' is met with the usage and status 2");
    }
    ($status, $out, $err) = run('sh', '-c', "exec sample$n/client >&-");
    is("$status $out$err", "1 stdout: Bad file descriptor (it takes a line for every step)\n",
        "sample$n: closed stdout ends the client");
    $listener{$n} = IO::Socket::INET->new(LocalAddr => "127.0.0.1:808$n", Listen => 100, Timeout => 5) or die "listen: $@";
    ($status, $out, $err) = run('sh', '-c', "exec sample$n/client >/dev/full");
    is("$status $out$err", "1 stdout: No space left on device (it takes a line for every step)\n", "sample$n: full stdout ends the client");
    close $listener{$n}->accept;
}

# ---- bad servers: all the clients wait at the same time ------------------------------------------
my ($paused, $paused_peer) = meet_abcd(2);
ok(pause($paused), 'sample2: stopped in the middle of a read');
my $stopped_at = time;
for my $n (1 .. 3) {
    my ($client, $peer);
    if ($n < 3) {    # sample3's would take 3 + 5 s
        ($client, $peer) = meet_abcd($n);
        expect('a server that never answers is given up', $n, $client, $peer, 1,
            "recv nothing for 5 s, given up\n", no_cdef($n, 'nothing for 5 s, given up'));
        ($client, $peer) = meet_abcd($n);
        syswrite $peer, 'CD';
        expect('a server that falls silent after CD is given up', $n, $client, $peer, 1,
            qq(recv 2 bytes "CD"\nrecv nothing for 5 s, given up\n), no_cdef($n, 'nothing for 5 s, given up'));
    }

    ($client, $peer) = meet_abcd($n);
    close $peer;
    expect('a server that closes without answering', $n, $client, undef, 1,
        "recv 0 bytes (end of file)\n", no_cdef($n, '0 bytes (end of file)'));

    ($client, $peer) = meet_abcd($n);
    hang_up_with_reset($peer);
    expect('a server that resets without answering', $n, $client, undef, 1, $reset, no_cdef($n, $reset =~ s/recv (.*)\n/$1/r));

    ($client, $peer) = meet_abcd($n);
    syswrite $peer, 'CD';
    close $peer;
    expect('a server that answers CD and closes', $n, $client, undef, 1,
        qq(recv 2 bytes "CD"\nrecv 0 bytes (end of file)\n), no_cdef($n, '0 bytes (end of file)'));

    for my $bad (["\e[2J", '.[2J'], ["\xff\0\x7f\n" x (1 << 14), '....'], ['ABCD', 'ABCD']) {
        ($client, $peer) = meet_abcd($n);
        syswrite $peer, $bad->[0];
        expect("a server that answers $bad->[1]", $n, $client, $peer, 1, qq(recv 4 bytes "$bad->[1]"\n), no_cdef($n, 'other bytes'));
    }

    ($client, $peer) = meet_abcd($n);
    syswrite $peer, 'CDEF';
    close $peer;
    if ($n == 1) {
        expect('a server that closes first', $n, $client, undef, 0, "${cdef}close\n", '');
    } else {
        expect('a server that closes with FIN', $n, $client, undef, 1, "${cdef}recv 0 bytes (end of file)\n",
            qq(recv 127.0.0.1:808$n: 0 bytes (end of file) (not ECONNRESET: is that ./sample$n/server?)\n));
        ($client, $peer) = meet_abcd($n);
        syswrite $peer, 'CDEFG';
        expect('a server that goes on talking', $n, $client, $peer, 1, qq(${cdef}recv 1 bytes "G"\n),
            qq(recv 127.0.0.1:808$n: other bytes (not ECONNRESET: is that ./sample$n/server?)\n));
    }

    # A full pipe as stdout holds the client between connect and send, until the server has gone.
    pipe my $from, my $full or die "pipe: $!";
    fcntl $full, F_SETFL, fcntl($full, F_GETFL, 0) | O_NONBLOCK;
    my $filled = 0;
    while (my $wrote = syswrite $full, "\n" x 4096) { $filled += $wrote }
    fcntl $full, F_SETFL, fcntl($full, F_GETFL, 0) & ~O_NONBLOCK;
    fcntl $full, F_SETFD, 0;    # for the client to inherit
    ($client, $peer) = meet($n, $^X, '-e', 'open STDOUT, ">&", shift or die; exec @ARGV', fileno $full);
    close $full;
    shutdown $peer, 1;
    hang_up_with_reset($peer);
    while ($filled > 0) { $filled -= sysread($from, my $newlines, $filled) // last }
    my $said = '';
    while (sysread $from, $said, 1000, length $said) { }
    my $status = stop($client, '0');
    my $err = slurp($client->{err});
    is("$status $err", 256 . " send 127.0.0.1:808$n: Broken pipe (is that ./sample$n/server?)\n",
        "sample$n: a server gone while we send: no death by SIGPIPE");
    like(steps($said), qr/^connect 127\.0\.0\.1:808$n from \S+\nsend 4 bytes "ABCD"\n\z/, "sample$n: its lines until then");

    ($client, $peer) = meet_abcd($n);
    ok(pause($client), 'sample' . ($n == 3 ? '3: stopped while it sleeps' : "$n: stopped in the middle of a read"));
    kill 'CONT', $client->{pid};
    eventually(5, sub { slurp("/proc/$client->{pid}/stat") =~ /\) S / });
    my $seen = 1;
    for my $piece (split //, 'CDEF') {
        syswrite $peer, $piece;
        $seen &&= eventually(5, sub { slurp($client->{out}) =~ /recv 1 bytes "$piece"/ }) if $n < 3;
    }
    $n == 1 ? close $peer : hang_up_with_reset($peer);
    expect('a stop and an answer in four pieces', $n, $client, undef, 0,
        ($n == 3 ? $cdef : join '', map { qq(recv 1 bytes "$_"\n) } qw(C D E F)) . ($n > 1 ? $reset : '') . "close\n", '');
}

sleep 0.1 while time < $stopped_at + 5.3;    # the stop must be longer than the client's patience
syswrite $paused_peer, 'CDEF';
hang_up_with_reset($paused_peer);
kill 'CONT', $paused->{pid};
expect('an answer while it was stopped for more than 5 s', 2, $paused, undef, 0, "${cdef}${reset}close\n", '');

# ---- what they said ------------------------------------------------------------------------------
for (@jobs) {
    my ($title, $n, $client, $peer, $status, $steps, $complaint) = @$_;
    my $ended = ended($client);
    my ($out, $err) = map { slurp($client->{$_}) } qw(out err);
    is($ended, $status << 8, "sample$n: $title: status $status");
    is(steps($out) =~ s/^connect 127\.0\.0\.1:808$n from 127\.0\.0\.1:\d+\nsend 4 bytes "ABCD"\n//r, $steps, "sample$n: $title: its lines");
    is($err, $complaint, "sample$n: $title: " . ($status ? 'the reason on stderr' : 'nothing on stderr'));
    unlike("$out$err", qr/[^\n\x20-\x7e]/, "sample$n: $title: no control byte in its lines") if $title =~ /[.]/;
    my @at = map { /^(\d+):(\d+):(\d+\.\d+) /; $1 * 3600 + $2 * 60 + $3 } split /\n/, $out;
    my $took = $at[2] - $at[1];
    $took += 86400 if $took < 0;
    ok($took > 4.9 && $took < 6.5, "sample$n: $title: after 5 s") || diag $took if $title =~ /never/;
    ok($took >= 3 && $took < 4.5, "sample3: $title: reads after 3 s") || diag $took if $n == 3;
}
is(ended($no_answer), 256, 'a SYN that nobody answers ends the client');
like(slurp($no_answer->{err}), qr/^connect 127\.0\.0\.1:8081: no answer for 5 s \(start .*first\)\n\z/, 'after 5 s, it says');

done_testing;
