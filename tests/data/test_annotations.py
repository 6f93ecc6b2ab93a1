"""hftool/data/annotations: exports of doccano, Label Studio and Prodigy become words with tags, or texts with labels."""

import json

import pytest

from hftool.data.annotations.documents import Span
from hftool.data.annotations.tagging import check_spans, tag_words
from hftool.data.annotations.utf16 import from_utf16, to_utf16
from hftool.data.readers.formats import ReadOptions
from hftool.data.readers.tables import read_table, stream
from hftool.errors import DataError, HftoolError
from support.annotated import accept_all, documents, marks, read_documents, write

TEXT = "Ann 😀 flew to Lisbon."
TAGS = ["B-person", "O", "O", "O", "B-location", "O"]
# written by the export pipeline of doccano 1.8.4
DOCCANO = {
    "spans": """\
{"id":1,"text":"Ann 😀 flew to Lisbon.","page":7,"doc":"a","label":[[0,3,"person"],[15,21,"location"]],"Comments":["ok"]}
{"id":3,"text":"It rained.","page":7,"doc":"a","label":[],"Comments":["ok"]}
""",
    "relations": """\
{"id":5,"text":"Ann 😀 flew to Lisbon.","page":7,"doc":"a","entities":[{"id":5,"label":"person","start_offset":0,"end_offset":3},\
{"id":6,"label":"location","start_offset":15,"end_offset":21}],"relations":[{"id":1,"from_id":5,"to_id":6,"type":"in"}],\
"Comments":[{"id":5,"comment":"ok"}]}
{"id":7,"text":"It rained.","page":7,"doc":"a","entities":[],"relations":[],"Comments":[{"id":7,"comment":"ok"}]}
""",
    "intents": """\
{"id":13,"text":"Ann 😀 flew to Lisbon.","page":7,"doc":"a","cats":["pos"],"entities":[[0,3,"person"],[15,21,"location"]],"Comments":[]}
{"id":15,"text":"It rained.","page":7,"doc":"a","cats":[],"entities":[],"Comments":["ok"]}
""",
    "classes": """\
{"id":9,"text":"Ann 😀 flew to Lisbon.","page":7,"doc":"a","label":["pos"],"Comments":["ok"]}
{"id":10,"text":"北京大学很大。","page":7,"doc":"a","label":["neg"],"Comments":["ok"]}
{"id":11,"text":"It rained.","page":7,"doc":"a","label":[],"Comments":["ok"]}
{"id":12,"text":"Oslo is cold, C# too","page":7,"doc":"a","label":["C#","F#"],"Comments":["ok"]}
""",
}
# by the converter of label-studio-sdk 2.1.2
LABEL_STUDIO_CSV = """\
"annotation_id","annotator","created_at","doc","id","label","lead_time","sentiment","stars","text","updated_at"
12,"b@x.org","2026-01-02T00:00:00Z","a",1,"[{""start"":14,""end"":20,""text"":""Lisbon"",""labels"":[""Brand Name""]}]",1.5,"pos",\
"","Ann 😀 flew to Lisbon.","2026-01-02T00:00:00Z"
11,"a@x.org","2026-01-01T00:00:00Z","a",1,"[{""start"":0,""end"":3,""text"":""Ann"",""labels"":[""person""]}]",1.5,\
"{""choices"":[""pos"",""neg""]}","[{""rating"":4}]","Ann 😀 flew to Lisbon.","2026-01-01T00:00:00Z"
13,"1","2026-01-01T00:00:00Z","b",2,"[{""start"":0,""end"":4,""text"":""北京大学"",""labels"":[""person""]}]",1.5,"","","北京大学在北京。",\
"2026-01-01T00:00:00Z"
14,"1","","c",3,"","","","","empty",""
"","","","c",4,"","","","","none",""
"""


def labels_result(start, end, text, label):
    value = {"start": start, "end": end, "text": text, "labels": [label]}
    return {"from_name": "label", "to_name": "text", "type": "labels", "value": value}


def choice_result(*words):
    return {"from_name": "mood", "to_name": "text", "type": "choices", "value": {"choices": list(words)}}


def task(number, text, *annotations, **more):
    created = [
        {"id": i, "completed_by": {"id": i, "email": who} if isinstance(who, str) else who, "result": list(result)}
        for i, (who, result) in enumerate(annotations)
    ]
    return {"id": number, "data": {"text": text, "doc": "a"}, "annotations": created, "predictions": [], **more}


ANN, LISBON = labels_result(0, 3, "Ann", "person"), labels_result(14, 20, "Lisbon", "location")


