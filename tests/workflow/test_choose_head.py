"""hftool/workflow/choose_head.py: whatever rows come in, the job is named, and nothing that looks like a target goes unsaid."""

import random
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from hftool.data.column_contents import Contents
from hftool.data.readers.tables import Table
from hftool.data.splits import SplitOptions, build_splits
from hftool.data.unused_columns import unused_columns
from hftool.errors import HftoolError
from hftool.heads import head_class
from hftool.registry.families import FAMILIES
from hftool.registry.heads import all_heads
from hftool.workflow.choose_head import infer_head
from hftool.workflow.resolve import TaskSource

UNLABELED = [spec.name for spec in all_heads() if spec.unlabeled]

WORDS = [
    "the",
    "a",
    "film",
    "was",
    "very",
    "good",
    "bad",
    "warm",
    "cold",
    "cast",
    "plot",
    "music",
    "story",
    "ending",
    "slow",
    "fast",
    "bright",
    "dull",
    "joy",
    "hotel",
    "room",
]
SPAN = {"start": 0, "end": 3, "label": "PER"}


def texts(seed, words=9):
    """A cell for each row: its own text."""
    rng = random.Random(seed)
    return lambda i: " ".join(rng.choice(WORDS) for _ in range(words)) + f" {i}"


def one_of(*values, seed=1):
    rng = random.Random(seed)
    return lambda i: rng.choice(values)


def table_of(count=48, path="rows.csv", **columns):
    """A table: column -> a function of the row's number; underscores in **columns stay."""
    return table_from(columns, count=count, path=path)


def table_from(columns, *, count=48, path="rows.csv", split="train"):
    rows = [{name: make(i) for name, make in columns.items()} for i in range(count)]
    return Table(split, path, tuple(columns), rows, list(range(2, count + 2)))


def family(name):
    return next(row for row in FAMILIES if row.name == name)


def job(table, kind="bert", columns=None, head=None):
    """-> (head, splits) that a run would have."""
    columns = columns or {}
    head = head or infer_head(TaskSource({"train": table}), columns, family(kind))
    known = {"known_columns": {}, "known_labels": (), "ordered_labels": (), "limit": None, "seed": 0}
    choices = SplitOptions(head_class(head).row_schemas, columns, **known, validation_share=0.2, allow_leak=True)
    return head, build_splits({"train": table}, choices)


def line_of(*words, **named):
    with pytest.raises(HftoolError) as caught:
        job(*words, **named)
    return f"{caught.value.code} {caught.value}"


# ---- never a language model by accident

TEXT = texts(0)
FLAG = one_of("0", "1")
MARKED = {
    "spans": lambda i: [SPAN],
    "entities": lambda i: [[0, 3, "PER"]],
    "marks": lambda i: [{"start_offset": 0, "end_offset": 3, "label": "PER"}],
    "cats": lambda i: {"POS": float(i % 2), "NEG": 1.0 - i % 2},
    "topics": lambda i: ["a", "b"],
    "department": one_of("sales", "it", "hr"),
    "price": lambda i: str((i * 7919) % 1208 / 4),
    "amount": lambda i: (i * 7919) % 1208,
    "toxic": FLAG,
    "spam": lambda i: bool(i % 3),
    "anger": lambda i: f"{i % 5}",
}


@pytest.mark.parametrize("kind", ["bert", "gpt2", "t5"])
@pytest.mark.parametrize("name", MARKED)
def test_a_column_that_looks_like_a_target_is_named_and_no_language_model_is_trained(kind, name):
    line = line_of(table_of(id=lambda i: i, text=TEXT, **{name: MARKED[name]}), kind)
    assert line.startswith(f"65 rows.csv has a column besides 'text' that looks like a label: '{name}' (") or (
        kind == "t5" and line.startswith("65 rows.csv has no column 'label'")
    )
    assert "--label" in line or "--head" in line or "convert the file" in line
    if kind != "t5":
        head, splits = job(table_of(text=TEXT, **{name: MARKED[name]}), kind, head="fill" if kind == "bert" else "generate")
        assert head in UNLABELED and any(text.startswith(f"columns left out: '{name}' (") for text in splits.notices)


def test_many_columns_that_look_like_labels_are_counted_and_the_flag_is_quoted():
    line = line_of(table_of(text=TEXT, **{f"e {i}": one_of("0", "1", seed=i) for i in range(11)}))
    assert line.startswith("65 rows.csv has 11 columns besides 'text' that look like labels: 'e 0', 'e 1', 'e 2'")
    assert line.endswith("Choose one of them with --label 'e 0', or take the texts alone with --head fill")


