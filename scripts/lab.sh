#!/bin/sh
# Runs COMMAND in a private network: a fresh network namespace that holds nothing but its own lo.
# Captures there see nothing foreign, every port is free, and tcpdump and nft work without sudo.
# usage: scripts/lab.sh [--lose-rst] COMMAND [ARGUMENT...]
#   --lose-rst  drop the RST,ACK of sample2 and sample3 on its way in; tcpdump still sees it (needs nft)
# Environment, working directory, terminal and signals reach COMMAND as they are, and its exit
# status comes back; 125 means that there was no lab to run it in.
set -eu

fail() { # REASON...: one line on stderr, exit status 125
    printf 'lab.sh: %s\n' "$(printf '%s ' "$@" | tr '\n' ' ' | sed 's/ *$//')" >&2
    exit 125
}

rules=
if [ "${1-}" = --lose-rst ]; then
    shift
    # tcpdump's tap comes before this hook: the recording shows the RST that the peer never gets.
    rules='add table inet lab
        add chain inet lab in { type filter hook input priority 0; policy accept; }
        add rule inet lab in tcp sport { 8082, 8083 } tcp flags == rst|ack counter drop'
    PATH=$PATH:/usr/sbin command -v nft >/dev/null || fail 'nft: not found (sudo apt-get install nftables)'
fi
usage='usage: scripts/lab.sh [--lose-rst] COMMAND [ARGUMENT...]'
case ${1-} in
-h | --help) printf '%s\n' "$usage"; exit 0 ;;
'' | -*) fail "${1:-no command} ($usage)" ;;
esac
command -v unshare >/dev/null || fail 'unshare: not found (sudo apt-get install util-linux)'

# Run as root of the namespace: RULES COMMAND... An ordinary user's PATH lacks /usr/sbin on Debian.
# shellcheck disable=SC2016 # expanded by the inner shell
inside='rules=$1; shift
PATH=$PATH:/usr/sbin ip link set lo up || exit 125
[ -z "$rules" ] || printf "%s\n" "$rules" | PATH=$PATH:/usr/sbin nft -f - || exit 125
exec "$@"'

# --keep-caps makes the namespace's capabilities ambient, so that they survive exec for a uid that
# is not 0; mapped to 0 instead, tcpdump would drop to a user that does not exist in here.
lab='unshare --user --map-current-user --keep-caps --net'
[ "$(id -u)" -ne 0 ] || lab='unshare --net'
# The real action decides: some systems let unshare succeed and then refuse (Ubuntu's AppArmor).
# shellcheck disable=SC2086 # a list of options
if why=$($lab sh -c "$inside" sh '' true 2>&1 </dev/null); then
    exec $lab sh -c "$inside" sh "$rules" "$@"
fi
[ "$(id -u)" -ne 0 ] || fail "$why (no private network here; scripts/capture.sh records on lo as well)"
command -v sudo >/dev/null || fail "$why (no private network for a user here: install sudo, or be root)"
sudo -n true 2>/dev/null || # it will ask for a password
    printf 'lab.sh: using sudo, for an ordinary user may not have a private network here: %s\n' "$why" >&2
sudo unshare --net true || fail "sudo: no private network either (scripts/capture.sh records on lo as well)"
# Back to the user before COMMAND, with just what tcpdump needs; sudo would change these variables.
exec sudo --preserve-env unshare --net sh -c "$inside" sh "$rules" \
    setpriv --reuid "$(id -u)" --regid "$(id -g)" --init-groups \
    --inh-caps +net_raw,+net_admin --ambient-caps +net_raw,+net_admin -- \
    env "PATH=$PATH" "HOME=${HOME-}" "USER=${USER-}" "LOGNAME=${LOGNAME-}" "$@"
