#!/usr/bin/perl
# make demo in a fresh copy: in a private network, and on lo where none is to be had.
use v5.36;
use FindBin; use lib $FindBin::Bin; use Lab;

need(qw(tcpdump make));
private_network();
run('make', '-s');    # so that the copies have only a part to build
delete @ENV{qw(LC_ALL MAKEFLAGS MFLAGS MAKELEVEL)};
$ENV{LANG} = 'C.UTF-8';

# Starts make demo in a copy with one program to be built, with BIN before PATH.
sub demo ($bin, @before) {
    my $dir = tempdir(CLEANUP => 1);
    system("cp -a Makefile sample? scripts $dir && rm $dir/sample2/client") == 0 or die 'no copy';
    my @env = ('env', "MARK=$dir", "PATH=$bin:$ENV{PATH}");
    return { %{ start(@before, @env, 'make', '-C', $dir, 'demo') }, dir => $dir };
}
my %demo = ('in a private network' => demo('/usr/bin'));
if ($> == 0) {    # where unshare refuses; in a lab, so that its lo is not this machine's
    my $refused = tempdir(CLEANUP => 1);
    save("$refused/unshare", "#!/bin/sh\necho 'unshare: refused' >&2\nexit 1\n");
    $demo{'without namespaces'} = demo($refused, 'scripts/lab.sh');
}
my $one = qr/^\d\.\d+ /m;
for my $name (sort keys %demo) {
    my ($dir, $demo) = ($demo{$name}{dir}, $demo{$name});
    ok(shows($demo, qr/sleeps for 3 s/), "make demo $name says what it waits for");
    is(join(' ', (slurp($demo->{out}) =~ /^(sample\d) .*client/mg)[0, 1]), 'sample1 sample2',
        '... while it waits, samples 1 and 2 are drawn');
    is(ended($demo), 0, '... succeeds') or diag(slurp($demo->{err}));
    my $out = slurp($demo->{out});
    is(join(' ', $out =~ /^(sample\d(?=  )|  \w+ \w+(?=.* TIME-WAIT: ))/mg),
        'sample1   client closed sample2   server reset sample3   server reset', '... draws and judges all');
    like($out, qr/RST, ACK .*CLOSED\n   \S+ .*\d s .*\n${one}.*"CDEF" .*\n${one}.*ECONN.*\n${one}.*close/,
        '... sample3 reads long after the RST');
    is(() = slurp($demo->{err}) =~ /kept as captures\/sample\d\.pcap/g, 3, '... and where recordings lie');
    my $on_lo = $out =~ /^On lo, without a private network: .*refused/m;
    is(!!$on_lo, $name =~ /without/, '... ' . ($on_lo ? 'on lo, and says so' : 'in a private network'));
    is(join('', (grep { index(slurp("$_/environ"), "MARK=$dir") >= 0 } glob '/proc/[1-9]*'),
        grep { !/\.(pcap|log)$/ } glob "$dir/captures/*"), '', '... leaving no process and no file');
}
done_testing;
