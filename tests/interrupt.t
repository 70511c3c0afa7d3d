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
my $capture = 'scripts/capture.sh';
my $header = 24;    # bytes of a pcap file without packets

sub any (@things) {
    return $things[rand @things];
}

# The names x* are free again, but for an older recording.
sub older_recording () {
    unlink glob 'x*';
    save('x.pcap', 'older');
}

# '' if the older recording is somewhere, else what is wrong.
sub older_lost () {
    return (grep { slurp($_) eq 'older' } 'x.pcap', 'x.1.pcap') == 1 ? '' : 'the older one is lost';
}

# Starts capture.sh by hand and has it record sample2's conversation. REDIRECTION is the shell's.
sub has_recorded ($redirection = '') {
    my $process = start('setsid', 'sh', '-c', "exec $capture -w x.pcap sample2 $redirection");
    shows($process, qr/ready: /, 'err');
    converse(2);
    eventually(sub { recorded('x.pcap') eq $wire{2} });
    return $process;
}

# What is wrong with the end of PROCESS, which may have recorded the conversation WIRE, or SURELY
# has; '' if nothing is.
sub wrong_end ($process, $wire, $surely) {
    my $status = ended($process);
    my $size = -s 'x.pcap' // 0;
    my $whole = $size > $header && recorded('x.pcap') eq $wire;
    my @wrong = grep { $_ } left_behind(), older_lost();
    push @wrong, 'falsely complete' if $status eq '0' && !$whole;
    push @wrong, 'lost' if $surely && !$whole;
    push @wrong, 'called incomplete' if $surely && $status ne '0';
    my $is_new = -e 'x.pcap' && slurp('x.pcap') ne 'older';
    push @wrong, 'an empty recording' if $is_new && $size <= $header;
    push @wrong, slurp($process->{err}) if @wrong;
    return join ', ', @wrong;
}

subtest "signals at random moments (SEED=$seed)" => sub {
    for (1 .. $moments) {
        older_recording();
        my $n = any(1, 2, 3);
        my $by_hand = rand() < 0.4;
        my $redirection = any('', '>/dev/full', $by_hand ? '' : '2>/dev/full');
        my $name = $by_hand ? "by hand $redirection" : "--run sample$n $redirection";
        my $process = $by_hand
            ? has_recorded($redirection)
            : start('setsid', 'sh', '-c', "exec $capture -w x.pcap $name");
        eventually(sub { kill 0, -$process->{pid} });    # setsid has made it a group
        for my $i (1 .. any(1, 2, 3)) {
            my $after = rand($by_hand || $i > 1 ? 0.1 : 1);
            my $signal = any(qw(INT INT TERM HUP QUIT PIPE));
            my $to = any(1, -1);
            sleep $after;
            kill $signal, $to * $process->{pid} if !Lab::over($process);
            $name .= sprintf '; %.3f s, SIG%s%s', $after, $signal, $to < 0 ? ' to all' : '';
        }
        is(wrong_end($process, $wire{ $by_hand ? 2 : $n }, $by_hand), '', $name);
    }
};

subtest 'Ctrl-C again and again does not lose what the first one has ended' => sub {
    older_recording();
    my $process = has_recorded();
    until (Lab::over($process)) {
        ctrl_c($process);
        sleep 0.001;    # between two of them
    }
    is(wrong_end($process, $wire{2}, 1), '', 'it is whole');
};

subtest 'each signal ends a recording by hand, and it is whole' => sub {
    for my $signal (qw(INT TERM HUP QUIT PIPE)) {
        older_recording();
        is(wrong_end(ctrl_c(has_recorded(), $signal), $wire{2}, 1), '', $signal);
    }
};

subtest 'no signal for its process group reaches the check' => sub {
    older_recording();
    rename 'scripts/ladder.sh', 'scripts/ladder.real' or die;
    my $hears = '$SIG{INT} = sub { open my $file, ">", "heard" };
        open my $file, ">", "checks";
        sleep 1';
    save('scripts/ladder.sh',
        "#!/bin/sh\nperl -e '$hears'\nexec scripts/ladder.real \"\$@\"\n");
    my $process = ctrl_c(has_recorded());
    eventually(sub { -e 'checks' });
    ctrl_c($process);
    is(wrong_end($process, $wire{2}, 1), '', 'it ends well');
    ok(!-e 'heard', 'the ladder has heard nothing');
    rename 'scripts/ladder.real', 'scripts/ladder.sh' or die;
};

subtest 'Ctrl-C before it is ready ends it, and it says so' => sub {
    older_recording();
    local $ENV{PATH} = hiding(tcpdump => 'case "$*" in *" -w "*) : >begun; exec sleep 600 ;; esac');
    my $process = start('setsid', $capture, '-w', 'x.pcap', 'sample2');
    eventually(sub { -e 'begun' });
    is(result(ctrl_c($process)), "1 capture.sh: interrupted before it was ready\n", 'in one line');
    is(left_behind() . older_lost(), '', 'nothing is left behind, or lost');
    ok(!-e 'x.pcap', 'the empty recording is removed');
};

subtest 'Ctrl-C while a client sleeps ends it at once' => sub {
    older_recording();
    sample3_sleeps(600);
    my $process = start('setsid', $capture, '--run', '-w', 'x.pcap', 'sample3');
    shows($process, qr/\[R/);
    my $pressed = time;
    like(result(ctrl_c($process)),
        qr/^1 .*: not a complete recording: interrupted \(8 packets, .*, kept as x\.pcap\)/,
        'it says so');
    cmp_ok(time - $pressed, '<', $Lab::patience / 4, 'though the client would sleep on');
    is(left_behind(), '', 'nothing is left behind');
};

subtest 'a terminal that closes ends it' => sub {
    need('script');
    my @terminal = ('script', '-qec', "$capture -w x.pcap sample2", '/dev/null');
    for my $after (0.05, 0.2, 0.5) {
        older_recording();
        my $terminal = start(@terminal);
        sleep $after;
        stop($terminal, 'KILL');
        is(left_behind() . older_lost(), '', "after $after s");
    }
    older_recording();
    my $terminal = start(@terminal);
    eventually(sub { (-s 'x.pcap' // 0) == $header });
    converse(2);
    eventually(sub { recorded('x.pcap') eq $wire{2} });
    stop($terminal, 'KILL');
    is(left_behind() . older_lost(), '', 'after a conversation');
    is(recorded('x.pcap'), $wire{2}, 'which is recorded');
};

subtest 'a reader that leaves ends nothing too early' => sub {
    older_recording();
    my ($status, $out) = run('sh', '-c', "$capture --run -w x.pcap sample1 2>&1 | head -n 1");
    like($out, qr/ Flags \[S\]/, 'it has read a line');
    is(left_behind() . older_lost(), '', 'nothing is left behind');
    is(recorded('x.pcap'), $wire{1}, 'the conversation is recorded');
};
done_testing;
