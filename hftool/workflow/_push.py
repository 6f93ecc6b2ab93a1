"""push: upload a model to the Hugging Face Hub."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hftool import hub
from hftool.errors import ConfigError, InputMissing
from hftool.models import read_head_config
from hftool.models.safety import check_folder
from hftool.models.sha256sums import SUMS, verify_checksums
from hftool.progress import Progress, notice, silent
from hftool.storage.checksums import sha256
from hftool.storage.run_folder import Run, append_lines
from hftool.workflow.arguments import Model, model_name

RECORD = "pushed.jsonl"  # in a run folder: one line for each push


@dataclass(frozen=True)
class Sent:
    """A file to upload: its name on the Hub, its size in bytes, its SHA-256."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Push:
    """A push. files: those that were, or would be, uploaded. url and revision (40 digits) are empty for a dry run."""

    repo: str
    files: Sequence[Sent]
    url: str = ""
    revision: str = ""


def push(folder: Model, repo: str, *, public: bool = False, dry_run: bool = False, progress: Progress = silent) -> Push:
    """Upload the model of a finished run, or a model folder, to the Hub in one commit.

    Only unchanged files that SHA256SUMS lists are uploaded: no checkpoint, log or rejected row. A push of a run is recorded in
    its pushed.jsonl.

    Args:
        folder: A finished run, or a model folder.
        repo: owner/name.
        public: Make a new repository public; private by default.
        dry_run: Return the files without opening a socket.
        progress: Receives notices.

    Raises:
        DataError: A file has changed.
        Refused: A hostile folder, no token, or no permission.
        HftoolError: UsageError, InputMissing, HubUnreachable.
    """
    hub.check_repo(repo)
    path = Path(model_name(folder))
    run = Run(path) if Run(path).is_run() else None
    model = _model_of(path, run)
    sums = {**verify_checksums(model), SUMS: sha256(model / SUMS)}
    check_folder(model)
    files = [Sent(name, (model / name).stat().st_size, digest) for name, digest in sums.items()]
    head_config = read_head_config(model)
    words = (head_config.base, head_config.task) if head_config is not None else ()
    named = [word for word in words if Path(word).is_absolute()]
    if named:  # they become readable by others
        notice(progress, f"hftool.json names paths of this machine, which are uploaded: {', '.join(named)}")
    if dry_run:
        return Push(repo, files)
    task = (head_config.task if head_config is not None else "") or "model"
    sent = hub.push(repo, {file.name: model / file.name for file in files}, public=public, message=f"hftool: {task}")
    done = Push(repo, files, sent.url, sent.revision)
    if run is not None:
        line = {"repo": repo, "revision": sent.revision, "url": sent.url, "time": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
        append_lines(path / RECORD, [{**line, "sums": sums[SUMS]}])
    return done


def _model_of(path: Path, run: Run | None) -> Path:
    """The folder to upload. Raises InputMissing, ConfigError."""
    if run is not None and not run.is_finished():
        what = f"the run '{path}' is not finished and has no model yet"
        raise ConfigError(what, "Save its best checkpoint, and push that: hftool save RUN --out DIR")
    model = run.model if run is not None else path
    if not (model / "config.json").is_file():
        raise InputMissing(f"'{path}' is no run or model folder", "hftool push RUN owner/name")
    return model
