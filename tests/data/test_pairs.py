"""Pairs of texts, through read_table: two files line by line, TMX, and Alpaca's rows."""

import gzip
import json

import pytest

from hftool.data.readers.formats import ReadOptions
from hftool.data.readers.tables import disk_files, is_running_text, read_table, split_files, stream
from hftool.errors import HftoolError
from hftool.workflow.resolve import is_local_data

EN, DE = "A house.\n\u2028 a \x85 b 😀\n\nEnd", "Ein Haus.\nzwei\n\nEnde\n"


def error_line(path):
    with pytest.raises(HftoolError) as caught:
        read_table(path, "train")
    return f"{caught.value.code} {caught.value}"


# ---- two files


def test_two_files_are_read_line_by_line(tmp_path):
    (tmp_path / "train.en").write_bytes(EN.encode())
    (tmp_path / "train.de").write_bytes(b"\xef\xbb\xbf" + DE.replace("\n", "\r\n").encode())
    name = tmp_path / "train.{en,de}"
    table = read_table(name, "train")
    assert table.columns == ("en", "de") and table.numbers == [1, 2, 3, 4]
    assert [(row["en"], row["de"]) for row in table.rows] == [
        ("A house.", "Ein Haus."),
        ("\u2028 a \x85 b 😀", "zwei"),
        ("", ""),
        ("End", "Ende"),
    ]
    assert disk_files(name) == [tmp_path / "train.en", tmp_path / "train.de"]
    assert not is_running_text(name) and is_local_data(str(name))
    assert next(stream(str(name), rejected=[])[1]).row == table.rows[0]


@pytest.mark.parametrize(
    ("first", "second", "braces", "columns"),
    [
        ("a.en", "b.de", "{a.en,b.de}", ("en", "de")),
        ("train.en.gz", "train.de.gz", "train.{en,de}.gz", ("en", "de")),
        ("source.txt", "target.txt", "{source,target}.txt", ("source", "target")),
        ("source.txt", "target.txt", "{source.txt,target.txt}", ("source", "target")),
    ],
)
def test_columns_are_what_differs_in_the_names(tmp_path, first, second, braces, columns):
    for file in (first, second):
        data = f"{file}\n".encode()
        (tmp_path / file).write_bytes(gzip.compress(data) if file.endswith(".gz") else data)
    table = read_table(tmp_path / braces, "train")
    assert table.rows == [dict(zip(columns, (first, second), strict=True))]


def test_files_that_are_no_pair_are_errors(tmp_path):
    one, other = tmp_path / "train.en", tmp_path / "train.de"
    one.write_text("a\nb\nc\n", encoding="utf-8")
    name = tmp_path / "train.{en,de}"
    hint = "The names of two files stand in braces: 'train.{en,de}'"
    assert error_line(name) == f"66 there is no file '{other}'. {hint}"
    other.write_text("x\ny\n", encoding="utf-8")
    more = "Line by line, two files are translations of each other"
    assert error_line(name) == f"65 '{other}' ends after 2 lines, and '{one}' has more. {more}"
    other.write_bytes("Größe und für\ny\nz\n".encode("utf-16"))
    assert len(read_table(name, "train").rows) == 3
    name.write_text("text,label\n", encoding="utf-8")
    assert error_line(name).startswith("2 ")  # a file of that name comes first


def test_folder_of_pairs_has_its_splits(tmp_path):
    for name in ("train.en", "train.de", "dev.en.gz", "dev.de.gz", "test.en", "README.md", "europarl.en", "europarl.de"):
        (tmp_path / name).write_bytes(gzip.compress(b"x\n") if name.endswith(".gz") else b"x\n")
    found = {split: path.name for split, path in split_files(tmp_path).items()}
    assert found == {"train": "train.{de,en}", "validation": "dev.{de,en}.gz"}
    assert read_table(tmp_path / "dev.{de,en}.gz", "validation").rows == [{"de": "x", "en": "x"}]


