"""A model as the server holds it, and how a request asks it: with a deadline, and only as long as its client is there."""

import asyncio
import copy
import dataclasses
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from starlette.requests import Request

from hftool.data.readers.tables import Row
from hftool.errors import HftoolError
from hftool.heads.protocol import Answer, Head
from hftool.heads.wire import parameters_schema, with_seeds
from hftool.server.batching.batcher import Batcher, Expired, Overloaded, RowError, Unavailable
from hftool.server.limits import Limits
from hftool.server.protocols.requests import Fault, fault_of

T = TypeVar("T")
OnToken = Callable[[int, int], None]  # row of the request, and a token id or a number of tokens


@dataclass
class RequestRecord:
    """What is known of a request when it ends: for its log line, its metrics and the headers of its answer."""

    request_id: str
    route: str = "other"
    model: str = ""
    version: str = ""
    rows: int = 0


@dataclass(frozen=True, kw_only=True)
class ServedModel:
    """A model under the name by which it is asked. facts: what /info says of it beyond its shapes; version: the beginning of a
    hash over all its files; commit: its 40-digit revision, where it has one; sha256: of its weights."""

    name: str
    head: Head
    batcher: Batcher
    version: str
    commit: str = ""
    sha256: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # the head's own tokenizer is for the batcher's threads alone: it keeps its truncation in itself
        object.__setattr__(self, "_tokenizer", copy.deepcopy(self.head.tokenizer))

    def note(self, request: Request) -> RequestRecord:
        """Write down that it is this model that is asked, whatever comes of it. -> the note of the request."""
        note: RequestRecord = request.scope["hftool"]
        note.model, note.version = self.name, self.version
        return note

    @property
    def tokenizer(self) -> Any:
        """A tokenizer for the event loop."""
        return self.__dict__["_tokenizer"]

    @property
    def writes(self) -> bool:
        """Whether it goes on with a text or rewrites it."""
        return self.head.sampling is not None

    def info(self, limits: Limits) -> dict[str, Any]:
        """The model as /info tells of it."""
        asks = self.head.asks
        return {
            "name": self.name,
            "gives": self.head.gives,
            "takes": list(asks.texts),
            "may_take": list(asks.more),
            "blank": asks.blank,
            "mask": next(iter(asks.holds), None),
            "parameters": parameters_schema(self.head.parameters, ceilings(limits)),
            "version": self.version,
            "commit": self.commit,
            "sha256": self.sha256,
            "ready": self.batcher.ready,
            **self.facts,
        }


def ceilings(limits: Limits) -> dict[str, float]:
    """The bounds that the server sets to parameters, whatever a head would take."""
    return {
        "max_new_tokens": limits.max_new_tokens,
        "num_beams": limits.beams,
        "num_return_sequences": limits.samples,
        "stop": limits.stops,
    }


def limits_info(limits: Limits) -> dict[str, Any]:
    """The limits as /info tells of them."""
    return {name: value for name, value in dataclasses.asdict(limits).items() if value is not None}


class ClientGone(Exception):
    """Nobody waits for the answer any more."""


async def ask(
    served: ServedModel,
    request: Request,
    rows: Sequence[Row],
    options: Mapping[str, Any],
    *,
    timeout: float,
    on_token: OnToken | None = None,
    on_tokenized: OnToken | None = None,
) -> list[Answer | RowError]:
    """Answers for the rows. Raises Fault: 422, 429, 503, 504. on_text: told of each token, on_read: of how many tokens a row
    has; both by the place of the row."""
    served.note(request).rows = len(rows)
    rows, options = with_seeds(rows, options)
    try:
        return await served.batcher.submit(rows, options=options, timeout=timeout, on_token=on_token, on_tokenized=on_tokenized)
    except Overloaded as error:
        raise Fault(429, str(error), headers={"retry-after": str(error.retry_after)}) from None
    except Expired as error:
        raise Fault(504, str(error)) from None
    except Unavailable as error:
        raise Fault(503, str(error), headers={"retry-after": "1"}) from None
    except HftoolError as error:
        raise fault_of(error) from None


async def cancel_on_disconnect(request: Request, answers: Coroutine[Any, Any, T]) -> T:
    """What the coroutine gives; it is cancelled when the client goes first. Raises ClientGone, and what it raises."""
    asking = asyncio.current_task()
    assert asking is not None
    cancelled_before, left, over = asking.cancelling(), False, False

    def leave(watch: "asyncio.Task[None]") -> None:
        nonlocal left
        if not (over or watch.cancelled()):  # it may have been called when there was an answer already
            left = asking.cancel()

    watch = asyncio.ensure_future(wait_disconnect(request))
    watch.add_done_callback(leave)
    try:
        return await answers
    except asyncio.CancelledError:
        if left and asking.uncancel() <= cancelled_before:  # as asyncio.timeout tells its own cancelling from that of others
            raise ClientGone from None
        raise
    finally:
        over = True
        watch.cancel()


async def wait_disconnect(request: Request) -> None:
    """Wait until the client has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
