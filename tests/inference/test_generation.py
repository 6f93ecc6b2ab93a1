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
    """A batch of random prompts of different lengths; no prompt contains the pad token 0."""
    draws = torch.Generator().manual_seed(seed)
    ids = torch.randint(2, V, (rows, longest), generator=draws)
    lengths = torch.randint(1, longest + 1, (rows, 1), generator=draws)
    positions = torch.arange(longest)[None]
    mask = (positions >= longest - lengths) if left else (positions < lengths)
    batch = {"input_ids": ids * mask, "attention_mask": mask.long()}
    width = int(lengths.max())
    return {key: value[:, -width:] if left else value[:, :width] for key, value in batch.items()}


def select_rows(batch, rows):
    return {key: value[rows] for key, value in batch.items()}


def reference(model, batch, ends=(), **options):
    """Outputs of transformers' generate: (ids without the end token, finish reason) of each row and sequence."""
    generated = model.generate(batch["input_ids"], attention_mask=batch["attention_mask"], do_sample=False, **options)
    texts = []
    for row in generated[:, 1 if model.config.is_encoder_decoder else batch["input_ids"].shape[1] :].tolist():
        at = next((i for i, token in enumerate(row) if token in ends), None)
        texts.append((tuple(row[:at]), "length" if at is None else "stop"))
    return texts


def outputs(model, batch, **options):
    generated = generate(TorchEngine(model), batch, SamplingParams(**options), tokenizer=None)
    return [(text.ids, text.finish) for texts in generated for text in texts]


SEARCHES = [  # num_beams, num_return_sequences, length_penalty
    (1, 1, 1.0),
    (4, 1, 1.0),
    (4, 4, 0.6),
    (4, 2, 2.0),
    (3, 3, 0.0),
    (2, 2, -1.0),
]


@pytest.mark.parametrize("family", FAMILIES)
def test_texts_equal_those_of_transformers_generate(family):
    finishes = Counter()
    for seed in range(24):
        model, batch = FAMILIES[family](seed), prompts(seed, left=family == "gpt2")
        model.generation_config = settings([])
        free = [ids for ids, _ in reference(model, batch, max_new_tokens=12)]
        ends = sorted({free[0][4], free[1][8]}) if seed % 4 else []  # end tokens that finish some texts early
        model.generation_config = settings(ends)
        for beams, samples, penalty in SEARCHES[seed % 3 :: 3]:
            expected = reference(
                model, batch, ends, max_new_tokens=12, num_beams=beams, num_return_sequences=samples, length_penalty=penalty
            )
            generated = outputs(model, batch, max_new_tokens=12, beams=beams, samples=samples, length_penalty=penalty)
            assert generated == expected, (family, seed, beams, samples, penalty)
            finishes.update(finish for _, finish in generated)
    assert min(finishes["stop"], finishes["length"]) > 100  # both finish reasons occurred


@pytest.mark.parametrize("family", FAMILIES)
def test_score_is_the_log_probability_of_text_and_end_token(family):
    finishes = Counter()
    for seed, options in ((0, {}), (1, {"beams": 4}), (2, {"temperature": 2.0, "top_k": 9})):
        model, batch = FAMILIES[family](seed), prompts(seed, left=family == "gpt2")
        free = [ids for ids, _ in reference(model, batch, max_new_tokens=6)]
        end = free[0][4]
        model.generation_config = settings([end])
        generated = generate(TorchEngine(model), batch, SamplingParams(max_new_tokens=10, **options), tokenizer=None)
        for row, (text,) in enumerate(generated):
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


def test_weights_are_cast_once_per_text_not_per_token():
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
def test_beam_search_continues_when_most_of_the_best_candidates_end(family):
    ends = list(range(30, V))
    for seed in range(6):
        model, batch = FAMILIES[family](seed), prompts(seed, left=family == "gpt2")
        model.generation_config = settings(ends)
        expected = reference(model, batch, ends, max_new_tokens=10, num_beams=3, num_return_sequences=3, length_penalty=4.0)
        assert outputs(model, batch, max_new_tokens=10, beams=3, samples=3, length_penalty=4.0) == expected


# ---- sampling


