"""The manifest of a run: versions, machine, hashes of model and data, row counts."""

import sys
import time
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from hftool import DISTRIBUTION
from hftool.machine import this_machine
from hftool.models.head_config import package_versions
from hftool.processes import world_size
from hftool.storage.checksums import sha256
from hftool.workflow.plan import FinetuneJob
from hftool.workflow.resume_checks import data_files, row_digests

OF_MODELS = (".safetensors", ".json", ".txt", ".model")  # the files of a model folder that its answers depend on


def manifest(job: FinetuneJob) -> dict[str, Any]:
    """The provenance of a model: versions, machine, hashes of model and data, row counts."""
    found, settings, splits = job.found, job.settings, job.splits
    files, folder, known = data_files(found.data.tables), found.model_source.folder, found.model_source.hashes
    digests = {key: sha256(path) for key, path in files.items()}
    parts = splits.parts()
    return {
        "hftool": version(DISTRIBUTION),
        "command": sys.argv,
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "python": sys.version.split()[0],
        "versions": package_versions(),
        "machine": this_machine().as_dict(),
        "seed": settings.seed,
        "device": settings.device,
        "precision": settings.precision,
        "base": found.model_source.base,
        "revision": found.model_source.revision,
        "hashes": {p.name: known.get(p.name) or sha256(p) for p in sorted(folder.iterdir()) if p.suffix in OF_MODELS},
        "data": {str(path): digests[key] for key, path in files.items()},
        "data_splits": digests | row_digests(found.data.tables),
        "data_revision": found.data.pinned,
        "rows": {name: len(part.rows) for name, part in parts.items()},
        "rejected": sum(len(part.rejected) for part in parts.values()),
        "duplicates": splits.quality.duplicates,
        "conflicts": splits.quality.conflicts,
        "leaked": splits.quality.leaked,
        "stand_in": {kind: asdict(stand_in) for kind, stand_in in found.stand_ins().items()},
        "processes": world_size(),
    }
