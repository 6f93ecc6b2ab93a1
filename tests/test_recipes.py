"""Each recipe is short, has the verbs in their order, and shows by hand what hftool computes for its family."""

import ast
import importlib
import inspect
import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import hftool
from hftool import workflow
from hftool.config import KNOBS
from hftool.engines.torch import TorchEngine
from hftool.errors import OutputUnavailable, UsageError
from hftool.heads import get_head
from hftool.inference.generation import generate
from hftool.models import Loaded
from hftool.registry.families import FAMILIES
from hftool.registry.models import get_model
from hftool.registry.tasks import get_task
from hftool.sampling import SamplingParams
from recipes import bert, gpt2, roberta, t5
from support import families

ROOT = Path(__file__).parent.parent
RECIPES = sorted(path.stem for path in (ROOT / "recipes").glob("*.py") if path.stem != "__init__")
VERBS = ["load", "tokenize", "infer", "finetune", "evaluate", "save", "deploy", "serve"]
WITH_EXTRAS = {"deploy", "serve"}  # a recipe runs without them
BY_HAND = {
    "bert": ["train_by_hand"],
    "roberta": ["align_by_hand", "tag_by_hand"],
    "gpt2": ["generate_by_hand", "loss_by_hand"],
    "t5": ["generate_by_hand", "loss_by_hand"],
}


def text_of(name):
    return (ROOT / "recipes" / f"{name}.py").read_text(encoding="utf-8")


def functions_of(name):
    return [node for node in ast.parse(text_of(name)).body if isinstance(node, ast.FunctionDef)]


def names_of(name):
    """The functions of a recipe in the order of the file: those that it defines, and those that it takes from hftool."""
    found = []
    for node in ast.parse(text_of(name)).body:
        if isinstance(node, ast.FunctionDef):
            found.append(node.name)
        elif isinstance(node, ast.Assign) and node.targets[0].id.islower():
            found.append(node.targets[0].id)
            assert ast.unparse(node) == "{0} = hftool.{0}".format(node.targets[0].id)
    return found


def main_of(name):
    [block] = [node for node in ast.parse(text_of(name)).body if isinstance(node, ast.If)]
    assert ast.unparse(block.test) == "__name__ == '__main__'"
    return block


def recipe(name):
    return importlib.import_module(f"recipes.{name}")


def head_of(loaded):
    return get_head(loaded.tokenizer, loaded.head_config, loaded.model.config)


def test_there_is_one_for_each_of_the_four_families():
    assert RECIPES == ["bert", "gpt2", "roberta", "t5"]


@pytest.mark.parametrize("name", RECIPES)
def test_verbs_in_order_typed_documented_and_short(name):
    names = names_of(name)
    assert [verb for verb in names if verb in VERBS] == VERBS
    assert sorted(set(names) - set(VERBS)) == sorted(BY_HAND[name])
    assert all(callable(getattr(recipe(name), verb)) and callable(getattr(hftool, verb)) for verb in VERBS)
    assert 40 <= len(text_of(name).splitlines()) <= 90
    for function in functions_of(name):
        several = [one for one in (function.args.vararg, function.args.kwarg) if one]
        arguments = [*function.args.args, *several, *function.args.kwonlyargs]
        assert ast.get_docstring(function) and function.returns is not None
        assert all(argument.annotation is not None for argument in arguments), function.name


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_has_the_same_parameters_in_every_recipe(name, verb):
    """Except for the default model and task."""
    ours, reference = (
        [
            (p.name, p.kind, p.annotation, p.default if p.name not in ("model", "task") else "")
            for p in found.parameters.values()
        ]
        for found in (inspect.signature(getattr(recipe(one), verb)) for one in (name, "bert"))
    )
    assert ours == reference


@pytest.mark.parametrize("name", RECIPES)
def test_its_model_and_its_task_are_known_and_go_together(name):
    row, task = get_model(recipe(name).MODEL), get_task(recipe(name).TASK)
    assert row.family == name and row.stand_ins and task.stand_in
    [family] = [family for family in FAMILIES if family.name == name]
    assert task.head in family.heads
    heads = re.search(r"head \((.*?)\)", recipe(name).load.__doc__)[1]
    assert set(re.split(r", | or ", heads)) == set(family.heads)


