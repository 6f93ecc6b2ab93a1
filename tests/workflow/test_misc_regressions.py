"""Faults that a reader found by hand: each was silent once."""

import json

import numpy as np
import pytest

from hftool import workflow
from hftool.errors import DataError, UsageError
from support import families


def test_a_base_model_is_measured_by_the_metrics_and_with_the_prefix_of_the_task():
    report = workflow.evaluate("t5-mini", "phrases-mini", limit=4, offline=True)
    assert {"bleu", "chrf"} <= set(report.metrics) and "rougeL" not in report.metrics


def test_a_task_is_not_measured_as_something_else():
    with pytest.raises(UsageError, match="'sst2-mini' is a task to classify, and this model is to fill"):
        workflow.evaluate("bert-mini", "sst2-mini", offline=True)
    with pytest.raises(UsageError, match="no wrongly predicted rows"):
        workflow.evaluate("gpt2-mini", "stories-mini", limit=2, errors="errors.jsonl", offline=True)


def test_numbers_in_the_data_can_be_given_names(tmp_path):
    rows = [{"tokens": ["Ann", "met", "Bob"], "ner_tags": [1, 0, 1]}, {"tokens": ["a", "Bob"], "ner_tags": [0, 1]}] * 10
    path = families.write_jsonl(tmp_path / "tags.jsonl", rows)
    config = {"train": str(path), "validation": str(path), "allow_leak": True, "max_steps": 1, "labels": ("O", "B-PER")}
    result = workflow.finetune(str(families.folder("bert")), config=config, out=tmp_path / "run")
    assert set(result.metrics["validation"]["by_type"]) <= {"PER"}


def test_labels_and_class_weights_for_regression_are_refused(tmp_path):
    rows = [{"text": f"film {i}", "label": i / 4} for i in range(20)]
    path = families.write_jsonl(tmp_path / "amounts.jsonl", rows)
    with pytest.raises(UsageError, match="class_weights has no effect on continuous labels \\(regression\\)"):
        config = {"train": str(path), "class_weights": "balanced"}
        workflow.finetune(str(families.folder("bert")), config=config, out=tmp_path / "run")


def test_a_truncated_text_gives_a_notice(cli, tiny_run):
    texts = ["a warm film", "film " * 200]
    short, long = workflow.infer(str(tiny_run), texts)
    assert "cut" not in short and long["cut"] == 200 + 2 - 64
    _, _, err = cli("classify", tiny_run, *texts)
    assert "1 of 2 texts are longer than 64 tokens and were truncated" in err


def test_languages_must_be_two():
    loaded = workflow.load("t5-mini", offline=True)
    with pytest.raises(UsageError, match="that is from English to English"):
        workflow.translate(loaded, ["a"], to="en")


def test_the_error_is_of_the_head_that_lacks_least(tmp_path):
    path = families.write_jsonl(tmp_path / "source.jsonl", [{"source": "a"}, {"source": "b"}])
    with pytest.raises(Exception, match="has no column 'target'; it has 'source'. Try --target"):
        workflow.finetune("t5-mini", str(path), out=tmp_path / "run", offline=True)


@pytest.mark.parametrize(("kind", "head_case"), [("roberta", "tag"), ("roberta", "fill"), ("roberta", "answer")])
def test_offsets_count_a_byte_order_mark_of_the_file_too(kind, head_case, tmp_path):
    model = workflow.load(str(families.trained_run(kind, head_case)[0].run.path))
    text = "\ufeffann went to rome with a [MASK]" if head_case == "fill" else "\ufeffann went to rome with a hat ."
    row = {"question": "where is the hat ?", "context": text} if head_case == "answer" else {"text": text}
    workflow.predict(model, str(families.write_jsonl(tmp_path / "in.jsonl", [row])), out=tmp_path / "out.jsonl")
    answer = json.loads((tmp_path / "out.jsonl").read_text(encoding="utf-8"))
    if head_case == "tag":
        assert answer["entities"] and all(text[one["start"] : one["end"]] == one["text"] for one in answer["entities"])
        assert (answer["tokens"][0], answer["entities"][0]["text"]) == ("ann", "ann")  # the mark is no word
    elif head_case == "fill":
        assert [text[one["start"] : one["end"]] for one in answer["masks"]] == ["[MASK]"]
        assert answer["masks"][0]["fills"] == workflow.fill(model, [text[1:]])[0]["masks"][0]["fills"]
    else:
        assert text[answer["start"] : answer["end"]] == answer["answer"] != ""


@pytest.mark.parametrize("blank", ["\u200b", "\ufeff", "\x00", " "])
def test_a_line_without_a_shape_is_a_blank_line_in_a_pipe_too(cli, tiny_run, blank):
    code, out, err = cli("classify", tiny_run, "--json", stdin=f"a warm film\n{blank}\na cold film\n")
    answers = json.loads(out)["answers"]
    assert code == 0 and [one["label"] is None for one in answers] == [False, True, False], err
    run = families.trained_run("bert", "embed")[0].run.path
    assert cli("embed", run, "--out", "v.npy", stdin=f"cat\n{blank}\ndog\n")[0] == 0
    assert np.isnan(np.load("v.npy")).all(axis=1).tolist() == [False, True, False]


