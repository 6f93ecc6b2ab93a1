"""A run that was stopped resumes bitwise as if it had not been, for each head and its main settings."""

import hashlib
import json
import re
import shutil

import pytest

from conftest import film_rows, one_line, write_tsv
from support import families
from support.crash_injection import KILLED, finish, leftovers, result, start
from support.workspace import Workspace

MIDDLE = ("write", "log.jsonl", 3)  # the line of step 8, after the save of step 6: in mid-epoch, between two lines of the log
OPTIONS = ("--batch-size", 4, "--accumulate", 2, "--epochs", 2, "--save-steps", 3, "--log-steps", 4)


@pytest.fixture(scope="module")
def workspace(tiny_bert, tmp_path_factory):
    """Runs on 40 train rows, which are 5 steps an epoch."""
    return Workspace(tiny_bert, tmp_path_factory.mktemp("resume"), OPTIONS, train_rows=40)


def check(workspace, name, words, at=MIDDLE):
    """Make the run in one piece and in two, and compare -> what both end with, and the outcome of the second piece."""
    whole, interrupted = f"{name}-whole", f"{name}-cut"
    running = start(workspace.output(whole), words(whole))  # side by side
    assert finish(workspace.output(interrupted), words(interrupted), at=at).code == KILLED
    outcome = running.wait()
    assert outcome.code == 0, outcome.err
    outcome = workspace.resume(interrupted)
    assert "resuming after step " in outcome.err, outcome.err
    found = result(workspace.folder / whole)
    assert result(workspace.folder / interrupted) == found and leftovers(workspace.folder / interrupted) == []
    return found, outcome


KNOBS = {
    "as it is": (),
    "adam": ("--optimizer", "adam", "--schedule", "cosine"),
    "sgd": ("--optimizer", "sgd", "--schedule", "constant"),
    "adafactor": ("--optimizer", "adafactor"),
    "one batch a step": ("--accumulate", 1, "--batch-size", 8, "--clip", 0),
    "lora and two workers": ("--lora", 4, "--workers", 2),
    "weighted": ("--class-weights", "balanced", "--limit", 33, "--warmup", 0.5),
}


QUICK = ("lora and two workers",)  # as it is, and Adafactor: each head below


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(n, marks=pytest.mark.slow) for n in KNOBS if n not in QUICK)])
def test_a_run_in_two_pieces_is_bitwise_the_run_in_one(workspace, name):
    """tiny_bert has dropout on; two batches a step; the interruption is in mid-epoch."""
    found, outcome = check(workspace, name.replace(" ", "-"), lambda out: workspace.words(out, *KNOBS[name]))
    assert "resuming after step 6 of 10" in outcome.err and found["metrics"]["steps"] == 10


def test_early_stopping_counts_across_the_interruption(workspace):
    """At this learning rate the second and third evaluation are no better, one on each side of the interruption."""
    more = ("--lr", 1e-9, "--patience", 2, "--eval-steps", 2, "--epochs", 9, "--log-steps", 1, "--keep", 1)
    found, _ = check(workspace, "patience", lambda out: workspace.words(out, *more), at=("write", "log.jsonl", 7))
    assert found["metrics"]["steps"] == 6 and found["metrics"]["best_step"] == 2


HEAD_CASES = [("t5", "text2text"), ("roberta", "fill")]
MORE = [
    ("electra", "tag"),
    ("gpt2", "generate"),
    ("roberta", "regression"),
    ("bert", "answer"),
    ("bert", "embed"),
    ("gpt2", "classify"),
    ("t5", "classify"),
    ("xlm-roberta", "pairs"),
    ("roberta", "tag"),
    ("roberta", "answer"),
    ("t5", "embed"),
]


@pytest.mark.parametrize(
    ("kind", "head_case"),
    [*HEAD_CASES, *(pytest.param(*pair, marks=pytest.mark.slow) for pair in MORE)],
    ids=["-".join(pair) for pair in (*HEAD_CASES, *MORE)],
)
def test_each_head_resumes_bitwise(workspace, kind, head_case):
    """With dropout, and with the masks of `fill`, which are drawn anew in each epoch."""
    head, rows, knobs = families.HEAD_CASES[head_case]
    model = with_dropout(families.folder(kind), workspace.folder / f"model-{kind}")
    path = families.write_jsonl(workspace.folder / f"{kind}-{head_case}.jsonl", rows(40))
    length = ("--max-length", knobs["max_length"]) if "max_length" in knobs else ()
    files = ("--train", path, "--validation", path, "--allow-leak", "--head", head, *length)
    check(workspace, f"{kind}-{head_case}", lambda out: ["finetune", model, *files, *workspace.settings(out)])


