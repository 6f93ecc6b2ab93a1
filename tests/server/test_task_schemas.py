"""Inputs, parameters and responses of the heads in Hugging Face's API, and their JSON Schema."""

import re
from typing import get_type_hints

import jsonschema
import numpy as np
import pytest
from pydantic import create_model

from hftool.errors import UsageError
from hftool.heads import head_class
from hftool.heads.inputs import InputSpec, input_spec
from hftool.models import HeadConfig
from hftool.registry.heads import head_names
from hftool.server.limits import Limits
from hftool.server.protocols.http_errors import HttpError
from hftool.server.protocols.openai import completion_request
from hftool.server.protocols.schemas import inputs_type, json_schema, text_type, validate
from hftool.server.protocols.tasks import options_of, request_model
from support.asgi_calls import served
from support.families import KINDS

TEXT = InputSpec(fields={"text": "text"})
PAIR = InputSpec(fields={"text": "text"}, optional={"text_pair": "text_pair"})
QUESTION = InputSpec(fields={"question": "question", "context": "context"})
SOURCE = InputSpec(fields={"text": "source"})
PROMPT = InputSpec(fields={"text": "prompt"}, allow_empty=True)


def rows(spec, inputs, most=4, chars=10):
    model = create_model("Body", inputs=(inputs_type(spec, most=most, chars=chars), ...))
    return validate(model, {"inputs": inputs}).inputs


@pytest.mark.parametrize(
    ("spec", "inputs", "expected"),
    [
        (TEXT, "a", [{"text": "a"}]),
        (TEXT, ["a", {"text": "b"}], [{"text": "a"}, {"text": "b"}]),
        (PAIR, {"text": "a", "text_pair": "b"}, [{"text": "a", "text_pair": "b"}]),
        (QUESTION, {"context": "c", "question": "q"}, [{"context": "c", "question": "q"}]),
        (SOURCE, "a", [{"source": "a"}]),
        (PROMPT, "", [{"prompt": ""}]),
        (TEXT, "\ud83d a", [{"text": "? a"}]),
    ],
)
def test_inputs_become_rows_with_the_roles_of_the_head(spec, inputs, expected):
    assert rows(spec, inputs) == expected


@pytest.mark.parametrize(
    ("spec", "inputs", "message"),
    [
        (TEXT, 5, "'inputs' has another shape"),
        (TEXT, None, "'inputs' has another shape"),
        (TEXT, [], "'inputs' is empty"),
        (TEXT, ["a", 5], "'inputs[1]' has another shape"),
        (TEXT, {"text": 5}, "'inputs.text' must be a text"),
        (TEXT, {"txt": "a"}, "'inputs' holds 'txt'"),
        (TEXT, {"text": "a", "text_pair": "b"}, "holds 'text_pair'"),
        (QUESTION, "a", "another shape"),
        (QUESTION, {"question": "a"}, "lacks 'context'"),
        (PAIR, ["a", {"text": "a", "text_pair": "b"}], "pairs of texts and single texts"),
        (TEXT, "a" * 11, "11 characters: at most 10"),
        (TEXT, list("abcde"), "5 texts and at most 4"),
        (TEXT, "", "'inputs' is empty"),
        (TEXT, ["a", " \u200b\n"], "'inputs[1]' is empty"),
    ],
)
def test_invalid_inputs_are_refused_with_their_path(spec, inputs, message):
    with pytest.raises(HttpError) as caught:
        rows(spec, inputs)
    assert caught.value.status == 422 and message in caught.value.message


def options(name, given, **limits):
    """Options of the head, and parameters of the reply, for the parameters of a request."""
    model = served(head(name), None)
    inputs = {name: "a [MASK]" for name in input_spec(model.head).fields}
    return options_of(
        model, validate(request_model(model, Limits(**limits)), {"inputs": inputs, "parameters": given}).parameters
    )


