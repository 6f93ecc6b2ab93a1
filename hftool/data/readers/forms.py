"""The form of rows, such as the export of an annotation tool: the user's choice, or recognised by the first rows."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from hftool.data.readers.formats import chosen_form
from hftool.data.readers.tables import Source
from hftool.data.readers.token_per_row import Numbered
from hftool.registry.formats import AUTO, FileFormat, forms_in

SAMPLE_ROWS = 100  # rows by which a form is recognised


def peek(rows: Iterator[Numbered], count: int) -> tuple[list[Numbered], Iterator[Numbered]]:
    """The first rows, and all of them."""
    sample = list(itertools.islice(rows, count))
    return sample, itertools.chain(sample, rows)


def find_form(source: Source, container: str, sample: Sequence[Any]) -> FileFormat | None:
    """The form of the rows of a file, with a notice if it was recognised; None if they are a plain table."""
    if source.options.format != AUTO:
        return chosen_form(source.options)
    form = next((form for form in forms_in(container) if sample and form.detect(sample)), None)
    if form is not None:
        source.notes.append(f"'{source.path}' is read as {form.title}; --format decides")
    return form
