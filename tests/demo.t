#!/usr/bin/perl
# make demo, in a fresh copy: in a private network, and on lo where none is to be had.
use v5.36;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Capture;

need('tcpdump', 'make');
enter_lab();    # so that lo is not this machine's
delete @ENV{qw(MAKEFLAGS MFLAGS MAKELEVEL)};

# A fresh copy, in which all is built, and the client of sample3 sleeps so long.
sub fresh_copy ($seconds) {
    my $place = place();
    system('cp', '-a', "$root/Makefile", $place) == 0 or die 'cp';
    sample3_sleeps($seconds);
}

# The heads and the verdicts of the drawings in OUT.
sub drawn ($out) {
    return join ' ', $out =~ /^(sample\d(?= )|  \w+ \w+(?=.* TIME-WAIT: ))/mg;
}
my $first_two = 'sample1   client closed sample2   server reset';
my $all = "$first_two sample3   server reset";

subtest 'make demo builds, records and draws the three samples' => sub {
    fresh_copy(0);
    unlink 'sample2/client' or die;
    my ($status, $out, $err) = run('make', 'demo');
    is($status, 0, 'it succeeds') or diag($err);
    is(drawn($out), $all, 'three verdicts');
    is(join(' ', glob 'captures/*.pcap'), join(' ', map { "captures/sample$_.pcap" } 1 .. 3),
        'three recordings');
    unlike($out, qr/On lo/, 'in a private network');
};

subtest 'where there is no private network make demo is done on lo' => sub {
    plan(skip_all => 'not root') if $> != 0;
    fresh_copy(0);
    local $ENV{PATH} = hiding(unshare => "echo 'unshare: refused' >&2\nexit 1");
    my ($status, $out, $err) = run('make', 'demo');
    is($status, 0, 'it succeeds') or diag($err);
    like($out, qr/^On lo, without a private network/, 'it says so');
    is(drawn($out), $all, 'three verdicts');
};

subtest 'make demo fails if a sample fails' => sub {
    fresh_copy(0);
    instead_of('sample1/client', '"$0.real"; echo "it hurts" >&2; exit 1');
    my ($status, $out, $err) = run('make', 'demo');
    isnt($status, 0, 'the status, though there is a recording');
    like($err, qr/sample1 client: it hurts/, 'the reason');
    unlike($out, qr/^On lo/m, 'it is not begun anew outside the private network');
};

subtest 'Ctrl-C ends make demo, and leaves nothing' => sub {
    fresh_copy(9999);
    my $demo = start('setsid', 'make', 'demo');
    shows($demo, qr/sleeps for 3 s/);
    eventually(sub { slurp('captures/sample3.client.log') =~ / connect / });
    isnt(ended(ctrl_c($demo)), 0, 'it is no success');
    is(drawn(slurp($demo->{out})), $first_two, 'sample3 is not drawn');
    like(slurp($demo->{err}), qr/not a complete recording: interrupted/, 'it was interrupted');
    is(left_behind(), '', 'nothing is left behind');
};
done_testing;
