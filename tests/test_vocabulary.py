"""The field's standard terms in names, docstrings, comments, help and errors: words that have a usual term here are not used."""

import ast
import io
import re
import tokenize
from pathlib import Path

ROOT = Path(__file__).parent.parent
# parts of identifiers -> the usual term
IDENTIFIERS = {
    "told": "notices, notified",
    "said": "notices, message",
    "gone": "cancelled, disconnected",
    "amounts": "numbers, regression",
    "stranger": "unknown architecture",
    "story": "provenance",
    "hunt": "beam search",
    "kin": "related",
    "heed": "read, respect",
    "falls": "failures",
    "mend": "fix",
    "made": "what it is: a manifest, an export, documents",
    "place": "offset, folder, source",
    "places": "offsets, folders, sources",
    "writes": "generates",
}
# files that still have a word, as a part of their path -> the words
STILL = {"hftool/server/": {"made"}, "hftool/workflow/_serve.py": {"made", "places"}}
# of docstrings, comments and messages -> the usual term
PROSE = {
    r"gone on with": "resumed, continued",
    r"\btold\b": "notified, passed",
    r"\bamounts?\b": "number, continuous label",
    r"\bstrangers?\b": "unknown, third party",
    r"\bkin\b": "related",
    r"\bthe words? that\b": "the verb, the function",
    r"\bheed(s|ed|ing)?\b": "read, respect",
    r"(?<![\"'`])\bmend(s|ed|ing)?\b": "fix",  # in quotes it is a key of doctor's document
    # in place, in its place, no place for, and decimal places are the usual words
    r"(?<!in )(?<!in its )(?<!no )(?<!decimal )\bplaces?\b(?! name)": "offset, position, folder",
    r"\b(models?|heads?|decoders?) (that )?(writes?|wrote|written|writing)\b": "generates",
    r"\b(texts?|tokens?|words?) (that are |that is |are |is )?(written|made)\b(?! (in|to|into)\b)": "generated",
}


def parts_of(name):
    """The words of an identifier, lower case."""
    return [part.lower() for part in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]


def texts_of(source):
    """(line, text) of each comment and string."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in (tokenize.COMMENT, tokenize.STRING):
            yield token.start[0], token.string


def violations(path):
    """file:line of each word that has a usual term."""
    source = path.read_text(encoding="utf-8")
    name = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path.name
    ast.parse(source)
    kept = {word for part, words in STILL.items() if part in path.as_posix() for word in words}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.NAME:
            for part in (set(parts_of(token.string)) & set(IDENTIFIERS)) - kept:
                yield f"{name}:{token.start[0]}: '{token.string}': {IDENTIFIERS[part]}"
    for line, text in texts_of(source):
        for pattern, usual in PROSE.items():
            for found in re.finditer(pattern, text, re.IGNORECASE):
                yield f"{name}:{line + text[: found.start()].count(chr(10))}: '{found.group()}': {usual}"


def test_names_and_prose_use_the_usual_terms():
    files = [path for room in ("hftool", "recipes") for path in sorted((ROOT / room).rglob("*.py"))]
    assert [line for path in files for line in violations(path)] == []


def test_the_check_bites(tmp_path):
    bad = tmp_path / "bad.py"
    bad.write_text(
        '"""A run that is gone on with."""\n\n\ndef is_gone(row):\n    return row  # told before\n', encoding="utf-8"
    )
    assert [line.split(": ")[0] for line in violations(bad)] == ["bad.py:4", "bad.py:1", "bad.py:5"]


def test_the_words_of_offsets_and_generation_bite(tmp_path):
    bad, good = tmp_path / "bad.py", tmp_path / "good.py"
    bad.write_text(
        '"""The places of tokens that are written by a head that writes."""\n\nplaces = made = 1\n', encoding="utf-8"
    )
    assert [line.split(": ")[1] for line in violations(bad)] == [
        "'places'",
        "'made'",
        "'places'",
        "'head that writes'",
        "'tokens that are written'",
    ]
    good.write_text('"""Changed in place, to four decimal places; texts written to a file."""\n', encoding="utf-8")
    assert list(violations(good)) == []
