"""Tables without a header: --no-header, --columns, and the raw files of GLUE, through read_table."""

import pytest

from hftool.data.readers.formats import ReadOptions
from hftool.data.readers.tables import read_table, split_files
from hftool.errors import HftoolError

SMS = 'ham\tGo until jurong "point\nspam\tFree entry\nham\tOk lar\nham\tYes\n'


def read(tmp_path, text, name="train.tsv", **options):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return read_table(path, "train", ReadOptions(**options))


def error_line(*args, **options):
    with pytest.raises(HftoolError) as caught:
        read(*args, **options)
    return f"{caught.value.code} {caught.value}"


def test_first_line_is_a_row_without_a_header(tmp_path):
    table = read(tmp_path, "\ufeff" + SMS, no_header=True)
    assert table.columns == ("column 1", "column 2") and table.numbers == [1, 2, 3, 4] and not table.notes
    assert table.rows[0] == {"column 1": "ham", "column 2": 'Go until jurong "point'}
    named = read(tmp_path, SMS, "SMSSpamCollection", column_names="label, text")
    assert named.rows[1] == {"label": "spam", "text": "Free entry"} and len(named.rows) == 4


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", '"3","Wall St. ""Bears""","Short-sellers, again"\n"4","x","y"\n'),
        ("b.csv", '3;Wall St. "Bears";Short-sellers, again\n4;x;y\n'),
        ("c.csv", 'sep=|\n3|Wall St. "Bears"|Short-sellers, again\n4|x|y\n'),
    ],
)
def test_delimiter_is_that_of_the_names(tmp_path, name, text):
    table = read(tmp_path, text, name, column_names="label,title,text")
    assert table.rows[0] == {"label": "3", "title": 'Wall St. "Bears"', "text": "Short-sellers, again"}
    assert len(table.rows) == 2 and not table.rejected


def test_names_that_do_not_fit_are_errors(tmp_path):
    path = tmp_path / "train.tsv"
    assert error_line(tmp_path, SMS, column_names="a,b,c") == (
        f"65 '{path}' has 2 cells in its first row, and --columns has 3 names: 'a', 'b', 'c'. Name each column once"
    )
    assert "has the column 'a' more than once" in error_line(tmp_path, SMS, column_names="a,a")


def test_header_that_looks_like_a_row_is_reported(tmp_path):
    table = read(tmp_path, SMS)
    assert table.columns == ("ham", 'Go until jurong "point') and len(table.rows) == 3
    assert table.notes == [f"the first line of '{tmp_path / 'train.tsv'}' looks like a row: --no-header if it is one"]
    assert not read(tmp_path, "text\tlabel\na\tlabel\nb\tx\n").notes
    assert not read(tmp_path, "text\tlabel\na\tx\ntext\tlabel\nb\tx\ntext\tlabel\n").notes  # joined files


# ---- the raw files of GLUE

COLA = 'gj04\t1\t\tOur friends won\'t buy "this.\ngj04\t0\t*\tThe box contained.\nbc01\t1\t\t"They drank the pub.\n'
STS = (
    'main-news\theadlines\t2015\t0001\t4.500\tA "plane, is\tAn air\n'
    "main-captions\tMSRvid\t2012test\t0002\t0\tA\tB\thttp://example.org\tCC\n"
    "main-captions\tMSRvid\t2012test\t0003\t5.0\tC\tD\n"
)


def test_cola_has_no_header(tmp_path):
    table = read(tmp_path, COLA)
    assert table.columns == ("source", "label", "mark", "sentence") and table.numbers == [1, 2, 3] and not table.rejected
    assert [row["sentence"] for row in table.rows][2] == '"They drank the pub.'
    assert table.notes == [
        f"'{tmp_path / 'train.tsv'}' has no header and is read as CoLA's table: source, label, mark, sentence; "
        "--columns decides"
    ]
    assert read(tmp_path, COLA, column_names="a,b,c,d").columns == ("a", "b", "c", "d")
    assert read(tmp_path, "index\tsentence\n0\tBill whistled.\n").columns == ("index", "sentence")


@pytest.mark.parametrize("name", ["sts-train.csv", "sts-train.tsv"])
def test_sts_has_seven_columns_and_more_in_some_rows(tmp_path, name):
    table = read(tmp_path, STS, name)
    assert [(row["score"], row["sentence1"], row["sentence2"]) for row in table.rows] == [
        ("4.500", 'A "plane, is', "An air"),
        ("0", "A", "B"),
        ("5.0", "C", "D"),
    ]
    assert "the STS benchmark's table" in table.notes[0] and not table.rejected


@pytest.mark.parametrize(
    "columns",
    [
        "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore",
        "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate",
        "index\tquestion\tsentence\tlabel",
        "index\tsentence1\tsentence2\tlabel",
        "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\tsentence2_parse"
        "\tsentence1\tsentence2\tlabel1\tlabel2\tlabel3\tlabel4\tlabel5\tgold_label",
    ],
)
def test_files_with_a_header_keep_stray_quotation_marks(tmp_path, columns):
    cells = [f'"cell {i}' if i % 2 else f'ce"ll {i}' for i in range(columns.count("\t") + 1)]
    table = read(tmp_path, columns + "\n" + "\t".join(cells) + "\n" + "\t".join(cells) + "\n")
    assert [list(row.values()) for row in table.rows] == [cells, cells] and not table.rejected


def test_matched_files_of_mnli_are_splits(tmp_path):
    for name in ("train.tsv", "dev_matched.tsv", "dev_mismatched.tsv", "test_matched.tsv"):
        (tmp_path / name).write_text("x", encoding="utf-8")
    found = {split: path.name for split, path in split_files(tmp_path).items()}
    assert found == {"train": "train.tsv", "validation": "dev_matched.tsv", "test": "test_matched.tsv"}
