import itertools
import random
import re
import time
import unicodedata

import numpy as np
import pytest
import torch

from hftool.errors import UsageError
from hftool.heads import get_head
from hftool.heads.answer.head import MAX_TOKENS, AnswerHead, SpanScores, best_spans
from hftool.heads.answer.head import Context as Text
from hftool.models import HeadConfig

TEXTS = [
    "Ann Lee met Bob in New York .",
    "The cast of Paris was a joy , said Max Olsen",
    "who met whom in which town ? when ?",
    "你好 北京 谁 在 哪里 e\u0301 cafe\u0301 😀 👍🏽 שלום עולם",
    "0 1 2 3 4 5 6 7 8 9 ( ) @ # : / - '",
    *"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
]
UNUSUAL = {
    "emoji": "Ann 😀 likes 👍🏽 and 🇩🇪 !",
    "right to left": "שלום Ann , עולם ( Bob )",
    "combining": "the cafe\u0301 's e\u0301clair नमस्ते world",
    "byte order mark": "\ufeffAnn met\u200b Bob",
    "spaces": "  Ann\u00a0Lee \t\n\u3000met  Bob ",
}


@pytest.fixture(scope="module", params=["Bert", "Roberta", "GPT2"])
def family(request):
    """A tokenizer of the family, trained here, and a function that creates its tiny model."""
    import transformers

    tokenizer = getattr(transformers, f"{request.param}Tokenizer")().train_new_from_iterator(TEXTS, 400)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    drops = ["embd_pdrop", "attn_pdrop", "resid_pdrop"]
    more = {"bos_token_id": 0, "eos_token_id": 0}
    if request.param != "GPT2":
        drops = ["hidden_dropout_prob", "attention_probs_dropout_prob"]
        more = {"intermediate_size": 64, "max_position_embeddings": 80}
    config = getattr(transformers, f"{request.param}Config")(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        **{name: 0.0 for name in drops},
        **more,
    )

    def model():
        torch.manual_seed(0)
        return transformers.AutoModelForQuestionAnswering.from_config(config).eval()

    return tokenizer, model


def head_of(family, **values):
    return AnswerHead(family[0], HeadConfig(**{"head": "answer", "max_length": 64, **values}))


def labelled(question, context, start=None, text=""):
    answers = {"text": [], "answer_start": []} if start is None else {"text": [text], "answer_start": [start]}
    return {"question": question, "context": context, "answers": answers}


def forward(head, model, features):
    batch = head.collate(features)
    with torch.no_grad():
        output = model(**{key: value for key, value in batch.items() if key != "labels"})
    return {
        "start_logits": output.start_logits,
        "end_logits": output.end_logits,
        "attention_mask": batch["attention_mask"],
    }, batch


def answers(head, model, rows):
    features = head.encode(rows)
    parts = head.decode(forward(head, model, features)[0], features)
    pairs = zip(features, parts, strict=True)
    return [head.join([part for _, part in group]) for _, group in itertools.groupby(pairs, key=lambda pair: pair[0].row)]


def target_logits(head, features, *, logit=9.0, masked_high=True):
    """Logits that select the target of each feature; masked positions have even larger logits unless `masked_high` is False."""
    length = max(feature.length for feature in features) + 3
    start, end = (torch.full((len(features), length), 99.0 if masked_high else 0.0) for _ in range(2))
    for i, feature in enumerate(features):
        view = feature.aux
        for logits, position in zip((start, end), feature.target, strict=True):
            logits[i, 0] = 0
            logits[i, view.position : view.position + view.size] = 0
            logits[i, position] = logit
    return {"start_logits": start, "end_logits": end}


def decoded(head, features, **values):
    return head.join(head.decode(target_logits(head, features, **values), features))


def test_get_head_returns_the_head(family):
    head_config = HeadConfig(head="answer")
    assert get_head(family[0], head_config, None) == AnswerHead(family[0], head_config)


def test_features_are_the_pair_encoding_of_question_and_context(family):
    question, context = "who met Bob ?", "Ann Lee met Bob in 北京 ."
    [feature] = head_of(family).encode([{"question": question, "context": context}])
    whole = family[0](question, context)
    assert feature.input_ids.tolist() == whole["input_ids"] and feature.input_ids.dtype == np.int32
    assert (None if feature.token_type_ids is None else feature.token_type_ids.tolist()) == whole.get("token_type_ids")
    assert feature.target is None and feature.truncated == 0


