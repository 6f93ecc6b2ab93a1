import random

import pytest
from seqeval import metrics as theirs

from hftool.data.tag_schemes import scheme_of
from hftool.evaluation.report import error_rows, make_report
from hftool.heads.protocol import Metrics
from hftool.heads.tag.head import spans_of
from hftool.heads.tag.report import entities

METRICS = Metrics(("entity_f1", "precision", "recall", "accuracy"), higher_is_better=True, report="tagging")
TAGS = ("O", "B-LOC", "I-LOC", "B-PER", "I-PER", "B-art-work", "I-art-work")


def answer(tags):
    return {"entities": [], "tags": list(tags), "tokens": [f"w{i}" for i in range(len(tags))]}


def row(tags, labels=TAGS, tokens=None):
    return {"tokens": tokens or [f"w{i}" for i in range(len(tags))], "tags": [labels.index(tag) for tag in tags]}


def report_of(answered, expected, labels=TAGS):
    return make_report([answer(tags) for tags in answered], [row(tags, labels) for tags in expected], METRICS, labels, 0.5)


def drawn(rng, labels, rows=25):
    """Expected tags at random, and answers that follow them two times in three."""
    expected = [[rng.choice(labels) for _ in range(rng.randrange(1, 9))] for _ in range(rows)]
    return [[tag if rng.random() < 0.67 else rng.choice(labels) for tag in tags] for tags in expected], expected


@pytest.mark.parametrize("labels", [TAGS, ("O", "I-X", "I-Y"), ("O", "B-X", "I-X", "E-X", "S-X")])
@pytest.mark.parametrize("seed", range(4))
def test_everything_equals_seqeval(seed, labels):
    answered, expected = drawn(random.Random(seed), labels)
    report = report_of(answered, expected, labels)
    assert report["entity_f1"] == pytest.approx(theirs.f1_score(expected, answered))
    assert report["precision"] == pytest.approx(theirs.precision_score(expected, answered))
    assert report["recall"] == pytest.approx(theirs.recall_score(expected, answered))
    assert report["accuracy"] == pytest.approx(theirs.accuracy_score(expected, answered))
    table = theirs.classification_report(expected, answered, output_dict=True, zero_division=0)
    names = set(table) - {"micro avg", "macro avg", "weighted avg"}
    assert set(report["by_type"]) == names and names
    for name in names:
        assert report["by_type"][name] == {
            "precision": pytest.approx(table[name]["precision"]),
            "recall": pytest.approx(table[name]["recall"]),
            "f1": pytest.approx(table[name]["f1-score"]),
            "entities": table[name]["support"],
        }


def test_the_other_letters_of_the_same_scheme_measure_the_same():
    letters = {"E": "L", "S": "U"}
    iobes = ("O", "B-X", "I-X", "E-X", "S-X")
    answered, expected = drawn(random.Random(7), iobes)

    def renamed(rows):
        return [[letters.get(tag[0], tag[0]) + tag[1:] for tag in tags] for tags in rows]

    assert report_of(renamed(answered), renamed(expected), tuple(renamed([iobes])[0])) == report_of(answered, expected, iobes)


@pytest.mark.parametrize("odd", ["[PAD]", "X", "<START>", "[SEP]", "b-PER", "B_LOC", "0", "o"])
def test_a_label_that_no_other_is_like_changes_no_figure(odd):
    answered, expected = drawn(random.Random(3), TAGS)
    assert report_of(answered, expected, (*TAGS, odd)) == report_of(answered, expected, TAGS)


