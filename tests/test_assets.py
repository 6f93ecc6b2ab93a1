"""The bundled data sets agree with their READMEs: counts, disjoint splits, valid spans and tags."""

import re
from collections import Counter
from itertools import pairwise, product

import pytest

from hftool.data.readers.tables import read_table, split_files
from hftool.progress import silent
from hftool.registry.tasks import TASKS, get_task
from hftool.workflow import plan
from hftool.workflow.resolve import ASSETS, resolve_task

COUNTS = {
    "sst2-mini": {"train": 1060, "validation": 220, "test": 250},
    "entities-mini": {"train": 200, "validation": 40, "test": 50},
    "squad-mini": {"train": 180, "validation": 40, "test": 50},
    "dialogsum-mini": {"train": 140, "validation": 30, "test": 30},
    "phrases-mini": {"train": 170, "validation": 30, "test": 40},
    "stories-mini": {"train": 100, "validation": 15, "test": 15},
}
KIND = {  # the kind of row, as in the README
    "sst2-mini": "English sentences of film opinion",
    "entities-mini": "tokenised English rows",
    "squad-mini": "English questions on 91 short paragraphs",
    "dialogsum-mini": "everyday English dialogues",
    "phrases-mini": "short English sentences with their German translation",
    "stories-mini": "short stories and little essays",
}


def words(text):
    return frozenset(re.findall(r"[a-z']+", text.lower()))


def readme(name):
    text = (ASSETS / "data" / name / "README.md").read_text(encoding="utf-8")
    return " ".join(text.split())


def read_splits(name):
    """The rows of each split as hftool reads them; for running text, its paragraphs."""
    files = split_files(ASSETS / "data" / name)
    rows = {split: read_table(path, split).rows for split, path in files.items()}
    if name != "stories-mini":
        return rows
    texts = {split: "\n".join(row["text"] for row in lines) for split, lines in rows.items()}
    return {split: [{"text": piece} for piece in text.split("\n\n")] for split, text in texts.items()}


def all_of(splits):
    return [row for rows in splits.values() for row in rows]


def folded(text):
    return " ".join(text.casefold().split())


def ngrams(texts, size):
    """Number of texts that contain each n-gram of `size` words."""
    runs = Counter()
    for text in texts:
        found = re.findall(r"\w+", text.lower())
        runs.update({tuple(found[i : i + size]) for i in range(len(found) - size + 1)})
    return runs


# ---- all data sets


def test_all_bundled_sets_are_tested_here():
    folders = {path.name for path in (ASSETS / "data").iterdir()}
    assert folders == set(COUNTS) == {row.bundled for row in TASKS if row.bundled}


@pytest.mark.parametrize("name", COUNTS)
def test_counts_agree_with_the_readme(name):
    splits, counts, text = read_splits(name), COUNTS[name], readme(name)
    assert {split: len(rows) for split, rows in splits.items()} == counts
    assert text.startswith(f"# {name} {sum(counts.values()):,} {KIND[name]}")
    for split, verb in (("train", "train"), ("validation", "validate"), ("test", "test")):
        assert re.search(rf"\b{counts[split]:,} (\(\d+ paragraphs\) )?to {verb}\b", text)
    assert "no templates" in text
    assert "Licence: as the project" in text or name == "sst2-mini"


@pytest.mark.parametrize("name", COUNTS)
def test_data_sets_have_no_rejected_rows_or_quality_problems(name):
    """As in finetune: no rejected rows, no duplicates, no leakage."""
    row = get_task(name)
    data = resolve_task(name, {}, offline=True, fallback=False, progress=silent)
    settings = plan.make_settings(None, model="bert", task=name)
    for head in (row.head, *row.also):
        splits = plan.split(settings, data, head)
        parts = {"train": splits.train, "validation": splits.validation, "test": splits.test}
        assert dict(splits.columns) == dict(row.columns)
        assert not any(part.rejected for part in parts.values())
        quality = splits.quality
        assert (quality.duplicates, quality.conflicts, quality.leaked) == (0, 0, 0)
        if not row.lines:  # lines become passages
            assert {split: len(part.rows) for split, part in parts.items()} == COUNTS[name]


