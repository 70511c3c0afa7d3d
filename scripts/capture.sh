#!/bin/sh
# Records the packets of the samples on lo, prints them as they come, and checks the recording.
# usage: scripts/capture.sh [--run] [-w FILE] [sampleN|all] [-- TCPDUMP-OPTION...]
#   sampleN  the sample to record; all, or no word: every sample
#   --run    start the servers and the clients too, and stop when their conversations are over
#   -w FILE  record there, not in captures/
#   TCPDUMP-OPTION  how packets are printed: -A -e -K -n -N -q -S -t -v -x -X -# and -c N
# An older recording of that name is kept as sample1.1.pcap ..., with its logs.
# Packets go to stdout, all else to stderr.
# Exit status: 0 the recording is whole and no program has failed; 2 usage; else 1.
#
# How: one tcpdump, the recorder, writes each packet into FILE as it comes. Another one prints what
# tail reads from FILE: a reader that is slow, or leaves, takes nothing from the recording.
# A signal only asks to stop: it sets $asked, and whatever waits here looks at that. Then signals
# are ignored, the recorder is told to end, and FILE is checked: the kernel has counted the packets
# that it had for the recorder, and all of them have to be in FILE.
set -u
PATH=$PATH:/usr/sbin

asked=''     # to stop, by a signal
work=''      # directory for what is temporary
recording='' # 1: FILE is ours
recorder=''  # pid of tcpdump, or of sudo, which passes on signals
programs=''  # SAMPLE.ROLE:PID ...
problem=''   # why the recording is not complete

say() {
    printf 'capture.sh: %s\n' "$*" >&2
}

bad_usage() {
    [ -z "$asked" ] || die interrupted
    say "$1 ($(sed -n 's/^# \(usage: .*\)/\1/p' "$0"))"
    exit 2
}

# Ends before there is something to check.
die() { # WORDS
    [ -z "$asked" ] || set -- 'interrupted before it was ready'
    clean_up
    say "$1"
    exit 1
}

ended() { # PID of a child: is it a zombie, or gone?
    state=Z
    { read -r _ _ state _ <"/proc/$1/stat"; } 2>/dev/null
    [ "$state" = Z ]
}

# Looks until COMMAND is true; fails after SECONDS.
await() { # SECONDS COMMAND...
    read -r now _ </proc/uptime # no other process, which Ctrl-C would end
    limit=$((${now%.*} + $1))
    shift
    until "$@"; do
        read -r now _ </proc/uptime
        [ "${now%.*}" -le "$limit" ] || return 1
        sleep 0.05 # between two looks
    done
    return 0 # and not the status of a sleep that Ctrl-C has ended
}

asked_or() { # COMMAND...
    [ -n "$asked" ] || "$@"
}

# ---- whatever happens, nothing is left running, and no temporary file ----------------------------
ignore_signals() {
    trap '' INT TERM HUP QUIT PIPE
}

ends_when_told() { # again at each look, for one that is just starting does not hear it
    kill "$recorder" 2>/dev/null
    ended "$recorder"
}

stop_recorder() {
    await 5 ends_when_told || kill -KILL "$recorder"
    wait "$recorder" 2>/dev/null
    status=$?
    recorder=''
    [ "$status" -eq 0 ] || problem=${problem:-$(about_tcpdump "has failed, status $status")}
    await 5 ended "$printer" || kill -KILL "$printer" # nobody reads what it prints
}

about_tcpdump() { # WHAT it has done: with what it has said last
    echo "tcpdump $1: $(tail -n 1 "$work/words")"
}

no_packets() { # is there no more in FILE than the header of 24 bytes?
    [ "$(wc -c <"$file")" -le 24 ]
}

clean_up() {
    trap - EXIT
    ignore_signals
    for program in $programs; do
        ended "${program#*:}" || kill -KILL "${program#*:}"
        wait "${program#*:}" 2>/dev/null
    done
    [ -z "$recorder" ] || stop_recorder
    if [ -n "$recording" ] && no_packets; then
        rm -f -- "$file"
        [ -z "$run" ] ||
            rm -f -- "$base".server.log "$base".client.log "$base".sample[1-9].*.log 2>/dev/null
    fi
    rm -rf -- "$work"
}

trap clean_up EXIT
trap 'asked=1' INT TERM HUP QUIT PIPE

# ---- what is asked -------------------------------------------------------------------------------
run=''
file=''
what=''
all=''
while [ $# -gt 0 ]; do
    case $1 in
    --run) run=1 ;;
    -w)
        file=${2-}
        case $file in '' | -*) bad_usage '-w: no FILE' ;; esac
        shift
        ;;
    -h | --help)
        sed -n '/^# usage/,/^# Exit/s/^# //p' "$0"
        exit 0
        ;;
    --)
        shift
        break
        ;;
    -*) bad_usage "$1: unknown option; tcpdump's come after --" ;;
    *)
        [ -z "$what" ] || bad_usage "$1: one sample, or all"
        what=${1%/}
        ;;
    esac
    shift
