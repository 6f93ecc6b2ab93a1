"""A run is resumed whatever way its files were named, and wherever they lie now."""

import json
import shutil

import pytest

from conftest import film_rows, write_tsv
from hftool import workflow
from hftool.errors import ConfigError, InputMissing

KNOBS = {"batch_size": 8, "epochs": 2, "lr": 1e-3, "save_steps": 2}


class Killed(BaseException):
    """What ends a run in these tests, as a kill would: nothing of it is handled."""


def kill(event):
    if event.kind == "saved":
        raise Killed


@pytest.fixture
def tree(tiny_bert, tmp_path, monkeypatch):
    """The current folder, with a table, two splits, a folder of splits and a model."""
    home = tmp_path / "home"
    (home / "data").mkdir(parents=True)
    rows = film_rows(48)
    named = [{"text": row["sentence"], "label": row["label"]} for row in rows]
    write_tsv(home / "reviews.tsv", named)
    write_tsv(home / "train.tsv", named[:32])
    write_tsv(home / "dev.tsv", named[32:])
    write_tsv(home / "data" / "train.tsv", named[:32])
    write_tsv(home / "data" / "validation.tsv", named[32:])
    shutil.copytree(tiny_bert, home / "tiny")
    monkeypatch.chdir(home)
    return home


def begin(out="a", task="reviews.tsv", model="tiny", **knobs):
    """A run that was killed after its first checkpoint."""
    with pytest.raises(Killed):
        workflow.finetune(model, task, config=KNOBS | knobs, out=out, offline=True, progress=kill)


def resumed(run, **more):
    """The notices of a run that is resumed from its checkpoint and finishes."""
    notices = []
    result = workflow.resume(run, offline=True, progress=lambda event: notices.append(event.text), **more)
    assert "resuming after step 2 of " in "\n".join(notices) and result.run.is_finished()
    return notices


WAYS = {
    "one file": {"task": "reviews.tsv"},
    "dot and slash": {"task": "./reviews.tsv", "model": "./tiny"},
    "two files": {"task": None, "train": "train.tsv", "validation": "dev.tsv"},
    "a folder": {"task": "data"},
    "through the parent": {"task": "../home/data", "model": "../home/tiny"},
    "a file of a folder": {"task": "data/train.tsv", "validation": "dev.tsv"},
    "a known task": {"task": "sst2-mini", "train": None, "limit": 40},
    "files of a known task": {"task": "sst2-mini", "train": "sst/train.tsv", "validation": "sst/dev.tsv"},
}


@pytest.mark.parametrize("way", WAYS)
def test_a_run_of_files_named_by_relative_paths_is_resumed(tree, way, monkeypatch, tmp_path):
    (tree / "sst").mkdir()
    rows = film_rows(48)
    write_tsv(tree / "sst" / "train.tsv", rows[:32])
    write_tsv(tree / "sst" / "dev.tsv", rows[32:])
    begin("runs/a", **WAYS[way])
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    resumed("../home/runs/a")


def test_the_same_arguments_with_resume_continue_the_run(tree, tmp_path):
    begin()
    link = tmp_path / "link"
    link.symlink_to(tree)
    for task in ("reviews.tsv", str(link / "reviews.tsv")):
        again = {"config": KNOBS, "out": "a", "resume": True, "offline": True}
        with pytest.raises(Killed):
            workflow.finetune("tiny", task, progress=kill, **again)
    assert workflow.finetune(str(link / "tiny"), "./reviews.tsv", **again).run.is_finished()


def test_the_model_of_a_resumed_run_is_that_of_one_in_one_piece(tree):
    begin()
    resumed("a")
    workflow.finetune("tiny", "reviews.tsv", config=KNOBS, out="b", offline=True)
    for name in ("hftool.json", "model.safetensors"):
        assert (tree / "a/model" / name).read_bytes() == (tree / "b/model" / name).read_bytes()


def move(tree, tmp_path):
    shutil.move(tree, tmp_path / "moved")


def move_and_link(tree, tmp_path):
    shutil.move(tree, tmp_path / "moved")
    tree.symlink_to(tmp_path / "moved")


def copy(tree, tmp_path):
    shutil.copytree(tree, tmp_path / "moved")


@pytest.mark.parametrize("how", [move, move_and_link, copy])
@pytest.mark.parametrize("way", ["one file", "two files", "a folder"])
def test_a_run_is_resumed_after_its_tree_has_moved(tree, tmp_path, monkeypatch, how, way):
    begin(**WAYS[way])
    monkeypatch.chdir(tmp_path)
    how(tree, tmp_path)
    notices = resumed("moved/a")
    assert any("is used, which was" in text for text in notices if text) == (how is move)
    report = workflow.evaluate("moved/a", offline=True)
    assert report.metrics["rows"] > 0


