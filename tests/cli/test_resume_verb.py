"""The verb `resume` for people: what it says of things that are no run, and of runs."""

import json
import shutil

import pytest

from conftest import one_line


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: None, "'there' is not there. Start it: hftool finetune MODEL TASK --out RUN"),
        (lambda path: path.write_text("x"), "'there' is not there. Start it: hftool finetune MODEL TASK --out RUN"),
        (
            lambda path: path.mkdir(),
            "'there' is no run folder: it has no config.yaml and manifest.json. Start it: hftool finetune MODEL TASK --out RUN",
        ),
    ],
    ids=["nothing", "a file", "an empty folder"],
)
def test_what_is_no_run_is_66(cli, tmp_path, make, said):
    make(tmp_path / "there")
    code, out, err = cli("resume", "there")
    assert code == 66 and out == "" and one_line(err) == f"hftool: {said}"
    code, out, err = cli("resume", "there", "--json")
    assert code == 66 and json.loads(out)["kind"] == "input_missing"


def test_a_model_folder_is_no_run(cli, tiny_run):
    code, _, err = cli("resume", tiny_run / "model")
    assert code == 66 and "is no run folder" in one_line(err)


def test_a_run_is_needed(cli):
    code, _, err = cli("resume")
    assert code == 2 and "RUN" in one_line(err)


def test_a_config_that_was_broken_by_hand_is_78(cli, tiny_run, tmp_path):
    shutil.copytree(tiny_run, tmp_path / "run")
    (tmp_path / "run" / "config.yaml").write_text("epochs: many\n")
    code, _, err = cli("resume", "run")
    assert code in (2, 78) and "epochs" in one_line(err)


def test_a_run_that_lost_its_metrics_is_measured_again(cli, tiny_run, tmp_path):
    """As if it had been killed between its model and its metrics: nothing is trained, and the same is measured."""
    shutil.copytree(tiny_run, tmp_path / "run")
    (tmp_path / "run" / "metrics.json").unlink()
    code, out, err = cli("resume", "run", "--offline")
    assert code == 0 and "resuming after step 8 of 8" in err, err
    was, now = (json.loads((path / "metrics.json").read_text()) for path in (tiny_run, tmp_path / "run"))
    assert now["validation"] == was["validation"] and now["model"] == was["model"]
    assert out.splitlines()[-1] == 'next        hftool classify run "TEXT"'


def test_a_word_that_looks_like_the_option_of_transformers_is_named(cli):
    code, _, err = cli("finetune", "bert", "sst2", "--resum")
    assert code == 2 and "Did you mean '--resume'?" in one_line(err)
