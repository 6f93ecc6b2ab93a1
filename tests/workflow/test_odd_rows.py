"""Awkward rows under every head: kept, or rejected with line and reason; never a traceback, never a lost line."""

import json

import pytest

from hftool import workflow
from hftool.errors import DataError
from support import families

BLANK = ["", "   ", "\ufeff", "\u200b", "\n"]
STRANGE = ["\ufeffthe red cat", "x" * 100_000, "🎬👩‍👩‍👧 ok", "فيلم رائع", "half \ud83d of it", "a\x00b", "é́́ n̈"]
KINDS = {"generate": "gpt2", "text2text": "t5"}
ROLES = {  # the columns that take a turn at being awkward
    "classify": ("text",),
    "regression": ("text",),
    "pairs": ("sentence1", "sentence2"),
    "tag": ("tokens",),
    "answer": ("question", "context"),
    "generate": ("prompt", "completion"),
    "text2text": ("source", "target"),
    "fill": ("text",),
    "embed": ("sentence1", "sentence2"),
}
HEAD_CASES = pytest.mark.parametrize("head_case", families.HEAD_CASES)
ROWS = 1100  # one in a hundred may be rejected


def unusual_rows(head_case):
    """-> 1100 good rows, then for each column a row with each blank and each strange text; and the lines of the blank ones."""
    result = [dict(row) for row in (families.HEAD_CASES[head_case][1]() * (ROWS // 64 + 1))[:ROWS]]
    blank = []
    for column in ROLES[head_case]:
        for text in [*BLANK, *STRANGE]:
            row = json.loads(json.dumps(result[0]))
            if head_case == "tag":
                row = {"tokens": [text], "tags": ["O"]} if text in BLANK else {"tokens": [text, "rome"], "tags": ["O", "B-LOC"]}
            elif column == "context" and text not in BLANK:
                row["context"] = f"{text} {row['context']}"
                row["answers"] = {"text": ["rome"], "answer_start": [row["context"].index("rome")]}
            else:
                row[column] = text
            result.append(row)
            blank += [len(result)] if text in BLANK else []
    return result, blank


@HEAD_CASES
def test_unusual_rows_are_trained_on_or_rejected_and_all_answered(head_case, tmp_path):
    rows, blank = unusual_rows(head_case)
    path = families.write_jsonl(tmp_path / "rows.jsonl", rows)
    config = {"max_steps": 1, "batch_size": 4, "allow_leak": True, "train": str(path), "validation_share": 0.05}
    run = workflow.finetune(
        str(families.folder(KINDS.get(head_case, "bert"))),
        config=config,
        head=families.HEAD_CASES[head_case][0],
        out=tmp_path / "run",
    ).run
    rejected = [json.loads(line) for line in run.rejected.read_text(encoding="utf-8").splitlines()]
    assert [row["row"] for row in rejected] == blank
    assert all(row["reason"].startswith("no t") for row in rejected)
    source = families.write_jsonl(tmp_path / "ask.jsonl", inputs_for(head_case, rows[ROWS - 2 :]))
    assert workflow.predict(str(run.path), str(source), out=tmp_path / "out.csv") == len(rows) - ROWS + 2
    assert workflow.predict(str(run.path), str(source), out=tmp_path / "out.jsonl") == len(rows) - ROWS + 2


def inputs_for(head_case, rows):
    """What is to be answered: with a mask where masks are filled; prompts that a small model can take."""
    if head_case == "fill":
        return [{"text": f"{row['text']} [MASK]"} for row in rows]
    if head_case == "generate":
        return [{"prompt": row["prompt"][:20]} for row in rows]
    return rows


@HEAD_CASES
def test_unusual_texts_are_answered(head_case):
    model = workflow.load(str(families.trained_run(KINDS.get(head_case, "bert"), head_case)[0].run.path))
    texts = STRANGE if head_case != "generate" else [text[:20] for text in STRANGE]
    texts = [f"{text} [MASK]" for text in texts] if head_case == "fill" else texts
    pairs = texts[::-1] if families.ASKED[head_case][1] else None
    answers = workflow.infer(model, texts, pairs=pairs)
    assert len(answers) == len(texts)
    whole = [text.encode("utf-8", "replace").decode() for text in (pairs or texts)]
    for text, answer in zip(whole, answers, strict=True):
        for found in answer.get("entities", [answer] if head_case == "answer" and answer["answer"] else []):
            assert text[found["start"] : found["end"]] == found.get("text", found.get("answer"))


@pytest.mark.parametrize("text", BLANK)
@HEAD_CASES
def test_a_blank_text_is_no_text(head_case, text):
    """As in a file; but a writer begins from nothing, and a mask alone can be filled."""
    model = workflow.load(str(families.trained_run(KINDS.get(head_case, "bert"), head_case)[0].run.path))
    texts = ["the [MASK] cat", text]
    pairs = ["red", "red"] if families.ASKED[head_case][1] else None
    if head_case == "generate":
        assert len(workflow.infer(model, texts)) == 2
        return
    with pytest.raises(DataError, match=r"^'?(text|question|source) 2 is empty"):
        workflow.infer(model, texts, pairs=pairs)
    if pairs:
        with pytest.raises(DataError, match=r"(second text|text pair|context) 2 is empty"):
            workflow.infer(model, ["red", "red"], pairs=["red", text])


@pytest.mark.parametrize("kind", ["bert", "gpt2", "t5"])
def test_labels_that_count_from_one(kind, tmp_path):
    """1 to 5, as stars are counted, and one that pandas has made 2.0: five classes with their own names."""
    rows = [{"text": f"the {families.THINGS[i % 5]} {i}", "label": [1, 2.0, "3", " 4", "5.0"][i % 5]} for i in range(60)]
    path = families.write_jsonl(tmp_path / "stars.jsonl", rows)
    run = workflow.finetune(str(families.folder(kind)), str(path), config={"max_steps": 1}, out=tmp_path / "run").run
    [answer] = workflow.infer(str(run.path), ["the cat"])
    assert list(answer["probabilities"]) == ["1", "2", "3", "4", "5"]
    assert workflow.evaluate(str(run.path), str(path), errors=tmp_path / "e.jsonl").metrics["rows"] == 60


def test_a_long_completion_leaves_a_prompt_its_room(tmp_path):
    """One row whose completion fills the model must not make a model that refuses every prompt."""
    rows = [*families.completion_rows(), {"prompt": "the red cat", "completion": " cat dog" * 500}]
    path = families.write_jsonl(tmp_path / "long.jsonl", rows)
    config = {"max_steps": 1, "validation": str(path), "allow_leak": True}
    run = workflow.finetune(str(families.folder("gpt2")), str(path), config=config, out=tmp_path / "run").run
    assert json.loads((run.model / "hftool.json").read_text())["max_new_tokens"] == 32
    assert len(workflow.infer(str(run.path), ["the red cat " * 5])) == 1


def test_tags_that_are_numbers_or_have_no_letters_before_them(tmp_path):
    numbers = [{"tokens": row["tokens"], "tags": [len(tag) + 1 for tag in row["tags"]]} for row in families.tag_rows(32)]
    nouns = [
        {"words": " ".join(row["tokens"]), "ner": " ".join(t[2:] or "O" for t in row["tags"])} for row in families.tag_rows(32)
    ]
    for name, rows, labels in (("numbers", numbers, ["2", "6"]), ("nouns", nouns, ["O", "LOC", "PER"])):
        path = families.write_jsonl(tmp_path / f"{name}.jsonl", rows)
        run = workflow.finetune(str(families.folder("bert")), str(path), config={"max_steps": 1}, out=tmp_path / name).run
        head_config = json.loads((run.model / "hftool.json").read_text())
        assert (head_config["head"], head_config["labels"]) == ("tag", labels)
        assert set(workflow.infer(str(run.path), ["ann went to rome ."])[0]["tags"]) <= set(labels)


def test_a_question_without_an_answer_is_trained_on_and_answered_with_none(tmp_path):
    rows = families.answer_rows()
    for row in rows[3::4]:
        row |= {"question": "why ?", "answers": {"text": [], "answer_start": []}}
    path = families.write_jsonl(tmp_path / "squad2.jsonl", rows)
    config = {"epochs": 20, "lr": 2e-3, "batch_size": 8, "validation": str(path), "allow_leak": True, "eval_steps": 1000}
    run = workflow.finetune(str(families.folder("roberta")), str(path), config=config, out=tmp_path / "run").run
    assert json.loads((run.model / "hftool.json").read_text())["problem_type"] == "answer_or_none"
    report = json.loads(run.metrics.read_text())["validation"]
    assert (report["answerable"]["rows"], report["unanswerable"]["rows"]) == (48, 16)
    answers = workflow.answer(str(run.path), [row["question"] for row in rows], [row["context"] for row in rows])
    nothing = [answer for answer in answers if answer["start"] is None]
    assert nothing and all(answer["answer"] == "" and answer["end"] is None for answer in nothing)
