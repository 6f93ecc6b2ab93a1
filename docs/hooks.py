"""Pages of the documentation that mkdocs generates from the code: the command line, the modules, the project files."""

import ast
import contextlib
import io
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
HEADS = "<!-- heads -->"  # where index.md has the README's table of heads
FUNCTIONS = "<!-- functions -->"  # where reference/python.md has the public functions and classes
PROJECT = ("ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")  # of the repository's root
EXCLUDED = {"assets"}  # packages without code


def on_files(files: Any, config: Any) -> Any:
    """mkdocs' event: add the generated pages to those in the folder."""
    from mkdocs.structure.files import File

    for path, text in pages().items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, **context: Any) -> str:
    """mkdocs' event: put the public functions and classes, or the table of heads, where a page has the mark for them."""
    for mark, generated in ((FUNCTIONS, public_objects), (HEADS, heads_table)):
        if mark in markdown:
            markdown = markdown.replace(mark, generated())
    return markdown


def heads_table() -> str:
    """The table of heads in the README."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    return readme[readme.index("| head |") :].partition("\n\n")[0]


def public_objects() -> str:
    """A reference of mkdocstrings for each name that `hftool` exports but its errors: functions first, then classes.

    Each is named by the module that defines it, which is the only name of it that mkdocstrings knows.
    """
    defined = _imported("workflow/__init__.py")
    paths = {name: defined.get(name, path) for name, path in _imported("__init__.py").items() if "errors" not in path}
    functions = sorted(name for name in paths if name.islower())
    classes = sorted(set(paths) - set(functions))
    parts = ["## Functions", *(f"::: {paths[name]}" for name in functions)]
    parts += ["## Classes", *(f"::: {paths[name]}" for name in classes)]
    return "\n\n".join(parts)


def _imported(path: str) -> dict[str, str]:
    """The names that a file of the package imports from the package, with the module of each."""
    tree = ast.parse((ROOT / "hftool" / path).read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and str(node.module).startswith("hftool.")]
    return {alias.name: f"{node.module}.{alias.name}" for node in imports for alias in node.names}


def pages() -> dict[str, str]:
    """Path below docs/ -> Markdown of each generated page."""
    project = {f"project/{name}": project_page(name) for name in PROJECT}
    return {
        "reference/cli.md": cli_page(),
        "reference/modules.md": modules_page(),
        **project,
    }


def cli_page() -> str:
    """The help of every verb, as the command line prints it."""
    verbs = _app().app_verbs()
    parts = [
        "# Command line\n\nGenerated from `hftool VERB --help`. Every verb has `--json` (exactly one document on stdout, "
        "errors too) and `-q`. Answers go to stdout, everything else to stderr.\n",
        _fence(help_text()),
    ]
    parts += [f"## hftool {verb}\n\n{_fence(help_text(verb))}" for verb in verbs]
    return "\n".join(parts)


def help_text(*verb: str) -> str:
    """What `hftool [VERB] --help` prints on a terminal of 100 columns.

    Raises:
        RuntimeError: the command failed.
    """
    out = io.StringIO()
    columns, os.environ["COLUMNS"] = os.environ.get("COLUMNS"), "100"
    try:
        with contextlib.redirect_stdout(out):
            code = _app().main([*verb, "--help"])
    finally:
        os.environ.pop("COLUMNS")
        if columns is not None:
            os.environ["COLUMNS"] = columns
    if code:
        raise RuntimeError(f"hftool {' '.join(verb)} --help ended with {code}")
    return "\n".join(line.rstrip() for line in out.getvalue().strip().splitlines())


def _app() -> Any:
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))  # the code beside these pages, whatever is installed
    from hftool.cli import app

    return app


def modules_page() -> str:
    """Each module of the package with the first sentence of its docstring."""
    lines = ["# Modules", "", "Generated from the docstrings of the modules.", ""]
    package = None
    for path in _modules():
        parts = path.relative_to(ROOT).with_suffix("").parts
        top = ".".join(parts[:2]) if len(parts) > 2 else "hftool"
        if top != package:
            lines += [] if package is None else [""]
            lines += [f"## {top}", "", "| module | contents |", "|---|---|"]
            package = top
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        lines.append(f"| `{name}` | {_cell(_summary(path))} |")
    return "\n".join(lines) + "\n"


def _modules() -> Iterator[Path]:
    """The files of the package: those at its root first."""
    found = [path for path in (ROOT / "hftool").rglob("*.py") if not EXCLUDED & set(path.parts)]
    yield from sorted(found, key=lambda path: (len(path.relative_to(ROOT).parts) > 2, path.as_posix()))


def _summary(path: Path) -> str:
    """The first paragraph of a module's docstring, on one line."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(docstring.partition("\n\n")[0].split())


def project_page(name: str) -> str:
    """A file of the repository's root as a page, its links into docs/ made relative to the page."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return re.sub(r"\]\(docs/", "](../", text)


def _fence(text: str) -> str:
    return f"```text\n{text}\n```\n"


def _cell(text: str) -> str:
    """Text for a cell of a Markdown table."""
    return text.replace("|", "\\|").replace("<", "&lt;")
