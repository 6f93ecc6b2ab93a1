"""The folder from which an image is built: Dockerfile, .dockerignore, constraints.txt, the wheel, and how to use it."""

import json
import sys
from pathlib import Path

from hftool.packaging.packages import EXPORTED, SERVING, pins, version, write_wheel
from hftool.packaging.service import GRACE, KEY, PORT, USER, Service
from hftool.storage.run_folder import write_text

TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
# http.client and not urllib: it takes no proxy from the environment
PROBE = (
    "import http.client as h, sys; c = h.HTTPConnection('127.0.0.1', {port}, timeout=2); c.request('GET', '/readyz'); "
    "sys.exit(c.getresponse().status != 200)"
)
DOCKERFILE = """\
# Written by hftool {version}. Build it in this folder: docker build -t {image} .
# A tag can be moved to other content, a digest cannot. To pin the base by digest as well:
#   docker buildx imagetools inspect {base}
#   docker build --build-arg BASE={base}@sha256:DIGEST -t {image} .
ARG BASE={base}

FROM ${{BASE}} AS build
# Another index: --build-arg PIP_INDEX_URL=... for everything, --build-arg TORCH_INDEX=... for torch (by default without CUDA).
ARG PIP_INDEX_URL
ARG TORCH_INDEX={torch_index}
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
RUN ["python", "-m", "venv", "--without-pip", "/opt/venv"]
# torch alone and first: it is the largest layer and changes the least, and no other package is taken from its index
RUN pip --python /opt/venv/bin/python install --no-deps --index-url "${{TORCH_INDEX}}" torch=={torch}
COPY constraints.txt /build/
COPY wheels/ /build/wheels/
RUN pip --python /opt/venv/bin/python install --only-binary=:all: --constraint /build/constraints.txt /build/wheels/{wheel} \\
    && pip --python /opt/venv/bin/python check

FROM ${{BASE}} AS serve
LABEL org.opencontainers.image.title={name} \\
      org.opencontainers.image.description={description} \\
      org.opencontainers.image.version={tag} \\
      org.opencontainers.image.base.name={base_label}
RUN ["useradd", "--uid", "{user}", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", "hftool"]
COPY --from=build /opt/venv /opt/venv
COPY model/ /model/
# Nothing is fetched when it runs, and nothing written outside /tmp: it runs with a read-only root and without a network.
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \\
    PYTHONUNBUFFERED=1 \\
    PYTHONDONTWRITEBYTECODE=1 \\
    HOME=/tmp \\
    HF_HOME=/tmp/huggingface \\
    HF_HUB_OFFLINE=1 \\
    HF_HUB_DISABLE_TELEMETRY=1
USER {user}:{user}
EXPOSE {port}
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=120s --retries=3 CMD {health}
ENTRYPOINT {entrypoint}
# What may be replaced: `docker run IMAGE --grace 60 --queue 1000`
CMD {command}
"""
# the build sees these and nothing else that may come to lie in the folder, such as a key
IGNORE = "*\n!constraints.txt\n!wheels/\n!model/\n"


def write_context(service: Service, folder: Path) -> None:
    """Write all that `docker build` needs into a folder that holds model/ already. Raises UsageError, StorageError."""
    roots = (*SERVING, *(EXPORTED if service.exported else ()))
    pinned = pins(roots)
    wheels = folder / "wheels"
    wheels.mkdir()
    wheel = write_wheel(wheels, {name: pinned[name] for name in roots})
    told = "# What was installed where this was written: the image gets the same versions.\n"
    write_text(folder / "constraints.txt", told + "".join(f"{name}=={number}\n" for name, number in pinned.items()))
    write_text(folder / "Dockerfile", dockerfile(service, wheel=wheel.name, torch=pinned["torch"]))
    write_text(folder / ".dockerignore", IGNORE)


def dockerfile(service: Service, *, wheel: str, torch: str) -> str:
    """The Dockerfile: one stage installs, the other runs as a user without rights. wheel: its file name in wheels/."""
    base = f"python:{sys.version_info.major}.{sys.version_info.minor}-slim-trixie"
    tag = service.image.rpartition("/")[2].partition("@")[0].partition(":")[2] or version()
    return DOCKERFILE.format(
        version=version(),
        image=service.image,
        base=base,
        base_label=json.dumps(f"docker.io/library/{base}"),
        torch_index=TORCH_INDEX,
        torch=torch,
        wheel=wheel,
        name=json.dumps(service.name),
        description=json.dumps(f"hftool serve: {service.head}"),
        tag=json.dumps(tag),
        user=USER,
        port=PORT,
        health=json.dumps(["python", "-c", PROBE.format(port=PORT)]),
        entrypoint=json.dumps(entrypoint(service.name)),
        command=json.dumps(command()),
    )


def entrypoint(name: str) -> list[str]:
    """What the container runs, whatever is added to it."""
    where = ["--host", "0.0.0.0", "--port", str(PORT)]  # noqa: S104  a container's own address is not known beforehand
    return ["hftool", "serve", f"{name}=/model", *where, "--api-key-file", KEY]


def command() -> list[str]:
    """Options that whoever runs the image may replace by others."""
    return ["--grace", str(GRACE)]
