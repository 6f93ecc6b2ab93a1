import math
from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import (
    GenerationConfig,
    GPT2Config,
    GPT2LMHeadModel,
    StoppingCriteria,
    T5Config,
    T5ForConditionalGeneration,
)
from transformers.generation.logits_process import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from hftool.engines.generation_state import TorchGenerationState
from hftool.engines.torch import TorchEngine
from hftool.errors import DataError, UsageError
from hftool.heads.protocol import GeneratedText, SamplingParams
from hftool.inference.generation import generate
from hftool.inference.token_sampling import filter_logits

V = 100


def gpt2(seed, positions=64):
    torch.manual_seed(seed)
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": positions}
    return GPT2LMHeadModel(GPT2Config(vocab_size=V, **sizes, bos_token_id=0, eos_token_id=None, initializer_range=0.4)).eval()


def t5(seed):
    torch.manual_seed(seed)
    sizes = {"d_model": 32, "d_ff": 64, "num_layers": 2, "num_heads": 2, "d_kv": 16, "initializer_factor": 2.0}
    config = T5Config(vocab_size=V, **sizes, decoder_start_token_id=0, pad_token_id=0, eos_token_id=None)
    return T5ForConditionalGeneration(config).eval()


FAMILIES = {"gpt2": gpt2, "t5": t5}


def settings(ends):
    return GenerationConfig(pad_token_id=0, decoder_start_token_id=0, eos_token_id=ends or None)


def prompts(seed, *, left, rows=5, longest=12):
    """A batch of random prompts of different lengths, none with the padding 0 in it."""
    draws = torch.Generator().manual_seed(seed)
    ids = torch.randint(2, V, (rows, longest), generator=draws)
    lengths = torch.randint(1, longest + 1, (rows, 1), generator=draws)
    places = torch.arange(longest)[None]
    mask = (places >= longest - lengths) if left else (places < lengths)
    batch = {"input_ids": ids * mask, "attention_mask": mask.long()}
    wide = int(lengths.max())
    return {key: value[:, -wide:] if left else value[:, :wide] for key, value in batch.items()}


def pick(batch, rows):
    return {key: value[rows] for key, value in batch.items()}


def theirs(model, batch, ends=(), **asked):
    """What transformers' generate makes of a batch: (ids without the end token, why they end) for each row and sequence."""
    made = model.generate(batch["input_ids"], attention_mask=batch["attention_mask"], do_sample=False, **asked)
    texts = []
    for row in made[:, 1 if model.config.is_encoder_decoder else batch["input_ids"].shape[1] :].tolist():
        at = next((i for i, token in enumerate(row) if token in ends), None)
        texts.append((tuple(row[:at]), "length" if at is None else "stop"))
    return texts


def ours(model, batch, **asked):
    made = generate(TorchEngine(model), batch, SamplingParams(**asked), tokenizer=None)
    return [(text.ids, text.finish) for texts in made for text in texts]


SEARCHES = [  # beams, samples, length_penalty
    (1, 1, 1.0),
    (4, 1, 1.0),
    (4, 4, 0.6),
    (4, 2, 2.0),
    (3, 3, 0.0),
    (2, 2, -1.0),
]


@pytest.mark.parametrize("family", FAMILIES)
def test_texts_are_those_of_generate_token_by_token(family):
    finishes = Counter()
    for seed in range(24):
        model, batch = FAMILIES[family](seed), prompts(seed, left=family == "gpt2")
        model.generation_config = settings([])
        free = [ids for ids, _ in theirs(model, batch, max_new_tokens=12)]
        ends = sorted({free[0][4], free[1][8]}) if seed % 4 else []  # tokens that end some texts early
        model.generation_config = settings(ends)
        for beams, samples, penalty in SEARCHES[seed % 3 :: 3]:
            expected = theirs(
                model, batch, ends, max_new_tokens=12, num_beams=beams, num_return_sequences=samples, length_penalty=penalty
            )
            made = ours(model, batch, max_new_tokens=12, beams=beams, samples=samples, length_penalty=penalty)
            assert made == expected, (family, seed, beams, samples, penalty)
            finishes.update(finish for _, finish in made)
    assert min(finishes["stop"], finishes["length"]) > 100  # both ways to end were seen


