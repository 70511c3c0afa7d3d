#!/bin/sh
# Records the packets of a sample on lo, printing them as they come, and checks what it recorded.
# usage: scripts/capture.sh [--run] [-w FILE] sample1|sample2|sample3|all [-- TCPDUMP-OPTION...]
#   --run    start the server and the client too, and stop when the conversation is complete
#   -w FILE  record there, not in captures/; "-" writes pcap to stdout and prints no packets
# Packets go to stdout, all else to stderr. Exit status: 0 for a complete recording, else 1; 2 usage.
set -eu
usage='usage: scripts/capture.sh [--run] [-w FILE] sample1|sample2|sample3|all [-- TCPDUMP-OPTION...]'
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
PATH=$PATH:/usr/sbin

say() { printf 'capture.sh: %s\n' "$*" >&2; }
die() { say "$(printf '%s ' "$@" | tr '\n' ' ' | sed 's/ *$//')"; exit 1; } # one line, always
bad_usage() { say "$1 ($usage)"; exit 2; }

# ---- what is asked -------------------------------------------------------------------------------
run='' file='' what=''
while [ $# -gt 0 ]; do
    case $1 in
    --run) run=1 ;;
    -w) file=${2-}; [ -n "$file" ] || bad_usage '-w: no file'; shift ;;
    sample[123] | all) [ -z "$what" ] || bad_usage "$1: one sample, or all"; what=$1 ;;
    -h | --help) printf '%s\n' "$usage"; exit 0 ;;
    --) shift; break ;;
    -*) bad_usage "$1: unknown option; tcpdump's come after --" ;;
    *) bad_usage "$1: unknown sample" ;;
    esac
    shift
done
[ -n "$what" ] || bad_usage 'no sample'
for option in "$@"; do
    case $option in -[wrGCWZ]*) bad_usage "$option: not for tcpdump here, the recording is mine" ;; esac
done
case $what in
all) samples='sample1 sample2 sample3' filter='tcp portrange 8081-8083' ;;
*) samples=$what filter="tcp port 808${what#sample}" ;;
esac

# ---- what it needs -------------------------------------------------------------------------------
if [ "$(id -u)" -eq 0 ] && [ "${SUDO_UID:-0}" -ne 0 ]; then
    die 'started with sudo: run it as yourself, it uses sudo for tcpdump alone'
fi
command -v tcpdump >/dev/null || die 'tcpdump: not found (sudo apt-get install tcpdump)'
if [ -n "$run" ]; then
    for sample in $samples; do
        for role in server client; do
            [ -x "$root/$sample/$role" ] || die "$sample/$role: not built (run make first)"
        done
    done
fi
sudo=''
if [ "$(id -u)" -eq 0 ]; then
    as='-Z root' # or tcpdump would hand the recording to its own user
elif why=$(tcpdump -i lo -L 2>&1 >/dev/null); then
    as=''
else
    command -v sudo >/dev/null || die "$why (install sudo, or use scripts/lab.sh $0 ...)"
    command -v pkill >/dev/null || die 'pkill: not found (sudo apt-get install procps)'
    sudo=sudo as="-Z $(id -un)"
fi

umask 077 # a recording shows its owner's data
case $file in
'') file=$root/captures/$what.pcap
    [ "$PWD" != "$root" ] || file=captures/$what.pcap
    why=$(mkdir -p -- "${file%/*}" 2>&1) || die "$why" ;;
-) [ ! -t 1 ] || die '-w -: stdout is a terminal (pipe it, or name a file)' ;;
*) [ ! -e "$file" ] || [ -f "$file" ] || die "$file: not a regular file" ;;
esac
base=${file%.pcap}

# ---- whatever happens, nothing is left running, and no temporary file ----------------------------
work='' part='' tcpdump='' tail='' programs='' signals=0
alive() { # PID: not yet ended (kill -0 could not tell for a sudo)
    [ -e "/proc/$1" ] && ! grep -q '^State:.Z' "/proc/$1/status" 2>/dev/null
}
stop_tcpdump() {
    [ -n "$tcpdump" ] || return 0
    if [ -z "$sudo" ]; then
        kill -INT "$tcpdump" 2>/dev/null || true
    else # $tcpdump is the sudo: the tcpdump that has become ours has our temporary file
        tag=${part%.part.pcap}
        pkill -INT -u "$(id -u)" -f "^tcpdump .*[.]${tag##*.}[.]part[.]pcap " || true
    fi
}
# shellcheck disable=SC2317,SC2329 # called by trap
clean_up() {
    [ $? -le 128 ] || say 'interrupted: nothing is kept' # a signal has ended one of the commands here
    trap '' INT TERM HUP
    for pid in $programs; do kill "$pid" 2>/dev/null || true; done
    while [ -n "$tcpdump" ] && alive "$tcpdump"; do
        stop_tcpdump
        sleep 0.01 # between two tries: it may not yet be ready for a signal
    done
    wait
    [ -z "$part" ] || rm -f -- "$part"
    [ -z "$work" ] || rm -rf -- "$work"
}
trap clean_up EXIT
trap 'signals=$((signals + 1)); stop_tcpdump' INT TERM HUP

