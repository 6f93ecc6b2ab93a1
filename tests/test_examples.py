"""The scripts in examples/ run as they stand, and say what each step does."""

import ast
import re
import runpy
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "examples"
SCRIPTS = sorted(FOLDER.glob("*.py"))
SHOWN = {  # a line of what each prints
    "01_own_csv": r"^(billing|support) +0\.\d\d  Why was I charged for two months\?$",
    "02_tag_entities": r"^person +Amina Okafor  \(0-12\)$",
    "03_answer_questions": r"^F1 0\.\d+ exact match 0\.\d+$",
    "04_summarize": r"^beams:  ",
    "05_generate_fill_embed": r"^vectors:  \(3, 384\)$",
    "06_export_and_serve": r"^server ended with (0|-15|143)$",
}
SLOW = {"02_tag_entities", "03_answer_questions", "06_export_and_serve"}


def marked(path):
    return pytest.param(path, marks=[pytest.mark.slow] if path.stem in SLOW else [], id=path.stem)


@pytest.mark.parametrize("path", [marked(path) for path in SCRIPTS])
def test_it_runs(path, capfd, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    runpy.run_path(str(path), run_name="__main__")
    assert re.search(SHOWN[path.stem], capfd.readouterr().out, flags=re.MULTILINE)


def test_there_are_six_and_the_table_has_them():
    table = re.findall(r"^\| `(\w+\.py)` \|", (FOLDER / "README.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert table == [path.name for path in SCRIPTS] and len(SCRIPTS) == 6
    assert sorted(SHOWN) == [path.stem for path in SCRIPTS]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_its_steps_are_numbered(path):
    text = path.read_text(encoding="utf-8")
    steps = [int(number) for number in re.findall(r"^ *# (\d)\. ", text, flags=re.MULTILINE)]
    assert len(steps) >= 4 and steps == list(range(1, len(steps) + 1))
    assert ast.get_docstring(ast.parse(text)).endswith(".")
