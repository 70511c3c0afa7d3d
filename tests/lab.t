#!/usr/bin/perl
# scripts/lab.sh: a private network around a command, and nothing else between it and its caller.
# (Where sudo makes the network: sudo.t.)
use v5.36;
use FindBin;
use lib $FindBin::Bin;
use Lab;

need('tcpdump');
private_network();
my $lab = "$root/scripts/lab.sh";
my $path = $ENV{PATH};
my $users_path = 'PATH=/usr/local/bin:/usr/bin:/bin';    # as Debian sets it
my $here = tempdir(CLEANUP => 1) . '/a place +(';
mkdir $here or die "mkdir $here: $!";
chdir $here or die "chdir $here: $!";

# Whether a user of this kind of machine gets a lab without sudo.
my $nobody = getpwnam 'nobody';
my @nobody = $> ? () : ('setpriv', "--reuid=$nobody", "--regid=$nobody", '--clear-groups');
my $namespaces = system("@nobody unshare --user --map-current-user --net true 2>/dev/null") == 0;

# A directory with commands, to stand first in PATH.
sub commands (%scripts) {
    my $bin = tempdir(CLEANUP => 1);
    chmod 0755, $bin;
    shim($bin, $_, $scripts{$_}) for keys %scripts;
    return $bin;
}

# ---- the network --------------------------------------------------------------------------------

subtest 'a user has a private network, in which tcpdump may capture' => sub {
    plan(skip_all => 'users may not have namespaces here') if !$namespaces;
    chdir '/' or die;
    my $copy = save(commands() . '/lab.sh', slurp($lab));    # that everybody may read
    my ($status, undef, $err) = run(@nobody, $copy, 'tcpdump', '-i', 'lo', '-L');
    is($status, 0, 'tcpdump may') or diag($err);
    chdir $here;
};

subtest 'there is lo, up, and no more' => sub {
    my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1:0', Listen => 1);
    ok($listener, 'outside a port is taken');
    my $look = 'ip -br link; ip -4 -br addr; readlink /proc/self/ns/net; cat /proc/net/tcp';
    my ($status, $out, $err) = run('env', $users_path, $lab, 'sh', '-c', $look);
    is("$status $err", '0 ', 'it adds no word of its own');
    my $link = qr/lo +\S+ .*<LOOPBACK,UP,LOWER_UP> */;
    my $address = qr/lo +\S+ +127\.0\.0\.1\/8 */;
    like($out, qr/^$link\n$address\n/, 'lo');
    my $network = readlink '/proc/self/ns/net';
    unlike($out, qr/\Q$network\E/, 'another network');
    unlike($out, qr/^ *\d+: /m, 'no port is taken');
};

subtest "nft, ip, ss and tcpdump are found with an ordinary user's PATH" => sub {
    for my $tool (grep { which($_) } qw(nft ip ss tcpdump)) {
        my ($status) = run('env', $users_path, $lab, 'sh', '-c', "command -v $tool");
        is($status, 0, $tool);
    }
};

subtest 'a shell shows by its prompt that it is in a lab' => sub {
    plan(skip_all => 'not the bash of Debian') if !-e '/etc/bash.bashrc';
    local $ENV{HOME} = $here;
    my (undef, $prompt) = run($lab, 'bash', '-ic', 'echo "${PS1@P}"');
    like($prompt, qr/^\(lab\)/, 'bash');
};

# A program: at each of the ports that it is given a server resets with linger. It prints what the
# client reads ("reset" or "nothing"), and "R" if what it then sends is answered with a RST. Last,
# what comes of a port where nobody listens.
my @resets = ($^X, "-I$root/tests", '-Mv5.36', '-MLab', '-e', <<'END');
    $SIG{PIPE} = 'IGNORE';

    sub reads ($client) {
        return 'end' if defined sysread $client, my $data, 1;
        return $!{ECONNRESET} ? 'reset' : 'nothing';
    }

    for my $port (@ARGV) {
        my $listener = IO::Socket::INET->new(LocalAddr => "127.0.0.1:$port", Listen => 1);
        my $client = IO::Socket::INET->new("127.0.0.1:$port");
        hang_up(scalar $listener->accept);
        sleep 0.2;    # a RST that is lost does not come, and cannot be waited for
        $client->blocking(0);
        print reads($client);
        $client->blocking(1);
        my $is_sent = syswrite $client, 'x';
        print ' R' if !$is_sent || reads($client) eq 'reset';
        print ', ';
    }
    my $open = IO::Socket::INET->new('127.0.0.1:8099');
    print 'open' if $open;
    print 'refused' if !$open && $!{ECONNREFUSED};
END

