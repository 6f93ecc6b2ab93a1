"""hftool/data/readers/parquet_arrow.py: Parquet and Arrow of `datasets`, with class names, shards and folders."""

import json

import pyarrow
import pyarrow.parquet
import pytest

from hftool.data.labels import find_labels, find_tags
from hftool.data.readers.tables import read_table, split_files
from hftool.errors import DataError

TAGS = ["O", "B-PER", "I-PER"]
ROWS = {"tokens": [["Ann", "ran"]] * 6, "ner_tags": [[1, 0]] * 6, "label": [1, 0] * 3, "n": list(range(6))}


@pytest.fixture(scope="module")
def rows():
    """A data set with classes, and with tags that are lists of classes."""
    import datasets

    datasets.disable_progress_bars()
    kinds = {
        "tokens": datasets.List(datasets.Value("string")),
        "ner_tags": datasets.List(datasets.ClassLabel(names=TAGS)),
        "label": datasets.ClassLabel(names=["bad", "good"]),
        "n": datasets.Value("int64"),
    }
    return datasets.Dataset.from_dict(ROWS, features=datasets.Features(kinds))


def numbers(table):
    return [row["n"] for row in table.rows]


def test_class_and_tag_names_come_from_the_datasets_metadata(tmp_path, rows):
    rows.to_parquet(tmp_path / "train.parquet")
    table = read_table(tmp_path / "train.parquet", "train")
    assert table.label_names == {"ner_tags": tuple(TAGS), "label": ("bad", "good")}
    assert find_tags(table, "ner_tags").names == tuple(TAGS)  # O is one of them, and no entity
    assert find_labels(table, "label").names == ("bad", "good")


CLASSES = {"names": ["bad", "good"], "_type": "ClassLabel"}


@pytest.mark.parametrize(
    ("feature", "names"),
    [
        (CLASSES, ("bad", "good")),
        ({"feature": CLASSES, "_type": "Sequence"}, ("bad", "good")),
        ({"feature": CLASSES, "length": -1, "_type": "Sequence"}, ("bad", "good")),
        ({"feature": CLASSES, "_type": "List"}, ("bad", "good")),
        ({"feature": {"feature": CLASSES, "_type": "LargeList"}, "_type": "List"}, ("bad", "good")),
        ([CLASSES], ("bad", "good")),
        ({"num_classes": 2, "names": ["bad", "good"], "id": None, "_type": "ClassLabel"}, ("bad", "good")),
        ({"dtype": "int64", "_type": "Value"}, None),
        ({"names": 5, "_type": "ClassLabel"}, None),
        ("ClassLabel", None),
    ],
)
def test_class_names_of_every_feature_type(tmp_path, feature, names):
    metadata = {b"huggingface": json.dumps({"info": {"features": {"label": feature}}}).encode()}
    table = pyarrow.table({"label": [0, 1]}).replace_schema_metadata(metadata)
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    assert read_table(tmp_path / "a.parquet", "train").label_names == ({"label": names} if names else {})


@pytest.mark.parametrize("metadata", [b"{", b"[]", b'{"info": 5}', b'{"info": {"features": 5}}', b"\xff"])
def test_damaged_metadata_loses_only_the_class_names(tmp_path, metadata):
    table = pyarrow.table({"label": [0, 1]}).replace_schema_metadata({b"huggingface": metadata})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    found = read_table(tmp_path / "a.parquet", "train")
    assert found.label_names == {} and len(found.rows) == 2


@pytest.mark.parametrize("count", [2, 3])
def test_shards_of_a_split_are_concatenated_in_order(tmp_path, rows, count):
    for i in range(count):
        rows.shard(count, i, contiguous=True).to_parquet(tmp_path / f"train-{i:05d}-of-{count:05d}.parquet")
    rows.to_parquet(tmp_path / "test-00000-of-00001.parquet")
    found = split_files(tmp_path)
    assert found["train"].name == f"train-*-of-{count:05d}.parquet" and found["test"].name == "test-00000-of-00001.parquet"
    table = read_table(found["train"], "train")
    assert numbers(table) == list(range(6)) and table.numbers == [1, 2, 3, 4, 5, 6]
    assert table.label_names["label"] == ("bad", "good")


def test_csv_shards_are_concatenated(tmp_path):
    for i in range(2):
        (tmp_path / f"train-{i:05d}-of-00002.csv").write_text(f"text,label\nfilm {i},1\nbook {i},0\n")
    table = read_table(split_files(tmp_path)["train"], "train")
    assert [row["text"] for row in table.rows] == ["film 0", "book 0", "film 1", "book 1"]
    (tmp_path / "train-00001-of-00002.csv").write_text("sentence,label\na,1\n")
    with pytest.raises(DataError, match="have other columns: 'text', 'label'; 'sentence', 'label'"):
        read_table(split_files(tmp_path)["train"], "train")


def test_missing_shard_is_an_error_that_names_it(tmp_path, rows):
    rows.to_parquet(tmp_path / "train-00001-of-00003.parquet")
    with pytest.raises(DataError) as caught:
        read_table(split_files(tmp_path)["train"], "train")
    assert caught.value.detail == f"'{tmp_path}' has 1 of the 3 files of train"
    assert len(read_table(tmp_path / "train-00001-of-00003.parquet", "train").rows) == 6


def test_shards_and_another_file_of_the_split_are_ambiguous(tmp_path, rows):
    for name in ("train-00000-of-00002", "train-00001-of-00002", "train"):
        rows.to_parquet(tmp_path / f"{name}.parquet")
    with pytest.raises(DataError, match="has two files for train"):
        split_files(tmp_path)


def test_save_to_disk_folders_are_read(tmp_path, rows):
    import datasets

    both = datasets.DatasetDict({"train": rows, "dev": rows.select([0, 1]), "other": rows})
    both.save_to_disk(str(tmp_path / "both"), num_shards={"train": 2, "dev": 1, "other": 1})
    found = {split: read_table(path, split) for split, path in split_files(tmp_path / "both").items()}
    assert {split: numbers(table) for split, table in found.items()} == {"train": list(range(6)), "validation": [0, 1]}
    assert found["train"].label_names == {"ner_tags": tuple(TAGS), "label": ("bad", "good")}
    rows.save_to_disk(str(tmp_path / "one"))
    assert numbers(read_table(split_files(tmp_path / "one")["train"], "train")) == list(range(6))
    (tmp_path / "both" / "train" / "data-00001-of-00002.arrow").unlink()
    with pytest.raises(DataError, match=r"is incomplete: it lacks 'data-00001-of-00002.arrow'"):
        split_files(tmp_path / "both")


def test_damaged_arrow_files_and_both_ipc_formats(tmp_path):
    table, path = pyarrow.table({"text": ["a", "b"]}), tmp_path / "a.arrow"
    with pyarrow.OSFile(str(path), "wb") as sink, pyarrow.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    assert read_table(path, "train").rows == [{"text": "a"}, {"text": "b"}]
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match="is not an Arrow file, or damaged"):
        read_table(path, "train")
