"""hftool/data/columns.py: columns are mapped to the roles of a head, or the error has the flag to type."""

import pytest

from hftool.data.column_contents import Contents, cell_of
from hftool.data.column_names import COMMON_NAMES
from hftool.data.columns import has_column, map_columns, missing_column
from hftool.data.schema import ROLES
from hftool.errors import DataError, HftoolError
from hftool.heads import head_class
from hftool.registry.heads import head_names

TASK = {"text": "sentence", "label": "label"}
SQUAD = {"question": "question", "context": "context", "answers": "answers"}


def mapped(columns, head="classify", given=None, known=None, **kwargs):
    row_schemas = head_class(head).row_schemas
    return map_columns(columns, row_schemas, given=given or {}, known=known or {}, path="reviews.csv", **kwargs)[1]


def error_line(call, *args, **kwargs):
    with pytest.raises(HftoolError) as caught:
        call(*args, **kwargs)
    return f"{caught.value.code} {caught.value}"


# ---- by name


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (("id", "Review", "STARS"), {"text": "Review", "label": "STARS"}),
        (("sentence", "text", "label"), {"text": "text", "label": "label"}),
        (("sentence1", "sentence2", "target"), {"text": "sentence1", "text_pair": "sentence2", "label": "target"}),
        (("Premise", "Hypothesis", "label"), {"text": "Premise", "text_pair": "Hypothesis", "label": "label"}),
        (("text", "text_pair", "class"), {"text": "text", "text_pair": "text_pair", "label": "class"}),
        (("label", "question", "sentence"), {"text": "question", "text_pair": "sentence", "label": "label"}),
    ],
)
def test_columns_are_found_by_common_names(columns, expected):
    assert mapped(columns) == expected


@pytest.mark.parametrize(
    ("head", "columns", "expected"),
    [
        ("tag", ("Tokens", "NER_tags"), {"tokens": "Tokens", "tags": "NER_tags"}),
        ("tag", ("words", "labels"), {"tokens": "words", "tags": "labels"}),
        ("tag", ("tokens", "ner"), {"tokens": "tokens", "tags": "ner"}),
        ("answer", ("id", "query", "passage", "answer"), {"question": "query", "context": "passage", "answers": "answer"}),
        (
            "answer",
            ("question", "paragraph", "answers"),
            {"question": "question", "context": "paragraph", "answers": "answers"},
        ),
        ("text2text", ("article", "highlights"), {"source": "article", "target": "highlights"}),
        ("text2text", ("document", "summary"), {"source": "document", "target": "summary"}),
        ("text2text", ("dialogue", "summary"), {"source": "dialogue", "target": "summary"}),
        ("text2text", ("src", "tgt"), {"source": "src", "target": "tgt"}),
        ("text2text", ("text", "translation"), {"source": "text", "target": "translation"}),
        ("text2text", ("input", "output", "text"), {"source": "input", "target": "output"}),
        ("generate", ("instruction", "response"), {"prompt": "instruction", "completion": "response"}),
        ("generate", ("document",), {"text": "document"}),
        ("fill", ("id", "content"), {"text": "content"}),
        ("embed", ("sentence1", "sentence2", "score"), {"text": "sentence1", "text_pair": "sentence2", "label": "score"}),
    ],
)
def test_columns_of_each_head_are_found(head, columns, expected):
    assert mapped(columns, head) == expected


def test_every_role_is_found_by_its_name():
    assert set(COMMON_NAMES) <= set(ROLES) and all(names[0] == role for role, names in COMMON_NAMES.items())
    for head in head_names():
        for schema in head_class(head).row_schemas:
            columns = tuple(f"{role}".upper() for role in schema.wanted)
            given = {role: role.upper() for role in schema.wanted}
            assert mapped(columns, head, for_inference=head in ("tag", "embed") and not schema.targets) == given


def test_flags_override_the_task_and_the_task_overrides_common_names():
    columns = ("text", "sentence", "label", "stars", "sentence1", "sentence2")
    assert mapped(columns, known=TASK) == {"text": "sentence", "label": "label"}
    assert mapped(columns, given={"text": "sentence1", "label": "stars"}, known=TASK) == {"text": "sentence1", "label": "stars"}
    assert mapped(("review", "label"), known=TASK) == {"text": "review", "label": "label"}  # the file lacks the task's column


def test_each_column_is_used_for_one_role_only():
    assert mapped(("text", "document", "summary"), "text2text", {"source": "text"}) == {"source": "text", "target": "summary"}
    assert mapped(("sentence", "text"), given={"label": "text"}) == {"text": "sentence", "label": "text"}


