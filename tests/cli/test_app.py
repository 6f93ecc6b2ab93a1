"""The contract of the command line: one line and the right code for each error, one document with --json."""

import json
import os
import subprocess
import sys

import pytest

from conftest import one_line
from hftool.cli.app import app_verbs, entry, main
from support.matrices import each_value

ASKING = ["infer", "classify", "tag", "answer", "summarize", "translate", "generate", "fill", "embed", "similar"]
DEPLOYING = ["export", "serve", "deploy", "save", "verify", "push", "prefetch", "bench"]
VERBS = [
    "finetune",
    "resume",
    "evaluate",
    "predict",
    "suggest",
    *ASKING,
    "tokenize",
    "info",
    "models",
    "tasks",
    "copy",
    *DEPLOYING,
    "doctor",
]
USAGE = [
    (["finetun"], "unknown verb 'finetun'. Did you mean 'finetune'?"),
    (["xyzzy"], "unknown verb 'xyzzy'. See `hftool --help`"),
    (["--versio"], "unknown option '--versio'. Did you mean '--version'?"),
    (["models", "--jsn"], "unknown option '--jsn'. Did you mean '--json'?"),
    (["models", "more"], "got unexpected extra argument(s) (more). See `hftool models --help`"),
    (["classify"], "missing argument 'MODEL'. See `hftool classify --help`"),
    (["save", "run"], "missing option '--out'. See `hftool save --help`"),
    (["classify", "run", "--pair"], "the option '--pair' needs a value. See `hftool classify --help`"),
    (["finetune", "bert", "sst2", "--epochs"], "the option '--epochs' needs a value. See `hftool finetune --help`"),
    (["finetune", "bert", "sst2", "--learning-rate", "1"], "unknown option '--learning-rate'. Did you mean '--lr'?"),
    (["finetune", "bert", "sst2", "--lr", "99"], "--lr must be a number from 1e-09 to 10, not '99'"),
    (["finetune", "bert", "sst2", "--batch-size", "x"], "--batch-size must be a whole number from 1 to 65536, not 'x'"),
    (
        ["finetune", "bert", "sst2", "--schedule", "cosin"],
        "--schedule must be one of linear, cosine, constant, not 'cosin'. Did you mean 'cosine'?",
    ),
    (["finetune", "bert", "sst2", "--set", "lrr=1"], "unknown key 'lrr'. Did you mean 'lr'?"),
    (["finetune", "bert", "sst2", "--column", "text"], "--column takes role=name, not 'text'. Such as --column text=sentence"),
    (["finetune", "bert", "sst2", "--column", "txt=a"], "--column has no role 'txt'. Did you mean 'text'?"),
    (["finetune", "bertt", "sst2"], "unknown model 'bertt'. Did you mean 'bert'?"),
    (
        ["finetune", "gpt2", "squad"],
        "'gpt2' is of the family gpt2, which cannot do 'answer'. Families that can: 'bert', 'distilbert', 'roberta', 'xlm-roberta'",
    ),
    (
        ["finetune", "t5", "wnut17"],
        "'t5' is of the family t5, which cannot do 'tag'. Families that can: 'bert', 'distilbert', 'roberta', 'xlm-roberta', 'gpt2'",
    ),
    (["finetune", "bert", "xsum"], "'bert' is of the family bert, which cannot do 'text2text'. Families that can: 't5', 'mt5'"),
    (["generate", "bert", "a"], "'bert' is of the family bert, which cannot do 'generate'. Families that can: 'gpt2'"),
    (["summarize", "gpt2", "a"], "'gpt2' is of the family gpt2, which cannot do 'text2text'. Families that can: 't5', 'mt5'"),
    (
        ["embed", "gpt2", "a"],
        "'gpt2' is of the family gpt2, which cannot do 'embed'. "
        "Families that can: 'bert', 'distilbert', 'roberta', 'xlm-roberta', 't5', 'mt5'",
    ),
    (["finetune", "bert", "sst2", "--head", "clasify"], "unknown head 'clasify'. Did you mean 'classify'?"),
    (["finetune"], "which model? hftool finetune MODEL TASK, such as: hftool finetune bert sst2"),
    (["evaluate", "run", "--limit", "0"], "--limit must be a whole number of at least 1, not '0'"),
    (
        ["evaluate", "run", "--split", "tests"],
        "--split must be one of train, validation, test, not 'tests'. Did you mean 'test'?",
    ),
    (["predict", "run", "f.csv", "--top-k", "x"], "--top-k must be a whole number of at least 1, not 'x'"),
    (["tokenize", "minilm", "--max-length", "1", "a"], "--max-length must be a whole number of at least 2, not '1'"),
    (
        ["classify", "run", "-5 degrees"],
        "unknown option '-5'. A text that begins with - goes after --: hftool classify MODEL -- '-5 degrees'",
    ),
    (["similar", "minilm", "a"], "missing argument 'B'. See `hftool similar --help`"),
    (["answer", "run", "--question", "who?"], "a question needs a context to be answered from. Give it with --context TEXT"),
    (["answer", "run", "--file", "f.csv", "--context", "a"], "--file brings its own contexts. Leave --context out"),
    (
        ["infer", "run", "a", "b", "--pair", "c"],
        "--pair takes one TEXT. For many pairs: --file FILE --column ROLE=NAME",
    ),
    (["tag", "run", "a", "--out", "x.csv"], "--out goes with --file. To keep the answers to texts: > FILE"),
    (["tag", "run", "a", "--column", "text=b"], "--column goes with --file. Leave it out, or name the file with --file"),
    (["embed", "run", "a", "--encoding", "gbk"], "--encoding goes with --file. Leave it out, or name the file with --file"),
    (["fill", "run", "a", "--file", "f.csv"], "--file and TEXT exclude each other. Leave one of them out"),
    (["fill", "run", "a", "--top-k", "0"], "--top-k must be a whole number of at least 1, not '0'"),
    (
        ["embed", "run", "a", "--pooling", "men"],
        "--pooling must be one of mean, cls, max, mean_sqrt_len_tokens, not 'men'. Did you mean 'mean'?",
    ),
    (
        ["embed", "run", "a", "--out", "x.csv"],
        "vectors of texts go into an array, not into 'x.csv'. Name it .npy, or use --file and --out",
    ),
    (
        ["similar", "run", "a", "b", "--pooling", "x y"],
        "--pooling must be one of mean, cls, max, mean_sqrt_len_tokens, not 'x y'",
    ),
    (["generate", "run", "a", "--temperature", "-1"], "--temperature must be a number from 0 to 100, not '-1'"),
    (["generate", "run", "a", "--top-p", "2"], "--top-p must be a number over 0 and at most 1, not '2'"),
    (["generate", "run", "a", "--max-new-tokens", "0"], "--max-new-tokens must be a whole number from 1 to 100000, not '0'"),
    (["generate", "run", "a", "--samples", "x"], "--samples must be a whole number from 1 to 1000, not 'x'"),
    (["predict", "run"], "which file? hftool predict MODEL FILE --out OUT.csv"),
    (["info", "be\nrt\x1b[31m"], "unknown model 'be\\nrt\\x1b[31m'. Did you mean 'bert'?"),
]


