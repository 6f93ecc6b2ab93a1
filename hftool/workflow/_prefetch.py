"""The word that fetches what a job needs, so that it can then run without a network: prefetch."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hftool import hub
from hftool.errors import HubUnreachable, UsageError
from hftool.lockfile import VARIABLE, Lock, holding, read_lock
from hftool.progress import silent
from hftool.registry.models import find_model
from hftool.registry.tasks import find_task, get_task
from hftool.resolve import find_snapshot, is_own_data, resolve_model, split_data_id
from hftool.safety import check_folder, check_links
from hftool.storage.run_folder import check_output

BROUGHT = "is here: hftool brings it, or an installed package does"
OWN = "is yours: nothing to fetch"


@dataclass(frozen=True)
class Want:
    """A repository that a word stands for. kind: model or dataset. part: a folder of a data set."""

    word: str
    repo: str
    revision: str
    kind: str
    part: str = ""


@dataclass(frozen=True)
class Fetched:
    """What a word needs, as it lies here now. kind: model or dataset. repo and revision are empty for what no Hub gave.
    already: whether it was here before. size: in bytes. said: a word on what needed no Hub."""

    word: str
    kind: str
    repo: str = ""
    revision: str = ""
    folder: Path | None = None
    already: bool = True
    size: int = 0
    message: str = ""


def prefetch(model: str, tasks: Sequence[str] = (), *, lock: str | Path | None = None, offline: bool = False) -> list[Fetched]:
    """Fetch a model and the data of tasks; afterwards `offline` opens no socket for them. Nothing stands in for anything.

    model, tasks: names, Hub ids, or folders and files of one's own, which need nothing. lock: a lock file to write, or to
    extend, with the revisions and hashes of what came from the Hub. offline: only look at what is here.

    Raises HubUnreachable, Refused (a hostile model, or not as a lock that holds says), UsageError, InputMissing, DataError.
    """
    path = Path(lock) if lock is not None else None
    if path is not None:
        if holding() is not None:
            raise UsageError("a lock holds, so none can be written", f"Leave --locked out, and {VARIABLE} unset")
        book = _lock_to_write(path)
    told = []
    for want in (_want_model(model), *(_want_data(task) for task in tasks)):
        if isinstance(want, Fetched):
            told.append(want)
            continue
        found, already = _fetch(want, complete=path is not None, offline=offline)
        if path is not None:
            book = book.extended(want.repo, want.revision, found, kind=want.kind, part=want.part)
        told.append(Fetched(want.word, want.kind, want.repo, found.revision, found.folder, already, _size(found.folder)))
    if path is not None:
        book.write()
    return told


def _lock_to_write(path: Path) -> Lock:
    if path.exists():
        return read_lock(path)
    check_output(path)
    return Lock(path, {})


def _want_model(word: str) -> Want | Fetched:
    """What a MODEL needs from the Hub; of what is here without it a word. Raises what `resolve_model` raises."""
    row = find_model(word)
    try:
        place = resolve_model(word, head=None, offline=True, fallback=False, progress=silent)
    except HubUnreachable:
        place = None
    if place is not None and place.folder.parent.name != "snapshots":  # which is where the cache has them
        check_folder(place.folder)
        message = BROUGHT if row is not None else OWN
        return Fetched(word, "model", place.base, place.revision, place.folder, size=_size(place.folder), message=message)
    repo, _, revision = word.partition("@")
    return Want(word, row.repo, row.revision, "model") if row else Want(word, repo, revision, "model")


def _want_data(word: str) -> Want | Fetched:
    """What a TASK needs from the Hub. Raises InputMissing, UsageError."""
    row = find_task(word)
    if row is not None:
        return (
            Want(word, row.repo, row.revision, "dataset", row.config) if row.repo else Fetched(word, "dataset", message=BROUGHT)
        )
    if is_own_data(word):
        return Fetched(word, "dataset", message=OWN)
    if "/" not in word:
        get_task(word)  # raises, with the nearest name
    repo, revision, _ = split_data_id(word)
    return Want(word, repo, revision, "dataset")


def _fetch(want: Want, *, complete: bool, offline: bool) -> tuple[hub.Snapshot, bool]:
    """-> the repository, and whether it was here already. complete: whether files that another tool left out are fetched, too:
    a lock lists all of them."""
    here = find_snapshot(want.repo, want.revision, kind=want.kind, part=want.part, offline=True)
    found = here or find_snapshot(want.repo, want.revision, kind=want.kind, part=want.part, offline=offline)
    if found is None:
        raise HubUnreachable(f"the {want.kind} {want.repo} is not in the cache", "Leave --offline out to fetch it")
    if here is not None and complete and not offline:
        found = hub.fetch(want.repo, here.revision, kind=want.kind, part=want.part)
    if want.kind == "model":
        check_folder(found.folder)
    else:
        check_links(found.folder)
    return found, here is not None


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
