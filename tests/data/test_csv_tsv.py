"""hftool/data/readers/csv_tsv.py: CSV and TSV dialects, and rows that cannot be used."""

import pytest

from hftool.data.readers.tables import read_table
from hftool.errors import DataError

UNCLOSED = "a quotation mark is opened and not closed"


def read(tmp_path, text, name="train.csv"):
    path = tmp_path / name
    path.write_bytes(text.encode())
    return read_table(path, "train")


def values(table):
    return [tuple(row.values()) for row in table.rows]


def rejected(table):
    return [(bad.row, bad.reason) for bad in table.rejected]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_line_endings_and_delimiters_are_detected(tmp_path, end, delimiter):
    lines = [("text", "label"), ("a warm film", "1"), ("", ""), ("a cold film", "0")]
    table = read(tmp_path, end.join(delimiter.join(cells) for cells in lines) + end)
    assert values(table) == [("a warm film", "1"), ("", ""), ("a cold film", "0")]
    assert table.numbers == [2, 3, 4]


def test_comma_in_a_quoted_column_name_is_not_a_delimiter(tmp_path):
    assert read(tmp_path, '"text, in full";label\na, b;1\n').rows == [{"text, in full": "a, b", "label": "1"}]


def test_quoted_cells_hold_delimiters_quotes_and_line_breaks(tmp_path):
    table = read(tmp_path, 'text,label\n"a ""fine"" film,\nreally",1\n\nb,0\n')
    assert values(table) == [('a "fine" film,\nreally', "1"), ("b", "0")]
    assert table.numbers == [2, 5]


def test_unpaired_quote_in_tsv_is_kept(tmp_path):
    table = read(tmp_path, 'sentence\tlabel\n"a mess\t0\n5" tall, "fun\t1\n', "train.tsv")
    assert values(table) == [('"a mess', "0"), ('5" tall, "fun', "1")]


def test_unclosed_quote_rejects_its_row_only(tmp_path):
    rows = [f"row {i},{i % 2}" for i in range(2000)]
    rows[1000] = '"row 1000,0'
    table = read(tmp_path, "\n".join(["text,label", *rows]) + "\n")
    assert rejected(table) == [(1002, UNCLOSED)]
    assert table.rejected[0].raw == '"row 1000,0\n'
    assert [row["text"] for row in table.rows] == [f"row {i}" for i in range(2000) if i != 1000]
    assert table.numbers[999:1001] == [1001, 1003]


def test_unclosed_quote_before_quoted_rows_rejects_its_row_only(tmp_path):
    table = read(tmp_path, 'text,label\n"broken,1\n"a, b",0\n"c",1\n')
    assert rejected(table) == [(2, UNCLOSED)] and values(table) == [("a, b", "0"), ("c", "1")]


def test_unclosed_quote_in_the_last_line_is_rejected(tmp_path):
    table = read(tmp_path, 'text,label\na,1\nb,"0')
    assert rejected(table) == [(3, UNCLOSED)] and values(table) == [("a", "1")]


def test_unclosed_quote_is_bounded_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("hftool.data.readers.csv_tsv.MAX_QUOTED", 1000)
    table = read(tmp_path, 'text,label\n"broken,1\n' + "a film,0\n" * 1000)
    assert rejected(table) == [(2, UNCLOSED)] and len(table.rows) == 1000
    assert read(tmp_path, "text,label\n" + "x" * 5000 + ",1\n").rows[0]["text"] == "x" * 5000  # one line of any length


def test_text_after_a_closing_quote_is_read_leniently(tmp_path):
    table = read(tmp_path, 'text,label\n"good" film,1\n"a" b,"c\nd,0\n')
    assert values(table) == [("good film", "1"), ("d", "0")]
    assert rejected(table) == [(3, UNCLOSED)]


def test_ragged_rows_are_rejected_with_their_line(tmp_path):
    table = read(tmp_path, "text,label\na, b,1\nc\nd,0\n")
    assert rejected(table) == [(2, "3 fields where the header has 2"), (3, "1 fields where the header has 2")]
    assert values(table) == [("d", "0")]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("\ntext,label\na,1\n", " has no header: its first line is empty"),
        (" , ,\na,1,2\n", " has no header: its first line is empty"),
        ("text,label,text\na,1,b\n", " has the column 'text' more than once. Rename one of them"),
        ('"text,label\na,1\n', f" has a header that cannot be read: {UNCLOSED}"),
        ("text,label\n", " has a header but no rows"),
        ("text,label", " has a header but no rows"),
        ("text,label\n\n\n", " has a header but no rows"),
        ("text,label\na\nb\n", ": none of 2 rows can be read; the first is line 2: 1 fields where the header has 2"),
    ],
)
def test_files_without_a_usable_row_are_errors(tmp_path, text, line):
    with pytest.raises(DataError) as caught:
        read(tmp_path, text)
    assert str(caught.value) == f"'{tmp_path / 'train.csv'}'{line}"


