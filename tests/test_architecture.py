"""The tree in ARCHITECTURE.md agrees with hftool/ and with the order of the layers."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"<!-- tree: begin -->\n(.*?)<!-- tree: end -->", re.DOTALL)


def listed(text):
    """Files and folders of hftool/ listed in the tree block, in order."""
    return re.findall(r"^ {6}(\w+(?:\.py|/)) +\S", BLOCK.search(text)[1], flags=re.MULTILINE)


def existing():
    """Files and folders of hftool/, without those of every package."""
    names = {path.name + ("/" if path.is_dir() else "") for path in (ROOT / "hftool").iterdir()}
    return {name for name in names if not name.startswith("__")} - {"py.typed"}


def test_tree_lists_all_files_and_folders():
    assert len(listed(TEXT)) == len(set(listed(TEXT)))
    assert set(listed(TEXT)) == existing()


def test_tree_has_the_order_of_the_layers():
    """Entries import only entries above them; see tests/test_layers.py."""
    from test_layers import LEVEL

    order = [name.removesuffix("/").removesuffix(".py") for name in listed(TEXT)]
    levels = [LEVEL[name] for name in order if name in LEVEL]
    assert set(order) - set(LEVEL) == {"assets"}
    assert levels == sorted(levels)


def test_the_check_finds_violations():
    line = next(line for line in TEXT.splitlines(keepends=True) if line.startswith("      hub"))
    assert set(listed(TEXT.replace(line, ""))) != existing()
    assert set(listed(TEXT.replace(line, line + line.replace("hub", "attic")))) != existing()
