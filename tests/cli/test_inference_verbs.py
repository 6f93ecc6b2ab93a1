"""Each verb of inference: for texts, for lines of stdin, from file to file, and with --json."""

import io
import json
import re
import sys

import numpy as np
import pytest

from conftest import one_line
from support import families
from support.families import run_of

CONTEXT = "tom went to rome with a cat ."
SHORT = ("--max-new-tokens", "6")


@pytest.fixture
def terminal(monkeypatch):
    """A person reads and types."""
    monkeypatch.setattr("hftool.cli.render.on_screen", lambda: True)
    for module in ("verbs.generate", "inference_command", "verbs.answer"):
        monkeypatch.setattr(f"hftool.cli.{module}.on_terminal", lambda: True)


def document(answer):
    code, out, err = answer
    assert code == 0, err
    return json.loads(out)


def answers(answer):
    return document(answer)["answers"]


def lines(answer):
    code, out, err = answer
    assert (code, err) == (0, ""), err
    return out.splitlines()


def rows_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


# ---- tag


def test_tag_echoes_each_text_with_its_entities(cli):
    first, second, blank = lines(cli("tag", run_of("tag"), "eve went to lima .", "went  to", " "))
    text, found = first.split("\t")
    assert text == "eve went to lima ."
    kinds = [re.split(r" [01]\.", one)[0] for one in found.split("; ")]
    assert kinds == ["PER: eve", "LOC: lima"] and found.endswith("(12-16)")
    assert (second, blank) == ("went to\tno entities", "\t")


def test_tag_for_a_person_and_of_a_pipe(cli, terminal):
    text, *rest = lines(cli("tag", run_of("tag"), "went to"))[0].split("   ")
    assert (text, rest) == ("went to", ["no entities"])


def test_tag_answers_each_line_of_a_pipe(cli):
    result = lines(cli("tag", run_of("tag"), stdin="eve went to lima .\n\nbob went to oslo .\r\n"))
    assert [line.split("\t")[0] for line in result] == ["eve went to lima .", "", "bob went to oslo ."]


def test_tag_json_copies_the_entities_from_the_text(cli):
    result, blank = answers(cli("tag", run_of("tag"), "  eve went to  lima .", "", "--json"))
    assert [result["text"][one["start"] : one["end"]] for one in result["entities"]] == ["eve", "lima"]
    assert len(result["tokens"]) == len(result["tags"]) and blank == {"text": "", "entities": None}


def test_tag_from_file_to_file(cli, tmp_path):
    (tmp_path / "in.csv").write_text("id,note\n1,eve went to lima .\n2,\n", encoding="utf-8")
    words = ("--file", "in.csv", "--column", "text=note")
    code, out, err = cli("tag", run_of("tag"), *words, "--out", "out.jsonl")
    assert (code, out) == (
        0,
        "2 rows in out.jsonl\n",
    ) and "1 of 2 rows of in.csv cannot be answered: their new columns are empty; the first is line 3: no text in column" in err
    first, second = rows_of(tmp_path / "out.jsonl")
    assert [one["text"] for one in first["entities"]] == ["eve", "lima"]
    assert (first["id"], first["note"], second["entities"]) == ("1", "eve went to lima .", None)
    result = document(cli("tag", run_of("tag"), *words, "--out", "out.csv", "--json"))
    assert result == {"out": "out.csv", "rows": 2, "stand_in": {}}
    code, out, _ = cli("tag", run_of("tag"), *words)
    assert code == 0 and [json.loads(line)["id"] for line in out.splitlines()] == ["1", "2"]


# ---- answer


def test_answer_gives_the_words_and_their_offsets(cli):
    result = answers(cli("answer", run_of("answer"), "--question", "who went ?", "--context", CONTEXT, "--json"))[0]
    assert result["question"] == "who went ?"
    assert result["answer"] == CONTEXT[result["start"] : result["end"]] != ""
    assert 0 < result["probability"] <= 1
    assert result["candidates"][0] == {
        "text": result["answer"],
        **{key: result[key] for key in ("start", "end", "probability")},
    }


def test_answer_has_a_line_for_each_question(cli):
    result = lines(cli("answer", run_of("answer"), "--context", CONTEXT, stdin="who went ?\n\nwhere to ?\n"))
    words, chance, location, question = result[0].split("\t")
    start, end = map(int, location.split("-"))
    assert CONTEXT[start:end] == words and 0 < float(chance) <= 1 and question == "who went ?"
    assert result[1] == "\t\t\t" and result[2].endswith("\twhere to ?")
    given = ("--question", "who went ?", "--question", "", "--question", "where to ?")
    assert lines(cli("answer", run_of("answer"), *given, "--context", CONTEXT)) == result


