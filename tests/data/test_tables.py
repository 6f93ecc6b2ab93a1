"""hftool/data/readers/tables.py: files and folders to rows, with the line numbers of rejected ones."""

import json
import os
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from hftool.data.readers.formats import ReadOptions
from hftool.data.readers.tables import cell_text, read_hub_folder, read_table, split_files, stream
from hftool.data.writers import output_format
from hftool.errors import HftoolError
from support.memory import PEAK


def error_line(call, *args, **kwargs):
    with pytest.raises(HftoolError) as caught:
        call(*args, **kwargs)
    return f"{caught.value.code} {caught.value}"


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


# ---- missing and empty files


def test_missing_unknown_and_empty_files_are_errors(tmp_path):
    markdown = write(tmp_path / "notes.md", "x")
    empty = write(tmp_path / "empty.csv", "")
    assert error_line(read_table, tmp_path / "no.csv", "train") == f"66 there is no file '{tmp_path / 'no.csv'}'"
    assert error_line(read_table, tmp_path, "train") == f"66 '{tmp_path}' is a folder, not a file"
    assert error_line(read_table, markdown, "train").startswith(f"2 '{markdown}' has an unknown ending. Use one of .csv")
    assert error_line(read_table, empty, "train") == f"65 '{empty}' is empty"
    assert error_line(read_table, "a" * 300 + ".csv", "train").endswith(".csv' cannot be read: File name too long")


def test_unreadable_file_is_an_error():
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = write(Path(folder) / "train.csv", "text,label\na,1\n")
        path.chmod(0)
        uid = os.geteuid()
        if uid == 0:
            os.seteuid(65534)  # root may read everything
        try:
            assert error_line(read_table, path, "train") == f"66 '{path}' cannot be read: Permission denied"
        finally:
            os.seteuid(uid)


# ---- JSON


def test_json_lines_reject_values_that_are_not_objects_with_their_line(tmp_path):
    text = '{"text": "a"}\n\n[1, 2]\n"b"\n{"text": \n{"text": "c", "more": null}\n' + "[" * 100_000 + "\n"
    table = read_table(write(tmp_path / "a.jsonl", text), "train")
    assert table.rows == [{"text": "a"}, {"text": "c", "more": None}]
    assert table.numbers == [1, 6] and table.columns == ("text", "more")
    assert [bad.row for bad in table.rejected] == [3, 4, 5, 7]
    assert [bad.reason for bad in table.rejected[:2]] == ["a JSON list, not an object", "a JSON str, not an object"]
    assert table.rejected[2].reason.startswith("not JSON: ")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_json_lines_with_any_line_ending_and_unicode_separators(tmp_path, end):
    path = tmp_path / "a.ndjson"
    path.write_bytes(end.join(['{"text": "a\u2028b\x85c"}', '{"text": "d\\r\\ne"}']).encode())
    assert [row["text"] for row in read_table(path, "train").rows] == ["a\u2028b\x85c", "d\r\ne"]


def test_json_file_is_a_list_or_an_object_with_data(tmp_path):
    rows = [{"text": "a", "label": 1}, {"text": "b", "label": 0}]
    for document in (rows, {"version": 1, "data": rows}):
        table = read_table(write(tmp_path / "a.json", json.dumps(document)), "train")
        assert table.rows == rows and table.numbers == [1, 2] and table.columns == ("text", "label")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('{"text": "a"}', ' must hold a list of objects, or an object with one under "data"'),
        ('"a"', ' must hold a list of objects, or an object with one under "data"'),
        ('[{"text": "a"}, 5]', ": row 2 is a JSON int, not an object"),
        ("[]", " has no rows"),
        (
            '{"text": "a"}\n{"text": "b"}\n',
            " is not JSON: Extra data: line 2 column 1 (char 14). One object a line? Then call it .jsonl",
        ),
    ],
)
def test_json_files_without_a_table_are_errors(tmp_path, text, line):
    path = write(tmp_path / "a.json", text)
    assert error_line(read_table, path, "train") == f"65 '{path}'{line}"


def test_json_lines_without_rows_are_an_error(tmp_path):
    path = write(tmp_path / "a.jsonl", "\n  \n")
    assert error_line(read_table, path, "train") == f"65 '{path}' has no rows"
    write(path, "1\n2\n")
    assert error_line(read_table, path, "train").endswith(
        "none of 2 rows can be read; the first is line 1: a JSON int, not an object"
    )


