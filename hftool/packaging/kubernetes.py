"""Kubernetes manifests that run the image: deployment, service, autoscaler, network policy, disruption budget."""

from pathlib import Path

from hftool.packaging.docker import command
from hftool.packaging.render import render
from hftool.packaging.service import KEY, ServiceSpec
from hftool.storage.run_folder import write_text

LEAVING = 5  # seconds before SIGTERM in which the cluster stops routing requests to the pod
SCALE = 4  # the autoscaler's maximum number of pods is this times the minimum
CPU = 2  # cores, and so threads, of a pod
MANIFESTS = ("deployment.yaml", "service.yaml", "hpa.yaml", "networkpolicy.yaml", "poddisruptionbudget.yaml")


def write_manifests(service: ServiceSpec, folder: Path) -> None:
    """Write the manifests and kustomization.yaml into an existing folder. Raises StorageError (a file cannot be written)."""
    for name, text in manifests(service).items():
        write_text(folder / name, text)


def manifests(service: ServiceSpec) -> dict[str, str]:
    """File name -> YAML of each manifest, and of the kustomization that lists them."""
    key_folder, _, key_name = KEY.rpartition("/")
    key = {"key_folder": key_folder, "key_name": key_name}
    pods = {"command": command(), "leaving": LEAVING, "cpu": CPU, "max_replicas": SCALE * service.replicas}
    names = (*MANIFESTS, "kustomization.yaml")
    return {name: render(name, service, **key, **pods, manifests=MANIFESTS) for name in names}