@pytest.mark.parametrize("family", FAMILIES)
def test_sampling_depends_on_seed_sample_and_prompt_not_on_the_batch(family):
    model, batch = FAMILIES[family](5), prompts(5, left=family == "gpt2", rows=6)
    model.generation_config = settings([7, 8, 9])
    options = {"max_new_tokens": 12, "temperature": 1.5, "top_k": 50, "top_p": 0.95, "samples": 3}
    generated = outputs(model, batch, **options)
    assert generated == outputs(model, batch, **options)
    long = [text for text in generated if len(text[0]) > 2]
    assert len(set(long)) == len(long) > 6  # all samples differ
    assert generated != outputs(model, batch, **options, seed=1)
    for rows in ([4], [5, 0], [2, 2]):
        expected = [text for row in rows for text in generated[3 * row : 3 * row + 3]]
        assert outputs(model, select_rows(batch, rows), **options) == expected
    assert outputs(model, batch, **options | {"samples": 2}) == [text for i, text in enumerate(generated) if i % 3 < 2]
    more = {key: torch.nn.functional.pad(value, (4, 0) if family == "gpt2" else (0, 4)) for key, value in batch.items()}
    assert outputs(model, more, **options) == generated


class ScriptedEngine:
    """An engine with constant logits, or with logits that generate given texts, one for each row of the batch."""

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


class CharTokenizer:
    """A tokenizer whose tokens are single characters."""

    def decode(self, ids):
        return "".join(map(chr, ids))


def batch_of(rows):
    return {"input_ids": torch.arange(rows)[:, None], "attention_mask": torch.ones(rows, 1, dtype=torch.long)}


def first_tokens(logits, rows, **options):
    """The first generated token of `rows` rows with distinct prompts."""
    sampling = SamplingParams(max_new_tokens=1, **options)
    return [texts[0].ids[0] for texts in generate(ScriptedEngine(logits, ends=()), batch_of(rows), sampling, tokenizer=None)]


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"), [(1.0, 0, 1.0), (0.5, 0, 1.0), (2.0, 8, 1.0), (1.0, 0, 0.7), (1.3, 10, 0.8)]
)
def test_samples_follow_the_probabilities(temperature, top_k, top_p):
    rows = 12_000
    logits = torch.randn(1, 30, generator=torch.Generator().manual_seed(2)) * 1.5
    scores = reference_filtered(logits, temperature, top_k, top_p)[0]
    expected = scores.softmax(-1) * rows
    counts = torch.bincount(
        torch.tensor(first_tokens(logits, rows, temperature=temperature, top_k=top_k, top_p=top_p)), minlength=30
    )
    assert set(counts.nonzero()[:, 0].tolist()) <= set(scores.isfinite().nonzero()[:, 0].tolist())
    usual = expected >= 5
    free = int(usual.sum()) - 1
    distance = float(((counts - expected)[usual] ** 2 / expected[usual]).sum())
    assert distance < free + 4 * math.sqrt(2 * free)  # mean and standard deviation of chi-square


def reference_filtered(logits, temperature, top_k, top_p):
    """The logits after the warpers of transformers, in its order."""
    scores = TemperatureLogitsWarper(temperature)(None, logits)
    scores = TopKLogitsWarper(top_k)(None, scores) if top_k else scores
    return TopPLogitsWarper(top_p)(None, scores) if top_p < 1 else scores


def test_candidates_of_sampling_are_those_of_transformers():
    logits = torch.randn(64, V, generator=torch.Generator().manual_seed(4)) * 3
    for temperature in (0.3, 1.0, 1.7):
        for top_k in (0, 1, 5, 40, 100, 500):
            for top_p in (1.0, 0.999, 0.9, 0.5, 0.01):
                generated = filter_logits(logits, SamplingParams(temperature=temperature, top_k=top_k, top_p=top_p))
                expected = reference_filtered(logits, temperature, top_k, top_p)
                assert torch.equal(generated.isfinite(), expected.isfinite()), (temperature, top_k, top_p)
                torch.testing.assert_close(generated.softmax(-1), expected.softmax(-1))


def test_top_k_keeps_ties_with_the_last_token():
    generated = filter_logits(torch.tensor([[1.0, 3.0, 2.0, 2.0, 0.0]]), SamplingParams(temperature=1.0, top_k=2))
    assert generated.isfinite().tolist() == [[False, True, True, True, False]]


