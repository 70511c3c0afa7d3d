#!/usr/bin/perl
# With sudo: lab.sh where an ordinary user may have no private network, capture.sh where he has one
# in which he may not capture. For a user who may use sudo without a password.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Cwd 'getcwd';
use File::Temp 'tempdir';
use Test::More;

need(qw(tcpdump unshare ip script));
plan(skip_all => 'root needs no sudo') if $> == 0;
plan(skip_all => 'sudo is not here, or wants a password') if system('sudo -n true >/dev/null 2>&1') != 0;
my $root = getcwd();
my $dir = tempdir(CLEANUP => 1);
mkdir "$dir/bin" or die;
my $id = qr/^$> @{[$) + 0]}\n/;

# ---- lab.sh, where unshare --user is refused -----------------------------------------------------
my $real = (grep { -x } map { "$_/unshare" } split /:/, $ENV{PATH})[0];
open my $shim, '>', "$dir/bin/unshare" or die;
print $shim qq(#!/bin/sh\n[ "\$1" != --user ] || { echo "unshare: refused" >&2; exit 1; }\nexec $real "\$@"\n);
close $shim or die;
chmod 0755, "$dir/bin/unshare";
{
    local %ENV = (%ENV, PATH => "$dir/bin:$ENV{PATH}", LAB_TEST => "a b\n*", HOME => '/nowhere');
    chdir $dir or die;
    my $lab = "$root/scripts/lab.sh";
    my ($status, $out, $err) = run($lab, 'sh', '-c', 'echo $(id -u) $(id -g); pwd; echo "$HOME $PATH $LAB_TEST"; PATH=$PATH:/usr/sbin ip -br link; touch made; exit 7');
    is($err, "lab.sh: using sudo, for an ordinary user may not have a private network here: unshare: refused\n", 'lab.sh takes sudo, and says why');
    is($status, 7, 'the exit status comes back');
    like($out, $id, 'the command runs as the user');
    like($out, qr/^\Q$dir\E\n\/nowhere \Q$dir\E\/bin:\S+ a b\n\*\n/m, 'where it was, with its environment');
    like($out, qr/^lo +\S+ .*<LOOPBACK,UP,LOWER_UP> *\n\z/m, 'in a network of its own');
    is((stat 'made')[4], $>, 'a file made in it is the user\'s');
    is((run($lab, 'sh', '-c', 'kill -TERM $$'))[0], 128 + 15, 'the command\'s death by a signal is seen');
    is((run('sh', '-c', 'echo in | "$0" cat', $lab))[1], "in\n", 'stdin comes through');
    ($status) = run('script', '-qec', "'$lab' sh -c 'test -t 0 && test -t 1'", 'typescript');
    is($status, 0, 'so does the terminal');
    ($status) = run($lab, $^X, '-MIO::Socket::INET', '-e', $Lab::two_packets, 'lab.pcap');
    is(join(' ', $status, map { @$_ } conversations('lab.pcap')), '0 >S <R.', 'tcpdump -w works in it, without sudo');
    is((stat 'lab.pcap')[4], $>, 'and the recording is the user\'s');
    chdir $root or die;
}

# ---- capture.sh, in a network that is root's -----------------------------------------------------
my @roots = ('sudo', '-n', 'unshare', '--net', 'sh', '-c', 'PATH=$PATH:/usr/sbin ip link set lo up && exec "$@"', 'sh',
    'setpriv', "--reuid=$>", '--regid=' . ($) + 0), '--init-groups', '--', 'env', "PATH=$ENV{PATH}", "TMPDIR=$dir");
for my $round (1, 2) {
    my ($status, $out, $err) = run(@roots, "$root/scripts/capture.sh", '--run', '-w', "$dir/sudo.pcap", 'sample1');
    is("$status $err", "0 capture.sh: 11 packets, 1 conversation, 0 dropped, kept as $dir/sudo.pcap; next: scripts/ladder.sh $dir/sudo.pcap\n",
        'capture.sh takes sudo for tcpdump');
}
my @recordings = glob "$dir/sudo.*";
is(scalar @recordings, 6, 'two recordings, each with its lines');
is_deeply([map { sprintf '%d %o', (stat)[4, 2] } @recordings], [("$> 100600") x 6], 'all of them the user\'s, and for no one else to read');
is_deeply([glob "$dir/tmp.*"], [], 'no temporary file is left');

# By hand, until Ctrl-C.
my $capture = start('setsid', @roots, "$root/scripts/capture.sh", '-w', "$dir/hand.pcap", 'sample1');
ok(eventually(5, sub { slurp($capture->{err}) =~ /ready/ }), 'it is ready');
my ($inner) = map { m{/proc/(\d+)} } grep { slurp($_) =~ /hand\.pcap/ && slurp($_) !~ /^(?:sudo|tcpdump)/ } glob '/proc/[0-9]*/cmdline';
kill 'INT', $inner;
eventually(5, sub { slurp("/proc/$capture->{pid}/stat") =~ /\) Z / }) or fail('it ends');
is(stop($capture, '0') >> 8, 1, 'INT ends it');
like(slurp($capture->{err}), qr/no packets came \(0 packets/, 'with its line');
ok(!(grep { slurp($_) =~ /hand\.pcap/ } glob '/proc/[0-9]*/cmdline'), 'and leaves no tcpdump of root\'s behind');

done_testing;
