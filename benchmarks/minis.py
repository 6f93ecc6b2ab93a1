"""Trains the small bundled models on public-domain novels, with the training loop of hftool.

    make minis TEXT=DIR    or    python benchmarks/minis.py --text DIR --work DIR [--only gpt2] [--out hftool/assets/models]

DIR holds train.txt and valid.txt: running text, paragraphs separated by blank lines. For each family a randomly initialized
model is pre-trained by `workflow.finetune` and saved in fp16 as a plain Hugging Face folder. The tokenizers are those in
hftool/assets/models, file for file, since WordPiece training gives a different vocabulary in each process.
--new-tokenizers trains new ones. The results are written to benchmarks/results/minis.json, or to another --out. The
seed is 0 throughout; on one machine the result is reproducible.
"""

import argparse
import json
import random
import shutil
import sys
from pathlib import Path
from typing import Any

from hftool import workflow
from hftool.machine import this_machine
from hftool.models.head_config import package_versions
from hftool.progress import Event

ROOT = Path(__file__).parent.parent
MODELS = ROOT / "hftool" / "assets" / "models"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
VOCABULARY = 6000
PASSAGE = 1500  # characters
WIDTH, LAYERS, HEADS = 192, 4, 4
MAX_BYTES = 8_000_000
NOISE, SPAN = 0.15, 3  # corruption rate and span length in words: Raffel et al., 2020, section 3.3.4
SENTINELS = 100

README = """# {name}

{parameters:,} parameters, {family} with {layers} layers of width {width}, pre-trained from scratch by `benchmarks/minis.py` on
public-domain English novels of 1839 to 1926, {steps} steps of {batch} rows of at most {length} tokens, seed 0: so that this
family answers and trains where there is no network. {measured}

It is small and rough: it knows the words and the grammar of old novels and nothing else. Licence: as the project.
"""


def paragraphs(path: Path) -> list[str]:
    """The paragraphs of a text, each with its lines joined."""
    blocks = path.read_text(encoding="utf-8").replace("\r", "").split("\n\n")
    return [text for block in blocks if len(text := " ".join(block.split())) > 20]


def passages(path: Path) -> list[str]:
    """Passages of about PASSAGE characters, each of several paragraphs, one per line."""
    found, lines = [], []
    for text in paragraphs(path):
        lines.append(text)
        if sum(map(len, lines)) > PASSAGE:
            found.append("\n".join(lines))
            lines = []
    return found


def corrupt_spans(text: str, rng: random.Random) -> dict[str, str]:
    """A row of T5 pre-training: source with sentinels for spans of words, target with sentinels and their spans."""
    words, source, target = text.split(), [], []
    position = number = 0
    while position < len(words):
        if rng.random() < NOISE / SPAN and number < SENTINELS:
            source.append(f"<extra_id_{number}>")
            target += [f"<extra_id_{number}>", *words[position : position + SPAN]]
            position, number = position + SPAN, number + 1
        else:
            source.append(words[position])
            position += 1
    if not number:
        return corrupt_spans(text, rng)
    return {"source": " ".join(source), "target": " ".join([*target, f"<extra_id_{number}>"])}


