"""The rows that are measured: of a file, or of the bundled data of the model's head."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hftool.data.column_contents import cell_of
from hftool.data.label_cells import label_text
from hftool.data.readers.tables import Rejected, Row, stream
from hftool.data.rows import map_row
from hftool.errors import DataError
from hftool.heads import get_head
from hftool.models import Loaded
from hftool.models.head_config import HeadConfig
from hftool.progress import silent
from hftool.registry.heads import HeadSpec, head_spec
from hftool.workflow.choose_head import columns_to_answer
from hftool.workflow.resolve import resolve_task

BUNDLED = {"tag": "entities-mini", "answer": "squad-mini", "text2text": "dialogsum-mini", "generate": "stories-mini"}
SENTENCES = "sst2-mini"  # for all other heads
PROMPT_WORDS = 16
SAMPLED = 1000  # rows from which the columns are inferred


def rows_of(loaded: Loaded, file: str | None, count: int) -> tuple[list[Row], list[str], str]:
    """At most `count` rows that the model answers, the label of each where a file has them, and their origin.

    A row without a label, or with one that the model does not know, has the label "".

    Raises:
        DataError: None of the rows of the file can be used.
        InputMissing: There is no such file.
    """
    if file:
        return *_rows_of_file(loaded, file, count), Path(file).name
    return list(itertools.islice(_bundled(loaded), count)), [], _bundled_name(loaded.head_config.head)


def _rows_of_file(loaded: Loaded, file: str, count: int) -> tuple[list[Row], list[str]]:
    rejected: list[Rejected] = []
    names, records = stream(file, rejected=rejected)
    sample = list(itertools.islice(records, SAMPLED))
    if not sample:
        raise DataError(f"'{file}' has no rows")
    mapping = columns_to_answer(names or tuple(sample[0].row), sample, loaded, {}, file, chosen=True)
    mapped = ((record.row, *map_row(record.row, mapping)) for record in itertools.chain(sample, records))
    usable = list(itertools.islice(((given, row) for given, row, fault in mapped if not fault), count))
    if not usable:
        raise DataError(f"none of the rows of '{file}' can be used")
    return [row for _, row in usable], _labels([given for given, _ in usable], loaded.head_config)


def _labels(rows: Sequence[Row], config: HeadConfig) -> list[str]:
    """The labels of rows of a classifier with one label for each text; [] where no row has one."""
    if config.head != "classify" or config.problem_type != "single_label_classification":
        return []
    names = dict(zip(config.label_values, config.labels, strict=False)) | {name: name for name in config.labels}
    column = config.columns.get("label", "label")
    labels = [names.get(label_text(cell_of(row, column)) or "", "") for row in rows]
    return labels if any(labels) else []


def _bundled_name(head: str) -> str:
    return BUNDLED.get(head, SENTENCES)


def _bundled(loaded: Loaded) -> Iterator[Row]:
    """Rows of the bundled data set of a head, without labels."""
    spec = head_spec(loaded.head_config.head)
    data = resolve_task(_bundled_name(spec.name), {}, offline=True, fallback=False, progress=silent)
    columns = dict(data.row.columns) if data.row else {}
    tables = [data.tables[split].rows for split in ("validation", "test", "train")]
    head: Any = get_head(loaded.tokenizer, loaded.head_config, loaded.model.config)
    rows = list(itertools.chain.from_iterable(tables))
    if spec.continues:  # lines of running text: prompts have one length
        rows = [row for row in rows if len(str(row[columns["text"]]).split()) >= PROMPT_WORDS]
    for row, following in zip(rows, [*rows[1:], *rows[:1]], strict=True):
        yield _inputs(spec, row, following, columns, head)


def _inputs(spec: HeadSpec, row: Row, following: Row, columns: dict[str, str], head: Any) -> Row:
    """The inputs of a row; where the model takes pairs of texts, the second is the text of the following row."""
    if spec.name == "tag":
        return {"text": " ".join(row[columns["tokens"]])}
    if spec.continues:
        return {"prompt": " ".join(str(row[columns["text"]]).split()[:PROMPT_WORDS])}
    if spec.fills:
        words = str(row[columns["text"]]).split()
        words[len(words) // 2] = head.tokenizer.mask_token
        return {"text": " ".join(words)}
    found = {role: str(row[columns[role]]) for role in spec.inputs if role in columns}
    if spec.takes_pairs(head.head_config.columns if hasattr(head, "head_config") else ()):
        found["text_pair"] = str(following[columns["text"]])
    return found
