"""hftool/data/readers/encoding.py: a file is never decoded wrongly; the error has the option to type."""

import pytest

from hftool.data.readers.formats import ReadOptions
from hftool.data.readers.tables import read_table
from hftool.errors import HftoolError

GERMAN = "text,label\nein schöner Film,1\nein öder Film,0\n"
CHINESE = "label,review\n" + "".join(f"{i % 2},房间很大，服务也很好，下次还会来{i}\n" for i in range(400))
ENGLISH = "text,label\n" + "a warm film,1\na cold film,0\n" * 50


def read(path, encoding=None):
    return read_table(path, "train", ReadOptions(encoding))


def error_line(path, encoding=None):
    with pytest.raises(HftoolError) as caught:
        read(path, encoding)
    return f"{caught.value.code} {caught.value}".replace(f"'{path}'", "FILE")


@pytest.mark.parametrize(
    ("text", "stored", "offset", "hint"),
    [
        (CHINESE, "gbk", 15, "gbk"),
        (ENGLISH, "utf-16-le", 1, "utf-16"),  # no BOM: valid UTF-8, with a NUL after every letter
        (ENGLISH, "utf-16-be", 0, "utf-16"),
        (GERMAN, "cp1252", 18, "cp1252"),
        (GERMAN.replace("ö", "\x81"), "latin-1", 18, "latin-1"),
    ],
)
def test_error_names_the_bad_byte_and_the_encoding_option_that_works(tmp_path, text, stored, offset, hint):
    path = tmp_path / "train.csv"
    path.write_bytes(text.encode(stored))
    assert error_line(path) == (
        f"65 FILE is not UTF-8: byte {offset} cannot be read; it looks like {hint}. Try --encoding {hint}"
    )
    table = read(path, hint)
    path.write_text(text, encoding="utf-8")
    assert (table.columns, table.rows) == (read(path).columns, read(path).rows)


@pytest.mark.parametrize("order", ["-le", "-be"])
def test_utf_16_without_a_bom_is_read_in_its_byte_order(tmp_path, order):
    path = tmp_path / "train.csv"
    path.write_bytes(CHINESE.encode("utf-16" + order))
    assert "it looks like utf-16. Try --encoding utf-16" in error_line(path)
    assert read(path, "utf-16").rows[1] == {"label": "1", "review": "房间很大，服务也很好，下次还会来1"}


def test_first_bad_byte_is_found_at_a_block_boundary(tmp_path):
    head = b"text,label\n" + b"x" * ((1 << 20) - 12) + "é".encode() + b",1\n"  # the é spans the boundary of the first MiB
    path = tmp_path / "train.csv"
    path.write_bytes(head + b"caf\xe9 noir,0\n")
    assert error_line(path) == (
        f"65 FILE is not UTF-8: byte {len(head) + 3} cannot be read; it looks like cp1252. Try --encoding cp1252"
    )
    path.write_bytes(head + "café noir,0\n".encode())
    assert len(read(path).rows) == 2


def test_truncated_character_at_the_end_is_an_error(tmp_path):
    path = tmp_path / "train.csv"
    path.write_bytes(b"text,label\ncaf\xc3")
    assert error_line(path).startswith("65 FILE is not UTF-8: byte 14 cannot be read")


