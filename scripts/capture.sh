#!/bin/sh
# Records the packets of the samples on lo, prints them as they come, and checks the recording.
# usage: scripts/capture.sh [--run] [-w FILE] [sampleN|all] [-- TCPDUMP-OPTION...]
#   sampleN  the sample to record; all, or no word: every sample
#   --run    start the servers and the clients too, and stop when their conversations are over
#   -w FILE  record there, not in captures/
#            (what has that name is moved aside first, with its logs: sample1.1.pcap ...)
#   TCPDUMP-OPTIONs (-v -X -S -tttt ...) are for the packets that are printed; all are recorded
# Packets go to stdout, all else to stderr.
# Exit status: 0 the recording is whole and no client has failed; 2 usage; else 1.
set -u
PATH=$PATH:/usr/sbin

# A descriptor that is closed is opened, so that no file of ours gets its number.
[ -e /proc/$$/fd/0 ] || exec </dev/null
[ -e /proc/$$/fd/1 ] || exec >/dev/null
[ -e /proc/$$/fd/2 ] || exec 2>/dev/null

# ---- small tools -------------------------------------------------------------------------------
deaf() { # to all signals that may come from a terminal, a reader or kill
    trap '' INT TERM HUP QUIT PIPE
}

say() { # WORDS...: one line on stderr, whatever they hold
    line=$(deaf && printf %s "$*" | tr '[:cntrl:]' ' ')
    printf 'capture.sh: %s\n' "$line" >&2
}

# Ends with WORDS, which are said last, when everything is tidied up; a signal that came is the
# better reason.
die() { # WORDS...
    last_words=$*
    [ -z "$asked" ] || last_words='interrupted before a packet came'
    exit 1
}

bad_usage() { # WORDS
    last_words="$1 ($(sed -n 's/^# \(usage: .*\)/\1/p' "$0"))"
    exit 2
}

quoted() { # WORD, to be pasted into a shell
    case $1 in
    *[!-A-Za-z0-9_./]*) printf %s "$1" | sed "s/'/'\\\\''/g; s/^/'/; s/\$/'/" ;;
    *) printf %s "$1" ;;
    esac
}

number_of() { # NUMBER THING: prints "1 THING" or "2 THINGs"
    if [ "$1" = 1 ]; then
        echo "1 $2"
    else
        echo "$1 $2s"
    fi
}

ended() { # PID: is it gone, or a zombie?
    stat='' # "PID (NAME) STATE ..."; read by the shell, for this is looked at often
    { read -r stat <"/proc/$1/stat"; } 2>/dev/null
    case ${stat##*") "} in
    '' | Z*) return 0 ;;
    *) return 1 ;;
    esac
}

descendants() { # PID: prints the pids of its children, of theirs, and so on
    # shellcheck disable=SC2013 # words
    for child in $(cat "/proc/$1/task/$1/children" 2>/dev/null); do
        echo "$child"
        descendants "$child"
    done
}

# Looks until COMMAND is true, for some SECONDS (more where a look takes long); else fails.
await() { # SECONDS COMMAND...
    looks=$(($1 * 20))
    shift
    until "$@"; do
        [ "$looks" -gt 0 ] || return 1
        looks=$((looks - 1))
        sleep 0.05 # between two looks
    done
    return 0 # and not the status of a sleep that Ctrl-C has ended
}

asked_or() { # COMMAND...: has a signal asked to stop, or is COMMAND true?
    [ -n "$asked" ] || "$@"
}

# ---- whatever happens, nothing is left running, and no temporary file --------------------------
asked=''    # to stop, by a signal
work=''     # directory for what is temporary
recorder='' # pid
programs='' # pids
made=''     # FILE is ours
aside=''    # where the older recording is now
problem=''  # why the recording is not complete
last_words=''

