"""What people type in Python: one text or many, keyword arguments of transformers, rows in memory."""

import numpy as np
import pandas
import pytest

import hftool
from hftool.data.readers.tables import cell_text
from hftool.errors import ConfigError, DataError, InputMissing, UsageError
from hftool.workflow.in_memory import rows_table
from support import families

ROWS = families.classify_rows(32)
CONFIG = {"max_steps": 4, "save_steps": 2, "batch_size": 8, "allow_leak": True, "validation_share": 0.25}


def test_one_text_gives_one_answer_and_a_list_a_list(tiny_run):
    model = hftool.load(tiny_run)
    for verb in (hftool.infer, hftool.classify, hftool.tokenize):
        [expected] = verb(model, ["a warm film"])
        assert verb(model, "a warm film") == expected == verb(model, texts="a warm film")
        assert verb(model, []) == []


def test_one_vector_and_one_similarity(tiny_bert):
    model = hftool.load(str(tiny_bert), head="embed")
    many = hftool.embed(model, ["a film", "a joy"])
    assert many.shape[0] == 2 and np.array_equal(hftool.embed(model, "a film"), many[0])
    assert hftool.similar(model, ["a film", "a"], ["a joy", "a"])[0] == hftool.similar(model, "a film", "a joy")


def test_one_question_with_its_context():
    model = hftool.load(families.trained_run("bert", "answer")[0].run.path)
    questions, contexts = families.inputs_of("answer", families.HEAD_CASES["answer"][1](2))
    assert hftool.answer(model, questions[0], contexts[0]) == hftool.answer(model, questions, contexts)[0]


def test_sampling_parameters_are_plain_keyword_arguments():
    model = hftool.load(families.folder("gpt2"))
    one = hftool.generate(model, "the red", max_new_tokens=4, temperature=1.0, num_return_sequences=2, seed=1)
    for old in ("decoding", "sampling"):
        given = {old: {"max_new_tokens": 4, "temperature": 1.0, "samples": 2, "seed": 1}}
        assert hftool.generate(model, ["the red"], **given) == [one] and len(one["samples"]) == 2
    usual = hftool.SamplingParams(max_new_tokens=9)
    assert hftool.generate(model, "the red", sampling=usual, max_new_tokens=2) == hftool.infer(
        model, "the red", max_new_tokens=2
    )
    with pytest.raises(UsageError, match="unknown sampling parameter 'num_beam'. Did you mean 'num_beams'"):
        hftool.generate(model, "the red", num_beam=2)


@pytest.mark.parametrize("of", [lambda frame: frame, lambda frame: frame.to_dict("records")], ids=["frame", "dicts"])
@pytest.mark.parametrize("dtypes", [lambda frame: frame, lambda frame: frame.convert_dtypes()], ids=["numpy", "nullable"])
def test_missing_cells_of_pandas_are_no_texts(of, dtypes):
    """A missing cell is None, nan, NaT or NA, by the dtype of its column; `str(pandas.NA)` is "<NA>"."""
    frame = pandas.DataFrame({"text": ["a", None], "label": [1, None], "at": pandas.to_datetime(["2020-01-01", None])})
    first, second = rows_table(of(dtypes(frame))).rows
    assert [cell_text(second[name]) for name in frame.columns] == [None] * 3
    assert [cell_text(first[name]) for name in frame.columns] == ["a", "1", "2020-01-01 00:00:00"]


