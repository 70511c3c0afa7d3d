#!/usr/bin/perl
# Hostile clients (tests/hostile.c) do not hurt the servers: as they are built, with ASan and UBSan, and
# under valgrind, each in a lab of its own and all at the same time.
# ROUNDS=10000 for more than the few hundred of every day; SEED=1 repeats a run.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Test::More;

my ($rounds, $seed) = ($ENV{ROUNDS} // 200, $ENV{SEED} // $$);
alarm 600 + $rounds;
# A kernel that randomizes more bits than an older ASan knows of makes it fail at its start.
my @steady = system('setarch -R true 2>/dev/null') ? () : ('setarch', '-R');
my %under = (plain => [], asan => \@steady, valgrind => [qw(valgrind -q --error-exitcode=99)]);

sub command {
    my ($build, $n) = @_;
    return (@{ $under{$build} }, $build eq 'asan' ? "tests/bin/asan-sample$n" : "sample$n/server");
}
sub descriptors { return scalar(() = glob "/proc/$_[0]{pid}/fd/*") }

# In the lab: attacks the three servers of BUILD at the same time, then looks at each of them.
sub servers {
    my ($build, %server, %before, %attack) = @_;
    for my $n (1 .. 3) {
        $server{$n} = start(pinned(command($build, $n)));
        eventually(sub { slurp($server{$n}{out}) =~ / listen / }) or diag(slurp($server{$n}{err}));
        $before{$n} = descriptors($server{$n});
    }
    my $many = $build eq 'valgrind' ? 20 + $rounds / 20 : $rounds;
    $attack{$_} = start('tests/bin/hostile', 'attack', "808$_", $many, $seed) for 1 .. 3;
    for my $n (1 .. 3) {
        my $server = $server{$n};
        is(stop($attack{$n}, 0), 0, "sample$n server: survives, and answers good clients between bad ones")
            or diag(slurp($attack{$n}{err}));
        ok(eventually(sub { descriptors($server) == $before{$n} }), "sample$n server: leaks no descriptor");
        my $recorder = begin_recording("tcp port 808$n");
        my ($status) = run(pinned("sample$n/client"));
        eventually(sub { slurp($server->{out}) =~ / close\n\z/ });
        is(stop($server), 15, "sample$n server: lives until it is told to end");
        end_recording($recorder);
        # late packets of the attack may come too, but no SYN
        my @wire = map { "@$_" } grep { $_->[0] eq '>S' } conversations($recorder->{out});
        is("$status @wire", "0 $wire{$n}", "sample$n server: a good client then has its exact sequence");
        like(slurp($server->{err}), qr/^(?:send: (?:Broken pipe|Connection reset by peer)\n)*\z/,
            "sample$n server: complains of nothing but peers that are gone, and nobody of it");
    }
}

if (@ARGV) {    # in the lab, with one build
    servers(@ARGV);
    done_testing;
    exit;
}
need(qw(tcpdump taskset));
private_network();
build('hostile', 'tests/hostile.c') or die 'no hostile';
diag("hostile rounds with SEED=$seed") if $ENV{ROUNDS};
my %why;
for my $n (1 .. 3) {
    build("asan-sample$n", "sample$n/server.c", '-fsanitize=address,undefined', '-fno-sanitize-recover=all')
        or $why{asan} = 'no sanitizers for this compiler';
}
$why{asan} //= 'sanitizers do not run here' if grep { (run(command('asan', 1), 'x'))[0] != 2 } 1 .. 5;
$why{valgrind} = 'valgrind is not installed' if system('command -v valgrind >/dev/null');
my %job = map { $_ => start('scripts/lab.sh', $^X, $0, $_) } grep { !$why{$_} } sort keys %under;
for my $build (qw(plain asan valgrind)) {
  SKIP: {
        fail("$build: $why{$build}") if $why{$build} && ($ENV{CI} // '') eq 'true';
        skip("$build: $why{$build}", 1) if $why{$build};
        my $status = stop($job{$build}, 0);
        my $out = slurp($job{$build}{out});
        ok(!$1, "$build: $2") while $out =~ /^(not )?ok \d+ - (.*)/mg;
        ok($out =~ /^1\.\./m && $status == 0, "$build: all of it") or diag(slurp($job{$build}{err}));
    }
}
done_testing;