def test_answer_from_file_to_file(cli, tmp_path):
    (tmp_path / "in.csv").write_text(f"query,passage\nwho went ?,{CONTEXT}\n", encoding="utf-8")
    code, out, _ = cli("answer", run_of("answer"), "--file", "in.csv", "--out", "out.jsonl")
    result = rows_of(tmp_path / "out.jsonl")[0]
    assert (code, out) == (0, "1 rows in out.jsonl\n") and CONTEXT[result["start"] : result["end"]] == result["answer"]


# ---- fill


def test_fill_has_a_line_for_each_of_the_best_words(cli):
    result = [line.split("\t") for line in lines(cli("fill", families.folder("bert"), "the [MASK] is <mask>", "--top-k", "3"))]
    assert len(result) == 6
    chances = [float(chance) for chance, _, _ in result]
    assert chances[:3] == sorted(chances[:3], reverse=True)
    assert all(text == f"the {word} is <mask>" for _, word, text in result[:3])
    assert all(text == f"the [MASK] is {word}" for _, word, text in result[3:])


def test_fill_json_and_file(cli, tmp_path):
    model = families.folder("bert")
    result, blank = answers(cli("fill", model, "the [MASK] is", " ", "--json", "--top-k", "2"))
    assert result["input"] == "the [MASK] is" and result["text"].endswith(" is") and blank == {"input": " ", "masks": None}
    assert [(mask["start"], mask["end"], len(mask["fills"])) for mask in result["masks"]] == [(4, 10, 2)]
    (tmp_path / "in.csv").write_text("text\nthe [MASK] is\n", encoding="utf-8")
    assert cli("fill", model, "--file", "in.csv", "--out", "out.jsonl", "--top-k", "2")[0] == 0
    assert rows_of(tmp_path / "out.jsonl")[0]["masks"] == result["masks"]


# ---- summarize, translate


@pytest.mark.parametrize(
    ("words", "prefix"),
    [
        (["summarize"], "summarize: "),
        (["translate", "--to", "de"], "translate English to German: "),
        (["translate", "--to", "en", "--from", "fr"], "translate French to English: "),
    ],
)
def test_summarize_and_translate_prefix_the_text_for_t5(cli, tmp_path, monkeypatch, words, prefix):
    from hftool.heads.text2text.head import Text2TextHead

    prefixes, encode = [], Text2TextHead.encode
    monkeypatch.setattr(
        Text2TextHead, "encode", lambda head, rows: prefixes.append(head.head_config.prefix) or encode(head, rows)
    )
    verb, model = words[0], families.folder("t5")
    result, blank = answers(cli(verb, model, *words[1:], "the red cat", "", *SHORT, "--json"))
    assert result["input"] == "the red cat" and result["finish"] and blank == {"input": "", "text": None}
    (tmp_path / "in.csv").write_text("source\nthe red cat\n", encoding="utf-8")
    code, out, _ = cli(verb, model, *words[1:], *SHORT, "--file", "in.csv")
    assert code == 0 and json.loads(out)["text"] == result["text"] and prefixes == [prefix, prefix]


@pytest.mark.parametrize(("verb", "kind", "text"), [("generate", "gpt2", "the red"), ("fill", "bert", "the [MASK]")])
def test_the_verb_chooses_the_head_for_a_file_with_more_columns(verb, kind, text, cli, tmp_path):
    """`predict` takes a column of labels beside running text for a mistake; somebody who types the verb means it."""
    (tmp_path / "in.csv").write_text("text,label\n" + f"{text},0\n{text},1\n" * 4, encoding="utf-8")
    model = families.folder(kind)
    code, out, _ = cli(verb, model, "--file", "in.csv")
    assert code == 0 and len(out.splitlines()) == 8
    assert cli("infer", model, "--file", "in.csv")[0] == (0 if verb == "fill" else 65)  # a mask shows the purpose, too


def test_summarize_answers_each_line_of_a_pipe(cli):
    result = lines(cli("summarize", families.folder("t5"), *SHORT, "--beams", "2", stdin="the red cat\n\nthe blue dog\n"))
    assert len(result) == 3 and result[1] == ""


