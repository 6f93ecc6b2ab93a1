"""A served model, and the submission of requests to it: with a deadline, and cancelled when the client disconnects."""

import asyncio
import copy
import dataclasses
import functools
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from starlette.requests import Request

from hftool.data.readers.tables import Row
from hftool.errors import HftoolError
from hftool.heads.inputs import input_spec
from hftool.heads.protocol import Answer, Head
from hftool.registry.heads import HeadSpec, head_spec
from hftool.server.batching.batcher import Batcher, Expired, Overloaded, RowError, Unavailable
from hftool.server.limits import Limits
from hftool.server.protocols.http_errors import error_response
from hftool.server.protocols.sampling import with_seeds

T = TypeVar("T")
OnToken = Callable[[int, int], None]  # index of the row in the request, and a token id or a number of tokens


@dataclass
class RequestRecord:
    """What the log line, the metrics and the response headers of a request need."""

    request_id: str
    route: str = "other"
    model: str = ""
    version: str = ""
    rows: int = 0


@dataclass(frozen=True, kw_only=True)
class ServedModel:
    """A model under the name in its routes."""

    name: str  # of the model in routes and metrics
    head: Head  # its own tokenizer is reserved for the threads of the batcher
    batcher: Batcher  # computes its rows
    version: str  # prefix of a hash over all its files
    commit: str = ""  # the 40-digit revision on the Hub, if known
    sha256: str = ""  # of the weights
    facts: Mapping[str, Any] = field(default_factory=dict)  # further fields of /info

    def __post_init__(self) -> None:
        # a tokenizer stores its truncation, which the threads of the batcher change
        object.__setattr__(self, "_tokenizer", copy.deepcopy(self.head.tokenizer))

    def record(self, request: Request) -> RequestRecord:
        """Record that a request is for this model. Returns the record of the request."""
        record: RequestRecord = request.scope["hftool"]
        record.model, record.version = self.name, self.version
        return record

    @property
    def tokenizer(self) -> Any:
        """A tokenizer for the event loop."""
        return self.__dict__["_tokenizer"]

    @property
    def generates(self) -> bool:
        """Whether it generates text."""
        return self.head.sampling is not None

    @functools.cached_property
    def spec(self) -> HeadSpec:
        """The row of its head."""
        return head_spec(self.head.head_config.head)

    @functools.cached_property
    def reply(self) -> Callable[[Row, Answer, Any], Any]:
        """The function that makes a reply of an answer; its annotations are the types of the parameters and of the reply."""
        module = self.spec.module("schema")
        chosen = getattr(module, "reply_for", lambda _: module.reply)  # a head may have several kinds of answers
        function: Callable[[Row, Answer, Any], Any] = chosen(self.head.head_config)
        return function

    def info(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """The model in the response of /info. `parameters`: the JSON Schema of its parameters."""
        spec = input_spec(self.head)
        return {
            "name": self.name,
            "gives": self.spec.gives,
            "takes": list(spec.fields),
            "may_take": list(spec.optional),
            "blank": spec.allow_empty,
            "mask": next(iter(spec.must_contain), None),
            "parameters": parameters,
            "version": self.version,
            "commit": self.commit,
            "sha256": self.sha256,
            "ready": self.batcher.ready,
            **self.facts,
        }


def limits_info(limits: Limits) -> dict[str, Any]:
    """The limits in the response of /info."""
    return {name: value for name, value in dataclasses.asdict(limits).items() if value is not None}


class ClientDisconnected(Exception):
    """The client disconnected before its response."""


async def submit(
    served: ServedModel,
    request: Request,
    rows: Sequence[Row],
    options: Mapping[str, Any],
    *,
    timeout: float,
    on_token: OnToken | None = None,
    on_tokenized: OnToken | None = None,
) -> list[Answer | RowError]:
    """Answer rows. For the callbacks see `Batcher.submit`. Raises HttpError (422, 429, 503 or 504)."""
    served.record(request).rows = len(rows)
    rows, options = with_seeds(rows, options)
    try:
        return await served.batcher.submit(rows, options=options, timeout=timeout, on_token=on_token, on_tokenized=on_tokenized)
    except (Overloaded, Expired, Unavailable, HftoolError) as error:
        raise error_response(error) from None


async def cancel_on_disconnect(request: Request, answers: Coroutine[Any, Any, T]) -> T:
    """Await a coroutine, and cancel it if the client disconnects first. Raises ClientDisconnected (the client disconnected)."""
    task = asyncio.current_task()
    assert task is not None
    cancelled_before, disconnected, over = task.cancelling(), False, False

    def _on_disconnect(watch: "asyncio.Task[None]") -> None:
        nonlocal disconnected
        if not (over or watch.cancelled()):  # the answer may have arrived in the same iteration of the event loop
            disconnected = task.cancel()

    watch = asyncio.ensure_future(wait_disconnect(request))
    watch.add_done_callback(_on_disconnect)
    try:
        return await answers
    except asyncio.CancelledError:
        if disconnected and task.uncancel() <= cancelled_before:  # else others cancelled it, too: see asyncio.timeout
            raise ClientDisconnected from None
        raise
    finally:
        over = True
        watch.cancel()


async def wait_disconnect(request: Request) -> None:
    """Wait until the client disconnects."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
