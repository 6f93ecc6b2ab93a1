"""sst2-mini is what its README says: counts, balance, no near duplicate across splits."""

import re
from collections import Counter
from itertools import product

import pytest

from hftool.data.sources import read_table
from hftool.names import ASSETS

FOLDER = ASSETS / "data" / "sst2-mini"
COUNTS = {"train": 1060, "validation": 220, "test": 250}


def words(text):
    return frozenset(re.findall(r"[a-z']+", text.lower()))


@pytest.fixture(scope="module")
def splits():
    return {split: read_table(FOLDER / f"{split}.tsv", split).rows for split in COUNTS}


def test_counts_and_balance(splits):
    for split, rows in splits.items():
        assert Counter(row["label"] for row in rows) == {"0": COUNTS[split] // 2, "1": COUNTS[split] // 2}


def test_no_sentence_stands_twice(splits):
    texts = [" ".join(row["sentence"].lower().split()) for rows in splits.values() for row in rows]
    assert len(set(texts)) == sum(COUNTS.values())


def test_no_near_duplicates_across_splits(splits):
    """Two sentences that share half of their words are near duplicates (Jaccard index of at least 0.5)."""
    held = [words(row["sentence"]) for split in ("validation", "test") for row in splits[split]]
    train = [words(row["sentence"]) for row in splits["train"]]
    near = [(a, b) for a, b in product(train, held) if len(a & b) >= 0.5 * len(a | b)]
    assert near == []


def test_lengths_differ(splits):
    lengths = [len(row["sentence"].split()) for row in splits["train"]]
    assert min(lengths) <= 4
    assert max(lengths) >= 25


def test_readme_says_how_it_was_made(splits):
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert f"{sum(COUNTS.values()):,} English sentences" in text
    assert "no templates" in text