done

for_printing='-[AeKnNqStvxX#]+|-c ?[1-9][0-9]*'
printf '%s\n' "$*" | tr '\n' ' ' | grep -Eqx "(($for_printing)? )*" ||
    bad_usage "$*: after -- may stand -A -e -K -n -N -q -S -t -v -x -X -# and -c N"

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd) || exit 1
in_root=$root/ # before names in the project
[ "$PWD" != "$root" ] || in_root=''
case ${what:=all} in
all)
    all=1
    samples=$(cd "$root" && echo sample[1-9])
    filter='tcp portrange 8081-8089'
    place=sampleN
    ;;
sample[1-9])
    samples=$what
    filter="tcp port 808${what#sample}"
    place=$what
    ;;
*) bad_usage "$what: unknown sample" ;;
esac
for sample in $samples; do
    [ -d "$root/$sample" ] || bad_usage "$sample: unknown sample"
    { [ -x "$root/$sample/server" ] && [ -x "$root/$sample/client" ]; } ||
        die "$sample: not built (run make first)"
done

# ---- who may capture -----------------------------------------------------------------------------
command -v tcpdump >/dev/null || die 'tcpdump: not found (sudo apt-get install tcpdump)'
tcpdump='setsid tcpdump' # Ctrl-C does not reach it, only what sudo starts
way_out=''
if [ "$(id -u)" -eq 0 ]; then
    [ -z "${SUDO_UID-}" ] || [ -O "$root" ] ||
        die 'started with sudo: run it as yourself, it uses sudo for tcpdump alone'
elif ! complaint=$(tcpdump -i lo -L 2>&1 >/dev/null); then
    way_out=" (without sudo: scripts/lab.sh scripts/capture.sh --run $what)"
    command -v sudo >/dev/null || die "$complaint$way_out"
    tcpdump="sudo tcpdump -Z $(id -un)" # from root it becomes this user
    sudo -n tcpdump -i lo -L >/dev/null 2>&1 ||
        say 'sudo is used for tcpdump alone: it may ask for your password'
fi

# ---- room for the recording, before there is one -------------------------------------------------
create() { # NAME: a new file
    complaint=$(ignore_signals && exec 2>&1 && set -C && : >"$1") ||
        die "$1: cannot be made (${complaint##*: })"
}

log_of() { # ROLE: the name of the file for what this program of $sample prints
    echo "$base${all:+.$sample}.$1.log"
}

umask 077 # a recording shows its owner's data
if [ -z "$file" ]; then
    file=${in_root}captures/$what.pcap
    mkdir -p "$root/captures" 2>/dev/null || die "$root/captures: cannot be made"
fi
base=${file%.pcap}
busy="$file: is being recorded just now (-w FILE names another)"
if [ -e "$file" ]; then
    { [ -f "$file" ] && [ -r "$file" ]; } || die "$file: not a file that can be read"
    exec 7<"$file"
    flock -n 7 || die "$busy"
fi
number=1
while [ -n "$(ls -d -- "$base.$number"* 2>/dev/null)" ]; do
    number=$((number + 1))
done
for old in "$file" "$base".server.log "$base".client.log "$base".sample[1-9].*.log; do
    [ -e "$old" ] || continue
    complaint=$(mv -n -- "$old" "$base.$number${old#"$base"}" 2>&1) ||
        die "$old: cannot be moved aside (${complaint##*: })"
done
create "$file"
exec 8>>"$file"
flock -n 8 || die "$busy"
recording=1
for sample in ${run:+$samples}; do
    create "$(log_of server)"
    create "$(log_of client)"
done
work=$(ignore_signals && mktemp -d) ||
    die 'no temporary directory can be made (TMPDIR names another place)'
echo 2>/dev/null >"$work/words" ||
    die "$work: no room (df shows where there is some; TMPDIR names it)"

# ---- record --------------------------------------------------------------------------------------
count_of() { # WHAT: how many packets were "received" ..., as the recorder has told last
    grep -o "[0-9]* packets* $1" "$work/words" | sed -n '$s/ .*//p'
}

has_said() { # WORDS: has the recorder, or will it never?
    grep -q "$1" "$work/words" || ended "$recorder"
}

# -U --immediate-mode: each packet at once; -s 256 -B 16384 (KiB): room for a burst of thousands.
# shellcheck disable=SC2086 # words
$tcpdump -i lo -s 256 -B 16384 -U --immediate-mode -w - "$filter" \
    </dev/null >&8 2>"$work/words" &
recorder=$!
tail=$(command -v gnutail || echo tail) # where coreutils are uutils, theirs is late
# shellcheck disable=SC2048,SC2086 # words
setsid "$tail" -c +1 -s 0.1 -f --pid="$recorder" -- "$file" 2>/dev/null |
    setsid tcpdump -nn -l -r - $* 2>/dev/null &