# ---- schemas


def test_first_matching_schema_is_used():
    columns = ("text", "tokens", "tags", "prompt", "completion")
    assert mapped(columns, "tag") == {"tokens": "tokens", "tags": "tags"}
    assert mapped(columns, "generate") == {"prompt": "prompt", "completion": "completion"}
    assert mapped(("text", "completion"), "generate") == {"prompt": "text", "completion": "completion"}
    assert mapped(("text", "prompt"), "generate") == {"text": "text"}  # a prompt without a completion


def test_schema_is_returned_with_its_columns():
    row_schemas = head_class("generate").row_schemas
    for columns, schema in ((("prompt", "completion"), row_schemas[0]), (("text",), row_schemas[1])):
        assert map_columns(columns, row_schemas, given={}, known={}, path="a.csv")[0] is schema


def test_given_roles_select_the_schema():
    columns = ("text", "prompt", "completion")
    assert mapped(columns, "generate", {"text": "completion"}) == {"text": "completion"}
    assert mapped(("tokens", "tags", "words"), "tag", {"tokens": "words"}) == {"tokens": "words", "tags": "tags"}


def test_targets_are_optional_for_inference():
    assert mapped(("question", "context"), "answer", for_inference=True) == {"question": "question", "context": "context"}
    assert mapped(("question", "context", "answers"), "answer", for_inference=True, known=SQUAD) == {
        "question": "question",
        "context": "context",
    }
    assert mapped(("review", "stars"), for_inference=True) == {"text": "review"}
    assert mapped(("text",), "tag", for_inference=True) == {"text": "text"}
    assert mapped(("words", "text"), "tag", for_inference=True) == {"tokens": "words"}
    assert mapped(("dialogue",), "text2text", for_inference=True) == {"source": "dialogue"}
    line = error_line(mapped, ("question", "answers"), "answer", for_inference=True)
    assert line == "65 reviews.csv has no column 'context'; it has 'question', 'answers'. Try --column context=NAME"


def test_training_a_tagger_requires_tags():
    """A schema with `text` alone is for inference; training with it would have no target."""
    line = error_line(mapped, ("text", "label"), "tag")
    assert line == "65 reviews.csv has no column 'tokens'; it has 'text', 'label'. Try --column tokens=NAME"
    assert error_line(mapped, ("text",), "tag", {"text": "text"}) == "2 there is no role 'text' here. Roles: tokens, tags"


# ---- dotted columns


def test_dotted_name_selects_a_nested_field():
    columns, given = ("id", "translation"), {"source": "translation.en", "target": "translation.de"}
    assert mapped(columns, "text2text", given) == mapped(columns, "text2text", known=given) == given
    assert has_column(columns, "translation.de") and not has_column(columns, "translations.de")
    assert not has_column(columns, "transl") and not has_column(("a",), ".a")
    row = {"translation": {"de": "ja", "en": None}, "a.b": "whole", "a": {"b": "part"}, "text": "no parts", "none": None}
    assert [cell_of(row, name) for name in ("translation.de", "translation.en", "translation.fr")] == ["ja", None, None]
    assert cell_of(row, "a.b") == "whole"  # a column of that exact name takes precedence
    assert [cell_of(row, name) for name in ("text.de", "none.de", "nowhere.de", "nowhere")] == [None] * 4
    assert error_line(mapped, columns, "text2text", {"source": "translations.en"}).startswith(
        "65 reviews.csv has no column 'translations.en'; it has 'id', 'translation'."
    )


# ---- errors


@pytest.mark.parametrize(
    ("columns", "given", "line"),
    [
        (("texte", "stars"), {}, "65 reviews.csv has no column 'text'; it has 'texte', 'stars'. Try --text texte"),
        (("text", "verdict"), {}, "65 reviews.csv has no column 'label'; it has 'text', 'verdict'. Try --label COLUMN"),
        (("text", "label"), {"text": "tekst"}, "65 reviews.csv has no column 'tekst'; it has 'text', 'label'. Try --text text"),
        (("text", "label"), {"txt": "text"}, "2 unknown role 'txt'. Did you mean 'text'?"),
        (("text", "label"), {"text": "label"}, "2 column 'label' is both text and label. Name another with --label"),
        (("text", "label"), {"text_pair": "text"}, "2 column 'text' is both text and text_pair. Name another with --text"),
        (("text", "label"), {"tags": "label"}, "2 there is no role 'tags' here. Roles: text, label, text_pair"),
    ],
)
def test_missing_or_duplicate_columns_are_errors(columns, given, line):
    known = {"label": "label"} if given.get("text") == "label" else {"text": "text"} if "text_pair" in given else {}
    assert error_line(mapped, columns, "classify", given, known) == line


