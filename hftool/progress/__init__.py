"""Progress events: the library calls one function with an `Event` for each.

The command line draws them as a progress bar; a notebook or a service may print or ignore them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["notice", "plan", "step", "evaluation", "saved", "rows"]
Level = Literal["info", "warning"]


@dataclass(frozen=True)
class Event:
    """One progress event. `text` is for people, `values` for code.

    notice      text only: a default that was chosen for the user; with level "warning" a stand-in, which is shown even if quiet
    plan        values: steps, epochs, rows
    step        values: step, steps, loss, learning_rate, grad_norm, tokens_per_second, seconds_left, logged
    evaluation  values: step and the metrics by name
    saved       values: step, path
    rows        values: done (rows processed so far)
    """

    kind: Kind
    text: str = ""
    values: Mapping[str, float | int | str | bool] = field(default_factory=dict)
    level: Level = "info"


Progress = Callable[[Event], None]


def silent(event: Event) -> None:
    """Ignore events; the default."""


def notice(progress: Progress, text: str, level: Level = "info") -> None:
    """Send a notice of one line."""
    progress(Event("notice", text, level=level))
