"""Silence for transformers: what matters of its tables, bars and warnings we say ourselves."""

import contextlib
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' tables, bars and warnings off stderr for a while: what matters of them we say ourselves."""
    from transformers.utils import logging

    noise: Any = logging  # its functions carry no types
    level, bars = noise.get_verbosity(), noise.is_progress_bar_enabled()
    noise.set_verbosity_error()
    noise.disable_progress_bar()
    try:
        yield
    finally:
        noise.set_verbosity(level)
        if bars:
            noise.enable_progress_bar()