@pytest.mark.parametrize("family", FAMILIES)
def test_the_score_is_the_log_probability_of_the_text_and_its_end(family):
    finishes = Counter()
    for seed, asked in ((0, {}), (1, {"beams": 4}), (2, {"temperature": 2.0, "top_k": 9})):
        model, batch = FAMILIES[family](seed), prompts(seed, left=family == "gpt2")
        free = [ids for ids, _ in theirs(model, batch, max_new_tokens=6)]
        end = free[0][4]
        model.generation_config = settings([end])
        made = generate(TorchEngine(model), batch, SamplingParams(max_new_tokens=10, **asked), tokenizer=None)
        for row, (text,) in enumerate(made):
            finishes[text.finish] += 1
            ids = [*text.ids, *([end] if text.finish == "stop" else [])]
            prompt = batch["input_ids"][row][batch["attention_mask"][row].bool()].tolist()
            with torch.no_grad():
                if family == "t5":
                    given = {"input_ids": torch.tensor([prompt]), "decoder_input_ids": torch.tensor([[0, *ids[:-1]]])}
                else:
                    given = {"input_ids": torch.tensor([[*prompt, *ids[:-1]]])}
                logs = model(**given).logits[0, -len(ids) :].log_softmax(-1)
            assert text.score == pytest.approx(float(logs[range(len(ids)), ids].sum()), abs=1e-3)
    assert min(finishes["stop"], finishes["length"]) > 1


def test_weights_are_rounded_once_a_text_and_not_at_every_token():
    class Casts(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func is torch.ops.aten._to_copy.default and isinstance(args[0], torch.nn.Parameter):
                shapes[tuple(args[0].shape)] += 1
            return func(*args, **(kwargs or {}))

    counts = []
    for length in (2, 9):
        shapes = Counter()
        with Casts():
            generate(
                TorchEngine(gpt2(0), precision="bf16"),
                prompts(0, left=True),
                SamplingParams(max_new_tokens=length),
                tokenizer=None,
            )
        counts.append(shapes[V, 32])
    assert counts == [1, 1]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_search_goes_on_where_most_of_the_best_candidates_end(family):
    ends = list(range(30, V))
    for seed in range(6):
        model, batch = FAMILIES[family](seed), prompts(seed, left=family == "gpt2")
        model.generation_config = settings(ends)
        expected = theirs(model, batch, ends, max_new_tokens=10, num_beams=3, num_return_sequences=3, length_penalty=4.0)
        assert ours(model, batch, max_new_tokens=10, beams=3, samples=3, length_penalty=4.0) == expected


# ---- draws


@pytest.mark.parametrize("family", FAMILIES)
def test_a_draw_depends_on_the_seed_the_sample_and_the_prompt_and_not_on_the_batch(family):
    model, batch = FAMILIES[family](5), prompts(5, left=family == "gpt2", rows=6)
    model.generation_config = settings([7, 8, 9])
    asked = {"max_new_tokens": 12, "temperature": 1.5, "top_k": 50, "top_p": 0.95, "samples": 3}
    made = ours(model, batch, **asked)
    assert made == ours(model, batch, **asked)
    long = [text for text in made if len(text[0]) > 2]
    assert len(set(long)) == len(long) > 6  # each of its own
    assert made != ours(model, batch, **asked, seed=1)
    for rows in ([4], [5, 0], [2, 2]):
        expected = [text for row in rows for text in made[3 * row : 3 * row + 3]]
        assert ours(model, pick(batch, rows), **asked) == expected
    assert ours(model, batch, **asked | {"samples": 2}) == [text for i, text in enumerate(made) if i % 3 < 2]
    more = {key: torch.nn.functional.pad(value, (4, 0) if family == "gpt2" else (0, 4)) for key, value in batch.items()}
    assert ours(model, more, **asked) == made


class Script:
    """An engine whose next token has the same logits always, or those of a list of texts, one for each row of the batch."""

    def __init__(self, logits=None, texts=None, ends=(0,), room=None):
        self.logits, self.texts, self.end_ids, self.max_remaining = logits, texts, ends, room
        self.sizes, self.at = [], 0

    def begin(self, batch):
        self.rows = list(range(len(batch["input_ids"])))
        return self

    def prefill(self, copies=1):
        self.rows = [row for row in self.rows for _ in range(copies)]
        return self._now()

    def decode(self, tokens, rows=None):
        self.rows = self.rows if rows is None else [self.rows[i] for i in rows.tolist()]
        assert len(tokens) == len(self.rows)
        self.at += 1
        return self._now()

    def _now(self):
        self.sizes.append(len(self.rows))
        if self.logits is not None:
            return self.logits.expand(len(self.rows), -1)
        tokens = torch.tensor([self.texts[row][self.at] for row in self.rows])
        return torch.nn.functional.one_hot(tokens, 1200).float() * 20


class Letters:
    """A tokenizer whose token is a character."""

    def decode(self, ids):
        return "".join(map(chr, ids))


def batch_of(rows):
    return {"input_ids": torch.arange(rows)[:, None], "attention_mask": torch.ones(rows, 1, dtype=torch.long)}


def drawn(logits, rows, **asked):
    """The first token of `rows` rows with prompts of their own."""
    sampling = SamplingParams(max_new_tokens=1, **asked)
    return [texts[0].ids[0] for texts in generate(Script(logits, ends=()), batch_of(rows), sampling, tokenizer=None)]


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"), [(1.0, 0, 1.0), (0.5, 0, 1.0), (2.0, 8, 1.0), (1.0, 0, 0.7), (1.3, 10, 0.8)]
)
def test_draws_follow_the_probabilities(temperature, top_k, top_p):
    rows = 12_000
    logits = torch.randn(1, 30, generator=torch.Generator().manual_seed(2)) * 1.5
    scores = theirs_allowed(logits, temperature, top_k, top_p)[0]
    expected = scores.softmax(-1) * rows
    counts = torch.bincount(torch.tensor(drawn(logits, rows, temperature=temperature, top_k=top_k, top_p=top_p)), minlength=30)
    assert set(counts.nonzero()[:, 0].tolist()) <= set(scores.isfinite().nonzero()[:, 0].tolist())
    usual = expected >= 5
    free = int(usual.sum()) - 1
    distance = float(((counts - expected)[usual] ** 2 / expected[usual]).sum())
    assert distance < free + 4 * math.sqrt(2 * free)  # mean and deviation of chi-square