# ---- lines of text


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_each_line_of_a_text_file_is_a_row_blank_lines_included(tmp_path, end):
    path = tmp_path / "train.txt"
    for last in ("", end):
        path.write_bytes(("\ufeff" + end.join(["", "a\tb", "  ", "", "😀 \u2028 שלום \x85\x0c", "a\0b"]) + last).encode())
        table = read_table(path, "train")
        assert [row["text"] for row in table.rows] == ["", "a\tb", "  ", "", "😀 \u2028 שלום \x85\x0c", "a\0b"]
        assert table.numbers == [1, 2, 3, 4, 5, 6] and table.columns == ("text",) and table.lines


def test_only_text_files_are_marked_as_lines(tmp_path):
    assert not read_table(write(tmp_path / "a.csv", "text\na\n"), "train").lines
    assert not read_table(write(tmp_path / "a.jsonl", '{"text": "a"}\n'), "train").lines


def test_text_files_are_decoded_strictly(tmp_path):
    path = tmp_path / "train.txt"
    path.write_bytes("Übel\n".encode("latin-1"))
    assert error_line(read_table, path, "train").startswith(f"65 '{path}' is not UTF-8: byte 0 cannot be read")
    assert read_table(path, "train", ReadOptions("latin-1")).rows == [{"text": "Übel"}]
    write(path, "\ufeff")
    assert error_line(read_table, path, "train") == f"65 '{path}' has no rows"
    write(path, "x" * 100_000 + "\n\n")
    assert [len(row["text"]) for row in read_table(path, "train").rows] == [100_000, 0]


@pytest.mark.parametrize("name", ["out.txt", "out.conll", "out.bio", "out.IOB"])
def test_text_and_conll_files_cannot_be_written(name):
    assert error_line(output_format, name) == f"2 cannot write '{name}'. Use .csv, .tsv, .jsonl or .parquet"
    assert error_line(output_format, "out.md") == "2 'out.md' has an unknown ending. Use .csv, .tsv, .jsonl or .parquet"


# ---- Parquet


def test_parquet_values_keep_their_types(tmp_path):
    path = tmp_path / "a.parquet"
    columns = {"text": ["a", None], "label": [1.0, float("nan")], "day": [date(2026, 1, 2)] * 2, "tags": [["x"], []]}
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    table = read_table(path, "train")
    assert table.columns == ("text", "label", "day", "tags") and table.numbers == [1, 2]
    assert table.rows[0] == {"text": "a", "label": 1.0, "day": date(2026, 1, 2), "tags": ["x"]}
    assert [cell_text(row["label"]) for row in table.rows] == ["1", None]


def test_parquet_damaged_empty_or_with_a_duplicate_column_is_an_error(tmp_path):
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1 this is not one PAR1")
    assert error_line(read_table, path, "train").startswith(f"65 '{path}' is not a Parquet file, or damaged: ")
    pyarrow.parquet.write_table(pyarrow.table({"text": [f"film {i}" for i in range(1000)]}), path, compression="snappy")
    body = bytearray(path.read_bytes())
    body[4:400] = b"\xff" * 396  # the footer is intact, the pages are not
    path.write_bytes(body)
    assert error_line(read_table, path, "train").startswith(f"65 '{path}' is not a Parquet file, or damaged: ")
    twice = pyarrow.table([[1], [2]], names=["text", "text"])
    pyarrow.parquet.write_table(twice, path)
    assert error_line(read_table, path, "train") == f"65 '{path}' has the column 'text' more than once. Rename one of them"
    pyarrow.parquet.write_table(pyarrow.table({"text": pyarrow.array([], pyarrow.string())}), path)
    assert error_line(read_table, path, "train") == f"65 '{path}' has a header but no rows"


# ---- folders


def test_splits_of_a_folder_are_found_by_name(tmp_path):
    for name in ("Train.CSV", "dev.tsv", "test-00000-of-00001.parquet", "notes.csv", "train.md", "._train.csv"):
        write(tmp_path / name, "x")
    (tmp_path / "valid.csv").mkdir()
    assert {split: path.name for split, path in split_files(tmp_path).items()} == {
        "train": "Train.CSV",
        "validation": "dev.tsv",
        "test": "test-00000-of-00001.parquet",
    }


