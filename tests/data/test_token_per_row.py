"""hftool/data/readers/token_per_row.py: tables with one token per row are read as sentences by every verb."""

import io
import json

import pytest

from hftool import workflow
from hftool.data.column_contents import Contents
from hftool.data.columns import map_columns
from hftool.data.readers.tables import read_table, stream
from hftool.heads import head_class

SENTENCES = [[("Ada", "B-PER"), ("met", "O"), ("Bob", "B-PER")], [("Paris", "B-LOC"), ("is", "O"), ("big", "O"), (".", "O")]]
WORDS = [[word for word, _ in sentence] for sentence in SENTENCES]
TAGS = [[tag for _, tag in sentence] for sentence in SENTENCES]


def table(header, row, *, gap="", count=1):
    """Text of a file with SENTENCES repeated `count` times."""
    blocks = []
    for k, sentence in enumerate(SENTENCES * count):
        cells = enumerate(sentence)
        blocks.append("".join(row.format(k=k, first=f"Sentence: {k}" if not i else "", w=w, t=t) + "\n" for i, (w, t) in cells))
    return header + gap.join(blocks)


OBJECT = '{{"sent_id": {k}, "token": "{w}", "tag": "{t}"}}'
FORMS = {
    "ids.csv": (table("sentence_id,words,labels\n", "{k},{w},{t}"), "words", "labels", "the column 'sentence_id'"),
    "gaps.csv": (table("Sentence #,Word,POS,Tag\n", "{first},{w},NN,{t}"), "Word", "Tag", "the column 'Sentence #'"),
    "blank.tsv": (table("token\ttag\n", "{w}\t{t}", gap="\n"), "token", "tag", "blank lines"),
    "empty.csv": (table("word,ner_tags\n", "{w},{t}", gap=",\n"), "word", "ner_tags", "blank lines"),
    "objects.jsonl": (table("", OBJECT), "token", "tag", "the column 'sent_id'"),
    "id.csv": (table("id;token;ner_tags\n", "{k};{w};{t}"), "token", "ner_tags", "the column 'id'"),
    "named.csv": (table("sentence,word,tag\n", "s{k} it goes,{w},{t}"), "word", "tag", "the column 'sentence'"),
}


@pytest.mark.parametrize("name", FORMS)
def test_token_rows_become_sentences_with_a_notice(tmp_path, name):
    text, word, tag, by = FORMS[name]
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    found = read_table(path, "train")
    assert [row[word] for row in found.rows] == WORDS and [row[tag] for row in found.rows] == TAGS
    assert found.notes == [f"'{path}' has one word a row: the rows are read as sentences, separated by {by}"]
    assert [row["POS"] for row in found.rows] == [["NN"] * 3, ["NN"] * 4] if name == "gaps.csv" else True
    first = 1 if name.endswith("jsonl") else 2
    assert found.numbers == [first, first + 3 + ("blank" in name or "empty" in name)]
    rejected, notes = [], []
    _, records = stream(path, rejected=rejected, notes=notes)
    assert [record.row for record in records] == found.rows and notes == found.notes


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("lists.csv", "sentence_id,words,labels\n" + "".join(f"1,\"['a', 'b{i}']\",\"['O', 'O']\"\n" for i in range(6))),
        ("spaces.csv", "id,words,labels\n" + "".join(f"1,a b{i},O O\n" for i in range(6))),
        ("distinct.csv", "sentence_id,words,labels\n" + "".join(f"{i},w{i},O\n" for i in range(6))),
        ("lists.jsonl", "".join(json.dumps({"id": 1, "tokens": ["a", str(i)], "tags": ["O", "O"]}) + "\n" for i in range(6))),
        ("texts.csv", "id,text,label\n" + "".join(f"1,a{i},x\n" for i in range(6))),
        ("empty.jsonl", "{}\n" * 3 + '{"text": "a"}\n'),
    ],
)
def test_rows_of_whole_sentences_are_unchanged(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    found = read_table(path, "train")
    assert len(found.rows) == (4 if name == "empty.jsonl" else 6) and not found.notes


def test_sentence_longer_than_the_sample_and_a_rejected_row(tmp_path):
    path = tmp_path / "long.csv"
    rows = "".join(f"1,w{i},O\n" for i in range(600)) + "2,lost\n" + "2,b,O\n2,c,O\n"
    path.write_text("sentence_id,words,labels\n" + rows, encoding="utf-8")
    found = read_table(path, "train")
    assert [len(row["words"]) for row in found.rows] == [600, 2] and [bad.row for bad in found.rejected] == [602]


def test_every_verb_reads_sentences(tmp_path, tiny_bert):
    path = tmp_path / "train.csv"
    path.write_text(table("Sentence #,Word,POS,Tag\n", "{first},{w},NN,{t}", count=10), encoding="utf-8")
    knobs = {"max_steps": 2, "allow_leak": True}
    workflow.finetune(str(tiny_bert), str(path), config=knobs, out=tmp_path / "run")
    notice = []
    report = workflow.evaluate(str(tmp_path / "run"), str(path), progress=lambda event: notice.append(event.text))
    assert report.metrics["rows"] == 20 and any("has one word a row" in text for text in notice)
    handle = io.StringIO()
    assert workflow.predict(str(tmp_path / "run"), str(path), handle=handle) == 20
    assert json.loads(handle.getvalue().splitlines()[1])["tokens"] == WORDS[1]


HEADERS = [
    ("sentence_id,words,labels", "words", "labels"),
    ("Sentence #,Word,Tag", "Word", "Tag"),
    ("sentence_id,word,gold", "word", "gold"),
    ("sentence_id,word,gold_label", "word", "gold_label"),
    ("sentence_id,word,ner_gold", "word", "ner_gold"),
    ("Sentence ID,Token,BIO Tag", "Token", "BIO Tag"),
    ("sent_id,token,label", "token", "label"),
    ("sent_id,Form,UPOS", "Form", "UPOS"),
]


@pytest.mark.parametrize(("header", "tokens", "tags"), HEADERS)
def test_tag_column_of_grouped_tokens_is_found_under_any_name(header, tokens, tags, tmp_path):
    lines = [f"{i},{word},{tag}" for i in range(9) for word, tag in ((f"Ada{i}", "B-PER"), ("met", "O"), ("Bob", "B-PER"))]
    path = tmp_path / "words.csv"
    path.write_text("\n".join([header, *lines, ""]), encoding="utf-8")
    table = read_table(path, "train")
    given = {"tokens": tokens} if tokens == "Form" else {}
    row_schemas = head_class("tag").row_schemas
    _, found = map_columns(table.columns, row_schemas, given=given, known={}, path="f", contents=Contents(table.rows))
    assert (found["tokens"], found["tags"]) == (tokens, tags) and len(table.rows) == 9


@pytest.mark.parametrize("header", ["doc_id,word_count,label", "doc_id,tokens_used,tag", "doc_id,max_token,gold"])
def test_token_counts_are_not_tokens(header, tmp_path):
    path = tmp_path / "counts.csv"
    path.write_text("\n".join([header, *(f"{i // 4},{i},{i % 2}" for i in range(24)), ""]), encoding="utf-8")
    assert len(read_table(path, "train").rows) == 24
