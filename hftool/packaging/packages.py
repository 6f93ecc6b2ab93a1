"""What the image installs: hftool itself as a wheel made from what is installed here, and its libraries by their versions.

The wheel needs neither an index nor a build tool: the image runs the code that wrote it, from a checkout or from a wheel.
"""

import base64
import hashlib
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from hftool import DISTRIBUTION
from hftool.errors import UsageError

PACKAGE = Path(__file__).parents[2]  # the folder hftool/
# What serving imports; what only training and reading data need stays out. tests/deploy/test_docker.py serves with these alone
SERVING = (
    *("torch", "transformers", "accelerate", "safetensors", "huggingface-hub", "numpy", "scikit-learn", "pyyaml", "typer"),
    *("sentencepiece", "protobuf", "fastapi", "uvicorn", "prometheus-client"),
)
EXPORTED = ("onnx", "onnxruntime")  # besides, for a model that `hftool export` wrote: see safety.check_extra
INSTALL = "pip install 'hftool-recipes[serve]'"
LEFT_OUT = ("assets", "__pycache__")  # the bundled models and data: the image has a model of its own
LINUX = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "platform_machine": "x86_64"}
STAMP = (1980, 1, 1, 0, 0, 0)  # of each file in the wheel: the same source gives the same bytes


def version() -> str:
    """The version of hftool that is installed."""
    return metadata.version(DISTRIBUTION)


def pins(roots: Iterable[str]) -> dict[str, str]:
    """Name -> version of the roots and of all that they require on Linux, as they are installed here.

    A requirement that is not installed here is left to the resolver. Raises UsageError if a root is not installed.
    """
    found: dict[str, str] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    pending = [Requirement(name) for name in roots]
    needed = {canonicalize_name(name) for name in roots}
    while pending:
        one = pending.pop()
        name, extras = canonicalize_name(one.name), frozenset(one.extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            there = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            if name in needed:
                raise UsageError(f"the image gets the versions that are installed here, and {name} is not", INSTALL) from None
            continue
        found[name] = there.version.partition("+")[0]  # 2.13.0+cpu is a build of 2.13.0
        pending += _required(there.requires or [], extras)
    return dict(sorted(found.items()))


def _required(lines: Iterable[str], extras: Iterable[str]) -> Iterator[Requirement]:
    environment: dict[str, str] = {**default_environment(), **LINUX}  # type: ignore[dict-item]
    for line in lines:
        one = Requirement(line)
        if one.marker is None or any(one.marker.evaluate({**environment, "extra": extra}) for extra in ("", *extras)):
            yield one


def write_wheel(folder: Path, requires: Mapping[str, str]) -> Path:
    """Write hftool_recipes-VERSION+serve-py3-none-any.whl into an existing folder.

    requires: name -> version of what it declares as required. "+serve" because that is less than the whole requires. Source:
    https://packaging.python.org/en/latest/specifications/binary-distribution-format/
    """
    made = f"{version()}+serve"
    stem = f"{DISTRIBUTION.replace('-', '_')}-{made}"
    info = f"{stem}.dist-info"
    needs = "".join(f"Requires-Dist: {name}=={number}\n" for name, number in requires.items())
    files = {path.relative_to(PACKAGE.parent).as_posix(): path.read_bytes() for path in _sources()} | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {DISTRIBUTION}\nVersion: {made}\n{needs}".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: hftool\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": b"[console_scripts]\nhftool = hftool.cli.app:entry\n",
    }
    record = "".join(f"{name},sha256={_digest(data)},{len(data)}\n" for name, data in files.items())
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    wheel = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, STAMP)
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)
    return wheel


def _sources() -> list[Path]:
    """The files of the package that a server needs, in a fixed order."""
    inside = ((path, path.relative_to(PACKAGE)) for path in sorted(PACKAGE.rglob("*")) if path.is_file())
    return [path for path, below in inside if below.parts[0] not in LEFT_OUT and "__pycache__" not in below.parts]


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode("ascii")
