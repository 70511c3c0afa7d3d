#!/usr/bin/perl
# scripts/lab.sh: a private network around a command, and nothing else between it and its caller.
use v5.36;
use FindBin; use lib $FindBin::Bin; use Lab;

need(qw(tcpdump unshare ip script setpriv nft));
private_network();
my @nobody = qw(setpriv --reuid=65534 --regid=65534 --clear-groups);
if ($> == 0 && system("@nobody unshare --user --map-current-user --net true 2>/dev/null") == 0) {
    is((run(@nobody, 'scripts/lab.sh', 'tcpdump', '-i', 'lo', '-L'))[0], 0,
        'where users may have namespaces they have a lab, in which tcpdump may capture');
}
my ($lab, $dir) = ("$root/scripts/lab.sh", tempdir(CLEANUP => 1));
my ($here, $path) = ("$dir/a place +(", $ENV{PATH});
chmod 0755, $dir;
mkdir $_ or die "mkdir $_: $!" for $here, "$dir/bin";
chdir $here or die "chdir: $!";
# a command that stands before the real one in PATH
sub shim ($name, $text) { return save("$dir/bin/$name", "#!/bin/sh\n$text\n") }

# ---- without a lab: one line, status 125 ---------------------------------------------------------
my $usage = '(usage: scripts/lab.sh [--lose-rst] COMMAND [ARGUMENT...])';
is(said($lab, @$_), '125 lab.sh: ' . ($_->[1] ? '--fast' : 'no command') . " $usage\n", "'@$_': the usage")
    for [], [''], ['--fast', 'true'], ['--lose-rst'];
symlink which($_), "$dir/bin/$_" or die for qw(sh id tr sed env true);
$ENV{PATH} = "$dir/bin";
is(said($lab, 'true'), "125 lab.sh: unshare: not found (sudo apt-get install util-linux)\n",
    'no unshare: what to install');
shim('unshare', 'echo "unshare: no namespaces for you" >&2; exit 1');
shim('sudo', 'exit 1');
like(said($lab, 'sh', '-c', 'echo ran'),
    qr/^125 (?=(?:.*\n)?.*no namespaces for you)(?:lab\.sh: using.*\n)?lab\.sh: .*\n\z/,
    'namespaces refused, also to sudo: not run, a line says why');
# Where lab.sh needs sudo, that has its own PATH and variables.
my $by_sudo = $> && system('/usr/bin/unshare --user --map-current-user --net true 2>/dev/null') != 0;
unlink "$dir/bin/unshare", "$dir/bin/sudo";
$ENV{PATH} = "$dir/bin:$path";
if (!$by_sudo) {
    my $refuses = shim('nft', 'exit 1');
    is(join(' ', (run($lab, '--lose-rst', 'echo', 'ran'))[0, 1]), '125 ', 'a rule that nft refuses: not run');
    unlink $refuses;
}

