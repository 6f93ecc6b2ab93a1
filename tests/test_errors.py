"""hftool/errors.py: one-line messages, suggestions, and a stable JSON document."""

import pytest

from hftool import errors


def subclasses(cls):
    return [cls, *(s for sub in cls.__subclasses__() for s in subclasses(sub))]


def test_every_class_has_an_exit_code_and_a_distinct_kind():
    classes = {
        cls.__name__: cls for cls in subclasses(errors.HftoolError) if cls.__module__ == errors.__name__ and "kind" in vars(cls)
    }
    codes = {name: cls.code for name, cls in classes.items() if name not in ("HftoolError", "Interrupted")}
    assert codes == {
        "UsageError": 2,
        "DataError": 65,
        "InputMissing": 66,
        "HubUnreachable": 69,
        "PortTaken": 69,
        "OutputUnavailable": 73,
        "StorageError": 74,
        "RunStopped": 75,
        "Refused": 77,
        "ConfigError": 78,
    }
    assert len({cls.kind for cls in classes.values()}) == len(classes)
    assert [errors.Interrupted("x", signal_number=n).code for n in (1, 2, 15)] == [129, 130, 143]
    for name, code in codes.items():
        assert f"{name} " in errors.__doc__ and f" {code} " in errors.__doc__


@pytest.mark.parametrize(
    ("detail", "hint", "line"),
    [
        ("no rows", "", "no rows"),
        ("no rows", "Add some", "no rows. Add some"),
        ("which model?", "hftool finetune MODEL TASK", "which model? hftool finetune MODEL TASK"),
    ],
)
def test_detail_and_hint_are_separate_sentences(detail, hint, line):
    error = errors.DataError(detail, hint)
    assert str(error) == line
    assert error.as_json() == {"code": 65, "kind": "data", "detail": detail, "hint": hint}


def test_suggestion_is_the_nearest_name_within_a_limit():
    assert errors.did_you_mean("BERTT", ["bert", "gpt2"]) == "Did you mean 'bert'?"
    assert errors.did_you_mean("sentance", ["Sentence", "label"]) == "Did you mean 'Sentence'?"
    assert errors.did_you_mean("xyzzy", ["bert"], otherwise="See the list") == "See the list"
    assert errors.nearest("xyzzy", ["bert"]) is None


def test_control_characters_of_names_are_escaped():
    assert errors.as_line("a\nb\x1b[31m\x9b\u2028\udcffé 语 🙂") == "a\\nb\\x1b[31m\\x9b\\u2028\\udcffé 语 🙂"


def test_listings_are_quoted_and_bounded():
    assert errors.listing(["a", 1]) == "'a', '1'"
    assert errors.listing(range(5), most=2) == "'0', '1' and 3 more"
