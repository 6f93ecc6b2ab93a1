"""Tables without a header: the names that the user gives, and the raw files of benchmarks that are known to have none."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

MIN_REPEATED = 2  # rows in which a cell of the first line comes again in its column
SCORE = re.compile(r"[0-5](\.\d+)?")


class Layout(NamedTuple):
    """The columns of a file without a header, which is separated by tabs, without quoting."""

    title: str
    columns: tuple[str, ...]
    fits: Callable[[Sequence[str]], bool]  # whether a row has this layout
    wider: bool = False  # whether rows may have more cells, which are left out


def _is_cola(cells: Sequence[str]) -> bool:
    return len(cells) == 4 and cells[1] in ("0", "1") and cells[2] in ("", "*") and bool(cells[3].strip())


def _is_sts(cells: Sequence[str]) -> bool:
    return len(cells) >= 7 and SCORE.fullmatch(cells[4]) is not None and all(cell.strip() for cell in cells[5:7])


LAYOUTS = (
    Layout("CoLA's", ("source", "label", "mark", "sentence"), _is_cola),
    Layout(
        "the STS benchmark's",
        ("genre", "filename", "year", "old_index", "score", "sentence1", "sentence2"),
        _is_sts,
        wider=True,
    ),
)
MIN_ROWS = 3


def known_layout(lines: Sequence[str]) -> Layout | None:
    """The layout of the first lines of a file, if all of them have that of a benchmark."""
    rows = [line.rstrip("\r\n").lstrip("\ufeff").split("\t") for line in lines if line.strip()]
    if len(rows) < MIN_ROWS:
        return None
    return next((layout for layout in LAYOUTS if all(map(layout.fits, rows))), None)


def looks_like_row(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a header looks like a row: one of its cells comes again in its column, and the whole line does not."""
    again = [name for name in columns if sum(row.get(name) == name for row in rows) >= MIN_REPEATED]
    whole = any(all(row.get(name) == name for name in columns) for row in rows)
    return bool(again) and not whole
