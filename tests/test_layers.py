"""Imports follow the layers of ARCHITECTURE.md; violations are reported as file:line."""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
# a layer imports lower layers only, not other packages of its row; see ARCHITECTURE.md
ROWS = (
    ("cli", "recipes"),
    ("benchmark",),
    ("workflow",),
    ("server", "onnx_export", "packaging"),
    ("training",),
    ("evaluation",),
    ("inference",),
    ("heads",),
    ("engines",),
    ("data", "models"),
    ("hub", "machine"),
    ("storage",),
    ("config", "progress", "processes", "sampling"),
    ("registry",),
    ("errors",),
)
LEVEL = {package: len(ROWS) - number for number, row in enumerate(ROWS) for package in row}
LIGHT = {"errors", "registry", "config", "storage", "progress", "processes", "sampling", "cli"}
STANDARD = {"typer"}


def packages_and_files():
    """(package, file) of every module of hftool and of the recipes."""
    for path in sorted((ROOT / "hftool").rglob("*.py")):
        parts = path.relative_to(ROOT / "hftool").with_suffix("").parts
        if parts[0] not in ("__init__", "__main__"):
            yield parts[0], path
    for path in sorted((ROOT / "recipes").glob("*.py")):
        yield "recipes", path


def imported_packages(path):
    """(line, package) of each import from hftool or the recipes, including those within functions."""
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
    """file:line of each import that does not go to a lower layer."""
    found = []
    for package, path in files:
        for line, other in imported_packages(path):
            if other != package and LEVEL[other] >= LEVEL[package]:
                found.append(
                    f"{path.relative_to(ROOT) if path.is_relative_to(ROOT) else path}:{line}: {package} imports {other}"
                )
    return found


def test_every_package_is_in_the_table():
    assert {package for package, _ in packages_and_files()} <= set(LEVEL)


def test_imports_go_to_lower_layers():
    assert violations(packages_and_files()) == []


def test_the_check_finds_violations(tmp_path):
    bad = tmp_path / "bad.py"
    bad.write_text("def f():\n    from hftool.training import loop\n", encoding="utf-8")
    assert violations([("data", bad)]) == [f"{bad}:2: data imports training"]


def test_light_packages_import_only_the_standard_library_and_typer():
    import sys

    found = []
    for package, path in packages_and_files():
        if package not in LIGHT:
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


def test_no_function_is_over_50_lines():
    found = []
    for path in [*(ROOT / "hftool").rglob("*.py"), *(ROOT / "recipes").glob("*.py"), *(ROOT / "benchmarks").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno - node.lineno + 1 > 50:
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}: {node.name}")
    assert found == []