@pytest.mark.parametrize("name", RECIPES)
def test_the_main_block_calls_each_verb_with_arguments_that_it_takes(name):
    """It calls the functions of the file, and builtins; the settings are those of hftool."""
    here, called = recipe(name), []
    known = {function: inspect.signature(getattr(here, function)) for function in [*VERBS, *BY_HAND[name]]}
    for call in (node for node in ast.walk(main_of(name)) if isinstance(node, ast.Call)):
        if isinstance(call.func, ast.Attribute):
            assert call.func.attr in ("join", "split", "decode")
            continue
        if call.func.id not in known:
            assert call.func.id in ("print", "zip")
            continue
        called.append(call.func.id)
        keywords = {keyword.arg: None for keyword in call.keywords}
        known[call.func.id].bind(*call.args, **keywords)
        more = set(keywords) - set(known[call.func.id].parameters)
        options = {"finetune": set(KNOBS), "load": {"fallback"}}
        assert more <= options.get(call.func.id, set(SamplingParams.__dataclass_fields__))
    assert set(VERBS) - WITH_EXTRAS <= set(called)


@pytest.mark.parametrize(
    ("name", "head_case"), [("bert", "classify"), ("roberta", "tag"), ("gpt2", "generate"), ("t5", "text2text")]
)
def test_each_verb_by_itself(name, head_case, tmp_path):
    """With the family's own model: what one step returns the next one takes."""
    here = recipe(name)
    path = families.write_jsonl(tmp_path / "rows.jsonl", families.HEAD_CASES[head_case][1]())
    result = here.finetune(
        families.folder(name), path, out=tmp_path / "run", max_steps=2, batch_size=8, validation_share=0.2, allow_leak=True
    )
    report = here.evaluate(result.run.path, split="validation")
    assert report.metrics["rows"] == result.metrics["validation"]["rows"]
    assert here.evaluate(result.run.path, str(path)).metrics["rows"] == 64
    model = here.load(here.save(result.run.path, tmp_path / "saved"))
    assert isinstance(model, Loaded) and model.head_config.head == head_case
    texts, _ = families.inputs_of(head_case, families.HEAD_CASES[head_case][1](2))
    tokens = here.tokenize(model, texts, max_length=4)
    assert [len(one.ids) for one in tokens] == [min(4, len(one.ids) + len(one.truncated)) for one in tokens]
    more = {"max_new_tokens": 3} if head_case in ("generate", "text2text") else {}
    assert here.infer(model, texts, **more) == workflow.infer(model, texts, sampling=more or None)


def test_a_recipe_takes_columns_pairs_and_sampling_parameters(tmp_path):
    pairs = bert.load(families.trained_run("bert", "pairs")[0].run.path)
    rows = families.pair_rows(4)
    texts, seconds = families.inputs_of("pairs", rows)
    assert [answer["label"] for answer in bert.infer(pairs, texts, pairs=seconds)] == [row["label"] for row in rows]
    renamed = [{"review": row["text"], "stars": row["label"]} for row in families.classify_rows()]
    columns = {"text": "review", "label": "stars"}
    task = {"task": renamed, "columns": columns, "head": "classify", "validation_share": 0.2, "allow_leak": True}
    result = bert.finetune(families.folder("bert"), out=tmp_path / "run", max_steps=1, offline=True, **task)
    assert bert.load(result).head_config.columns == columns
    with pytest.raises(UsageError, match=r"unknown key 'epoch'. Did you mean 'epochs'"):
        bert.finetune(families.folder("bert"), renamed, epoch=1)
    writer = gpt2.load(families.folder("gpt2"))
    assert len(gpt2.infer(writer, ["the red"], samples=2, temperature=1.0, max_new_tokens=3)[0]["samples"]) == 2
    with pytest.raises(UsageError, match="unknown sampling parameter 'temprature'"):
        gpt2.infer(writer, ["the red"], temprature=1)


def losses_of(result):
    """The losses that `finetune` logged, and the model that it saved."""
    lines = [json.loads(line) for line in result.run.log.read_text(encoding="utf-8").splitlines()]
    return [line["loss"] for line in lines if "loss" in line], bert.load(result).model


