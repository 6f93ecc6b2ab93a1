"""Prompts and inputs of OpenAI's clients (texts, token ids, lists, null), and sampling by seeds."""

import functools

import numpy as np
import pytest

from hftool import workflow
from hftool.errors import DataError, HftoolError
from hftool.server.protocols.sampling import with_seeds
from hftool.workflow._load import make_predictor
from support.asgi_calls import FakeBatcher, ask, served, service
from support.families import folder
from support.matrices import each_value


@pytest.fixture(scope="module")
def gpt2():
    return workflow.load(str(folder("gpt2")), offline=True)


def head_of(loaded, **options):
    return make_predictor(loaded, options=options).head


class Model(FakeBatcher):
    """A batcher that answers with the model itself, one row after the other."""

    def __init__(self, loaded):
        super().__init__()
        self.loaded = loaded

    async def submit(self, rows, *, options, timeout, on_token=None, on_tokenized=None):
        self.submitted.append((list(rows), dict(options), timeout))
        predictor, result = make_predictor(self.loaded, options=options), []
        for i, row in enumerate(rows):
            try:
                [feature] = predictor.head.encode([row])
            except HftoolError as error:
                result.append(error)
                continue
            if on_tokenized:
                on_tokenized(i, feature.length)
            result += predictor.answer_features([feature])
        return result


@pytest.fixture
def writer(gpt2):
    return served(head_of(gpt2), Model(gpt2), "writer")


@functools.cache
def loaded_from(folder):
    return workflow.load(str(folder), offline=True)


def embedder(tiny_bert):
    from hftool.heads import head_class
    from hftool.models import HeadConfig

    loaded = loaded_from(tiny_bert)
    head = head_class("embed")(tokenizer=loaded.tokenizer, head_config=HeadConfig(head="embed"))
    return served(head, FakeBatcher(lambda row: {"embedding": np.array([1, -2], np.float32)}), "vectors")


def complete(model, **body):
    return ask(service(model), "/v1/completions", {"model": "writer", "max_tokens": 12, **body})


def texts_of(model, **body):
    status, _, result, _ = complete(model, **body)
    assert status == 200, result
    return [choice["text"] for choice in result["choices"]]


# ---- token ids


@pytest.mark.parametrize("text", ["the red cat is", "a", "who went to rome ?", " ", "naïve \U0001f642", "the cup is warm and"])
def test_token_ids_are_completed_as_their_text(writer, text):
    ids = writer.tokenizer(text)["input_ids"]
    wanted = complete(writer, prompt=text, temperature=0)[2]
    for prompt in (ids, [ids]):
        result = complete(writer, prompt=prompt, temperature=0)[2]
        assert result["choices"] == wanted["choices"]
        assert result["usage"] == wanted["usage"] and result["usage"]["prompt_tokens"] == len(ids)
    several = complete(writer, prompt=[ids, [7], ids], temperature=0)[2]
    assert [c["index"] for c in several["choices"]] == [0, 1, 2]
    assert several["choices"][2]["text"] == wanted["choices"][0]["text"]
    assert several["usage"]["prompt_tokens"] == 2 * len(ids) + 1


def test_token_ids_are_not_retokenized(writer):
    """A text of these would be cut into other tokens."""
    ids = [writer.tokenizer(letter)["input_ids"][0] for letter in "the"]
    assert writer.tokenizer("the")["input_ids"] != ids
    assert writer.head.encode([{"prompt": tuple(ids)}])[0].input_ids.tolist() == ids
    assert complete(writer, prompt=ids)[2]["usage"]["prompt_tokens"] == 3


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ([5, 10**6], "token id 1000000: the vocabulary of this model has 0 to"),
        ([[5], [10**6]], "token id 1000000"),
        ([-1], "neither a text nor a list of token ids"),
        ([5, "a"], "neither a text nor a list of token ids"),
        ([5, 2.5], "neither a text nor a list of token ids"),
        ([True], "neither a text nor a list of token ids"),
        ([[5], "a"], "texts and lists of token ids"),
        ([[[5]]], "neither a text nor a list of token ids"),
        ({"text": "a"}, "neither a text nor a list of token ids"),
        ([{"text": "a"}], "neither a text nor a list of token ids"),
        (7, "neither a text nor a list of token ids"),
        ([2**31], "neither a text nor a list of token ids"),
        ([5] * 64, "has 64 tokens"),
        (None, "'prompt' is null"),
        ([], "'prompt' is an empty list"),
        (["a"] * 300, "has 300 texts and at most 256 are taken"),
        ([[5]] * 300, "has 300 texts and at most 256 are taken"),
        (["a", None], "'prompt[1]' is neither"),
        ("a" * 100_001, "at most 100000"),
        ([5] * 100_001, "at most 100000"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_invalid_prompt_is_422_with_the_reason(writer, prompt, words, stream):
    status, _, result, _ = complete(writer, prompt=prompt, stream=stream)
    assert status == 422 and result["error"]["param"] == "prompt"
    assert words in result["error"]["message"] and "valid string" not in result["error"]["message"]


EMPTY_LIST, NULL, IDS = "'input' is an empty list", "'input' is null", "contains token ids"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], EMPTY_LIST),
        ("", "'input' is empty"),
        (" ", "'input' is empty"),
        (None, NULL),
        (["a", ""], "'input[1]' is empty"),
        ([[]], IDS),
        ([5, 6], IDS),
        ([[5, 6], [7]], IDS),
        ([[100_257]], IDS),
        ([[5], "a"], IDS),
        (["a"] * 300, "has 300 texts and at most 256 are taken"),
        ([1.5], "neither a text nor"),
        ({"text": "a", "text_pair": "b"}, "neither a text nor"),
    ],
)
@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_invalid_embedding_input_is_422_with_the_reason(tiny_bert, given, words, encoding):
    body = {"model": "vectors", "input": given, "encoding_format": encoding}
    status, _, result, _ = ask(service(embedder(tiny_bert)), "/v1/embeddings", body)
    assert (status, result["error"]["param"]) == (422, "input")
    assert words in result["error"]["message"] and "valid string" not in result["error"]["message"]
    if words == IDS:
        assert "check_embedding_ctx_length=False" in result["error"]["message"]


