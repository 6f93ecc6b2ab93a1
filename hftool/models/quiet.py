"""Silences the tables, progress bars and warnings of transformers."""

import contextlib
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' tables, bars and warnings off stderr; hftool reports what matters of them itself."""
    from transformers.utils import logging

    untyped: Any = logging  # its functions have no types
    level, bars = untyped.get_verbosity(), untyped.is_progress_bar_enabled()
    untyped.set_verbosity_error()
    untyped.disable_progress_bar()
    try:
        yield
    finally:
        untyped.set_verbosity(level)
        if bars:
            untyped.enable_progress_bar()
