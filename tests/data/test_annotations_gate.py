"""hftool/data/annotations/gate_xml.py: annotations of GATE's inline XML."""

import pytest

from hftool.data.readers.formats import ReadOptions
from hftool.data.readers.tables import read_table
from hftool.errors import DataError

GATE = """<?xml version="1.0" encoding="UTF-8"?>
<doc xmlns:gate="http://www.gate.ac.uk" gate:gateId="0" gate:annotMaxId="9">
<p gate:gateId="1"> 😀 <Person gate:gateId="3" gender="female" rule="x">Ann &amp; Bo</Person> flew to
<Sentence gate:gateId="4"><Location gate:gateId="5">New <i>York</i></Location> today</Sentence>.</p>

<b>Nothing</b> here
</doc>
"""


def read(tmp_path, text, **options):
    (tmp_path / "a.xml").write_text(text, encoding="utf-8")
    return read_table(tmp_path / "a.xml", "train", ReadOptions(**options))


def test_lines_are_rows_and_marked_elements_spans(tmp_path):
    table = read(tmp_path, GATE)
    assert [row["text"] for row in table.rows] == ["😀 Ann & Bo flew to", "New York today.", "Nothing here"]
    assert table.rows[0]["tags"] == ["O", "B-Person", "I-Person", "I-Person", "O", "O"]
    assert table.rows[1]["tags"] == ["B-Location", "I-Location", "O", "O"] and set(table.rows[2]["tags"]) == {"O"}
    assert any("Sentence, doc, p are structure and are left out" in note for note in table.notes)


def test_text_without_a_root_and_annotations_over_lines(tmp_path):
    table = read(tmp_path, 'The <A gate:gateId="1">cat</A> sat.\nOn <B gateId="2">the\nmat</B>.\n')
    assert table.rows[0]["tags"] == ["O", "B-A", "O", "O"]
    assert [bad.reason for bad in table.rejected] == ["the annotation B is longer than the line"] * 2


@pytest.mark.parametrize(
    "text, what",
    [
        ("<a>text</a>", "XML without 'gate:gateId'"),
        ("<GateDocument><TextWithNodes/></GateDocument>", "GATE's XML with nodes. Save it as inline XML"),
        ('<A gate:gateId="1">cat', "not GATE's inline XML, or damaged: mismatched tag"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><a gate:gateId="1">&b;</a>', "not GATE's inline XML, or damaged: not well-formed"),
    ],
)
def test_other_xml_is_named(tmp_path, text, what):
    with pytest.raises(DataError) as caught:
        read(tmp_path, text)
    assert what in str(caught.value)
