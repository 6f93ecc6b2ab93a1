"""The rendered templates, compared byte for byte with the files in golden/."""

import sys
import tomllib
from pathlib import Path

import jinja2
import pytest

from hftool.packaging import docker
from hftool.packaging.kubernetes import SCALE, manifests
from hftool.packaging.readme import write_readme
from hftool.packaging.render import TEMPLATES, render
from hftool.packaging.service import MIB, ServiceSpec

GOLDEN = Path(__file__).parent / "golden"
ROOT = Path(__file__).parents[2]
IMAGE = "registry.example.org:5000/team/reviews:1"
SERVICE = ServiceSpec(name="reviews", image=IMAGE, head="answer", weights=90 * MIB, exported=True, replicas=3)
BODY = '{"inputs": {"question": "Who\'s <she> & he?", "context": "Amina"}}'


@pytest.fixture
def rendered(tmp_path, monkeypatch):
    """File name -> text of all files rendered for `SERVICE`, with fixed versions of hftool, torch and Python."""
    monkeypatch.setattr(docker, "version", lambda: "1.2.3")
    here = f"python:{sys.version_info.major}.{sys.version_info.minor}-"
    texts = {f"kubernetes/{name}": text for name, text in manifests(SERVICE).items()}
    texts["Dockerfile"] = docker.dockerfile(SERVICE, wheel="hftool.whl", torch="2.13.0").replace(here, "python:3.11-")
    texts[".dockerignore"] = render("dockerignore", SERVICE)
    for name, max_replicas in (("README.md", None), ("kubernetes/README.md", SCALE * SERVICE.replicas)):
        write_readme(SERVICE, tmp_path, body=BODY, max_replicas=max_replicas)
        texts[name] = (tmp_path / "README.md").read_text(encoding="utf-8")
    return texts


def test_rendered_files_equal_the_golden_files(rendered):
    golden = {path.relative_to(GOLDEN).as_posix(): path for path in GOLDEN.rglob("*") if path.is_file()}
    assert set(rendered) == set(golden)
    for name, path in golden.items():
        assert rendered[name].encode() == path.read_bytes(), name


@pytest.mark.parametrize(
    ("image", "tag"),
    [("r:5000/a/b:x", "x"), (f"a/b:1@sha256:{'f' * 64}", "1"), (f"a/b@sha256:{'0' * 64}", "1.2.3"), ("r:5000/b", "1.2.3")],
)
def test_version_label_is_the_tag_of_the_image(monkeypatch, image, tag):
    monkeypatch.setattr(docker, "version", lambda: "1.2.3")
    text = docker.dockerfile(ServiceSpec(name="a", image=image, head="classify", weights=0), wheel="w.whl", torch="2")
    assert f'org.opencontainers.image.version="{tag}" \\\n' in text


def test_undefined_variable_is_an_error():
    with pytest.raises(jinja2.UndefinedError, match="max_replicas"):
        render("README.md", SERVICE, body=BODY)


def test_every_template_is_package_data():
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["package-data"]
    packaged = {path for pattern in patterns["hftool"] for path in (ROOT / "hftool").glob(pattern)}
    assert list(TEMPLATES.iterdir()) and set(TEMPLATES.iterdir()) <= packaged
