"""What the columns of a row may be for, in which company they come, and how a cell becomes the value of its role."""

import ast
import json
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hftool.data.readers.tables import cell_text, replace_surrogates
from hftool.errors import as_line

ROLES = (
    "text",
    "text_pair",
    "label",
    "tokens",
    "tags",
    "context",
    "question",
    "answers",
    "source",
    "target",
    "prompt",
    "completion",
)
TEXT_ROLES = ("text", "text_pair", "context", "question", "source", "target", "prompt", "completion")
IGNORED = "\ufeff\u200b\0"  # characters without a shape that are no white space
AROUND = " \t\r\n\ufeff\u00a0"  # what may stand around a value and is no part of it
# an item of a list as Python writes it; numpy leaves out the commas
ITEM = re.compile(r"""\s*('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|-?[0-9]+|None)\s*(?:,|(?=[\s\]'"]))""", re.DOTALL)

DECIMAL = re.compile(r"[-+]?(\d{1,3}(\.\d{3})+|\d+),\d+")  # 3,75 or 1.204,50
THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2}(,\d{3})+(\.\d+)?")  # 1,204 or 1,204.50
SIGNS = "$\u20ac\u00a3\u00a5\u20b9%"  # what stands before or after an amount: of money, or of a hundred


@dataclass(frozen=True)
class RowSchema:
    """One way in which the rows of a head may come: the roles it answers, those it is trained towards, and those that a
    row may have besides. Plain text has no target: the text itself is what is learnt. answered: whether such rows can be
    answered, too; what a decoder learns to write is no prompt."""

    inputs: tuple[str, ...]
    targets: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    for_inference: bool = True

    @property
    def wanted(self) -> tuple[str, ...]:
        """All roles, those that are needed first."""
        return (*self.inputs, *self.targets, *self.optional)


def text_value(cell: Any) -> tuple[str | None, str]:
    """A cell -> (text, ""), or (None, reason). A number becomes its text; a list, an object or bytes are no text."""
    value = _to_python(cell)
    text = None if isinstance(value, (list, tuple, Mapping, bytes)) else cell_text(value)
    if text is None or is_blank(text):
        return None, "no text"
    return replace_surrogates(text).lstrip("\ufeff"), ""


def number_value(cell: Any) -> tuple[float | None, str]:
    """A cell -> (finite number, ""), or (None, reason). A decimal comma is not guessed at."""
    value = _to_python(cell)
    text = None if isinstance(value, (list, tuple, Mapping, bytes)) else cell_text(value)
    if text is None or is_blank(text):
        return None, "no number"
    try:
        number = math.nan if isinstance(value, bool) or "_" in text else float(text.strip(AROUND))
    except ValueError:
        number = math.nan
    return (number, "") if math.isfinite(number) else (None, f"'{excerpt(text)}' is not a number")


def tokens_value(cell: Any) -> tuple[list[str] | None, str]:
    """A cell -> (tokens, ""), or (None, reason).

    The cell is a list, a text that holds one (as JSON, Python or numpy writes it), or words separated by white space. A
    token without a letter keeps its place, so that the tags still fit.
    """
    tokens, reason = _texts(cell, "token")
    if tokens is not None and all(is_blank(token) for token in tokens):
        return None, "no tokens"
    return tokens, reason


def tags_value(cell: Any) -> tuple[list[str] | None, str]:
    """A cell, written as that of tokens is -> (tags, ""), or (None, reason). 3 and 3.0 are the tag "3"."""
    tags, reason = _texts(cell, "tag")
    if not tags:
        return None, reason or "no tags"
    tags = [tag.strip(AROUND) for tag in tags]
    return (None, f"tag {tags.index('') + 1} is empty") if "" in tags else (tags, "")


def pair_lengths(tokens: Sequence[str], tags: Sequence[str]) -> str:
    """Why tags cannot be those of the tokens, "" when they can: there must be one for each."""
    if len(tokens) == len(tags):
        return ""
    return f"{len(tokens)} token{'' if len(tokens) == 1 else 's'} and {len(tags)} tag{'' if len(tags) == 1 else 's'}"


def answers_value(cell: Any, start_cell: Any, context: str) -> tuple[dict[str, list[Any]] | None, str]:
    """A cell -> ({"text": [...], "answer_start": [...]}, ""), or (None, reason). Empty lists: the context has no answer.

    The cell is such an object, a list of {"text", "answer_start"}, a list of texts, a text that holds one of these, or the
    text of one answer, with its start in `start_cell` or nowhere. context: as text_value returns it. Every start that is
    returned is right: of the places where the answer stands, the one nearest to the start that was given. Where some of
    several answers stand in the context, those that do not come last, with -1: answers are compared with them all the same.
    """
    value = _to_python(cell)
    if isinstance(value, str) and value.lstrip(AROUND)[:1] in ("{", "["):
        value = _object_in(value)
    found = _answers(value, _to_python(start_cell))
    if found is None or (isinstance(value, str) and is_blank(value)):  # an empty cell may be a gap as well
        return None, "no answer (a question without one has [])"
    full = [(text, start) for text, start in found if not is_blank(text)]  # some write "no answer" without a letter
    placed = [_place(replace_surrogates(text), _whole_number(start), context) for text, start in full]
    if placed and all(at < 0 for at, _ in placed):
        return None, f"its answer is not in its context: '{excerpt(full[0][0])}'"
    placed.sort(key=lambda pair: pair[0] < 0)
    return {"text": [answer for _, answer in placed], "answer_start": [at for at, _ in placed]}, ""