stop_recorder() {
    [ -n "$recorder" ] || return 0
    echo >&9
    if ! await 5 ended "$recorder"; then # nobody reads what is printed? Then tee goes on without it
        kill -KILL "$(cat "$work/printer")" 2>/dev/null
    fi
    if ! await 5 ended "$recorder"; then
        problem='tcpdump and tee have not ended in 10 s'
        # shellcheck disable=SC2046 # a list of pids
        kill -KILL $(descendants "$recorder") "$recorder" 2>/dev/null
    fi
    recorder=''
}

no_packets() { # is there nothing in FILE but the header of a pcap file, of 24 bytes?
    bytes=$(wc -c 2>/dev/null <"$file") && [ "$bytes" -le 24 ]
}

# shellcheck disable=SC2317,SC2329 # called by trap
clean_up() {
    deaf
    for pid in $programs; do
        ended "$pid" || kill "$pid" 2>/dev/null
    done
    for pid in $programs; do
        await 5 ended "$pid" || kill -KILL "$pid"
    done
    stop_recorder
    if [ -n "$made" ]; then
        ! no_packets || undo_room
    elif [ -n "$aside" ]; then
        undo_room
    fi
    [ -z "$work" ] || rm -rf -- "$work"
    [ -z "$last_words" ] || say "$last_words"
}

# ---- what is asked -----------------------------------------------------------------------------
run=''
file=''
what=''
own_words=0 # of the arguments: all but tcpdump's
read_arguments() { # ARGUMENT...
    all_words=$#
    while [ $# -gt 0 ]; do
        case $1 in
        --run)
            run=1
            ;;
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
        -*)
            bad_usage "$1: unknown option; tcpdump's come after --"
            ;;
        *)
            [ -z "$what" ] || bad_usage "$1: one sample, or all"
            what=${1%/}
            [ -n "$what" ] || bad_usage "'$1': unknown sample"
            ;;
        esac
        shift
    done
    own_words=$((all_words - $#))
    if [ -z "$what" ]; then
        what=all
        [ -n "$run" ] ||
            say 'no sample given: recording all of them until Ctrl-C (--help: the usage)'
    fi
}

# Sets root, in_root (before names in the project), samples and filter.
find_samples() {
    root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd) || exit 1
    in_root=$root/
    [ "$PWD" != "$root" ] || in_root=''
    case $what in
    all)
        samples=$(cd "$root" && echo sample[1-9])
        filter='tcp portrange 8081-8089'
        ;;
    sample[1-9])
        samples=$what
        filter="tcp port 808${what#sample}"
        ;;
    *)
        bad_usage "$what: unknown sample"
        ;;
    esac
    for sample in $samples; do
        [ -d "$root/$sample" ] || bad_usage "$sample: unknown sample"
    done
}

# ---- what it needs -----------------------------------------------------------------------------
check_needs() {
    uid=$(id -u)
    [ "$uid" -ne 0 ] || [ "${SUDO_UID:-0}" -eq 0 ] ||
        die 'started with sudo: run it as yourself, it uses sudo for tcpdump alone'
    for tool in tcpdump flock setpriv setsid taskset; do
        command -v $tool >/dev/null ||
            die "$tool: not found (sudo apt-get install tcpdump util-linux)"
    done
    for sample in $samples; do
        for role in server client; do
            [ -x "$root/$sample/$role" ] || die "$sample/$role: not built (run make first)"
        done
    done
}

check_options() { # TCPDUMP-OPTION...
    for option; do # which would write or read other files than ours
        case $option in
        -[rwV]* | -[!-]*[rwV]) bad_usage "$option: not after -- (-w FILE stands before it)" ;;
        esac
    done
    [ $# -gt 0 ] || return 0
    # From an empty recording (a pcap header and no packet) tcpdump prints nothing, but it says what
    # it does not like in its options.
    complaint=$(printf '\324\303\262\241\2\0\4\0\0\0\0\0\0\0\0\0\0\0\4\0\1\0\0\0' |
        tcpdump -nn -r - "$@" 2>&1 >/dev/null) ||
        die "$(printf '%s\n' "$complaint" | grep -m 1 '^tcpdump: ')" \
            '(after -- come options of tcpdump: man tcpdump)'
}

