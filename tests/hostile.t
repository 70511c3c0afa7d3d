#!/usr/bin/perl
# Very many bad clients do not hurt the servers.
#   BUILD=asan     with sanitizers (or valgrind), not as make builds them
#   ROUNDS=10000   of some bad clients and a good one each, for each server
#   SEED=1         repeats a run
use v5.36;
use FindBin;
use lib $FindBin::Bin;
use Lab;

my $build = $ENV{BUILD} // 'plain';
need('valgrind') if $build eq 'valgrind';
enter_lab();
my $rounds = $ENV{ROUNDS} // 100;
my $seed = srand($ENV{SEED} // $$);
my @sanitizers = ('-fsanitize=address,undefined', '-fno-sanitize-recover');
$SIG{PIPE} = 'IGNORE';

# The command for sampleN's program ROLE.
sub command ($n, $role) {
    my $program = "sample$n/$role";
    return $program if $build eq 'plain';
    return ('valgrind', '-q', '--leak-check=full', $program) if $build eq 'valgrind';
    my $sanitized = build("asan-sample$n-$role", "$program.c", @sanitizers);
    # an older ASan fails now and then where a newer kernel randomizes more bits of addresses
    return ('setarch', '-R', $sanitized);
}

# How many descriptors PROCESS has.
sub descriptors ($process) {
    my @all = glob "/proc/$process->{pid}/fd/*";
    return scalar @all;
}

sub dial ($n) {
    return IO::Socket::INET->new("127.0.0.1:808$n") // die "connect: $@\n";
}

# A client of sampleN that has sent some of ABCD, or of what is like it, now and then as urgent
# data, now and then followed by very much.
sub bad_client ($n) {
    my $peer = dial($n);
    my $bytes = substr 'ABCDABCX%nABCDE', rand 15, rand 6;
    send $peer, $bytes, rand(4) < 1 ? MSG_OOB : 0;
    if (rand(8) < 1) {
        send $peer, 'x' x 65536, MSG_DONTWAIT;
    }
    return $peer;
}

# Ends its connection: by FIN, by RST, or by RST after FIN.
sub leave ($peer) {
    shutdown $peer, 1 if rand(2) < 1;
    hang_up($peer) if rand(2) < 1;
    close $peer;
}

# A conversation as it should be: when it is over, all clients before it have been served.
sub good_client ($n) {
    my $peer = dial($n);
    syswrite $peer, 'ABCD';
    sysread $peer, my $data, 4;    # it comes in one packet
    $data eq 'CDEF' or die "no CDEF but '$data'\n";
}

# Lets ROUNDS of bad clients meet sampleN's server, and a good one after each.
sub attack ($n) {
    for my $round (1 .. $rounds) {
        alarm 6 * $Lab::patience;
        my @peers = map { bad_client($n) } 1 .. 1 + rand 20;
        for my $peer (@peers) {
            leave($peer);
        }
        good_client($n);
    }
    return 1;
}

for my $n (1 .. 3) {
    subtest "sample$n, $build: bad clients cause no crash, no leak and no open descriptor" => sub {
        my $server = serve(command($n, 'server'));
        my $before = descriptors($server);
        ok(eval { attack($n) }, "$rounds rounds of bad clients") or diag("SEED=$seed: $@");
        eventually(sub { descriptors($server) == $before });
        is(descriptors($server), $before, 'descriptors');
        my ($status, undef, $complaint) = run(command($n, 'client'));
        is("$status $complaint", '0 ', 'the client has nothing to report');
        is(stop($server), 15, 'the server lives until it is told to end');
        my @reports = grep { !/^(?:recv|send)[ ,:]/ } split /^/, slurp($server->{err});
        is("@reports", '', 'it has nothing to report but what clients did');
    };
}
done_testing;