# ---- an ordinary user who may not have namespaces gets a lab by sudo -----------------------------
SKIP: {
    skip 'root needs no sudo, or there are no user namespaces to play root in', 4 if $> == 0 || $by_sudo;
    shim('unshare', "[ \"\$1\" != --user ] || { echo 'unshare: refused' >&2; exit 1; }
        exec /usr/bin/unshare --user --map-root-user --keep-caps \"\$@\"");
    shim('sudo', '[ "$1" != -n ] || exit 1; while :; do case $1 in -*) shift ;; *) break ;; esac; done
        exec env -u HOME PATH="$PATH" "$@"');
    shim('setpriv', 'while [ "$1" != -- ]; do echo "$1" >>"$0.log"; shift; done; shift; exec "$@"');
    local @ENV{qw(LAB_TEST HOME)} = ("a b\n*", '/nowhere');
    my ($status, $out, $err) = run($lab, 'sh', '-c',
        'echo "$HOME $PATH $LAB_TEST"; PATH=$PATH:/usr/sbin ip -br link; exit 7');
    like($err, qr/^lab\.sh: using sudo, .*: unshare: refused$/m, 'lab.sh takes sudo, and says why');
    is($status, 7, '... the exit status comes back');
    like($out, qr/^\/nowhere \Q$dir\E\/bin:\S+ a b\n\*\nlo .*<LOOPBACK,UP,LOWER_UP> *\n\z/,
        '... the environment as it was, in a network of its own');
    like(slurp("$dir/bin/setpriv.log"), qr/^--reuid\n(?:.*\n)*--regid\n(?:.*\n)*--init-groups\n/,
        '... with the groups of the user, no longer root');
}
$ENV{PATH} = $path;

# ---- the network ---------------------------------------------------------------------------------
my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1:0', Listen => 1) or die "listen: $@";
my ($status, $out, $err) = run('env', 'PATH=/usr/bin:/bin', $lab, 'sh', '-c',
    'PATH=$PATH:/usr/sbin; ip -br link; ip -4 -br addr; readlink /proc/self/ns/net; cat /proc/net/tcp');
is("$status $err", '0 ', 'it adds no word of its own, and needs no /usr/sbin in PATH');
like($out, qr/^lo +\S+ .*<LOOPBACK,UP,LOWER_UP> *\nlo +\S+ +127\.0\.0\.1\/8 *\n/, 'there is lo and no more');
unlike($out, qr{\Q@{[readlink '/proc/self/ns/net']}\E|^ *\d+: }m, 'another network, where no port is taken');

# Each of three ports resets with linger, and a closed port refuses. What does the client meet? There is
# nothing to wait for: a RST that is lost does not come.
my @resets = ($^X, "-I$root/tests", '-MLab', '-e', '$SIG{PIPE} = "IGNORE"; for (8081 .. 8083) {
    my $l = IO::Socket::INET->new(LocalAddr => "127.0.0.1:$_", Listen => 1);
    my $c = IO::Socket::INET->new("127.0.0.1:$_");
    hang_up(scalar $l->accept); sleep 0.2; $c->blocking(0);
    print defined sysread($c, my $x, 1) ? "end" : $!{ECONNRESET} ? "reset" : "nothing";
    $c->blocking(1); $! = 0; syswrite $c, "x"; sysread $c, $x, 1 if !$!;
    print $!{ECONNRESET} || $!{EPIPE} ? " R, " : ", " }
    print IO::Socket::INET->new("127.0.0.1:8084") ? "open" : $!{ECONNREFUSED} ? "refused" : "nothing"');
is(said($lab, '--lose-rst', @resets), '0 reset R, nothing R, nothing R, refused',
    '--lose-rst drops the RST,ACK of samples 2 and 3, and no other RST');
is(said($lab, @resets), '0 reset R, reset R, reset R, refused', '... the control: without it, none');
is(said('env', 'PATH=/usr/bin:/bin', $lab, '--lose-rst', 'true'), '0 ', 'nft is found in /usr/sbin');

# ---- nothing else changes ------------------------------------------------------------------------
is(said($lab, 'sh', '-c', "exit $_"), "$_ ", "exit status $_ comes back") for 0, 7, 125, 255;
is((run($lab, './nothing'))[0], 127, 'a command that does not exist: 127, as a shell says it');
for my $signal (qw(HUP INT KILL TERM)) {
    my $process = start($lab, 'sh', '-c', 'echo ready; exec sleep 600');
    shows($process, qr/ready/) or fail('ready');
    is(stop($process, $signal), { HUP => 1, INT => 2, TERM => 15, KILL => 9 }->{$signal},
        "SIG$signal reaches the command, and its death is seen");
}
{
    local @ENV{qw(LAB_TEST HOME LANG TZ)} = ("a b\n*", '/nowhere', 'C', 'Lab-5');
    my @print = ($^X, '-MCwd', '-e', 'print join "|", @ARGV, getcwd, $>, $) + 0, <STDIN>,
        map { "$_=$ENV{$_}" } sort grep { !/^(_|SHLVL|OLDPWD|PWD|SUDO_\w+|SHELL|MAIL)$/ } keys %ENV',
        '--', 'a b', '', '*', q('"), '$HOME', "two\nlines", '-n');
    my @with_stdin = ('sh', '-c', 'echo in | "$@"', 'sh');
    is(said(@with_stdin, $lab, @print), said(@with_stdin, @print),
        'arguments, directory, user, group, stdin and environment are the same');
}
is((run('script', '-qec', "'$lab' sh -c 'test -t 0 && test -t 1 && test -t 2'", 'typescript'))[0], 0,
    'so is the terminal');
done_testing;
