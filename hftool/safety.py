"""What may be loaded. Looked at before any library opens a folder; nothing here executes or unpickles.

`trust_remote_code=False` was bypassed in four published ways in 2026 (CVE-2026-4372 among them): the flag is no
boundary, refusing hostile files is. Weights come from safetensors, judged by content and not by name.
"""

import hashlib
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hftool.errors import DataError, InputMissing, Refused

PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".h5", ".msgpack", ".joblib")
CONFIGS = (
    "config.json",
    "tokenizer_config.json",
    "generation_config.json",
    "adapter_config.json",
    "processor_config.json",
    "preprocessor_config.json",
)
HOSTILE_KEYS = frozenset(
    {
        "auto_map",
        "trust_remote_code",
        "custom_pipelines",
        "custom_generate",
        "_attn_implementation",
        "_attn_implementation_internal",
        "_experts_implementation_internal",
        "transformers_weights",  # may name adapter_model.bin, which is unpickled
    }
)
# "owner/name" as a value of these makes transformers fetch a kernel from the Hub and run it
CHOICE_KEYS = frozenset({"attn_implementation", "experts_implementation"})
HARMLESS_PRIVATE_KEYS = frozenset({"_name_or_path", "_num_labels", "_commit_hash", "_from_model_config"})
MAX_HEADER = 100_000_000  # bytes; the limit of the safetensors library itself
MAX_CONFIG = 64_000_000  # bytes; real ones have under 10 MB
MAX_DEPTH = 64  # of a config; real ones have under 10, and transformers copies them recursively
CONVERT = (
    "Take the Hub's safetensors revision of it (often refs/pr/N of the repository), or convert it in a sandbox with "
    "safetensors.torch.save_file"
)


def check_folder(folder: Path, *, weights: bool = True) -> None:
    """Raise unless `folder` holds a model that can be loaded without running anything of it.

    weights: whether it must hold weights; a folder with config and tokenizer alone is looked at as strictly.

    Raises InputMissing (no model), Refused (pickle only, hostile keys, links out of the folder), DataError (damaged).
    """
    if not (folder / "config.json").is_file():
        raise InputMissing(f"'{folder}' is no model folder: it has no config.json")
    check_links(folder)
    for name in CONFIGS:
        if (folder / name).is_file():
            _check_config(folder / name)
    for path in sorted(folder.glob("*.safetensors.index.json")):
        _check_index(path)
    if weights:
        _check_weights(folder)


def _check_weights(folder: Path) -> None:
    weights = sorted(folder.glob("*.safetensors"))
    if (folder / "adapter_config.json").is_file() and not (folder / "adapter_model.safetensors").is_file():
        raise Refused(f"'{folder}' has an adapter without adapter_model.safetensors", CONVERT)
    if not weights:
        pickles = sorted(p.name for p in folder.iterdir() if p.suffix in PICKLES)
        if pickles:
            raise Refused(f"'{folder}' has its weights only as a pickle ('{pickles[0]}'), which can run code", CONVERT)
        raise InputMissing(f"'{folder}' has a config.json but no *.safetensors")
    for path in weights:
        check_safetensors(path)


def check_links(folder: Path) -> None:
    """Raise Refused if a file leads out of the folder.

    In a Hub cache, snapshots lead to the `blobs` beside them, and from there, since huggingface_hub 2, to the cache's own.
    """
    root = folder.resolve()
    in_cache = root.parent.name == "snapshots"
    allowed = [root, *(place / "blobs" for place in (root.parents[1], root.parents[2]) if in_cache)]
    for path in folder.rglob("*"):
        try:
            target = path.resolve()
        except (RuntimeError, OSError):
            raise Refused(f"'{path}' is a link that leads nowhere", "Copy the file itself into the folder") from None
        if not any(target.is_relative_to(place) for place in allowed):
            raise Refused(f"'{path}' is a link out of its folder", "Copy the file itself into the folder")


