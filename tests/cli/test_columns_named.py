"""Choice of columns and head on the command line: notices, errors, and hints that are valid commands."""

import json
import random
import shlex

import pytest

from conftest import one_line

FILMS = ("a warm funny film", "a joy to watch", "a cold dull film", "a chore to watch", "flat and empty", "bright and tender")


def write_csv(path, columns, count=48):
    lines = [",".join(columns), *(",".join(str(make(i)) for make in columns.values()) for i in range(count))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def film(i):
    return f"{FILMS[i % 6]} number {i}"


def other_film(i):
    return f"{FILMS[(i + 1) % 6]} letter {i}"


def mark(i):
    return random.Random(i).choice(("0", "1"))


def finetune(cli, model, path, *words):
    """-> (exit code, what was printed, the line of the error)."""
    code, out, err = cli("finetune", model, path, "--out", "run", "--max-steps", "1", "--offline", *words)
    return code, out + err, err.splitlines()[-1] if err else ""


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ["finetune", "bert-mini", "a.csv", "--label", "toxic", "--label", "obscene"],
            "--label is given 2 times: 'toxic', 'obscene'. A model is trained on one label: train a model for each",
        ),
        (["finetune", "bert-mini", "a.csv", "--text", "a", "--text=b"], "--text is given 2 times: 'a', 'b'. Give it once"),
        (
            ["finetune", "bert-mini", "--lr", "1", "--lr", "2", "--lr", "3"],
            "--lr is given 3 times: '1', '2', '3'. Give it once",
        ),
        (
            ["predict", "run", "a.csv", "--out", "b.csv", "--out", "c.csv"],
            "--out is given 2 times: 'b.csv', 'c.csv'. Give it once",
        ),
        (["classify", "run", "a", "--top-k", "1", "--top-k", "2"], "--top-k is given 2 times: '1', '2'. Give it once"),
        (["serve", "run", "--port", "1", "--port", "2"], "--port is given 2 times: '1', '2'. Give it once"),
        (
            ["finetune", "bert-mini", "a.csv", "--column", "label=a", "--label", "b"],
            "the role 'label' is given two columns: 'a' and 'b'. Choose one",
        ),
        (
            ["evaluate", "run", "a.csv", "--column", "label=a", "--column", "label=b"],
            "the role 'label' is given two columns: 'a' and 'b'. Choose one",
        ),
        (
            ["finetune", "bert-mini", "a.csv", "--set", "lr=1e-3", "--set", "lr=1e-4"],
            "--set lr is given two values: '0.001' and '0.0001'. Give it once",
        ),
    ],
)
def test_an_option_that_takes_one_value_is_given_once(cli, words, line):
    code, out, err = cli(*words)
    assert (code, out, one_line(err)) == (2, "", f"hftool: {line}")


def test_repeatable_options_may_be_repeated(cli, tmp_path):
    code, out, err = cli("models", "--json", "--json")
    assert code == 0 and json.loads(out) and err == ""
    words = ("--column", "text=a", "--column", "label=b", "--column", "text=a", "--set", "lr=1", "--set", "seed=1", "-q", "-q")
    code, _, err = cli("finetune", "bert-mini", "none.csv", *words, "--text", "a")
    assert code == 66 and one_line(err) == "hftool: there is no file 'none.csv'"
    code, out, _ = cli("classify", "run", "--top-k", "1", "--top-k", "2", "--json")
    assert code == 2 and json.loads(out)["kind"] == "usage"


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"found": [{"start": 0, "end": 3, "label": "PER"}]}, "'found' (spans in a text)"),
        ({"found": [[0, 3, "PER"]]}, "'found' (spans in a text)"),
        ({"meta": {"source": "web"}, "cats": {"A": 1, "B": 0}}, "'cats' (a number for each class)"),
    ],
)
@pytest.mark.parametrize("count", [1, 24])
def test_rows_with_labels_of_another_task_train_no_language_model(cli, tiny_bert, tmp_path, more, named, count):
    path = write_jsonl(tmp_path / "rows.jsonl", [{"text": film(i), **more} for i in range(count)])
    code, _, line = finetune(cli, tiny_bert, path)
    assert code == 65 and f"has a column besides 'text' that looks like a label: {named}" in line and "--head fill" in line
    assert not (tmp_path / "run").exists()
    code, _, err = cli("evaluate", "bert-mini", path, "--offline")
    assert code == 65 and named in err
    code, _, err = cli("predict", "gpt2-mini", path, "--offline")
    assert code == 65 and named in err and "--head generate" in err


