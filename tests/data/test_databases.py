"""hftool/data/readers/databases.py, through read_table: tables and queries of SQLite, and of any database by URL."""

import os
import sqlite3
import sys
from contextlib import closing

import pytest

from hftool.data.readers import databases
from hftool.data.readers.tables import disk_files, is_running_text, read_table, stream
from hftool.errors import HftoolError


def error_line(path):
    with pytest.raises(HftoolError) as caught:
        read_table(path, "train")
    return f"{caught.value.code} {caught.value}"


@pytest.fixture
def films(tmp_path):
    path = tmp_path / "films.sqlite"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute('CREATE TABLE "film ""reviews""" (text TEXT, label TEXT, stars REAL)')
        rows = [("fine 😀", "good", 4.0), ("dull", "bad", 1.5), (None, "bad", None)]
        connection.executemany('INSERT INTO "film ""reviews""" VALUES (?, ?, ?)', rows)
    return path


ROWS = [
    {"text": "fine 😀", "label": "good", "stars": 4.0},
    {"text": "dull", "label": "bad", "stars": 1.5},
    {"text": None, "label": "bad", "stars": None},
]


def test_only_table_is_read_without_its_name(films):
    table = read_table(films, "train")
    assert table.rows == ROWS and table.numbers == [1, 2, 3] and table.columns == ("text", "label", "stars")
    assert read_table(f'{films}#film "reviews"', "train").rows == ROWS
    assert read_table(f"sqlite:///{films}", "train").rows == ROWS
    assert disk_files(f"sqlite:///{films}#x") == [films] and not is_running_text(f"sqlite:///{films}")


def test_query_is_read_as_it_stands(films):
    query = 'SELECT text AS t, stars // 1 AS s FROM "film ""reviews""" WHERE text LIKE \'%#%\' OR label = \'bad\' -- http://x'
    table = read_table(f"{films}#{query.replace('//', '/')}", "train")
    assert table.rows == [{"t": "dull", "s": 1.5}, {"t": None, "s": None}]
    both = read_table(f"{films}#with a as (select 'http://x//y' as text) select text from a", "train")
    assert both.rows == [{"text": "http://x//y"}]
    assert next(stream(f"{films}#SELECT 'a' AS text, {'1 + ' * 200}1 AS label", rejected=[])[1]).row["label"] == 201


def test_several_tables_and_wrong_names_are_errors(films):
    with closing(sqlite3.connect(films)) as connection, connection:
        connection.execute('CREATE VIEW good AS SELECT text FROM "film ""reviews""" WHERE label = \'good\'')
    names = "'film \"reviews\"', 'good'"
    assert error_line(films) == (
        f"65 '{films}' has 2 tables: {names}. Name one, such as '{films}#film \"reviews\"', or a query: '{films}#SELECT ...'"
    )
    assert read_table(f"{films}#good", "train").rows == [{"text": "fine 😀"}]
    assert error_line(f"{films}#bad") == (
        f"66 '{films}' has no table 'bad'; it has {names}. A query begins with SELECT or WITH"
    )
    assert error_line(f"{films}#SELECT * FROM good WHERE 0") == f"65 '{films}#SELECT * FROM good WHERE 0' gives no rows"
    assert error_line(f"{films}#SELECT x FROM good").endswith("cannot be read: no such column: x")
    assert "has the column 'text' more than once" in error_line(f"{films}#SELECT text, text FROM good")
    assert error_line(f"{films}#DELETE FROM good").startswith("66 ")


def test_query_cannot_write(films):
    before = films.read_bytes()
    assert "readonly database" in error_line(f'{films}#WITH a AS (SELECT 1) INSERT INTO "film ""reviews""" VALUES (1, 2, 3)')
    assert films.read_bytes() == before


def test_files_that_are_no_database_or_have_no_tables(tmp_path):
    path = tmp_path / "a.db"
    path.write_bytes(b"SQLite format 3\0" + b"x" * 200)
    assert error_line(path).startswith(f"65 '{path}' cannot be read: ")
    path.write_bytes(b"nothing at all")
    assert error_line(path) == f"65 '{path}' cannot be read: file is not a database"
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("VACUUM")
    assert error_line(path) in (f"65 '{path}' has no tables", f"65 '{path}' is empty")
    assert error_line(tmp_path / "b.db#films") == f"66 there is no file '{tmp_path / 'b.db'}'"


def test_rows_are_streamed(films, monkeypatch):
    monkeypatch.setattr(databases, "BATCH", 2)
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 5) SELECT i FROM n"
    assert [record.row["i"] for record in stream(f"{films}#{numbers}", rejected=[])[1]] == [1, 2, 3, 4, 5]


# ---- by URL


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    assert error_line("postgresql://ann@host/films") == (
        "2 'postgresql://host/films' is read by the package SQLAlchemy, which is not installed. "
        "pip install 'hftool-recipes[tables]'"
    )


def test_database_by_url_is_read_by_sqlalchemy(films):
    pytest.importorskip("sqlalchemy", reason="the extra [tables] is not installed")
    url = f"sqlite+pysqlite:///{films}"
    assert read_table(url, "train").rows == ROWS and disk_files(url) == []
    query = "SELECT text FROM \"film \"\"reviews\"\"\" WHERE text LIKE 'du%' AND ':x' = ':x' AND '%s' = '%s'"
    assert read_table(f"{url}#{query}", "train").rows == [{"text": "dull"}]
    assert error_line(f"{url}#bad") == (
        f"66 '{url}' has no table 'bad'; it has 'film \"reviews\"'. A query begins with SELECT or WITH"
    )
    assert error_line(f"{url}#SELECT x") == f"65 '{url}#SELECT x' cannot be read: no such column: x"
    assert error_line(f"{url}#SELECT 1 AS a WHERE 0") == f"65 '{url}#SELECT 1 AS a WHERE 0' gives no rows"


def test_urls_that_cannot_be_used_are_errors(monkeypatch):
    pytest.importorskip("sqlalchemy", reason="the extra [tables] is not installed")
    assert error_line("postgresql://ann:secret@host/films") == (
        "2 'postgresql://host/films' has a password in it, which a run would record. "
        "Leave it out and set HFTOOL_DATABASE_PASSWORD, or what the driver reads"
    )
    assert "needs the package" in error_line("postgresql+pg8000://ann@host/films")
    assert error_line("films://host/x").startswith("2 'films://host/x' is no URL of a database: ")
    monkeypatch.setitem(os.environ, "HF_HUB_OFFLINE", "1")
    assert error_line("postgresql+pg8000://ann@host/films").startswith("77 'postgresql+pg8000://host/films' is on the network")
