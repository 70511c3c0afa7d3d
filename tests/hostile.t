#!/usr/bin/perl
# The clients that no server wants do not hurt the servers: as they are built, with ASan and UBSan, and under
# valgrind, which have nothing to report of the clients either.
# ROUNDS=10000 for more than the few hundred of every day; SEED=1 repeats a run.
use v5.36;
use FindBin; use lib $FindBin::Bin; use Lab;

my ($rounds, $seed) = ($ENV{ROUNDS} // 200, $ENV{SEED} // $$);
# A kernel that randomizes more bits than an older ASan knows of makes it fail at its start.
my @steady = system('setarch -R true 2>/dev/null') ? () : ('setarch', '-R');
my @valgrind = qw(valgrind -q --leak-check=full --error-exitcode=99);
my %under = (plain => [], asan => \@steady, valgrind => \@valgrind);

sub command ($build, $n, $role = 'server') {
    return (@{ $under{$build} }, $build eq 'asan' ? "tests/bin/asan-sample$n-$role" : "sample$n/$role");
}
sub descriptors ($process) { return scalar(() = glob "/proc/$process->{pid}/fd/*") }
sub dial ($n) {
    my $peer = IO::Socket::INET->new("127.0.0.1:808$n") // die "connect: $@";
    setsockopt $peer, IPPROTO_TCP, TCP_NODELAY, 1 or die "setsockopt: $!";    # or pieces wait
    return $peer;
}

# Sends some of ABCD, or of what is like it, or nothing, in one of three ways; then, now and then, very much.
# The server may be gone already: that is what we are here for.
sub talk ($peer) {
    my $bytes = substr rand() < 0.5 ? 'ABCD' : substr("ABCE\0CDEG\xff\n%nCDEXABCX", rand 17), 0, rand 5;
    my $way = int rand 4;
    for my $piece ($way == 0 ? split //, $bytes : ()) {
        send $peer, $piece, 0;
        sleep 0.001 * int rand 3;
    }
    send $peer, $bytes, $way == 1 ? MSG_OOB : 0 if $way > 0;
    send $peer, 'x' x 65536, MSG_DONTWAIT for 1 .. (rand 8 < 1 ? rand 16 : 0);
}

# Ends a conversation: 0 leaves, 1 resets, 2 says FIN and resets, 3 says FIN and reads to the end.
sub finish ($peer, $end) {
    shutdown $peer, 1 if $end > 1;
    1 while $end == 3 && sysread $peer, my $data, 65536;
    return $end % 3 ? hang_up($peer) : close $peer;
}

# One conversation as it should be.
sub converse ($n) {
    my ($peer, $data) = (dial($n), '');
    syswrite $peer, 'ABCD';
    1 while length $data < 4 && sysread $peer, $data, 4 - length $data, length $data;
    $data eq 'CDEF' or die "no CDEF but '$data'\n";
    $n == 1 or !defined sysread $peer, $data, 1 and $!{ECONNRESET} or die "no ECONNRESET\n";
}

# ROUNDS of bad clients of sampleN, now and then a crowd of them; after every 16th a good one. Dies when the
# server is not as it must be; one that is silent for ever is met by SIGALRM.
sub attack ($n, $rounds, $seed) {
    srand $seed;
    $SIG{PIPE} = 'IGNORE';
    for my $round (1 .. $rounds) {
        alarm 300;
        my @peers = map { dial($n) } 1 .. (rand 40 < 1 ? 64 : 1);
        talk($_) for @peers;
        recv $peers[0], my $data, 1 + rand 4, MSG_DONTWAIT if rand 4 < 1;
        finish($_, int rand(@peers > 1 ? 3 : 4)) for @peers;
        converse($n) if $round % 16 == 0;
    }
    converse($n);    # who came before it has been served then
    return 0;
}

# Attacks the three servers of BUILD at the same time, then looks at each of them.
sub servers ($build) {
    my %server = map { $_ => serve(pinned(command($build, $_))) } 1 .. 3;
    my %before = map { $_ => descriptors($server{$_}) } 1 .. 3;
    my $many = int($build eq 'valgrind' ? 20 + $rounds / 20 : $rounds);
    my %attack = map { $_ => start($^X, $0, $_, $many, $seed) } 1 .. 3;
    for my $n (1 .. 3) {
        is(stop($attack{$n}, 0), 0, "$build: sample$n survives, and answers good clients between bad ones")
            or diag("SEED=$seed ", slurp($attack{$n}{err}));
        ok(eventually(sub { descriptors($server{$n}) == $before{$n} }), "$build: sample$n leaks no socket");
    }
    my $recorder = begin_recording('tcp');
    my @status = map { (run(pinned($^X, $0, $_, 0, 0)))[0] } 1 .. 3;
    for my $n (1 .. 3) {
        shows($server{$n}, qr/ close\n\z/);
        is(stop($server{$n}), 15, "$build: sample$n lives until it is told to end");
        like(slurp($server{$n}{err}), qr/^(?:send: (?:Broken pipe|Connection reset by peer)\n)*\z/,
            "$build: sample$n complains of nothing but peers that are gone, and nobody of it");
    }
    end_recording($recorder);
    # late packets of the attack may come too, but no SYN
    is_deeply([@status, grep { /^>S/ } conversations($recorder->{out})], [0, 0, 0, @wire{1 .. 3}],
        "$build: good clients then have their exact sequences");
}

exit attack(@ARGV) if @ARGV;
need(qw(tcpdump taskset valgrind));
enter_lab();
alarm 1200 + 3 * $rounds;
diag("hostile rounds with SEED=$seed") if $ENV{ROUNDS};
my $no_asan = '';
for my $program (map { ("sample$_/server", "sample$_/client") } 1 .. 3) {
    build("asan-$program" =~ tr/\//-/r, "$program.c", '-fsanitize=address,undefined', '-fno-sanitize-recover')
        or $no_asan = 'no sanitizers for this compiler';
}
$no_asan ||= 'sanitizers do not run here' if grep { (run(command('asan', 1), 'x'))[0] != 2 } 1 .. 5;
servers($_) for 'plain', 'valgrind', $no_asan ? () : 'asan';
# The clients have their bad servers in client.t.
my @servers = map { serve("sample$_/server") } 1 .. 3;
my %client;
for my $build ('valgrind', $no_asan ? () : 'asan') {
    $client{"$build: sample$_"} = start(command($build, $_, 'client')) for 1 .. 3;
}
is(ended($client{$_}) . slurp($client{$_}{err}), '0', "$_ client: no report") for sort keys %client;
SKIP: {
    skip($no_asan, 1) if $no_asan && ($ENV{CI} // '') ne 'true';
    is($no_asan, '', 'all this with sanitizers, too');
}
done_testing;
