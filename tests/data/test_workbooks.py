"""hftool/data/readers/workbooks.py, through read_table: sheets of Excel and LibreOffice, by their real writers."""

import datetime
import sys
import zipfile

import pytest

from hftool.data.readers import workbooks
from hftool.data.readers.tables import disk_files, read_table
from hftool.errors import HftoolError

pytest.importorskip("python_calamine", reason="the extra [tables] is not installed")
openpyxl = pytest.importorskip("openpyxl", reason="it writes the workbooks")

ODS = """<?xml version="1.0"?>
<office:document-content xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0"
 xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0" xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0">
<office:body><office:spreadsheet><table:table table:name="Blatt 1">{rows}</table:table>
<table:table table:name="Notes"><table:table-row><table:table-cell office:value-type="string"><text:p>x</text:p>
</table:table-cell></table:table-row></table:table></office:spreadsheet></office:body></office:document-content>"""
MANIFEST = '<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"/>'
CELL = '<table:table-cell office:value-type="{kind}" {value}><text:p>{text}</text:p></table:table-cell>'


def error_line(path):
    with pytest.raises(HftoolError) as caught:
        read_table(path, "train")
    return f"{caught.value.code} {caught.value}"


@pytest.fixture
def book(tmp_path):
    path = tmp_path / "book.xlsx"
    workbook = openpyxl.Workbook()
    first = workbook.active
    first.title = "Reviews 2026"
    first.append(["text", "label", "n", "price", "day", "at", "length", "seen", None])
    day, at = datetime.date(2026, 1, 2), datetime.datetime(2026, 1, 2, 13, 5)
    first.append(["😀 good", "pos", 1, 3.75, day, at, datetime.timedelta(hours=30), True, "more"])
    first.append([None] * 9)
    first.append([" two\nlines ", "NA", 10**12, 0.5, day, at, datetime.timedelta(0), False])
    other = workbook.create_sheet("v1.2 #3")
    other["B3"], other["C3"], other["B4"], other["C4"] = "text", "label", "x", 1
    workbook.create_sheet("Empty")
    hidden = workbook.create_sheet("Hidden")
    hidden["A1"], hidden.sheet_state = "x", "hidden"
    workbook.save(path)
    return path


def test_cells_are_read_as_people_see_them(book):
    table = read_table(book, "train")
    assert table.rows[0] == {
        "text": "😀 good",
        "label": "pos",
        "n": 1,
        "price": 3.75,
        "day": "2026-01-02",
        "at": "2026-01-02 13:05:00",
        "length": "30:00:00",
        "seen": True,
        "column 9": "more",
    }
    assert table.rows[1]["text"] == " two\nlines " and table.rows[1]["label"] == "NA" and table.rows[1]["n"] == 10**12
    assert type(table.rows[0]["n"]) is int and table.numbers == [2, 4] and not table.rejected
    assert table.notes == [
        f"'{book}' has 2 sheets: 'Reviews 2026' is read, not 'v1.2 #3'; '{book}#NAME' reads another",
    ]


def test_sheet_is_chosen_by_name(book):
    table = read_table(f"{book}#v1.2 #3", "train")
    assert table.rows == [{"text": "x", "label": 1}] and table.numbers == [4] and not table.notes
    assert disk_files(f"{book}#v1.2 #3") == [book]
    assert read_table(f"{book}#Reviews 2026", "train").numbers == [2, 4]


def test_sheets_that_cannot_be_read_are_errors(book):
    names = "'Reviews 2026', 'v1.2 #3', 'Empty', 'Hidden'"
    assert error_line(f"{book}#Tests") == f"66 '{book}' has no sheet 'Tests'; it has {names}"
    assert error_line(f"{book}#Empty") == f"65 '{book}#Empty' is empty"
    assert error_line(f"{book}#Hidden") == f"65 '{book}#Hidden' has a header but no rows"
    book.write_bytes(b"PK\x03\x04 nothing")
    assert error_line(book).startswith(f"65 '{book}' cannot be unpacked: not a workbook, or damaged: ")


def test_workbook_without_cells_or_out_of_proportion(tmp_path, monkeypatch):
    path = tmp_path / "a.xlsx"
    empty = openpyxl.Workbook()
    empty.save(path)
    assert error_line(path) == f"65 '{path}' has no sheet with cells; its sheets are 'Sheet'"
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/more.xml", b" " * (1 << 23))
    monkeypatch.setattr(workbooks, "MIN_BOMB", 1 << 20)
    assert error_line(path).startswith(f"77 '{path}' expands to over 200 times its size")


def test_sheets_of_libreoffice(tmp_path):
    cells = [
        [("string", "", "text"), ("string", "", "label"), ("string", "", "day")],
        [
            ("string", "", "gut"),
            ("float", 'office:value="2"', "2,00"),
            ("date", 'office:date-value="2026-01-02"', "02.01.26"),
        ],
    ]
    shown = ["".join(CELL.format(kind=kind, value=value, text=text) for kind, value, text in row) for row in cells]
    path = tmp_path / "a.ods"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr("META-INF/manifest.xml", MANIFEST)
        archive.writestr("content.xml", ODS.format(rows="".join(f"<table:table-row>{row}</table:table-row>" for row in shown)))
    table = read_table(path, "train")
    assert table.rows == [{"text": "gut", "label": 2, "day": "2026-01-02"}]
    assert "'Blatt 1' is read, not 'Notes'" in table.notes[0]
    assert error_line(f"{path}#Blatt 2") == f"66 '{path}' has no sheet 'Blatt 2'; it has 'Blatt 1', 'Notes'"


def test_missing_package_is_named(book, monkeypatch):
    monkeypatch.setitem(sys.modules, "python_calamine", None)
    assert error_line(book) == (
        f"2 '{book}' is read by the package python-calamine, which is not installed. pip install 'hftool-recipes[tables]'"
    )
