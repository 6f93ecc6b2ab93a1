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


def report_of(predicted, rows):
    return make_report([answer(text) for text in predicted], rows, METRICS, (), 0.5)


def random_words(rng):
    return " ".join(rng.choice(PIECES) for _ in range(rng.randrange(1, 5))) + rng.choice(["", ".", "  ", "!"])


@pytest.mark.parametrize("seed", range(5))
def test_word_scores_equal_the_squad_metric(seed):
    rng = random.Random(seed)
    predicted = [random_words(rng) for _ in range(40)]
    # "dog" avoids expected answers of articles only, where the metrics of SQuAD 1.1 and 2.0 differ
    rows = [row(*(random_words(rng) + " dog" for _ in range(rng.randrange(1, 4)))) for _ in predicted]
    reference = squad(
        [{"prediction_text": text, "id": str(i)} for i, text in enumerate(predicted)],
        [{"answers": one["answers"], "id": str(i)} for i, one in enumerate(rows)],
    )
    report = report_of(predicted, rows)
    assert report["exact_match"] == pytest.approx(float(reference["exact_match"]) / 100, abs=1e-6)
    assert report["f1"] == pytest.approx(float(reference["f1"]) / 100, abs=1e-6)
    assert 0 < report["f1"] < 1 and report["rows"] == 40
    assert "by_character" not in report and "answerable" not in report


@pytest.mark.parametrize(
    ("given", "expected", "exact", "f1"),
    [
        ("The Cat!", ["a cat"], 1, 1),
        ("black cat", ["the cat", "a big black cat"], 0, 0.8),  # the best reference counts: precision 2/2, recall 2/3
        ("cat cat", ["cat"], 0, 2 / 3),  # a repeated word counts as often as it is expected
        ("Theatre", ["atre"], 0, 0),
        ("", ["cat"], 0, 0),
        ("the", ["the", "cat"], 0, 0),  # an answer of articles only is empty
        ("", ["the"], 1, 1),
    ],
)
def test_word_scores_of_examples(given, expected, exact, f1):
    report = report_of([given], [row(*expected)])
    assert (report["exact_match"], report["f1"]) == (exact, pytest.approx(f1))


def test_unanswerable_question_is_correct_with_an_empty_answer():
    report = report_of(["", "cat", "cat", "dog"], [row(), row(), row("cat"), row("a cat")])
    assert (report["exact_match"], report["f1"]) == (0.5, 0.5)
    assert report["unanswerable"] == {"rows": 2, "exact_match": 0.5, "f1": 0.5}
    assert report["answerable"] == {"rows": 2, "exact_match": 0.5, "f1": 0.5}
    assert "answerable" not in report_of(["cat"], [row()])


@pytest.mark.parametrize(
    ("given", "expected", "exact", "f1"),
    [
        ("《红楼梦》。", ["红楼梦"], 1, 1),
        ("北京市", ["北京"], 0, 0.8),  # precision 2/3, recall 2/2
        ("北大京", ["北京"], 0, 0.4),  # the longest common substring is one character: 1/3 and 1/2
        ("北京大", ["北大京"], 0, 1 / 3),
        (" 北京 ", ["北京"], 1, 1),
        ("1998", ["1998年", "九八年"], 0, 2 / 3),  # a number is one token
        ("IBM公司", ["ibm 公司"], 0, 1),  # CMRC keeps the space for exact match only
        ("PC-AT电脑", ["pcat"], 0, 0.5),  # and removes hyphens before splitting: 1/3 and 1/1
        ("上海", ["北京"], 0, 0),
        ("", ["北京"], 0, 0),
        ("", [], 1, 1),
        ("北京", [], 0, 0),
        ("東京です", ["東京"], 0, 2 / 3),
        ("서울시", ["서울"], 0, 0.8),
    ],
)
def test_character_scores_of_examples(given, expected, exact, f1):
    report = report_of([given], [row(*expected, question="这是什么地方？")])
    assert (report["exact_match"], report["f1"]) == (exact, pytest.approx(f1))
    assert report["by_character"] == 1


@pytest.mark.parametrize(
    ("given", "expected", "exact", "f1"),
    [
        ("กรุงเทพมหานคร", ["กรุงเทพ"], 0, 2 / 3),  # ก รุ ง เ ท พ: 6/12 and 6/6
        ("กรุงเทพ", ["กรุงเทพ"], 1, 1),
        ("ปี 2567", ["2567"], 0, 2 / 3),
        ("iPhone 15", ["iPhone 15"], 1, 1),
        ("ວຽງຈັນ", ["ນະຄອນວຽງຈັນ"], 0, None),
        ("ភ្នំពេញ។", ["ភ្នំពេញ"], 1, 1),
        ("ရန်ကုန်မြို့", ["ရန်ကုန်"], 0, None),
        ("ลาว", ["ภูเก็ต"], 0, 0),
    ],
)
def test_grapheme_scores_of_examples(given, expected, exact, f1):
    report = report_of([given], [row(*expected, question="เมืองหลวงของไทยคืออะไร")])
    assert report["exact_match"] == exact and report["by_character"] == 1
    assert report["f1"] == pytest.approx(f1) if f1 is not None else 0.6 < report["f1"] < 1


def test_word_segmentation_is_chosen_per_row():
    rows = [
        row("Peking", question="Where?"),
        row("IBM", question="哪个公司？"),
        row("Yuán Cháo", "元朝", question="Which dynasty?"),
    ]
    # as words, "IBM公司" would not match IBM; as characters, half of "the Peking" would be missed
    report = report_of(["the Peking", "IBM公司", "Yuán"], rows)
    assert report["by_character"] == 1
    assert report["f1"] == pytest.approx((1 + 0.5 + 2 / 3) / 3)
    assert report["exact_match"] == pytest.approx(1 / 3)


def test_wrong_answers_are_sorted_by_f1():
    rows = [row("red cat", "red cat", question="q1"), row("cat", question="q2"), row("dog", question="q3"), row(question="q4")]
    wrong = error_rows([answer(text) for text in ("cat", "the cat", "cat", "cat")], rows, [5, 6, 7, 8], METRICS, ())
    assert wrong == [
        {"row": 7, "question": "q3", "expected": ["dog"], "answered": "cat", "f1": 0.0},
        {"row": 8, "question": "q4", "expected": [], "answered": "cat", "f1": 0.0},
        {"row": 5, "question": "q1", "expected": ["red cat"], "answered": "cat", "f1": pytest.approx(2 / 3)},
    ]
