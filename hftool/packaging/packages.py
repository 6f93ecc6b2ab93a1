"""What the image installs: hftool as a wheel packed from the running installation, and its libraries at the installed versions.

The wheel is packed here, so that a checkout and an installed hftool both work without a package index or a build tool. A copied
folder in its place could not declare the pinned libraries.
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

PACKAGE = Path(__file__).parents[1]  # the folder hftool/
# What serving imports, without what only training and reading data need: tests/packaging/test_docker.py serves with these alone
SERVING = (
    *("torch", "transformers", "accelerate", "safetensors", "huggingface-hub", "numpy", "scikit-learn", "pyyaml", "typer"),
    *("sentencepiece", "protobuf", "pydantic", "starlette", "uvicorn", "prometheus-client"),
)
EXPORTED = ("onnx", "onnxruntime")  # also needed by a model that `hftool export` wrote: see safety.check_extra
INSTALL = "pip install 'hftool-recipes[serve]'"
LEFT_OUT = ("assets",)  # bundled models and data: the image has its model in /model
LINUX = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "platform_machine": "x86_64"}
STAMP = (1980, 1, 1, 0, 0, 0)  # modification time of each file in the wheel: the same source gives the same bytes


def version() -> str:
    """The installed version of hftool."""
    return metadata.version(DISTRIBUTION)


def pins(roots: Iterable[str]) -> dict[str, str]:
    """Name -> installed version of packages and of all that they require on Linux.

    A requirement that is not installed here is left to the resolver.

    Raises:
        UsageError: One of the roots is not installed.
    """
    found: dict[str, str] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    pending = [Requirement(name) for name in roots]
    needed = {canonicalize_name(name) for name in roots}
    while pending:
        requirement = pending.pop()
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            installed = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            if name in needed:
                raise UsageError(f"{name} is not installed, and the image copies installed versions", INSTALL) from None
            continue
        found[name] = installed.version.partition("+")[0]  # 2.13.0+cpu is a build of 2.13.0
        pending += _required(installed.requires or [], extras)
    return dict(sorted(found.items()))


def _required(lines: Iterable[str], extras: Iterable[str]) -> Iterator[Requirement]:
    environment: dict[str, str] = {**default_environment(), **LINUX}  # type: ignore[dict-item]
    for line in lines:
        requirement, marker = Requirement(line), Requirement(line).marker
        if marker is None or any(marker.evaluate({**environment, "extra": extra}) for extra in ("", *extras)):
            yield requirement


def write_wheel(folder: Path, requires: Mapping[str, str]) -> Path:
    """Write hftool_recipes-VERSION+serve-py3-none-any.whl, "+serve" since it requires less than all of hftool does.

    `requires` are the versions of its requirements by name. Format:
    https://packaging.python.org/en/latest/specifications/binary-distribution-format/
    """
    local_version = f"{version()}+serve"
    stem = f"{DISTRIBUTION.replace('-', '_')}-{local_version}"
    info = f"{stem}.dist-info"
    needs = "".join(f"Requires-Dist: {name}=={number}\n" for name, number in requires.items())
    paths = ((path, path.relative_to(PACKAGE).parts) for path in sorted(PACKAGE.rglob("*")) if path.is_file())
    needed = [path for path, parts in paths if parts[0] not in LEFT_OUT and "__pycache__" not in parts]
    files = {path.relative_to(PACKAGE.parent).as_posix(): path.read_bytes() for path in needed} | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {DISTRIBUTION}\nVersion: {local_version}\n{needs}".encode(),
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


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode("ascii")
