import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from hftool.errors import InputMissing, OutputUnavailable, StorageError
from hftool.storage.run_folder import (
    Run,
    append_lines,
    check_output,
    create_folder,
    fresh_run_path,
    locked,
    read_json,
    whole_file,
    whole_folder,
    write_json,
)


def test_run_folder_is_recognized_by_its_files(tmp_path):
    run = Run(tmp_path)
    assert not run.is_run()
    run.config.write_text(""), run.manifest.write_text("{}")
    assert run.is_run() and not run.is_finished()
    run.model.mkdir(), run.metrics.write_text("{}")
    assert run.is_finished()
    assert (run.log.name, run.rejected.name, run.checkpoints.name) == ("log.jsonl", "rejected.jsonl", "checkpoints")


def test_output_that_exists_or_cannot_be_created_is_73(tmp_path):
    check_output(tmp_path / "new" / "deep")
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("file", "link", ""):
        with pytest.raises(OutputUnavailable, match=r"exists already. Choose another --out, or remove it") as caught:
            check_output(tmp_path / name)
        assert caught.value.code == 73
    with pytest.raises(OutputUnavailable, match="is not a folder that can be written"):
        check_output(tmp_path / "file" / "run")
    with pytest.raises(OutputUnavailable, match="cannot be created: Not a directory"):
        create_folder(tmp_path / "file" / "run")
    with pytest.raises(OutputUnavailable, match="cannot be created: File exists"):
        create_folder(tmp_path)


def test_two_runs_in_one_second_have_two_folders(tmp_path):
    first = fresh_run_path(tmp_path, "a", "now")
    first.mkdir()
    assert [first.name, fresh_run_path(tmp_path, "a", "now").name] == ["a-now", "a-now-1"]


HOLD = "import sys, pathlib\nfrom hftool.storage.run_folder import locked\nwith locked(pathlib.Path(sys.argv[1])):\n print('held', flush=True)\n sys.stdin.read()"


def test_lock_of_a_live_process_is_73_and_of_a_dead_one_is_free(tmp_path):
    (tmp_path / ".lock").write_text("123456 left by a process that died")
    holder = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(OutputUnavailable) as caught, locked(tmp_path):
            pass
        assert str(caught.value) == f"the run folder '{tmp_path}' is locked by process {holder.pid}"
        assert caught.value.code == 73
    finally:
        holder.kill()
        holder.communicate()
    with locked(tmp_path):
        assert (tmp_path / ".lock").read_text() == str(os.getpid())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing is forked there")
def test_forked_process_does_not_hold_the_lock_of_its_killed_parent(tmp_path):
    """For example data loader workers, which outlive a kill -9 by seconds."""
    fork = HOLD.replace(" print(", " import os, time\n if not os.fork():\n  time.sleep(60)\n print(", 1)
    command = [sys.executable, "-c", fork, tmp_path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as holder:
        try:
            assert holder.stdout.readline() == b"held\n"
            with pytest.raises(OutputUnavailable), locked(tmp_path):
                pass  # the fork did not release the lock
            holder.kill()
            holder.wait()
            for _ in range(100):  # the fork may not have closed the inherited descriptor yet
                with contextlib.suppress(OutputUnavailable), locked(tmp_path):
                    break
                time.sleep(0.1)
            else:
                pytest.fail("the forked process holds the lock")
        finally:
            os.killpg(holder.pid, signal.SIGKILL)


def test_file_is_written_atomically(tmp_path):
    path = tmp_path / "out.txt"
    with pytest.raises(RuntimeError), whole_file(path) as handle:
        handle.write("half")
        handle.flush()
        assert not path.exists()
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with whole_file(path) as handle:
        handle.write("ä\r\n")
    assert path.read_bytes() == "ä\r\n".encode()
    with pytest.raises(OutputUnavailable, match="exists already"), whole_file(path, overwrite=False):
        pass
    with whole_file(path, binary=True) as handle:
        handle.write(b"new")
    assert path.read_bytes() == b"new" and [p.name for p in tmp_path.iterdir()] == ["out.txt"]
    with (
        pytest.raises(OutputUnavailable, match="cannot be created: No such file or directory"),
        whole_file(tmp_path / "no" / "x"),
    ):
        pass


def test_failed_write_is_74_and_keeps_the_old_file(tmp_path):
    path = tmp_path / "out.txt"
    path.write_text("old")
    with pytest.raises(StorageError, match=r"out.txt' failed: No space left on device") as caught, whole_file(path) as handle:
        handle.write("new")
        raise OSError(28, "No space left on device")
    assert caught.value.code == 74
    with pytest.raises(StorageError, match=r"out.txt' failed: odd"), whole_file(path):
        raise OSError("odd")
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_folder_is_written_atomically(tmp_path):
    path = tmp_path / "model"
    for error, seen in ((RuntimeError("odd"), RuntimeError), (OSError(28, "No space left on device"), StorageError)):
        with pytest.raises(seen) as caught, whole_folder(path) as folder:
            (folder / "a").write_text("half")
            raise error
        assert list(tmp_path.iterdir()) == []
    assert str(caught.value) == f"writing '{path}' failed: No space left on device"
    with whole_folder(path) as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "a").write_text("one")
        assert not path.exists()
    assert (path / "deep" / "a").read_text() == "one"
    with pytest.raises(OutputUnavailable, match="exists already"), whole_folder(path) as folder:
        (folder / "a").write_text("two")
    assert [p.name for p in path.iterdir()] == ["deep"] and [p.name for p in tmp_path.iterdir()] == ["model"]


def test_json_round_trip_without_nan(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"ä": [1, 2.5, None]})
    assert read_json(path) == {"ä": [1, 2.5, None]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": float("nan")})
    assert read_json(path) == {"ä": [1, 2.5, None]}
    for text in ("", "[]", "{", '{"a":' * 5000):
        path.write_text(text)
        with pytest.raises(InputMissing):
            read_json(path)


def test_lines_are_appended(tmp_path):
    path = tmp_path / "log.jsonl"
    append_lines(path, [{"a": 1}])
    append_lines(path, [{"b": "ä"}, {}])
    assert [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] == [{"a": 1}, {"b": "ä"}, {}]
    with pytest.raises(StorageError, match=r"writing .* failed: Is a directory"):
        append_lines(tmp_path, [{}])
