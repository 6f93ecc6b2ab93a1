"""Errors of the batcher. None of them reaches the command line: each becomes an HTTP status."""

from hftool.errors import HftoolError


class Overloaded(Exception):
    """The queue is full (429). `retry_after`: whole seconds until it is likely to have room."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"too many texts are waiting: try again in {retry_after} s")
        self.retry_after = retry_after


class Expired(Exception):
    """The request passed its deadline without an answer (504)."""


class Unavailable(Exception):
    """The model does not answer now: it is loading, its worker failed, or the server is draining (503)."""


class RowFailed(Exception):
    """The model fails on this row in any batch: NaN, out of memory or any other exception.

    `error_class`: the HftoolError it came from, for a server that ends because of it.
    """

    def __init__(self, text: str, error_class: type[HftoolError] = HftoolError) -> None:
        super().__init__(text)
        self.error_class = error_class


RowError = HftoolError | RowFailed  # instead of a row's answer; an HftoolError means that the row itself is invalid
