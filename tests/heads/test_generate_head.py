import dataclasses

import numpy as np
import pytest
import torch
from transformers import BertTokenizer, GPT2Config, GPT2LMHeadModel, GPT2Tokenizer

from hftool.errors import ConfigError, DataError, UsageError
from hftool.heads import get_head
from hftool.heads.generate.head import GenerateHead
from hftool.heads.protocol import GeneratedText, SamplingParams
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


@pytest.fixture(scope="module")
def tokenizer():
    texts = [f"the {noun} is {colour}" for noun, colour in zip(NOUNS, COLOURS, strict=True)] * 2
    tokenizer = GPT2Tokenizer().train_new_from_iterator(texts, 400)
    tokenizer.pad_token = tokenizer.eos_token  # as hftool.models sets it
    return tokenizer


@pytest.fixture
def config(tokenizer):
    return GPT2Config(vocab_size=len(tokenizer), n_positions=64, n_embd=32, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0)


@pytest.fixture
def model(config):
    torch.manual_seed(0)
    return GPT2LMHeadModel(config).eval()


@pytest.fixture
def head(tokenizer, config):
    return GenerateHead(tokenizer, HeadConfig(head="generate", max_length=16), config)


def test_get_head_returns_the_head(tokenizer, config):
    head_config = HeadConfig(head="generate")
    assert get_head(tokenizer, head_config, config) == GenerateHead(tokenizer, head_config, config)


def test_texts_are_concatenated_with_end_tokens(head, tokenizer):
    texts = ["the film is red", "", "the cast is blue and the story is green"]
    features = head.encode([{"text": text} for text in texts])
    token_stream = [i for text in texts for i in [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]]
    assert np.concatenate([f.input_ids for f in features]).tolist() == token_stream[: sum(f.length for f in features)]
    assert {f.length for f in features[:-1]} <= {16} and sum(f.length for f in features) >= len(token_stream) - 1
    assert [f.row for f in features] == list(range(len(features))) and all(f.truncated == 0 for f in features)
    assert head.encode([]) == []


def test_end_token_has_a_label_although_it_is_the_pad_token(head, tokenizer):
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    batch = head.collate(head.encode([{"text": f"the {t} is {c}"} for t, c in zip(NOUNS, COLOURS, strict=True)]))
    assert torch.equal(batch["labels"] != -100, batch["attention_mask"] == 1)
    assert (batch["labels"] == tokenizer.eos_token_id).sum() >= 15


def test_loss_equals_that_of_transformers_times_the_count(head, model):
    features = head.encode([{"text": f"the {t} is {c}"} for t, c in zip(NOUNS, COLOURS, strict=True)][:-1])
    assert len({f.length for f in features}) == 2  # so that one row is padded
    batch = head.collate(features)
    with torch.no_grad():
        generated = model(**batch)
    total, count = head.loss(generated, batch)
    assert count == sum(f.length - 1 for f in features)
    assert float(total) == pytest.approx(float(generated.loss) * count, rel=1e-5)
    halves = [head.loss({"logits": generated.logits[s]}, {"labels": batch["labels"][s]}) for s in (slice(0, 2), slice(2, None))]
    assert sum(float(t) for t, _ in halves) == pytest.approx(float(total)) and sum(n for _, n in halves) == count


def test_only_completion_and_end_token_have_labels(head, tokenizer, model):
    rows = [{"prompt": "the film is", "completion": " red"}, {"prompt": "the cast", "completion": " is blue and gold"}]
    features = head.encode(rows)
    batch = head.collate(features)
    for row, ids, labels, mask in zip(rows, batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True):
        assert tokenizer.decode(labels[labels != -100]) == row["completion"] + tokenizer.eos_token
        assert tokenizer.decode(ids[mask == 1]) == row["prompt"] + row["completion"] + tokenizer.eos_token
    assert batch["attention_mask"][:, 0].all() and not batch["attention_mask"].all()  # right padding
    with torch.no_grad():
        generated = model(**batch)
    total, count = head.loss(generated, batch)
    assert count == int((batch["labels"] != -100).sum())
    assert float(total) == pytest.approx(float(generated.loss) * count, rel=1e-5)


