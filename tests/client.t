#!/usr/bin/perl
# Clients and bad servers: each client says what it met, names the way out, and never waits for ever.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Fcntl qw(F_GETFL F_SETFD F_SETFL O_NONBLOCK);
use IO::Socket::INET;
use Test::More;

enter_lab();
$SIG{PIPE} = 'IGNORE';
my (%listener, @jobs);
my $cdef = qq(recv 4 bytes "CDEF"\n);
my $reset = "recv ECONNRESET (Connection reset by peer)\n";

sub meet {    # starts sampleN's client and takes its connection; returns both
    my ($n, @how) = @_;
    my $client = start(@how, "sample$n/client");
    return ($client, $listener{$n}->accept // die "sample$n: no client came");
}
sub meet_abcd {    # the same, and reads its ABCD
    my ($client, $peer) = meet(@_);
    my $data = '';
    while (length $data < 4) { sysread($peer, $data, 4, length $data) or last }
    is($data, 'ABCD', "sample$_[0]: the client sends ABCD") if $data ne 'ABCD';
    return ($client, $peer);
}
# What sampleN's client will have said at the end: its steps after "send", and a reason on stderr, if any.
sub expect {
    my ($title, $n, $client, $peer, @rest) = @_;    # $peer stays open
    push @jobs, [$title, $n, $client, $peer, @rest];
}
sub no_cdef { my ($n, $why) = @_; return qq(recv, not "CDEF" (is that ./sample$n/server?): $why\n) }
sub no_reset { my ($n, $why) = @_; return "recv, not ECONNRESET (the RST was lost, or that is not ./sample$n/server): $why\n" }

# A full queue does not answer a SYN. In a network of its own, for it takes 5 s.
my $no_answer = start('scripts/lab.sh', $^X, '-MIO::Socket::INET', '-e',
    'my $full = IO::Socket::INET->new(LocalAddr => "127.0.0.1:8081", Listen => 1) or die;
    listen $full, 0; my $first = IO::Socket::INET->new("127.0.0.1:8081") or die;
    system "sample1/client"; exit $? >> 8');
for my $n (1 .. 3) {
    my ($status, $out, $err) = run("sample$n/client");
    is("$status $out$err", "1 connect 127.0.0.1:808$n (start ./sample$n/server first): Connection refused\n",
        "sample$n: without a server the client says what to start");
    ($status, $out, $err) = run("sample$n/client", '');
    is("$status $out$err", "2 : unexpected argument (usage: ./sample$n/client)\n", "sample$n: an argument: usage, status 2");
    $listener{$n} = IO::Socket::INET->new(LocalAddr => "127.0.0.1:808$n", Listen => 100, Timeout => 60) or die "listen: $@";
    ($status, $out, $err) = run('sh', '-c', "exec sample$n/client >/dev/full");
    is("$status $out$err", "1 stdout (it takes a line for every step): No space left on device\n", "sample$n: full stdout ends the client");
    close $listener{$n}->accept;
}

# ---- bad servers: all the clients wait at the same time ----------------------------------------------------
for my $n (1 .. 3) {
    my ($client, $peer);
    if ($n < 3) {    # sample3's would take 3 + 5 s
        ($client, $peer) = meet_abcd($n);
        expect('a server that never answers is given up', $n, $client, $peer, '', no_cdef($n, 'Connection timed out'));
        ($client, $peer) = meet_abcd($n);
        syswrite $peer, 'CD';
        expect('a server that falls silent after CD is given up', $n, $client, $peer, '', no_cdef($n, 'Protocol error'));
    }
    ($client, $peer) = meet_abcd($n);
    close $peer;
    expect('a server that closes without answering', $n, $client, undef, '', no_cdef($n, 'Protocol error'));
    ($client, $peer) = meet_abcd($n);
    hang_up_with_reset($peer);
    expect('a server that resets without answering', $n, $client, undef, '', no_cdef($n, 'Connection reset by peer'));
    for my $bad ('CDEX', 'XDEF', 'ABCD', "\e[2J", "\xff\0\x7f\n" x (1 << 14)) {
        ($client, $peer) = meet_abcd($n);
        syswrite $peer, $bad;
        my $name = $bad =~ /^\w+$/ ? $bad : length $bad == 4 ? 'an escape sequence' : 'a flood';
        expect("a server that answers $name", $n, $client, $peer, '', no_cdef($n, 'Protocol error'));
    }
    ($client, $peer) = meet_abcd($n);
    for my $piece (split //, 'CDEF') { syswrite $peer, $piece; select undef, undef, undef, 0.01 } # each is a segment
    $n == 1 ? close $peer : hang_up_with_reset($peer);
    expect('an answer in four pieces', $n, $client, undef, $cdef . ($n == 1 ? '' : $reset) . "close\n", '');
    next if $n == 1;
    ($client, $peer) = meet_abcd($n);
    syswrite $peer, 'CDEF';
    close $peer;
    expect('a server that closes with FIN', $n, $client, undef, $cdef, no_reset($n, 'Protocol error'));
    ($client, $peer) = meet_abcd($n);
    syswrite $peer, 'CDEFG';
    expect('a server that goes on talking', $n, $client, $peer, $cdef, no_reset($n, 'Protocol error'));
    next if $n == 3;
    ($client, $peer) = meet_abcd($n);
    syswrite $peer, 'CDEF';
    expect('a RST that never comes', $n, $client, $peer, $cdef, no_reset($n, 'Connection timed out'));
}

# A full pipe as stdout holds the client between connect and send, until the server has gone.
for my $n (1 .. 3) {
    pipe my $from, my $full or die "pipe: $!";
    fcntl $full, F_SETFL, fcntl($full, F_GETFL, 0) | O_NONBLOCK;
    my $filled = 0;
    while (my $wrote = syswrite $full, "\n" x 4096) { $filled += $wrote }
    fcntl $full, F_SETFL, fcntl($full, F_GETFL, 0) & ~O_NONBLOCK;
    fcntl $full, F_SETFD, 0;    # for the client to inherit
    my ($client, $peer) = meet($n, $^X, '-e', 'open STDOUT, ">&", shift or die; exec @ARGV', fileno $full);
    close $full;
    shutdown $peer, 1;
    hang_up_with_reset($peer);
    while ($filled > 0) { $filled -= sysread($from, my $newlines, $filled) // last }
    1 while sysread $from, my $said, 1000;
    is(stop($client, '0'), 256, "sample$n: a server gone while we send: no death by SIGPIPE");
    is(slurp($client->{err}), "send (is that ./sample$n/server?): Broken pipe\n", "sample$n: ... but a reason");
}

# ---- what they said ----------------------------------------------------------------------------------------
for (@jobs) {
    my ($title, $n, $client, $peer, $steps, $complaint) = @$_;
    ok(ended($client), "sample$n: $title: it ends");
    is($client->{status}, $complaint ? 256 : 0, "sample$n: $title: its status");
    my $out = slurp($client->{out});
    is(steps($out) =~ s/^connect 127\.0\.0\.1:808$n from 127\.0\.0\.1:\d+\nsend 4 bytes "ABCD"\n//r, $steps, "sample$n: $title: its lines");
    is(slurp($client->{err}), $complaint, "sample$n: $title: " . ($complaint ? 'the reason on stderr' : 'nothing on stderr'));
}
ok(ended($no_answer), 'a SYN that nobody answers ends the client');
is(slurp($no_answer->{err}), "connect 127.0.0.1:8081 (start ./sample1/server first): Connection timed out\n", '... and it says why');
done_testing;