def theirs_allowed(logits, temperature, top_k, top_p):
    """transformers' own, in its order."""
    scores = TemperatureLogitsWarper(temperature)(None, logits)
    scores = TopKLogitsWarper(top_k)(None, scores) if top_k else scores
    return TopPLogitsWarper(top_p)(None, scores) if top_p < 1 else scores


def test_what_may_be_drawn_is_what_transformers_would_draw_from():
    logits = torch.randn(64, V, generator=torch.Generator().manual_seed(4)) * 3
    for temperature in (0.3, 1.0, 1.7):
        for top_k in (0, 1, 5, 40, 100, 500):
            for top_p in (1.0, 0.999, 0.9, 0.5, 0.01):
                made = filter_logits(logits, SamplingParams(temperature=temperature, top_k=top_k, top_p=top_p))
                expected = theirs_allowed(logits, temperature, top_k, top_p)
                assert torch.equal(made.isfinite(), expected.isfinite()), (temperature, top_k, top_p)
                torch.testing.assert_close(made.softmax(-1), expected.softmax(-1))


def test_tokens_as_probable_as_the_last_of_top_k_stay():
    made = filter_logits(torch.tensor([[1.0, 3.0, 2.0, 2.0, 0.0]]), SamplingParams(temperature=1.0, top_k=2))
    assert made.isfinite().tolist() == [[False, True, True, True, False]]


@pytest.mark.parametrize("temperature", [1e-40, 1e-6])
def test_a_temperature_near_0_takes_the_most_probable(temperature):
    logits = torch.tensor([[5.0, -80.0, 5.1, 3.0]])
    assert set(drawn(logits, 50, temperature=temperature)) == {2}


@pytest.mark.parametrize("draw", [0.0, 1 - 2**-53])
def test_not_even_the_least_and_the_largest_draw_takes_a_token_without_probability(draw, monkeypatch):
    monkeypatch.setattr("random.Random.random", lambda _: draw)
    assert drawn(torch.tensor([[1.0, 2.0, 7.0, 3.0, 0.0]]), 2, temperature=1.0, top_k=1) == [2, 2]


# ---- ends


def letters(text):
    return [ord(letter) for letter in text]


