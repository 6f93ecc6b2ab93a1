"""The README.md beside the manifests: how to build, run and try the service, and what was decided for whoever reads them."""

from pathlib import Path

from hftool.packaging.service import GRACE, KEY, MIB, PORT, Service
from hftool.storage.run_folder import write_text

DOCKER = """\
# {name}

A model that serves `{head}`, as a container image. Written by `hftool deploy`; nothing here was built yet, and no key is in it.

## Build

    docker build -t {image} .

Building needs a package index; running needs no network at all. `constraints.txt` holds the versions of the machine that wrote
this, `wheels/` hftool itself as it was installed there, without what only training needs. To check the content of each
package as well, write its hashes (`pip-compile --generate-hashes`) and add `--require-hashes`.

## Run

    openssl rand -hex 32 > api-key && chmod 600 api-key
    docker run --rm --name {name} -p 127.0.0.1:{port}:{port} \\
        --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges \\
        --cpus 2 --env OMP_NUM_THREADS=2 --memory {limit}m --stop-timeout {stop} \\
        --user "$(id -u):$(id -g)" --volume "$PWD/api-key:{key}:ro" {image}

`--user` lets the container read the key that only you can read; any number will do. Without it the image runs as 10001. Give as
many threads as cores (`OMP_NUM_THREADS`): libraries count the cores of the whole machine. `docker stop` lets requests in flight
finish, for {grace} s at most. Options of `hftool serve` go after the image's name; they replace `--grace {grace}`.

## Try it

    curl -s http://127.0.0.1:{port}/readyz
    curl -s http://127.0.0.1:{port}/predict -H "Authorization: Bearer $(cat api-key)" \\
        -H "Content-Type: application/json" -d '{body}'

In a browser: http://127.0.0.1:{port}/. Behind it all there is plain HTTP: let a proxy speak TLS to the outside.
"""
KUBERNETES = """
## Kubernetes

The cluster must be able to pull `{image}`: push it to your registry first, and if it is called otherwise there, write its name
into `kubernetes/deployment.yaml` (or deploy again with `--image`).

    kubectl create secret generic {name}-api-key --from-file=api-key
    kubectl apply -k kubernetes
    kubectl rollout status deployment/{name}
    kubectl port-forward service/{name} {port}:80

| what | why |
|---|---|
| memory {memory} MiB, at most {limit} MiB | 1 GiB for Python and a batch, and {copies} times the {weights} MiB of weights |
| {replicas} to {most} pods, by CPU | `hpa.yaml` needs metrics-server; a comment in it scales by rows that wait instead |
| no way out | `networkpolicy.yaml` lets requests in to one port and nothing out, where the network enforces it |
| no read of the key by others | the Secret is a file for the group of the container, never an environment variable |
| a pod leaves without losing a request | 5 s for the cluster to forget its address, then SIGTERM, then up to {grace} s |

`/metrics` needs the key as well: a Prometheus takes it as `authorization.credentials_file`.
"""


def write_readme(service: Service, folder: Path, *, body: str, most: int | None = None) -> None:
    """Write README.md. body: JSON that the model takes at /predict. most: pods, if there are objects of a cluster."""
    text = DOCKER if most is None else DOCKER + KUBERNETES
    filled = text.format(
        name=service.name,
        image=service.image,
        head=service.head,
        body=body,
        key=KEY,
        port=PORT,
        grace=GRACE,
        stop=GRACE + 5,
        memory=service.memory // MIB,
        limit=service.memory * 3 // 2 // MIB,
        copies=service.copies,
        weights=round(service.weights / MIB),
        replicas=service.replicas,
        most=most,
    )
    write_text(folder / "README.md", filled)
