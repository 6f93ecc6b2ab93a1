#!/usr/bin/env bash
# transformers 5.23.0: a model that `from_pretrained(key_mapping=...)` read right is saved under names that are pieces of the
# regular expression, and cannot be loaded again.
#
# Input: a BertModel whose weights are called `_orig_mod....`, as torch.compile leaves them, and the mapping
# {r"^(?:_orig_mod|module)\.": ""}. The argument takes regular expressions (from_pretrained's own mappings have groups).
# Expected: nothing is missing after loading, which is so; then save_pretrained writes `embeddings.LayerNorm.bias`, or the name
# that was in the file, `_orig_mod.embeddings.LayerNorm.bias`, as it does for the mapping {r"^_orig_mod\.": ""}.
# Seen:
#   literal      missing 0, saved as _orig_mod.embeddings.LayerNorm.bias
#   alternation  missing 0, saved as .embeddings.LayerNorm.bias
#   repeated     missing 0, saved as .)+embeddings.LayerNorm.bias
#   loaded again: 23 of 23 weights are missing, and are drawn anew (a warning only)
#
# It saves with the mapping reversed, the pattern being the text to write. hftool gives one exact name for each weight, and takes
# the mapping out of the model before it is saved (hftool/models/load.py).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0
"$folder/venv/bin/pip" install --quiet transformers==5.23.0 safetensors numpy
cat > "$folder/try.py" <<'PY'
import sys
import tempfile

from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel
from transformers.utils import logging

logging.set_verbosity_error()
logging.disable_progress_bar()
SIZE = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
CASES = {
    "literal": ("_orig_mod.", r"^_orig_mod\."),
    "alternation": ("_orig_mod.", r"^(?:_orig_mod|module)\."),
    "repeated": ("module._orig_mod.", r"^(?:(?:_orig_mod|module)\.)+"),
}
seen = {}
for case, (prefix, pattern) in CASES.items():
    first, second = tempfile.mkdtemp(), tempfile.mkdtemp()
    BertModel(BertConfig(vocab_size=50, max_position_embeddings=16, **SIZE)).save_pretrained(first)
    weights = load_file(f"{first}/model.safetensors")
    save_file({prefix + name: tensor for name, tensor in weights.items()}, f"{first}/model.safetensors", {"format": "pt"})
    model, info = BertModel.from_pretrained(first, key_mapping={pattern: ""}, output_loading_info=True)
    model.save_pretrained(second)
    name = sorted(load_file(f"{second}/model.safetensors"))[0]
    seen[case] = (len(info["missing_keys"]), name)
    print(f"{case:12} missing {len(info['missing_keys'])}, saved as {name}")
_, info = BertModel.from_pretrained(second, output_loading_info=True)
print(f"loaded again: {len(info['missing_keys'])} of {len(weights)} weights are missing")
wanted = {
    "literal": (0, "_orig_mod.embeddings.LayerNorm.bias"),
    "alternation": (0, ".embeddings.LayerNorm.bias"),
    "repeated": (0, ".)+embeddings.LayerNorm.bias"),
}
sys.exit(seen != wanted or len(info["missing_keys"]) != len(weights))
PY
"$folder/venv/bin/python" "$folder/try.py"
