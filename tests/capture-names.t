#!/usr/bin/perl
# scripts/capture.sh: under which name it records, and what it refuses.
use v5.36;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Capture;

need(qw(tcpdump flock setpriv setsid taskset));
enter_lab();
delete @ENV{qw(SUDO_UID AWK)};
my $capture = 'scripts/capture.sh';
my $usage = qr/\(usage: scripts\/capture\.sh .*\)/;

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

subtest 'five at once for one FILE: five recordings, each with its logs, as each says' => sub {
    place(2);
    rename 'sample2/client', 'sample2/client.real' or die;
    save('sample2/client', <<~'SH');
        #!/bin/sh
        set -- x*.pcap
        until [ $# -eq 5 ]; do # all record at the same time
            sleep 0.05 # between two looks
            set -- x*.pcap
        done
        exec "$0.real"
        SH
    my @command = ("$root/scripts/lab.sh", $capture, '--run', '-w', 'x.pcap', 'sample2');
    my @five = map { start(@command) } 1 .. 5;
    my %seen;
    for my $process (@five) {
        my ($file) = result($process) =~ /^0 .*, kept as (\S+);/;
        $seen{$file // ''}++;
        my $base = ($file // '') =~ s/\.pcap$//r;
        my $times = slurp("$base.client.log") =~ /^(\S+ client connect)/ ? $1 : '';
        my $others = grep { slurp($_) =~ /\Q$times\E/ } glob 'x*.client.log';
        is(recorded("$base.pcap") . " $others", "$wire{2} 1",
            "$base: a recording and a log of its own");
    }
    is(join(' ', sort keys %seen), 'x.1.pcap x.2.pcap x.3.pcap x.4.pcap x.pcap', 'five names');
    my $said = join '', map { slurp($_->{err}) } @five;
    is(() = $said =~ /x\.pcap is being recorded just now; this recording is x\.\d\.pcap\n/g, 4,
        'four say that the name is another');
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

subtest 'if one of the older files cannot be moved aside, all stay where they are' => sub {
    place(1);
    save('x.pcap', 'older');
    save('x.server.log', 'its log');
    my $mv = which('mv');
    local $ENV{PATH} = hiding(mv => "case \"\$*\" in
        *' x.server.log '*) echo 'mv: x.server.log: you may not' >&2; exit 1 ;;
        esac
        exec $mv \"\$@\"");
    is(said($capture, '--run', '-w', 'x.pcap', 'sample1'),
        "1 capture.sh: x.pcap: cannot be moved aside (you may not)\n", 'it says so');
    is(join(' ', glob('x*'), slurp('x.pcap'), slurp('x.server.log')),
        'x.pcap x.server.log older its log', 'the older recording is where it was');
};

subtest 'every name ends well' => sub {
    place();
    symlink 'nowhere', 'dangling.pcap' or die;
    like(said($capture, '--run', '-w', 'dangling.pcap', 'sample1'), qr/^0 /, 'a dangling link');
    is(readlink('dangling.1.pcap'), 'nowhere', '... is moved aside');
    for my $n (1, 2) {
        like(result(start($capture, '--run', '-w', 'rec', 'sample1')), qr/^0 .*, kept as rec;/,
            "no .pcap: $n");
    }
    is(recorded('rec', 'rec.1'), "$wire{1} | $wire{1}", '... each is kept');
    mkdir 'here' or die;
    run($capture, '--run', '-w', 'here/two words.pcap', 'sample1');
    opendir my $here, 'here' or die;
    my @names = sort grep { !/^\./ } readdir $here;
    my @expected = map { "two words.$_" } qw(client.log pcap server.log);
    is_deeply(\@names, \@expected, 'a name of two words');
    my $long = ('x' x 246) . '.pcap';
    save($long, 'older');
    like(said($capture, '--run', '-w', $long, 'sample1'),
        qr/^1 capture\.sh: x+.*: cannot be made .*\n\z/,
        'no room for the name of a log');
    is(slurp($long), 'older', '... nothing has happened to the older one');
    is(left_behind(), '', 'nothing is left behind');
};

subtest 'of two -w the last one counts' => sub {
    place(1);
    is(result(start($capture, '--run', '-w', 'a.pcap', '-w', 'b.pcap', 'sample1')),
        kept(11, 1, 'b.pcap'), 'it is said');
    is(recorded('b.pcap'), $wire{1}, 'it holds the recording');
    is(join(' ', glob '*.pcap *.log captures/*'), 'b.pcap b.client.log b.server.log',
        'there is no other');
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
        [2, qr/-wx\.pcap: not after -- .*/, 'sample1', '--', '-wx.pcap'],
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
done_testing;