# ---- generate


def test_generate_streams_the_text_after_the_prompt(cli, monkeypatch):
    model = families.folder("gpt2")
    whole = answers(cli("generate", model, "the red", *SHORT, "--json"))[0]
    assert whole["input"] == "the red" and whole["finish"] in ("length", "stop")
    pieces, write = [], sys.stdout.write
    monkeypatch.setattr("typer.echo", lambda text="", nl=True, **_: pieces.append(text + "\n" * nl) or write(""))
    assert cli("generate", model, "the red", *SHORT)[0] == 0
    assert len(pieces) > 2 and "".join(pieces) == "the red" + whole["text"] + "\n"


def test_generate_is_reproducible_with_a_seed(cli):
    model = families.folder("gpt2")
    result = {seed: cli("generate", model, "the red", *SHORT, "--seed", seed) for seed in ("1", "2")}
    assert result["1"][0] == 0 and result["1"] != result["2"]
    assert cli("generate", model, "the red", *SHORT, "--seed", "1") == result["1"]


def test_generate_has_a_line_for_each_sample(cli):
    model = families.folder("gpt2")
    whole = answers(cli("generate", model, "the red", *SHORT, "--samples", "3", "--json"))[0]
    assert len(whole["samples"]) == 3 and whole["text"] == whole["samples"][0]
    result = lines(cli("generate", model, "the red", *SHORT, "--samples", "3"))
    assert result == [" ".join(f"the red{text}".split()) for text in whole["samples"]] and len(set(result)) == 3


def test_generate_ends_before_a_stop_string(cli):
    model = families.folder("gpt2")
    whole = answers(cli("generate", model, "the red", *SHORT, "--temperature", "0", "--json"))[0]["text"]
    stop = whole[len(whole) // 2 :][:2]
    result = answers(cli("generate", model, "the red", *SHORT, "--temperature", "0", "--stop", stop, "--json"))[0]
    assert result["text"] == whole[: whole.index(stop)] and result["finish"] == "stop"
    _, out, _ = cli("generate", model, "the red", *SHORT, "--temperature", "0", "--stop", "xx", "--stop", stop)
    assert out == f"the red{result['text']}\n"


def test_generate_without_a_prompt(cli, terminal):
    model = families.folder("gpt2")
    from_nothing = answers(cli("generate", model, "", *SHORT, "--json"))[0]["text"]
    assert cli("generate", model, *SHORT)[:2] == (0, from_nothing + "\n")


def test_generate_continues_each_line_and_each_row(cli, tmp_path):
    model = families.folder("gpt2")
    result = lines(cli("generate", model, *SHORT, stdin="the red\nthe blue\n"))
    assert [line[:7] for line in result] == ["the red", "the blu"]
    (tmp_path / "in.csv").write_text("id,prompt\n1,the red\n", encoding="utf-8")
    assert cli("generate", model, "--file", "in.csv", "--out", "out.jsonl", *SHORT)[0] == 0
    row = rows_of(tmp_path / "out.jsonl")[0]
    assert row["prompt"] == "the red" and " ".join(f"the red{row['text']}".split()) == result[0]


# ---- embed, similar, infer


def test_embed_writes_an_array_that_numpy_reads(cli, tmp_path):
    texts = ("a warm film", "", "a cold one")
    code, out, _ = cli("embed", "minilm", *texts, "--out", "x.npy")
    assert (code, out) == (0, "3 vectors of 384 numbers in x.npy\n")
    vectors = np.load(tmp_path / "x.npy")
    assert vectors.shape == (3, 384) and vectors.dtype == np.float32 and np.isnan(vectors).any(axis=1).tolist() == [0, 1, 0]
    result = answers(cli("embed", "minilm", *texts, "--json"))
    assert result[1] == {"text": "", "embedding": None}
    np.testing.assert_allclose(result[0]["embedding"], vectors[0], rtol=0, atol=1e-5)
    code, out, err = cli("embed", "minilm", "a", "--out", "x.npy")
    assert (code, out) == (73, "") and one_line(err).startswith("hftool: the output 'x.npy' exists already")
    (tmp_path / "in.csv").write_text("text\n" + "\n".join(texts).replace("\n\n", '\n""\n') + "\n", encoding="utf-8")
    assert document(cli("embed", "minilm", "--file", "in.csv", "--out", "y.npy", "--json"))["rows"] == 3
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), vectors, rtol=0, atol=1e-5)


