"""What every manifest is filled from: the name of the service, its image, its model's size. Checked, since names are copied
into files that other programs execute."""

import re
from dataclasses import dataclass
from pathlib import Path

from hftool.errors import UsageError

PORT = 8000
USER = 10001  # above what systems give to people and daemons
KEY = "/run/secrets/hftool/api-key"
GRACE = 30  # seconds for requests in flight after SIGTERM
NAME = re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?")  # a DNS label with room for what Kubernetes appends
PART = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
REFERENCE = re.compile(  # https://github.com/distribution/reference: name, then a tag, a digest or both
    rf"(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::[0-9]+)?/)?{PART}(?:/{PART})*"
    r"(?P<tag>:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?P<digest>@sha256:[0-9a-f]{64})?"
)
MODEL_FILES = (".safetensors", ".onnx", ".data")
MIB = 2**20
STEP = 128 * MIB


@dataclass(frozen=True, kw_only=True)
class Service:
    """A model as a service.

    name: of the service and of its model, a DNS label. image: reference with a tag or a digest. head: what the model does.
    weights: bytes of its files of weights. exported: whether they are graphs. replicas: the least number of pods.
    """

    name: str
    image: str
    head: str
    weights: int
    exported: bool = False
    replicas: int = 2

    @property
    def copies(self) -> int:
        """How often the weights lie in memory at most: read and placed; a graph is also kept as it was read."""
        return 3 if self.exported else 2

    @property
    def memory(self) -> int:
        """Bytes that a process is sure to get: 1 GiB for Python, its libraries and a batch, and the copies of the weights, in
        steps of 128 MiB."""
        return -(-(1024 * MIB + self.copies * self.weights) // STEP) * STEP


def weights_of(folder: Path) -> int:
    """Bytes of the weights in a model folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.suffix in MODEL_FILES)


def name_of(word: str) -> str:
    """A word, such as the name of a run folder, as the name of a service; 'model' where nothing of it can stay."""
    kept = re.sub(r"[^a-z0-9]+", "-", word.lower()).strip("-")
    kept = re.sub(r"^[^a-z]+", "", kept)[:40].strip("-")
    return kept or "model"


def check_name(name: str) -> None:
    """Raise UsageError unless `name` can name a service, a model in an address and an object of a cluster."""
    if not NAME.fullmatch(name):
        raise UsageError(
            f"'{name}' cannot name a service: it takes small letters, digits and -, from a letter on, at most 40 characters",
            f"Such as --name {name_of(name)}",
        )


def check_image(image: str) -> None:
    """Raise UsageError unless `image` is a reference that always means the same image."""
    found = REFERENCE.fullmatch(image)
    if not found:
        raise UsageError(f"'{image}' is no name of an image", "Such as --image registry.example.org/team/reviews:1")
    if not found["digest"] and found["tag"] in (None, ":latest"):
        raise UsageError(
            f"the image '{image}' has no tag of its own, so that nobody could tell what runs",
            f"Such as --image {image.removesuffix(':latest')}:1",
        )
