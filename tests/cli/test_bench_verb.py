"""`hftool bench` on the command line: one line and the right code for bad input, a table, one document with --json."""

import json

import pytest

from conftest import one_line
from support import families

ARM = {
    "rate": 1234.5,
    "rates": [1200.0, 1269.0],
    "spread": [1200.0, 1269.0],
    "same": 1.0,
    "fault": "",
    "number_format": "bf16",
    "padding": 0.0,
    "gflop_s": 12.34,
    "of_R": 0.5,
    "gb_s": None,
    "of_B": None,
    "peak_memory": 5e8,
}
DOCUMENT = {
    "kind": "infer",
    "model": "m",
    "unit": "texts",
    "rounds": 2,
    "work": {"rows": 8, "from": "sst2-mini", "tokens": 12.5, "head": "classify", "gflop": 0.01},
    "machine_rates": {"fp32": 100.0, "bf16": 200.0, "fp16": None, "memory": 20.0},
    "floor": {"fp32": 10000.0, "bf16": 20000.0},
    "arms": {"hftool": ARM, "pipeline": {**ARM, "rate": 98.7, "number_format": "fp32", "padding": 0.314}},
    "times": {"pipeline": 12.5},
    "left_out": {"ctranslate2 int8": "CTranslate2 converts the encoders of bert, not of roberta"},
}


@pytest.fixture
def measured(monkeypatch):
    """The jobs that the command measures; each has DOCUMENT as its result."""
    jobs = []
    monkeypatch.setattr(
        "hftool.benchmark.benchmark.run_benchmark", lambda job, **more: jobs.append(job) or json.loads(json.dumps(DOCUMENT))
    )
    return jobs


def test_the_options_are_the_job(measured, cli):
    words = ["--rounds", "3", "--seconds", "9", "--limit", "40", "--batch-size", "8", "--precision", "fp32, auto", "--offline"]
    code, _, err = cli("bench", "infer", "bert", "--against", "openvino,pipeline", "--file", "a.tsv", *words)
    (job,) = measured
    assert code == 0 and err == "" and job.against == ("openvino", "pipeline") and job.precisions == ("fp32", "auto")
    assert (job.rounds, job.seconds, job.rows, job.batch, job.file, job.offline) == (3, 9, 40, 8, "a.tsv", True)


def test_the_table_has_each_engine_and_what_the_machine_allows(measured, cli):
    code, out, _ = cli("bench", "infer", "bert")
    assert code == 0 and measured[0].against == ("pipeline",)
    lines = [line.split() for line in out.splitlines()]
    assert ["hftool", "1,234", "1,200", "1,269", "bf16", "0%", "12.3", "50%", "-", "-", "500"] in lines
    assert ["pipeline", "98.7", "1,200", "1,269", "fp32", "31%", "12.3", "50%", "-", "-", "500"] in lines
    assert "hftool is 12.50 times pipeline" in out and "ctranslate2 int8 is left out: CTranslate2 converts" in out
    assert "R fp32 100, bf16 200 GFLOP/s; B 20.0 GB/s; 0.01 GFLOP a text" in out
    assert out.endswith("R and B allow fp32 10,000, bf16 20,000 texts/s\n")


def test_json_is_one_document_and_so_is_the_file(measured, cli, tmp_path):
    code, out, _ = cli("bench", "infer", "bert", "--json", "--out", str(tmp_path / "a.json"))
    assert code == 0 and json.loads(one_line(out)) == DOCUMENT == json.loads((tmp_path / "a.json").read_text())
    code, _, err = cli("bench", "infer", "bert", "--out", str(tmp_path / "a.json"))
    assert code == 73 and "exists already" in one_line(err) and len(measured) == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["infr", "bert"], "unknown kind of work 'infr'. Did you mean 'infer'?"),
        (["infer", "bert", "--against", "pipelin"], "unknown peer 'pipelin'. Did you mean 'pipeline'?"),
        (["train", "bert", "--against", "openvino"], "'openvino' cannot be measured beside hftool bench train. Peers: trainer"),
        (["infer", "bert", "--precision", "fp8"], "unknown precision 'fp8'. Did you mean 'fp32'?"),
        (["infer", "bert", "--rounds", "0"], "--rounds must be a whole number of at least 1, not '0'"),
    ],
)
def test_bad_words_are_one_line(words, says, cli):
    code, out, err = cli("bench", *words)
    assert code == 2 and out == "" and says in one_line(err)


def test_a_model_that_generates_is_not_measured_by_infer(cli):
    folder = families.folder("gpt2")
    code, out, err = cli("bench", "infer", folder, "--against", "none", "--offline")
    assert code == 2 and out == "" and f"hftool bench generate {folder}" in one_line(err)
