"""Which checkpoint of a run is kept, by which metric, and how that is reported."""

import json
import re

import pytest

from conftest import one_line, write_tsv
from hftool import workflow
from hftool.errors import UsageError


def rare(folder, every=10, count=80):
    """Two files in which one of `every` rows is positive, and a word tells."""
    rows = [
        {
            "text": f"{'a joy of a film' if i % every == 0 else 'a cold dull chore'} {chr(97 + i % 26)} {i}",
            "label": "no" if i % every else "yes",
        }
        for i in range(count)
    ]
    write_tsv(folder / "train.tsv", rows[: count * 3 // 4])
    write_tsv(folder / "dev.tsv", rows[count * 3 // 4 :])
    return ["--train", folder / "train.tsv", "--validation", folder / "dev.tsv"]


def begin(cli, tiny_bert, files, *more, out="run"):
    common = ("--out", out, "--batch-size", 16, "--epochs", 2, "--lr", 1e-5, "--offline")
    return cli("finetune", tiny_bert, *files, *common, *more)


@pytest.mark.parametrize(
    ("every", "more", "metric"),
    [
        (10, (), "macro_f1"),
        (2, (), "accuracy"),
        (3, (), "accuracy"),
        (10, ("--metric", "accuracy"), "accuracy"),
        (10, ("--metric", "mcc"), "mcc"),
        (10, ("--metric", "f1"), "f1"),
        (2, ("--metric", "loss"), "loss"),
        (2, ("--set", "metric=macro_f1"), "macro_f1"),
    ],
)
def test_imbalanced_classes_are_judged_by_macro_f1_by_default(cli, tiny_bert, tmp_path, every, more, metric):
    code, out, err = begin(cli, tiny_bert, rare(tmp_path, every), *more)
    assert code == 0, err
    assert re.search(rf"best at step \d+ of 8 by {metric}$", out, re.M)
    assert ("the classes are uneven: macro_f1 chooses" in err) == (every == 10 and not more)
    head_config = json.loads((tmp_path / "run" / "model" / "hftool.json").read_text())
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["deciding"] == metric and (head_config["measures"] or ["accuracy"])[0] == metric
    assert metric in head_config["metrics"]["validation"] and metric in metrics["validation"]
    code, out, err = cli("evaluate", "run", "--json")
    assert code == 0 and json.loads(out)[metric] == pytest.approx(metrics["validation"][metric], rel=1e-6), err


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("acuracy", "Did you mean 'accuracy'?"),
        ("rougeL", "one of accuracy, macro_f1, mcc, f1, loss for this task, not 'rougeL'. Correct --metric"),
        ("mean_absolute_error", "for this task, not 'mean_absolute_error'"),
        ("", "metric must be one of "),
        ("1", "metric must be one of "),
    ],
)
def test_an_unknown_metric_is_2_and_creates_nothing(cli, tiny_bert, tmp_path, metric, message):
    code, _, err = begin(cli, tiny_bert, rare(tmp_path), "--metric", metric)
    assert code == 2 and message in one_line(err.splitlines()[-1] + "\n") and not (tmp_path / "run").exists()


def test_a_task_keeps_its_own_measure_and_trainers_name_is_known(cli, tiny_bert, tmp_path):
    rows = [{"sentence": f"film number {i}", "label": str(int(i % 10 == 0))} for i in range(40)]
    write_tsv(tmp_path / "train.tsv", rows)
    code, out, err = begin(cli, tiny_bert, ["cola", "--train", tmp_path / "train.tsv"])
    assert code == 0 and "by mcc" in out and "uneven" not in err, err
    code, _, err = begin(cli, tiny_bert, rare(tmp_path), "--set", "metric_for_best_model=f1")
    assert code == 2 and "Did you mean 'metric'?" in err


def test_the_verdict_is_printed_and_in_the_json(cli, tiny_bert, tmp_path):
    code, out, err = begin(cli, tiny_bert, rare(tmp_path))
    assert code == 0, err
    message = [line for line in out.splitlines() if line.startswith("verdict     ")]
    assert re.search(r"all 20 validation rows are answered '(yes|no)': try --class-weights balanced", message[0])
    code, out, err = begin(cli, tiny_bert, rare(tmp_path), "--json", out="again")
    assert code == 0 and json.loads(out)["metrics"]["verdicts"] == [line.removeprefix("verdict     ") for line in message]


def test_a_plateau_of_the_metric_does_not_end_a_run_whose_loss_falls(tiny_bert, tmp_path):
    """The accuracy stands at that of the majority while the loss falls; then the rare class is predicted."""
    train, dev = rare(tmp_path, count=160)[1::2]
    knobs = {"train": str(train), "validation": str(dev), "epochs": 30, "batch_size": 16, "lr": 5e-4, "patience": 2}
    result = workflow.finetune(str(tiny_bert), config=knobs, out=tmp_path / "run", offline=True)
    lines = map(json.loads, (tmp_path / "run" / "log.jsonl").read_text().splitlines())
    history = [line["evaluation"]["macro_f1"] for line in lines if "evaluation" in line]
    assert history[0] == history[1] == history[2] < 0.5  # three evaluations alike: two that were not better
    assert result.metrics["validation"]["macro_f1"] == 1.0


def test_a_run_of_the_version_before_is_resumed(tiny_bert, tmp_path):
    """Its checkpoints have no losses, its card no scale."""
    train, dev = rare(tmp_path)[1::2]

    class Killed(BaseException):
        pass

    def kill(event):
        if event.kind == "evaluation":
            raise Killed

    knobs = {"train": str(train), "validation": str(dev), "epochs": 2, "batch_size": 16}
    with pytest.raises(Killed):
        workflow.finetune(str(tiny_bert), config=knobs, out=tmp_path / "run", offline=True, progress=kill)
    base = tmp_path / "run" / "base"
    head_config = json.loads((base / "hftool.json").read_text())
    del head_config["label_scale"]
    (base / "hftool.json").write_text(json.dumps(head_config | {"measures": []}))
    (base / "SHA256SUMS").unlink()
    result = workflow.resume(tmp_path / "run", offline=True)
    assert result.metrics["deciding"] == "accuracy" and result.run.is_finished()


def test_numbers_take_no_metric_of_labels(tiny_bert, tmp_path):
    rows = [{"text": f"film {i}", "label": f"{i}.5"} for i in range(30)]
    write_tsv(tmp_path / "train.tsv", rows)
    with pytest.raises(UsageError, match="mean_absolute_error, pearson, spearman, loss for this task, not 'accuracy'"):
        workflow.finetune(str(tiny_bert), str(tmp_path / "train.tsv"), config={"metric": "accuracy"}, out=tmp_path / "run")
