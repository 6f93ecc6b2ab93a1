"""Lines of hftool/*.py by package, in all and without docstrings, comments and blank lines, of one tree or of two."""

import argparse
import ast
import io
import tokenize
from collections import Counter
from pathlib import Path

SKIPPED = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
SCOPES = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def docstring_lines(tree: ast.Module) -> set[int]:
    """The numbers of the lines that docstrings cover."""
    lines: set[int] = set()
    for scope in ast.walk(tree):
        if isinstance(scope, SCOPES) and ast.get_docstring(scope, clean=False) is not None:
            lines.update(range(scope.body[0].lineno, (scope.body[0].end_lineno or 0) + 1))
    return lines


def count(source: str) -> tuple[int, int]:
    """All lines of a source, and those with code."""
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in SKIPPED:
            code.update(range(token.start[0], token.end[0] + 1))
    return len(source.splitlines()), len(code - docstring_lines(ast.parse(source)))


def tree_lines(root: Path) -> dict[str, tuple[int, int]]:
    """Lines of each package of a tree; modules directly in hftool/ count as one."""
    total: Counter[str] = Counter()
    code: Counter[str] = Counter()
    for path in sorted((root / "hftool").rglob("*.py")):
        parts = path.relative_to(root / "hftool").parts
        package = parts[0] if len(parts) > 1 else "(modules)"
        for name in (package, "total"):
            lines, lines_of_code = count(path.read_text(encoding="utf-8"))
            total[name] += lines
            code[name] += lines_of_code
    return {name: (total[name], code[name]) for name in total}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=Path, help="the root of an earlier tree")
    parser.add_argument("--after", type=Path, default=Path(__file__).parents[1], help="the root of a tree; default: this one")
    arguments = parser.parse_args()
    trees = [tree_lines(root) for root in (arguments.before, arguments.after) if root is not None]
    headings = [f"{when}{kind}" for when in ("before ", "after ")[-len(trees) :] for kind in ("lines", "code")]
    print(f"{'package':<16}" + "".join(f"{heading:>14}" for heading in headings))
    names = sorted({name for tree in trees for name in tree}, key=lambda name: (name == "total", name))
    for name in names:
        print(f"{name:<16}" + "".join(f"{number:>14,}" for tree in trees for number in tree.get(name, (0, 0))))


if __name__ == "__main__":
    main()
