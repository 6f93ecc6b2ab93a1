"""The commands that compare_versions.py runs on two versions of hftool.

Inputs and outputs are relative to a workspace, which each version has for itself; commands run in order, as later ones use
runs of earlier ones.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Command:
    """One run of the command line.

    Attributes:
        arguments: After `hftool`.
        stdin: Text on standard input.
        collects: Files and folders whose contents are compared, relative to the workspace.
        prepare: Called with the workspace first.
        name: Shown; by default the arguments.
    """

    arguments: Sequence[str]
    stdin: str = ""
    collects: Sequence[str] = ()
    prepare: Callable[[Path], None] | None = None
    name: str = ""

    @property
    def title(self) -> str:
        words = " ".join(f"'{word}'" if " " in word or not word else word for word in self.arguments)
        return self.name or ("hftool " + words.replace("\n", "\\n"))[:140] + (" < stdin" if self.stdin else "")


def hf(line: str, *texts: str, stdin: str = "", out: str | Sequence[str] = (), prepare=None, name: str = "") -> Command:
    """A command from a line of words; `texts` are further arguments, in place of each @ or at the end."""
    words, left = [], list(texts)
    for word in line.split():
        words.append(left.pop(0) if word == "@" else word)
    collects = (out,) if isinstance(out, str) else tuple(out)
    return Command((*words, *left), stdin, collects, prepare, name)


# ---- the commands

TINY = "--offline --max-steps 2 --batch-size 8 --precision fp32"
TUNE = f"{TINY} --limit 40"
RUN_FILES = ("config.yaml", "log.jsonl", "metrics.json", "manifest.json", "model", "rejected.jsonl", "errors.jsonl")


def run(name: str) -> tuple[str, ...]:
    """The documents of a run folder."""
    return tuple(f"runs/{name}/{file}" for file in RUN_FILES)


def tune(folder: str, line: str, *, options: str = TUNE, **more) -> Command:
    """`finetune` into runs/FOLDER."""
    return hf(f"finetune {line} {options} --out runs/{folder}", out=run(folder), **more)


def flipped(folder: str) -> Callable[[Path], None]:
    """Copy a folder to FOLDER-flipped and change one byte of its weights."""

    def prepare(workspace: Path) -> None:
        target = workspace / f"{folder}-flipped"
        shutil.copytree(workspace / folder, target)
        data = bytearray((target / "model.safetensors").read_bytes())
        data[-5] ^= 64
        (target / "model.safetensors").write_bytes(data)

    return prepare


def edited(folder: str, name: str, **changes) -> Callable[[Path], None]:
    """Copy a model folder to FOLDER-NAME and change keys of its hftool.json; its checksums are left out."""

    def prepare(workspace: Path) -> None:
        target = workspace / f"{folder}-{name}"
        shutil.copytree(workspace / folder, target)
        (target / "SHA256SUMS").unlink(missing_ok=True)
        card = json.loads((target / "hftool.json").read_text(encoding="utf-8"))
        (target / "hftool.json").write_text(json.dumps({**card, **changes}), encoding="utf-8")

    return prepare


def light() -> list[Command]:
    """What needs no model."""
    return [
        hf("", name="hftool"),
        *(
            hf(line)
            for line in (
                "--help",
                "--version",
                "nosuchverb",
                "--nosuch",
                "classifi minilm text",
                "classify",
                "finetune --help --json",
            )
        ),
        *(hf(line) for line in ("models", "models --json", "tasks", "tasks --json", "doctor", "doctor --json")),
        hf("copy bert --out my_bert.py", out="my_bert.py"),
        hf("copy bert --out my_bert.py", name="hftool copy bert --out my_bert.py (exists)"),
        *(
            hf(line)
            for line in (
                "copy nosuch",
                "copy t5 --json",
                "prefetch minilm --offline",
                "prefetch bert sst2 --offline",
                "resume nosuch",
                "verify nosuch",
                "info nosuch --offline",
                "evaluate nosuch sst2 --offline --json",
            )
        ),
    ]


def untrained() -> list[Command]:
    """Models as they come."""
    long_text = "one two three four five six seven eight nine ten " * 40
    return [
        *(
            hf(f"info {line}")
            for line in ("minilm --offline", "bert-mini --json", "gpt2-mini --length 64 --batch-size 8", "t5-mini --json")
        ),
        hf("tokenize minilm @ --offline", "Unbelievably good."),
        hf("tokenize minilm @ --offline --json", "Unbelievably good."),
        hf("tokenize bert-mini @ --pair @ --json", "A man rides.", "Somebody rides a horse."),
        hf("tokenize bert-mini @ --max-length 8", "A warm and funny film of ninety minutes, with a cast."),
        hf("tokenize gpt2-mini --json", stdin="A day.\n  héllo 👍 好\n\nlast"),
        hf("tokenize t5-mini @", "translate: A warm film."),
        hf("tokenize roberta-mini @ --json", "The <mask> opened."),
        hf("tokenize minilm --offline @ --max-length 0", "x"),
        hf("fill bert-mini @ --top-k 3", "The [MASK] opened the door."),
        hf("fill bert @ --offline --json", "The [MASK] opened the [MASK]."),
        hf("fill roberta-mini @ --json", "The <mask> opened the door."),
        hf("fill bert-mini @", "No mask here."),
        hf("fill gpt2-mini @", "The [MASK] opened."),
        hf("embed minilm @ @ --offline --out films.npy", "A warm film.", "A cold one.", out="films.npy"),
        hf("embed minilm @ --offline --json", "A warm film."),
        hf("embed minilm --offline --json --pooling cls", stdin="One.\n\nTwo.\n"),
        hf("embed minilm @ --offline --pooling nosuch", "x"),
        hf("embed bert @ --offline", "A stand-in."),
        hf("embed minilm @ --offline --json", long_text, name="hftool embed minilm LONG --offline --json"),
        hf("similar minilm @ @ --offline", "A man rides a horse.", "Somebody is on a horse."),
        hf("similar minilm @ @ --offline --json", "A man rides a horse.", ""),
        hf("similar minilm @ --offline", "only one"),
        hf("similar gpt2-mini @ @", "a", "b"),
        *generated(),
    ]


def generated() -> list[Command]:
    """generate, infer, summarize and translate, and models that have no trained head."""
    return [
        hf("generate gpt2-mini @ --max-new-tokens 12", "Once upon a time"),
        hf("generate gpt2-mini @ --max-new-tokens 12 --temperature 0 --json", "Once upon a time"),
        hf("generate gpt2-mini @ --max-new-tokens 8 --beams 3 --samples 2 --temperature 0", "Once upon a time"),
        hf("generate gpt2-mini @ --max-new-tokens 20 --stop . --seed 5 --top-k 20 --top-p 0.9", "One day the"),
        hf("generate gpt2 --offline --max-new-tokens 6 --json", stdin="Once\nOne day\n"),
        hf("generate gpt2 @ --offline --no-fallback", "Once"),
        hf("generate gpt2-mini @ --temperature -1", "Once"),
        hf("generate gpt2-mini @ --beams 0", "Once"),
        hf("generate bert-mini @", "Once"),
        hf("infer bert-mini @", "The [MASK] opened the door."),
        hf("infer gpt2-mini @ --json", "Once upon"),
        hf("infer t5-mini @", "summarize: It rained. We stayed at home."),
        hf("summarize t5-mini @ --max-new-tokens 10 --json", "It rained. We stayed at home."),
        hf("translate t5-mini @ --to de --max-new-tokens 10 --temperature 0 --beams 2", "We have no milk."),
        hf("translate t5-mini @ --to xx", "We have no milk."),
        hf("classify minilm @ --offline", "a text"),
        hf("tag bert-mini @ --json", "a text"),
        hf("classify nosuch/model @ --offline --json", "a text"),
        hf("classify ../.. @", "a text"),
    ]


def training() -> list[Command]:
    """`finetune` of each head, and on inputs with faults."""
    return [
        tune("films", "bert-mini sst2"),
        tune("own", "minilm reviews.csv", options=TINY),
        tune("files", "roberta-mini --train train.tsv --validation dev.tsv --json", options=f"{TINY} --seed 7 --lora 2"),
        tune("folder", "gpt2-mini folder --class-weights balanced --optimizer sgd --schedule cosine", options=TINY),
        tune("config", "--config settings.yaml --offline -q", options="--set optimizer=adafactor"),
        tune("pairs", "bert-mini pairs.tsv"),
        tune("numbers", "bert-mini numbers.csv"),
        tune("topics", "bert-mini topics.jsonl --label labels"),
        tune("names", "bert-mini wnut17"),
        tune("conll", "roberta-mini tags.conll"),
        tune("tagged", "bert-mini tags.jsonl --json"),
        tune("questions", "bert-mini squad"),
        tune("own_questions", "roberta-mini squad.json"),
        tune("talks", "t5 dialogsum --max-new-tokens 12"),
        tune("german", "t5-mini phrases-mini --max-new-tokens 8 --lora 2"),
        tune("t5_films", "t5-mini reviews.csv", options=TINY),
        tune("own_summaries", "t5-mini summaries.jsonl --max-new-tokens 8"),
        tune("stories", "gpt2-mini stories-mini --max-length 64"),
        tune("prompts", "gpt2-mini prompts.jsonl"),
        tune("masks", "bert-mini stories-mini --head fill"),
        tune("vectors", "minilm similar.tsv --head embed"),
        tune("extra", "bert-mini more_columns.csv --text text --label label"),
        tune("semicolons", "bert-mini semicolons.csv"),
        tune("again", "runs/films reviews.csv"),
        *bad_training(),
    ]


def bad_training() -> list[Command]:
    """`finetune` with a fault, or on what issue 13 speaks of."""
    names = (
        "empty.csv",
        "header_only.csv",
        "one_class.csv",
        "broken.jsonl",
        "binary.csv",
        "ragged.csv",
        "no_label.csv",
        "conflict.csv",
        "missing.csv",
        "spans.jsonl",
        "fasttext.txt",
        "table.txt",
        "two_labels.csv",
        "toxic.csv",
        "bad_tags.conll",
        "squad_wrong.json",
        "latin1.csv",
        "utf16.csv",
        "headers.csv",
        "nosuch.csv",
    )
    return [
        *(tune("x_" + name.replace(".", "_"), f"bert-mini {name}") for name in names),
        tune("x_leak", "bert-mini --train leak_train.csv --validation leak_dev.csv"),
        tune("x_leak_allowed", "bert-mini --train leak_train.csv --validation leak_dev.csv --allow-leak --json"),
        tune("x_column", "bert-mini reviews.csv --text nosuch --json"),
        tune("x_role", "bert-mini reviews.csv --column txt=text"),
        tune("x_twice", "bert-mini toxic.csv --label toxic --label obscene"),
        tune("x_head", "gpt2-mini squad"),
        tune("x_knob", "bert-mini sst2 --set nosuch=3"),
        tune("x_lr", "bert-mini sst2 --lr -1"),
        tune("x_optimizer", "bert-mini sst2 --optimizer nosuch"),
        tune("x_metric", "bert-mini sst2 --metric bleu"),
        tune("x_yaml", "--config bad.yaml"),
        tune("films", "bert-mini sst2", name="hftool finetune bert-mini sst2 --out runs/films (exists)"),
        hf(
            "finetune bert-mini sst2 --resume --out runs/films --offline",
            name="hftool finetune --resume --out runs/films (finished)",
        ),
        hf("finetune bert-mini nosuchtask --offline"),
        hf("finetune bert-mini imdb --offline --json"),
        hf("finetune"),
        hf("resume runs/films --offline"),
    ]


def trained() -> list[Command]:
    """Verbs on runs."""
    question = (
        "--question",
        "Who was lost?",
        "--context",
        "The lighthouse was first lit in 1874, after three boats were lost.",
    )
    return [
        hf("classify runs/films @ @", "A warm, funny film.", "Two hours I will never get back."),
        hf("classify runs/films @ --json", "A warm, funny film."),
        hf("classify runs/films --top-k 2", stdin="A warm film.\n\nA dull one.\n"),
        hf("classify runs/films --file texts.csv --out answers.csv", out="answers.csv"),
        hf("classify runs/films --file reviews.jsonl --out answers.jsonl --json", out="answers.jsonl"),
        hf("classify runs/films @", "", name="hftool classify runs/films ''"),
        hf("classify runs/films @ --pair x", "A text"),
        hf("classify runs/films @ --file texts.csv", "A text"),
        hf("classify runs/films --file texts.csv --column text=nosuch"),
        hf("classify runs/films @ --device cuda:7", "A text"),
        hf("classify runs/pairs @ --pair @ --json", "A man rides.", "Somebody rests."),
        hf("classify runs/pairs @", "A man rides."),
        hf("classify runs/numbers @ --json", "A warm table of size 12"),
        hf("classify runs/t5_films @ --json", "A warm film."),
        hf("classify runs/folder @ --json", "A warm film."),
        hf("tag runs/names @ @", "Amina Okafor flew to Lisbon.", "It rained all day."),
        hf("tag runs/conll @ --json", "Amina Okafor flew to Lisbon."),
        hf("tag runs/tagged --file texts.txt --out tagged.jsonl", out="tagged.jsonl"),
        hf("tag runs/films @", "Amina"),
        hf("answer runs/questions @ @ @ @", *question),
        hf("answer runs/own_questions @ @ @ @ --json", *question),
        hf("answer runs/questions --question @", "Who?"),
        hf("summarize runs/talks @ --json", "#Person1#: Is the shop open? #Person2#: Yes, until six."),
        hf("infer runs/talks @", "#Person1#: Is the shop open? #Person2#: Yes, until six."),
        hf("infer runs/films @ --json", "A warm film."),
        hf("infer runs/names @", "Amina flew."),
        hf("translate runs/german @ --to de --json", "We have no milk."),
        hf("generate runs/stories @ --max-new-tokens 10 --json", "Once"),
        hf("generate runs/prompts @", "Q: capital number 3? A:"),
        hf("fill runs/masks @ --json", "Once [MASK] walked."),
        hf("embed runs/vectors @ --json", "A man"),
        hf("tokenize runs/films @ --json", "A warm film."),
        hf("tokenize runs/pairs @ --pair @ --json", "A man rides.", "Somebody rests."),
        hf("info runs/films --json"),
        hf("info runs/names"),
        *files(),
    ]


def files() -> list[Command]:
    """evaluate and predict."""
    return [
        hf("evaluate runs/films --offline", out="runs/films/errors.jsonl"),
        hf("evaluate runs/films --split validation --json --offline"),
        hf("evaluate runs/films reviews.csv --out wrong.jsonl", out="wrong.jsonl"),
        hf("evaluate runs/own reviews.jsonl --limit 10 --seed 3 --json"),
        hf("evaluate runs/own headers.csv"),
        hf("evaluate runs/own no_label.csv"),
        hf("evaluate runs/names --json --offline --limit 20"),
        hf("evaluate runs/conll tags.conll"),
        hf("evaluate runs/questions --offline --limit 8 --json"),
        hf("evaluate runs/own_questions squad.json"),
        hf("evaluate runs/talks --offline --limit 4 --json"),
        hf("evaluate runs/stories --offline --limit 4"),
        hf("evaluate runs/masks story.txt --limit 5 --json"),
        hf("evaluate runs/numbers numbers.csv --json"),
        hf("evaluate runs/vectors similar.tsv --json"),
        hf("evaluate runs/pairs pairs.tsv"),
        hf("evaluate gpt2-mini stories-mini --limit 2 --json"),
        hf("evaluate bert-mini sst2 --offline"),
        hf("predict runs/films reviews.csv --text text --out scored.csv", out="scored.csv"),
        hf("predict runs/own reviews.jsonl --json --top-k 1"),
        hf("predict runs/own reviews.jsonl"),
        hf("predict runs/own texts.txt --out scored.tsv", out="scored.tsv"),
        hf("predict runs/conll tags.conll --out tags_scored.jsonl", out="tags_scored.jsonl"),
        hf("predict runs/own_questions squad.json --out answers_scored.jsonl", out="answers_scored.jsonl"),
        hf("predict runs/talks summaries.jsonl --source document --out talk.csv", out="talk.csv"),
        hf("predict runs/numbers numbers.csv"),
        hf("predict runs/own headers.csv"),
        hf("predict runs/own nosuch.csv --json"),
        hf("predict runs/own reviews.csv --out scored.xyz"),
        hf("predict runs/own empty.csv"),
        hf("predict runs/own", stdin="text\nA warm film.\n"),
    ]


def shipped() -> list[Command]:
    """save, verify, export, deploy, push and serve's refusals."""
    return [
        hf("save runs/films --out saved", out="saved"),
        hf("save runs/films --out saved", name="hftool save runs/films --out saved (exists)"),
        hf("save runs/talks --out saved_talks --checkpoint last --json", out="saved_talks"),
        hf("save runs/films --out saved_x --checkpoint nosuch"),
        hf("save bert-mini --out saved_y"),
        hf("verify runs/films"),
        hf("verify saved --json"),
        hf("verify saved-flipped", prepare=flipped("saved")),
        hf("classify saved-flipped @", "A warm film."),
        hf("classify saved @ --json", "A warm film."),
        hf("classify saved-labels @", "A warm film.", prepare=edited("saved", "labels", labels=[["x"], ["y"]])),
        hf("classify saved-length @ --json", "A warm film.", prepare=edited("saved", "length", max_length=-1)),
        hf("export runs/films --out onnx --offline", out="onnx"),
        hf("export runs/films --out onnx8 --quantize int8 --offline --json", out="onnx8"),
        hf("export runs/stories --out onnx_stories --offline", out="onnx_stories"),
        hf("export runs/names --out onnx_names --offline -q", out="onnx_names"),
        hf("export runs/films --out onnx --offline", name="hftool export runs/films --out onnx (exists)"),
        hf("export nosuch --out onnx_x --offline"),
        hf("export minilm --out onnx_vectors --offline", out="onnx_vectors"),
        hf("classify onnx @ --json", "A warm film."),
        hf("classify onnx8 @ --json", "A warm film."),
        hf("tag onnx_names @ --json", "Amina Okafor flew to Lisbon."),
        hf("generate onnx_stories @ --max-new-tokens 8 --temperature 0 --json", "Once"),
        hf("evaluate onnx sst2 --offline --limit 20 --json"),
        hf("verify onnx"),
        hf("deploy runs/films --to docker --name films --out image --offline", out="image"),
        hf("deploy runs/films --to kubernetes --name films --out cluster --offline --json", out="cluster"),
        hf("deploy runs/films --to nosuch --out x"),
        hf("deploy runs/films --to docker --name @ --out x", "Bad Name!"),
        hf("push runs/films me/films --dry-run"),
        hf("push runs/films me/films --dry-run --json --public"),
        hf("push runs/films nosuch! --dry-run"),
        hf("push bert-mini me/films --dry-run"),
        hf("serve nosuch --offline"),
        hf("serve runs/films --host 0.0.0.0 --offline"),
        hf("serve runs/films --port 99999 --offline"),
        hf("serve a=runs/films a=runs/names --offline --json"),
    ]


