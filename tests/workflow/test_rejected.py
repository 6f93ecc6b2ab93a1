"""Rows that cannot be used are written down, few or many, and the user says how many may be."""

import json

import pytest

from conftest import film_rows, one_line, write_tsv


def write(path, bad, *, count=40):
    """A file in which so many rows lack a text."""
    rows = [{"text": row["sentence"] if i >= bad else "", "label": row["label"]} for i, row in enumerate(film_rows(count))]
    return write_tsv(path, rows)


def begin(cli, model, *words):
    return cli("finetune", model, *words, "--epochs", 1, "--batch-size", 16, "--offline")


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("bad", [1, 3, 20])
def test_too_many_rejected_rows_are_written_beside_the_run(cli, tiny_bert, tmp_path, bad):
    write(tmp_path / "train.tsv", bad)
    for _ in range(2):  # the second time the file is there
        code, _, err = begin(cli, tiny_bert, "train.tsv", "--out", "runs/a")
        message = err.splitlines()[-1]
        assert code == 65 and f"train.tsv: {bad} of 40 rows cannot be used; the first is line 2: no text" in message, err
        assert message.endswith("or allow a larger share with --max-rejected. All are in runs/a.rejected.jsonl")
        found = lines(tmp_path / "runs" / "a.rejected.jsonl")
        assert [row["row"] for row in found] == list(range(2, 2 + bad)) and found[0]["file"] == "train.tsv"
        assert not (tmp_path / "runs" / "a").exists()


@pytest.mark.parametrize(
    ("bad", "words", "code"),
    [
        (3, ("--max-rejected", 0.1), 0),
        (4, ("--max-rejected", 0.1), 0),
        (5, ("--max-rejected", 0.1), 65),
        (20, ("--set", "max_rejected=0.5"), 0),
        (1, ("--max-rejected", 0), 65),
        (39, ("--max-rejected", 1), 65),  # one row is no train and validation
        (40, ("--max-rejected", 1), 65),  # and none is nothing
        (0, ("--max-rejected", 0), 0),
    ],
)
def test_the_user_sets_how_many_rows_may_be_rejected(cli, tiny_bert, tmp_path, bad, words, code):
    write(tmp_path / "train.tsv", bad)
    ended, _, err = begin(cli, tiny_bert, "train.tsv", "--out", "a", *words)
    assert ended == code, err
    if code == 0:
        assert len(lines(tmp_path / "a" / "rejected.jsonl")) == bad if bad else not (tmp_path / "a" / "rejected.jsonl").exists()
        ended, _, err = cli("evaluate", "a", "--offline")  # on its own rows: the limit is that of the run
        assert ended == 0, err


@pytest.mark.parametrize("share", ["-0.1", "1.5", "ten", "nan", ""])
def test_a_share_out_of_range_is_2(cli, tiny_bert, tmp_path, share):
    write(tmp_path / "train.tsv", 0)
    code, _, err = begin(cli, tiny_bert, "train.tsv", "--out", "a", "--max-rejected", share)
    assert code == 2 and "--max-rejected must be a number from 0 to 1" in one_line(err)


def test_of_several_files_the_one_at_fault_is_written(cli, tiny_bert, tmp_path):
    write(tmp_path / "train.tsv", 0)
    write(tmp_path / "dev.tsv", 4, count=20)
    code, _, err = begin(cli, tiny_bert, "--train", "train.tsv", "--validation", "dev.tsv", "--allow-leak", "--out", "a")
    assert code == 65 and "dev.tsv: 4 of 20 rows" in err
    assert {row["split"] for row in lines(tmp_path / "a.rejected.jsonl")} == {"validation"}


def test_without_a_name_they_lie_where_the_run_would(cli, tiny_bert, tmp_path):
    write(tmp_path / "train.tsv", 4)
    code, _, _ = begin(cli, tiny_bert, "train.tsv")
    (path,) = (tmp_path / "runs").iterdir()
    assert code == 65 and path.name.endswith(".rejected.jsonl") and len(lines(path)) == 4


def test_without_a_file_of_rejected_rows_the_error_is_the_same(cli, tiny_bert, tmp_path):
    write(tmp_path / "train.tsv", 4)
    (tmp_path / "a.rejected.jsonl").mkdir()
    code, _, err = begin(cli, tiny_bert, "train.tsv", "--out", "a")
    assert code == 65 and err.splitlines()[-1].endswith("with --max-rejected")
