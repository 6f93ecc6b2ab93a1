"""Each recipe is short, says the words of the workflow in their order, and is level with the others."""

import ast
import importlib
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hftool import workflow
from hftool.config import KNOBS
from hftool.errors import OutputUnavailable, UsageError
from hftool.heads.protocol import SamplingParams
from hftool.models import Loaded
from hftool.registry.models import FAMILIES, get_model
from hftool.registry.tasks import get_task
from support import families

ROOT = Path(__file__).parent.parent
RECIPES = sorted(path.stem for path in (ROOT / "recipes").glob("*.py") if path.stem != "__init__")
WORDS = ["load", "tokenize", "infer", "finetune", "evaluate", "save", "deploy", "serve"]
WITH_EXTRAS = {"deploy", "serve"}  # a recipe runs without them


def text_of(name):
    return (ROOT / "recipes" / f"{name}.py").read_text(encoding="utf-8")


def functions_of(name):
    return [node for node in ast.parse(text_of(name)).body if isinstance(node, ast.FunctionDef)]


def main_of(name):
    [block] = [node for node in ast.parse(text_of(name)).body if isinstance(node, ast.If)]
    assert ast.unparse(block.test) == "__name__ == '__main__'"
    return block


def recipe(name):
    return importlib.import_module(f"recipes.{name}")


def test_there_is_one_for_each_of_the_four_families():
    assert RECIPES == ["bert", "gpt2", "roberta", "t5"]


@pytest.mark.parametrize("name", RECIPES)
def test_words_in_order_typed_documented_and_short(name):
    functions = functions_of(name)
    assert [function.name for function in functions] == WORDS
    assert 40 <= len(text_of(name).splitlines()) <= 90
    for function in functions:
        several = [function.args.vararg] if function.args.vararg else []
        arguments = [*function.args.args, *several, *function.args.kwonlyargs]
        assert ast.get_docstring(function) and function.returns is not None
        assert all(argument.annotation is not None for argument in arguments), function.name
    assert all(callable(getattr(workflow, word)) for word in WORDS)


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("word", WORDS)
def test_the_same_word_takes_and_says_the_same_in_every_recipe(name, word):
    """But what it is asked with: pairs, or how to write; and the names of the model, of the task and of the heads."""
    ours, theirs = (inspect.signature(getattr(recipe(one), word)) for one in (name, "bert"))
    if word == "infer":
        assert list(ours.parameters)[:2] == ["model", "texts"]
        assert list(ours.parameters)[2:] in (["pairs"], ["sampling"])
        assert ours.return_annotation == theirs.return_annotation
        return
    plain = [
        [(p.name, p.kind, p.annotation, p.default if p.name not in ("model", "task") else "") for p in one.parameters.values()]
        for one in (ours, theirs)
    ]
    assert plain[0] == plain[1] and ours.return_annotation == theirs.return_annotation
    heads = r"head: .*?; "
    docs = [re.sub(heads, "", inspect.getdoc(getattr(recipe(one), word))) for one in (name, "bert")]
    assert docs[0] == docs[1]


@pytest.mark.parametrize("name", RECIPES)
def test_its_model_and_its_task_are_known_and_go_together(name):
    row, task = get_model(recipe(name).MODEL), get_task(recipe(name).TASK)
    assert row.family == name and row.stand_ins and task.stand_in
    [family] = [family for family in FAMILIES if family.name == name]
    assert task.head in family.heads
    said = re.search(r"head: (.*?);", recipe(name).load.__doc__)[1]
    assert set(re.split(r", | or ", said)) == set(family.heads)


@pytest.mark.parametrize("name", RECIPES)
def test_the_main_block_says_each_word_and_nothing_that_is_not_there(name):
    """It calls the functions of the file and what Python has, with arguments that they take, and knobs that are knobs."""
    here = recipe(name)
    known = {word: inspect.signature(getattr(here, word)) for word in WORDS}
    called = []
    for call in (node for node in ast.walk(main_of(name)) if isinstance(node, ast.Call)):
        if isinstance(call.func, ast.Attribute):  # " ".join
            assert call.func.attr == "join"
            continue
        if call.func.id not in known:
            assert call.func.id in ("print", "zip")
            continue
        called.append(call.func.id)
        words = {word.arg: None for word in call.keywords}
        known[call.func.id].bind(*call.args, **words)
        more = set(words) - set(known[call.func.id].parameters)
        assert more <= (set(KNOBS) if call.func.id == "finetune" else set(SamplingParams.__dataclass_fields__))
    assert set(called) == set(WORDS) - WITH_EXTRAS


