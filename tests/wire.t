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

my %rounds = (1 => 10, 2 => 10, 3 => 1);    # sample3 takes 3 s

# The sockets of this network that match PATTERN, as "STATE LOCAL PEER", sorted.
sub sockets ($pattern) {
    my @all = map { join ' ', (split)[0, 3, 4] } `ss -Htan`;
    return [sort grep { $_ =~ $pattern } @all];
}

# How many resets the kernel has counted as TCPAbortOnData, that is as those of a linger.
sub resets () {
    return `nstat -asz TcpExtTCPAbortOnData` =~ /^TcpExtTCPAbortOnData +(\d+)/m ? $1 : '?';
}

# What sampleN's program ROLE has to say: the reference's lines, once for each of PORTS.
sub expected_lines ($n, $role, @ports) {
    my $lines = steps(slurp("tests/reference/sample$n.$role.log"));
    my ($once, $each) = $lines =~ /\A(listen \N*\n|)(.*)/s;
    return join '', $once, map { $each =~ s/127\.0\.0\.1:(?!808\d\b)\K\d+/$_/r } @ports;
}

# The claim TITLE is that the first lines to match stand in this order, by their times:
# TEXT => PATTERN, ... Returns the times in seconds.
sub in_order ($title, @lines) {
    my @at;
    while (my ($text, $pattern) = splice @lines, 0, 2) {
        my ($time) = $text =~ /^(\d\d:\d\d:\d\d\.\d{6}) .*$pattern/m;
        push @at, $time // fail("a line like $pattern");
    }
    is("@at", join(' ', sort @at), $title);
    return map { /(\d+):(\d+):(.*)/ ? $1 * 3600 + $2 * 60 + $3 : () } @at;
}

subtest 'two samples differ in converse() alone: main() and the helpers are the same' => sub {
    for my $role (qw(server client)) {
        my %rest;
        for my $n (@samples) {
            my ($text) = slurp("sample$n/$role.c") =~ /^(int main.*)/ms;
            $rest{$n} = $text =~ s/sample$n\b/sampleN/gr =~ s/\b808$n\b/808N/gr;
        }
        is($rest{$_}, $rest{1}, "sample$_/$role.c from main() on") for @samples;
    }
};

subtest 'the servers listen on 127.0.0.1 and nowhere else' => sub {
    my @servers = map { serve("sample$_/server") } @samples;
    my @expected = map { "LISTEN 127.0.0.1:808$_ 0.0.0.0:*" } @samples;
    is_deeply(sockets(qr/^LISTEN/), \@expected, 'the listening sockets');
    my $elsewhere = IO::Socket::INET->new('127.0.0.2:8081');
    ok(!$elsewhere && $!{ECONNREFUSED}, 'another address of this host is refused');
    stop($_) for @servers;
};

for my $n (@samples) {
    subtest "sample$n: every conversation is exact, and the programs say what they do" => sub {
        my $rounds = $rounds{$n} // 1;
        my $before = resets();
        my $recorder = begin_recording("tcp port 808$n");
        my $server = serve("sample$n/server");
        my ($client_log, $complaints) = ('', '');
        for my $round (1 .. $rounds) {
            my ($status, $out, $err) = run("sample$n/client");
            $client_log .= $out;
            $complaints .= $err . ($status || '');
            shows($server, qr/(?:[^\0]* close\n){$round}/);
        }
        my $reset_by_linger = $n == 1 ? 0 : $rounds;
        eventually(sub { resets() - $before >= $reset_by_linger });    # counted after it is sent
        my $left = sockets(qr/:808$n/);
        stop($server);
        is(end_recording($recorder), 0, 'tcpdump drops nothing');

        my @wire = packets($recorder->{out});
        my @seen = conversations($recorder->{out});
        is_deeply(\@seen, [($wire{$n}) x $rounds], "the packets of $rounds conversations");
        my $bytes = slurp($recorder->{out});
        is(scalar(() = $bytes =~ /$_/g), $rounds, "each carries $_ once") for qw(ABCD CDEF);

        is($complaints, '', 'every client exits with 0 and an empty stderr');
        is(resets() - $before, $reset_by_linger, 'the kernel counts the resets of a linger');
        my @ports = $client_log =~ /from 127\.0\.0\.1:(\d+)$/mg;
        my @time_wait = sort map { "TIME-WAIT 127.0.0.1:$_ 127.0.0.1:808$n" } $n == 1 ? @ports : ();
        my @expected = ("LISTEN 127.0.0.1:808$n 0.0.0.0:*", @time_wait);
        is_deeply($left, \@expected, 'TIME-WAIT is at the client after a FIN, nowhere after a RST');

        my $server_log = slurp($server->{out});
        is(steps($client_log), expected_lines($n, 'client', @ports), 'the lines of the client');
        is(steps($server_log), expected_lines($n, 'server', @ports), 'the lines of the server');
        like($client_log, qr/^1[1-3]:/, 'the times are local time');

        # Who sends speaks before the packet and who receives after it.
        $server_log =~ s/\A(?:.*\n)*?(?=.* accept )//;
        my $wire = join '', map { $_->{line} } @{ $wire[0] };
        my ($sends) = in_order('ABCD is sent, comes by and is received',
            $client_log => 'send', $wire => "808$n: .*length 4", $server_log => 'recv 4');
        my (undef, undef, $reads) = in_order('so is CDEF',
            $server_log => 'send', $wire => "808$n > .*length 4", $client_log => 'recv 4');
        my $delay = $reads - $sends;
        if ($n == 1) {
            in_order('close() of the client, FIN, end of file at the server',
                $client_log => 'close', $wire => 'Flags \[F', $server_log => 'recv 0');
        } elsif ($n == 2) {
            in_order('close() of the server, RST, ECONNRESET at the client',
                $server_log => 'close', $wire => 'Flags \[R', $client_log => 'ECONNRESET');
            cmp_ok($delay, '<', 2, 'the client reads at once');
        } else {
            in_order('close() of the server, RST, only then the client reads CDEF',
                $server_log => 'close', $wire => 'Flags \[R', $client_log => 'recv 4');
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
done_testing;