# ---- sst2-mini


@pytest.fixture(scope="module")
def opinions():
    return read_splits("sst2-mini")


def test_opinions_are_balanced(opinions):
    for rows in opinions.values():
        assert Counter(row["label"] for row in rows) == {"0": len(rows) // 2, "1": len(rows) // 2}


def test_opinions_are_distinct(opinions):
    texts = [folded(row["sentence"]) for row in all_of(opinions)]
    assert len(set(texts)) == len(texts)


def test_no_near_duplicate_opinions_across_splits(opinions):
    """Two sentences that share half of their words are near duplicates (Jaccard index of at least 0.5)."""
    held = [words(row["sentence"]) for split in ("validation", "test") for row in opinions[split]]
    train = [words(row["sentence"]) for row in opinions["train"]]
    near = [(a, b) for a, b in product(train, held) if len(a & b) >= 0.5 * len(a | b)]
    assert near == []


def test_lengths_of_opinions_differ(opinions):
    lengths = [len(row["sentence"].split()) for row in opinions["train"]]
    assert min(lengths) <= 4
    assert max(lengths) >= 25


# ---- entities-mini


@pytest.fixture(scope="module")
def sentences():
    return read_splits("entities-mini")


def entities(row):
    """(type, words) of each entity; every I- tag continues an entity of its type."""
    found = []
    for token, tag, before in zip(row["tokens"], row["tags"], ["O", *row["tags"]], strict=False):
        assert tag == "O" or re.fullmatch("[BI]-(person|location|organization|product)", tag)
        if tag.startswith("B-"):
            found.append((tag[2:], [token]))
        elif tag.startswith("I-"):
            assert before in (tag, "B-" + tag[2:]), row
            found[-1][1].append(token)
    return [(kind, " ".join(tokens)) for kind, tokens in found]


def test_tags_are_valid_and_one_per_token(sentences):
    for row in all_of(sentences):
        assert len(row["tokens"]) == len(row["tags"])
        assert all(token and token == "".join(token.split()) for token in row["tokens"])
        assert len(entities(row)) <= 3
    texts = [folded(" ".join(row["tokens"])) for row in all_of(sentences)]
    assert len(set(texts)) == len(texts)


def test_entity_counts_agree_with_the_readme(sentences):
    text = readme("entities-mini")
    counted = {split: Counter(kind for row in rows for kind, _ in entities(row)) for split, rows in sentences.items()}
    without = {split: sum(not entities(row) for row in rows) for split, rows in sentences.items()}
    splits = ("train", "validation", "test")
    for kind in ("person", "location", "organization", "product"):
        assert f"| {kind} | " + " | ".join(str(counted[split][kind]) for split in splits) + " |" in text
    sums = " | ".join(f"{counted[split].total()} ({without[split]})" for split in splits)
    assert f"| all (rows without any) | {sums} |" in text


def test_most_test_entities_do_not_occur_in_train(sentences):
    known = {name.lower() for row in sentences["train"] for _, name in entities(row)}
    test_entities = [(kind, name) for row in sentences["test"] for kind, name in entities(row)]
    old = [kind for kind, name in test_entities if name.lower() in known]
    assert len(test_entities) == 70 and old == ["location"] * 8
    assert "Of the 70 test entities 62 do not occur in train; the other 8 are places." in readme("entities-mini")


# ---- squad-mini


@pytest.fixture(scope="module")
def questions():
    return read_splits("squad-mini")


def test_answers_are_slices_of_their_paragraph(questions):
    for row in all_of(questions):
        found = row["answers"]
        assert set(row) == {"id", "context", "question", "answers"} and set(found) == {"text", "answer_start"}
        for text, start in zip(found["text"], found["answer_start"], strict=True):
            assert row["context"][start : start + len(text)] == text, row["id"]
            assert 1 <= len(text.split()) <= 8 and text == text.strip()
        assert len(set(zip(found["text"], found["answer_start"], strict=True))) == len(found["text"]) > 0


def test_each_paragraph_belongs_to_one_split(questions):
    paragraphs = {split: {folded(row["context"]) for row in rows} for split, rows in questions.items()}
    assert {split: len(texts) for split, texts in paragraphs.items()} == {"train": 60, "validation": 14, "test": 17}
    assert len(set.union(*paragraphs.values())) == 91
    assert "180 to train (60 paragraphs), 40 to validate (14), 50 to test (17)" in readme("squad-mini")
    lengths = [len(text.split()) for texts in paragraphs.values() for text in texts]
    assert (min(lengths), max(lengths)) == (49, 110) and "(49 to 110 words)" in readme("squad-mini")
    counts = Counter(folded(row["context"]) for row in all_of(questions))
    assert set(counts.values()) <= {2, 3}
    ids = [row["id"] for row in all_of(questions)]
    texts = [(folded(row["context"]), folded(row["question"])) for row in all_of(questions)]
    assert len(set(ids)) == len(set(texts)) == len(ids)


def test_number_of_answers_per_question(questions):
    assert {len(row["answers"]["text"]) for row in questions["train"]} == {1}
    several = [len(row["answers"]["text"]) for split in ("validation", "test") for row in questions[split]]
    assert max(several) == 3 and sum(count > 1 for count in several) == 73 and len(several) == 90
    assert "(73 of 90 questions have more than one)" in readme("squad-mini")


# ---- dialogsum-mini


@pytest.fixture(scope="module")
def dialogues():
    return read_splits("dialogsum-mini")


def test_dialogues_alternate_between_two_speakers(dialogues):
    for row in all_of(dialogues):
        turns = re.findall(r"^(#Person[12]#): \S.*$", row["dialogue"], re.MULTILINE)
        assert len(turns) == row["dialogue"].count("\n") + 1 and 3 <= len(turns) <= 8
        assert all(one != other for one, other in pairwise(turns))
        assert row["summary"] == " ".join(row["summary"].split()) and row["summary"].endswith(".")


def test_dialogues_and_summaries_are_distinct(dialogues):
    for column in ("dialogue", "summary"):
        texts = [folded(row[column]) for row in all_of(dialogues)]
        assert len(set(texts)) == len(texts)


# ---- phrases-mini


@pytest.fixture(scope="module")
def phrases():
    return read_splits("phrases-mini")


def test_phrases_are_distinct_in_both_languages(phrases):
    for column in ("en", "de"):
        texts = [folded(row[column]) for row in all_of(phrases)]
        assert len(set(texts)) == len(texts)
    assert {len(row["en"].split()) for row in all_of(phrases)} <= set(range(3, 10))


def test_words_of_held_out_phrases_occur_in_train(phrases):
    for column in ("en", "de"):
        known = {word for row in phrases["train"] for word in re.findall(r"[\w']+", row[column].lower())}
        held = [row[column] for split in ("validation", "test") for row in phrases[split]]
        assert [text for text in held if not set(re.findall(r"[\w']+", text.lower())) <= known] == []


# ---- stories-mini


@pytest.fixture(scope="module")
def stories():
    return read_splits("stories-mini")


def test_stories_are_single_lines_separated_by_blank_lines(stories):
    for path in split_files(ASSETS / "data" / "stories-mini").values():
        assert path.read_bytes().isascii()
    lengths = [len(row["text"].split()) for row in all_of(stories)]
    assert all("\n" not in row["text"] and row["text"] == row["text"].strip() for row in all_of(stories))
    assert min(lengths) >= 90 and max(lengths) <= 125 and 13_700 <= sum(lengths) <= 13_900


def test_no_two_stories_share_an_eight_gram(stories):
    runs = ngrams([row["text"] for row in all_of(stories)], 8)
    assert [run for run, count in runs.items() if count > 1] == []
    assert "no two pieces share eight words in a row" in readme("stories-mini")
    different = {word for row in all_of(stories) for word in words(row["text"])}
    assert 1_650 <= len(different) <= 1_850 and "1,750 different ones" in readme("stories-mini")
