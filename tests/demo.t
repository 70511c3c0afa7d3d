#!/usr/bin/perl
# make demo, in a fresh copy: in a private network, and on lo where none is to be had. (With a sudo
# that asks for a password: sudo.t.)
use v5.36;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Capture;

need('tcpdump', 'make');
enter_lab();    # so that lo is not this machine's
delete @ENV{qw(MAKEFLAGS MFLAGS MAKELEVEL)};
# A fresh copy, in which all is built.
sub fresh_copy () {
    my $place = place();
    system('cp', '-a', "$root/Makefile", $place) == 0 or die 'cp';
}

# The heads and the verdicts of the drawings in OUT.
sub drawn ($out) {
    return join ' ', $out =~ /^(sample\d(?= )|  \w+ \w+(?=.* TIME-WAIT: ))/mg;
}
my $all = 'sample1   client closed sample2   server reset sample3   server reset';

subtest 'make demo builds, records and draws the three samples, one after the other' => sub {
    fresh_copy();
    unlink 'sample2/client' or die;
    my $demo = start('make', 'demo');
    ok(shows($demo, qr/sleeps for 3 s/), 'it says what it waits for');
    is(drawn(slurp($demo->{out})), $all =~ s/ sample3.*//r,
        'while it waits, samples 1 and 2 are drawn');
    is(ended($demo), 0, 'it succeeds') or diag(slurp($demo->{err}));
    my $out = slurp($demo->{out});
    is(drawn($out), $all, 'three verdicts');
    is(() = slurp($demo->{err}) =~ /kept as captures\/sample\d\.pcap/g, 3,
        'it says where recordings lie');
    unlike($out, qr/On lo/, 'in a private network');
    is(left_behind(), '', 'nothing is left behind');
};

subtest 'where there is no private network it is done on lo, and it says so' => sub {
    plan(skip_all => 'not root') if $> != 0;
    fresh_copy();
    sample3_sleeps(0);
    local $ENV{PATH} = hiding(unshare => "echo 'unshare: refused' >&2\nexit 1");
    my ($status, $out, $err) = run('make', 'demo');
    is($status, 0, 'it succeeds') or diag($err);
    like($err, qr/^lab\.sh: .*: unshare: refused /m, 'the reason');
    like($out, qr/^On lo, without a private network/m, 'it says so');
    is(drawn($out), $all, 'three verdicts');
    is(left_behind(), '', 'nothing is left behind');
};

subtest 'make demo fails when a sample fails, and draws no older recording' => sub {
    fresh_copy();
    mkdir 'captures' or die;
    system('cp', "$root/tests/reference/sample2.pcap", 'captures') == 0 or die 'cp';
    rename 'sample2/client', 'sample2/client.real' or die;
    save('sample2/client', "#!/bin/sh\n\"\$0.real\"\necho 'it hurts' >&2\nexit 1\n");
    my ($status, $out, $err) = run('make', 'demo');
    isnt($status, 0, 'the status, though there is a recording');
    like($err, qr/sample2 client: it hurts/, 'the reason');
    is(drawn($out), $all =~ s/ sample2.*//r, 'what was before is drawn');
    unlike($out, qr/^On lo/m, 'it is not begun anew outside the private network');
    is(left_behind(), '', 'nothing is left behind');
};

subtest 'Ctrl-C ends make demo at once' => sub {
    fresh_copy();
    sample3_sleeps(600);
    my $demo = start('setsid', 'make', 'demo');
    shows($demo, qr/sleeps for 3 s/);
    eventually(sub { slurp('captures/sample3.client.log') =~ / connect / });
    my $pressed = time;
    isnt(ended(ctrl_c($demo)), 0, 'it has a status that is not 0');
    cmp_ok(time - $pressed, '<', $Lab::patience / 4, 'though the client would sleep on');
    is(drawn(slurp($demo->{out})), $all =~ s/ sample3.*//r, 'sample3 is not drawn');
    like(slurp($demo->{err}), qr/not a complete recording: interrupted/, 'it was interrupted');
    is(left_behind(), '', 'nothing is left behind');
};
done_testing;
