#!/usr/bin/perl
# scripts/ladder.sh and connections as they are: ss says in which states the ends really are.
use v5.36;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use IO::Socket::IP;

need(qw(tcpdump ss));
enter_lab();
my $dir = tempdir(CLEANUP => 1);

# All that is sent here, recorded with -i any, which is not of Ethernet.
my $recording = "$dir/live.pcap";
my @user = ('-Z', scalar(getpwuid $<) // 'root');
my $tcpdump = start('tcpdump', @user, qw(-i any -s 256 -U --immediate-mode -w), $recording, 'tcp');
shows($tcpdump, qr/listening on/, 'err') or BAIL_OUT(slurp($tcpdump->{err}));

# The drawing of the conversation with PORT.
sub drawing ($port) {
    return `scripts/ladder.sh --no-time $recording -- port $port 2>/dev/null`;
}

# The last state that the ladder draws on either side, as "CLIENT / SERVER".
sub drawn_states ($port) {
    my ($client, $server) = ('', '');
    for my $row (split /\n/, drawing($port)) {
        $client = $1 if $row =~ /^([A-Z]\S+) +\|/;
        $server = $1 if $row =~ /\|  (\S+)$/;
    }
    return "$client / $server";
}

# The states that the kernel has.
sub real_states ($port) {
    my ($client, $server) = ('CLOSED', 'CLOSED');
    for my $line (`ss -Htan`) {
        my ($state, undef, undef, $local, $peer) = split ' ', $line;
        $state = 'ESTABLISHED' if $state eq 'ESTAB';
        $server = $state if $local =~ /:$port$/ && $state ne 'LISTEN';
        $client = $state if $peer =~ /:$port$/;
    }
    return "$client / $server";
}

# A test: ss and the ladder come to say STATES of the connection with PORT.
sub agree ($port, $states, $when) {
    my $seen = '';
    eventually(sub { ($seen = real_states($port)) eq $states });
    is($seen, $states, "$when: ss");
    eventually(sub { ($seen = drawn_states($port)) eq $states });
    is($seen, $states, "$when: the ladder");
}

# The two ends of a connection: (client, server).
sub connection ($host, $port) {
    my $listener = IO::Socket::IP->new(LocalHost => $host, LocalPort => $port, Listen => 1)
        // die "listen: $@";
    my $client = IO::Socket::IP->new(PeerHost => $host, PeerPort => $port) // die "connect: $@";
    return ($client, $listener->accept);
}

subtest 'ss and the ladder agree while the client closes, then the server' => sub {
    my ($client, $server) = connection('127.0.0.1', 9001);
    agree(9001, 'ESTABLISHED / ESTABLISHED', 'connect');
    $client->shutdown(1);
    agree(9001, 'FIN-WAIT-2 / CLOSE-WAIT', 'a FIN of the client');
    close $server;
    agree(9001, 'TIME-WAIT / CLOSED', 'a FIN of the server');
};

subtest 'ss and the ladder agree while the server closes, then the client' => sub {
    my ($client, $server) = connection('::1', 9002);
    $server->shutdown(1);
    agree(9002, 'CLOSE-WAIT / FIN-WAIT-2', 'a FIN of the server');
    close $client;
    agree(9002, 'CLOSED / TIME-WAIT', 'a FIN of the client');
};

subtest 'ss and the ladder agree on a reset' => sub {
    my ($client, $server) = connection('::1', 9003);
    hang_up($server);
    agree(9003, 'CLOSED / CLOSED', 'a RST of the server');
};

subtest 'Ctrl-C ends a tcpdump that prints into ladder.sh, which draws what came' => sub {
    need('setsid');
    # A shell at a terminal does not end by Ctrl-C either.
    my $pipe = 'trap : INT; tcpdump -i lo -l -nn port 9004 2>"$0/ready" | scripts/ladder.sh -';
    my $terminal = start('setsid', 'sh', '-c', $pipe, $dir);
    eventually(sub { slurp("$dir/ready") =~ /listening on/ });
    my ($client, $server) = connection('127.0.0.1', 9004);
    hang_up($server);
    eventually(sub { drawn_states(9004) eq 'CLOSED / CLOSED' });
    sleep 1;    # without --immediate-mode tcpdump prints once a second
    kill 'INT', -$terminal->{pid};
    ended($terminal);
    like(slurp($terminal->{out}), qr/server reset it after 4 packets/, 'the drawing');
};
stop($tcpdump, 'INT');
done_testing;