@pytest.mark.parametrize("temperature", [1e-40, 1e-6])
def test_temperature_near_zero_selects_the_most_probable_token(temperature):
    logits = torch.tensor([[5.0, -80.0, 5.1, 3.0]])
    assert set(first_tokens(logits, 50, temperature=temperature)) == {2}


@pytest.mark.parametrize("number", [0.0, 1 - 2**-53])
def test_extreme_random_numbers_never_select_a_token_of_zero_probability(number, monkeypatch):
    monkeypatch.setattr("random.Random.random", lambda _: number)
    assert first_tokens(torch.tensor([[1.0, 2.0, 7.0, 3.0, 0.0]]), 2, temperature=1.0, top_k=1) == [2, 2]


# ---- ends


def letters(text):
    return [ord(letter) for letter in text]


def scripted(texts, **options):
    """The texts generated by an engine that predicts `texts`; \\0 is the end token."""
    streamed = [[] for _ in texts]
    engine = ScriptedEngine(texts=[letters(text) + [0] * 40 for text in texts])
    sampling = SamplingParams(**{"max_new_tokens": 40, **options})
    generated = generate(
        engine, batch_of(len(texts)), sampling, tokenizer=CharTokenizer(), on_token=lambda row, t: streamed[row].append(t)
    )
    assert [tuple(ids) for ids in streamed] == [texts[0].ids for texts in generated]
    return [(CharTokenizer().decode(text.ids), text.finish) for (text,) in generated], engine


@pytest.mark.parametrize("temperature", [0.0, 0.1])
def test_finished_rows_leave_the_batch(temperature):
    generated, engine = scripted(["ab", "abcdef", "", "abcd"], temperature=temperature)
    assert generated == [("ab", "stop"), ("abcdef", "stop"), ("", "stop"), ("abcd", "stop")]
    assert engine.sizes == [4, 3, 3, 2, 2, 1, 1]


def test_prompts_with_a_finished_beam_search_leave_the_batch():
    engine = ScriptedEngine(texts=[letters(text) + [0] * 40 for text in ("a", "abcdef")])
    generated = generate(engine, batch_of(2), SamplingParams(max_new_tokens=20, beams=2), tokenizer=CharTokenizer())
    assert [CharTokenizer().decode(texts[0].ids) for texts in generated] == ["a", "abcdef"]
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
def test_text_ends_before_a_stop_string(text, stop, expected):
    generated, engine = scripted([text, "zzzzzzzzzz"], stop=stop)
    assert generated == [(expected, "stop"), ("z" * 10, "stop")]
    found = [text.find(word) + len(word) for word in stop if word in text]
    assert engine.sizes.count(2) == min(found, default=len(text) + 1)  # and no token is generated after it


class PieceTokenizer:
    """A tokenizer with multi-character tokens and with one token for each of the two bytes of é."""

    words = (b"", b"good", b" day.\nAnd", b" then", "é".encode()[:1], "é".encode()[1:], b"\n")

    def decode(self, ids):
        return b"".join(self.words[i] for i in ids).decode(errors="replace")


def pieces(ids, stop):
    streamed = []
    engine = ScriptedEngine(texts=[[*ids, *[0] * 9]])
    sampling = SamplingParams(max_new_tokens=len(ids) + 1, stop=stop)
    ((generated,),) = generate(
        engine, batch_of(1), sampling, tokenizer=PieceTokenizer(), on_token=lambda row, token: streamed.append(token)
    )
    assert tuple(streamed) == generated.ids
    return generated


def test_characters_before_a_stop_string_within_a_token_are_kept():
    generated = pieces([1, 2, 3], ("\n",))
    assert (generated.ids, generated.rest, generated.finish) == ((1,), " day.", "stop")
    assert generated.score == pytest.approx(pieces([1], ()).score / 2, abs=1e-5)  # the score counts the kept token only


def test_stop_strings_match_characters_of_several_tokens():
    assert pieces([1, 4, 5, 3], ("é",)).ids == (1,)
    generated = pieces([1, 4, 5, 3], ("then",))
    assert (generated.ids, generated.rest) == ((1, 4, 5), " ")
    assert pieces([4, 5, 4, 5], ("éé",)).ids == ()
    generated = pieces([1, 4], ("é",))
    assert (generated.ids, generated.rest) == ((1, 4), "")  # an incomplete character is returned at the end