@pytest.mark.parametrize("case", ["dropout", "pairs", pytest.param("minilm", marks=pytest.mark.slow)])
def test_the_loop_by_hand_has_the_losses_and_weights_of_finetune(case, tiny_bert, tmp_path):
    """The first 20 losses, bit for bit: over several epochs, with dropout and an incomplete last batch, with and without clipping."""
    rows = [
        {"text": f"{row['text']} {'warm ' * (i % 7)}", "label": row["label"]} for i, row in enumerate(families.classify_rows())
    ]
    model, task, more = {
        "dropout": (tiny_bert, rows, {"clip": 0.3, "lr": 1e-3, "seed": 3}),
        "pairs": (families.folder("bert"), families.pair_rows(), {"clip": 0, "weight_decay": 0.1, "lr": 1e-3}),
        "minilm": ("minilm", "sst2-mini", {"limit": 48}),
    }[case]
    # in bf16 `finetune` has faster layers on a CPU: see the next test
    settings = {"batch_size": 7, "validation_share": 0.2, "allow_leak": True, "device": "cpu", "precision": "fp32", **more}
    trained, losses = bert.train_by_hand(model, task, steps=20, **settings)
    result = bert.finetune(
        model, task, out=tmp_path / "run", offline=True, max_steps=20, log_steps=1, patience=0, eval_steps=20, **settings
    )
    expected, saved = losses_of(result)
    assert losses == expected and len(losses) == 20
    ours, reference = trained.state_dict(), saved.state_dict()
    assert list(ours) == list(reference) and all(torch.equal(ours[name], reference[name]) for name in ours)
    if case == "dropout":
        assert bert.train_by_hand(model, task, steps=20, **{**settings, "seed": 4})[1] != losses


def test_in_bf16_the_loop_by_hand_has_the_losses_of_finetune_but_for_rounding(tmp_path):
    model, task = families.folder("bert"), families.pair_rows()  # it has no dropout
    settings = {"batch_size": 7, "validation_share": 0.2, "allow_leak": True, "device": "cpu", "precision": "bf16"}
    losses = bert.train_by_hand(model, task, steps=20, **settings)[1]
    more = {"max_steps": 20, "log_steps": 1, "patience": 0, "eval_steps": 20}
    expected = losses_of(bert.finetune(model, task, out=tmp_path / "run", offline=True, **more, **settings))[0]
    assert losses == pytest.approx(expected, rel=0.01) and len(losses) == 20


@pytest.mark.parametrize("kind", ["roberta", "bert"])
def test_labels_by_hand_are_the_targets_of_the_head(kind):
    """BERT's tokens have no space before them: the alignment is the same for both."""
    loaded = roberta.load(families.trained_run(kind, "tag")[0].run.path)
    odd = [
        ["ann", "(", "bob", ")", "..."],
        ["\u200b", "tom"],
        ["naïve", "\u00e9", "日本", "x"],
        ["a"],
        ["re-read", "isn't", "it"],
    ]
    rows = [{"tokens": row["tokens"], "tags": [3 - len(tag) for tag in row["tags"]]} for row in families.tag_rows()]
    rows = [*rows, *({"tokens": words, "tags": list(range(len(words)))} for words in odd)]
    features = head_of(loaded).encode(rows)
    assert len(features) == len(rows)
    for row, feature in zip(rows, features, strict=True):
        ids, labels = roberta.align_by_hand(loaded, row["tokens"], row["tags"])
        assert (ids, labels) == (feature.input_ids.tolist(), feature.target.tolist()), row


def test_tags_by_hand_are_those_of_infer():
    loaded = roberta.load(families.trained_run("roberta", "tag")[0].run.path)
    sentences = [row["tokens"] for row in families.tag_rows(16)]
    expected = [answer["tags"] for answer in roberta.infer(loaded, [" ".join(words) for words in sentences])]
    assert [roberta.tag_by_hand(loaded, words) for words in sentences] == expected
    assert len({tag for tags in expected for tag in tags}) == 4


def test_positions_by_hand_are_those_of_roberta(monkeypatch):
    """The model counts them itself when it is given none: the logits are equal, and others for positions from 0."""
    loaded = roberta.load(families.trained_run("roberta", "tag")[0].run.path)
    forward, seen = loaded.model.forward, []

    def compare(**inputs):
        own = forward(input_ids=inputs["input_ids"])
        seen.append([torch.equal(forward(**inputs).logits, own.logits)])
        shifted = {**inputs, "position_ids": inputs["position_ids"] - inputs["position_ids"].min()}
        seen[-1].append(torch.equal(forward(**shifted).logits, own.logits))
        return own

    monkeypatch.setattr(loaded.model, "forward", compare)
    roberta.tag_by_hand(loaded, ["ann", "went", "to", "rome", "."])
    assert seen == [[True, False]]


def greedy_ids(loaded, row, *, tokens):
    """The ids that hftool generates for a row."""
    head = head_of(loaded)
    batch = head.collate(head.encode([row]))
    sampling = SamplingParams(max_new_tokens=tokens)
    [[text]] = generate(TorchEngine(loaded.model), batch, sampling, tokenizer=loaded.tokenizer)
    return list(text.ids)


