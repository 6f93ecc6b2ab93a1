"""SHA256SUMS: the hash of every other file of a model folder, in the form that `sha256sum -c` checks without hftool.

A folder is not checked each time it is loaded, which would read the weights twice: `hftool verify` does, and `--locked`.
"""

import re
from pathlib import Path

from hftool.documents import MAX_BYTES, open_plain
from hftool.errors import DataError, InputMissing
from hftool.run import write_text
from hftool.safety import check_links, sha256

SUMS = "SHA256SUMS"
LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")  # "*" where sha256sum was told that a file is binary
NOT_OURS = (".gitattributes", ".lock")  # what git, or a Hub, or a run that is open lays beside the files
SAVE = "`hftool save RUN --out DIR` writes a folder that has one"


def write_sums(folder: Path) -> dict[str, str]:
    """Write SHA256SUMS, the last file of a model folder. -> name, with / between folders, to hash. Raises StorageError."""
    sums = {name: sha256(folder / name) for name in names_in(folder)}
    write_text(folder / SUMS, "".join(f"{digest}  {name}\n" for name, digest in sums.items()))
    return sums


def names_in(folder: Path) -> list[str]:
    """The files that SHA256SUMS lists: all but itself and what is not the model's, sorted."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    names = (path.relative_to(folder).as_posix() for path in paths)
    return sorted(name for name in names if name != SUMS and not name.startswith(".git/") and name not in NOT_OURS)


def read_sums(folder: Path) -> dict[str, str]:
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


def check_sums(folder: Path) -> dict[str, str]:
    """Raise DataError unless every file is there, as it was written, and no other is beside it. -> name to hash.

    Raises what `read_sums` raises, Refused (a link out of the folder, a pipe or a device in it).
    """
    check_links(folder)
    sums = read_sums(folder)
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
        raise DataError(f"'{folder}' is not as it was written: {'; '.join(said)}", "Save it again, or fetch it again")
    return sums
