"""Dependencies point one way: the table of the design, held against every import, reported as file:line."""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
# downwards only, and a row never imports its own neighbours; see ARCHITECTURE.md
ROWS = (
    ("cli", "recipes"),
    ("workflow",),
    ("resolve",),
    ("server", "onnx_export", "packaging"),
    ("training",),
    ("evaluation",),
    ("inference",),
    ("heads",),
    ("engines",),
    ("data", "models"),
    ("lockfile",),
    ("hub", "machine"),
    ("safety",),
    ("storage",),
    ("registry", "config", "progress", "processes", "sampling"),
    ("errors",),
)
LEVEL = {room: len(ROWS) - number for number, row in enumerate(ROWS) for room in row}
LIGHT = {"errors", "registry", "config", "storage", "progress", "processes", "sampling", "cli"}
STANDARD = {"typer"}


def rooms_and_files():
    """(room, file) of every module of the package and the recipes."""
    for path in sorted((ROOT / "hftool").rglob("*.py")):
        parts = path.relative_to(ROOT / "hftool").with_suffix("").parts
        if parts[0] not in ("__init__", "__main__"):
            yield parts[0], path
    for path in sorted((ROOT / "recipes").glob("*.py")):
        yield "recipes", path


def imported_rooms(path):
    """(line, room) of everything of ours that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [f"{node.module}.{a.name}" if node.module == "hftool" else node.module for a in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "recipes":
                yield node.lineno, "recipes"
            elif parts[0] == "hftool" and len(parts) > 1 and parts[1] in LEVEL:
                yield node.lineno, parts[1]


def violations(files):
    """file:line of each import that does not point down."""
    found = []
    for room, path in files:
        for line, other in imported_rooms(path):
            if other != room and LEVEL[other] >= LEVEL[room]:
                found.append(f"{path.relative_to(ROOT) if path.is_relative_to(ROOT) else path}:{line}: {room} imports {other}")
    return found


def test_every_room_is_in_the_table():
    assert {room for room, _ in rooms_and_files()} <= set(LEVEL)


def test_dependencies_point_down():
    assert violations(rooms_and_files()) == []


def test_the_check_bites(tmp_path):
    bad = tmp_path / "bad.py"
    bad.write_text("def f():\n    from hftool.training import loop\n", encoding="utf-8")
    assert violations([("data", bad)]) == [f"{bad}:2: data imports training"]


def test_light_rooms_import_only_the_standard_library_and_typer_at_module_level():
    import sys

    found = []
    for room, path in rooms_and_files():
        if room not in LIGHT:
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                top = name.split(".")[0]
                if top == "hftool":
                    light = len(name.split(".")) == 1 or name.split(".")[1] in LIGHT
                else:
                    light = top in sys.stdlib_module_names or top in STANDARD
                if not light:
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno}: {name}")
    assert found == []


def test_only_the_command_line_and_recipes_print():
    found = []
    for room, path in rooms_and_files():
        if room in ("cli", "recipes"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("print", "exit", "quit"):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert found == []


def test_no_function_is_over_50_lines():
    found = []
    for path in [*(ROOT / "hftool").rglob("*.py"), *(ROOT / "recipes").glob("*.py"), *(ROOT / "benchmarks").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno - node.lineno + 1 > 50:
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}: {node.name}")
    assert found == []