no_sudo() { # prints what somebody may do who has none
    if unshare --user --net true 2>/dev/null; then
        echo "without sudo: scripts/lab.sh scripts/capture.sh --run $what"
    else
        echo 'only root may capture here'
    fi
}

sudo='' # is it used for tcpdump?
find_sudo() {
    if [ "$uid" -ne 0 ] && ! complaint=$(tcpdump -i lo -L 2>&1 >/dev/null); then
        command -v sudo >/dev/null || die "$complaint (install sudo; $(no_sudo))"
        sudo=1
        sudo -n tcpdump -i lo -L >/dev/null 2>&1 || say "sudo is used for tcpdump: $complaint"
    fi
}

# ---- room for the recording, before there is one -----------------------------------------------
# Sets file, which is base and suffix, and directory, where it lies.
choose_file() {
    umask 077 # a recording shows its owner's data
    if [ -z "$file" ]; then
        file=${in_root}captures/$what.pcap
        mkdir -p "$root/captures" 2>/dev/null || die "$root/captures: cannot be made (ls -ld $root)"
    fi
    case $file in
    *[[:cntrl:]]*) die 'a file name with control characters (-w FILE names another)' ;;
    esac
    [ ! -e "$file" ] || [ -f "$file" ] || die "$file: not a regular file"
    [ ! -e "$file" ] || [ -r "$file" ] || die "$file: may not be read (-w FILE names another)"
    directory=$(dirname -- "$file")
    [ -d "$directory" ] || die "$directory: no such directory (mkdir makes one)"
    [ -r "$directory" ] || die "$directory: may not be read (ls -ld shows who may)"
    exec 7<"$directory" # is locked while names in it are chosen
    base=${file%.pcap}
    suffix=${file#"$base"} # .pcap or nothing
}

exists() { # NAME: also as a symbolic link to nothing
    [ -e "$1" ] || [ -L "$1" ]
}

# COMMAND [ARGUMENT...] NAME for each file of a recording that is there; stops when one fails.
each_file() { # BASE COMMAND...
    of=$1
    shift
    for name in "$of$suffix" "$of".server.log "$of".client.log \
        "$of".sample[1-9].server.log "$of".sample[1-9].client.log; do
        ! exists "$name" || "$@" "$name" || return 1
    done
}

rename() { # OLD-BASE NEW-BASE NAME
    mv -n -- "$3" "$2${3#"$1"}"
}

taken() { # BASE: has anything the name of such a recording?
    for name in "$1$suffix" "$1".*; do
        ! exists "$name" || return 0
    done
    return 1
}

lock_names() {
    flock -w 10 7 || die "$directory: another capture.sh has locked it for 10 s"
}

being_recorded() { # is FILE locked by another capture.sh? (flock: 1; other failures are no answer)
    [ -e "$file" ] || return 1
    flock -n -s 6 6<"$file"
    [ $? -eq 1 ]
}

log_of() { # SAMPLE ROLE
    if [ "$what" = all ]; then
        printf '%s\n' "$base.$1.$2.log"
    else
        printf '%s\n' "$base.$2.log"
    fi
}

make() { # NAME: a new file
    complaint=$(deaf && set -C && exec 2>&1 && : >"$1") ||
        die "$1: cannot be made (${complaint##*: })"
}

make_room() {
    lock_names
    number=1
    while taken "$base.$number"; do
        number=$((number + 1))
    done
    if being_recorded; then
        busy=$file
        base=$base.$number
        file=$base$suffix
        say "$busy is being recorded just now; this recording is $file"
    else
        aside=$base.$number # known before the first file is moved, so that all go back
        complaint=$(deaf && each_file "$base" rename "$base" "$aside" 2>&1) ||
            die "$file: cannot be moved aside (${complaint##*: })"
    fi
    make "$file"
    made=1
    exec 8>>"$file"
    flock -n 8 || die "$file: cannot be locked" # as long as this script or its recorder lives
    for sample in ${run:+$samples}; do
        make "$(log_of "$sample" server)"
        make "$(log_of "$sample" client)"
    done
    flock -u 7
}

