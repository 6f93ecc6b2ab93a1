#!/usr/bin/env bash
# scikit-learn 1.9.1 with rich 15.0.0 installed: `import sklearn.metrics` changes the next numbers of Python's `random`.
#
# Input: random.seed(0), then an import, then random.random().
# Expected: an import draws nothing, so that the first number after the seed is 0.8444218515250481 wherever the import stands.
# Actual: sklearn.metrics imports rich where it is installed, and rich/style.py draws 24 bits from the global generator when it is
# first imported. A program that seeds, trains, and imports its metrics at the first evaluation has other numbers from there on
# than one that imported them before; the same seed in a process where rich was imported earlier gives other numbers, too.
#
# Output seen (Python 3.11):
#   nothing          0.8444218515250481
#   sklearn          0.8444218515250481
#   rich.style       0.3852453064766108
#   sklearn.metrics  0.3852453064766108
#   sklearn.metrics, without rich  0.8444218515250481
# Exits 0 while this is so, 1 when it has changed.
set -euo pipefail
unset PYTHONPATH
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3.11 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet numpy==2.4.6 scikit-learn==1.9.1 rich==15.0.0
cat > "$place/draw.py" <<'PY'
import importlib
import random
import sys

random.seed(0)
for name in sys.argv[1:]:
    importlib.import_module(name)
print(random.random())
PY
first=0.8444218515250481
later=0.3852453064766108
seen=""
try() {  # name, number that is expected, modules
    found=$("$place/venv/bin/python" "$place/draw.py" "${@:3}")
    printf '%-16s %s\n' "$1" "$found"
    if [ "$found" != "$2" ]; then seen="$seen $1"; fi
}
try "nothing" "$first"
try "sklearn" "$first" sklearn
try "rich.style" "$later" rich.style
try "sklearn.metrics" "$later" sklearn.metrics
"$place/venv/bin/pip" uninstall --quiet --yes rich
try "sklearn.metrics, without rich" "$first" sklearn.metrics
if [ -n "$seen" ]; then echo "changed:$seen" >&2; exit 1; fi
