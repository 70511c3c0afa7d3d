#!/usr/bin/perl
# make demo in a fresh copy: as root, as an ordinary user, and on lo where no private network is to be had.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Test::More;

need(qw(tcpdump make setpriv));
private_network();
run('make', '-s');    # so that the copies have only a part to build
delete @ENV{qw(LC_ALL MAKEFLAGS MFLAGS MAKELEVEL)};
$ENV{LANG} = 'C.UTF-8';

# Starts make demo in a copy with one program to be built, owned by OWNER, with BIN before PATH.
sub demo {
    my ($owner, $bin, @before) = @_;
    my $dir = tempdir(CLEANUP => 1);
    mkdir "$dir/clone" or die;
    system("cp -a Makefile sample? scripts $dir/clone && rm -f $dir/clone/sample2/client") == 0 or die 'cp';
    system("chown -R $owner $dir && chmod 755 $dir") == 0 or die 'chown' if $owner;
    my $process = start(@before, 'env', "MARK=$dir", "PATH=$bin:$ENV{PATH}", 'sh', '-c',
        'cd "$1" && make demo', 'sh', "$dir/clone");
    return { %$process, dir => $dir };
}
my %demo = ($> == 0 ? 'root' : 'an ordinary user', demo('', '/usr/bin'));
if ($> == 0) {
    my @nobody = ('setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups', '--');
    my $why = `@nobody scripts/lab.sh true 2>&1 </dev/null`;
    $? == 0 ? $demo{'an ordinary user'} = demo('65534:65534', '/usr/bin', @nobody)
        : diag("not tried as an ordinary user: $why");
}
# Where unshare refuses; in a lab, so that its lo is not this machine's.
my $refused = tempdir(CLEANUP => 1);
open my $shim, '>', "$refused/unshare" or die;
print $shim "#!/bin/sh\necho 'unshare: refused' >&2\nexit 1\n";
close $shim;
chmod 0755, "$refused/unshare";
$demo{'root without namespaces'} = demo('', $refused, 'scripts/lab.sh') if $> == 0;

for my $name (sort keys %demo) {
    my ($dir, $process) = ($demo{$name}{dir}, $demo{$name});
    ok(eventually(sub { slurp($process->{out}) =~ /sleeps for 3 s/ }),
        "make demo as $name says what it waits for");
    my @drawn = slurp($process->{out}) =~ /^(sample\d) .*client/mg;
    is("@drawn[0, 1]", 'sample1 sample2', '... while it waits, samples 1 and 2 are drawn');
    is(ended($process), 0, '... succeeds') or diag(slurp($process->{err}));
    my $out = slurp($process->{out});
    is(join(' ', $out =~ /^(sample\d)  /mg), 'sample1 sample2 sample3',
        '... draws the three ladders in their order');
    is(join("\n", $out =~ /^  (\S.*TIME-WAIT: .*)/mg), <<'VERDICTS' =~ s/\n\z//r, '... with a verdict each');
client closed after 11 packets: FIN in four packets. TIME-WAIT: client.
server reset it after 8 packets: RST, no FIN. TIME-WAIT: nobody.
server reset it after 8 packets: RST, no FIN. TIME-WAIT: nobody.
VERDICTS
    my $t = qr/\d\.\d+/;
    like($out, qr/RST, ACK .*CLOSED\n   ⋮ .* $t s .*\n$t  recv 4 bytes "CDEF" .*\n$t  recv ECONN.*\n$t  close/,
        '... sample3 reads long after the RST');
    is(() = $out =~ /^\d\.\d+ (?:.*  )?setsockopt/mg, 3, '... and each lesson of the servers stands in it');
    is(scalar(() = slurp($process->{err}) =~ /kept as captures\/sample\d\.pcap/g), 3,
        '... and says where the recordings lie');
    my $on_lo = $out =~ /^On lo, without a private network: .*refused/m;
    is(!!$on_lo, $name =~ /without/, '... ' . ($on_lo ? 'on lo, and says so' : 'in a private network'));
    is(join('', grep { index(slurp("$_/environ"), "MARK=$dir") >= 0 } glob '/proc/[1-9]*'), '',
        '... leaving no process');
    is(join(' ', grep { !/\.(pcap|log)$/ } glob "$dir/clone/captures/*"), '', '... and no temporary file');
}
done_testing;