def test_a_file_without_right_answers_names_the_column(tmp_path):
    run = families.trained_run("t5", "text2text")[0].run.path
    path = families.write_jsonl(tmp_path / "blank.jsonl", [{"source": "red cat", "target": ""}])
    with pytest.raises(DataError, match=r"blank\.jsonl has nothing to measure by in column 'target'"):
        workflow.evaluate(str(run), str(path))


def test_a_model_of_pairs_is_never_asked_or_measured_with_half_of_a_pair(tmp_path):
    run = str(families.trained_run("bert", "pairs")[0].run.path)
    rows = families.pair_rows(8)
    halves = families.write_jsonl(tmp_path / "halves.jsonl", [{k: row[k] for k in ("sentence1", "label")} for row in rows])
    for ask in (
        lambda: workflow.predict(run, str(halves), out=tmp_path / "o.csv"),
        lambda: workflow.evaluate(run, str(halves)),
    ):
        with pytest.raises(DataError, match=r"halves\.jsonl has no column 'sentence2'; it has 'sentence1', 'label'"):
            ask()
    gap = families.write_jsonl(tmp_path / "gap.jsonl", [{"sentence1": "the red cat"}, *rows])
    with pytest.raises(DataError, match="no column 'sentence2'"):  # all the others were answered without theirs
        workflow.predict(run, str(gap), out=tmp_path / "o.csv")


def test_a_model_of_single_texts_is_measured_on_single_texts(tmp_path):
    run = str(families.trained_run("bert", "classify")[0].run.path)
    rows = [{**row, "text_pair": "cold and dull cold and dull"} for row in families.classify_rows(16)]
    path = families.write_jsonl(tmp_path / "more.jsonl", rows)
    assert workflow.evaluate(run, str(path), errors=tmp_path / "e.jsonl").metrics["accuracy"] == 1.0
    pairs = [{"sentence1": row["text"], "sentence2": "a", "label": row["label"]} for row in rows]
    with pytest.raises(DataError, match="has no column 'text'; it has 'sentence1', 'sentence2', 'label'"):
        workflow.evaluate(run, str(families.write_jsonl(tmp_path / "pairs.jsonl", pairs)))


@pytest.mark.parametrize(("verb", "head_case"), [("classify", "pairs"), ("infer", "pairs"), ("infer", "answer")])
def test_an_empty_text_beside_a_pair_has_an_empty_line(cli, verb, head_case):
    run = families.trained_run("bert", head_case)[0].run.path
    code, out, err = cli(verb, run, "", "--pair", "the cat is warm", "--json")
    (result,) = json.loads(out)["answers"]
    assert code == 0 and result in ({"text": "", "label": None}, {"question": "", "answer": None}), err


def test_answers_too_long_for_the_windows_are_counted_in_a_notice(tmp_path):
    words = " ".join(f"word{i % 7}" for i in range(120))
    rows = []
    for i in range(8):
        context = f"{i} ann met bob . {words}"
        answer = words if i == 3 else "bob"
        rows.append({"question": f"who {i} ?", "context": context, "answers": {"text": [answer]}})
    path = families.write_jsonl(tmp_path / "asked.jsonl", rows)
    notices = []
    config = {"train": str(path), "validation": str(path), "max_length": 48, "max_steps": 1, "allow_leak": True}
    workflow.finetune(str(families.folder("bert")), config=config, out=tmp_path / "run", progress=notices.append)
    (notice,) = [event.text for event in notices if event.kind == "notice" and "holds whole" in event.text]
    assert notice.startswith("1 of 8 train rows have an answer that no window of 48 tokens holds whole: they are trained as")


def test_a_late_row_that_cannot_be_answered_has_the_columns_and_ends_nothing(tmp_path, monkeypatch):
    """It stood alone among the rows that were held at a time: the others were lost with it, or it had fewer columns."""
    monkeypatch.setattr("hftool.workflow._predict.ROWS_AT_A_TIME", 2)
    model = str(families.trained_run("bert", "fill")[0].run.path)
    for last in ("no blank here", ""):
        texts = ["the red [MASK]", "a [MASK] cat", last]
        source = families.write_jsonl(tmp_path / "ask.jsonl", [{"text": text} for text in texts])
        out = tmp_path / f"out{len(last)}.jsonl"
        assert workflow.predict(model, str(source), out=out) == 3
        rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
        assert set(rows[0]) == set(rows[2]) and rows[2]["masks"] is None


@pytest.mark.parametrize("stop", ["and", ("and",), ["and"]])
def test_a_stop_text_from_python_is_one_text(stop):
    [answer] = workflow.generate("gpt2-mini", ["Once upon a time"], sampling={"max_new_tokens": 40, "stop": stop})
    assert answer["finish"] == "stop" and "and" not in answer["text"] and len(answer["text"]) > 5


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"stop": 5}, "stop must be a text or a list of texts, not 5"),
        ({"beams": 2.0}, "num_beams must be a whole number from 1 to 1000, not 2.0"),
        ({"temperature": 1, "top_k": 2.5}, "top_k must be a whole number from 0 to 2147483648, not 2.5"),
        ({"temperature": True}, "temperature must be a number from 0 to 100, not True"),
        ({"beams": 3, "top_p": 0.5}, "nothing is sampled. Leave top_p out"),
    ],
)
def test_settings_from_python_are_of_their_kind(settings, line):
    with pytest.raises(UsageError) as caught:
        workflow.generate("gpt2-mini", ["a"], sampling=settings)
    assert line in str(caught.value)
