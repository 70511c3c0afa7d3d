#!/usr/bin/perl
# scripts/lab.sh: a private network around a command, and nothing else between it and its caller.
# (With the real sudo, on a terminal: sudo.t.)
use v5.36;
use FindBin; use lib $FindBin::Bin; use Lab;

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
    my ($status, $out, $err) = run('env', $users_path, $lab, 'sh', '-c',
        'ip -br link; ip -4 -br addr; readlink /proc/self/ns/net; cat /proc/net/tcp');
    is("$status $err", '0 ', 'it adds no word of its own');
    like($out, qr/^lo +\S+ .*<LOOPBACK,UP,LOWER_UP> *\nlo +\S+ +127\.0\.0\.1\/8 *\n/, 'lo');
    unlike($out, qr{\Q@{[readlink '/proc/self/ns/net']}\E|^ *\d+: }m,
        'another network, no port is taken');
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

# Each of the ports resets with linger. What does the client meet? There is nothing to wait for: a
# RST that is lost does not come. The last port is closed, and refuses.
my @resets = ($^X, "-I$root/tests", '-MLab', '-e', '$SIG{PIPE} = "IGNORE";
    for (@ARGV) {
        my $l = IO::Socket::INET->new(LocalAddr => "127.0.0.1:$_", Listen => 1);
        my $c = IO::Socket::INET->new("127.0.0.1:$_");
        hang_up(scalar $l->accept);
        sleep 0.2;
        $c->blocking(0);
        print defined sysread($c, my $x, 1) ? "end" : $!{ECONNRESET} ? "reset" : "nothing";
        $c->blocking(1);
        $! = 0;
        syswrite $c, "x";
        sysread $c, $x, 1 if !$!;
        print $!{ECONNRESET} || $!{EPIPE} ? " R, " : ", ";
    }
    my $open = IO::Socket::INET->new("127.0.0.1:8099");
    print $open ? "open" : $!{ECONNREFUSED} ? "refused" : "nothing"');

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
    is(said($lab, 'sh', '-c', "exit $_"), "$_ ", "status $_") for 0, 7, 125, 255;
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
    local @ENV{qw(LAB_TEST HOME LANG TZ PATH)} = ("a b\n*", '/nowhere', 'C', 'Lab-5',
        "$path:/usr/sbin");
    my @print = ($^X, '-MCwd', '-e', 'print join "|", @ARGV, getcwd, $>, $) + 0, <STDIN>,
        map { "$_=$ENV{$_}" } sort grep { !/^(_|SHLVL|OLDPWD|PWD)$/ } keys %ENV',
        '--', 'a b', '', '*', q('"), '$HOME', "two\nlines", '-n');
    my @with_stdin = ('sh', '-c', 'echo in | "$@"', 'sh');
    is(said(@with_stdin, $lab, @print), said(@with_stdin, @print), 'the same');
};

subtest 'the terminal is the same' => sub {
    my $command = "'$lab' sh -c 'test -t 0 && test -t 1 && test -t 2'";
    is((run('script', '-qec', $command, '/dev/null'))[0], 0, 'stdin, stdout and stderr');
};

# ---- without a lab: one line, status 125 --------------------------------------------------------

subtest 'what it cannot do is said in one line, with status 125' => sub {
    is(said($lab, @$_), "125 lab.sh: no COMMAND $usage\n",
        "no command: '@$_'") for [], [''], ['--lose-rst'];
    is(said($lab, '--fast', 'true'), "125 lab.sh: --fast: unknown option $usage\n", 'an option');
    is(said($lab, '--help'), "0 " . substr($usage, 1, -1) . "\n", '--help is no error');
    my $bin = commands();
    symlink which($_), "$bin/$_" or die for qw(sh sed tr);
    local $ENV{PATH} = $bin;
    is(said($lab, 'true'), "125 lab.sh: unshare: not found (sudo apt-get install util-linux)\n",
        'no unshare');
};

subtest 'a rule that nft refuses: the command is not run' => sub {
    plan(skip_all => 'sudo has its own PATH') if $> && !$namespaces;
    local $ENV{PATH} = commands(nft => 'exit 1') . ":$path";
    is(join(' ', (run($lab, '--lose-rst', 'echo', 'ran'))[0, 1]), '125 ', 'status 125');
};

subtest 'namespaces are refused to all: the command is not run, and why is said' => sub {
    local $ENV{PATH} = commands(
        unshare => 'echo "unshare: no namespaces for you" >&2; exit 1',
        sudo => 'exit 1',
        id => 'echo 4242',
    ) . ":$path";
    is(said($lab, 'sh', '-c', 'echo ran'),
        "125 lab.sh: sudo is used, for a user may not have a private network "
        . "here: unshare: no namespaces for you\n"
        . "lab.sh: no private network here, sudo did not make one either\n",
        'a user');
    local $ENV{PATH} = commands(unshare => 'echo "unshare: not here" >&2; exit 1', id => 'echo 0')
        . ":$path";
    is(said($lab, 'sh', '-c', 'echo ran'), "125 lab.sh: no private network here: unshare: not here "
        . "(scripts/capture.sh records on lo as well)\n", 'root');
};

# ---- by sudo ------------------------------------------------------------------------------------

# The PATH of a user who may not have namespaces, but a sudo that allows unshare alone: it writes
# its arguments to "asked", and hands over no variable. Root plays nobody; a user plays root, in a
# namespace.
sub user_with_sudo () {
    my %commands = (sudo => "echo \"\$1 \$2\" >>'$here/asked'
        [ \"\$1\" != -n ] || shift
        [ \"\$1\" = unshare ] || exit 1
        exec env -i SUDO_UID=1 PATH=\"\${0%/*}:/usr/sbin:/usr/bin:/sbin:/bin\" \"\$@\"");
    my $inner = '';
    if ($> == 0) {
        $commands{id} = "echo $nobody";
    } else {
        $inner = '--user --map-root-user --keep-caps';
        $commands{setpriv} = "while [ \"\$1\" != -- ]; do shift; done\nshift\nexec \"\$@\"";
    }
    $commands{unshare} = "[ \"\$1\" != --user ] || { echo 'unshare: refused' >&2; exit 1; }
        exec /usr/bin/unshare $inner \"\$@\"";
    return commands(%commands) . ":$path";
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
        local %ENV = (%ENV, HOME => '/nowhere', LANG => 'C', LC_TIME => 'C.UTF-8', TZ => 'Lab-5',
            AWK => 'my awk', CI => 'no', TERM => 'dumb', LAB_TEST => 'not named');
        my ($status, $out) = run($lab, 'env');
        for my $name (qw(HOME LANG LC_TIME TZ AWK CI TERM PATH)) {
            like($out, qr/^$name=\Q$ENV{$name}\E/m, $name);
        }
        unlike($out, qr/LAB_TEST|SUDO_/, 'and no other');
    };

    subtest 'the command is the user again, who may capture and set rules' => sub {
        my $user = $> == 0 ? $nobody : 0;
        is(said($lab, 'sh', '-c',
            "$^X -e 'print \$>'; tcpdump -i lo -L >/dev/null 2>&1 && nft list tables"),
            "0 $user", 'the same uid');
    };
}
done_testing;
