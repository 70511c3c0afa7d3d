#!/bin/sh
# Draws each TCP conversation of a recording as a ladder: client left, server right, a line a packet,
# each end's state in RFC 9293's words, and a verdict: who ended it, how, and who keeps TIME-WAIT.
# usage: scripts/ladder.sh [--no-time] [--mermaid] [--verdict] FILE.pcap... [FILE.log...]
#   FILE.log   lines of the samples' programs, drawn as calls beside the packets; for X.pcap those in
#              X.server.log, X.client.log and X.sampleN.*.log are found without being named
#   --no-time  leave out what differs from run to run: times, the client's port, calls
#   --mermaid  a Mermaid sequenceDiagram for a Markdown page instead
#   --verdict  only a line a conversation: PACKETS TITLE VERDICT (TITLE is sampleN, or tcp and a number)
# Exit status: 1 if a FILE is no whole recording of TCP, 2 usage, and with --verdict 3 if a conversation
# lacks its beginning or end. LC_ALL=C draws in ASCII; $AWK, else mawk, else awk, does the work:
# tcpdump decodes | packets.awk finds the conversations | sort brings them together | ladder.awk draws
set -eu
usage='usage: scripts/ladder.sh [--no-time] [--mermaid] [--verdict] FILE.pcap... [FILE.log...]'
PATH=$PATH:/usr/sbin
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)

say() { printf 'ladder.sh: %s\n' "$*" >&2; }
bad_usage() { say "$1 ($usage)"; exit 2; }

times=1 mermaid='' verdict='' files=0
for word in "$@"; do # the files go to the end of the list, the options out of it
    shift
    case $word in
    --no-time) times='' ;;
    --mermaid) mermaid=1 ;;
    --verdict) verdict=1 ;;
    -h | --help) printf '%s\n' "$usage"; exit 0 ;;
    '' | -*) bad_usage "'$word': unknown option" ;;
    *.log) [ -r "$word" ] || bad_usage "$word: no log that can be read"; set -- "$@" "$word" ;;
    *) files=$((files + 1)); set -- "$@" "$word" ;;
    esac
done
[ "$files" -gt 0 ] || bad_usage 'no recording'
(: >&1) 2>/dev/null || { say 'stdout is closed (there is nowhere to draw)'; exit 1; }
awk=${AWK:-$(command -v mawk || echo awk)} # mawk is the fastest
for tool in tcpdump "$awk"; do
    command -v "$tool" >/dev/null || { say "$tool: not found (sudo apt-get install tcpdump mawk)"; exit 1; }
done
case ${LC_ALL:-${LC_CTYPE:-${LANG:-}}} in
*[Uu][Tt][Ff]-8* | *[Uu][Tt][Ff]8*) art='│ ├ ┤ ─ ▶ ◀ ✗ ⋮' ;;
*) art='| | | - > < x :' ;;
esac
export LC_ALL=C # awk and sort count bytes

# The programs' lines for the recording FILE: of the logs beside it, and of those among WORD...
calls() { # FILE WORD...
    x=${1%.pcap}
    shift
    for word in "$@"; do
        shift
        case $word in *.log) set -- "$@" "$word" ;; esac
    done
    grep -ahsE '^[0-9:.]+ (client|server) ' -- "$x".server.log "$x".client.log "$x".sample[123].*.log "$@" || :
}

result=0 separator=''
for file in "$@"; do
    case $file in *.log) continue ;; esac
    if [ "$files" -gt 1 ] && [ -z "$mermaid$verdict" ]; then
        printf '%s%s:\n' "$separator" "$file"
        separator='
'
    fi
    reason=''
    [ -r "$file" ] || reason="may not be read by you (ls -l $file)"
    [ -e "$file" ] || reason='no such file (scripts/capture.sh records one)'
    [ ! -d "$file" ] || reason='a directory (name the recordings in it)'
    if [ -n "$reason" ]; then
        say "$file: $reason"
        result=1
        continue
    fi
    {
        [ -z "$times" ] || calls "$file" "$@"
        tcpdump -nn -tt -S -x -r - 2>&1 # it says on stderr what is wrong: packets.awk passes that on
    } <"$file" | "$awk" -f "$here/packets.awk" | sort -s -k1,1n -k2,2n |
        file=$file "$awk" -v art="$art" -v times="$times" -v mermaid="$mermaid" -v only_verdict="$verdict" \
            -f "$here/ladder.awk" && status=0 || status=$?
    [ "$status" -lt 128 ] || exit "$status" # nobody reads any more
    case $status in 0) ;; 3) [ "$result" -ne 0 ] || result=3 ;; *) result=1 ;; esac
done
exit "$result"
