"""The Docker build context: Dockerfile, .dockerignore, constraints.txt and the hftool wheel."""

import sys
from pathlib import Path

from hftool.packaging.packages import EXPORTED, SERVING, pins, version, write_wheel
from hftool.packaging.render import render
from hftool.packaging.service import GRACE, KEY, PORT, ServiceSpec
from hftool.storage.run_folder import write_text

TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
# http.client and not urllib: it takes no proxy from the environment
PROBE = (
    f"import http.client as h, sys; c = h.HTTPConnection('127.0.0.1', {PORT}, timeout=2); c.request('GET', '/readyz'); "
    "sys.exit(c.getresponse().status != 200)"
)
CONSTRAINTS = "# What was installed where this was written: the image gets the same versions.\n"


def write_context(service: ServiceSpec, folder: Path) -> None:
    """Write all that `docker build` needs into a folder that contains model/ already.

    Raises:
        UsageError: A package that the image needs is not installed here.
        StorageError: A file cannot be written.
    """
    roots = (*SERVING, *(EXPORTED if service.exported else ()))
    pinned = pins(roots)
    wheels = folder / "wheels"
    wheels.mkdir()
    wheel = write_wheel(wheels, {name: pinned[name] for name in roots})
    write_text(folder / "constraints.txt", CONSTRAINTS + "".join(f"{name}=={number}\n" for name, number in pinned.items()))
    write_text(folder / "Dockerfile", dockerfile(service, wheel=wheel.name, torch=pinned["torch"]))
    write_text(folder / ".dockerignore", render("dockerignore", service))


def dockerfile(service: ServiceSpec, *, wheel: str, torch: str) -> str:
    """The Dockerfile: one stage installs the wheel and this torch, the other runs as an unprivileged user."""
    return render(
        "Dockerfile",
        service,
        version=version(),
        base=f"python:{sys.version_info.major}.{sys.version_info.minor}-slim-trixie",
        torch_index=TORCH_INDEX,
        torch=torch,
        wheel=wheel,
        tag=service.image.rpartition("/")[2].partition("@")[0].partition(":")[2] or version(),
        health=["python", "-c", PROBE],
        entrypoint=entrypoint(service.name),
        command=command(),
    )


def entrypoint(name: str) -> list[str]:
    """The fixed part of the container's command line."""
    address = ["--host", "0.0.0.0", "--port", str(PORT)]  # noqa: S104  the container's own address is not known in advance
    return ["hftool", "serve", f"{name}=/model", *address, "--api-key-file", KEY]


def command() -> list[str]:
    """Default options, which arguments after the image name replace."""
    return ["--grace", str(GRACE)]