def chunks(texts: list[str], words: int) -> list[str]:
    """Texts split into chunks of `words` words."""
    split = (text.split() for text in texts)
    return [" ".join(part[i : i + words]) for part in split for i in range(0, len(part), words) if len(part) - i > words // 2]


def write_rows(path: Path, texts: list[str], family: str) -> None:
    rng = random.Random(0)
    rows = [corrupt_spans(text, rng) for text in chunks(texts, 80)] if family == "t5" else [{"text": text} for text in texts]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def make_tokenizer(family: str, texts: list[str], folder: Path, *, new: bool) -> Any:
    """Writes the tokenizer of a family to a folder: the bundled one, or a new one trained on the texts."""
    from transformers import AutoConfig

    from hftool.models import load_tokenizer

    if new:
        train_tokenizer(family, texts).save_pretrained(folder)
    else:
        for name in TOKENIZER_FILES:
            shutil.copyfile(MODELS / f"{family}-mini" / name, folder / name)
    return load_tokenizer(folder, AutoConfig.for_model(family))


def train_tokenizer(family: str, texts: list[str]) -> Any:
    from tokenizers import AddedToken
    from transformers import BertTokenizer, GPT2Tokenizer, RobertaTokenizer, T5Tokenizer

    kinds: dict[str, Any] = {"bert": BertTokenizer, "roberta": RobertaTokenizer, "gpt2": GPT2Tokenizer, "t5": T5Tokenizer}
    tokenizer = kinds[family]().train_new_from_iterator(texts[::4], VOCABULARY)
    if family == "roberta":  # the mask token includes the space before it, which transformers 5 does not set
        mask = AddedToken(tokenizer.mask_token, lstrip=True, normalized=False, special=True)
        tokenizer.add_special_tokens({"mask_token": mask})
    tokenizer.model_max_length = 512 if family == "t5" else 256
    return tokenizer


def make_model(family: str, tokenizer: Any) -> Any:
    import transformers
    from transformers import AutoConfig

    sizes: dict[str, dict[str, Any]] = {
        "gpt2": {"n_embd": WIDTH, "n_layer": LAYERS, "n_head": HEADS, "n_positions": 256},
        "t5": {"d_model": 160, "d_kv": 40, "d_ff": 480, "num_layers": 3, "num_heads": 4},
    }
    encoder = {"hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "intermediate_size": 4 * WIDTH}
    encoder["max_position_embeddings"] = 258 if family == "roberta" else 256
    tokens = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    tokens |= {"bos_token_id": tokenizer.bos_token_id}
    if family == "t5":
        tokens["decoder_start_token_id"] = tokenizer.pad_token_id
    known = {key: value for key, value in tokens.items() if value is not None}
    config = AutoConfig.for_model(family, vocab_size=len(tokenizer), **sizes.get(family, encoder), **known)
    kinds = {"gpt2": "AutoModelForCausalLM", "t5": "AutoModelForSeq2SeqLM"}
    transformers.set_seed(0)
    return getattr(transformers, kinds.get(family, "AutoModelForMaskedLM")).from_config(config)


HEAD = {"bert": "fill", "roberta": "fill", "gpt2": "generate", "t5": "text2text"}
KNOBS: dict[str, dict[str, Any]] = {
    "gpt2": {"batch_size": 32, "max_length": 128, "lr": 2e-3},
    "bert": {"batch_size": 32, "max_length": 128, "lr": 1.5e-3},
    "roberta": {"batch_size": 32, "max_length": 128, "lr": 1.5e-3},
    "t5": {"batch_size": 32, "max_length": 160, "lr": 3e-3, "optimizer": "adamw"},
}


def show(event: Event) -> None:
    if event.kind != "step" or event.values.get("logged"):
        print(event.kind, event.text, dict(event.values), flush=True)


def build(family: str, args: argparse.Namespace) -> dict[str, Any]:
    work = args.work / family
    shutil.rmtree(work, ignore_errors=True)
    (work / "start").mkdir(parents=True)
    train, valid = passages(args.text / "train.txt"), passages(args.text / "valid.txt")
    tokenizer = make_tokenizer(family, train, work / "start", new=args.new_tokenizers)
    model = make_model(family, tokenizer)
    model.save_pretrained(work / "start")
    write_rows(work / "train.jsonl", train, family)
    write_rows(work / "validation.jsonl", random.Random(0).sample(valid, min(100, len(valid))), family)
    knobs = {"max_steps": args.steps, "epochs": 1000, "schedule": "cosine", "save_minutes": 5, "keep": 1, "patience": 0}
    knobs |= {"eval_steps": max(args.steps // 4, 1), "weight_decay": 0.01, "log_steps": 20, **KNOBS[family]}
    files = {"train": str(work / "train.jsonl"), "validation": str(work / "validation.jsonl")}
    if family == "t5":  # T5 is evaluated by its loss, since sentinels are not an answer
        knobs["max_new_tokens"] = 64
    result = workflow.finetune(
        str(work / "start"), config={**knobs, **files}, out=work / "run", head=HEAD[family], offline=True, progress=show
    )
    measured = {key: value for key, value in result.metrics["validation"].items() if isinstance(value, (int, float))}
    return {"steps": args.steps, "seconds": round(result.seconds), "parameters": model.num_parameters(), **measured}


def save(family: str, facts: dict[str, Any], args: argparse.Namespace) -> int:
    """Saves the model in fp16 with its tokenizer, as bundled; returns the size of the folder in bytes."""
    import torch
    import transformers

    source, target = args.work / family / "run" / "model", args.out / f"{family}-mini"
    shutil.rmtree(target, ignore_errors=True)
    kind = {"gpt2": "AutoModelForCausalLM", "t5": "AutoModelForSeq2SeqLM"}.get(family, "AutoModelForMaskedLM")
    model = getattr(transformers, kind).from_pretrained(source, dtype=torch.float16)
    model.half().save_pretrained(target)  # T5 keeps some weights in fp32 unless they are converted explicitly
    for name in TOKENIZER_FILES:
        shutil.copyfile(args.work / family / "start" / name, target / name)
    knobs = KNOBS[family]
    measured = f"On novels it was not trained on its loss is {facts['loss']:.2f} nats a token that it must guess."
    sizes = {"layers": "3 + 3", "width": 160} if family == "t5" else {"layers": LAYERS, "width": WIDTH}
    text = README.format(
        name=f"{family}-mini",
        family=family,
        parameters=facts["parameters"],
        steps=facts["steps"],
        batch=knobs["batch_size"],
        length=knobs["max_length"],
        measured=measured,
        **sizes,
    )
    (target / "README.md").write_text(text, encoding="utf-8")
    for path in target.iterdir():
        path.chmod(0o644)  # safetensors makes the file readable by its owner only, and a wheel would keep that mode
    size = sum(path.stat().st_size for path in target.iterdir())
    assert size <= MAX_BYTES, f"{target} has {size} bytes"
    return size


def command_line() -> str:
    """The command line with file names instead of full paths."""
    return " ".join(["python", f"benchmarks/{Path(__file__).name}", *(Path(word).name for word in sys.argv[1:])])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=MODELS)
    parser.add_argument("--new-tokenizers", action="store_true", help="train new tokenizers; that of BERT differs each time")
    parser.add_argument("--only", nargs="*", default=list(HEAD), choices=list(HEAD))
    parser.add_argument("--steps", type=int, default=800)
    args = parser.parse_args()
    results = ROOT / "benchmarks" / "results" / "minis.json" if args.out == MODELS else args.out / "minis.json"
    found = json.loads(results.read_text())["models"] if results.exists() else {}
    for family in args.only:
        facts = build(family, args)
        found[f"{family}-mini"] = {**facts, "bytes": save(family, facts, args), "command": command_line()}
        head = {"machine": this_machine().as_dict(), "versions": package_versions()}
        results.write_text(json.dumps({**head, "models": found}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
