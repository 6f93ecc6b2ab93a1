"""A run that was stopped goes on bitwise as if it had not been: whatever it learns, however it is set."""

import hashlib
import json
import re
import shutil

import pytest

from conftest import film_rows, one_line, write_tsv
from support import families
from support.command_words import last_wins
from support.crash_injection import KILLED, finish, leftovers, result, start

MIDDLE = ("write", "log.jsonl", 3)  # the line of step 8, after the save of step 6: in mid-epoch, between two lines of the log


@pytest.fixture(scope="module")
def desk(tiny_bert, tmp_path_factory):
    """A folder with 40 train rows, which are 5 steps an epoch."""
    folder = tmp_path_factory.mktemp("resume")
    rows = film_rows(56)
    write_tsv(folder / "train.tsv", rows[:40])
    write_tsv(folder / "dev.tsv", rows[40:])
    return Desk(tiny_bert, folder)


class Desk:
    def __init__(self, model, folder):
        self.model, self.folder = model, folder

    def words(self, name, *more):
        files = ("--train", self.folder / "train.tsv", "--validation", self.folder / "dev.tsv")
        return last_wins(["finetune", self.model, "sst2", *files, *self.common(name), *more])

    def common(self, name):
        knobs = ("--batch-size", 4, "--accumulate", 2, "--epochs", 2, "--save-steps", 3, "--log-steps", 4)
        return ["--out", self.folder / name, *knobs, "--lr", 0.001, "--offline"]

    def run(self, name, words, **more):
        return finish(self.folder / f"told-{name}", words, **more)

    def stopped(self, name, *more, at=MIDDLE):
        """A run that was killed in the middle."""
        ended = self.run(name, self.words(name, *more), at=at)
        assert ended.code == KILLED, ended.err
        return self.folder / name

    def check(self, name, words, at=MIDDLE):
        """The run in one piece and in two -> what both end with."""
        whole, cut = self.folder / f"{name}-whole", self.folder / f"{name}-cut"
        going = start(self.folder / f"told-{name}-whole", words(f"{name}-whole"))  # side by side
        ended = self.run(name, words(f"{name}-cut"), at=at)
        assert ended.code == KILLED, ended.err
        ended = going.end()
        assert ended.code == 0, ended.err
        ended = self.run(name, ["resume", cut, "--offline"])
        assert ended.code == 0 and "resuming after step " in ended.err, ended.err
        assert result(cut) == result(whole)
        assert leftovers(cut) == []
        return result(whole), ended


KNOBS = {
    "as it is": (),
    "two workers": ("--workers", 2),
    "adam": ("--optimizer", "adam", "--schedule", "cosine"),
    "sgd": ("--optimizer", "sgd", "--schedule", "constant"),
    "adafactor": ("--optimizer", "adafactor"),
    "one batch a step": ("--accumulate", 1, "--batch-size", 8, "--clip", 0),
    "lora": ("--lora", 4),
    "weighted": ("--class-weights", "balanced", "--limit", 33, "--warmup", 0.5),
}


OFTEN = ("as it is", "two workers", "adafactor", "lora")


@pytest.mark.parametrize("name", [*OFTEN, *(pytest.param(n, marks=pytest.mark.slow) for n in KNOBS if n not in OFTEN)])
def test_a_run_in_two_pieces_is_bitwise_the_run_in_one(desk, name):
    """tiny_bert has dropout on; two batches a step; the cut is in mid-epoch."""
    found, ended = desk.check(name.replace(" ", "-"), lambda out: desk.words(out, *KNOBS[name]))
    assert "resuming after step 6 of 10" in ended.err and found["metrics"]["steps"] == 10


def test_early_stopping_counts_across_the_cut(desk):
    """Nothing is learnt at this rate: the second and third evaluation are no better, one on each side of the cut."""
    more = ("--lr", 1e-9, "--patience", 2, "--eval-steps", 2, "--epochs", 9, "--log-steps", 1, "--keep", 1)
    found, _ = desk.check("patience", lambda out: desk.words(out, *more), at=("write", "log.jsonl", 7))
    assert found["metrics"]["steps"] == 6 and found["metrics"]["best_step"] == 2


