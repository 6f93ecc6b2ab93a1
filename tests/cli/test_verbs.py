"""Each verb on a real run: its text, and its document with --json."""

import io
import json
import os
import shlex
import sys
import time

import pytest

from conftest import one_line
from hftool.cli.next_command import next_command
from support import forked


def document(answer):
    code, out, err = answer
    assert code == 0, err
    return json.loads(out)


def test_classify_answers_each_line_of_a_pipe_in_order(cli, tiny_run):
    code, out, err = cli("classify", tiny_run, stdin="\ufeffa warm funny film\n\na cold dull film\r\n")
    lines = [line.split("\t") for line in out.splitlines()]
    assert code == 0 and err == "" and [line[-1] for line in lines] == ["a warm funny film", "", "a cold dull film"]
    assert float(lines[0][1]) > 0.5


def test_classify_json_has_all_labels_or_the_best(cli, tiny_run):
    whole = document(cli("classify", tiny_run, "a joy to watch", "", "--json"))
    assert whole["stand_in"] == {} and whole["answers"][1] == {"text": "", "label": None}
    assert set(whole["answers"][0]["probabilities"]) == {"negative", "positive"}
    best = document(cli("classify", tiny_run, "a joy to watch", "--json", "--top-k", "1"))["answers"][0]
    assert best["probabilities"] == {best["label"]: best["probability"]}


def test_classify_text_after_two_dashes_and_one_pair_only(cli, tiny_run):
    code, out, _ = cli("classify", tiny_run, "--", "-5 degrees")
    assert code == 0 and out.endswith("\t-5 degrees\n")
    code, out, err = cli("classify", tiny_run, "a", "b", "--pair", "c")
    assert (code, out) == (2, "") and one_line(err).startswith("hftool: --pair takes one TEXT")


def test_empty_stdin_and_invalid_utf8_are_65(cli, tiny_run, monkeypatch):
    code, out, err = cli("classify", tiny_run)
    assert (code, out) == (65, "") and one_line(err).startswith("hftool: stdin is empty and there is no TEXT. ")
    code, out, err = cli("tokenize", tiny_run, stdin="good\nbad \udcff\n")
    assert (code, out) == (65, "") and one_line(err).startswith("hftool: stdin is not UTF-8: byte 0xff in line 2. ")
    from hftool.cli.options import texts_or_stdin
    from hftool.errors import DataError

    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"ab\xff"), encoding="utf-8"))
    with pytest.raises(DataError, match=r"^stdin is not utf-8: byte 0xff at offset 2\. "):
        texts_or_stdin(None)


