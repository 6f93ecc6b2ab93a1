"""The rows on which a model and its graphs are compared: rows of its own task, or the built-in texts."""

from collections.abc import Iterable, Sequence

from hftool.data.readers.tables import Row
from hftool.data.schema import TEXTS as TEXT_ROLES
from hftool.data.schema import RowSchema
from hftool.errors import HftoolError
from hftool.heads.protocol import Head

# short and long, in several scripts, with punctuation, emoji and a URL
TEXTS = (
    "Yes.",
    "A warm, funny and tender film.",
    "It is 3.50 in the shop, or 2.75 online (from 1 May).",
    "Nobody answered the telephone, and so she wrote a letter, went to the station and took the night train to Lisbon.",
    "The committee met on Tuesday. It did not agree on the budget, but it did agree to meet again, and that the room was cold.",
    "Das Wetter ist heute schöner als gestern.",
    "Où est la bibliothèque ?",
    "Поезд отходит в семь часов утра.",
    "今天的天气很好，我们去公园散步。",
    "القطار يغادر في الصباح.",
    "🙂 ok!!! see http://example.org/a?b=c",
    "word " * 60,
)


def inference_rows(head: Head, rows: Iterable[Row]) -> list[Row]:
    """Labelled rows as inference inputs; rows of heads that generate keep their targets."""
    for schema in head.row_schemas:
        if schema.for_inference:
            targets = schema.targets if head.sampling is not None else ()
            usable = [row for row in rows if set(schema.inputs) <= set(row)]
            if usable:
                return fitting(head, [_select(row, (*schema.inputs, *schema.optional, *targets)) for row in usable])
    return []


def texts_as_rows(head: Head, texts: Sequence[str] = TEXTS) -> list[Row]:
    """Texts as rows with the fewest roles that the head takes.

    Where the head generates, the target is the second half of the text after a prompt, and else the text itself.
    """
    schema = _smallest_schema(head)
    rows = []
    for text in texts:
        row = dict.fromkeys(schema.inputs, text)
        if head.sampling is not None:
            middle = len(text) // 2
            before, after = (text[:middle], text[middle:]) if "prompt" in schema.inputs else (text, text)
            row = dict.fromkeys(schema.inputs, before) | dict.fromkeys(schema.targets, after)
        rows.append(row)
    return fitting(head, rows)


def pairs_as_rows(head: Head, texts: Sequence[str] = TEXTS) -> list[Row]:
    """Each text paired with the next one; empty if the head takes no pairs."""
    schema = _smallest_schema(head)
    roles = [role for role in schema.optional if role in TEXT_ROLES]
    pairs = zip(texts, [*texts[1:], texts[0]], strict=True)
    rows: list[Row] = [{**dict.fromkeys(schema.inputs, one), **dict.fromkeys(roles, other)} for one, other in pairs]
    return fitting(head, rows) if roles else []


def _smallest_schema(head: Head) -> RowSchema:
    """The inference schema with the fewest inputs, all of them texts."""
    schemas = [schema for schema in head.row_schemas if schema.for_inference and set(schema.inputs) <= set(TEXT_ROLES)]
    return min(schemas, key=lambda schema: len(schema.inputs))


def _select(row: Row, roles: Sequence[str]) -> Row:
    return {role: row[role] for role in roles if role in row}


def fitting(head: Head, rows: Iterable[Row]) -> list[Row]:
    """The rows that the head can encode: a long prompt may exceed a small model."""
    return [row for row in rows if _encodes(head, row)]


def _encodes(head: Head, row: Row) -> bool:
    try:
        return bool(head.encode([row]))
    except HftoolError:
        return False
