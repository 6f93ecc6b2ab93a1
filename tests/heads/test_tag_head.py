import random
import time

import numpy as np
import pytest
import torch

from hftool.data.tag_schemes import scheme_of
from hftool.data.unspaced_scripts import are_words
from hftool.errors import DataError, UsageError
from hftool.heads import get_head
from hftool.heads.tag.head import TagHead, spans_of, split_words
from hftool.models import HeadConfig

LABELS = ("O", "B-person", "I-person", "B-place", "I-place")
SENTENCES = [
    "Ann Lee met Bob in New York .",
    "The cast of Paris was a joy , said Max Olsen",
    "你好 北京 e\u0301 cafe\u0301 😀 👍🏽 שלום עולם",
    "0 1 2 3 4 5 6 7 8 9 ( ) @ # : / - '",
    *"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
]
UNUSUAL = {
    "emoji": "Ann 😀 likes 👨‍👩‍👧, 👍🏽 and 🇩🇪!",
    "right to left": "שלום Ann, עולם (Bob)",
    "chinese": "我在北京见到Ann，好。",
    "thai": "สมชาย ไปเชียงใหม่กับ Ann 2 คน ๆ",
    "khmer and burmese": "លោក សុខា ទៅ ភ្នំពេញ។ ကိုအောင်မန္တလေး၊",
    "combining": "the cafe\u0301's e\u0301clair नमस्ते",
    "byte order mark": "\ufeffAnn met\u200b Bob\x00 .",
    "spaces": "  Ann\u00a0Lee \t\n\u3000met  Bob ",
    "control only": "\x00 \ufeff",
    "nothing": "",
    "blank": " \n ",
}


@pytest.fixture(scope="module", params=["Bert", "Roberta", "GPT2"])
def family(request):
    """A tokenizer of the family, trained here, and a function that creates its tiny model."""
    import transformers

    tokenizer = getattr(transformers, f"{request.param}Tokenizer")().train_new_from_iterator(SENTENCES, 400)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": len(tokenizer)}
    drops = (
        "hidden_dropout_prob",
        "attention_probs_dropout_prob",
        "embd_pdrop",
        "attn_pdrop",
        "resid_pdrop",
        "classifier_dropout",
    )
    config = getattr(transformers, f"{request.param}Config")(
        **sizes,
        **({} if request.param == "GPT2" else {"intermediate_size": 64, "max_position_embeddings": 80}),
        **{name: 0.0 for name in drops if request.param != "GPT2" or name not in drops[:2]},
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=0,
        eos_token_id=0,
        num_labels=len(LABELS),
    )

    def model():
        torch.manual_seed(0)
        return transformers.AutoModelForTokenClassification.from_config(config).eval()

    return tokenizer, model


def head_of(family, **values):
    return TagHead(family[0], HeadConfig(**{"head": "tag", "labels": LABELS, "max_length": 64, **values}))


def forward(head, model, features):
    batch = head.collate(features)
    with torch.no_grad():
        output = model(**{key: value for key, value in batch.items() if key != "labels"})
    return {"logits": output.logits, "attention_mask": batch["attention_mask"]}, batch


def tag_logits(head, features, tag_of):
    """Logits with tag_of[w] at 9 wherever word w is decoded, and random logits elsewhere."""
    rng = torch.Generator().manual_seed(0)
    length = max(feature.length for feature in features)
    logits = torch.randn(len(features), length, len(head.head_config.labels), generator=rng)
    for i, feature in enumerate(features):
        for position, word in zip(feature.aux.positions, feature.aux.words, strict=True):
            logits[i, position] = 0
            logits[i, position, tag_of[word]] = 9
    return {"logits": logits}


def answers(head, model, rows):
    from itertools import groupby

    features = head.encode(rows)
    parts = head.decode(forward(head, model, features)[0], features)
    pairs = zip(features, parts, strict=True)
    return [head.join([part for _, part in group]) for _, group in groupby(pairs, key=lambda pair: pair[0].row)]


def test_get_head_returns_the_head(family):
    head_config = HeadConfig(head="tag", labels=LABELS)
    assert get_head(family[0], head_config, None) == TagHead(family[0], head_config)


