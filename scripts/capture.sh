#!/bin/sh
# Records the packets of a sample on lo, printing them as they come, and checks what it recorded.
# usage: scripts/capture.sh [--run] [-w FILE] sample1|sample2|sample3|all [-- TCPDUMP-OPTION...]
#   --run    start the server and the client too, and stop when the conversation is over
#   -w FILE  record there, not in captures/
#   TCPDUMP-OPTIONs (-v -X -S -tttt ...) are for the packets that are printed; recorded is everything
# Packets go to stdout, all else to stderr. Exit status: 0 recording whole, no client failed; 2 usage; else 1.
set -eu
usage='usage: scripts/capture.sh [--run] [-w FILE] sample1|sample2|sample3|all [-- TCPDUMP-OPTION...]'
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd) here=$root/ PATH=$PATH:/usr/sbin
[ "$PWD" != "$root" ] || here=''

say() { printf 'capture.sh: %s\n' "$*" >&2; }
die() { say "$(printf '%s ' "$@" | tr '\n' ' ' | sed 's/ *$//')"; exit 1; } # one line, always
bad_usage() { say "$1 ($usage)"; exit 2; }

# ---- what is asked -------------------------------------------------------------------------------
run='' file='' what=''
while [ $# -gt 0 ]; do
    case $1 in
    --run) run=1 ;;
    -w) file=${2-}; [ -n "${file#-}" ] || bad_usage '-w: no file'; shift ;;
    sample[123] | sample[123]/ | all) [ -z "$what" ] || bad_usage "$1: one sample, or all"; what=${1%/} ;;
    -h | --help) printf '%s\n' "$usage"; exit 0 ;;
    --) shift; break ;;
    -*) bad_usage "$1: unknown option; tcpdump's come after --" ;;
    *) bad_usage "$1: unknown sample" ;;
    esac
    shift
done
[ -n "$what" ] || bad_usage 'no sample'
case $what in
all) samples='sample1 sample2 sample3' name=sampleN filter='tcp portrange 8081-8083' ;;
*) samples=$what name=$what filter="tcp port 808${what#sample}" ;;
esac

# ---- what it needs -------------------------------------------------------------------------------
[ "$(id -u)" -ne 0 ] || [ "${SUDO_UID:-0}" -eq 0 ] ||
    die 'started with sudo: run it as yourself, it uses sudo for the capturing tcpdump alone'
command -v tcpdump >/dev/null || die 'tcpdump: not found (sudo apt-get install tcpdump)'
for sample in $samples; do
    [ -x "$root/$sample/server" ] || die "$sample/server: not built (run make first)"
    [ -x "$root/$sample/client" ] || die "$sample/client: not built (run make first)"
done
# With an empty recording tcpdump says now what it does not like in its options.
why=$(printf '\324\303\262\241\2\0\4\0\0\0\0\0\0\0\0\0\0\0\4\0\1\0\0\0' |
    tcpdump -nn -r - "$@" 2>&1 >/dev/null) ||
    die "$(printf '%s\n' "$why" | grep -m 1 '^tcpdump: ')" '(after -- come options of tcpdump: man tcpdump)'
sudo=''
if [ "$(id -u)" -ne 0 ] && ! why=$(tcpdump -i lo -L 2>&1 >/dev/null); then
    sudo=sudo lab="scripts/lab.sh scripts/capture.sh --run $what"
    command -v sudo >/dev/null || die "$why (install sudo, or use $lab)"
fi

umask 077 # a recording shows its owner's data
if [ -z "$file" ]; then
    file=${here}captures/$what.pcap
    why=$(mkdir -p -- "${file%/*}" 2>&1) || die "$why"
fi
[ ! -e "$file" ] || [ -f "$file" ] || die "$file: not a regular file"
[ "$file" = "${file##*/}" ] || [ -d "${file%/*}/" ] || die "${file%/*}: no such directory (mkdir makes one)"
base=${file%.pcap}

