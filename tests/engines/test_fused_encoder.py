"""hftool/engines/fused_encoder.py: bfloat16 layers answer as fp32 does, and fp32 decides where they could not."""

import dataclasses
import threading
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from hftool.engines import fused_encoder, fused_trial
from hftool.engines.fused_encoder import FusedEncoder, FusedModel, attend, blocks_of
from hftool.engines.fused_trial import fuse
from hftool.engines.torch import TorchEngine
from hftool.engines.unpadded import without_padding
from hftool.errors import UsageError
from hftool.heads.margins import margin_of
from hftool.inference.predictor import Predictor
from hftool.models import Loaded
from hftool.workflow._load import load, make_predictor
from support import families

TEXTS = ["the red cat", "ann went to rome with a cat .", "is", "the red cat is warm and fine .", "the blue dog", "bob " * 20]
HEADS = ["classify", "regression", "tag", "answer", "fill", "embed"]

pytestmark = pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="this processor has no bfloat16 in oneDNN"
)


@pytest.fixture(autouse=True)
def small_models_too(monkeypatch):
    monkeypatch.setattr(fused_trial, "LEAST_HIDDEN", 1)
    monkeypatch.setattr(
        "hftool.workflow._load.choose_precision", lambda wish, device, dtypes: "bf16" if wish == "auto" else wish
    )


def trained(kind: str, head: str, precision: str = "auto") -> Loaded:
    return load(str(families.trained_run(kind, head)[0].run.path), precision=precision)


def predictor(loaded: Loaded) -> Predictor:
    options = {"for_inference": True} if loaded.head_config.head == "fill" else {}
    return make_predictor(loaded, options=options, packed=True)


def rows_for(head: str) -> list[dict[str, str]]:
    if head == "answer":
        return [{"question": "who went to rome ?", "context": text} for text in TEXTS]
    return [{"text": text + (" [MASK]" if head == "fill" else "")} for text in TEXTS]


def parts_of_second(one: Predictor) -> Sequence[Any]:
    """The parts of the second row."""
    [batch] = one.make_batches(one.head.encode(rows_for(one.head.head_config.head)[1:2]))
    return one.compute(batch)


@pytest.mark.parametrize("kind", ["bert", "roberta"])
@pytest.mark.parametrize("head", HEADS)
def test_outputs_are_those_of_fp32_within_the_tolerance(kind, head):
    fast = predictor(trained(kind, head))
    assert isinstance(fast.engine, TorchEngine)
    assert fast.engine.number_format == "bf16" and fast.engine.fused is not None
    differs = False
    for batch in fast.make_batches(fast.head.encode(rows_for(head))):
        mask = batch.inputs["attention_mask"].bool()
        outputs = fast.engine.forward(batch.inputs, fast.head.outputs)
        exact = fast.engine.exact().forward(batch.inputs, fast.head.outputs)
        for name in fast.head.outputs:
            values, others = outputs[name], exact[name]
            if values.shape[:2] == mask.shape:
                values, others = values[mask], others[mask]
            error = float((values - others).abs().max())
            assert error <= fast.engine.tolerance
            differs = differs or error > 0
    assert differs  # the test would pass if fp32 ran twice


@pytest.mark.parametrize("kind", ["bert", "roberta"])
@pytest.mark.parametrize("head", ["classify", "tag", "answer", "fill"])
def test_decisions_are_those_of_fp32(kind, head):
    fast, exact = predictor(trained(kind, head)), predictor(trained(kind, head, "fp32"))
    assert exact.engine.number_format == "fp32" and exact.engine.tolerance == 0
    decisions = [[one.head.decision(answer) for answer in one.answer(rows_for(head))] for one in (fast, exact)]
    assert decisions[0] == decisions[1]


@pytest.mark.parametrize("head", ["classify", "tag", "answer", "fill"])
def test_rows_whose_margin_is_within_the_tolerance_are_computed_in_fp32(head):
    """With a tolerance over every margin all answers are bitwise those of fp32; with one of 0 they are not."""
    fast, exact = predictor(trained("bert", head)), predictor(trained("bert", head, "fp32"))
    assert isinstance(fast.engine, TorchEngine) and fast.engine.fused is not None
    rows, expected = rows_for(head), list(exact.answer(rows_for(head)))
    for tolerance, same in ((1e6, True), (0.0, False)):
        model = dataclasses.replace(fast.engine.fused, tolerance=tolerance)
        answers = list(dataclasses.replace(fast, engine=dataclasses.replace(fast.engine, fused=model)).answer(rows))
        assert (answers == expected) is same


def test_margin_of_each_head():
    assert margin_of([0.2, 0.8]) == pytest.approx(1.3863, abs=1e-4)
    assert margin_of([0.1, 0.6, 0.3]) == pytest.approx(0.6931, abs=1e-4)
    assert margin_of([1.0]) == margin_of([1.0, 0.0]) == float("inf")
    for head, least, most in (("classify", 0, 50), ("tag", 0, 50), ("answer", 0, 50), ("fill", 0, 50)):
        one = predictor(trained("bert", head, "fp32"))
        parts = parts_of_second(one)
        assert least <= one.head.margin(parts, one.head.join(parts)) <= most
    for head in ("regression", "embed"):
        one = predictor(trained("bert", head, "fp32"))
        parts = parts_of_second(one)
        assert one.head.margin(parts, one.head.join(parts)) == float("inf")


