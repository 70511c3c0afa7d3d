#!/bin/sh
# make demo: records each sample and draws it, in a private network if one can be had.
# usage: scripts/demo.sh [--here]
#   --here  on the lo that is here, without a private network of its own
set -u
CDPATH='' cd -- "$(dirname -- "$0")/.." || exit 1
trap : INT # Ctrl-C ends the recorder, which says what has become of the recording

if [ "${1-}" != --here ]; then
    scripts/lab.sh scripts/demo.sh --here
    status=$?
    [ $status -eq 125 ] || exit $status
    echo 'On lo, without a private network.'
fi
for sample in sample[1-9]; do
    [ "$sample" != sample3 ] || echo 'sample3: its client sleeps for 3 s before it reads ...'
    scripts/capture.sh --run "$sample" >/dev/null || exit
    scripts/ladder.sh "captures/$sample.pcap" || exit
    echo
done
