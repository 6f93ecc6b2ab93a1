#!/usr/bin/env bash
# ctranslate2 4.8.5: beside a prompt of one token, generate_batch() returns the other prompts' own tokens as generated ones.
#
# Input: a small decoder with random weights, written with ctranslate2's own specification classes, and two prompts of 1 to 7
# tokens at a time; beam_size=1, max_length=min_length=4, include_prompt_in_result=False.
# Expected: each answer as it is for the prompt alone: four generated tokens and nothing of the prompt.
# Actual: right in each pair whose shorter prompt has two tokens or more, and in pairs of one length. If the shorter one has a
# single token, the answer of the longer one begins with its own second token and the rest of the prompt, and these count
# towards max_length, so that fewer tokens, or none, are generated. There is no error and no warning.
#
# Output seen (Python 3.11, numpy 2.4.6):
#   ctranslate2 4.8.5
#   alone [['w12', 'w12', 'w22', 'w20'], ['w6', '<unk>', 'w6', '<unk>']]
#   both  [['w12', 'w12', 'w22', 'w20'], ['w6', 'w7', 'w6', '<unk>']]
#   tokens of the shorter prompt: pairs as alone, other pairs
#   1 0 63
#   2 62 0
#   3 49 0
# Exits 0 while this is so, 1 when it has changed.
set -euo pipefail
unset PYTHONPATH
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3.11 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet ctranslate2==4.8.5 numpy==2.4.6 setuptools==80.9.0
cat > "$place/try.py" <<'PY'
import sys

import ctranslate2
import numpy as np
from ctranslate2.specs import Activation, TransformerDecoderModelSpec

WIDTH, WORDS, NEW = 32, 40, 4
random = np.random.default_rng(0)
spec = TransformerDecoderModelSpec.from_config(2, 2, pre_norm=True, activation=Activation.GELUTanh)


def fill(part, **shapes):
    for name, shape in shapes.items():
        setattr(part, name, random.normal(0, 0.4, shape).astype(np.float32))


def norm(part):
    part.gamma, part.beta = np.ones(WIDTH, np.float32), np.zeros(WIDTH, np.float32)


decoder = spec.decoder
decoder.scale_embeddings = False
fill(decoder.embeddings, weight=(WORDS, WIDTH))
fill(decoder.position_encodings, encodings=(64, WIDTH))
fill(decoder.projection, weight=(WORDS, WIDTH))
norm(decoder.layer_norm)
for layer in decoder.layer:
    norm(layer.self_attention.layer_norm)
    norm(layer.ffn.layer_norm)
    fill(layer.self_attention.linear[0], weight=(3 * WIDTH, WIDTH), bias=(3 * WIDTH,))
    fill(layer.self_attention.linear[1], weight=(WIDTH, WIDTH), bias=(WIDTH,))
    fill(layer.ffn.linear_0, weight=(4 * WIDTH, WIDTH), bias=(4 * WIDTH,))
    fill(layer.ffn.linear_1, weight=(WIDTH, 4 * WIDTH), bias=(WIDTH,))
words = ["<unk>", "<s>", "</s>", *(f"w{i}" for i in range(WORDS - 3))]
spec.register_vocabulary(words)
spec.validate()
spec.save(sys.argv[1])
generator = ctranslate2.Generator(sys.argv[1], device="cpu")


def answers(prompts):
    limits = {"max_length": NEW, "min_length": NEW, "beam_size": 1, "include_prompt_in_result": False}
    return [found.sequences[0] for found in generator.generate_batch(prompts, **limits)]


print("ctranslate2", ctranslate2.__version__)
pair = [["w1"], ["w5", "w6", "w7"]]
print("alone", [answers([prompt])[0] for prompt in pair])
print("both ", answers(pair))
counts = {length: [0, 0] for length in (1, 2, 3)}
for seed in range(200):
    random = np.random.default_rng(seed)
    lengths = int(random.integers(1, 4)), int(random.integers(1, 8))
    if lengths[0] != lengths[1] and min(lengths) in counts:
        prompts = [[words[i] for i in random.integers(3, WORDS, length)] for length in lengths]
        counts[min(lengths)][answers(prompts) != [answers([prompt])[0] for prompt in prompts]] += 1
print("tokens of the shorter prompt: pairs as alone, other pairs")
for length, (same, other) in counts.items():
    print(length, same, other)
holds = counts[1][0] == 0 < counts[1][1] and all(other == 0 < same for same, other in (counts[2], counts[3]))
sys.exit(not (holds and answers(pair)[1][:2] == pair[1][1:]))
PY
mkdir "$place/model"
"$place/venv/bin/python" "$place/try.py" "$place/model"
