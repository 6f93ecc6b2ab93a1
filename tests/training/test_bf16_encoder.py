"""Training in bf16 on the CPU gives the losses and gradients of the model under autocast, within bounds, and is repeatable."""

import copy
import shutil

import pytest
import torch
import transformers

from hftool.training import bf16_encoder as encoders
from hftool.training import encoder_layer, loop
from hftool.training.adapters import add_adapters
from hftool.training.bf16_encoder import bf16_encoder, running
from hftool.training.distributed import autocast
from support.trainer_factory import make_trainer, same, weights_of

LOSS, GRADIENT = 1e-2, 0.1  # bounds of the difference to autocast relative to the norms: bf16 keeps 8 bits
SIZE = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 100}
CALM = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
HEADS = ("ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering", "ForMaskedLM", "Model")


def model_of(family, head, **knobs):
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**SIZE, **knobs)
    return getattr(transformers, f"{family}{head}")(config).train()


def batch_of(lengths, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mask = (torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]).long()
    ids = torch.randint(5, 100, mask.shape, generator=generator)
    return {"input_ids": ids * mask + (1 - mask), "attention_mask": mask}


def loss_and_gradients(model, batch, encoder=None):
    """A weighted sum of the outputs at all tokens, at most 1, and its gradient of every parameter that has one."""
    model.zero_grad()
    if encoder is not None:
        encoder.refresh()
    with autocast(torch.device("cpu"), "bf16"), running(encoder, batch["attention_mask"]):
        outputs = model(**batch)[0].float()
    if outputs.shape[:2] == batch["input_ids"].shape:
        outputs = outputs[batch["attention_mask"].bool()]
    weights = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(1))
    loss = (outputs * weights).sum() / (outputs.detach().norm() * weights.norm())
    loss.backward()
    if encoder is not None:
        encoder.store()
    return float(loss.detach()), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_alike(found, expected):
    (loss, grads), (other, others) = found, expected
    assert loss == pytest.approx(other, abs=LOSS) and grads.keys() == others.keys()
    largest = max(float(gradient.norm()) for gradient in others.values())
    for name, gradient in others.items():  # that of the biases of keys is zero but for rounding
        assert float((grads[name] - gradient).norm()) <= GRADIENT * float(gradient.norm()) + 1e-4 * largest, name


@pytest.mark.parametrize("lengths", [(9, 4, 4, 2), (6, 6), (60, 33)], ids=["padded", "equal", "long"])
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("family", ["Bert", "Roberta"])
def test_losses_and_gradients_are_those_of_autocast_without_dropout(family, head, lengths):
    model, batch = model_of(family, head, **CALM), batch_of(lengths)
    encoder = bf16_encoder(model)
    assert encoder is not None and model.training
    assert encoder.first_only == (head == "ForSequenceClassification")
    assert_alike(loss_and_gradients(model, batch, encoder), loss_and_gradients(model, batch))


@pytest.mark.parametrize("length", [7, 60], ids=["keys first", "keys last"])
def test_dropout_is_where_the_model_has_it(monkeypatch, length):
    """With the same masks, in the order in which the model draws them, losses and gradients are alike."""
    model = model_of("Bert", "ForTokenClassification", attn_implementation="eager")
    encoder, batch = bf16_encoder(model), batch_of((length, length, length))
    generator = torch.Generator()

    def random_mask(shape, p):
        return (torch.rand(shape, generator=generator) >= p).float()

    def dropout(states, p=0.5, training=True, inplace=False):
        return states * random_mask(states.shape, p) / (1 - p) if training else states

    def draw_mask(shape, p):
        if len(shape) == 4 and length < 48:  # (keys, B, heads, queries)
            keys, *rest = shape
            return random_mask((*rest, keys), p).permute(3, 0, 1, 2).contiguous().bfloat16(), 1 / (1 - p)
        return random_mask(shape, p).bfloat16(), 1 / (1 - p)

    def add_dropped(residual, states, p):
        mask, scale = draw_mask(states.shape, p)
        return torch.addcmul(residual, states, mask, value=scale), mask, scale

    monkeypatch.setattr(torch.nn.functional, "dropout", dropout)
    monkeypatch.setattr(encoder_layer, "draw_mask", draw_mask)
    monkeypatch.setattr(encoder_layer, "add_dropped", add_dropped)
    found = loss_and_gradients(model, batch, encoder)
    generator.manual_seed(generator.initial_seed())
    assert_alike(found, loss_and_gradients(model, batch))


