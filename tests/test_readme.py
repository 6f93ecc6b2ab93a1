"""What the README says is run: its commands as they stand, and its Python block."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import film_rows, write_tsv
from hftool.cli.app import app_verbs

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def indented_blocks():
    """The code blocks that are indented by four spaces, as lists of lines."""
    return [[line[4:] for line in block.splitlines()] for block in re.findall(r"(?:^ {4}.*\n)+", README, flags=re.MULTILINE)]


def run_block(begins, folder, environment):
    """Run each line of the block that begins so -> what it printed."""
    outputs = []
    for command in next(block for block in indented_blocks() if block[0].startswith(begins)):
        done = subprocess.run(["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        outputs.append(done.stdout)
    return outputs


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder with the files that the README speaks of, and an environment without a network."""
    folder = tmp_path_factory.mktemp("desk")
    rows = film_rows(60)
    write_tsv(folder / "train.tsv", rows[:40])
    write_tsv(folder / "dev.tsv", rows[40:])
    lines = ["sentence,stars", *(f"{row['sentence']},{1 + int(row['label'])}" for row in rows)]
    (folder / "reviews.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return folder, {**os.environ, "HF_HUB_OFFLINE": "1", "PATH": path}


def test_the_commands_of_the_readme_run_as_they_stand(desk):
    folder, environment = desk
    outputs = run_block("hftool finetune bert sst2 --train", folder, environment)
    assert len(outputs) >= 6
    assert outputs[0].splitlines()[-1] == 'next        hftool classify runs/a "TEXT"'
    assert (folder / "scored.csv").read_text().startswith("sentence,stars,label,probability,probability_negative")
    assert len(outputs[-1].splitlines()) == 2


def test_the_commands_from_a_run_to_a_service_run(desk):
    """After those above: they export and deploy the run that was made there."""
    folder, environment = desk
    if not (folder / "runs/a/model").is_dir():
        run_block("hftool finetune bert sst2 --train", folder, environment)
    outputs = run_block("hftool export runs/a", folder, environment)
    assert "parity      outputs differ by at most" in outputs[0]
    assert outputs[1].startswith(("positive", "negative")) and "A warm, funny film." in outputs[1]
    assert (folder / "runs/a/kubernetes/Dockerfile").is_file()


def test_the_commands_of_the_other_heads_run_with_no_network_at_all(desk):
    folder, environment = desk
    outputs = run_block("hftool finetune bert wnut17 --offline", folder, environment)
    names, filled, written = outputs[1].splitlines(), outputs[2].splitlines(), outputs[3]
    assert names[0].startswith("Amina Okafor flew to Lisbon.\t") and "location: Lisbon" in names[0]
    assert names[1] == "It rained all day.\tno entities"
    assert len(filled) == 3 and all(line.endswith("opened the door.") for line in filled)
    assert written.startswith("Once upon a time") and len(written) > 30
    assert float(outputs[-1]) > 0.6


def test_the_python_block_runs(desk):
    folder, environment = desk
    block = re.search(r"```python\n(.*?)```", README, flags=re.DOTALL)[1]
    done = subprocess.run(
        [sys.executable, "-c", block], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1].startswith("{'label': ")


def test_the_readme_names_every_verb():
    block = next(block for block in indented_blocks() if block[0].startswith("hftool finetune MODEL"))
    named = set(re.findall(r"hftool (\w+)", "\n".join(block)))
    assert named == set(app_verbs())


def test_it_is_an_overview():
    assert len(README.splitlines()) <= 150


def test_no_placeholder_is_left():
    assert "@@" not in README
