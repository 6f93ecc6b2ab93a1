"""Tokens per second of greedy generation, beside transformers and CTranslate2, in alternating rounds.

    python benchmarks/generate_speed.py [--family gpt2,t5] [--batch 1,8] [--precision fp32,bf16,int8]
        [--against transformers,ctranslate2] [--rounds 5] [--tokens 64] [--prompt 32] [--out FILE]

The models have random weights, since speed does not depend on them: the shapes of GPT-2 (124M parameters) and T5-small. Each
is written to a folder and measured by `hftool bench generate`: a round runs each arm once on all threads of torch; the time is
from the token ids of the prompts to the last token. Before any time is printed, the outputs are compared: hftool's in fp32 must
equal those of model.generate token by token; for bf16 and int8, and for the peers, the first other token must lie at a small
gap in the fp32 logits. CTranslate2 runs in int8. The result also holds what one step reads of the weights, and the memory
bandwidth and rate of products measured in the same run, from which the floor of a step follows.
"""

import argparse
import json
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from hftool.benchmark.benchmark import run_benchmark
from hftool.benchmark.job import Job
from hftool.machine import this_machine
from hftool.models.head_config import package_versions

RESULTS = Path(__file__).parent / "results" / "generate_speed.json"
FIRST = 3  # the first token id of prompts: those before are special
ALL = 10**9


def make_model(family: str) -> Any:
    """A random model; with twice the usual range of a GPT-2, whose texts repeat one token otherwise."""
    from transformers import GenerationConfig, GPT2Config, GPT2LMHeadModel, T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    if family == "gpt2":
        model = GPT2LMHeadModel(GPT2Config(initializer_range=0.04, bos_token_id=1, eos_token_id=1))
    else:
        sizes = {"d_model": 512, "d_ff": 2048, "num_layers": 6, "num_heads": 8, "d_kv": 64}
        model = T5ForConditionalGeneration(
            T5Config(vocab_size=32128, **sizes, decoder_start_token_id=0, tie_word_embeddings=False)
        )
    model.generation_config = GenerationConfig(pad_token_id=0, decoder_start_token_id=0, eos_token_id=None)
    model.config.eos_token_id = None  # all texts have the same length
    return model.eval()


def write_folder(family: str, folder: Path) -> int:
    """Write a model, with a tokenizer whose tokens are t0, t1 and so on -> the size of its vocabulary."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    model = make_model(family)
    words = {f"t{i}": i for i in range(model.config.vocab_size)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="t2"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"unk_token": "t2", "bos_token": "t1", "eos_token": "t1", "pad_token": "t0"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    model.save_pretrained(folder)
    return int(model.config.vocab_size)


def write_prompts(family: str, path: Path, vocabulary: int, *, rows: int, length: int) -> None:
    """Write random prompts, or texts of a T5."""
    rng, role = random.Random(1), "prompt" if family == "gpt2" else "source"
    texts = [" ".join(f"t{rng.randrange(FIRST, vocabulary)}" for _ in range(length)) for _ in range(rows)]
    path.write_text("".join(json.dumps({role: text}) + "\n" for text in texts), encoding="utf-8")


def measure(family: str, args: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    """The results of a family by batch size, and the rates of the machine."""
    batches: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        model, prompts = Path(folder) / "model", Path(folder) / "prompts.jsonl"
        vocabulary = write_folder(family, model)
        for rows in args.batch:
            write_prompts(family, prompts, vocabulary, rows=int(rows), length=args.prompt)
            more = {"max_new_tokens": args.tokens, "rounds": args.rounds, "seconds": ALL, "offline": True}
            job = Job("generate", str(model), args.against, args.precision, str(prompts), int(rows), int(rows), **more)
            found = run_benchmark(job, progress=lambda event: print(f"{family}: {event.text}", flush=True))
            batches[rows] = {
                name: {
                    "equal_rows": round(arm["same"] * int(rows)),
                    "largest_gap": round(arm["gap"], 5),
                    "tokens_per_second": round(arm["rate"], 1),
                    "spread": [round(one, 1) for one in arm["spread"]],
                }
                for name, arm in found["arms"].items()
            }
    return {"step_megabytes": found["work"]["step_megabytes"], "batches": batches}, found["machine_rates"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = {"family": "gpt2,t5", "batch": "1,8", "precision": "fp32,bf16,int8", "against": "transformers"}
    for name, default in names.items():
        parser.add_argument(f"--{name}", default=default, type=lambda text: text.split(","))
    for name, default in {"rounds": 5, "tokens": 64, "prompt": 32}.items():
        parser.add_argument(f"--{name}", default=default, type=int)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    shapes: dict[str, Any] = {}
    for family in args.family:
        shapes[family], rates = measure(family, args)
    for family, shape in shapes.items():
        for rows, results in shape["batches"].items():
            for name, result in results.items():
                print(f"{family}, {rows} rows, {name}: {result['tokens_per_second']} tokens/s {result['spread']}", flush=True)
    figures = {"bandwidth_gb_s": round(rates["memory"], 1), "fp32_gflop_s": round(rates["fp32"], 1)}
    command = " ".join(["python", f"benchmarks/{Path(__file__).name}", *sys.argv[1:]])
    facts = {"command": command, "machine": this_machine().as_dict(), "versions": package_versions()}
    args.out.write_text(json.dumps({**figures, **shapes, **facts}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
