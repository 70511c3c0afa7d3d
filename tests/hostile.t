#!/usr/bin/perl
# Hostile peers (tests/hostile.c) do not hurt the servers and the clients: as they are built, with
# ASan and UBSan, and under valgrind, each in a lab of its own and all at the same time.
# ROUNDS=10000 for more than the few hundred of every day; SEED=1 repeats a run.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Test::More;

my ($rounds, $seed) = ($ENV{ROUNDS} // 200, $ENV{SEED} // $$);
alarm 100 + $rounds / 10;
my %exact = (
    sample1 => '>S <S. >. >P.4 <. <P.4 >. >F. <. <F. >.',
    sample2 => '>S <S. >. >P.4 <. <P.4 >. <R.',
    sample3 => '>S <S. >. >P.4 <. <P.4 >. <R.',
);
my %client; # the normal ones
my @valgrind = qw(valgrind -q --error-exitcode=99);

sub command {
    my ($build, $sample, $role) = @_;
    return "tests/bin/asan-$sample-$role" if $build eq 'asan';
    return ($build eq 'valgrind' ? @valgrind : (), "$sample/$role");
}

# Resident memory of a process in KiB without the pages of files, which come as they are needed;
# exact, while VmRSS may be off by what each CPU holds back.
sub resident { return slurp("/proc/$_[0]{pid}/smaps_rollup") =~ /^Anonymous:\s+(\d+)/m ? $1 : 0 }
sub descriptors { return scalar(() = glob "/proc/$_[0]{pid}/fd/*") }

# Sets the longest backlog of a listener, where that is allowed.
sub backlog {
    open my $max, '>', '/proc/sys/net/core/somaxconn' or return diag("backlog: $!");
    print $max $_[0];
    close $max or diag("backlog: $!");
}

# Attacks the three servers at the same time, and then looks at each of them.
sub servers {
    my ($build) = @_;
    my $n = $build eq 'valgrind' ? 20 + $rounds / 20 : $rounds;
    backlog(16); # a crowd of 64 is more than this
    my (%server, %attack, %before);
    my $all = sub { # everyone at the same time
        my ($count) = @_;
        $attack{$_} = start('tests/bin/hostile', 'attack', 8080 + substr($_, -1), $count, $seed) for sort keys %exact;
        return { map { $_ => stop($attack{$_}, 0) } sort keys %exact };
    };
    $server{$_} = start(command($build, $_, 'server')) for sort keys %exact;
    for (sort keys %exact) {
        my $server = $server{$_};
        eventually(20, sub { slurp($server->{out}) =~ / listen / }) or diag(slurp($server->{err}));
    }
    $before{$_} = [ descriptors($server{$_}) ] for keys %exact;
    $all->(10 + $n / 10); # after which all its pages are there
    push @{ $before{$_} }, resident($server{$_}) for keys %exact;
    my $status = $all->($n);
    for my $sample (sort keys %exact) {
        my ($server, $port) = ($server{$sample}, 8080 + substr($sample, -1));
        ok($status->{$sample} == 0, "$sample server: survives $n rounds, and answers good clients between them")
            or diag(slurp($attack{$sample}{err}));
        my ($descriptors, $resident) = @{ $before{$sample} };
        ok(eventually(8, sub { descriptors($server) == $descriptors }), "$sample server: leaks no descriptor");
        my $growth = resident($server) - $resident;
        ok($build ne 'plain' || $growth <= 8, "$sample server: resident memory does not grow")
            or diag("by $growth KiB");

        my $pcap = "$server->{out}.pcap";
        my $tcpdump = start('tcpdump', qw(-i lo -s 256 -U --immediate-mode), '-w', $pcap,
            $> ? () : ('-Z', 'root'), "tcp port $port");
        eventually(9, sub { slurp($tcpdump->{err}) =~ /listening on/ });
        $client{$sample} = start("$sample/client"); # sample3's sleeps on while we go on
        my @wire; # late packets of the attack may come too, but no SYN
        eventually(5, sub { @wire = map { "@$_" } grep { $_->[0] eq '>S' } conversations($pcap); "@wire" eq $exact{$sample} });
        stop($tcpdump);
        is("@wire", $exact{$sample}, "$sample server: a normal client then has its exact sequence");
        stop($server);
        is($server->{status}, 15, "$sample server: lives until it is told to end");
        is(slurp($server->{err}), '', "$sample server: has nothing to complain of, and nobody of it");
    }
}

# Runs the clients of each sample against a bad server.
sub clients {
    my ($build) = @_;
    my $n = int($build eq 'valgrind' ? 1 + $rounds / 400 : $rounds / 3);
    my %serve;
    backlog(4096);
    for my $sample (sort keys %exact) {
        my ($count, $at_once) = $sample ne 'sample3' ? ($n, 1) : $n < 100 ? ($n, $n) : ($n - $n % 100, 100);
        $serve{$sample} = start('tests/bin/hostile', 'serve', 8080 + substr($sample, -1), $count, $seed,
            $at_once, command($build, $sample, 'client'));
    }
    for my $sample (sort keys %exact) {
        my $status = stop($serve{$sample}, 0);
        my $out = slurp($serve{$sample}{out});
        my ($count, $content) = $out =~ /^(\d+) clients, (\d+) must/;
        my @complaints = slurp($serve{$sample}{err}) =~ /^(.*\(.*\))$/mg;
        ok($status == 0 && slurp($serve{$sample}{err}) eq join('', map { "$_\n" } @complaints)
            && @complaints == $count - $content,
            "$sample client: of @{[ $count // '?' ]} with a bad server, those that saw what they should exit with 0, all others with 1 and one line")
            or diag($out, substr slurp($serve{$sample}{err}), -300);
        is(stop($client{$sample}, 0), 0, "$sample server: the normal client exits with 0");
    }
}

if (@ARGV) { # in the lab, with one build
    servers(@ARGV);
    clients(@ARGV);
    done_testing;
    exit;
}
need('tcpdump');
Lab::skip_or_fail('no lab') if system('scripts/lab.sh', 'true');
build('hostile', 'tests/hostile.c') or BAIL_OUT('no hostile');
diag("hostile rounds with SEED=$seed") if $ENV{ROUNDS};
my %why;
for my $program (map { my $sample = $_; map { [ $sample, $_ ] } qw(server client) } sort keys %exact) {
    $why{asan} ||= 'no ASan for this compiler'
        unless build('asan-' . join('-', @$program), join('/', @$program) . '.c', "-fsanitize=address,undefined", "-fno-sanitize-recover=all");
}
$why{valgrind} = 'valgrind is not installed' if system('command -v valgrind >/dev/null');
my %job = map { $_ => start('scripts/lab.sh', $^X, $0, $_) } grep { !$why{$_} } qw(plain asan valgrind);
for my $build (qw(plain asan valgrind)) {
SKIP: {
        fail("$build: $why{$build}") if $why{$build} && ($ENV{CI} // '') eq 'true';
        skip("$build: $why{$build}", 1) if $why{$build};
        my $status = stop($job{$build}, 0);
        my $claims = 0;
        for (split /\n/, slurp($job{$build}{out})) {
            ok(!$1, "$build: $2") if /^(not )?ok \d+ - (.*)/;
            $claims += 1 if /^1\.\./;
        }
        ok($claims && $status == 0, "$build: every claim of it was tested") or diag(slurp($job{$build}{err}));
    }
}
done_testing;
