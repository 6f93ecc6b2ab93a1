import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration, T5Tokenizer

from hftool.errors import UsageError
from hftool.heads import get_head
from hftool.heads.protocol import GeneratedText, SamplingParams
from hftool.heads.text2text.head import Text2TextHead
from hftool.models import HeadConfig

UNUSUAL = ["", "🙂 🏳️‍🌈", "مرحبا שלום", "\ufeff", "\ufeffa film", " ", "\n", "a" * 100_000, "a warm film " * 8_000]
ENGLISH = [
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "red",
    "blue",
    "green",
    "white",
    "black",
    "grey",
]
GERMAN = [
    "eins",
    "zwei",
    "drei",
    "vier",
    "fünf",
    "sechs",
    "sieben",
    "acht",
    "neun",
    "zehn",
    "rot",
    "blau",
    "grün",
    "weiß",
    "schwarz",
    "grau",
]


@pytest.fixture(scope="module")
def tokenizer():
    return T5Tokenizer().train_new_from_iterator([*ENGLISH, *GERMAN, "translate: a warm film."] * 3, 300)


@pytest.fixture
def config(tokenizer):
    return T5Config(
        vocab_size=len(tokenizer),
        d_model=32,
        d_kv=16,
        d_ff=64,
        num_layers=2,
        num_heads=2,
        decoder_start_token_id=0,
        dropout_rate=0,
    )


@pytest.fixture
def model(config):
    torch.manual_seed(0)
    return T5ForConditionalGeneration(config).eval()


@pytest.fixture
def head(tokenizer, config):
    return Text2TextHead(tokenizer, HeadConfig(head="text2text", prefix="translate: ", max_length=24, max_new_tokens=8), config)


def pairs():
    return [{"source": a, "target": b} for a, b in zip(ENGLISH, GERMAN, strict=True)]


def test_get_head_returns_the_head(tokenizer, config):
    head_config = HeadConfig(head="text2text")
    assert get_head(tokenizer, head_config, config) == Text2TextHead(tokenizer, head_config, config)


def test_features_equal_the_tokenizer_output(head, tokenizer):
    features = head.encode(pairs())
    assert [f.input_ids.tolist() for f in features] == tokenizer([f"translate: {a}" for a in ENGLISH])["input_ids"]
    assert [f.target.tolist() for f in features] == tokenizer(text_target=GERMAN)["input_ids"]
    assert all(f.target[-1] == tokenizer.eos_token_id and f.truncated == 0 for f in features)
    assert head.encode([]) == []


def test_long_texts_are_truncated_and_keep_the_end_token(head, tokenizer):
    long = "a warm film " * 10
    [feature] = head.encode([{"source": long, "target": long}])
    source, target = tokenizer("translate: " + long)["input_ids"], tokenizer(long)["input_ids"]
    assert feature.input_ids.tolist() == [*source[:23], tokenizer.eos_token_id]
    assert feature.target.tolist() == [*target[:7], tokenizer.eos_token_id]
    assert feature.truncated == len(source) - 24 + len(target) - 8
    assert feature.input_ids.tolist() == tokenizer("translate: " + long, truncation=True, max_length=24)["input_ids"]
    whole = Text2TextHead(tokenizer, HeadConfig(head="text2text"))  # no limit
    [feature] = whole.encode([{"source": long, "target": long}])
    assert feature.length == len(target) == len(feature.target) and feature.truncated == 0


@pytest.mark.parametrize("name", ["max_length", "max_new_tokens"])
def test_limit_without_room_for_text_is_refused(tokenizer, name):
    with pytest.raises(UsageError, match=f"{name} must be over 1 for this model, not 1"):
        Text2TextHead(tokenizer, HeadConfig(head="text2text", **{name: 1})).encode(pairs())


def test_decoder_inputs_equal_those_of_the_model(head, tokenizer, model):
    batch = head.collate(head.encode(pairs()))
    assert torch.equal(batch["decoder_input_ids"], model._shift_right(batch["labels"]))
    expected = tokenizer([f"translate: {a}" for a in ENGLISH], padding=True, return_tensors="pt")
    assert torch.equal(batch["input_ids"], expected["input_ids"])
    assert torch.equal(batch["attention_mask"], expected["attention_mask"])
    assert (batch["labels"] == -100).any() and not (batch["decoder_input_ids"] == -100).any()


