"""The public Python API: `import hftool` is light, and its names are importable and documented."""

import importlib
import inspect
import pkgutil
import subprocess
import sys

import pytest

import hftool
from hftool import workflow

PUBLIC_NAMES = [
    "load",
    "tokenize",
    "infer",
    "classify",
    "tag",
    "answer",
    "generate",
    "fill",
    "embed",
    "summarize",
    "translate",
    "similar",
    "finetune",
    "evaluate",
    "predict",
    "save",
    "export",
    "serve",
    "deploy",
    "verify",
    "resume",
]
SCRIPT = "import sys; before = set(sys.modules); import hftool; print(*sorted(set(sys.modules) - before))"


def test_every_name_can_be_imported_and_is_documented():
    assert set(PUBLIC_NAMES) <= set(hftool.__all__)
    for name in hftool.__all__:
        assert inspect.getdoc(getattr(hftool, name)), name
    assert hftool.generate is workflow.generate and set(hftool.__all__) <= set(dir(hftool))
    with pytest.raises(AttributeError, match="no attribute 'finetun'"):
        hftool.finetun  # noqa: B018


def test_import_loads_the_standard_library_only():
    found = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True).stdout.split()
    assert "hftool" in found
    assert [name for name in found if name.split(".")[0] not in {*sys.stdlib_module_names, "hftool"}] == []
    assert [name for name in found if name.startswith("hftool.")] == []


def shadowed(package):
    """Public names that are also submodules: importing the submodule would replace the function."""
    return {module.name for module in pkgutil.iter_modules(package.__path__)} & set(package.__all__)


def test_no_submodule_shadows_a_public_name(tmp_path, monkeypatch):
    assert shadowed(hftool) == shadowed(workflow) == set()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "__init__.py").write_text("__all__ = ['export', 'load']\n")
    (tmp_path / "bad" / "export.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    assert shadowed(importlib.import_module("bad")) == {"export"}


def test_progress_is_shown_in_a_notebook(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    monkeypatch.delitem(vars(hftool), "finetune", raising=False)
    rows = [{"text": f"a {word} film {i}", "label": word} for i in range(16) for word in ("warm", "cold")]
    config = {"max_steps": 2, "batch_size": 8, "allow_leak": True}
    try:
        hftool.finetune("bert-mini", rows, out=tmp_path / "a", config=config)
        assert "step 2: accuracy" in capsys.readouterr().err
        hftool.finetune("bert-mini", rows, out=tmp_path / "b", config=config, progress=lambda event: None)
        assert capsys.readouterr().err == ""
    finally:
        vars(hftool).pop("finetune", None)
