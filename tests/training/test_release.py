"""A finished run removes the optimizer's state, and keeps all that a model consists of."""

import json
import shutil

import pytest

from conftest import film_rows, write_tsv
from hftool import workflow
from hftool.errors import ConfigError
from hftool.training.checkpoints import CheckpointManager, verify_checkpoint
from hftool.training.loop import Trainer
from support.crash_injection import KILLED, finish, leftovers

KNOBS = {"epochs": 3, "batch_size": 16, "lr": 1e-3, "keep": 3}


@pytest.fixture(scope="module")
def finished(tiny_bert, tmp_path_factory):
    """A finished run, and a copy of it as the version before left it."""
    folder = tmp_path_factory.mktemp("release")
    write_tsv(folder / "train.tsv", film_rows(48))
    knobs = KNOBS | {"train": str(folder / "train.tsv")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hftool.workflow._finetune._release", lambda store, progress: None)
        workflow.finetune(str(tiny_bert), "sst2", config=knobs, out=folder / "old", offline=True)
    return folder


@pytest.fixture
def old(finished, tmp_path):
    return shutil.copytree(finished / "old", tmp_path / "run")


def optimizers(run):
    return [path.parent.name for path in sorted(run.glob("checkpoints/*/optimizer.safetensors"))]


def check_whole(run, tmp_path, name="saved"):
    """The run is finished and verified, and every checkpoint can be saved as a model."""
    assert optimizers(run) == [] and leftovers(run) == []
    files = workflow.verify(run).files
    steps = [f"step-{step:06d}" for step in CheckpointManager(run / "checkpoints").steps()]
    assert len(steps) == 3 and all(f"checkpoints/{step}/model.safetensors" in files for step in steps)
    for checkpoint in ("best", "last", *steps):
        saved = workflow.save(run, out=tmp_path / f"{name}-{checkpoint}", checkpoint=checkpoint)
        assert workflow.classify(str(saved), ["a warm film"])[0]["label"] in ("negative", "positive")


def test_a_finished_run_has_no_state_of_the_optimizer(tiny_bert, finished, tmp_path):
    knobs = KNOBS | {"train": str(finished / "train.tsv")}
    run = workflow.finetune(str(tiny_bert), "sst2", config=knobs, out=tmp_path / "run", offline=True).run.path
    check_whole(run, tmp_path)
    for step in CheckpointManager(run / "checkpoints").steps():
        state = json.loads((run / "checkpoints" / f"step-{step:06d}" / "state.json").read_text())
        assert state["step"] == step and "optimizer" in state


def test_a_run_that_an_older_version_finished_removes_it_when_it_is_resumed(old, tmp_path):
    assert len(optimizers(old)) == 3
    workflow.resume(old)
    check_whole(old, tmp_path)


def test_a_run_that_is_not_finished_keeps_it(old):
    (old / "metrics.json").unlink()
    assert len(optimizers(old)) == 3
    workflow.verify(old)


@pytest.mark.parametrize("missing", ["metrics.json", "model"])
def test_a_run_without_it_measures_and_saves_again(old, tmp_path, missing):
    workflow.resume(old)
    before = json.loads((old / "metrics.json").read_text())
    path = old / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    again = workflow.resume(old, offline=True).metrics
    assert again["validation"] == before["validation"] and again["best_step"] == before["best_step"]
    check_whole(old, tmp_path)


def test_training_never_resumes_without_it(old, monkeypatch):
    workflow.resume(old)
    (old / "metrics.json").unlink()
    monkeypatch.setattr(Trainer, "_is_over", lambda self: False)
    with pytest.raises(ConfigError, match="has no optimizer state to resume from"):
        workflow.resume(old, offline=True)


def test_a_checkpoint_without_it_otherwise_is_damaged(old):
    folder = CheckpointManager(old / "checkpoints").path(CheckpointManager(old / "checkpoints").steps()[0])
    (folder / "optimizer.safetensors").unlink()
    with pytest.raises(ConfigError, match="is damaged"):
        verify_checkpoint(folder)
    sealed = json.loads((folder / "MANIFEST.json").read_text())
    del sealed["files"]["optimizer.safetensors"]
    (folder / "MANIFEST.json").write_text(json.dumps(sealed))
    with pytest.raises(ConfigError, match="is damaged"):
        verify_checkpoint(folder)


@pytest.fixture(scope="module")
def operations(finished):
    """The number of disk operations that the removal takes."""
    run = shutil.copytree(finished / "old", finished / "traced")
    trace = finished / "trace"
    outcome = finish(finished / "output", ["resume", run, "-q"], trace=trace)
    assert outcome.code == 0, outcome.err
    return len(trace.read_text().splitlines())


QUICK = (0.0, 0.6)
MORE = (0.4, 0.8, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0)


@pytest.mark.parametrize("share", [*QUICK, *(pytest.param(share, marks=pytest.mark.slow) for share in MORE)])
def test_killed_during_the_removal_a_run_is_finished_and_complete(old, operations, tmp_path, share):
    at = 1 + round(share * (operations - 1))
    assert finish(tmp_path / "output", ["resume", old, "-q"], at=at).code == KILLED
    workflow.verify(old)
    saved = workflow.save(old, out=tmp_path / "at-once", checkpoint="last")
    assert workflow.classify(str(saved), ["a warm film"])
    events = []
    workflow.resume(old, progress=lambda event: events.append(event.text))
    assert events == [f"the run '{old}' is finished: nothing is left to do"]
    check_whole(old, tmp_path)


def test_a_run_that_cannot_be_written_stays_as_it_is(old, monkeypatch):
    def refuse(path, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hftool.storage.atomic.link", refuse)
    events = []
    assert workflow.resume(old, progress=lambda event: events.append(event.text)).metrics["best_step"]
    assert "the optimizer states are kept" in events[1] and len(optimizers(old)) == 3
    workflow.verify(old)
