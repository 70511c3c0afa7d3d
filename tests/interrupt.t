#!/usr/bin/perl
# capture.sh, ended at any moment by any signal, also by two, by a terminal or a reader that leaves:
# nothing keeps running, no recording is lost, and none is called whole that is not.
# MOMENTS=500 for more than the few of every day; SEED=1 repeats them.
use v5.36;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Capture;

my $moments = $ENV{MOMENTS} // 6;
my $seed = $ENV{SEED} // $$;
alarm 600 + 20 * $moments;
need('tcpdump');
enter_lab();
srand $seed;
place();

sub any (@things) {
    return $things[rand @things];
}

# The names x* are free again, but for an older recording.
sub older_recording () {
    unlink glob 'x*';
    save('x.pcap', 'older');
}

# What is wrong after an end; '' if nothing is.
sub harm () {
    my @harm = left_behind() || ();
    my $is_new = -e 'x.1.pcap';
    my $older = $is_new ? 'x.1.pcap' : 'x.pcap';
    push @harm, 'the older one is lost' if slurp($older) ne 'older';
    my $is_empty = -e 'x.pcap' && (-s 'x.pcap') <= 24;    # with a header, or without
    push @harm, 'an empty recording' if $is_new && $is_empty;
    return join ', ', @harm;
}

# The same of PROCESS, which may have recorded the conversation of sampleN, or SURELY has.
sub harm_of ($process, $n, $surely) {
    my $is_complete = ended($process) eq '0';
    my $is_whole = -e 'x.pcap' && recorded('x.pcap') eq $wire{$n};
    my @harm = harm() || ();
    push @harm, 'falsely complete' if $is_complete && !$is_whole;
    push @harm, 'lost' if $surely && !$is_whole;
    push @harm, 'falsely incomplete' if $surely && !$is_complete;
    push @harm, slurp($process->{err}) if @harm;
    return join ', ', @harm;
}

subtest "signals at random moments (SEED=$seed)" => sub {
    for (1 .. $moments) {
        older_recording();
        my $by_hand = rand() < 0.4;
        my $n = $by_hand ? 2 : any(1, 2, 3);
        my $name = $by_hand ? 'by hand' : "--run sample$n";
        my $process = $by_hand
            ? has_recorded(2, '-w', 'x.pcap', 'sample2')
            : start('setsid', $capture, '-w', 'x.pcap', '--run', "sample$n");
        eventually(sub { kill 0, -$process->{pid} });    # setsid has made it a group
        for my $i (1 .. any(1, 2, 3)) {
            my $after = rand($by_hand || $i > 1 ? 0.1 : 1);
            my $signal = any(qw(INT INT TERM HUP QUIT PIPE));
            my $to = any(1, -1);
            sleep $after;    # the moment
            kill $signal, $to * $process->{pid} if !Lab::over($process);
            $name .= sprintf '; %.3f s, SIG%s%s', $after, $signal, $to < 0 ? ' to all' : '';
        }
        is(harm_of($process, $n, $by_hand), '', $name);
    }
};

subtest 'each signal ends it, also again and again, and what is recorded is whole' => sub {
    for my $signal (qw(INT TERM HUP QUIT PIPE)) {
        older_recording();
        my $process = has_recorded(2, '-w', 'x.pcap', 'sample2');
        until (Lab::over($process)) {
            ctrl_c($process, $signal);
            sleep 0.001;    # between two of them
        }
        is(harm_of($process, 2, 1), '', $signal);
    }
};

subtest 'Ctrl-C before it is ready is told, and leaves nothing' => sub {
    older_recording();
    local $ENV{PATH} = hiding(tcpdump => 'case "$*" in *" -w "*) : >begun; exec sleep 600 ;; esac');
    my $process = start('setsid', $capture, '-w', 'x.pcap', 'sample2');
    eventually(sub { -e 'begun' });
    is(result(ctrl_c($process)), "1 capture.sh: interrupted before it was ready\n", 'its line');
    is(harm(), '', 'nothing is left behind, or lost');
};

subtest 'Ctrl-C while a client sleeps is told, and what is recorded is kept' => sub {
    older_recording();
    sample3_sleeps(9999);
    my $process = start('setsid', $capture, '--run', '-w', 'x.pcap', 'sample3');
    sees($process, 8);
    like(incomplete(ctrl_c($process)), qr/^interrupted \(8 packets, .*, kept as x\.pcap\)/,
        'its line');
    is(harm(), '', 'nothing is left behind, or lost');
};

subtest 'a terminal that closes ends it, and what is recorded is kept' => sub {
    need('script');
    older_recording();
    my $terminal = start('script', '-qec', "$capture -w x.pcap sample2", '/dev/null');
    shows($terminal, qr/ ready: /);
    converse(2);
    eventually(sub { recorded('x.pcap') eq $wire{2} });
    stop($terminal, 'KILL');
    is(harm(), '', 'nothing is left behind, or lost');
    is(recorded('x.pcap'), $wire{2}, 'the conversation is recorded');
};

subtest 'a reader that leaves ends nothing too early' => sub {
    older_recording();
    my ($status, $out) = run('sh', '-c', "$capture --run -w x.pcap sample1 2>&1 | head -n 1");
    like($out, qr/ Flags \[S\]/, 'it has read a line');
    is(harm(), '', 'nothing is left behind, or lost');
    is(recorded('x.pcap'), $wire{1}, 'the conversation is recorded');
};
done_testing;
