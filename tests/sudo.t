#!/usr/bin/perl
# The way through sudo, where a user may not capture: capture.sh starts tcpdump with it and nothing
# else, and lab.sh makes a network. First with a sudo of the tests', then with the real one, which
# asks for a password on a terminal (as root, who makes a user for it that nobody else sees).
use v5.36;
use FindBin;
use lib $FindBin::Bin;
use Lab;
use Capture;
use POSIX ();

need(qw(tcpdump flock setpriv setsid taskset unshare));
enter_lab();
delete @ENV{qw(SUDO_UID AWK)};
my $path = $ENV{PATH};
my $tcpdump = which('tcpdump');

# A directory of commands for a user who may not capture, and whose sudo does SCRIPT after it has
# written its arguments to the file "asked".
sub user_with_sudo ($script) {
    my $bin = tempdir(CLEANUP => 1);
    shim($bin, 'id', '[ "$1" != -u ] || { echo 4242; exit; }; exec /usr/bin/id "$@"');
    shim($bin, 'tcpdump', "case \"\$*\" in '-i '*)
        [ -n \"\${AS_ROOT-}\" ] || { echo 'tcpdump: lo: you may not' >&2; exit 1; } ;; esac
        exec $tcpdump \"\$@\"");
    shim($bin, 'sudo', "echo \"\$*\" >>asked\n[ \"\$1\" != -n ] || exit 1\n$script");
    return "$bin:$path";
}

# Like the real one it has the command as a child, which does not get its signals.
my $runs_it = "trap '' INT TERM\nAS_ROOT=1 \"\$@\" &\nwait";

subtest 'only tcpdump is started with sudo, and it becomes the user' => sub {
    place(1);
    local $ENV{PATH} = user_with_sudo($runs_it);
    my $user = `/usr/bin/id -un` =~ s/\n//r;
    my $process = start('scripts/capture.sh', '--run', 'sample1');
    is(result($process), kept(11, 1, 'captures/sample1.pcap'), 'the conversation is recorded');
    like(slurp($process->{err}), qr/\A.*sudo is used for tcpdump: tcpdump: lo: you may not\n/,
        'it says why');
    is(join('', slurp('asked') =~ s/^(-n )?tcpdump (-Z $user )?-i lo .*\n//gmr), '',
        'tcpdump alone');
    like(slurp('asked'), qr/^tcpdump -Z $user -i lo /m, 'as this user');
    is(left_behind(), '', 'nothing is left behind');
};

subtest 'by hand, Ctrl-C ends what sudo has started' => sub {
    place(2);
    local $ENV{PATH} = user_with_sudo($runs_it);
    my $process = by_hand('sample2');
    converse(2);
    shows($process, qr/\A(?:.*\n){8}\z/);
    is(result(ctrl_c($process, 'TERM')), kept(8, 1, 'captures/sample2.pcap'), 'all is recorded');
    is(left_behind(), '', 'nothing is left behind');
};

subtest 'kill -9 leaves no tcpdump' => sub {
    place(1);
    local $ENV{PATH} = user_with_sudo($runs_it);
    for my $after (0.05, 0.1, 0.2) {
        my $process = start('scripts/capture.sh', 'sample1');
        sleep $after;
        stop($process, 'KILL');
        my @running;
        eventually(sub { !(@running = running_here()) }, 5);
        is(join("\n", @running), '', "after $after s");
    }
    system('rm -rf "$TMPDIR"/tmp.*');
};

subtest 'what sudo says is shown when it is said' => sub {
    place(1);
    local $ENV{PATH} = user_with_sudo("echo 'sudo: try again' >&2
        until [ -e password ]; do sleep 0.05; done\n$runs_it");
    my $process = start('scripts/capture.sh', '--run', 'sample1');
    ok(shows($process, qr/^sudo: try again$/m, 'err'), 'while it waits for a password');
    save('password', '');
    is(result($process), kept(11, 1, 'captures/sample1.pcap'), 'then it records');
    is(() = slurp($process->{err}) =~ /try again/g, 1, 'it is shown once');
};

subtest 'a sudo that refuses: what it says, the way out, and the older recording' => sub {
    place(1);
    save('x.pcap', 'older');
    local $ENV{PATH} = user_with_sudo("echo 'sudo: not you' >&2\nexit 1");
    like(said('scripts/capture.sh', '--run', '-w', 'x.pcap', 'sample1'),
        qr/^1 capture\.sh: sudo is used .*
sudo: not you
capture\.sh: sudo has not started tcpdump \((?:without sudo: .*lab\.sh .*|only root .*)\)\n\z/,
        'in three lines');
    is(join(' ', glob('x*'), slurp('x.pcap')), 'x.pcap older',
        'the older recording is where it was');
    is(left_behind(), '', 'nothing is left behind');
};

subtest 'without sudo and namespaces no script sends to one that sends back' => sub {
    place(1);
    my $bin = tempdir(CLEANUP => 1);    # what the scripts need till then, and no sudo
    for my $name (qw(sh sed tr dirname tcpdump flock setpriv setsid taskset)) {
        symlink which($name), "$bin/$name" or die "$bin/$name: $!";
    }
    my ($without) = split /:/, user_with_sudo('exit 1');
    unlink "$without/sudo";
    shim($without, 'unshare', "echo 'unshare: refused' >&2; exit 1");
    local $ENV{PATH} = "$without:$bin";
    is(said('scripts/capture.sh', '--run', 'sample1'),
        "1 capture.sh: tcpdump: lo: you may not (install sudo; only root may capture here)\n",
        'capture.sh');
    is(said('scripts/lab.sh', 'true'),
        '125 lab.sh: no private network for a user here: unshare: refused '
        . "(install sudo, or be root)\n", 'lab.sh');
};

# ---- the real sudo, on a terminal ---------------------------------------------------------------

# Makes a user "sudoer" with the password "pw", who may do what SUDOERS says, and becomes it, on a
# terminal on which KEYS are typed. All this is seen in here alone.
my $real = <<'SH';
set -e
sudoers=$1 keys=$2
shift 2
etc=$(mktemp -d)
trap 'rm -rf "$etc"' EXIT
mount -t tmpfs tmpfs "$etc"
mkdir -p /run/sudo
cp /etc/passwd /etc/shadow /etc/group "$etc"
echo 'sudoer:x:4242:4242::/tmp:/bin/sh' >>"$etc/passwd"
perl -e 'print "sudoer:", crypt("pw", q($6$salt)), ":19000:0:99999:7:::\n"' >>"$etc/shadow"
echo 'sudoer:x:4242:' >>"$etc/group"
for file in passwd shadow group; do mount --bind "$etc/$file" "/etc/$file"; done
mount -t tmpfs tmpfs /run/sudo
mount -t tmpfs -o mode=750 tmpfs /etc/sudoers.d
printf 'sudoer ALL=(root) %s\n' "$sudoers" >/etc/sudoers.d/sudoer
chmod 440 /etc/sudoers.d/sudoer
umount -l "$etc"
rmdir "$etc"
trap - EXIT
# uutils' env would stay, and be killed instead of script
env=$(command -v gnuenv || echo env)
exec setpriv --reuid 4242 --regid 4242 --init-groups \
    "$env" -i TMPDIR="$TMPDIR" HOME=/tmp TERM=dumb \
    LANG=C.UTF-8 PATH="${BIN:+$BIN:}/usr/local/bin:/usr/bin:/bin" \
    script -qec "$*" /dev/null <"$keys"
SH

# Starts COMMAND (a line) so; returns the PROCESS, with a handle {keys} on which keys can be typed.
sub on_terminal ($sudoers, $command) {
    my $dir = tempdir(CLEANUP => 1);
    chmod 0755, $dir;
    POSIX::mkfifo("$dir/keys", 0644) or die "mkfifo: $!";
    open my $keys, '+<', "$dir/keys" or die "keys: $!";
    $keys->autoflush(1);
    chmod 01777, $ENV{TMPDIR};
    my $process = start('unshare', '--mount', 'sh', '-c', $real, 'sh', $sudoers, "$dir/keys",
        $command);
    $process->{keys} = $keys;
    return $process;
}

# A place that belongs to that user.
sub users_place (@samples) {
    my $place = place(@samples);
    chmod 0755, $place =~ s{/[^/]*$}{}r;
    system('chown', '-R', '4242:4242', $place) == 0 or die 'chown';
    return;
}

# Waits for the Nth prompt on the terminal of PROCESS, and types TYPED.
sub answer ($process, $n, $typed) {
    shows($process, qr/(?:assword[^\n]*: ?.*){$n}/s);
    sleep 0.2;    # sudo throws away what was typed before it reads
    print { $process->{keys} } $typed;
}

my ($missing) = grep { !which($_) } qw(sudo script);
my $why_not = $> != 0 ? 'not root' : $missing ? "no $missing" : '';
if (!$why_not) {
    my $process = on_terminal('/bin/true', 'id -un');
    $why_not = 'no user can be made: ' . slurp($process->{err}) if ended($process) ne '0';
}

SKIP: {
    skip $why_not, 5 if $why_not;
    my $only_tcpdump = "$tcpdump\nDefaults timestamp_timeout=0";

    subtest 'who may start tcpdump with sudo, and nothing else, can record' => sub {
        users_place(1);
        my $process = on_terminal($only_tcpdump, 'scripts/capture.sh --run sample1 >/dev/null');
        answer($process, 1, "wrong\n");
        ok(shows($process, qr/try again/i), 'a wrong password is told at once');
        answer($process, 2, "pw\n");
        is(ended($process), 0, 'then it records');
        like(slurp($process->{out}),
            qr/sudo is used for tcpdump.*\n(?:.*\n)*.*: 11 packets, 1 .*, kept as /,
            'with the reason before the prompt');
        is(recorded('captures/sample1.pcap'), $wire{1}, 'the conversation');
        is(left_behind(), '', 'nothing is left behind');
    };

    subtest 'Ctrl-C at the prompt: one clear line, and nothing' => sub {
        users_place(1);
        my $process = on_terminal($only_tcpdump, 'exec scripts/capture.sh --run sample1');
        answer($process, 1, "\003");
        is(ended($process) >> 8, 1, 'the status');
        my ($said) = slurp($process->{out}) =~ /assword.*?: *(?:\^C)?\s*(.*)/s;
        like($said, qr/^capture\.sh: (?:not .*: )?interrupted before a packet came.*\r\n\z/,
            'the line');
        is(left_behind() . join(' ', glob 'captures/*'), '', 'nothing is left behind');
    };

    subtest 'a terminal that closes at the prompt leaves nothing' => sub {
        users_place(1);
        my $process = on_terminal($only_tcpdump, 'exec scripts/capture.sh --run sample1');
        shows($process, qr/assword/);
        stop($process, 'KILL');
        is(left_behind(10) . join(' ', glob 'captures/*'), '', 'nothing is left behind');
    };

    subtest 'lab.sh says why it uses sudo, and the command is the user again' => sub {
        users_place(1);
        my $bin = tempdir(CLEANUP => 1);
        chmod 0755, $bin;
        shim($bin, 'unshare', "[ \"\$1\" != --user ] || { echo 'unshare: refused' >&2; exit 1; }
            exec /usr/bin/unshare \"\$@\"");
        local $ENV{BIN} = $bin;
        my $process = on_terminal('ALL',
            'scripts/lab.sh sh -c "id -un; tcpdump -i lo -L >/dev/null 2>&1 && echo may capture"');
        answer($process, 1, "pw\n");
        is(ended($process), 0, 'the status');
        like(slurp($process->{out}),
            qr/\Alab\.sh: sudo is used, .*: unshare: refused\s+.*assword.*?:\s+sudoer\s+may /,
            'the reason, one prompt, and the command');
    };

    subtest 'make demo asks for one password, with the reason' => sub {
        users_place(1, 2, 3);
        sample3_sleeps(0);
        my $bin = tempdir(CLEANUP => 1);
        chmod 0755, $bin;
        shim($bin, 'unshare', "[ \"\$1\" != --user ] || { echo 'unshare: refused' >&2; exit 1; }
            exec /usr/bin/unshare \"\$@\"");
        local $ENV{BIN} = $bin;
        my $process = on_terminal('ALL', 'scripts/demo.sh');
        answer($process, 1, "pw\n");
        is(ended($process), 0, 'the status');
        my $out = slurp($process->{out});
        is(() = $out =~ /assword/g, 1, 'one prompt');
        like($out, qr/\Alab\.sh: sudo is used, /, 'the reason first');
        is(() = $out =~ /TIME-WAIT: /g, 3, 'three verdicts');
    };
}
done_testing;
