#!/usr/bin/perl
# What each sample puts on the wire, what it leaves in the kernel, and what its programs say of it.
use v5.36;
use FindBin;
use lib $FindBin::Bin;
use Lab;

need(qw(tcpdump taskset ss));
enter_lab();
# Local time in here is far from midnight, and from UTC.
my $utc = (gmtime)[2];
my $hour = $utc < 12 ? 16 : 8;
$ENV{TZ} = 'Lab' . ($utc - $hour);
# On one CPU packets keep their order: this process, and all that it starts.
run('taskset', '-p', '-c', (pinned())[2], $$);

# How many lines of ROLE's source differ in samples FROM and TO, their numbers apart.
sub differing_lines ($role, $from, $to) {
    my $renumber = "s/sample$from/sample$to/g; s/808$from/808$to/g";
    my @diff = `sed '$renumber' sample$from/$role.c | diff - sample$to/$role.c`;
    return scalar grep { /^[<>]/ } @diff;
}

subtest 'siblings differ in their first line and in the lesson alone' => sub {
    is(differing_lines('server', 2, 3), 2, 'sample3: no difference in the server');
    is(differing_lines('client', 2, 3), 3, 'sample3: a line that sleeps in the client');
    cmp_ok(differing_lines('server', 1, 2), '<=', 31, 'sample2: the server');
    cmp_ok(differing_lines('client', 1, 2), '<=', 15, 'sample2: the client');
};

# The sockets of port 808N, as "STATE LOCAL PEER", and a line each.
sub sockets ($n) {
    my $sockets = '';
    for my $line (`ss -Htan`) {
        my ($state, undef, undef, $local, $peer) = split ' ', $line;
        $sockets .= "$state $local $peer\n" if $line =~ /:808$n\b/;
    }
    return $sockets;
}

subtest 'the servers listen on 127.0.0.1 and nowhere else' => sub {
    for my $n (@samples) {
        my $server = serve("sample$n/server");
        is(sockets($n), "LISTEN 127.0.0.1:808$n 0.0.0.0:*\n", "sample$n");
        stop($server);
    }
};

# What sampleN's program ROLE has to say to or of a client at PORT: the lines of the reference.
sub expected_lines ($n, $role, $port) {
    my $lines = steps(slurp("tests/reference/sample$n.$role.log"));
    return $lines =~ s/127\.0\.0\.1:(?!808)\d+/127.0.0.1:$port/r;
}

# The claim is that the first lines to match stand in this order, by their times:
# TEXT => PATTERN, ... Returns the time of the last one in seconds.
sub in_order ($title, @lines) {
    my @at;
    while (my ($text, $pattern) = splice @lines, 0, 2) {
        my ($time) = $text =~ /^(\d\d:\d\d:\d\d\.\d{6}) .*$pattern/m;
        push @at, $time // "no $pattern";
    }
    is("@at", join(' ', sort @at), $title);
    my ($hours, $minutes, $seconds) = split /:/, $at[-1];
    return $hours * 3600 + $minutes * 60 + $seconds;
}

for my $n (@samples) {
    my $recorder = begin_recording("tcp port 808$n");
    my $server = serve("sample$n/server");
    my ($status, $client, $complaint) = run("sample$n/client");
    shows($server, qr/ close\n/);
    end_recording($recorder);
    my ($packets) = packets($recorder->{out});
    my ($port) = $packets->[0]{client} =~ /(\d+)$/;
    my $wire = join '', map { $_->{line} } @$packets;
    my $said = slurp($server->{out});

    subtest "sample$n: the conversation has these packets and no other" => sub {
        is_deeply([conversations($recorder->{out})], [$wire{$n}], $wire{$n});
        like(slurp($recorder->{out}), qr/ABCD.*CDEF/s, 'ABCD, then CDEF');
    };

    my $left = $n == 1 ? 'TIME-WAIT at the client' : 'nothing';
    subtest "sample$n: the connection leaves $left" => sub {
        my $expected = "LISTEN 127.0.0.1:808$n 0.0.0.0:*\n";
        $expected .= "TIME-WAIT 127.0.0.1:$port 127.0.0.1:8081\n" if $n == 1;
        eventually(sub { sockets($n) eq $expected });    # it says close before it closes
        is(sockets($n), $expected, 'the sockets');
    };
    stop($server);

    subtest "sample$n: the programs say what they do, in local time" => sub {
        is("$status $complaint", '0 ', 'the client succeeds');
        is(steps($client), expected_lines($n, 'client', $port), 'the client');
        is(steps($said), expected_lines($n, 'server', $port), 'the server');
        my $now = sprintf '%02d|%02d', $hour, $hour + 1;
        like($client, qr/^(?:$now):/, 'local time');
    };

    subtest "sample$n: who sends speaks before the packet, and who receives after it" => sub {
        my $received = in_order('ABCD',
            $client => 'send', $wire => "808$n: .*length 4", $said => 'recv 4');
        my $read = in_order('CDEF',
            $said => 'send', $wire => "808$n > .*length 4", $client => 'recv 4');
        if ($n == 1) {
            in_order('FIN', $client => 'close', $wire => 'Flags \[F', $said => 'recv 0');
        } elsif ($n == 2) {
            in_order('RST', $said => 'close', $wire => 'Flags \[R', $client => 'ECONNRESET');
            cmp_ok($read - $received, '<', 2, 'the client reads at once');
        } else {
            in_order('RST, then CDEF is read',
                $said => 'close', $wire => 'Flags \[R', $client => 'recv 4');
            my $seconds = $read - $received;
            ok($seconds > 2.9 && $seconds < 4, "the client reads after 3 s: $seconds");
        }
    };
}

subtest 'sample2: the RST waits for an ACK of CDEF that comes late' => sub {
    my $recorder = begin_recording('tcp port 8082');
    my $server = serve('sample2/server');
    my $client = IO::Socket::INET->new('127.0.0.1:8082') or die "connect: $@";
    # in pingpong mode Linux keeps its ACK back for some 40 ms
    setsockopt($client, IPPROTO_TCP, TCP_QUICKACK, 0) or die "setsockopt: $!";
    syswrite $client, 'ABCD';
    shows($server, qr/ close\n/);
    stop($server);
    end_recording($recorder);
    is_deeply([conversations($recorder->{out})], [$wire{2}], 'the ACK comes first');
};

subtest 'a stamp in the first tenth of a second has its zeros' => sub {
    my $zero = qr/^\d\d:\d\d:\d\d\.0\d{5} /;
    my ($accept, $recv) = ('', '');
    for my $try (1 .. 5) {    # a slow machine may miss that tenth
        my $server = serve('sample1/server');
        my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1:8082', Listen => 1);
        my $client = start('sample2/client');
        my $peer = $listener->accept;
        shows($client, qr/ send /);
        sleep 1 - (time - int time);    # a new second begins
        syswrite $peer, 'CDEF';
        my $connection = IO::Socket::INET->new('127.0.0.1:8081');
        shows($server, qr/ accept /);
        shows($client, qr/ recv /);
        stop($server);
        stop($client);
        ($accept) = slurp($server->{out}) =~ /^(.* accept .*)/m;
        ($recv) = slurp($client->{out}) =~ /^(.* recv .*)/m;
        last if $accept =~ $zero && $recv =~ $zero;
    }
    like($accept, $zero, 'the server');
    like($recv, $zero, 'the client');
};
done_testing;
