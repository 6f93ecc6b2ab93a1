"""Exports of annotation tools through the verbs: training, evaluation, and suggestions in the form of the tool."""

import json

import pytest

from hftool import workflow
from hftool.data.annotations.documents import Document, Span
from hftool.data.readers.tables import read_table
from hftool.errors import DataError, OutputUnavailable, UsageError
from support.annotated import accept_all, write
from support.families import folder, run_of, tag_rows

KNOBS = {"max_steps": 6, "lr": 1e-3, "batch_size": 8}


def tagged_documents(count=64):
    """The rows of `tag_rows` as texts with spans, a character beyond the basic plane before each."""
    found = []
    for number, row in enumerate(tag_rows(count), start=1):
        text, spans = "😀", []
        for token, tag in zip(row["tokens"], row["tags"], strict=True):
            start, text = len(text) + 1, f"{text} {token}"
            if tag.startswith("B-"):
                spans.append(Span(start, len(text), tag[2:], token))
            elif tag.startswith("I-"):
                first = spans.pop()
                spans.append(Span(first.start, len(text), first.label, text[first.start :]))
        found.append(Document(number, text, tuple(spans)))
    return found


def weights(result):
    return (result.run.model / "model.safetensors").read_bytes()


def test_a_tagger_trained_on_spans_is_the_one_trained_on_the_same_words_and_tags(tmp_path):
    conll = tmp_path / "train.conll"
    rows = [{"tokens": ["😀", *row["tokens"]], "tags": ["O", *row["tags"]]} for row in tag_rows()]
    lines = ("\n".join(map(" ".join, zip(row["tokens"], row["tags"], strict=True))) + "\n" for row in rows)
    conll.write_text("\n".join(lines), encoding="utf-8")
    expected = weights(workflow.finetune(folder("bert"), conll, config=KNOBS, out=tmp_path / "conll"))
    files = [("doccano", "a.jsonl"), ("label-studio", "a.json"), ("prodigy", "b.jsonl")]
    for name, file in files:
        path = write(tmp_path / file, name, tagged_documents())
        if name == "label-studio":
            accept_all(path)
        events = []
        result = workflow.finetune(folder("bert"), path, config=KNOBS, out=tmp_path / name, progress=events.append)
        assert weights(result) == expected, name
        assert any("is read as" in event.text and "--format decides" in event.text for event in events if event.text)
    assert workflow.evaluate(result, path).metrics["entities"] == 128


def suggestions(tmp_path, source, name, **more):
    out = tmp_path / name
    assert workflow.predict(str(run_of("tag")), str(source), out=out, **more) == 8
    return out