def test_error_lists_all_roles_of_the_first_schema():
    line = error_line(mapped, ("id", "name"), "generate")
    assert line == "65 reviews.csv has no column 'prompt'; it has 'id', 'name'. Try --column prompt=NAME"
    assert error_line(mapped, ("id",), "generate", {"zzz": "id"}) == "2 unknown role 'zzz'. Roles: " + ", ".join(ROLES)
    line = error_line(mapped, ("id",), "generate", {"label": "id"})
    assert line == "2 there is no role 'label' here. Roles: prompt, completion, text"


def test_roles_of_two_schemas_cannot_be_combined():
    line = error_line(mapped, ("a", "b"), "generate", {"prompt": "a", "text": "b"})
    assert line == "2 the roles 'prompt', 'text' do not go together. Roles: prompt, completion; or text"


def test_hint_names_the_flag_of_a_role_without_a_short_form():
    line = error_line(mapped, ("x",), "tag")
    assert line == "65 reviews.csv has no column 'tokens'; it has 'x'. Try --column tokens=NAME"


def test_hint_names_the_most_likely_column():
    """reviews.csv has no column 'text'; it has 'sentence', 'stars'. Try --text sentence"""
    error = missing_column("reviews.csv", ("sentence", "stars"), "txt", "text")
    assert str(error) == "reviews.csv has no column 'txt'; it has 'sentence', 'stars'. Try --text sentence"
    assert missing_column("reviews.csv", ("sentence", "stars"), "star", "label").hint == "Try --label stars"
    assert missing_column("reviews.csv", ("a", "b"), "txt", "text").hint == "Try --text COLUMN"
    assert missing_column("a.csv", ("dialog", "b"), "zzz", "source").hint == "Try --source dialog"


# ---- spelling of names and hints


@pytest.mark.parametrize(
    ("columns", "known", "expected"),
    [
        (("no", "Ticket Body"), {"text": "ticket_body"}, "Ticket Body"),
        (("ticketbody", "text"), {"text": "ticket_body"}, "ticketbody"),
        (("TICKET-BODY",), {"text": "ticket_body"}, "TICKET-BODY"),
        (("Message", "no"), {"text": "ticket_body"}, "Message"),
        (("SMS",), {}, "SMS"),
        (("q text",), {}, "q text"),
    ],
)
def test_column_names_ignore_case_spaces_underscores_and_hyphens(columns, known, expected):
    assert mapped(columns, known=known, for_inference=True) == {"text": expected}


@pytest.mark.parametrize(
    ("column", "typed", "hint"),
    [
        ("#1 String", "#1 Strng", "Try --text '#1 String'"),
        ("Review Text", "review_txt", "Try --text 'Review Text'"),
        ("it's", "its", "Try --text 'it'\"'\"'s'"),
        ("$HOME", "$HOM", "Try --text '$HOME'"),
        ("a;b", "ab", "Try --text 'a;b'"),
        ("(text)", "text)", "Try --text '(text)'"),
    ],
)
def test_hints_are_quoted_for_the_shell(column, typed, hint):
    assert missing_column("a.csv", (column, "zzzz"), typed, "text").hint == hint


TRANSLATED = [{"en": f"the {i} warm films of a day", "de": f"die {i} warmen Filme des Tages", "no": i} for i in range(9)]
NESTED = [{"translation": row} for row in TRANSLATED]
HINTS = [
    ("text2text", TRANSLATED, {}, "Try --source en or --source de"),
    ("text2text", TRANSLATED, {"source": "en"}, "Try --target de"),
    ("text2text", NESTED, {}, "Try --source translation.en or --source translation.de"),
    ("classify", NESTED, {}, "Try --text translation.en or --text translation.de"),
    ("classify", [{"messages": [{"role": "user"}]}] * 9, {}, "None of them holds texts: lists and objects are none"),
    ("tag", [{"words": ["a", "b"], "x": ["O", "O"]}] * 9, {"tokens": "words"}, "Try --column tags=x"),
    ("tag", [{"my words": ["a", "b"], "t": ["O", "O"]}] * 9, {}, "Try --column tags=t"),
]


@pytest.mark.parametrize(("head", "rows", "given", "hint"), HINTS)
def test_hint_names_unused_columns_only(head, rows, given, hint):
    with pytest.raises(DataError) as caught:
        map_columns(tuple(rows[0]), head_class(head).row_schemas, given=given, known={}, path="f", contents=Contents(rows))
    assert caught.value.hint == hint
