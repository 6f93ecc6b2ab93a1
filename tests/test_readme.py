"""The commands of the README run as they stand, and so does its Python block."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import film_rows, write_tsv
from hftool.cli.app import app_verbs, main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def indented_blocks():
    """The code blocks that are indented by four spaces, as lists of lines."""
    return [[line[4:] for line in block.splitlines()] for block in re.findall(r"(?:^ {4}.*\n)+", README, flags=re.MULTILINE)]


def commands_of(first):
    """The commands of the block that begins with `first`."""
    return next(block for block in indented_blocks() if block[0].startswith(first))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the files that the README names."""
    folder = tmp_path_factory.mktemp("readme")
    rows = film_rows(60)
    write_tsv(folder / "train.tsv", rows[:40])
    write_tsv(folder / "dev.tsv", rows[40:])
    lines = ["sentence,stars", *(f"{row['sentence']},{1 + int(row['label'])}" for row in rows)]
    (folder / "reviews.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def run(folder, capfd, monkeypatch):
    """Run commands of the README in this process, as the imports of each would take longer -> what each printed.

    Without a network: each gets --offline, as HF_HUB_OFFLINE=1 would have it.
    """
    monkeypatch.chdir(folder)
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HFTOOL_LOCK"):  # --offline sets them for its process, which is ours
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)

    def call(commands):
        outputs = []
        for command in commands:
            program, *words = shlex.split(command)
            offline = [] if "--offline" in words or words[0] == "verify" else ["--offline"]
            capfd.readouterr()
            code = main([*words, *offline])
            out, err = capfd.readouterr()
            assert (program, code) == ("hftool", 0), f"{command}\n{err}"
            outputs.append(out)
        return outputs

    return call


def test_the_first_commands_run_as_they_stand(run, folder):
    outputs = run(commands_of("hftool finetune bert sst2 --train"))
    assert len(outputs) >= 6
    assert outputs[0].splitlines()[-1] == 'next        hftool classify runs/a "TEXT"'
    assert (folder / "scored.csv").read_text().startswith("sentence,stars,label,probability,probability_negative")
    assert len(outputs[-1].splitlines()) == 2


def test_the_commands_from_a_run_to_a_service_run(run, folder):
    """They export and deploy the run of the first commands."""
    if not (folder / "runs/a/model").is_dir():
        run(commands_of("hftool finetune bert sst2 --train"))
    outputs = run(commands_of("hftool export runs/a"))
    assert "parity      outputs differ by at most" in outputs[0]
    assert outputs[1].startswith(("positive", "negative")) and "A warm, funny film." in outputs[1]
    assert (folder / "runs/a/kubernetes/Dockerfile").is_file()


OTHER_HEADS = "hftool finetune bert wnut17 --offline"


def test_the_commands_of_the_other_heads_run_with_two_steps_of_training(run):
    commands = [f"{line} --max-steps 2" if " finetune " in line else line for line in commands_of(OTHER_HEADS)]
    check_language(run(commands))


@pytest.mark.slow
def test_the_commands_of_the_other_heads_run_as_they_stand(run, folder):
    shutil.rmtree(folder / "runs", ignore_errors=True)
    outputs = run(commands_of(OTHER_HEADS))
    check_language(outputs)
    names = outputs[1].splitlines()
    assert names[0].startswith("Amina Okafor flew to Lisbon.\t") and "location: Lisbon" in names[0]
    assert names[1] == "It rained all day.\tno entities"


def check_language(outputs):
    """What models answer that are not trained here."""
    filled, saved = outputs[2].splitlines(), outputs[3]
    assert len(filled) == 3 and all(line.endswith("opened the door.") for line in filled)
    assert saved.startswith("Once upon a time") and len(saved) > 30
    assert float(outputs[-1]) > 0.6


def test_the_python_block_runs(folder, capfd, monkeypatch):
    """In this process, as the imports of a new one would take longer."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    capfd.readouterr()
    exec(re.search(r"```python\n(.*?)```", README, flags=re.DOTALL)[1], {"__name__": "__main__"})
    assert capfd.readouterr().out.splitlines()[1].startswith("{'label': ")


def test_the_installed_command_runs():
    """`hftool`, as the README calls it."""
    command = Path(sys.executable).parent / "hftool"
    done = subprocess.run([command, "--version"], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.startswith("hftool "), done.stderr


def test_the_readme_names_every_verb():
    block = next(block for block in indented_blocks() if block[0].startswith("hftool finetune MODEL"))
    named = set(re.findall(r"hftool (\w+)", "\n".join(block)))
    assert named == set(app_verbs())


def test_it_is_an_overview():
    assert len(README.splitlines()) <= 150


def test_no_placeholder_is_left():
    assert "@@" not in README