def test_long_examples_are_truncated_at_the_start_of_the_prompt(head, tokenizer):
    prompt = "the film is red " * 10 + "the cast is"
    [feature] = head.encode([{"prompt": prompt, "completion": " blue"}])
    ids, last = tokenizer(prompt)["input_ids"], [*tokenizer(" blue")["input_ids"], tokenizer.eos_token_id]
    assert feature.input_ids.tolist() == [*ids[-(16 - len(last)) :], *last] and feature.target == 16 - len(last)
    assert feature.truncated == len(ids) + len(last) - 16


def test_truncated_completion_has_no_end_token(head, tokenizer):
    completion = " blue and gold" * 20
    [feature] = head.encode([{"prompt": "the cast is", "completion": completion}])
    whole = [*tokenizer(completion)["input_ids"], tokenizer.eos_token_id]
    assert feature.length == 16 and feature.target == 1
    assert feature.input_ids[1:].tolist() == whole[:15]
    assert feature.truncated == len(tokenizer("the cast is")["input_ids"]) + len(whole) - 16
    assert (head.collate([feature])["labels"] != -100).sum() == 15


def test_empty_completion_is_an_end_token(head, tokenizer):
    [feature] = head.encode([{"prompt": "the film", "completion": ""}])
    labels = head.collate([feature])["labels"]
    assert labels[labels != -100].tolist() == [tokenizer.eos_token_id]
    [empty] = head.encode([{"prompt": "", "completion": "the film"}])  # as for an empty prompt at inference
    assert empty.input_ids[0] == tokenizer.bos_token_id and empty.target == 1


def test_prompts_are_padded_on_the_left_and_have_no_labels(head, tokenizer):
    batch = head.collate(head.encode([{"prompt": "the film is"}, {"prompt": "the"}, {"prompt": ""}]))
    assert set(batch) == {"input_ids", "attention_mask"}
    assert batch["attention_mask"][:, -1].all() and batch["attention_mask"].sum(dim=1).tolist() == [3, 1, 1]
    assert batch["input_ids"][2, -1] == tokenizer.bos_token_id
    assert tokenizer.decode(batch["input_ids"][1, -1:]) == "the"


def test_prompt_longer_than_the_positions_is_refused(tokenizer, config):
    head = GenerateHead(tokenizer, HeadConfig(head="generate", max_new_tokens=24), config)
    fits = " is" * 40
    assert head.encode([{"prompt": fits}])[0].length == 40  # plus 24 new tokens are 64
    with pytest.raises(DataError, match=r"prompt 2 has 41 tokens: with 24 to generate .* more than the 64.* to 40 tokens"):
        head.encode([{"prompt": fits}, {"prompt": fits + " is"}])
    with pytest.raises(UsageError, match="max_new_tokens 64 leaves no room"):
        GenerateHead(tokenizer, HeadConfig(head="generate"), config, SamplingParams(max_new_tokens=64)).encode(
            [{"prompt": "the"}]
        )
    assert (
        GenerateHead(tokenizer, HeadConfig(head="generate")).encode([{"prompt": fits * 9}])[0].length > 64
    )  # the limit is unknown


def test_unusable_training_data_is_refused(tokenizer):
    with pytest.raises(UsageError, match="max_length must be over 1"):
        GenerateHead(tokenizer, HeadConfig(head="generate", max_length=1)).encode([{"text": "the film"}])
    without_end_token = BertTokenizer().train_new_from_iterator(["the film"], 50)
    with pytest.raises(ConfigError, match="no end-of-text token"):
        GenerateHead(without_end_token, HeadConfig(head="generate", max_length=8)).encode([{"text": "the film"}])


def test_sampling_parameters_default_to_the_head_config(tokenizer):
    assert GenerateHead(tokenizer, HeadConfig(head="generate")).sampling == SamplingParams(max_new_tokens=64)
    assert GenerateHead(tokenizer, HeadConfig(head="generate", max_new_tokens=9)).sampling.max_new_tokens == 9
    settings = SamplingParams(temperature=0.7)
    assert GenerateHead(tokenizer, HeadConfig(head="generate"), None, settings).sampling is settings


