#!/bin/sh
# Draws each TCP conversation of a recording as a ladder: client left, server right, a line a
# packet, each end's state in RFC 9293's words, and a verdict: who ended it, how, and who keeps
# TIME-WAIT.
# usage: scripts/ladder.sh [--no-time] [--mermaid] [--verdict] FILE... [-- FILTER]
#   FILE       what tcpdump recorded (-w) or printed (with whatever options, other text around
#              it), or -, which is standard input: tcpdump -nn 'port 8081' | scripts/ladder.sh -
#   FILE.log   lines of the samples' programs, drawn as calls beside the packets; for X.pcap those
#              in X.server.log, X.client.log and X.sampleN.*.log are found without being named
#   FILTER     what of the recordings is drawn: scripts/ladder.sh big.pcap -- port 8081 and host
#              192.0.2.1
#   --no-time  leave out what differs from run to run: times, the client's port, calls
#   --mermaid  a Mermaid sequenceDiagram for a Markdown page instead
#   --verdict  only a line a conversation: HH:MM:SS.ffffff CLIENT > SERVER: VERDICT
# LC_ALL=C draws in ASCII.
# Exit status: 1 a FILE is no whole recording of TCP; 2 usage; 3 with --verdict, a conversation
# lacks its beginning or its end.
#
# How: tcpdump decodes (text.awk, if it has done so) | packets.awk finds the conversations | sort
# brings them together | ladder.awk collects, states.awk infers, draw.awk draws. Awk is $AWK, else
# mawk, else awk. Data of at most 8 bytes is shown as text, but not of recordings of more than 1 MB:
# tcpdump -x would take three quarters of its time.
set -eu
usage='usage: scripts/ladder.sh [--no-time] [--mermaid] [--verdict] FILE... [-- FILTER]'
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
PATH=$PATH:/usr/sbin
large=1048576 # bytes
times=1
mermaid=''
verdict=''
filter=''
logs=''
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

# ---- what FILE is
# Prints the first four bytes of stdin as octal numbers, a backslash before each.
first_bytes() {
    dd bs=1 count=4 2>/dev/null | od -An -b | sed 's/ *$//; s/  */\\/g'
}

# Do these bytes begin a recording? pcap in either byte order, with micro- or nanoseconds, or pcapng
is_recording() { # FIRST-BYTES
    case $1 in
    '\324\303\262\241' | '\241\262\303\324') ;;
    '\115\074\262\241' | '\241\262\074\115') ;;
    '\012\015\015\012') ;;
    *) return 1 ;;
    esac
}

# Does FILE hold lines of the programs? What tcpdump printed may be called .log as well.
is_log() { # FILE
    [ -f "$1" ] && grep -aqsE "$programs" -- "$1" && ! grep -aqs ': Flags \[' -- "$1"
}

# ---- options
for word; do # the recordings go to the end of the list, all else out of it
    shift
    if [ -n "$filter" ]; then
        filter="$filter $word"
        continue
    fi
    case $word in
    --no-time) times='' ;;
    --mermaid) mermaid=1 ;;
    --verdict) verdict=1 ;;
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
[ $# -gt 0 ] || bad_usage 'no recording'
(: 3>&1) 2>/dev/null || {
    say 'stdout is closed (there is nowhere to draw)'
    exit 1
}
command -v tcpdump >/dev/null || {
    say 'tcpdump: not found (sudo apt-get install tcpdump)'
    exit 1
}
awk=${AWK:-$(command -v mawk || echo awk)} # the fastest
art='| | | - > < x :'
case ${LC_ALL:-${LC_CTYPE:-${LANG:-}}} in
*[Uu][Tt][Ff]-8* | *[Uu][Tt][Ff]8*) art='│ ├ ┤ ─ ▶ ◀ ✗ ⋮' ;;
esac
export LC_ALL=C # awk and sort count bytes

# ---- drawing
# Prints the lines of the programs in LOG, behind its name.
print_log() { # LOG
    printf 'log: %s\n' "$1"
    grep -ahsE "$programs" -- "$1" || :
}

# The lines of the logs: those that were named, and those that lie beside FILE.
print_logs() { # FILE
    x=${1%.pcap}
    printf '%s' "$logs" | while IFS= read -r log; do
        print_log "$log"
    done
    for log in "$x".server.log "$x".client.log "$x".sample[1-9].*.log; do
        [ ! -f "$log" ] || print_log "$log"
    done
}

# Draws what comes from stdin, of which the first bytes are BEGINNING; FILE is its name. Prints
# the logs with calls of it to descriptor 3.
draw() { # FILE BEGINNING
    file=$1
    beginning=$2
    hex=1
    [ -n "$filter" ] || [ ! -f "$file" ] || [ "$(wc -c <"$file")" -le "$large" ] || hex=''
    {
        [ "$file" = - ] || print_logs "$file"
        echo 'log: ' # no more
        if is_recording "$beginning"; then
            # packets.awk passes on what it complains of
            tcpdump -nn -tt -S ${hex:+-x} -r - ${filter:+"$filter"} 2>&1
        elif [ -n "$filter" ]; then
            echo 'text: unfiltered'
        else
            "$awk" -f "$here/text.awk"
        fi
    } | "$awk" -v with_hex="$hex" -v filter="$filter" -f "$here/packets.awk" |
        sort -s -k1,1n -k2,2n |
        file=$file "$awk" -v art="$art" -v times="$times" -v mermaid="$mermaid" \
            -v only_verdict="$verdict" \
            -f "$here/ladder.awk" -f "$here/states.awk" -f "$here/draw.awk"
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

# Draws what comes from stdin, which cannot be read twice.
draw_stream() { # FILE
    beginning=$(first_bytes)
    {
        # shellcheck disable=SC2059 # octal numbers
        printf "$beginning"
        cat
    } | draw "$1" "$beginning"
}

# shellcheck disable=SC2094 # its name and its bytes; nothing is written
draw_file() { # FILE
    if [ "$1" = - ]; then
        if [ -p /dev/stdin ]; then
            trap '' INT # Ctrl-C is for the tcpdump that writes into the pipe
        fi
        draw_stream "$1"
    elif [ -f "$1" ]; then
        draw "$1" "$(first_bytes <"$1")" <"$1"
    else
        draw_stream "$1" <"$1"
    fi
}

used=''
exec 4>&1
for file; do
    [ $# -eq 1 ] || [ -n "$mermaid$verdict" ] || printf '\n%s:\n' "$file"
    reason=$(why_not "$file")
    if [ -n "$reason" ]; then
        say "$file: $reason"
        result=1
        continue
    fi
    status=0
    used="$used$newline$(draw_file "$file" 3>&1 >&4 4>&-)" || status=$?
    [ "$status" -lt 128 ] || exit "$status" # nobody reads any more
    if [ "$status" -eq 3 ]; then
        [ "$result" -ne 0 ] || result=3
    elif [ "$status" -ne 0 ]; then
        result=1
    fi
done

# A log that was named for nothing is said.
while IFS= read -r log; do
    [ -n "$log" ] || continue
    case $used$newline in
    *"$newline$log$newline"*) ;;
    *)
        say "$log: its calls are of no conversation here (name the recording of them)"
        result=1
        ;;
    esac
done <<END
$logs
END
exit "$result"