@pytest.mark.parametrize("kind", ["dicts", "frame", "dataset"])
def test_rows_in_memory_train_as_their_file_does(kind, tmp_path, tiny_bert):
    import datasets

    rows = {"dicts": list, "frame": pandas.DataFrame, "dataset": datasets.Dataset.from_list}[kind](ROWS)
    path = families.write_jsonl(tmp_path / "rows.jsonl", ROWS)
    result, expected = (
        hftool.finetune(tiny_bert, task, out=tmp_path / name, config=CONFIG) for task, name in ((rows, "a"), (path, "b"))
    )
    assert result.metrics["validation"] == expected.metrics["validation"]
    texts = [{"text": row["text"], "id": i} for i, row in enumerate(ROWS[:3])]
    answers = hftool.predict(result, pandas.DataFrame(texts) if kind == "frame" else texts)
    assert [row["id"] for row in answers] == [0, 1, 2]
    assert [row["label"] for row in answers] == [
        one["label"] for one in hftool.classify(result, [row["text"] for row in texts])
    ]
    assert hftool.predict(result, texts, out=tmp_path / "out.csv") == 3
    assert hftool.evaluate(result, rows).metrics == hftool.evaluate(result, path).metrics


def test_a_run_on_rows_in_memory_is_resumed_with_the_same_rows_alone(tmp_path, tiny_bert, monkeypatch):
    class Stopped(Exception):
        pass

    def stop(*_):
        raise Stopped

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr("hftool.workflow._finetune._add_verdicts", stop)
        hftool.finetune(tiny_bert, ROWS, out=tmp_path / "run", config=CONFIG)
    with pytest.raises(InputMissing, match="was trained on rows in memory.* Give them again"):
        hftool.resume(tmp_path / "run")
    with pytest.raises(ConfigError, match="task was memory:"):
        hftool.finetune(tiny_bert, ROWS[1:], out=tmp_path / "run", config=CONFIG, resume=True)
    done = hftool.finetune(tiny_bert, ROWS, out=tmp_path / "run", config=CONFIG, resume=True)
    assert done.metrics["steps"] == 4
    with pytest.raises(InputMissing, match="Give them again"):
        hftool.evaluate(done)


def test_no_rows_are_an_error(tiny_bert):
    with pytest.raises(DataError, match="there are no rows"):
        hftool.finetune(tiny_bert, [])


# ---- tokenize: what the head of the model sees


def test_tokenize_shows_the_windows_of_a_tagger_and_truncates_nothing():
    run = families.trained_run("bert", "tag")[0].run.path
    text = families.inputs_of("tag", families.HEAD_CASES["tag"][1](1))[0][0]
    whole, short = hftool.tokenize(run, text), hftool.tokenize(run, text, max_length=4)
    assert (whole.windows, whole.truncated, short.truncated) == ([], [], []) and len(short.windows) >= 1
    assert set(short.tokens[1:-1]).union(*short.windows) >= set(whole.tokens[1:-1])


def test_tokenize_keeps_the_end_of_a_prompt_and_the_end_token_of_t5():
    gpt2, t5 = (families.folder(name) for name in ("gpt2", "t5"))
    whole = hftool.tokenize(gpt2, "the red cat is big")
    part = hftool.tokenize(gpt2, "the red cat is big", max_length=3)
    assert part.tokens == whole.tokens[-3:] and part.truncated == whole.tokens[:-3]
    assert hftool.tokenize(t5, "the red cat is big", max_length=3).tokens[-1] == "</s>"


def test_tokenize_shows_a_question_with_its_context_in_windows():
    run = families.trained_run("bert", "answer")[0].run.path
    [question], [context] = (texts[:1] for texts in families.inputs_of("answer", families.HEAD_CASES["answer"][1](1)))
    whole = hftool.tokenize(run, question, pairs=context)
    assert whole.tokens[0] == "[CLS]" and whole.tokens.count("[SEP]") == 2 and whole.truncated == []
    short = hftool.tokenize(run, question, pairs=context, max_length=12)
    assert short.windows and short.truncated == whole.tokens[4 : whole.tokens.index("[SEP]")]  # the question keeps a quarter
    assert hftool.tokenize(run, question).tokens[0] == "[CLS]"  # no context: the question alone


def test_tokenize_of_an_embedding_model_shows_two_texts_apart(tiny_bert):
    model = hftool.load(str(tiny_bert), head="embed")
    pair = hftool.tokenize(model, "a film", pairs="a joy")
    assert [pair.tokens, *pair.windows] == [hftool.tokenize(model, text).tokens for text in ("a film", "a joy")]
