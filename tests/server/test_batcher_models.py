"""The batcher with real models: its answers are those of the predictor to each row alone."""

import asyncio
import math
import random

import pytest
import torch

from hftool.engines.fused_t5 import T5State
from hftool.errors import DataError
from hftool.models import HeadConfig, auto_class_of, load_model, read_model_config
from hftool.server.batching.batcher import RowFailed
from hftool.server.prometheus import Stats
from hftool.workflow._infer import natural_options
from hftool.workflow._load import load, make_predictor
from support import families
from support.fake_predictor import serving, until

LABELS = {"labels": ("bad", "good"), "max_length": 64}
CARDS = {  # head -> family, its card, the role that is asked
    "classify": ("bert", LABELS, ("text",)),
    "tag": ("roberta", {"labels": ("O", "B-X"), "max_length": 24}, ("text",)),
    "answer": ("bert", {"max_length": 24}, ("context", "question")),
    "embed": ("bert", {"max_length": 64}, ("text",)),
    "fill": ("bert", {"max_length": 64}, ("text",)),
    "generate": ("gpt2", {"max_new_tokens": 4}, ("prompt",)),
    "text2text": ("t5", {"max_new_tokens": 12}, ("source",)),
}


def loaded(head):
    kind, known, roles = CARDS[head]
    folder = families.folder(kind)
    head_config = HeadConfig(head=head, **known)
    torch.manual_seed(0)
    return load_model(folder, auto_class_of(head, read_model_config(folder)), head_config=head_config, new_head=True), roles


def texts(count, mask=""):
    draws = random.Random(1)
    return [" ".join([*draws.choices(families.WORDS, k=draws.randint(1, 30)), mask]).strip() for _ in range(count)]


def same(one, other):
    """Whether two answers are alike: numbers within 1e-5, all else equal."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) or hasattr(one, "shape"):
        return bool((abs(torch.as_tensor(one) - torch.as_tensor(other)) <= 1e-5).all())
    return one == other


@pytest.mark.parametrize("head", CARDS)
def test_batched_answers_equal_those_of_each_row_alone(head):
    model, roles = loaded(head)
    queries = [dict.fromkeys(roles, text) for text in texts(40, "[MASK]" if head == "fill" else "")]
    predictor = make_predictor(model, options=natural_options(model))
    alone = [next(predictor.answer([row])) for row in queries]

    async def scene():
        stats = Stats()
        async with serving_model(model, stats=stats) as batcher:
            requests = [queries[:1], queries[1:4], *([row] for row in queries[4:30]), queries[30:]]
            result = await asyncio.gather(*(batcher.submit(rows, options={}, timeout=30) for rows in requests))
            assert stats.count("hftool_batch_items") < 20  # so that batches were made
            return [answer for answers in result for answer in answers]

    for one, other in zip(asyncio.run(scene()), alone, strict=True):
        assert same(one, other), (one, other)


def serving_model(model, **more):
    class Gate:
        def set(self):
            pass

    fake = type("Fake", (), {"gate": Gate()})()
    return serving(
        fake, make=lambda options: make_predictor(model, options={**natural_options(model), **options}, packed=True), **more
    )


def test_row_with_nan_outputs_fails_alone():
    model, _ = loaded("classify")
    word = model.tokenizer.convert_tokens_to_ids("cat")
    with torch.no_grad():
        model.model.get_input_embeddings().weight[word] = math.nan

    async def scene():
        async with serving_model(model) as batcher:
            queries = ["a dog", "the box is red", "a cat", "a car"]
            result = await batcher.submit([{"text": text} for text in queries], options={}, timeout=30)
            assert [isinstance(one, RowFailed) for one in result] == [False, False, True, False]
            assert "NaN" in str(result[2])

    asyncio.run(scene())


@pytest.mark.parametrize("beams", [1, 4])
def test_cancelling_a_request_stops_its_generation(beams, monkeypatch):
    model = load(str(families.folder("t5")))
    steps, streamed = [], []
    decode = T5State.decode

    def counted(state, tokens, rows=None):
        steps.append(1)
        return decode(state, tokens, rows)

    async def scene():
        async with serving_model(model) as batcher:
            monkeypatch.setattr(T5State, "decode", counted)
            options = {"sampling": {"max_new_tokens": 5000, "beams": beams}}
            queries = batcher.submit(
                [{"source": "red cat"}], options=options, timeout=30, on_token=lambda row, token: streamed.append(token)
            )
            task = asyncio.create_task(queries)
            await until(lambda: len(steps) > 10)
            task.cancel()
            before = len(steps)
            with pytest.raises(asyncio.CancelledError):
                await task
            await until(lambda: batcher.waiting == 0)
            assert len(steps) - before <= 2
            assert (len(streamed) > 5) == (beams == 1)

    asyncio.run(scene())


def test_streamed_tokens_decode_to_the_answer():
    model, _ = loaded("generate")

    async def scene():
        async with serving_model(model) as batcher:
            streamed = {0: [], 1: []}
            rows = [{"prompt": "the red cat is warm"}, {"prompt": "who"}]
            result = await batcher.submit(rows, options={}, timeout=30, on_token=lambda row, token: streamed[row].append(token))
            for row in (0, 1):
                assert model.tokenizer.decode(streamed[row]) == result[row]["text"]

    asyncio.run(scene())


def test_prompt_over_the_context_length_fails_alone():
    model, _ = loaded("generate")

    async def scene():
        async with serving_model(model) as batcher:
            result = await batcher.submit([{"prompt": "the cat"}, {"prompt": "cat " * 90}], options={}, timeout=30)
            assert result[0]["text"] and isinstance(result[1], DataError)

    asyncio.run(scene())
