#!/usr/bin/perl
# scripts/lab.sh: a private network around a command, and nothing else between it and its caller.
# (With the real sudo, on a terminal: sudo.t.)
use v5.36;
use FindBin;
use lib $FindBin::Bin;
use Lab;

need(qw(tcpdump unshare ip script setpriv nft));
private_network();
my $lab = "$root/scripts/lab.sh";
my $path = $ENV{PATH};
my $usage = '(usage: scripts/lab.sh [--lose-rst] COMMAND [ARGUMENT...])';
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

subtest 'no escape sequence of a bad argument reaches the terminal' => sub {
    like(said($lab, "-\e[2J\n"), qr/^125 lab\.sh: - \[2J : unknown option .*\n\z/, 'one line');
};

subtest "nft, ip, ss and tcpdump are found with an ordinary user's PATH" => sub {
    for my $tool (qw(nft ip ss tcpdump)) {
        my ($status, $out) = run('env', $users_path, $lab, 'sh', '-c', "command -v $tool");
        is($status, 0, $tool);
    }
    is(said('env', $users_path, $lab, 'sh', '-c', 'nft add table inet x && nft list tables'),
        "0 table inet x\n", 'and nft may set rules');
    is(said('env', 'PATH=/usr/sbin:/usr/bin:/bin', $lab, 'sh', '-c', 'echo $PATH'),
        "0 /usr/sbin:/usr/bin:/bin\n", 'a PATH that has /usr/sbin is as it was');
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
    my $lost = 'nothing R, ' x (@samples - 1);
    my @ports = map { "808$_" } @samples;
    is(said($lab, '--lose-rst', @resets, @ports), "0 reset R, ${lost}refused", 'with it');
    is(said($lab, @resets, 8082), '0 reset R, refused', 'without it none');
    is(said('env', $users_path, $lab, '--lose-rst', 'true'), '0 ', 'nft is found in /usr/sbin');
    my $tree = "$here/tree";
    system('mkdir', '-p', map { "$tree/$_" } 'scripts', 'sample1', 'sample4');
    system('cp', $lab, "$tree/scripts");
    is(said("$tree/scripts/lab.sh", '--lose-rst', @resets, 8082, 8084),
        '0 reset R, nothing R, refused',
        'a sample4 counts, and what is no sample does not');
};

# ---- nothing else changes -----------------------------------------------------------------------

subtest 'the exit status of the command comes back' => sub {
    for my $status (0, 7, 125, 255) {
        is(said($lab, 'sh', '-c', "exit $status"), "$status ", "status $status");
    }
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
        delete @ENV{qw(_ SHLVL OLDPWD PWD)};    # a shell sets them
        print join '|', @ARGV, getcwd, $>, $) + 0, <STDIN>;
        print "|$_=$ENV{$_}" for sort keys %ENV;
END
    my @arguments = ('a b', '', '*', q('"), '$HOME', "two\nlines", '-n');
    my @print = ($^X, '-MCwd', '-e', $print, '--', @arguments);
    my @with_stdin = ('sh', '-c', 'echo in | "$@"', 'sh');
    is(said(@with_stdin, $lab, @print), said(@with_stdin, @print), 'the same');
};

subtest 'the terminal is the same' => sub {
    my $command = "'$lab' sh -c 'test -t 0 && test -t 1 && test -t 2'";
    is((run('script', '-qec', $command, '/dev/null'))[0], 0, 'stdin, stdout and stderr');
};

# ---- without a lab: one line, status 125 --------------------------------------------------------

subtest 'what it cannot do is said in one line, with status 125' => sub {
    for my $arguments ([], [''], ['--lose-rst']) {
        is(said($lab, @$arguments), "125 lab.sh: no COMMAND $usage\n", "no command: '@$arguments'");
    }
    is(said($lab, '--fast', 'true'), "125 lab.sh: --fast: unknown option $usage\n", 'an option');
    is(said($lab, '--help'), "0 " . substr($usage, 1, -1) . "\n", '--help is no error');
    my $bin = commands();
    for my $tool (qw(sh sed tr)) {
        symlink which($tool), "$bin/$tool" or die "symlink: $!";
    }
    local $ENV{PATH} = $bin;
    is(said($lab, 'true'), "125 lab.sh: unshare: not found (sudo apt-get install util-linux)\n",
        'no unshare');
};

subtest 'a rule that nft refuses: the command is not run' => sub {
    plan(skip_all => 'sudo has its own PATH') if $> && !$namespaces;
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
    my $sudo_is_used = 'sudo is used, for a user may not have a private network here';
    is(said($lab, 'sh', '-c', 'echo ran'), <<"END", 'a user');
125 lab.sh: $sudo_is_used: unshare: not here
lab.sh: no private network here, sudo did not make one either
END
    shim($bin, 'id', 'echo 0');
    my $no_network = 'no private network here: unshare: not here';
    is(said($lab, 'sh', '-c', 'echo ran'), <<"END", 'root');
125 lab.sh: $no_network (scripts/capture.sh records on lo as well)
END
};

# ---- by sudo ------------------------------------------------------------------------------------

# A sudo that allows unshare alone: it writes its arguments to "asked", and hands over no variable.
my $sudo = <<"END";
echo "\$1 \$2" >>'$here/asked'
[ "\$1" != -n ] || shift
[ "\$1" = unshare ] || exit 1
exec env -i SUDO_UID=1 PATH="\${0%/*}:/usr/sbin:/usr/bin:/sbin:/bin" "\$@"
END

# An unshare that refuses users their namespaces, and has OPTIONS for the others.
sub unshare ($options) {
    return <<"END";
if [ "\$1" = --user ]; then
    echo 'unshare: refused' >&2
    exit 1
fi
exec /usr/bin/unshare $options "\$@"
END
}

# The PATH of a user who may not have namespaces, but this sudo. Root plays nobody; a user plays
# root, in a namespace.
sub user_with_sudo () {
    my $bin = commands(sudo => $sudo);
    if ($> == 0) {
        shim($bin, 'id', "echo $nobody");
        shim($bin, 'unshare', unshare(''));
    } else {
        shim($bin, 'unshare', unshare('--user --map-root-user --keep-caps'));
        shim($bin, 'setpriv', 'while [ "$1" != -- ]; do shift; done; shift; exec "$@"');
    }
    return "$bin:$path";
}

SKIP: {
    skip 'there are no user namespaces to play root in', 3 if $> && !$namespaces;
    chdir '/' or die;
    chmod 0777, $here;
    local $ENV{PATH} = user_with_sudo();

    subtest 'sudo is asked for what will run, and for nothing else' => sub {
        is(said($lab, 'sh', '-c', 'ip -br link | cut -d" " -f1; exit 7'), "7 lo\n",
            'a network, and the status');
        is(slurp("$here/asked"), "-n unshare\nunshare --net\n",
            'probed without a prompt, then run');
    };

    subtest 'the command has the variables that lab.sh names' => sub {
        local %ENV = (
            %ENV,
            HOME     => '/nowhere',
            LANG     => 'C',
            LC_TIME  => 'C.UTF-8',
            TZ       => 'Lab-5',
            AWK      => 'my awk',
            CI       => 'no',
            TERM     => 'dumb',
            LAB_TEST => 'not named',
        );
        my ($status, $out) = run($lab, 'env');
        for my $name (qw(HOME LANG LC_TIME TZ AWK CI TERM PATH)) {
            like($out, qr/^$name=\Q$ENV{$name}\E/m, $name);
        }
        unlike($out, qr/LAB_TEST|SUDO_/, 'and no other');
    };

    subtest 'the command is the user again, who may capture and set rules' => sub {
        my $user = $> == 0 ? $nobody : 0;
        is(said($lab, $^X, '-e', 'print $>'), "0 $user", 'the same uid');
        is(said($lab, 'sh', '-c', 'tcpdump -i lo -L >/dev/null 2>&1 && nft list tables'), '0 ',
            'tcpdump and nft may do their work');
    };
}
done_testing;
