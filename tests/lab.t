#!/usr/bin/perl
# scripts/lab.sh: a private network around a command, and nothing else between it and its caller.
use v5.36;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Capture;

private_network();
my $lab = "$root/scripts/lab.sh";
my $here = tempdir(CLEANUP => 1) . '/a place +(';
mkdir $here or die "mkdir $here: $!";
chdir $here or die "chdir $here: $!";

# Whether a user of this kind of machine gets a lab without sudo.
my (undef, undef, $uid, $gid) = getpwnam 'nobody';
my @nobody = $> ? () : ('setpriv', "--reuid=$uid", "--regid=$gid", '--clear-groups');
my $namespaces = system("@nobody unshare --user --map-current-user --net true 2>/dev/null") == 0;

# ---- the network --------------------------------------------------------------------------------

subtest 'the network holds nothing but its own lo' => sub {
    my $look = 'ip -br link; readlink /proc/self/ns/net';
    my ($status, $out, $err) = run($lab, 'sh', '-c', $look);
    is("$status $err", '0 ', 'it adds no word of its own');
    like($out, qr/\Alo +\S+ .*<LOOPBACK,UP,LOWER_UP> *\nnet:\S+\n\z/, 'lo is up');
    my $network = readlink '/proc/self/ns/net';
    unlike($out, qr/\Q$network\E/, 'it is not the network outside');
};

subtest 'a user may capture and filter in it without sudo' => sub {
    plan(skip_all => 'users may not have namespaces here') if !$namespaces;
    need('tcpdump', 'nft');
    my $readable = tempdir(CLEANUP => 1);    # by everybody
    chmod 0755, $readable;
    save("$readable/lab.sh", slurp($lab));
    chdir '/' or die;
    local $ENV{PATH} = '/usr/local/bin:/usr/bin:/bin';    # as Debian sets it for users
    my $look = 'tcpdump -i lo -L >&2 && nft list ruleset && id -u';
    is(said(@nobody, "$readable/lab.sh", 'sh', '-c', $look) =~ s/\n.*//sr, '0 ' . ($> || $uid),
        'the user is the same');
    chdir $here or die;
};

# At each of the ports that it is given a server resets with linger. Prints whether that RST has
# come, for all but the last, which has to; and "R" if what the client then sends is answered with
# another one.
my @resets = pinned($^X, "-I$root/tests", '-Mv5.36', '-MLab', '-e', <<'END');
    sub is_reset ($client) {
        return !defined sysread($client, my $data, 1) && $!{ECONNRESET};
    }

    my @clients;
    for my $port (@ARGV) {
        my $listener = IO::Socket::INET->new(LocalAddr => "127.0.0.1:$port", Listen => 1);
        push @clients, IO::Socket::INET->new("127.0.0.1:$port");
        hang_up(scalar $listener->accept);
    }
    is_reset(pop @clients);    # on one CPU packets keep their order: the others have come, or never
    for my $client (@clients) {
        $client->blocking(0);
        my $is_lost = !is_reset($client);
        print $is_lost ? 'lost ' : 'reset ';
        $client->blocking(1);
        print 'R ' if $is_lost && syswrite($client, 'x') && is_reset($client);
    }
END

subtest '--lose-rst loses the RST of all samples but sample1, and nothing else' => sub {
    need('nft');
    mkdir $_ or die "$_: $!" for 'scripts', map { "sample$_" } 1 .. 4;
    my $copy = save('scripts/lab.sh', slurp($lab));
    my @ports = (8081 .. 8086);
    my $three = 'lost R ' x 3;
    is(said($copy, '--lose-rst', @resets, @ports), "0 reset ${three}reset ", 'with it');
    is(said($copy, @resets, @ports), '0 reset reset reset reset reset ', 'without it');
};

# ---- nothing else changes -----------------------------------------------------------------------

subtest 'the status is that of COMMAND' => sub {
    is(said($lab, 'sh', '-c', 'exit 7'), '7 ', 'it is 7');
};