@pytest.mark.parametrize(
    ("name", "lesson"), [("bert", "classify"), ("roberta", "tag"), ("gpt2", "generate"), ("t5", "text2text")]
)
def test_a_step_alone_with_the_recipes_own_words(name, lesson, tmp_path):
    """Each word by itself, with the family's own model: what one step returns the next one takes."""
    here = recipe(name)
    path = families.write_jsonl(tmp_path / "rows.jsonl", families.LESSONS[lesson][1]())
    result = here.finetune(
        families.folder(name), path, out=tmp_path / "run", max_steps=2, batch_size=8, validation_share=0.2, allow_leak=True
    )
    report = here.evaluate(result.run.path, split="validation")
    assert report.metrics["rows"] == result.metrics["validation"]["rows"]
    assert here.evaluate(result.run.path, str(path)).metrics["rows"] == 64
    model = here.load(here.save(result.run.path, tmp_path / "saved"))
    assert isinstance(model, Loaded) and model.head_config.head == lesson
    texts, _ = families.asked(lesson, families.LESSONS[lesson][1](2))
    tokens = here.tokenize(model, texts, max_length=4)
    assert [len(one.ids) for one in tokens] == [min(4, len(one.ids) + len(one.cut)) for one in tokens]
    more = {"max_new_tokens": 3} if "sampling" in inspect.signature(here.infer).parameters else {}
    assert here.infer(model, texts, **more) == workflow.infer(model, texts, sampling=more or None)


def test_a_recipe_takes_pairs_and_settings():
    pairs = recipe("bert").load(families.learnt("bert", "pairs")[0].run.path)
    rows = families.pair_rows(4)
    texts, seconds = families.asked("pairs", rows)
    assert [answer["label"] for answer in recipe("bert").infer(pairs, texts, pairs=seconds)] == [row["label"] for row in rows]
    writer = recipe("gpt2").load(families.folder("gpt2"))
    assert len(recipe("gpt2").infer(writer, ["the red"], samples=2, temperature=1.0, max_new_tokens=3)[0]["samples"]) == 2
    with pytest.raises(UsageError, match="unknown sampling parameter 'temprature'"):
        recipe("gpt2").infer(writer, ["the red"], temprature=1)


def test_copy_gives_the_file_and_never_overwrites(tmp_path):
    for name in RECIPES:
        assert workflow.copy(name, folder=tmp_path).read_text() == text_of(name)
    with pytest.raises(OutputUnavailable):
        workflow.copy("bert", folder=tmp_path)
    with pytest.raises(UsageError, match="Did you mean 'bert'"):
        workflow.copy("brt", folder=tmp_path)


def run(name, folder, *, change=("", "")):
    """The recipe as a copy in another folder, without a network -> its lines."""
    copy = workflow.copy(name, folder=folder)
    copy.write_text(copy.read_text().replace(*change))
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, copy.name], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_recipe_runs_top_to_bottom(tmp_path):
    """As `python -m recipes.bert`; shortened by a small --limit in a copy."""
    lines = run("bert", tmp_path, change=("finetune(fallback=True)", "finetune(fallback=True, limit=64, epochs=1)"))
    assert lines[0].startswith("accuracy 0.") and lines[0].endswith("of 64 rows")
    assert lines[1].startswith("['[CLS]', 'a', 'warm'")
    assert len(lines) == 4 and lines[2].endswith("A warm, funny film.")
    assert list((tmp_path / "runs").glob("minilm-for-bert-sst2-mini-for-sst2-*/saved/model.safetensors"))


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_each_recipe_runs_as_it_stands(name, tmp_path):
    """Minutes each: real training of what hftool brings along."""
    assert run(name, tmp_path)
    assert list((tmp_path / "runs").glob("*/saved/model.safetensors"))