def _read_object(path: Path) -> dict[str, Any]:
    """A JSON object from a file that is not to be trusted. Raises DataError."""
    if path.stat().st_size > MAX_CONFIG:
        raise DataError(f"'{path}' is damaged: {path.stat().st_size} bytes are no config")
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"'{path}' is damaged: not JSON ({error})") from None
    if not isinstance(loaded, dict):
        raise DataError(f"'{path}' is damaged: not a JSON object")
    return loaded


def _check_config(path: Path) -> None:
    for depth, key, value in _entries(_read_object(path)):
        private = key.startswith("_") and key.endswith("_internal")
        chosen = key in CHOICE_KEYS and any(isinstance(v, str) and "/" in v for v in _values(value))
        if ((key in HOSTILE_KEYS or private) and key not in HARMLESS_PRIVATE_KEYS) or chosen:
            raise Refused(
                f"'{path}' has the key '{key}', which can make a library run foreign code",
                "Remove the key if you trust its author",
            )
        if depth > MAX_DEPTH:
            raise DataError(f"'{path}' is damaged: nested deeper than {MAX_DEPTH} levels")


def _check_index(path: Path) -> None:
    """The index of shards may name only safetensors files beside it: transformers unpickles whatever else it names."""
    names = _read_object(path).get("weight_map")
    if not isinstance(names, dict):
        raise DataError(f"'{path}' is damaged: it has no weight_map")
    for name in sorted({str(name) for name in names.values()}):
        if not name.endswith(".safetensors") or "/" in name or "\\" in name:
            raise Refused(f"'{path}' names '{name}', which is no safetensors file of its folder", CONVERT)
        if not (path.parent / name).is_file():
            raise DataError(f"'{path}' names '{name}', which is not there", "Copy all shards of the model")


def _entries(root: Any) -> Iterator[tuple[int, str, Any]]:
    """(depth, key, value) of all objects at any depth, without recursion: depth is the attacker's to choose."""
    pending = [(1, root)]
    while pending:
        depth, item = pending.pop()
        if isinstance(item, dict):
            yield from ((depth, key, value) for key, value in item.items())
        inner = item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
        pending.extend((depth + 1, value) for value in inner)


def _values(value: Any) -> list[Any]:
    """A value, or the values of a mapping: an implementation may be chosen for each part of a model."""
    return list(value.values()) if isinstance(value, dict) else [value]


def check_safetensors(path: Path) -> None:
    """Raise Refused if `path` is a pickle or an archive under another name, DataError if its header or size is wrong."""
    if not path.is_file():  # opening a named pipe would wait for ever
        raise DataError(f"'{path}' is damaged: not a file")
    size = path.stat().st_size
    with open(path, "rb") as handle:
        head, first = handle.read(8), handle.read(1)
        # 0x80 begins a pickle, but as well one in 32 headers: their length is a multiple of 8, its lowest byte first
        if first != b"{" and (head[:1] == b"\x80" or head[:4] == b"PK\x03\x04"):
            raise Refused(f"'{path}' is called safetensors but is a pickle or an archive", CONVERT)
        if len(head) < 8:
            raise DataError(f"'{path}' is damaged: {size} bytes are too few for a header")
        length = struct.unpack("<Q", head)[0]
        if not 0 < length <= min(MAX_HEADER, size - 8):
            raise DataError(f"'{path}' is damaged: its header claims {length} bytes of {size}")
        try:
            header = json.loads(first + handle.read(length - len(first)))
            ends = [row["data_offsets"][1] for key, row in header.items() if key != "__metadata__"]
            expected = 8 + length + max(ends, default=0)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
            raise DataError(f"'{path}' is damaged: its header is not readable ({type(error).__name__})") from None
    if expected != size:
        raise DataError(f"'{path}' is damaged: {size} bytes where its header promises {expected}")


def sha256(path: Path) -> str:
    """SHA-256 of a file, as 64 hex digits."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def check_hash(path: Path, expected: str) -> None:
    """Raise Refused unless the file has the SHA-256 that is expected of it."""
    found = sha256(path)
    if found != expected:
        raise Refused(
            f"'{path}' has the SHA-256 {found[:16]}..., not the {expected[:16]}... that is registered for it",
            "Install the package again from the index you trust",
        )
