#!/usr/bin/perl
# What each sample puts on the wire, what it leaves in the kernel, and what its programs say of it.
use v5.36;
use FindBin;
use lib $FindBin::Bin;
use Lab;

need(qw(tcpdump taskset ss nstat));
enter_lab();
# Local time in here is about noon: no midnight between two lines, and a UTC stamp would show.
$ENV{TZ} = 'Noon' . ((gmtime)[2] - 12);
# On one CPU packets keep their order: this process, and all that it starts.
run('taskset', '-p', '-c', (pinned())[2], $$);

# The sockets of this network that match PATTERN, as "STATE LOCAL PEER", sorted.
sub sockets ($pattern) {
    my @sockets;
    for my $line (`ss -Htan`) {
        my ($state, undef, undef, $local, $peer) = split ' ', $line;
        my $socket = "$state $local $peer";
        push @sockets, $socket if $socket =~ $pattern;
    }
    return [sort @sockets];
}

# How many resets the kernel has counted as TCPAbortOnData, that is as those of a linger.
sub resets () {
    my ($number) = `nstat -asz TcpExtTCPAbortOnData` =~ /^TcpExtTCPAbortOnData +(\d+)/m;
    return $number // die "nstat says nothing of TCPAbortOnData\n";
}

# What sampleN's program ROLE has to say: the reference's lines, once for each of PORTS.
sub expected_lines ($n, $role, @ports) {
    my $lines = steps(slurp("tests/reference/sample$n.$role.log"));
    my ($once, $each) = $lines =~ /\A(listen \N*\n|)(.*)/s;
    my $all = $once;
    for my $port (@ports) {
        $all .= $each =~ s/127\.0\.0\.1:(?!808\d\b)\K\d+/$port/r;
    }
    return $all;
}

# The time of day "HH:MM:SS.FRACTION" in seconds.
sub seconds ($time) {
    my ($hours, $minutes, $seconds) = split /:/, $time;
    return $hours * 3600 + $minutes * 60 + $seconds;
}

# The claim TITLE is that the first lines to match stand in this order, by their times:
# TEXT => PATTERN, ... Returns the times in seconds.
sub in_order ($title, @lines) {
    my @at;
    while (my ($text, $pattern) = splice @lines, 0, 2) {
        my ($time) = $text =~ /^(\d\d:\d\d:\d\d\.\d{6}) .*$pattern/m;
        if (!defined $time) {
            fail("there is a line like $pattern");
            $time = '00:00:00';
        }
        push @at, $time;
    }
    is("@at", join(' ', sort @at), $title);
    return map { seconds($_) } @at;
}

# How many lines of ROLE's source differ in samples FROM and TO, their numbers apart.
sub differing_lines ($role, $from, $to) {
    my $renumber = "s/sample$to/sample$from/g; s/808$to/808$from/g";
    my @diff = `sed '$renumber' sample$to/$role.c | diff sample$from/$role.c -`;
    return scalar grep { /^[<>]/ } @diff;
}

subtest 'siblings differ in their first line and in the lesson alone' => sub {
    is(differing_lines('server', 2, 3), 2, 'sample3: no difference in the server');
    is(differing_lines('client', 2, 3), 3, 'sample3: a line that sleeps in the client');
    cmp_ok(differing_lines('server', 1, 2), '<=', 31, 'sample2: the server');
    cmp_ok(differing_lines('client', 1, 2), '<=', 15, 'sample2: the client');
};

subtest 'the servers listen on 127.0.0.1 and nowhere else' => sub {
    my @servers = map { serve("sample$_/server") } @samples;
    my @expected = map { "LISTEN 127.0.0.1:808$_ 0.0.0.0:*" } @samples;
    is_deeply(sockets(qr/^LISTEN/), \@expected, 'the listening sockets');
    my $elsewhere = IO::Socket::INET->new('127.0.0.2:8081');
    ok(!$elsewhere && $!{ECONNREFUSED}, 'another address of this host is refused');
    stop($_) for @servers;
};