def test_toxic_comments_after_our_own_hint():
    kinds = ("toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate")
    table = table_of(id=lambda i: f"{i:016x}", comment_text=TEXT, **{name: one_of("0", "1", seed=name) for name in kinds})
    for given_columns in ({}, {"text": "comment_text"}):
        line = line_of(table, columns=given_columns)
        assert line.startswith("65 rows.csv has 6 columns besides 'comment_text' that look like labels: 'toxic', ")
    head, splits = job(table, columns={"label": "toxic"})
    assert (head, splits.columns) == ("classify", {"text": "comment_text", "label": "toxic"})
    assert "columns left out: 'id' (identifiers), 'severe_toxic' (2 different values), " in splits.notices[1]


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"id": lambda i: i, "url": lambda i: f"https://example.org/{i}", "title": texts(3, words=3)},
        {"date": lambda i: f"2024-01-{i % 28 + 1:02d}", "meta": lambda i: {"set": "books"}},
        {"language": lambda i: "en", "year": lambda i: 1990 + i % 9},
        {"entities": lambda i: []},
        {"author": lambda i: f"Ada Lovelace{i}"},
    ],
)
def test_a_corpus_trains_a_language_model(more):
    head, splits = job(table_of(text=texts(2, words=40), **more), "gpt2")
    assert (head, splits.columns) == ("generate", {"text": "text"})
    assert all(any(f"'{name}' (" in text for text in splits.notices) for name in more)


@pytest.mark.parametrize("column", ["text", "Note"])
def test_numbers_are_no_running_text(column):
    line = line_of(table_from({column: lambda i: f"{(i * 7) % 30 / 10}"}), columns={"text": column})
    assert line == f"65 column '{column}' of rows.csv holds numbers, no texts. --head fill trains on it all the same"
    assert job(table_from({column: lambda i: f"{i * 7 % 30 / 10}"}), columns={"text": column}, head="fill")[0] == "fill"


def test_grades_that_are_called_a_text_by_the_user_are_none():
    grades = table_from({"Name": lambda i: f"Ada{i}", "Note": one_of("1", "2", "3")})
    line = line_of(grades, columns={"text": "Note"})
    assert line == "65 column 'Note' of rows.csv holds 3 different values, no texts. --head fill trains on it all the same"
    assert job(table_from({"text": lambda i: f"emma{i}"}))[0] == "fill"  # names, one a row
    assert job(table_from({"text": one_of("yes", "no")}))[0] == "fill"


def test_lines_of_a_text_are_no_column():
    lines = [{"text": f"{i}.5"} for i in range(400)]
    table = Table("train", "digits.txt", ("text",), lines, list(range(1, 401)), lines=True)
    assert infer_head(TaskSource({"train": table}), {}, family("gpt2")) == "generate"


def test_a_text_that_is_found_by_content_alone_is_not_trained_on_alone():
    line = line_of(table_of(id=lambda i: i, address=texts(3)))
    assert line.startswith("65 no column of rows.csv is named as text, and none looks like a label. Take one with --text")
    assert job(table_of(id=lambda i: i, address=texts(3)), columns={"text": "address"})[0] == "fill"


