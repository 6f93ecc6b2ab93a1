"""Rows in memory as a task: a list of dicts, a pandas DataFrame or a datasets.Dataset."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from hftool.data.readers.tables import Record, Table, dataset_table
from hftool.errors import DataError, InputMissing

PREFIX = "memory:"  # of such a task in config.yaml; the fingerprint of the rows follows
PATH = "the rows in memory"


def rows_table(data: object) -> Table | None:
    """Rows as the table that a file of them would be; None where `data` is something else, such as a path.

    Raises:
        DataError: There are no rows.
    """
    frame: Any = data
    if isinstance(data, (list, tuple)) and all(isinstance(row, Mapping) for row in data):
        rows = [{str(key): _cell(value) for key, value in row.items()} for row in data]
        columns = tuple(dict.fromkeys(key for row in rows for key in row))
        table = Table("train", PATH, columns, rows, list(range(1, len(rows) + 1)))
    elif hasattr(data, "features") and hasattr(data, "with_format"):  # datasets.Dataset
        table = dataset_table(data, PATH, "train")
    elif hasattr(data, "to_dict") and hasattr(data, "columns"):  # pandas.DataFrame
        columns = tuple(map(str, frame.columns))
        cells = frame.astype(object).itertuples(index=False, name=None)
        rows = [dict(zip(columns, map(_cell, row), strict=True)) for row in cells]
        table = Table("train", PATH, columns, rows, list(range(1, len(rows) + 1)))
    else:
        return None
    if not table.rows:
        raise DataError("there are no rows", "Give at least one")
    return table


def _cell(value: Any) -> Any:
    """The value; None for pandas.NA and pandas.NaT, which are no texts (pandas may not be imported here)."""
    return None if type(value).__name__ in ("NAType", "NaTType") else value


def records(table: Table) -> list[Record]:
    """The rows of a table as the readers of files give them."""
    return [Record(number, row) for number, row in zip(table.numbers, table.rows, strict=True)]


def task_of(table: Table) -> str:
    """The name under which a run records these rows: it changes when any cell does."""
    digest = hashlib.sha256(json.dumps([table.columns, table.label_names]).encode())
    for row in table.rows:
        digest.update(json.dumps(row, default=str, sort_keys=True).encode())
    return PREFIX + digest.hexdigest()[:16]


def is_in_memory(task: str | None) -> bool:
    """Whether a recorded task was rows in memory."""
    return task is not None and task.startswith(PREFIX)


def check_given(table: Table | None) -> Table:
    """Raise InputMissing where the rows of a run that was trained on rows in memory are not given again."""
    if table is None:
        hint = "Give them again: hftool.finetune(MODEL, ROWS, out=RUN, resume=True), or hftool.evaluate(RUN, ROWS)"
        raise InputMissing("the run was trained on rows in memory, and no file has them", hint)
    return table
