"""Bad input to the verbs of inference, evaluation and training: one line, and its exit code."""

import json

import numpy as np
import pytest

from conftest import one_line
from hftool import workflow
from support import families
from support.families import run_of


def line_of(answer):
    """(exit code, the one line of the error); nothing on stdout."""
    code, out, err = answer
    assert out == ""
    return code, one_line(err).removeprefix("hftool: ")


def last_line(answer):
    """The same, after the notices of a command that reads a file."""
    code, out, err = answer
    assert out == ""
    return code, one_line(err.splitlines(keepends=True)[-1]).removeprefix("hftool: ")


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.mark.parametrize(
    ("verb", "kind", "line"),
    [
        ("tag", "t5", "of the family t5, which cannot do 'tag'. Families that can: 'bert', "),
        ("fill", "gpt2", "of the family gpt2, which cannot do 'fill'. Families that can: 'bert', "),
        ("generate", "bert", "of the family bert, which cannot do 'generate'. Families that can: 'gpt2'"),
        ("translate", "bert", "of the family bert, which cannot do 'text2text'. Families that can: 't5', 'mt5'"),
    ],
)
def test_a_model_of_a_family_that_cannot_do_it(cli, verb, kind, line):
    code, message = line_of(cli(verb, families.folder(kind), "a"))
    assert code == 2 and line in message and message.startswith("'") and kind in message


@pytest.mark.parametrize(("verb", "kind"), [("classify", "bert"), ("tag", "gpt2"), ("classify", "t5")])
def test_a_model_whose_head_is_not_trained(cli, verb, kind):
    code, line = line_of(cli(verb, families.folder(kind), "a"))
    assert code == 78 and "has no trained head: it lacks " in line and "Fine-tune it: hftool finetune " in line


def test_a_model_that_was_trained_for_another_head(cli):
    code, line = line_of(cli("tag", run_of("answer"), "a"))
    assert code == 78 and "has no trained head: it lacks classifier." in line
    code, line = line_of(cli("answer", run_of("tag"), "--question", "who ?", "--context", "ann went"))
    assert code == 78 and "has no trained head: it lacks qa_outputs." in line


# ---- texts


def test_a_text_to_fill_without_a_mask_is_named(cli):
    code, line = line_of(cli("fill", families.folder("bert"), "the [MASK] is", "the cat is"))
    assert code == 65 and line == "no [MASK] in 'the cat is'. Write [MASK] where the word is missing"


def test_a_question_without_a_context(cli):
    assert line_of(cli("answer", run_of("answer"), "--question", "who ?", "--context", " ")) == (65, "the context is empty")
    code, line = line_of(cli("infer", run_of("answer"), "who ?"))
    assert (code, line) == (2, "a question needs a context to be answered from. Give it with --pair TEXT")


def test_a_pair_for_a_model_of_single_texts(cli):
    code, line = line_of(cli("infer", run_of("tag"), "a", "--pair", "b"))
    assert (code, line) == (2, "a model that is to tag takes single texts. Leave --pair out")


@pytest.mark.parametrize("words", [("--out", "x.txt"), ("--column", "prompt=a"), ("--encoding", "gbk")])
@pytest.mark.parametrize("verb", ["generate", "infer"])
def test_file_options_are_refused_without_a_file(cli, verb, words):
    """Also where the text is shown unchanged."""
    code, line = line_of(cli(verb, families.folder("gpt2"), "a", *words))
    assert code == 2 and line.startswith(f"{words[0]} goes with --file")


def test_similar_refuses_empty_texts(cli):
    assert line_of(cli("similar", "minilm", "a", "")) == (65, "the second text is empty")
    assert line_of(cli("similar", "minilm", " ", "a")) == (65, "the text is empty")


# ---- how a text is written


def test_prompt_over_the_context_length_is_an_error(cli):
    model = families.folder("gpt2")
    code, line = line_of(cli("generate", model, "the red cat " * 30))
    assert code == 65 and line.startswith("prompt 1 has ") and "Shorten it to 32 tokens" in line
    code, line = line_of(cli("generate", model, "the", "--max-new-tokens", "64"))
    assert code == 2 and line.startswith("max_new_tokens 64 leaves no room for a prompt: the model takes 64 tokens in all")


@pytest.mark.parametrize(
    ("verb", "words", "line"),
    [
        (
            "generate",
            ["--beams", "2", "--temperature", "1"],
            "beam search and sampling exclude each other",
        ),
        (
            "generate",
            ["--temperature", "0", "--top-p", "0.5"],
            "top_p limits sampling, and at temperature 0 nothing is sampled",
        ),
        ("generate", ["--beams", "2", "--samples", "3"], "2 beams give at most 2 texts, not 3"),
        ("generate", ["--stop", ""], "a stop string must not be empty"),
        ("summarize", ["--top-p", "0.5"], "top_p limits sampling, and at temperature 0 nothing is sampled"),
        ("summarize", ["--top-k", "5"], "top_k limits sampling, and at temperature 0 nothing is sampled"),
        ("summarize", ["--samples", "2"], "2 texts at temperature 0 would all be the same"),
        ("translate", ["--to", "de", "--beams", "2", "--temperature", "1"], "beam search and sampling exclude each other"),
    ],
)
def test_contradicting_options(cli, verb, words, line):
    code, message = line_of(cli(verb, families.folder("gpt2" if verb == "generate" else "t5"), "the", *words))
    assert code == 2 and message.startswith(line)


