#!/usr/bin/env bash
# torch 2.13.0 on a CPU with bf16 instructions: matrix products of ever new shapes, as texts of all lengths are, keep hundreds of
# megabytes that no tensor holds.
#
# Input: a torch.nn.Linear(384, 1536) and one back, in bf16 under inference_mode, asked with 900 batches of as many numbers of rows.
# Expected: memory is level after the first batches, since nothing is kept.
# Actual: each new shape adds an entry to oneDNN's primitive cache (ONEDNN_PRIMITIVE_CACHE_CAPACITY) and to torch's own cache above
# it (LRU_CACHE_CAPACITY), 1,024 each. With both at 16 memory is level; with only the second it is not.
#
# Output seen (AMD EPYC with avx512_bf16, Python 3.11): growth of the resident memory
#   as it comes 1213 MB   LRU_CACHE_CAPACITY=16 893 MB   both at 16 22 MB
# Exits 0 while the default grows by over 5 times as much as with both caches bounded and by over 60 MB, 1 when that has changed;
# on a CPU without bf16 instructions it says so and exits 0.
set -euo pipefail
unset PYTHONPATH
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
if ! grep -qE "avx512_bf16|amx_bf16" /proc/cpuinfo; then
    echo "this CPU has no bf16 instructions: nothing to see"
    exit 0
fi
python3.11 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet torch==2.13.0
"$place/venv/bin/pip" install --quiet numpy
cat > "$place/try.py" <<'PY'
import pathlib

import torch


def resident() -> int:
    return next(
        int(line.split()[1]) // 1024 for line in pathlib.Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS")
    )


layers = [torch.nn.Linear(384, 1536).bfloat16(), torch.nn.Linear(1536, 384).bfloat16()]
with torch.inference_mode():
    for rows in range(1, 41):
        layers[1](layers[0](torch.ones(rows, 384, dtype=torch.bfloat16)))
    before = resident()
    for rows in range(41, 941):
        layers[1](layers[0](torch.ones(rows, 384, dtype=torch.bfloat16)))
print(resident() - before)
PY
usual=$("$place/venv/bin/python" "$place/try.py")
outer=$(LRU_CACHE_CAPACITY=16 "$place/venv/bin/python" "$place/try.py")
both=$(LRU_CACHE_CAPACITY=16 ONEDNN_PRIMITIVE_CACHE_CAPACITY=16 "$place/venv/bin/python" "$place/try.py")
echo "as it comes $usual MB   LRU_CACHE_CAPACITY=16 $outer MB   both at 16 $both MB"
test "$usual" -gt 60 && test "$usual" -gt $((5 * both))
