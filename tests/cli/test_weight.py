"""Light commands import the standard library, typer and hftool's light modules alone, and start fast."""

import json
import os
import statistics
import subprocess
import sys
import time

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
    "suggest",
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
    "bench",
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
import contextlib, io, json, sys
from hftool.cli.app import main
known, added = set(), []
for words in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        main(words)
    added.append(sorted(set(sys.modules) - known))
    known = set(sys.modules)
json.dump(added, sys.stdout)
"""


def imported(commands):
    """What one fresh process imports for these commands, one after the other: for each the modules that no earlier one had.

    The first is charged with all that was there before it, but for what the interpreter itself and its site bring.
    """
    bare = subprocess.run(
        [sys.executable, "-c", "import json, sys; json.dump(sorted(sys.modules), sys.stdout)"], capture_output=True, check=True
    )
    run = subprocess.run([sys.executable, "-c", SCRIPT, json.dumps(commands)], capture_output=True, text=True, check=True)
    first, *others = json.loads(run.stdout)
    return [set(first) - set(json.loads(bare.stdout)), *map(set, others)]


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


def test_light_commands_import_nothing_heavy():
    """In one process: what is heavy is found at the first command that imports it. What may have more than others comes last."""
    commands = [*COMMANDS[:-1], *([verb, "--help"] for verb in VERBS), COMMANDS[-1]]
    added = imported(commands)
    assert "hftool.cli.app" in added[0]
    allowed = [*([TYPER] * (len(commands) - 1)), TYPER | PYDANTIC]
    found = {" ".join(words): heavy(*pair) for words, *pair in zip(commands, added, allowed, strict=True)}
    assert {words: names for words, names in found.items() if names} == {}


def test_check_sees_the_imports_of_a_command():
    _, added = imported([["--help"], COMMANDS[-1]])
    assert "pydantic" in heavy(added, TYPER)


def test_check_recognizes_heavy_modules():
    assert heavy({"torch.nn", "os", "hftool.workflow", "hftool.config", "yaml"}, TYPER) == {"torch", "hftool.workflow", "yaml"}


def seconds(*command):
    started = time.perf_counter()
    subprocess.run([sys.executable, *command], capture_output=True, check=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    return time.perf_counter() - started


def test_light_commands_start_fast():
    """0.25 s where the machine is idle; where it is not, the start of Python with typer says by how much."""
    commands = [
        ("-c", "import typer"),
        *(("-m", "hftool", *words) for words in (["--help"], ["models"], ["finetune", "--help"])),
    ]
    bare, *ours = (
        statistics.median(column) for column in zip(*([seconds(*one) for one in commands] for _ in range(3)), strict=True)
    )
    assert max(ours) < max(0.25, 4 * bare)
