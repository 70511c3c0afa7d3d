#!/usr/bin/perl
# capture.sh where a user may not capture: it starts tcpdump with sudo, and nothing else. First with
# a sudo of the tests', then with the real one on a terminal (as root, who becomes nobody for it).
use v5.36;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Capture;
use POSIX ();

need('tcpdump');
enter_lab();
my $tcpdump = which('tcpdump');
my $way_out = '(without sudo: scripts/lab.sh scripts/capture.sh --run sample1)';

# The PATH of a user who may not capture, and whose sudo wants a password, and then does SCRIPT. It
# writes what it is asked for to the file "asked".
sub user_with_sudo ($script) {
    my $id = which('id');
    return hiding(
        id      => "[ \"\$1\" != -u ] || { echo 4242; exit; }\nexec $id \"\$@\"",
        tcpdump => "case \"\$AS_ROOT\$*\" in '-i '*) echo 'tcpdump: no' >&2; exit 1 ;; esac
            exec $tcpdump \"\$@\"",
        sudo => "echo \"\$*\" >>asked\n[ \"\$1\" != -n ] || exit 1\n$script",
    );
}

subtest 'sudo is used for tcpdump alone, announced, and asked for once' => sub {
    place(1);
    my $user = `id -un` =~ s/\n//r;
    local $ENV{PATH} = user_with_sudo('AS_ROOT=1 exec "$@"');
    my $process = start($capture, '--run', 'sample1');
    is(complete($process), '11 packets, 1 conversation', 'it records');
    like(slurp($process->{err}), qr/\A.*: sudo is used for tcpdump alone: .*\n.*\n\z/, 'announced');
    like(slurp('asked'), qr/\A-n tcpdump -i lo -L\ntcpdump -Z \Q$user\E -i lo .*\n\z/,
        'one question, and one tcpdump, which becomes the user');
};

subtest 'where sudo refuses the way through the lab is named' => sub {
    place(1);
    local $ENV{PATH} = user_with_sudo("echo 'sudo: not you' >&2\nexit 1");
    my $reason = 'tcpdump has not begun, status 1: sudo: not you';
    is(result(start($capture, '--run', 'sample1')), "1 capture.sh: $reason $way_out\n",
        'with its words');
    is(left_behind() . join(' ', glob 'captures/*'), '', 'nothing is left behind');
};

subtest 'where there is no sudo the way through the lab is named' => sub {
    place(1);
    my ($bin) = split /:/, user_with_sudo('');
    unlink "$bin/sudo" or die;
    for my $name (qw(sh sed grep dirname rm tr)) {
        symlink which($name), "$bin/$name" or die "$bin/$name: $!";
    }
    local $ENV{PATH} = $bin;
    is(said($capture, '--run', 'sample1'), "1 capture.sh: tcpdump: no $way_out\n", 'in one line');
};

subtest 'with sudo itself it is not run in the clone of a user' => sub {
    plan(skip_all => 'not root') if $> != 0;
    my $place = place(1);
    chown 4242, -1, $place or die "chown: $!";
    local $ENV{SUDO_UID} = 4242;
    like(said($capture, 'sample1'), qr/^1 capture\.sh: started with sudo: .*\n\z/, 'in one line');
};

# ---- the real sudo, on a terminal ---------------------------------------------------------------

# RULE UID GID COMMAND: becomes nobody, who may do with sudo what RULE says. Nobody else sees that.
my $as_nobody = <<'SH';
export LC_ALL=C # for the words of its prompt
mkdir -p /run/sudo &&
    mount -t tmpfs tmpfs /run/sudo &&
    mount -t tmpfs -o mode=750 tmpfs /etc/sudoers.d &&
    printf 'nobody ALL=(root) %s\n' "$1" >/etc/sudoers.d/nobody &&
    chmod 440 /etc/sudoers.d/nobody &&
    exec setpriv --reuid "$2" --regid "$3" --clear-groups script -qec "$4" /dev/null <keys
SH
my (undef, undef, $uid, $gid) = getpwnam 'nobody';

# Starts COMMAND so, in a new place, which is nobody's; returns the PROCESS, with a handle {keys} on
# which keys can be typed.
sub on_terminal ($rule, $command) {
    plan(skip_all => 'not root') if $> != 0;
    need('sudo', 'script', 'setpriv');
    my $place = place(2);
    chmod 01777, $ENV{TMPDIR};
    chmod 0755, "$place/..";
    system('chown', '-R', "$uid:$gid", '.') == 0 or die 'chown';
    POSIX::mkfifo('keys', 0600) or die "mkfifo: $!";
    open my $keys, '+<', 'keys' or die "keys: $!";
    $keys->autoflush(1);
    my @enter = ('unshare', '--mount', 'sh', '-c', $as_nobody, 'sh');
    my $process = start(@enter, $rule, $uid, $gid, $command);
    $process->{keys} = $keys;
    return $process;
}

subtest 'who may start tcpdump with sudo, and nothing else, can record' => sub {
    my $process = on_terminal("NOPASSWD: $tcpdump", "exec $capture sample2");
    shows($process, qr/ ready: /);
    converse(2);
    shows($process, qr/\[R\.\]/);
    my $recorder = recorder();
    like(slurp("/proc/$recorder/status"), qr/^Uid:\s+$uid\s/m, 'tcpdump becomes the user');
    print { $process->{keys} } "\003";
    is(ended($process), 0, 'Ctrl-C ends it');
    is(recorded('captures/sample2.pcap'), $wire{2}, 'the conversation is recorded');
    is(left_behind(), '', 'nothing is left behind');
};

subtest 'Ctrl-C at the prompt is told, and leaves nothing' => sub {
    my $process = on_terminal($tcpdump, "exec $capture sample2");
    shows($process, qr/assword.*:/);
    print { $process->{keys} } "\003";
    is(ended($process) >> 8, 1, 'the status');
    like(slurp($process->{out}), qr/^capture\.sh: interrupted before it was ready\r\n\z/m,
        'the last line');
    is(left_behind() . join(' ', glob 'captures/*'), '', 'nothing is left behind');
};
done_testing;