# ---- whatever happens, nothing is left running, and no temporary file ----------------------------
work='' recorder='' programs='' failed='' signals=0
alive() { [ -e "/proc/$1" ] && ! grep -q '^State:.Z' "/proc/$1/status" 2>/dev/null; } # PID: not yet ended
# Ends the recorder: again and again, for a tcpdump that is just beginning is deaf to SIGINT.
stop() { while [ -n "$recorder" ] && alive "$recorder"; do echo >&9; sleep 0.05; done; }
# shellcheck disable=SC2317,SC2329 # called by trap
clean_up() {
    [ $? -le 128 ] || say 'interrupted: nothing is kept' # a signal has ended a command here
    trap '' INT TERM HUP
    for pid in $programs; do kill "$pid" 2>/dev/null || true; done
    stop
    wait
    [ -z "$work" ] || rm -rf -- "$work"
}
trap clean_up EXIT
trap 'signals=$((signals + 1)); [ -z "$recorder" ] || echo >&9; [ ! -t 2 ] || echo >&2' INT TERM HUP # (^C)

# All that is temporary is in here, beside FILE. mktemp is deaf to signals: this shell has to get the name.
work=$(trap '' INT TERM HUP; exec mktemp -d -- "$base.XXXXXX" 2>&1) || { why=$work work=''; die "$why"; }
why=$({ mkfifo -- "$work/stop" && head -c 65536 /dev/zero >"$work/words" && : >"$work/words"; } 2>&1) ||
    die "$file: no room for it (df shows whether the disk is full): $why"
exec 9<>"$work/stop" # a line in it ends the recorder

# ---- record --------------------------------------------------------------------------------------
# The only command that needs privileges. It writes to a pipe: FILE is the user's own, wherever it is.
# -U --immediate-mode: each packet at once; -s 256 -B 16384 (KiB): the ring holds a burst of thousands.
# shellcheck disable=SC2016 # for the inner shell
record='exec 3<&0; tcpdump -i lo -s 256 -B 16384 -U --immediate-mode -w - "$1" & tcpdump=$!
    { while read -r stop; do kill -INT $tcpdump; done; kill -INT $tcpdump; } <&3 >/dev/null 2>&1 &
    wait $tcpdump; kill -KILL $!'
{
    trap '' INT TERM HUP # they are for this shell; tcpdump would hear them in any case, hence setsid
    $sudo sh -c "$record" sh "$filter" <"$work/stop" | tee -p -- "$work/pcap" |
        setsid tcpdump -nn -l -r - "$@" 2>/dev/null
} 2>>"$work/words" 9>&- &
recorder=$!
until grep -q 'listening on' "$work/words"; do # tcpdump says so when it captures
    [ "$signals" -eq 0 ] || die 'interrupted: nothing is kept'
    alive "$recorder" || die "$(grep . "$work/words")" "${sudo:+(without sudo: $lab)}"
    sleep 0.01 # between two looks
done

# Are all conversations in the recording, from the first packet to the last?
whole() { verdict=$("$root/scripts/ladder.sh" --verdict "$work/pcap" 2>/dev/null); }
# Starts SAMPLE's ROLE, pid $started, and waits for its line about CALL, or its end. On one CPU: lo
# queues packets on the CPU that sends them, so two CPUs may swap two packets; one cannot.
cpu=$(sed -n 's/^Cpus_allowed_list:[^0-9]*\([0-9]*\).*/\1/p' /proc/self/status)
start() {
    taskset -c "$cpu" "$root/$1/$2" >"$work/$1.$2.log" 2>"$work/$1 $2" 9>&- &
    started=$! programs="$programs $!"
    while alive "$started" && ! grep -qs " $3 " "$work/$1.$2.log"; do sleep 0.01; done # between two looks
}
if [ -n "$run" ]; then
    for sample in $samples; do
        start "$sample" server listen
        alive "$started" || die "$sample server: $(grep . "$work/$sample server" || echo 'disk full?')"
    done
    clients=''
    for sample in $samples; do # one connection after the other: the same order in every recording of all
        start "$sample" client connect
        clients="$clients $started"
    done
    for client in $clients; do wait "$client" || failed=1; done
    for why in "$work"/*' client'; do [ ! -s "$why" ] || say "${why##*/}: $(cat "$why")"; done
    # The last packets may still be on their way into the file. What follows a client that failed, nobody
    # knows: nothing, if the file has not grown for a second. (The ten without one are against hanging.)
    quiet=0 size='' patience=$((200 - 180 * ${failed:-0}))
    until [ "$signals" -gt 0 ] || [ "$quiet" -ge "$patience" ] || { [ -z "$failed" ] && whole; }; do
        before=$size size=$(wc -c <"$work/pcap") quiet=$((quiet + 1))
        [ "$size" = "$before" ] || quiet=0
        sleep 0.05 # between two looks
    done
