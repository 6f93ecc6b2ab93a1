"""save and verify: a folder that can be checked, by hftool and without it."""

import json
import shutil

import pytest

from conftest import one_line
from hftool import workflow
from hftool.errors import DataError, InputMissing
from hftool.models.sha256sums import SUMS, verify_checksums
from hftool.storage.checksums import sha256


@pytest.fixture
def run(tiny_run, tmp_path):
    return shutil.copytree(tiny_run, tmp_path / "run")


def flip(path):
    """One bit of a file, in the middle."""
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 1
    path.write_bytes(body)


def test_every_model_that_is_written_has_its_hashes(run, tmp_path):
    best = workflow.save(run, out=tmp_path / "best")
    first = workflow.save(run, out=tmp_path / "first", checkpoint="step-000004")
    for folder in (run / "model", best, first):
        assert set(verify_checksums(folder)) == {path.name for path in folder.iterdir()} - {SUMS}
    assert (best / SUMS).read_text() == (run / "model" / SUMS).read_text()


def test_the_page_of_a_checkpoint_tells_its_run_and_no_figures(run, tmp_path):
    text = (workflow.save(run, out=tmp_path / "first", checkpoint="step-000004") / "README.md").read_text()
    assert "| train | 64 |" in text and "Not measured." in text and "lr 0.001" in text


def test_what_lay_beside_the_model_is_not_saved_with_it(run, tmp_path):
    (run / "model" / "notes.txt").write_text("mine")
    assert not (workflow.save(run, out=tmp_path / "saved") / "notes.txt").exists()


def test_a_run_of_an_older_hftool_gets_its_hashes_when_it_is_saved(run, tmp_path):
    metrics = json.loads((run / "metrics.json").read_text())
    del metrics["model"][SUMS]
    (run / "metrics.json").write_text(json.dumps(metrics))
    (run / "model" / SUMS).unlink()
    assert workflow.verify(run).kind == "run"
    verify_checksums(workflow.save(run, out=tmp_path / "saved"))


def test_verify_names_each_file_and_what_it_is(run, tmp_path, cli):
    saved = workflow.save(run, out=tmp_path / "saved")
    code, out, err = cli("verify", saved)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert f"{sha256(saved / 'config.json')}  config.json" in lines
    assert lines[-1] == f"model {saved}: {len(lines) - 1} files match their checksums"
    code, out, _ = cli("verify", run, "--json")
    found = json.loads(out)
    assert (code, found["kind"]) == (0, "run")
    assert {"model/model.safetensors", f"model/{SUMS}"} < set(found["files"])
    assert any(name.startswith("checkpoints/step-") for name in found["files"])


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "README.md", "hftool.json"])
def test_one_bit_is_enough(run, tmp_path, cli, name):
    saved = workflow.save(run, out=tmp_path / "saved")
    flip(saved / name)
    code, out, err = cli("verify", saved)
    assert (code, out) == (65, "")
    assert one_line(err) == f"hftool: '{saved}' differs from its checksums: {name} changed. Save it again, or fetch it again"


def test_a_model_whose_hashes_were_changed_with_it_differs_from_its_run(run):
    flip(run / "model" / "config.json")
    lines = (run / "model" / SUMS).read_text().splitlines()
    digest = sha256(run / "model" / "config.json")
    (run / "model" / SUMS).write_text(
        "".join(f"{digest}  config.json\n" if r[66:] == "config.json" else r + "\n" for r in lines)
    )
    verify_checksums(run / "model")
    with pytest.raises(DataError, match="is not as '.*metrics.json' recorded it"):
        workflow.verify(run)


def test_a_damaged_checkpoint_is_named(run):
    location = next((run / "checkpoints").iterdir())
    flip(location / "model.safetensors")
    with pytest.raises(DataError, match=f"'{location}' is damaged: model.safetensors changed"):
        workflow.verify(run)


@pytest.mark.parametrize("name", ["hftool.json", "tokenizer.json", "config.json"])
def test_what_makes_a_model_of_a_checkpoint_is_checked(run, tmp_path, name):
    """Else labels that were swapped in the card of the base would be those of every model that is saved."""
    files = workflow.verify(run).files
    assert {f"base/{name}", "model/config.json"} <= set(files)
    flip(run / "base" / name)
    for work in (lambda: workflow.verify(run), lambda: workflow.save(run, out=tmp_path / "saved", checkpoint="last")):
        with pytest.raises(DataError, match=f"'{run / 'base'}' differs from its checksums: {name} changed") as caught:
            work()
        assert caught.value.hint == f"Its model needs none: hftool save {run} --out DIR"
    assert not (tmp_path / "saved").exists()
    assert workflow.save(run, out=tmp_path / "best").is_dir()
    (run / "metrics.json").unlink()
    with pytest.raises(DataError, match=f"Remove that folder: hftool resume {run} writes it again"):
        workflow.verify(run)
    shutil.rmtree(run / "base")
    workflow.resume(run, offline=True)
    assert f"base/{name}" in workflow.verify(run).files


def test_a_base_of_an_older_hftool_has_no_hashes(run, tmp_path):
    (run / "base" / SUMS).unlink()
    assert not any(name.startswith("base/") for name in workflow.verify(run).files)
    assert workflow.save(run, out=tmp_path / "saved", checkpoint="last").is_dir()


def test_what_has_no_hashes_is_66(tiny_bert, tmp_path, cli):
    for folder, message in ((tmp_path / "none", "there is no folder"), (tmp_path, "is no run, model or export")):
        code, _, err = cli("verify", folder)
        assert code == 66 and message in one_line(err)
    with pytest.raises(InputMissing, match="its files cannot be checked"):
        workflow.verify(tiny_bert)
