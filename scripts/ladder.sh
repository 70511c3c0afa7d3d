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
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd) PATH=$PATH:/usr/sbin
say() { printf 'ladder.sh: %s\n' "$*" >&2; }
bad_usage() { say "$1 ($usage)"; exit 2; }
times=1 mermaid='' verdict='' named='' result=0
programs='^[0-9:.]+ (client|server) ' # their lines
for word in "$@"; do # the recordings go to the end of the list, all else out of it
    shift
    case $word in
    --no-time) times='' ;;
    --mermaid) mermaid=1 ;;
    --verdict) verdict=1 ;;
    -h | --help) printf '%s\n' "$usage"; exit 0 ;;
    '' | -*) bad_usage "'$word': unknown option" ;;
    *.log) [ -r "$word" ] || { say "$word: no log that can be read (| tee FILE.log keeps one)"; result=1; }
        named="$named$(grep -ahsE "$programs" -- "$word" || :)
" ;;
    *) set -- "$@" "$word" ;;
    esac
done
[ $# -gt 0 ] || bad_usage 'no recording'
(: 3>&1) 2>/dev/null || { say 'stdout is closed (there is nowhere to draw)'; exit 1; }
command -v tcpdump >/dev/null || { say 'tcpdump: not found (sudo apt-get install tcpdump)'; exit 1; }
awk=${AWK:-$(command -v mawk || echo awk)} # the fastest
art='| | | - > < x :'
case ${LC_ALL:-${LC_CTYPE:-${LANG:-}}} in *[Uu][Tt][Ff]-8* | *[Uu][Tt][Ff]8*) art='│ ├ ┤ ─ ▶ ◀ ✗ ⋮' ;; esac
export LC_ALL=C # awk and sort count bytes

for file in "$@"; do
    [ $# -eq 1 ] || [ -n "$mermaid$verdict" ] || printf '\n%s:\n' "$file"
    reason=''
    [ -r "$file" ] || reason="may not be read by you (ls -l $file)"
    [ -e "$file" ] || reason='no such file (scripts/capture.sh records one)'
    [ ! -d "$file" ] || reason='a directory (name the recordings in it)'
    [ -z "$reason" ] || { say "$file: $reason"; result=1; continue; }
    x=${file%.pcap}
    {
        printf '%s\n' "$named"
        grep -ahsE "$programs" -- "$x".server.log "$x".client.log "$x".sample[123].*.log || :
        tcpdump -nn -tt -S -x -r - 2>&1 # packets.awk passes on what it complains of
    } <"$file" | "$awk" -f "$here/packets.awk" | sort -s -k1,1n -k2,2n |
        file=$file "$awk" -v art="$art" -v times="$times" -v mermaid="$mermaid" -v only_verdict="$verdict" \
            -f "$here/ladder.awk" && status=0 || status=$?
    [ "$status" -lt 128 ] || exit "$status" # nobody reads any more
    case $result$status in ?0) ;; 03 | 33) result=3 ;; *) result=1 ;; esac
done
exit "$result"
