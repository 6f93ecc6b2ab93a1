"""hftool/data/annotations: a damaged export is rejected rows or an error of one line, never a traceback."""

import copy
import json
import random

import pytest

from hftool.data.readers.formats import ReadOptions
from hftool.data.readers.tables import read_table
from hftool.errors import HftoolError
from support.annotated import accept_all, documents, write

VALUES = (None, True, -1, 3, 2.5, "x", "", [], [1], ["a"], [[]], {}, {"start": 0}, {"a": [1]}, 10**30, "0", [None])


def damaged(value, chance):
    """A copy with one value anywhere in it replaced or left out."""
    value = copy.deepcopy(value)
    at = value
    while True:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        if not keys:
            return value
        key = chance.choice(keys)
        if isinstance(at[key], (dict, list)) and chance.random() < 0.8:
            at = at[key]
            continue
        if chance.random() < 0.3:
            del at[key]
        else:
            at[key] = chance.choice(VALUES)
        return value


@pytest.mark.parametrize(
    ("name", "ending"),
    [("doccano", "jsonl"), ("label-studio", "json"), ("prodigy", "jsonl"), ("spacy", "json"), ("vertex", "jsonl")],
)
def test_damaged_rows_are_rejected_or_an_error_of_one_line(tmp_path, name, ending):
    chance = random.Random(0)
    path = write(tmp_path / f"a.{ending}", name, documents(6))
    if name == "label-studio":
        accept_all(path)
    text = path.read_text(encoding="utf-8")
    rows = json.loads(text) if ending == "json" else [json.loads(line) for line in text.splitlines()]
    for _ in range(150):
        changed = [damaged(row, chance) if chance.random() < 0.5 else row for row in rows]
        lines = json.dumps(changed) if ending == "json" else "".join(json.dumps(row) + "\n" for row in changed)
        path.write_text(lines, encoding="utf-8")
        for options in (ReadOptions(format=name), ReadOptions()):
            try:
                read_table(path, "train", options)
            except HftoolError as error:
                assert "\n" not in str(error)
