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
STRANGE = {
    "emoji": "Ann 😀 likes 👍🏽 and 🇩🇪 !",
    "right to left": "שלום Ann , עולם ( Bob )",
    "combining": "the cafe\u0301 's e\u0301clair नमस्ते world",
    "byte order mark": "\ufeffAnn met\u200b Bob",
    "spaces": "  Ann\u00a0Lee \t\n\u3000met  Bob ",
}


@pytest.fixture(scope="module", params=["Bert", "Roberta", "GPT2"])
def family(request):
    """The tokenizer of a family, trained on the spot, and a function that makes its tiny model."""
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
        made = model(**{key: value for key, value in batch.items() if key != "labels"})
    return {"start_logits": made.start_logits, "end_logits": made.end_logits, "attention_mask": batch["attention_mask"]}, batch


def answers(head, model, rows):
    features = head.encode(rows)
    parts = head.decode(forward(head, model, features)[0], features)
    pairs = zip(features, parts, strict=True)
    return [head.join([part for _, part in group]) for _, group in itertools.groupby(pairs, key=lambda pair: pair[0].row)]


def say(head, features, *, high=9.0, rubbish=True):
    """Outputs that point at the target of each feature, with the largest numbers where nothing may be read."""
    length = max(feature.length for feature in features) + 3
    start, end = (torch.full((len(features), length), 99.0 if rubbish else 0.0) for _ in range(2))
    for i, feature in enumerate(features):
        view = feature.extra
        for logits, place in zip((start, end), feature.target, strict=True):
            logits[i, 0] = 0
            logits[i, view.position : view.position + view.size] = 0
            logits[i, place] = high
    return {"start_logits": start, "end_logits": end}


def read(head, features, **values):
    return head.join(head.decode(say(head, features, **values), features))


def test_the_registry_finds_it(family):
    head_config = HeadConfig(head="answer")
    assert get_head(family[0], head_config, None) == AnswerHead(family[0], head_config)


def test_question_first_then_context_as_the_tokenizer_pairs_them(family):
    question, context = "who met Bob ?", "Ann Lee met Bob in 北京 ."
    [feature] = head_of(family).encode([{"question": question, "context": context}])
    whole = family[0](question, context)
    assert feature.input_ids.tolist() == whole["input_ids"] and feature.input_ids.dtype == np.int32
    assert (None if feature.segments is None else feature.segments.tolist()) == whole.get("token_type_ids")
    assert feature.target is None and feature.cut == 0


@pytest.mark.parametrize("context", STRANGE.values(), ids=STRANGE.keys())
def test_what_it_is_trained_towards_is_what_it_answers(family, context):
    """Characters exact in the original text, whatever a tokenizer drops, trims or takes apart."""
    head = head_of(family)
    words = [found.span() for found in re.finditer(r"[^\s\ufeff\u200b]+", context)]
    for first, last in itertools.combinations_with_replacement(range(len(words)), 2):
        start, end = words[first][0], words[last][1]
        if end - start > 16:  # of bytes only so many are an answer
            continue
        text = context[start:end]
        features = head.encode([labelled("who ?", context, start, text)])
        answer = read(head, features)
        told = (answer["answer"].strip("\ufeff\u200b"), answer["start"], answer["end"])
        assert told[0] == text and context[told[1] : told[2]] == answer["answer"]


def test_chinese_without_spaces(family):
    context = "我们昨天在北京见到了安娜，她说上海更好。"
    head = head_of(family, max_length=0)
    for text in ("北京", "安娜", "上海更好"):
        start = context.index(text)
        answer = read(head, head.encode([labelled("在哪里", context, start, text)]))
        assert (answer["answer"], answer["start"], answer["end"]) == (text, start, start + len(text))


def test_white_space_around_an_answer_is_not_of_it(family):
    context = "Ann Lee met  Bob in Paris"
    head = head_of(family)
    tight = head.encode([labelled("who ?", context, 13, "Bob")])
    for start, text in ((12, " Bob"), (13, "Bob "), (11, "  Bob ")):
        loose = head.encode([labelled("who ?", context, start, text)])
        assert loose[0].target == tight[0].target and tight[0].target[0] > 0
    assert read(head, tight)["answer"] == "Bob"


