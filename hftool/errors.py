"""The errors that a user can fix, and their exit codes.

    HftoolError
    ├── UsageError           2   unknown verb, name, option, key or value; a family that cannot do the task
    ├── DataError           65   empty, no such column, one class, encoding, labels, damaged model
    ├── InputMissing        66   a missing input, a folder that is no model
    ├── HubUnreachable      69   the Hub does not respond, or has no such repository
    ├── PortTaken           69   another process uses the port
    ├── OutputUnavailable   73   the output exists, is locked or cannot be created
    ├── StorageError        74   disk full, read or write failed
    ├── RunStopped          75   the run stopped itself and can be resumed
    ├── Refused             77   refused for security
    ├── ConfigError         78   a config file or a checkpoint that does not fit
    └── Interrupted         129 130 143  SIGHUP, SIGINT or SIGTERM, after the checkpoint was saved

An error has a `detail` (what is wrong and where: file and row, option, key) and a `hint` (what to do).
Any other exception is a bug in hftool: exit 1, with a traceback.
"""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# characters that would break a line or control a terminal: names in files and folders are untrusted
UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
# user and password of a URL, such as https://user:password@host
CREDENTIALS = re.compile(r"(?<=://)[^\s/?#'\"]*@")
BEARER = re.compile(r"Bearer [^\s'\"]+")


def without_credentials(text: str) -> str:
    """`text` without the user and password of its URLs."""
    return CREDENTIALS.sub("", text) if "://" in text else text


class HftoolError(Exception):
    """The base class of all errors. `code` is the exit code, `kind` a stable identifier for `--json`."""

    code = 1
    kind = "error"

    def __init__(self, detail: str, hint: str = "") -> None:
        self.detail, self.hint = without_credentials(detail), without_credentials(hint)
        super().__init__(self.detail, self.hint)

    def __str__(self) -> str:
        stop = "" if self.detail.endswith((".", "?", "!")) else "."
        return f"{self.detail}{stop} {self.hint}" if self.hint else self.detail

    def as_json(self) -> dict[str, object]:
        """The error as the JSON document of `--json`."""
        return {"code": self.code, "kind": self.kind, "detail": self.detail, "hint": self.hint}


class UsageError(HftoolError):
    """Unknown verb, name, option, key or value on the command line; a family that cannot do the task."""

    code, kind = 2, "usage"


class DataError(HftoolError):
    """Data that cannot be used: empty, no such column, one class, wrong encoding, unknown labels, damaged files."""

    code, kind = 65, "data"


class InputMissing(HftoolError):
    """A missing input, or a folder without a model."""

    code, kind = 66, "input_missing"


class HubUnreachable(HftoolError):
    """The Hub does not respond, or does not have the requested repository."""

    code, kind = 69, "hub_unreachable"


class PortTaken(HftoolError):
    """Another process uses the port."""

    code, kind = 69, "port_taken"


class OutputUnavailable(HftoolError):
    """The output exists, is locked by another process, or cannot be created."""

    code, kind = 73, "output_unavailable"


class StorageError(HftoolError):
    """The disk is full, or reading or writing failed."""

    code, kind = 74, "storage"


class RunStopped(HftoolError):
    """The run stopped itself; its checkpoint is kept, and it can be resumed."""

    code, kind = 75, "stopped"


class Refused(HftoolError):
    """Refused for security; nothing was executed."""

    code, kind = 77, "refused"


class RowsRejected(DataError):
    """More rows of a table are unusable than allowed. rows: one document per rejected row, with the reason."""

    def __init__(self, detail: str, hint: str = "", *, rows: Sequence[Mapping[str, Any]] = ()) -> None:
        super().__init__(detail, hint)
        self.rows = rows


class ConfigError(HftoolError):
    """A config file or a checkpoint that does not fit."""

    code, kind = 78, "config"


class Interrupted(HftoolError):
    """SIGINT (130), SIGTERM (143) or SIGHUP (129) arrived; the checkpoint was saved first."""

    kind = "interrupted"

    def __init__(self, detail: str, hint: str = "", *, signal_number: int) -> None:
        super().__init__(detail, hint)
        self.code = 128 + signal_number


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The closest match to `word` in `known`, or None."""
    folded = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower(), list(folded), n=1, cutoff=0.5)
    return folded[near[0]] if near else None


def did_you_mean(word: str, known: Iterable[str], *, otherwise: str = "") -> str:
    """A hint with the closest match in `known`, or `otherwise`."""
    near = nearest(word, known)
    return f"Did you mean '{near}'?" if near else otherwise


def as_line(text: str) -> str:
    """`text` on one line: line ends, control characters and surrogates as escapes, such as \\n."""
    return UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def brief(error: BaseException, most: int = 200) -> str:
    """The message of a library's error on one line, at most `most` characters."""
    return " ".join(str(error).split())[:most]


def listing(names: Iterable[object], *, most: int = 12) -> str:
    """Names for an error message: quoted, comma separated, at most `most` of them."""
    shown = [f"'{name}'" for name in names]
    more = f" and {len(shown) - most} more" if len(shown) > most else ""
    return ", ".join(shown[:most]) + more


def plain_number(value: float) -> str:
    """A number without an exponent, for an error message: 4294967295, not 4.29497e+09."""
    return str(int(value)) if float(value).is_integer() else f"{value:g}"
