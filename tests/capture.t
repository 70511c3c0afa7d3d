#!/usr/bin/perl
# scripts/capture.sh: what it records, under which name, and what it refuses. (What it does not call
# a complete recording: incomplete.t. Signals, closed terminals and readers that leave: interrupt.t.
# Its way through sudo: sudo.t.)
use v5.36;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Capture;
use POSIX ();

need('tcpdump');
enter_lab();

# So many clients of sample2, one after the other, without a pause, and its server.
sub many_conversations ($count) {
    my $server = serve(pinned('sample2/server'));
    run(pinned($^X, '-MIO::Socket::INET', '-e', <<'END', $count));
        for (1 .. shift) {
            my $client = IO::Socket::INET->new("127.0.0.1:8082") or die;
            syswrite $client, "ABCD";
            1 while sysread $client, my $data, 9;
        }
END
    return $server;
}

# ---- what it records ----------------------------------------------------------------------------

subtest '--run starts the programs of a sample, and keeps their packets and lines' => sub {
    my $place = place();
    chdir '..' or die;    # it finds its own place
    my $process = start("$place/$capture", '--run', 'sample1');
    chdir $place or die;
    is(complete($process), '11 packets, 1 conversation', 'the last line tells');
    is(recorded('captures/sample1.pcap'), $wire{1}, 'the conversation is whole');
    ok(sees($process, 11), 'its packets are printed');
    for my $role (qw(server client)) {
        my $lines = slurp("captures/sample1.$role.log");
        like($lines, qr/ $role .*\n.* $role close\n\z/s, "the lines of the $role");
    }
};

subtest '--run all records every sample, where one stands: a sample4 is a directory' => sub {
    my $place = place(1, 2);
    system('cp', '-R', 'sample1', 'sample4') == 0 or die 'cp';
    for my $role (qw(server client)) {
        my $source = slurp("sample4/$role.c") =~ s/8081/8084/gr;
        run('cc', '-o', "sample4/$role", save("sample4/$role.c", $source));
    }
    mkdir 'there' or die;
    chdir 'there' or die;
    my $process = start("$place/$capture", '--run', '-w', '../x', 'all');
    is(complete($process), '30 packets, 3 conversations', 'three conversations');
    is(recorded('../x'), join(' | ', @wire{1, 2, 1}), 'each is whole, in their order');
    my @logs = map { ("../x.sample$_.client.log", "../x.sample$_.server.log") } 1, 2, 4;
    is(join(' ', glob '../*.log'), "@logs", 'all six logs');
};

subtest 'by hand it records all samples, and prints packets as they come, until Ctrl-C' => sub {
    place();
    my $process = has_recorded(1);
    converse(2);
    ok(sees($process, 19), 'they are printed');
    is(complete(ctrl_c($process)), '19 packets, 2 conversations', 'the last line tells');
    is(recorded('captures/all.pcap'), "$wire{1} | $wire{2}", 'both conversations');
};

subtest 'by hand it records one sample, in the FILE of where one stands' => sub {
    my $place = place();
    mkdir 'there' or die;
    chdir 'there' or die;
    my $process = by_hand('-w', 'my file.pcap', 'sample1');
    chdir $place or die;
    converse(2);
    converse(1);
    sees($process, 11);
    like(result(ctrl_c($process)), qr/^0 .*, kept as my file\.pcap;/, 'the last line tells');
    is(recorded('there/my file.pcap'), $wire{1}, 'it is there, without another');
};

subtest '300 conversations without a pause lose nothing' => sub {
    place();
    my $process = by_hand('sample2');
    my $server = many_conversations(300);
    sees($process, 2400);
    stop($server);
    is(complete(ctrl_c($process)), '2400 packets, 300 conversations', 'all are whole');
};

