"""Tables and queries of SQLite files, by the standard library, and of databases by URL, by SQLAlchemy, to rows; read only."""

import os
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

from hftool.data.readers.containers import split_part
from hftool.errors import DataError, InputMissing, Refused, UsageError, brief, listing, without_credentials

URL = re.compile(r"(?!(https?|ftp|file|s3|gs|hf):)[a-z][a-z0-9]*(\+[a-z0-9_]+)?://", re.IGNORECASE)
QUERY = re.compile(r"\s*(select|with|values)\b", re.IGNORECASE)
SQLITE_URL = "sqlite:///"
BATCH = 4096  # rows in memory
INSTALL = "pip install 'hftool-recipes[tables]'"
PASSWORD = "HFTOOL_DATABASE_PASSWORD"  # noqa: S105 - the name of a variable
Rows = Iterator[dict[str, Any]]


def is_database_url(name: str) -> bool:
    """Whether a name is the URL of a database, such as postgresql://ann@host/films#reviews."""
    return URL.match(name) is not None


def without_sqlite_url(name: str) -> str:
    """The path, with what is after #, of the URL of an SQLite file; any other name unchanged."""
    return name[len(SQLITE_URL) :] if name.lower().startswith(SQLITE_URL) else name


def read_sqlite(name: str) -> tuple[tuple[str, ...], Rows]:
    """Read the table or the query after #, else the only table, of an SQLite file -> columns and lazy rows.

    Raises:
        InputMissing: There is no such table.
        DataError: There are several tables, the file is damaged, the query is wrong, or gives no rows.
    """
    file, part = split_part(name)
    try:
        connection = sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)
    except sqlite3.Error as error:
        raise _unreadable(str(file), error) from None
    try:
        kinds = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%' ORDER BY name"
        names = [name for (name,) in connection.execute(kinds)]
        cursor = connection.execute(_query(str(file), part, names, _quoted))
        rows = _rows(_columns(name, [column[0] for column in cursor.description or ()]), cursor, name, sqlite3.Error)
        return next(rows), _closed_after(rows, connection)
    except sqlite3.Error as error:
        connection.close()
        raise _unreadable(name, error) from None
    except BaseException:
        connection.close()
        raise


def _closed_after(rows: Iterator[Any], connection: Any) -> Rows:
    with closing(connection):
        yield from rows


def _rows(columns: tuple[str, ...], cursor: Any, name: str, fault: type[Exception]) -> Iterator[Any]:
    """Yield the columns, then each row. Raises DataError if there are none."""
    yield columns
    count = 0
    try:
        while block := cursor.fetchmany(BATCH):
            count += len(block)
            yield from (dict(zip(columns, row, strict=True)) for row in block)
    except fault as error:
        raise _unreadable(name, error) from None
    if not count:
        raise DataError(f"'{name}' gives no rows")


def _columns(name: str, columns: Sequence[str]) -> tuple[str, ...]:
    """The columns of a query. Raises DataError for a repeated name, or a statement without rows."""
    twice = next((column for column in columns if list(columns).count(column) > 1), None)
    if twice is not None:
        raise DataError(f"'{name}' has the column '{twice}' more than once", "Name one with AS in the query")
    return tuple(columns)


def _query(file: str, part: str, names: Sequence[str], quote: Any) -> str:
    """The query that a part stands for: itself, or all rows of a table."""
    if QUERY.match(part):
        return part
    if part and part not in names:
        raise InputMissing(f"'{file}' has no table '{part}'; it has {listing(names)}", "A query begins with SELECT or WITH")
    if not names:
        raise DataError(f"'{file}' has no tables")
    if not part and len(names) > 1:
        what = f"'{file}' has {len(names)} tables: {listing(names)}"
        raise DataError(what, f"Name one, such as '{file}#{names[0]}', or a query: '{file}#SELECT ...'")
    return f"SELECT * FROM {quote(part or names[0])}"  # noqa: S608 - one of its tables, quoted


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _unreadable(name: str, error: Exception) -> DataError:
    why = brief(getattr(error, "orig", None) or error, 200)
    return DataError(f"'{name}' cannot be read: {why}")


def read_database(name: str) -> tuple[tuple[str, ...], Rows]:
    """Read the table or the query after the # of the URL of a database, in a transaction that is rolled back.

    A password comes from the variable HFTOOL_DATABASE_PASSWORD, or from where the driver finds it: a run records its URL.

    Raises:
        UsageError: SQLAlchemy or the driver is not installed, the URL is wrong, or has a password in it.
        Refused: No socket may be opened.
        InputMissing, DataError: As `read_sqlite`.
    """
    url, _, part = name.partition("#")
    try:
        import sqlalchemy
        from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
    except ImportError:
        what = f"'{without_credentials(url)}' is read by the package SQLAlchemy, which is not installed"
        raise UsageError(what, INSTALL) from None
    try:
        address = sqlalchemy.make_url(url)
        if address.password is not None:
            what = f"'{without_credentials(url)}' has a password in it, which a run would record"
            raise UsageError(what, f"Leave it out and set {PASSWORD}, or what the driver reads")
        if os.environ.get("HF_HUB_OFFLINE") == "1" and address.host is not None:
            raise Refused(f"'{without_credentials(url)}' is on the network, and --offline opens no socket", "Leave it out")
        engine = sqlalchemy.create_engine(address.set(password=os.environ.get(PASSWORD)) if address.host else address)
    except ModuleNotFoundError as error:
        driver = f"'{without_credentials(url)}' needs the package {error.name}, which is not installed"
        raise UsageError(driver, f"pip install {error.name}, or name another driver: postgresql+psycopg://") from None
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        raise UsageError(f"'{without_credentials(url)}' is no URL of a database: {brief(error, 120)}") from None
    try:
        return _executed(engine, url, part, SQLAlchemyError)
    except SQLAlchemyError as error:
        raise _unreadable(name, error) from None


def _executed(engine: Any, url: str, part: str, fault: type[Exception]) -> tuple[tuple[str, ...], Rows]:
    import sqlalchemy

    connection = engine.connect()
    try:
        found = sqlalchemy.inspect(connection)
        names = [] if QUERY.match(part) else sorted([*found.get_table_names(), *found.get_view_names()])
        query = _query(url, part, names, engine.dialect.identifier_preparer.quote)
        result = connection.execution_options(stream_results=True, no_parameters=True).exec_driver_sql(query)
        rows = _rows(_columns(url, list(result.keys())), result, f"{url}#{part}" if part else url, fault)
        return next(rows), _closed_after(rows, connection)
    except BaseException:
        connection.close()
        raise