# ---- found by name and content


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"Review Text": TEXT, "Rating": FLAG}, {"text": "Review Text", "label": "Rating"}),
        (
            {"Quality": FLAG, "#1 String": TEXT, "#2 String": texts(5)},
            {"text": "#1 String", "text_pair": "#2 String", "label": "Quality"},
        ),
        (
            {"Quality": FLAG, "#1 ID": lambda i: i * 7919, "#1 String": TEXT, "#2 String": texts(5)},
            {"text": "#1 String", "text_pair": "#2 String", "label": "Quality"},
        ),
        ({"SMS": TEXT, "Label": FLAG}, {"text": "SMS", "label": "Label"}),
        ({"text": TEXT, "intent": FLAG}, {"text": "text", "label": "intent"}),
        ({"tweet_id": lambda i: i, "Tweet": TEXT, "Sentiment": FLAG}, {"text": "Tweet", "label": "Sentiment"}),
        ({"qtext": TEXT, "gold_label": FLAG}, {"text": "qtext", "label": "gold_label"}),
        ({"Message Body": TEXT, "target": FLAG}, {"text": "Message Body", "label": "target"}),
        ({"customerReview": TEXT, "STARS": FLAG}, {"text": "customerReview", "label": "STARS"}),
        ({"Description": TEXT, "category": FLAG}, {"text": "Description", "label": "category"}),
        (
            {"sentence_A": TEXT, "sentence_B": texts(5), "judgment": FLAG},
            {"text": "sentence_A", "text_pair": "sentence_B", "label": "judgment"},
        ),
        (
            {"Premise": TEXT, "Hypothesis": texts(5), "gold label": FLAG},
            {"text": "Premise", "text_pair": "Hypothesis", "label": "gold label"},
        ),
        (
            {"first headline": TEXT, "second headline": texts(5), "same": FLAG},
            {"text": "first headline", "text_pair": "second headline", "label": "same"},
        ),
        ({"text": TEXT, "score": FLAG, "label": one_of("a", "b")}, {"text": "text", "label": "label"}),
        ({"text": TEXT, "category": FLAG, "entities": lambda i: [SPAN]}, {"text": "text", "label": "category"}),
    ],
)
@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_columns_are_found_by_name_and_content(columns, expected, kind):
    table = table_from(columns)
    head, splits = job(table, kind)
    assert (head, splits.columns) == ("classify", expected)
    unused = set(columns) - set(expected.values())
    assert all(any(f"'{name}' (" in text for text in splits.notices) for name in unused)


def test_two_names_of_a_label_are_not_chosen_between():
    table = table_of(text=TEXT, category=one_of("a", "b"), sentiment=one_of("pos", "neg"))
    assert line_of(table).startswith("65 rows.csv has 2 columns besides 'text' that look like labels: 'category' (2 different")
    assert line_of(table, head="classify").endswith("Try --label category or --label sentiment")
    assert job(table_of(text=TEXT, category=lambda i: "news", sentiment=FLAG))[1].columns["label"] == "sentiment"


def test_the_only_column_that_can_be_a_label_is_one_under_classify():
    table = table_of(id=lambda i: i, ticket_body=TEXT, queue=one_of("a1", "b2"))
    assert line_of(table).endswith("Choose it with --label queue, or take the texts alone with --head fill")
    assert job(table, head="classify")[1].columns == {"text": "ticket_body", "label": "queue"}
    assert job(table, columns={"label": "queue"})[1].columns == {"text": "ticket_body", "label": "queue"}


# ---- hints


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        (
            {"Name": lambda i: f"Ada{i}", "Note": one_of("1", "2", "3"), "Fach": one_of("Mathe", "Deutsch")},
            "65 rows.csv has no column 'text'; it has 'Name', 'Note', 'Fach'. None of them holds texts; "
            "--text COLUMN takes one all the same",
        ),
        (
            {"name": lambda i: f"Ann{i}", "email": lambda i: f"a{i}@example.org", "tags": one_of("vip", "late", "vip;late")},
            "65 rows.csv has no column 'text'; it has 'name', 'email', 'tags'. None of them holds texts; "
            "--text COLUMN takes one all the same",
        ),
        (
            {"#1 Part": TEXT, "#4 Part": texts(7), "mark": FLAG},
            "65 rows.csv has no column 'text'; it has '#1 Part', '#4 Part', 'mark'. Try --text '#1 Part' or --text '#4 Part'",
        ),
        (
            {"my texte": TEXT, "it's good": FLAG},
            "65 rows.csv has a column besides 'my texte' that looks like a label: 'it's good' (2 different values). "
            "Choose it with --label 'it'\"'\"'s good', or take the texts alone with --head fill",
        ),
        (
            {"question": TEXT, "context": texts(8, words=30), "answers": lambda i: {"text": ["film"], "answer_start": [0]}},
            None,
        ),
    ],
)
def test_hints_name_columns_that_hold_what_is_wanted_and_quote_them(columns, line):
    table = table_from(columns)
    if line is not None:
        assert line_of(table) == line
    else:
        assert infer_head(TaskSource({"train": table}), {}, family("bert")) == "answer"
        assert "These are rows to answer, which gpt2 cannot do" in line_of(table, "gpt2")


