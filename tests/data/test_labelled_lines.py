"""hftool/data/readers/fasttext.py and label_first.py, through read_table: a text and its class in each line."""

import gzip

import pytest

from hftool.data.readers.formats import ReadOptions
from hftool.data.readers.plain_text import sniff_format
from hftool.data.readers.tables import is_running_text, read_table
from hftool.errors import UsageError


def read(tmp_path, text, name="cooking.train", **options):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_table(path, "train", ReadOptions(**options))


# ---- fastText


def test_labels_stand_anywhere_in_a_line(tmp_path):
    lines = [
        "__label__sauce __label__cheese How much  does potato starch affect a cheese sauce?",
        "A text __label__baking with its label inside",
        "last __label__food-safety",
        "\t__label__bread\ttabs 😀 __labelled__ my__label__x",
        "",
    ]
    table = read(tmp_path, "\r\n".join(lines))
    assert [(row["text"], row["label"]) for row in table.rows] == [
        ("How much  does potato starch affect a cheese sauce?", ["sauce", "cheese"]),
        ("A text with its label inside", "baking"),
        ("last", "food-safety"),
        ("tabs 😀 __labelled__ my__label__x", "bread"),
    ]
    assert table.numbers == [1, 2, 3, 4] and not table.lines and not table.rejected
    path = tmp_path / "cooking.train"
    assert table.notes == [f"'{path}' is read as fastText's lines, by its content; --format decides"]
    assert not is_running_text(path)


def test_line_without_a_label_is_rejected_with_its_number(tmp_path):
    lines = [f"__label__a text {i}" for i in range(30)]
    lines[7] = "no label here"
    table = read(tmp_path, "\n".join(lines))
    assert len(table.rows) == 29 and [(bad.row, bad.reason) for bad in table.rejected] == [(8, "no __label__")]


def test_rows_that_doccano_exports_in_quotation_marks_are_unquoted(tmp_path):
    text = '__label__a one\n"__label__b two, ""three"""\n"__label__a four\nfive"\n__label__b "six"\n'
    table = read(tmp_path, text, format="fasttext")
    assert [(row["text"], row["label"]) for row in table.rows] == [
        ("one", "a"),
        ('two, "three"', "b"),
        ("four\nfive", "a"),
        ('"six"', "b"),
    ]
    assert table.numbers == [1, 2, 3, 5]
    assert table.notes == [f"'{tmp_path / 'cooking.train'}' has rows in quotation marks, as CSV: they are no part of the texts"]


def test_chosen_format_reads_a_text_file_and_a_compressed_one(tmp_path):
    text = "__label__a one\n__label__b two\n"
    assert read(tmp_path, text, "train.txt").lines
    assert read(tmp_path, text, "train.txt", format="fasttext").rows[1] == {"text": "two", "label": "b"}
    packed = read(tmp_path, gzip.compress(text.encode()), "train.ft.gz")
    assert packed.rows[1] == {"text": "two", "label": "b"}


# ---- a class first

QUESTIONS = [
    ("DESC:manner", "How did serfdom develop ?"),
    ("ENTY:cremat", "What films featured El Niño ?"),
    ("NUM:date", "When ?"),
]


def test_classes_of_trec_are_fine_and_coarse(tmp_path):
    text = "".join(f"{label} {question} {i}\n" for i in range(6) for label, question in QUESTIONS)
    table = read(tmp_path, text.encode("latin-1"), "train_5500.label", encoding="latin-1")
    assert table.rows[1] == {"label": "ENTY:cremat", "coarse_label": "ENTY", "text": "What films featured El Niño ? 0"}
    assert len(table.rows) == 18 and table.numbers[-1] == 18
    assert table.notes[-1].endswith("is read as lines of a class and a text, by its content; --format decides")


def test_numbers_before_texts_are_classes(tmp_path):
    text = "".join(f"{i % 2} a film {i}\n" for i in range(20)) + "1\n"
    table = read(tmp_path, text, "stsa.fine")
    assert table.rows[1] == {"label": "1", "text": "a film 1"} and [bad.row for bad in table.rejected] == [21]
    assert read(tmp_path, text, "train.txt", format="label-first").rows == table.rows


# ---- files whose ending says nothing


@pytest.mark.parametrize(
    ("lines", "kind"),
    [
        (["ham\tHello there\n", "spam\tWin a prize\n", "ham\tSee you\n"], "tsv"),
        (["ham,hello\n", "spam,prize\n", "ham,you\n"], "csv"),
        (["EU\tB-ORG\n", "rejects\tO\n", "\n", "Peter\tB-PER\n"], "conll"),
        (["It was a film.\n", "Yes, it was.\n", "And so on\n"], None),
        ([], None),
    ],
)
def test_format_of_lines(lines, kind):
    assert sniff_format(lines) == kind


def test_file_that_is_nothing_known_is_an_error(tmp_path):
    with pytest.raises(UsageError, match="has an unknown ending"):
        read(tmp_path, "It was a film.\nYes, it was.\n", "notes.md")
    with pytest.raises(UsageError, match="has an unknown ending"):
        read(tmp_path, bytes(range(256)) * 20, "image.png")
    with pytest.raises(UsageError, match="unknown encoding 'latin-one'"):
        read(tmp_path, "__label__a b\n", "a.train", encoding="latin-one")