# If nothing was recorded, all has its name again.
undo_room() {
    flock -w 10 7
    if [ -n "$made" ] && [ -n "$run" ]; then
        each_file "$base" rm -f --
    elif [ -n "$made" ]; then
        rm -f -- "$file" # logs are another's
    fi
    [ -z "$aside" ] || each_file "$aside" rename "$aside" "$base"
}

# ---- record ------------------------------------------------------------------------------------
# Captures to stdout. A line on descriptor 3 ends it, and so does its end: this script is no more.
# -U --immediate-mode: each packet at once; -s 256 -B 16384 (KiB): room for a burst of thousands.
# -Z: from root tcpdump becomes this user, who may then end it without sudo.
capture() {
    set -- -i lo -s 256 -B 16384 -U --immediate-mode -w - "$filter"
    if [ -n "$sudo" ]; then
        set -- sudo tcpdump -Z "$(id -un)" "$@"
    else
        set -- tcpdump "$@"
    fi
    (
        trap - TERM HUP # at its prompt sudo-rs ends by these alone
        exec "$@" </dev/null 2>"$work/words"
    ) &
    tcpdump=$!
    {
        read -r _ <&3
        while :; do # one that is just starting does not hear it
            # shellcheck disable=SC2046 # a list of pids: with sudo, it is tcpdump's parent
            kill -TERM "$tcpdump" $(descendants "$tcpdump")
            sleep 0.05
        done
    } >/dev/null 2>&1 &
    ender=$!
    wait "$tcpdump" 2>/dev/null # no word about how it ended
    echo $? >"$work/tcpdump status"
    kill -KILL "$ender"
}

# Where coreutils are uutils (Ubuntu), GNU's are called gnutee ...: the tee of uutils 0.8.0 takes a
# short read for the end (its issue 11862), and the timeout of 0.0.30 does not kill.
tee=$(command -v gnutee || echo tee)
timeout=$(command -v gnutimeout || echo timeout)

# From stdin into FILE, and on to stdout.
copy() {
    "$tee" -- "$file" 2>"$work/tee words"
    echo $? >"$work/tee status"
}

# In a session of its own, where Ctrl-C does not end it before the last packet is printed.
print_packets() { # TCPDUMP-OPTION...
    exec 5<&0 # in the background stdin is /dev/null
    setsid tcpdump -nn -l -r - "$@" <&5 2>/dev/null &
    echo $! >"$work/printer"
    wait $! 2>/dev/null
    cat <&5 >/dev/null # when it has ended early (-c 3, nobody reads), copy goes on
}

start_recorder() { # TCPDUMP-OPTION...
    work=$(deaf && mktemp -d) ||
        die 'no temporary directory can be made (TMPDIR names another place)'
    mkfifo "$work/stop" || die "$work/stop: cannot be made"
    exec 9<>"$work/stop"
    true >"$work/words" || die "$work: no room (df shows where there is some; TMPDIR names it)"
    [ -z "$asked" ] || die
    {
        deaf
        capture | copy | print_packets "$@"
        [ -e "/proc/$$" ] || rm -rf -- "$work" # this script was killed, and cannot
    } 3<"$work/stop" 7<&- 9>&- &
    recorder=$!
}

# What sudo says is shown when it is said.
shown=0 # lines
show_sudo() {
    lines=$(wc -l <"$work/words")
    [ "${lines:-0}" -gt "$shown" ] || return 0
    sed -n "$((shown + 1)),${lines}p" "$work/words" | grep -v '^tcpdump: ' >&2
    shown=$lines
}

begun() { # does tcpdump capture, or will it never?
    [ -z "$sudo" ] || show_sudo
    grep -q 'listening on' "$work/words" || ended "$recorder"
}

