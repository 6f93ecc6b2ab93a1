"""Partial files of killed processes, and two processes that write the same output."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from conftest import film_rows, one_line
from hftool.errors import OutputUnavailable
from hftool.storage.run_folder import check_output, whole_file, whole_folder

pytestmark = pytest.mark.skipif(os.name == "nt", reason="nothing can be held there")
WRITE = """
import sys, time
from pathlib import Path
from hftool.storage.run_folder import whole_file, whole_folder
kind, path = {"file": whole_file, "folder": whole_folder}[sys.argv[1]], Path(sys.argv[2])
with kind(path) as it:
    (it / "half").write_text("half") if kind is whole_folder else it.write("half")
    print("begun", flush=True)
    sys.stdin.read()
"""


def start_writing(kind, path):
    """A process that has begun to write `path` and waits."""
    command = [sys.executable, "-c", WRITE, kind, str(path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "begun\n"
    return process


def terminate(process, signal_number=signal.SIGKILL):
    process.send_signal(signal_number)
    process.communicate()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def write(kind, path):
    if kind == "file":
        with whole_file(path) as handle:
            handle.write("whole")
    else:
        with whole_folder(path) as folder:
            (folder / "a").write_text("whole")


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("kind", ["file", "folder"])
@pytest.mark.parametrize("name", ["out.csv", "a b [1].*"])
def test_partial_file_of_a_killed_process_is_removed_by_the_next_writer(tmp_path, kind, signal_number, name):
    terminate(start_writing(kind, tmp_path / name), signal_number)
    assert len(names(tmp_path)) == 1
    (tmp_path / ".other.12345678.part").write_text("of another name")
    (tmp_path / f".{name}.part").write_text("of a user")
    write(kind, tmp_path / name)
    assert names(tmp_path) == sorted([".other.12345678.part", f".{name}.part", name])


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_partial_file_of_a_running_process_is_kept(tmp_path, kind):
    path = tmp_path / "out"
    other = start_writing(kind, path)
    try:
        with pytest.raises(OutputUnavailable, match=r"out' is being written by another process"):
            check_output(path)
        with whole_file(path) as handle:  # with overwrite=True writing is allowed
            handle.write("whole")
        assert len(names(tmp_path)) == 2
    finally:
        terminate(other)
    path.unlink()
    write(kind, path)
    assert names(tmp_path) == ["out"]


def wait_until_free(path):
    """Waits until a forked process has closed the file descriptors that it inherited."""
    for _ in range(100):
        with contextlib.suppress(OutputUnavailable):
            return check_output(path)
        time.sleep(0.1)
    return check_output(path)


def test_forked_process_does_not_keep_the_output_locked(tmp_path):
    if not hasattr(os, "fork"):
        pytest.skip("nothing is forked there")
    fork = WRITE.replace("    print(", "    import os\n    if not os.fork():\n        time.sleep(60)\n    print(", 1)
    command = [sys.executable, "-c", fork, "file", str(tmp_path / "out")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert process.stdout.readline() == "begun\n"
        process.kill()
        process.wait()
        wait_until_free(tmp_path / "out")
        write("file", tmp_path / "out")
        assert names(tmp_path) == ["out"]
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.stdin.close()
        process.stdout.close()


def test_output_that_appears_while_writing_is_73(tmp_path):
    path = tmp_path / "out.csv"
    with pytest.raises(OutputUnavailable, match="exists already") as caught, whole_file(path, overwrite=False) as handle:
        handle.write("second")
        path.write_text("first")  # appears while the second is being written
    assert caught.value.code == 73 and path.read_text() == "first" and names(tmp_path) == ["out.csv"]


def test_output_is_not_overwritten_on_disks_without_hard_links(tmp_path, monkeypatch):
    def no_links(*paths):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", no_links)
    path = tmp_path / "out.csv"
    with whole_file(path, overwrite=False) as handle:
        handle.write("whole")
    assert path.read_text() == "whole" and names(tmp_path) == ["out.csv"]
    path.unlink()
    with pytest.raises(OutputUnavailable), whole_file(path, overwrite=False):
        path.write_text("first")
    assert path.read_text() == "first"


def test_two_predicts_with_one_output(tmp_path, tiny_run, cli):
    """The second process exits with 73 at once, while the first is running and after it has finished."""
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"sentence": row["sentence"]}) + "\n" for row in film_rows(4)))
    other = start_writing("file", tmp_path / "out.csv")
    began = time.monotonic()
    try:
        code, _, err = cli("predict", tiny_run, rows, "--out", tmp_path / "out.csv")
        assert (code, time.monotonic() - began < 2) == (73, True)
        assert "is being written by another process" in one_line(err)
    finally:
        other.communicate("")
    assert (tmp_path / "out.csv").read_text() == "half"
    code, _, err = cli("predict", tiny_run, rows, "--out", tmp_path / "out.csv")
    assert code == 73 and "exists already" in one_line(err)


@pytest.mark.parametrize("verb", [["save"], ["deploy", "--to", "docker"]])
def test_verbs_remove_partial_folders(tmp_path, tiny_run, cli, verb):
    terminate(start_writing("folder", tmp_path / "output"))
    partial_files = names(tmp_path)
    assert cli(verb[0], tiny_run, *verb[1:], "--out", tmp_path / "output")[0] == 0
    assert len(partial_files) == 1 and names(tmp_path) == ["output"]
