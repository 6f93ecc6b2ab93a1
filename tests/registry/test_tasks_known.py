"""hftool/registry/tasks.py: rows are complete and fit their heads; labels, metrics and bundled data exist."""

import re

import pytest

from hftool.data.columns import map_columns
from hftool.data.readers.tables import split_files
from hftool.errors import UsageError
from hftool.evaluation.report import make_report
from hftool.heads import get_head, head_class
from hftool.models import HeadConfig
from hftool.registry.families import FAMILIES
from hftool.registry.heads import head_names
from hftool.registry.tasks import SUMMARIZE, TASKS, find_task, get_task, is_translation
from hftool.workflow.resolve import ASSETS

LABELS = {
    "sst2": ("negative", "positive"),
    "cola": ("unacceptable", "acceptable"),
    "mrpc": ("not_equivalent", "equivalent"),
    "qqp": ("not_duplicate", "duplicate"),
    "stsb": (),
    "mnli": ("entailment", "neutral", "contradiction"),
    "qnli": ("entailment", "not_entailment"),
    "rte": ("entailment", "not_entailment"),
    "wnli": ("not_entailment", "entailment"),  # the reverse of rte and qnli
    "ag_news": ("World", "Sports", "Business", "Sci/Tech"),
    "imdb": ("negative", "positive"),
    "emotion": ("sadness", "joy", "love", "anger", "fear", "surprise"),
    "sst2-mini": ("negative", "positive"),
}


@pytest.mark.parametrize("row", TASKS, ids=lambda row: row.name)
def test_rows_are_complete(row):
    assert sum(other.name == row.name for other in TASKS) == 1
    assert bool(row.repo) != bool(row.bundled)
    assert bool(row.revision) == bool(row.repo)
    assert not row.repo or (re.fullmatch(r"[\w.-]+/[\w.-]+", row.repo) and re.fullmatch(r"[0-9a-f]{40}", row.revision))
    assert {row.head, *row.also} <= set(head_names()) and row.head not in row.also
    assert any(row.head in family.heads for family in FAMILIES)
    splits = dict(row.splits)
    assert "train" in splits and set(splits) <= {"train", "validation", "test"}
    assert row.about and "\n" not in row.about and len(row.about) <= 70  # a line of `hftool tasks`
    assert not row.bundled or row.stand_in == ""


@pytest.mark.parametrize("row", TASKS, ids=lambda row: row.name)
def test_columns_of_a_task_fit_its_heads(row):
    columns = tuple(dict.fromkeys(column.split(".")[0] for _, column in row.columns))
    for head in (row.head, *row.also):
        row_schema, mapping = map_columns(
            columns, head_class(head).row_schemas, given={}, known=dict(row.columns), path=row.name
        )
        assert mapping == dict(row.columns)
        assert set(row_schema.inputs) <= set(mapping)
    assert row.lines == (columns == ("text",))


def test_labels_are_in_id_order():
    for row in TASKS:
        names = LABELS.get(row.name, ())
        assert row.labels == tuple((str(i), name) for i, name in enumerate(names)), row.name
        assert row.head != "classify" or bool(row.labels) != row.numbers


@pytest.mark.parametrize("row", [row for row in TASKS if row.measures], ids=lambda row: row.name)
def test_metrics_of_every_task_can_be_computed(row):
    names = tuple(name for _, name in row.labels)
    kind = "regression" if row.numbers else "single_label_classification"
    head_config = HeadConfig(head=row.head, labels=names, measures=row.measures, problem_type=kind, max_new_tokens=4)
    metrics = get_head(None, head_config).metrics()
    assert metrics.names == row.measures and metrics.higher_is_better
    if row.numbers:
        rows, answers = [{"label": 1.5}, {"label": 2.0}], [{"score": 1.0}, {"score": 3.0}]
    elif names:
        rows, answers = [{"label": 0}, {"label": 1}], [{"label": names[0]}, {"label": names[1]}]
    else:
        rows, answers = [{"target": "the cat sat on the mat"}], [{"text": "the cat sat on the mat"}]
    report = make_report(answers, rows, metrics, names, 0.5)
    assert all(report[name] == pytest.approx(100 if name in ("bleu", "chrf") else 1) for name in row.measures)


def test_glue_metrics_are_those_of_the_paper():
    """Wang et al., 2019, table 1; "f1" is that of label 1, the equivalent pairs."""
    assert {row.name: row.measures for row in TASKS if row.repo == "nyu-mll/glue" and row.measures} == {
        "cola": ("mcc", "accuracy"),
        "mrpc": ("f1", "accuracy"),
        "qqp": ("f1", "accuracy"),
        "stsb": ("pearson", "spearman"),
    }
    assert get_task("stsb").also == ("embed",)


def test_prefixes_are_those_of_t5_pre_training():
    prefixes = {row.prefix for row in TASKS}
    languages = ("German", "Romanian", "Russian", "French")
    assert prefixes == {"", "summarize: ", *(f"translate English to {language}: " for language in languages)}
    assert all(bool(row.prefix) == (row.head == "text2text") for row in TASKS)


@pytest.mark.parametrize("row", [row for row in TASKS if row.bundled], ids=lambda row: row.name)
def test_bundled_data_exists(row):
    files = split_files(ASSETS / "data" / row.bundled)
    assert set(files) == {"train", "validation", "test"} == set(dict(row.splits))
    assert (ASSETS / "data" / row.bundled / "README.md").is_file()


@pytest.mark.parametrize("row", [row for row in TASKS if row.stand_in], ids=lambda row: row.name)
def test_stand_in_is_bundled_and_of_the_same_kind(row):
    other = get_task(row.stand_in)
    assert other.bundled and other.head == row.head
    assert (other.labels, other.measures, other.prefix, other.numbers, other.lines) == (
        row.labels,
        row.measures,
        row.prefix,
        row.numbers,
        row.lines,
    )
    assert set(other.also) >= set(row.also) and {role for role, _ in other.columns} == {role for role, _ in row.columns}


def test_every_head_except_embed_has_an_offline_task():
    bundled = {head for row in TASKS if row.bundled for head in (row.head, *row.also)}
    assert set(head_names()) - bundled == {"embed"}  # is trained on stsb, from the Hub


def test_unknown_name_suggests_the_nearest():
    assert find_task("sst2") is get_task("sst2") and find_task("nope") is None
    with pytest.raises(UsageError, match=r"^unknown task 'sst3'. Did you mean 'sst2'\?$"):
        get_task("sst3")
    with pytest.raises(UsageError, match=r"a Hub data set is owner/name, a file needs its ending \(.csv "):
        get_task("reviews")


def test_prefixes_of_t5_are_looked_up_exactly():
    assert is_translation("translate English to German: ") and is_translation("translate Romanian to English: ")
    assert not any(map(is_translation, ("", SUMMARIZE, "translate", "translate English to English: ", "translate this: ")))
    prefixed = [row for row in TASKS if row.prefix]
    assert prefixed and all(is_translation(row.prefix) or row.prefix == SUMMARIZE for row in prefixed)
