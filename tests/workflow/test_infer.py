"""Inference from Python: languages, sampling parameters, offsets."""

import json

import pytest

from hftool import workflow
from hftool.errors import UsageError
from support import families


def test_languages_must_be_two():
    loaded = workflow.load("t5-mini", offline=True)
    with pytest.raises(UsageError, match="that is from English to English"):
        workflow.translate(loaded, ["a"], to="en")


@pytest.mark.parametrize(("kind", "head_case"), [("roberta", "tag"), ("roberta", "fill"), ("roberta", "answer")])
def test_offsets_count_a_byte_order_mark_of_the_file_too(kind, head_case, tmp_path):
    model = workflow.load(str(families.trained_run(kind, head_case)[0].run.path))
    text = "\ufeffann went to rome with a [MASK]" if head_case == "fill" else "\ufeffann went to rome with a hat ."
    row = {"question": "where is the hat ?", "context": text} if head_case == "answer" else {"text": text}
    workflow.predict(model, str(families.write_jsonl(tmp_path / "in.jsonl", [row])), out=tmp_path / "out.jsonl")
    answer = json.loads((tmp_path / "out.jsonl").read_text(encoding="utf-8"))
    if head_case == "tag":
        assert answer["entities"] and all(text[one["start"] : one["end"]] == one["text"] for one in answer["entities"])
        assert (answer["tokens"][0], answer["entities"][0]["text"]) == ("ann", "ann")  # the mark is no word
    elif head_case == "fill":
        assert [text[one["start"] : one["end"]] for one in answer["masks"]] == ["[MASK]"]
        assert answer["masks"][0]["fills"] == workflow.fill(model, [text[1:]])[0]["masks"][0]["fills"]
    else:
        assert text[answer["start"] : answer["end"]] == answer["answer"] != ""


@pytest.mark.parametrize("stop", ["and", ("and",), ["and"]])
def test_a_stop_text_from_python_is_one_text(stop):
    [answer] = workflow.generate("gpt2-mini", ["Once upon a time"], sampling={"max_new_tokens": 40, "stop": stop})
    assert answer["finish"] == "stop" and "and" not in answer["text"] and len(answer["text"]) > 5


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"stop": 5}, "stop must be a text or a list of texts, not 5"),
        ({"beams": 2.0}, "num_beams must be a whole number from 1 to 1000, not 2.0"),
        ({"temperature": 1, "top_k": 2.5}, "top_k must be a whole number from 0 to 2147483648, not 2.5"),
        ({"temperature": True}, "temperature must be a number from 0 to 100, not True"),
        ({"beams": 3, "top_p": 0.5}, "nothing is sampled. Leave top_p out"),
    ],
)
def test_settings_from_python_are_of_their_kind(settings, line):
    with pytest.raises(UsageError) as caught:
        workflow.generate("gpt2-mini", ["a"], sampling=settings)
    assert line in str(caught.value)
