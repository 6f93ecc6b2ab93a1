import dataclasses

import numpy as np
import pytest
import torch
from transformers import (
    AddedToken,
    BertConfig,
    BertForMaskedLM,
    BertTokenizer,
    GPT2Tokenizer,
    RobertaConfig,
    RobertaForMaskedLM,
    RobertaTokenizer,
)

from hftool.data.batches import budget_batches
from hftool.errors import ConfigError, DataError, UsageError
from hftool.heads import get_head
from hftool.heads.fill.head import FillHead
from hftool.models import HeadConfig

UNUSUAL = ["", "🙂 🏳️‍🌈", "مرحبا שלום", "\ufeff", "\ufeffa film", " ", "\n", "a" * 100_000, "a warm film " * 8_000]
NOUNS = [
    "film",
    "cast",
    "story",
    "music",
    "ending",
    "camera",
    "voice",
    "light",
    "stage",
    "song",
    "colour",
    "scene",
    "script",
    "joke",
    "plot",
    "hero",
]
COLOURS = [
    "red",
    "blue",
    "green",
    "white",
    "black",
    "grey",
    "pink",
    "brown",
    "gold",
    "tan",
    "plum",
    "teal",
    "lime",
    "navy",
    "rust",
    "sand",
]
SENTENCES = [f"the {noun} is {colour} ." for noun, colour in zip(NOUNS, COLOURS, strict=True)]
HEAD_CONFIG = HeadConfig(head="fill", max_length=32)


def tiny_model(family, vocabulary, pad):
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    size |= {"vocab_size": vocabulary, "max_position_embeddings": 40, "pad_token_id": pad}
    torch.manual_seed(0)
    return BertForMaskedLM(BertConfig(**size)) if family == "bert" else RobertaForMaskedLM(RobertaConfig(**size))


@pytest.fixture(scope="module")
def tokenizers():
    texts = [*SENTENCES, "wonder wonderful wonderful"] * 3
    outputs = {"bert": BertTokenizer().train_new_from_iterator(texts, 300)}
    outputs["roberta"] = RobertaTokenizer().train_new_from_iterator(texts, 450)
    outputs["roberta"].add_special_tokens({"mask_token": AddedToken("<mask>", lstrip=True, special=True)})  # as in roberta-base
    return outputs


@pytest.fixture(params=["bert", "roberta"])
def family(request):
    return request.param


@pytest.fixture
def tokenizer(tokenizers, family):
    return tokenizers[family]


@pytest.fixture
def head(tokenizer):
    return FillHead(tokenizer, HEAD_CONFIG)


@pytest.fixture
def model(family, tokenizer):
    return tiny_model(family, len(tokenizer), tokenizer.pad_token_id).eval()


def corpus(count=1):
    return [{"text": sentence} for sentence in SENTENCES] * count


def answers_for(head, logits_of, *texts):
    """Answers of a model that assigns each token of `logits_of` (token or id -> logit) that logit at every position."""
    fill_head = dataclasses.replace(head, for_inference=True)
    features = fill_head.encode([{"text": text} for text in texts])
    batch = fill_head.collate(features)
    logits = torch.zeros(*batch["input_ids"].shape, len(head.tokenizer))
    for token, value in logits_of.items():
        logits[..., token if isinstance(token, int) else head.tokenizer.convert_tokens_to_ids(token)] = value
    return fill_head.decode({"logits": logits, "attention_mask": batch["attention_mask"]}, features)


def test_get_head_returns_the_head(tokenizer):
    assert get_head(tokenizer, HEAD_CONFIG, None) == FillHead(tokenizer, HEAD_CONFIG)


def test_corpus_is_packed_into_blocks_with_special_tokens(head, tokenizer):
    features = head.encode(corpus())
    first, last = tokenizer("")["input_ids"]
    assert all(f.input_ids[0] == first and f.input_ids[-1] == last and f.target is True for f in features)
    assert [f.length for f in features[:-1]] == [32] * (len(features) - 1) and features[-1].length <= 32
    token_stream = [i for sentence in SENTENCES for i in tokenizer(sentence, add_special_tokens=False)["input_ids"]]
    assert np.concatenate([f.input_ids[1:-1] for f in features]).tolist() == token_stream
    assert [f.row for f in features] == list(range(len(features))) and head.encode([]) == []
    assert features[0].input_ids.dtype == np.int32


def test_masked_positions_have_the_original_token_as_label(head, tokenizer):
    features = head.encode(corpus())
    batch = head.collate(features, epoch_seed=1)
    whole = torch.zeros_like(batch["input_ids"]) + tokenizer.pad_token_id
    for i, feature in enumerate(features):
        whole[i, : feature.length] = torch.from_numpy(feature.input_ids.astype(np.int64))
    selected = batch["labels"] != -100
    assert torch.equal(batch["labels"][selected], whole[selected])
    assert torch.equal(batch["input_ids"][~selected], whole[~selected])
    special = torch.isin(whole, torch.tensor(tokenizer.all_special_ids))
    assert not (selected & special).any() and selected.any(dim=1).all()


