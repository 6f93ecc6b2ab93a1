"""The schema of rows: the roles that columns can have, their combinations, and the parsing of cells into values."""

import ast
import json
import math
import re
import unicodedata
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hftool.data.readers.tables import cell_text, replace_surrogates
from hftool.errors import as_line

ROLES = (
    *("text", "text_pair", "label", "tokens", "tags", "context", "question", "answers"),
    *("source", "target", "prompt", "completion"),
)
TEXTS = ("text", "text_pair", "context", "question", "source", "target", "prompt", "completion")
IGNORED = "\ufeff\u200b\0"  # invisible characters that str.isspace does not know
AROUND = " \t\r\n\ufeff\u00a0"  # what may surround a value without being part of it
# an item of a list as Python prints it; numpy leaves out the commas
ITEM = re.compile(r"""\s*('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|-?[0-9]+|None)\s*(?:,|(?=[\s\]'"]))""", re.DOTALL)

DECIMAL = re.compile(r"[-+]?(\d{1,3}(\.\d{3})+|\d+),\d+")  # 3,75 or 1.204,50
THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2}(,\d{3})+(\.\d+)?")  # 1,204 or 1,204.50
UNIT_SIGNS = "$\u20ac\u00a3\u00a5\u20b9%"  # currency or percent, before or after a number


@dataclass(frozen=True)
class RowSchema:
    """One combination of roles that a head accepts."""

    inputs: tuple[str, ...]
    targets: tuple[str, ...] = ()  # empty for plain text, which is its own target
    optional: tuple[str, ...] = ()
    for_inference: bool = True  # whether such rows can be inputs of inference

    @property
    def wanted(self) -> tuple[str, ...]:
        """All roles, required ones first."""
        return (*self.inputs, *self.targets, *self.optional)


def _scalar_text(cell: Any) -> str | None:
    """A cell as a text; None for a blank cell, a list, an object or bytes."""
    value = _to_python(cell)
    text = None if isinstance(value, (list, tuple, Mapping, bytes)) else cell_text(value)
    return None if text is None or is_blank(text) else text


def text_value(cell: Any) -> tuple[str | None, str]:
    """A cell -> (text, ""), or (None, reason). A number becomes its text; a list, an object or bytes are rejected."""
    if type(cell) is str and "!" <= cell[:1] <= "~" and cell.isascii():  # nearly every text
        return cell, ""
    text = _scalar_text(cell)
    return (None, "no text") if text is None else (replace_surrogates(text).lstrip("\ufeff"), "")


def number_value(cell: Any) -> tuple[float | None, str]:
    """A cell -> (finite number, ""), or (None, reason). A decimal comma is not guessed."""
    text = _scalar_text(cell)
    if text is None:
        return None, "no number"
    try:
        number = math.nan if "_" in text else float(text.strip(AROUND))
    except ValueError:
        number = math.nan
    return (number, "") if math.isfinite(number) else (None, f"'{excerpt(text)}' is not a number")


def tokens_value(cell: Any) -> tuple[list[str] | None, str]:
    """A cell -> (tokens, ""), or (None, reason).

    The cell is a list, a text that holds one (as JSON, Python or numpy print it), or words separated by white space. A blank
    token is kept so that the tags still align.
    """
    tokens, reason = _texts(cell, "token")
    if tokens is not None and all(is_blank(token) for token in tokens):
        return None, "no tokens"
    return tokens, reason


def tags_value(cell: Any) -> tuple[list[str] | None, str]:
    """A cell in a format of `tokens_value` -> (tags, ""), or (None, reason). 3 and 3.0 are the tag "3"."""
    tags, reason = _texts(cell, "tag")
    if not tags:
        return None, reason or "no tags"
    tags = [tag.strip(AROUND) for tag in tags]
    return (None, f"tag {tags.index('') + 1} is empty") if "" in tags else (tags, "")


def pair_lengths(tokens: Sequence[str], tags: Sequence[str]) -> str:
    """The reason why tags do not align with tokens, "" if there is one for each."""
    if len(tokens) == len(tags):
        return ""
    return f"{len(tokens)} token{'' if len(tokens) == 1 else 's'} and {len(tags)} tag{'' if len(tags) == 1 else 's'}"


def answers_value(cell: Any, start_cell: Any, context: str) -> tuple[dict[str, list[Any]] | None, str]:
    """The answers of a question, with verified character offsets.

    Args:
        cell: {"text": [...], "answer_start": [...]}, a list of {"text", "answer_start"}, a list of texts, a text that holds one
            of these, or the text of one answer.
        start_cell: The offset of the answers if `cell` has none.
        context: The context as `text_value` returns it.

    Returns:
        ({"text": [...], "answer_start": [...]}, ""), or (None, reason). Empty lists: the question has no answer. Each offset is
        the occurrence nearest to the given one; answers that do not occur come last with -1, since predictions are compared
        with them as well.
    """
    value = _to_python(cell)
    if isinstance(value, str) and value.lstrip(AROUND)[:1] in ("{", "["):
        value = _parse_any(value)
    found = _answers(value, _to_python(start_cell))
    if found is None or (isinstance(value, str) and is_blank(value)):  # an empty cell may be a gap as well
        return None, "no answer (a question without one has [])"
    full = [(text, start) for text, start in found if not is_blank(text)]  # some files mark "no answer" by a blank text
    located = [_locate(replace_surrogates(text), start, context) for text, start in full]
    if located and all(start < 0 for start, _ in located):
        return None, f"its answer is not in its context: '{excerpt(full[0][0])}'"
    located.sort(key=lambda pair: pair[0] < 0)
    return {"text": [answer for _, answer in located], "answer_start": [start for start, _ in located]}, ""


