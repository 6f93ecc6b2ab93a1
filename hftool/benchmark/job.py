"""What is measured: the kind of work, the model, the arms, and the sizes."""

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec

from hftool.errors import UsageError, did_you_mean

OURS = "hftool"
PRECISIONS = ("auto", "fp32", "bf16", "int8")


@dataclass(frozen=True)
class Kind:
    """A kind of work."""

    unit: str  # what is counted
    limit: int  # rows by default; 0 is one batch
    batch_size: int
    peer: str  # that of transformers itself, the default


@dataclass(frozen=True)
class Peer:
    """Another engine: the packages that it needs, and its variants by kind of work."""

    packages: Mapping[str, str]  # module -> package to install
    variants: Mapping[str, Sequence[str]]
    node: str = ""  # its package of node, if it has one


KINDS = {
    "infer": Kind("texts", 256, 32, "pipeline"),
    "generate": Kind("tokens", 0, 1, "transformers"),
    "train": Kind("samples", 320, 32, "trainer"),
    "serve": Kind("answers", 256, 1, "fastapi"),
}
ONNX = {"onnx": "onnx", "onnxscript": "onnxscript", "onnxruntime": "onnxruntime"}
PEERS = {
    "trainer": Peer({"accelerate": "accelerate"}, {"train": ("", "bf16, grouped by length")}),
    "pipeline": Peer({}, {"infer": ("", "in batches")}),
    "transformers": Peer({}, {"generate": ("fp32",)}),
    "onnxruntime": Peer(ONNX, {"infer": ("fp32", "int8"), "generate": ("fp32", "int8")}),
    "inductor": Peer({}, {"infer": ("",)}),
    "openvino": Peer({"openvino": "openvino"}, {"infer": ("", "fp32")}),
    "ctranslate2": Peer({"ctranslate2": "ctranslate2"}, {"infer": ("int8",), "generate": ("int8",)}),
    "llamacpp": Peer({"gguf": "gguf"}, {"generate": ("fp16", "int8")}, "node-llama-cpp"),
    "fastapi": Peer({"fastapi": "fastapi", "uvicorn": "uvicorn"}, {"serve": ("def", "async def")}),
}


@dataclass(frozen=True)
class Job:
    """A benchmark. Sizes of 0 are those of the kind."""

    kind: str
    model: str
    against: Sequence[str] = ()
    precisions: Sequence[str] = ("auto",)
    file: str | None = None
    limit: int = 0  # rows
    batch_size: int = 0  # rows of a batch: of a step of training, of prompts, of the peers of infer
    max_new_tokens: int = 64
    clients: int = 64
    learning_rate: float = 5e-5  # of training
    rounds: int = 5
    seconds: float = 60.0  # after which no further round starts
    offline: bool = False
    fallback: bool = False
    peer_python: str = ""  # the interpreter of the peers; by default this one
    only: Sequence[str] = ()  # the names of the arms to run beside the first; by default all

    @property
    def unit(self) -> str:
        """What is counted."""
        return KINDS[self.kind].unit

    @property
    def rows(self) -> int:
        """The most rows."""
        return self.limit or KINDS[self.kind].limit or self.batch

    @property
    def batch(self) -> int:
        """The rows of a batch."""
        return self.batch_size or KINDS[self.kind].batch_size

    def arms(self) -> list["ArmName"]:
        """The arms in order, those of hftool first."""
        ours = [ArmName(OURS, precision) for precision in self.precisions]
        peers = [ArmName(peer, variant) for peer in self.against for variant in PEERS[peer].variants[self.kind]]
        return ours + [arm for arm in peers if not self.only or str(arm) in self.only]

    def check(self) -> None:
        """Raise UsageError for words that are unknown or do not go together, and for a package that is not installed."""
        _one_of("kind of work", self.kind, KINDS)
        for precision in self.precisions:
            _one_of("precision", precision, PRECISIONS)
        able = [name for name, peer in PEERS.items() if self.kind in peer.variants]
        for name in self.against:
            _one_of("peer", name, PEERS)
            if name not in able:
                raise UsageError(f"'{name}' cannot be measured beside hftool bench {self.kind}", "Peers: " + ", ".join(able))
            missing = [package for module, package in PEERS[name].packages.items() if not self._has(module)]
            if missing:
                pip = f"{self.peer_python} -m pip" if self.peer_python else "pip"
                raise UsageError(f"'{name}' needs {' and '.join(missing)}", f"{pip} install {' '.join(missing)}")
            package = PEERS[name].node
            if package and not _node_has(package):
                hint = f"npm install --ignore-scripts {package}; export NODE_PATH=$PWD/node_modules"
                raise UsageError(f"'{name}' needs node and its package {package}", hint)

    def _has(self, module: str) -> bool:
        """Whether the interpreter of the peers has a module. Raises UsageError: there is no such interpreter."""
        if not self.peer_python:
            return find_spec(module) is not None
        code = "import importlib.util, sys; sys.exit(importlib.util.find_spec(sys.argv[1]) is None)"
        try:
            return subprocess.run([self.peer_python, "-c", code, module], check=False).returncode == 0  # noqa: S603  the user's own
        except OSError as error:
            raise UsageError(
                f"'{self.peer_python}' does not run: {error.strerror}", "--peer-python takes an interpreter"
            ) from None


@dataclass(frozen=True)
class ArmName:
    """An engine and its variant."""

    engine: str
    variant: str = field(default="")

    def __str__(self) -> str:
        hidden = self.engine == OURS and self.variant == "auto"
        return self.engine if hidden or not self.variant else f"{self.engine} {self.variant}"


def peers_of(kind: str, words: str | None) -> tuple[str, ...]:
    """The peers of an option: comma separated, "none", or transformers' own. Raises UsageError: no such kind of work."""
    _one_of("kind of work", kind, KINDS)
    if words is None:
        return (KINDS[kind].peer,)
    return () if words == "none" else tuple(dict.fromkeys(word.strip() for word in words.split(",")))


def _node_has(package: str) -> bool:
    """Whether node is there and finds a package, in this folder or in NODE_PATH."""
    command = ["node", "-e", "require.resolve(process.argv[1])", package]
    try:
        found = subprocess.run(command, check=False, stderr=subprocess.DEVNULL)  # noqa: S603  constants
    except OSError:
        return False
    return found.returncode == 0


def _one_of(what: str, word: str, known: Sequence[str] | Mapping[str, object]) -> None:
    if word not in known:
        raise UsageError(f"unknown {what} '{word}'", did_you_mean(word, known, otherwise="One of: " + ", ".join(known)))
