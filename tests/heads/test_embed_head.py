import dataclasses
import itertools

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizer, RobertaTokenizer, T5Config, T5EncoderModel, T5Tokenizer

from hftool.errors import UsageError
from hftool.heads import get_head
from hftool.heads.embed.head import EmbedHead
from hftool.models import HeadConfig

UNUSUAL = ["", "🙂 🏳️‍🌈", "مرحبا שלום", "\ufeff", "\ufeffa film", " ", "\n", "a" * 100_000, "a warm film " * 8_000]
TEXTS = [
    "a warm funny film",
    "a cold dull film",
    "joy",
    "the cast is a delight",
    "flat and empty",
    "i loved every minute of it",
]
HEAD_CONFIG = HeadConfig(head="embed", max_length=24)


@pytest.fixture(scope="module")
def tokenizers():
    kinds = {"bert": BertTokenizer, "roberta": RobertaTokenizer, "t5": T5Tokenizer}
    return {name: kind().train_new_from_iterator(TEXTS * 3, 300) for name, kind in kinds.items()}


@pytest.fixture
def tokenizer(tokenizers):
    return tokenizers["bert"]


@pytest.fixture
def head(tokenizer):
    return EmbedHead(tokenizer, HEAD_CONFIG)


@pytest.fixture
def model(tokenizer):
    torch.manual_seed(0)
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    return BertModel(BertConfig(vocab_size=len(tokenizer), max_position_embeddings=40, **size)).eval()


def pairs(label=True):
    rows = [{"text": a, "text_pair": b} for a, b in zip(TEXTS, TEXTS[::-1], strict=True)]
    return [{**row, "label": float(i)} for i, row in enumerate(rows)] if label else rows


def predict(head, model, rows):
    features = head.encode(rows)
    batch = head.collate(features)
    inputs = {key: value for key, value in batch.items() if key != "labels"}
    with torch.no_grad():
        output = model(**inputs).last_hidden_state
    return head.decode({"last_hidden_state": output, "attention_mask": batch["attention_mask"]}, features)


def test_get_head_returns_the_head(tokenizer):
    assert get_head(tokenizer, HEAD_CONFIG, None) == EmbedHead(tokenizer, HEAD_CONFIG)


@pytest.mark.parametrize("family", ["bert", "roberta", "t5"])
def test_features_equal_the_tokenizer_output(tokenizers, family):
    tokenizer = tokenizers[family]
    features = EmbedHead(tokenizer, HEAD_CONFIG).encode([{"text": text} for text in TEXTS[:3]])
    assert [f.input_ids.tolist() for f in features] == tokenizer(TEXTS[:3])["input_ids"]
    assert all(f.aux is None and f.target is None and f.token_type_ids is None for f in features)
    long = "a warm funny film " * 20
    [feature] = EmbedHead(tokenizer, HEAD_CONFIG).encode([{"text": long, "text_pair": long}])
    whole = tokenizer(long)["input_ids"]
    assert feature.length == len(feature.aux) == 24 and feature.truncated == 2 * (len(whole) - 24)
    assert feature.input_ids[-1] == whole[-1]
    assert EmbedHead(tokenizer, HEAD_CONFIG).encode([]) == []


def test_prefix_is_prepended_to_each_text(tokenizer):
    [feature] = EmbedHead(tokenizer, dataclasses.replace(HEAD_CONFIG, prefix="a ")).encode(
        [{"text": "film", "text_pair": "cast"}]
    )
    assert tokenizer.decode(feature.input_ids, skip_special_tokens=True) == "a film"
    assert tokenizer.decode(feature.aux, skip_special_tokens=True) == "a cast"


def test_batch_of_pairs_has_first_texts_then_second_texts(head, tokenizer):
    batch = head.collate(head.encode(pairs()))
    expected = tokenizer(TEXTS + TEXTS[::-1], padding=True, return_tensors="pt")
    assert torch.equal(batch["input_ids"], expected["input_ids"])
    assert torch.equal(batch["attention_mask"], expected["attention_mask"])
    assert batch["labels"].tolist() == [0, 1, 2, 3, 4, 5] and batch["labels"].dtype == torch.float32
    assert set(head.collate(head.encode(pairs(label=False)))) == {"input_ids", "attention_mask"}


@pytest.mark.parametrize(
    ("span", "expected"),
    [((0.0, 5.0), [0, 0.2, 0.4, 0.6, 0.8, 1]), ((1.0, 6.0), [-0.2, 0, 0.2, 0.4, 0.6, 0.8]), ((2.0, 2.0), None)],
)
def test_labels_are_scaled_by_the_configured_range(tokenizer, span, expected):
    head = EmbedHead(tokenizer, dataclasses.replace(HEAD_CONFIG, label_range=span))
    labels = head.collate(head.encode(pairs()))["labels"]
    assert torch.isfinite(labels).all()
    assert expected is None or labels.tolist() == pytest.approx(expected)