def _answers(value: Any, start: Any) -> list[tuple[str, Any]] | None:
    """The answers and the starts that were given with them; None when there is nothing that could be an answer."""
    if isinstance(value, Mapping):
        if value.get("is_impossible") is True:
            return []
        value, start = _to_python(value.get("text")), _to_python(value.get("answer_start"))
        if isinstance(value, Mapping):
            return None
    if isinstance(value, (list, tuple)):
        starts = list(start) if isinstance(start, (list, tuple)) else [start]
        starts += [None] * (len(value) - len(starts))
        found: list[tuple[str, Any]] = []
        for item, at in zip(map(_to_python, value), starts, strict=False):
            inner = None if isinstance(item, (list, tuple)) else _answers(item, at)
            if inner is None:
                return None
            found += inner
        return found
    if isinstance(start, (list, tuple)):
        start = start[0] if start else None
    text = None if isinstance(value, bytes) else cell_text(value)
    return None if text is None else [(text, start)]


def _place(answer: str, start: int | None, context: str) -> tuple[int, str]:
    """Where the answer stands nearest to `start`, and the answer as it stands there; -1 when it does not."""
    for text in (answer, answer.strip()):
        if start is None:
            at = context.find(text)
        else:
            after = context.find(text, max(start, 0))
            before = context.rfind(text, 0, max(start, 0) + len(text))
            at = after if before < 0 or (after >= 0 and after - start < start - before) else before
        if at >= 0:
            return at, text
    return -1, answer


def _whole_number(value: Any) -> int | None:
    number, _ = number_value(value)
    return None if number is None else int(number)


def _texts(cell: Any, what: str) -> tuple[list[str] | None, str]:
    """A list of texts in any of its forms; [] when it is empty or there is none."""
    value = _to_python(cell)
    if isinstance(value, str):
        stripped = value.strip(AROUND)
        value = _list_in(stripped) if stripped.startswith("[") and stripped.endswith("]") else stripped.split()
        if value is None:
            if stripped[1:].lstrip().startswith(("'", '"')):
                return None, f"a list of {what}s that cannot be read: {excerpt(stripped)}"
            value = stripped.split()  # words, of which the first and the last are brackets
    elif cell_text(value) is None:
        value = []
    if not isinstance(value, (list, tuple)):
        return None, f"not a list of {what}s: {excerpt(str(value))}"
    texts = []
    for place, item in enumerate(map(_to_python, value), start=1):
        if isinstance(item, (list, tuple, Mapping, bytes)):
            return None, f"{what} {place} is not a text: {excerpt(str(item))}"
        texts.append(replace_surrogates(cell_text(item) or ""))
    return texts, ""


def _list_in(text: str) -> list[Any] | None:
    """The flat list that a text holds, as JSON, Python or numpy writes it; None when it holds none."""
    try:
        loaded = json.loads(text)
        return loaded if isinstance(loaded, list) else None
    except (ValueError, RecursionError):
        pass
    items, at = [], 1
    while item := ITEM.match(text, at):
        items.append(item[1])
        at = item.end()
    return _literal(f"[{', '.join(items)}]", None) if text[at:].strip() == "]" else None


def _object_in(text: str) -> Any:
    """The list or object that a text holds as JSON or as Python writes it; the text itself when it holds none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _literal(text, text)


def _literal(text: str, otherwise: Any) -> Any:
    """Python's own notation of a value; it can name nothing but texts, numbers, lists and objects."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of escapes that Python does not know
            return ast.literal_eval(text.strip(AROUND))
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return otherwise


def _to_python(value: Any) -> Any:
    """Arrays and scalars of numpy, pandas and pyarrow as Python's own."""
    if isinstance(value, (str, float, int, list, tuple, dict, type(None))) and not hasattr(value, "tolist"):
        return value
    convert = next((way for name in ("tolist", "to_pylist", "as_py") if (way := getattr(value, name, None))), None)
    return value if convert is None else convert()


def is_blank(text: str) -> bool:
    """True for a text of white space and characters without a shape."""
    return all(letter.isspace() or letter in IGNORED for letter in text)


def parse_literal(cell: str) -> list[Any] | dict[str, Any] | None:
    """The list or object that a text is, as JSON, Python or (of a list) numpy writes it; None where it is neither."""
    text = cell.strip(AROUND)
    if text[:1] + text[-1:] not in ("[]", "{}"):
        return None
    found = _list_in(text) if text[0] == "[" else None
    found = _object_in(text) if found is None else found
    return found if isinstance(found, (list, dict)) else None


def is_decimal_number(text: str) -> bool:
    """Whether a text is a number as people write it: with commas for decimals or thousands, of money or in percent."""
    bare = text.strip(AROUND + SIGNS)
    return bool(DECIMAL.fullmatch(bare) or THOUSANDS.fullmatch(bare)) or number_value(bare)[0] is not None


def excerpt(text: str) -> str:
    """As much of a text as a reason can hold, on one line."""
    return as_line(text[:80] + "..." * (len(text) > 80))
