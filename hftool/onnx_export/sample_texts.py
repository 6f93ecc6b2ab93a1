"""Texts on which a model and its graphs are compared: rows of its own task, or these."""

from collections.abc import Iterable, Iterator, Sequence

from hftool.data.readers.tables import Row
from hftool.data.schema import TEXTS as TEXT_ROLES
from hftool.data.schema import RowSchema
from hftool.errors import HftoolError
from hftool.heads.protocol import Head

# of one word and of many, in several scripts, with what tokenizers have most trouble with
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


def own_rows(head: Head, rows: Iterable[Row]) -> list[Row]:
    """Rows with known answers as they are asked: without the answers, which only heads that write are given beside them."""
    for shape in head.row_schemas:
        if shape.for_inference:
            writes = shape.targets if head.sampling is not None else ()
            known = [row for row in rows if set(shape.inputs) <= set(row)]
            if known:
                return fitting(head, [_part(row, (*shape.inputs, *shape.optional, *writes)) for row in known])
    return []


def texts_as_rows(head: Head, texts: Sequence[str] = TEXTS) -> list[Row]:
    """Texts under the roles that the head answers, as few of them as it needs; what is to be written after one is its second
    half, or where it is to be rewritten, the text itself."""
    shape = _plainest(head)
    rows = []
    for text in texts:
        row = dict.fromkeys(shape.inputs, text)
        if head.sampling is not None:
            middle = len(text) // 2
            before, after = (text[:middle], text[middle:]) if "prompt" in shape.inputs else (text, text)
            row = dict.fromkeys(shape.inputs, before) | dict.fromkeys(shape.targets, after)
        rows.append(row)
    return fitting(head, rows)


def pairs_as_rows(head: Head, texts: Sequence[str] = TEXTS) -> list[Row]:
    """Each text with the one after it, where the head may be asked about two; else nothing."""
    shape = _plainest(head)
    roles = [role for role in shape.optional if role in TEXT_ROLES]
    pairs = zip(texts, [*texts[1:], texts[0]], strict=True)
    rows: list[Row] = [{**dict.fromkeys(shape.inputs, one), **dict.fromkeys(roles, other)} for one, other in pairs]
    return fitting(head, rows) if roles else []


def _plainest(head: Head) -> RowSchema:
    """Of the ways to ask the head, the one with the fewest texts."""
    plain = [shape for shape in head.row_schemas if shape.for_inference and set(shape.inputs) <= set(TEXT_ROLES)]
    return min(plain, key=lambda shape: len(shape.inputs))


def _part(row: Row, roles: Sequence[str]) -> Row:
    return {role: row[role] for role in roles if role in row}


def fitting(head: Head, rows: Iterable[Row]) -> list[Row]:
    """The rows that the head can take: a small model has no room for a long prompt."""
    return list(_that_encode(head, rows))


def _that_encode(head: Head, rows: Iterable[Row]) -> Iterator[Row]:
    for row in rows:
        try:
            taken = bool(head.encode([row]))
        except HftoolError:
            continue
        if taken:
            yield row
