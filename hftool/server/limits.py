"""Limits of the server: what it admits, so that no client can take all of it."""

import dataclasses
import math
from dataclasses import dataclass

from hftool.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits of a server.

    Raises:
        UsageError: A value is below its minimum.
    """

    queue_items: int = 512  # rows of a model that are queued or computed; requests beyond it are refused at once
    batch_tokens: int | None = None  # tokens of a batch after padding; None for the budget of the head
    body_bytes: int = 1_000_000  # bytes of a request body
    text_chars: int = 100_000  # characters of one text
    inputs: int = 256  # rows of a request; at most queue_items
    max_new_tokens: int = 1024  # tokens of a generated text
    beams: int = 8  # beam width
    samples: int = 8  # sequences generated for each row
    stops: int = 4  # stop strings of a request
    timeout: float = 30.0  # seconds until the deadline of a request
    slow: float = 5.0  # seconds in which a client must send its headers, and its body
    grace: float = 30.0  # seconds in which requests in flight may finish when the server stops
    hang: float = 60.0  # seconds that a batch, or a step of generation, may take before its worker is replaced

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is None and field.name == "batch_tokens":
                continue
            minimum = 0 if field.name in ("grace", "stops") else 1 if isinstance(field.default, int | None) else 0.001
            if not math.isfinite(value) or value < minimum:
                finite = "" if math.isfinite(value) else "a finite number of "
                raise UsageError(f"{field.name} must be {finite}at least {minimum}, not {value}")
        object.__setattr__(self, "inputs", min(self.inputs, self.queue_items))  # more could never be admitted
