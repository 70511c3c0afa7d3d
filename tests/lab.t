#!/usr/bin/perl
# scripts/lab.sh: a private network around a command, and nothing else between it and its caller.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Cwd 'getcwd';
use File::Temp 'tempdir';
use IO::Socket::INET;
use Test::More;

need(qw(tcpdump unshare ip script));
my $user = $> == 0 ? as_user() : undef;
private_network();    # or skip
my $lab = getcwd() . '/scripts/lab.sh';
my $dir = tempdir(CLEANUP => 1);
my $here = "$dir/a place +(";
mkdir $_ or die "mkdir $_: $!" for $here, "$dir/bin";
chdir $here or die "chdir: $!";

# ---- what it refuses -----------------------------------------------------------------------------
my $usage = qr/\(usage: scripts\/lab\.sh \[--lose-rst\] COMMAND \[ARGUMENT\.\.\.\]\)\n\z/;
for ([[], 'no command'], [[''], 'no command'], [['--lose-rst'], 'no command'], [['--fast', 'true'], '--fast']) {
    my ($arguments, $reason) = @$_;
    my ($status, $out, $err) = run($lab, @$arguments);
    like("$status $out$err", qr/^125 lab\.sh: $reason $usage/, "'@$arguments': $reason, in one line, with the usage and status 125");
}

sub tools {    # a PATH with nothing but these
    for my $tool (@_) {
        symlink((grep { -x } map { "$_/$tool" } qw(/usr/bin /bin /usr/sbin /sbin))[0], "$dir/bin/$tool") or die "$tool: $!" unless -e "$dir/bin/$tool";
    }
    return "$dir/bin";
}
{
    local $ENV{PATH} = tools(qw(sh id));
    my ($status, $out, $err) = run($lab, 'true');
    is("$status $out$err", "125 lab.sh: unshare: not found (apt-get install util-linux)\n", 'without unshare it says what to install');
}
SKIP: {
    skip 'only an ordinary user needs the permission', 4 if $> == 0;
    skip 'sudo is in /usr/sbin', 4 if -x '/usr/sbin/sudo';
    my $real = (grep { -x } '/usr/bin/unshare', '/bin/unshare')[0];
    for (['refuses', 'echo "unshare: no namespaces for you" >&2; exit 1', qr/unshare: no namespaces for you/],
         ['succeeds and then allows nothing', "shift 4; exec $real --user --map-current-user \"\$@\"", qr/.*not permitted.*/]) {
        my ($what, $does, $why) = @$_;
        unlink "$dir/bin/unshare";
        open my $shim, '>', "$dir/bin/unshare" or die;
        print $shim "#!/bin/sh\n$does\n";
        close $shim or die;
        chmod 0755, "$dir/bin/unshare";
        local $ENV{PATH} = tools(qw(sh id ip true));
        my ($status, $out, $err) = run($lab, 'sh', '-c', 'echo ran');
        is("$status $out", '125 ', "where unshare $what and there is no sudo, the command is not run");
        like($err, qr/^lab\.sh: no private network for an ordinary user here: $why \(install sudo, or be root\)\n\z/, 'a line says why, and what to do');
    }
}

# ---- the network ---------------------------------------------------------------------------------
my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1:0', Listen => 1) or die "listen: $@";
my $port = $listener->sockport;
my ($status, $out, $err) = run($lab, 'sh', '-c', "PATH=\$PATH:/usr/sbin; ip -br link; ip -4 -br addr; readlink /proc/self/ns/net; cat /proc/net/tcp");
like($out, qr/^lo +\S+ .*<LOOPBACK,UP,LOWER_UP> *\nlo +\S+ +127\.0\.0\.1\/8 *\n/, 'there is lo, up, and no other interface');
my $outside = readlink '/proc/self/ns/net';
unlike($out, qr/\Q$outside\E/, 'the network is not the one outside');
unlike($out, qr/^ *\d+: /m, 'no port is taken');
is("$status $err", '0 ', 'it adds no word of its own');
($status) = run($lab, $^X, '-MIO::Socket::INET', '-e', "exit !!IO::Socket::INET->new('127.0.0.1:$port')");
is($status, 0, 'a listener outside cannot be reached');

($status) = run($lab, $^X, '-MIO::Socket::INET', '-e', $Lab::two_packets, 'lab.pcap');
is_deeply([$status, map { "@$_" } conversations("$here/lab.pcap")], [0, '>S <R.'], 'tcpdump -w works in it');
is((stat 'lab.pcap')[4], $>, 'and the recording is the user\'s') if $>;

# ---- nothing else changes ------------------------------------------------------------------------
is((run($lab, 'sh', '-c', "exit $_"))[0], $_, "exit status $_ comes back") for 0, 1, 7, 125, 255;
is((run($lab, 'sh', '-c', "kill -$_->[0] \$\$"))[0], 128 + $_->[1], "the command's death by SIG$_->[0] is seen") for ['TERM', 15], ['KILL', 9];
($status, $out, $err) = run($lab, './nothing');
like("$status $err", qr/^127 .*nothing: not found\n\z/, 'a command that does not exist: 127, as a shell says it');
for my $signal (qw(TERM INT HUP)) {
    my $process = start($lab, 'sh', '-c', 'echo ready; exec sleep 30');
    eventually(5, sub { slurp($process->{out}) eq "ready\n" }) or fail('ready');
    my %number = (HUP => 1, INT => 2, TERM => 15);
    is(stop($process, $signal), $number{$signal}, "SIG$signal reaches the command");
}
my @words = ('a b', '', '*', q('"), '$HOME', "two\nlines", '-n');
($status, $out) = run($lab, $^X, '-e', 'print join "|", @ARGV', '--', @words);
is($out, join('|', @words), 'arguments come through as they are');
{
    local %ENV = (%ENV, LAB_TEST => "a b\n*", HOME => '/nowhere', LANG => 'C', TZ => 'Lab-5');
    my $print = 'print map { "$_=$ENV{$_};" } grep { !/^(_|SHLVL|OLDPWD|PWD)$/ } sort keys %ENV';
    my (undef, $inside) = run($lab, $^X, '-e', $print);
    my (undef, $outside) = run($^X, '-e', $print);
    is($inside, $outside, 'the environment is the same');
}
is((run($lab, 'pwd'))[1], "$here\n", 'the working directory is the same');
is((run($lab, 'sh', '-c', 'id -u; id -g'))[1], join('', map { "$_\n" } $>, $) + 0), 'user and group are the same');
is((run($lab, 'touch', 'made'))[0] . (stat 'made')[4], "0$>", 'a file made in it is the user\'s');
is((run('sh', '-c', 'echo in | "$0" cat', $lab))[1], "in\n", 'stdin comes through');
($status) = run('script', '-qec', "'$lab' sh -c 'test -t 0 && test -t 1 && test -t 2 && tty'", 'typescript');
like("$status " . slurp('typescript'), qr{^0 .*/dev/pts/\d+}s, 'so does the terminal');
is((run($lab, $lab, 'sh', '-c', 'exit 3'))[0], 3, 'a lab in a lab works');

as_user_ok($user) if $user;
done_testing;