def test_hint_after_a_wrong_encoding_option_names_the_detected_encoding(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text(GERMAN, encoding="utf-8")
    assert (
        error_line(path, "ascii") == "65 FILE is not ASCII: byte 18 cannot be read; it looks like utf-8. Try --encoding utf-8"
    )


def test_hint_never_repeats_the_given_encoding(tmp_path):
    path = tmp_path / "train.csv"
    path.write_bytes(CHINESE.encode("gbk") + b"1,\xff\xff\n" + CHINESE.encode("gbk"))
    assert error_line(path, "gbk").endswith("cannot be read. Try utf-8, utf-16, gb18030, cp1252, latin-1")


@pytest.mark.parametrize("encoding_name", ["utf-9", "hex", "rot13", "zlib", "undefined", "a\0b"])
def test_unknown_encoding_is_a_usage_error(tmp_path, encoding_name):
    path = tmp_path / "train.csv"
    path.write_text(ENGLISH)
    assert (
        error_line(path, encoding_name) == f"2 unknown encoding '{encoding_name}'. Try utf-8, utf-16, gb18030, cp1252, latin-1"
    )


def test_bom_is_not_part_of_the_first_column_name(tmp_path):
    path = tmp_path / "train.csv"
    marked = {None: "utf-8-sig", "utf-8": "utf-8-sig", "utf-16-le": "utf-16"}
    for encoding, stored in marked.items():
        path.write_bytes(ENGLISH.encode(stored))
        assert read(path, encoding).columns == ("text", "label")


def test_nul_in_a_text_does_not_mean_utf_16(tmp_path):
    path = tmp_path / "train.csv"
    path.write_bytes(b"text,label\na\0b,1\nc,0\n")
    assert [row["text"] for row in read(path).rows] == ["a\0b", "c"]


# ---- detected encodings

TAGS = "".join(f"{word}\tB-PER\nist\tO\n\n" for word in ("Jörg", "Größe", "Straße", "Maß", "Süß", "Göttingen"))
FRENCH = "text,label\n" + "il a déjà été très gêné par ça,1\nun café à l’hôtel où l’on rêve,0\n" * 3
SPANISH = "text,label\n" + "el niño está aquí, ¿qué más?,1\n".replace("aquí,", "aquí") * 6
SYMBOLS = "text,label\nit’s “fine” – for £5,1\ndon’t… it’s €3,0\n"
UNAMBIGUOUS = [
    ("a.conll", TAGS, "cp1252", "cp1252"),
    ("a.csv", FRENCH, "cp1252", "cp1252"),
    ("a.csv", SPANISH, "latin-1", "cp1252"),
    ("a.csv", SYMBOLS, "cp1252", "cp1252"),
    ("a.csv", ENGLISH.replace("warm", "café"), "cp1252", "cp1252"),
    ("a.csv", CHINESE, "utf-16", "utf-16"),
    ("a.csv", ENGLISH, "utf-16", "utf-16"),
    ("a.conll", TAGS, "utf-16", "utf-16"),
    ("a.csv", "\ufeff" + ENGLISH, "utf-16-be", "utf-16"),
    ("a.txt", "Ein schöner Film.\n", "utf-16", "utf-16"),
    ("a.csv", ENGLISH, "utf-32", "utf-32"),
]


@pytest.mark.parametrize(("name", "text", "stored", "codec"), UNAMBIGUOUS)
def test_unambiguous_encoding_is_used_and_reported(tmp_path, name, text, stored, codec):
    path = tmp_path / name
    path.write_bytes(text.encode(stored))
    table = read(path)
    assert table.notes == [f"'{path}' is not UTF-8 and is read as {codec}; --encoding decides"]
    path.write_text(text, encoding="utf-8")
    assert table.rows == read(path).rows and not read(path).notes


AMBIGUOUS = [
    ("Zażółć gęślą jaźń, świat", "cp1250"),
    ("Příliš žluťoučký kůň úpěl ďábelské ódy", "cp1250"),
    ("Árvíztűrő tükörfúrógép, őszi idő", "cp1250"),
    ("şehirde çok güzel, ığdır iyi günler", "cp1254"),
    ("Šiandien yra gražus oras, ačiū", "cp1257"),
    ("Привет, мир", "cp1251"),
    ("Привет, мир", "koi8-r"),
    ("Καλημέρα κόσμε", "cp1253"),
    ("こんにちは世界、部屋は広い", "shift_jis"),
    ("방이 크고 좋았습니다", "euc_kr"),
    ("房间很大，服务也很好", "gbk"),
    ("房間很大，服務也很好", "big5"),
    ("Größe und Straße, schön für uns", "cp850"),
    ("Größe und Straße, schön für uns", "mac_roman"),
    ("don’t, it’s a café", "mac_roman"),
    ("Größe und Straße\x81", "latin-1"),
]


@pytest.mark.parametrize(("text", "stored"), AMBIGUOUS)
def test_ambiguous_encoding_is_an_error(tmp_path, text, stored):
    path = tmp_path / "a.txt"
    path.write_bytes(f"{text}\n".encode(stored) * 20)
    assert error_line(path).startswith("65 FILE is not UTF-8: byte ")


def test_bom_of_another_encoding_is_an_error(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xff\xfe" + ENGLISH.encode("utf-16-le") + b"\x00")
    assert error_line(path).startswith("65 FILE is not UTF-8: byte 0 cannot be read; it looks like utf-16")


def test_given_encoding_is_not_overridden(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(FRENCH.encode("cp1252"))
    assert error_line(path, "utf-8").startswith("65 FILE is not UTF-8")