def test_embed_pooling_and_one_vector_per_line(cli):
    vectors = {}
    for pooling in ("mean", "cls", "max"):
        numbers, text = lines(cli("embed", "minilm", "a  warm film", "--pooling", pooling))[0].split("\t")
        vectors[pooling] = np.array([float(number) for number in numbers.split()])
        assert text == "a warm film" and len(vectors[pooling]) == 384
    assert all(abs(np.linalg.norm(vector) - 1) < 1e-4 for vector in vectors.values())  # all-MiniLM-L6-v2 ends in Normalize
    assert (vectors["max"] > 0).mean() > (vectors["mean"] > 0).mean() and not np.allclose(vectors["mean"], vectors["cls"])


def test_embed_for_a_person_is_one_line(cli, terminal):
    result = lines(cli("embed", "minilm", "a warm film", ""))
    assert result[0].endswith(" ... 384 numbers]  a warm film") and result[1] == "-"


def test_similar_is_the_cosine_of_the_vectors(cli):
    pair = ("a man rides a horse", "somebody is on a horse")
    cosine = document(cli("similar", "minilm", *pair, "--json"))["similarity"]
    assert lines(cli("similar", "minilm", *pair)) == [f"{cosine:.4f}"]
    one, two = (np.array(result["embedding"]) for result in answers(cli("embed", "minilm", *pair, "--json")))
    assert cosine == pytest.approx(one @ two / np.linalg.norm(one) / np.linalg.norm(two), abs=1e-5)
    assert document(cli("similar", "minilm", pair[0], pair[0], "--json"))["similarity"] == pytest.approx(1, abs=1e-5)


def test_infer_uses_the_models_head_and_names_it(cli, tmp_path):
    for model, verb, *given in (
        (run_of("tag"), "tag", "eve went to lima ."),
        (families.folder("bert"), "fill", "the [MASK] is"),
    ):
        code, out, err = cli("infer", model, *given)
        assert (code, err) == (0, f"this model is to {verb}\n") and out == cli(verb, model, *given)[1]
    assert cli("infer", run_of("tag"), "went", "-q")[2] == ""
    (tmp_path / "in.csv").write_text("text\neve went to lima .\n", encoding="utf-8")
    assert cli("infer", run_of("tag"), "--file", "in.csv")[2].startswith("this model is to tag\n")
    queries = cli("infer", run_of("answer"), "who went ?", "--pair", CONTEXT)
    assert queries[1] == cli("answer", run_of("answer"), "--question", "who went ?", "--context", CONTEXT)[1]


def test_no_text_on_a_terminal_shows_the_help(cli, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr("io.StringIO", Terminal)
    for verb in ("infer", "tag", "summarize", "translate", "fill", "embed", "answer"):
        code, out, err = cli(verb, "./nope")
        assert (code, err) == (0, "") and out.startswith(f"Usage: hftool {verb} MODEL ")


@pytest.mark.parametrize(("head_case", "words"), [("classify", ()), ("classify", ("--top-k", "5")), ("regression", ())])
def test_the_line_of_an_empty_text_has_the_columns_of_the_others(cli, tiny_run, head_case, words):
    run = tiny_run if head_case == "classify" else families.trained_run("bert", head_case)[0].run.path
    code, out, err = cli("classify", run, "the red cat", "", *words)
    full, blank = out.splitlines()
    assert code == 0 and full.count("\t") == blank.count("\t") and not blank.strip(), err


def test_vectors_of_empty_texts_alone_are_an_array(cli, tmp_path):
    code, _, err = cli("embed", families.folder("bert"), "", " ", "--out", tmp_path / "x.npy")
    vectors = np.load(tmp_path / "x.npy")
    assert code == 0 and vectors.shape == (2, 48) and np.isnan(vectors).all(), err


def test_embed_reports_truncation(cli, tmp_path):
    long, model = "the red cat " * 50, families.folder("bert")
    for words in ((long, "a"), (long, "a", "--out", tmp_path / "x.npy")):
        code, _, err = cli("embed", model, *words)
        assert code == 0 and "1 of 2 texts are longer than 64 tokens and were truncated" in err
    assert document(cli("embed", model, long, "a", "--json"))["answers"][0]["cut"] == 150 + 2 - 64
    code, _, err = cli("similar", model, long, "a")
    assert code == 0 and "1 of 1 texts are longer than 64 tokens" in err