def test_parameters_become_options_of_head_and_sampling():
    given = {"max_new_tokens": 5, "temperature": 0.5, "num_return_sequences": 2, "stop": ["."], "seed": 3}
    expected = {"max_new_tokens": 5, "temperature": 0.5, "num_return_sequences": 2, "stop": (".",), "seed": 3}
    assert options("text2text", given) == ({"sampling": expected}, {})
    assert options("fill", {"top_k": 3}) == ({"top_k": 3}, {})
    assert options("classify", {"top_k": 1}) == ({}, {"top_k": 1})
    assert options("generate", {}) == ({}, {})
    assert options("generate", {"return_full_text": True}) == ({}, {"return_full_text": True})
    assert options("embed", {"pooling": "cls", "normalize": True}) == ({"pooling": "cls"}, {"normalize": True})


def test_sampling_options_are_ignored_without_do_sample():
    assert options("generate", {"top_p": 0.5, "temperature": 0})[0] == {"sampling": {}}
    assert options("generate", {"do_sample": True, "top_k": 4})[0] == {"sampling": {"temperature": 1.0, "top_k": 4}}
    assert options("generate", {"do_sample": False, "temperature": 2})[0] == {"sampling": {}}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_new_token": 5}, "Did you mean 'max_new_tokens'?"),
        ({"max_new_tokens": 0}, "at least 1 and at most 9, not 0"),
        ({"max_new_tokens": 10}, "at most 9"),
        ({"max_new_tokens": 5.0}, "must be a whole number"),
        ({"max_new_tokens": True}, "must be a whole number"),
        ({"temperature": "1"}, "must be a number"),
        ({"temperature": -0.1}, "at least 0"),
        ({"top_p": 0, "temperature": 1}, "over 0 and at most 1"),
        ({"stop": "."}, "a list of texts"),
        ({"stop": [""]}, "of 1 to 256 characters"),
        ({"stop": ["a" * 257]}, "of 1 to 256 characters"),
        ({"stop": ["a", "b"]}, "at most 1 texts"),
        ({"do_sample": 1}, "true or false"),
        ({"num_beams": 2, "temperature": 1}, "exclude each other"),
        ({"num_return_sequences": 2}, "all be the same"),
    ],
)
def test_parameters_out_of_range_are_errors(given, message):
    with pytest.raises((HttpError, UsageError)) as caught:
        options("text2text", given, max_new_tokens=9, stops=1)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("change", "expected_text"),
    [
        ({"n": 9}, "'n' must be a whole number, at least 1 and at most 8, not 9"),
        ({"top_p": 0}, "'top_p' must be a number, over 0 and at most 1, not 0"),
        ({"echo": True}, "'echo' must be false"),
        ({"logprobs": 0}, "'logprobs' must be null, not 0"),
        ({"logit_bias": {"5": 1}}, "'logit_bias' must be {}"),
        ({"stop": {"a": 1}}, "'stop' must be a text of 1 to 256 characters or a list of texts, at most 4 texts of 1 to 256"),
        ({"stream_options": {"include_usage": 5}}, "'stream_options.include_usage' must be true or false, not 5"),
        ({"stream_options": {"usage": True}}, "'stream_options' holds 'usage'"),
        ({"prompts": "a"}, "the body holds 'prompts'. It takes model, "),
    ],
)
def test_a_field_of_a_completion_says_what_it_must_be(change, expected_text):
    with pytest.raises(HttpError) as caught:
        validate(completion_request(Limits()), {"model": "m", "prompt": "a", **change})
    assert caught.value.message.startswith(expected_text) and caught.value.param == next(iter(change))


def head(name, **head_config):
    kind = {"generate": "gpt2", "text2text": "t5"}.get(name, "bert")
    tokenizer = KINDS[kind][0]()
    return head_class(name)(tokenizer=tokenizer, head_config=HeadConfig(head=name, **head_config))


SPAN = {"answer": "Oslo", "start": 3, "end": 7, "probability": 0.5}
CANDIDATES = [
    {"text": "Oslo", "start": 3, "end": 7, "probability": 0.5},
    {"text": "in Oslo", "start": 0, "end": 7, "probability": 0.1},
]
SHOWN = [
    {"answer": "Oslo", "score": 0.5, "start": 3, "end": 7},
    {"answer": "in Oslo", "score": 0.1, "start": 0, "end": 7},
]
ENTITY = {"text": "Ann", "type": "PER", "start": 0, "end": 3, "probability": 0.9}
MASK = {"start": 2, "end": 8, "fills": [{"token": "cat", "probability": 0.7}]}


