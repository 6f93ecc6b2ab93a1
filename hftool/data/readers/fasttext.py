"""fastText's lines, texts with labels such as __label__sports anywhere in them, to rows of text and label."""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from hftool.data.readers.plain_text import is_fasttext
from hftool.data.readers.tables import Record, Rejected, Source
from hftool.data.readers.token_per_row import Numbered

LABEL = re.compile(r"(?:(?<=\s)|^)__label__(\S+)\s*")
QUOTED = re.compile(r'"(?:[^"]|"")*__label__')  # a line of doccano's export that has a comma, a quote or a line end
MAX_QUOTED = 1 << 20  # characters of a quoted row over several lines


def detect(sample: Sequence[Any]) -> bool:
    """Whether rows of lines are fastText's."""
    return is_fasttext([line for row in sample if (line := str(row.get("text") or "")).strip()])


def read(rows: Iterable[Numbered], source: Source) -> Iterator[Record]:
    """The rows of lines; the label of a row is a text, of several labels a list. A row without one is rejected.

    A row in quotation marks, which fastText itself would read without a label, is read as CSV, with a notice.
    """
    found = iter(rows)
    quoted = 0
    for number, row in found:
        line = "" if row is None else str(row["text"])
        if QUOTED.match(line):
            while line.count('"') % 2 and len(line) < MAX_QUOTED and (more := next(found, None)):
                line += "\n" + str((more.row or {}).get("text", ""))
            cells = next(csv.reader([line], strict=False), [line])
            quoted += 1
            if quoted == 1:
                source.notes.append(f"'{source.path}' has rows in quotation marks, as CSV: they are no part of the texts")
            line = cells[0]
        labels = LABEL.findall(line)
        text = LABEL.sub("", line).strip()
        if labels:
            yield Record(number, {"text": text, "label": labels[0] if len(labels) == 1 else labels})
        elif text:
            source.rejected.append(Rejected(number, "no __label__", line[:1000]))