@pytest.mark.parametrize(
    ("name", "model", "prompts"),
    [
        ("gpt2", "learnt", ["the red cat is", "the white pen is", "the"]),
        ("gpt2", "gpt2-mini", ["Once upon a time", "", "The old woman said to"]),
        ("t5", "learnt", ["red cat", "green pen", "white"]),
        ("t5", "t5-mini", ["#Person1#: Is the shop open?", "The man <extra_id_0> the door."]),
    ],
)
def test_generation_by_hand_has_the_tokens_of_hftool(name, model, prompts):
    here, head_case, role = {"gpt2": (gpt2, "generate", "prompt"), "t5": (t5, "text2text", "source")}[name]
    loaded = here.load(families.trained_run(name, head_case)[0].run.path if model == "learnt" else model, offline=True)
    by_hand = [here.generate_by_hand(loaded, prompt, max_new_tokens=12) for prompt in prompts]
    assert by_hand == [greedy_ids(loaded, {role: prompt}, tokens=12) for prompt in prompts]
    texts = [answer["text"] for answer in here.infer(loaded, prompts, max_new_tokens=12)]
    assert [loaded.tokenizer.decode(ids, skip_special_tokens=True) for ids in by_hand] == texts
    assert any(by_hand) and (model != "learnt" or len(by_hand[0]) < 12)  # a trained one ends by itself


def test_sampling_by_hand_depends_on_its_seed():
    loaded = gpt2.load("gpt2-mini", offline=True)

    def sample(**options):
        return gpt2.generate_by_hand(loaded, "Once upon a time", max_new_tokens=12, **options)

    assert sample(temperature=1.0, seed=1) == sample(temperature=1.0, seed=1) != sample(temperature=1.0, seed=2)
    assert sample(temperature=1.0, top_k=1, seed=1) == sample(temperature=1e-4, seed=2) == sample()


@pytest.mark.parametrize("name", ["gpt2", "t5"])
def test_losses_by_hand_are_those_of_the_head(name):
    head_case, rows = {
        "gpt2": ("generate", [{"text": "the red cat is warm ."}, {"text": "the pen"}]),
        "t5": ("text2text", [{"source": "red cat", "target": "rot"}, {"source": "green pen", "target": "grün"}]),
    }[name]
    loaded = recipe(name).load(families.trained_run(name, head_case)[0].run.path)
    head = head_of(loaded)
    for row in rows:
        batch = head.collate(head.encode([row]))
        with torch.no_grad():
            total, count = head.loss(loaded.model(**{key: batch[key] for key in batch if key != "labels"}), batch)
        assert recipe(name).loss_by_hand(loaded, *row.values()) == pytest.approx(float(total) / count, rel=1e-6)


def test_copy_writes_the_file_and_never_overwrites(tmp_path):
    for name in RECIPES:
        assert workflow.copy(name, folder=tmp_path).read_text() == text_of(name)
    with pytest.raises(OutputUnavailable):
        workflow.copy("bert", folder=tmp_path)
    with pytest.raises(UsageError, match="Did you mean 'bert'"):
        workflow.copy("brt", folder=tmp_path)


def run(name, folder):
    """Run a copy of the recipe in another folder, without a network -> its lines."""
    copy = workflow.copy(name, folder=folder)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, copy.name], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_recipe_runs_top_to_bottom(tmp_path, capfd, monkeypatch):
    """As `python -m recipes.bert`; shortened in a copy, and in this process, as the imports of a new one would take longer."""
    shorter = [
        ("train_by_hand(fallback=True)", "train_by_hand(fallback=True, steps=3, limit=32)"),
        ("finetune(fallback=True)", "finetune(fallback=True, limit=64, epochs=1)"),
    ]
    copy = workflow.copy("bert", folder=tmp_path)
    for old, new in shorter:
        assert old in copy.read_text()
        copy.write_text(copy.read_text().replace(old, new))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    capfd.readouterr()
    runpy.run_path(copy.name, run_name="__main__")
    lines = capfd.readouterr().out.splitlines()
    assert re.fullmatch(r"loss of each step:( 0\.\d{3}){3}", lines[0]) and lines[1].startswith("accuracy 0.")
    assert lines[2].startswith("['[CLS]', 'a', 'warm'") and len(lines) == 5
    assert all(re.fullmatch(r"(positive|negative) 0\.\d{3}", line) for line in lines[3:])
    assert list((tmp_path / "runs").glob("minilm-for-bert-sst2-mini-for-sst2-*/saved/model.safetensors"))


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_each_recipe_runs_as_it_stands(name, tmp_path):
    """Minutes each: real training of what hftool needs."""
    assert run(name, tmp_path)
    assert list((tmp_path / "runs").glob("*/saved/model.safetensors"))
