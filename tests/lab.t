#!/usr/bin/perl
# scripts/lab.sh: a private network around a command, and nothing else between it and its caller.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Cwd 'getcwd';
use IO::Socket::INET;
use Test::More;

need(qw(tcpdump unshare ip script setpriv));
my $user = $> == 0 ? as_user() : undef;
my @nobody = ('setpriv', '--reuid=65534', '--regid=65534', '--clear-groups');
if ($> == 0 && system("@nobody unshare --user --map-current-user --net true 2>/dev/null") == 0) {
    is((run(@nobody, 'scripts/lab.sh', 'tcpdump', '-i', 'lo', '-L'))[0], 0,
        'where users may have namespaces they have a lab, in which tcpdump may capture');
}
private_network();    # or skip
my $lab = getcwd() . '/scripts/lab.sh';
my $dir = tempdir(CLEANUP => 1);
chmod 0755, $dir;
my $here = "$dir/a place +(";
mkdir $_ or die "mkdir $_: $!" for $here, "$dir/bin";
chdir $here or die "chdir: $!";
my $nft = grep { -x "$_/nft" } split(/:/, $ENV{PATH}), '/usr/sbin';

sub shim {    # a command that stands before the real one in PATH
    my ($name, $text) = @_;
    open my $file, '>', "$dir/bin/$name" or die "$name: $!";
    print $file "#!/bin/sh\n$text\n";
    close $file or die;
    chmod 0755, "$dir/bin/$name";
}

# ---- without a lab: one line, status 125 ---------------------------------------------------------
my $usage = qr/\(usage: scripts\/lab\.sh \[--lose-rst\] COMMAND \[ARGUMENT\.\.\.\]\)\n\z/;
for ([[], 'no command'], [[''], 'no command'], [['--lose-rst'], 'no command'],
    [['--fast', 'true'], '--fast']) {
    my ($arguments, $reason) = @$_;
    my ($status, $out, $err) = run($lab, @$arguments);
    like("$status $out$err", $reason eq 'no command' && $arguments->[0] && !$nft ? qr/^125 /
        : qr/^125 lab\.sh: $reason $usage/,
            "'@$arguments': $reason, in one line, with the usage and status 125");
}
for my $tool (qw(sh id tr sed env true)) { symlink((grep { -x } "/usr/bin/$tool", "/bin/$tool")[0],
    "$dir/bin/$tool") or die }
{
    local $ENV{PATH} = "$dir/bin";
    my ($status, $out, $err) = run($lab, 'true');
    is("$status $out$err", "125 lab.sh: unshare: not found (sudo apt-get install util-linux)\n",
        'no unshare: what to install');
    shim('unshare', 'echo "unshare: no namespaces for you" >&2; exit 1');
    shim('sudo', 'exit 1');
    ($status, $out, $err) = run($lab, 'sh', '-c', 'echo ran');
    like("$status $out$err", qr/^125 (?:lab\.sh: using sudo.*\n)?lab\.sh: .*\n\z/,
        'namespaces refused, also to sudo: not run, a line says why');
    like($err, qr/no namespaces for you/, '... in the words of unshare');
}
unlink "$dir/bin/unshare", "$dir/bin/sudo";
# Where lab.sh needs sudo, that has its own PATH and variables.
my $by_sudo = $> && system('unshare --user --map-current-user --keep-caps --net true 2>/dev/null') != 0;
if ($nft && !$by_sudo) {
    shim('nft', 'exit 1');
    local $ENV{PATH} = "$dir/bin:$ENV{PATH}";
    is(join(' ', (run($lab, '--lose-rst', 'echo', 'ran'))[0, 1]), '125 ',
        'a rule that nft refuses: not run, 125');
    unlink "$dir/bin/nft";
}

