"""evaluate --metric: a module of the `evaluate` library through one adapter; code of the Hub only where it is trusted by name."""

import pytest

import hftool
from hftool.errors import DataError, HubUnreachable, InputMissing, Refused, UsageError
from support import families

SCRIPT = """
import datasets
import evaluate


class Share(evaluate.Metric):
    def _info(self):
        return evaluate.MetricInfo(description="", citation="", inputs_description="", features=datasets.Features({FEATURES}))

    def _compute(self, predictions, references):
        right = [p == r for p, r in zip(predictions, references)]
        return {"share": sum(right) / len(right), "first": str(predictions[0])[:20]}
"""
INTS = '{"predictions": datasets.Value("int64"), "references": datasets.Value("int64")}'
WORDS = '{name: datasets.Sequence(datasets.Value("string")) for name in ("predictions", "references")}'
SPANS = (
    '{"predictions": {"id": datasets.Value("string"), "prediction_text": datasets.Value("string")}, "references": '
    '{"id": datasets.Value("string"), "answers": datasets.Sequence({"text": datasets.Value("string"), '
    '"answer_start": datasets.Value("int32")})}}'
)
TEXTS = '{name: datasets.Value("string") for name in ("predictions", "references")}'


@pytest.fixture
def script(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))

    def write(features, name="share"):
        path = tmp_path / name / f"{name}.py"
        path.parent.mkdir()
        path.write_text(SCRIPT.replace("{FEATURES}", features))
        return str(path)

    return write


@pytest.mark.parametrize(
    ("family", "head_case", "features"),
    [("bert", "classify", INTS), ("bert", "tag", WORDS), ("bert", "answer", SPANS), ("t5", "text2text", TEXTS)],
)
def test_a_script_measures_the_answers_of_each_kind(family, head_case, features, script, tmp_path):
    run = families.trained_run(family, head_case)[0].run.path
    path = families.write_jsonl(tmp_path / "rows.jsonl", families.HEAD_CASES[head_case][1](16))
    metrics = hftool.evaluate(run, path, metric=script(features, f"share_{head_case}"), offline=True).metrics
    assert metrics["module"]["name"].endswith(f"share_{head_case}.py") and isinstance(metrics["module"]["share"], float)
    if head_case == "classify":
        assert metrics["module"]["share"] == metrics["accuracy"]


def test_the_command_line_shows_its_numbers(cli, script, tiny_run):
    code, out, err = cli("evaluate", tiny_run, "--split", "validation", "--metric", script(INTS), "--offline")
    assert code == 0 and any(line.split()[0] == "share" for line in out.splitlines()), err


def test_a_name_on_the_hub_is_code_and_refused_unless_it_is_named_twice(tiny_run):
    with pytest.raises(Refused, match="is code on the Hub.* --trust-metric accuracy"):
        hftool.evaluate(tiny_run, metric="accuracy")
    with pytest.raises(Refused):
        hftool.evaluate(tiny_run, metric="accuracy", trust_metric="f1")
    with pytest.raises(HubUnreachable, match="Offline, name a local script"):
        hftool.evaluate(tiny_run, metric="accuracy", trust_metric="accuracy", offline=True)


def test_what_cannot_be_used_is_one_line(tiny_run, script, tmp_path):
    with pytest.raises(InputMissing, match="no metric script"):
        hftool.evaluate(tiny_run, metric=str(tmp_path / "none.py"))
    (tmp_path / "broken.py").write_text("1 / 0")
    with pytest.raises(DataError, match="cannot be loaded: "):
        hftool.evaluate(tiny_run, metric=str(tmp_path / "broken.py"))
    (tmp_path / "leaving.py").write_text("raise SystemExit('no')")
    with pytest.raises(DataError, match="cannot be loaded: no"):
        hftool.evaluate(tiny_run, metric=str(tmp_path / "leaving.py"))
    with pytest.raises(DataError, match="' failed: "):
        hftool.evaluate(tiny_run, split="validation", metric=script(SPANS, "spans"))
    writer = families.trained_run("gpt2", "generate")[0].run.path
    with pytest.raises(UsageError, match="no predictions to measure"):
        hftool.evaluate(writer, metric=script(TEXTS, "texts"))
