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

need('tcpdump');
enter_lab();
delete $ENV{SUDO_UID};
my $capture = 'scripts/capture.sh';
my $tcpdump = which('tcpdump');

# The PATH of a user who may not capture, and whose sudo does SCRIPT after it has written its
# arguments to the file "asked".
sub user_with_sudo ($script) {
    my $id = which('id');
    return hiding(
        id      => "[ \"\$1\" != -u ] || { echo 4242; exit; }; exec $id \"\$@\"",
        tcpdump => "case \"\$*\" in '-i '*)
            [ -n \"\${AS_ROOT-}\" ] || { echo 'tcpdump: lo: you may not' >&2; exit 1; } ;; esac
            exec $tcpdump \"\$@\"",
        sudo => "echo \"\$*\" >>asked\n[ \"\$1\" != -n ] || exit 1\n$script",
    );
}

subtest 'only tcpdump is started with sudo, and it becomes the user' => sub {
    place(1);
    my $user = `id -un` =~ s/\n//r;
    local $ENV{PATH} = user_with_sudo('AS_ROOT=1 exec "$@"');
    my ($status, undef, $err) = run($capture, '--run', 'sample1');
    is("$status $err", '0 capture.sh: sudo is used for tcpdump alone: it may ask for your password'
        . "\n" . kept(11, 1, 'captures/sample1.pcap') =~ s/^0 //r, 'it says so, and records');
    like(slurp('asked'), qr/\A-n tcpdump -i lo -L\ntcpdump -Z \Q$user\E -i lo .*\n\z/,
        'and no more');
    is(left_behind(), '', 'nothing is left behind');
};

subtest 'a sudo that refuses, and none: what it says, and the way through the lab' => sub {
    place(1);
    my $way_out = '(without sudo: scripts/lab.sh scripts/capture.sh --run sample1)';
    local $ENV{PATH} = user_with_sudo("echo 'sudo: not you' >&2\nexit 1");
    like(said($capture, '--run', 'sample1'),
        qr/^1 .* password\n.* tcpdump has not begun, status 1: sudo: not you \Q$way_out\E\n\z/,
        'it refuses');
    is(left_behind() . join(' ', glob 'captures/*'), '', '... nothing is left behind');
    my ($bin) = split /:/, $ENV{PATH};
    unlink "$bin/sudo" or die;
    shim($bin, 'unshare', "echo 'unshare: refused' >&2; exit 1");
    for my $name (qw(sh sed grep dirname rm ip)) {
        symlink which($name), "$bin/$name" or die "$bin/$name: $!";
    }
    $ENV{PATH} = $bin;
    is(said($capture, '--run', 'sample1'), "1 capture.sh: tcpdump: lo: you may not $way_out\n",
        'there is none');
    is(said('scripts/lab.sh', 'true'), '125 lab.sh: no private network for a user here: '
        . "unshare: refused (install sudo, or be root)\n", '... and no lab');
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

my ($missing) = grep { !which($_) } qw(sudo script unshare);
my $why_not = $> != 0 ? 'not root' : $missing ? "no $missing" : '';
if (!$why_not) {
    my $process = on_terminal('/bin/true', 'id -un');
    $why_not = 'no user can be made: ' . slurp($process->{err}) if ended($process) ne '0';
}

SKIP: {
    skip $why_not, 6 if $why_not;
    my $only_tcpdump = "$tcpdump\nDefaults timestamp_timeout=0";

    subtest 'who may start tcpdump with sudo, and nothing else, can record' => sub {
        users_place(2);
        my $process = on_terminal($only_tcpdump, "exec $capture sample2");
        answer($process, 1, "wrong\n");
        answer($process, 2, "pw\n");
        shows($process, qr/ready: /);
        converse(2);
        shows($process, qr/\[R\.\]/);
        print { $process->{keys} } "\003";
        is(ended($process), 0, 'Ctrl-C ends it');
        my $out = slurp($process->{out});
        like($out, qr/\A.*: it may ask for your password\r\n(?:.*\n)*.*: 8 packets, 1 .* kept as /,
            'it has said that a password may be asked for');
        is(recorded('captures/sample2.pcap'), $wire{2}, 'the conversation is recorded');
        is(left_behind(), '', 'nothing is left behind');
    };

    subtest 'root records in a clone of its own, not with sudo in that of a user' => sub {
        place(1);
        local $ENV{SUDO_UID} = 4242;
        is(result(start($capture, '--run', 'sample1')), kept(11, 1, 'captures/sample1.pcap'),
            'as in a shell of sudo -i');
        users_place(1);
        is(said($capture, 'sample1'), '1 capture.sh: started with sudo: run it as yourself, it '
            . "uses sudo for tcpdump alone\n", 'not for a user');
    };

    subtest 'Ctrl-C at the prompt: one clear line, and nothing' => sub {
        users_place(1);
        my $process = on_terminal($only_tcpdump, 'exec scripts/capture.sh --run sample1');
        answer($process, 1, "\003");
        is(ended($process) >> 8, 1, 'the status');
        my ($said) = slurp($process->{out}) =~ /.*assword[^\n]*: *(?:\^C)?\s*(capture.*)/s;
        like($said, qr/^capture\.sh: interrupted before it was ready\r\n\z/, 'the line');
        is(left_behind() . join(' ', glob 'captures/*'), '', 'nothing is left behind');
    };

    subtest 'a terminal that closes at the prompt leaves nothing' => sub {
        users_place(1);
        my $process = on_terminal($only_tcpdump, 'exec scripts/capture.sh --run sample1');
        shows($process, qr/assword/);
        stop($process, 'KILL');
        is(left_behind(10) . join(' ', glob 'captures/*'), '', 'nothing is left behind');
    };

    # The PATH for a terminal: users are refused their namespaces.
    my $refusing = sub {
        my $unshare = which('unshare');
        my $bin = tempdir(CLEANUP => 1);
        chmod 0755, $bin;
        shim($bin, 'unshare', "[ \"\$1\" != --user ] || { echo 'unshare: refused' >&2; exit 1; }
            exec $unshare \"\$@\"");
        return $bin;
    };

    subtest 'lab.sh says that it uses sudo, and the command is the user again' => sub {
        users_place(1);
        local $ENV{BIN} = $refusing->();
        my $look = 'id -un; echo \$TZ \$CI \$debian_chroot; ip -br link | cut -c1-4;
            tcpdump -i lo -L >/dev/null 2>&1 && echo may capture; exit 7';
        my $process = on_terminal('ALL', "TZ=Lab-5 CI=no scripts/lab.sh sh -c \"$look\"");
        answer($process, 1, "pw\n");
        is(ended($process) >> 8, 7, 'the status');
        my $out = slurp($process->{out}) =~ s/\r//gr;
        like($out, qr/\Alab\.sh: sudo makes the private network: it may ask for your password\n/,
            'in one line');
        is(() = $out =~ /assword.*:/g, 1, 'there is one prompt');
        like($out, qr/^\s*sudoer\nLab-5 no lab\nlo *\nmay capture\n/m,
            'it has the environment, a network and the rights');
    };

    subtest 'make demo asks for one password, and says so' => sub {
        users_place(1, 2, 3);
        sample3_sleeps(0);
        local $ENV{BIN} = $refusing->();
        my $process = on_terminal('ALL', 'scripts/demo.sh');
        answer($process, 1, "pw\n");
        is(ended($process), 0, 'the status');
        my $out = slurp($process->{out});
        is(() = $out =~ /assword.*:/g, 1, 'one prompt');
        like($out, qr/\Alab\.sh: sudo makes the private network: /, 'the reason first');
        is(() = $out =~ /TIME-WAIT: /g, 3, 'three verdicts');
    };
}
done_testing;
