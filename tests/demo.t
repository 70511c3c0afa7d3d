#!/usr/bin/perl
# make demo in a fresh copy, as root and as an ordinary user; and the lost RST, live. All at the same time.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Test::More;
use File::Temp 'tempdir';
use Time::HiRes 'stat';

need('tcpdump', 'make', 'nft');
my $why = `scripts/lab.sh true 2>&1 </dev/null`;
Lab::skip_or_fail("no lab: $why") if $?;
run('make', '-s'); # so that the copies have only a part to build
delete @ENV{qw(LC_ALL NO_COLOR MAKEFLAGS MFLAGS MAKELEVEL)};
$ENV{LANG} = 'C.UTF-8';

# A copy of what the demo needs, with one program to be built; its temporary files go beside it.
sub fresh_copy {
    my ($owner) = @_;
    my $dir = tempdir(CLEANUP => 1);
    mkdir "$dir/tmp";
    mkdir "$dir/clone";
    system("cp -a Makefile sample1 sample2 sample3 scripts $dir/clone && rm -f $dir/clone/sample2/client") == 0 or die;
    system("chown -R $owner $dir && chmod 755 $dir") == 0 or die if $owner;
    return $dir;
}

my $lost = tempdir(CLEANUP => 1);
mkdir "$lost/tmp";
my $lost_run = start('env', "TMPDIR=$lost/tmp", # its client hears nothing for 5 s
    'scripts/lab.sh', '--lose-rst', 'scripts/capture.sh', '--run', '-w', "$lost/lost.pcap", 'sample2');

my %demo; # name => { dir, process }
my %as = ($> == 0 ? 'root' : 'an ordinary user' => []);
if ($> == 0) {
    my @nobody = ('setpriv', '--reuid', 'nobody', '--regid', 'nogroup', '--clear-groups', '--');
    my $refused = `@nobody scripts/lab.sh true 2>&1 </dev/null`;
    $? == 0 ? $as{'an ordinary user'} = \@nobody : diag("not tried as an ordinary user: $refused");
}
for my $name (sort keys %as) {
    my $dir = fresh_copy(@{ $as{$name} } ? 'nobody:nogroup' : '');
    my $process = start('env', "TMPDIR=$dir/tmp", @{ $as{$name} }, 'sh', '-c',
        'cd "$1" && make -s && touch ../built && make demo && touch ../done', 'sh', "$dir/clone");
    $demo{$name} = { dir => $dir, process => $process };
}
for my $name (sort keys %demo) {
    my ($dir, $process) = @{ $demo{$name} }{qw(dir process)};
    ok(eventually(5, sub { slurp($process->{out}) =~ /sleeps for 3 s/ }), "make demo as $name says what it waits for");
    unlike(slurp($process->{out}), qr/seconds/, '... while it waits');
}
for my $name (sort keys %demo) {
    my ($dir, $process) = @{ $demo{$name} }{qw(dir process)};
    is(stop($process, '0'), 0, "make demo as $name succeeds");
    my $out = slurp($process->{out});
    is(join(' ', $out =~ /^(sample\d)  /mg), 'sample1 sample2 sample3', '... draws the three ladders in their order');
    is(join("\n", $out =~ /^  (\S.*TIME-WAIT: .*)/mg), <<'VERDICTS' =~ s/\n\z//r, '... with a verdict each');
client closed after 11 packets: FIN in four packets. TIME-WAIT: client.
server reset it after 8 packets: RST, no FIN. TIME-WAIT: nobody.
server reset it after 8 packets: RST, no FIN. TIME-WAIT: nobody.
VERDICTS
    like($out, qr/ RST, ACK .*CLOSED\n   ⋮ .* 3\.0 s .*\n3\.\d+  recv 4 bytes "CDEF" .*\n3\.\d+  recv ECONNRESET .*\n3\.\d+  close/,
        '... sample3 reads 3 s after the RST');
    is(() = $out =~ /^\d\.\d+ (?:.*  )?setsockopt/mg, 3, '... and each call of the servers stands in it');
    my ($where) = $out =~ /^Recording: (\S+);/m;
    ok($where && -s "$dir/clone/$where", '... and says where the recording lies');
    unlike(slurp($process->{err}), qr/sudo|error|warning/i, '... without sudo');
    is(join(' ', glob "$dir/tmp/*"), '', '... leaving no temporary file');
    is(join('', grep { slurp("$_/cmdline") =~ m{\Q$dir\E/} } glob '/proc/[1-9]*'), '', '... and no process');
    my ($built, $done) = map { (stat "$dir/$_")[9] // 0 } 'built', 'done';
    cmp_ok($done - $built, '<', 6, '... in 3.4 s, or 6 s on a machine that is busy with the other tests');
}
stop($lost_run, '0');
is($lost_run->{status} >> 8, 0, 'a lost RST is recorded live') or diag(slurp($lost_run->{err}));
my ($status, $out) = run('scripts/ladder.sh', '--no-time', "$lost/lost.pcap");
is($out, slurp('tests/ladder/lost-rst.no-time'), '... and drawn like the reference: the server CLOSED, the client ESTABLISHED until its FIN');
($status, $out) = run('scripts/ladder.sh', "$lost/lost.pcap");
like($out, qr/\n5\.\d+  recv nothing for 5 s .*\n5\.\d+  FIN-WAIT-1 /, '... where the client says why it waited');
is(join(' ', glob "$lost/tmp/*"), '', '... leaving no temporary file');
is(`PATH=\$PATH:/usr/sbin nft list ruleset 2>/dev/null | grep -c 8082`, "0\n", '... and no rule on this machine') if $> == 0;
done_testing();
