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
    assert table.notes[1:] == [f"'{table.path}': 2 of 5 spans overlap longer ones, which win"]
    assert read(tmp_path, WEBANNO, "train.txt", format="webanno").rows == table.rows


def webanno(*lines, header="#T_SP=custom.Span|value"):
    """A document of one sentence."""
    return "\n".join(["#FORMAT=WebAnno TSV 3.3", header, "", "", *lines, ""])


@pytest.mark.parametrize(
    ("value", "label"),
    [
        ("a\\_b", "a_b"),
        ("a\\[1\\]", "a[1]"),
        ("\\*", "*"),
        ("a\\|b", "a|b"),
        ("a\\->b", "a->b"),
        ("a\\\\|c", "a\\"),
        ("a\\tb", "a\tb"),
    ],
)
def test_reserved_characters_of_webanno_are_escaped(tmp_path, value, label):
    table = read(tmp_path, webanno("#Text=Ann met", f"1-1\t0-3\tAnn\t{value}\t", "1-2\t4-7\tmet\t_\t"), "a.tsv")
    assert table.rows[0]["tags"] == [f"B-{label}", "O"]


def test_stacked_annotations_of_webanno_are_spans_by_their_number(tmp_path):
    lines = ["1-1\t0-3\tMs.\tPER[1]|PERpart[2]\t", "1-2\t4-8\tHaag\tPER[1]\t", "1-3\t9-14\tplays\tPER[3]\t"]
    table = read(tmp_path, webanno("#Sentence.id=s1", "#Text=Ms. Haag plays", *lines), "a.tsv")
    assert table.rows[0]["tags"] == ["B-PER", "I-PER", "I-PER", "B-PER"]  # Ms . Haag plays
    assert "1 of 3 spans overlap" in table.notes[-1]


def test_parts_of_tokens_of_webanno_are_spans_that_split_words(tmp_path):
    lines = ["1-1\t0-5\tplays\t_\t", "1-1.1\t0-4\tplay\tX\t", "1-2\t6-7\tA\tY\t"]
    text = webanno("#Text=plays A", *lines)
    assert (
        read(tmp_path, text + "\n#Text=B\n2-1\t8-9\tB\tY\t\n", "a.tsv").rejected[0].reason
        == "the span 0-4 'X' splits the word 'plays'"
    )
    assert read(tmp_path, text, "b.tsv", partial_words="include").rows[0]["tags"] == ["B-X", "B-Y"]


def test_slots_chains_and_relations_of_webanno_are_other_columns(tmp_path):
    header = "\n".join(
        [
            "#T_SP=custom.Frame|ROLE_custom.Frame:Roles_custom.Link|custom.Lu|FE",
            "#T_SP=custom.Flag",
            "#T_CH=coref.CoreferenceLink|referenceType|referenceRelation",
            "#T_RL=syntax.Dependency|DependencyType|BT_pos.POS",
        ]
    )
    lines = [
        "1-1\t0-2\tHe\tseller;goods\t1-2;1-1\tsale\t*\tpr[1]\tcoref->1-1\tSUBJ\t1-2\t",
        "1-2\t3-7\tshot\t_\t_\t_\t_\t_\t_\t_\t_\t",
    ]
    assert read(tmp_path, webanno("#Text=He shot", *lines, header=header), "a.tsv").rows[0]["tags"] == ["B-sale", "O"]


def test_other_versions_and_layers_of_webanno_are_errors(tmp_path):
    old = error_line(read, tmp_path, WEBANNO.replace("TSV 3.3", "TSV 2"), "a.tsv")
    assert old.startswith("65 ") and "is WebAnno TSV 2. Known is WebAnno TSV 3.1 to 3.3" in old
    assert "is WebAnno TSV 3.4" in error_line(read, tmp_path, WEBANNO.replace("TSV 3.3", "TSV 3.4"), "d.tsv")
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
