"""What a verb shows: the display of progress that fits stderr, the log of the libraries, and the document of --json."""

import json
import logging
import math
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import typer

from hftool.errors import without_credentials
from hftool.progress import Progress
from hftool.progress.display import bar, plain_lines, warnings_only


@contextmanager
def screen(*, quiet: bool, verbose: bool, as_json: bool = False) -> Iterator[Progress]:
    """The progress function of a verb. Within the context, warnings of the libraries are hidden unless verbose."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_WithoutCredentials("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO if verbose else logging.ERROR, handlers=[handler])
    with warnings.catch_warnings():
        if not verbose:
            warnings.simplefilter("ignore")
        if quiet:
            yield warnings_only
        elif sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and not as_json:
            with bar() as progress:
                yield progress
        else:
            yield plain_lines()


class _WithoutCredentials(logging.Formatter):
    """Log lines without credentials: httpx, for example, logs the whole URL of each request."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record."""
        return without_credentials(super().format(record))


def print_json(value: Any) -> None:
    """Print the document of --json; NaN, which JSON lacks, becomes null."""
    typer.echo(json.dumps(_finite(value), ensure_ascii=False))


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
