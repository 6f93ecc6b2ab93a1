"""hftool/data/conll.py, through read_table: sentences with their lines, and what is ragged named."""

import pytest

from hftool.data.sources import read_table
from hftool.errors import DataError


def read(tmp_path, text, name="train.conll"):
    path = tmp_path / name
    path.write_bytes(text.encode())
    return read_table(path, "train")


@pytest.mark.parametrize("name", ["train.conll", "train.bio", "Train.IOB"])
def test_sentences_first_and_last_column(tmp_path, name):
    text = "-DOCSTART- -X- O O\n\nEU NNP I-NP B-ORG\nrejects VBZ I-VP O\n\n\n  \nPeter NNP I-NP B-PER"
    table = read(tmp_path, text, name)
    assert table.rows == [{"tokens": ["EU", "rejects"], "tags": ["B-ORG", "O"]}, {"tokens": ["Peter"], "tags": ["B-PER"]}]
    assert table.numbers == [3, 8] and table.columns == ("tokens", "tags") and not table.rejected and not table.lines


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_any_line_end_and_a_mark_at_the_front(tmp_path, end):
    table = read(tmp_path, "\ufeff" + end.join(["EU\tB-ORG", "it\tO", "", "a\u2028b\tO", "c\x85d\tO"]))
    assert table.rows[0] == {"tokens": ["EU", "it"], "tags": ["B-ORG", "O"]}
    assert table.rows[1] == {"tokens": ["a\u2028b", "c\x85d"], "tags": ["O", "O"]}
    assert table.numbers == [1, 4]


def test_tabs_keep_tokens_that_look_like_space(tmp_path):
    table = read(tmp_path, "New York\tB-LOC\n\u00a0\tO\n \tO\n\tO\na\0b\tO\n#\tO\n\t\n😀\tO\nשלום\tO\n")
    assert table.rows == [
        {"tokens": ["New York", "\u00a0", " ", "", "a\0b", "#"], "tags": ["B-LOC", "O", "O", "O", "O", "O"]},
        {"tokens": ["😀", "שלום"], "tags": ["O", "O"]},
    ]


def test_spaces_part_columns_however_many(tmp_path):
    table = read(tmp_path, "EU   B-ORG  \n  it \t O\n\u00a0 O\n")
    assert table.rows == [{"tokens": ["EU", "it", "\u00a0"], "tags": ["B-ORG", "O", "O"]}]


def test_one_column_is_tokens_without_tags(tmp_path):
    table = read(tmp_path, "EU\nrejects\n\nPeter\n")
    assert table.rows == [{"tokens": ["EU", "rejects"]}, {"tokens": ["Peter"]}] and table.columns == ("tokens",)
    assert read(tmp_path, "EU\n\u00a0\nit\n").rows == [{"tokens": ["EU", "\u00a0", "it"]}]


def test_a_ragged_line_costs_its_sentence_and_is_named(tmp_path):
    table = read(tmp_path, "EU NNP I O\n\nit VBZ\nis VBZ I O\nso RB I\n\nPeter NNP I B-PER\n\nend\n")
    assert [row["tokens"] for row in table.rows] == [["EU"], ["Peter"]] and table.numbers == [1, 7]
    assert [bad.as_dict() for bad in table.rejected] == [
        {"row": 3, "reason": "line 3 has 2 columns where the file has 4", "raw": "it is so"},
        {"row": 9, "reason": "line 9 has 1 column where the file has 4", "raw": "end"},
    ]


def test_a_lost_tag_is_seen_in_files_with_tabs_and_without(tmp_path):
    for text in ("EU\tO\n\nNew York\t\n", "EU O\n\nYork \n", "EU\n\nYork\tO\n"):
        assert [bad.row for bad in read(tmp_path, text).rejected] == [3]


def test_comments_above_a_sentence_are_no_tokens(tmp_path):
    table = read(tmp_path, "# id 7f3a\tdomain=en\nEU _ _ O\n# _ _ O\n\n# text = It\nIt _ _ O\n")
    assert [row["tokens"] for row in table.rows] == [["EU", "#"], ["It"]] and table.numbers == [2, 6]


def test_a_document_mark_ends_a_sentence(tmp_path):
    assert [row["tokens"] for row in read(tmp_path, "EU O\n-DOCSTART- O\nit O\n").rows] == [["EU"], ["it"]]


def test_a_long_token_and_many_sentences(tmp_path):
    table = read(tmp_path, "x" * 100_000 + " O\n\n" + "a O\nb O\n\n" * 20_000)
    assert len(table.rows) == 20_001 and len(table.rows[0]["tokens"][0]) == 100_000 and table.numbers[-1] == 60_000


def test_nothing_but_marks_and_blank_lines(tmp_path):
    with pytest.raises(DataError, match="has no rows"):
        read(tmp_path, "-DOCSTART- O\n\n \t\n")
