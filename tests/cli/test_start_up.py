"""What an inference verb does not do before its first answer."""

import json
import subprocess
import sys

import pytest

from hftool import workflow
from hftool.workflow import _infer, _load
from support.families import run_of

# packages that cost tenths of a second each, and that no text under `classify` needs; what transformers itself imports (scipy,
# sympy, accelerate, torch._dynamo) is not among them
UNNEEDED = ("sklearn", "pandas", "pyarrow", "datasets", "evaluate", "peft", "rich", "uvicorn", "onnxruntime", "onnx")
OURS = ("hftool.server", "hftool.onnx_export", "hftool.training", "hftool.packaging", "hftool.evaluation", "hftool.heads.tag")
SCRIPT = """
import json, sys
from hftool.cli.app import main
assert main(sys.argv[1:]) == 0
print(json.dumps(sorted(sys.modules)))
"""


def modules_of(*words):
    run = subprocess.run([sys.executable, "-c", SCRIPT, *map(str, words)], capture_output=True, text=True, check=True)
    return set(json.loads(run.stdout.splitlines()[-1]))


def unneeded(modules):
    return {name for name in modules for top in (*UNNEEDED, *OURS) if name == top or name.startswith(f"{top}.")}


def test_classify_imports_only_what_it_needs():
    modules = modules_of("classify", run_of("classify"), "went to", "--offline")
    assert "hftool.heads.classify.head" in modules and unneeded(modules) == set()


def test_check_sees_an_unneeded_module():
    assert unneeded({"pandas.core", "hftool.training.loop", "pandasaurus", "torch"}) == {"pandas.core", "hftool.training.loop"}


@pytest.fixture
def packed(monkeypatch):
    """Whether each predictor that is asked for is prepared."""
    seen = []
    own = _load.make_predictor

    def _noted(loaded, options=None, *, packed=False):
        seen.append(packed)
        return own(loaded, options, packed=packed)

    monkeypatch.setattr(_load, "make_predictor", _noted)
    return seen


def test_a_few_texts_of_a_verb_or_a_name_prepare_nothing(cli, packed, monkeypatch):
    run, text = run_of("classify"), "went to"
    loaded = workflow.load(run)
    monkeypatch.setattr(_infer, "FEW", 2)
    assert cli("classify", run, text)[0] == 0
    workflow.classify(run, [text] * 2)
    assert packed == [False, False]
    workflow.classify(run, [text] * 3)
    workflow.classify(loaded, text)  # may be asked again
    assert cli("classify", run, text, "--precision", "fp32")[0] == 0
    assert packed == [False, False, True, True, True]
