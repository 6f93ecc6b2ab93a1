"""How the library tells its caller what it is doing: one function, called with one small value.

The command line draws these as a progress bar; a notebook or a service may print or drop them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["notice", "plan", "step", "evaluation", "saved", "rows"]


@dataclass(frozen=True)
class Event:
    """Something happened. `text` is for a person, `values` for a machine.

    notice      text only: a choice that was made for the user
    plan        values: steps, epochs, rows
    step        values: step, steps, loss, learning_rate, grad_norm, tokens_per_second, seconds_left, logged
    evaluation  values: step and the metrics by name
    saved       values: step, path
    rows        values: done (rows answered so far)
    """

    kind: Kind
    text: str = ""
    values: Mapping[str, float | int | str | bool] = field(default_factory=dict)


Progress = Callable[[Event], None]


def silent(event: Event) -> None:
    """The default: nobody listens."""


def notice(progress: Progress, text: str) -> None:
    """Say one line."""
    progress(Event("notice", text))