@pytest.mark.parametrize("context", UNUSUAL.values(), ids=UNUSUAL.keys())
def test_targets_decode_to_the_labelled_answer(family, context):
    """Offsets refer to the original text, whatever a tokenizer drops, trims or splits."""
    head = head_of(family)
    words = [found.span() for found in re.finditer(r"[^\s\ufeff\u200b]+", context)]
    for first, last in itertools.combinations_with_replacement(range(len(words)), 2):
        start, end = words[first][0], words[last][1]
        if end - start > 16:  # an answer has at most so many byte tokens
            continue
        text = context[start:end]
        features = head.encode([labelled("who ?", context, start, text)])
        answer = decoded(head, features)
        answer_with_nulls = (answer["answer"].strip("\ufeff\u200b"), answer["start"], answer["end"])
        assert answer_with_nulls[0] == text and context[answer_with_nulls[1] : answer_with_nulls[2]] == answer["answer"]


def test_chinese_without_spaces(family):
    context = "我们昨天在北京见到了安娜，她说上海更好。"
    head = head_of(family, max_length=0)
    for text in ("北京", "安娜", "上海更好"):
        start = context.index(text)
        answer = decoded(head, head.encode([labelled("在哪里", context, start, text)]))
        assert (answer["answer"], answer["start"], answer["end"]) == (text, start, start + len(text))


def test_white_space_around_an_answer_is_excluded(family):
    context = "Ann Lee met  Bob in Paris"
    head = head_of(family)
    exact = head.encode([labelled("who ?", context, 13, "Bob")])
    for start, text in ((12, " Bob"), (13, "Bob "), (11, "  Bob ")):
        with_space = head.encode([labelled("who ?", context, start, text)])
        assert with_space[0].target == exact[0].target and exact[0].target[0] > 0
    assert decoded(head, exact)["answer"] == "Bob"


