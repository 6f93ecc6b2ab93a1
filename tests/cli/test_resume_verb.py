"""The verb `resume` on the command line: errors, and a run without metrics."""

import json
import shutil

import pytest

from conftest import one_line


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "'there' does not exist. Start it: hftool finetune MODEL TASK --out RUN"),
        (lambda path: path.write_text("x"), "'there' does not exist. Start it: hftool finetune MODEL TASK --out RUN"),
        (
            lambda path: path.mkdir(),
            "'there' is no run folder: it has no config.yaml and manifest.json. Start it: hftool finetune MODEL TASK --out RUN",
        ),
    ],
    ids=["nothing", "a file", "an empty folder"],
)
def test_missing_run_is_66(cli, tmp_path, make, message):
    make(tmp_path / "there")
    code, out, err = cli("resume", "there")
    assert code == 66 and out == "" and one_line(err) == f"hftool: {message}"
    code, out, err = cli("resume", "there", "--json")
    assert code == 66 and json.loads(out)["kind"] == "input_missing"


def test_model_folder_cannot_be_resumed(cli, tiny_run):
    code, _, err = cli("resume", tiny_run / "model")
    assert code == 66 and "is no run folder" in one_line(err)


def test_resume_needs_a_run(cli):
    code, _, err = cli("resume")
    assert code == 2 and "RUN" in one_line(err)


def test_invalid_config_of_a_run_is_an_error(cli, tiny_run, tmp_path):
    shutil.copytree(tiny_run, tmp_path / "run")
    (tmp_path / "run" / "config.yaml").write_text("epochs: many\n")
    code, _, err = cli("resume", "run")
    assert code in (2, 78) and "epochs" in one_line(err)


def test_run_without_metrics_is_evaluated_again(cli, tiny_run, tmp_path):
    """As if it had been killed between its model and its metrics: nothing is trained, and the same is measured."""
    shutil.copytree(tiny_run, tmp_path / "run")
    (tmp_path / "run" / "metrics.json").unlink()
    code, out, err = cli("resume", "run", "--offline")
    assert code == 0 and "resuming after step 8 of 8" in err, err
    was, now = (json.loads((path / "metrics.json").read_text()) for path in (tiny_run, tmp_path / "run"))
    assert now["validation"] == was["validation"] and now["model"] == was["model"]
    assert out.splitlines()[-1] == 'next        hftool classify run "TEXT"'


def test_misspelt_resume_option_has_a_suggestion(cli):
    code, _, err = cli("finetune", "bert", "sst2", "--resum")
    assert code == 2 and "Did you mean '--resume'?" in one_line(err)
