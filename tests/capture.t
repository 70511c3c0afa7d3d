#!/usr/bin/perl
# scripts/capture.sh: what it records, under which name, and what it refuses. (Signals, closed
# terminals and readers that leave: interrupt.t. Its way through sudo: sudo.t.)
use v5.36;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Capture;
use Fcntl 'F_SETFD';

need(qw(tcpdump flock setpriv setsid taskset));
enter_lab();
delete @ENV{qw(SUDO_UID AWK)};
my $capture = 'scripts/capture.sh';
my $path = $ENV{PATH};

# Commands that hide the real ones, in DIR/bin, while the returned value lives.
sub hiding (%scripts) {
    my $bin = tempdir(CLEANUP => 1);
    shim($bin, $_, $scripts{$_}) for keys %scripts;
    return "$bin:$path";
}

# The PATH for a tee that does SCRIPT, whatever its name.
sub hiding_tee ($script, %others) {
    return hiding(tee => $script, gnutee => $script, %others);
}
my $tee = which('gnutee') // which('tee');

# A sleep that does not: limits are counted in looks.
my $no_sleep = 'exit 0';
my $tcpdump = which('tcpdump');
my $usage = qr/\(usage: scripts\/capture\.sh .*\)/;

sub listener ($port) {
    return IO::Socket::INET->new(LocalAddr => "127.0.0.1:$port", Listen => 9, ReuseAddr => 1)
        // die "listen: $@";
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
        for my $role (qw(server client)) {
            my $log = "captures/sample$n.$role.log";
            like(slurp($log), qr/^[\d:.]+ $role .*\n(?:.*\n)*.* $role close\n\z/,
                "$role: its lines");
            is(mode($log), 600, "$role: for nobody else to read");
        }
        is(mode("captures/sample$n.pcap"), 600, 'for nobody else to read');
        is(left_behind(), '', 'nothing is left behind');
    };
}

subtest '--run all records every sample' => sub {
    place();
    awake();
    is(result(start($capture, '--run', 'all')), kept(27, 3, 'captures/all.pcap'),
        'three conversations');
    is(recorded('captures/all.pcap'), join(' | ', @wire{1 .. 3}), 'each is whole, in their order');
    is(join(' ', map { /all\.(.*)\.log/ } glob 'captures/all.*.log'),
        join(' ', map { ("sample$_.client", "sample$_.server") } 1 .. 3),
        'with the lines of all six');
};

subtest 'a sample4 is a directory, and nothing else' => sub {
    plan(skip_all => 'no cc') if !which('cc');
    place(1);
    system('cp', '-R', 'sample1', 'sample4') == 0 or die 'cp';
    for my $role (qw(server client)) {
        my $source = slurp("sample4/$role.c") =~ s/8081/8084/gr;
        run('cc', '-o', "sample4/$role", save("sample4/$role.c", $source));
    }
    is(result(start($capture, '--run', 'sample4')), kept(11, 1, 'captures/sample4.pcap'), 'alone');
    is(result(start($capture, '--run', 'all')), kept(22, 2, 'captures/all.pcap'), 'among all');
};

subtest 'by hand it prints while it records, until Ctrl-C' => sub {
    my $file = place() . '/my file.pcap';
    my $process = by_hand('-w', $file, 'sample2');
    like(slurp($process->{err}),
        qr{\A.* start ./sample2/server, .* in this private network .* ends\n\z},
        'it says what to start where, and how to end');
    converse(2);
    ok(shows($process, qr/\A(?:[\d:.]+ IP .*\n){8}\z/), 'packets are printed while it records');
    my $quoted = "'" . $file =~ s/'/'\\''/gr . "'";
    is(result(ctrl_c($process)), kept(8, 1, $file, "scripts/ladder.sh $quoted"), 'Ctrl-C ends it');
    is(recorded($file), $wire{2}, 'the conversation is recorded');
    is(left_behind(), '', 'nothing is left behind');
};

