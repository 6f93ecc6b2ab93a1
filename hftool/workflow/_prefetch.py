"""prefetch: download what a job needs, so that it can then run offline."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hftool import hub
from hftool.errors import HubUnreachable, UsageError
from hftool.models.safety import check_folder, check_links
from hftool.progress import silent
from hftool.registry.models import find_model
from hftool.registry.tasks import find_task, get_task, split_data_id
from hftool.storage.run_folder import check_output
from hftool.workflow.lockfile import VARIABLE, Lock, active_lock, read_lock
from hftool.workflow.resolve import find_snapshot, is_local_data, resolve_model

BUNDLED = "is available: bundled with hftool, or in an installed package"
LOCAL = "is a local path: nothing to fetch"


@dataclass(frozen=True)
class Want:
    """The repository of a name. kind: model or dataset. part: a folder of a data set."""

    word: str
    repo: str
    revision: str
    kind: str
    part: str = ""


@dataclass(frozen=True)
class Fetched:
    """A model or data set that is available locally."""

    word: str  # the name as given
    kind: str  # model or dataset
    repo: str = ""  # the repository on the Hub; empty for what did not come from it, as is `revision`
    revision: str = ""
    folder: Path | None = None
    already: bool = True  # whether it was in the cache before
    size: int = 0  # in bytes
    message: str = ""  # why nothing was fetched


def prefetch(model: str, tasks: Sequence[str] = (), *, lock: str | Path | None = None, offline: bool = False) -> list[Fetched]:
    """Fetch a model and the data of tasks, so that a job on them opens no socket. A stand-in is never used.

    Args:
        model: A name, a Hub id, or a folder, for which nothing is fetched.
        tasks: Names, Hub data sets, or local files.
        lock: A lock file to write, or to extend, with the revisions and hashes of what came from the Hub.
        offline: Only check what is available locally.

    Raises:
        Refused: A hostile model, or one that differs from the active lock.
        HftoolError: HubUnreachable, UsageError, InputMissing, DataError.
    """
    path = Path(lock) if lock is not None else None
    if path is not None:
        if active_lock() is not None:
            raise UsageError("a lock is active, so none can be written", f"Leave --locked out, and {VARIABLE} unset")
        book = _lock_to_write(path)
    fetched = []
    for want in (_want_model(model), *(_want_data(task) for task in tasks)):
        if isinstance(want, Fetched):
            fetched.append(want)
            continue
        found, already = _fetch(want, complete=path is not None, offline=offline)
        if path is not None:
            book = book.extended(want.repo, want.revision, found, kind=want.kind, part=want.part)
        fetched.append(Fetched(want.word, want.kind, want.repo, found.revision, found.folder, already, _size(found.folder)))
    if path is not None:
        book.write()
    return fetched


def _lock_to_write(path: Path) -> Lock:
    if path.exists():
        return read_lock(path)
    check_output(path)
    return Lock(path, {})


def _want_model(word: str) -> Want | Fetched:
    """What a MODEL needs from the Hub, or what is available without it. Raises what `resolve_model` raises."""
    row = find_model(word)
    try:
        model_source = resolve_model(word, head=None, offline=True, fallback=False, progress=silent)
    except HubUnreachable:
        model_source = None
    if model_source is not None and model_source.folder.parent.name != "snapshots":  # the cache has models there
        check_folder(model_source.folder)
        message = BUNDLED if row is not None else LOCAL
        base, revision, folder = model_source.base, model_source.revision, model_source.folder
        return Fetched(word, "model", base, revision, folder, size=_size(folder), message=message)
    repo, _, revision = word.partition("@")
    return Want(word, row.repo, row.revision, "model") if row else Want(word, repo, revision, "model")


def _want_data(word: str) -> Want | Fetched:
    """What a TASK needs from the Hub. Raises InputMissing, UsageError."""
    row = find_task(word)
    if row is not None:
        return (
            Want(word, row.repo, row.revision, "dataset", row.config) if row.repo else Fetched(word, "dataset", message=BUNDLED)
        )
    if is_local_data(word):
        return Fetched(word, "dataset", message=LOCAL)
    if "/" not in word:
        get_task(word)  # raises, with the nearest name
    repo, revision, _ = split_data_id(word)
    return Want(word, repo, revision, "dataset")


def _fetch(want: Want, *, complete: bool, offline: bool) -> tuple[hub.Snapshot, bool]:
    """The snapshot, and whether it was in the cache; `complete` with the files that another tool left out, as a lock needs."""
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