def test_other_files_of_a_folder_are_ignored(tmp_path):
    for name in ("train.txt", "dev.bio", "test.conll", "README.md", "README.txt", "train.py", "tags.txt", "training_notes.txt"):
        write(tmp_path / name, "x")
    found = {split: path.name for split, path in split_files(tmp_path).items()}
    assert found == {"train": "train.txt", "validation": "dev.bio", "test": "test.conll"}


@pytest.mark.parametrize("word", ["validation", "valid", "val", "dev"])
def test_all_names_of_a_validation_file(tmp_path, word):
    write(tmp_path / f"{word}.jsonl", "x")
    assert list(split_files(tmp_path)) == ["validation"]


def test_two_train_files_are_ambiguous(tmp_path):
    write(tmp_path / "train.csv", "x")
    write(tmp_path / "training.jsonl", "x")
    assert error_line(split_files, tmp_path) == (
        f"65 '{tmp_path}' has two files for train: 'train.csv' and 'training.jsonl'. Name one with --train"
    )
    empty = tmp_path / "empty"
    empty.mkdir()
    assert error_line(split_files, empty).startswith(f"65 '{empty}' has no files called train, validation or test with one of")


# ---- data sets of the Hub, as stored in the cache

README = """---
configs:
- config_name: films
  data_files:
  - {split: train, path: films/train-*}
  - {split: test, path: films/test-*}
- config_name: books
  data_files: books/train.csv
dataset_info:
  config_name: films
  features:
  - {name: sentence, dtype: string}
  - name: label
    dtype: {class_label: {names: {'0': bad, '1': good}}}
---
"""


@pytest.fixture
def hub_folder(tmp_path):
    (tmp_path / "films").mkdir()
    (tmp_path / "books").mkdir()
    write(tmp_path / "README.md", README)
    for split, labels in (("train", [1, 0, 1]), ("test", [-1, -1, -1])):
        table = pyarrow.table({"sentence": ["a", "b", "NA"], "label": labels})
        pyarrow.parquet.write_table(table, tmp_path / "films" / f"{split}-00000-of-00001.parquet")
    write(tmp_path / "books" / "train.csv", "text,label\na,1\nb,0\n")
    return tmp_path


def test_hub_folder_gives_its_splits_and_class_names(hub_folder):
    tables = read_hub_folder(hub_folder, "ann/opinions", ("train", "validation", "test"), config="films")
    assert list(tables) == ["train", "test"]
    assert tables["train"].rows == [
        {"sentence": "a", "label": 1},
        {"sentence": "b", "label": 0},
        {"sentence": "NA", "label": 1},
    ]
    assert tables["train"].label_names == {"label": ("bad", "good")}
    assert tables["test"].path == "ann/opinions:test" and tables["test"].numbers == [1, 2, 3]
    assert tables["test"].columns == ("sentence", "label")


def test_missing_or_unknown_configuration_lists_the_available_ones(hub_folder):
    name = "ann/opinions"
    assert error_line(read_hub_folder, hub_folder, f"{name}:flims", ("train",), config="flims") == (
        "2 the data set ann/opinions:flims has no configuration 'flims'; it has 'films', 'books'. Try ann/opinions:films"
    )
    assert error_line(read_hub_folder, hub_folder, name, ("train",)) == (
        "2 the data set ann/opinions has several configurations; it has 'films', 'books'. Try ann/opinions:films"
    )


def test_hub_folder_without_a_configuration(tmp_path, caplog):
    write(tmp_path / "train.csv", "text,label\na,1\nb,0\n")
    write(tmp_path / "README.md", "# Opinions\n")
    assert len(read_hub_folder(tmp_path, "ann/plain", ("train", "test"))["train"].rows) == 2
    assert caplog.text == ""  # no warnings that the user cannot act upon


def test_unreadable_hub_folder_is_an_error(tmp_path):
    (tmp_path / "train-00000-of-00001.parquet").write_bytes(b"PAR1 nothing PAR1")
    line = error_line(read_hub_folder, tmp_path, "ann/broken", ("train",))
    assert line.startswith("65 the data set ann/broken cannot be read: ") and "\n" not in line