subtest 'what is next can be pasted, with the logs that lie there' => sub {
    my $place = place();
    chdir '/' or die;
    my $process = start("$place/$capture", '--run', 'sample1');
    my ($next) = result($process) =~ /; next: (.*)/;
    like(`cd / && $next`, qr/client closed/, 'from any directory');
    chdir $place;
    $process = by_hand('sample1');
    my ($client, $server) = converse(1);
    save('client.log', $client);
    save('server.log', $server);
    shows($process, qr/\A(?:.*\n){11}\z/);
    like(result(ctrl_c($process)), qr/; next: .*captures\/sample1\.pcap server\.log client\.log\n/,
        'by hand, with server.log and client.log');
    like(result(start($capture, '--run', 'sample1')), qr/sample1\.pcap\n/, 'not with --run');
    $process = by_hand('sample1');
    converse(1);
    shows($process, qr/\A(?:.*\n){11}\z/);
    like(result(ctrl_c($process)), qr/sample1\.pcap\n/, 'not those of an older recording');
};

subtest 'without a word all samples are recorded, by hand' => sub {
    place();
    my $process = by_hand();
    like(slurp($process->{err}),
        qr/\A.*: no sample given: .* all of them until Ctrl-C .*\n.*sampleN\/server/,
        'it says so in its first line');
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
    my $process = start($capture, '--run', 'sample1', '--', '-c', 3, '-tttt');
    is(result($process), kept(11, 1, 'captures/sample1.pcap'), 'all is recorded');
    like(slurp($process->{out}), qr/\A(20\d\d-\d\d-\d\d \S+ IP .*\n){3}\z/, 'three are printed');
};