def test_white_space_within_tokens_is_excluded_from_answers():
    """Some byte-level tokenizers put the space or line break after a word into its token."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.WordLevel({"[PAD]": 0, "a": 1, "[UNK]": 2}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Split("\n", "merged_with_previous")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]")
    head = AnswerHead(tokenizer, HeadConfig(head="answer", max_length=16))
    features = head.encode([labelled("who ?", "Ann\nBob\nMax", 4, "Bob")])
    answer = decoded(head, features)
    assert (answer["answer"], answer["start"], answer["end"]) == ("Bob", 4, 7)


def test_unanswerable_rows_have_the_first_position_as_target(family):
    rows = [
        labelled("who ?", "Ann met Bob"),
        labelled("who ?", "Ann met Bob", 40, "x"),
        labelled("who ?", "Ann met Bob", 3, " "),
    ]
    assert [f.target for f in head_of(family).encode(rows)] == [(0, 0)] * 3


def test_answers_at_every_offset_of_a_long_context_are_found(family):
    rng = random.Random(0)
    words = [
        rng.choice(["Ann", "Lee", "met", "Bob", "in", "Paris", "北京", "😀", "cafe\u0301", ",", "unlikely"]) for _ in range(120)
    ]
    context = " ".join(words)
    head = head_of(family, max_length=48)
    position = 0
    for word in words:
        features = head.encode([labelled("who met Bob ?", context, position, word)])
        assert len(features) > 3 and max(f.length for f in features) <= 48
        containing = [f for f in features if f.target != (0, 0)]
        for feature in containing:  # it is the target of each window that contains it completely, and of no other
            assert feature.aux.position <= feature.target[0] <= feature.target[1] < feature.aux.position + feature.aux.size
            assert decoded(head, [feature])["answer"] == word
        assert containing
        answer = decoded(head, features)
        assert (answer["answer"], answer["start"]) == (word, position)
        position += len(word) + 1


def test_answer_contained_in_no_window_is_marked_on_the_first_feature(family):
    words = ["Ann", "Lee", "met", "Bob", "in", "Paris"] * 20
    context, head = " ".join(words), head_of(family, max_length=48)
    size = head.encode([{"question": "who ?", "context": context}])[0].aux.size
    whole = labelled("who ?", context, 0, " ".join(words[: size // 3]))
    too_long = labelled("who ?", context, len(" ".join(words[:7])) + 1, " ".join(words[7 : 7 + size]))
    features = head.encode([whole, too_long, labelled("who ?", "Ann met Bob")])
    assert [f.row for f in features if f.target_lost] == [1] and len({f.row for f in features}) == 3
    assert all(f.target == (0, 0) for f in features if f.row == 1)


def test_windows_contain_the_question_and_cover_the_context(family):
    tokenizer = family[0]
    context = "Ann Lee met Bob in Paris . " * 40
    whole = tokenizer("who ?", context)
    features = head_of(family, max_length=48).encode([{"question": "who ?", "context": context}])
    begin = features[0].aux.position
    pieces = tokenizer(context, add_special_tokens=False)["input_ids"]
    seen = set()
    for feature in features:
        view = feature.aux
        assert feature.input_ids[:begin].tolist() == whole["input_ids"][:begin]
        assert feature.input_ids[begin : begin + view.size].tolist() == pieces[view.first : view.first + view.size]
        tail = feature.length - begin - view.size
        assert feature.input_ids[begin + view.size :].tolist() == whole["input_ids"][len(whole["input_ids"]) - tail :]
        seen |= set(range(view.first, view.first + view.size))
    assert seen == set(range(len(pieces)))
    size = features[0].aux.size
    assert all(a.aux.first + size - b.aux.first >= size // 3 for a, b in itertools.pairwise(features))


def test_long_question_is_truncated_and_counted_once(family):
    question = "who met Bob " * 30
    tokens = len(family[0](question, add_special_tokens=False)["input_ids"])
    features = head_of(family, max_length=40).encode([{"question": question, "context": "Ann met Bob in Paris . " * 20}])
    assert [f.truncated for f in features] == [tokens - 10] + [0] * (len(features) - 1) and len(features) > 1
    assert len(head_of(family, max_length=0).encode([{"question": question, "context": "Ann met Bob . " * 200}])) == 1


def test_limit_without_room_for_context_is_refused(family):
    special = family[0].num_special_tokens_to_add(pair=True)
    limit = {0: 1, 3: 4, 4: 5}[special]  # without special tokens, position 0 takes one token
    row = {"question": "who met Bob in Paris ?", "context": "Ann"}
    with pytest.raises(UsageError, match=f"max_length must be over {limit} for this model, not {limit}"):
        head_of(family, max_length=limit).encode([row])
    assert head_of(family, max_length=limit + 1).encode([row])
    assert head_of(family).encode([]) == []


def test_empty_context_has_no_answer(family):
    for context in ("", " \n"):
        rows = [{"question": "who ?", "context": context}, {"question": "", "context": context}]
        for answer in answers(head_of(family), family[1](), rows):
            assert answer == {"answer": "", "start": None, "end": None, "probability": 0.0, "candidates": []}
        [answer] = answers(head_of(family, problem_type="answer_or_none"), family[1](), rows[:1])
        assert answer["answer"] == "" and answer["probability"] == pytest.approx(1)


def test_empty_question_keeps_a_position_for_no_answer(family):
    [feature] = head_of(family).encode([labelled("", "Ann met Bob", 0, "Ann")])
    assert feature.target[0] >= 1


def brute_force_spans(head, parts):
    """Best score of every span of at most 30 tokens in any window, by character offsets."""
    found = {}
    for part in parts:
        context = part.context
        begins, ends = context.borders()
        for i in range(len(part.begins)):
            for j in range(i, min(i + MAX_TOKENS, len(part.begins))):
                first, last = part.first + i, part.first + j
                if begins[first] and ends[last]:
                    span = (int(context.starts[first]), int(context.ends[last]))
                    found[span] = max(found.get(span, -1e9), part.begins[i] + part.ends[j])
    return found


@pytest.mark.parametrize("context", [*UNUSUAL.values(), "谢谢 🥳🥳 e\u0301\u0301x"], ids=[*UNUSUAL, "unknown"])
def test_answers_do_not_split_grapheme_clusters(family, context):
    [feature] = head_of(family, max_length=0).encode([{"question": "who ?", "context": context}])
    seen = feature.aux.context
    begins, ends = seen.borders()
    first, last = seen.starts[begins].tolist(), seen.ends[ends].tolist()
    assert first and first == sorted(set(first)) and last == sorted(set(last))
    assert not any(unicodedata.category(context[position])[0] == "M" or context[position].isspace() for position in first)
    assert not any(position < len(context) and unicodedata.category(context[position])[0] == "M" for position in last)


@pytest.mark.parametrize("kind", ["single_label_classification", "answer_or_none"])
def test_probabilities_are_normalized_over_distinct_spans_of_all_windows(family, kind):
    head = head_of(family, max_length=48, problem_type=kind)
    context = "Ann Lee met  Bob in 北京 😀 , cafe\u0301 . " * 9
    features = head.encode([{"question": "who ?", "context": context}])
    assert len(features) > 2
    rng = torch.Generator().manual_seed(1)
    outputs = {name: 3 * torch.randn(len(features), 48, generator=rng) for name in head.outputs}
    parts = head.decode(outputs, features)
    answer = head.join(parts)
    scores = brute_force_spans(head, parts)
    all_scores = list(scores.values()) + ([min(p.null for p in parts)] if kind == "answer_or_none" else [])
    total = np.logaddexp.reduce(all_scores)
    best = sorted(scores, key=lambda span: -scores[span])[:5]
    answer_with_nulls = answer["candidates"]
    assert [(c["start"], c["end"]) for c in answer_with_nulls] == best
    assert [c["probability"] for c in answer_with_nulls] == pytest.approx([np.exp(scores[span] - total) for span in best])
    assert all(c["text"] == context[c["start"] : c["end"]] == c["text"].strip() for c in answer_with_nulls)
    top = {key: answer_with_nulls[0][key] for key in ("start", "end", "probability")}
    assert {key: answer[key] for key in top} == top and answer["answer"] == answer_with_nulls[0]["text"]


def test_no_answer_requires_that_every_window_prefers_it(family):
    head = head_of(family, problem_type="answer_or_none")
    features = head.encode([{"question": "who ?", "context": "Ann met Bob . " * 20}])
    assert len(features) > 1

    def answer_with_nulls(nulls, head=head):
        outputs = {name: torch.zeros(len(features), 64) for name in head.outputs}
        for i, null in enumerate(nulls):
            outputs["start_logits"][i, 0] = null
        outputs["end_logits"][1, features[1].aux.position :] = 4.0
        return head.join(head.decode(outputs, features))

    count = len(features)
    confident = answer_with_nulls([9.0] * count)
    assert (confident["answer"], confident["start"], confident["end"]) == ("", None, None) and confident["candidates"][0][
        "text"
    ]
    ratio = confident["probability"] / confident["candidates"][0]["probability"]
    assert ratio == pytest.approx(np.exp(9.0 - 4.0))
    # the lowest null score of any window decides
    assert answer_with_nulls([9.0, 1.0] + [9.0] * (count - 2))["answer"] != ""
    assert answer_with_nulls([9.0] * count, head=head_of(family))["answer"] != ""  # in this task every question has an answer


def test_answers_have_one_to_thirty_tokens():
    size = 100
    context = Text("x" * size, np.arange(size), np.arange(1, size + 1))
    begins, ends = np.zeros(size), np.zeros(size)
    begins[50], ends[10], ends[79], ends[80] = 9, 9, 5, 8
    best, total = best_spans([SpanScores(context, 0, begins, ends, 0.0)])
    assert best[0] == (14.0, 50, 79) and all(0 <= last - first < MAX_TOKENS for _, first, last in best)
    spans = [begins[i] + ends[j] for i in range(size) for j in range(i, min(i + MAX_TOKENS, size))]
    assert total == pytest.approx(np.logaddexp.reduce(spans))


def test_block_size_does_not_change_the_best_spans(monkeypatch):
    rng = np.random.default_rng(0)
    context = Text("x" * 300, np.arange(300), np.arange(1, 301))
    parts = [SpanScores(context, a, rng.normal(size=150), rng.normal(size=150), 0.0) for a in (0, 100, 150)]
    whole = best_spans(parts)
    monkeypatch.setattr("hftool.heads.answer.head.SPANS_AT_ONCE", 7)
    pieces = best_spans(parts)
    assert pieces[0] == whole[0] and pieces[1] == pytest.approx(whole[1])


def test_a_context_of_100000_characters_is_answered_in_bounded_time(family):
    context = ("Ann Lee met Bob in 北京 , שלום 😀 . " * 4000)[:99_994] + " Paris"
    head = head_of(family)
    begin = time.perf_counter()
    features = head.encode([labelled("who ?", context, 99_995, "Paris")])
    answer = decoded(head, features)
    assert time.perf_counter() - begin < 10
    assert (answer["answer"], answer["start"]) == ("Paris", 99_995)


ROWS = [
    labelled("who met Bob ?", "Ann Lee met Bob in New York .", 0, "Ann Lee"),
    labelled("which town ?", "Max saw Paris", 8, "Paris"),
    labelled("when ?", "Max saw Paris"),
]


@pytest.mark.parametrize("side", ["right", "left"])
def test_loss_equals_that_of_transformers_summed_over_rows(family, side):
    tokenizer, create_model = family
    head, model = head_of(family), create_model()
    before, tokenizer.padding_side = tokenizer.padding_side, side
    try:
        features = head.encode(ROWS)
        outputs, batch = forward(head, model, features)
    finally:
        tokenizer.padding_side = before
    labels = batch.pop("labels")
    assert labels.shape == (3, 2)
    for feature, row, (a, b) in zip(features, batch["input_ids"], labels.tolist(), strict=True):
        first, last = feature.target
        assert row[a : b + 1].tolist() == feature.input_ids[first : last + 1].tolist()
    total, count = head.loss(outputs, {**batch, "labels": labels})
    if side == "left":  # positions of padded rows differ, and so do the outputs of an encoder
        return
    reference = 0.0
    for feature in features:  # one by one, since the loss of transformers averages over the batch
        _, one = forward(head, model, [feature])
        positions = one.pop("labels")
        with torch.no_grad():
            reference += float(model(**one, start_positions=positions[:, 0], end_positions=positions[:, 1]).loss)
    assert count == 3 and float(total) == pytest.approx(reference, rel=1e-5)


def test_answers_do_not_depend_on_the_batch(family):
    head, model = head_of(family, problem_type="answer_or_none"), family[1]()
    rows = [
        {"question": "who ?", "context": "Ann Lee"},
        {"question": "which town ?", "context": "Ann met Bob in 北京 , a joy . " * 6},
        {"question": "who ?", "context": ""},
    ]
    together = answers(head, model, rows)
    for row, other in zip(rows, together, strict=True):
        [one] = answers(head, model, [row])
        assert {k: one[k] for k in ("answer", "start", "end")} == {k: other[k] for k in ("answer", "start", "end")}
        assert one["probability"] == pytest.approx(other["probability"], abs=1e-5)


def test_decoding_with_left_padding(family):
    tokenizer = family[0]
    head = head_of(family)
    features = head.encode(ROWS[:2])
    logits_of = target_logits(head, features)
    length = logits_of["start_logits"].shape[1]
    left_padded = {name: torch.full_like(values, 99.0) for name, values in logits_of.items()}
    for name, (i, feature) in itertools.product(logits_of, enumerate(features)):
        left_padded[name][i, length - feature.length :] = logits_of[name][i, : feature.length]
    before, tokenizer.padding_side = tokenizer.padding_side, "left"
    try:
        parts = head.decode(left_padded, features)
    finally:
        tokenizer.padding_side = before
    assert [head.join([part])["answer"] for part in parts] == ["Ann Lee", "Paris"]
    assert [part.null for part in parts] == [0.0, 0.0]


def test_sixteen_questions_are_memorized(family):
    rng = random.Random(0)
    rows = []
    for _ in range(16):
        person, town = rng.choice(["Ann Lee", "Bob", "Max"]), rng.choice(["New York", "Paris", "北京"])
        context = f"{person} {rng.choice(['was', 'met a cast', 'said joy'])} in {town} ."
        question, text = rng.choice([("who ?", person), ("which town ?", town), ("when ?", "")])
        rows.append(labelled(question, context, context.index(text) if text else None, text))
    head, model = head_of(family, problem_type="answer_or_none"), family[1]()
    batch = head.collate(head.encode(rows))
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(150):
        output = model(**{key: value for key, value in batch.items() if key != "labels"})
        total, count = head.loss({"start_logits": output.start_logits, "end_logits": output.end_logits}, batch)
        (total / count).backward()
        optimizer.step()
        optimizer.zero_grad()
    questions = [{key: row[key] for key in ("question", "context")} for row in rows]
    given = [answer["answer"] for answer in answers(head, model, questions)]
    assert given == [row["answers"]["text"][0] if row["answers"]["text"] else "" for row in rows]


def test_deciding_metric(family):
    assert head_of(family).metrics().names == ("f1", "exact_match")
    assert head_of(family, measures=("exact_match",)).metrics().best == "exact_match"