def scripted(texts, **asked):
    """What is written where the model wants these texts; \\0 is the end token."""
    told = [[] for _ in texts]
    engine = Script(texts=[letters(text) + [0] * 40 for text in texts])
    sampling = SamplingParams(**{"max_new_tokens": 40, **asked})
    made = generate(engine, batch_of(len(texts)), sampling, tokenizer=Letters(), on_token=lambda row, t: told[row].append(t))
    assert [tuple(ids) for ids in told] == [texts[0].ids for texts in made]
    return [(Letters().decode(text.ids), text.finish) for (text,) in made], engine


@pytest.mark.parametrize("temperature", [0.0, 0.1])
def test_rows_that_are_finished_leave_the_batch(temperature):
    made, engine = scripted(["ab", "abcdef", "", "abcd"], temperature=temperature)
    assert made == [("ab", "stop"), ("abcdef", "stop"), ("", "stop"), ("abcd", "stop")]
    assert engine.sizes == [4, 3, 3, 2, 2, 1, 1]


def test_prompts_whose_search_is_over_leave_the_batch():
    engine = Script(texts=[letters(text) + [0] * 40 for text in ("a", "abcdef")])
    made = generate(engine, batch_of(2), SamplingParams(max_new_tokens=20, beams=2), tokenizer=Letters())
    assert [Letters().decode(texts[0].ids) for texts in made] == ["a", "abcdef"]
    assert engine.sizes[0] == 4 and engine.sizes[-1] == 2 and len(engine.sizes) < 20


@pytest.mark.parametrize(
    ("text", "stop", "expected"),
    [
        ("one.two", (".",), "one"),
        ("one two END three", ("END",), "one two "),
        ("EENDa", ("END",), "E"),
        ("ENEN", ("END",), "ENEN"),
        ("abcde", ("de", "bc", "x"), "a"),
        ("\n\nabc", ("\n\n",), ""),
    ],
)
def test_a_text_ends_before_a_stop_string(text, stop, expected):
    made, engine = scripted([text, "zzzzzzzzzz"], stop=stop)
    assert made == [(expected, "stop"), ("z" * 10, "stop")]
    found = [text.find(word) + len(word) for word in stop if word in text]
    assert engine.sizes.count(2) == min(found, default=len(text) + 1)  # and is not gone on with


class PieceTokenizer:
    """A tokenizer of pieces, and of the two bytes of é apart, which are no character each alone."""

    words = (b"", b"good", b" day.\nAnd", b" then", "é".encode()[:1], "é".encode()[1:], b"\n")

    def decode(self, ids):
        return b"".join(self.words[i] for i in ids).decode(errors="replace")


def pieces(ids, stop):
    told = []
    engine = Script(texts=[[*ids, *[0] * 9]])
    sampling = SamplingParams(max_new_tokens=len(ids) + 1, stop=stop)
    ((made,),) = generate(
        engine, batch_of(1), sampling, tokenizer=PieceTokenizer(), on_token=lambda row, token: told.append(token)
    )
    assert tuple(told) == made.ids
    return made


def test_of_a_token_in_which_a_stop_string_begins_the_characters_before_it_stay():
    made = pieces([1, 2, 3], ("\n",))
    assert (made.ids, made.rest, made.finish) == ((1,), " day.", "stop")
    assert made.score == pytest.approx(pieces([1], ()).score / 2, abs=1e-5)  # of the token that stayed, and of no other


def test_characters_of_several_tokens_are_looked_at_whole():
    assert pieces([1, 4, 5, 3], ("é",)).ids == (1,)
    made = pieces([1, 4, 5, 3], ("then",))
    assert (made.ids, made.rest) == ((1, 4, 5), " ")
    assert pieces([4, 5, 4, 5], ("éé",)).ids == ()
    made = pieces([1, 4], ("é",))
    assert (made.ids, made.rest) == ((1, 4), "")  # half a character is told in the end


class Holds(StoppingCriteria):
    """Stops a text of transformers whose new tokens hold these, one after the other."""

    def __init__(self, tokens, start):
        self.tokens, self.start = list(tokens), start

    def __call__(self, input_ids, scores, **_):
        texts = [row[self.start :] for row in input_ids.tolist()]
        return torch.tensor([self.place(text) is not None for text in texts])

    def place(self, text):
        size = len(self.tokens)
        return next((i for i in range(len(text) - size + 1) if list(text[i : i + size]) == self.tokens), None)


