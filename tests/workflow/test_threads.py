"""Two threads of one process do not train at the same time."""

import threading

import pytest

from conftest import film_rows, write_tsv
from hftool import workflow
from hftool.errors import InputMissing, OutputUnavailable, UsageError
from hftool.storage.checksums import sha256

KNOBS = {"epochs": 1, "batch_size": 16}


@pytest.fixture
def train(tiny_bert, tmp_path):
    path = write_tsv(tmp_path / "train.tsv", film_rows(32))

    def begin(out, **more):
        return workflow.finetune(
            str(tiny_bert), "sst2", config=KNOBS | {"train": str(path)}, out=tmp_path / out, offline=True, **more
        )

    return begin


@pytest.mark.parametrize("when", ["notice", "plan", "step", "evaluation", "saved"])
def test_the_second_is_refused_and_the_first_is_not_disturbed(train, tmp_path, when):
    alone = train("alone")
    refused = []

    def work():
        try:
            train("second")
        except UsageError as error:
            refused.append(error.detail)

    def progress(event):
        if event.kind == when and not refused:
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()

    first = train("first", progress=progress)
    assert len(refused) == 1 and "another thread" in refused[0] and not (tmp_path / "second").exists()
    assert sha256(first.run.model / "model.safetensors") == sha256(alone.run.model / "model.safetensors")
    assert first.metrics["validation"] == alone.metrics["validation"]


def test_after_one_that_failed_the_next_may_train(train, tmp_path):
    (tmp_path / "there").mkdir()
    with pytest.raises(OutputUnavailable):
        train("there")
    with pytest.raises(InputMissing):
        workflow.resume(tmp_path / "nothing")
    assert train("again").run.is_finished()


def test_a_finished_run_is_resumed_by_one_thread_at_a_time(train):
    run = train("run").run.path
    notices = []

    def progress(event):
        with pytest.raises(UsageError, match="another thread"):
            workflow.resume(run)
        notices.append(event.text)

    workflow.resume(run, progress=progress)
    assert notices == [f"the run '{run}' is finished: nothing is left to do"]
