"""The order of test files: the longest first, so that two processes end at about the same time.

By itself pytest-xdist begins with the files that have the most tests; those with few and long ones would end the run alone.
"""

from pathlib import Path

ROOT = Path(__file__).parents[2]
LONGEST = (  # files of more than 15 s, the longest first; the order of all others is that of their names
    "tests/test_readme.py",
)


def longest_first(items):
    """Sort tests in place; those of a file stay together."""
    missing = [name for name in LONGEST if not (ROOT / name).is_file()]
    assert not missing, f"tests/support/ordering.py lists files that are not there: {missing}"
    rank = {name: i for i, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.nodeid.partition("::")[0], len(rank)))