subtest 'a reader that does not read takes nothing from the recording' => sub {
    place();
    impatient('ended "$printer"');
    POSIX::mkfifo('full', 0600) or die "mkfifo: $!";
    open my $nobody, '+<', 'full' or die "full: $!";
    my $process = start('setsid', 'sh', '-c', "exec $capture -w x.pcap sample2 >full");
    shows($process, qr/ ready: /, 'err');
    my $server = many_conversations(200);    # their lines are more than fits into pipes
    eventually(sub { 200 == (() = recorded('x.pcap') =~ /R/g) });
    stop($server);
    is(complete(ctrl_c($process)), '1600 packets, 200 conversations', 'all are whole');
    is(left_behind(), '', 'nothing is left behind');
};

subtest 'behind -- stands what changes the printing, and not the recording' => sub {
    place();
    my $process = start($capture, '--run', 'sample1', '--', '-c', 3, '-tttt', '-AeKnNqSvxX#');
    is(complete($process), '11 packets, 1 conversation', 'all is recorded');
    my $out = slurp($process->{out});
    is(join(' ', $out =~ /^ +(\d+)  20\d\d-\d\d-\d\d /mg), '1 2 3', 'three are printed');
};

subtest 'behind -- nothing else may stand' => sub {
    place();
    for my $words ('-w x.pcap', '-nnwx', '-r x', '--number', '-c -v', 'port 80') {
        like(said($capture, 'sample1', '--', split ' ', $words),
            qr/^2 capture\.sh: $words: after -- may stand .*\n\z/, $words);
    }
    is(join(' ', glob 'captures/* x*'), '', 'nothing is recorded');
};

subtest '--run keeps the programs on one CPU, which it may use' => sub {
    place();
    my ($last) = slurp('/proc/self/status') =~ /^Cpus_allowed_list:.*?(\d+)$/m;
    for my $role (qw(server client)) {
        instead_of("sample2/$role", <<"END");
            grep Cpus_allowed_list /proc/self/status >$role.cpu
            exec "\$0.real"
END
    }
    run('taskset', '-c', $last, $capture, '--run', 'sample2');
    like(slurp('client.cpu'), qr/:\s*$last\n/, 'the client');
    is(slurp('server.cpu'), slurp('client.cpu'), 'the server on the same');
    run($capture, '--run', 'sample2');
    like(slurp('client.cpu'), qr/:\s*\d+\n/, 'one, where there are more');
};

# ---- under which name ---------------------------------------------------------------------------

subtest 'what has the name is kept aside with its logs, also if the new one fails' => sub {
    place();
    mkdir 'captures' or die;
    my @ends = qw(pcap server.log client.log sample1.server.log);
    for my $end (@ends) {
        save("captures/sample2.$end", "the old $end");
    }
    save('captures/sample2.1.server.log', 'older, of a recording that is gone');
    my $server = serve('sample2/server');
    like(incomplete(start($capture, '--run', 'sample2')),
        qr/^sample2 server has ended \(nothing is kept\)/, 'the port is in use');
    stop($server);
    for my $end (@ends) {
        is(slurp("captures/sample2.2.$end"), "the old $end", "$end is kept");
    }
    is(join(' ', glob 'captures/sample2.[a-z]*'), '', 'nothing has the name now');
};

subtest 'a FILE that is being recorded is refused, and goes on' => sub {
    place();
    my $process = by_hand('-w', 'x.pcap', 'sample1');
    my $said = said($capture, '--run', '-w', 'x.pcap', 'sample2');
    like($said, qr/^1 capture\.sh: x\.pcap: is being recorded just now .*\n\z/, 'in one line');
    converse(1);
    sees($process, 11);
    is(complete(ctrl_c($process)), '11 packets, 1 conversation', 'the other recording is whole');
    is(join(' ', glob '*.pcap'), 'x.pcap', 'there is no other');
};

subtest 'a FILE that cannot be made is refused before anything starts' => sub {
    place();
    local $ENV{PATH} = hiding(tcpdump => 'true');    # no recorder begins
    mkdir 'directory.pcap' or die;
    for my $file ('none/x.pcap', 'directory.pcap') {
        like(said($capture, '--run', '-w', $file, 'sample1'),
            qr/^1 capture\.sh: $file: (?:cannot be made|not a file) .+\n\z/, $file);
    }
    is(left_behind(), '', 'no program has begun');
};
done_testing;
