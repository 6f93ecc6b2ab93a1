"""Which head learns from a file: by its columns and what the family can do, said in a notice; --head decides."""

import json
import random

import pytest

from hftool import workflow
from hftool.errors import DataError, UsageError
from support import families


def train(kind, path, tmp_path, *, head=None, **knobs):
    """A run of one step -> its model card and its notices."""
    events = []
    config = {"max_steps": 1, "allow_leak": True, "validation_share": 0.25, **knobs}
    result = workflow.finetune(
        str(families.folder(kind)), str(path), config=config, head=head, out=tmp_path / "run", progress=events.append
    )
    head_config = json.loads((result.run.model / "hftool.json").read_text())
    return head_config, [event.text for event in events if event.kind == "notice"], result


def rows(head_case):
    return families.HEAD_CASES[head_case][1]()


@pytest.mark.parametrize(
    ("kind", "head_case", "head"),
    [
        ("bert", "tag", "tag"),
        ("gpt2", "tag", "tag"),
        ("bert", "answer", "answer"),
        ("roberta", "answer", "answer"),
        ("t5", "text2text", "text2text"),
        ("gpt2", "generate", "generate"),
        ("bert", "classify", "classify"),
        ("gpt2", "classify", "classify"),
        ("t5", "classify", "classify"),
        ("t5", "pairs", "classify"),
        ("bert", "fill", "fill"),
        ("roberta", "fill", "fill"),
        ("gpt2", "fill", "generate"),
        ("electra", "answer", "answer"),
    ],
)
def test_the_columns_decide_with_a_notice(kind, head_case, head, tmp_path):
    path = families.write_jsonl(tmp_path / "rows.jsonl", rows(head_case))
    head_config, message, _ = train(kind, path, tmp_path)
    assert head_config["head"] == head
    assert f"head: {head}, by the columns; --head decides" in message


@pytest.mark.parametrize(
    ("kind", "head_case", "head"), [("bert", "classify", "fill"), ("gpt2", "classify", "generate"), ("bert", "pairs", "embed")]
)
def test_head_decides(kind, head_case, head, tmp_path):
    """Labelled texts are texts, too; and pairs with a number can be embedded."""
    created = rows("embed" if head == "embed" else head_case)
    head_config, message, _ = train(kind, families.write_jsonl(tmp_path / "rows.jsonl", created), tmp_path, head=head)
    assert head_config["head"] == head
    assert not [text for text in message if text.startswith("head: ")]


def test_columns_that_no_head_of_the_family_takes_are_an_error(tmp_path):
    path = families.write_jsonl(tmp_path / "rows.jsonl", [{"prompt": "a", "completion": "b"}] * 8)
    with pytest.raises(DataError, match=r"has no column 'text'; it has 'prompt', 'completion'"):
        train("bert", path, tmp_path)
    assert not (tmp_path / "run").exists()
    with pytest.raises(UsageError, match="cannot do 'generate'"):
        train("bert", path, tmp_path, head="generate")


def provenance(lines, seed=0):
    """Lines as in wikitext: headings, blank lines, paragraphs of one line each."""
    rng = random.Random(seed)
    created = []
    for i in range(lines):
        words = " ".join(rng.choice(families.THINGS + families.COLOURS) for _ in range(12))
        created += [f" = {rng.choice(families.CITIES)} {i} = ", "", f" the {words} . ", ""]
    return "\n".join(created) + "\n"


@pytest.mark.parametrize(("kind", "head"), [("gpt2", "generate"), ("bert", "fill")])
def test_running_text_is_packed_into_blocks_across_its_lines(kind, head, tmp_path):
    path = tmp_path / "wiki.txt"
    path.write_text(provenance(120), encoding="utf-8")
    held = tmp_path / "held.txt"
    held.write_text(provenance(30, seed=1), encoding="utf-8")
    head_config, _, result = train(kind, path, tmp_path, max_length=32)
    assert (head_config["head"], head_config["columns"], head_config["max_length"]) == (head, {"text": "text"}, 32)
    measured = result.metrics["validation"]
    assert measured["rows"] < 30  # passages, not the 480 lines
    report = workflow.evaluate(str(result.run.path), str(held))
    assert report.metrics["rows"] < 10 and report.metrics["perplexity"] == pytest.approx(measured["perplexity"], rel=0.3)


def test_the_parts_of_a_column_go_by_dotted_names(tmp_path):
    """translation: {"en": ..., "de": ...}, as WMT has it; what was trained so is measured and answered so."""
    created = [{"id": i, "translation": {"en": row["source"], "de": row["target"]}} for i, row in enumerate(rows("text2text"))]
    path = families.write_jsonl(tmp_path / "wmt.jsonl", created)
    columns = {"source": "translation.en", "target": "translation.de"}
    head_config, _, result = train("t5", path, tmp_path, columns=columns, prefix="translate English to German: ")
    assert (head_config["head"], head_config["columns"]) == ("text2text", columns)
    run = str(result.run.path)
    assert workflow.evaluate(run, str(path), limit=4).metrics["rows"] == 4
    assert workflow.predict(run, str(path), out=tmp_path / "out.jsonl") == 64
    line = json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0])
    assert line["text"] == workflow.infer(run, [created[0]["translation"]["en"]])[0]["text"]
    with pytest.raises(DataError, match="has no column 'translatoin.en'"):
        train("t5", path, tmp_path / "none", columns={**columns, "source": "translatoin.en"})


def test_pairs_with_scores_are_embedded_on_the_scale_of_the_labels(tmp_path):
    """As stsb: a CSV with sentence1, sentence2 and a score from 0 to 5."""
    lines = [f"{row['sentence1']},{row['sentence2']},{row['score']}" for row in rows("embed")]
    path = tmp_path / "stsb.csv"
    path.write_text("\n".join(["sentence1,sentence2,score", *lines]) + "\n", encoding="utf-8")
    knobs = {"epochs": 15, "lr": 1e-3, "batch_size": 8, "max_steps": None, "eval_steps": 1000, "validation": str(path)}
    head_config, message, result = train("bert", path, tmp_path, head="embed", **knobs)
    assert "labels: numbers from 1 to 5 (the model will answer a number)" in message
    assert (head_config["label_range"], head_config["labels"]) == ([1.0, 5.0], [])
    assert result.metrics["validation"]["spearman"] > 0.8
    run = str(result.run.path)
    same, other = workflow.infer(run, ["the red cat"] * 2, pairs=["a red cat", "a blue cat"])
    assert same["score"] == pytest.approx(1 + 4 * same["similarity"]) and same["score"] > 4.5
    assert other["score"] < 2 and workflow.similar(run, "the red cat", "a red cat") == pytest.approx(same["similarity"])
    assert workflow.evaluate(run, str(path), limit=20, errors=tmp_path / "e.jsonl").metrics["mean_absolute_error"] < 0.5


def test_a_model_that_never_saw_scores_is_measured_on_their_scale(tiny_bert, tmp_path):
    path = families.write_jsonl(tmp_path / "pairs.jsonl", rows("embed"))
    report = workflow.evaluate(str(tiny_bert), str(path), head="embed", limit=16, errors=tmp_path / "e.jsonl")
    assert all(-3 <= error["answered"] <= 5.001 for error in report.errors)
    assert max(error["answered"] for error in report.errors) > 2  # 5 is a cosine of 1: not of 0.2
