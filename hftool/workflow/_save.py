"""save, verify: write the model of a run as a folder, and check a folder against its checksums."""

import dataclasses
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hftool import config as knobs
from hftool.errors import ConfigError, DataError, InputMissing
from hftool.heads.model_card import NO_PROVENANCE, RunProvenance, write_model_card
from hftool.models import HeadConfig, Loaded, load_base, save_model
from hftool.models.safety import is_export
from hftool.models.sha256sums import SUMS, verify_checksums, write_checksums
from hftool.storage.checksums import compare_folder, sha256
from hftool.storage.json_documents import check_plain
from hftool.storage.run_folder import Run, check_output, whole_folder
from hftool.training.adapters import add_adapters, merge_adapters
from hftool.training.checkpoints import CheckpointManager, load_weights, verify_checkpoint
from hftool.workflow.arguments import Model, model_name


@dataclass(frozen=True)
class Verified:
    """A folder whose files match their checksums. kind: run, model or export. files: name in the folder -> SHA-256."""

    folder: Path
    kind: str
    files: Mapping[str, str]


def save_folder(
    loaded: Loaded, head_config: HeadConfig, folder: Path, provenance: RunProvenance = NO_PROVENANCE
) -> dict[str, str]:
    """Write model, tokenizer, card, README.md and SHA256SUMS into an existing folder. -> file name to SHA-256."""
    save_model(loaded.model, loaded.tokenizer, head_config, folder)
    write_model_card(folder, head_config, type(loaded.model).__name__, provenance)
    return {**write_checksums(folder), SUMS: sha256(folder / SUMS)}


def save(run: Model, out: str | Path, *, checkpoint: str = "best") -> Path:
    """Write the model of a run, finished or not, as a plain Hugging Face folder with hftool.json, README.md and SHA256SUMS.

    Needs no network.

    Args:
        run: A run folder, a Run, or the Result of `finetune`.
        out: The folder to write.
        checkpoint: best, last, or a name such as step-000400.

    Raises:
        ConfigError: No such checkpoint, or it is damaged.
        DataError: The best checkpoint is damaged.
        HftoolError: InputMissing, OutputUnavailable.
    """
    run = model_name(run)
    source, target = Run(Path(run)), Path(out)
    check_output(target)
    if not source.path.is_dir():
        raise InputMissing(f"there is no run folder '{run}'")
    if not source.is_run():
        raise InputMissing(f"'{run}' is no run folder: it has no config.yaml and manifest.json")
    if checkpoint == "best" and source.is_finished() and _is_whole(source):
        with whole_folder(target) as folder:
            for name in source.read_metrics().get("model", {}) or [path.name for path in source.model.iterdir()]:
                shutil.copyfile(source.model / name, folder / name)
            if not (folder / SUMS).is_file():  # a run of an older version
                write_checksums(folder)
        return target
    weights = CheckpointManager(source.checkpoints).find(checkpoint)
    _check_base(source)
    loaded = load_base(source.base, weights)
    settings = knobs.make_config(knobs.read_settings(str(source.config)))
    adapted = add_adapters(loaded.model, settings.lora) if settings.lora else None
    load_weights(weights, loaded.model)
    if adapted is not None:
        merge_adapters(adapted)
    provenance = RunProvenance(source.read_manifest(), {}, dataclasses.asdict(settings))
    chosen = source.read_metrics().get("thresholds", ()) if checkpoint == "best" and source.is_finished() else ()
    head_config = dataclasses.replace(loaded.head_config, label_thresholds=tuple(chosen))
    with whole_folder(target) as folder:
        save_folder(loaded, head_config, folder, provenance)
    return target


def _is_whole(run: Run) -> bool:
    """Whether the model of a run is unchanged; otherwise the verified checkpoint is used."""
    files = run.read_metrics().get("model", {})
    return not compare_folder(run.model, files)


def verify(folder: Model) -> Verified:
    """Check every file of a model folder or an export against its SHA-256: none missing, changed or added.

    Of a run the model, the checkpoints, and their config and tokenizer are checked.

    Raises:
        InputMissing: No such folder, or no checksums.
        DataError: Files differ; it names them.
        Refused: A link leads out of the folder.
    """
    path = Path(model_name(folder))
    if not path.is_dir():
        raise InputMissing(f"there is no folder '{path}'")
    for file in path.rglob("*"):
        check_plain(file)
    if Run(path).is_run():
        return Verified(path, "run", _verify_run(Run(path)))
    if not (path / SUMS).is_file() and not (path / "config.json").is_file():
        raise InputMissing(f"'{path}' is no run, model or export: it has no config.json")
    return Verified(path, "export" if is_export(path) else "model", verify_checksums(path))


def _check_base(run: Run) -> dict[str, str]:
    """The hashes of config, tokenizer and head config of the checkpoints; none for a run of an older version.

    Raises DataError when files differ.
    """
    try:
        return verify_checksums(run.base) if (run.base / SUMS).is_file() else {}
    except DataError as error:
        new = f"Remove that folder: hftool resume {run.path} writes it again"
        raise DataError(error.detail, f"Its model needs none: {_again(run)}" if run.is_finished() else new) from None


def _verify_run(run: Run) -> dict[str, str]:
    """The hashes of the model and of every checkpoint of a run, by their names in its folder."""
    files: dict[str, str] = {}
    if run.is_finished():
        known = {name: str(digest) for name, digest in run.read_metrics().get("model", {}).items()}
        if (run.model / SUMS).is_file():  # no run of an older version has one
            verify_checksums(run.model)
        for name in compare_folder(run.model, known).damaged:
            notices = f"'{run.model / name}' is not as '{run.metrics}' recorded it"
            raise DataError(notices, f"Its checkpoints may be whole: {_again(run)}")
        files = {f"{run.model.name}/{name}": digest for name, digest in known.items()}
    checkpoints = CheckpointManager(run.checkpoints)
    for step in checkpoints.steps():
        folder = checkpoints.path(step)
        try:
            hashes = verify_checkpoint(folder)
        except ConfigError as error:
            raise DataError(error.detail, "Any other: hftool save RUN --checkpoint NAME --out DIR") from None
        files |= {f"{run.checkpoints.name}/{folder.name}/{name}": digest for name, digest in hashes.items()}
    if not files:
        raise InputMissing(f"the run '{run.path}' has neither a model nor a checkpoint yet", "Resume it first")
    return files | {f"{run.base.name}/{name}": digest for name, digest in _check_base(run).items()}


def _again(run: Run) -> str:
    return f"hftool save {run.path} --out DIR"
