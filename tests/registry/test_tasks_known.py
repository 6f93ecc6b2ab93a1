"""Tasks by name: whole rows, the nearest name, bundled data that is there."""

import re
from pathlib import Path

import pytest

import hftool
from hftool.errors import UsageError
from hftool.registry.tasks import TASKS, find_task, get_task

DATA = Path(hftool.__file__).parent / "assets" / "data"


@pytest.mark.parametrize("row", TASKS, ids=lambda row: row.name)
def test_rows_are_whole(row):
    assert bool(row.repo) != bool(row.bundled)
    assert not row.repo or re.fullmatch(r"[0-9a-f]{40}", row.revision)
    assert not row.bundled or (DATA / row.bundled).is_dir()
    assert {"text", "label"} <= set(dict(row.columns))
    if row.stand_in:
        other = get_task(row.stand_in)
        assert other.bundled and other.head == row.head and dict(other.labels).values() and other.labels == row.labels


def test_names_are_found_or_the_nearest_is_named():
    assert find_task("sst2") is get_task("sst2") and find_task("nope") is None
    with pytest.raises(UsageError, match=r"^unknown task 'sst3'. Did you mean 'sst2'\?$"):
        get_task("sst3")
    with pytest.raises(UsageError, match=r"a Hub data set is owner/name, a file needs its ending \(.csv "):
        get_task("reviews")
