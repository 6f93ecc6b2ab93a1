"""The report on tags: F1 of entities and accuracy of words.

Entities are those of seqeval 1.2.2 in its default mode, that of conlleval: B-X begins one, I-X continues it or begins one where
none of its type is open, E-X ends one, S-X is a single word. Tags of other schemes are first converted to these prefixes; see
hftool.data.tag_schemes. Where tags are types alone, such as NOUN, a run of equal tags is an entity.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from hftool.data.readers.tables import Rows
from hftool.data.tag_schemes import OUTSIDE, scheme_of
from hftool.heads.label_metrics import harmonic, share
from hftool.heads.protocol import Answers, Metrics

Entity = tuple[str, int, int]  # type, first word, last word


def report(answers: Answers, rows: Rows, metrics: Metrics, labels: Sequence[str], loss: float) -> dict[str, Any]:
    """F1, precision and recall over all entities and by type, and accuracy over all words, 0 to 1.

    An entity is correct when its type, its first and its last word are.
    """
    pairs = _pairs(answers, rows, labels)
    expected = {(i, *entity) for i, (truth, _) in enumerate(pairs) for entity in entities(truth, labels)}
    answered = {(i, *entity) for i, (_, given) in enumerate(pairs) for entity in entities(given, labels)}
    right = sum(a == b for truth, given in pairs for a, b in zip(truth, given, strict=True))
    f1, precision, recall = _rates(expected, answered)
    accuracy = share(right, sum(len(truth) for truth, _ in pairs))
    measured = {"entity_f1": f1, "precision": precision, "recall": recall, "accuracy": accuracy}
    by_type = {}
    for name in sorted({entity[1] for entity in expected | answered}):
        of_type = [{entity for entity in side if entity[1] == name} for side in (expected, answered)]
        f1, precision, recall = _rates(*of_type)
        by_type[name] = {"precision": precision, "recall": recall, "f1": f1, "entities": len(of_type[0])}
    return {**{name: measured[name] for name in metrics.names}, **measured, "entities": len(expected), "by_type": by_type}


def error_rows(answers: Answers, rows: Rows, numbers: Sequence[int], labels: Sequence[str]) -> list[dict[str, Any]]:
    """The rows with wrong tags, those with the most wrong words first."""
    wrong: list[tuple[int, dict[str, Any]]] = []
    for (truth, given), row, number in zip(_pairs(answers, rows, labels), rows, numbers, strict=True):
        count = sum(a != b for a, b in zip(truth, given, strict=True))
        if count:
            expected, answered = (_named(entities(tags, labels), row["tokens"]) for tags in (truth, given))
            error = {"row": number, "expected": expected, "answered": answered, "text": " ".join(row["tokens"])}
            wrong.append((count, error))
    return [error for _, error in sorted(wrong, key=lambda pair: -pair[0])]


def predictions_and_references(answers: Answers, rows: Rows, labels: Sequence[str]) -> tuple[list[Any], list[Any]]:
    """The tags of words, for a module of `evaluate` such as seqeval."""
    return [list(answer["tags"]) for answer in answers], [[labels[tag] for tag in row["tags"]] for row in rows]


def entities(tags: Sequence[str], labels: Sequence[str]) -> list[Entity]:
    """The entities of a row; `labels` are all tags, which decide the scheme."""
    from seqeval.metrics.sequence_labeling import get_entities

    scheme = scheme_of(tuple(labels))
    readings = [scheme.read(tag) for tag in tags]
    found: list[Entity] = get_entities([OUTSIDE if mark == OUTSIDE else f"{mark}-{kind}" for mark, kind in readings])
    return found


def _pairs(answers: Answers, rows: Rows, labels: Sequence[str]) -> list[tuple[list[str], list[str]]]:
    """Expected and answered tags of each row."""
    pairs = []
    for answer, row in zip(answers, rows, strict=True):
        truth, given = [labels[tag] for tag in row["tags"]], list(answer["tags"])
        assert len(truth) == len(given), f"{len(given)} tags answered for {len(truth)} words"
        pairs.append((truth, given))
    return pairs


def _rates(expected: set[Any], answered: set[Any]) -> tuple[float, float, float]:
    """F1, precision, recall."""
    right = len(expected & answered)
    precision, recall = share(right, len(answered)), share(right, len(expected))
    return harmonic(precision, recall), precision, recall


def _named(found: Iterable[Entity], tokens: Sequence[str]) -> list[str]:
    return [f"{kind}: {' '.join(tokens[first : last + 1])}" for kind, first, last in found]