def test_word_splitting_follows_tagging_corpora():
    text = "Hana's well-known friend (O'Brien) paid 1,000.50 in the U.S. : don't tell @tiny_b #joy at https://x.com/a?b=1."
    words = "Hana 's well-known friend ( O'Brien ) paid 1,000.50 in the U.S. : don't tell @tiny_b #joy at https://x.com/a?b=1 ."
    assert list(split_words(text).words) == words.split()
    assert split_words("我在东京タワーABC大。").words == (*"我在东京タワー", "ABC", *"大。")
    assert split_words("ไปน้ำตกกับAnn 2.5กม.").words == (*["ไ", "ป", "น้ำ", "ต", "ก", "กั", "บ", "Ann", "2.5", "ก", "ม", "."],)
    assert split_words("ភ្នំពេញ။မန္တလေး ພາສາ བོད་སྐད").words == (
        *["ភ្នំ", "ពេ", "ញ", "။", "မ", "န္တ", "လေး", "ພ", "າ", "ສ", "າ", "བོད", "་", "སྐད"],
    )
    assert split_words("ที่https://x.com/ไทย ok").words == ("ที่", "https://x.com/", "ไ", "ท", "ย", "ok")
    assert split_words("看https://x.com，好").words == ("看", "https://x.com", "，", "好")
    assert split_words("cafe\u0301s नमस्ते می\u200cخواهم").words == ("cafe\u0301s", "नमस्ते", "می\u200cخواهم")
    assert split_words("a@b 👍🏽👨‍👩‍👧🇩🇪❤️").words == ("a", "@", "b", "👍🏽", "👨‍👩‍👧", "🇩🇪", "❤️")


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        ("สมชาย ไป เชียงใหม่", True),
        ("ส ม ชา ย ไ ป", False),
        ("အောင် မန္တလေး", True),
        ("ត្រី Ann ភ្នំពេញ", True),
        ("ພ າ ສ າ ລ າ ວ", False),
        ("我们 在 北京 工作", False),  # Chinese is always split into characters
        ("Ann Lee met Bob", False),
    ],
)
def test_inference_splits_words_as_in_training(family, tokens, words):
    assert are_words([tokens.split(), ["and", "Latin"]]) is words
    head = head_of(family, split_units=not words)
    features = head.encode([{"text": tokens}])
    decoded = head.join(head.decode(tag_logits(head, features, [0] * 20), features))["tokens"]
    assert decoded == (tokens.split() if words or tokens.isascii() else list(split_words(tokens).words))
    assert split_words("\ufeffAnn's b.", units=False).words == ("Ann", "'s", "b", ".")


@pytest.mark.parametrize("text", UNUSUAL.values(), ids=UNUSUAL.keys())
def test_every_visible_character_is_in_exactly_one_word(text):
    for sentence in (split_words(text), split_words(text, units=False)):
        check_words(text, sentence)


def check_words(text, sentence):
    assert [text[a:b] for a, b in zip(sentence.starts, sentence.ends, strict=True)] == list(sentence.words)
    covered_offsets = [i for a, b in zip(sentence.starts, sentence.ends, strict=True) for i in range(a, b)]
    assert covered_offsets == [i for i, char in enumerate(text) if not char.isspace() and char != "\ufeff"]


