"""The order in which the suite runs its files."""

from types import SimpleNamespace

from support.ordering import LONGEST, longest_first, missing_files


def test_listed_files_exist():
    assert missing_files() == []


def test_check_reports_missing_files():
    assert missing_files(("tests/conftest.py", "tests/test_none.py")) == ["tests/test_none.py"]


def test_listed_files_come_first_in_the_order_of_the_list():
    names = ["tests/a.py::x", f"{LONGEST[1]}::one", "tests/a.py::y", f"{LONGEST[0]}::b", f"{LONGEST[0]}::a"]
    items = [SimpleNamespace(nodeid=name) for name in names]
    longest_first(items)
    assert [item.nodeid for item in items] == [names[3], names[4], names[1], names[0], names[2]]
