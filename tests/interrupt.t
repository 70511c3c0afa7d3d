#!/usr/bin/perl
# capture.sh and lab.sh, ended at random moments by a signal to them, to their whole process group as
# from a terminal, or by the death of one of their children, leave nothing behind.
# MOMENTS=50 for more than the few of every day; SEED=1 has the same moments again.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Test::More;
use Time::HiRes qw(sleep time);

my ($moments, $seed) = ($ENV{MOMENTS} // 8, $ENV{SEED} // $$);
alarm 100 + 5 * $moments;
my %exact = (
    8081 => '>S <S. >. >P.4 <. <P.4 >. >F. <. <F. >.',
    8082 => '>S <S. >. >P.4 <. <P.4 >. <R.',
    8083 => '>S <S. >. >P.4 <. <P.4 >. <R.',
);
my @commands = (
    [ '--run sample1' ], [ '--run sample3' ], [ '--run all' ], [ 'sample1' ],
    [ 'lab', 'scripts/lab.sh', 'sleep', '30' ],
);
my @ways = ([ 'INT', 1 ], [ 'TERM', 1 ], [ 'HUP', 1 ], [ 'TERM', 0 ], [ 'HUP', 0 ], [ 'KILL' ]);

# Processes whose environment has MARK: all that descends from one moment, wherever it went. Only they
# hold the namespace (its number would tell nothing: the kernel soon gives it to another).
sub family {
    my ($mark) = @_;
    return grep { index("\0" . slurp("/proc/$_/environ"), "\0$mark\0") >= 0 } map { m{/proc/(\d+)} } glob '/proc/[0-9]*';
}

# Begins one moment's command, in a session of its own, and decides when and how it is to end.
sub begin {
    my ($name, @command) = @{ $commands[ rand @commands ] };
    my $dir = Lab::tempdir(CLEANUP => 1);
    mkdir "$dir/$_" or die "mkdir: $!" for qw(tmp out);
    @command = ('scripts/lab.sh', 'scripts/capture.sh', '-w', "$dir/out/x.pcap", split ' ', $name) unless @command;
    my ($signal, $group) = @{ $ways[ rand @ways ] };
    my $moment = { %{ start('env', "TMPDIR=$dir/tmp", 'setsid', @command) }, dir => $dir, begun => time,
        after => rand 0.4, signal => $signal, group => $group, die => rand };
    $moment->{name} = sprintf '%s, %s%s after %.3f s', $name, $signal,
        $signal eq 'KILL' ? ' of a child' : $group ? ' to all' : '', $moment->{after};
    return $moment;
}

# Sends it; a child that dies need not end what stands above it, so TERM comes a little later.
sub interrupt {
    my ($moment) = @_;
    my $pid = $moment->{pid};
    eventually(5, sub { kill 0, -$pid }); # setsid has made it a group
    return kill $moment->{signal}, $moment->{group} ? -$pid : $pid if $moment->{signal} ne 'KILL';
    my @children = grep { $_ != $pid } family("TMPDIR=$moment->{dir}/tmp");
    kill 'KILL', $children[ @children * $moment->{die} ] if @children;
    sleep 0.2; # what it does about that
    kill 'TERM', $pid;
}

sub left_over {
    my ($moment) = @_;
    my ($mark, $dir) = ("TMPDIR=$moment->{dir}/tmp", $moment->{dir});
    my @left;
    eventually(2, sub { !family($mark) });
    push @left, map { "process $_: " . slurp("/proc/$_/cmdline") =~ tr/\0/ /r } family($mark);
    push @left, glob("$dir/tmp/* $dir/tmp/.[!.]* $dir/out/*.part*");
    for my $pcap (grep { !/incomplete/ } glob "$dir/out/*.pcap") {
        my %whole = map { $_ => 1 } values %exact;
        my @conversations = map { "@$_" } conversations($pcap);
        push @left, "$pcap: half a conversation: @{[ grep { !$whole{$_} } @conversations ]}"
            if !@conversations || grep { !$whole{$_} } @conversations;
    }
    kill 'KILL', family($mark);
    return join "\n", @left;
}

need('tcpdump', 'setsid');
Lab::skip_or_fail('no lab') if system('scripts/lab.sh true 2>/dev/null');
srand $seed;
diag("SEED=$seed") if $ENV{MOMENTS};
while ($moments > 0) {
    my @now = map { begin() } 1 .. ($moments < 4 ? $moments : 4); # so many at the same time
    $moments -= @now;
    for (sort { $a->{begun} + $a->{after} <=> $b->{begun} + $b->{after} } @now) {
        my $left = $_->{begun} + $_->{after} - time;
        sleep $left if $left > 0; # until the moment
        interrupt($_);
    }
    for my $moment (@now) {
        ok(eventually(9, sub { slurp("/proc/$moment->{pid}/stat") =~ /\) Z/ }), "$moment->{name}: ends");
        stop($moment, 'KILL');
        is(left_over($moment), '', "$moment->{name}: leaves nothing behind") or diag("SEED=$seed ", slurp($moment->{err}));
    }
}
done_testing;