def test_generated_texts_become_answers(head, tokenizer):
    def generated_text(text, finish):
        return GeneratedText(tuple(tokenizer(text)["input_ids"]), finish, -1.0)

    one = [[generated_text(" is red , is it ?<|endoftext|>", "stop")]]
    assert head.decode(one, []) == [{"text": " is red , is it ?", "finish": "stop"}]  # spaces as generated
    two = [[generated_text(" blue", "length"), generated_text(" red", "stop")]]
    [answer] = head.decode(two, [])
    assert head.join([answer]) == {"text": " blue", "finish": "length", "samples": [" blue", " red"]}
    assert head.decode([[GeneratedText((), "stop", 0.0)]], []) == [{"text": "", "finish": "stop"}]
    stopping = GenerateHead(tokenizer, head.head_config, None, SamplingParams(stop=("gold", " and")))
    assert stopping.decode([[generated_text(" blue and gold", "stop")]], [])[0]["text"] == " blue"
    with_rest = dataclasses.replace(generated_text(" blue", "stop"), rest=" .")  # characters of a token before its stop string
    assert stopping.decode([[with_rest]], [])[0]["text"] == " blue ."


def test_evaluation_uses_the_loss_only(head, tokenizer):
    metrics = head.metrics()
    assert metrics.best == "loss" and not metrics.higher_is_better and not metrics.answers and metrics.report == "language"
    assert GenerateHead(tokenizer, HeadConfig(head="generate", measures=("perplexity",))).metrics().best == "perplexity"


@pytest.mark.parametrize("schema", ["text", "pair"])
def test_unusual_texts_are_trained_on(head, model, schema):
    if schema == "text":
        rows = [{"text": text} for text in UNUSUAL]
    else:
        rows = [{"prompt": a, "completion": b} for a, b in zip(UNUSUAL, UNUSUAL[::-1], strict=True)]
    features = head.encode(rows)
    assert all(2 <= f.length <= 16 for f in features)
    if schema == "text":  # the blocks contain the complete texts
        token_stream = head.tokenizer.decode(
            np.concatenate([f.input_ids for f in features]), clean_up_tokenization_spaces=False
        )
        assert token_stream == "".join(text + head.tokenizer.eos_token for text in UNUSUAL)
    batch = head.collate(features[:9])
    with torch.no_grad():
        total, count = head.loss(model(**batch), batch)
    assert count > 0 and torch.isfinite(total)


def test_unusual_prompts_are_encoded(head, model):
    batch = head.collate(head.encode([{"prompt": text} for text in UNUSUAL[:7]]))
    assert (batch["attention_mask"].sum(dim=1) > 0).all() and set(batch) == {"input_ids", "attention_mask"}
    with torch.no_grad():
        logits = model(**batch).logits
    assert torch.isfinite(logits).all()


def test_sixteen_examples_are_memorized_and_reproduced(head, model, tokenizer):
    """Trains and generates, from encode to decode: the completions are reproduced and end with the end token."""
    pairs = [(f"the {t} is", f" {c}") for t, c in zip(NOUNS, COLOURS, strict=True)]
    features = head.encode([{"prompt": a, "completion": b} for a, b in pairs])
    batch, optimizer = head.collate(features), torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(150):
        total, count = head.loss(model(**batch), batch)
        (total / count).backward()
        optimizer.step()
        optimizer.zero_grad()
    prompts = head.collate(head.encode([{"prompt": a} for a, _ in pairs]))
    generated = model.generate(**prompts, max_new_tokens=8, do_sample=False, pad_token_id=tokenizer.pad_token_id)
    generated = generated[:, prompts["input_ids"].shape[1] :]
    assert (generated == tokenizer.eos_token_id).any(dim=1).all()  # every sequence ends
    answers = head.decode([[GeneratedText(tuple(row.tolist()), "stop", 0.0)] for row in generated], [])
    assert [answer["text"] for answer in answers] == [b for _, b in pairs]
