"""hftool/data/readers/containers.py, through read_table: compressed files and archives are read as the file inside."""

import bz2
import gzip
import json
import lzma
import subprocess
import sys
import zipfile

import pyarrow
import pytest

from hftool.data.readers import containers
from hftool.data.readers.formats import ReadOptions
from hftool.data.readers.tables import disk_files, read_table, split_files, stream
from hftool.errors import HftoolError
from support.memory import PEAK

TEXT = 'text,label\n"one, 😀",a\ntwo\n"three\nlines",b\n'


def compress_zst(data):
    sink = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


COMPRESS = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": compress_zst}


def error_line(path):
    with pytest.raises(HftoolError) as caught:
        read_table(path, "train")
    return f"{caught.value.code} {caught.value}"


def archive(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name, text in files.items():
            target.writestr(name, text)
    return path


def plain(tmp_path, name, text):
    path = tmp_path / "plain" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text)
    return read_table(path, "train")


# ---- one compressed file


@pytest.mark.parametrize("ending", COMPRESS)
def test_compressed_table_has_the_rows_and_rejected_lines_of_the_plain_one(tmp_path, ending):
    path = tmp_path / f"Train.CSV{ending}"
    path.write_bytes(COMPRESS[ending](TEXT.encode()))
    table, expected = read_table(path, "train"), plain(tmp_path, "train.csv", TEXT.encode())
    assert table.rows == expected.rows == [{"text": "one, 😀", "label": "a"}, {"text": "three\nlines", "label": "b"}]
    assert (table.numbers, table.rejected) == (expected.numbers, expected.rejected) and table.rejected[0].row == 3


@pytest.mark.parametrize("ending", COMPRESS)
def test_all_members_and_frames_of_a_compressed_file_are_read(tmp_path, ending):
    parts = [json.dumps({"text": f"film {i}"}).encode() + b"\n" for i in range(3)]
    path = tmp_path / f"a.jsonl{ending}"
    path.write_bytes(b"".join(map(COMPRESS[ending], parts)))
    assert [row["text"] for row in read_table(path, "train").rows] == ["film 0", "film 1", "film 2"]


@pytest.mark.parametrize("name", ["a.tsv", "a.json", "a.txt", "a.conll"])
def test_every_text_format_may_be_compressed(tmp_path, name):
    text = {"a.tsv": b"text\tlabel\nx\t1\n", "a.json": b'[{"text": "x"}]', "a.txt": b"x\n\ny\n", "a.conll": b"EU B-ORG\nis O\n"}
    path = tmp_path / f"{name}.gz"
    path.write_bytes(gzip.compress(text[name]))
    table, expected = read_table(path, "train"), plain(tmp_path, name, text[name])
    assert (table.rows, table.numbers, table.lines) == (expected.rows, expected.numbers, expected.lines)


def test_ending_and_content_may_disagree(tmp_path):
    plain_one, packed = tmp_path / "a.csv.gz", tmp_path / "b.csv"
    plain_one.write_text("text\nx\n", encoding="utf-8")  # unpacked by a browser
    packed.write_bytes(gzip.compress(b"text\nx\n"))
    assert read_table(plain_one, "train").rows == read_table(packed, "train").rows == [{"text": "x"}]


def test_text_that_begins_as_a_compressed_file_is_text(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("BZhang and others\n", encoding="utf-8")
    assert read_table(path, "train").rows == [{"text": "BZhang and others"}]


def test_encoding_of_a_compressed_file_is_checked(tmp_path):
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"text\n" + b"x\n" * 70_000 + "Übel\n".encode("latin-1")))
    assert "byte 140005 cannot be read; it looks like cp1252. Try --encoding cp1252" in error_line(path)
    path.write_bytes(gzip.compress("text\n我们\n".encode("gb18030")))
    assert error_line(path).startswith(f"65 '{path}' is not UTF-8: byte 5 cannot be read; it looks like gbk")
    assert read_table(path, "train", ReadOptions(encoding="gbk")).rows == [{"text": "我们"}]


@pytest.mark.parametrize("ending", COMPRESS)
def test_truncated_or_empty_file_is_an_error(tmp_path, ending):
    data = COMPRESS[ending](b"".join(b"text %d\n" % (i * 7919 % 10007) for i in range(20_000)))
    path = tmp_path / f"a.csv{ending}"
    path.write_bytes(data[: len(data) // 2])
    assert error_line(path).startswith(f"65 '{path}' cannot be unpacked: not ") and "\n" not in error_line(path)
    path.write_bytes(COMPRESS[ending](b""))
    assert error_line(path) == f"65 '{path}' is empty"


def test_file_that_expands_out_of_proportion_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(containers, "MIN_BOMB", 1 << 20)
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"word and word\n" * (1 << 18)))
    assert error_line(path) == (
        f"77 '{path}' expands to over 200 times its size, as no table does. Unpack it yourself if you trust it"
    )
    member = archive(tmp_path / "a.zip", {"a.txt": "word and word\n" * (1 << 18)})
    assert error_line(member).startswith(f"77 '{member}#a.txt' expands to over 200 times its size")


