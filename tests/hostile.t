#!/usr/bin/perl
# The clients that no server wants do not hurt the servers: as they are built, with ASan and UBSan,
# and under valgrind (where it is installed: make lint needs it, make test does not).
# ROUNDS=10000 for more than the few hundred of every day; SEED=1 repeats a run.
use v5.36;
use FindBin;
use lib $FindBin::Bin;
use Lab;

need(qw(tcpdump taskset));
enter_lab();
# On one CPU packets keep their order: this process, and all that it starts.
run('taskset', '-p', '-c', (pinned())[2], $$);
my $rounds = $ENV{ROUNDS} // 200;
my $seed = $ENV{SEED} // $$;
my $crowd = 64;    # clients at once, now and then

# A kernel that randomizes more bits than an older ASan knows of makes it fail at its start.
my @steady = system('setarch -R true 2>/dev/null') ? () : ('setarch', '-R');
my %under = (
    plain    => [],
    asan     => \@steady,
    valgrind => [qw(valgrind -q --leak-check=full --error-exitcode=99)],
);

# The command for sampleN's program ROLE of BUILD.
sub command ($build, $n, $role) {
    my $program = $build eq 'asan' ? "tests/bin/asan-sample$n-$role" : "sample$n/$role";
    return (@{ $under{$build} }, $program);
}

# How many descriptors PROCESS has.
sub descriptors ($process) {
    my @all = glob "/proc/$process->{pid}/fd/*";
    return scalar @all;
}

# ---- the attackers, as `hostile.t N ROUNDS SEED` ------------------------------------------------

sub dial ($n) {
    my $peer = IO::Socket::INET->new("127.0.0.1:808$n") // die "connect: $@";
    setsockopt $peer, IPPROTO_TCP, TCP_NODELAY, 1 or die "setsockopt: $!";    # or pieces wait
    return $peer;
}

# Whether to do now what is done once in N times.
sub now_and_then ($n) {
    return rand($n) < 1;
}

# Sends some of ABCD, or of what is like it, or nothing, in one of several ways; then, now and then,
# very much. The server may be gone already: that is what we are here for.
sub talk ($peer) {
    my $like_it = substr "ABCE\0CDEG\xff\n%nCDEXABCX", rand 17;
    my $bytes = now_and_then(2) ? 'ABCD' : $like_it;
    $bytes = substr $bytes, 0, rand 5;
    my $way = (qw(pieces urgent whole whole))[rand 4];
    if ($way eq 'pieces') {
        for my $piece (split //, $bytes) {
            send $peer, $piece, 0;
            sleep 0.001 * int rand 3;    # so that some come alone
        }
    } elsif ($way eq 'urgent') {
        send $peer, $bytes, MSG_OOB;
    } else {
        send $peer, $bytes, 0;
    }
    my $much = now_and_then(8) ? rand 16 : 0;
    for (1 .. $much) {
        send $peer, 'x' x 65536, MSG_DONTWAIT;
    }
}

# Ends a conversation: leaves, resets, says FIN and resets, or says FIN and reads to the end.
sub finish ($peer, $way) {
    shutdown $peer, 1 if $way =~ /FIN/;
    if ($way =~ /read/) {
        1 while sysread $peer, my $data, 65536;
    }
    if ($way =~ /reset/) {
        hang_up($peer);
    } else {
        close $peer;
    }
}

# One conversation as it should be: 1; dies if it is not.
sub converse_well ($n) {
    my $peer = dial($n);
    syswrite $peer, 'ABCD';
    sysread $peer, my $data, 4;    # it comes in one packet
    $data eq 'CDEF' or die "no CDEF but '$data'\n";
    return 1 if $n == 1;
    my $got = sysread $peer, $data, 1;
    !defined $got && $!{ECONNRESET} or die "no ECONNRESET\n";
    return 1;
}