def test_a_language_must_be_named_and_known(cli):
    model = families.folder("t5")
    assert line_of(cli("translate", model, "a")) == (2, "to which language? Name it with --to, such as --to de")
    code, line = line_of(cli("translate", model, "a", "--to", "german"))
    assert (code, line) == (2, "unknown language 'german'. Did you mean 'de'?")
    code, line = line_of(cli("translate", model, "a", "--to", "de", "--from", "xx"))
    assert code == 2 and line.startswith("unknown language 'xx'. Languages: cs, de, en, ")


# ---- files


def test_a_text_to_text_file_without_targets(cli, tmp_path):
    (tmp_path / "a.csv").write_text("source,other\nred,rot\nblue,blau\n", encoding="utf-8")
    code, line = last_line(cli("finetune", families.folder("t5"), "a.csv", "--head", "text2text", "--out", "r"))
    assert (code, line) == (65, "a.csv has no column 'target'; it has 'source', 'other'. Try --target COLUMN")
    assert not (tmp_path / "r").exists()


def test_a_conll_file_with_ragged_rows(cli, tmp_path):
    (tmp_path / "a.conll").write_text("ann B-PER\nwent O\n\nbob B-PER\nwent\n", encoding="utf-8")
    for words in (("finetune", families.folder("bert"), "a.conll", "--out", "r"), ("evaluate", run_of("tag"), "a.conll")):
        code, line = last_line(cli(*words))
        assert code == 65 and line.startswith(
            "a.conll: 1 of 2 rows cannot be used; the first is line 4: line 5 has 1 column where"
        )


def test_tokens_and_tags_of_different_length(cli, tmp_path):
    rows = [{"tokens": ["ann", "went"], "tags": ["B-PER", "O"]}, {"tokens": ["ann", "went", "."], "tags": ["B-PER", "O"]}]
    write_jsonl(tmp_path / "a.jsonl", rows)
    code, line = last_line(cli("evaluate", run_of("tag"), "a.jsonl"))
    assert code == 65 and line.startswith("a.jsonl: 1 of 2 rows cannot be used; the first is line 2: 3 tokens and 2 tags")


def test_an_answer_that_is_not_in_its_context_is_left_out_or_an_error(cli, tmp_path):
    row = {"question": "who ?", "context": "ann went", "answers": {"text": ["ann"], "answer_start": [0]}}
    wrong = row | {"answers": {"text": ["bob"], "answer_start": [0]}}
    write_jsonl(tmp_path / "many.jsonl", [wrong, *[row] * 120])
    write_jsonl(tmp_path / "few.jsonl", [row, wrong])
    code, out, err = cli("evaluate", run_of("answer"), "many.jsonl", "--json", "--out", "w.jsonl")
    assert code == 0 and json.loads(out)["rows"] == 120, err
    code, line = last_line(cli("evaluate", run_of("answer"), "few.jsonl"))
    reason = "the first is line 2: its answer is not in its context: 'bob'"
    assert code == 65 and line.startswith(f"few.jsonl: 1 of 2 rows cannot be used; {reason}. At most 1 % ")


def test_a_file_without_the_columns_or_with_an_output_that_is_there(cli, tmp_path):
    (tmp_path / "a.csv").write_text("id,note\n1,a\n", encoding="utf-8")
    code, line = line_of(cli("answer", run_of("answer"), "--file", "a.csv"))
    assert (code, line) == (65, "a.csv has no column 'question'; it has 'id', 'note'. Try --column question=NAME")
    code, line = line_of(cli("tag", run_of("tag"), "--file", "no.csv"))
    assert code == 66 and "no.csv" in line
    code, line = line_of(cli("tag", run_of("tag"), "--file", "a.csv", "--out", "a.csv"))
    assert code == 73 and line.startswith("the output 'a.csv' exists already")
    code, line = line_of(cli("tag", run_of("tag"), "--file", "a.csv", "--out", "b.txt"))
    assert code == 2 and line.startswith("cannot write 'b.txt'")


def test_a_truncated_text_gives_a_notice(cli, tiny_run):
    texts = ["a warm film", "film " * 200]
    short, long = workflow.infer(str(tiny_run), texts)
    assert "cut" not in short and long["cut"] == 200 + 2 - 64
    _, _, err = cli("classify", tiny_run, *texts)
    assert "1 of 2 texts are longer than 64 tokens and were truncated" in err


@pytest.mark.parametrize("blank", ["\u200b", "\ufeff", "\x00", " "])
def test_a_line_without_a_shape_is_a_blank_line_in_a_pipe_too(cli, tiny_run, blank):
    code, out, err = cli("classify", tiny_run, "--json", stdin=f"a warm film\n{blank}\na cold film\n")
    answers = json.loads(out)["answers"]
    assert code == 0 and [one["label"] is None for one in answers] == [False, True, False], err
    run = families.trained_run("bert", "embed")[0].run.path
    assert cli("embed", run, "--out", "v.npy", stdin=f"cat\n{blank}\ndog\n")[0] == 0
    assert np.isnan(np.load("v.npy")).all(axis=1).tolist() == [False, True, False]


@pytest.mark.parametrize(("verb", "head_case"), [("classify", "pairs"), ("infer", "pairs"), ("infer", "answer")])
def test_an_empty_text_beside_a_pair_has_an_empty_line(cli, verb, head_case):
    run = families.trained_run("bert", head_case)[0].run.path
    code, out, err = cli(verb, run, "", "--pair", "the cat is warm", "--json")
    (result,) = json.loads(out)["answers"]
    assert code == 0 and result in ({"text": "", "label": None}, {"question": "", "answer": None}), err


def test_options_of_reading_go_with_a_file(cli):
    assert cli("classify", "bert-mini", "a", "--no-header")[2].startswith("hftool: --no-header goes with --file")
    assert cli("classify", "bert-mini", "a", "--columns", "x,y")[2].startswith("hftool: --columns goes with --file")
