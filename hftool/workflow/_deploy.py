"""deploy: write a folder from which an image that serves a model is built."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from hftool.errors import UsageError, did_you_mean
from hftool.heads import get_head
from hftool.heads.inputs import input_spec
from hftool.models import HeadConfig, Loaded, write_head_config
from hftool.models.head_config import HEAD_CONFIG
from hftool.models.safety import EXPORT
from hftool.models.sha256sums import SUMS, names_in, verify_checksums, write_checksums
from hftool.packaging.docker import write_context
from hftool.packaging.kubernetes import SCALE, write_manifests
from hftool.packaging.packages import version
from hftool.packaging.readme import write_readme
from hftool.packaging.service import ServiceSpec, check_image, check_name, service_name, weights_size
from hftool.progress import Progress, silent
from hftool.storage.checksums import sha256
from hftool.storage.pickles import PICKLES
from hftool.storage.run_folder import Run, check_output, whole_folder
from hftool.workflow._export import export
from hftool.workflow._load import load_resolved, trained
from hftool.workflow.arguments import Model, model_name
from hftool.workflow.resolve import ModelSource, resolve_model

TARGETS = ("onnx", "docker", "kubernetes")
MOST_REPLICAS = 100
README_INPUTS = {  # texts of the example request in README.md
    "question": "Where does Amina live?",
    "context": "Amina Okafor moved to Lisbon in 2019.",
}


@dataclass(frozen=True)
class Deployment:
    """What `deploy` wrote: the folder, its target, the name of the service and its image (neither for onnx)."""

    path: Path
    to: str
    name: str = ""
    image: str = ""


def deploy(
    model: Model,
    *,
    to: str,
    out: str | Path | None = None,
    quantize: str | None = None,
    name: str | None = None,
    image: str | None = None,
    replicas: int = 2,
    offline: bool = False,
    progress: Progress = silent,
) -> Deployment:
    """Write a Docker context, Kubernetes manifests or ONNX graphs; never of a stand-in. Raises what `load` and `export` raise.

    Args:
        model: A name, a Hub id, a model or run folder, a Run, or the Result of `finetune`.
        to: onnx (as `export`, where quantize may be int8), docker or kubernetes.
        out: By default a folder named as `to` in the run.
        quantize: int8, for --to onnx.
        name: Of the service and its model; by default that of the run.
        image: Reference with a tag; by default NAME:VERSION-HASH, which changes with the model.
        replicas: The minimum number of pods.
        offline: Open no socket.
        progress: Receives events and notices.
    """
    model = model_name(model)
    _check(to, name=name, image=image, replicas=replicas)
    target = Path(out) if out is not None else _beside(model, to)
    if to == "onnx":
        return Deployment(export(model, quantize=quantize, out=target, offline=offline, progress=progress).path, to)
    if quantize is not None:
        raise UsageError("quantize is for --to onnx", "Export first, then deploy the folder that was written")
    check_output(target)
    model_source = resolve_model(model, head=None, offline=offline, fallback=False, progress=progress)
    known_as = name or service_name(_word(model, model_source))
    if (model_source.folder / SUMS).is_file():
        verify_checksums(model_source.folder)
    loaded = trained(load_resolved(model_source, head=None, device="cpu", progress=progress), None)  # none of a broken model
    with whole_folder(target) as folder:
        digest = _copy_model(model_source.folder, loaded.head_config, folder / "model")
        image = image or f"{known_as}:{version()}-{digest[:12]}"
        service = _service(folder / "model", loaded, name=known_as, image=image, replicas=replicas)
        write_context(service, folder)
        if to == "kubernetes":
            (folder / to).mkdir()
            write_manifests(service, folder / to)
        write_readme(service, folder, body=_body(loaded), max_replicas=SCALE * replicas if to == "kubernetes" else None)
    return Deployment(target, to, known_as, service.image)


def _service(model: Path, loaded: Loaded, *, name: str, image: str, replicas: int) -> ServiceSpec:
    head, exported, weights = loaded.head_config.head, (model / EXPORT).is_file(), weights_size(model)
    return ServiceSpec(name=name, image=image, head=head, weights=weights, exported=exported, replicas=replicas)


def _check(to: str, *, name: str | None, image: str | None, replicas: int) -> None:
    if to not in TARGETS:
        raise UsageError(f"unknown target '{to}'", did_you_mean(to, TARGETS, otherwise="Targets: " + ", ".join(TARGETS)))
    if name is not None:
        check_name(name)
    if image is not None:
        check_image(image)
    if not 1 <= replicas <= MOST_REPLICAS:
        raise UsageError(f"replicas must be a whole number from 1 to {MOST_REPLICAS}, not {replicas}")


def _beside(model: str, to: str) -> Path:
    run = Run(Path(model))
    if not run.is_run():
        raise UsageError(f"no output folder for {to}", "Name a folder with --out DIR")
    return run.path / to


def _word(model: str, model_source: ModelSource) -> str:
    """A short name of the model: its registry name, the folder of its run, the last part of its Hub id or path."""
    if model_source.row is not None:
        return model_source.row.name
    return (model_source.run.path if model_source.run else Path(model.partition("@")[0])).absolute().name


def _copy_model(source: Path, head_config: HeadConfig, target: Path) -> str:
    """Copy a model folder and return the SHA-256 of its checksums.

    Files become readable by any user, links become files, and pickles are left out. A model without hftool.json gets the head
    config with which it was loaded.
    """
    target.mkdir()
    for name in names_in(source):
        if Path(name).suffix in PICKLES:
            continue
        copied = target / name
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, copied)
    if not (target / HEAD_CONFIG).is_file():
        write_head_config(target, head_config)
    write_checksums(target)
    for path in (target, *target.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)  # the user of the image is another one
    return sha256(target / SUMS)


def _body(loaded: Loaded) -> str:
    """The JSON body of an example request to /predict."""
    spec = input_spec(get_head(loaded.tokenizer, loaded.head_config, loaded.model.config))
    text = f"The {spec.must_contain[0]} opened the door." if spec.must_contain else "A warm, funny film."
    texts = {name: README_INPUTS.get(name, text) for name in spec.fields}
    return json.dumps({"inputs": texts if len(texts) > 1 else next(iter(texts.values()))})