def test_compressed_files_of_a_folder_are_splits(tmp_path):
    for name in ("train.csv.gz", "dev.csv.xz", "test-00000-of-00002.csv.gz", "test-00001-of-00002.csv.gz", "notes.gz"):
        (tmp_path / name).write_bytes(gzip.compress(b"text\nx\n"))
    found = {split: path.name for split, path in split_files(tmp_path).items()}
    assert found == {"train": "train.csv.gz", "validation": "dev.csv.xz", "test": "test-*-of-00002.csv.gz"}
    assert len(read_table(tmp_path / found["test"], "test").rows) == 2


MEASURE = (
    PEAK
    + """
import sys
from hftool.data.readers.tables import stream
import pyarrow
first = peak()
columns, records = stream(sys.argv[1], rejected=[])
print(sum(1 for _ in records), peak() - first)
"""
)


# bzip2 takes ten times as long as the others
@pytest.mark.parametrize(
    "ending", [*(pytest.param(e, marks=pytest.mark.slow if e == ".bz2" else ()) for e in COMPRESS), ".zip"]
)
def test_streaming_memory_of_compressed_files_is_bounded(tmp_path, ending):
    lines = b"".join(b'{"text": "%d %s"}\n' % (i * 7919 % 100_003, b"film " * (i % 100)) for i in range(80_000))
    path = tmp_path / f"a.jsonl{ending}"
    if ending == ".zip":
        archive(path, {"a.jsonl": lines})
    else:
        path.write_bytes(COMPRESS[ending](lines))
    done = subprocess.run([sys.executable, "-c", MEASURE, path], capture_output=True, text=True, check=True)
    count, grown = map(int, done.stdout.split())
    assert len(lines) > 20_000_000 and count == 80_000 and grown < 16_000


# ---- zip archives


def test_archive_with_one_table_is_read_as_that_table(tmp_path):
    path = archive(tmp_path / "a.zip", {"data/": "", "data/rows.csv": TEXT, "__MACOSX/._rows.csv": "x", "README.txt": "x"})
    table = read_table(path, "train")
    assert [row["label"] for row in table.rows] == ["a", "b"] and table.rejected[0].row == 3 and table.path == str(path)
    assert read_table(f"{path}#data/rows.csv", "train").rows == table.rows
    assert next(stream(path, rejected=[])[1]).row == table.rows[0]
    assert disk_files(tmp_path / "a.zip#data/rows.csv") == [path]


def test_archive_with_several_tables_lists_them(tmp_path):
    path = archive(tmp_path / "a.zip", {"train.csv": TEXT, "dev.jsonl": '{"text": "x"}\n', "LICENSE": "x"})
    assert error_line(path) == f"65 '{path}' has 2 files: 'train.csv', 'dev.jsonl'. Name one, such as '{path}#train.csv'"
    assert read_table(f"{path}#dev.jsonl", "train").rows == [{"text": "x"}]
    assert error_line(f"{path}#test.csv") == f"66 '{path}' has no file 'test.csv'; it has 'train.csv', 'dev.jsonl', 'LICENSE'"


def test_compressed_member_of_an_archive_is_unpacked(tmp_path):
    for ending, compress in COMPRESS.items():
        path = archive(tmp_path / "a.zip", {f"a.csv{ending}": compress(TEXT.encode())})
        assert [row["label"] for row in read_table(path, "train").rows] == ["a", "b"]


def test_file_whose_name_has_a_number_sign_is_itself(tmp_path):
    path = archive(tmp_path / "a.zip#1.zip", {"a.csv": TEXT})
    assert len(read_table(path, "train").rows) == 2
    assert error_line(tmp_path / "b.csv#x") == f"66 there is no file '{tmp_path / 'b.csv#x'}'"
    assert error_line(tmp_path / "b.zip#x.csv") == f"66 there is no file '{tmp_path / 'b.zip'}'"


def test_archives_that_cannot_be_read_are_errors(tmp_path):
    path = tmp_path / "a.zip"
    path.write_bytes(b"PK\x03\x04 nothing")
    assert error_line(path) == f"65 '{path}' cannot be unpacked: not a zip archive, or damaged: File is not a zip file"
    assert error_line(archive(path, {})) == f"65 '{path}' has no files"
    assert error_line(archive(path, {"a.parquet": "PAR1"})) == (
        f"65 '{path}#a.parquet' is compressed, and its format is not read from an archive. Unpack it first"
    )
    body = bytearray(archive(path, {"a.csv": TEXT * 100}).read_bytes())
    body[50:90] = b"\xff" * 40
    path.write_bytes(body)
    assert error_line(path).startswith(f"65 '{path}#a.csv' cannot be unpacked: ")
    body = bytearray(archive(path, {"a.csv": TEXT}).read_bytes())
    body[6] |= 1
    body[body.index(b"PK\x01\x02") + 8] |= 1  # the flag of encryption
    path.write_bytes(body)
    assert error_line(path) == f"65 '{path}' cannot be unpacked: it is encrypted"
