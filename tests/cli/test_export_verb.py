"""`hftool export` on the command line, and other verbs on an export."""

import dataclasses
import json
import shutil
import sys

import pytest

from conftest import one_line
from hftool.progress.display import number_text

TEXTS = ["a warm funny film", "a cold dull film"]


@pytest.fixture(scope="module")
def export(tiny_export):
    """What `workflow.export` returned for it."""
    from hftool.workflow._export import Exported

    return Exported(tiny_export, json.loads((tiny_export / "export.json").read_text(encoding="utf-8")))


def test_export_prints_the_checks(cli, tiny_run, monkeypatch, export):
    from hftool import workflow

    monkeypatch.setattr(workflow, "export", lambda *_, **__: export)
    code, out, err = cli("export", tiny_run, "--quantize", "int8", "--out", "x")
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert code == 0 and err == ""
    assert set(lines) == {"export", "parity", "int8", "accuracy", "size", "latency", "next"}
    assert "products" in lines["int8"] and "(16 rows)" in lines["accuracy"] and lines["next"].endswith('"TEXT"')
    code, out, _ = cli("export", tiny_run, "--out", "x", "--json")
    assert json.loads(out)["quantize"] == "int8"


def test_long_metric_name_is_separated_from_its_value(cli, tiny_run, monkeypatch, export):
    from hftool import workflow

    name = "mean_absolute_error"
    metrics = {"deciding": name, "before": {name: 1234.5678}, "after": {name: 0.00012}, "rows": 16}
    changed = dataclasses.replace(export, report={**export.report, "metrics": metrics})
    monkeypatch.setattr(workflow, "export", lambda *_, **__: changed)
    _, out, _ = cli("export", tiny_run, "--out", "x")
    line = next(line for line in out.splitlines() if line.startswith(name))
    assert line.split()[1] == number_text(1234.5678) and number_text(0.00012) in line


def test_export_answers_as_the_run(cli, tiny_run, export):
    answers = [json.loads(cli("classify", model, *TEXTS, "--json")[1]) for model in (tiny_run, export.path)]
    labels = [[row["label"] for row in _rows(answer)] for answer in answers]
    assert labels[0] == labels[1]
    code, out, _ = cli("evaluate", export.path, tiny_run.parent / "dev.tsv", "--json")
    assert code == 0 and json.loads(out)["rows"] == 16
    code, out, _ = cli("info", export.path, "--json")
    assert json.loads(out)["parameters"] > 0 and json.loads(out)["bytes_on_disk"] == export.report["bytes"]["after"]
    code, out, _ = cli("tokenize", export.path, "a film")
    assert code == 0 and "film" in out


def _rows(answer):
    return answer if isinstance(answer, list) else answer["answers"] if "answers" in answer else next(iter(answer.values()))


def test_snippet_of_the_export_card_runs(export, monkeypatch):
    page = (export.path / "README.md").read_text(encoding="utf-8")
    assert "from_pretrained(folder)" not in page and "{" not in page.split("## Use")[0].split("---")[2]
    code = page.split("## Use")[1].split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(export.path)
    result = {}
    run = compile(code, "README.md", "exec")
    exec(run, result)
    assert result["outputs"][0].shape == (1, 2)


def test_verify_finds_a_damaged_export(cli, export, tmp_path):
    code, _, _ = cli("verify", export.path)
    assert code == 0
    broken = shutil.copytree(export.path, tmp_path / "broken")
    content = bytearray((broken / "weights.data").read_bytes())
    content[-1] ^= 1
    (broken / "weights.data").write_bytes(content)
    code, _, err = cli("classify", broken, "a film")
    assert code == 65 and "not the file that was exported" in one_line(err)


def test_unsupported_verbs_on_an_export_are_one_line(cli, export, film_files):
    for words, code, part in (
        (("finetune", export.path, "--train", film_files / "train.tsv"), 78, "is an export"),
        (("export", export.path, "--out", "y"), 78, "is an export already"),
        (("embed", export.path, "a"), 2, "was exported to classify, not to embed"),
        (("classify", export.path, "a", "--device", "cuda"), 2, "graphs run on the CPU"),
    ):
        found, _, err = cli(*words)
        assert found == code and part in one_line(err.splitlines()[-1] + "\n"), err


@pytest.mark.parametrize(
    ("words", "code", "part"),
    [
        (("--to", "onxx"), 2, "Did you mean 'onnx'?"),
        (("--quantize", "int4"), 2, "Did you mean 'int8'?"),
        (("--head", "clasify"), 2, "Did you mean 'classify'?"),
    ],
)
def test_unknown_values_have_a_suggestion(cli, tiny_run, words, code, part):
    found, _, err = cli("export", tiny_run, "--out", "x", *words)
    assert found == code and part in one_line(err)


def test_existing_output_is_not_overwritten(cli, tiny_run, tmp_path):
    (tmp_path / "x").mkdir()
    code, _, err = cli("export", tiny_run, "--out", tmp_path / "x")
    assert code == 73 and "exists already" in one_line(err)


def test_untrained_head_cannot_be_exported(cli, tiny_bert, tmp_path):
    code, _, err = cli("export", tiny_bert, "--out", tmp_path / "x", "--head", "classify")
    assert code == 78 and "no trained head" in err and not (tmp_path / "x").exists()


def test_failed_parity_leaves_no_folder(cli, tiny_run, tmp_path, monkeypatch, export):
    def write_graph(model, sample, outputs, folder):
        for name in export.report["files"]:
            shutil.copy(export.path / name, folder)
        return export.report["graphs"]

    deploying = sys.modules["hftool.onnx_export.export_job"]
    monkeypatch.setattr(deploying, "write_graph", write_graph)  # it would write the same in seconds
    monkeypatch.setattr(deploying, "TOLERANCE", -1.0)
    code, _, err = cli("export", tiny_run, "--out", tmp_path / "x")
    assert code == 65 and "do not answer as the model does" in err.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []
