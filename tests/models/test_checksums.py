"""SHA256SUMS: what sha256sum itself accepts, and what counts as changed."""

import shutil
import subprocess

import pytest

from hftool.errors import DataError, InputMissing, Refused
from hftool.models.checksums import SUMS, read_checksums, verify_checksums, write_checksums


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "model"
    (made / "1_Pooling").mkdir(parents=True)
    (made / "config.json").write_text("{}")
    (made / "a name with spaces.txt").write_text("a")
    (made / "1_Pooling" / "config.json").write_text("{ }")
    write_checksums(made)
    return made


def test_it_lists_every_other_file_by_its_path(folder):
    assert list(read_checksums(folder)) == ["1_Pooling/config.json", "a name with spaces.txt", "config.json"]
    assert verify_checksums(folder) == read_checksums(folder)


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="no sha256sum here")
def test_sha256sum_checks_it_without_hftool(folder):
    def check():
        return subprocess.run(["sha256sum", "--strict", "-c", SUMS], cwd=folder, capture_output=True, text=True, check=False)

    assert check().returncode == 0 and check().stdout.count(": OK") == 3
    (folder / "config.json").write_text("{ }")
    assert check().returncode == 1 and "config.json: FAILED" in check().stdout


def test_sums_that_sha256sum_wrote_are_read(folder):
    (folder / SUMS).write_text("".join(f"{digest} *{name}\n" for name, digest in read_checksums(folder).items()))
    assert len(verify_checksums(folder)) == 3


def test_what_is_missing_changed_and_added_is_named(folder):
    (folder / "config.json").unlink()
    (folder / "a name with spaces.txt").write_text("b")
    (folder / "1_Pooling" / "new.json").write_text("{}")
    with pytest.raises(DataError) as caught:
        verify_checksums(folder)
    assert caught.value.detail == (
        f"'{folder}' is not as it was written: config.json missing; a name with spaces.txt changed; 1_Pooling/new.json added"
    )


def test_what_git_lays_beside_the_files_is_no_change(folder):
    (folder / ".gitattributes").write_text("*.safetensors filter=lfs")
    (folder / ".git").mkdir()
    (folder / ".git" / "HEAD").write_text("ref")
    verify_checksums(folder)


def test_without_hashes_nothing_can_be_checked(folder):
    (folder / SUMS).unlink()
    with pytest.raises(InputMissing, match="nothing says how its files should be"):
        verify_checksums(folder)


@pytest.mark.parametrize("line", ["x", "0" * 64, f"{'0' * 64}  ../secret", f"{'0' * 64}  /etc/passwd", f"{'0' * 63}  a"])
def test_lines_that_are_no_hash_of_a_file_beside_it_are_refused(folder, line):
    (folder / SUMS).write_text(line + "\n")
    with pytest.raises(DataError, match="line 1 is not a SHA-256 and a file name inside the folder"):
        verify_checksums(folder)


def test_sums_that_are_no_text_are_damaged(folder):
    (folder / SUMS).write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="is damaged"):
        verify_checksums(folder)


def test_a_file_that_became_a_link_elsewhere_is_refused(folder, tmp_path):
    """Its content may be right today: it can be changed where it lies."""
    (folder / "config.json").rename(tmp_path / "elsewhere.json")
    (folder / "config.json").symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(Refused, match="is a link out of its folder"):
        verify_checksums(folder)