@pytest.mark.parametrize(
    ("name", "row", "answer", "parameters", "reply"),
    [
        (
            "classify",
            {},
            {"label": "b", "probability": 0.6, "probabilities": {"a": 0.4, "b": 0.6}},
            {},
            [{"label": "b", "score": 0.6}, {"label": "a", "score": 0.4}],
        ),
        ("classify", {}, {"probabilities": {"a": 0.4, "b": 0.6}}, {"top_k": 1}, [{"label": "b", "score": 0.6}]),
        ("classify", {}, {"score": 2.5}, {}, [{"label": "LABEL_0", "score": 2.5}]),
        ("tag", {}, {"entities": [ENTITY]}, {}, [{"entity_group": "PER", "score": 0.9, "word": "Ann", "start": 0, "end": 3}]),
        ("answer", {}, {**SPAN, "candidates": CANDIDATES}, {}, SHOWN[0]),
        ("answer", {}, {**SPAN, "candidates": CANDIDATES}, {"top_k": 5}, SHOWN),
        (
            "answer",
            {},
            {"answer": "", "start": None, "end": None, "probability": 0.9, "candidates": []},
            {},
            {"answer": "", "score": 0.9, "start": 0, "end": 0},
        ),
        ("generate", {"prompt": "a"}, {"text": " b", "finish": "stop"}, {}, [{"generated_text": " b"}]),
        ("generate", {"prompt": "a"}, {"text": " b"}, {"return_full_text": True}, [{"generated_text": "a b"}]),
        ("text2text", {}, {"text": "x", "samples": ["x", "y"]}, {}, [{"generated_text": "x"}, {"generated_text": "y"}]),
        (
            "fill",
            {"text": "a [MASK] b"},
            {"text": "a cat b", "masks": [MASK]},
            {},
            [{"score": 0.7, "token_str": "cat", "sequence": "a cat b"}],
        ),
        ("embed", {}, {"embedding": np.array([3, 4], np.float32)}, {}, [3.0, 4.0]),
        ("embed", {}, {"embedding": np.array([3, 4], np.float64)}, {"normalize": True}, [0.6, 0.8]),
        ("embed", {}, {"score": 0.5, "similarity": 0.5}, {}, {"score": 0.5}),
    ],
)
def test_responses_have_the_format_of_their_task(name, row, answer, parameters, reply):
    function = served(head(name), None).reply
    assert function(row, answer, parameters) == reply
    jsonschema.validate(reply, json_schema(get_type_hints(function)["return"]))


@pytest.mark.parametrize("name", head_names())
def test_json_schema_agrees_with_the_validation(name):
    spec = input_spec(head(name))
    schema = json_schema(inputs_type(spec, most=3, chars=30))
    text = "a [MASK]"
    whole = dict.fromkeys(spec.fields, text)
    good = [whole, [whole, whole], *([text] if len(whole) == 1 else [])]
    bad = [5, None, [], {}, {"x": "a"}, [whole] * 4, dict.fromkeys(spec.fields, "a" * 31), {**whole, "x": "a"}]
    bad += [] if spec.allow_empty else [dict.fromkeys(spec.fields, " \u200b")]
    for value in good:
        jsonschema.validate(value, schema)
        assert rows(spec, value, most=3, chars=30)
    for value in bad:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(value, schema)
        with pytest.raises(HttpError):
            rows(spec, value, most=3, chars=30)


def test_pair_models_require_pairs_and_text_models_texts():
    pairs = input_spec(head("classify", columns={"text": "a", "text_pair": "b", "label": "c"}))
    assert (set(pairs.fields), set(pairs.optional)) == ({"text", "text_pair"}, set())
    alone = input_spec(head("classify", columns={"text": "a", "label": "c"}))
    assert (set(alone.fields), set(alone.optional)) == ({"text"}, set())
    assert set(input_spec(head("classify")).optional) == {"text_pair"}


def test_pattern_contains_the_mask_tokens_of_all_families():
    pattern = json_schema(text_type(input_spec(head("fill")), 100))["pattern"]
    assert re.search(pattern, "a [MASK]") and re.search(pattern, "a <mask>") and not re.search(pattern, "a MASK]")
