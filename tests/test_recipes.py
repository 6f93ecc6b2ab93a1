"""Each recipe is short, runs from top to bottom, and says the words of the workflow in their order."""

import ast
import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hftool import workflow
from hftool.errors import OutputUnavailable, UsageError

ROOT = Path(__file__).parent.parent
RECIPES = sorted(path.stem for path in (ROOT / "recipes").glob("*.py") if path.stem != "__init__")
WORDS = ["load", "tokenize", "infer", "finetune", "evaluate", "save"]


@pytest.mark.parametrize("name", RECIPES)
def test_words_in_order_typed_documented_and_short(name):
    text = (ROOT / "recipes" / f"{name}.py").read_text(encoding="utf-8")
    functions = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
    assert [function.name for function in functions] == WORDS
    assert 40 <= len(text.splitlines()) <= 90
    for function in functions:
        arguments = [*function.args.args, *function.args.kwonlyargs]
        assert ast.get_docstring(function) and function.returns is not None
        assert all(argument.annotation is not None for argument in arguments), function.name
    assert all(callable(getattr(workflow, word)) for word in WORDS)


@pytest.mark.parametrize("name", RECIPES)
def test_a_step_alone_with_the_recipes_own_words(name, tiny_run):
    import importlib

    recipe = importlib.import_module(f"recipes.{name}")
    model = recipe.load(tiny_run)
    assert recipe.tokenize(model, ["a film"])[0].tokens
    answer = recipe.infer(model, ["a warm funny film"])[0]
    assert set(answer) == {"label", "probability", "probabilities"}
    assert "fallback" in inspect.signature(recipe.finetune).parameters


def test_copy_gives_the_file_and_never_overwrites(tmp_path):
    path = workflow.copy("bert", folder=tmp_path)
    assert path.read_text() == (ROOT / "recipes" / "bert.py").read_text()
    with pytest.raises(OutputUnavailable):
        workflow.copy("bert", folder=tmp_path)
    with pytest.raises(UsageError, match="Did you mean 'bert'"):
        workflow.copy("brt", folder=tmp_path)


def test_the_recipe_runs_top_to_bottom(tmp_path):
    """As `python -m recipes.bert`, in another folder, without a network; shortened by a small --limit in a copy."""
    copy = workflow.copy("bert", folder=tmp_path)
    copy.write_text(copy.read_text().replace("finetune(fallback=True)", "finetune(fallback=True, limit=64, epochs=1)"))
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, copy.name], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("accuracy 0.") and lines[0].endswith("of 64 rows")
    assert lines[1].startswith("['[CLS]', 'a', 'warm'")
    assert len(lines) == 4 and lines[2].endswith("A warm, funny film.")
    assert list((tmp_path / "runs").glob("minilm-for-bert-sst2-mini-for-sst2-*/saved/model.safetensors"))
