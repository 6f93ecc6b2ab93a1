"""The word that puts a model on the Hub: push."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hftool import hub
from hftool.errors import ConfigError, InputMissing
from hftool.models import read_head_config
from hftool.models.checksums import SUMS, verify_checksums
from hftool.progress import Progress, notice, silent
from hftool.safety import check_folder, sha256
from hftool.storage.run_folder import Run, append_lines
from hftool.workflow.arguments import Model, model_word

RECORD = "pushed.jsonl"  # in a run folder: where its model has gone, one line a push


@dataclass(frozen=True)
class Sent:
    """A file that goes to the Hub: its name there, its size in bytes, its SHA-256."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Push:
    """A push. files: what went, or would go. url and revision (40 digits) are empty when nothing was sent."""

    repo: str
    files: Sequence[Sent]
    url: str = ""
    revision: str = ""


def push(folder: Model, repo: str, *, public: bool = False, dry_run: bool = False, progress: Progress = silent) -> Push:
    """Put the model of a finished run, or a model folder, on the Hub as owner/name, in one commit, private unless `public`.

    Only the files that SHA256SUMS lists go, and only if they are as they were written: no checkpoint, log or rejected row.
    dry_run: tell what would go; opens no socket. A push of a run is noted in its pushed.jsonl. Raises UsageError,
    InputMissing, DataError (changed since), Refused (hostile, no token, not allowed), HubUnreachable.
    """
    hub.check_repo(repo)
    path = Path(model_word(folder))
    run = Run(path) if Run(path).is_run() else None
    model = _model_of(path, run)
    sums = {**verify_checksums(model), SUMS: sha256(model / SUMS)}
    check_folder(model)
    files = [Sent(name, (model / name).stat().st_size, digest) for name, digest in sums.items()]
    _notify_paths(model, progress)
    if dry_run:
        return Push(repo, files)
    task = getattr(read_head_config(model), "task", "") or "model"
    sent = hub.push(repo, {file.name: model / file.name for file in files}, public=public, message=f"hftool: {task}")
    done = Push(repo, files, sent.url, sent.revision)
    if run is not None:
        line = {"repo": repo, "revision": sent.revision, "url": sent.url, "time": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
        append_lines(path / RECORD, [{**line, "sums": sums[SUMS]}])
    return done


def _model_of(path: Path, run: Run | None) -> Path:
    """The folder that goes. Raises InputMissing, ConfigError."""
    if run is not None and not run.is_finished():
        raise ConfigError(
            f"the run '{path}' is not finished and has no model yet",
            "Save its best checkpoint, and push that: hftool save RUN --out DIR",
        )
    model = run.model if run is not None else path
    if not (model / "config.json").is_file():
        raise InputMissing(f"'{path}' is no run or model folder", "hftool push RUN owner/name")
    return model


def _notify_paths(model: Path, progress: Progress) -> None:
    """A card may name a folder or a file of this machine: that is said, since it would be read by others."""
    head_config = read_head_config(model)
    named = (
        [word for word in (head_config.base, head_config.task) if Path(word).is_absolute()] if head_config is not None else []
    )
    if named:
        notice(progress, f"hftool.json names paths of this machine, which go along: {', '.join(named)}")
