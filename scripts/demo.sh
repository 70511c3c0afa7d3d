#!/bin/sh
# make demo: records each sample and draws it as soon as it is over, in a private network if one
# can be had. There sample3, whose client sleeps for 3 s, goes on beside the others.
# usage: scripts/demo.sh [--in-lab]
#   --in-lab  this is the private network already
set -u
CDPATH='' cd -- "$(dirname -- "$0")/.." || exit 1

record() { # SAMPLE
    scripts/capture.sh --run "$1" >/dev/null
}

draw() { # SAMPLE
    scripts/ladder.sh "captures/$1.pcap"
}

slow='' # pid of sample3's recorder, when it goes on beside the others

# shellcheck disable=SC2317,SC2329 # called by trap
end_slow() {
    trap '' INT TERM HUP
    [ -z "$slow" ] || kill "$slow" 2>/dev/null
    wait
}
trap end_slow EXIT
trap 'exit 1' INT TERM HUP # the recorder that is going on hears it too, and is waited for

if [ "${1-}" != --in-lab ]; then
    scripts/lab.sh scripts/demo.sh --in-lab
    status=$?
    [ $status -eq 125 ] || exit $status
    echo 'On lo, without a private network; one sample after the other.'
else
    scripts/capture.sh --run sample3 >/dev/null &
    slow=$!
fi
for sample in sample[1-9]; do
    [ "$sample" != sample3 ] || continue
    record "$sample" || exit
    draw "$sample" || exit
    echo
done
echo 'sample3: its client sleeps for 3 s before it reads ...'
if [ -n "$slow" ]; then
    wait "$slow" || exit
    slow=''
else
    record sample3 || exit
fi
draw sample3
