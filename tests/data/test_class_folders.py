"""hftool/data/readers/class_folders.py: folders of classes with a text in each file."""

import pytest

from hftool.data.readers.formats import ReadOptions
from hftool.data.readers.tables import is_running_text, read_table, split_files, stream
from hftool.errors import DataError, InputMissing
from hftool.workflow.resume_checks import data_files, row_digests


def write(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def reviews(classes=("neg", "pos"), count=3):
    return {f"{name}/{i}_7.txt": f"{name} {i}\nline two 😀\n" for name in classes for i in range(count)}


def test_each_file_is_a_row_of_its_class(tmp_path):
    more = {"unsup/0.txt": "x", "urls_pos.txt": "http://x", "labeledBow.feat": "9 0:9", ".DS_Store": "x", "pos/.DS_Store": "x"}
    folder = write(tmp_path / "train", {**reviews(), **more})
    table = read_table(folder, "train")
    assert table.columns == ("text", "label", "file") and len(table.rows) == 6 and table.numbers == [1, 2, 3, 4, 5, 6]
    assert table.rows[3] == {"text": "pos 0\nline two 😀\n", "label": "pos", "file": "pos/0_7.txt"}
    assert table.notes == [f"'{folder / 'unsup'}' has texts without a class and is left out"]
    assert not is_running_text(folder) and next(stream(folder, rejected=[])[1]).row == table.rows[0]


@pytest.mark.parametrize("names", [("train", "test"), ("20news-bydate-train", "20news-bydate-test"), ("x_train", "x_test")])
def test_splits_are_folders_of_folders(tmp_path, names):
    for name in names:
        write(tmp_path / name, reviews(("alt.atheism", "sci.space")))
    write(tmp_path, {"README": "x", "imdb.vocab": "x"})
    assert split_files(tmp_path) == {"train": tmp_path / names[0], "test": tmp_path / names[1]}
    assert split_files(tmp_path / names[0]) == {"train": tmp_path / names[0]}


def test_encoding_is_that_of_each_file(tmp_path):
    files = {"a/59497": "un café noir, un été chaud".encode("latin-1"), "b/1": "\ufeffplain", "b/2": b"caf\x81\x8d"}
    folder = write(tmp_path, files)
    table = read_table(folder, "train")
    assert [row["text"] for row in table.rows] == ["un café noir, un été chaud", "plain"]
    assert [(bad.row, bad.raw) for bad in table.rejected] == [(3, "b/2")]
    assert table.rejected[0].reason.endswith("is not UTF-8: byte 3 cannot be read; --encoding latin-1 reads any byte")
    assert len(read_table(folder, "train", ReadOptions(encoding="latin-1")).rows) == 3


@pytest.mark.parametrize(
    "files",
    [
        {"a/1.txt": "x"},
        {"a/1.csv": "x", "b/1.csv": "x"},
        {"a/1.png": b"\x89PNG\0", "b/1.png": b"\x89PNG\0"},
        {"a/x/1.txt": "x", "b/y/1.txt": "x"},
        {"1.txt": "x", "2.txt": "y"},
    ],
)
def test_other_folders_are_not_read(tmp_path, files):
    write(tmp_path, files)
    with pytest.raises(InputMissing, match="is a folder, not a file"):
        read_table(tmp_path, "train")
    with pytest.raises(DataError, match="has no files called train"):
        split_files(tmp_path)


def test_run_records_the_fingerprint_of_the_texts(tmp_path):
    folder = write(tmp_path, reviews())
    before = row_digests({"train": read_table(folder, "train")})
    assert list(before) == ["train"] and data_files({"train": read_table(folder, "train")}) == {}
    write(tmp_path, {"pos/0_7.txt": "changed"})
    assert row_digests({"train": read_table(folder, "train")}) != before
