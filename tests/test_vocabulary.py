"""The field's standard terms in names, docstrings, comments, help and errors: words that have a usual term here are not used."""

import ast
import inspect
import io
import re
import tokenize
from pathlib import Path

import hftool

ROOT = Path(__file__).parent.parent
DOCUMENTS = ("README", "ARCHITECTURE", "CONTRIBUTING", "SECURITY")
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
    "cut": "truncated, split, interrupted",
    "lost": "missing, unanswered",
    "nobody": "no client, no process",
}
NAMES = {"draw": "rng, epoch seed"}  # whole identifiers; draw_mask and the like draw from a generator
ALLOWED = {
    "connection_lost",
    "connection_made",
    "target_lost",
}  # two methods of asyncio.Protocol, and a target outside all windows
# of docstrings, comments and messages -> the usual term
PROSE = {
    r"\b(go|goes|going|went|gone) on\b": "resumed, continued",
    r"\bgone\b(?! on)": "disconnected, removed",
    r"\bwrit(e|es|ing|ten) on\b": "generate",
    r"(?-i:\bnobody\b)": "no client, no process",  # the examples of data begin a sentence with it
    r"\bis (not there|there twice)\b": "missing, duplicate",
    r"\blost to truncation\b": "truncated",
    # in quotes it is a key of an answer, before spaces a line of `hftool tokenize`, and after a hyphen a header
    r"(?<![\"'`-])\bcut(s|ting)?\b(?!    )": "truncated, split",
    r"\btold\b": "notified, passed",
    r"(?<!the wrong )\bamounts?\b": "number, continuous label",  # of an invoice, in an example of data
    r"\bstrangers?\b": "unknown, third party",
    r"\bkin\b": "related",
    r"\bthe words? that\b": "the verb, the function",
    r"\bheed(s|ed|ing)?\b": "read, respect",
    r"(?<![\"'`])\bmend(s|ed|ing)?\b": "fix",  # in quotes it is a key of doctor's document
    # in place, in its place and decimal places are the usual words
    r"(?<!in )(?<!in its )(?<!decimal )\bplaces?\b(?! name)": "offset, position, folder",
    r"\b(models?|heads?|decoders?) (that )?(writes?|wrote|written|writing)\b": "generates",
    r"\b(texts?|tokens?|words?) (that are |that is |are |is )?(written|made)\b(?! (in|to|into)\b)": "generated",
}


def parts_of(name):
    """The words of an identifier, lower case."""
    return [part.lower() for part in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]


def texts_of(tokens):
    """(line, text) of each comment and string."""
    for token in tokens:
        if token.type in (tokenize.COMMENT, tokenize.STRING):
            yield token.start[0], token.string


def violations(path):
    """file:line of each word that has a usual term. A file that is no Python is prose throughout."""
    source = path.read_text(encoding="utf-8")
    name = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path.name
    is_python = path.suffix == ".py"
    if is_python:
        ast.parse(source)
        tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
        for token in tokens:
            if token.type == tokenize.NAME and token.string not in ALLOWED:
                terms = [IDENTIFIERS[part] for part in set(parts_of(token.string)) & set(IDENTIFIERS)]
                for usual in [*terms, *filter(None, [NAMES.get(token.string)])]:
                    yield f"{name}:{token.start[0]}: '{token.string}': {usual}"
    for line, text in texts_of(tokens) if is_python else [(1, source)]:
        for pattern, usual in PROSE.items():
            for found in re.finditer(pattern, text, re.IGNORECASE):
                yield f"{name}:{line + text[: found.start()].count(chr(10))}: '{found.group()}': {usual}"


def test_names_and_prose_use_the_usual_terms():
    files = [path for room in ("hftool", "recipes", "examples") for path in sorted((ROOT / room).rglob("*.py"))]
    assert [line for path in files for line in violations(path)] == []


def test_documents_templates_and_the_web_page_use_the_usual_terms():
    files = [*sorted((ROOT / "docs").rglob("*.md")), *(ROOT / f"{name}.md" for name in DOCUMENTS)]
    files += [*sorted((ROOT / "hftool/packaging/templates").iterdir()), ROOT / "hftool/server/http/page.html"]
    assert len(files) > 30
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


def test_the_words_of_truncation_and_of_clients_bite(tmp_path):
    bad, good = tmp_path / "bad.py", tmp_path / "good.py"
    bad.write_text('"""Nobody: the text is cut for nobody, and goes on."""\n\ncut = rows_lost = draw = 1\n', encoding="utf-8")
    words = ["'cut'", "'rows_lost'", "'draw'", "'goes on'", "'nobody'", "'cut'"]
    assert [line.split(": ")[1] for line in violations(bad)] == words
    good.write_text('"""The key `cut` and x-hftool-cut."""\n\nconnection_lost = target_lost = "cut"\n', encoding="utf-8")
    assert list(violations(good)) == []


def test_documents_are_read_as_prose(tmp_path):
    bad = tmp_path / "bad.md"
    bad.write_text("# A model\n\nfrom a stranger,\nand its kin.\n", encoding="utf-8")
    found = ["bad.md:3: 'stranger': unknown, third party", "bad.md:4: 'kin': related"]
    assert list(violations(bad)) == found


def undocumented(function):
    """The parameters of a function that its Args section does not name; () where it has fewer than two."""
    names = list(inspect.signature(function).parameters)
    _, _, section = (inspect.getdoc(function) or "").partition("\nArgs:\n")
    section = re.split(r"^\S", section, maxsplit=1, flags=re.MULTILINE)[0]
    documented = re.findall(r"^    \*{0,2}(\w+): ", section, flags=re.MULTILINE)
    return tuple(name for name in names if name not in documented) if len(names) > 1 else ()


def test_public_functions_document_every_parameter():
    functions = [one for one in (getattr(hftool, name) for name in hftool.__all__) if inspect.isfunction(one)]
    assert len(functions) > 20
    assert {one.__name__: undocumented(one) for one in functions if undocumented(one)} == {}


def test_a_parameter_without_a_line_is_found():
    def good(model, *, top_k, **options):
        """Sentence.

        Args:
            model: A model.
            top_k: A number.
            **options: More.
        """

    def bad(model, *, top_k):
        """Sentence.

        Args:
            model: A model.

        Raises:
            top_k: No argument.
        """

    def bare(model, top_k):
        """Sentence about model: and top_k: alone."""

    assert (undocumented(good), undocumented(bad), undocumented(bare)) == ((), ("top_k",), ("model", "top_k"))