# ---- TMX

UNITS = """<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE tmx SYSTEM "tmx14.dtd">
<tmx version="1.4"><header srclang="en" segtype="sentence"><note>no text</note></header><body>
<tu tuid="1"><prop type="x">no text</prop><tuv xml:lang="en"><seg>The <bpt i="1">&lt;b&gt;</bpt>red<ept i="1">&lt;/b&gt;</ept>
  house<ph>&lt;br/&gt;</ph> &amp; <hi>more</hi></seg></tuv><tuv xml:lang="de"><seg>Das rote Haus 😀</seg></tuv></tu>
<tu><tuv xml:lang="EN"><seg>Second</seg></tuv><tuv lang="fr"><seg>Deux</seg></tuv></tu>
</body></tmx>
"""


@pytest.mark.parametrize(("name", "codec"), [("a.tmx", "utf-8"), ("a.tmx", "utf-16"), ("a.tmx.gz", "utf-8")])
def test_units_have_a_column_for_each_language(tmp_path, name, codec):
    path = tmp_path / name
    data = UNITS.replace("utf-8", codec).encode(codec)
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    table = read_table(path, "train")
    assert table.columns == ("en", "de", "fr") and table.numbers == [1, 2]
    assert table.rows == [{"en": "The red house & more", "de": "Das rote Haus 😀"}, {"en": "Second", "fr": "Deux"}]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("<xliff/>", " is XML of <xliff>, not TMX"),
        (UNITS[:300], " is not TMX, or damaged: no element found"),
        ("no xml", " is not TMX, or damaged: syntax error"),
        (UNITS.replace('"tmx14.dtd"', '"tmx14.dtd" [<!ENTITY a "b">]'), " is not TMX, or damaged: it defines entities"),
        ('<tmx version="1.4"><body/></tmx>', " has no rows"),
    ],
)
def test_other_documents_are_errors(tmp_path, text, line):
    path = tmp_path / "a.tmx"
    path.write_text(text, encoding="utf-8")
    assert error_line(path).startswith(f"65 '{path}'{line}")


# ---- Alpaca

ALPACA = [
    {"instruction": "Name a city.", "input": "", "output": "Lyon"},
    {"instruction": "Translate.", "input": "House", "output": "Haus", "source": "x"},
]


@pytest.mark.parametrize("name", ["alpaca.json", "alpaca.jsonl"])
def test_instruction_and_input_are_one_prompt(tmp_path, name):
    path = tmp_path / name
    lines = "".join(json.dumps(row) + "\n" for row in ALPACA)
    path.write_text(json.dumps(ALPACA) if name.endswith(".json") else lines, encoding="utf-8")
    table = read_table(path, "train")
    assert table.rows == [
        {"prompt": "Name a city.", "completion": "Lyon"},
        {"prompt": "Translate.\n\nHouse", "completion": "Haus", "source": "x"},
    ]
    assert table.notes == [
        f"'{path}' is read as Alpaca's rows; --format decides",
        f"'{path}': prompt is the instruction and, after a blank line, the input; completion the output",
    ]
    assert read_table(path, "train", ReadOptions(format=name.rpartition(".")[2])).rows == ALPACA


@pytest.mark.parametrize("delimiter", [",", "\t"])
def test_columns_of_alpaca_in_a_table_are_one_prompt_too(tmp_path, delimiter):
    path = tmp_path / ("alpaca.csv" if delimiter == "," else "alpaca.tsv")
    lines = [["instruction", "input", "output"], ["Name a city.", "", "Lyon"], ["Translate.", "House", "Haus"]]
    path.write_text("".join(delimiter.join(cells) + "\n" for cells in lines), encoding="utf-8")
    table = read_table(path, "train")
    assert [row["prompt"] for row in table.rows] == ["Name a city.", "Translate.\n\nHouse"] and table.numbers == [2, 3]
    assert table.notes[0] == f"'{path}' is read as Alpaca's rows; --format decides"
