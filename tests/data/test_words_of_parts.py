"""Words of a text are those of its parts between spaces, whatever stands beside a space."""

import random

import pytest

from hftool.data.word_splitting import _pattern, word_offsets

ITEMS = [
    "cat",
    "it's",
    "'s",
    "’S",
    "n't",
    "1,000.5",
    "...",
    "U.S.",
    "@eve",
    "#tag",
    "http://a.b/c?d",
    "ß",
    "好",
    "タ",
    "ー",
    "ไทย",
    "ខ្មែរ",
    "😀",
    "👨\u200d👩",
    "🇩🇪",
    "हिन्दी",
    "-",
    "‐",
    "'",
    "́",
    "\ufeff",
]


@pytest.mark.parametrize("units", [True, False])
def test_offsets_are_those_of_the_whole_text(units):
    rng = random.Random(0)
    for _ in range(2000):
        gaps = rng.choices([" ", "  ", "", "\t", "\xa0", "\u3000"], [4, 1, 2, 1, 1, 1], k=8)
        text = "".join(gap + rng.choice(ITEMS) for gap in gaps) + rng.choice(["", " ", "x" * 40])
        assert word_offsets(text, units=units) == [found.span() for found in _pattern(units).finditer(text)]
