"""hftool/data/annotations: the forms of WebAnno, INCEpTION and Vertex AI."""

import json

import pytest

from hftool.data.readers.formats import ReadOptions
from hftool.data.readers.tables import read_table
from hftool.errors import HftoolError

TAGS = ["B-person", "O", "O", "O", "B-location", "O"]
# offsets go on over the whole document and count UTF-16 units
WEBANNO = """\
#FORMAT=WebAnno TSV 3.3
#T_SP=de.tudarmstadt.ukp.dkpro.core.api.segmentation.type.Lemma|value
#T_SP=de.tudarmstadt.ukp.dkpro.core.api.ner.type.NamedEntity|identifier|value


#Text=Ann 😀 flew to Lisbon.
1-1\t0-3\tAnn\tAnn\t_\tperson\t
1-2\t4-6\t😀\t_\t_\t_\t
1-3\t7-11\tflew\tfly\t_\t_\t
1-4\t12-14\tto\tto\t_\t_\t
1-5\t15-21\tLisbon\t_\thttp://x\tlocation\t
1-6\t21-22\t.\t_\t_\t_\t

#Text=Bob 😀 Berg met Ann.
2-1\t23-26\tBob\t_\t*[1]\tperson[1]\t
2-2\t27-29\t😀\t_\t*[1]\tperson[1]\t
2-3\t30-34\tBerg\t_\t*[1]|*[2]\tperson[1]|a\\_b[2]\t
2-3.1\t30-32\tBe\t_\t_\tpart\t
2-4\t35-38\tmet\t_\t_\t_\t
2-5\t39-42\tAnn\t_\t*\t*\t
2-6\t42-43\t.\t_\t_\t_\t
"""
VERTEX = {
    "textContent": "Ann 😀 flew to Lisbon.",
    "textSegmentAnnotations": [
        {"endOffset": "3", "displayName": "person"},
        {"startOffset": "14", "endOffset": "20", "displayName": "location"},
    ],
    "dataItemResourceLabels": {"aiplatform.googleapis.com/ml_use": "training"},
}


def read(tmp_path, text, name, **options):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return read_table(path, "train", ReadOptions(**options))


def error_line(call, *args, **kwargs):
    with pytest.raises(HftoolError) as caught:
        call(*args, **kwargs)
    return f"{caught.value.code} {caught.value}"


def test_a_sentence_of_webanno_is_a_row_and_its_offsets_are_those_of_the_document(tmp_path):
    table = read(tmp_path, WEBANNO, "train.tsv")
    assert table.rows[0]["text"] == "Ann 😀 flew to Lisbon." and table.rows[0]["tags"] == TAGS
    assert table.rows[1]["tags"] == ["B-person", "I-person", "I-person", "O", "O", "O"]
    assert table.notes[0] == f"'{table.path}' is read as WebAnno TSV 3, by its content; --format decides"
    assert table.notes[1:] == [f"'{table.path}': 1 of 4 spans overlap longer ones, which win"]
    assert read(tmp_path, WEBANNO, "train.txt", format="webanno").rows == table.rows


def test_other_versions_and_layers_of_webanno_are_errors(tmp_path):
    old = error_line(read, tmp_path, WEBANNO.replace("TSV 3.3", "TSV 2"), "a.tsv")
    assert old.startswith("65 ") and "is WebAnno TSV 2. Known is WebAnno TSV 3.1 to 3.3" in old
    assert "does not begin with" in error_line(read, tmp_path, "a\tb\n", "b.tsv", format="webanno")
    other = error_line(read, tmp_path, WEBANNO.replace("NamedEntity", "Place"), "c.tsv")
    assert "no layer of named entities and not one span layer; it has Lemma, Place" in other


def test_segments_of_vertex_have_texts_as_offsets_and_0_may_be_missing(tmp_path):
    rows = [VERTEX, {"textContent": "It rained.", "textSegmentAnnotations": []}, {"textGcsUri": "gs://a/b.txt"}]
    table = read(tmp_path, "".join(json.dumps(row) + "\n" for row in rows), "train.jsonl")
    assert [row["tags"] for row in table.rows] == [TAGS, ["O", "O", "O"]] and table.rows[0]["ml_use"] == "training"
    assert [(bad.row, bad.reason) for bad in table.rejected] == [(3, "its text is in Cloud Storage, textGcsUri")]
    classes = [{"textContent": "good", "classificationAnnotation": {"displayName": "pos"}}]
    classes.append({"textContent": "bad", "classificationAnnotations": [{"displayName": "neg"}]})
    table = read(tmp_path, "".join(json.dumps(row) + "\n" for row in classes), "b.jsonl")
    assert [row["label"] for row in table.rows] == ["pos", "neg"]
