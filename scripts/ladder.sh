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
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
PATH=$PATH:/usr/sbin
small=1048576 # bytes. Data of larger recordings is not shown: tcpdump -x would take too long
options='' # for the program
verdicts=''
filter=''
logs='' # that are named, one a line
copy='' # of what can be read only once
result=0
programs='^[0-9:.]+ (client|server) ' # their lines
newline='
'

say() { # WORDS: on stderr
    printf 'ladder.sh: %s\n' "$*" >&2
}

bad_usage() { # WORDS
    say "$1 ($usage)"
    exit 2
}

# shellcheck disable=SC2317 # by a trap
clean_up() {
    [ -z "$copy" ] || rm -f -- "$copy"
}

trap clean_up EXIT
for signal in 1 2 13 15; do # HUP, INT, PIPE, TERM
    # shellcheck disable=SC2064 # the number of now
    trap "exit $((128 + signal))" "$signal"
done

# ---- what FILE is
# Is it a recording? pcap in either byte order, with micro- or nanoseconds, or pcapng
is_recording() { # FILE
    case $(dd if="$1" bs=4 count=1 2>/dev/null | od -An -tx1) in
    ' d4 c3 b2 a1' | ' a1 b2 c3 d4') ;;
    ' 4d 3c b2 a1' | ' a1 b2 3c 4d') ;;
    ' 0a 0d 0d 0a') ;;
    *) return 1 ;;
    esac
}

# Does FILE hold lines of the programs? What tcpdump printed may be called .log as well.
is_log() { # FILE
    [ -f "$1" ] && grep -aqsE "$programs" -- "$1" && ! grep -aqs ': Flags \[' -- "$1"
}

# Why FILE cannot be read, with the way out; nothing if it can.
why_not() { # FILE
    if [ "$1" = - ]; then
        : # standard input
    elif [ -d "$1" ]; then
        echo 'a directory (name the recordings in it)'
    elif [ ! -e "$1" ]; then
        echo 'no such file (scripts/capture.sh records one)'
    elif [ ! -r "$1" ]; then
        echo "may not be read by you (ls -l $1)"
    fi
}

# Copies stdin, which can be read only once.
make_copy() {
    if [ -p /dev/stdin ]; then
        trap '' INT # Ctrl-C is for the tcpdump that writes into the pipe
    fi
    [ -n "$copy" ] || copy=$(mktemp) || return 1
    cat >"$copy" || return 1
    trap 'exit 130' INT
}

# ---- drawing
# Prints what tcpdump makes of the recording PACKETS, and what it complains of.
decode() { # PACKETS
    hex=''
    [ "$(wc -c <"$1")" -gt "$small" ] || hex=-x
    tcpdump -nn -tt -S -v -K $hex -r - ${filter:+-- "$filter"} <"$1" 2>&1
}

# Draws what is in PACKETS, which is FILE or a copy of it, with its calls.
draw() { # FILE PACKETS
    file=$1
    packets=$2
    x=${file%.pcap}
    set -- -- "$file"
    for log in "$x".server.log "$x".client.log "$x".sample[1-9].*.log; do
        [ ! -f "$log" ] || set -- "$@" "$log"
    done
    set -f
    IFS=$newline
    for log in $logs; do
        if [ "$recordings" -eq 1 ]; then
            set -- -l "$log" "$@"
        else # it may belong to any
            set -- "$@" "$log"
        fi
    done
    unset IFS
    set +f
    # shellcheck disable=SC2086 # a list
    set -- $options "$@"
    if is_recording "$packets"; then
        decode "$packets" | "$here/ladder" -r ${filter:+-f} "$@"
    else
        "$here/ladder" "$@" <"$packets"
    fi
}

# Sets packets, the file in which the bytes of FILE are, or else reason.
find_packets() { # FILE
    packets=$1
    reason=$(why_not "$1")
    [ -z "$reason" ] || return 0
    if [ "$1" = - ]; then
        make_copy || reason="no copy of it (is there room in ${TMPDIR:-/tmp}?)"
        packets=$copy
    elif [ ! -f "$1" ]; then
        make_copy <"$1" || reason="no copy of it (is there room in ${TMPDIR:-/tmp}?)"
        packets=$copy
    fi
}

draw_file() { # FILE
    find_packets "$1"
    if [ -n "$reason" ]; then
        :
    elif ! is_recording "$packets"; then
        reason=${filter:+'FILTER needs a recording (grep chooses lines of text)'}
    elif ! command -v tcpdump >/dev/null; then
        reason='there is no tcpdump (sudo apt-get install tcpdump)'
    fi
    if [ -n "$reason" ]; then
        say "$1: $reason"
        return 1
    fi
    draw "$1" "$packets"
}

# ---- options
for word; do # the recordings go to the end of the list, all else out of it
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
    -) set -- "$@" - ;;
    '' | -*) bad_usage "'$word': unknown option" ;;
    *.log)
        if [ ! -r "$word" ]; then
            say "$word: no log that can be read (| tee FILE.log keeps one)"
            result=1
        elif is_log "$word"; then
            logs="$logs$word$newline"
        else
            set -- "$@" "$word"
        fi
        ;;
    *) set -- "$@" "$word" ;;
    esac
done
[ $# -gt 0 ] || [ -t 0 ] || set -- -
[ $# -gt 0 ] || bad_usage 'no recording'
[ -x "$here/ladder" ] || {
    say "$here/ladder: not built (make)"
    exit 1
}

recordings=$#
for file; do
    [ "$recordings" -eq 1 ] || [ -n "$verdicts" ] || printf '\n%s:\n' "$file"
    status=0
    draw_file "$file" || status=$?
    [ "$status" -lt 128 ] || exit "$status" # nobody reads any more
    if [ "$status" -eq 3 ]; then
        [ "$result" -ne 0 ] || result=3
    elif [ "$status" -ne 0 ]; then
        result=1
    fi
done
exit "$result"
