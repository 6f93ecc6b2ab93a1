#!/usr/bin/env bash
# torch 2.13.0 on the CPU: torch.ops.onednn.qlinear_prepack reads an int8 weight as if it were contiguous, whatever its strides.
#
# Input: an int8 weight W (24, 16), and the same values with other strides, W.t().contiguous().t(), as a transposed weight has
# them (GPT-2's layers store theirs transposed); torch.equal says that they are equal.
# Expected: as with every operation of torch, equal tensors give equal products; or an error that asks for a contiguous weight.
# Actual: the product with the second one is that with other numbers, without an error or a warning. `.contiguous()` before the
# packing gives the right one.
#
# Output seen (Python 3.11): largest difference from the product in float32, which is exact for these integers
#   contiguous         0
#   other strides      not 0
#   made contiguous    0
# Exits 0 while this is so, 1 when it has changed.
set -euo pipefail
unset PYTHONPATH
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3.11 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet torch==2.13.0
"$place/venv/bin/python" - 2> /dev/null <<'PY'
import torch

torch.manual_seed(0)
weight = torch.randint(-127, 128, (24, 16), dtype=torch.int8)
states = torch.randint(0, 256, (4, 16), dtype=torch.uint8)
scales, zeros = torch.ones(24), torch.zeros(24, dtype=torch.int32)
strided = weight.t().contiguous().t()
assert torch.equal(weight, strided)
exact = states.float() @ weight.float().t()


def error(given):
    packed = torch.ops.onednn.qlinear_prepack(given, None)
    linear = torch.ops.onednn.qlinear_pointwise
    product = linear(states, 1.0, 0, packed, scales, zeros, None, 1.0, 0, torch.float32, "none", [], "")
    return float((product - exact).abs().max())


errors = {"contiguous": error(weight), "other strides": error(strided), "made contiguous": error(strided.contiguous())}
for name, found in errors.items():
    print(f"{name:18} {'0' if found == 0 else 'not 0'}")
raise SystemExit(0 if [found == 0 for found in errors.values()] == [True, False, True] else 1)
PY