def read(tmp_path, content, name="train.jsonl", **options):
    path = tmp_path / name
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    path.write_text(text, encoding="utf-8")
    return read_table(path, "train", ReadOptions(**options))


def lines(*rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def error_line(call, *args, **kwargs):
    with pytest.raises(HftoolError) as caught:
        call(*args, **kwargs)
    return f"{caught.value.code} {caught.value}"


# ---- spans to tags


def test_spans_become_the_tags_of_words_and_white_space_around_them_does_not_matter():
    tagged, reason = tag_words("Dr. Ann Okafor  met 北京大学.", [Span(4, 15, "person"), Span(19, 24, "org")])
    assert reason == "" and tagged.overlapping == 0
    assert tagged.tokens == ["Dr", ".", "Ann", "Okafor", "met", "北", "京", "大", "学", "."]
    assert tagged.tags == ["O", "O", "B-person", "I-person", "O", "B-org", "I-org", "I-org", "I-org", "O"]


@pytest.mark.parametrize(
    ("spans", "reason"),
    [
        ([Span(0, 2, "person")], "the span 0-2 'person' splits the word 'Ann'"),
        ([Span(14, 19, "location")], "the span 14-19 'location' splits the word 'Lisbon'"),
        ([Span(3, 4, "gap")], "the span 3-4 'gap' covers no word"),
        ([Span(0, 20, "x", parts=((0, 3), (14, 20)))], "the span 0-20 'x' has 2 parts, and tags have one"),
    ],
)
def test_a_span_that_does_not_fit_the_words_is_a_reason_and_no_guess(spans, reason):
    assert tag_words(TEXT, spans) == (None, reason)


def test_a_span_that_splits_words_can_include_them():
    tagged, reason = tag_words(TEXT, [Span(1, 7, "person"), Span(16, 18, "location")], widen=True)
    assert reason == "" and tagged.tags == ["B-person", "I-person", "I-person", "O", "B-location", "O"][: len(tagged.tags)]
    assert tagged.widened == (
        "the span 1-7 'person' splits the word 'Ann'",
        "the span 16-18 'location' splits the word 'Lisbon'",
    )


def test_partial_words_are_counted_and_listed(tmp_path):
    rows = [{"text": "그는 서울에서 산다", "label": [[3, 5, "LOC"]]}, {"text": "It rains", "label": [[0, 2, "X"]]}]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    table = read_table(path, "train")
    assert [bad.reason for bad in table.rejected] == ["the span 3-5 'LOC' splits the word '서울에서'"] and len(table.rows) == 1
    assert "1 texts have a span that begins or ends inside of a word; --partial-words include keeps them" in table.notes[-1]
    table = read_table(path, "train", ReadOptions(partial_words="include"))
    assert table.rows[0]["tags"] == ["O", "B-LOC", "O"] and not table.rejected
    first = "the first is row 1: the span 3-5 'LOC' splits the word '서울에서'"
    assert table.notes[-1].endswith(f"1 of 2 spans begin or end inside of a word and include all of it; {first}")


def test_of_overlapping_spans_the_longest_wins_and_the_first_of_equal_ones():
    spans = [Span(0, 3, "a"), Span(0, 10, "b"), Span(6, 10, "c"), Span(14, 20, "d"), Span(14, 20, "e"), Span(14, 20, "d")]
    tagged, _ = tag_words(TEXT, spans)
    assert tagged.tags == ["B-b", "I-b", "I-b", "O", "B-d", "O"] and tagged.overlapping == 3


@pytest.mark.parametrize(
    ("span", "reason"),
    [
        (Span(14, 22, "x"), "the span 14-22 'x' is outside of its text of 21 characters"),
        (Span(-1, 2, "x"), "the span -1-2 'x' is outside of its text of 21 characters"),
        (Span(3, 3, "x"), "the span 3-3 'x' is outside of its text of 21 characters"),
        (Span(14, 20, "x", "Madrid"), "the span 14-20 'x' was 'Madrid' and is now 'Lisbon': the text has changed"),
    ],
)
def test_a_span_outside_of_its_text_or_of_a_changed_one_is_a_reason(span, reason):
    assert check_spans(TEXT, [Span(0, 3, "y", "Ann"), span]) == reason


def test_offsets_in_utf16_units_are_those_of_javascript():
    text = "a😀b𠮷"
    assert [(s.start, s.end) for s in to_utf16(text, [Span(0, 1, ""), Span(1, 2, ""), Span(3, 4, "")])] == [
        (0, 1),
        (1, 3),
        (4, 6),
    ]
    found, reason = from_utf16(text, [Span(1, 3, ""), Span(4, 8, "")])
    assert [(s.start, s.end) for s in found] == [(1, 2), (3, 6)] and not reason  # 8 stays outside of the text
    assert from_utf16(text, [Span(0, 2, "x")]) == ([], "the span 0-2 'x' begins or ends inside of a character")


# ---- doccano


@pytest.mark.parametrize("name", ["spans", "relations", "intents"])
def test_spans_of_doccano_count_utf16_units(tmp_path, name):
    table = read(tmp_path, DOCCANO[name])
    assert table.rows[0]["tags"] == TAGS and table.rows[1]["tags"] == ["O", "O", "O"]
    assert table.rows[0]["page"] == 7 and not {"Comments", "relations"} & set(table.columns)
    assert table.notes == [f"'{table.path}' is read as an export of doccano; --format decides"]
    assert [row.get("label") for row in table.rows] == (["pos", None] if name == "intents" else [None, None])


@pytest.mark.parametrize("name", ["train.jsonl", "train.json"])
def test_classes_of_doccano_are_lists_of_one_label(tmp_path, name):
    rows = [json.loads(line) for line in DOCCANO["classes"].splitlines()]
    table = read(tmp_path, rows if name.endswith("json") else lines(*rows), name)
    assert [(row["text"], row["label"]) for row in table.rows] == [(TEXT, "pos"), ("北京大学很大。", "neg")]
    assert [(bad.row, bad.reason) for bad in table.rejected] == [(4, "2 labels where one is needed: C#, F#")]
    assert table.notes[1] == f"'{table.path}': 1 texts are not annotated and are left out"


def test_an_export_of_doccano_with_numbers_for_labels_names_the_known_versions(tmp_path):
    row = {"id": 1, "text": "Ann", "annotations": [{"label": 3, "start_offset": 0, "end_offset": 3}]}
    found = error_line(read, tmp_path, lines(row))
    assert found.startswith("65 ") and "before 1.0" in found and "Known are the exports of 1.0 to 1.8" in found


def test_a_table_that_is_no_export_stays_a_table(tmp_path):
    rows = [{"text": "a b", "label": ["x"]}, {"text": "c", "label": []}]
    assert read(tmp_path, lines(*rows)).rows == rows
    rows = [{"text": "a", "label": 1}, {"text": "b", "entities": []}]
    assert read(tmp_path, lines(*rows)).rows == rows


# ---- Label Studio


def test_label_studio_counts_code_points_and_an_empty_annotation_has_no_spans(tmp_path):
    tasks = [task(1, TEXT, (1, [ANN, LISBON])), task(2, "It rained.", (1, [])), task(3, "Not yet.")]
    skipped = task(4, "Skipped.")
    skipped["annotations"] = [{"completed_by": 1, "was_cancelled": True, "result": [ANN]}]
    table = read(tmp_path, [*tasks, skipped], "train.json")
    assert [row["tags"] for row in table.rows] == [TAGS, ["O", "O", "O"]] and table.rows[0]["doc"] == "a"
    assert table.notes[1:] == [f"'{table.path}': 2 texts are not annotated and are left out"]


def test_the_text_of_a_task_is_found_by_its_spans(tmp_path):
    one = task(1, "", (1, [ANN, LISBON]))
    one["data"] = {"title": "A much longer title than the text is itself", "body": TEXT}
    assert read(tmp_path, [one], "train.json").rows[0]["text"] == TEXT


def test_choices_of_label_studio_become_a_label_or_a_column_each(tmp_path):
    table = read(tmp_path, [task(1, "a b", (1, [choice_result("pos")])), task(2, "c d", (1, [choice_result("neg")]))], "a.json")
    assert [row["label"] for row in table.rows] == ["pos", "neg"]
    stars = {"from_name": "stars", "to_name": "text", "type": "rating", "value": {"rating": 4}}
    table = read(tmp_path, [task(1, "a b", (1, [choice_result("pos"), stars]))], "b.json")
    assert table.rows[0]["mood"] == "pos" and table.rows[0]["stars"] == "4" and "label" not in table.rows[0]
    table = read(tmp_path, lines(*[task(i, "a b", (1, [choice_result("x")])) for i in range(200)]))
    assert len(table.rows) == 200
    found = error_line(read, tmp_path, [task(1, "a b", (1, [choice_result("pos", "neg")]))], "c.json")
    assert "2 labels where one is needed: pos, neg" in found


def test_two_annotators_who_contradict_each_other_are_an_error_until_one_is_chosen(tmp_path):
    tasks = [task(1, "a b", ("a@x", [choice_result("pos")]), ("b@x", [choice_result("pos")]))]
    table = read(tmp_path, tasks, "train.json")
    assert len(table.rows) == 1 and table.notes[1] == f"'{table.path}': 1 texts that several annotators marked alike count once"
    tasks.append(task(2, "c d", ("a@x", [choice_result("pos")]), ("b@x", [choice_result("neg")])))
    found = error_line(read, tmp_path, tasks, "train.json")
    assert found.startswith("65 ") and "the text of row 2 is marked by 'a@x' and 'b@x', and not alike" in found
    table = read(tmp_path, tasks, "train.json", annotator="b@x")
    assert [row["label"] for row in table.rows] == ["pos", "neg"]
    assert table.notes[1] == f"'{table.path}': 2 annotations by others than 'b@x' are left out"
    assert "It has those by 'a@x', 'b@x'" in error_line(read, tmp_path, tasks, "train.json", annotator="c@x")


def test_a_project_without_annotations_and_completions_of_an_old_version_are_errors(tmp_path):
    assert "has no annotations: none of its texts has a span or a label" in error_line(read, tmp_path, [task(1, "a")], "a.json")
    old = {"id": 1, "data": {"text": "a"}, "completions": [{"result": []}]}
    assert "of a version before 1.0, with completions. Known is the JSON of 1.0" in error_line(read, tmp_path, [old], "b.json")


def test_the_csv_of_label_studio_has_json_in_its_cells(tmp_path):
    assert "marked by 'b@x.org' and 'a@x.org'" in error_line(read, tmp_path, LABEL_STUDIO_CSV, "train.csv")
    table = read(tmp_path, LABEL_STUDIO_CSV, "train.csv", annotator="b@x.org")
    assert table.rows[0]["tags"] == ["O", "O", "O", "O", "B-Brand Name", "O"] and table.rows[0]["sentiment"] == "pos"
    table = read(tmp_path, LABEL_STUDIO_CSV, "train.csv", annotator="1")
    assert [row["text"] for row in table.rows] == ["北京大学在北京。", "empty"] and table.rows[1]["tags"] == ["O"]
    assert table.rows[0]["tags"] == ["B-person", "I-person", "I-person", "I-person", "O", "O", "O", "O"]


def test_json_min_of_label_studio_is_read_as_its_csv(tmp_path):
    spans = [
        {"start": 0, "end": 3, "text": "Ann", "labels": ["person"]},
        {"start": 14, "end": 20, "text": "Lisbon", "labels": ["location"]},
    ]
    ours = {"annotator": 1, "annotation_id": 2, "created_at": "", "updated_at": "", "lead_time": 1.0}
    table = read(tmp_path, [{"text": TEXT, "id": 1, "label": spans, **ours}], "train.json")
    assert table.rows[0]["tags"] == TAGS and table.rows[0]["id"] == 1


# ---- Prodigy


def prodigy_task(text, *spans, **more):
    created = [{"start": start, "end": end, "label": label} for start, end, label in spans]
    return {
        "text": text,
        "_input_hash": hash(text),
        "_task_hash": 1,
        "spans": created,
        "answer": "accept",
        "_view_id": "ner_manual",
        **more,
    }


def test_rejected_and_ignored_answers_of_prodigy_are_left_out(tmp_path):
    ignored = prodigy_task("x y", (0, 1, "person"), answer="ignore")
    rejected = prodigy_task("x z", (0, 1, "person"), answer="reject", meta={"a": 1})
    table = read(tmp_path, lines(prodigy_task(TEXT, (0, 3, "person"), (14, 20, "location")), ignored, rejected))
    assert [row["tags"] for row in table.rows] == [TAGS]
    assert table.notes[1] == f"'{table.path}': 2 rejected and ignored answers are left out"


def test_a_span_of_prodigy_by_tokens_includes_its_last(tmp_path):
    tokens = [{"text": "New", "start": 0, "end": 3, "id": 0}, {"text": "York", "start": 4, "end": 8, "id": 1}]
    row = {
        "text": "New York",
        "tokens": tokens,
        "spans": [{"token_start": 0, "token_end": 1, "label": "place"}],
        "answer": "accept",
    }
    table = read(tmp_path, lines(row), format="prodigy")
    assert table.rows[0]["tags"] == ["B-place", "I-place"]


def test_labels_of_prodigy_are_accepted_options_or_the_label(tmp_path):
    options = [{"id": "pos", "text": "+"}, {"id": "neg", "text": "-"}]
    row = {"text": "good", "options": options, "accept": ["pos"], "answer": "accept", "_input_hash": 1}
    binary = {"text": "bad", "label": "neg", "answer": "accept", "_input_hash": 2}
    assert [row["label"] for row in read(tmp_path, lines(row, binary)).rows] == ["pos", "neg"]
    several = [row | {"_annotator_id": "a"}, row | {"_annotator_id": "b", "accept": ["neg"]}]
    assert "marked by 'a' and 'b'" in error_line(read, tmp_path, lines(*several))
    assert read(tmp_path, lines(*several), annotator="b").rows[0]["label"] == "neg"


def test_binary_answers_about_single_spans_are_no_tags(tmp_path):
    found = error_line(read, tmp_path, lines(prodigy_task(TEXT, (0, 3, "person"), _is_binary=True)))
    assert found.startswith("65 ") and "Complete them with ner.silver-to-gold" in found


# ---- all forms


def test_rows_for_inference_are_the_texts_alone_and_each_once(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps([task(1, TEXT, ("a@x", [ANN]), ("b@x", [LISBON])), task(2, "b")]), encoding="utf-8")
    _, records = stream(path, rejected=[])
    assert [record.row for record in records] == [{"text": TEXT, "id": 1, "doc": "a"}, {"text": "b", "id": 2, "doc": "a"}]


@pytest.mark.parametrize(
    ("name", "ending"),
    [
        ("doccano", "jsonl"),
        ("doccano", "json"),
        ("label-studio", "json"),
        ("prodigy", "jsonl"),
        ("spacy", "json"),
        ("vertex", "jsonl"),
    ],
)
def test_200_documents_with_spans_are_the_same_after_a_round_trip(tmp_path, monkeypatch, name, ending):
    given = documents()
    assert sum(len(document.spans) for document in given) > 200
    path = write(tmp_path / f"a.{ending}", name, given)
    if name == "label-studio":
        accept_all(path)
    found = read_documents(path, monkeypatch)
    assert [(d.text, marks(d)) for d in found] == [(d.text, marks(d)) for d in given]
    again = read_table(path, "train", ReadOptions(format=name))
    assert not again.rejected and not again.notes and len(again.rows) == 200


def test_what_the_tool_added_to_a_row_is_in_the_suggestion_for_it(tmp_path, monkeypatch):
    relations = json.loads(DOCCANO["relations"].splitlines()[0])
    (tmp_path / "a.jsonl").write_text(lines(relations), encoding="utf-8")
    (document,) = read_documents(tmp_path / "a.jsonl", monkeypatch)
    (row,) = map(json.loads, write(tmp_path / "b.jsonl", "doccano", [document]).read_text(encoding="utf-8").splitlines())
    assert row == relations | {
        "relations": [],
        "entities": [
            {"id": 0, "label": "person", "start_offset": 0, "end_offset": 3},
            {"id": 1, "label": "location", "start_offset": 15, "end_offset": 21},
        ],
    }
    tokens = [
        {"text": word, "start": start, "end": start + len(word), "id": i}
        for i, (word, start) in enumerate([("Ann", 0), ("ran", 4)])
    ]
    given = prodigy_task("Ann ran", (0, 3, "person"), tokens=tokens, meta={"page": 1}, _session_id="s")
    (tmp_path / "c.jsonl").write_text(lines(given), encoding="utf-8")
    monkeypatch.undo()
    (document,) = read_documents(tmp_path / "c.jsonl", monkeypatch)
    (row,) = map(json.loads, write(tmp_path / "d.jsonl", "prodigy", [document]).read_text(encoding="utf-8").splitlines())
    span = {"start": 0, "end": 3, "label": "person", "token_start": 0, "token_end": 0}
    assert row == {
        "text": "Ann ran",
        "_input_hash": given["_input_hash"],
        "tokens": tokens,
        "meta": {"page": 1},
        "spans": [span],
    }


def test_more_than_one_in_a_hundred_spans_outside_of_its_text_is_an_error(tmp_path):
    from hftool.data.labels import find_tags
    from hftool.data.rows import map_rows

    rows = [{"text": f"Ann met {i}", "label": [[0, 3, "person"]]} for i in range(150)]
    rows[7] = {"text": "Bo", "label": [[0, 3, "person"]]}
    table, mapping = read(tmp_path, lines(*rows)), {"tokens": "tokens", "tags": "tags"}
    assert [(bad.row, bad.reason) for bad in table.rejected] == [
        (8, "the span 0-3 'person' is outside of its text of 2 characters")
    ]
    assert len(map_rows(table, mapping, find_tags(table, "tags")).rows) == 149
    rows[8] = rows[7]
    table = read(tmp_path, lines(*rows))
    with pytest.raises(DataError, match="2 of 150 rows cannot be used; the first is line 8: the span 0-3 'person' is outside"):
        map_rows(table, mapping, find_tags(table, "tags"))