@pytest.mark.parametrize("start", [0, 2])
def test_decoder_starts_with_the_configured_token(head, tokenizer, start):
    other = Text2TextHead(tokenizer, head.head_config, T5Config(decoder_start_token_id=start))
    assert set(other.collate(other.encode(pairs()))["decoder_input_ids"][:, 0].tolist()) == {start}
    unknown = Text2TextHead(tokenizer, head.head_config)
    assert unknown.collate(unknown.encode(pairs()))["decoder_input_ids"][0, 0] == tokenizer.pad_token_id


def test_loss_equals_that_of_transformers_times_the_count(head, model):
    batch = head.collate(head.encode(pairs()))
    with torch.no_grad():
        outputs = model(**batch)
        reference = model(**{key: value for key, value in batch.items() if key != "decoder_input_ids"}).loss
    total, count = head.loss(outputs, batch)
    assert count == sum(len(f.target) for f in head.encode(pairs()))
    assert float(total) == pytest.approx(float(reference) * count, rel=1e-5)


def test_inference_batches_have_no_labels(head):
    batch = head.collate(head.encode([{"source": "one"}, {"source": "seven"}]))
    assert set(batch) == {"input_ids", "attention_mask"}


def test_generated_texts_become_answers(head, tokenizer):
    def generated_text(text, finish):
        return GeneratedText(tuple(tokenizer(text)["input_ids"]), finish, -1.0)

    assert head.decode([[generated_text("zwei", "stop")]], []) == [{"text": "zwei", "finish": "stop"}]  # without the end token
    [answer] = head.decode([[generated_text("zwei", "length"), generated_text("drei", "stop")]], [])
    assert head.join([answer]) == {"text": "zwei", "finish": "length", "samples": ["zwei", "drei"]}


def test_sampling_parameters_default_to_the_head_config(head, tokenizer):
    assert head.sampling == SamplingParams(max_new_tokens=8)
    assert Text2TextHead(tokenizer, HeadConfig(head="text2text")).sampling.max_new_tokens == 128
    settings = SamplingParams(beams=4)
    assert Text2TextHead(tokenizer, head.head_config, None, settings).sampling is settings


def test_metrics_are_those_of_the_task_or_rouge(head, tokenizer):
    assert head.metrics().best == "rougeL" and head.metrics().higher_is_better and head.metrics().answers
    head_config = HeadConfig(head="text2text", measures=("bleu", "chrf"))
    assert Text2TextHead(tokenizer, head_config).metrics().names == ("bleu", "chrf") and head.metrics().report == "texts"


def test_unusual_texts_are_trained_on(head, model):
    rows = [{"source": a, "target": b} for a, b in zip(UNUSUAL, UNUSUAL[::-1], strict=True)]
    features = head.encode(rows)
    assert all(f.length <= 24 and 1 <= len(f.target) <= 8 for f in features) and features[-1].truncated > 1000
    batch = head.collate(features)
    with torch.no_grad():
        total, count = head.loss(model(**batch), batch)
    assert count > len(rows) and torch.isfinite(total)


def test_sixteen_pairs_are_memorized_and_reproduced(head, model):
    """Trains and generates with transformers, from encode to decode: the targets are reproduced."""
    batch, optimizer = head.collate(head.encode(pairs())), torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(120):
        total, count = head.loss(model(**batch), batch)
        (total / count).backward()
        optimizer.step()
        optimizer.zero_grad()
    batch_of_words = head.collate(head.encode([{"source": word} for word in ENGLISH]))
    outputs = model.generate(**batch_of_words, max_new_tokens=8, do_sample=False)
    answers = head.decode([[GeneratedText(tuple(row.tolist()), "stop", 0.0)] for row in outputs], [])
    assert [answer["text"] for answer in answers] == GERMAN
