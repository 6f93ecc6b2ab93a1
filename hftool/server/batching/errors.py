"""Why a request, or one row of it, has no answer. None of these is an error of the command line: each becomes a status."""

from hftool.errors import HftoolError


class Overloaded(Exception):
    """The queue is full: 429. retry_after: whole seconds after which it is likely to have room."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"too many texts are waiting: try again in {retry_after} s")
        self.retry_after = retry_after


class Expired(Exception):
    """The request was not answered within its time: 504."""


class Unavailable(Exception):
    """The model does not answer now, since it loads, its worker fell, or the server drains: 503."""


class RowFailed(Exception):
    """The model fails on this row, whatever stands beside it: NaN, out of memory, any other exception. kind: of the error of
    ours that it was, for a server that ends over it."""

    def __init__(self, text: str, kind: type[HftoolError] = HftoolError) -> None:
        super().__init__(text)
        self.kind = kind


RowError = HftoolError | RowFailed  # in place of the answer of a row; an HftoolError says what is wrong with the row itself