@pytest.mark.parametrize(("words", "line"), USAGE, ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_usage_errors_are_one_line_and_2_and_leave_nothing(words, line, cli, tmp_path):
    code, out, err = cli(*words)
    assert (code, out, one_line(err)) == (2, "", f"hftool: {line}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "code", "kind"),
    [
        (["finetun", "--json"], 2, "usage"),
        (["finetune", "bert", "sst2", "--lr", "x", "--json"], 2, "usage"),
        (["finetune", "--config", "no.yaml", "--json"], 66, "input_missing"),
        (["info", "./nope", "--json"], 66, "input_missing"),
        (["predict", "run", "f.csv", "--json"], 2, "usage"),
        (["tag", "run", "--file", "f.csv", "--json"], 2, "usage"),
        (["tag", "./nope", "a", "--json"], 66, "input_missing"),
    ],
)
def test_json_error_is_one_document_and_one_line(words, code, kind, cli):
    got, out, err = cli(*words)
    document = json.loads(out)
    assert got == code == document["code"] and document["kind"] == kind
    assert set(document) == {"code", "kind", "detail", "hint"}
    assert one_line(err).startswith(f"hftool: {document['detail']}")


def test_json_flag_after_two_dashes_is_a_text(cli):
    code, out, err = cli("classify", "./nope", "--", "--json")
    assert (code, out) == (66, "") and one_line(err)


def test_no_verb_shows_the_tour_and_the_version_is_one_line(cli):
    code, out, err = cli()
    assert code == 0 and "hftool finetune bert sst2" in out and err == ""
    code, out, err = cli("--version")
    assert code == 0 and one_line(out).startswith("hftool 0.") and err == ""


def test_list_of_verbs():
    assert app_verbs() == VERBS


@pytest.mark.parametrize(("verb", "flag"), each_value(VERBS, ["--help", "-h"]))
def test_help_pages_read_well(verb, flag, cli, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, err = cli(verb, flag)
    assert code == 0 and err == ""
    plain = "".join(line for line in out.splitlines(keepends=True) if not line.startswith("  hftool "))
    assert "[[" not in plain and "{" not in plain and "<" not in plain and "\b" not in out
    flags = [line.split()[0].rstrip(",") for line in out.splitlines() if line.startswith("  -")]
    assert len(flags) == len(set(flags))
    examples = [line for line in out.splitlines() if line.startswith(f"  hftool {verb} ")]
    assert examples or verb in ("models", "tasks")
    assert all(len(line) <= 80 or line in examples for line in out.splitlines())


def test_the_page_of_finetune_has_every_knob_under_a_heading(cli, monkeypatch):
    from hftool.config import KNOBS

    monkeypatch.setenv("COLUMNS", "110")
    _, out, _ = cli("finetune", "--help")
    assert out.startswith("Usage: hftool finetune [MODEL] [TASK] [OPTIONS]\n")
    for name in KNOBS:
        assert f"\n  --{name.replace('_', '-')} " in out
    headings = [line for line in out.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert headings == ["Arguments:", "Options:", "Training:", "Data:", "Evaluating and saving:", "Machine:", "Everywhere:"]
    assert "  hftool finetune bert sst2\n  hftool finetune bert reviews.csv" in out


def test_internal_error_is_1_with_a_traceback_and_a_document(cli, monkeypatch):
    monkeypatch.setattr("hftool.cli.verbs.models.MODELS", [object()])
    code, out, err = cli("models", "--json")
    assert code == 1 and "Traceback" in err and json.loads(out)["kind"] == "bug"


def test_interrupt_is_130_and_one_line(cli, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("hftool.cli.verbs.models.print_json", interrupted)
    code, out, err = cli("models", "--json")
    assert code == 130 and one_line(err) == "hftool: interrupted" and json.loads(out)["code"] == 130


def hftool(command, **options):
    line = command.replace("hftool", f"{sys.executable} -m hftool")
    return subprocess.run(["bash", "-o", "pipefail", "-c", line], capture_output=True, text=True, **options)


def test_closed_pipe_is_not_an_error():
    for command in ("hftool finetune --help | true", "hftool models | true", "hftool tasks --json | head -c 1"):
        run = hftool(command)
        assert (run.returncode, run.stderr) == (0, "")


def test_full_and_closed_streams():
    run = hftool("hftool models --json > /dev/full")
    assert run.returncode == 74 and one_line(run.stderr) == "hftool: No space left on device"
    assert hftool("hftool models >&-").returncode == 0
    assert hftool("hftool nope 2>&-").returncode == 2


def test_shell_completion():
    run = hftool("hftool --show-completion")
    assert run.returncode in (0, 2) and "Traceback" not in run.stderr
    words = {**os.environ, "_HFTOOL_COMPLETE": "complete_bash", "COMP_WORDS": "hftool fine", "COMP_CWORD": "1"}
    assert hftool("hftool", env=words).stdout.split() == ["finetune"]


def test_main_returns_and_does_not_exit():
    assert main(["--version"]) == 0


def test_the_process_of_a_server_ends_without_the_exit_of_its_libraries(monkeypatch):
    """Threads of torch that are at work at a normal exit abort it: seen once in twenty servers under load."""
    codes = []
    monkeypatch.setattr(sys, "argv", ["hftool", "--version"])
    monkeypatch.setattr(os, "_exit", codes.append)
    monkeypatch.delitem(sys.modules, "hftool.server.process", raising=False)
    with pytest.raises(SystemExit):
        entry()
    assert codes == []
    monkeypatch.setitem(sys.modules, "hftool.server.process", object())
    with pytest.raises(SystemExit):
        entry()
    assert codes == [0]