# ROUNDS of bad clients of sampleN, now and then a crowd of them; after every 16th a good one. Dies
# when the server is not as it must be; one that is silent for ever is met by SIGALRM.
sub attack ($n, $rounds, $seed) {
    srand $seed;
    $SIG{PIPE} = 'IGNORE';
    for my $round (1 .. $rounds) {
        alarm $Lab::patience;
        my @ways = ('leave', 'reset', 'FIN, reset', 'FIN, read');
        my $clients = 1;
        if (now_and_then(40)) {
            $clients = $crowd;
            pop @ways;    # nobody reads to the end, for the server takes one after the other
        }
        my @peers = map { dial($n) } 1 .. $clients;
        for my $peer (@peers) {
            talk($peer);
        }
        recv $peers[0], my $data, 1 + rand 4, MSG_DONTWAIT if now_and_then(4);
        for my $peer (@peers) {
            finish($peer, $ways[rand @ways]);
        }
        converse_well($n) if $round % 16 == 0;
    }
    converse_well($n);    # who came before it has been served then
    return 0;
}

# An attack on sampleN's server from a process of its own.
sub start_attack ($n, $rounds) {
    return start($^X, "-I$root/tests", $0, '--in-lab', $n, $rounds, $seed);
}

exit attack(@ARGV) if @ARGV;

# ---- the tests ----------------------------------------------------------------------------------
alarm 600 + 3 * $rounds;
$Lab::patience += $rounds / 5;
diag("hostile rounds with SEED=$seed") if $ENV{ROUNDS};

# Why there are no sanitizers here, or ''.
sub no_sanitizers () {
    for my $n (@samples) {
        for my $role (qw(server client)) {
            my @flags = ('-fsanitize=address,undefined', '-fno-sanitize-recover');
            build("asan-sample$n-$role", "sample$n/$role.c", @flags)
                or return 'no sanitizers for this compiler';
        }
    }
    for my $try (1 .. 5) {    # where addresses do not suit it, it fails now and then
        my (undef, undef, $complaint) = run(command('asan', 1, 'client'));
        return 'sanitizers do not run here' if $complaint !~ /^connect .* refused$/;
    }
    return '';
}
# Builds that there are not, and why.
my %missing;
$missing{asan} = no_sanitizers();
$missing{valgrind} = which('valgrind') ? '' : 'valgrind is not installed';

for my $build (qw(plain valgrind asan)) {
    SKIP: {
        my $why = $missing{$build};
        if ($why) {
            fail($why) if $build eq 'asan' && ($ENV{CI} // '') eq 'true';
            skip($why, 1);
        }
        subtest "$build: the servers survive bad clients, and answer the good ones between" => sub {
            my $many = $build eq 'valgrind' ? 20 + int($rounds / 20) : $rounds;
            my %server = map { $_ => serve(command($build, $_, 'server')) } @samples;
            my %before = map { $_ => descriptors($server{$_}) } @samples;
            my %attack = map { $_ => start_attack($_, $many) } @samples;
            for my $n (@samples) {
                is(ended($attack{$n}), 0, "sample$n survives")
                    or diag("SEED=$seed ", slurp($attack{$n}{err}));
                my $as_before = sub {
                    return Lab::over($server{$n}) || descriptors($server{$n}) == $before{$n};
                };
                eventually($as_before);
                is(descriptors($server{$n}), $before{$n}, "sample$n leaks no socket");
            }
            # late packets of the attack may come too, but no SYN
            my $recorder = begin_recording('tcp');
            for my $n (@samples) {
                ok(eval { converse_well($n) }, "sample$n: a good client is served") or diag($@);
            }
            for my $n (@samples) {
                shows($server{$n}, qr/ close\n\z/);
                is(stop($server{$n}), 15, "sample$n lives until it is told to end");
                my $of_clients = qr/(?:recv|send)[ ,:].*\n/;
                like(slurp($server{$n}{err}), qr/\A$of_clients*\z/, "sample$n: stderr");
            }
            end_recording($recorder);
            my @seen = grep { /^>S/ } conversations($recorder->{out});
            is_deeply(\@seen, [@wire{@samples}], 'good clients have their exact packets');
        };
    }
}

subtest 'valgrind and the sanitizers have nothing to report of the clients' => sub {
    my @servers = map { serve("sample$_/server") } @samples;
    my @builds = grep { !$missing{$_} } qw(valgrind asan);
    my %client;
    for my $build (@builds) {
        for my $n (@samples) {
            $client{"$build, sample$n"} = start(command($build, $n, 'client'));
        }
    }
    for my $name (sort keys %client) {
        is(ended($client{$name}), 0, "$name: exit status");
        is(slurp($client{$name}{err}), '', "$name: stderr");
    }
    for my $server (@servers) {
        stop($server);
    }
};
done_testing;