printer=$!
await 900 asked_or has_said 'listening on' || # so long sudo waits for a password
    die 'tcpdump has not begun after 15 minutes'
[ -n "$asked" ] || kill -USR1 "$recorder" 2>/dev/null # asks for its numbers
await 60 asked_or has_said 'dropped by kernel' || die 'tcpdump has not told its numbers after 60 s'
[ -z "$asked" ] || die interrupted
if ended "$recorder"; then
    wait "$recorder"
    die "$(about_tcpdump "has not begun, status $?")$way_out"
fi
# On lo the kernel has each packet twice for tcpdump, and some from before it had its filter.
received=$(count_of received)
captured=$(count_of captured)
unfiltered=$((received - 2 * captured))

# ---- the conversations ---------------------------------------------------------------------------
# Starts a program on one CPU: lo queues packets on the CPU that sends them, so two CPUs may swap
# two packets.
start() { # ROLE, of $sample
    taskset -c "$cpu" "$root/$sample/$1" >"$(log_of "$1")" 2>"$work/$sample.$1" 8>&- &
    programs="$programs $sample.$1:$!"
}

listens() { # PID: does the server of $sample, or will it never?
    grep -q ' listen ' "$(log_of server)" || ended "$1"
}

# Lets the ladder look at FILE: sets conversations, their number, and ladder, its exit status (0:
# all are whole; 3: one is not). In a session of its own, for its tcpdump would hear Ctrl-C.
check() {
    setsid "$root/scripts/ladder.sh" --verdict "$file" >"$work/verdicts" 2>"$work/ladder words"
    ladder=$?
    conversations=$(grep -c . "$work/verdicts")
}

all_seen() { # are the conversations of all clients in FILE?
    check
    [ "$ladder" -eq 0 ] && [ "$conversations" -eq "$clients" ]
}

clients=0
converse() {
    cpu=$(sed -n 's/^Cpus_allowed_list:[^0-9]*\([0-9]*\).*/\1/p' /proc/self/status)
    for sample in $samples; do
        start server
        await 10 asked_or listens $! || problem="$sample server does not listen after 10 s"
        ! ended $! || problem="$sample server has ended"
        [ -z "$problem$asked" ] || return
        start client
        clients=$((clients + 1))
        await 60 asked_or ended $! || problem="$sample client has not ended after 60 s"
        [ -z "$problem$asked" ] || return
    done
    await 5 asked_or all_seen # the last packets may still be on their way
}

if [ -n "$run" ]; then
    converse
else
    say "ready: start ./$place/server, then ./$place/client, in other terminals; Ctrl-C ends"
    until asked_or ended "$recorder"; do
        sleep 0.1 # between two looks
    done
fi

# ---- stop and check: from here on a signal changes nothing ---------------------------------------
ignore_signals
if [ -z "$asked" ] && ended "$recorder"; then
    problem=$(about_tcpdump 'has ended by itself')
fi
sleep 0.2 # for packets that are on their way
stop_recorder

failed=''
for program in $programs; do
    name=${program%:*}
    words=$work/$name
    if [ -z "$asked" ] && ended "${program#*:}"; then
        wait "${program#*:}" 2>/dev/null
        status=$?
        [ "$status" -eq 0 ] || failed=1
        [ "$status" -eq 0 ] || [ -s "$words" ] || echo "exit status $status" >"$words"
    fi
    [ ! -s "$words" ] || say "${name%.*} ${name#*.}: $(cat "$words")"
done

check
packets=$(setsid tcpdump --count -r - <"$file" 2>/dev/null)
packets=${packets:-0 packets}
received=$(count_of received)
dropped=$(count_of 'dropped by kernel')
missing=$(((received - unfiltered) / 2 - ${packets%% *}))
if [ -n "$problem" ]; then
    : # it is known
elif [ -n "$asked" ] && [ -n "$run" ]; then
    problem=interrupted
elif [ "$dropped" -gt 0 ]; then
    problem="$dropped packets were dropped by the kernel"
elif [ "$missing" -gt 0 ]; then
    problem="$missing packets are missing (the disk is full, see df, or Ctrl-C came too soon)"
elif no_packets; then
    problem='no packets came'
elif [ "$ladder" -eq 3 ]; then
    problem='a conversation lacks its beginning or its end'
elif [ "$ladder" -ne 0 ]; then
    problem="it could not be checked: status $ladder, $(tail -n 1 "$work/ladder words")"
elif [ -n "$run" ] && [ "$conversations" -ne "$clients" ]; then
    problem="conversations should be $clients"
fi

s=s
[ "$conversations" -ne 1 ] || s=''
summary="$packets, $conversations conversation$s, $dropped dropped, kept as $file"
! no_packets || summary='nothing is kept'
clean_up
if [ -n "$problem" ]; then
    say "not a complete recording: $problem ($summary)"
    exit 1
fi
say "$summary; next: ${in_root}scripts/ladder.sh $file"
[ -z "$failed" ]
