#!/usr/bin/env bash
# transformers 5.23.0: a BERT whose tokenizer_config.json names PreTrainedTokenizerFast, as many repositories do, gets no
# token_type_ids any more, so that the second text of a pair counts as part of the first.
#
# Input: a tokenizer.json of a BERT (its template gives type 1 to the second text) and {"tokenizer_class":
# "PreTrainedTokenizerFast"}, beside a config.json with "model_type": "bert".
# Expected: as in transformers 4.57.1, token_type_ids of 0 and 1 for a pair: they are in model_input_names of that class there.
# Actual: AutoTokenizer gives input_ids and attention_mask only, without a word; BertModel then takes 0 for every token, and the
# hidden states of a pair are others. The same file under BertTokenizer gives the token types.
#
# Output seen (Python 3.11):
#   transformers 4.57.1   PreTrainedTokenizerFast ['input_ids', 'token_type_ids', 'attention_mask']   BertTokenizer with types
#   transformers 5.23.0   PreTrainedTokenizerFast ['input_ids', 'attention_mask']   BertTokenizer with types
# Exits 0 while this is so, 1 when it has changed.
set -euo pipefail
unset PYTHONPATH
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cat > "$place/try.py" <<'PY'
import json
import pathlib
import sys
import tempfile

import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

transformers.logging.set_verbosity_error()
words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "cat", "blue", "dog"]
own = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
own.normalizer = normalizers.BertNormalizer()
own.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
own.add_special_tokens(words[:5])
own.post_processor = processors.TemplateProcessing(
    single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
)
special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
types = {}
for name in ("PreTrainedTokenizerFast", "BertTokenizer"):
    folder = pathlib.Path(tempfile.mkdtemp())
    own.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": name, **special}))
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "vocab_size": len(words)}))
    made = transformers.AutoTokenizer.from_pretrained(folder)("red cat", "blue dog")
    types[name] = made.get("token_type_ids")
    print(f"transformers {transformers.__version__}   {name}   {list(made)}   {types[name]}")
right = [0, 0, 0, 0, 1, 1, 1]
wanted = None if transformers.__version__.startswith("5.") else right
sys.exit(types != {"PreTrainedTokenizerFast": wanted, "BertTokenizer": right})
PY
for release in 4.57.1 5.23.0; do
    python3.11 -m venv "$place/$release"
    "$place/$release/bin/pip" install --quiet torch==2.13.0
    "$place/$release/bin/pip" install --quiet "transformers==$release"
    "$place/$release/bin/python" "$place/try.py"
done
