"""hftool/registry/formats.py and hftool/data/readers/formats.py: a file is read by its ending and content, or by --format."""

import json

import pytest

from hftool.data.readers.formats import FORMATS, ReadOptions, file_format
from hftool.data.readers.tables import read_table, stream
from hftool.errors import HftoolError, UsageError
from hftool.registry.formats import format_names, forms_in, get_format

ARTICLE = {"paragraphs": [{"context": "Ann is in Lyon.", "qas": [{"id": "a", "question": "Where?", "answers": []}]}]}


def test_every_format_has_a_reader_and_every_form_a_container():
    for name in format_names()[1:]:
        row = get_format(name)
        assert callable(row.load_reader()), name
        assert bool(row.endings) != bool(row.containers), f"{name}: endings of files, or containers of a form"
        assert not row.containers or set(row.containers) <= set(FORMATS.values())
        assert not row.containers or row.detect([{"nothing": "known"}]) is False


def test_a_chosen_format_wins_over_the_ending(tmp_path):
    path = tmp_path / "rows.txt"
    path.write_text("text,label\na,1\nb,0\n", encoding="utf-8")
    table = read_table(path, "train", ReadOptions(format="csv"))
    assert table.rows == [{"text": "a", "label": "1"}, {"text": "b", "label": "0"}] and not table.lines
    assert read_table(path, "train").lines
    nameless = tmp_path / "export.7"
    nameless.write_text('{"text": "a"}\n', encoding="utf-8")
    assert read_table(nameless, "train", ReadOptions(format="jsonl")).rows == [{"text": "a"}]
    with pytest.raises(UsageError, match="or name its --format"):
        read_table(nameless, "train")


def test_a_form_recognised_by_content_gives_a_notice(tmp_path):
    path = tmp_path / "train.json"
    path.write_text(json.dumps([ARTICLE]), encoding="utf-8")
    found = read_table(path, "train")
    assert found.notes == [f"'{path}' is read as SQuAD JSON; --format decides"]
    chosen = read_table(path, "train", ReadOptions(format="squad"))
    assert chosen.rows == found.rows and not chosen.notes
    assert read_table(path, "train", ReadOptions(format="json")).rows == [ARTICLE]
    notes = []
    _, records = stream(path, rejected=[], notes=notes)
    assert [record.row for record in records] == found.rows and notes == found.notes


def test_a_chosen_form_reads_a_file_of_any_ending_as_its_usual_container():
    assert file_format("a.json", ReadOptions(format="squad")) == "json"
    assert file_format("a.jsonl", ReadOptions(format="squad")) == "json"
    assert [form.name for form in forms_in("json")][:1] == ["squad"]


def test_an_unknown_format_is_an_error_with_the_nearest_name(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("text\na\n", encoding="utf-8")
    with pytest.raises(HftoolError) as caught:
        read_table(path, "train", ReadOptions(format="jsnl"))
    assert caught.value.code == 2 and "unknown format 'jsnl'. Did you mean 'jsonl'?" in str(caught.value)