def test_weights_are_read_again_after_a_step_and_nothing_is_left_in_the_model():
    model, batch = model_of("Bert", "ForSequenceClassification", **CALM), batch_of((9, 4))
    encoder = bf16_encoder(model)
    before = loss_and_gradients(model, batch, encoder)[0]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    changed = loss_and_gradients(model, batch, encoder)
    assert changed[0] != pytest.approx(before, abs=2 * LOSS)
    assert_alike(changed, loss_and_gradients(model, batch))
    assert "forward" not in vars(model.base_model.encoder)
    copy.deepcopy(model)


def test_a_batch_whose_rows_do_not_begin_with_a_token_runs_as_before():
    model, batch = model_of("Bert", "ForSequenceClassification", **CALM), batch_of((9, 4))
    batch = {name: values.flip(1) for name, values in batch.items()}
    found, expected = (loss_and_gradients(model, batch, encoder) for encoder in (bf16_encoder(model), None))
    assert found[0] == expected[0] and all(torch.equal(found[1][name], g) for name, g in expected[1].items())


def test_with_frozen_embeddings_the_layers_get_their_gradients():
    model, batch = model_of("Bert", "ForSequenceClassification", **CALM), batch_of((9, 4))
    model.base_model.embeddings.requires_grad_(False)
    encoder = bf16_encoder(model)
    assert encoder is not None and encoder.rows is None
    assert_alike(loss_and_gradients(model, batch, encoder), loss_and_gradients(model, batch))


def test_gradients_of_several_batches_are_added_up():
    model, batch = model_of("Bert", "ForSequenceClassification", **CALM), batch_of((9, 4))
    encoder = bf16_encoder(model)
    once = loss_and_gradients(model, batch, encoder)[1]
    model.zero_grad()
    for _ in range(2):
        with autocast(torch.device("cpu"), "bf16"), running(encoder, batch["attention_mask"]):
            model(**batch)[0].float().square().sum().backward()
    encoder.store()
    twice = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    with autocast(torch.device("cpu"), "bf16"), running(encoder, batch["attention_mask"]):
        model(**batch)[0].float().square().sum().backward()
    encoder.store()
    assert twice.keys() == once.keys()
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(twice[name], 2 * parameter.grad, msg=name)


def frozen(model):
    model.base_model.encoder.layer[0].requires_grad_(False)
    return model


def recomputed(model):
    model.activation_checkpointing_enable()
    return model


OTHERS = {
    "another architecture": lambda: model_of("Electra", "ForSequenceClassification"),
    "GPT-2": lambda: transformers.GPT2LMHeadModel(transformers.GPT2Config(n_embd=32, n_layer=1, n_head=2, vocab_size=100)),
    "T5": lambda: transformers.T5EncoderModel(transformers.T5Config(d_model=32, num_layers=1, num_heads=2, vocab_size=100)),
    "another activation": lambda: model_of("Bert", "ForSequenceClassification", hidden_act="gelu_new"),
    "a decoder": lambda: model_of("Bert", "LMHeadModel", is_decoder=True),
    "chunks": lambda: model_of("Bert", "ForSequenceClassification", chunk_size_feed_forward=4),
    "frozen weights": lambda: frozen(model_of("Bert", "ForSequenceClassification")),
    "activation checkpointing": lambda: recomputed(model_of("Bert", "ForSequenceClassification")),
    "adapters": lambda: add_adapters(model_of("Bert", "ForSequenceClassification"), 4),
    "fp64": lambda: model_of("Bert", "ForSequenceClassification").double(),
}


