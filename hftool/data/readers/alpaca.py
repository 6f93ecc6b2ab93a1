"""Alpaca's rows of instruction, input and output to rows of prompt and completion."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from hftool.data.readers.tables import Record, Source
from hftool.data.readers.token_per_row import Numbered

KEYS = ("instruction", "input", "output")


def detect(sample: Sequence[Any]) -> bool:
    """Whether all rows have an instruction, an input and an output."""
    return bool(sample) and all(isinstance(row, dict) and all(isinstance(row.get(key), str) for key in KEYS) for row in sample)


def read(rows: Iterable[Numbered], source: Source) -> Iterator[Record]:
    """The rows, whose prompt is the instruction and, after a blank line, the input where it has one; other keys stay."""
    source.notes.append(f"'{source.path}': prompt is the instruction and, after a blank line, the input; completion the output")
    for number, row in rows:
        if row is None:
            continue
        given = {key: str(row.get(key) or "") for key in KEYS}
        prompt = f"{given['instruction']}\n\n{given['input']}" if given["input"].strip() else given["instruction"]
        rest = {key: value for key, value in row.items() if key not in KEYS}
        yield Record(number, {"prompt": prompt, "completion": given["output"], **rest})
