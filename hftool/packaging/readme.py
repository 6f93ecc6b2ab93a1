"""The README.md next to the build context: how to build, run and try the service."""

from pathlib import Path

from hftool.packaging.render import render
from hftool.packaging.service import ServiceSpec
from hftool.storage.run_folder import write_text


def write_readme(service: ServiceSpec, folder: Path, *, body: str, max_replicas: int | None = None) -> None:
    """Write README.md, with `body` as the JSON of an example request, and `max_replicas` pods where there are manifests.

    Raises:
        StorageError: The file cannot be written.
    """
    write_text(folder / "README.md", render("README.md", service, body=body, max_replicas=max_replicas))
