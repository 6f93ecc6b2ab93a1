"""SHA256SUMS: the hash of every other file of a model folder, in the form that `sha256sum -c` checks without hftool.

When a folder is loaded, the files that its answers depend on are compared: each is hashed once, and again when it has changed
since by what the disk says of it. `hftool verify` and `--locked` compare every file, whatever was compared before.
"""

import contextlib
import json
import re
import time
from pathlib import Path

from hftool.errors import DataError, HftoolError, InputMissing
from hftool.safety import check_links, sha256
from hftool.storage.json_documents import MAX_BYTES, open_plain
from hftool.storage.run_folder import write_json, write_text

SUMS = "SHA256SUMS"
LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")  # "*" where sha256sum was told that a file is binary
NOT_OURS = (".gitattributes", ".lock")  # what git, or a Hub, or a run that is open lays beside the files
SETTINGS = (".json", ".txt", ".model")  # config, tokenizer and card
DECIDE = (".safetensors", *SETTINGS)  # what answers depend on; a page, a licence or notes may be edited
HASHES = "hashes.json"  # below $HF_HOME/hftool: path to what the disk said of a file, and its hash
MOST_HASHES = 500  # files; the ones that were hashed last are kept
SETTLED = 10**9  # nanoseconds after a change, until which another could come with the same time
AGAIN = "Save it again, or fetch it again"
MEANT = f"if the change is meant, remove its {SUMS}"
SAVE = "`hftool save RUN --out DIR` writes a folder that has one"


def write_checksums(folder: Path) -> dict[str, str]:
    """Write SHA256SUMS, the last file of a model folder. -> name, with / between folders, to hash. Raises StorageError."""
    sums = {name: sha256(folder / name) for name in names_in(folder)}
    write_text(folder / SUMS, "".join(f"{digest}  {name}\n" for name, digest in sums.items()))
    return sums


def names_in(folder: Path) -> list[str]:
    """The files that SHA256SUMS lists: all but itself and what is not the model's, sorted."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    names = (path.relative_to(folder).as_posix() for path in paths)
    return sorted(name for name in names if name != SUMS and not name.startswith(".git/") and name not in NOT_OURS)


def read_checksums(folder: Path) -> dict[str, str]:
    """Name -> hash. Raises InputMissing when there is no SHA256SUMS, DataError when it is damaged or names files elsewhere,
    Refused when it is no plain file."""
    path = folder / SUMS
    try:
        with open_plain(path) as file:
            lines = file.read(MAX_BYTES).decode("utf-8").splitlines()
    except FileNotFoundError:
        raise InputMissing(f"'{folder}' has no {SUMS}: nothing says how its files should be", SAVE) from None
    except (OSError, ValueError) as error:
        raise DataError(f"'{path}' is damaged: {error}", SAVE) from None
    found = [LINE.fullmatch(line) for line in lines]
    for number, line in enumerate(found, start=1):
        if line is None or line[2].startswith(("/", "\\")) or ".." in line[2].split("/"):
            raise DataError(f"'{path}' is damaged: line {number} is not a SHA-256 and the name of a file beside it", SAVE)
    return {line[2]: line[1] for line in found if line is not None}


def verify_checksums(folder: Path) -> dict[str, str]:
    """Raise DataError unless every file is there, as it was written, and no other is beside it. -> name to hash.

    Raises what `read_checksums` raises, Refused (a link out of the folder, a pipe or a device in it).
    """
    check_links(folder)
    sums = read_checksums(folder)
    present = set(names_in(folder))
    missing = sorted(set(sums) - present)
    changed = [name for name in sums if name in present and sha256(folder / name) != sums[name]]
    added = sorted(present - set(sums))
    said = [
        f"{', '.join(names[:5])}{f' and {len(names) - 5} more' if len(names) > 5 else ''} {what}"
        for names, what in ((missing, "missing"), (changed, "changed"), (added, "added"))
        if names
    ]
    if said:
        raise DataError(f"'{folder}' is not as it was written: {'; '.join(said)}", AGAIN)
    return sums


def check_loaded(folder: Path, *, weights: bool = True) -> None:
    """Raise DataError when a file that answers depend on is no longer as SHA256SUMS says; a folder without one passes.

    What SHA256SUMS says in another form than `sha256sum` writes is passed over: it may be a stranger's.

    Args:
        folder: A checked model folder.
        weights: Whether to compare the weights, too: not where only the tokenizer or the config is used.
    """
    decide = DECIDE if weights else SETTINGS
    if not (folder / SUMS).is_file():
        return
    lines = (folder / SUMS).read_text(encoding="utf-8", errors="replace").splitlines()
    sums = {found[2]: found[1] for line in lines if (found := LINE.fullmatch(line)) and found[2].endswith(decide)}
    paths = {name: folder / name for name in sums if ".." not in name.split("/") and not name.startswith(("/", "\\"))}
    hashes = hashes_of([path for path in paths.values() if path.is_file()])
    changed = [name for name, path in paths.items() if hashes.get(path, sums[name]) != sums[name]]
    if changed:
        more = f" and {len(changed) - 5} more" if len(changed) > 5 else ""
        raise DataError(f"'{folder}' is not as it was written: {', '.join(changed[:5])}{more} changed", f"{AGAIN}; {MEANT}")


def hashes_of(paths: list[Path]) -> dict[Path, str]:
    """The SHA-256 of files; of one that has not changed since it was last hashed, from $HF_HOME/hftool/hashes.json.

    A file that cannot be noted there, for want of a place to write or because it changed this second, is hashed each time.
    """
    notes = _notes()
    found: dict[Path, str] = {}
    new: dict[str, list[object]] = {}
    for path in paths:
        key, state = str(path.absolute()), _state(path)
        noted = notes.get(key)
        if isinstance(noted, list) and noted[:-1] == state:
            found[path] = str(noted[-1])
            continue
        found[path] = sha256(path)
        if _state(path) == state and time.time_ns() - max(state[1:3]) > SETTLED:
            new[key] = [*state, found[path]]
    if new:
        kept = {key: noted for key, noted in notes.items() if key not in new} | new
        with contextlib.suppress(OSError, HftoolError):
            _place().parent.mkdir(parents=True, exist_ok=True)
            write_json(_place(), dict(list(kept.items())[-MOST_HASHES:]))
    return found


def _state(path: Path) -> list[int]:
    """What changes with a file: its size, its times (mtime can be set back, ctime cannot), and which one it is."""
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, stat.st_dev]


def _place() -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HOME) / "hftool" / HASHES


def _notes() -> dict[str, object]:
    try:
        notes = json.loads(_place().read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return notes if isinstance(notes, dict) else {}
