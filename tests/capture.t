#!/usr/bin/perl
# scripts/capture.sh: what it records, under which name, what it refuses, and what it does not call
# a complete recording. (Signals, closed terminals and readers that leave: interrupt.t. Its way
# through sudo: sudo.t.)
use v5.36;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Capture;
use Fcntl 'F_SETFD';

need('tcpdump');
enter_lab();
delete $ENV{SUDO_UID};
my $capture = 'scripts/capture.sh';
my $tcpdump = which('tcpdump');
my $tail = which('gnutail') // which('tail');

# What hides tcpdump: the recorder's pid goes to the file "pid", its arguments to "arguments".
my $note_recorder = <<"END";
case "\$*" in
*' -w '*) echo \$\$ >pid; echo "\$*" >arguments ;;
esac
exec $tcpdump "\$@"
END

# What hides tcpdump: what the recorder says goes through the Perl SCRIPT, line by line.
sub rewriting ($script) {
    return <<"END";
case "\$*" in
*' -w '*) exec perl -e '
    pipe my \$from, my \$to;
    if (!fork) {
        \$SIG{TERM} = \$SIG{USR1} = q(IGNORE);
        close \$to;
        while (<\$from>) { $script; print STDERR; }
        exit;
    }
    open STDERR, q(>&), \$to;
    exec q($tcpdump), \@ARGV' -- "\$@" ;;
esac
exec $tcpdump "\$@"
END
}

sub mode ($file) {
    return sprintf '%o', (stat $file)[2] & 0777;
}