class ContainsTokens(StoppingCriteria):
    """Stopping criterion of transformers: the new tokens contain this sequence."""

    def __init__(self, tokens, start):
        self.tokens, self.start = list(tokens), start

    def __call__(self, input_ids, scores, **_):
        texts = [row[self.start :] for row in input_ids.tolist()]
        return torch.tensor([self.find(text) is not None for text in texts])

    def find(self, text):
        size = len(self.tokens)
        return next((i for i in range(len(text) - size + 1) if list(text[i : i + size]) == self.tokens), None)


@pytest.mark.parametrize("family", FAMILIES)
def test_beam_search_ends_before_a_stop_string(family):
    finishes = Counter()
    for seed in range(6):
        model, batch = FAMILIES[family](seed), prompts(seed, left=family == "gpt2")
        model.generation_config = settings([])
        likely = generate(
            TorchEngine(model), batch, SamplingParams(max_new_tokens=12, beams=3, samples=3), tokenizer=CharTokenizer()
        )
        word = likely[0][2].ids[6:8] if seed % 2 else likely[0][0].ids[3:4]
        contains = ContainsTokens(word, 1 if family == "t5" else batch["input_ids"].shape[1])
        options = {"max_new_tokens": 12, "num_beams": 3, "num_return_sequences": 3, "stopping_criteria": [contains]}
        expected = []
        for ids, _ in reference(model, batch, **options):
            at = contains.find(ids)
            expected.append((ids[:at], "length" if at is None else "stop"))
        stop = (CharTokenizer().decode(word),)
        generated = generate(
            TorchEngine(model),
            batch,
            SamplingParams(max_new_tokens=12, beams=3, samples=3, stop=stop),
            tokenizer=CharTokenizer(),
        )
        assert [(text.ids, text.finish) for texts in generated for text in texts] == expected, (family, seed)
        finishes.update(finish for _, finish in expected)
    assert min(finishes["stop"], finishes["length"]) > 10


def test_all_beams_end_at_a_stop_string():
    stop = tuple(chr(i) for i in range(1200))
    generated = generate(
        ScriptedEngine(texts=[[70] * 9]), batch_of(1), SamplingParams(beams=3, samples=3, stop=stop), tokenizer=CharTokenizer()
    )
    assert [(text.ids, text.finish, text.score) for text in generated[0]] == [((), "stop", 0.0)] * 3


def test_beams_left_after_stop_strings_are_distinct():
    logits = torch.full((1, 9), -9.0)
    logits[0, 5:] = torch.tensor([4.0, 3.0, 2.0, 1.0])
    sampling = SamplingParams(max_new_tokens=4, beams=2, samples=2, stop=tuple(chr(i) for i in (6, 7, 8)))
    ((one, other),) = generate(ScriptedEngine(logits, ends=()), batch_of(1), sampling, tokenizer=CharTokenizer())
    assert (one.ids, one.finish) == ((5, 5, 5, 5), "length") and (other.ids, other.finish) == ((5, 5, 5), "stop")


def test_tokens_are_streamed_except_those_that_may_begin_a_stop_string():
    events = []

    class Recording(ScriptedEngine):
        def _now(self):
            events.append("step")
            return super()._now()

    engine = Recording(texts=[letters("aENbEND")])
    generate(
        engine,
        batch_of(1),
        SamplingParams(stop=("END",)),
        tokenizer=CharTokenizer(),
        on_token=lambda row, t: events.append((row, chr(t))),
    )
    step = "step"
    assert events == [step, (0, "a"), step, step, step, (0, "E"), (0, "N"), (0, "b"), step, step, step]


def test_nothing_is_streamed_with_several_sequences():
    streamed = []
    for options in ({"temperature": 1.0, "samples": 2}, {"beams": 2}):
        engine = ScriptedEngine(texts=[letters("ab\0\0\0")])
        sampling = SamplingParams(max_new_tokens=3, **options)
        generate(engine, batch_of(1), sampling, tokenizer=None, on_token=lambda *message: streamed.append(message))
    assert streamed == []


# ---- limits and errors


