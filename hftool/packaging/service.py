"""The values that every template is filled with: service name, image, size of the model. Validated against injection."""

import re
from dataclasses import dataclass
from pathlib import Path

from hftool.errors import UsageError

PORT = 8000
USER = 10001  # above the ids that systems assign to people and daemons
KEY = "/run/secrets/hftool/api-key"
GRACE = 30  # seconds for requests in flight after SIGTERM
NAME = re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?")  # a DNS label with room for the suffixes of Kubernetes
PART = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
REFERENCE = re.compile(  # https://github.com/distribution/reference: name, then a tag, a digest or both
    rf"(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::[0-9]+)?/)?{PART}(?:/{PART})*"
    r"(?P<tag>:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?P<digest>@sha256:[0-9a-f]{64})?"
)
MODEL_FILES = (".safetensors", ".onnx", ".data")
MIB = 2**20
STEP = 128 * MIB


@dataclass(frozen=True, kw_only=True)
class ServiceSpec:
    """A model as a service."""

    name: str  # DNS label of the service and of the model in it
    image: str  # reference with a tag or a digest
    head: str  # what the model does, such as "classify"
    weights: int  # size of its weight files in bytes
    exported: bool = False  # whether the weights are ONNX graphs
    replicas: int = 2  # minimum number of pods

    @property
    def copies(self) -> int:
        """How many copies of the weights are in memory at most: as read and as loaded; ONNX Runtime keeps a third."""
        return 3 if self.exported else 2

    @property
    def memory(self) -> int:
        """Memory request in bytes: 1 GiB for Python, libraries and a batch, and the copies of the weights; in whole STEPs."""
        return -(-(1024 * MIB + self.copies * self.weights) // STEP) * STEP

    @property
    def memory_mib(self) -> int:
        """Memory request in MiB."""
        return self.memory // MIB

    @property
    def memory_limit_mib(self) -> int:
        """Memory limit in MiB."""
        return self.memory * 3 // 2 // MIB

    @property
    def weights_mib(self) -> int:
        """Size of the weights in MiB."""
        return round(self.weights / MIB)


def weights_size(folder: Path) -> int:
    """Size in bytes of the weight files in a model folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.suffix in MODEL_FILES)


def service_name(text: str) -> str:
    """Turn any text, such as the name of a run folder, into a valid service name; "model" if no character is allowed in one."""
    kept = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    kept = re.sub(r"^[^a-z]+", "", kept)[:40].strip("-")
    return kept or "model"


def check_name(name: str) -> None:
    """Check that a name is valid for a service, a model in a URL and a Kubernetes object. Raises UsageError (it is not)."""
    if not NAME.fullmatch(name):
        what = f"'{name}' cannot name a service: it must be at most 40 lowercase letters, digits and -, starting with a letter"
        raise UsageError(what, f"Such as --name {service_name(name)}")


def check_image(image: str) -> None:
    """Check that an image reference always means the same image.

    Raises:
        UsageError: It is no valid reference, or has neither a digest nor a tag other than `latest`.
    """
    found = REFERENCE.fullmatch(image)
    if not found:
        raise UsageError(f"'{image}' is not a valid image reference", "Such as --image registry.example.org/team/reviews:1")
    if not found["digest"] and found["tag"] in (None, ":latest"):
        what = f"the image '{image}' has no tag or the tag latest, so its version would be unknown"
        raise UsageError(what, f"Such as --image {image.removesuffix(':latest')}:1")
