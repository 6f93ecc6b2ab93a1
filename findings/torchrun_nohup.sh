#!/usr/bin/env bash
# torch 2.13.0: torchrun ends on SIGHUP although it was started under nohup, and takes its workers with it.
#
# Input: `nohup torchrun --nproc-per-node 1 sleeper.py`, a worker that sleeps, then SIGHUP to torchrun, as when a terminal closes.
# Expected: nohup starts a command with SIGHUP ignored so that it outlives its terminal; a plain Python process does.
# Actual: the elastic agent installs a handler of its own for SIGHUP whatever was inherited, and raises SignalException: torchrun
# and the worker are gone, the exit status is 1. `--signals-to-handle SIGTERM,SIGINT,SIGQUIT` leaves SIGHUP ignored.
#
# Output seen (Python 3.11):
#   python     alive after SIGHUP
#   torchrun   gone after SIGHUP
#   torchrun --signals-to-handle SIGTERM,SIGINT,SIGQUIT   alive after SIGHUP
# Exits 0 while this is so, 1 when it has changed.
set -euo pipefail
unset PYTHONPATH
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3.11 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet torch==2.13.0
"$place/venv/bin/pip" install --quiet numpy
cat > "$place/sleeper.py" <<'PY'
import pathlib
import sys
import time

pathlib.Path(sys.argv[1]).touch()
time.sleep(60)
PY
seen=""
try() {  # name, command that is given the file which says that the worker runs
    name=$1
    shift
    begun="$place/begun-$RANDOM"
    nohup "$@" "$place/sleeper.py" "$begun" > "$place/out" 2>&1 &
    process=$!
    for _ in $(seq 600); do
        if [ -e "$begun" ]; then break; fi
        sleep 0.1
    done
    kill -HUP "$process"
    state=alive
    for _ in $(seq 100); do
        if ! kill -0 "$process" 2> /dev/null; then state=gone; break; fi
        sleep 0.1
    done
    echo "$name   $state after SIGHUP"
    seen="$seen $state"
    kill -TERM "$process" 2> /dev/null || true
    wait "$process" 2> /dev/null || true
}
try python "$place/venv/bin/python"
try torchrun "$place/venv/bin/torchrun" --standalone --nproc-per-node 1
try "torchrun --signals-to-handle SIGTERM,SIGINT,SIGQUIT" \
    "$place/venv/bin/torchrun" --standalone --nproc-per-node 1 --signals-to-handle SIGTERM,SIGINT,SIGQUIT
test "$seen" = " alive gone alive"