LESSONS = [("electra", "tag"), ("t5", "text2text"), ("gpt2", "generate"), ("roberta", "fill")]
MORE = [
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
    ("kind", "lesson"),
    [*LESSONS, *(pytest.param(*pair, marks=pytest.mark.slow) for pair in MORE)],
    ids=["-".join(pair) for pair in (*LESSONS, *MORE)],
)
def test_each_head_goes_on_bitwise(desk, kind, lesson):
    """With dropout, and the masks of `fill`, drawn anew in each epoch."""
    head, rows, knobs = families.LESSONS[lesson]
    model = with_dropout(families.folder(kind), desk.folder / f"model-{kind}")
    path = families.write_jsonl(desk.folder / f"{kind}-{lesson}.jsonl", rows(40))
    length = ("--max-length", knobs["max_length"]) if "max_length" in knobs else ()
    files = ("--train", path, "--validation", path, "--allow-leak", "--head", head, *length)
    desk.check(f"{kind}-{lesson}", lambda out: ["finetune", model, *files, *desk.common(out)])


def with_dropout(source, target):
    """The models of `families` have none."""
    if not target.is_dir():
        shutil.copytree(source, target)
        known = json.loads((target / "config.json").read_text())
        assert [key for key in known if "drop" in key]
        known |= {key: 0.1 for key in known if "drop" in key and isinstance(known[key], float)}
        (target / "config.json").write_text(json.dumps(known))
    return target