@pytest.mark.parametrize("make", OTHERS.values(), ids=OTHERS)
def test_other_models_train_as_they_are(make):
    model = make()
    modes = [module.training for module in model.modules()]
    assert bf16_encoder(model) is None
    assert [module.training for module in model.modules()] == modes


@pytest.mark.parametrize("name", ["attend", "attend_backward", "gelu"])
def test_a_model_with_other_outputs_or_gradients_trains_as_it_is(monkeypatch, name):
    right = getattr(encoder_layer, name)

    def wrong(*args):
        found = right(*args)
        return (found[0] * 1.5, *found[1:]) if isinstance(found, tuple) else found * 1.5

    monkeypatch.setattr(encoder_layer, name, wrong)
    assert bf16_encoder(model_of("Bert", "ForSequenceClassification")) is None


def test_the_check_draws_nothing_and_leaves_no_gradient():
    model = model_of("Roberta", "ForSequenceClassification")
    state = torch.get_rng_state()
    assert bf16_encoder(model) is not None
    assert torch.equal(torch.get_rng_state(), state) and all(p.grad is None for p in model.parameters())


def trained(folder, out, **knobs):
    trainer = make_trainer(folder, out, precision="bf16", **{"epochs": 2.0, "max_steps": 6, **knobs})
    assert trainer.encoder is not None
    trainer.train()
    return trainer


def test_the_same_seed_gives_the_same_weights_bitwise(tiny_bert, tmp_path):
    one, two = trained(tiny_bert, tmp_path / "a"), trained(tiny_bert, tmp_path / "b")
    other = trained(tiny_bert, tmp_path / "c", seed=1)
    assert same(weights_of(one), weights_of(two)) and not same(weights_of(one), weights_of(other))
    assert {p.dtype for p in one.model.parameters()} == {torch.float32}


@pytest.mark.parametrize("before", [True, False], ids=["of this version", "of an older version"])
def test_a_run_resumes_from_a_checkpoint(tiny_bert, tmp_path, monkeypatch, before):
    """Bitwise where both parts ran this way; one that began under autocast has checkpoints of the same form."""
    whole = trained(tiny_bert, tmp_path / "whole")
    with monkeypatch.context() as patch:
        if not before:
            patch.setattr(loop, "bf16_encoder", lambda model: None)
        first = make_trainer(tiny_bert, tmp_path / "first", precision="bf16", epochs=2.0, max_steps=6, save_steps=1)
        assert (first.encoder is not None) == before
        first.train()
    second = make_trainer(tiny_bert, tmp_path / "second", precision="bf16", epochs=2.0, max_steps=6, save_steps=1)
    shutil.copytree(first.store.path(5), second.store.path(5))
    second.restore(second.store.path(5))
    second.train()
    assert second.position.step == 6 and same(weights_of(second), weights_of(whole)) == before


def test_accumulated_batches_give_the_gradient_of_one_big_batch(tiny_bert, tmp_path):
    whole = make_trainer(tiny_bert, tmp_path / "a", precision="bf16", batch_size=16)
    parts = make_trainer(tiny_bert, tmp_path / "b", precision="bf16", batch_size=4, accumulate=4)
    for (_, one), (_, four) in zip(whole._rest_of_epoch(), parts._rest_of_epoch(), strict=True):
        norms = []
        for trainer, batches in ((whole, one), (parts, four)):
            trainer.model.eval()
            trainer.optimizer.zero_grad()
            norms.append(trainer.scale_and_clip(trainer.backward(batches)[1]))
        assert norms[0] == pytest.approx(norms[1], rel=0.02)
        of_whole, of_parts = (trainer.model.get_input_embeddings().weight.grad for trainer in (whole, parts))
        assert float((of_whole - of_parts).norm()) <= 0.05 * float(of_whole.norm())


def test_layers_are_found_by_their_full_names():
    for name in encoders.LAYERS:
        module, _, kind = name.rpartition(".")
        assert hasattr(__import__(module, fromlist=[kind]), kind)
