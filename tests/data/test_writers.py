"""hftool/data/writers.py: an output is read back unchanged, and is complete or absent."""

import datetime
import io
import subprocess
import sys

import numpy
import pyarrow.parquet
import pytest

from hftool.data.readers.tables import read_table
from hftool.data.writers import output_format, write_lines, write_rows
from hftool.errors import HftoolError
from support.memory import PEAK

UNUSUAL = [
    "a, b",
    'say "hi"',
    '"',
    "two\nlines",
    "cr\ronly",
    "crlf\r\nend",
    " spaces ",
    "tab\there",
    "NA",
    "null",
    "1.0",
    "😀 שלום \u2028 \x85",
    "x" * 200_000,
    "a\0b",
    "",
]


def error_line(call, *args, **kwargs):
    with pytest.raises(HftoolError) as caught:
        call(*args, **kwargs)
    return f"{caught.value.code} {caught.value}"


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_unusual_texts_survive_a_round_trip_in_order(tmp_path, ending):
    rows = [{"id": str(i), "a, name": text, "label": "1"} for i, text in enumerate(UNUSUAL)]
    path = tmp_path / f"out.{ending}"
    assert write_rows(path, iter(rows)) == len(rows)
    table = read_table(path, "train")
    assert table.rows == rows and table.columns == ("id", "a, name", "label") and not table.rejected


def test_tsv_has_no_quoting_so_tabs_and_line_ends_become_spaces(tmp_path):
    path = tmp_path / "out.tsv"
    write_rows(path, [{"text": text, "label": 1} for text in UNUSUAL])
    table = read_table(path, "train")
    assert [row["text"].split() for row in table.rows] == [text.split() for text in UNUSUAL] and not table.rejected
    assert table.rows[1]["text"] == 'say "hi"'


def test_one_column_with_an_empty_cell_keeps_its_line(tmp_path):
    path = tmp_path / "out.csv"
    write_rows(path, [{"text": "a"}, {"text": ""}, {"text": None}, {"text": "b"}])
    assert [row["text"] for row in read_table(path, "train").rows] == ["a", "", "", "b"]


def test_values_keep_their_type_where_the_format_has_types(tmp_path):
    row = {"text": "a", "n": 3, "p": 0.1, "yes": True, "none": None, "list": ["x", 1.5], "map": {"k": [1]}}
    write_rows(tmp_path / "out.jsonl", [row])
    assert read_table(tmp_path / "out.jsonl", "train").rows == [row]
    row["list"] = ["x", "y"]
    write_rows(tmp_path / "out.parquet", [row | {"day": datetime.date(2026, 1, 2)}])
    assert read_table(tmp_path / "out.parquet", "train").rows == [row | {"day": datetime.date(2026, 1, 2)}]
    write_rows(tmp_path / "out.csv", [row])
    cells = read_table(tmp_path / "out.csv", "train").rows[0]
    assert cells == {"text": "a", "n": "3", "p": "0.1", "yes": "True", "none": "", "list": '["x", "y"]', "map": '{"k": [1]}'}


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
def test_lone_surrogates_are_replaced(tmp_path, ending):
    path = tmp_path / f"out.{ending}"
    write_rows(path, [{"text": "half \ud83d", "label": "1"}, {"text": "whole 😀", "label": "\udc00"}])
    kept = {"jsonl": ["half \ud83d", "whole 😀"]}.get(ending, ["half ?", "whole 😀"])
    assert [row["text"] for row in read_table(path, "train").rows] == kept


def test_nan_is_null_in_json_lines():
    handle = io.StringIO()
    assert write_lines(handle, [{"p": float("nan"), "q": [float("inf"), {"r": -float("inf")}], "s": 1.5, "text": "é"}]) == 1
    assert handle.getvalue() == '{"p": null, "q": [null, {"r": null}], "s": 1.5, "text": "é"}\n'


def test_parquet_infers_a_type_that_appears_late(tmp_path):
    rows = [{"text": f"t{i}", "p": None if i < 5000 else i / 7, "n": i if i < 5000 else i + 0.5} for i in range(9000)]
    write_rows(tmp_path / "out.parquet", rows)
    assert read_table(tmp_path / "out.parquet", "train").rows == rows
    schema = pyarrow.parquet.read_schema(tmp_path / "out.parquet")
    assert [str(kind) for kind in schema.types] == ["string", "double", "double"]


