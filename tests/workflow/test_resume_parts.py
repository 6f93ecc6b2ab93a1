"""Runs on a part of a file, and on two parallel files: recorded from any folder, resumed, and reported once the data change."""

import sqlite3
import zipfile
from contextlib import closing

import pytest

import hftool
from hftool.errors import ConfigError

ROWS = [(f"a film number {i}, {'fine' if i % 2 else 'dull'}", "good" if i % 2 else "bad") for i in range(40)]


def run(task, out, **more):
    config = {"max_steps": 2, "batch_size": 4, "max_length": 16, "patience": 0, **more.pop("config", {})}
    return hftool.finetune("bert-mini", task, config=config, out=out, offline=True, **more)


@pytest.fixture
def films(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = "".join(f'"{text}",{label}\n' for text, label in ROWS)
    with zipfile.ZipFile("films.zip", "w") as archive:
        archive.writestr("train.csv", f"text,label\n{lines}")
        archive.writestr("more.csv", f"text,label\n{lines}")
    with closing(sqlite3.connect("films.db")) as connection, connection:
        connection.execute("CREATE TABLE films (text, label)")
        connection.executemany("INSERT INTO films VALUES (?, ?)", ROWS)
    return tmp_path


@pytest.mark.parametrize("name", ["films.zip#train.csv", "films.db#SELECT text, label FROM films WHERE text <> 'a//b'"])
def test_part_of_a_file_is_recorded_and_resumed_from_another_folder(films, monkeypatch, name):
    first = run(name, "run")
    manifest = first.run.read_manifest()
    assert list(manifest["data"]) == [str(films / name.partition("#")[0])]
    assert manifest["settings"]["task"] == f"{films}/{name}"
    (films / "inside").mkdir()
    monkeypatch.chdir(films / "inside")
    again = run(f"../{name}", "../run", resume=True)
    assert again.metrics == first.metrics
    with pytest.raises(ConfigError, match="task was"):
        run(f"../{name.replace('train.csv', 'more.csv').replace('a//b', 'a/b')}", "../run", resume=True)


def test_changed_file_is_reported(films):
    result = run("films.db", "run")
    with closing(sqlite3.connect("films.db")) as connection, connection:
        connection.execute("UPDATE films SET text = 'another film' WHERE text LIKE '% 4,%'")
    events = []
    hftool.evaluate(result, offline=True, progress=events.append)
    assert [event.text for event in events if f"{films / 'films.db'} has changed since the run" in event.text]


def test_default_name_of_a_run_has_no_query(films):
    result = run("films.db#SELECT text, label FROM films WHERE label <> 'a/b'", None)
    assert result.run.path.name.startswith("bert-mini-films-")
