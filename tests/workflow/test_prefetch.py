"""prefetch, the lock, and --locked: what was fetched is used without a network, and nothing else is."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from conftest import film_rows, one_line, write_tsv
from hftool import workflow
from hftool.errors import ConfigError, HubUnreachable, InputMissing, Refused, UsageError
from hftool.workflow import lockfile
from support.hub_env import led_hub

MODEL, DATA = ("model", "ann/tiny"), ("dataset", "ann/films")
GLUE = "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"  # the revision that the registry names for sst2
AUDIT = """
import json, sys
seen = []
sys.addaudithook(lambda event, _: seen.append(event) if event.startswith("socket.") and event != "socket.__new__" else None)
from hftool.cli.app import main
code = main(sys.argv[1:])
print(json.dumps({"code": code, "sockets": seen}), file=sys.stderr)
"""


def table(rows):
    return ("sentence,label\n" + "".join(f"{row['sentence']},{row['label']}\n" for row in rows)).encode()


@pytest.fixture
def repos(tiny_bert):
    rows = film_rows(48)
    model = {path.name: path.read_bytes() for path in tiny_bert.iterdir()}
    head_config = b"---\nconfigs:\n- config_name: sst2\n  data_files:\n  - split: train\n    path: sst2/train.csv\n---\n"
    return {
        MODEL: {"main": model, "dev": {**model, "README.md": b"# dev"}},
        DATA: {"main": {"train.csv": table(rows[:32]), "validation.csv": table(rows[32:])}},
        ("dataset", "nyu-mll/glue"): {
            GLUE: {"README.md": head_config, "sst2/train.csv": table(rows), "cola/train.csv": table(rows)}
        },
    }


@pytest.fixture
def hub(repos, monkeypatch, tmp_path):
    monkeypatch.setenv(lockfile.VARIABLE, "")
    monkeypatch.chdir(tmp_path)
    with led_hub(repos, monkeypatch, tmp_path / "home") as running:
        yield running


@pytest.fixture
def held(hub, monkeypatch):
    """The lock of model and data, which holds."""
    workflow.prefetch("ann/tiny", ["ann/films"], lock="hftool.lock")
    monkeypatch.setenv(lockfile.VARIABLE, "hftool.lock")
    hub.requests.clear()
    return hub


def read():
    with open("hftool.lock", encoding="utf-8") as handle:
        return json.load(handle)


def write(document):
    with open("hftool.lock", "w", encoding="utf-8") as handle:
        json.dump(document, handle)


# -- prefetch ---------------------------------------------------------------------------------------------------------


def test_a_second_prefetch_finds_everything_cached(hub):
    first = workflow.prefetch("ann/tiny", ["ann/films"])
    assert [(one.kind, one.repo, one.already) for one in first] == [(*MODEL, False), (*DATA, False)]
    assert [one.revision for one in first] == [hub.revision(*MODEL), hub.revision(*DATA)]
    assert all(one.size > 100 for one in first)
    count = len(hub.requests)
    again = workflow.prefetch("ann/tiny", ["ann/films"], offline=True)
    assert [one.already for one in again] == [True, True] and len(hub.requests) == count


def test_a_task_by_name_takes_its_own_part(hub):
    [_, data] = workflow.prefetch("ann/tiny", ["sst2"])
    assert data.revision == GLUE and not hub.requested("cola")
    again = workflow.prefetch("ann/tiny", ["sst2"], offline=True)
    assert again[1].already


def test_what_is_cached_is_listed_without_the_hub(hub, tiny_bert, tmp_path, cli):
    path = write_tsv(tmp_path / "train.tsv", film_rows(8))
    code, out, _ = cli("prefetch", tiny_bert, path, "sst2-mini")
    assert code == 0 and hub.requests == []
    assert out.splitlines() == [
        f"{tiny_bert}  is a local path: nothing to fetch",
        f"{path}  is a local path: nothing to fetch",
        "sst2-mini  is available: bundled with hftool, or in an installed package",
    ]


def test_what_cannot_be_had_is_69_and_nothing_stands_in(hub, cli):
    with pytest.raises(HubUnreachable, match="the model ann/tiny is not in the cache"):
        workflow.prefetch("ann/tiny", offline=True)
    code, _, err = cli("prefetch", "ann/none")
    assert code == 69 and "the Hub has no ann/none" in one_line(err)
    hub.close()
    code, _, err = cli("prefetch", "bert", "--lock")
    assert code == 69 and not os.path.exists("hftool.lock")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["brt"], 2, "Did you mean 'bert'?"),
        (["ann/tiny", "sst"], 2, "Did you mean"),
        (["ann/tiny", "none.csv"], 66, "there is no file 'none.csv'"),
        (["./none"], 66, "there is no folder './none'"),
    ],
)
def test_wrong_words(hub, cli, words, code, message):
    found, _, err = cli("prefetch", *words)
    assert found == code and message in one_line(err)


def test_a_hostile_model_is_refused_at_once(hub, repos, cli):
    repos[MODEL]["main"] = {**repos[MODEL]["main"], "config.json": b'{"model_type": "bert", "auto_map": {}}'}
    code, _, err = cli("prefetch", "ann/tiny", "--lock")
    assert code == 77 and "auto_map" in one_line(err) and not os.path.exists("hftool.lock")


def test_offline_no_socket_is_opened_afterwards(hub, tmp_path):
    """Fine-tuning, which loads most, in its own process in which every socket is seen."""
    environment = {**os.environ, **hub.environment(tmp_path / "fresh")}
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", lockfile.VARIABLE):
        environment.pop(name, None)

    def hftool(*words):
        command = [sys.executable, "-c", AUDIT, *words]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        return done.stdout, json.loads(done.stderr.splitlines()[-1])

    _, message = hftool("prefetch", "ann/tiny", "ann/films", "--lock")
    assert message["code"] == 0 and "socket.connect" in message["sockets"]
    hub.close()
    words = ("--max-steps", "1", "--text", "sentence", "--label", "label", "--out", "run", "--offline", "--locked", "--json")
    _, message = hftool("finetune", "ann/tiny", "ann/films", *words)
    assert message == {"code": 0, "sockets": []}
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    fetched = json.loads((tmp_path / "hftool.lock").read_text())
    assert manifest["revision"] == fetched["model"]["ann/tiny"]["revision"]
    assert manifest["data_revision"] == f"ann/films@{fetched['dataset']['ann/films']['revision']}"
    page = (tmp_path / "run" / "model" / "README.md").read_text()
    assert manifest["revision"] in page and manifest["data_revision"] in page


def test_the_data_of_a_task_by_name_is_recorded_with_its_revision(hub, tmp_path):
    run = workflow.finetune("ann/tiny", "sst2", config={"max_steps": 1, "batch_size": 8}, out=tmp_path / "run").run
    result = json.loads(run.manifest.read_text())
    assert result["data_revision"] == f"nyu-mll/glue@{GLUE}:sst2" and result["revision"] == hub.revision(*MODEL)
    text = (run.model / "README.md").read_text()
    assert f"nyu-mll/glue@{GLUE}:sst2" in text and "datasets:\n- nyu-mll/glue\n" in text and "base_model: ann/tiny\n" in text


# -- the lock ---------------------------------------------------------------------------------------------------------


def test_the_lock_has_revision_and_hash_of_each_file(held):
    document = read()
    entry = document["model"]["ann/tiny"]
    assert entry["asked"] == "main" and entry["revision"] == held.revision(*MODEL)
    assert set(entry["files"]) == set(held.repos[MODEL]["main"]) and all(len(d) == 64 for d in entry["files"].values())
    assert set(document["dataset"]["ann/films"]["files"]) == {"train.csv", "validation.csv"}


def test_the_lock_is_extended_and_a_repository_replaced(held, monkeypatch):
    monkeypatch.setenv(lockfile.VARIABLE, "")
    workflow.prefetch("ann/tiny@dev", ["sst2"], lock="hftool.lock")
    document = read()
    assert document["model"]["ann/tiny"]["asked"] == "dev"
    assert document["model"]["ann/tiny"]["revision"] == held.revision(*MODEL, "dev")
    assert set(document["dataset"]) == {"ann/films", "nyu-mll/glue"}
    assert set(document["dataset"]["nyu-mll/glue"]["files"]) == {"README.md", "sst2/train.csv"}


def test_what_is_locked_works(held):
    found = workflow.tokenize("ann/tiny", ["a warm film"])
    assert found[0].ids and held.requests == []
    assert workflow.tokenize(f"ann/tiny@{held.revision(*MODEL)}", ["a warm film"]) == found
    assert workflow.tokenize("ann/tiny@main", ["a warm film"]) == found


def test_when_the_branch_moves_the_locked_revision_stays(held):
    locked = held.revision(*MODEL)
    held.repos[MODEL][locked] = held.repos[MODEL]["main"]
    held.repos[MODEL]["main"] = {**held.repos[MODEL]["main"], "README.md": b"# moved"}
    shutil.rmtree("home")
    assert workflow.info("ann/tiny")["revision"] == locked


def test_another_repository_or_branch_or_revision_is_77(held):
    for word, message in {
        "ann/other": "the model 'ann/other' is not in 'hftool.lock'",
        "ann/tiny@dev": "is locked at .* and 'dev' is asked for",
        f"ann/tiny@{held.revision(*MODEL, 'dev')}": "is asked for",
        "gpt2": "the model 'openai-community/gpt2' is not in",
    }.items():
        with pytest.raises(Refused, match=message):
            workflow.tokenize(word, ["a"], fallback=True)
    assert held.requests == []


def test_data_that_is_not_locked_is_77(held, tmp_path):
    for task in ("sst2", "ann/other"):
        with pytest.raises(Refused, match="is not in 'hftool.lock'"):
            workflow.finetune("ann/tiny", task, out=tmp_path / "run", fallback=True)
    assert held.requests == [] and not (tmp_path / "run").exists()


def test_another_part_of_locked_data_is_77(hub, monkeypatch, tmp_path):
    workflow.prefetch("ann/tiny", ["sst2"], lock="hftool.lock")
    monkeypatch.setenv(lockfile.VARIABLE, "hftool.lock")
    with pytest.raises(Refused, match="has no files of 'nyu-mll/glue' in 'cola'"):
        workflow.finetune("ann/tiny", "cola", out=tmp_path / "run")


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_file_that_differs_is_77_before_it_is_parsed(held, tmp_path, name):
    path = workflow.prefetch("ann/tiny", offline=True)[0].folder / name
    body = path.read_bytes()
    path.resolve().write_bytes(b"{not even JSON" + body[14:])
    with pytest.raises(Refused, match=f"{name}' has the SHA-256 [0-9a-f]+..., and 'hftool.lock' says"):
        workflow.load("ann/tiny")


def test_a_file_that_was_laid_beside_is_77(held, tmp_path):
    folder = workflow.prefetch("ann/tiny", offline=True)[0].folder
    (folder / "chat_template.jinja").write_text("{{ 1 }}")
    with pytest.raises(Refused, match="chat_template.jinja' is not in 'hftool.lock'"):
        workflow.tokenize("ann/tiny", ["a"])


def test_data_that_differ_are_77_before_they_are_parsed(held, tmp_path):
    folder = workflow.prefetch("ann/tiny", ["ann/films"], offline=True)[1].folder
    (folder / "train.csv").resolve().write_bytes(b"PAR1 not what it was")
    with pytest.raises(Refused, match="train.csv' has the SHA-256"):
        workflow.finetune("ann/tiny", "ann/films", out=tmp_path / "run")


def test_a_file_that_is_missing_is_fetched_again_and_checked(held):
    path = workflow.prefetch("ann/tiny", offline=True)[0].folder / "config.json"
    path.unlink()
    assert workflow.tokenize("ann/tiny", ["a"])[0].ids and path.is_file()


def test_a_hub_that_sends_other_bytes_is_77(held):
    """The revision is the right one, and what comes for it is not."""
    shutil.rmtree("home")
    locked = held.revision(*MODEL)
    held.repos[MODEL] = {locked: {**held.repos[MODEL]["main"], "config.json": b'{"model_type": "gpt2"}'}}
    with pytest.raises(Refused, match="config.json' has the SHA-256"):
        workflow.tokenize("ann/tiny", ["a"])


def test_a_changed_lock_is_77(held):
    document = read()
    document["model"]["ann/tiny"]["files"]["config.json"] = "0" * 64
    write(document)
    with pytest.raises(Refused, match="and 'hftool.lock' says 0000000000000000"):
        workflow.tokenize("ann/tiny", ["a"])
    document["model"]["ann/tiny"]["revision"] = "../../../etc"
    write(document)
    with pytest.raises(ConfigError, match="is no lock file of this version of hftool, or is damaged"):
        workflow.tokenize("ann/tiny", ["a"])


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"version": 2}', '{"version": 1, "model": {"a/b": {}}}', '{"version": 1, "x": {}}']
)
def test_a_damaged_lock_is_78(hub, monkeypatch, text):
    with open("hftool.lock", "w") as handle:
        handle.write(text)
    monkeypatch.setenv(lockfile.VARIABLE, "hftool.lock")
    with pytest.raises(ConfigError, match="is no lock file"):
        workflow.tokenize("ann/tiny", ["a"])


def test_the_option_needs_a_lock_and_then_holds(hub, cli):
    code, _, err = cli("tokenize", "ann/tiny", "a film", "--locked")
    assert code == 66 and "there is no lock file" in err and "Make it: hftool prefetch MODEL TASK --lock" in one_line(err)
    assert cli("prefetch", "ann/tiny", "--lock")[0] == 0
    assert cli("tokenize", "ann/tiny", "a film", "--locked")[0] == 0
    code, _, err = cli("tokenize", "ann/tiny@dev", "a film", "--locked")
    assert code == 77 and "is locked at" in one_line(err)


def test_every_verb_that_may_fetch_has_the_option(cli):
    from hftool.cli.app import app_verbs

    pages = {verb: cli(verb, "--help")[1] for verb in app_verbs()}
    assert [verb for verb, page in pages.items() if ("--offline" in page) != ("--locked" in page)] == []


def test_no_lock_is_written_while_one_is_active(held):
    with pytest.raises(UsageError, match="a lock is active, so none can be written"):
        workflow.prefetch("ann/tiny", lock="hftool.lock")


def test_what_the_wheel_fixes_passes(held):
    assert workflow.info("bert-mini")["parameters"] and workflow.prefetch("gpt2-mini", ["sst2-mini"])


def test_a_stand_in_of_the_wheel_passes_where_the_locked_model_cannot_be_had(held, monkeypatch):
    document = read()
    document["model"]["google-bert/bert-base-uncased"] = {
        "asked": "main",
        "revision": "86b5e0934494bd15c9632b12f734a8a67f723594",
        "files": {"config.json": "0" * 64},
    }
    write(document)
    assert "stand_in" in workflow.info("bert", fallback=True, offline=True)


def test_a_folder_of_ones_own_passes_unless_it_has_changed(held, tiny_run, tmp_path):
    saved = workflow.save(tiny_run, out=tmp_path / "saved")
    assert workflow.infer(str(saved), ["a warm film"])
    with open(saved / "tokenizer_config.json", "a") as handle:
        handle.write(" ")
    with pytest.raises(Refused, match="tokenizer_config.json changed"):
        workflow.infer(str(saved), ["a warm film"])


def test_a_missing_lock_file_is_66(hub, monkeypatch):
    monkeypatch.setenv(lockfile.VARIABLE, "none.lock")
    with pytest.raises(InputMissing, match="there is no lock file 'none.lock'"):
        workflow.tokenize("ann/tiny", ["a"])
