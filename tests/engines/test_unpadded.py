"""hftool/engines/unpadded.py: the unpadded forward pass gives the same answers and leaves the padded one unchanged."""

import threading

import pytest
import torch

from hftool.engines import unpadded
from hftool.engines.unpadded import supports_unpadding, without_padding
from hftool.heads.protocol import Answer
from hftool.workflow._load import load, make_predictor
from support import families

TEXTS = ["the red cat", "ann went to rome with a cat .", "is", "the red cat is warm and fine .", "the blue dog", "bob " * 20]


def numbers(answer):
    """All numbers of an answer, in order, and its remaining values."""
    if isinstance(answer, dict):
        answer = [item for pair in sorted(answer.items()) for item in pair]
    if isinstance(answer, list | tuple):
        found = [numbers(item) for item in answer]
        return [n for ns, _ in found for n in ns], [rest for _, rest in found]
    if isinstance(answer, float):
        return [answer], None
    return (answer.tolist(), None) if hasattr(answer, "tolist") else ([], answer)


def rows_for(head):
    if head == "answer":
        return [{"question": "who went to rome ?", "context": text} for text in TEXTS]
    suffix = " [MASK]" if head == "fill" else ""
    return [{"text": text + suffix} for text in TEXTS]


@pytest.mark.parametrize("kind", ["bert", "roberta"])
@pytest.mark.parametrize("task", ["classify", "tag", "answer", "fill", "embed"])
def test_answers_equal_those_with_padding(kind, task):
    options = {"for_inference": True} if task == "fill" else {}
    model = load(str(families.trained_run(kind, task)[0].run.path))
    rows = rows_for(task)
    plain, fast = (make_predictor(model, options=options, packed=packed) for packed in (False, True))
    assert fast.engine.packs and not plain.engine.packs
    before: list[Answer] = list(plain.answer(rows))
    for one, other in zip(before, fast.answer(rows), strict=True):
        (a, rest_a), (b, rest_b) = numbers(one), numbers(other)
        assert rest_a == rest_b and a == pytest.approx(b, abs=1e-5)
    # the padded forward pass of the same model is still bitwise the same
    assert [numbers(one) for one in plain.answer(rows)] == [numbers(one) for one in before]


def test_rows_do_not_attend_to_each_other():
    """Each row has the same answer alone and in a batch."""
    model = load(str(families.trained_run("bert", "classify")[0].run.path))
    fast = make_predictor(model, packed=True)
    together = list(fast.answer([{"text": text} for text in TEXTS]))
    for text, answer in zip(TEXTS, together, strict=True):
        [alone] = fast.answer([{"text": text}])
        assert alone["probabilities"] == pytest.approx(answer["probabilities"], abs=1e-5)


@pytest.mark.parametrize(("kind", "head"), [("gpt2", "classify"), ("t5", "embed")])
def test_unsupported_models_are_unchanged(kind, head):
    model = load(str(families.folder(kind)), head=head)
    assert not supports_unpadding(model.model) and model.model.config._attn_implementation == "sdpa"
    assert not make_predictor(model, packed=True).engine.packs


def test_model_that_fails_the_trial_is_unchanged(monkeypatch):
    model = load(str(families.trained_run("bert", "classify")[0].run.path))
    before = list(make_predictor(model).answer([{"text": text} for text in TEXTS]))
    monkeypatch.setattr(unpadded, "_is_equal", lambda model: False)
    assert not supports_unpadding(model.model) and model.model.config._attn_implementation == "sdpa"
    assert list(make_predictor(model, packed=True).answer([{"text": text} for text in TEXTS])) == before


def test_trial_detects_attention_between_rows(monkeypatch):
    model = load(str(families.trained_run("bert", "classify")[0].run.path))
    monkeypatch.setattr(unpadded, "_groups", lambda lengths: [(1, sum(lengths))])
    assert not supports_unpadding(model.model)


def test_unpadding_is_local_to_its_thread():
    model = load(str(families.trained_run("bert", "classify")[0].run.path)).model
    assert supports_unpadding(model)
    batch = {
        "input_ids": torch.tensor([[5, 6, 7, 8], [5, 6, 7, 0]]),
        "attention_mask": torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]]),
    }
    with torch.no_grad():
        expected = model(**batch).logits
        seen = []
        with without_padding(torch.ones(1, 2)):
            thread = threading.Thread(target=lambda: seen.append(model(**batch).logits.detach()))
            thread.start()
            thread.join()
    assert torch.equal(seen[0], expected)


def computes_first_tokens_only(model):
    """Whether the last layer computes the first token of each row only."""
    return unpadded._select_first in model.model.base_model.encoder.layer[-1].attention.output._forward_pre_hooks.values()


@pytest.mark.parametrize("kind", ["bert", "roberta"])
@pytest.mark.parametrize("task", ["classify", "regression", "tag", "answer", "fill", "embed"])
def test_last_layer_computes_first_tokens_only_where_only_they_are_read(kind, task):
    model = load(str(families.trained_run(kind, task)[0].run.path))
    assert supports_unpadding(model.model)
    assert computes_first_tokens_only(model) == (task in ("classify", "regression"))


def test_rows_of_one_token():
    """In rows of one token the first tokens are all tokens."""
    model = load(str(families.trained_run("bert", "classify")[0].run.path)).model
    batch = {"input_ids": torch.tensor([[5], [6], [7]]), "attention_mask": torch.ones(3, 1, dtype=torch.long)}
    with torch.no_grad():
        expected = model(**batch).logits
        assert supports_unpadding(model)
        with without_padding(batch["attention_mask"]):
            torch.testing.assert_close(model(**batch).logits, expected, atol=1e-5, rtol=0)


def test_last_layer_is_complete_where_every_token_is_read(monkeypatch):
    """A pooler that sums over a row is detected by the trial run only, whose rows have 9, 4, 4 and 1 tokens."""
    model = load(str(families.trained_run("bert", "classify")[0].run.path))
    pooler = model.model.base_model.pooler
    mask = (torch.arange(9)[None] < torch.tensor([9, 4, 4, 1])[:, None])[..., None]
    monkeypatch.setattr(pooler, "forward", lambda states: torch.tanh(pooler.dense((states * mask).sum(dim=1))))
    assert supports_unpadding(model.model) and not computes_first_tokens_only(model)