else
    where='other terminals' # but where there is only lo, they would be elsewhere
    [ "$(wc -l </proc/net/dev)" -ne 3 ] || where='this private network (all in one: scripts/lab.sh bash)'
    say "ready: start ./$name/server, then ./$name/client, in $where; Ctrl-C ends"
    while [ "$signals" -eq 0 ] && alive "$recorder"; do sleep 0.1 || true; done # between two looks
fi
stop

# ---- check and name it ---------------------------------------------------------------------------
problem=''
whole || problem=$(printf '%s\n' "$verdict" | sed -n '/missing/{s/^[0-9]* //p;q;}')
packets=$(printf '%s\n' "$verdict" | awk '{ n += $1 } END { print n + 0 }')
conversations=$(printf '%s\n' "$verdict" | awk 'NF { n++ } END { print n + 0 }')
dropped=$(sed -n 's/^\([0-9]*\) packets* dropped by kernel.*/\1/p' "$work/words")
[ "$packets" -gt 0 ] || problem='no packets came'
[ "${dropped:-0}" -eq 0 ] || problem="$dropped packets were dropped by the kernel"
[ -n "$dropped" ] || problem="tcpdump: $(tail -n 1 "$work/words")"
! grep -q '^tee: ' "$work/words" || problem=$(grep '^tee: ' "$work/words")
[ -z "$run" ] || [ "$signals" -eq 0 ] || problem=interrupted
n() { if [ "$1" -eq 1 ]; then echo "$1 $2"; else echo "$1 $2s"; fi; }
summary="$(n "$packets" packet), $(n "$conversations" conversation), ${dropped:-?} dropped"
if [ "$packets" -gt 0 ]; then
    [ -z "$problem" ] || { base=$base.incomplete file=$base.pcap; }
    while [ -e "$work/pcap" ]; do # mv -n gives way to a recording that has just taken the name
        # what has the name keeps it, with the time of its last change; or another capture.sh is at it
        if stamp=$(date -r "$file" +%Y%m%d-%H%M%S 2>/dev/null); then
            again=''
            while [ -e "$base.$stamp$again.pcap" ]; do again=-$((${again#-} + 1)); done
            for old in "$base".server.log "$base".client.log "$base".sample[123].*.log "$file"; do
                [ ! -e "$old" ] || mv -n -- "$old" "$base.$stamp$again${old#"$base"}" 2>/dev/null || true
            done
        fi
        mv -n -- "$work/pcap" "$file"
    done
    for log in ${run:+"$work"/*.log}; do
        to=${log##*/}
        [ "$what" = all ] || to=${to#*.}
        mv -- "$log" "$base.$to"
    done
    summary="$summary, kept as $file"
fi
[ -z "$problem" ] || die "not a complete recording: $problem ($summary)"
# WORD, to be pasted into a shell.
quoted() { printf %s "$1" | sed "\|[^-A-Za-z0-9_./]|{s/'/'\\\\''/g; s/^/'/; s/\$/'/;}"; }
say "$summary; next: $(quoted "${here}scripts/ladder.sh") $(quoted "$file")"
[ -z "$failed" ]