# What makes a file is deaf to signals, so that its name reaches this shell, which hears them.
work=$(trap '' INT TERM HUP; exec mktemp -d)
name=$base # the temporary file lies beside FILE, so that it can get its name in one step
[ "$file" != - ] || name=$work/stdout
part=$(trap '' INT TERM HUP; exec mktemp -- "$name.XXXXXX.part.pcap" 2>&1) || { why=$part part=''; die "$why"; }

# ---- looking at a recording ----------------------------------------------------------------------
# Prints "PACKETS CONVERSATIONS UNFINISHED LAST-FLAGS" and, on a line of its own, what is missing.
# A conversation begins with SYN and ends when both FINs are acknowledged, or with RST; only RST may
# follow it then. A lost RST shows itself that way: [R.], the peer's [F.], and [R] in answer.
check() {
    tcpdump -nn -r "$part" 2>/dev/null | awk '
    {
        for (i = 1; i < NF && $i != ">"; i++) continue
        if ($(i + 2) != "Flags") next
        packets++
        from = $(i - 1); to = $(i + 1); flags = $(i + 3); seq = ack = 0
        sub(/:$/, "", to); gsub(/[],[]/, "", flags)
        for (i += 4; i < NF; i++)
            if ($i == "seq") { seq = $(i + 1); sub(/^[0-9]*:/, "", seq) }
            else if ($i == "ack") ack = $(i + 1) + 0
        id = from < to ? from " " to : to " " from
        if (flags ~ /S/ && flags !~ /\./ && (!(id in ended) || ended[id])) {
            conversations++
            fin[id, from] = fin[id, to] = acked[id, from] = acked[id, to] = ended[id] = 0
        } else if (!(id in ended)) {
            conversations++
            missing = "the beginning of the conversation " from " > " to
        }
        if (flags ~ /F/) fin[id, from] = seq + 1
        if (flags !~ /S/ && ack > acked[id, to]) acked[id, to] = ack
        ended[id] = flags ~ /R/ || (fin[id, from] && acked[id, from] >= fin[id, from] &&
            fin[id, to] && acked[id, to] >= fin[id, to])
        last = flags
    }
    END {
        for (id in ended) if (!ended[id]) {
            unfinished++
            if (!missing) { missing = id; sub(/ /, " - ", missing); missing = "the end of the conversation " missing }
        }
        print packets + 0, conversations + 0, unfinished + 0, last
        print missing
    }'
}

# ---- record --------------------------------------------------------------------------------------
show=--print # tcpdump prints and records in one process
[ "$file" != - ] || show=''
# Its words go to a file named *.pcap, for AppArmor's profile of tcpdump lets it write to no other.
# -U --immediate-mode -l: each packet is in the file and on the screen as it comes, so that none is
# lost at the end; -s 256 -B 16384 (KiB): the ring holds a burst of thousands.
# shellcheck disable=SC2086 # lists of options
$sudo tcpdump -i lo -nn -s 256 -B 16384 -U --immediate-mode $show -l -w "$part" $as "$@" "$filter" \
    2>"$work/words.pcap" &
tcpdump=$!
until grep -qs 'listening on' "$work/words.pcap"; do # tcpdump says so when it captures
    alive "$tcpdump" || {
        [ "$signals" -eq 0 ] || die 'interrupted: nothing is kept'
        why=$(grep -v 'drop.*privs' "$work/words.pcap" | head -n 1) # its usage may follow
        die "${why:-tcpdump: no word from it}${sudo:+ (without sudo: scripts/lab.sh scripts/capture.sh --run $what)}"
    }
    sleep 0.01 # between two looks
done
[ "$signals" -eq 0 ] || stop_tcpdump # one that came too early for tcpdump
if [ "$file" = - ]; then
    { tail -c +1 -s 0.1 --pid="$tcpdump" -f "$part" 2>/dev/null || true; stop_tcpdump; } &
    tail=$!
fi

