#!/bin/sh
# Runs COMMAND in a private network: a fresh network namespace that holds nothing but its own lo.
# Captures there see nothing foreign, every port is free, and tcpdump and nft work without sudo.
# usage: scripts/lab.sh [--lose-rst] COMMAND [ARGUMENT...]
#   --lose-rst  drop the RST,ACK of the samples' servers, but of sample1's, which sends none, on
#               its way in (needs nft); tcpdump still sees it
# COMMAND has this user, directory, terminal and environment, and a PATH that ends in /usr/sbin.
# Where users may not have namespaces sudo makes the network: then COMMAND has the variables that
# are named below, and kill may not pass sudo (Ctrl-C does).
# Exit status: COMMAND's; 125 when there was no private network to run it in.
set -u
usage=$(sed -n 's/^# \(usage: .*\)/\1/p' "$0")
handed_over='PATH HOME USER LOGNAME SHELL TERM TZ TMPDIR LANG LC_ALL CC
    BUILD CI MOMENTS N ONLY PATIENCE ROUNDS SEED' # for the tests
export PATH="$PATH:/usr/sbin" # a user's lacks it on Debian, and nft, ip, ss may be there

fail() { # WORDS
    printf 'lab.sh: %s\n' "$*" >&2
    exit 125
}

# ---- what is asked -------------------------------------------------------------------------------
rules=''
if [ "${1-}" = --lose-rst ]; then
    shift
    samples=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && echo sample[2-9])
    ports=$(echo "$samples" | sed 's/sample/808/g; s/ /, /g')
    # tcpdump's tap comes before this hook: the recording shows the RST that the peer never gets.
    rules="add table inet lab
        add chain inet lab in { type filter hook input priority 0; policy accept; }
        add rule inet lab in tcp sport { $ports } tcp flags == rst|ack counter drop"
fi
case ${1-} in
'' | -*) fail "'${1-}' is no COMMAND ($usage)" ;;
esac
for tool in unshare ip ${rules:+nft}; do
    command -v "$tool" >/dev/null ||
        fail "$tool: not found (sudo apt-get install util-linux iproute2 nftables)"
done

# ---- the private network, with what this user may do ---------------------------------------------
# Run inside, where it may set up the network: RULES COMMAND...
# debian_chroot: a shell on Debian shows it before its prompt.
# shellcheck disable=SC2016 # expanded by the inner shell
inside='ip link set lo up || exit 125
    [ -z "$1" ] || printf "%s\n" "$1" | nft -f - || exit 125
    shift
    export debian_chroot=lab
    exec "$@"'

if [ "$(id -u)" -eq 0 ]; then
    lab='unshare --net'
else
    # --keep-caps makes the namespace's capabilities ambient, so that they survive exec for a uid
    # that is not 0; mapped to 0 instead, tcpdump would drop to a user that does not exist in here.
    lab='unshare --user --map-current-user --keep-caps --net'
fi
# Only trying tells: some systems let unshare succeed and then refuse (Ubuntu's AppArmor).
# shellcheck disable=SC2086 # a list of options
if complaint=$($lab sh -c "$inside" sh '' true 2>&1 </dev/null); then
    exec $lab sh -c "$inside" sh "$rules" "$@"
fi
[ "$(id -u)" -ne 0 ] ||
    fail "no private network here: $complaint (scripts/capture.sh records on lo as well)"

# ---- the same with sudo --------------------------------------------------------------------------
command -v sudo >/dev/null ||
    fail "no private network for a user here: $complaint (install sudo, or be root)"

# Becomes COMMAND in a network that root has made: this user again, with just what tcpdump and nft
# need. OPTION is sudo's, or empty.
with_sudo() { # OPTION COMMAND...
    option=$1
    shift
    for name in $handed_over; do
        if value=$(printenv "$name"); then
            set -- "$name=$value" "$@"
        fi
    done
    env=$(command -v gnuenv || echo env) # where coreutils are uutils, theirs keeps signals
    # shellcheck disable=SC2086 # none, or one word
    exec sudo $option unshare --net sh -c "$inside" sh "$rules" \
        setpriv --reuid "$(id -u)" --regid "$(id -g)" --init-groups \
        --inh-caps +net_raw,+net_admin --ambient-caps +net_raw,+net_admin -- \
        "$env" "$@"
}
if ! (with_sudo -n true) >/dev/null 2>&1 </dev/null; then
    echo 'lab.sh: sudo makes the private network: it may ask for your password' >&2
    (with_sudo '' true) </dev/null || fail 'no private network here, sudo did not make one either'
fi
with_sudo '' "$@"
