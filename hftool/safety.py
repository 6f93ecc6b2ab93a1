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
    }
)
HARMLESS_PRIVATE_KEYS = frozenset({"_name_or_path", "_num_labels", "_commit_hash", "_from_model_config"})
MAX_HEADER = 100_000_000  # bytes; the limit of the safetensors library itself
CONVERT = (
    "Take the Hub's safetensors revision of it (often refs/pr/N of the repository), or convert it in a sandbox with "
    "safetensors.torch.save_file"
)


def check_folder(folder: Path) -> None:
    """Raise unless `folder` holds a model that can be loaded without running anything of it.

    Raises InputMissing (no model), Refused (pickle only, hostile keys, links out of the folder), DataError (damaged).
    """
    if not (folder / "config.json").is_file():
        raise InputMissing(f"'{folder}' is no model folder: it has no config.json")
    check_links(folder)
    for name in CONFIGS:
        if (folder / name).is_file():
            _check_config(folder / name)
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        pickles = sorted(p.name for p in folder.iterdir() if p.suffix in PICKLES)
        if pickles:
            raise Refused(f"'{folder}' has its weights only as a pickle ('{pickles[0]}'), which can run code", CONVERT)
        raise InputMissing(f"'{folder}' has a config.json but no *.safetensors")
    for path in weights:
        check_safetensors(path)


def check_links(folder: Path) -> None:
    """Raise Refused if a file leads out of the folder. In a Hub cache, snapshots lead to the `blobs` beside them."""
    root = folder.resolve()
    in_cache = root.parent.name == "snapshots"
    allowed = root.parent.parent / "blobs" if in_cache else root
    for path in folder.rglob("*"):
        target = path.resolve()
        if not (target.is_relative_to(root) or target.is_relative_to(allowed)):
            raise Refused(f"'{path}' is a link out of its folder", "Copy the file itself into the folder")


def _check_config(path: Path) -> None:
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"'{path}' is damaged: not JSON ({error})") from None
    if not isinstance(loaded, dict):
        raise DataError(f"'{path}' is damaged: not a JSON object")
    for key in _keys(loaded):
        private = key.startswith("_") and key.endswith("_internal")
        if (key in HOSTILE_KEYS or private) and key not in HARMLESS_PRIVATE_KEYS:
            raise Refused(
                f"'{path}' has the key '{key}', which can make a library run foreign code",
                "Remove the key if you trust its author",
            )


def _keys(value: Any) -> Iterator[str]:
    """All keys at any depth, without recursion: depth is the attacker's to choose."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            yield from item
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)


def check_safetensors(path: Path) -> None:
    """Raise Refused if `path` is a pickle or an archive under another name, DataError if its header or size is wrong."""
    size = path.stat().st_size
    with open(path, "rb") as handle:
        head = handle.read(8)
        if head[:1] == b"\x80" or head[:4] == b"PK\x03\x04":
            raise Refused(f"'{path}' is called safetensors but is a pickle or an archive", CONVERT)
        if len(head) < 8:
            raise DataError(f"'{path}' is damaged: {size} bytes are too few for a header")
        length = struct.unpack("<Q", head)[0]
        if length > min(MAX_HEADER, size - 8):
            raise DataError(f"'{path}' is damaged: its header claims {length} bytes of {size}")
        try:
            header = json.loads(handle.read(length))
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
