"""A built wheel works from another folder: the command, the recipes, the bundled data, the types marker."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The wheel, unpacked into a folder that comes before the checkout on the path."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # a copy: setuptools leaves a build folder, whose old files would be in the next wheel
    for name in ("hftool", "recipes"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    site = folder / "site"
    with zipfile.ZipFile(next(folder.glob("hftool_recipes-*.whl"))) as wheel:
        wheel.extractall(site)
    return site


def run(installed, tmp_path, *words):
    environment = {**os.environ, "PYTHONPATH": str(installed), "HF_HUB_OFFLINE": "1"}
    return subprocess.run([sys.executable, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)


def test_the_wheel_is_what_runs(installed, tmp_path):
    done = run(installed, tmp_path, "-c", "import hftool, recipes.bert; print(hftool.__file__, recipes.bert.__file__)")
    assert done.stdout.split() == [str(installed / "hftool" / "__init__.py"), str(installed / "recipes" / "bert.py")], (
        done.stderr
    )


def test_nothing_but_the_two_packages_is_in_it(installed):
    tops = {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")}
    assert tops == {"hftool", "recipes"}
    assert (installed / "hftool" / "py.typed").is_file()


def test_bundled_data_and_copy_work_from_the_wheel(installed, tmp_path):
    code = (
        "from hftool.workflow.resolve import ASSETS; print(len((ASSETS / 'data/sst2-mini/train.tsv').read_text().splitlines()))"
    )
    assert run(installed, tmp_path, "-c", code).stdout.strip() == "1061"
    done = run(installed, tmp_path, "-m", "hftool", "copy", "bert")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "bert.py").read_text() == (ROOT / "recipes" / "bert.py").read_text()
    assert run(installed, tmp_path, "-m", "hftool", "--version").stdout.startswith("hftool 0.")


def test_an_editable_install_is_found_from_the_folder_that_holds_the_clone(tmp_path):
    """There the clone itself, a folder called hftool without __init__.py, comes first on the path."""
    source, site = tmp_path / "hftool", tmp_path / "site"
    for name in ("hftool", "recipes"):
        (source / name).mkdir(parents=True)
        (source / name / "__init__.py").write_text("", encoding="utf-8")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    site.mkdir()
    build = f"from setuptools import build_meta; build_meta.build_editable({str(site)!r})"
    done = subprocess.run([sys.executable, "-c", build], cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    with zipfile.ZipFile(next(site.glob("*.whl"))) as wheel:
        wheel.extractall(site)
    code = f"import site; site.addsitedir({str(site)!r}); import hftool, recipes; print(hftool.__file__, recipes.__file__)"
    # -ES: without the hftool of this environment
    done = subprocess.run([sys.executable, "-ES", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.split() == [str(source / name / "__init__.py") for name in ("hftool", "recipes")], done.stderr