# ---- an ordinary user who may not have namespaces gets a lab by sudo -----------------------------
SKIP: {
    skip 'root needs no sudo', 4 if $> == 0;
    skip 'no user namespaces here to play root in', 4 if $by_sudo;
    my $real = (grep { -x } '/usr/bin/unshare', '/bin/unshare')[0];
    shim('unshare', "[ \"\$1\" != --user ] || { echo 'unshare: refused' >&2; exit 1; }
        exec $real --user --map-root-user --keep-caps \"\$@\"");
    shim('sudo', '[ "$1" != -n ] || exit 1; while :; do case $1 in -*) shift ;; *) break ;; esac; done
        exec env -u HOME PATH="$PATH" "$@"');
    shim('setpriv', 'while [ "$1" != -- ]; do echo "$1" >>"$0.log"; shift; done; shift; exec "$@"');
    local %ENV = (%ENV, PATH => "$dir/bin:$ENV{PATH}", LAB_TEST => "a b\n*", HOME => '/nowhere');
    my ($status, $out, $err) = run($lab, 'sh', '-c',
        'echo "$HOME $PATH $LAB_TEST"; PATH=$PATH:/usr/sbin ip -br link; exit 7');
    like($err, qr/^lab\.sh: using sudo, .*: unshare: refused$/m, 'lab.sh takes sudo, and says why');
    is($status, 7, '... the exit status comes back');
    like($out, qr/^\/nowhere \Q$dir\E\/bin:\S+ a b\n\*\nlo .*<LOOPBACK,UP,LOWER_UP> *\n\z/,
        '... the environment as it was, in a network of its own');
    like(slurp("$dir/bin/setpriv.log"), qr/^--reuid\n(?:.*\n)*--regid\n(?:.*\n)*--init-groups\n/,
        '... with the groups of the user, no longer root');
    unlink map { "$dir/bin/$_" } qw(unshare sudo setpriv);
}

# ---- the network ---------------------------------------------------------------------------------
my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1:0', Listen => 1) or die "listen: $@";
my ($status, $out, $err) = run('env', 'PATH=/usr/bin:/bin', $lab, 'sh', '-c',
    'PATH=$PATH:/usr/sbin; ip -br link; ip -4 -br addr; readlink /proc/self/ns/net; cat /proc/net/tcp');
like($out, qr/^lo +\S+ .*<LOOPBACK,UP,LOWER_UP> *\nlo +\S+ +127\.0\.0\.1\/8 *\n/,
    'there is lo, up, and no other interface, also without /usr/sbin in PATH');
my $outside = readlink '/proc/self/ns/net';
unlike($out, qr/\Q$outside\E|^ *\d+: /m, 'the network is not the one outside, and no port is taken');
is("$status $err", '0 ', 'it adds no word of its own');
my $two_packets = 'open my $tcpdump, "-|",
    "tcpdump -i lo -U --immediate-mode -c 2 -w - 2>$ARGV[0].err >$ARGV[0]; echo" or die;
    1 until `cat $ARGV[0].err` =~ /listening on/; IO::Socket::INET->new("127.0.0.1:9"); <$tcpdump>';
run($lab, $^X, '-MIO::Socket::INET', '-e', $two_packets, 'lab.pcap');
is_deeply([map { "@$_" } conversations('lab.pcap')], ['>S <R.'], 'tcpdump works in it');

SKIP: {
    skip 'nft is not installed', 3 unless $nft;
    # Each of three ports resets with linger, and a closed port refuses. What does the client meet?
    my $resets = 'use Socket; use IO::Socket::INET; alarm 60; $SIG{PIPE} = "IGNORE"; for (@ARGV) {
        my $l = IO::Socket::INET->new(LocalAddr => "127.0.0.1:$_", Listen => 1);
            my $c = IO::Socket::INET->new("127.0.0.1:$_");
        my $s = $l->accept; setsockopt $s, SOL_SOCKET, SO_LINGER, pack("ii", 1, 0); close $s;
        # nothing to wait for: a RST that is lost does not come
        $c->blocking(0); select undef, undef, undef, 0.2;
        print "$_ ", defined sysread($c, my $x, 1) ? "end" : $!{ECONNRESET} ? "reset" : "nothing";
        $c->blocking(1); $! = 0; syswrite $c, "x"; sysread $c, $x, 1 if !$!;
        print $!{ECONNRESET} || $!{EPIPE} ? " R\n" : "\n" }
        print "8082 ", IO::Socket::INET->new("127.0.0.1:8084") ? "open" : $!{ECONNREFUSED} ? "refused"
            : "nothing", "\n";';
    is((run($lab, '--lose-rst', $^X, '-e', $resets, 8081 .. 8083))[1],
        "8081 reset R\n8082 nothing R\n8083 nothing R\n8082 refused\n",
        '--lose-rst drops the RST,ACK of samples 2 and 3, and no other RST');
    is((run($lab, $^X, '-e', $resets, 8081 .. 8083))[1],
        "8081 reset R\n8082 reset R\n8083 reset R\n8082 refused\n", '... the control: without it, none');
}

# ---- nothing else changes ------------------------------------------------------------------------
is((run($lab, 'sh', '-c', "exit $_"))[0], $_, "exit status $_ comes back") for 0, 7, 125, 255;
is((run($lab, './nothing'))[0], 127, 'a command that does not exist: 127, as a shell says it');
for my $signal (qw(TERM INT HUP KILL)) {
    my $process = start($lab, 'sh', '-c', 'echo ready; exec sleep 600');
    eventually(sub { slurp($process->{out}) eq "ready\n" }) or fail('ready');
    is(stop($process, $signal), { HUP => 1, INT => 2, TERM => 15, KILL => 9 }->{$signal},
        "SIG$signal reaches the command, and its death is seen");
}
my @words = ('a b', '', '*', q('"), '$HOME', "two\nlines", '-n');
is((run($lab, $^X, '-e', 'print join "|", @ARGV', '--', @words))[1], join('|', @words),
    'arguments come through as they are');
{
    local %ENV = (%ENV, LAB_TEST => "a b\n*", HOME => '/nowhere', LANG => 'C', TZ => 'Lab-5');
    my @print = ($^X, '-e', 'print map { "$_=$ENV{$_};" } sort
        grep { !/^(_|SHLVL|OLDPWD|PWD|SUDO_\w+|SHELL|MAIL)$/ } keys %ENV; print "$> ", $) + 0');
    is((run($lab, @print))[1], (run(@print))[1], 'environment, user and group are the same');
}
is((run($lab, 'pwd'))[1], "$here\n", 'the working directory is the same');
is((run('sh', '-c', 'echo in | "$0" cat', $lab))[1], "in\n", 'stdin comes through');
($status) = run('script', '-qec', "'$lab' sh -c 'test -t 0 && test -t 1 && test -t 2'", 'typescript');
is($status, 0, 'so does the terminal');
is((run($lab, $lab, 'sh', '-c', 'exit 3'))[0], 3, 'a lab in a lab works');
SKIP: {
    skip('nft is not installed', 1) if !grep { -x "$_/nft" } '/usr/bin', '/usr/sbin';
    local $ENV{PATH} = '/usr/bin:/bin';    # an ordinary user's
    is((run($lab, '--lose-rst', 'true'))[0], 0, 'nft is found in /usr/sbin');
}
as_user_ok($user) if $user;
done_testing;