def test_unnamed_columns_are_given_a_name(tmp_path):
    assert read(tmp_path, ",text, label \n0,a,1\n").columns == ("column 1", "text", "label")


def test_field_of_ten_megabytes(tmp_path):
    long = "word " * (2 << 20)
    assert read(tmp_path, f'text,label\n"{long}\n{long[:99]}",1\nb,0\n').rows[0]["text"] == f"{long}\n{long[:99]}"


def test_cells_like_null_and_nan_stay_texts(tmp_path):
    words = ["NA", "null", "None", "nan", "true", "1.0", "😀", "שלום", "a\ufeffb"]
    assert [row["text"] for row in read(tmp_path, "text,label\n" + "".join(f"{w},1\n" for w in words)).rows] == words


# ---- files of spreadsheets and of other TSV writers


@pytest.mark.parametrize("first", ["sep=;", "SEP=;", '"sep=;"', "\ufeffsep=;", "\ufeffsep=;\r"])
def test_sep_line_of_excel_is_not_a_header(tmp_path, first):
    table = read(tmp_path, f"{first}\ntext;label\na, b;1\nc;0\n")
    assert table.columns == ("text", "label") and values(table) == [("a, b", "1"), ("c", "0")] and table.numbers == [3, 4]


@pytest.mark.parametrize("mark", ["^", "\t", "|", ","])
def test_sep_line_sets_the_delimiter(tmp_path, mark):
    table = read(tmp_path, f"sep={mark}\ntext{mark}label; x\na{mark}1\n")
    assert table.columns == ("text", "label; x") and values(table) == [("a", "1")]


QUOTED = {
    "all": '"text"\t"label"\n"he said ""yes"""\t"1"\n"b"\t"0"\n',
    "texts only": '"text"\t"label"\n"he said ""yes"""\t1\n"b"\t0\n',
    "doubled": 'text\tlabel\n"he said ""yes"""\t1\nb\t0\n',
    "tab inside": 'text\tlabel\n"he said\tyes"\t1\nb\t0\n',
    "line end inside": 'text\tlabel\n"he said\nyes"\t1\nb\t0\n',
    "line ends": '"text"\t"label"\r\n"he said ""yes"""\t"1"\r\n"b"\t"0"\r\n',
}


@pytest.mark.parametrize("name", QUOTED)
def test_tsv_file_may_be_quoted_like_csv(tmp_path, name):
    table = read(tmp_path, QUOTED[name], "train.tsv")
    cell = {"tab inside": "he said\tyes", "line end inside": "he said\nyes"}.get(name, 'he said "yes"')
    assert table.columns == ("text", "label") and values(table) == [(cell, "1"), ("b", "0")] and not table.rejected
    path = tmp_path / "train.tsv"
    assert table.notes == [f"'{path}' has its cells in quotation marks, as CSV: they are no part of the texts"]


@pytest.mark.parametrize(
    "text",
    [
        'text\tlabel\n"a mess\t0\nb\t1\n',
        'text\tlabel\n"a mess"\t0\nb\t1\n',  # a sentence in quotation marks
        'text\tlabel\n"a mess\t0\nof a film"\t1\n',
        'text\tlabel\n5" tall ""\t0\n"b ""c"""\t1\n',
        '"text\tlabel\na\t0\n"b"\t1\n',
    ],
)
def test_quotes_that_do_not_enclose_a_cell_are_kept(tmp_path, text):
    table = read(tmp_path, text, "train.tsv")
    assert [f"{row}" for row in values(table)] == [f"{tuple(line.split(chr(9)))}" for line in text.splitlines()[1:]]
    assert not table.notes


def test_quoted_tsv_file_whose_sample_ends_within_a_cell(tmp_path, monkeypatch):
    monkeypatch.setattr("hftool.data.readers.csv_tsv.SAMPLE_CHARACTERS", 1000)
    rows = "".join(f'"row {i}\nhas ""marks"""\t{i % 2}\n' for i in range(200))
    table = read(tmp_path, f"text\tlabel\n{rows}", "train.tsv")
    assert len(table.rows) == 200 and table.rows[199]["text"] == 'row 199\nhas "marks"'
