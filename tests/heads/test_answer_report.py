import random

import pytest
from torchmetrics.functional.text import squad

from hftool.evaluation.report import error_rows, make_report
from hftool.heads.protocol import Metrics

METRICS = Metrics(("f1", "exact_match"), higher_is_better=True, report="answers")
PIECES = [
    "the",
    "A",
    "an",
    "cat",
    "Cat's",
    "(cat)",
    "U.S.",
    "us",
    "1,000",
    "1000",
    "état",
    "the-cat",
    "then",
    "--",
    "dog",
    "dog",
]


def answer(text):
    return {"answer": text, "start": 0, "end": len(text), "probability": 0.5, "candidates": []}


def row(*texts, question="Which one is it?"):
    return {"question": question, "context": "c", "answers": {"text": list(texts), "answer_start": [0] * len(texts)}}


def report_of(answered, rows):
    return make_report([answer(text) for text in answered], rows, METRICS, (), 0.5)


def drawn(rng):
    return " ".join(rng.choice(PIECES) for _ in range(rng.randrange(1, 5))) + rng.choice(["", ".", "  ", "!"])


@pytest.mark.parametrize("seed", range(5))
def test_words_are_compared_as_squad_does(seed):
    rng = random.Random(seed)
    answered = [drawn(rng) for _ in range(40)]
    # "dog" keeps an expected answer from being all articles, where the evaluations of SQuAD 1.1 and 2.0 part
    rows = [row(*(drawn(rng) + " dog" for _ in range(rng.randrange(1, 4)))) for _ in answered]
    theirs = squad(
        [{"prediction_text": text, "id": str(i)} for i, text in enumerate(answered)],
        [{"answers": one["answers"], "id": str(i)} for i, one in enumerate(rows)],
    )
    report = report_of(answered, rows)
    assert report["exact_match"] == pytest.approx(float(theirs["exact_match"]) / 100, abs=1e-6)
    assert report["f1"] == pytest.approx(float(theirs["f1"]) / 100, abs=1e-6)
    assert 0 < report["f1"] < 1 and report["rows"] == 40
    assert "by_character" not in report and "answerable" not in report


@pytest.mark.parametrize(
    ("given", "expected", "exact", "f1"),
    [
        ("The Cat!", ["a cat"], 1, 1),
        ("black cat", ["the cat", "a big black cat"], 0, 0.8),  # the better one: 2 of 2 and 2 of 3
        ("cat cat", ["cat"], 0, 2 / 3),  # a word counts as often as it is expected
        ("Theatre", ["atre"], 0, 0),
        ("", ["cat"], 0, 0),
        ("the", ["the", "cat"], 0, 0),  # an answer of nothing but articles is none
        ("", ["the"], 1, 1),
    ],
)
def test_words_by_hand(given, expected, exact, f1):
    report = report_of([given], [row(*expected)])
    assert (report["exact_match"], report["f1"]) == (exact, pytest.approx(f1))


def test_a_question_without_an_answer_is_right_when_nothing_is_answered():
    report = report_of(["", "cat", "cat", "dog"], [row(), row(), row("cat"), row("a cat")])
    assert (report["exact_match"], report["f1"]) == (0.5, 0.5)
    assert report["unanswerable"] == {"rows": 2, "exact_match": 0.5, "f1": 0.5}
    assert report["answerable"] == {"rows": 2, "exact_match": 0.5, "f1": 0.5}
    assert "answerable" not in report_of(["cat"], [row()])


@pytest.mark.parametrize(
    ("given", "expected", "exact", "f1"),
    [
        ("《红楼梦》。", ["红楼梦"], 1, 1),
        ("北京市", ["北京"], 0, 0.8),  # 2 of 3 and 2 of 2
        ("北大京", ["北京"], 0, 0.4),  # the longest run that both have is one character: 1 of 3 and 1 of 2
        ("北京大", ["北大京"], 0, 1 / 3),
        (" 北京 ", ["北京"], 1, 1),
        ("1998", ["1998年", "九八年"], 0, 2 / 3),  # a number is one token
        ("IBM公司", ["ibm 公司"], 0, 1),  # CMRC keeps the space in exact match only
        ("PC-AT电脑", ["pcat"], 0, 0.5),  # and drops a hyphen before it splits: 1 of 3 and 1 of 1
        ("上海", ["北京"], 0, 0),
        ("", ["北京"], 0, 0),
        ("", [], 1, 1),
        ("北京", [], 0, 0),
        ("東京です", ["東京"], 0, 2 / 3),
        ("서울시", ["서울"], 0, 0.8),
    ],
)
def test_characters_by_hand(given, expected, exact, f1):
    report = report_of([given], [row(*expected, question="这是什么地方？")])
    assert (report["exact_match"], report["f1"]) == (exact, pytest.approx(f1))
    assert report["by_character"] == 1


@pytest.mark.parametrize(
    ("given", "expected", "exact", "f1"),
    [
        ("กรุงเทพมหานคร", ["กรุงเทพ"], 0, 2 / 3),  # ก รุ ง เ ท พ: 6 of 12 and 6 of 6
        ("กรุงเทพ", ["กรุงเทพ"], 1, 1),
        ("ปี 2567", ["2567"], 0, 2 / 3),
        ("iPhone 15", ["iPhone 15"], 1, 1),
        ("ວຽງຈັນ", ["ນະຄອນວຽງຈັນ"], 0, None),
        ("ភ្នំពេញ។", ["ភ្នំពេញ"], 1, 1),
        ("ရန်ကုန်မြို့", ["ရန်ကုန်"], 0, None),
        ("ลาว", ["ภูเก็ต"], 0, 0),
    ],
)
def test_units_by_hand(given, expected, exact, f1):
    report = report_of([given], [row(*expected, question="เมืองหลวงของไทยคืออะไร")])
    assert report["exact_match"] == exact and report["by_character"] == 1
    assert report["f1"] == pytest.approx(f1) if f1 is not None else 0.6 < report["f1"] < 1


def test_it_is_decided_row_by_row_what_a_word_is():
    rows = [
        row("Peking", question="Where?"),
        row("IBM", question="哪个公司？"),
        row("Yuán Cháo", "元朝", question="Which dynasty?"),
    ]
    # by words "IBM公司" would be one word that is not IBM; by characters half of "the Peking" would be missed
    report = report_of(["the Peking", "IBM公司", "Yuán"], rows)
    assert report["by_character"] == 1
    assert report["f1"] == pytest.approx((1 + 0.5 + 2 / 3) / 3)
    assert report["exact_match"] == pytest.approx(1 / 3)


def test_missed_answers_come_lowest_f1_first():
    rows = [row("red cat", "red cat", question="q1"), row("cat", question="q2"), row("dog", question="q3"), row(question="q4")]
    wrong = error_rows([answer(text) for text in ("cat", "the cat", "cat", "cat")], rows, [5, 6, 7, 8], METRICS, ())
    assert wrong == [
        {"row": 7, "question": "q3", "expected": ["dog"], "answered": "cat", "f1": 0.0},
        {"row": 8, "question": "q4", "expected": [], "answered": "cat", "f1": 0.0},
        {"row": 5, "question": "q1", "expected": ["red cat"], "answered": "cat", "f1": pytest.approx(2 / 3)},
    ]