@pytest.mark.parametrize("bad", ["a.bc", "ก\u0e48", "က\u1039", "www. ", "a's", "http://.", "1,", "😀\u200d", "."])
def test_word_splitting_takes_linear_time(bad):
    """A pattern that backtracks over long inputs takes quadratic time: hours instead of seconds."""
    begin = time.perf_counter()
    assert split_words(bad * (100_000 // len(bad))).words
    assert time.perf_counter() - begin < 5


@pytest.mark.parametrize("text", UNUSUAL.values(), ids=UNUSUAL.keys())
def test_entities_are_slices_of_the_original_text(family, text):
    head = head_of(family)
    sentence = split_words(text)
    features = head.encode([{"text": text}])
    # each word with a token is a separate entity
    answer = head.join(head.decode(tag_logits(head, features, [1] * len(sentence.words)), features))
    decoded_words = {int(word) for feature in features for word in feature.aux.words}
    assert answer["tokens"] == list(sentence.words)
    assert answer["tags"] == ["B-person" if i in decoded_words else "O" for i in range(len(sentence.words))]
    spans = [(e["start"], e["end"]) for e in answer["entities"]]
    assert spans == [(int(sentence.starts[i]), int(sentence.ends[i])) for i in sorted(decoded_words)]
    assert all(e["text"] == text[e["start"] : e["end"]] and e["type"] == "person" for e in answer["entities"])


def test_entity_text_is_that_of_the_original(family):
    head = head_of(family)
    text = "so Ann \n Lee's cafe\u0301"
    features = head.encode([{"text": text}])
    [entity] = head.join(head.decode(tag_logits(head, features, [0, 1, 2, 0, 0]), features))["entities"]
    assert (entity["text"], entity["start"], entity["end"]) == ("Ann \n Lee", 3, 12)


def test_every_word_with_tokens_has_a_prediction(family):
    """Byte-level tokenizers encode every character; BERT drops control characters, which get the tag O."""
    [feature] = head_of(family).encode([{"tokens": ["\ufeff", "Ann", "", "\x00", "😀", "Bob"], "tags": [1, 1, 1, 1, 1, 1]}])
    seen = [1, 4, 5] if "Bert" in type(family[0]).__name__ and "Ro" not in type(family[0]).__name__ else [0, 1, 3, 4, 5]
    assert feature.aux.words.tolist() == seen
    assert (feature.target != -100).sum() == len(seen)


def test_first_token_of_a_word_carries_the_label(family):
    tokenizer = family[0]
    words, tags = ["zyx", "Ann", "qwv", ",", "unlikely"], [0, 1, 2, 3, 4]
    [feature] = head_of(family).encode([{"tokens": words, "tags": tags}])
    assert feature.input_ids.tolist() == tokenizer(" ".join(words))["input_ids"] and feature.input_ids.dtype == np.int32
    labelled = np.flatnonzero(feature.target != -100)
    assert feature.target[labelled].tolist() == tags and feature.length > len(words) + 2
    for position, word in zip(labelled, words, strict=True):
        # some byte-level tokenizers have a separate token for the space before a word; it carries no label
        token = tokenizer.convert_ids_to_tokens(int(feature.input_ids[position])).lstrip("Ġ").removeprefix("##")
        assert token == tokenizer.unk_token or (token and word.lower().startswith(token.lower()))


def test_texts_and_their_words_are_encoded_alike(family):
    """Texts at inference and tokens in training have the same encoding."""
    text = "Ann's  cafe\u0301,\n北京 (New York)"
    words = list(split_words(text).words)
    head = head_of(family, max_length=12)
    from_text, from_words = head.encode([{"text": text}]), head.encode([{"tokens": words, "tags": [0] * len(words)}])
    assert [f.input_ids.tolist() for f in from_text] == [f.input_ids.tolist() for f in from_words] and len(from_text) > 1
    for a, b in zip(from_text, from_words, strict=True):
        assert a.aux.positions.tolist() == b.aux.positions.tolist() == np.flatnonzero(b.target != -100).tolist()
        assert a.target is None


def test_offsets_of_tokens_refer_to_the_tokens_joined_by_spaces(family):
    head = head_of(family)
    features = head.encode([{"tokens": ["Ann", "Lee", "", "in", "New York"]}])
    answer = head.join(head.decode(tag_logits(head, features, [1, 2, 0, 0, 3]), features))
    joined = "Ann Lee  in New York"
    decoded = [(e["text"], e["type"], e["start"], e["end"]) for e in answer["entities"]]
    assert decoded == [("Ann Lee", "person", 0, 7), ("New York", "place", 12, 20)]
    assert joined[12:20] == "New York" and answer["tokens"] == ["Ann", "Lee", "", "in", "New York"]
    probability = float(torch.softmax(torch.tensor([9.0, 0, 0, 0, 0]).double(), 0)[0])
    assert answer["entities"][0]["probability"] == pytest.approx(probability)


def test_probability_of_an_entity_is_the_mean_over_its_words(family):
    head = head_of(family)
    features = head.encode([{"tokens": ["Ann", "Lee"]}])
    logits = torch.zeros(1, features[0].length, len(LABELS))
    first, second = features[0].aux.positions.tolist()
    logits[0, first, 1], logits[0, second, 2] = 3.0, 1.0
    [entity] = head.join(head.decode({"logits": logits}, features))["entities"]
    both = torch.softmax(logits[0].double(), -1)
    assert entity["probability"] == pytest.approx(float(both[first, 1] + both[second, 2]) / 2)


def test_each_word_of_a_long_text_is_decoded_and_trained_once(family):
    text = "Ann Lee met Bob , 北京 😀 unlikely cafe\u0301s . " * 60
    words = split_words(text).words
    tags = [i % len(LABELS) for i in range(len(words))]
    head = head_of(family, max_length=32)
    features = head.encode([{"tokens": list(words), "tags": tags}])
    assert max(f.length for f in features) <= 32 and len(features) > 20 and all(f.truncated == 0 for f in features)
    seen = [int(word) for f in features for word in f.aux.words]
    assert seen == list(range(len(words)))
    assert [int(t) for f in features for t in f.target[f.target != -100]] == tags
    assert head.join(head.decode(tag_logits(head, features, tags), features))["tags"] == [LABELS[t] for t in tags]
    special = family[0].num_special_tokens_to_add()
    with_special = family[0]("x")["input_ids"]
    for feature in features:
        assert not special or (feature.input_ids[0] == with_special[0] and feature.input_ids[-1] == with_special[-1])
    inner = [f for f in features[1:-1] if len(f.aux.positions)]
    margin = (32 - special) // 4 // 2  # half of the overlap of windows
    assert all(margin <= f.aux.positions.min() - special // 2 and f.aux.positions.max() < 32 - margin + 1 for f in inner)


def test_a_text_of_100000_characters_is_tagged_in_bounded_time(family):
    text = ("Ann Lee met Bob in 北京 , שלום 😀 . " * 4000)[:100_000]
    head = head_of(family)
    words = split_words(text).words
    tags = [random.Random(0).randrange(len(LABELS)) for _ in words]
    begin = time.perf_counter()
    features = head.encode([{"text": text}])
    answer = head.join(head.decode(tag_logits(head, features, tags), features))
    assert time.perf_counter() - begin < 10
    assert answer["tags"] == [LABELS[tag] for tag in tags] and max(f.length for f in features) <= 64
    assert all(e["text"] == text[e["start"] : e["end"]] for e in answer["entities"])


def test_limit_without_room_for_a_word_is_refused(family):
    overhead = family[0].num_special_tokens_to_add()
    if overhead:
        with pytest.raises(UsageError, match=f"max_length must be over {overhead} for this model, not {overhead}"):
            head_of(family, max_length=overhead).encode([{"text": "Ann"}])
    assert head_of(family, max_length=overhead + 1).encode([{"text": "Ann Lee"}])
    assert len(head_of(family, max_length=0).encode([{"text": "Ann " * 500}])) == 1
    assert head_of(family).encode([]) == []


def test_number_of_words_and_tags_must_be_equal(family):
    with pytest.raises(DataError, match="a row has 2 tokens but 1 tags: Ann Lee"):
        head_of(family).encode([{"tokens": ["Ann", "Lee"], "tags": [0]}])


def test_empty_text_has_no_entities(family):
    rows = [{"text": ""}, {"tokens": []}, {"text": " \n"}]
    for answer in answers(head_of(family), family[1](), rows):
        assert answer == {"entities": [], "tags": [], "tokens": []}


ROWS = [
    {"tokens": ["Ann", "Lee", "met", "Bob", "in", "New", "York", "."], "tags": [1, 2, 0, 1, 0, 3, 4, 0]},
    {"tokens": ["Max", "saw", "Paris"], "tags": [1, 0, 3]},
    {"tokens": [], "tags": []},
]


@pytest.mark.parametrize("side", ["right", "left"])
def test_loss_equals_that_of_transformers_summed_over_words(family, side):
    tokenizer, create_model = family
    head, model = head_of(family), create_model()
    before, tokenizer.padding_side = tokenizer.padding_side, side
    try:
        outputs, batch = forward(head, model, head.encode(ROWS))
    finally:
        tokenizer.padding_side = before
    total, count = head.loss(outputs, batch)
    with torch.no_grad():
        from_words = model(**batch).loss
    assert count == 11 and float(total) == pytest.approx(float(from_words) * count, rel=1e-5)


def test_answers_do_not_depend_on_the_batch(family):
    head, model = head_of(family), family[1]()
    rows = [{"text": "Ann Lee"}, {"text": "Ann met Bob in 北京 , a joy . " * 3}, {"text": ""}]
    together = answers(head, model, rows)
    for row, other in zip(rows, together, strict=True):
        [one] = answers(head, model, [row])
        assert one["tags"] == other["tags"] and one["tokens"] == other["tokens"]
        for a, b in zip(one["entities"], other["entities"], strict=True):
            assert a["probability"] == pytest.approx(b["probability"], abs=1e-5)
    assert any(answer["entities"] for answer in together)


def test_decoding_with_left_padding(family):
    tokenizer, _ = family
    head = head_of(family)
    features = head.encode([{"text": "Ann Lee"}, {"text": "Ann met Bob in Paris , a joy ."}])
    right_padded = tag_logits(head, features, [1, 2, *[0] * 20])["logits"]
    left_padded = torch.randn(right_padded.shape)
    for i, feature in enumerate(features):
        left_padded[i, right_padded.shape[1] - feature.length :] = right_padded[i, : feature.length]
    before, tokenizer.padding_side = tokenizer.padding_side, "left"
    try:
        parts = head.decode({"logits": left_padded}, features)
    finally:
        tokenizer.padding_side = before
    assert [head.join([part])["tags"][:2] for part in parts] == [["B-person", "I-person"]] * 2


def test_entities_equal_those_of_seqeval():
    sequence_labeling = pytest.importorskip("seqeval.metrics.sequence_labeling")
    rng = random.Random(0)
    marks = [f"{mark}-{kind}" for mark in "BIES" for kind in ("per", "a-b")]
    for _ in range(500):
        tags = [rng.choice(["O", *marks]) for _ in range(12)]
        assert spans_of(tags, scheme_of(("O", *marks))) == sequence_labeling.get_entities(tags), tags


@pytest.mark.parametrize(
    "labels",
    [
        ("O", "B-person", "I-person", "b-person"),
        ("O", "B-person", "I-person", "[PAD]"),
        ("O", "B_person", "I_person"),
        ("O", "person-B", "person-I"),
        ("o", "b-person", "i-person"),
        ("0", "B-person", "I-person"),
    ],
)
def test_one_unusual_label_does_not_change_the_scheme(family, labels):
    """The tags are a name of two words, a word outside, and a word predicted as the unusual label."""
    head = head_of(family, labels=labels)
    features = head.encode([{"text": "Ann Lee met Bob"}])
    tags = [1, 2, 0, 3 if len(labels) > 3 else 1]
    decoded = [(e["type"], e["text"]) for e in head.join(head.decode(tag_logits(head, features, tags), features))["entities"]]
    assert decoded == [("person", "Ann Lee"), *([] if "[PAD]" in labels else [("person", "Bob")])]


def test_tags_without_prefixes_are_types():
    assert (
        scheme_of(LABELS).form == "prefix"
        and scheme_of(("NOUN", "VERB", "O")).form == scheme_of(("B-x", "NOUN")).form == "types"
    )
    assert spans_of(["NOUN", "NOUN", "O", "I-VERB", "NOUN"], scheme_of(("NOUN", "VERB", "O"))) == [
        ("NOUN", 0, 1),
        ("I-VERB", 3, 3),
        ("NOUN", 4, 4),
    ]
    tags = ["B-x", "I-x", "L-x", "U-x", "I-x"]
    assert spans_of(tags, scheme_of(tuple(tags))) == [("x", 0, 2), ("x", 3, 3), ("x", 4, 4)]


def test_sixteen_sentences_are_memorized(family):
    rng = random.Random(0)
    people, towns = ["Ann Lee", "Bob", "Max Olsen"], ["New York", "Paris", "北京"]
    rows = []
    for _ in range(16):
        person, town = rng.choice(people).split(), rng.choice(towns).split()
        words = [*person, *rng.choice(["met a cast in", "was in", "said joy to"]).split(), *town, "."]
        tags = (
            [1] + [2] * (len(person) - 1) + [0] * (len(words) - len(person) - len(town) - 1) + [3] + [4] * (len(town) - 1) + [0]
        )
        rows.append({"tokens": words, "tags": tags})
    head, model = head_of(family, max_length=16), family[1]()
    batch = head.collate(head.encode(rows))
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(60):
        output = model(**{key: value for key, value in batch.items() if key != "labels"})
        total, count = head.loss({"logits": output.logits}, batch)
        (total / count).backward()
        optimizer.step()
        optimizer.zero_grad()
    for row, answer in zip(rows, answers(head, model, [{"tokens": row["tokens"]} for row in rows]), strict=True):
        assert answer["tags"] == [LABELS[tag] for tag in row["tags"]]
        assert [e["type"] for e in answer["entities"]] == ["person", "place"]


def test_deciding_metric(family):
    assert head_of(family).metrics().names == ("entity_f1", "precision", "recall", "accuracy")
    assert head_of(family, measures=("accuracy",)).metrics().best == "accuracy"
