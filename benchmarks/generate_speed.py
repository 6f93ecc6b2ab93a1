"""Tokens per second of greedy generation, beside transformers and CTranslate2, in alternating rounds.

    python benchmarks/generate_speed.py [--family gpt2,t5] [--batch 1,8] [--precision fp32,bf16,int8]
        [--against transformers,ctranslate2] [--rounds 5] [--tokens 64] [--prompt 32] [--out FILE]

The models have random weights, since speed does not depend on them: the shapes of GPT-2 (124M parameters) and T5-small. A round
runs each arm once on all threads of torch; the time is from the token ids of the prompts to the last token. Before any time is
printed, the outputs are compared: hftool's in fp32 must equal those of model.generate token by token; for bf16 and int8, and
for the peers, the first other token must lie at a gap in the fp32 logits of at most GAP of the largest. CTranslate2 runs in
int8; it is imported only where asked for, and converts the model once. The result also holds what one step reads of the
weights, and the memory bandwidth and rate of products measured in the same run, from which the floor of a step follows.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hftool.machine import this_machine, use_huge_pages

use_huge_pages()

import torch  # noqa: E402

from hftool.engines.torch import TorchEngine  # noqa: E402
from hftool.inference.generation import generate  # noqa: E402
from hftool.models.head_config import package_versions  # noqa: E402
from hftool.sampling import SamplingParams  # noqa: E402

RESULTS = Path(__file__).parent / "results" / "generate_speed.json"
BYTES = {"fp32": 4, "bf16": 2, "int8": 1}
GAP = 0.05  # of the largest logit
FIRST = 3  # the first token id of prompts: those before are special

Batch = dict[str, torch.Tensor]
Arm = Callable[[Batch, int], list[list[int]]]  # prompts, number of tokens -> the tokens of each row


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


def hftool_arm(model: Any, precision: str) -> Arm:
    engine = TorchEngine(model, precision=precision)

    def run(batch: Batch, tokens: int) -> list[list[int]]:
        texts = generate(engine, batch, SamplingParams(max_new_tokens=tokens), tokenizer=None)
        return [list(text.ids) for (text,) in texts]

    return run


def transformers_arm(model: Any) -> Arm:
    def run(batch: Batch, tokens: int) -> list[list[int]]:
        rows = model.generate(**batch, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False)
        return rows[:, -tokens:].tolist()  # type: ignore[no-any-return]

    return run


def ctranslate2_arm(model: Any, folder: Path) -> Arm:
    import ctranslate2
    from ctranslate2.converters import TransformersConverter
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = {f"t{i}": i for i in range(model.config.vocab_size)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="t2"))
    special = {"unk_token": "t2", "bos_token": "t1", "eos_token": "t1", "pad_token": "t0"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    model.save_pretrained(folder)
    TransformersConverter(str(folder)).convert(str(folder / "int8"), quantization="int8")
    decodes = not model.config.is_encoder_decoder
    settings = {"device": "cpu", "compute_type": "int8", "intra_threads": torch.get_num_threads()}
    engine = (ctranslate2.Generator if decodes else ctranslate2.Translator)(str(folder / "int8"), **settings)

    def run(batch: Batch, tokens: int) -> list[list[int]]:
        names = [[f"t{i}" for i in row] for row in batch["input_ids"].tolist()]
        if decodes:
            limits = {"max_length": tokens, "min_length": tokens, "include_prompt_in_result": False}
            return [found.sequences_ids[0] for found in engine.generate_batch(names, **limits)]
        limits = {"max_decoding_length": tokens, "min_decoding_length": tokens, "beam_size": 1}
        return [[int(name[1:]) for name in found.hypotheses[0]] for found in engine.translate_batch(names, **limits)]

    return run


def first_gap(model: Any, batch: Batch, expected: Sequence[Sequence[int]], texts: Sequence[Sequence[int]]) -> float:
    """The largest gap in the fp32 logits at the first other token of each text, as a share of the largest logit."""
    largest = 0.0
    for prompt, one, other in zip(batch["input_ids"], expected, texts, strict=True):
        first = next((i for i, pair in enumerate(zip(one, other, strict=True)) if pair[0] != pair[1]), None)
        if first is None:
            continue
        before = torch.tensor([one[:first]], dtype=torch.long)
        with torch.no_grad():
            if model.config.is_encoder_decoder:
                start = torch.zeros(1, 1, dtype=torch.long)
                logits = model(input_ids=prompt[None], decoder_input_ids=torch.cat([start, before], dim=1)).logits[0, -1]
            else:
                logits = model(torch.cat([prompt[None], before], dim=1)).logits[0, -1]
        largest = max(largest, float((logits[one[first]] - logits[other[first]]).abs() / logits.abs().max()))
    return largest


def measure(model: Any, arms: dict[str, Arm], rows: int, args: argparse.Namespace) -> dict[str, Any]:
    """Compare outputs, then time the arms in alternating rounds."""
    prompts = torch.randint(FIRST, model.config.vocab_size, (rows, args.prompt), generator=torch.Generator().manual_seed(1))
    batch = {"input_ids": prompts, "attention_mask": torch.ones_like(prompts)}
    expected = transformers_arm(model)(batch, args.tokens)
    results: dict[str, Any] = {}
    for name, arm in arms.items():
        gap = first_gap(model, batch, expected, texts := arm(batch, args.tokens))
        equal = sum(one == other for one, other in zip(expected, texts, strict=True))
        if gap > (0 if name == "hftool fp32" else GAP):
            raise SystemExit(f"{name}, {rows} rows: the first other token lies at a gap of {gap:.4f} of the largest logit")
        results[name] = {"equal_rows": equal, "largest_gap": round(gap, 5), "seconds": []}
    for _ in range(args.rounds):
        for name, arm in arms.items():
            start = time.perf_counter()
            arm(batch, args.tokens)
            results[name]["seconds"].append(time.perf_counter() - start)
    for result in results.values():
        rates = sorted(rows * args.tokens / seconds for seconds in result.pop("seconds"))
        result |= {"tokens_per_second": round(statistics.median(rates), 1), "spread": [round(rates[0], 1), round(rates[-1], 1)]}
    return results


def bandwidth() -> float:
    """GB/s of reading memory, the best of ten."""
    large, best = torch.ones(64 << 20), float("inf")
    for _ in range(10):
        start = time.perf_counter()
        large.sum()
        best = min(best, time.perf_counter() - start)
    return large.numel() * 4 / best / 1e9


def product_rate() -> float:
    """GFLOP/s of fp32 matrix products, the best of ten."""
    square, best = torch.ones(1024, 1024), float("inf")
    for _ in range(10):
        start = time.perf_counter()
        square @ square
        best = min(best, time.perf_counter() - start)
    return float(2 * 1024**3 / best / 1e9)


def step_bytes(model: Any, precision: str) -> int:
    """What one step reads of the weights: the layers of the decoder and the head, not the embedding table."""
    decoder = model.decoder if model.config.is_encoder_decoder else model.transformer
    count = sum(
        weight.numel() for name, weight in decoder.named_parameters() if weight.dim() == 2 and name.startswith(("block.", "h."))
    )
    return int((count + model.lm_head.weight.numel()) * BYTES[precision])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = {"family": "gpt2,t5", "batch": "1,8", "precision": "fp32,bf16,int8", "against": "transformers"}
    for name, default in names.items():
        parser.add_argument(f"--{name}", default=default, type=lambda text: text.split(","))
    for name, default in {"rounds": 5, "tokens": 64, "prompt": 32}.items():
        parser.add_argument(f"--{name}", default=default, type=int)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    figures = {"bandwidth_gb_s": round(bandwidth(), 1), "fp32_gflop_s": round(product_rate(), 1)}
    shapes: dict[str, Any] = {}
    for family in args.family:
        model = make_model(family)
        arms = {f"hftool {precision}": hftool_arm(model, precision) for precision in args.precision}
        with tempfile.TemporaryDirectory() as folder:
            if "transformers" in args.against:
                arms["transformers fp32"] = transformers_arm(model)
            if "ctranslate2" in args.against:
                arms["ctranslate2 int8"] = ctranslate2_arm(model, Path(folder))
            shapes[family] = {
                "step_megabytes": {precision: round(step_bytes(model, precision) / 1e6, 1) for precision in args.precision},
                "batches": {str(rows): measure(model, arms, int(rows), args) for rows in args.batch},
            }
        for rows, results in shapes[family]["batches"].items():
            for name, result in results.items():
                print(f"{family}, {rows} rows, {name}: {result['tokens_per_second']} tokens/s {result['spread']}", flush=True)
    command = " ".join(["python", f"benchmarks/{Path(__file__).name}", *sys.argv[1:]])
    facts = {"command": command, "machine": this_machine().as_dict(), "versions": package_versions()}
    args.out.write_text(json.dumps({**figures, **shapes, **facts}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