def test_fifteen_percent_are_selected_and_eighty_percent_of_them_masked(head, tokenizer):
    mixed = np.random.default_rng(0).choice(
        [*NOUNS, *COLOURS, "the", "is"], (1500, 15)
    )  # identical blocks would be masked identically
    features = head.encode([{"text": " ".join(words)} for words in mixed])
    batch = head.collate(features, epoch_seed=3)
    selected = batch["labels"] != -100
    inputs, targets = batch["input_ids"][selected], batch["labels"][selected]
    total = int(selected.sum())
    share = total / sum(f.length - 2 for f in features)
    assert total > 2500 and share == pytest.approx(0.15, abs=0.02)
    masked, unchanged = inputs == tokenizer.mask_token_id, inputs == targets
    assert float(masked.float().mean()) == pytest.approx(0.8, abs=0.03)
    assert float(unchanged.float().mean()) == pytest.approx(0.1, abs=0.03)
    other = inputs[~masked & ~unchanged]
    assert len(other) / total == pytest.approx(0.1, abs=0.03)
    assert len(other.unique()) > 40 and not set(other.tolist()) & set(tokenizer.all_special_ids)


def test_positions_are_selected_uniformly(head):
    [feature] = head.encode(corpus()[:4])
    counts = sum((head.collate([feature], epoch_seed=epoch_seed)["labels"] != -100).int() for epoch_seed in range(600))[0, 1:-1]
    assert counts.min() > 0.6 * counts.float().mean() and counts.max() < 1.5 * counts.float().mean()


def test_masking_depends_on_the_epoch_seed_not_on_the_batch(head):
    features = head.encode(corpus(4))

    def labels(batches, epoch_seed):
        found = {}
        for batch in batches:
            outputs = head.collate([features[i] for i in batch], epoch_seed=epoch_seed)
            for position, i in enumerate(batch):
                row = slice(0, features[i].length)
                found[i] = outputs["labels"][position, row].tolist(), outputs["input_ids"][position, row].tolist()
        return found

    alone = labels([[i] for i in range(len(features))], 1)
    together = labels(budget_batches([f.length for f in features], tokens=100), 1)
    assert alone == together == labels([list(range(len(features)))[::-1]], 1)
    other = labels([[i] for i in range(len(features))], 2)
    assert sum(alone[i] != other[i] for i in alone) > len(alone) // 2


def test_loss_equals_that_of_transformers_times_the_count(head, model):
    features = head.encode(corpus())
    batch = head.collate(features)
    with torch.no_grad():
        outputs = model(**batch)
    total, count = head.loss(outputs, batch)
    assert count == int((batch["labels"] != -100).sum()) > len(features)
    assert float(total) == pytest.approx(float(outputs.loss) * count, rel=1e-5)


def test_both_mask_spellings_are_accepted_with_their_offsets(head):
    text = "the [MASK] is 🙂 <mask> ."
    [answer] = answers_for(head, {"film": 5.0, "Ġfilm": 6.0} if head.tokenizer.bos_token else {"film": 5.0}, text)
    assert [text[mask["start"] : mask["end"]] for mask in answer["masks"]] == ["[MASK]", "<mask>"]
    assert answer["text"] == "the film is 🙂 film ."
    for mask in answer["masks"]:
        assert mask["fills"][0]["token"] == "film" and len(mask["fills"]) == 5
        probabilities = [fill["probability"] for fill in mask["fills"]]
        assert probabilities == sorted(probabilities, reverse=True) and 0 < sum(probabilities) <= 1
    assert head.join([answer]) is answer


def test_probabilities_are_those_of_the_model_without_special_tokens(head, tokenizer, model):
    fill_head = dataclasses.replace(head, for_inference=True, top_k=10_000)
    features = fill_head.encode([{"text": f"the {tokenizer.mask_token} is red ."}, {"text": "[MASK]"}])
    batch = fill_head.collate(features)
    with torch.no_grad():
        outputs = model(**batch).logits
    outputs[..., tokenizer.all_special_ids] += 5
    answers = fill_head.decode({"logits": outputs}, features)
    position = features[0].input_ids.tolist().index(tokenizer.mask_token_id)
    probabilities = torch.softmax(outputs[0, position].double(), dim=-1)
    [mask] = answers[0]["masks"]
    assert len(mask["fills"]) == len(tokenizer) - len(tokenizer.all_special_ids)
    assert sum(f["probability"] for f in mask["fills"]) == pytest.approx(
        1 - float(probabilities[tokenizer.all_special_ids].sum())
    )
    allowed = [float(p) for i, p in enumerate(probabilities) if i not in tokenizer.all_special_ids]
    assert [f["probability"] for f in mask["fills"]] == pytest.approx(sorted(allowed, reverse=True))
    assert not {f["token"] for f in mask["fills"]} & set(tokenizer.all_special_tokens)