def test_parquet_accepts_late_columns_and_mixed_types(tmp_path):
    rows = [{"id": 1, "x": [1]} if i < 4500 else {"id": "b", "x": "text", "late": i} for i in range(9000)]
    rows[3]["x"] = "mixed"  # within a block as well
    write_rows(tmp_path / "out.parquet", rows)
    found = read_table(tmp_path / "out.parquet", "train").rows
    assert found[0] == {"id": "1", "x": "[1]", "late": None} and found[3]["x"] == "mixed"
    assert found[8999] == {"id": "b", "x": "text", "late": 8999} and len(found) == 9000


def test_csv_has_the_columns_of_all_early_rows_and_refuses_late_ones(tmp_path):
    path = tmp_path / "out.csv"
    write_rows(path, [{"a": "1"}, {"a": "2", "b": "3"}])
    assert read_table(path, "train").rows == [{"a": "1", "b": ""}, {"a": "2", "b": "3"}]
    rows = [{"a": i} for i in range(5000)] + [{"b": 1}]
    assert error_line(write_rows, tmp_path / "late.csv", rows) == (
        "65 row 5001 has the column 'b', which the first 4096 rows lack. Write .jsonl or .parquet"
    )
    assert [p.name for p in tmp_path.iterdir()] == ["out.csv"]


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
def test_exception_while_writing_leaves_no_file(tmp_path, ending):
    def rows():
        yield from ({"text": "a", "label": i} for i in range(10_000))
        raise RuntimeError("the model broke")

    with pytest.raises(RuntimeError, match="the model broke"):
        write_rows(tmp_path / f"out.{ending}", rows())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_no_rows_give_a_file(tmp_path, ending):
    path = tmp_path / f"out.{ending}"
    assert write_rows(path, []) == 0 and path.is_file()
    if ending == "parquet":
        assert pyarrow.parquet.read_table(path).num_rows == 0


def test_existing_output_is_kept_without_overwrite(tmp_path):
    path = tmp_path / "out.csv"
    path.write_text("precious")
    assert error_line(write_rows, path, [{"a": 1}]).startswith(f"73 the output '{path}' exists already")
    assert path.read_text() == "precious"
    assert write_rows(path, [{"a": 1}], overwrite=True) == 1 and path.read_text() == "a\n1\n"


def test_extensions_without_a_writer_are_errors():
    assert error_line(output_format, "out.json") == "2 cannot write 'out.json'. Use .csv, .tsv, .jsonl or .parquet"
    assert error_line(output_format, "out").startswith("2 'out' has an unknown ending")
    assert output_format("out.NDJSON") == "jsonl"


def test_vectors_are_written_as_numpy_saves_them(tmp_path):
    vectors = [None, None] + [[i / 3, -1.0] for i in range(5000)] + [None]
    assert write_rows(tmp_path / "out.npy", ({"embedding": vector} for vector in vectors)) == 5003
    numpy.save(tmp_path / "whole.npy", numpy.array([vector or [numpy.nan] * 2 for vector in vectors], numpy.float32))
    assert (tmp_path / "out.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()
    assert error_line(write_rows, tmp_path / "none.npy", [{"embedding": None}]).startswith("2 an .npy file holds embeddings")


MEASURE = (
    PEAK
    + """
import json, sys
from pathlib import Path
import pyarrow.parquet
from hftool.data.writers import write_rows
def rows(n):
    return ({"text": f"{i} " + "x" * 1000, "p": None if i < 5000 else 0.5} for i in range(n))
out = Path(sys.argv[1])
write_rows(out.with_name("warm" + out.suffix), rows(9000))
first = peak()
write_rows(out, rows(80_000))
print(peak() - first)
"""
)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_writing_eighty_megabytes_takes_a_fraction_of_the_memory(tmp_path, ending):
    command = [sys.executable, "-c", MEASURE, tmp_path / f"out.{ending}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 30 << 10  # KiB
