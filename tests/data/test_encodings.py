"""hftool/data/encodings.py: a file in another encoding is never read as something else; the error says what to type."""

import pytest

from hftool.data.sources import read_table
from hftool.errors import HftoolError

GERMAN = "text,label\nein schöner Film,1\nein öder Film,0\n"
CHINESE = "label,review\n" + "".join(f"{i % 2},房间很大，服务也很好，下次还会来{i}\n" for i in range(400))
ENGLISH = "text,label\n" + "a warm film,1\na cold film,0\n" * 50


def read(path, encoding=None):
    return read_table(path, "train", encoding=encoding)


def line_of(path, encoding=None):
    with pytest.raises(HftoolError) as caught:
        read(path, encoding)
    return f"{caught.value.code} {caught.value}".replace(f"'{path}'", "FILE")


@pytest.mark.parametrize(
    ("text", "stored", "offset", "hint"),
    [
        (CHINESE, "gbk", 15, "gbk"),
        (CHINESE, "utf-16", 0, "utf-16"),
        (ENGLISH, "utf-16", 0, "utf-16"),
        (ENGLISH, "utf-16-le", 1, "utf-16"),  # no mark: valid UTF-8, with a NUL after every letter
        (ENGLISH, "utf-16-be", 0, "utf-16"),
        (ENGLISH, "utf-32", 0, "utf-32"),
        (GERMAN, "cp1252", 18, "cp1252"),
        (GERMAN.replace("ö", "\x81"), "latin-1", 18, "latin-1"),
    ],
)
def test_another_encoding_is_named_with_the_byte_and_the_option_then_works(tmp_path, text, stored, offset, hint):
    path = tmp_path / "train.csv"
    path.write_bytes(text.encode(stored))
    assert line_of(path) == (f"65 FILE is not UTF-8: byte {offset} cannot be read; it looks like {hint}. Try --encoding {hint}")
    table = read(path, hint)
    path.write_text(text, encoding="utf-8")
    assert (table.columns, table.rows) == (read(path).columns, read(path).rows)


@pytest.mark.parametrize("order", ["-le", "-be"])
def test_utf_16_without_a_mark_is_read_in_its_own_byte_order(tmp_path, order):
    path = tmp_path / "train.csv"
    path.write_bytes(CHINESE.encode("utf-16" + order))
    assert "it looks like utf-16. Try --encoding utf-16" in line_of(path)
    assert read(path, "utf-16").rows[1] == {"label": "1", "review": "房间很大，服务也很好，下次还会来1"}


def test_the_first_bad_byte_may_lie_far_down_and_on_the_edge_of_a_block(tmp_path):
    head = b"text,label\n" + b"x" * ((1 << 20) - 12) + "é".encode() + b",1\n"  # the é lies across the first MiB
    path = tmp_path / "train.csv"
    path.write_bytes(head + b"caf\xe9 noir,0\n")
    assert line_of(path) == (
        f"65 FILE is not UTF-8: byte {len(head) + 3} cannot be read; it looks like cp1252. Try --encoding cp1252"
    )
    path.write_bytes(head + "café noir,0\n".encode())
    assert len(read(path).rows) == 2


def test_half_a_character_at_the_end_is_an_error(tmp_path):
    path = tmp_path / "train.csv"
    path.write_bytes(b"text,label\ncaf\xc3")
    assert line_of(path).startswith("65 FILE is not UTF-8: byte 14 cannot be read")


def test_a_wrong_encoding_option_is_told_what_the_file_is(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text(GERMAN, encoding="utf-8")
    assert line_of(path, "ascii") == "65 FILE is not ASCII: byte 18 cannot be read; it looks like utf-8. Try --encoding utf-8"


def test_no_guess_is_made_that_is_the_option_itself(tmp_path):
    path = tmp_path / "train.csv"
    path.write_bytes(CHINESE.encode("gbk") + b"1,\xff\xff\n" + CHINESE.encode("gbk"))
    assert line_of(path, "gbk").endswith("cannot be read. Try utf-8, utf-16, gb18030, cp1252, latin-1")


@pytest.mark.parametrize("word", ["utf-9", "hex", "rot13", "zlib", "undefined", "a\0b"])
def test_what_is_no_encoding_of_text_is_a_usage_error(tmp_path, word):
    path = tmp_path / "train.csv"
    path.write_text(ENGLISH)
    assert line_of(path, word) == f"2 unknown encoding '{word}'. Try utf-8, utf-16, gb18030, cp1252, latin-1"


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path):
    path = tmp_path / "train.csv"
    marked = {None: "utf-8-sig", "utf-8": "utf-8-sig", "utf-16-le": "utf-16"}
    for encoding, stored in marked.items():
        path.write_bytes(ENGLISH.encode(stored))
        assert read(path, encoding).columns == ("text", "label")


def test_a_nul_in_a_text_is_no_utf_16(tmp_path):
    path = tmp_path / "train.csv"
    path.write_bytes(b"text,label\na\0b,1\nc,0\n")
    assert [row["text"] for row in read(path).rows] == ["a\0b", "c"]