@pytest.mark.parametrize(
    ("name", "token", "text", "filled", "token_text"),
    [
        ("bert", "##ful", "the wonder [MASK] film", "the wonderful film", "ful"),
        ("bert", "film", "([MASK])", "(film)", "film"),
        (
            "roberta",
            "ful",
            "the wonder <mask> film",
            "the wonderful film",
            "ful",
        ),  # the mask token includes the space before it
        ("roberta", "Ġfilm", "the<mask> is", "the film is", "film"),
        ("roberta", "Ġfilm", "the <mask> is", "the film is", "film"),
        ("roberta", "Ġfilm", "<mask> is", "film is", "film"),
    ],
)
def test_subword_fills_join_the_word(tokenizers, name, token, text, filled, token_text):
    tokenizer = tokenizers[name]
    if token not in tokenizer.get_vocab():
        tokenizer.add_tokens([token])
    [answer] = answers_for(FillHead(tokenizer, HEAD_CONFIG), {token: 9.0}, text)
    assert (answer["text"], answer["masks"][0]["fills"][0]["token"]) == (filled, token_text)


def test_text_without_a_mask_is_refused_with_its_index(head, tokenizer):
    fill_head = dataclasses.replace(head, for_inference=True)
    with pytest.raises(DataError, match=f"no {tokenizer.mask_token} in '".replace("[", r"\[")) as refused:
        fill_head.encode([{"text": "the [MASK]"}, {"text": "the film"}])
    assert tokenizer.mask_token in refused.value.hint
    assert head.encode([{"text": "the film"}])[0].target is True  # training texts need no mask


@pytest.mark.parametrize("before", [0, 3, 100, 400])
def test_window_of_a_long_text_contains_its_masks(head, before):
    fill_head = dataclasses.replace(head, for_inference=True)
    text = "the " * before + "[MASK] is [MASK] ." + " red" * (400 - before)
    [feature] = fill_head.encode([{"text": text}])
    assert feature.length == 32 and feature.truncated > 350
    assert (feature.input_ids == head.tokenizer.mask_token_id).sum() == 2
    [answer] = answers_for(head, {head.tokenizer.convert_tokens_to_ids("film"): 9.0}, text)
    assert [text[m["start"] : m["end"]] for m in answer["masks"]] == ["[MASK]"] * 2
    assert len(answer["text"]) > 1000  # the complete text, not the window


def test_masks_too_far_apart_are_refused(head):
    fill_head = dataclasses.replace(head, for_inference=True)
    with pytest.raises(DataError, match="masks that are 40 tokens apart in '.*': the model takes 30 at a time"):
        fill_head.encode([{"text": "[MASK]" + "." * 39 + "<mask>"}])
    with pytest.raises(DataError, match="30 tokens apart"):  # 31 tokens including both masks
        fill_head.encode([{"text": "[MASK]" + "." * 29 + "<mask>"}])
    assert fill_head.encode([{"text": "[MASK]" + "." * 28 + "<mask>" + " red" * 9}])[0].length == 32


def test_unsuitable_models_and_limits_are_refused(head, tokenizer):
    with pytest.raises(UsageError, match="max_length must be over 2 for this model, not 2"):
        FillHead(tokenizer, HeadConfig(head="fill", max_length=2)).encode(corpus())
    with pytest.raises(ConfigError, match="no mask token"):
        FillHead(GPT2Tokenizer().train_new_from_iterator(SENTENCES, 300), HEAD_CONFIG).encode(corpus())


def test_evaluation_uses_the_loss_only(head):
    metrics = head.metrics()
    assert metrics.best == "loss" and not metrics.higher_is_better and not metrics.answers and metrics.report == "language"


def test_unusual_texts_are_trained_on_and_filled(head, model):
    features = head.encode([{"text": text} for text in UNUSUAL])
    assert all(3 <= f.length <= 32 for f in features)
    for batch in (head.collate(features[:8]), head.collate([head.encode([{"text": "🙂"}])[0]])):
        with torch.no_grad():
            total, _ = head.loss(model(**batch), batch)
        assert torch.isfinite(total)
    texts = [f"{text} [MASK] {text}" for text in UNUSUAL]
    answers = answers_for(head, {head.tokenizer.convert_tokens_to_ids("."): 9.0}, *texts)
    for text, answer in zip(texts, answers, strict=True):
        [mask] = answer["masks"]
        assert text[mask["start"] : mask["end"]] == "[MASK]" and "[MASK]" not in answer["text"]


def test_sixteen_sentences_are_memorized_and_filled(head, tokenizer, model):
    """Trains with a new masking in each epoch, then fills a mask, from encode to decode."""
    texts = [
        f"{noun} {colour}" for noun, colour in zip(NOUNS, COLOURS, strict=True)
    ]  # short, so that the last word is masked often
    features = [head.encode([{"text": text}])[0] for text in texts]
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for epoch_seed in range(1, 400):
        batch = head.collate(features, epoch_seed=epoch_seed)
        total, count = head.loss(model(**batch), batch)
        (total / count).backward()
        optimizer.step()
        optimizer.zero_grad()
    fill_head = dataclasses.replace(head, for_inference=True)
    prompts = fill_head.encode([{"text": f"{noun} [MASK]"} for noun in NOUNS])
    with torch.no_grad():
        answers = fill_head.decode({"logits": model(**fill_head.collate(prompts)).logits}, prompts)
    assert [answer["text"] for answer in answers] == texts