def test_the_errors_of_roles_speak_of_roles():
    table = table_of(sentence=TEXT, label=FLAG)
    assert line_of(table, columns={"txt": "sentence"}) == "2 unknown role 'txt'. Did you mean 'text'?"
    assert line_of(table, columns={"text": ["title", "body"]}) == (
        "2 the role 'text' takes the name of one column, not ['title', 'body']. Join columns in the file first"
    )
    assert (
        line_of(table, columns=["text"]) == "2 columns are pairs of role and column, not ['text']. Such as {'text': 'sentence'}"
    )
    for wrong in ({"label": None}, {"label": 3}, {"text": {"a": 1}}, {"text": ("sentence",)}):
        assert "takes the name of one column, not " in line_of(table, columns=wrong)


# ---- prompts in two columns


@pytest.mark.parametrize("kind", ["gpt2", "t5"])
@pytest.mark.parametrize(
    ("one", "other", "answer"),
    [
        ("instruction", "input", "output"),  # Alpaca
        ("instruction", "context", "response"),  # Dolly
        ("Instruction", "Input", "Output"),
        ("prompt", "system_prompt", "completion"),
        ("prompt", "history", "response"),
        ("prompt", "input", "output"),
    ],
)
def test_a_prompt_in_two_columns_is_named_and_neither_is_dropped(kind, one, other, answer):
    sometimes = texts(4)
    columns = {one: texts(1), other: lambda i: sometimes(i) if i % 2 else "", answer: texts(3)}
    line = line_of(table_from(columns), kind)
    assert (
        line.startswith("65 the prompts of rows.csv stand in several columns: ") and f"'{one}'" in line and f"'{other}'" in line
    )
    role = "source" if kind == "t5" else "prompt"
    _, splits = job(table_from(columns), kind, {role: one} if kind == "gpt2" else {role: one, "target": answer})
    assert splits.columns[role] == one and any(f"'{other}' (" in text for text in splits.notices)
    _, alone = job(table_from({**columns, other: lambda i: ""}), kind)
    assert alone.columns[role] == one


# ---- columns under other names in each split

SECOND = texts(7)
LABEL = one_of("0", "1", "2")
TAGGED = lambda i: ["B-PER", "O", "O"]  # noqa: E731
TOKENS = lambda i: ["Ada", "met", str(i)]  # noqa: E731
ANSWERS = lambda i: {"text": ["film"], "answer_start": [4]}  # noqa: E731
ABOUT = lambda i: f"the film number {i} was warm"  # noqa: E731