def test_on_a_terminal_no_text_shows_the_help(cli, tiny_run, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr("io.StringIO", Terminal)
    for verb in ("classify", "tokenize"):
        code, out, _ = cli(verb, tiny_run)
        assert code == 0 and out.startswith(f"Usage: hftool {verb} MODEL [TEXT...] [OPTIONS]")


def test_tokenize_shows_what_the_model_sees(cli, tiny_bert):
    code, out, _ = cli("tokenize", tiny_bert, "a warm funny film", "--max-length", "4")
    assert code == 0 and [line.split()[0] for line in out.splitlines()] == ["tokens", "ids", "mask", "cut"]
    rows = document(cli("tokenize", tiny_bert, "a film", "--json"))
    assert rows[0]["text"] == "a film" and len(rows[0]["ids"]) == len(rows[0]["mask"])


def test_evaluate_prints_a_report_or_one_document(cli, tiny_run, tmp_path):
    code, out, _ = cli("evaluate", tiny_run, "--split", "validation", "--out", "wrong.csv")
    assert code == 0 and out.startswith("validation: 16 rows") and "macro_f1" in out and "precision" in out
    result = document(cli("evaluate", tiny_run, "--split", "validation", "--limit", "5", "--json", "--out", "w.jsonl"))
    assert result["split"] == "validation" and result["rows"] == 5 and 0 <= result["accuracy"] <= 1 and "stand_in" in result


def test_predict_to_a_file_and_to_a_pipe(cli, tiny_run):
    dev = tiny_run.parent / "dev.tsv"
    code, out, _ = cli("predict", tiny_run, dev, "--out", "a.csv")
    assert code == 0 and out == "16 rows in a.csv\n"
    assert document(cli("predict", tiny_run, dev, "--out", "b.csv", "--json"))["rows"] == 16
    code, out, err = cli("predict", tiny_run, dev, "-q")
    assert (
        code == 0
        and err == ""
        and [json.loads(line)["sentence"] for line in out.splitlines()]
        == [line.split("\t")[0] for line in dev.read_text().splitlines()[1:]]
    )


def test_info_save_and_copy(cli, tiny_run, tmp_path):
    code, out, _ = cli("info", tiny_run, "--batch-size", "2")
    assert code == 0 and "negative, positive" in out and "for 2 rows of 128 tokens" in out
    assert document(cli("info", tiny_run, "--json"))["head"] == "classify"
    assert document(cli("save", tiny_run, "--out", "m", "--json")) == {"path": "m"}
    code, out, _ = cli("save", tiny_run, "--out", "n", "-q")
    assert (code, out) == (0, "saved in n\n") and (tmp_path / "n" / "hftool.json").is_file()
    assert document(cli("copy", "bert", "--json")) == {"path": "bert.py"}
    code, out, err = cli("copy", "bert")
    assert (code, out) == (73, "") and one_line(err).startswith("hftool: the output 'bert.py' exists already")
    (tmp_path / "bert.py").unlink()
    assert cli("copy", "bert")[1] == "bert.py is yours now. Run it: python bert.py\n"
    assert (
        cli("copy", "bert", "--out", "b/my own.py", "-q")[:2] == (0, "b/my own.py\n") and (tmp_path / "b/my own.py").is_file()
    )
    assert cli("copy", "t5", "--out", "my t5.py")[1] == "my t5.py is yours now. Run it: python 'my t5.py'\n"
    code, out, err = cli("copy", "t5", "--out", "my t5.py")
    assert (code, out) == (73, "") and one_line(err).endswith("Choose another --out, or remove it")
    code, out, err = cli("save", tiny_run, "--out", "n")
    assert (code, out) == (73, "") and one_line(err).startswith("hftool: the output 'n' exists already")


@pytest.mark.parametrize(
    ("head", "columns", "line"),
    [
        ("classify", {"text": "a", "label": "c"}, 'hftool classify "TEXT"'),
        ("classify", {"text": "a", "text_pair": "b", "label": "c"}, 'hftool classify "TEXT" --pair "TEXT"'),
        ("embed", {"text": "a", "text_pair": "b", "label": "c"}, 'hftool embed "TEXT"'),
        ("answer", {}, 'hftool answer --question "TEXT" --context "TEXT"'),
        ("fill", {}, 'hftool fill "TEXT with a [MASK]"'),
        ("tag", {}, 'hftool tag "TEXT"'),
    ],
)
def test_next_command(head, columns, line):
    assert next_command("my run", {"head": head, "columns": columns}).replace(" 'my run'", "") == line


def test_next_command_of_a_pair_model_runs(cli, tiny_bert, tmp_path):
    rows = [f"a film number {i}\tit is {('cold', 'warm')[i % 2]} {i}\t{i % 2}" for i in range(24)]
    (tmp_path / "pairs.tsv").write_text("\n".join(["sentence1\tsentence2\tlabel", *rows]) + "\n", encoding="utf-8")
    code, out, err = cli("finetune", tiny_bert, "pairs.tsv", "--out", "p q", "--epochs", "1", "--offline")
    assert code == 0, err
    [line] = [line.removeprefix("next").strip() for line in out.splitlines() if line.startswith("next")]
    assert line == 'hftool classify \'p q\' "TEXT" --pair "TEXT"'
    assert cli(*shlex.split(line)[1:])[0] == 0


def test_models_and_tasks_for_a_person_and_a_program(cli):
    for verb in ("models", "tasks"):
        whole, rows = cli(verb)[1], cli(verb, "-q")[1]
        assert whole.startswith("name") and rows in whole and not rows.startswith("name") and "untrained:" not in rows
    for verb in ("models", "tasks"):
        rows = document(cli(verb, "--json"))
        table, _, families = cli(verb)[1].partition("\n\n")
        assert [line.split()[0] for line in table.splitlines()[1:]] == [row["name"] for row in rows]
        if verb == "models":
            can = {line.split()[0]: line for line in families.splitlines()}
            assert set(can) == {row["family"] for row in rows}
            assert all(head in can[row["family"]] for row in rows for head in row["heads"])


def finetune(cli, tiny_bert, *words):
    files = ("--train", "train.tsv", "--validation", "dev.tsv")
    return cli("finetune", tiny_bert, "sst2", *files, "--max-steps", "2", "--batch-size", "8", *words)


def test_flag_wins_over_set_and_set_over_the_file(cli, tiny_bert, film_files):
    (film_files / "c.yaml").write_text("seed: 1\nlr: 1e-3\nclip: 2\ncolumns: {text: other, label: label}\n", encoding="utf-8")
    words = ("--config", "c.yaml", "--set", "seed=2", "--set", "lr=2e-3", "--seed", "3", "--text", "sentence", "--out", "r")
    code, out, err = cli("finetune", tiny_bert, "--train", "train.tsv", "--validation", "dev.tsv", "--max-steps", "2", *words)
    assert code == 0, err
    assert [line.split()[0] for line in out.splitlines()] == ["run", "validation", "time", "verdict", "next"]
    from hftool.config import read_settings

    result = read_settings("r/config.yaml")
    assert (result["seed"], result["lr"], result["clip"]) == (3, 2e-3, 2.0)
    assert result["columns"] == {"text": "sentence", "label": "label"}


def test_task_from_set_resets_the_columns():
    from hftool.cli.verbs.finetune import _settings

    result = _settings(None, ["task=sst2"], {}, {})
    assert result.task == "sst2" and result.columns == {}


def test_finetune_json_is_one_document_and_lines_go_to_stderr(cli, tiny_bert, film_files):
    code, out, err = finetune(cli, tiny_bert, "--out", "r", "--json")
    result = json.loads(out)
    assert code == 0 and result["run"] == "r" and result["stand_in"] == {} and result["metrics"]["validation"]["rows"] == 16
    assert "steps of 8 rows" in err and "step 2: accuracy" in err


def test_a_bad_config_file_is_78_and_creates_nothing(cli, tiny_bert, film_files):
    (film_files / "c.yaml").write_text("lrr: 1\n", encoding="utf-8")
    code, out, err = finetune(cli, tiny_bert, "--config", "c.yaml", "--json", "--out", "r")
    assert code == 78 and json.loads(out)["kind"] == "config" and not (film_files / "r").exists()
    assert one_line(err) == "hftool: c.yaml: unknown key 'lrr'. Did you mean 'lr'?"


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_the_bar_on_a_terminal_shows_loss_metric_speed_and_time_left(tiny_bert, film_files):
    import pty

    files = ["--train", "train.tsv", "--validation", "dev.tsv", "--epochs", "3", "--batch-size", "4", "--log-steps", "1"]
    mother, child = pty.openpty()
    terminal, out = os.ttyname(child), film_files / "out"
    run = forked.start(
        ["finetune", tiny_bert, "sst2", *files, "--out", "r"],
        environment={**os.environ, "COLUMNS": "120", "TERM": "xterm"}, cwd=film_files,
        stdin=terminal, stdout=out, stderr=terminal,
    )  # fmt: skip
    until = time.monotonic() + 60
    while not out.exists() and time.monotonic() < until:  # it has opened its end
        time.sleep(0.01)
    os.close(child)
    shown = b""
    try:
        while piece := os.read(mother, 65536):
            shown += piece
    except OSError:  # Linux says so when the other end has gone
        pass
    text = shown.decode()
    assert run.wait(60) == 0 and out.read_text().startswith("run "), text
    for word in ("training", "/48", "loss 0.", "tokens/s", "accuracy 0.", " left", "step 16: accuracy"):
        assert word in text
