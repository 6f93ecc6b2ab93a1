"""hftool/models/sha256sums.py: SHA256SUMS is compatible with sha256sum; missing, changed and added files."""

import shutil
import subprocess

import pytest

from hftool.errors import DataError, InputMissing, Refused
from hftool.models.sha256sums import SUMS, read_checksums, verify_checksums, write_checksums


@pytest.fixture
def folder(tmp_path):
    model_folder = tmp_path / "model"
    (model_folder / "1_Pooling").mkdir(parents=True)
    (model_folder / "config.json").write_text("{}")
    (model_folder / "a name with spaces.txt").write_text("a")
    (model_folder / "1_Pooling" / "config.json").write_text("{ }")
    write_checksums(model_folder)
    return model_folder


def test_all_other_files_are_listed_by_path(folder):
    assert list(read_checksums(folder)) == ["1_Pooling/config.json", "a name with spaces.txt", "config.json"]
    assert verify_checksums(folder) == read_checksums(folder)


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="no sha256sum here")
def test_sha256sum_accepts_the_file(folder):
    def check():
        return subprocess.run(["sha256sum", "--strict", "-c", SUMS], cwd=folder, capture_output=True, text=True, check=False)

    assert check().returncode == 0 and check().stdout.count(": OK") == 3
    (folder / "config.json").write_text("{ }")
    assert check().returncode == 1 and "config.json: FAILED" in check().stdout


def test_files_of_sha256sum_are_read(folder):
    (folder / SUMS).write_text("".join(f"{digest} *{name}\n" for name, digest in read_checksums(folder).items()))
    assert len(verify_checksums(folder)) == 3


def test_missing_changed_and_added_files_are_named(folder):
    (folder / "config.json").unlink()
    (folder / "a name with spaces.txt").write_text("b")
    (folder / "1_Pooling" / "new.json").write_text("{}")
    with pytest.raises(DataError) as caught:
        verify_checksums(folder)
    assert caught.value.detail == (
        f"'{folder}' differs from its checksums: config.json missing; a name with spaces.txt changed; 1_Pooling/new.json added"
    )


def test_git_files_are_ignored(folder):
    (folder / ".gitattributes").write_text("*.safetensors filter=lfs")
    (folder / ".git").mkdir()
    (folder / ".git" / "HEAD").write_text("ref")
    verify_checksums(folder)


def test_missing_hashes_are_an_error(folder):
    (folder / SUMS).unlink()
    with pytest.raises(InputMissing, match="its files cannot be checked"):
        verify_checksums(folder)


@pytest.mark.parametrize("line", ["x", "0" * 64, f"{'0' * 64}  ../secret", f"{'0' * 64}  /etc/passwd", f"{'0' * 63}  a"])
def test_malformed_lines_and_outside_paths_are_refused(folder, line):
    (folder / SUMS).write_text(line + "\n")
    with pytest.raises(DataError, match="line 1 is not a SHA-256 and a file name inside the folder"):
        verify_checksums(folder)


def test_binary_sums_are_damaged(folder):
    (folder / SUMS).write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="is damaged"):
        verify_checksums(folder)


def test_link_out_of_the_folder_is_refused(folder, tmp_path):
    """The content may be right now, but the target of the link can change."""
    (folder / "config.json").rename(tmp_path / "elsewhere.json")
    (folder / "config.json").symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(Refused, match="is a link out of its folder"):
        verify_checksums(folder)