def _answers(value: Any, start: Any) -> list[tuple[str, Any]] | None:
    """(answer, given offset) of each answer; None if the value cannot be an answer."""
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
        for item, item_start in zip(map(_to_python, value), starts, strict=False):
            inner = None if isinstance(item, (list, tuple)) else _answers(item, item_start)
            if inner is None:
                return None
            found += inner
        return found
    if isinstance(start, (list, tuple)):
        start = start[0] if start else None
    text = None if isinstance(value, bytes) else cell_text(value)
    return None if text is None else [(text, start)]


def _locate(answer: str, start_cell: Any, context: str) -> tuple[int, str]:
    """The offset of the occurrence nearest to the given one, and the answer as it occurs; -1 if it does not."""
    number, _ = number_value(start_cell)
    for text in (answer, answer.strip()):
        if number is None:
            found = context.find(text)
        else:
            start = int(number)
            after = context.find(text, max(start, 0))
            before = context.rfind(text, 0, max(start, 0) + len(text))
            found = after if before < 0 or (after >= 0 and after - start < start - before) else before
        if found >= 0:
            return found, text
    return -1, answer


def _texts(cell: Any, what: str) -> tuple[list[str] | None, str]:
    """A list of texts from any of its formats; [] for an empty cell."""
    value = _to_python(cell)
    if isinstance(value, str):
        stripped = value.strip(AROUND)
        value = _parse_list(stripped) if stripped.startswith("[") and stripped.endswith("]") else stripped.split()
        if value is None:
            if stripped[1:].lstrip().startswith(("'", '"')):
                return None, f"a list of {what}s that cannot be read: {excerpt(stripped)}"
            value = stripped.split()  # words, the first and the last of which are brackets
    elif cell_text(value) is None:
        value = []
    if not isinstance(value, (list, tuple)):
        return None, f"not a list of {what}s: {excerpt(str(value))}"
    texts = []
    for number, item in enumerate(map(_to_python, value), start=1):
        if isinstance(item, (list, tuple, Mapping, bytes)):
            return None, f"{what} {number} is not a text: {excerpt(str(item))}"
        texts.append(replace_surrogates(cell_text(item) or ""))
    return texts, ""


def _parse_list(text: str) -> list[Any] | None:
    """A flat list printed by JSON, Python or numpy; None for anything else."""
    try:
        loaded = json.loads(text)
        return loaded if isinstance(loaded, list) else None
    except (ValueError, RecursionError):
        pass
    items, end = [], 1
    while item := ITEM.match(text, end):
        items.append(item[1])
        end = item.end()
    return _parse_python(f"[{', '.join(items)}]", None) if text[end:].strip() == "]" else None


def _parse_any(text: str) -> Any:
    """A value printed by JSON or Python; the text itself if it is neither."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _parse_python(text, text)


def _parse_python(text: str, otherwise: Any) -> Any:
    """A Python literal: texts, numbers, lists and objects only, and numpy's arrays as lists."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of unknown escapes
            tree = ast.parse(text.strip(AROUND), mode="eval")
            for node in ast.walk(tree):
                if isinstance(node, ast.Dict):
                    node.values = [_without_array(value) for value in node.values]
            return ast.literal_eval(tree)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return otherwise


def _without_array(node: ast.expr) -> ast.expr:
    """The list of an array as numpy prints it, array([0], dtype=int32); any other expression unchanged."""
    is_array = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "array" and node.args
    return node.args[0] if isinstance(node, ast.Call) and is_array else node


def _to_python(value: Any) -> Any:
    """Arrays and scalars of numpy, pandas and pyarrow as Python objects."""
    if type(value) is str:  # nearly every cell of a file
        return value
    if isinstance(value, (str, float, int, list, tuple, dict, type(None))) and not hasattr(value, "tolist"):
        return value
    convert = next((method for name in ("tolist", "to_pylist", "as_py") if (method := getattr(value, name, None))), None)
    return value if convert is None else convert()


def is_blank(text: str) -> bool:
    """Whether a text has only white space and invisible characters."""
    if "!" <= text[:1] <= "~":  # nearly every text
        return False
    return all(letter.isspace() or letter in IGNORED for letter in text)


def display_width(text: str) -> int:
    """Number of characters, wide ones (Chinese, Japanese, Korean) counted twice: they carry as much as two letters."""
    return len(text) if text.isascii() else len(text) + sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)


def parse_literal(cell: str) -> list[Any] | dict[str, Any] | None:
    """The list or object that a text holds, as JSON, Python or (a list) numpy print it; None if it holds neither."""
    text = cell.strip(AROUND)
    if text[:1] + text[-1:] not in ("[]", "{}"):
        return None
    found = _parse_list(text) if text[0] == "[" else None
    found = _parse_any(text) if found is None else found
    return found if isinstance(found, (list, dict)) else None


def is_decimal_number(text: str) -> bool:
    """Whether a text is a number in a human format: with decimal commas, thousands separators, currency or percent."""
    bare = text.strip(AROUND + UNIT_SIGNS)
    return bool(DECIMAL.fullmatch(bare) or THOUSANDS.fullmatch(bare)) or number_value(bare)[0] is not None


def excerpt(text: str) -> str:
    """The first 80 characters of a text on one line, for a message."""
    return as_line(text[:80] + "..." * (len(text) > 80))