# Lets sampleN's programs converse, 10 times (sample3 once: it takes 3 s), and returns what there
# was to see: on the wire, in the kernel while the server still ran, and of what the programs said.
sub conversations_of ($n) {
    my $rounds = $n == 3 ? 1 : 10;
    my $before = resets();
    my $recorder = begin_recording("tcp port 808$n");
    my $server = serve("sample$n/server");
    my %seen = (rounds => $rounds, client => '', complaints => '');
    for my $round (1 .. $rounds) {
        my ($status, $lines, $complaint) = run("sample$n/client");
        $seen{client} .= $lines;
        $seen{complaints} .= $complaint;
        $seen{complaints} .= "status $status\n" if $status ne '0';
        shows($server, qr/(?:[^\0]* close\n){$round}/);
    }
    my $expected = resets_by_linger($n, $rounds);
    eventually(sub { resets() - $before >= $expected });    # counted after they are sent
    $seen{resets} = resets() - $before;
    $seen{sockets} = sockets(qr/:808$n/);
    stop($server);
    $seen{server} = slurp($server->{out});
    $seen{dropped} = end_recording($recorder);
    $seen{recording} = $recorder->{out};
    return %seen;
}

# How many of ROUNDS conversations of sampleN end with the reset of a linger.
sub resets_by_linger ($n, $rounds) {
    return $n == 1 ? 0 : $rounds;
}

for my $n (@samples) {
    my %seen = conversations_of($n);
    my $rounds = $seen{rounds};
    my @ports = $seen{client} =~ /from 127\.0\.0\.1:(\d+)$/mg;

    subtest "sample$n: every conversation has these packets and no other" => sub {
        is($seen{dropped}, 0, 'tcpdump drops nothing');
        my @expected = ($wire{$n}) x $rounds;
        is_deeply([conversations($seen{recording})], \@expected, "$rounds conversations");
        my $bytes = slurp($seen{recording});
        for my $data (qw(ABCD CDEF)) {
            my @found = $bytes =~ /$data/g;
            is(@found, $rounds, "each carries $data once");
        }
    };

    subtest "sample$n: a FIN leaves TIME-WAIT at the client, the RST of a linger nothing" => sub {
        is($seen{resets}, resets_by_linger($n, $rounds), 'the resets that the kernel has counted');
        my @time_wait = sort map { "TIME-WAIT 127.0.0.1:$_ 127.0.0.1:808$n" } @ports;
        @time_wait = () if $n != 1;
        my @expected = ("LISTEN 127.0.0.1:808$n 0.0.0.0:*", @time_wait);
        is_deeply($seen{sockets}, \@expected, 'the sockets');
    };

    subtest "sample$n: the programs say what they do, in local time" => sub {
        is($seen{complaints}, '', 'every client exits with 0 and an empty stderr');
        is(steps($seen{client}), expected_lines($n, 'client', @ports), 'the lines of the client');
        is(steps($seen{server}), expected_lines($n, 'server', @ports), 'the lines of the server');
        like($seen{client}, qr/^1[1-3]:/, 'local time');
    };

    subtest "sample$n: who sends speaks before the packet, and who receives after it" => sub {
        my ($first) = packets($seen{recording});
        my $wire = join '', map { $_->{line} } @$first;
        my $client = $seen{client};
        my $server = $seen{server};
        my ($sends) = in_order('ABCD is sent, comes by and is received',
            $client => 'send', $wire => "808$n: .*length 4", $server => 'recv 4');
        my (undef, undef, $reads) = in_order('so is CDEF',
            $server => 'send', $wire => "808$n > .*length 4", $client => 'recv 4');
        my $delay = $reads - $sends;
        if ($n == 1) {
            in_order('close() of the client, FIN, end of file at the server',
                $client => 'close', $wire => 'Flags \[F', $server => 'recv 0');
        } elsif ($n == 2) {
            in_order('close() of the server, RST, ECONNRESET at the client',
                $server => 'close', $wire => 'Flags \[R', $client => 'ECONNRESET');
            cmp_ok($delay, '<', 2, 'the client reads at once');
        } else {
            in_order('close() of the server, RST, only then the client reads CDEF',
                $server => 'close', $wire => 'Flags \[R', $client => 'recv 4');
            cmp_ok($delay, '>', 2.99, 'the client reads after 3 s');
            cmp_ok($delay, '<', 4, 'and not much later');
        }
    };
}

for my $n (grep { $_ != 1 } @samples) {
    subtest "sample$n: the RST waits for an ACK of CDEF that comes late" => sub {
        my $recorder = begin_recording("tcp port 808$n");
        my $server = serve("sample$n/server");
        my $client = IO::Socket::INET->new("127.0.0.1:808$n") or die "connect: $@";
        # in pingpong mode Linux keeps its ACK back for some 40 ms
        setsockopt($client, IPPROTO_TCP, TCP_QUICKACK, 0) or die "setsockopt: $!";
        syswrite $client, 'ABCD';
        shows($server, qr/ close\n/);
        stop($server);
        end_recording($recorder);
        is_deeply([conversations($recorder->{out})], [$wire{$n}], 'the ACK comes first');
    };
}

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