def commands(verbs: Sequence[str]) -> list[Command]:
    """All of the first pass; each verb's help comes first."""
    return [*(hf(f"{verb} --help") for verb in verbs), *light(), *untrained(), *training(), *trained(), *shipped()]


def on_older() -> list[Command]:
    """The second pass: on the runs, models and exports of the version before."""
    question = (
        "--question",
        "Who was lost?",
        "--context",
        "The lighthouse was first lit in 1874, after three boats were lost.",
    )
    old = [
        *(
            hf(f"classify {folder} @ --json", "A warm film.")
            for folder in (
                "runs/films",
                "runs/own",
                "runs/files",
                "runs/folder",
                "saved",
                "onnx",
                "onnx8",
                "runs/numbers",
                "runs/t5_films",
            )
        ),
        hf("classify runs/pairs @ --pair @ --json", "A man rides.", "Somebody rests."),
        *(
            hf(f"tag {folder} @ --json", "Amina Okafor flew to Lisbon.")
            for folder in ("runs/names", "runs/conll", "onnx_names")
        ),
        *(hf(f"answer {folder} @ @ @ @ --json", *question) for folder in ("runs/questions", "runs/own_questions")),
        hf("infer runs/talks @ --json", "#Person1#: Is the shop open? #Person2#: Yes."),
        hf("translate runs/german @ --to de --json", "We have no milk."),
        *(
            hf(f"generate {folder} @ --max-new-tokens 8 --temperature 0 --json", "Once")
            for folder in ("runs/stories", "onnx_stories")
        ),
        hf("fill runs/masks @ --json", "Once [MASK] walked."),
        *(hf(f"embed {folder} @ --json", "A man") for folder in ("runs/vectors", "onnx_vectors")),
        hf("evaluate runs/films --json --offline"),
        hf("evaluate runs/numbers numbers.csv --json"),
        hf("predict runs/films reviews.csv --text text --out old.csv", out="old.csv"),
        *(hf(f"verify {folder} --json") for folder in ("runs/films", "saved", "onnx")),
        hf("save runs/talks --out resaved", out="resaved"),
        hf("info runs/films --json"),
        tune("again_old", "runs/films reviews.csv"),
    ]
    return [Command(c.arguments, c.stdin, c.collects, c.prepare, f"[of before] {c.title}") for c in old]
