"""Project files agree with each other: licence, metadata, pinned tools, workflows and make targets."""

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
WORKFLOWS = {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / ".github" / "workflows").glob("*.yml")}


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def pins():
    """Name -> version in constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return {canonical(name): version for name, _, version in (line.partition("==") for line in lines if "==" in line)}


def steps():
    """Each command of each workflow."""
    jobs = [job for workflow in WORKFLOWS.values() for job in workflow["jobs"].values()]
    return [step.get("run", "") for job in jobs for step in job["steps"]]


def test_licence_file_is_the_declared_one():
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert PROJECT["license"] == "Apache-2.0" and "Version 2.0, January 2004" in text
    assert PROJECT["authors"] == [{"name": "The hftool authors"}] and "Copyright 2026 The hftool authors" in text


def test_every_direct_dependency_is_pinned():
    """Except those of the extra `bench`, which the benchmarks compare with."""
    extras = [line for name, lines in PROJECT["optional-dependencies"].items() if name != "bench" for line in lines]
    names = {canonical(re.match(r"[\w.-]+", line)[0]) for line in [*PROJECT["dependencies"], *extras]}
    assert names - {"hftool-recipes", "setuptools"} <= set(pins())


def test_pre_commit_tools_have_the_pinned_versions():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    used = dict(one.split("==") for hook in hooks for one in hook["additional_dependencies"])
    assert used["ruff"] == pins()["ruff"]
    assert all(version for version in used.values())


def test_every_supported_python_is_tested():
    assert PROJECT["requires-python"] == ">=3.11"
    assert WORKFLOWS["test"]["jobs"]["linux"]["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13", "3.14"]
    assert set(WORKFLOWS["test"]["jobs"]) == {"checks", "linux", "others", "lowest", "newest", "docs"}


def test_classifiers_are_what_is_tested():
    versions = WORKFLOWS["test"]["jobs"]["linux"]["strategy"]["matrix"]["python"]
    prefix = "Programming Language :: Python :: 3."
    assert [f"3.{name.removeprefix(prefix)}" for name in PROJECT["classifiers"] if name.startswith(prefix)] == versions
    systems = {name.split(" :: ")[-1] for name in PROJECT["classifiers"] if name.startswith("Operating System")}
    names = {"ubuntu-latest": "Linux", "windows-latest": "Windows", "macos-latest": "MacOS"}
    jobs = WORKFLOWS["test"]["jobs"]
    assert systems == {names[name] for name in [jobs["linux"]["runs-on"], *jobs["others"]["strategy"]["matrix"]["os"]]}


def test_ignores_of_the_linter_name_files_that_exist():
    ignores = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]["lint"]["per-file-ignores"]
    assert [pattern for pattern in ignores if not list(ROOT.glob(pattern))] == []


def test_format_and_types_are_checked_before_a_commit_and_by_make():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    assert {"ruff", "ruff-format", "mypy"} <= {hook["id"] for hook in hooks}
    assert "ruff format --check ." in MAKEFILE


def test_workflows_and_makefile_use_the_same_torch():
    pinned = re.search(r"^TORCH = (\S+)$", MAKEFILE, flags=re.MULTILINE)[1]
    assert pinned == f"torch=={pins()['torch']}"
    assert {workflow["env"]["TORCH"].split()[0] for workflow in WORKFLOWS.values()} == {pinned}


def test_mentioned_make_targets_exist():
    targets = set(re.findall(r"^(\w+):", MAKEFILE, flags=re.MULTILINE))
    phony = set(re.search(r"^\.PHONY: (.*)$", MAKEFILE, flags=re.MULTILINE)[1].split())
    assert phony == targets
    named = {word for command in steps() for word in re.findall(r"\bmake (\w+)", command)}
    for page in ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "docs/index.md", "docs/quickstart.md", "docs/install.md"):
        named |= set(re.findall(r"`make (\w+)", (ROOT / page).read_text(encoding="utf-8")))
    assert named <= targets
    table = re.findall(r"^\| `make (\w+)", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert sorted(table) == sorted(targets)
    assert any("make newest" in command for command in steps())


def test_changelog_version_headings_follow_the_format():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.*)$", text, flags=re.MULTILINE)[0] == "[Unreleased]"
    assert set(re.findall(r"^### (.*)$", text, flags=re.MULTILINE)) <= {
        *("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")
    }
