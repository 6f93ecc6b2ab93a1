import random

import pytest
from seqeval import metrics as seqeval_metrics

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


def report_of(predicted, expected, labels=TAGS):
    return make_report([answer(tags) for tags in predicted], [row(tags, labels) for tags in expected], METRICS, labels, 0.5)


def random_tags(rng, labels, rows=25):
    """Random expected tags, and predictions that are correct with probability 2/3."""
    expected = [[rng.choice(labels) for _ in range(rng.randrange(1, 9))] for _ in range(rows)]
    return [[tag if rng.random() < 0.67 else rng.choice(labels) for tag in tags] for tags in expected], expected


@pytest.mark.parametrize("labels", [TAGS, ("O", "I-X", "I-Y"), ("O", "B-X", "I-X", "E-X", "S-X")])
@pytest.mark.parametrize("seed", range(4))
def test_report_equals_seqeval(seed, labels):
    predicted, expected = random_tags(random.Random(seed), labels)
    report = report_of(predicted, expected, labels)
    assert report["entity_f1"] == pytest.approx(seqeval_metrics.f1_score(expected, predicted))
    assert report["precision"] == pytest.approx(seqeval_metrics.precision_score(expected, predicted))
    assert report["recall"] == pytest.approx(seqeval_metrics.recall_score(expected, predicted))
    assert report["accuracy"] == pytest.approx(seqeval_metrics.accuracy_score(expected, predicted))
    table = seqeval_metrics.classification_report(expected, predicted, output_dict=True, zero_division=0)
    names = set(table) - {"micro avg", "macro avg", "weighted avg"}
    assert set(report["by_type"]) == names and names
    for name in names:
        assert report["by_type"][name] == {
            "precision": pytest.approx(table[name]["precision"]),
            "recall": pytest.approx(table[name]["recall"]),
            "f1": pytest.approx(table[name]["f1-score"]),
            "entities": table[name]["support"],
        }


def test_bilou_and_iobes_have_equal_scores():
    letters = {"E": "L", "S": "U"}
    iobes = ("O", "B-X", "I-X", "E-X", "S-X")
    predicted, expected = random_tags(random.Random(7), iobes)

    def renamed(rows):
        return [[letters.get(tag[0], tag[0]) + tag[1:] for tag in tags] for tags in rows]

    assert report_of(renamed(predicted), renamed(expected), tuple(renamed([iobes])[0])) == report_of(predicted, expected, iobes)


@pytest.mark.parametrize("unusual", ["[PAD]", "X", "<START>", "[SEP]", "b-PER", "B_LOC", "0", "o"])
def test_one_unusual_label_does_not_change_the_scores(unusual):
    predicted, expected = random_tags(random.Random(3), TAGS)
    assert report_of(predicted, expected, (*TAGS, unusual)) == report_of(predicted, expected, TAGS)


@pytest.mark.parametrize("notation", ["B_{}", "{1}-{0}", "lower", "0 for O", "o for O", "BMES"])
@pytest.mark.parametrize("seed", range(2))
def test_other_notations_have_equal_scores(seed, notation):
    """The scores equal those of seqeval on the same tags in its notation."""
    labels = ("O", "B-X", "I-X", "B-Y", "I-Y", *(("E-X", "S-X") if notation == "BMES" else ()))
    predicted, expected = random_tags(random.Random(seed), labels)

    def rewritten(tag):
        if tag == "O":
            return {"0 for O": "0", "o for O": "o", "lower": "o"}.get(notation, tag)
        prefix, kind = tag.split("-")
        forms = {"B_{}": f"{prefix}_{kind}", "{1}-{0}": f"{kind}-{prefix}", "lower": tag.lower()}
        return forms.get(notation, tag.replace("I-", "M-") if notation == "BMES" else tag)

    rows = [[[rewritten(tag) for tag in tags] for tags in side] for side in (predicted, expected)]
    report = report_of(*rows, tuple(map(rewritten, labels)))
    assert report["entity_f1"] == pytest.approx(seqeval_metrics.f1_score(expected, predicted))
    assert report["precision"] == pytest.approx(seqeval_metrics.precision_score(expected, predicted))
    assert {name.upper() for name in report["by_type"]} == {"X", "Y"}


def test_prefixes_without_types_equal_seqeval():
    predicted, expected = random_tags(random.Random(1), ("O", "B", "I"))
    report = report_of(predicted, expected, ("O", "B", "I"))
    assert report["entity_f1"] == pytest.approx(seqeval_metrics.f1_score(expected, predicted)) and set(report["by_type"]) == {
        "_"
    }


def test_zero_as_outside_tag_is_not_an_entity():
    assert report_of([["0", "0"]], [["B-X", "0"]], ("0", "B-X", "I-X"))["entity_f1"] == 0.0
    assert report_of([["0", "B-X"]], [["0", "0"]], ("0", "B-X", "I-X"))["entities"] == 0


def test_type_never_predicted_is_zero_without_a_warning():
    report = report_of([["O", "O"]], [["B-PER", "O"]])
    assert (report["entity_f1"], report["precision"], report["recall"], report["accuracy"]) == (0.0, 0.0, 0.0, 0.5)
    assert report["by_type"] == {"PER": {"precision": 0.0, "recall": 0.0, "f1": 0.0, "entities": 1}}
    assert report_of([["O"]], [["O"]])["by_type"] == {}


def test_entities_end_with_their_row():
    assert report_of([["O", "B-PER"], ["I-PER"]], [["O", "B-PER"], ["I-PER"]])["entities"] == 2


def test_tags_without_prefixes_are_scored_by_runs():
    labels = ("NOUN", "VERB", "O")
    expected, predicted = [["NOUN", "NOUN", "O", "VERB"]], [["NOUN", "NOUN", "O", "NOUN"]]
    report = report_of(predicted, expected, labels)
    assert (report["entity_f1"], report["precision"], report["recall"], report["accuracy"]) == (0.5, 0.5, 0.5, 0.75)
    assert report["by_type"]["NOUN"] == {"precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3), "entities": 1}
    assert entities(expected[0], labels) == spans_of(expected[0], scheme_of(labels)) == [("NOUN", 0, 1), ("VERB", 3, 3)]


def test_wrong_number_of_predicted_tags_is_an_assertion_error():
    with pytest.raises(AssertionError, match="1 tags answered for 2 words"):
        report_of([["O"]], [["O", "O"]])


def test_rows_with_wrong_tags_are_listed_worst_first():
    tokens = ["Ann", "Lee", "saw", "Rome"]
    expected = ["B-PER", "I-PER", "O", "B-LOC"]
    rows = [row(expected, tokens=tokens) for _ in range(3)]
    predicted = [["B-PER", "I-PER", "O", "O"], expected, ["O", "B-PER", "O", "B-PER"]]
    assert error_rows([answer(tags) for tags in predicted], rows, [1, 2, 3], METRICS, TAGS) == [
        {
            "row": 3,
            "expected": ["PER: Ann Lee", "LOC: Rome"],
            "answered": ["PER: Lee", "PER: Rome"],
            "text": "Ann Lee saw Rome",
        },
        {"row": 1, "expected": ["PER: Ann Lee", "LOC: Rome"], "answered": ["PER: Ann Lee"], "text": "Ann Lee saw Rome"},
    ]