def test_with_no_checkpoint_yet_it_starts_at_step_0_and_says_so(desk):
    """Nothing there at all; then a run that was killed before its first checkpoint, with lines in its log."""
    ended = desk.run("fresh", desk.words("fresh", "--resume"))
    assert ended.code == 0 and f"no run to resume in '{desk.folder / 'fresh'}': it starts at step 0" in ended.err
    run = desk.stopped("early", "--save-steps", 100, "--log-steps", 1, at=("write", "log.jsonl", 4))
    assert not (run / "checkpoints").exists() and len((run / "log.jsonl").read_text().splitlines()) == 3
    ended = desk.run("early", ["resume", run, "--offline"])
    assert ended.code == 0, ended.err
    assert f"the run '{run}' has no checkpoint yet: it starts at step 0" in ended.err
    steps = [json.loads(line)["step"] for line in (run / "log.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 4, 5, 5, 6, 7, 8, 9, 10, 10]
    found = result(run)
    assert found["model"] == result(desk.folder / "fresh")["model"]


def digests(folder):
    """Of every file but the lock, which holds the number of who looked last."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock")
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_finished_run_says_so_and_is_left_as_it_is(desk, cli, tiny_run):
    before = {path: path.stat().st_mtime_ns for path in sorted(tiny_run.rglob("*"))}, digests(tiny_run)
    code, out, err = cli("resume", tiny_run)
    assert code == 0 and one_line(err) == f"the run '{tiny_run}' is finished: nothing is left to do"
    assert out.startswith(f"run         {tiny_run}\nvalidation")
    code, out, err = cli("resume", tiny_run, "--json")
    assert code == 0 and json.loads(out)["metrics"] == json.loads((tiny_run / "metrics.json").read_text())
    assert ({path: path.stat().st_mtime_ns for path in sorted(tiny_run.rglob("*"))}, digests(tiny_run)) == before


@pytest.fixture(scope="module")
def cut(desk):
    """A run that was killed in the middle. Copy it before it is changed."""
    return desk.stopped("cut")


def copy_of(run, target):
    return shutil.copytree(run, target)


def test_other_settings_are_78_with_the_list_of_what_differs(desk, cli, cut):
    before = digests(cut)
    more = ("--resume", "--lr", 0.002, "--seed", 4, "--epochs", 2, "--out", cut, "--optimizer", "sgd")
    code, out, err = cli(*desk.words("cut", *more))
    assert code == 78 and out == ""
    assert one_line(err) == (
        f"hftool: the run '{cut}' was made with other settings: lr was 0.001, now 0.002; optimizer was adamw, now sgd; seed was 0, "
        "now 4. Give those it started with, or another --out"
    )
    assert digests(cut) == before


def test_another_task_or_model_is_78(desk, cli, cut, tmp_path):
    write_tsv(tmp_path / "other.tsv", film_rows(40))
    code, _, err = cli(*desk.words("cut", "--resume", "--out", cut, "--train", tmp_path / "other.tsv"))
    assert code == 78 and f"train was {desk.folder / 'train.tsv'}, now {tmp_path / 'other.tsv'}" in one_line(err)
    code, _, err = cli("finetune", "bert-mini", *desk.words("cut", "--resume", "--out", cut)[2:])
    assert code == 78 and "model was " in one_line(err) and "now bert-mini" in err


def test_a_data_file_that_has_changed_is_78(desk, cli, cut, tmp_path):
    folder = tmp_path / "desk"
    shutil.copytree(desk.folder, folder, ignore=shutil.ignore_patterns("*-*", "cut", "fresh", "early"))
    other = Desk(desk.model, folder)
    run = other.stopped("run")
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


def test_an_edited_config_of_a_run_is_78_with_the_list_of_what_differs(desk, cli, cut, tmp_path):
    """Else --resume would take what it asks for and what it compares it with from the same file."""
    run = copy_of(cut, tmp_path / "run")
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


def test_a_run_of_an_older_hftool_is_gone_on_with(desk, cli, cut, tmp_path):
    """It has no settings in its manifest, hashes of the weights alone, and less in its checkpoints."""
    run = copy_of(cut, tmp_path / "run")
    made = json.loads((run / "manifest.json").read_text())
    assert made.pop("settings")["lr"] == 0.001
    assert {"config.json", "tokenizer.json", "model.safetensors"} <= set(made["hashes"])
    made["hashes"] = {name: digest for name, digest in made["hashes"].items() if name.endswith(".safetensors")}
    (run / "manifest.json").write_text(json.dumps(made))
    code, _, err = cli("resume", run, "--offline", "-q")
    assert code == 0, err


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_a_file_of_the_model_that_has_changed_is_78(desk, cli, tmp_path, name):
    """Its dropout, or how texts are cut: what would be learnt is another thing."""
    model = shutil.copytree(desk.model, tmp_path / "model")
    folder = tmp_path / "desk"
    folder.mkdir()
    for file in ("train.tsv", "dev.tsv"):
        shutil.copyfile(desk.folder / file, folder / file)
    run = Desk(model, folder).stopped("run")
    known = json.loads((model / name).read_text())
    cut = {"direction": "Left", "max_length": 9, "strategy": "LongestFirst", "stride": 0}
    changed = {"hidden_dropout_prob": 0.3} if name == "config.json" else {"truncation": cut}
    (model / name).write_text(json.dumps(known | changed))
    code, out, err = cli("resume", run, "--offline", "-q")
    assert code == 78 and out == ""
    assert one_line(err).startswith(f"hftool: the data or model of the run '{run}' has changed: '{name}'. ")


def test_settings_that_change_nothing_learnt_may_change(desk, cut):
    run = copy_of(cut, desk.folder / "free")
    words = desk.words("free", "--resume", "--workers", 2, "--keep", 7, "--grace", 3, "--save-steps", 1, "--save-minutes", 5)
    ended = desk.run("free", words)
    assert ended.code == 0, ended.err
    assert {path.name for path in (run / "checkpoints").iterdir()} >= {f"step-{n:06d}" for n in (7, 8, 9, 10)}
    whole = desk.folder / "as-it-is-whole"
    if not whole.is_dir():
        desk.run("free-whole", desk.words("as-it-is-whole"))
    found, wanted = result(run), result(whole)
    assert found["model"] == wanted["model"] and found["log"] == wanted["log"]
    last = "step-000010/model.safetensors"
    assert found[last] == wanted[last]


def test_resuming_needs_a_run(desk, cli):
    code, _, err = cli(*[w for w in desk.words("x", "--resume") if w not in ("--out", str(desk.folder / "x"))])
    assert code == 2 and one_line(err) == "hftool: which run? --resume needs --out RUN; or: hftool resume RUN"


def test_a_folder_with_files_of_a_user_is_never_taken_for_a_run(desk, cli, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    code, _, err = cli(*desk.words("x", "--resume", "--out", tmp_path / "mine"))
    assert code == 73 and "exists already" in one_line(err)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_the_share_of_time_spent_saving_is_said(desk, cli, tiny_run):
    _, out, _ = cli("resume", tiny_run)
    assert re.search(r"^time        \d+ s, \d+\.\d % of it saving; best at step \d+ of \d+ by \w+$", out, re.MULTILINE)