@pytest.mark.parametrize(
    "target", ["../secret.csv", "/etc/passwd", "films/../../secret.csv", "http://127.0.0.1:9/x.csv", "~/x.csv"]
)
@pytest.mark.parametrize("form", ["data_files: '%s'", "data_files: [{split: train, path: ['%s']}]", "data_dir: '%s'"])
def test_readme_naming_files_outside_its_folder_is_refused(tmp_path, target, form):
    folder = tmp_path / "set"
    folder.mkdir()
    write(tmp_path / "secret.csv", "text,label\nsecret,1\n")
    write(folder / "train.csv", "text,label\na,1\n")
    configs = f"configs:\n- config_name: default\n  {form % target}\n"
    line = (
        f"77 the data set ann/x names a file outside of its folder, '{target}'. "
        "Download that file yourself if you trust it, and name it with --train FILE"
    )
    write(folder / "README.md", f"---\n{configs}---\n")
    assert error_line(read_hub_folder, folder, "ann/x", ("train",)) == line
    (folder / "README.md").unlink()
    write(folder / ".huggingface.yaml", configs)
    assert error_line(read_hub_folder, folder, "ann/x", ("train",)) == line


# ---- memory

MEASURE = (
    PEAK
    + """
import sys
from hftool.data.readers.formats import ReadOptions
from hftool.data.readers.tables import stream
rejected = []
first = peak()
columns, records = stream(sys.argv[1], rejected=rejected)
count = sum(1 for _ in records)
print(count, len(rejected), peak() - first)
"""
)


def read_in_subprocess(path):
    """Number of rows, number of rejected rows, and growth of the process in KiB."""
    done = subprocess.run([sys.executable, "-c", MEASURE, path], capture_output=True, text=True, check=True)
    return tuple(map(int, done.stdout.split()))


@pytest.mark.parametrize("megabytes", [12, pytest.param(200, marks=pytest.mark.slow)])
@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".txt", ".conll"])
def test_streaming_memory_is_bounded_by_a_few_blocks(tmp_path, megabytes, ending):
    path = tmp_path / f"large{ending}"
    film = "a film that goes on " * 20
    row = {".csv": f"{film},1\n" * 50, ".tsv": f"{film}\t1\n" * 50, ".jsonl": f'{{"text": "{film}"}}\n' * 50}
    row |= {".txt": f"{film}\n" * 50, ".conll": f"{film}\tO\n\n" * 50}
    header = {".csv": "text,label\n", ".tsv": "text\tlabel\n"}
    times = (megabytes << 20) // len(row[ending])
    with open(path, "w") as handle:
        handle.write(header.get(ending, ""))
        for _ in range(times):
            handle.write(row[ending])
    count, rejected, grown = read_in_subprocess(path)
    assert (count, rejected) == (50 * times, 0)
    assert grown < 8 << 10  # KiB: the reader's module and two blocks of 1 MiB


def test_streaming_is_lazy(tmp_path):
    path = write(tmp_path / "a.csv", "text,label\n" + "a,1\n" * 100_000)
    rejected = []
    columns, records = stream(path, rejected=rejected)
    assert columns == ("text", "label") and next(records).number == 2
    path.unlink()
    records.close()


def test_cells_as_text():
    cells = [(1, "1"), (1.0, "1"), (2.5, "2.5"), ("1.0", "1.0"), ("NA", "NA"), ("", ""), (1e300, "1e+300"), (2**60, str(2**60))]
    assert [cell_text(value) for value, _ in cells] == [text for _, text in cells]
    assert (cell_text(None), cell_text(float("nan")), cell_text(True), cell_text(False)) == (None, None, "true", "false")


def test_tag_names_of_a_hub_data_set(tmp_path):
    """WNUT-17 and CoNLL-2003 store a list of class ids per row; without the names an entity would be called 3."""
    import datasets

    names = ["O", "B-person", "I-person"]
    kind = datasets.Features(
        {"tokens": datasets.List(datasets.Value("string")), "ner_tags": datasets.List(datasets.ClassLabel(names=names))}
    )
    rows = {"tokens": [["Ann", "Lee", "ran"], ["so"]], "ner_tags": [[1, 2, 0], [0]]}
    datasets.Dataset.from_dict(rows, features=kind).to_parquet(tmp_path / "train-00000-of-00001.parquet")
    table = read_hub_folder(tmp_path, "owner/name", ["train"])["train"]
    assert table.label_names == {"ner_tags": tuple(names)}
    assert table.rows[0] == {"tokens": ["Ann", "Lee", "ran"], "ner_tags": [1, 2, 0]}
