"""SHA256SUMS: the hash of every other file of a model folder, in the format of `sha256sum -c`.

Loading a folder compares the files that its output depends on. Hashes are cached by size, times and inode, so an unchanged file
is hashed once. `hftool verify` and `--locked` always hash every file.
"""

import contextlib
import json
import re
import time
from pathlib import Path

from hftool.errors import DataError, HftoolError, InputMissing
from hftool.models.safety import check_links
from hftool.storage.checksums import FolderDiff, compare_folder, compare_hashes, sha256
from hftool.storage.json_documents import MAX_BYTES, open_plain
from hftool.storage.run_folder import write_json, write_text

SUMS = "SHA256SUMS"
LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")  # "*": sha256sum in binary mode
NOT_LISTED = (".gitattributes", ".lock")  # added by git, the Hub or an open run
SETTINGS = (".json", ".txt", ".model")  # config, tokenizer and head config
CHECKED_ON_LOAD = (".safetensors", *SETTINGS)  # output depends on these; model cards, licences and notes may be edited
HASHES = "hashes.json"  # below $HF_HOME/hftool: path to [*stat fields, SHA-256]
MOST_HASHES = 500  # entries of the cache; the newest are kept
SETTLED = 10**9  # nanoseconds after a change during which another change could get the same mtime
SAVE_AGAIN = "Save it again, or fetch it again"
IF_INTENDED = f"if the change is meant, remove its {SUMS}"
SAVE = "`hftool save RUN --out DIR` writes a folder that has one"


def write_checksums(folder: Path) -> dict[str, str]:
    """Write SHA256SUMS, the last file of a model folder. Returns file name to SHA-256. Raises StorageError."""
    sums = {name: sha256(folder / name) for name in names_in(folder)}
    write_text(folder / SUMS, "".join(f"{digest}  {name}\n" for name, digest in sums.items()))
    return sums


def names_in(folder: Path) -> list[str]:
    """The files that SHA256SUMS lists, sorted: all but itself and the files of git and locks."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    names = (path.relative_to(folder).as_posix() for path in paths)
    return sorted(name for name in names if name != SUMS and not name.startswith(".git/") and name not in NOT_LISTED)


def read_checksums(folder: Path) -> dict[str, str]:
    """Read SHA256SUMS: file name to hash.

    Raises:
        InputMissing: There is no SHA256SUMS.
        DataError: It is damaged, or names files outside the folder.
        Refused: It is not a regular file.
    """
    path = folder / SUMS
    try:
        with open_plain(path) as file:
            lines = file.read(MAX_BYTES).decode("utf-8").splitlines()
    except FileNotFoundError:
        raise InputMissing(f"'{folder}' has no {SUMS}: its files cannot be checked", SAVE) from None
    except (OSError, ValueError) as error:
        raise DataError(f"'{path}' is damaged: {error}", SAVE) from None
    sums: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        found = LINE.fullmatch(line)
        if found is None or _leaves_folder(found[2]):
            raise DataError(f"'{path}' is damaged: line {number} is not a SHA-256 and a file name inside the folder", SAVE)
        sums[found[2]] = found[1]
    return sums


def _leaves_folder(name: str) -> bool:
    return name.startswith(("/", "\\")) or ".." in name.split("/")


def verify_checksums(folder: Path) -> dict[str, str]:
    """Verify that a folder has exactly the files of its SHA256SUMS, unchanged. Returns file name to hash.

    Raises:
        DataError: A file is missing, changed or not listed.
        Refused: A link leads out of the folder, or there is a pipe or a device in it.
        InputMissing: There is no SHA256SUMS.
    """
    check_links(folder)
    sums = read_checksums(folder)
    if diff := compare_folder(folder, sums, present=names_in(folder)):
        raise DataError(f"'{folder}' differs from its checksums: {diff}", SAVE_AGAIN)
    return sums


def check_loaded(folder: Path, *, weights: bool = True) -> None:
    """Check the files that the model's output depends on; a folder without SHA256SUMS passes.

    Lines in another format than `sha256sum` writes are ignored: the file may come from another tool. `weights`: whether to
    check the weights; not needed where only the tokenizer or the config is used.

    Raises:
        DataError: A file differs from SHA256SUMS.
    """
    suffixes = CHECKED_ON_LOAD if weights else SETTINGS
    if not (folder / SUMS).is_file():
        return
    lines = map(LINE.fullmatch, (folder / SUMS).read_text(encoding="utf-8", errors="replace").splitlines())
    sums = {found[2]: found[1] for found in lines if found and found[2].endswith(suffixes) and not _leaves_folder(found[2])}
    present = {name: folder / name for name in sums if (folder / name).is_file()}
    hashes = cached_hashes(list(present.values()))
    if changed := compare_hashes({name: hashes[path] for name, path in present.items()}, sums).changed:
        raise DataError(f"'{folder}' differs from its checksums: {FolderDiff(changed=changed)}", f"{SAVE_AGAIN}; {IF_INTENDED}")


def cached_hashes(paths: list[Path]) -> dict[Path, str]:
    """SHA-256 of files, from the cache $HF_HOME/hftool/hashes.json where a file has not changed since.

    A file is hashed every time if the cache cannot be written or the file changed within the last second.
    """
    cache = _read_cache()
    hashes: dict[Path, str] = {}
    new: dict[str, list[object]] = {}
    for path in paths:
        key, state = str(path.absolute()), _state(path)
        entry = cache.get(key)
        if isinstance(entry, list) and entry[:-1] == state:
            hashes[path] = str(entry[-1])
            continue
        hashes[path] = sha256(path)
        if _state(path) == state and time.time_ns() - max(state[1:3]) > SETTLED:
            new[key] = [*state, hashes[path]]
    if new:
        kept = {key: entry for key, entry in cache.items() if key not in new} | new
        with contextlib.suppress(OSError, HftoolError):
            _cache_path().parent.mkdir(parents=True, exist_ok=True)
            write_json(_cache_path(), dict(list(kept.items())[-MOST_HASHES:]))
    return hashes


def _state(path: Path) -> list[int]:
    """The stat fields that change with a file; mtime can be set back, ctime cannot."""
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, stat.st_dev]


def _cache_path() -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HOME) / "hftool" / HASHES


def _read_cache() -> dict[str, object]:
    try:
        cache = json.loads(_cache_path().read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return cache if isinstance(cache, dict) else {}
