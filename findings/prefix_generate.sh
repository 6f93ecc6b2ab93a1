#!/usr/bin/env bash
# transformers 5.24.0 with peft 0.21.2: generate() of a prefix-tuned T5 or GPT-2 ignores the prefix; forward() uses it.
#
# Input: models of random weights with PrefixTuningConfig(num_virtual_tokens=4) and random prefixes; greedy generate() of 8 tokens.
# Expected: the tokens found by calling the same model on the growing sequence and taking the largest logit, as with
# transformers 5.23.0.
# Actual: the T5 generates what it does without the prefix; the GPT-2, too, but at positions shifted by 4, so that its tokens are
# neither the one nor the other. transformers 5.24 renamed `past_key_values` to `cache`. peft 0.21.2 adds its prefix under the
# old name to inputs that have a `cache`, and transformers drops the old name when both are given. Training and evaluation by
# loss stay right. peft sets no upper bound on transformers; the only sign is a FutureWarning that both names are set.
#
# Output seen (Python 3.11, torch 2.13.0):
#   transformers 5.23.0   t5   warnings of generate: []
#       forward [44, 27, 27, 27, 27, 27, 27, 27]   generate [44, 27, 27, 27, 27, 27, 27, 27]
#       without prefix [47, 7, 28, 30, 44, 44, 44, 44]
#   transformers 5.23.0   gpt2   warnings of generate: []
#       forward [5, 54, 6, 4, 54, 54, 5, 4]   generate [5, 54, 6, 4, 54, 54, 5, 4]
#       without prefix [37, 4, 4, 4, 4, 4, 11, 27]
#   transformers 5.24.0   t5   warnings of generate: ['Both `past_key_values` and `cache` are set']
#       forward [44, 27, 27, 27, 27, 27, 27, 27]   generate [47, 7, 28, 30, 44, 44, 44, 44]
#       without prefix [47, 7, 28, 30, 44, 44, 44, 44]
#   transformers 5.24.0   gpt2   warnings of generate: ['Both `past_key_values` and `cache` are set']
#       forward [5, 54, 6, 4, 54, 54, 5, 4]   generate [5, 54, 16, 36, 16, 4, 36, 4]
#       without prefix [37, 4, 4, 4, 4, 4, 11, 27]
# Exits 0 while this is so, 1 when it has changed.
set -euo pipefail
unset PYTHONPATH
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cat > "$place/try.py" <<'PY'
import sys
import warnings

import peft
import torch
import transformers
from transformers import GPT2Config, GPT2LMHeadModel, T5Config, T5ForConditionalGeneration

transformers.logging.set_verbosity_error()
NEW = 8
ids = torch.tensor([[5, 6, 7, 8]])
source = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def t5():
    sizes = {"d_model": 32, "d_ff": 64, "num_layers": 2, "num_heads": 2, "d_kv": 16, "initializer_factor": 4.0}
    return T5ForConditionalGeneration(T5Config(vocab_size=60, decoder_start_token_id=0, eos_token_id=None, **sizes))


def gpt2():
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64, "initializer_range": 0.5}
    return GPT2LMHeadModel(GPT2Config(vocab_size=60, bos_token_id=1, eos_token_id=None, **sizes))


def by_forward(model, decodes):
    """The tokens with the largest logits, each from the whole sequence before it."""
    tokens = torch.tensor([[0]]) if decodes else ids
    for _ in range(NEW):
        given = {**source, "decoder_input_ids": tokens} if decodes else {"input_ids": tokens}
        tokens = torch.cat([tokens, model(**given).logits[:, -1:].argmax(dim=-1)], dim=1)
    return tokens[0, -NEW:].tolist()


def by_generate(model):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tokens = model.generate(**source, max_new_tokens=NEW, do_sample=False, pad_token_id=0)[0, -NEW:].tolist()
    return tokens, sorted({str(w.message).split(" for ")[0] for w in caught if "past_key_values" in str(w.message)})


verdicts = {}
for make, task in ((t5, "SEQ_2_SEQ_LM"), (gpt2, "CAUSAL_LM")):
    torch.manual_seed(0)
    model = peft.get_peft_model(make(), peft.PrefixTuningConfig(task_type=task, num_virtual_tokens=4)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_(0, 3)
        forward, (generated, warned) = by_forward(model, make is t5), by_generate(model)
        with model.disable_adapter():
            plain, _ = by_generate(model)
    verdicts[make.__name__] = {"forward": generated == forward, "plain": generated == plain}
    print(f"transformers {transformers.__version__}   {make.__name__}   warnings of generate: {warned}")
    print(f"    forward {forward}   generate {generated}\n    without prefix {plain}")
right, ignored, other = ({"forward": f, "plain": p} for f, p in ((True, False), (False, True), (False, False)))
old = transformers.__version__ == "5.23.0"
sys.exit(verdicts != ({"t5": right, "gpt2": right} if old else {"t5": ignored, "gpt2": other}))
PY
for release in 5.23.0 5.24.0; do
    python3.11 -m venv "$place/$release"
    "$place/$release/bin/pip" install --quiet torch==2.13.0
    "$place/$release/bin/pip" install --quiet "transformers==$release" peft==0.21.2
    "$place/$release/bin/python" -W ignore "$place/try.py"
done