@pytest.mark.parametrize("beams", [1, 3])
def test_row_stops_at_the_last_position_of_the_model(beams):
    model, lengths = gpt2(2, positions=16), (16, 13, 4)
    mask = torch.arange(16)[None] >= 16 - torch.tensor(lengths)[:, None]
    ids = torch.randint(2, V, (3, 16), generator=torch.Generator().manual_seed(0)) * mask
    generated = outputs(model, {"input_ids": ids, "attention_mask": mask.long()}, max_new_tokens=9, beams=beams)
    assert [(len(text), finish) for text, finish in generated] == [(0, "length"), (3, "length"), (9, "length")]
    for row, length in ((1, 3), (2, 9)):  # each as in a batch of one
        alone = {
            "input_ids": ids[row : row + 1, -lengths[row] :],
            "attention_mask": mask[row : row + 1, -lengths[row] :].long(),
        }
        assert outputs(model, alone, max_new_tokens=length, beams=beams) == generated[row : row + 1]


def test_prompt_at_the_position_limit_gives_an_empty_text_per_sample():
    for options in ({"temperature": 1.0}, {"beams": 2}):
        generated = generate(
            ScriptedEngine(torch.ones(1, 9), room=(0,)), batch_of(1), SamplingParams(samples=2, **options), tokenizer=None
        )
        assert generated == [[GeneratedText((), "length", 0.0)] * 2]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("options", [{}, {"temperature": 1.0}, {"beams": 2}])
def test_nan_or_infinite_logits_are_an_error(bad, options):
    logits = torch.tensor([[1.0, bad, 2.0, 3.0, 0.5, 0.1]])
    with pytest.raises(DataError, match="answers with NaN or infinite numbers: its weights are damaged"):
        generate(ScriptedEngine(logits), batch_of(2), SamplingParams(**options), tokenizer=None)


@pytest.mark.parametrize(
    ("options", "message"),
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
def test_invalid_sampling_parameters_are_refused_before_the_model_runs(options, message):
    with pytest.raises(UsageError, match=message):
        replace(SamplingParams(), **options).check()
    with pytest.raises(UsageError):
        generate(None, batch_of(1), SamplingParams(**options), tokenizer=None)


@pytest.mark.parametrize("options", [{}, {"temperature": 1.0, "samples": 2}, {"beams": 3}])
@pytest.mark.parametrize("family", FAMILIES)
def test_cancelled_row_leaves_the_batch_and_the_others_are_unchanged(family, options, monkeypatch):
    model, batch = FAMILIES[family](3), prompts(3, left=family == "gpt2")
    model.generation_config = settings([])
    sampling = SamplingParams(max_new_tokens=12, **options)
    whole = generate(TorchEngine(model), batch, sampling, tokenizer=None)
    widths, cancel_checks = [], Counter()
    kind = type(TorchEngine(model).begin(batch))
    forward = kind.decode

    def next_step(steps, tokens, rows=None):
        widths.append(len(tokens))
        return forward(steps, tokens, rows)

    def is_cancelled(row):
        cancel_checks[row] += 1
        return row == 1 and max(cancel_checks.values()) > 3 * sampling.samples

    monkeypatch.setattr(kind, "decode", next_step)
    generated = generate(TorchEngine(model), batch, sampling, tokenizer=None, is_cancelled=is_cancelled)
    copies = max(sampling.beams, sampling.samples)
    assert widths[0] == 5 * copies and widths[-1] == 4 * copies
    assert widths.index(4 * copies) == 3  # after its fourth token
    for i in (0, 2, 3, 4):  # the batch size changes the last bits of a score
        assert [(text.ids, text.finish) for text in generated[i]] == [(text.ids, text.finish) for text in whole[i]]
        assert [text.score for text in generated[i]] == pytest.approx([text.score for text in whole[i]], abs=1e-4)
    assert len(generated[1]) == sampling.samples
    if sampling.beams == 1:
        assert [text.ids for text in generated[1]] == [text.ids[:4] for text in whole[1]]


def test_generation_stops_when_all_rows_are_cancelled():
    model, batch = gpt2(0), prompts(0, left=True)
    model.generation_config = settings([])
    streamed = []
    generate(
        TorchEngine(model),
        batch,
        SamplingParams(max_new_tokens=12),
        tokenizer=None,
        on_token=lambda row, token: streamed.append(row),
        is_cancelled=lambda row: len(streamed) >= 7,
    )
    assert 7 <= len(streamed) < 12