await_recorder() {
    patience=10
    [ -z "$sudo" ] || patience=900 # for a password sudo waits three times five minutes
    await $patience asked_or begun || die "tcpdump does not capture after $patience s"
    if [ -z "$asked" ] && ended "$recorder"; then
        [ -z "$sudo" ] || show_sudo
        complaint=$(grep '^tcpdump: ' "$work/words" | tail -n 1)
        die "${complaint:-sudo has not started tcpdump}${sudo:+ ($(no_sudo))}"
    fi
}

# ---- the conversations -------------------------------------------------------------------------
fail() { # WORDS: the recording will not be complete
    problem=$*
    return 1
}

# Starts a program on one CPU: lo queues packets on the CPU that sends them, so two CPUs may swap
# two packets. Waits for its line about CALL, or its end. Should this script be killed, it ends.
start() { # SAMPLE ROLE CALL
    log=$(log_of "$1" "$2")
    # shellcheck disable=SC2016 # PPID: it is another if this script has been killed already
    setpriv --pdeathsig TERM sh -c '[ "$PPID" = "$0" ] && exec "$@"' $$ \
        taskset -c "$cpu" "$root/$1/$2" >"$log" 2>"$work/$1 $2" 7<&- 8>&- 9>&- &
    started=$!
    programs="$programs $started"
    await 10 asked_or has_come_to "$3" || fail "$1 $2: no line about $3 in 10 s"
}

has_come_to() { # CALL
    grep -q " $1 " "$log" || ended "$started"
}

# Lets the ladder look at FILE, and prints its verdicts. In a session of its own, for its tcpdump
# would hear the signals of this one.
verdicts() { # [LOG]
    setsid "$timeout" -s KILL 300 "$root/scripts/ladder.sh" --verdict "$file" "$@"
}

# The same if FILE has grown: sets conversations, their number, and ladder, the exit status (0: all
# are whole).
checked=nothing # or the size of FILE then
check() {
    size=$(wc -c <"$file")
    [ "$size" != "$checked" ] || return 0
    checked=$size
    [ "${size:-0}" -lt 10000000 ] || say 'checking the recording ...' # it takes seconds
    { # whose stderr takes the shell's word about one that is killed, too
        verdicts >"$work/verdicts"
        ladder=$?
    } 2>"$work/ladder words"
    [ "$ladder" -ne 137 ] || echo 'it was killed, or not over in 300 s' >"$work/ladder words"
    conversations=$(grep -c . "$work/verdicts")
}

all_seen() { # are the conversations of all clients recorded, or will they never be?
    ! ended "$recorder" || return 0
    check
    [ "$ladder" -eq 0 ] && [ "$conversations" -eq "$clients_started" ]
}

# What follows a client that failed, nobody knows: nothing, if FILE has not grown for a second.
until_quiet() {
    size=''
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        before=$size
        size=$(wc -c <"$file")
        if [ "$size" = "$before" ] || [ -n "$asked" ]; then
            break
        fi
        sleep 1
    done
}