def test_in_a_copy_of_the_tree_the_same_arguments_use_its_own_files(tree, tmp_path, monkeypatch):
    begin(model="./tiny")
    shutil.copytree(tree, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    again = {"config": KNOBS, "out": "a", "resume": True, "offline": True}
    assert workflow.finetune("./tiny", "reviews.tsv", **again).run.is_finished()
    write_tsv(tree / "other.tsv", film_rows(4))
    with pytest.raises(ConfigError, match=r"task was .*reviews\.tsv, now .*other\.tsv"):
        workflow.finetune("./tiny", str(tree / "other.tsv"), **again)


def test_a_file_that_moved_alone_is_named_anew(tree, tmp_path):
    begin()
    shutil.move("reviews.tsv", tmp_path / "other.tsv")
    with pytest.raises(InputMissing, match=r"reviews\.tsv"):
        workflow.resume("a", offline=True)
    again = {"config": KNOBS, "out": "a", "resume": True, "offline": True}
    assert workflow.finetune("tiny", str(tmp_path / "other.tsv"), **again).run.is_finished()


@pytest.mark.parametrize("moved", [False, True])
def test_other_content_is_refused_wherever_it_lies(tree, tmp_path, monkeypatch, moved):
    begin()
    monkeypatch.chdir(tmp_path)
    if moved:
        shutil.move(tree, tmp_path / "moved")
    home = tmp_path / "moved" if moved else tree
    with open(home / "reviews.tsv", "a", encoding="utf-8") as file:
        file.write("one more\t1\n")
    with pytest.raises(ConfigError, match=r"has changed: '[^']*reviews\.tsv'"):
        workflow.resume(home / "a", offline=True)


def test_swapped_splits_are_refused(tree):
    begin(task=None, train="train.tsv", validation="dev.tsv")
    shutil.move("train.tsv", "was")
    shutil.move("dev.tsv", "train.tsv")
    shutil.move("was", "dev.tsv")
    with pytest.raises(ConfigError, match="has changed"):
        workflow.resume("a", offline=True)


@pytest.mark.parametrize("key", ["reviews.tsv", "./reviews.tsv", "../home/reviews.tsv", "{}/reviews.tsv"])
def test_runs_of_the_version_before_are_resumed(tree, key):
    """Its manifest had paths as they were typed, and neither splits nor its own place."""
    begin()
    path = tree / "a" / "manifest.json"
    created = json.loads(path.read_text(encoding="utf-8"))
    (digest,) = created["data"].values()
    del created["data_splits"], created["run"]
    path.write_text(json.dumps(created | {"data": {key.format(tree): digest}}), encoding="utf-8")
    resumed("a")


def test_a_changed_file_of_a_run_of_the_version_before_is_refused(tree):
    begin()
    path = tree / "a" / "manifest.json"
    created = json.loads(path.read_text(encoding="utf-8"))
    del created["data_splits"], created["run"]
    path.write_text(json.dumps(created | {"data": {"reviews.tsv": "0" * 64}}), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"has changed: 'reviews\.tsv'"):
        workflow.resume("a", offline=True)


@pytest.fixture
def shards(tree):
    """A folder whose train split is in two files."""
    folder = tree / "shards"
    folder.mkdir()
    lines = [json.dumps({"text": row["sentence"], "label": row["label"]}) + "\n" for row in film_rows(48)]
    for location, part in enumerate((lines[:20], lines[20:40])):
        (folder / f"train-0000{location}-of-00002.jsonl").write_text("".join(part), encoding="utf-8")
    (folder / "validation.jsonl").write_text("".join(lines[40:]), encoding="utf-8")
    return folder


def test_the_files_of_a_split_in_several_are_in_the_manifest_and_are_resumed(shards, tree, monkeypatch, tmp_path):
    begin(task="shards")
    created = json.loads((tree / "a" / "manifest.json").read_text(encoding="utf-8"))
    assert sorted(created["data"]) == sorted(map(str, shards.iterdir()))
    assert len(created["data_splits"]) == 3
    monkeypatch.chdir(tmp_path)
    resumed("home/a")


def test_a_split_in_several_files_by_a_relative_name_is_resumed_from_elsewhere_and_when_moved(
    shards, tree, monkeypatch, tmp_path
):
    """As `--train 'shards/train-*-of-00002.jsonl'` names it."""
    begin(task=None, train="shards/train-*-of-00002.jsonl", validation="shards/validation.jsonl")
    monkeypatch.chdir(tmp_path)
    tree.rename(tmp_path / "moved")
    resumed("moved/a")


@pytest.mark.parametrize("location", [0, 1])
def test_a_changed_file_of_a_split_in_several_is_seen(shards, location):
    begin(task="shards")
    path = shards / f"train-0000{location}-of-00002.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join([*lines[1:], lines[0]]), encoding="utf-8")
    with pytest.raises(ConfigError, match=rf"has changed: .*train-0000{location}-of-00002\.jsonl"):
        workflow.resume("a", offline=True)