subtest "--lose-rst drops the RST,ACK of the samples that send one, and no other RST" => sub {
    need('nft');
    my $lost = 'nothing R, ' x (@samples - 1);
    my @ports = map { "808$_" } @samples;
    is(said($lab, '--lose-rst', @resets, @ports), "0 reset R, ${lost}refused", 'with it');
    is(said($lab, @resets, 8082), '0 reset R, refused', 'without it none');
    my $tree = "$here/tree";
    system('mkdir', '-p', map { "$tree/$_" } 'scripts', 'sample1', 'sample4');
    system('cp', $lab, "$tree/scripts");
    is(said("$tree/scripts/lab.sh", '--lose-rst', @resets, 8082, 8084),
        '0 reset R, nothing R, refused',
        'a sample4 counts, and what is no sample does not');
};

# ---- nothing else changes -----------------------------------------------------------------------

subtest 'the exit status of the command comes back' => sub {
    is(said($lab, 'sh', '-c', 'exit 7'), '7 ', 'status 7');
    is((run($lab, './nothing'))[0], 127, 'a command that does not exist: 127, as a shell says it');
};

subtest 'signals reach the command, and its death is seen' => sub {
    plan(skip_all => 'users may not have namespaces here') if $> && !$namespaces;
    my %number = (HUP => 1, INT => 2, TERM => 15, KILL => 9);
    for my $signal (sort keys %number) {
        my $process = start($lab, 'sh', '-c', 'echo ready; exec sleep 600');
        shows($process, qr/ready/);
        is(stop($process, $signal), $number{$signal}, $signal);
    }
};

subtest 'arguments, directory, user, stdin and environment are the same' => sub {
    plan(skip_all => 'users may not have namespaces here') if $> && !$namespaces;
    local %ENV = (
        LAB_TEST => "a b\n*",
        HOME     => '/nowhere',
        LANG     => 'C',
        TZ       => 'Lab-5',
        PATH     => "$path:/usr/sbin",
    );
    my $print = <<'END';
        delete @ENV{qw(_ SHLVL OLDPWD PWD PATH debian_chroot)};    # a shell or lab.sh sets them
        print join '|', @ARGV, getcwd, $>, $) + 0, <STDIN>;
        print "|$_=$ENV{$_}" for sort keys %ENV;
END
    my @arguments = ('a b', '', '*', q('"), '$HOME', "two\nlines", '-n');
    my @print = ($^X, '-MCwd', '-e', $print, '--', @arguments);
    my @with_stdin = ('sh', '-c', 'echo in | "$@"', 'sh');
    is(said(@with_stdin, $lab, @print), said(@with_stdin, @print), 'the same');
};

subtest 'the terminal is the same' => sub {
    need('script');
    my $command = "'$lab' sh -c 'test -t 0 && test -t 1 && test -t 2'";
    is((run('script', '-qec', $command, '/dev/null'))[0], 0, 'stdin, stdout and stderr');
};

# ---- without a lab: one line, status 125 --------------------------------------------------------

subtest 'what it cannot do is said in one line, with status 125' => sub {
    my $usage = '(usage: scripts/lab.sh [--lose-rst] COMMAND [ARGUMENT...])';
    is(said($lab), "125 lab.sh: '' is no COMMAND $usage\n", 'no command');
    is(said($lab, '--fast', 'true'), "125 lab.sh: '--fast' is no COMMAND $usage\n", 'an option');
    my $bin = commands();
    for my $tool (qw(sh sed unshare)) {
        symlink which($tool), "$bin/$tool" or die "symlink: $!";
    }
    my $without_ip = slurp($lab) =~ s{:/usr/sbin}{}r;
    local $ENV{PATH} = $bin;
    is(said(save("$bin/lab.sh", $without_ip), 'true'),
        "125 lab.sh: ip: not found (sudo apt-get install util-linux iproute2 nftables)\n",
        'the tool that is missing');
};

subtest 'a rule that nft refuses: the command is not run' => sub {
    plan(skip_all => 'sudo has its own PATH') if $> && !$namespaces;
    need('nft');
    local $ENV{PATH} = commands(nft => 'exit 1') . ":$path";
    my ($status, $out) = run($lab, '--lose-rst', 'echo', 'ran');
    is("$status $out", '125 ', 'status 125, and no output of the command');
};

subtest 'namespaces are refused to all: the command is not run, and why is said' => sub {
    my $bin = commands(
        unshare => 'echo "unshare: not here" >&2; exit 1',
        sudo    => 'exit 1',
        id      => 'echo 4242',
    );
    local $ENV{PATH} = "$bin:$path";
    is(said($lab, 'sh', '-c', 'echo ran'), <<"END", 'a user');
125 lab.sh: sudo makes the private network: it may ask for your password
lab.sh: no private network here, sudo did not make one either
END
    shim($bin, 'id', 'echo 0');
    my $no_network = 'no private network here: unshare: not here';
    is(said($lab, 'sh', '-c', 'echo ran'), <<"END", 'root');
125 lab.sh: $no_network (scripts/capture.sh records on lo as well)
END
};

done_testing;