@pytest.mark.parametrize("way", ["B_{}", "{1}-{0}", "lower", "0 for O", "o for O", "BMES"])
@pytest.mark.parametrize("seed", range(2))
def test_tags_written_otherwise_measure_the_same(seed, way):
    """As seqeval measures the same tags in its own letters."""
    labels = ("O", "B-X", "I-X", "B-Y", "I-Y", *(("E-X", "S-X") if way == "BMES" else ()))
    answered, expected = drawn(random.Random(seed), labels)

    def written(tag):
        if tag == "O":
            return {"0 for O": "0", "o for O": "o", "lower": "o"}.get(way, tag)
        mark, kind = tag.split("-")
        ways = {"B_{}": f"{mark}_{kind}", "{1}-{0}": f"{kind}-{mark}", "lower": tag.lower()}
        return ways.get(way, tag.replace("I-", "M-") if way == "BMES" else tag)

    rows = [[[written(tag) for tag in tags] for tags in side] for side in (answered, expected)]
    report = report_of(*rows, tuple(map(written, labels)))
    assert report["entity_f1"] == pytest.approx(theirs.f1_score(expected, answered))
    assert report["precision"] == pytest.approx(theirs.precision_score(expected, answered))
    assert {name.upper() for name in report["by_type"]} == {"X", "Y"}


def test_plain_marks_are_measured_as_seqeval_does():
    answered, expected = drawn(random.Random(1), ("O", "B", "I"))
    report = report_of(answered, expected, ("O", "B", "I"))
    assert report["entity_f1"] == pytest.approx(theirs.f1_score(expected, answered)) and set(report["by_type"]) == {"_"}


def test_words_outside_written_0_are_no_entity():
    assert report_of([["0", "0"]], [["B-X", "0"]], ("0", "B-X", "I-X"))["entity_f1"] == 0.0
    assert report_of([["0", "B-X"]], [["0", "0"]], ("0", "B-X", "I-X"))["entities"] == 0


def test_a_type_that_is_never_found_is_zero_and_warns_nobody():
    report = report_of([["O", "O"]], [["B-PER", "O"]])
    assert (report["entity_f1"], report["precision"], report["recall"], report["accuracy"]) == (0.0, 0.0, 0.0, 0.5)
    assert report["by_type"] == {"PER": {"precision": 0.0, "recall": 0.0, "f1": 0.0, "entities": 1}}
    assert report_of([["O"]], [["O"]])["by_type"] == {}


def test_an_entity_does_not_go_on_in_the_next_row():
    assert report_of([["O", "B-PER"], ["I-PER"]], [["O", "B-PER"], ["I-PER"]])["entities"] == 2


def test_plain_tags_are_measured_as_they_are_answered_a_run_at_a_time():
    labels = ("NOUN", "VERB", "O")
    expected, answered = [["NOUN", "NOUN", "O", "VERB"]], [["NOUN", "NOUN", "O", "NOUN"]]
    report = report_of(answered, expected, labels)
    assert (report["entity_f1"], report["precision"], report["recall"], report["accuracy"]) == (0.5, 0.5, 0.5, 0.75)
    assert report["by_type"]["NOUN"] == {"precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3), "entities": 1}
    assert entities(expected[0], labels) == spans_of(expected[0], scheme_of(labels)) == [("NOUN", 0, 1), ("VERB", 3, 3)]


def test_a_row_with_another_number_of_tags_is_a_bug_and_not_a_low_score():
    with pytest.raises(AssertionError, match="1 tags answered for 2 words"):
        report_of([["O"]], [["O", "O"]])


def test_rows_with_wrong_tags_come_with_their_entities_the_worst_first():
    tokens = ["Ann", "Lee", "saw", "Rome"]
    expected = ["B-PER", "I-PER", "O", "B-LOC"]
    rows = [row(expected, tokens=tokens) for _ in range(3)]
    answered = [["B-PER", "I-PER", "O", "O"], expected, ["O", "B-PER", "O", "B-PER"]]
    assert error_rows([answer(tags) for tags in answered], rows, [1, 2, 3], METRICS, TAGS) == [
        {
            "row": 3,
            "expected": ["PER: Ann Lee", "LOC: Rome"],
            "answered": ["PER: Lee", "PER: Rome"],
            "text": "Ann Lee saw Rome",
        },
        {"row": 1, "expected": ["PER: Ann Lee", "LOC: Rome"], "answered": ["PER: Ann Lee"], "text": "Ann Lee saw Rome"},
    ]