def test_white_space_inside_of_tokens_is_not_of_an_answer():
    """Some byte-level tokenizers, not those of our families, put the space or the line end after a word into its token."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.WordLevel({"[PAD]": 0, "a": 1, "[UNK]": 2}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Split("\n", "merged_with_previous")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]")
    head = AnswerHead(tokenizer, HeadConfig(head="answer", max_length=16))
    features = head.encode([labelled("who ?", "Ann\nBob\nMax", 4, "Bob")])
    answer = read(head, features)
    assert (answer["answer"], answer["start"], answer["end"]) == ("Bob", 4, 7)


def test_rows_without_an_answer_point_at_the_first_position(family):
    rows = [
        labelled("who ?", "Ann met Bob"),
        labelled("who ?", "Ann met Bob", 40, "x"),
        labelled("who ?", "Ann met Bob", 3, " "),
    ]
    assert [f.target for f in head_of(family).encode(rows)] == [(0, 0)] * 3


def test_an_answer_at_every_place_of_a_long_context_is_reached(family):
    rng = random.Random(0)
    words = [
        rng.choice(["Ann", "Lee", "met", "Bob", "in", "Paris", "北京", "😀", "cafe\u0301", ",", "unlikely"]) for _ in range(120)
    ]
    context = " ".join(words)
    head = head_of(family, max_length=48)
    place = 0
    for word in words:
        features = head.encode([labelled("who met Bob ?", context, place, word)])
        assert len(features) > 3 and max(f.length for f in features) <= 48
        held = [f for f in features if f.target != (0, 0)]
        for feature in held:  # in each window that has it whole, and in no other
            assert (
                feature.extra.position <= feature.target[0] <= feature.target[1] < feature.extra.position + feature.extra.size
            )
            assert read(head, [feature])["answer"] == word
        assert held
        answer = read(head, features)
        assert (answer["answer"], answer["start"]) == (word, place)
        place += len(word) + 1


def test_an_answer_that_no_window_holds_whole_is_told_with_the_first(family):
    words = ["Ann", "Lee", "met", "Bob", "in", "Paris"] * 20
    context, head = " ".join(words), head_of(family, max_length=48)
    size = head.encode([{"question": "who ?", "context": context}])[0].extra.size
    whole = labelled("who ?", context, 0, " ".join(words[: size // 3]))
    wide = labelled("who ?", context, len(" ".join(words[:7])) + 1, " ".join(words[7 : 7 + size]))
    features = head.encode([whole, wide, labelled("who ?", "Ann met Bob")])
    assert [f.row for f in features if f.lost] == [1] and len({f.row for f in features}) == 3
    assert all(f.target == (0, 0) for f in features if f.row == 1)


def test_windows_carry_the_question_and_cover_the_context(family):
    tokenizer = family[0]
    context = "Ann Lee met Bob in Paris . " * 40
    whole = tokenizer("who ?", context)
    features = head_of(family, max_length=48).encode([{"question": "who ?", "context": context}])
    begin = features[0].extra.position
    pieces = tokenizer(context, add_special_tokens=False)["input_ids"]
    seen = set()
    for feature in features:
        view = feature.extra
        assert feature.input_ids[:begin].tolist() == whole["input_ids"][:begin]
        assert feature.input_ids[begin : begin + view.size].tolist() == pieces[view.first : view.first + view.size]
        tail = feature.length - begin - view.size
        assert feature.input_ids[begin + view.size :].tolist() == whole["input_ids"][len(whole["input_ids"]) - tail :]
        seen |= set(range(view.first, view.first + view.size))
    assert seen == set(range(len(pieces)))
    size = features[0].extra.size
    assert all(a.extra.first + size - b.extra.first >= size // 3 for a, b in itertools.pairwise(features))


def test_a_long_question_is_cut_and_counted_once(family):
    question = "who met Bob " * 30
    tokens = len(family[0](question, add_special_tokens=False)["input_ids"])
    features = head_of(family, max_length=40).encode([{"question": question, "context": "Ann met Bob in Paris . " * 20}])
    assert [f.cut for f in features] == [tokens - 10] + [0] * (len(features) - 1) and len(features) > 1
    assert len(head_of(family, max_length=0).encode([{"question": question, "context": "Ann met Bob . " * 200}])) == 1


def test_a_limit_that_holds_no_context_is_refused(family):
    special = family[0].num_special_tokens_to_add(pair=True)
    least = {0: 1, 3: 4, 4: 5}[special]  # a model without special tokens needs one for position 0
    row = {"question": "who met Bob in Paris ?", "context": "Ann"}
    with pytest.raises(UsageError, match=f"max_length must be over {least} for this model, not {least}"):
        head_of(family, max_length=least).encode([row])
    assert head_of(family, max_length=least + 1).encode([row])
    assert head_of(family).encode([]) == []


def test_a_context_of_nothing_has_no_answer(family):
    for context in ("", " \n"):
        rows = [{"question": "who ?", "context": context}, {"question": "", "context": context}]
        for answer in answers(head_of(family), family[1](), rows):
            assert answer == {"answer": "", "start": None, "end": None, "probability": 0.0, "candidates": []}
        [answer] = answers(head_of(family, problem_type="answer_or_none"), family[1](), rows[:1])
        assert answer["answer"] == "" and answer["probability"] == pytest.approx(1)


def test_without_a_question_no_answer_is_still_a_position_of_its_own(family):
    [feature] = head_of(family).encode([labelled("", "Ann met Bob", 0, "Ann")])
    assert feature.target[0] >= 1


def spans_by_hand(head, parts):
    """Every span of at most 30 tokens of all windows, by its characters, with the larger score."""
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


@pytest.mark.parametrize("context", [*STRANGE.values(), "谢谢 🥳🥳 e\u0301\u0301x"], ids=[*STRANGE, "unknown"])
def test_no_answer_begins_or_ends_inside_a_character(family, context):
    [feature] = head_of(family, max_length=0).encode([{"question": "who ?", "context": context}])
    seen = feature.extra.context
    begins, ends = seen.borders()
    first, last = seen.starts[begins].tolist(), seen.ends[ends].tolist()
    assert first and first == sorted(set(first)) and last == sorted(set(last))
    assert not any(unicodedata.category(context[place])[0] == "M" or context[place].isspace() for place in first)
    assert not any(place < len(context) and unicodedata.category(context[place])[0] == "M" for place in last)


@pytest.mark.parametrize("kind", ["single_label_classification", "answer_or_none"])
def test_probabilities_are_over_all_spans_of_all_windows_each_once(family, kind):
    head = head_of(family, max_length=48, problem_type=kind)
    context = "Ann Lee met  Bob in 北京 😀 , cafe\u0301 . " * 9
    features = head.encode([{"question": "who ?", "context": context}])
    assert len(features) > 2
    rng = torch.Generator().manual_seed(1)
    outputs = {name: 3 * torch.randn(len(features), 48, generator=rng) for name in head.outputs}
    parts = head.decode(outputs, features)
    answer = head.join(parts)
    scores = spans_by_hand(head, parts)
    everything = list(scores.values()) + ([min(p.null for p in parts)] if kind == "answer_or_none" else [])
    total = np.logaddexp.reduce(everything)
    best = sorted(scores, key=lambda span: -scores[span])[:5]
    told = answer["candidates"]
    assert [(c["start"], c["end"]) for c in told] == best
    assert [c["probability"] for c in told] == pytest.approx([np.exp(scores[span] - total) for span in best])
    assert all(c["text"] == context[c["start"] : c["end"]] == c["text"].strip() for c in told)
    top = {key: told[0][key] for key in ("start", "end", "probability")}
    assert {key: answer[key] for key in top} == top and answer["answer"] == told[0]["text"]


def test_no_answer_when_every_window_is_surer_of_that(family):
    head = head_of(family, problem_type="answer_or_none")
    features = head.encode([{"question": "who ?", "context": "Ann met Bob . " * 20}])
    assert len(features) > 1

    def told(nulls, head=head):
        outputs = {name: torch.zeros(len(features), 64) for name in head.outputs}
        for i, null in enumerate(nulls):
            outputs["start_logits"][i, 0] = null
        outputs["end_logits"][1, features[1].extra.position :] = 4.0
        return head.join(head.decode(outputs, features))

    count = len(features)
    sure = told([9.0] * count)
    assert (sure["answer"], sure["start"], sure["end"]) == ("", None, None) and sure["candidates"][0]["text"]
    likelier = sure["probability"] / sure["candidates"][0]["probability"]
    assert likelier == pytest.approx(np.exp(9.0 - 4.0))
    # one window that is not sure holds the answer: the least counts
    assert told([9.0, 1.0] + [9.0] * (count - 2))["answer"] != ""
    assert told([9.0] * count, head=head_of(family))["answer"] != ""  # a task where every question has an answer


def test_answers_end_after_thirty_tokens_and_never_before_they_begin():
    size = 100
    context = Text("x" * size, np.arange(size), np.arange(1, size + 1))
    begins, ends = np.zeros(size), np.zeros(size)
    begins[50], ends[10], ends[79], ends[80] = 9, 9, 5, 8
    best, total = best_spans([SpanScores(context, 0, begins, ends, 0.0)])
    assert best[0] == (14.0, 50, 79) and all(0 <= last - first < MAX_TOKENS for _, first, last in best)
    spans = [begins[i] + ends[j] for i in range(size) for j in range(i, min(i + MAX_TOKENS, size))]
    assert total == pytest.approx(np.logaddexp.reduce(spans))


def test_blocks_of_a_very_long_context_make_no_difference(monkeypatch):
    rng = np.random.default_rng(0)
    context = Text("x" * 300, np.arange(300), np.arange(1, 301))
    parts = [SpanScores(context, a, rng.normal(size=150), rng.normal(size=150), 0.0) for a in (0, 100, 150)]
    whole = best_spans(parts)
    monkeypatch.setattr("hftool.heads.answer.head.BLOCK", 7)
    pieces = best_spans(parts)
    assert pieces[0] == whole[0] and pieces[1] == pytest.approx(whole[1])


def test_a_context_of_100000_characters_is_answered_in_bounded_time(family):
    context = ("Ann Lee met Bob in 北京 , שלום 😀 . " * 4000)[:99_994] + " Paris"
    head = head_of(family)
    begin = time.perf_counter()
    features = head.encode([labelled("who ?", context, 99_995, "Paris")])
    answer = read(head, features)
    assert time.perf_counter() - begin < 10
    assert (answer["answer"], answer["start"]) == ("Paris", 99_995)


ROWS = [
    labelled("who met Bob ?", "Ann Lee met Bob in New York .", 0, "Ann Lee"),
    labelled("which town ?", "Max saw Paris", 8, "Paris"),
    labelled("when ?", "Max saw Paris"),
]


@pytest.mark.parametrize("side", ["right", "left"])
def test_the_loss_is_that_of_transformers_summed_over_rows(family, side):
    tokenizer, make = family
    head, model = head_of(family), make()
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
    if side == "left":  # places of padded rows differ there, and with them what an encoder says
        return
    theirs = 0.0
    for feature in features:  # each alone, for in theirs a row weighs less where others are longer
        _, one = forward(head, model, [feature])
        places = one.pop("labels")
        with torch.no_grad():
            theirs += float(model(**one, start_positions=places[:, 0], end_positions=places[:, 1]).loss)
    assert count == 3 and float(total) == pytest.approx(theirs, rel=1e-5)


def test_an_answer_does_not_depend_on_what_else_is_in_the_batch(family):
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


def test_padding_on_the_left_moves_what_is_read(family):
    tokenizer = family[0]
    head = head_of(family)
    features = head.encode(ROWS[:2])
    said = say(head, features)
    length = said["start_logits"].shape[1]
    moved = {name: torch.full_like(values, 99.0) for name, values in said.items()}
    for name, (i, feature) in itertools.product(said, enumerate(features)):
        moved[name][i, length - feature.length :] = said[name][i, : feature.length]
    before, tokenizer.padding_side = tokenizer.padding_side, "left"
    try:
        parts = head.decode(moved, features)
    finally:
        tokenizer.padding_side = before
    assert [head.join([part])["answer"] for part in parts] == ["Ann Lee", "Paris"]
    assert [part.null for part in parts] == [0.0, 0.0]


def test_sixteen_questions_are_learnt(family):
    rng = random.Random(0)
    rows = []
    for _ in range(16):
        who, where = rng.choice(["Ann Lee", "Bob", "Max"]), rng.choice(["New York", "Paris", "北京"])
        context = f"{who} {rng.choice(['was', 'met a cast', 'said joy'])} in {where} ."
        question, text = rng.choice([("who ?", who), ("which town ?", where), ("when ?", "")])
        rows.append(labelled(question, context, context.index(text) if text else None, text))
    head, model = head_of(family, problem_type="answer_or_none"), family[1]()
    batch = head.collate(head.encode(rows))
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(150):
        made = model(**{key: value for key, value in batch.items() if key != "labels"})
        total, count = head.loss({"start_logits": made.start_logits, "end_logits": made.end_logits}, batch)
        (total / count).backward()
        optimizer.step()
        optimizer.zero_grad()
    asked = [{key: row[key] for key in ("question", "context")} for row in rows]
    given = [answer["answer"] for answer in answers(head, model, asked)]
    assert given == [row["answers"]["text"][0] if row["answers"]["text"] else "" for row in rows]


def test_what_decides(family):
    assert head_of(family).metrics().names == ("f1", "exact_match")
    assert head_of(family, measures=("exact_match",)).metrics().best == "exact_match"