@pytest.mark.parametrize(
    ("kind", "train", "dev"),
    [
        ("bert", {"text": TEXT, "label": LABEL}, {"SMS": SECOND, "gold_label": LABEL}),
        (
            "bert",
            {"sentence1": TEXT, "sentence2": SECOND, "label": LABEL},
            {"premise": TEXT, "hypothesis": SECOND, "class": LABEL},
        ),
        ("bert", {"text_a": TEXT, "text_b": SECOND, "label": FLAG}, {"#1 String": TEXT, "#2 String": SECOND, "Quality": FLAG}),
        ("bert", {"tokens": TOKENS, "ner_tags": TAGGED}, {"words": TOKENS, "bio": TAGGED}),
        (
            "bert",
            {"question": TEXT, "context": ABOUT, "answers": ANSWERS},
            {"query": TEXT, "passage": ABOUT, "answer": ANSWERS},
        ),
        ("t5", {"article": TEXT, "highlights": SECOND}, {"document": TEXT, "summary": SECOND}),
        ("t5", {"src": TEXT, "tgt": SECOND}, {"input": TEXT, "output": SECOND}),
        ("gpt2", {"prompt": TEXT, "completion": SECOND}, {"instruction": TEXT, "response": SECOND}),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_each_split_may_name_its_columns_otherwise(kind, train, dev, turned):
    if turned:
        train, dev = dev, train
    table = table_from(dev, count=12, path="dev.csv", split="validation")
    splits = splits_of(kind, table_from(train), table)
    message = [line for line in splits.notices if line.startswith("columns of validation")]
    assert len(message) == 1 and all(f"='{name}'" in message[0] for name in dev), splits.notices
    names = dict(zip(dev, train, strict=True))
    rows = [{names[name]: cell for name, cell in row.items()} for row in table.rows]
    again = splits_of(kind, table_from(train), replace(table, columns=tuple(train), rows=rows))
    assert splits.validation.rows == again.validation.rows and len(splits.validation.rows) == 12
    assert not [line for line in again.notices if line.startswith("columns of validation")]


def splits_of(kind, *tables):
    """What a run of such a model makes of a file for each split."""
    by_split = {table.split: table for table in tables}
    head = infer_head(TaskSource(by_split), {}, family(kind))
    known = {"known_columns": {}, "known_labels": (), "ordered_labels": (), "limit": None, "seed": 0}
    return build_splits(
        by_split, SplitOptions(head_class(head).row_schemas, {}, **known, validation_share=0.2, allow_leak=True)
    )


# ---- whatever rows come in

WORD = st.sampled_from(
    ["alpha", "beta", "gamma", "delta", "a b", "x;y", "é", "好", "#1", "Review Text", "it's", "label 2", "tags"]
)
HEADERS = st.sampled_from(["text", "sentence", "SMS", "body", "label", "stars", "intent", "topic", "input", "question"]) | WORD
CELLS = {  # kind -> (makes a cell, whether a model may be meant to learn it)
    "text": (lambda seed: texts(seed), False),
    "long": (lambda seed: texts(seed, words=40), False),
    "class": (lambda seed: one_of("red", "blue", "green", seed=seed), True),
    "flag": (lambda seed: one_of(0, 1, seed=seed), True),
    "stars": (lambda seed: one_of("1", "2", "3", "4", "5", "-", seed=seed), True),
    "amount": (lambda seed: lambda i: round(1000 / (i + seed + 1), 3), True),
    "spans": (lambda seed: lambda i: [SPAN] * (i % 3), True),
    "lists": (lambda seed: lambda i: ["a", "b"][: 1 + i % 2], True),
    "number": (lambda seed: lambda i: i + seed, False),
    "date": (lambda seed: lambda i: f"2024-02-{i % 27 + 1:02d}", False),
    "constant": (lambda seed: lambda i: "web", False),
    "empty": (lambda seed: lambda i: [None, "", " "][i % 3], False),
    "object": (lambda seed: lambda i: {"set": "books"}, False),
    "gaps": (lambda seed: lambda i: "" if i == seed else f"a film that was warm, {i}", False),
}
TABLES = st.lists(st.tuples(HEADERS, st.sampled_from(sorted(CELLS))), min_size=1, max_size=6, unique_by=lambda pair: pair[0])


def check_any_rows(columns, kind, head):
    table = table_from({name: CELLS[what][0](seed) for seed, (name, what) in enumerate(columns)}, count=120)
    try:
        chosen, splits = job(table, kind, head=head)
    except HftoolError as error:
        assert error.code in (2, 65) and "rows.csv" in error.detail and "\n" not in str(error)
        return
    used = set(splits.columns.values())
    targets = [name for name, what in columns if CELLS[what][1]]
    if head is None and chosen in UNLABELED and set(splits.columns) == {"text"}:
        assert not set(targets) - used
    for name in unused_columns(table.columns, splits.columns):  # used, or said why not
        assert any(
            f"'{name}' ({Contents(table.rows).of(name).phrase()}" in message or f"'{name}'" in message
            for message in splits.notices
        )
    assert set(targets) <= used | set(unused_columns(table.columns, splits.columns))
    assert len(splits.train.rows) + len(splits.validation.rows) + len(splits.train.rejected) == len(table.rows)
    no_label = sum(one.reason == "no label" for one in splits.train.rejected)
    assert not no_label or f"{no_label} rows of train have no label and are left out" in splits.notices


ANY = {"columns": TABLES, "kind": st.sampled_from(["bert", "gpt2", "t5"]), "head": st.sampled_from([None, None, "classify"])}
QUICK = {"derandomize": True, "deadline": None, "phases": [Phase.generate], "suppress_health_check": list(HealthCheck)}


@settings(max_examples=120, **QUICK)
@given(**ANY)
def test_whatever_rows_come_in_the_job_is_named_and_every_row_counted(columns, kind, head):
    check_any_rows(columns, kind, head)


@pytest.mark.slow
@settings(max_examples=5000, deadline=None, suppress_health_check=list(HealthCheck))
@given(**ANY)
def test_whatever_rows_come_in_at_length(columns, kind, head):
    check_any_rows(columns, kind, head)


def test_the_check_bites(monkeypatch):
    monkeypatch.setattr("hftool.workflow.choose_head.check_unused_targets", lambda *_, **__: None)
    with pytest.raises(AssertionError):
        check_any_rows([("text", "text"), ("alpha", "spans")], "bert", None)
    monkeypatch.setattr("hftool.data.splits.unused_columns_sentence", lambda *_: "")
    with pytest.raises(AssertionError):
        check_any_rows([("text", "text"), ("label", "class"), ("alpha", "flag")], "bert", None)