# (GNU's tee goes on when nobody reads; others do not.)
subtest 'when the printing tcpdump has ended, recording goes on' => sub {
    place();
    local $ENV{PATH} = hiding_tee("exec perl -e '
        open my \$file, q(>), \$ARGV[-1] or die;
        while (sysread STDIN, my \$data, 9999) {
            syswrite \$file, \$data;
            syswrite STDOUT, \$data or die;
        }' \"\$@\"");
    my $process = by_hand('sample2', '--', '-c', 1);
    for my $n (1, 2) {
        converse(2);
        eventually(sub { recorded('captures/sample2.pcap') eq join ' | ', ($wire{2}) x $n });
    }
    is(result(ctrl_c($process)), kept(16, 2, 'captures/sample2.pcap'), 'both conversations');
};

subtest 'the capturing tcpdump hands over each packet at once, and opens no file' => sub {
    place();
    local $ENV{PATH} = hiding(tcpdump => "case \"\$*\" in *' -w '*) echo \"\$*\" >arguments ;; esac
        exec $tcpdump \"\$@\"");
    run($capture, '--run', 'sample1');
    my $arguments = slurp('arguments');
    like($arguments, qr/ $_( |$)/m, $_) for '--immediate-mode', '-U', '-s 256', '-B \d{5}', '-w -';
    unlike($arguments, qr/-Z/, 'without sudo it stays who it is');
};

subtest 'the programs are on one CPU, where lo cannot swap packets' => sub {
    place();
    rename 'sample2/client', 'sample2/client.real' or die;
    save('sample2/client',
        "#!/bin/sh\ngrep Cpus_allowed_list /proc/self/status >&2\nexec \"\$0.real\"\n");
    like((run($capture, '--run', 'sample2'))[2], qr/sample2 client: Cpus_allowed_list:\s+\d+\n/,
        'the client');
};

# ---- under which name ---------------------------------------------------------------------------

subtest 'what has the name is moved aside, with all its logs' => sub {
    place();
    my %was;
    mkdir 'captures' or die;
    for my $name (qw(x.pcap x.server.log x.client.log x.sample1.server.log x.sample9.client.log)) {
        $was{$name} = save("captures/$name", "this was $name");
    }
    run($capture, '--run', '-w', 'captures/x.pcap', 'sample1');
    for my $name (keys %was) {
        is(slurp("captures/$name" =~ s/\/x/\/x.1/r), "this was $name", "$name is kept aside");
    }
    is(recorded('captures/x.pcap'), $wire{1}, 'the new one has the name');
    run($capture, '--run', '-w', 'captures/x.pcap', 'sample2');
    is(recorded('captures/x.pcap', 'captures/x.2.pcap'), "$wire{2} | $wire{1}", 'the next is .2');
    like(slurp('captures/x.2.server.log'), qr/8081/, 'with its log');
};

subtest 'a log alone is moved aside, and a number that a log has is not taken' => sub {
    place();
    save('x.client.log', 'older');
    save('x.1.sample2.server.log', 'oldest');
    run($capture, '--run', '-w', 'x.pcap', 'sample1');
    is(slurp('x.2.client.log'), 'older', 'the log is kept');
    is(slurp('x.1.sample2.server.log'), 'oldest', 'so is the other');
    like(slurp('x.client.log'), qr/ connect /, 'the new one has the name');
};

subtest 'older logs of all are kept aside' => sub {
    place(1, 2);
    for my $word ('first', 'second') {
        my ($status) = run($capture, '--run', 'all');
        is($status, 0, "the $word");
    }
    my $names = join ' ', map { ("sample$_.client", "sample$_.server") } 1, 2;
    is(join(' ', map { /all\.1\.(.*)\.log/ } glob 'captures/all.1.*.log'), $names, 'all four');
};

subtest 'ten at once for one FILE: ten recordings, each with its logs, as each says' => sub {
    place(2);
    rename 'sample2/client', 'sample2/client.real' or die;
    save('sample2/client', "#!/bin/sh\nsleep 1 # until all ten record\nexec \"\$0.real\"\n");
    my @command = ("$root/scripts/lab.sh", $capture, '--run', '-w', 'x.pcap', 'sample2');
    my @ten = map { start(@command) } 1 .. 10;
    my %seen;
    for my $process (@ten) {
        my ($file) = result($process) =~ /^0 .*, kept as (\S+);/;
        $seen{$file // ''}++;
        my $base = ($file // '') =~ s/\.pcap$//r;
        my $times = slurp("$base.client.log") =~ /^(\S+ client connect)/ ? $1 : '';
        my $others = grep { slurp($_) =~ /\Q$times\E/ } glob 'x*.client.log';
        is(recorded("$base.pcap") . " $others", "$wire{2} 1",
            "$base: a recording and a log of its own");
    }
    is(join(' ', sort keys %seen), join(' ', sort 'x.pcap', map { "x.$_.pcap" } 1 .. 9),
        'ten names');
    my $said = join '', map { slurp($_->{err}) } @ten;
    is(() = $said =~ /x\.pcap is being recorded just now; this recording is x\.\d\.pcap\n/g, 9,
        'nine say that the name is another');
};

subtest 'a recording that recorded nothing gives the name back' => sub {
    place();
    save('x.pcap', 'older');
    save('x.server.log', 'its log');
    my $busy = listener(8081);
    like(said($capture, '--run', '-w', 'x.pcap', 'sample1'),
        qr/^1 capture\.sh: .*: sample1 server: bind .* in use \(nothing is kept\)\n\z/,
        'a port is taken: said in one line');
    is(join(' ', glob('x*'), slurp('x.pcap'), slurp('x.server.log')),
        'x.pcap x.server.log older its log', 'the older recording is where it was');
};

subtest 'every name ends well' => sub {
    place();
    symlink 'nowhere', 'dangling.pcap' or die;
    like(said($capture, '--run', '-w', 'dangling.pcap', 'sample1'), qr/^0 /, 'a dangling link');
    is(readlink('dangling.1.pcap'), 'nowhere', '... is moved aside');
    for my $n (1 .. 3) {
        like(result(start($capture, '--run', '-w', 'rec', 'sample1')), qr/^0 .*, kept as rec;/,
            "no .pcap: $n");
    }
    is(recorded(qw(rec rec.1 rec.2)), join(' | ', ($wire{1}) x 3), '... each is kept');
    my $long = ('x' x 246) . '.pcap';
    save($long, 'older');
    like(said($capture, '--run', '-w', $long, 'sample1'),
        qr/^1 capture\.sh: x+.*: cannot be made .*\n\z/,
        'no room for the name of a log');
    is(slurp($long), 'older', '... nothing has happened to the older one');
    is(left_behind(), '', 'nothing is left behind');
};

# ---- what it refuses ----------------------------------------------------------------------------

subtest 'what it refuses is said in one line, and nothing is recorded' => sub {
    place();
    mkdir 'directory.pcap' or die;
    for (
        [2, qr/sample4: unknown sample $usage/, 'sample4'],
        [2, qr/'': unknown sample $usage/, ''],
        [2, qr/sample2: one sample, or all $usage/, 'sample1', 'sample2'],
        [2, qr/-X: unknown option; tcpdump's come after -- $usage/, '-X', 'sample1'],
        [2, qr/-w: no FILE $usage/, '-w'],
        [2, qr/-w: no FILE $usage/, '-w', '--run', 'sample1'],
        [2, qr/-w: no FILE $usage/, '-w', '-x.pcap', 'sample1'],
        [2, qr/-w: not after -- .*/, 'sample1', '--', '-w', 'sample1.pcap'],
        [2, qr/-nnr: not after -- .*/, 'sample1', '--', '-nnr', 'fifo'],
        [1, qr/tcpdump: unrecognized option '--nonsense' \(.*/, 'sample1', '--', '--nonsense'],
        [1, qr/tcpdump: can't parse filter .*/, 'sample1', '--', 'tcp prot 80'],
        [1, qr/none: no such directory \(.*\)/, '-w', 'none/x.pcap', 'sample1'],
        [1, qr/\/proc\/x.*: cannot be made \(.*\)/, '-w', '/proc/x.pcap', 'sample1'],
        [1, qr/directory\.pcap: not a regular file/, '-w', 'directory.pcap', 'sample1'],
        [1, qr/a file name with control characters \(.*\)/, '-w', "a\nb.pcap", 'sample1'],
        [1, qr/a file name with control characters \(.*\)/, '-w', "a\e[2Jb.pcap", 'sample1'],
        [2, qr/ \[2J: unknown sample .*/, "\e[2J"],
    ) {
        my ($status, $reason, @arguments) = @$_;
        my $name = "@arguments" =~ s/[^ -~]/?/gr;
        like(said($capture, @arguments), qr/^$status capture\.sh: $reason\n\z/, $name);
    }
    unlink 'sample1/server' or die;
    for my $arguments ([], ['--run', 'sample1']) {
        is(said($capture, @$arguments) =~ s/capture.*no sample given.*\n//r,
            "1 capture.sh: sample1/server: not built (run make first)\n", "not built: @$arguments");
    }
    SKIP: {
        skip 'not root', 1 if $> != 0;
        like(said('env', 'SUDO_UID=1000', $capture, 'sample2'),
            qr/^1 .*: started with sudo: .*\n\z/, 'sudo');
    }
    is(join(' ', glob 'captures/* *.pcap'), 'directory.pcap', 'there is no recording');
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
    is(result(ctrl_c(by_hand('sample1'))), "1 capture.sh: not a complete recording: interrupted "
        . "before a packet came (nothing is kept)\n", 'by hand');
    is(join(' ', glob 'captures/*'), '', 'nothing is kept');
};

# Makes the client of sampleN one that ends with STATUS, and the capturing tcpdump one that gets no
# time from the client's beginning until half a second after its end. Returns the PATH for that.
sub tcpdump_sleeps ($n, $status) {
    rename "sample$n/client", "sample$n/client.real" or die;
    save("sample$n/client", "#!/bin/sh\nread -r pid <pid\nkill -STOP \$pid\n\"\$0.real\"
        (sleep 0.5; kill -CONT \$pid) >/dev/null 2>&1 &
        [ $status -eq 0 ] || echo 'it hurts' >&2\nexit $status\n");
    return hiding(tcpdump => "case \"\$*\" in *' -w '*) echo \$\$ >pid ;; esac
        exec $tcpdump \"\$@\"");
}

subtest 'packets that tcpdump sees late are waited for' => sub {
    place();
    local $ENV{PATH} = tcpdump_sleeps(1, 0);
    is(result(start($capture, '--run', 'sample1')), kept(11, 1, 'captures/sample1.pcap'),
        'all eleven');
};

subtest 'a client that failed: its words, the recording, and status 1' => sub {
    place();
    local $ENV{PATH} = tcpdump_sleeps(2, 7);
    my ($status, undef, $err) = run($capture, '--run', 'sample2');
    my $kept = kept(8, 1, 'captures/sample2.pcap') =~ s/^0 //r;
    is($err, "capture.sh: sample2 client: it hurts\n$kept",
        'its words; packets that are seen late are waited for');
    is($status, 1, 'the status');
    save('sample1/client', "#!/bin/sh\n'$root/sample1/client'\nexit 3\n");
    local $ENV{PATH} = $path;
    ($status, undef, $err) = run($capture, '--run', 'sample1');
    like($err, qr/^capture\.sh: sample1 client: exit status 3\n/, 'one that says nothing');
};

subtest 'descriptors that are closed, and a name with a backslash, harm nothing' => sub {
    place();
    my $command = qq(exec $capture --run -w 'a\\cb.pcap' sample1 <&- >&- 2>&-);
    is((run('sh', '-c', $command))[0], 0, 'the status');
    is(recorded('a\\cb.pcap'), $wire{1}, 'the recording');
    my @logs = sort map { s/.*cb/cb/r } glob '*.log';
    is_deeply(\@logs, ['cb.client.log', 'cb.server.log'], 'the logs');
};

subtest 'fewer conversations than clients are not complete' => sub {
    place(1, 2);
    save('sample2/client', "#!/bin/sh\necho ' connect '\n");
    local $ENV{PATH} = hiding(sleep => $no_sleep);
    like(result(start($capture, '--run', 'all')),
        qr/^1 .*: not a .*: not 2 conversations \(11 packets, 1 /,
        'one of two');
    is(recorded('captures/all.pcap'), $wire{1}, 'is kept');
};

subtest 'a tcpdump that has ended by itself is told, though all it saw is whole' => sub {
    place();
    local $ENV{PATH} = hiding(tcpdump => "case \"\$*\" in *' -w '*) echo \$\$ >pid ;; esac
        exec $tcpdump \"\$@\"");
    for my $signal (qw(TERM KILL)) {
        my $process = by_hand('sample1');
        converse(1);
        shows($process, qr/\A(?:.*\n){11}\z/);
        kill $signal, slurp('pid');
        like(result($process),
            qr/^1 .*: not a complete .*: tcpdump has ended by itself.*, kept as /, $signal);
        is(recorded('captures/sample1.pcap'), $wire{1}, '... what it had seen is kept');
    }
};

subtest 'packets that the kernel dropped are told' => sub {
    place();
    local $ENV{PATH} = hiding(tcpdump => "trap '' TERM
        case \"\$*\" in
        *' -w '*)
            { $tcpdump \"\$@\" 2>&1 >&3 | sed -u 's/^0\\( packets dropped\\)/3\\1/' >&2; } 3>&1 ;;
        *) exec $tcpdump \"\$@\" ;;
        esac");
    like(result(start($capture, '--run', 'sample1')),
        qr/^1 .*: not a .*: 3 packets were dropped by the kernel \(11 packets, .* 3 dropped, /,
        'three');
};

subtest 'a check that fails is told, and the recording stays' => sub {
    place();
    local $ENV{PATH} = hiding(sleep => $no_sleep);
    local $ENV{AWK} = '/nonexistent';
    like(result(start($capture, '--run', 'sample1')),
        qr/^1 .*: not a complete recording: it could not be checked: .+ \(11 packets, .* kept as /,
        'no awk');
    is(recorded('captures/sample1.pcap'), $wire{1}, 'it is whole');
};

subtest 'a full disk is told in the words of tee' => sub {
    place();
    local $ENV{PATH} = hiding_tee("echo 'tee: x: No space left on device' >&2
        $tee \"\$@\"; exit 1");
    like(result(start($capture, '--run', 'sample1')),
        qr/^1 .*: not a complete recording: tee has failed: 1 tee: x: No space left .*, kept as /,
        'no space');
};

subtest 'a tee that is killed is told' => sub {
    place();
    local $ENV{PATH} = hiding_tee("echo \$\$ >pid; exec $tee \"\$@\"");
    my $process = by_hand('sample1');
    converse(1);
    shows($process, qr/\A(?:.*\n){11}\z/);
    kill 'KILL', slurp('pid');
    ctrl_c($process);
    like(result($process), qr/^1 .*: not a complete recording: tee has failed: 137 .*, kept as /,
        'status 137');
};

subtest 'a tee that does not move is not waited for' => sub {
    place();
    local $ENV{PATH} = hiding_tee('exec perl -e "sleep 600"', sleep => $no_sleep);
    like(result(start($capture, '--run', 'sample1')),
        qr/^1 .*: tcpdump and tee have not ended in 10 s /,
        'it is named');
    is(left_behind(), '', 'nothing is left behind');
};

subtest 'a reader that does not read takes nothing from the recording' => sub {
    place();
    pipe my $from, my $full or die "pipe: $!";    # nobody reads from it
    fcntl $full, F_SETFD, 0;
    my $to_pipe = 'exec setsid scripts/capture.sh -w many.pcap sample2 >&"$0"';
    my $process = start('bash', '-c', $to_pipe, fileno $full);
    shows($process, qr/ ready: /, 'err');
    my $server = serve(pinned('sample2/server'));
    many_conversations(100);    # 800 lines are more than fits into the pipes
    eventually(sub { 100 == (() = recorded('many.pcap') =~ /<R\./g) });
    stop($server);
    is(result(ctrl_c($process)), kept(800, 100, 'many.pcap'), 'all are whole');
    is(left_behind(), '', 'nothing is left behind');
};

subtest "GNU's tee is taken where it is called gnutee" => sub {
    place();
    local $ENV{PATH} = hiding(gnutee => "exec $tee \"\$@\"", tee => 'exit 1');
    like(result(start($capture, '--run', 'sample1')), qr/^0 /, 'tee is not started');
};

subtest 'a program that does not say its line is waited for, and not for ever' => sub {
    place();
    save('sample1/server', "#!/bin/sh\nexec perl -e 'sleep 600'\n");
    save('sample2/server', "#!/bin/sh\necho 'no time' >&2\n");
    local $ENV{PATH} = hiding(sleep => $no_sleep);
    is(result(start($capture, '--run', 'sample1')), '1 capture.sh: not a complete recording: '
        . "sample1 server: no line about listen in 10 s (nothing is kept)\n", 'the line is named');
    is(result(start($capture, '--run', 'sample2')), '1 capture.sh: not a complete recording: '
        . "sample2 server: no time (nothing is kept)\n", 'one that has ended is not waited for');
    is(left_behind(), '', 'nothing is left behind');
};
done_testing;
