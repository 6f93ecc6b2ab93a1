"""Names, docstrings and comments of tests/ and benchmarks/ use the field's standard terms, as test_vocabulary.py holds for hftool/."""

import ast
import io
import re
import tokenize
from pathlib import Path

from test_vocabulary import ALLOWED, parts_of

ROOT = Path(__file__).parent.parent
LISTS = ("tests/test_vocabulary.py", "tests/test_vocabulary_of_tests.py")  # spell the words out
# whole identifiers -> the usual term
NAMES = {
    "asked": "options, prompts",
    "begun": "started",
    "draw": "rng",
    "made": "created, output",
    "place": "offset, index, position",
    "places": "offsets, indices, positions",
    "theirs": "reference, the library's name",
    "written": "generated",
}
# words of identifiers -> the usual term
WORDS = {
    "amounts": "numbers, regression",
    "awkward": "unusual",
    "cut": "truncated, interrupted",
    "desk": "workspace",
    "fell": "failed",
    "gone": "cancelled, disconnected, removed",
    "heed": "read, respect",
    "heeds": "read, respect",
    "hunt": "beam search",
    "kin": "related",
    "lesson": "head case",
    "lessons": "head cases",
    "lost": "missing, unanswered",
    "learnt": "trained, memorized",
    "said": "stderr, notices, message",
    "stranger": "third party, unknown architecture",
    "strangers": "third party, unknown architecture",
    "told": "stderr, notices, streamed",
}
# of docstrings and comments -> the usual term
PROSE = {
    r"\blessons?\b": "head case",
    r"\bwrit(e|es|ing|ten) on\b": "generate",
    r"(gone|goes|going|went) on\b": "resumed, continued",
    r"\bamounts?\b": "number, continuous label",
    r"\bas it (was|is) (made|written)\b": "unchanged",
    r"\bbrings (itself|along)\b": "bundled",
    r"\bcannot be had\b": "not available",
    r"\bdesks?\b": "workspace",
    r"\bevery ?body|nobody\b": "no process, no client",
    r"\bheed(s|ed|ing)?\b": "read, respect",
    r"\bhunts?\b": "beam search",
    r"\bkin\b": "related",
    r"\blearnt\b": "trained, memorized",
    r"\bof (its|their|his|our) own\b": "separate, distinct",
    r"\brow_\d+\b": "a table that is not in the repository",
    r"\bset aside\b": "rejected",
    r"\bstrangers?\b": "third party, unknown",
    r"\bthe words? (that|of the workflow)\b": "the verb, the function",
    r"\btold\b": "notified, passed",
}


def files():
    """Files of tests/ and benchmarks/ that the check covers."""
    paths = [path for folder in ("tests", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))]
    return [path for path in paths if path.relative_to(ROOT).as_posix() not in LISTS]


def docstrings_and_comments(source, tokens):
    """(line, text) of each docstring and comment. tokens: those of the source."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(node):
            yield node.body[0].lineno, node.body[0].value.value
    for token in tokens:
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def violations(path):
    """file:line of each word that has a usual term."""
    source = path.read_text(encoding="utf-8")
    name = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name
    tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    for token in tokens:
        if token.type == tokenize.NAME and token.string not in ALLOWED and "data.draw(" not in token.line:  # of hypothesis
            terms = [NAMES.get(token.string), *(WORDS[part] for part in set(parts_of(token.string)) & set(WORDS))]
            terms.append("no number of a table" if re.search(r"_row_\d+_", token.string) else None)
            yield from (f"{name}:{token.start[0]}: '{token.string}': {term}" for term in terms if term)
    for line, text in docstrings_and_comments(source, tokens):
        for pattern, usual in PROSE.items():
            for found in re.finditer(pattern, text, re.IGNORECASE):
                yield f"{name}:{line + text[: found.start()].count(chr(10))}: '{found.group()}': {usual}"


def test_tests_and_benchmarks_use_the_usual_terms():
    assert [line for path in files() for line in violations(path)] == []


def test_every_exception_exists():
    assert [name for name in LISTS if not (ROOT / name).exists()] == []


def test_the_check_finds_violations(tmp_path):
    bad = tmp_path / "bad.py"
    bad.write_text(
        '"""A run that is gone on with."""\n\n\ndef test_row_7_is_told(made):\n    return made.text  # of its own\n',
        encoding="utf-8",
    )
    found = [line.split(": ")[:2] for line in violations(bad)]
    assert found == [
        ["bad.py:4", "'test_row_7_is_told'"],
        ["bad.py:4", "'test_row_7_is_told'"],
        ["bad.py:4", "'made'"],
        ["bad.py:5", "'made'"],
        ["bad.py:1", "'gone on'"],
        ["bad.py:5", "'of its own'"],
    ]
