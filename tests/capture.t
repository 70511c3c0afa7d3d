#!/usr/bin/perl
# scripts/capture.sh: what it records, with --run and by hand. (Its names and what it refuses:
# capture-names.t. What is not complete: capture-faults.t. Signals, closed terminals and readers
# that leave: interrupt.t. Its way through sudo: sudo.t.)
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
my $sleep = which('sleep');
my $tcpdump = which('tcpdump');
my $tee = which('gnutee') // which('tee');

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
    local $ENV{PATH} = hiding(tcpdump => "case \"\$*\" in *' -w '*) echo \"\$*\" >arguments ;; esac
        exec $tcpdump \"\$@\"");
    my $process = start($capture, '--run', 'sample1', '--', '-c', 3, '-tttt');
    is(result($process), kept(11, 1, 'captures/sample1.pcap'), 'all is recorded');
    like(slurp($process->{out}), qr/\A(20\d\d-\d\d-\d\d \S+ IP .*\n){3}\z/, 'three are printed');
    my $arguments = slurp('arguments');
    for my $option ('--immediate-mode', '-U', '-s 256', '-B \d{5}', '-w -') {
        like($arguments, qr/ $option( |$)/m, "it captures with $option");
    }
    unlike($arguments, qr/-Z/, 'without sudo it stays who it is');
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

subtest 'the programs are on one CPU, where lo cannot swap packets' => sub {
    place();
    rename 'sample2/client', 'sample2/client.real' or die;
    save('sample2/client',
        "#!/bin/sh\ngrep Cpus_allowed_list /proc/self/status >&2\nexec \"\$0.real\"\n");
    like((run($capture, '--run', 'sample2'))[2], qr/sample2 client: Cpus_allowed_list:\s+\d+\n/,
        'the client');
};

subtest 'a reader that does not read takes nothing from the recording' => sub {
    place();
    local $ENV{PATH} = hiding(sleep => "[ ! -e hurry ] || set -- 0.01\nexec $sleep \"\$@\"");
    pipe my $from, my $full or die "pipe: $!";    # nobody reads from it
    fcntl $full, F_SETFD, 0;
    my $to_pipe = 'exec setsid scripts/capture.sh -w many.pcap sample2 >&"$0"';
    my $process = start('bash', '-c', $to_pipe, fileno $full);
    shows($process, qr/ ready: /, 'err');
    my $server = serve(pinned('sample2/server'));
    many_conversations(100);    # 800 lines are more than fits into the pipes
    eventually(sub { 100 == (() = recorded('many.pcap') =~ /<R\./g) });
    stop($server);
    save('hurry', '');    # the seconds for a reader that is slow pass sooner
    is(result(ctrl_c($process)), kept(800, 100, 'many.pcap'), 'all are whole');
    is(left_behind(), '', 'nothing is left behind');
};

subtest "GNU's tee is taken where it is called gnutee" => sub {
    place();
    local $ENV{PATH} = hiding(gnutee => "exec $tee \"\$@\"", tee => 'exit 1');
    like(result(start($capture, '--run', 'sample1')), qr/^0 /, 'tee is not started');
};

subtest 'descriptors that are closed, and a name with a backslash, harm nothing' => sub {
    place();
    my $command = qq(exec $capture --run -w 'a\\cb.pcap' sample1 <&- >&- 2>&-);
    is((run('sh', '-c', $command))[0], 0, 'the status');
    is(recorded('a\\cb.pcap'), $wire{1}, 'the recording');
    my @logs = sort map { s/.*cb/cb/r } glob '*.log';
    is_deeply(\@logs, ['cb.client.log', 'cb.server.log'], 'the logs');
};
done_testing;