# So many clients of sample2, one after the other, without a pause.
sub many_conversations ($count) {
    run(pinned($^X, '-MIO::Socket::INET', '-e', 'for (1 .. shift) {
        my $client = IO::Socket::INET->new("127.0.0.1:8082") or die;
        syswrite $client, "ABCD";
        1 while sysread $client, my $data, 9 }', $count));
}

# Puts SCRIPT in the place of a program, which is NAME.real then.
sub instead_of ($name, $script) {
    rename $name, "$name.real" or die "$name: $!";
    save($name, "#!/bin/sh\n$script\n");
}

# In the copy waits have a limit of 1 s, whatever they say.
sub short_waits () {
    save($capture, slurp($capture) =~ s/\bawait \d+/await 1/gr);
}

sub listener ($port) {
    return IO::Socket::INET->new(LocalAddr => "127.0.0.1:$port", Listen => 9, ReuseAddr => 1)
        // die "listen: $@";
}

# ---- what it records ----------------------------------------------------------------------------

for my $n (1, 2) {
    subtest "--run records the conversation of sample$n" => sub {
        place();
        my ($status, $out, $err) = run($capture, '--run', "sample$n/");
        my @sent = split ' ', $wire{$n};
        is("$status $err", kept(scalar @sent, 1, "captures/sample$n.pcap"),
            'one line says what it has');
        is(recorded("captures/sample$n.pcap"), $wire{$n}, 'the conversation is whole');
        is(() = $out =~ /^\d\d:\d\d:\d\d\.\d{6} IP .*Flags/mg, scalar @sent,
            'its packets are printed');
        is(mode("captures/sample$n.pcap"), 600, 'it is for nobody else to read');
        for my $role (qw(server client)) {
            my $log = "captures/sample$n.$role.log";
            like(slurp($log), qr/^[\d:.]+ $role .*\n(?:.*\n)*.* $role close\n\z/,
                "the lines of the $role");
            is(mode($log), 600, '... are for nobody else to read');
        }
        is(left_behind(), '', 'nothing is left behind');
    };
}

subtest '--run all records every sample, also a new one: a sample4 is a directory' => sub {
    place(1, 2);
    system('cp', '-R', 'sample1', 'sample4') == 0 or die 'cp';
    for my $role (qw(server client)) {
        my $source = slurp("sample4/$role.c") =~ s/8081/8084/gr;
        run('cc', '-o', "sample4/$role", save("sample4/$role.c", $source));
    }
    is(result(start($capture, '--run', 'all')), kept(30, 3, 'captures/all.pcap'),
        'three conversations');
    is(recorded('captures/all.pcap'), join(' | ', @wire{1, 2, 1}), 'each is whole, in their order');
    is(join(' ', map { /all\.(.*)\.log/ } glob 'captures/all.*.log'),
        join(' ', map { ("sample$_.client", "sample$_.server") } 1, 2, 4),
        'with the lines of all six');
};

subtest 'by hand it prints while it records, until Ctrl-C, into FILE of where one stands' => sub {
    my $place = place();
    mkdir '../elsewhere' or die;
    chdir '../elsewhere' or die;
    my $process = start('setsid', "$place/$capture", '-w', 'my file.pcap', 'sample2');
    shows($process, qr/ends/, 'err');
    is(slurp($process->{err}), 'capture.sh: ready: start ./sample2/server, then '
        . "./sample2/client, in other terminals; Ctrl-C ends\n", 'it says what to do');
    chdir $place;
    converse(2);
    ok(shows($process, qr/\A(?:[\d:.]+ IP .*\n){8}\z/), 'packets are printed while it records');
    my $kept = kept(8, 1, 'my file.pcap') =~ s/next: /next: $place\//r;
    is(result(ctrl_c($process)), $kept, 'Ctrl-C ends it');
    is(recorded('../elsewhere/my file.pcap'), $wire{2}, 'the conversation is recorded');
    is(left_behind(), '', 'nothing is left behind');
};

subtest 'without a word all samples are recorded, by hand' => sub {
    place();
    my $process = by_hand();
    converse(1);
    converse(2);
    shows($process, qr/\A(?:.*\n){19}\z/);
    is(result(ctrl_c($process)), kept(19, 2, 'captures/all.pcap'), 'both conversations');
};

subtest '300 conversations without a pause lose nothing' => sub {
    place();
    my $process = by_hand('sample2');
    my $server = serve(pinned('sample2/server'));
    many_conversations(300);
    eventually(sub { 300 == (() = slurp($process->{out}) =~ /\[R\.\]/g) });
    stop($server);
    is(result(ctrl_c($process)), kept(2400, 300, 'captures/sample2.pcap'), 'all are whole');
};

subtest "tcpdump's options are for what is printed, not for what is recorded" => sub {
    place();
    local $ENV{PATH} = hiding(tcpdump => $note_recorder);
    my $process = start($capture, '--run', 'sample1', '--', '-c', 3, '-tttt', '-#SqnN');
    is(result($process), kept(11, 1, 'captures/sample1.pcap'), 'all is recorded');
    like(slurp($process->{out}), qr/\A( +\d  20\d\d-\d\d-\d\d \S+ IP .*\n){3}\z/,
        'three are printed');
    my $arguments = slurp('arguments');
    for my $option ('--immediate-mode', '-U', '-s 256', '-B \d{5}', '-w -') {
        like($arguments, qr/ $option( |$)/m, "it captures with $option");
    }
    unlike($arguments, qr/-Z/, 'without sudo it stays who it is');
};

subtest 'a reader that does not read, or has read enough, takes nothing from the recording' => sub {
    place();
    pipe my $from, my $full or die "pipe: $!";    # nobody reads from it
    fcntl $full, F_SETFD, 0;
    my $to_pipe = "exec setsid $capture -w many.pcap sample2 >&\"\$0\"";
    my $process = start('bash', '-c', $to_pipe, fileno $full);
    shows($process, qr/ ready: /, 'err');
    my $server = serve(pinned('sample2/server'));
    many_conversations(100);    # 800 lines are more than fits into the pipes
    eventually(sub { 100 == (() = recorded('many.pcap') =~ /<R\./g) });
    stop($server);
    is(result(ctrl_c($process)), kept(800, 100, 'many.pcap'), 'one that does not read');
    $process = by_hand('sample2', '--', '-c', 1);
    for my $n (1, 2) {
        converse(2);
        eventually(sub { recorded('captures/sample2.pcap') eq join ' | ', ($wire{2}) x $n });
    }
    is(result(ctrl_c($process)), kept(16, 2, 'captures/sample2.pcap'), 'one that has read one');
    is(left_behind(), '', 'nothing is left behind');
};

subtest 'the programs are on one CPU, where lo cannot swap packets' => sub {
    place();
    for my $role (qw(server client)) {
        instead_of("sample2/$role", "grep Cpus_allowed_list /proc/self/status >&2
            exec \"\$0.real\"");
    }
    my ($last) = slurp('/proc/self/status') =~ /^Cpus_allowed_list:.*?(\d+)$/m;
    for my $allowed ([], ['taskset', '-c', $last]) {
        my (undef, undef, $err) = run(@$allowed, $capture, '--run', 'sample2');
        my ($server, $client) = $err =~ /Cpus_allowed_list:\s+(\d+)$/mg;
        $server = $last if @$allowed;
        is($client // 'none', $server // 'one', "both are on the same one: @$allowed");
    }
};

subtest "GNU's tail is taken where it is called gnutail" => sub {
    place();
    local $ENV{PATH} = hiding(gnutail => "exec $tail \"\$@\"", tail => 'exit 1');
    my (undef, $out) = run($capture, '--run', 'sample1');
    is(() = $out =~ /Flags/g, 11, 'all packets are printed');
};

# ---- under which name ---------------------------------------------------------------------------

subtest 'what has the name is kept aside with all its logs, also if the new one fails' => sub {
    place();
    mkdir 'captures' or die;
    my @names = qw(x.pcap x.server.log x.client.log x.sample1.server.log x.sample9.client.log);
    for my $name (@names) {
        save("captures/$name", "this was $name");
    }
    save('captures/x.1.sample2.server.log', 'a number that is taken');
    run($capture, '--run', '-w', 'captures/x.pcap', 'sample1');
    for my $name (@names) {
        is(slurp("captures/$name" =~ s/\/x/\/x.2/r), "this was $name", "$name is kept");
    }
    is(recorded('captures/x.pcap'), $wire{1}, 'the new one has the name');
    my $busy = listener(8082);
    like(said($capture, '--run', '-w', 'captures/x.pcap', 'sample2'),
        qr/^1 .*: sample2 server: bind .* in use\n.*: not .*: sample2 server has ended \(nothing /,
        'the next one fails, and says why');
    is(recorded('captures/x.3.pcap'), $wire{1}, 'the one before is kept');
    like(slurp('captures/x.3.server.log'), qr/8081/, '... with its log');
    is(join(' ', glob 'captures/x.[a-z]*'), '', 'nothing has the name now');
    isnt((run('scripts/ladder.sh', 'captures/x.pcap'))[0], 0, 'so no older one is drawn');
};

subtest 'a FILE that is being recorded is refused, and goes on' => sub {
    place();
    my $process = by_hand('-w', 'x.pcap', 'sample1');
    is(said($capture, '--run', '-w', 'x.pcap', 'sample2'), '1 capture.sh: x.pcap: is being '
        . "recorded just now (-w FILE names another)\n", 'in one line');
    converse(1);
    shows($process, qr/\A(?:.*\n){11}\z/);
    is(result(ctrl_c($process)), kept(11, 1, 'x.pcap'), 'the other recording is whole');
    is(join(' ', glob '*.pcap'), 'x.pcap', 'there is no other');
};

subtest 'a name without .pcap is as good' => sub {
    place();
    for my $n (1, 2) {
        is(result(start($capture, '--run', '-w', 'rec', 'sample1')), kept(11, 1, 'rec'),
            "recording $n");
    }
    is(recorded('rec', 'rec.1'), "$wire{1} | $wire{1}", 'each is kept');
};

subtest 'what it refuses is said in one line, and nothing is recorded' => sub {
    place();
    my $usage = qr/\(usage: scripts\/capture\.sh .*\)/;
    my $printing = qr/after -- may stand -A -e .* and -c N $usage/;
    my $long = ('x' x 246) . '.pcap';
    mkdir 'directory.pcap' or die;
    for (
        [2, qr/sample4: unknown sample $usage/, 'sample4'],
        [2, qr/sample2: one sample, or all $usage/, 'sample1', 'sample2'],
        [2, qr/-X: unknown option; tcpdump's come after -- $usage/, '-X', 'sample1'],
        [2, qr/-w: no FILE $usage/, '-w'],
        [2, qr/-w: no FILE $usage/, '-w', '--run', 'sample1'],
        [2, qr/-w sample1\.pcap: $printing/, 'sample1', '--', '-w', 'sample1.pcap'],
        [2, qr/-nnwX: $printing/, 'sample1', '--', '-nnwX'],
        [2, qr/-v -r fifo: $printing/, 'sample1', '--', '-v', '-r', 'fifo'],
        [2, qr/--number: $printing/, 'sample1', '--', '--number'],
        [2, qr/-c -v: $printing/, 'sample1', '--', '-c', '-v'],
        [2, qr/port 80: $printing/, 'sample1', '--', 'port 80'],
        [1, qr/none\/x.pcap: cannot be made \(.+\)/, '-w', 'none/x.pcap', 'sample1'],
        [1, qr/x+\.server\.log: cannot be made \(.+\)/, '--run', '-w', $long, 'sample1'],
        [1, qr/directory\.pcap: not a file .*/, '-w', 'directory.pcap', 'sample1'],
    ) {
        my ($status, $reason, @arguments) = @$_;
        like(said($capture, @arguments), qr/^$status capture\.sh: $reason\n\z/, "@arguments");
    }
    unlink 'sample1/server' or die;
    is(said($capture, '--run', 'sample1'), "1 capture.sh: sample1: not built (run make first)\n",
        'not built');
    is(join(' ', glob 'captures/* *.pcap *.log'), 'directory.pcap', 'there is no recording');
    is(left_behind(), '', 'nothing is left behind');
};

subtest '--help is the usage, on stdout' => sub {
    place();
    my ($status, $out, $err) = run($capture, '--help');
    is("$status $err", '0 ', 'without a complaint');
    like($out, qr/\Ausage: .*\n(?:.*\n)+Exit status: /, 'all of it');
};

# ---- what is not complete -----------------------------------------------------------------------

subtest 'a conversation that lacks its beginning or its end is told' => sub {
    place();
    my $listener = listener(8081);
    for my $lacks (qw(beginning end)) {
        my $process = $lacks eq 'end' && by_hand('-w', "$lacks.pcap", 'sample1');
        my $client = IO::Socket::INET->new('127.0.0.1:8081') or die "connect: $@";
        my $server = $listener->accept;
        $process ||= by_hand('-w', "$lacks.pcap", 'sample1');
        syswrite $client, 'ABCD';
        sysread $server, my $data, 4;
        shows($process, qr/length 4\n.*length 0\n/);
        like(result(ctrl_c($process)),
            qr/^1 .*: not a complete .*: a conversation lacks .*, kept as $lacks\./, "the $lacks");
        ok(-s "$lacks.pcap" > 24, '... its packets are kept');
    }
};

subtest 'no packets make no recording' => sub {
    place();
    my $process = by_hand('sample1');
    save('captures/sample1.server.log', 'of the user');
    is(result(ctrl_c($process)),
        "1 capture.sh: not a complete recording: no packets came (nothing is kept)\n", 'by hand');
    is(join(' ', glob 'captures/*'), 'captures/sample1.server.log',
        'nothing is kept, and what the user has put there stays');
};

subtest 'packets that tcpdump sees late are waited for' => sub {
    place();
    instead_of('sample1/client', 'read -r pid <pid
        kill -STOP "$pid"
        "$0.real"
        (sleep 1.5; kill -CONT "$pid") >/dev/null 2>&1 &');
    local $ENV{PATH} = hiding(tcpdump => $note_recorder);
    is(result(start($capture, '--run', 'sample1')), kept(11, 1, 'captures/sample1.pcap'),
        'all eleven');
};

subtest 'packets that are on their way when Ctrl-C comes are waited for' => sub {
    place();
    my $sleep = which('sleep');
    local $ENV{PATH} = hiding(
        tcpdump => $note_recorder,
        sleep   => "[ \$1 != 0.2 ] || kill -CONT \$(cat pid)\nexec $sleep \$1",
    );
    my $process = by_hand('sample2');
    isnt(getpgrp(slurp('pid')), $process->{pid}, 'Ctrl-C does not reach the recorder');
    kill 'STOP', slurp('pid');
    converse(2);
    is(result(ctrl_c($process)), kept(8, 1, 'captures/sample2.pcap'), 'all eight are read');
};

subtest 'packets of others, from before the recorder has its filter, do not count' => sub {
    place();
    local $ENV{PATH} = hiding(tcpdump =>
        rewriting('s/(\d+)( packets? received)/(7 + $1) . $2/e'));
    my $process = by_hand('sample2');
    converse(2);
    shows($process, qr/\A(?:.*\n){8}\z/);
    is(result(ctrl_c($process)), kept(8, 1, 'captures/sample2.pcap'), 'the recording is complete');
};

subtest 'packets that tcpdump has not read when it ends are told, though all else is whole' => sub {
    place();
    local $ENV{PATH} = hiding(tcpdump => $note_recorder);
    my $process = by_hand('sample2');
    converse(2);
    shows($process, qr/\A(?:.*\n){8}\z/);
    kill 'STOP', slurp('pid');
    converse(2);
    ctrl_c($process);
    eventually(sub { slurp('/proc/' . (slurp('pid') + 0) . '/status') =~ /ShdPnd:\s*0*4000/ });
    kill 'CONT', slurp('pid');
    is(result($process), '1 capture.sh: not a complete recording: 8 packets are missing '
        . '(the disk is full, see df, or Ctrl-C came too soon) (8 packets, 1 conversation, '
        . "0 dropped, kept as captures/sample2.pcap)\n", 'eight');
};

subtest 'a full disk is named' => sub {
    place();
    need('prlimit');
    short_waits();
    local $SIG{XFSZ} = 'IGNORE';    # so that write() fails, as on a full disk
    my $process = start('prlimit', '--fsize=300', $capture, '--run', 'sample2');
    like(result($process), qr/^1 .*: not a .*: \d packets are missing \(the disk is full, /,
        'the packets that have no room, and where to look');
};

subtest 'packets that the kernel dropped are told' => sub {
    place();
    local $ENV{PATH} = hiding(tcpdump => rewriting('s/^0( packets dropped)/3$1/'));
    like(result(start($capture, '--run', 'sample1')),
        qr/^1 .*: not a .*: 3 packets were dropped by the kernel \(11 packets, .* 3 dropped, /,
        'three');
};

subtest 'a tcpdump that has ended by itself is told, though all it saw is whole' => sub {
    place();
    local $ENV{PATH} = hiding(tcpdump => $note_recorder);
    for my $signal (qw(TERM KILL)) {
        my $process = by_hand('sample1');
        converse(1);
        shows($process, qr/\A(?:.*\n){11}\z/);
        kill $signal, slurp('pid');
        like(result($process),
            qr/^1 .*: not a complete .*: tcpdump has ended by itself: .+, kept as /, $signal);
        is(recorded('captures/sample1.pcap'), $wire{1}, '... what it had seen is kept');
    }
};

subtest 'a tcpdump that cannot begin is told in its words' => sub {
    place();
    local $ENV{PATH} = hiding(
        tcpdump => 'case "$*" in *-L) exit ;; esac; echo "tcpdump: not today" >&2; exit 3');
    is(said($capture, '--run', 'sample1'),
        "1 capture.sh: tcpdump has not begun, status 3: tcpdump: not today\n", 'and its status');
    is(left_behind() . join(' ', glob 'captures/*'), '', 'nothing is left behind');
};

subtest 'a tcpdump that does not end is not waited for' => sub {
    place();
    short_waits();
    local $ENV{PATH} = hiding(tcpdump => $note_recorder);
    my $process = by_hand('sample1');
    kill 'STOP', slurp('pid');
    like(result(ctrl_c($process)), qr/^1 .*: not a .*: tcpdump has failed, status 137: /, 'killed');
    is(left_behind(), '', 'nothing is left behind');
};

subtest 'a client or server that failed: its words or its status, and what is recorded' => sub {
    place();
    instead_of('sample1/client', '"$0.real"; exit 3');
    instead_of('sample2/client', '"$0.real"; echo "it hurts" >&2; exit 7');
    instead_of('sample3/server', '"$0.real" &
        until grep -q " close$" captures/all.sample3.server.log; do sleep 0.05; done
        kill -KILL $! $$');
    sample3_sleeps(0);
    my ($status, undef, $err) = run($capture, '--run', 'all');
    is($err, "capture.sh: sample1 client: exit status 3\ncapture.sh: sample2 client: it hurts\n"
        . "capture.sh: sample3 server: exit status 137\n"
        . kept(27, 3, 'captures/all.pcap') =~ s/^0 //r, 'what they say');
    is($status, 1, 'the status');
};

subtest 'as many conversations as clients make a complete recording, not fewer or more' => sub {
    place(1, 2);
    short_waits();
    instead_of('sample2/client', 'exit 0');
    like(result(start($capture, '--run', 'all')),
        qr/^1 .*: not a .*: conversations should be 2 \(11 packets, 1 conversation, /, 'fewer');
    is(recorded('captures/all.pcap'), $wire{1}, '... what came is kept');
    save('sample2/client', "#!/bin/sh\n\"\$0.real\" && exec \"\$0.real\"\n");
    like(result(start($capture, '--run', 'sample2')),
        qr/^1 .*: not a .*: conversations should be 1 \(16 packets, 2 /, 'more');
};

subtest 'a program that does not go on is waited for, and not for ever' => sub {
    place(1, 2);
    short_waits();
    instead_of('sample1/server', 'exec perl -e "sleep 600"');
    instead_of('sample2/client', 'exec perl -e "sleep 600"');
    is(result(start($capture, '--run', 'sample1')), '1 capture.sh: not a complete recording: '
        . "sample1 server does not listen after 10 s (nothing is kept)\n", 'a server');
    is(result(start($capture, '--run', 'sample2')), '1 capture.sh: not a complete recording: '
        . "sample2 client has not ended after 60 s (nothing is kept)\n", 'a client');
    is(left_behind(), '', 'nothing is left behind');
};

subtest 'a check that fails is told, and the recording stays' => sub {
    place();
    save('scripts/ladder.sh', "#!/bin/sh\necho 'ladder.sh: cannot' >&2\nexit 1\n");
    my $process = by_hand('sample1');
    converse(1);
    shows($process, qr/\A(?:.*\n){11}\z/);
    like(result(ctrl_c($process)),
        qr/^1 .*: not a .*: it could not be checked: status 1, ladder.sh: cannot \(11 packets, /,
        'in its words');
    is(recorded('captures/sample1.pcap'), $wire{1}, 'it is whole');
};
done_testing;