subtest 'COMMAND has the arguments, directory, user, stdin and environment of outside' => sub {
    plan(skip_all => 'sudo hands over less') if $> && !$namespaces;
    local $ENV{LAB_TEST} = "a b\n*";
    local $ENV{PATH} = "$ENV{PATH}:/usr/sbin";
    my @print = ($^X, '-MCwd', '-e', <<'END', '--', 'a b', '', '*', q('"), '$HOME', "two\nlines");
        delete @ENV{qw(_ SHLVL OLDPWD PWD PATH debian_chroot)};    # a shell or lab.sh sets them
        print join '|', @ARGV, getcwd, $>, $) + 0, <STDIN>, %ENV{sort keys %ENV};
END
    my @with_stdin = ('sh', '-c', 'echo in | "$@"', 'sh');
    is(said(@with_stdin, $lab, @print), said(@with_stdin, @print), 'they are the same');
};

subtest 'COMMAND has the terminal of outside' => sub {
    need('script');
    my $command = "'$lab' sh -c 'test -t 0 && test -t 1 && test -t 2'";
    is((run('script', '-qec', $command, '/dev/null'))[0], 0, 'stdin, stdout and stderr');
};

subtest 'a shell shows by its prompt that it is in a lab' => sub {
    plan(skip_all => 'not the bash of Debian') if !-e '/etc/bash.bashrc';
    local $ENV{HOME} = $here;
    my (undef, $prompt) = run($lab, 'bash', '-ic', 'echo "${PS1@P}"');
    like($prompt, qr/^\(lab\)/, 'bash');
};

# ---- where users may have no network of their own ------------------------------------------------

subtest 'sudo makes the network where a user may not, and that is said' => sub {
    plan(skip_all => 'not root') if $> != 0;
    need('tcpdump', 'nft');
    my $unshare = which('unshare');
    local $ENV{PATH} = hiding(
        id      => "case \$1 in -u) echo $uid ;; -g) echo $gid ;; esac",
        unshare => "[ \"\$1\" != --user ] || exit 1\nexec $unshare \"\$@\"",
        sudo    => "[ \"\$1\" != -n ] || exit 1\nexec env -i PATH=/usr/sbin:/usr/bin:/bin \"\$@\"",
    );
    local $ENV{TZ} = 'Lab-5';
    local $ENV{TMPDIR} = '/var/tmp';
    my $look = 'tcpdump -i lo -L >/dev/null 2>&1 && nft list ruleset && echo may capture, filter
        echo $TZ $TMPDIR $debian_chroot; ip -br link | cut -d " " -f 1
        perl -e "print join q( ), $>, $)"; exit 7';
    is(said($lab, 'sh', '-c', $look), <<"END", 'COMMAND is the user again, with what it needs');
7 may capture, filter
Lab-5 /var/tmp lab
lo
$uid $gid ${gid}lab.sh: sudo makes the private network: it may ask for your password
END
};

# ---- without a lab: status 125, and the reason --------------------------------------------------

subtest 'where there can be no network COMMAND does not run: status 125, and the reason' => sub {
    my $no = 'echo "unshare: no" >&2; exit 1';
    my ($bin) = split /:/, hiding(unshare => $no, id => 'echo 4242');
    for my $tool (qw(sh sed ip printenv)) {
        symlink which($tool), "$bin/$tool" or die "symlink: $!";
    }
    local $ENV{PATH} = $bin;
    my @echo = ($lab, 'echo', 'ran');
    my $no_network = '125 lab.sh: no private network';
    is(said(@echo), "$no_network for a user here: unshare: no (install sudo, or be root)\n",
        'without sudo');
    shim($bin, 'sudo', 'exit 1');
    like(said(@echo), qr/^125 .*\n.*: no private network here, sudo did not make one either\n\z/,
        'with sudo');
    shim($bin, 'id', 'echo 0');
    is(said(@echo), "$no_network here: unshare: no (scripts/capture.sh records on lo as well)\n",
        'root');
};

subtest 'where nft refuses the rule COMMAND does not run: status 125, and the reason' => sub {
    plan(skip_all => 'sudo has its own PATH') if $> && !$namespaces;
    local $ENV{PATH} = hiding(nft => 'echo "nft: no" >&2; exit 1');
    is(said($lab, '--lose-rst', 'echo', 'ran'), "125 nft: no\n", 'in words of nft');
};
done_testing;
