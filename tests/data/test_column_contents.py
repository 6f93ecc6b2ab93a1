"""hftool/data/column_contents.py: the content type of a column, whatever its name."""

import json

import pytest

from hftool.data.column_contents import Contents, infer_content
from hftool.data.unused_columns import unused_columns, unused_columns_sentence

TEXTS = [f"the {word} film of day {i} was a joy" for i, word in enumerate(["warm", "cold", "dull", "long", "fine", "odd"] * 5)]
SPAN = {"start": 0, "end": 3, "label": "PER"}


@pytest.mark.parametrize(
    ("kind", "cells"),
    [
        ("empty", [None, "", "  ", float("nan"), []]),
        ("constant", ["accept"] * 9),
        ("constant", [1.0, "1", 1] * 3),
        ("text", TEXTS),
        ("text", ["酒店的房间很大而且早餐也不错下次还会住", "商务大床房房间很大床有两米宽整体感觉经济"]),
        ("text", ["โรงแรมนี้สะอาดและพนักงานบริการดีมากครับ", "อาหารเช้าไม่อร่อยและห้องพักก็เล็กเกินไป"]),
        ("words", ["Ada Lovelace", "Grace Hopper", "Alan Turing"]),
        ("words", ["Berlin", "Lima", "Oslo"]),
        ("classes", ["book", "cancel", "ask"] * 4),
        ("classes", ["0", "1"] * 5),
        ("classes", [True, False, True]),
        ("classes", [1, 2, 3, 4, 5, 5, 4]),
        ("classes", ["Credit reporting or other personal reports", "Mortgage", "Loan"] * 3),
        ("numbers", ["3.25", "4.5", "0.125"]),
        ("numbers", [1204, 3, 77, 1208, 15]),
        ("numbers", ["3,25", "1.204,50", "-7,5", "12"]),
        ("numbers", ["1,204", "1,204.50", "17"]),
        ("numbers", ["$12.50", "$ 9", "\u20ac1,204.50", "3,5 \u20ac", "\u00a3-4"]),
        ("numbers", ["12.5%", "3 %", "100%"]),
        ("numbers", ["3.25", "n/a", "4.5", "-", "0.125", "NA", "?"]),
        ("numbers", ["3,25", "n/a", "4,5", "-", "0,125", "-1"]),
        ("classes", ["3,5", "4,5", "?"] * 4 + ["good", "bad"]),
        ("classes", [*["yes", "no"] * 9, "-", "?", "n/a"]),
        ("spans", ["[(0, 3, 'PER')]", "[]"]),  # as pandas writes it
        ("spans", ["[{'start': 0, 'end': 3, 'label': 'PER'}]", ""]),
        ("identifiers", [1, 2, 3, 4, 5]),
        ("identifiers", [702876, 1702977, 2222, 14, 999, 702876]),  # by the name of its column
        ("identifiers", ["a3f09b17c2d4e5f60718", "b3f09b17c2d4e5f60718"]),
        ("identifiers", [f"https://example.org/{i}" for i in range(9)]),
        ("dates", ["2024-01-05", "2024-02-28T12:00:00Z"]),
        ("dates", ["05.01.2024", "28/02/24"]),
        ("dates", [1700000000, 1700000100, 1600000000]),
        ("dates", [1998, 2003, 2003, 2020]),
        ("spans", [[SPAN], [], [SPAN, SPAN]]),
        ("spans", [[[0, 3, "PER"]], [[4, 7, "LOC"]]]),
        ("spans", [[{"start_offset": 0, "end_offset": 3, "label": "PER"}]]),
        ("spans", [json.dumps([SPAN]), "[]"]),  # as a CSV file holds it
        ("lists", [["a", "b"], ["a"]]),
        ("lists", ["['positive', 'film']", "['negative']"]),
        ("lists", [{"choices": ["a", "b"]}]),
        ("scores", [{"POS": 1.0, "NEG": 0.0}, {"POS": 0.2, "NEG": 0.8}]),
        ("objects", [{"pile_set_name": "books"}] * 3),
    ],
)
def test_content_type_depends_on_the_cells(kind, cells):
    named = infer_content(cells, "#1 ID" if kind == "identifiers" else "column")
    assert named.kind == kind
    assert named.is_target == (kind in ("classes", "numbers", "spans", "lists", "scores")) and named.phrase()


def test_class_columns_named_id_are_not_identifiers():
    assert infer_content([0, 1, 2] * 9, "intent_id").kind == "classes"
    assert (
        infer_content([5, 9, 5, 7, 1, 4, 3], "user_id").kind
        == infer_content(["x9", "k2", "p1"], "UserId").kind
        == "identifiers"
    )
    assert infer_content(["red", "paid", "valid"] * 4, "paid").kind == "classes"


def test_each_column_is_inspected_once_on_a_sample():
    class Cells(dict):
        """Counts how often a row is read."""

        read = 0

        def get(self, key, default=None):
            Cells.read += 1
            return super().get(key, default)

        def __contains__(self, key):
            return True

        def __getitem__(self, key):
            Cells.read += 1
            return super().__getitem__(key)

    contents = Contents([Cells(text=f"a film number {i}") for i in range(10_000)])
    assert contents.of("text") is contents.of("text") and contents.of("text").kind == "text"
    assert Cells.read <= 4000


def test_sorted_labels_are_not_a_constant_column():
    rows = [{"label": i % 5, "id": i} for i in range(100_000)]
    contents = Contents(rows)
    assert (contents.of("label").kind, contents.of("label").values, contents.of("id").kind) == ("classes", 5, "identifiers")


def test_unused_columns_are_reported_with_their_content():
    rows = [{"id": i, "text": text, "mark": i % 2, "source": "web"} for i, text in enumerate(TEXTS)]
    notice = unused_columns_sentence(("id", "text", "mark", "source"), {"text": "text"}, Contents(rows))
    assert notice == "columns left out: 'id' (identifiers), 'mark' (2 different values), 'source' (one value)"
    assert unused_columns_sentence(("text",), {"text": "text"}, Contents(rows)) == ""
    columns = ("translation", "context", "question", "answers", "answer_start", "en")
    assert unused_columns(columns, {"source": "translation.en", "target": "translation.de"}) == list(columns[1:])
    assert unused_columns(columns, {role: role for role in ("context", "question", "answers")}) == ["translation", "en"]
    many = [{f"e{i}": row % 2 for i in range(20)} for row in range(8)]
    notice = unused_columns_sentence(tuple(many[0]), {}, Contents(many))
    assert notice.endswith("'e11' and 8 more (2 different values each)")