def test_loss_is_the_squared_error_of_cosine_and_label(head, model):
    features = head.encode(pairs())
    batch = head.collate(features)
    inputs = {key: value for key, value in batch.items() if key != "labels"}
    with torch.no_grad():
        output = model(**inputs)
    total, count = head.loss(output, batch)
    scores = [answer["score"] for answer in predict(head, model, pairs())]
    assert count == 6
    assert float(total) == pytest.approx(sum((s - i) ** 2 for i, s in enumerate(scores)), rel=1e-5)
    parts = []
    for part in (features[:2], features[2:]):
        one = head.collate(part)
        with torch.no_grad():
            parts.append(head.loss(model(**{key: value for key, value in one.items() if key != "labels"}), one))
    assert sum(float(t) for t, _ in parts) == pytest.approx(float(total), rel=1e-5) and sum(n for _, n in parts) == 6


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_vectors_are_the_same_alone_and_in_a_batch(tokenizer, model, pooling):
    """Padding is masked in pooling; otherwise a vector would depend on the other rows of its batch."""
    head = EmbedHead(tokenizer, HEAD_CONFIG, pooling=pooling)
    together = predict(head, model, [{"text": text} for text in TEXTS])
    for text, answer in zip(TEXTS, together, strict=True):
        [alone] = predict(head, model, [{"text": text}])
        with torch.no_grad():
            states = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        reference = {"mean": states.mean(0), "cls": states[0], "max": states.amax(0)}[pooling]
        assert answer["embedding"] == pytest.approx(reference.numpy(), abs=1e-5)
        assert alone["embedding"] == pytest.approx(answer["embedding"], abs=1e-5)
    assert together[0]["embedding"].dtype == np.float32 and together[0]["embedding"].shape == (32,)


def test_score_of_a_pair_is_the_cosine_of_their_embeddings(head, model):
    vectors = [answer["embedding"] for answer in predict(head, model, [{"text": text} for text in TEXTS])]
    scores = [answer["score"] for answer in predict(head, model, pairs(label=False))]
    for a, b, score in zip(vectors, vectors[::-1], scores, strict=True):
        assert score == pytest.approx(float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)), abs=1e-5)
    [same] = predict(head, model, [{"text": "a film", "text_pair": "a film"}])
    assert head.join([same])["score"] == pytest.approx(1)


def test_unknown_settings_are_refused(tokenizer):
    with pytest.raises(UsageError, match="unknown pooling 'men'. Did you mean 'mean'"):
        EmbedHead(tokenizer, HEAD_CONFIG, pooling="men")
    with pytest.raises(UsageError, match="max_length must be over 2 for this model, not 1"):
        EmbedHead(tokenizer, HeadConfig(head="embed", max_length=1)).encode([{"text": "a film"}])


def test_metrics_are_correlations(head, tokenizer):
    metrics = head.metrics()
    assert metrics.best == "spearman" and metrics.higher_is_better and metrics.report == "regression" and metrics.answers
    assert EmbedHead(tokenizer, HeadConfig(head="embed", measures=("pearson",))).metrics().best == "pearson"


def test_unusual_texts_have_vectors_and_scores(head, model, tokenizers):
    rows = [{"text": a, "text_pair": b, "label": 1.0} for a, b in zip(UNUSUAL, UNUSUAL[::-1], strict=True)]
    assert all(-1.001 <= answer["score"] <= 1.001 for answer in predict(head, model, rows))
    assert all(np.isfinite(a["embedding"]).all() for a in predict(head, model, [{"text": text} for text in UNUSUAL]))
    torch.manual_seed(0)
    t5 = T5EncoderModel(T5Config(vocab_size=300, d_model=32, d_kv=16, d_ff=64, num_layers=1, num_heads=2)).eval()
    answers = predict(EmbedHead(tokenizers["t5"], HEAD_CONFIG), t5, [{"text": text} for text in UNUSUAL])
    assert all(np.isfinite(answer["embedding"]).all() for answer in answers)


def test_sixteen_pairs_are_memorized(tokenizer, model):
    """Training moves similar pairs together and the others apart, from encode to decode."""
    head = EmbedHead(tokenizer, dataclasses.replace(HEAD_CONFIG, label_range=(0.0, 5.0)))
    found = [*itertools.combinations(TEXTS, 2), (TEXTS[0], TEXTS[0])]
    rows = [{"text": a, "text_pair": b, "label": 5.0 if i % 3 == 0 else 1.0} for i, (a, b) in enumerate(found)]
    batch, optimizer = head.collate(head.encode(rows)), torch.optim.AdamW(model.parameters(), lr=3e-3)
    inputs = {key: value for key, value in batch.items() if key != "labels"}
    first = last = None
    for _ in range(60):
        total, count = head.loss(model(**inputs), batch)
        last = float(total.detach()) / count
        first = last if first is None else first
        (total / count).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert last < first / 3
    scores = [answer["score"] for answer in predict(head, model, rows)]
    similar = [score for score, row in zip(scores, rows, strict=True) if row["label"] == 5.0]
    dissimilar = [score for score, row in zip(scores, rows, strict=True) if row["label"] == 1.0]
    assert np.mean(similar) > np.mean(dissimilar) + 0.2