def with_dropout(source, target):
    """The models of `families` have none."""
    if not target.is_dir():
        shutil.copytree(source, target)
        known = json.loads((target / "config.json").read_text())
        assert [key for key in known if "drop" in key]
        known |= {key: 0.1 for key in known if "drop" in key and isinstance(known[key], float)}
        (target / "config.json").write_text(json.dumps(known))
    return target


def test_without_a_checkpoint_a_run_starts_at_step_0_with_a_notice(workspace):
    """First no run at all; then a run that was killed before its first checkpoint, with lines in its log."""
    outcome = workspace.start("fresh", "--resume").wait()
    assert outcome.code == 0 and f"no run to resume in '{workspace.folder / 'fresh'}': it starts at step 0" in outcome.err
    run = workspace.interrupted("early", "--save-steps", 100, "--log-steps", 1, at=("write", "log.jsonl", 4))
    assert not (run / "checkpoints").exists() and len((run / "log.jsonl").read_text().splitlines()) == 3
    outcome = workspace.resume("early")
    assert f"the run '{run}' has no checkpoint yet: it starts at step 0" in outcome.err
    steps = [json.loads(line)["step"] for line in (run / "log.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 4, 5, 5, 6, 7, 8, 9, 10, 10]
    found = result(run)
    assert found["model"] == result(workspace.folder / "fresh")["model"]


def digests(folder):
    """Of every file but the lock, which holds the number of who looked last."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock")
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_resuming_a_finished_run_leaves_it_unchanged(workspace, cli, tiny_run):
    before = {path: path.stat().st_mtime_ns for path in sorted(tiny_run.rglob("*"))}, digests(tiny_run)
    code, out, err = cli("resume", tiny_run)
    assert code == 0 and one_line(err) == f"the run '{tiny_run}' is finished: nothing is left to do"
    assert out.startswith(f"run         {tiny_run}\nvalidation")
    code, out, err = cli("resume", tiny_run, "--json")
    assert code == 0 and json.loads(out)["metrics"] == json.loads((tiny_run / "metrics.json").read_text())
    assert ({path: path.stat().st_mtime_ns for path in sorted(tiny_run.rglob("*"))}, digests(tiny_run)) == before


@pytest.fixture(scope="module")
def interrupted(workspace):
    """A run that was killed in the middle. Copy it before it is changed."""
    return workspace.interrupted("cut", at=MIDDLE)


def copy_of(run, target):
    return shutil.copytree(run, target)


def test_other_settings_are_78_with_the_list_of_what_differs(workspace, cli, interrupted):
    before = digests(interrupted)
    more = ("--resume", "--lr", 0.002, "--seed", 4, "--epochs", 2, "--out", interrupted, "--optimizer", "sgd")
    code, out, err = cli(*workspace.words("cut", *more))
    assert code == 78 and out == ""
    assert one_line(err) == (
        f"hftool: the run '{interrupted}' was trained with other settings: lr was 0.001, now 0.002; "
        "optimizer was adamw, now sgd; seed was 0, "
        "now 4. Give those it started with, or another --out"
    )
    assert digests(interrupted) == before


def test_another_task_or_model_is_78(workspace, cli, interrupted, tmp_path):
    write_tsv(tmp_path / "other.tsv", film_rows(40))
    code, _, err = cli(*workspace.words("cut", "--resume", "--out", interrupted, "--train", tmp_path / "other.tsv"))
    assert code == 78 and f"train was {workspace.folder / 'train.tsv'}, now {tmp_path / 'other.tsv'}" in one_line(err)
    code, _, err = cli("finetune", "bert-mini", *workspace.words("cut", "--resume", "--out", interrupted)[2:])
    assert code == 78 and "model was " in one_line(err) and "now bert-mini" in err


def test_a_data_file_that_has_changed_is_78(workspace, cli, tmp_path):
    folder = tmp_path / "workspace"
    folder.mkdir()
    run = Workspace(workspace.model, folder, OPTIONS, train_rows=40).interrupted("run", at=MIDDLE)
    text = (folder / "train.tsv").read_text()
    (folder / "train.tsv").write_text(text.replace("number 7", "number 8"))
    before = digests(run)
    code, out, err = cli("resume", run, "--offline", "-q")
    assert code == 78 and out == ""
    assert one_line(err) == (
        f"hftool: the data or model of the run '{run}' has changed: '{folder / 'train.tsv'}'. "
        "Put it back, or start again with another --out"
    )
    assert digests(run) == before
    (folder / "train.tsv").unlink()
    code, _, err = cli("resume", run, "--offline", "-q")
    assert code == 66 and "train.tsv" in one_line(err)
    (folder / "train.tsv").write_text(text)
    code, _, err = cli("resume", run, "--offline", "-q")
    assert code == 0, err


def test_an_edited_config_of_a_run_is_78_with_the_list_of_what_differs(workspace, cli, interrupted, tmp_path):
    """Otherwise --resume would compare the file with itself."""
    run = copy_of(interrupted, tmp_path / "run")
    text = (run / "config.yaml").read_text()
    edited = text.replace("lr: 0.001", "lr: 0.002").replace("labels: []", "labels: [positive, negative]")
    (run / "config.yaml").write_text(edited)
    before = digests(run)
    code, out, err = cli("resume", run, "--offline", "-q")
    assert code == 78 and out == "" and digests(run) == before
    assert one_line(err) == (
        f"hftool: '{run / 'config.yaml'}' was changed after the run started: labels was not given, now ['positive', 'negative']; "
        "lr was 0.001, now 0.002. Put it back, or start again with another --out"
    )
    (run / "config.yaml").write_text(text.replace("keep: 2", "keep: 3").replace("grace: 30.0", "grace: 5"))
    code, _, err = cli("resume", run, "--offline", "-q")
    assert code == 0, err


def test_a_run_of_an_older_version_is_resumed(workspace, cli, interrupted, tmp_path):
    """Its manifest has no settings and hashes of the weights only, and its checkpoints hold less."""
    run = copy_of(interrupted, tmp_path / "run")
    created = json.loads((run / "manifest.json").read_text())
    assert created.pop("settings")["lr"] == 0.001
    assert {"config.json", "tokenizer.json", "model.safetensors"} <= set(created["hashes"])
    created["hashes"] = {name: digest for name, digest in created["hashes"].items() if name.endswith(".safetensors")}
    (run / "manifest.json").write_text(json.dumps(created))
    code, _, err = cli("resume", run, "--offline", "-q")
    assert code == 0, err


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_a_file_of_the_model_that_has_changed_is_78(workspace, cli, tmp_path, name):
    """Its dropout, or how texts are truncated: the training would be another one."""
    model = shutil.copytree(workspace.model, tmp_path / "model")
    run = Workspace(model, tmp_path, OPTIONS, train_rows=40).interrupted("run", at=MIDDLE)
    known = json.loads((model / name).read_text())
    truncation = {"direction": "Left", "max_length": 9, "strategy": "LongestFirst", "stride": 0}
    changed = {"hidden_dropout_prob": 0.3} if name == "config.json" else {"truncation": truncation}
    (model / name).write_text(json.dumps(known | changed))
    code, out, err = cli("resume", run, "--offline", "-q")
    assert code == 78 and out == ""
    assert one_line(err).startswith(f"hftool: the data or model of the run '{run}' has changed: '{name}'. ")


def test_settings_that_do_not_affect_training_may_change(workspace, interrupted):
    run = copy_of(interrupted, workspace.folder / "free")
    other = ("--workers", 2, "--keep", 7, "--grace", 3, "--save-steps", 1, "--save-minutes", 5)
    outcome = workspace.start("free", "--resume", *other).wait()
    assert outcome.code == 0, outcome.err
    assert {path.name for path in (run / "checkpoints").iterdir()} >= {f"step-{n:06d}" for n in (7, 8, 9, 10)}
    whole = workspace.folder / "as-it-is-whole"
    if not whole.is_dir():
        workspace.start("as-it-is-whole").wait()
    found, wanted = result(run), result(whole)
    assert found["model"] == wanted["model"] and found["log"] == wanted["log"]
    last = "step-000010/model.safetensors"
    assert found[last] == wanted[last]


def test_resuming_needs_a_run(workspace, cli):
    code, _, err = cli(*[w for w in workspace.words("x", "--resume") if w not in ("--out", str(workspace.folder / "x"))])
    assert code == 2 and one_line(err) == "hftool: which run? --resume needs --out RUN; or: hftool resume RUN"


def test_a_folder_with_files_of_a_user_is_never_taken_for_a_run(workspace, cli, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    code, _, err = cli(*workspace.words("x", "--resume", "--out", tmp_path / "mine"))
    assert code == 73 and "exists already" in one_line(err)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_the_share_of_time_spent_saving_is_shown(workspace, cli, tiny_run):
    _, out, _ = cli("resume", tiny_run)
    assert re.search(r"^time        \d+ s, \d+\.\d % of it saving; best at step \d+ of \d+ by \w+$", out, re.MULTILINE)