def test_explicit_head_trains_and_lists_unused_columns(cli, tiny_bert, tmp_path):
    path = write_csv(tmp_path / "rows.csv", {"text": film, "department": lambda i: ("it", "hr")[i % 2]})
    code, _, line = finetune(cli, tiny_bert, path)
    assert code == 65 and "'department' (2 different values). Choose it with --label department, or" in line
    code, printed, _ = finetune(cli, tiny_bert, path, "--head", "fill")
    assert code == 0 and "columns left out: 'department' (2 different values)" in printed
    code, printed, err = cli("evaluate", "run", path)  # it was trained on such rows
    assert code == 0 and "perplexity" in printed, err


def test_hints_are_valid_commands(cli, tiny_bert, tmp_path):
    path = write_csv(tmp_path / "rows.csv", {"#1 Part's": film, "#4 Part": other_film, "the mark": mark})
    code, _, line = finetune(cli, tiny_bert, path)
    assert code == 65 and "Try --text '#1 Part'\"'\"'s' or --text '#4 Part'" in line
    flags = shlex.split(line.split("Try ")[1].split(" or ")[0])
    code, _, line = finetune(cli, tiny_bert, path, *flags)
    assert code == 65 and "Choose it with --label 'the mark', or" in line
    more = shlex.split(line.split("Choose it with ")[1].split(", or")[0])
    code, printed, _ = finetune(cli, tiny_bert, path, *flags, *more)
    assert code == 0 and "columns: text='#1 Part's', label='the mark'" in printed


def test_columns_and_labels_under_other_names_are_mapped(cli, tiny_bert, tmp_path):
    """Columns and labels under other names and spellings, in each split and in each later file, all printed."""
    train = write_csv(tmp_path / "train.csv", {"Review Text": film, "Rating": lambda i: ("POSITIVE", "NEGATIVE ")[i % 2]})
    dev = write_csv(tmp_path / "dev.csv", {"SMS": other_film, "stars": lambda i: ("positive", "negative")[i % 2]}, count=12)
    code, printed, line = finetune(cli, tiny_bert, train, "--validation", dev)
    assert code == 0, line
    assert (
        "columns: text='Review Text', label='Rating'" in printed
        and "columns of validation: text='SMS', label='stars'" in printed
    )
    assert "labels of validation are read by another spelling: 'positive' as 'POSITIVE', 'negative' as 'NEGATIVE'" in printed
    late = write_csv(tmp_path / "late.csv", {"no": lambda i: i, "ticket_body": film, "label": lambda i: "Positive"}, count=12)
    code, out, err = cli("evaluate", "run", late)
    assert code == 0 and f"columns of {late}: text='ticket_body', label='label'" in err and "late.csv: 12 rows" in out
    assert "'Positive' as 'POSITIVE'" in err
    code, out, err = cli("predict", "run", write_csv(tmp_path / "new.csv", {"no": lambda i: i, "Notes": film}, count=5))
    assert code == 0 and "columns: text='Notes'" in err and len(out.splitlines()) == 5
    code, _, err = cli("predict", "run", write_csv(tmp_path / "b.csv", {"one": film, "two": other_film}, count=5))
    assert code == 65 and one_line(err).endswith(
        "has no column 'Review Text'; it has 'one', 'two'. Try --text one or --text two"
    )


def test_unlabelled_rows_are_counted_and_left_out(cli, tiny_run, tmp_path):
    path = write_csv(tmp_path / "gaps.csv", {"sentence": film, "label": lambda i: "-" if i % 12 == 5 else i % 2}, count=24)
    code, out, err = cli("evaluate", tiny_run, path, "--out", "errors.jsonl")
    assert code == 0 and "22 rows" in out
    assert "2 rows of gaps.csv have no label and are left out" in err
    assert f"2 of 24 rows of {path} cannot be used; the first is line 7: no label" in err
