#!/usr/bin/perl
# Hostile peers (tests/hostile.c) do not hurt the servers and the clients: as they are built, with ASan and UBSan,
# and under valgrind, each in a lab of its own and all at the same time.
# ROUNDS=10000 for more than the few hundred of every day; SEED=1 repeats a run.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Test::More;

my ($rounds, $seed) = ($ENV{ROUNDS} // 200, $ENV{SEED} // $$);
alarm 600 + $rounds;
my %sanitizers = ('-fsanitize' => 'address,undefined', '-fno-sanitize-recover' => 'all');

sub command {
    my ($build, $n, $role) = @_;
    return "tests/bin/asan-$n-$role" if $build eq 'asan';
    return ($build eq 'valgrind' ? qw(valgrind -q --error-exitcode=99) : (), "sample$n/$role");
}
# Resident memory of a process in KiB without the pages of files, which come as they are needed.
sub resident { return slurp("/proc/$_[0]{pid}/smaps_rollup") =~ /^Anonymous:\s+(\d+)/m ? $1 : 0 }
sub descriptors { return scalar(() = glob "/proc/$_[0]{pid}/fd/*") }

# Attacks the three servers at the same time, and then looks at each of them.
sub servers {
    my ($build) = @_;
    my $count = $build eq 'valgrind' ? 20 + $rounds / 20 : $rounds;
    my %server = map { $_ => start(command($build, $_, 'server')) } 1 .. 3;
    for my $server (values %server) { eventually(sub { slurp($server->{out}) =~ / listen / }) or diag(slurp($server->{err})) }
    my $attack = sub {
        my ($n) = @_;
        my %attack = map { $_ => start('tests/bin/hostile', 'attack', 8080 + $_, $n, $seed) } 1 .. 3;
        return map { stop($_, '0'); [$_->{status}, slurp($_->{err})] } map { $attack{$_} } 1 .. 3;
    };
    my %descriptors = map { $_ => descriptors($server{$_}) } 1 .. 3;
    $attack->(10 + $count / 10); # after which all its pages are there
    my %resident = map { $_ => resident($server{$_}) } 1 .. 3;
    my @attacks = $attack->($count);
    for my $n (1 .. 3) {
        my $server = $server{$n};
        is_deeply($attacks[$n - 1], [0, ''], "sample$n server: survives $count rounds, and answers good clients between them");
        ok(eventually(sub { descriptors($server) == $descriptors{$n} }), "sample$n server: leaks no descriptor");
        my $growth = resident($server) - $resident{$n};
        ok($build ne 'plain' || $growth <= 8, "sample$n server: resident memory does not grow") or diag("by $growth KiB");
        is((run("sample$n/client"))[0], 0, "sample$n server: then serves a normal client") if $n < 3 || $build eq 'plain';
        is(stop($server), 15, "sample$n server: lives until it is told to end");
        unlike(slurp($server->{err}), qr/^(?!(?:send|accept): )./m, "sample$n server: complains of nothing but failed sends");
    }
}

# Runs the clients of each sample against a bad server.
sub clients {
    my ($build) = @_;
    my $count = int($build eq 'valgrind' ? 1 + $rounds / 400 : $rounds / 3);
    my %serve;
    for my $n (1 .. 3) { # sample3's sleep for 3 s: all at once, or a hundred
        my ($all, $at_once) = $n < 3 ? ($count, 1) : $count < 100 ? ($count, $count) : ($count - $count % 100, 100);
        $serve{$n} = start('tests/bin/hostile', 'serve', 8080 + $n, $all, $seed, $at_once, command($build, $n, 'client'));
    }
    for my $n (1 .. 3) {
        is(stop($serve{$n}, '0'), 0, "sample$n client: none crashes, and the exit status tells what it saw") or diag(slurp($serve{$n}{err}));
        my ($all, $content) = slurp($serve{$n}{out}) =~ /^(\d+) clients, (\d+) must/;
        my @complaints = slurp($serve{$n}{err}) =~ /^(?:recv|send).* \(.*\): .*$/mg;
        is(scalar @complaints, ($all // 0) - ($content // 0), "sample$n client: of $all each that failed has said why in a line");
    }
}

if (@ARGV) { # in the lab, with one build
    servers(@ARGV);
    clients(@ARGV);
    done_testing;
    exit;
}
need('tcpdump');
private_network();
build('hostile', 'tests/hostile.c') or BAIL_OUT('no hostile');
diag("hostile rounds with SEED=$seed") if $ENV{ROUNDS};
my %why;
for my $n (1 .. 3) {
    for my $role (qw(server client)) {
        my @sanitized = map { "$_=$sanitizers{$_}" } keys %sanitizers;
        $why{asan} ||= 'no ASan for this compiler' if !build("asan-$n-$role", "sample$n/$role.c", @sanitized);
    }
}
# ASan of some compilers cannot run under some kernels (vm.mmap_rnd_bits): with an argument a program just ends.
$why{asan} ||= 'ASan does not run on this kernel' if !$why{asan} && (run('tests/bin/asan-1-client', 'x'))[0] != 2;
$why{valgrind} = 'valgrind is not installed' if system('command -v valgrind >/dev/null');
my %job = map { $_ => start('scripts/lab.sh', $^X, $0, $_) } grep { !$why{$_} } qw(plain asan valgrind);
for my $build (qw(plain asan valgrind)) {
SKIP: {
        fail("$build: $why{$build}") if $why{$build} && ($ENV{CI} // '') eq 'true';
        skip("$build: $why{$build}", 1) if $why{$build};
        my $status = stop($job{$build}, '0');
        my @claims = slurp($job{$build}{out}) =~ /^((?:not )?ok \d+ - .*)/mg;
        /^(not )?ok \d+ - (.*)/ && ok(!$1, "$build: $2") for @claims;
        ok(@claims && $status == 0, "$build: every claim of it was tested") or diag(slurp($job{$build}{err}));
    }
}
done_testing;