def test_too_long_list_of_stop_strings_is_named(writer):
    message = complete(writer, prompt="a", stop=["a"] * 5)[2]["error"]["message"]
    assert message.startswith("'stop'") and "at most 4" in message


# ---- draws


def test_without_a_seed_requests_differ(writer):
    for body in ({"prompt": "the red cat is"}, {"prompt": [5, 6]}, {"prompt": "", "n": 2}, {"prompt": "a", "seed": None}):
        assert len({tuple(texts_of(writer, **body)) for _ in range(4)}) == 4
    for parameters in ({"do_sample": True}, {"temperature": 1.0}, {"do_sample": True, "top_k": 50}):
        body = {"inputs": "the red cat is", "parameters": {**parameters, "max_new_tokens": 12}}
        drawn = [ask(service(writer), "/predict", body)[2] for _ in range(4)]
        assert len({one[0]["generated_text"] for one in drawn}) == 4


@pytest.mark.parametrize("seed", [None, 0, 7])
@pytest.mark.parametrize("n", [1, 2])
def test_equal_prompts_and_several_texts_differ(writer, seed, n):
    result = texts_of(writer, prompt=["the red cat is"] * 3, n=n, seed=seed)
    assert len(set(result)) == 3 * n
    body = {
        "inputs": ["the red cat is"] * 3,
        "parameters": {"do_sample": True, "max_new_tokens": 12, "num_return_sequences": n},
    }
    if seed is not None:
        body["parameters"]["seed"] = seed
    replies = ask(service(writer), "/predict", body)[2]
    assert len({one["generated_text"] for reply in replies for one in reply}) == 3 * n


@pytest.mark.parametrize(
    ("prompt", "seed"),
    each_value(["the red cat is", ["a", "b"], ["a", "a", "a"], [5, 6], [[5], [5], [6]]], [0, 3, 2**63 - 1]),
)
def test_same_seed_gives_the_same_samples(writer, prompt, seed):
    first = texts_of(writer, prompt=prompt, seed=seed, n=2)
    assert texts_of(writer, prompt=prompt, seed=seed, n=2) == first
    assert texts_of(writer, prompt=prompt, seed=seed + 1 if seed < 9 else 4, n=2) != first


def test_samples_of_a_prompt_do_not_depend_on_other_prompts(writer, gpt2):
    """The seed of a request and its prompt decide, not the place; and they are those of the command line."""
    alone = texts_of(writer, prompt="the red cat is", seed=3)
    assert texts_of(writer, prompt=["a", "the red cat is", "the red cat is"], seed=3)[1] == alone[0]
    settings = {"max_new_tokens": 12, "temperature": 1.0, "seed": 3}
    assert workflow.infer(gpt2, ["the red cat is"], sampling=settings)[0]["text"] == alone[0]


def test_greedy_rows_have_no_seed(writer):
    assert len({tuple(texts_of(writer, prompt=["a", "a"], temperature=0)) for _ in range(3)}) == 1
    assert [row for row in writer.batcher.submitted[0][0] if "seed" in row] == []


def test_requests_with_different_seeds_share_a_batch(gpt2):
    kinds = []
    for seed in (None, 1, 2):
        rows, options = with_seeds([{"prompt": "a"}], {"sampling": {"temperature": 1.0, "seed": seed}})
        kinds.append((sorted(rows[0]), options))
    assert kinds[0] == kinds[1] == kinds[2]
    assert head_of(gpt2, **kinds[0][1]).sampling.seed == 0


@pytest.mark.parametrize("kind", ["gpt2", "t5"])
def test_rows_of_a_batch_sample_by_their_own_seeds(kind):
    loaded = workflow.load(str(folder(kind)), offline=True)
    predictor = make_predictor(loaded, options={"sampling": {"temperature": 1.0, "max_new_tokens": 12}})
    role = {"gpt2": "prompt", "t5": "source"}[kind]
    rows = [{role: "the red cat is", "seed": seed} for seed in (1, 2, 1, 2**63 - 1)]
    texts = [answer["text"] for answer in predictor.answer(rows)]
    assert texts[0] == texts[2] and len(set(texts)) == 3
    assert [next(iter(predictor.answer([row])))["text"] for row in rows] == texts


def test_token_id_outside_the_vocabulary_is_named(gpt2):
    with pytest.raises(DataError, match=f"0 to {gpt2.model.config.vocab_size - 1}"):
        head_of(gpt2).encode([{"prompt": (gpt2.model.config.vocab_size,)}])
