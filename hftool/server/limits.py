"""How much the server takes on: every number that keeps one client, or many, from taking all of it."""

import dataclasses
import math
from dataclasses import dataclass

from hftool.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What is admitted, and how long it may take. Raises UsageError for a number below its least.

    queue_items: rows of a model that wait or are computed; a request that would go over it is refused at once.
    batch_tokens: tokens of a batch after padding; None: as many as the head takes. body_bytes: bytes of a request's body.
    text_chars: characters of one text. inputs: rows of a request, never more than queue_items. max_new_tokens: tokens of a text
    that is written. beams, samples, stops: of one decoding. timeout: seconds until a request is given up. slow: seconds for the
    headers of a request, and for its body. grace: seconds in which requests in flight may end when the server stops.
    hang: seconds that a batch, or a step of writing, may take before its worker is given up.
    """

    queue_items: int = 512
    batch_tokens: int | None = None
    body_bytes: int = 1_000_000
    text_chars: int = 100_000
    inputs: int = 256
    max_new_tokens: int = 1024
    beams: int = 8
    samples: int = 8
    stops: int = 4
    timeout: float = 30.0
    slow: float = 5.0
    grace: float = 30.0
    hang: float = 60.0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is None and field.name == "batch_tokens":
                continue
            least = 0 if field.name in ("grace", "stops") else 1 if isinstance(field.default, int | None) else 0.001
            if not math.isfinite(value) or value < least:
                finite = "" if math.isfinite(value) else "a finite number of "
                raise UsageError(f"{field.name} must be {finite}at least {least}, not {value}")
        object.__setattr__(self, "inputs", min(self.inputs, self.queue_items))  # more could never be admitted