def test_suggestions_have_the_form_of_the_rows_and_their_keys(tmp_path):
    source = write(tmp_path / "in.jsonl", "doccano", tagged_documents(8))
    rows = [{"id": i, "page": 7, "label": [], **json.loads(line)} for i, line in enumerate(source.read_text().splitlines())]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    found = [json.loads(line) for line in suggestions(tmp_path, source, "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(row["id"], row["page"], row["text"]) for row in found] == [(row["id"], 7, row["text"]) for row in rows]
    table = suggestions(tmp_path, source, "table.jsonl", to="table").read_text(encoding="utf-8").splitlines()
    entities = [json.loads(line)["entities"] for line in table]
    # offsets of the page: the first character of each text is two units
    expected = [[[e["start"] + (e["start"] > 0), e["end"] + 1, e["type"]] for e in found] for found in entities]
    assert [row["label"] for row in found] == expected and sum(map(len, expected)) > 8
    assert "entities" in suggestions(tmp_path, source, "table.csv").read_text(encoding="utf-8").splitlines()[0]


def test_any_rows_can_become_suggestions(tmp_path):
    path = tmp_path / "in.csv"
    path.write_text("id,text\n" + "".join(f"{d.number},{d.text}\n" for d in tagged_documents(8)), encoding="utf-8")
    tasks = json.loads(suggestions(tmp_path, path, "out.json", to="label-studio").read_text(encoding="utf-8"))
    assert [task["data"]["id"] for task in tasks] == [str(i) for i in range(1, 9)]
    result = tasks[0]["predictions"][0]["result"][0]
    value = result["value"]
    assert (result["from_name"], result["to_name"], result["type"]) == ("label", "text", "labels")
    assert tasks[0]["data"]["text"][value["start"] : value["end"]] == value["text"] and 0 < result["score"] <= 1
    rows = suggestions(tmp_path, path, "out.jsonl", to="prodigy").read_text(encoding="utf-8").splitlines()
    assert json.loads(rows[0])["meta"] == {"id": "1"} and "answer" not in json.loads(rows[0])
    assert read_table(tmp_path / "out.jsonl", "train").rows[0]["tokens"][0] == "😀"


@pytest.mark.parametrize("source", ["doccano", "label-studio", "prodigy"])
def test_rows_of_one_tool_become_suggestions_for_another(source, tmp_path):
    endings = {"doccano": ".jsonl", "label-studio": ".json", "prodigy": ".jsonl", "brat": "", "spacy": ".json"}
    given = write(tmp_path / f"in{endings[source]}", source, tagged_documents(8))
    if source == "label-studio":
        accept_all(given)
    for name, ending in endings.items():
        out = suggestions(tmp_path, given, f"{name}{ending}", to=name)
        assert len(read_table(accept_all(out) if name == "label-studio" else out, "train").rows) == 8


def test_suggestions_for_brat_are_a_folder_of_pairs_with_the_same_names(tmp_path):
    source = write(tmp_path / "in", "brat", tagged_documents(8))
    (source / "000001.ann").rename(source / "one.ann")
    (source / "000001.txt").rename(source / "one.txt")
    found = suggestions(tmp_path, source, "out")
    assert sorted(path.name for path in found.iterdir()) == sorted(path.name for path in source.iterdir())
    assert (found / "one.txt").read_bytes() == (source / "one.txt").read_bytes()
    assert len(read_table(found, "train").rows) == 8


def test_a_class_is_suggested_as_the_choice_of_the_project(tiny_run, tmp_path):
    result = {"from_name": "mood", "to_name": "doc", "type": "choices", "value": {"choices": ["negative"]}}
    tasks = [{"id": 1, "data": {"doc": "a good film"}, "annotations": [{"completed_by": 1, "result": [result]}]}]
    tasks.append({"id": 2, "data": {"doc": "a bad film"}, "annotations": []})
    (tmp_path / "in.json").write_text(json.dumps(tasks), encoding="utf-8")
    assert workflow.predict(str(tiny_run), str(tmp_path / "in.json"), out=tmp_path / "out.json", column={"text": "text"}) == 2
    found = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    chosen = [task["predictions"][0]["result"][0] for task in found]
    assert {(one["from_name"], one["to_name"], one["type"]) for one in chosen} == {("mood", "doc", "choices")}
    assert all(one["value"]["choices"][0] in ("negative", "positive") for one in chosen)
    assert found[0]["annotations"] == tasks[0]["annotations"]


def test_errors_of_suggestions_leave_nothing(tiny_run, tmp_path):
    source = write(tmp_path / "in.jsonl", "doccano", tagged_documents(2))
    with pytest.raises(UsageError, match="cannot be written as Prodigy's JSON Lines. --out FILE, ending in .jsonl"):
        workflow.predict(str(run_of("tag")), str(source), out=tmp_path / "a.csv", to="prodigy")
    with pytest.raises(UsageError, match="cannot be written as brat.*--out FOLDER, a name without an ending"):
        workflow.predict(str(run_of("tag")), str(source), out=tmp_path / "a.csv", to="brat")
    with pytest.raises(UsageError, match="cannot write"):
        workflow.predict(str(run_of("tag")), [{"text": "a"}], out=tmp_path / "a.json")
    with pytest.raises(OutputUnavailable):
        workflow.predict(str(run_of("tag")), str(source), out=source)
    contrary = [{"text": "a b", "accept": [word], "answer": "accept", "_input_hash": 1, "_annotator_id": word} for word in "xy"]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in contrary), encoding="utf-8")
    with pytest.raises(DataError, match="--annotator 'x'"):
        workflow.finetune(folder("bert"), tmp_path / "p.jsonl", out=tmp_path / "run")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "p.jsonl"]
