"""Progress in a notebook."""

import functools
from collections.abc import Callable
from contextlib import nullcontext
from importlib.util import find_spec
from typing import Any

from hftool.progress.terminal import bar, plain_lines


def in_notebook(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function that takes `progress` show it in a notebook: as a bar where ipywidgets is installed, else as lines."""

    @functools.wraps(function)
    def _wrapped(*args: Any, **options: Any) -> Any:
        if "progress" in options:
            return function(*args, **options)
        with bar(is_terminal=False) if find_spec("ipywidgets") else nullcontext(plain_lines()) as progress:
            return function(*args, progress=progress, **options)

    return _wrapped
