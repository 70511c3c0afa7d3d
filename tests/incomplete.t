#!/usr/bin/perl
# scripts/capture.sh: what it does not call a complete recording, and why.
use v5.36;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Capture;

need('tcpdump');
enter_lab();
my $tcpdump = which('tcpdump');

# The PATH with a tcpdump whose words go through the Perl SCRIPT, line by line, when it records.
sub rewriting ($script) {
    return hiding(tcpdump => <<"END");
case "\$*" in *' -w '*) ;; *) exec $tcpdump "\$@" ;; esac
exec perl -e '
    my \$pid = open my \$words, "-|", "exec $tcpdump \@ARGV 2>&1 >&9";
    \$SIG{TERM} = \$SIG{USR1} = sub { kill shift, \$pid };
    while (<\$words>) { $script; print STDERR }
' -- "\$@" 9>&1
END
}

subtest 'a conversation without its end is told' => sub {
    place();
    my $process = by_hand('sample1');
    my $server = IO::Socket::INET->new(LocalAddr => '127.0.0.1:8081', Listen => 1) or die;
    my $client = IO::Socket::INET->new('127.0.0.1:8081') or die;
    sees($process, 3);
    like(incomplete(ctrl_c($process)),
        qr/^a conversation lacks its beginning or its end \(3 packets, .*, kept as /, 'its reason');
};

subtest 'an empty recording is removed' => sub {
    place();
    my $process = by_hand('sample1');
    save('captures/sample1.server.log', 'of the user');
    is(incomplete(ctrl_c($process)), "no packets came (nothing is kept)\n", 'its reason');
    is(join(' ', glob 'captures/*'), 'captures/sample1.server.log', 'no log of the user is');
};

subtest 'packets that come late are waited for' => sub {
    place();
    instead_of('sample2/client', '(sleep 0.5; exec "$0.real") >/dev/null 2>&1 &');
    my $process = start($capture, '--run', 'sample2');
    is(complete($process), '8 packets, 1 conversation', 'the recording is complete');
};

subtest 'packets that tcpdump has not read when it ends are told' => sub {
    place();
    my $process = has_recorded(2, 'sample2');
    my $recorder = recorder();
    isnt(getpgrp $recorder, $process->{pid}, 'Ctrl-C does not reach it');
    kill 'STOP', $recorder;
    converse(2);
    ctrl_c($process);
    eventually(sub { slurp("/proc/$recorder/status") =~ /ShdPnd:\s*0*4000/ });    # SIGTERM
    kill 'CONT', $recorder;
    like(incomplete($process), qr/^8 packets are missing .* \(8 packets, 1 conversation, /,
        'though all else is whole');
};

subtest 'packets that the kernel dropped are told' => sub {
    place();
    local $ENV{PATH} = rewriting('s/^0( packets dropped)/3$1/');
    like(incomplete(start($capture, '--run', 'sample1')),
        qr/^3 packets were dropped by the kernel \(11 packets, .* 3 dropped, /, 'its reason');
};

subtest 'packets of others, from before tcpdump has its filter, do not count' => sub {
    place();
    local $ENV{PATH} = rewriting('s/(\d+)(?= packets? received)/7 + $1/e');
    my $process = has_recorded(2, 'sample2');
    is(complete(ctrl_c($process)), '8 packets, 1 conversation', 'the recording is complete');
};

subtest 'a full disk is named' => sub {
    place();
    impatient('asked_or all_seen');
    local $SIG{XFSZ} = 'IGNORE';    # so that write() fails, as on a full disk
    my $process = start('prlimit', '--fsize=300', $capture, '--run', 'sample2');
    like(incomplete($process), qr/^\d packets are missing \(the disk is full, /, 'its reason');
};

subtest 'a tcpdump that has ended by itself is told, though all it saw is whole' => sub {
    place();
    my $process = has_recorded(1, 'sample1');
    kill 'TERM', recorder();
    like(incomplete($process), qr/^tcpdump has ended by itself: .* \(11 packets, .*, kept as /,
        'its last words');
};

subtest 'a program that fails is told in its words, or with its status' => sub {
    place(1, 2);
    instead_of('sample1/client', '"$0.real"; exit 3');
    instead_of('sample2/client', '"$0.real"; echo "it hurts" >&2; exit 7');
    my ($status, undef, $err) = run($capture, '--run', 'all');
    like($err, qr/^capture\.sh: sample1 client: exit status 3$/m, 'its status');
    like($err, qr/^capture\.sh: sample2 client: it hurts$/m, 'its words');
    like($err, qr/^capture\.sh: 19 packets, .*, kept as captures\/all\.pcap/m, 'what is recorded');
    is($status, 1, 'it is no success');
};

subtest 'as many conversations as clients make a complete recording' => sub {
    place(1, 2);
    impatient('asked_or all_seen');
    instead_of('sample2/client', '');
    like(incomplete(start($capture, '--run')), qr/^conversations should be 2 \(11 packets, 1 /,
        'fewer do not');
    save('sample2/client', "#!/bin/sh\n\"\$0.real\" && exec \"\$0.real\"\n");
    like(incomplete(start($capture, '--run', 'sample2')),
        qr/^conversations should be 1 \(16 packets, 2 /, 'more do not');
};

subtest 'a program that does not go on is not waited for' => sub {
    place(1, 2);
    for my $wait ('asked_or listens', 'asked_or ended $!', 'ends_when_told') {
        impatient($wait);
    }
    instead_of('sample1/server', 'exec sleep 600');
    instead_of('sample2/client', 'exec sleep 600');
    is(incomplete(start($capture, '--run', 'sample1')),
        "sample1 server does not listen after 10 s (nothing is kept)\n", 'a server');
    is(incomplete(start($capture, '--run', 'sample2')),
        "sample2 client has not ended after 60 s (nothing is kept)\n", 'a client');
    my $process = by_hand('sample1');
    kill 'STOP', recorder();
    like(incomplete(ctrl_c($process)), qr/^tcpdump has failed, status 137: /, 'tcpdump');
    is(left_behind(), '', 'all are killed');
};

subtest 'a check that fails is told' => sub {
    place();
    save('scripts/ladder.sh', "#!/bin/sh\necho 'ladder.sh: cannot' >&2\nexit 1\n");
    like(incomplete(ctrl_c(has_recorded(1, 'sample1'))),
        qr/^it could not be checked: status 1, ladder.sh: cannot \(11 packets, /, 'in its words');
};
done_testing;
