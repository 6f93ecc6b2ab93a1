import pytest

from hftool.evaluation.words import is_foreign, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't stop, U.S. 3.14!", ["don", "t", "stop", "u", "s", "3", "14"]),
        ("Cafe\u0301 caf\u00e9", ["caf\u00e9", "caf\u00e9"]),  # one letter or a letter and its accent
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("iPhone15は高い", ["iphone15", "は", "高", "い"]),
        ("서울 날씨", ["서울", "날씨"]),
        ("𠮷野家", ["𠮷", "野", "家"]),
        (" -- ", []),
    ],
)
def test_words(text, expected):
    assert words(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("Ein schöner Tag", False), ("день", True), ("今天 GPU", False), ("今天的 GPU", False), ("!?", False)],
)
def test_texts_mostly_in_letters_that_rouge_score_drops(text, expected):
    assert is_foreign(text) is expected