# Starts SAMPLE's ROLE with its lines in $work, and leaves its pid in $started.
start() {
    "$root/$1/$2" >"$work/$1.$2.log" 2>"$work/$1.$2.err" &
    started=$!
    programs="$programs $started"
}
# Prints what SAMPLE's ROLE had to say on stderr.
complaint() { printf '%s %s: ' "$1" "$2"; cat "$work/$1.$2.err"; }

if [ -n "$run" ]; then
    for sample in $samples; do
        start "$sample" server
        until grep -qs ' listen ' "$work/$sample.server.log"; do # its line when it is ready
            alive "$started" || die "$(complaint "$sample" server)"
            sleep 0.01 # between two looks
        done
    done
    clients='' lost=''
    for sample in $samples; do
        start "$sample" client
        clients="$clients $sample:$started"
        # one connection after the other, so that every recording of all has the same order
        until grep -qs ' connect ' "$work/$sample.client.log" || ! alive "$started"; do sleep 0.01; done
    done
    for client in $clients; do
        wait "${client#*:}" || lost=1
        [ "$signals" -gt 0 ] || [ ! -s "$work/${client%:*}.client.err" ] ||
            say "$(complaint "${client%:*}" client)"
    done
    # The last packets may still be on their way into the file: look until the end is there. To a
    # client that saw no RST, [R.] is not the end: its FIN and another RST follow.
    for look in $(seq 100); do
        if [ "$signals" -gt 0 ] || ! alive "$tcpdump"; then break; fi # -c may have ended it
        check >"$work/check"
        read -r packets conversations unfinished last <"$work/check"
        [ -n "$unfinished" ] || break # a signal has ended the look
        if [ "$conversations" -ge "$(echo "$samples" | wc -w)" ] && [ "$unfinished" -eq 0 ] &&
            { [ -z "$lost" ] || [ "$last" != R. ] || [ "$look" -gt 50 ]; }; then
            break
        fi
        sleep 0.01 # between two looks
    done
    stop_tcpdump
else
    name=$what
    [ "$what" != all ] || name=sampleN
    say "ready: start ./$name/server, then ./$name/client, in other terminals; Ctrl-C ends"
fi
status=0
while before=$signals; wait "$tcpdump" || status=$?; [ "$signals" -gt "$before" ]; do
    status=0 # the wait was interrupted by a signal, which has also stopped tcpdump
done
[ -z "$tail" ] || wait "$tail" || true

# ---- check and name it ---------------------------------------------------------------------------
check >"$work/check"
{ read -r packets conversations unfinished last; read -r missing; } <"$work/check"
dropped=$(sed -n 's/^\([0-9]*\) packets* dropped by kernel.*/\1/p' "$work/words.pcap")
problem=''
if [ -z "$dropped" ]; then
    problem="tcpdump ended with status $status: $(tail -n 1 "$work/words.pcap")"
elif [ "$dropped" -gt 0 ]; then
    problem="$dropped packets were dropped by the kernel"
elif [ "$packets" -eq 0 ]; then
    problem='no packets came'
elif [ -n "$missing" ]; then
    problem="$missing is missing"
fi

# Moves what has the names of a recording and of its programs' lines to the time of its last change.
set_aside() {
    stamp='' again=''
    for old in "$file" "$base.server.log" "$base.client.log" "$base".sample[123].*.log; do
        [ -e "$old" ] || continue
        [ -n "$stamp" ] || stamp=$(date -r "$old" +%Y%m%d-%H%M%S)
        while [ -e "$base.$stamp$again${old#"$base"}" ]; do again=-$((${again#-} + 1)); done
        mv -n -- "$old" "$base.$stamp$again${old#"$base"}"
    done
}
if [ "$file" != - ] && [ "$packets" -gt 0 ]; then
    [ -z "$problem" ] || { base=$base.incomplete file=$base.pcap; }
    while [ -e "$part" ]; do # mv -n gives way to a recording that has just taken the name
        set_aside
        mv -n -- "$part" "$file"
    done
    for sample in ${run:+$samples}; do
        for role in server client; do
            log=$base.$role.log
            [ "$what" != all ] || log=$base.$sample.$role.log
            mv -- "$work/$sample.$role.log" "$log"
        done
    done
fi
s() { [ "$1" -eq 1 ] || echo s; }
count="$packets packet$(s "$packets"), $conversations conversation$(s "$conversations"), ${dropped:-?} dropped"
where=", kept as $file"
[ "$file" != - ] && [ "$packets" -gt 0 ] || where=''
[ -z "$problem" ] || die "not a complete recording: $problem ($count$where)"
next="; next: scripts/ladder.sh $file"
[ "$file" != - ] || next=''
say "$count$where$next"
