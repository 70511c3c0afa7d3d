#!/bin/sh
# Draws each TCP conversation of a recording as a ladder: client left, server right, a line a
# packet, each end's state in RFC 9293's words, and a verdict: who ended it, how, and who keeps
# TIME-WAIT.
# usage: scripts/ladder.sh [--no-time] [--verdict] FILE... [-- FILTER]
#   FILE       what tcpdump recorded (-w) or printed (with whatever options, other text around
#              it), or -, which is standard input: tcpdump -nn 'port 8081' | scripts/ladder.sh -
#   FILE.log   lines of the samples' programs, drawn as calls beside the packets; for X.pcap those
#              in X.server.log, X.client.log and X.sampleN.*.log are found without being named
#   FILTER     what of the recordings is drawn: scripts/ladder.sh big.pcap -- port 8081 and host
#              192.0.2.1
#   --no-time  leave out what differs from run to run: times, the client's port, calls
#   --verdict  only a line a conversation: HH:MM:SS.ffffff CLIENT > SERVER: VERDICT
# Exit status: 1 a FILE is no whole recording of TCP; 2 usage; 3 with --verdict, a conversation
# lacks its beginning or its end.
#
# tcpdump decodes recordings; scripts/ladder, which make builds, reads what tcpdump printed, infers
# and draws (ladder.h).
set -eu
usage='usage: scripts/ladder.sh [--no-time] [--verdict] FILE... [-- FILTER]'
here=$(dirname -- "$0")
small=262144  # bytes. Data of larger recordings is not shown: tcpdump -x would take too long
options=''    # for the program
filter=''
copy=''       # of what can be read only once
recordings=0
verdicts=''
result=0

printable() { # WORDS: a line, in which a name may hold what steers a terminal
    printf '%s' "$*" | LC_ALL=C sed -z 's/\xc2[\x80-\x9f]\|[\x01-\x1f\x7f]/./g' # C1 in UTF-8, C0
    echo
}

say() { # WORDS: on stderr
    printable "ladder.sh: $*" >&2
}

bad_usage() { # WORDS
    say "$1 ($usage)"
    exit 2
}

trap '[ -z "$copy" ] || rm -f -- "$copy"' EXIT
trap 'exit 1' HUP INT PIPE TERM

# Does FILE hold lines of the programs? What tcpdump printed may be called .log as well.
is_log() { # FILE
    case $1 in
    *.log) grep -aqsE '^[0-9:.]+ (client|server) ' -- "$1" ;;
    *) false ;;
    esac
}

# Copies FILE, which can be read only once.
make_copy() { # FILE
    [ -t 0 ] || trap '' INT # Ctrl-C is for the tcpdump that writes into the pipe
    [ -n "$copy" ] || copy=$(mktemp) || return 1
    cat -- "$1" >"$copy" || return 1
    trap 'exit 1' INT
}

# Sets packets, the file in which the bytes of FILE are; or reason: why there is none, and in
# brackets the way out.
find_packets() { # FILE
    packets=$1
    reason=''
    if [ -f "$1" ] && [ -r "$1" ]; then
        return
    elif [ -d "$1" ]; then
        reason='a directory (name the recordings in it)'
    elif [ "$1" != - ] && [ ! -e "$1" ]; then
        reason='no such file (scripts/capture.sh records one)'
    elif [ "$1" != - ] && [ ! -r "$1" ]; then
        reason="may not be read by you (ls -l $1)"
    elif make_copy "$1"; then
        packets=$copy
    else
        reason="no copy of it (is there room in ${TMPDIR:-/tmp}?)"
    fi
}

# Sets recording if packets is one: pcap of either byte order, with micro- or nanoseconds; pcapng.
find_kind() {
    case $(od -An -tx1 -N4 "$packets") in
    ' d4 c3 b2 a1' | ' a1 b2 c3 d4') recording=1 ;;
    ' 4d 3c b2 a1' | ' a1 b2 3c 4d') recording=1 ;;
    ' 0a 0d 0d 0a') recording=1 ;;
    *) recording='' ;;
    esac
    if [ -n "$recording" ]; then
        command -v tcpdump >/dev/null || reason='there is no tcpdump (sudo apt-get install tcpdump)'
    elif [ -n "$filter" ]; then
        reason='FILTER needs a recording (grep chooses lines of text)'
    fi
}

# Prints what tcpdump makes of packets, and what it complains of.
decode() {
    hex=''
    [ "$(wc -c <"$packets")" -gt "$small" ] || hex=-x
    exec tcpdump -nn -tt -S -vv -K $hex -r - ${filter:+-- "$filter"} <"$packets" 2>&1
}

# Draws FILE. Its calls are in logs beside it, or in one of the other FILEs.
draw() { # FILE FILE...
    find_packets "$1"
    [ -n "$reason" ] || find_kind
    if [ -n "$reason" ]; then
        say "$1: $reason"
        return 1
    fi
    x=${1%.pcap}
    set -- "$@" "$x".server.log "$x".client.log "$x".sample[1-9].*.log
    # shellcheck disable=SC2086 # options is a list
    if [ -n "$recording" ]; then
        decode | "$here/ladder" -r ${filter:+-f} $options -- "$@"
    else
        "$here/ladder" $options -- "$@" <"$packets"
    fi
}

# ---- options
for word; do # the files go to the end of the list, all else out of it
    shift
    if [ -n "$filter" ]; then
        filter="$filter $word"
        continue
    fi
    case $word in
    --no-time) options="$options -n" ;;
    --verdict)
        options="$options -v"
        verdicts=1
        ;;
    --) filter=' ' ;;
    -h | --help)
        sed -n '/^# usage/,/^#$/s/^# //p' "$0"
        exit 0
        ;;
    '' | -?*) bad_usage "'$word': unknown option" ;;
    *)
        set -- "$@" "$word"
        is_log "$word" || recordings=$((recordings + 1))
        ;;
    esac
done
if [ "$recordings" -eq 0 ]; then
    [ ! -t 0 ] || bad_usage 'no recording'
    set -- "$@" -
fi
if [ ! -x "$here/ladder" ]; then
    say "$here/ladder: not built (make)"
    exit 1
fi

for file; do
    ! is_log "$file" || continue
    [ "$recordings" -lt 2 ] || [ -n "$verdicts" ] || printf '\n%s\n' "$(printable "$file:")"
    status=0
    draw "$file" "$@" || status=$?
    if [ "$status" -eq 3 ]; then
        [ "$result" -ne 0 ] || result=3
    elif [ "$status" -ne 0 ]; then
        result=1
    fi
done
exit "$result"