@pytest.mark.parametrize("family", FAMILIES)
def test_beams_end_before_a_stop_string_too(family):
    finishes = Counter()
    for seed in range(6):
        model, batch = FAMILIES[family](seed), prompts(seed, left=family == "gpt2")
        model.generation_config = settings([])
        likely = generate(TorchEngine(model), batch, SamplingParams(max_new_tokens=12, beams=3, samples=3), tokenizer=Letters())
        word = likely[0][2].ids[6:8] if seed % 2 else likely[0][0].ids[3:4]
        holds = Holds(word, 1 if family == "t5" else batch["input_ids"].shape[1])
        asked = {"max_new_tokens": 12, "num_beams": 3, "num_return_sequences": 3, "stopping_criteria": [holds]}
        expected = []
        for ids, _ in theirs(model, batch, **asked):
            at = holds.place(ids)
            expected.append((ids[:at], "length" if at is None else "stop"))
        stop = (Letters().decode(word),)
        made = generate(
            TorchEngine(model), batch, SamplingParams(max_new_tokens=12, beams=3, samples=3, stop=stop), tokenizer=Letters()
        )
        assert [(text.ids, text.finish) for texts in made for text in texts] == expected, (family, seed)
        finishes.update(finish for _, finish in expected)
    assert min(finishes["stop"], finishes["length"]) > 10


def test_beams_of_which_every_one_ends_by_a_stop_string():
    stop = tuple(chr(i) for i in range(1200))
    made = generate(Script(texts=[[70] * 9]), batch_of(1), SamplingParams(beams=3, samples=3, stop=stop), tokenizer=Letters())
    assert [(text.ids, text.finish, text.score) for text in made[0]] == [((), "stop", 0.0)] * 3


def test_beams_of_which_few_are_left_by_stop_strings_do_not_become_the_same_text():
    logits = torch.full((1, 9), -9.0)
    logits[0, 5:] = torch.tensor([4.0, 3.0, 2.0, 1.0])
    sampling = SamplingParams(max_new_tokens=4, beams=2, samples=2, stop=tuple(chr(i) for i in (6, 7, 8)))
    ((one, other),) = generate(Script(logits, ends=()), batch_of(1), sampling, tokenizer=Letters())
    assert (one.ids, one.finish) == ((5, 5, 5, 5), "length") and (other.ids, other.finish) == ((5, 5, 5), "stop")


def test_tokens_are_told_as_they_are_chosen_and_held_back_where_a_stop_string_may_have_begun():
    events = []

    class Watched(Script):
        def _now(self):
            events.append("step")
            return super()._now()

    engine = Watched(texts=[letters("aENbEND")])
    generate(
        engine,
        batch_of(1),
        SamplingParams(stop=("END",)),
        tokenizer=Letters(),
        on_token=lambda row, t: events.append((row, chr(t))),
    )
    step = "step"
    assert events == [step, (0, "a"), step, step, step, (0, "E"), (0, "N"), (0, "b"), step, step, step]


def test_nothing_is_told_where_several_texts_are_written():
    told = []
    for asked in ({"temperature": 1.0, "samples": 2}, {"beams": 2}):
        engine = Script(texts=[letters("ab\0\0\0")])
        sampling = SamplingParams(max_new_tokens=3, **asked)
        generate(engine, batch_of(1), sampling, tokenizer=None, on_token=lambda *words: told.append(words))
    assert told == []


# ---- limits and errors


@pytest.mark.parametrize("beams", [1, 3])
def test_a_row_stops_at_the_last_position_of_the_model(beams):
    model, lengths = gpt2(2, positions=16), (16, 13, 4)
    mask = torch.arange(16)[None] >= 16 - torch.tensor(lengths)[:, None]
    ids = torch.randint(2, V, (3, 16), generator=torch.Generator().manual_seed(0)) * mask
    made = ours(model, {"input_ids": ids, "attention_mask": mask.long()}, max_new_tokens=9, beams=beams)
    assert [(len(text), finish) for text, finish in made] == [(0, "length"), (3, "length"), (9, "length")]
    for row, length in ((1, 3), (2, 9)):  # each the same as alone
        alone = {
            "input_ids": ids[row : row + 1, -lengths[row] :],
            "attention_mask": mask[row : row + 1, -lengths[row] :].long(),
        }
        assert ours(model, alone, max_new_tokens=length, beams=beams) == made[row : row + 1]


