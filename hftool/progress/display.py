"""Progress on stderr: a live bar on a terminal or in a notebook, plain lines in a pipe."""

import errno
import functools
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from typing import Any

import typer

from hftool.errors import as_line, without_credentials
from hftool.progress import Event, Progress

PLAIN_EVERY = 5.0  # seconds between plain lines


def _say(text: str) -> None:
    try:
        typer.echo(as_line(without_credentials(text)), err=True)
    except OSError as error:
        _ignore_closed(error)


def _ignore_closed(error: OSError) -> None:
    """Ignore that the reader of stderr, such as `2>&1 | head`, or the terminal was closed. Raises any other error."""
    if error.errno not in (errno.EPIPE, errno.EIO):
        raise error
    _discard_stderr()


def _discard_stderr() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def warnings_only(event: Event) -> None:
    """Even --quiet reports that another model or data set was used."""
    if event.level == "warning":
        _say(event.text)


def number_text(value: float) -> str:
    """A metric with four decimals, or with four significant digits where decimals would hide it."""
    return f"{value:.4f}" if value == 0 or 0.01 <= abs(value) < 1e7 else f"{value:.4g}"


def left(seconds: float) -> str:
    """Format seconds as 1:05 or 2:03:04."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _measured(event: Event) -> str:
    numbers = {key: value for key, value in event.values.items() if key != "step" and isinstance(value, float)}
    return "  ".join(f"{key} {number_text(value)}" for key, value in numbers.items())


def plain_lines() -> Progress:
    """Lines on stderr; those of steps and rows at most every PLAIN_EVERY seconds."""
    shown = 0.0

    def progress(event: Event) -> None:
        """Show an event on the terminal."""
        nonlocal shown
        values: dict[str, Any] = dict(event.values)
        if event.kind == "notice":
            _say(event.text)
        elif event.kind == "evaluation":
            _say(f"step {values['step']}: {_measured(event)}")
        elif event.kind == "step" and "loss" in values and time.monotonic() - shown > PLAIN_EVERY:
            shown = time.monotonic()
            _say(
                f"step {values['step']}/{values['steps']}  loss {values['loss']:.4f}  "
                f"{values['tokens_per_second']:.0f} tokens/s  {left(values['seconds_left'])} left"
            )
        elif event.kind == "rows" and time.monotonic() - shown > PLAIN_EVERY:
            shown = time.monotonic()
            _say(f"{values['done']} rows")

    return progress


@contextmanager
def bar(*, is_terminal: bool = True) -> Iterator[Progress]:
    """A live bar on stderr. is_terminal: whether stderr is one, which may be closed meanwhile."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as RichProgress

    # names from files are shown: no markup, no emoji codes, no line breaks
    console = Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[status]}"),
    )
    with RichProgress(*columns, console=console, transient=True) as bars:
        show = _bar_events(bars, console.print)

        def progress(event: Event) -> None:
            """Draw an event while there is a terminal."""
            try:
                show(event)
            except OSError as error:
                _ignore_closed(error)

        try:
            yield progress
        finally:
            if is_terminal and not sys.stderr.isatty():  # it was one: the terminal was closed
                _discard_stderr()


def _bar_events(bars: Any, show: Callable[..., None]) -> Progress:
    task: Any = None
    status = metric = ""

    def progress(event: Event) -> None:
        """Draw an event into the bar."""
        nonlocal task, status, metric
        values: dict[str, Any] = dict(event.values)
        if event.kind == "notice":
            show(as_line(event.text))
        elif event.kind == "plan":
            task = bars.add_task("training", total=values["steps"], status="")
        elif event.kind == "evaluation":
            metric = next((f"{k} {v:.4f}" for k, v in values.items() if k != "step"), "")
            show(f"step {values['step']}: {_measured(event)}")
        elif event.kind == "step":
            if "loss" in values:
                status = f"loss {values['loss']:.4f}  {values['tokens_per_second']:.0f} tokens/s"
            text = "  ".join(part for part in (status, metric, f"{left(values['seconds_left'])} left") if part)
            bars.update(task, completed=values["step"], status=text)
        elif event.kind == "rows":
            task = bars.add_task("rows", total=None, status="") if task is None else task
            bars.update(task, completed=values["done"])

    return progress


def in_notebook(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function that takes `progress` show it in a notebook: as a bar where ipywidgets is installed, else as lines."""

    @functools.wraps(function)
    def _wrapped(*args: Any, **options: Any) -> Any:
        if "progress" in options:
            return function(*args, **options)
        with bar(is_terminal=False) if find_spec("ipywidgets") else nullcontext(plain_lines()) as progress:
            return function(*args, progress=progress, **options)

    return _wrapped
