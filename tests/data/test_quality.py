"""hftool/data/quality.py: duplicates, conflicts and leakage are counted; validation is split off without leakage."""

from collections import Counter

import pytest

from hftool.data.quality import LEAST_PASSAGE, Quality, check_quality, split_validation
from hftool.data.rows import SplitRows
from hftool.errors import HftoolError


def prepared(rows, name="train"):
    return SplitRows(name, f"{name}.csv", rows, list(range(2, len(rows) + 2)), [])


def split(rows, name="train"):
    return prepared([{"text": text, "label": label} for text, label in rows], name)


def lines(texts, name="train"):
    return prepared([{"text": text} for text in texts], name)


def error_line(call, *args, **kwargs):
    with pytest.raises(HftoolError) as caught:
        call(*args, **kwargs)
    return f"{caught.value.code} {caught.value}"


def counted(train, validation):
    quality = check_quality(prepared(train), prepared(validation, "validation"), allow_leak=True)
    return quality.duplicates, quality.conflicts, quality.leaked


# ---- duplicates, conflicts, leaks


def test_duplicates_conflicts_and_leaks_ignore_case_and_white_space():
    train = split([("A  Film", 1), ("a film ", 1), ("a film", 0), ("b", 0), ("B\t", 0), ("b", 0), ("c", 1)])
    validation = split([("A FILM", 1), ("d", 1)], "validation")
    quality = check_quality(train, validation, allow_leak=True)
    assert quality == Quality(duplicates=3, conflicts=1, leaked=1, validation_rows=2)
    assert quality.sentences() == [
        "3 rows of train repeat an earlier one",
        "1 texts of train have more than one label",
        "1 of 2 validation rows are in train (50.0 %): metrics are inflated",
    ]


def test_pair_is_a_duplicate_only_if_both_texts_are():
    train, validation = split([("a", 1)]), split([("a", 1)], "validation")
    train.rows[0]["text_pair"], validation.rows[0]["text_pair"] = "x", "y"
    assert check_quality(train, validation, allow_leak=False).leaked == 0


def test_every_kind_of_row_is_identified_by_its_inputs():
    tagged = {"tokens": ["Ann", "Sleeps"], "tags": [1, 0]}
    assert counted([tagged, {**tagged, "tags": [0, 0]}, tagged], [{"tokens": ["ann", "sleeps"], "tags": [1, 0]}]) == (1, 1, 1)
    question = {"question": "Where?", "context": "Lyon.", "answers": {"text": ["Lyon"], "answer_start": [0]}}
    other = {**question, "answers": {"text": [], "answer_start": []}}
    assert counted([question, question, other], [{**question, "question": "where? "}, {**question, "context": "In Lyon."}]) == (
        1,
        1,
        1,
    )
    scored = {"text": "a", "text_pair": "b", "label": 4.75}
    assert counted([scored, {**scored, "label": 4.5}], [{**scored, "text_pair": "c"}]) == (0, 1, 0)


def test_two_translations_or_completions_are_not_a_conflict():
    translated = {"source": "yes", "target": "ja"}
    assert counted([translated, {**translated, "target": "doch"}, translated], [translated]) == (1, 0, 1)
    generated = {"prompt": "once", "completion": "upon"}
    assert counted([generated, {**generated, "completion": "more"}], [{**generated, "prompt": "twice"}]) == (0, 0, 0)
    short = [{"prompt": "hi", "completion": "hello"}]
    assert counted(short, short) == (0, 0, 1)  # short, but not plain text


LONG = "a film about a lighthouse keeper and the winter he spent alone, number"  # too long to be shared by coincidence


def test_leakage_above_five_percent_is_an_error_unless_allowed():
    train = split([(f"{LONG} {i}", i % 2) for i in range(50)])
    rows = [(f"other {i}", 0) for i in range(38)]
    fine = split([*rows, (f"{LONG} 1", 1), (f"{LONG.upper()} 2", 0)], "validation")
    assert check_quality(train, fine, allow_leak=False).leaked == 2
    leaky = split([*rows, (f"{LONG} 1", 1), (f"{LONG.upper()} 2", 0), (f"{LONG}  3", 1)], "validation")
    assert error_line(check_quality, train, leaky, allow_leak=False) == (
        "65 3 of 41 validation rows are in train as well (lines 40, 41, 42 of validation.csv). "
        "Correct the split, or train anyway with --allow-leak"
    )
    assert check_quality(train, leaky, allow_leak=True).leaked == 3


SENTENCES = [f"the minister said on day {i} that the budget would be ready in time" for i in range(80)]
DATELINES = [*["-"] * 8, *(f"Madrid , {i} may ( EFE ) ." for i in range(20, 32))]


