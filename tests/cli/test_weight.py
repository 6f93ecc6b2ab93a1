"""The edge is light: these commands import the standard library, typer and hftool's light modules, and start at once."""

import os
import statistics
import subprocess
import sys
import time

import pytest

COMMANDS = [
    ["--help"],
    ["--version"],
    [],
    ["models"],
    ["tasks", "--json"],
    ["nope"],
    ["finetune", "bert", "sst2", "--lr", "99"],
]
VERBS = [
    "finetune",
    "evaluate",
    "predict",
    "infer",
    "answer",
    "generate",
    "embed",
    "similar",
    "tokenize",
    "info",
    "copy",
    "export",
    "serve",
    "deploy",
    "save",
    "verify",
    "push",
    "prefetch",
    "doctor",
    "resume",
]
# typer and what it imports; pydantic, which typer loads for values alone, must not be there for a help page
TYPER = {"typer", "shellingham", "annotated_doc", "click", "typing_extensions", "colorama"}
LIGHT = (
    "hftool.cli",
    "hftool.registry",
    "hftool.config",
    "hftool.errors",
    "hftool.progress",
    "hftool.storage",
    "hftool.processes",
    "hftool.sampling",
)
PYDANTIC = {"pydantic", "pydantic_core", "annotated_types", "typing_inspection"}
SCRIPT = """
import sys
before = set(sys.modules)
from hftool.cli.app import main
code = main(sys.argv[1:])
print("\\n".join(sorted(set(sys.modules) - before)), file=sys.stderr)
"""


def imported(words):
    """The modules that a fresh process imports for a command, what the site brings left out."""
    run = subprocess.run([sys.executable, "-c", SCRIPT, *words], capture_output=True, text=True, check=True)
    return {name for name in run.stderr.splitlines() if name and " " not in name}


def heavy(names, allowed):
    found = set()
    for name in names:
        top = name.split(".")[0]
        if top == "hftool":
            if name not in ("hftool", "hftool.storage") and not name.startswith(LIGHT):
                found.add(name)
        elif top not in sys.stdlib_module_names and top not in allowed and not top.startswith("_sysconfigdata"):
            found.add(top)
    return found


@pytest.mark.parametrize("words", [*COMMANDS, *([verb, "--help"] for verb in VERBS)], ids=" ".join)
def test_nothing_heavy_is_imported_at_the_edge(words):
    names = imported(words)
    assert "hftool.cli.app" in names
    allowed = TYPER | PYDANTIC if words[:1] == ["finetune"] and "--help" not in words else TYPER
    assert heavy(names, allowed) == set()


def test_the_check_sees_what_is_heavy():
    assert heavy({"torch.nn", "os", "hftool.workflow", "hftool.config", "yaml"}, TYPER) == {"torch", "hftool.workflow", "yaml"}


def seconds(*command):
    started = time.perf_counter()
    subprocess.run([sys.executable, *command], capture_output=True, check=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    return time.perf_counter() - started


@pytest.mark.parametrize("words", [["--help"], ["models"], ["finetune", "--help"]], ids=" ".join)
def test_the_edge_starts_at_once(words):
    """0.25 s where the machine is idle; where it is not, the start of Python with typer says by how much."""
    pairs = [(seconds("-c", "import typer"), seconds("-m", "hftool", *words)) for _ in range(5)]
    bare, ours = (statistics.median(column) for column in zip(*pairs, strict=True))
    assert ours < max(0.25, 4 * bare)
