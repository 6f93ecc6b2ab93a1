"""hftool/data/annotations: the forms of spaCy and brat."""

import importlib.util
import json

import pytest

from hftool.data.readers.formats import ReadOptions
from hftool.data.readers.tables import read_table, split_files
from hftool.errors import DataError, HftoolError, InputMissing
from hftool.registry.formats import folder_format
from hftool.workflow.resolve import resolve_task
from hftool.workflow.resume_checks import data_files
from support.annotated import documents, marks, read_documents, write

TEXT = "Ann 😀 flew to Lisbon."
TAGS = ["B-person", "O", "O", "O", "B-location", "O"]
ENTITIES = [[0, 3, "person"], [14, 20, "location"]]


def error_line(call, *args, **kwargs):
    with pytest.raises(HftoolError) as caught:
        call(*args, **kwargs)
    return f"{caught.value.code} {caught.value}"


def pair(folder, name, text, *lines):
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.txt").write_bytes(text.encode())
    (folder / f"{name}.ann").write_bytes("".join(f"{line}\n" for line in lines).encode())
    return folder


# ---- spaCy


@pytest.mark.parametrize(
    "content",
    [
        [[TEXT, {"entities": ENTITIES}], ["It rained.", {"entities": []}]],
        [{"text": TEXT, "entities": ENTITIES}, {"text": "It rained.", "entities": []}],
        {"classes": ["person"], "annotations": [[TEXT, {"entities": ENTITIES}], None, ["It rained.", {"entities": []}]]},
    ],
)
def test_examples_of_spacy_count_code_points(tmp_path, content):
    path = tmp_path / "train.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    table = read_table(path, "train")
    assert [row["tags"] for row in table.rows] == [TAGS, ["O", "O", "O"]]
    assert table.notes == [f"'{path}' is read as spaCy's JSON; --format decides"]


def test_a_docbin_without_spacy_names_the_package(tmp_path, monkeypatch):
    path = tmp_path / "train.spacy"
    path.write_bytes(b"none")
    if importlib.util.find_spec("spacy") is None:
        assert (
            error_line(read_table, path, "train")
            == "66 a .spacy file needs the package spacy. pip install spacy, or export JSON"
        )
    else:
        with pytest.raises(DataError, match="is no DocBin of spaCy"):
            read_table(path, "train")


def test_200_documents_are_the_same_after_a_round_trip_through_a_docbin(tmp_path, monkeypatch):
    pytest.importorskip("spacy")
    given = documents()
    path = write(tmp_path / "a.spacy", "docbin", given)
    found = read_documents(path, monkeypatch)
    assert [(d.text, marks(d)) for d in found] == [(d.text, marks(d)) for d in given]


# ---- brat


def test_a_folder_of_pairs_is_one_table(tmp_path):
    folder = pair(
        tmp_path / "data",
        "b",
        TEXT,
        "T1\tperson 0 3\tAnn",
        "R1\tIn Arg1:T1 Arg2:T2",
        "T2\tlocation 14 20\tLisbon",
        "#1\tNote T1\tx",
    )
    pair(folder, "a", "It rained.\r\nAnn ran.", "T1\tperson 12 15\tAnn")
    table = read_table(folder, "train")
    assert [row["id"] for row in table.rows] == ["a", "b"] and table.rows[1]["tags"] == TAGS
    assert table.rows[0]["tags"] == ["O", "O", "O", "B-person", "O", "O"]  # both characters of the line end count
    assert read_table(folder / "b.ann", "train").rows[0]["tags"] == TAGS
    assert set(data_files({"train": table})) == {"train/a.ann", "train/a.txt", "train/b.ann", "train/b.txt"}
    data = resolve_task(str(folder), {}, offline=True, fallback=False, progress=print)
    assert set(data.tables) == {"train"} and data.tables["train"].rows == table.rows
    assert folder_format(tmp_path) is None


def test_folders_of_pairs_can_be_splits(tmp_path):
    for split in ("train", "dev"):
        pair(tmp_path / split, "a", TEXT, "T1\tperson 0 3\tAnn")
    assert split_files(tmp_path) == {"train": tmp_path / "train", "validation": tmp_path / "dev"}


def test_parts_of_a_span_with_white_space_between_are_one_and_others_are_no_tags(tmp_path):
    folder = pair(tmp_path / "data", "a", "Ann\nOkafor left home", "T1\tperson 0 3;4 10\tAnn Okafor")
    assert read_table(folder, "train").rows[0]["tags"] == ["B-person", "I-person", "O", "O"]
    pair(folder, "b", "left and right arm", "T1\tpart 0 4;15 18\tleft arm")
    pair(folder, "c", "Ann", "T1\tperson zero 3\tAnn")
    pair(folder, "d", "Bob", "T1\tperson 0 3\tAnn")
    assert [(bad.row, bad.reason) for bad in read_table(folder, "train").rejected] == [
        (2, "the span 0-18 'part' has 2 parts, and tags have one"),
        (3, "'T1\tperson zero 3\tAnn' is no annotation of brat"),
        (4, "the span 0-3 'person' was 'Ann' and is now 'Bob': the text has changed"),
    ]


def test_a_pair_without_its_text_is_an_error(tmp_path):
    folder = pair(tmp_path / "data", "a", TEXT, "T1\tperson 0 3\tAnn")
    (folder / "a.txt").unlink()
    with pytest.raises(InputMissing, match="a.txt' is missing"):
        read_table(folder, "train")


def test_200_documents_with_spans_are_the_same_after_a_round_trip_through_brat(tmp_path, monkeypatch):
    given = documents(types=("person", "location", "日付"))
    found = read_documents(write(tmp_path / "out", "brat", given), monkeypatch)
    assert [(d.text, marks(d)) for d in found] == [(d.text, marks(d)) for d in given]
    with pytest.raises(DataError, match="brat has no labels with spaces, such as 'Brand Name'"):
        write(tmp_path / "more", "brat", documents())
    assert not (tmp_path / "more").exists()
    assert len(read_table(tmp_path / "out", "train", ReadOptions()).rows) == 200