@pytest.mark.parametrize(
    "row",
    [
        lambda text: {"tokens": text.split(), "tags": [0] * len(text.split())},  # as in CoNLL-2002
        lambda text: {"text": text, "label": len(text) % 2},
        lambda text: {"text": text, "text_pair": "yes", "label": 1},
        lambda text: {"source": text, "target": "ja"},
        lambda text: {"prompt": text, "completion": "ja"},
        lambda text: {"question": text, "context": "Lyon", "answers": {"text": [], "answer_start": []}},
    ],
)
def test_short_rows_in_both_splits_are_counted_without_an_error(row):
    """Dashes, dates and datelines: a fifth of the official dev split of CoNLL-2002 is in train."""
    train = prepared([row(text) for text in [*SENTENCES, *DATELINES]])
    validation = prepared([row(text) for text in [*(f"yet {text}" for text in SENTENCES), *DATELINES]], "validation")
    quality = check_quality(train, validation, allow_leak=False)
    assert quality.leaked == 20 and quality.sentences()[-1].startswith("20 of 100 validation rows are in train (20.0 %)")
    mostly = prepared([row(text) for text in [*DATELINES, *(f"yet {text}" for text in SENTENCES[:19])]], "validation")
    assert error_line(check_quality, train, mostly, allow_leak=False).startswith(
        "65 20 of 39 validation rows are in train as well"
    )
    long = prepared([row(text) for text in [*DATELINES, *SENTENCES[:7], *(f"yet {t}" for t in SENTENCES)]], "validation")
    assert error_line(check_quality, train, long, allow_leak=False).startswith(
        "65 27 of 107 validation rows are in train as well"
    )


def test_chinese_characters_count_twice():
    text = "酒店的房间很大而且早餐也不错下次还会住这里服务员很热情"
    train, validation = split([(text, 1), ("b", 0)]), split([(text, 1), *((f"c{i}", 0) for i in range(9))], "validation")
    assert error_line(check_quality, train, validation, allow_leak=False).startswith("65 1 of 10 validation rows")


def test_short_lines_of_plain_text_are_not_duplicates_but_passages_are():
    """Short lines recur in any novel without being leakage."""
    short, passage = "x" * (LEAST_PASSAGE - 1), "x" * LEAST_PASSAGE
    train = lines(["Yes.", "Yes.", short, short, passage, passage])
    quality = check_quality(train, lines(["yes.", short, "Yes."], "validation"), allow_leak=False)
    assert quality == Quality(duplicates=1, conflicts=0, leaked=0, validation_rows=3)
    assert error_line(check_quality, train, lines(["Yes.", f" {passage}\n"], "validation"), allow_leak=False).startswith(
        "65 1 of 2 validation rows are in train as well (lines 3 of validation.csv)."
    )


# ---- splitting off validation


def test_split_is_seeded_stratified_and_keeps_file_order():
    train = split([(f"film {i}", int(i % 10 == 0)) for i in range(1000)])
    rest, validation = split_validation(train, 0.2, 3)
    assert Counter(row["label"] for row in validation.rows) == {0: 180, 1: 20}
    assert sorted(rest.numbers + validation.numbers) == train.numbers
    assert rest.numbers == sorted(rest.numbers) and validation.numbers == sorted(validation.numbers)
    again = split_validation(train, 0.2, 3)
    assert (again[0].numbers, again[1].numbers) == (rest.numbers, validation.numbers)
    assert split_validation(train, 0.2, 4)[1].numbers != validation.numbers


def test_duplicates_stay_in_one_split():
    train = split([(f"{'FILM' if i % 3 else 'film'} {i % 100}", i % 2) for i in range(400)])
    rest, validation = split_validation(train, 0.1, 0)
    assert len(validation.rows) == 40
    assert check_quality(rest, validation, allow_leak=False).leaked == 0


def test_questions_about_one_context_stay_in_one_split():
    rows = [{"question": f"what {i}?", "context": f"text {i % 40}", "answers": {"text": []}} for i in range(120)]
    rest, validation = split_validation(prepared(rows), 0.1, 0)
    assert len(validation.rows) == 12 and len(rest.rows) == 108
    assert not {row["context"] for row in rest.rows} & {row["context"] for row in validation.rows}
    assert len({row["context"] for row in validation.rows}) == 4


def test_duplicate_sentences_and_sources_stay_in_one_split():
    tagged = [{"tokens": ["Ann", str(i % 30)], "tags": [1, 0]} for i in range(90)]
    translated = [{"source": f"yes {i % 30}", "target": f"ja {i}"} for i in range(90)]
    for rows in (tagged, translated):
        rest, validation = split_validation(prepared(rows), 0.1, 0)
        assert len(validation.rows) == 9
        assert check_quality(rest, validation, allow_leak=False).leaked == 0


def test_short_lines_are_split_independently():
    rest, validation = split_validation(lines(["Yes."] * 100), 0.1, 0)
    assert (len(rest.rows), len(validation.rows)) == (90, 10)


def test_continuous_labels_are_not_stratified():
    scored = prepared([{"text": f"a {i}", "text_pair": "b", "label": i / 10} for i in range(100)])
    rest, validation = split_validation(scored, 0.1, 0)
    # stratified, each number would be held out once, that is, every row
    assert (len(rest.rows), len(validation.rows)) == (90, 10)


def test_each_label_with_two_texts_is_in_both_splits():
    train = split([("a", 0), ("b", 0), ("c", 1), ("d", 2), ("d", 2), ("e", 2), ("e", 2), ("e", 2)])
    rest, validation = split_validation(train, 0.1, 0)
    assert sorted(row["label"] for row in validation.rows) == [0, 2, 2]
    assert {row["label"] for row in rest.rows} == {0, 1, 2}


def test_one_text_per_label_cannot_be_split():
    line = error_line(split_validation, split([("a", 0), ("A", 0), ("b", 1)]), 0.1, 0)
    assert line == "65 train.csv has too few rows to hold out a validation split. Name one with --validation"
    one_context = [{"question": f"what {i}?", "context": "text", "answers": {"text": []}} for i in range(9)]
    assert error_line(split_validation, prepared(one_context), 0.1, 0) == line