clients_started=0
client_failed=''
converse() {
    cpu=$(sed -n 's/^Cpus_allowed_list:[^0-9]*\([0-9]*\).*/\1/p' /proc/self/status)
    for sample in $samples; do
        start "$sample" server listen || return
        if ended "$started"; then
            fail "$sample server: $(cat "$work/$sample server")"
            rm -f -- "$work/$sample server" # it is said once
            return
        fi
    done
    servers=$programs
    clients=''
    for sample in $samples; do # one connection after the other: the same order in every recording
        start "$sample" client connect || return
        clients="$clients $sample:$started"
        clients_started=$((clients_started + 1))
    done
    for client in $clients; do
        sample=${client%:*}
        pid=${client#*:}
        await 60 asked_or ended "$pid" || fail "$sample client: has not ended in 60 s" || return
        [ -z "$asked" ] || return
        wait "$pid"
        status=$?
        [ $status -eq 0 ] || client_failed=1
        [ $status -eq 0 ] || [ -s "$work/$sample client" ] ||
            say "$sample client: exit status $status"
    done
    programs=$servers
    if [ -n "$client_failed" ]; then
        until_quiet
    else
        await 5 asked_or all_seen # the last packets may still be on their way
    fi
}

by_hand() {
    name=$what
    [ "$what" != all ] || name=sampleN
    where='other terminals'
    # A network that has lo alone is private: other terminals are outside.
    sed 1,2d /proc/net/dev | grep -qv '^ *lo:' ||
        where='this private network (all in one: scripts/lab.sh bash)'
    say "ready: start ./$name/server, then ./$name/client, in $where; Ctrl-C ends"
    until asked_or ended "$recorder"; do
        sleep 0.1 # between two looks
    done
}

# ---- stop and check ----------------------------------------------------------------------------
count() { # WHAT: tcpdump's number of "packets WHAT" at its end
    sed -n "s/^\([0-9]*\) packets* $1\$/\1/p" "$work/words"
}

# Ends the recorder and looks at what it left: from here on a signal changes nothing.
finish() {
    deaf
    ended_early=''
    [ -n "$asked" ] || ! ended "$recorder" || ended_early=1
    stop_recorder
    for words in "$work"/sample*; do
        [ ! -s "$words" ] || say "${words##*/}: $(cat "$words")"
    done
    packets=$(count captured)
    dropped=$(count 'dropped by kernel')
    check
}

# Sets problem, if the recording is not complete and it is not known yet why.
judge() {
    if [ -n "$problem" ]; then
        : # it is known
    elif [ -n "$asked" ] && no_packets; then
        problem='interrupted before a packet came'
    elif [ -n "$asked" ] && [ -n "$run" ]; then
        problem=interrupted
    elif [ "$(cat "$work/tee status")" != 0 ]; then
        problem="tee has failed: $(cat "$work/tee status" "$work/tee words")"
    elif [ "$(cat "$work/tcpdump status")" != 0 ] || [ -n "$ended_early" ]; then
        problem="tcpdump has ended by itself: $(tail -n 1 "$work/words")"
    elif no_packets; then
        problem='no packets came'
    elif [ "$dropped" != 0 ]; then
        problem="${dropped:-an unknown number of} packets were dropped by the kernel"
    elif [ "$ladder" -eq 3 ]; then
        problem='a conversation lacks its beginning or its end'
    elif [ "$ladder" -ne 0 ]; then
        problem="it could not be checked: $(tail -n 1 "$work/ladder words")"
    elif [ -n "$run" ] && [ "$conversations" -ne "$clients_started" ]; then
        problem="not $(number_of "$clients_started" conversation)"
    fi
}

belongs() { # LOG: does the ladder find its calls in FILE? One of an older recording may lie there
    [ -f "$1" ] && verdicts "$1" >"$work/verdicts" 2>&1
}

# Chooses the last words and the exit status, and ends.
report() {
    if no_packets; then
        last_words="not a complete recording: $problem (nothing is kept)"
        exit 1
    fi
    summary="$(number_of "${packets:-?}" packet), $(number_of "$conversations" conversation)"
    summary="$summary, ${dropped:-?} dropped, kept as $file"
    if [ -n "$problem" ]; then
        last_words="not a complete recording: $problem ($summary)"
        exit 1
    fi
    next="$(quoted "${in_root}scripts/ladder.sh") $(quoted "$file")"
    for log in server.log client.log; do # as README's tee keeps them
        [ -n "$run" ] || ! belongs "$log" || next="$next $log"
    done
    last_words="$summary; next: $next"
    [ -z "$client_failed" ]
}

# ---- all of it ---------------------------------------------------------------------------------
trap clean_up EXIT
trap 'asked=1' INT TERM HUP QUIT PIPE

read_arguments "$@"
shift "$own_words" # tcpdump's options are left
find_samples
check_needs
check_options "$@"
find_sudo
choose_file
make_room
start_recorder "$@"
await_recorder
if [ -n "$asked" ]; then
    : # to stop before it was ready
elif [ -n "$run" ]; then
    converse
else
    by_hand
fi
finish
judge
report