def test_margin_of_a_question_that_may_have_no_answer():
    """No answer counts as a span: its score is as far ahead as the next span is behind."""
    one = predictor(trained("bert", "answer", "fp32"))
    parts = parts_of_second(one)
    config = dataclasses.replace(one.head.head_config, problem_type="answer_or_none")
    head = dataclasses.replace(one.head, head_config=config)  # type: ignore[type-var]
    best = one.head.join(parts)["candidates"]
    close = [dataclasses.replace(part, null=1e3) for part in parts]
    assert head.margin(close, head.join(close)) > 100  # no answer, by far
    far = [dataclasses.replace(part, null=-1e3) for part in parts]
    assert head.margin(far, head.join(far)) == pytest.approx(margin_of([one["probability"] for one in best]) / 2)


def test_models_without_these_layers_are_not_fused(monkeypatch):
    model = trained("bert", "classify").model
    monkeypatch.setattr(model.config, "hidden_act", "silu")
    assert FusedEncoder.of(model) is None and fuse(model) is None
    for kind, head in (("gpt2", "classify"), ("t5", "embed")):
        other = load(str(families.folder(kind)), head=head).model
        assert fuse(other) is None


def test_model_that_fails_the_trial_is_not_fused(monkeypatch):
    loaded = trained("bert", "classify")
    monkeypatch.setattr(FusedEncoder, "__call__", lambda self, states, groups, first=None: states[first] * 3.0)
    assert fuse(loaded.model) is None
    assert predictor(loaded).engine.number_format == "fp32"


def test_small_models_keep_fp32(monkeypatch):
    monkeypatch.setattr(fused_trial, "LEAST_HIDDEN", 256)
    assert predictor(trained("bert", "classify")).engine.number_format == "fp32"


def test_fused_layers_are_local_to_their_thread():
    model = trained("bert", "classify").model
    known = fuse(model)
    assert isinstance(known, FusedModel)
    batch = {"input_ids": torch.tensor([[5, 6, 7, 8]]), "attention_mask": torch.ones(1, 4, dtype=torch.long)}
    with torch.no_grad():
        expected, seen = model(**batch).logits, []
        with without_padding(batch["attention_mask"], known.encoder):
            assert not torch.equal(model(**batch).logits, expected)
            thread = threading.Thread(target=lambda: seen.append(model(**batch).logits.detach()))
            thread.start()
            thread.join()
    assert torch.equal(seen[0], expected)


def test_first_tokens_alone_equal_those_of_the_whole_last_layer():
    """Without keys and values of the other tokens; biases as large as the products, so that one left out would show."""
    loaded = trained("bert", "classify")
    own = loaded.model.base_model.encoder.layer[-1].attention.self
    for layer in (own.query, own.key, own.value):
        torch.nn.init.normal_(layer.bias, generator=torch.Generator().manual_seed(0))
    encoder = FusedEncoder.of(loaded.model)
    assert encoder is not None
    states = torch.randn(26, own.query.in_features, generator=torch.Generator().manual_seed(0))
    groups, first = [(2, 9), (2, 4)], torch.tensor([0, 9, 18, 22])
    whole, alone = encoder(states, groups)[first], encoder(states, groups, first)
    assert torch.allclose(whole, alone, atol=0.04) and not torch.allclose(whole[:2], alone[2:], atol=0.5)


@pytest.mark.parametrize("size", [1.0, 40.0])
def test_attention_of_short_rows_to_scores_of_any_size(size):
    """Scores over EXPONENT, whose exponential would be infinite, too."""
    states = (size * torch.randn(12, 3 * 8, generator=torch.Generator().manual_seed(0))).bfloat16()
    attended = attend(states, blocks_of([(2, 4), (1, 4)]), 2)
    query, key, value = states.float().view(3, 4, 3, 2, 4).permute(2, 0, 3, 1, 4)
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, scale=1.0).transpose(1, 2).reshape(12, 8)
    assert bool((query @ key.transpose(2, 3)).abs().max() > fused_encoder.EXPONENT) is (size > 1)
    assert torch.allclose(attended.float(), expected, atol=0.02 * size)


@pytest.mark.parametrize("exponent", [80.0, 0.0])
@pytest.mark.parametrize("lengths", [[70, 66, 33, 33, 20, 19, 5, 5], [300, 299, 3], [64, 64, 63], [1]])
def test_attention_of_rows_of_similar_length_equals_that_of_each_row(monkeypatch, exponent, lengths):
    """The padding of a block is neither attended to nor returned, whichever way the softmax is computed."""
    monkeypatch.setattr(fused_encoder, "EXPONENT", exponent)
    states = torch.randn(sum(lengths), 3 * 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    blocks = blocks_of([(1, length) for length in lengths])
    assert len(blocks) == len({-(-length // fused_encoder.MULTIPLE) for length in lengths})
    attended, start = attend(states, blocks, 2).float(), 0
    for length in lengths:
        query, key, value = states[start : start + length].float().view(length, 3, 2, 4).permute(1, 2, 0, 3)
        expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, scale=1.0)
        found = attended[start : start + length].view(length, 2, 4).transpose(0, 1)
        assert torch.allclose(found, expected, atol=0.03)
        start += length


def test_unknown_precision_is_named():
    with pytest.raises(UsageError, match="precision 'fp8' is not known"):
        trained("bert", "classify", "fp8")


def test_int8_is_for_generation():
    with pytest.raises(UsageError, match="a model that is to classify is not computed in int8"):
        trained("bert", "classify", "int8")
    loaded = load(str(families.folder("gpt2")), precision="int8")
    generator = predictor(loaded)
    assert generator.engine.number_format == "int8" and type(generator.engine.begin(prompt())).__name__ == "GPT2State"


def prompt() -> dict[str, torch.Tensor]:
    return {"input_ids": torch.tensor([[5, 6, 7]]), "attention_mask": torch.ones(1, 3, dtype=torch.long)}
