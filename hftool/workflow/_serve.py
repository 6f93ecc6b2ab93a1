"""serve: answer over HTTP."""

import contextlib
import functools
import hashlib
import importlib.util
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hftool import DISTRIBUTION
from hftool.errors import HftoolError, UsageError
from hftool.heads import get_head
from hftool.heads.inputs import input_spec
from hftool.heads.protocol import Head
from hftool.inference.predictor import Predictor
from hftool.machine import limit_kernel_caches
from hftool.models import Loaded
from hftool.progress import Progress, notice, silent
from hftool.registry.models import find_model
from hftool.server.http.address import bind, check_open, is_loopback
from hftool.storage.checksums import sha256
from hftool.workflow._infer import natural_options
from hftool.workflow._load import load_resolved, make_predictor, trained
from hftool.workflow.arguments import Model, model_name, shown
from hftool.workflow.resolve import ModelSource, check_model_name, resolve_model

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
WEIGHTS = (".safetensors", ".onnx", ".onnx.data", ".onnx_data")
EXAMPLE_INPUTS = {
    "text": "A warm, funny film.",
    "text_pair": "I liked it.",
    "question": "Where does Ann live?",
    "context": "Ann lives in Oslo.",
}
SERVE_EXTRA = ("prometheus_client", "pydantic", "starlette", "uvicorn")
UNVERSIONED = ("README.md", "SHA256SUMS")  # files that answers do not depend on


@dataclass(frozen=True)
class Address:
    """The address of the server. models: name -> head. example: inputs for the first of them."""

    url: str
    models: Mapping[str, str]
    example: Any


def serve(
    models: Sequence[Model],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    key_file: str | Path | None = None,
    allow_hosts: Sequence[str] = (),
    limits: Mapping[str, Any] | None = None,
    device: str = "auto",
    precision: str = "auto",
    offline: bool = False,
    fallback: bool = False,
    progress: Progress = silent,
    on_ready: Callable[[Address], None] | None = None,
) -> None:
    """Serve models over HTTP until the process is stopped.

    Args:
        models: Each MODEL or NAME=MODEL, or a Run.
        host: The address to listen on.
        port: 0 is any free one.
        key_file: One API key in each line; required unless `host` is a loopback address.
        allow_hosts: Further host names under which requests to a loopback address are answered.
        limits: Fields of server.limits.Limits.
        device: auto, cpu, cuda, cuda:1 or mps.
        precision: Number format in which requests are answered: auto, fp32 or bf16.
        offline: Open no socket but the server's.
        fallback: Whether a stand-in may be used.
        progress: Receives events and notices.
        on_ready: Receives the address once all models are loaded.

    Raises:
        HftoolError: What `load` raises, PortTaken, DataError (no key in the file), Interrupted (requests were aborted).
    """
    _check_extra()
    from hftool.server.http.app import Service
    from hftool.server.limits import Limits
    from hftool.server.process import run
    from hftool.server.prometheus import Stats

    limit_kernel_caches()
    words, bounds, stats = named(models), Limits(**(limits or {})), Stats()
    keys, hosts = _doors(host, key_file, allow_hosts, progress)
    with bind(host, port) as listening:
        served = {}
        for name, model_source in _resolve_all(words, offline=offline, fallback=fallback, progress=progress).items():
            with _named(name, words):
                served[name] = _served(name, model_source, _load(model_source, device, precision, progress), bounds, stats)
        service = Service(models=served, limits=bounds, stats=stats, keys=keys, hosts=hosts, release=version(DISTRIBUTION))
        run(service, listening, functools.partial(_notify_ready, _url(host, listening.getsockname()[1]), served, on_ready))


def _notify_ready(url: str, served: Mapping[str, Any], on_ready: Callable[[Address], None] | None) -> None:
    """Log that the server is ready, and call `on_ready`."""
    from hftool.server.process import event

    event("ready", url=url, models=list(served))
    if on_ready is not None:
        heads = {name: model.facts["head"] for name, model in served.items()}
        on_ready(Address(url, heads, _example(next(iter(served.values())).head)))


def _resolve_all(words: Mapping[str, str], *, offline: bool, fallback: bool, progress: Progress) -> dict[str, ModelSource]:
    """Name -> resolved model."""
    sources = {}
    for name, word in words.items():
        with _named(name, words):
            sources[name] = resolve_model(word, head=None, offline=offline, fallback=fallback, progress=progress)
    return sources


@contextlib.contextmanager
def _named(name: str, words: Mapping[str, str]) -> Iterator[None]:
    """Within the block an error names the model, where there are several."""
    try:
        yield
    except HftoolError as error:
        if len(words) > 1:
            error.detail = f"model '{name}' ({words[name]}): {error.detail}"
        raise


def _load(model_source: ModelSource, device: str, precision: str, progress: Progress) -> Loaded:
    """Load a model in a thread that ends.

    OpenMP keeps a team of helper threads for each thread that has computed in parallel, until that thread ends. With more of
    them than cores they no longer spin while waiting for the next operation (libgomp: gomp_throttled_spin_count_var, env.c),
    and waking them costs a small model time: loading in benchmarks/serve_tricks.py.
    """
    with ThreadPoolExecutor(1) as pool:
        task = pool.submit(load_resolved, model_source, head=None, device=device, precision=precision, progress=progress)
        loaded = trained(task.result(), None)
        pool.submit(make_predictor, loaded, packed=True).result()  # its trials compute
    return loaded


