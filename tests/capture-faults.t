#!/usr/bin/perl
# scripts/capture.sh: what is not a complete recording, and why, is told; what was recorded stays.
use v5.36;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Capture;

need(qw(tcpdump flock setpriv setsid taskset));
enter_lab();
delete @ENV{qw(SUDO_UID AWK)};
my $capture = 'scripts/capture.sh';
my $tcpdump = which('tcpdump');
my $timeout = which('gnutimeout') // which('timeout');
my $tee = which('gnutee') // which('tee');
my $sleep = which('sleep');
my $short_sleep = "exec $sleep 0.003";    # limits are counted in looks: these are reached sooner

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
    is(result(ctrl_c($process)), "1 capture.sh: not a complete recording: interrupted "
        . "before a packet came (nothing is kept)\n", 'by hand');
    is(join(' ', glob 'captures/*'), 'captures/sample1.server.log',
        'nothing is kept, and what the user has put there stays');
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
    place(1, 2);
    save('sample1/client', "#!/bin/sh\n'$root/sample1/client'\nexit 3\n");
    local $ENV{PATH} = tcpdump_sleeps(2, 7);
    my ($status, undef, $err) = run($capture, '--run', 'all');
    my $kept = kept(19, 2, 'captures/all.pcap') =~ s/^0 //r;
    is($err, "capture.sh: sample1 client: exit status 3\n"
        . "capture.sh: sample2 client: it hurts\n$kept",
        'its words, or its status; packets that are seen late are waited for');
    is($status, 1, 'the status');
};

subtest 'a client that meets no RST is waited for, and its words are told' => sub {
    place(3);
    my $process = start("$root/scripts/lab.sh", '--lose-rst', $capture, '--run', 'sample3');
    my $kept = kept(10, 1, 'captures/sample3.pcap') =~ s/^0/1/r;
    is(result($process), $kept, 'its FIN, and the RST that answers it, are recorded');
    like(slurp($process->{err}), qr/^capture\.sh: sample3 client: recv, not ECONNRESET .*$/m,
        'after 8 s: it sleeps for 3, and waits for 5');
};

subtest 'fewer conversations than clients are not complete' => sub {
    place(1, 2);
    save('sample2/client', "#!/bin/sh\necho ' connect '\n");
    local $ENV{PATH} = hiding(sleep => $short_sleep);
    like(result(start($capture, '--run', 'all')),
        qr/^1 .*: not a .*: not 2 conversations \(11 packets, 1 /,
        'one of two');
    is(recorded('captures/all.pcap'), $wire{1}, 'is kept');
};

subtest 'more conversations than clients are not complete' => sub {
    place(2);
    my $real = "'$root/sample2/client'";
    save('sample2/client', "#!/bin/sh\n$real && exec $real\n");
    local $ENV{PATH} = hiding(sleep => $short_sleep);
    like(result(start($capture, '--run', 'sample2')),
        qr/^1 .*: not a .*: not 1 conversation \(16 packets, 2 /,
        'two of one');
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
    local $ENV{AWK} = '/nonexistent';
    my $process = by_hand('sample1');
    converse(1);
    shows($process, qr/\A(?:.*\n){11}\z/);
    like(result(ctrl_c($process)),
        qr/^1 .*: not a complete recording: it could not be checked: .+ \(11 packets, .* kept as /,
        'no awk');
    is(recorded('captures/sample1.pcap'), $wire{1}, 'it is whole');
};

subtest 'a check that does not end is ended, and the recording stays' => sub {
    place();
    local $ENV{AWK} = save(getcwd() . '/awk', "#!/bin/sh\nexec sleep 600\n");
    my $sooner = "shift 3\nexec $timeout -s KILL 0.2 \"\$@\"";
    local $ENV{PATH} = hiding(timeout => $sooner, gnutimeout => $sooner);
    my $process = by_hand('sample1');
    converse(1);
    shows($process, qr/\A(?:.*\n){11}\z/);
    like(result(ctrl_c($process)),
        qr/^1 .*: not a complete .*: it could not be checked: .* not over in 300 s \(.* kept as /,
        'the limit is named');
    is(recorded('captures/sample1.pcap'), $wire{1}, 'it is whole');
    is(left_behind(), '', 'nothing is left behind');
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
    local $ENV{PATH} = hiding_tee('exec perl -e "sleep 600"', sleep => $short_sleep);
    like(result(ctrl_c(by_hand('sample1'))), qr/^1 .*: tcpdump and tee have not ended in 10 s /,
        'it is named');
    is(left_behind(), '', 'nothing is left behind');
};

subtest 'a program that does not say its line is waited for, and not for ever' => sub {
    place();
    save('sample1/server', "#!/bin/sh\nexec perl -e 'sleep 600'\n");
    save('sample2/server', "#!/bin/sh\necho 'no time' >&2\n");
    local $ENV{PATH} = hiding(sleep => $short_sleep);
    is(result(start($capture, '--run', 'sample1')), '1 capture.sh: not a complete recording: '
        . "sample1 server: no line about listen in 10 s (nothing is kept)\n", 'the line is named');
    is(result(start($capture, '--run', 'sample2')), '1 capture.sh: not a complete recording: '
        . "sample2 server: no time (nothing is kept)\n", 'one that has ended is not waited for');
    is(left_behind(), '', 'nothing is left behind');
};
done_testing;