def test_a_prompt_without_room_is_an_empty_text_for_every_sample():
    for asked in ({"temperature": 1.0}, {"beams": 2}):
        made = generate(Script(torch.ones(1, 9), room=(0,)), batch_of(1), SamplingParams(samples=2, **asked), tokenizer=None)
        assert made == [[GeneratedText((), "length", 0.0)] * 2]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("asked", [{}, {"temperature": 1.0}, {"beams": 2}])
def test_a_model_of_nan_writes_nothing(bad, asked):
    logits = torch.tensor([[1.0, bad, 2.0, 3.0, 0.5, 0.1]])
    with pytest.raises(DataError, match="answers with NaN or infinite numbers: its weights are damaged"):
        generate(Script(logits), batch_of(2), SamplingParams(**asked), tokenizer=None)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens must be a whole number from 1 to 100000, not 0"),
        ({"temperature": -0.5}, "temperature must be a number from 0 to 100, not -0.5"),
        ({"temperature": math.nan}, "temperature"),
        ({"temperature": math.inf}, "temperature"),
        ({"top_k": -1}, "top_k"),
        ({"top_p": 0.0}, "top_p must be a number over 0 and at most 1, not 0.0"),
        ({"top_p": 1.1}, "top_p"),
        ({"beams": 0}, "num_beams"),
        ({"samples": 0}, "num_return_sequences"),
        ({"length_penalty": math.inf}, "length_penalty"),
        ({"stop": ("a", "")}, "a stop string must not be empty"),
        ({"beams": 2, "temperature": 1.0}, "beam search and sampling exclude each other"),
        ({"beams": 2, "samples": 3}, "2 beams give at most 2 texts, not 3"),
        ({"samples": 3}, "3 texts at temperature 0 would all be the same"),
    ],
)
def test_settings_out_of_range_or_against_each_other_are_refused_before_the_model_runs(asked, words):
    with pytest.raises(UsageError, match=words):
        replace(SamplingParams(), **asked).check()
    with pytest.raises(UsageError):
        generate(None, batch_of(1), SamplingParams(**asked), tokenizer=None)


@pytest.mark.parametrize("asked", [{}, {"temperature": 1.0, "samples": 2}, {"beams": 3}])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_row_that_is_given_up_leaves_the_batch_and_the_others_write_the_same(family, asked, monkeypatch):
    model, batch = FAMILIES[family](3), prompts(3, left=family == "gpt2")
    model.generation_config = settings([])
    sampling = SamplingParams(max_new_tokens=12, **asked)
    whole = generate(TorchEngine(model), batch, sampling, tokenizer=None)
    widths, questions = [], Counter()
    forward = TorchGenerationState.decode

    def next_step(steps, tokens, rows=None):
        widths.append(len(tokens))
        return forward(steps, tokens, rows)

    def is_cancelled(row):
        questions[row] += 1
        return row == 1 and max(questions.values()) > 3 * sampling.samples

    monkeypatch.setattr(TorchGenerationState, "decode", next_step)
    made = generate(TorchEngine(model), batch, sampling, tokenizer=None, is_cancelled=is_cancelled)
    copies = max(sampling.beams, sampling.samples)
    assert widths[0] == 5 * copies and widths[-1] == 4 * copies
    assert widths.index(4 * copies) == 3  # after the fourth token of it
    for i in (0, 2, 3, 4):  # in a smaller batch the last bits of a score may differ
        assert [(text.ids, text.finish) for text in made[i]] == [(text.ids, text.finish) for text in whole[i]]
        assert [text.score for text in made[i]] == pytest.approx([text.score for text in whole[i]], abs=1e-4)
    assert len(made[1]) == sampling.samples
    if sampling.beams == 1:
        assert [text.ids for text in made[1]] == [text.ids[:4] for text in whole[1]]


def test_nothing_more_is_computed_when_all_are_given_up():
    model, batch = gpt2(0), prompts(0, left=True)
    model.generation_config = settings([])
    told = []
    generate(
        TorchEngine(model),
        batch,
        SamplingParams(max_new_tokens=12),
        tokenizer=None,
        on_token=lambda row, token: told.append(row),
        is_cancelled=lambda row: len(told) >= 7,
    )
    assert 7 <= len(told) < 12
