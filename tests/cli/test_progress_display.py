"""Display of progress: plain lines, stand-ins even when quiet, and runs that continue when stderr is closed."""

import json
import os
import subprocess
import sys

import pytest

from hftool.cli.progress import print_json, screen
from hftool.progress import Event
from hftool.progress.display import left

STEP = {"step": 1, "steps": 2, "loss": 0.5, "tokens_per_second": 10.0, "seconds_left": 65.0, "logged": True}
EVENTS = [
    Event("notice", "stand-in: a for b", level="warning"),
    Event("notice", "columns: x\ny"),
    Event("plan", values={"steps": 2}),
    Event("step", values=STEP),
    Event("evaluation", values={"step": 1, "accuracy": 0.5}),
    Event("saved", values={"step": 1, "path": "p"}),
]


def shown(capsys, events, **options):
    with screen(**{"quiet": False, "verbose": False, **options}) as progress:
        for event in events:
            progress(event)
    out, err = capsys.readouterr()
    assert out == ""
    return err.splitlines()


def test_plain_lines_in_a_pipe(capsys):
    assert shown(capsys, EVENTS) == [
        "stand-in: a for b",
        "columns: x\\ny",
        "step 1/2  loss 0.5000  10 tokens/s  1:05 left",
        "step 1: accuracy 0.5000",
    ]
    assert shown(capsys, [Event("rows", values={"done": 7})]) == ["7 rows"]


def test_quiet_still_reports_stand_ins(capsys):
    assert shown(capsys, EVENTS, quiet=True) == ["stand-in: a for b"]


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (65, "1:05"), (7384, "2:03:04"), (-1, "0:00")])
def test_time_left(seconds, text):
    assert left(seconds) == text


def test_the_bar_takes_every_event_and_draws_names_as_they_are(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    events = [*EVENTS, Event("notice", "[bold]:smile: " + "word " * 60), Event("step", values={**STEP, "step": 2})]
    text = "\n".join(shown(capsys, events))
    assert "[bold]:smile: " + "word " * 60 in text and "stand-in: a for b" in text
    assert "7" in "\n".join(shown(capsys, [Event("rows", values={"done": 7})]))


def test_json_has_no_nan(capsys):
    print_json({"loss": float("nan"), "all": [1.5, float("inf")], "text": "é"})
    assert json.loads(capsys.readouterr().out, parse_constant=pytest.fail) == {"loss": None, "all": [1.5, None], "text": "é"}


def test_closed_stderr_does_not_stop_a_run(tmp_path):
    script = """
from hftool.cli.progress import screen
from hftool.progress import Event
with screen(quiet=False, verbose=False) as progress:
    for _ in range(3):
        progress(Event("notice", "hello"))
open("done", "w").close()
"""
    read, write = os.pipe()
    os.close(read)
    run = subprocess.run([sys.executable, "-c", script], stderr=write, cwd=tmp_path)
    os.close(write)
    assert run.returncode == 0 and (tmp_path / "done").exists()
