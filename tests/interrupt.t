#!/usr/bin/perl
# capture.sh and lab.sh, ended at random moments by a signal to them or, as from a terminal, to their whole
# process group, leave nothing behind. MOMENTS=50 for more than the few of every day; SEED=1 repeats them.
use v5.36;
use FindBin; use lib $FindBin::Bin; use Lab;

my ($moments, $seed) = ($ENV{MOMENTS} // 8, $ENV{SEED} // $$);
alarm 1200 + 5 * $moments;
need(qw(tcpdump setsid));
private_network();
srand $seed;
my @commands = (['--run', 'sample1'], ['--run', 'sample3'], ['--run', 'all'], ['sample1'], ['sleep', 600]);
my %whole = map { $_ => 1 } values %wire, '>S <R.';    # the last: a server was killed before its client came

# Processes whose environment has MARK: all that descends from one moment, wherever it went.
sub family ($mark) {
    return grep { slurp("/proc/$_/environ") =~ /(?:^|\0)\Q$mark\E\0/ } map { m{(\d+)} } glob '/proc/[0-9]*';
}

while ($moments > 0) {
    my @now;
    for (1 .. ($moments < 4 ? $moments : 4)) {    # so many at the same time
        $moments--;
        my @arguments = @{ $commands[rand @commands] };
        my $dir = tempdir(CLEANUP => 1);
        my @capture = $arguments[0] eq 'sleep' ? () : ('scripts/capture.sh', '-w', "$dir/x.pcap");
        my ($signal, $group, $after) = ((qw(INT TERM HUP))[rand 3], rand() < 0.5, rand 0.4);
        my $process = start('env', "MARK=$dir", 'setsid', 'scripts/lab.sh', @capture, @arguments);
        push @now, { %$process, dir => $dir, signal => $signal, group => $group, at => time + $after,
            name => sprintf '%s, %s%s after %.3f s', "@arguments", $signal, $group && ' to all', $after };
    }
    for my $moment (sort { $a->{at} <=> $b->{at} } @now) {
        eventually(sub { kill 0, -$moment->{pid} });    # setsid has made it a group
        sleep $moment->{at} - time if $moment->{at} > time;
        kill $moment->{signal}, $moment->{group} ? -$moment->{pid} : $moment->{pid};
    }
    for my $moment (@now) {
        my ($dir, @left) = $moment->{dir};
        isnt(ended($moment), 'still running', "$moment->{name}: ends");
        eventually(sub { !(@left = family("MARK=$dir")) });
        kill 'KILL', @left;
        push @left, grep { !/\.(?:pcap|log)$/ } glob "$dir/* $dir/.[!.]*";
        push @left, grep { !$whole{$_} } conversations("$dir/x.pcap");
        is("@left", '', "$moment->{name}: leaves nothing behind, and nothing unfinished under its name")
            or diag("SEED=$seed ", slurp($moment->{err}));
    }
}
done_testing;