def _check_extra() -> None:
    missing = [name for name in SERVE_EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"the server needs {' and '.join(missing)}", "pip install 'hftool-recipes[serve]'")


def named(models: Sequence[Model]) -> dict[str, str]:
    """Name -> model, from MODEL or NAME=MODEL. Raises UsageError: no model, a duplicate or invalid name."""
    if isinstance(models, str) or not isinstance(models, Iterable):
        raise UsageError(f"models must be a list of models, not {shown(models)}", "Put it in a list: [MODEL]")
    words = [model_name(model) for model in models]
    if not words:
        raise UsageError("which model?", "hftool serve RUN, or NAME=RUN NAME2=RUN2")
    named_models: dict[str, str] = {}
    for word in words:
        name, equals, model = word.partition("=")
        if not equals or "/" in name or find_model(word) is not None or Path(word).exists():
            name, model = _name_of(word), word
        if not NAME.fullmatch(name):
            hint = "Give it a letter or digit, then letters, digits and . _ - : NAME=MODEL"
            raise UsageError(f"a model cannot be called '{name}'", hint)
        if name in named_models:
            raise UsageError(f"two models are called '{name}'", f"Name them: {name}={named_models[name]} {name}-2={model}")
        check_model_name(model)
        named_models[name] = model
    return named_models


def _name_of(word: str) -> str:
    """The last part of a path or a Hub id, without its revision."""
    if find_model(word) is not None:
        return word
    last = Path(word).expanduser().resolve().name if Path(word).exists() else word.rsplit("/", maxsplit=1)[-1].partition("@")[0]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", last)[:64]


def _doors(
    host: str, key_file: str | Path | None, allow_hosts: Sequence[str], progress: Progress
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The API keys, and the accepted host names (none: any)."""
    from hftool.server.http.auth import is_open_to_others, read_keys

    check_open(host, has_keys=key_file is not None)
    local = is_loopback(host)
    if key_file is None:
        return (), ("localhost", *allow_hosts)
    keys = read_keys(key_file)
    if is_open_to_others(key_file):
        notice(progress, f"other users of this machine can read the key file '{key_file}': chmod 600 it")
    return keys, ("localhost", *allow_hosts) if local else ()


def _example(head: Head) -> Any:
    spec = input_spec(head)
    texts = {name: EXAMPLE_INPUTS.get(name, EXAMPLE_INPUTS["text"]) for name in spec.fields}
    if spec.must_contain:
        texts = dict.fromkeys(texts, f"The capital of France is {spec.must_contain[0]}.")
    return texts if len(texts) > 1 else next(iter(texts.values()))


def _url(host: str, port: int) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _served(name: str, model_source: ModelSource, loaded: Loaded, limits: Any, stats: Any) -> Any:
    """The served model, its batcher not started."""
    from hftool.server.batching.batcher import Batcher
    from hftool.server.protocols.served_model import ServedModel

    weights, everything = _hashes(model_source.folder)
    head_config = loaded.head_config
    commit = model_source.revision or head_config.revision
    model_version = everything[:12]
    stats.set("hftool_model_info", 1, model=name, version=model_version, commit=commit, sha256=weights)
    facts = {
        "head": head_config.head,
        "family": loaded.family.name,
        "labels": list(head_config.labels),
        "task": head_config.task,
        "base": _public(head_config.base or model_source.base),
        "max_length": head_config.max_length,
        **({"stand_in": head_config.stand_in_texts} if head_config.stand_in else {}),
    }
    facts["precision"] = make_predictor(loaded, packed=True).engine.number_format
    head = get_head(loaded.tokenizer, loaded.head_config, loaded.model.config)
    if head.sampling is not None:
        facts["max_new_tokens"] = head.sampling.max_new_tokens
    batcher = Batcher(functools.partial(_predictor, loaded), limits, stats, name=name)
    return ServedModel(name=name, head=head, batcher=batcher, version=model_version, commit=commit, sha256=weights, facts=facts)


def _predictor(loaded: Loaded, options: Mapping[str, Any]) -> Predictor:
    return make_predictor(loaded, options={**natural_options(loaded), **options}, packed=True)


def _public(base: str) -> str:
    """The base of a model for clients: of a local path only its name."""
    return Path(base).name if Path(base).is_absolute() else base


def _hashes(folder: Path) -> tuple[str, str]:
    """-> the SHA-256 of the weights, and one over the names and hashes of all files that answers depend on.

    Several files of weights are hashed as their sorted lines of sha256sum.
    """
    files = sorted(p for p in folder.iterdir() if p.is_file() and p.name not in UNVERSIONED and not p.name.startswith("."))
    lines = {p.name: f"{sha256(p)}  {p.name}\n" for p in files}
    weights = [line for name, line in lines.items() if name.endswith(WEIGHTS)]
    total = hashlib.sha256("".join(lines.values()).encode()).hexdigest()
    return weights[0][:64] if len(weights) == 1 else hashlib.sha256("".join(weights).encode()).hexdigest(), total
