"""The tree in ARCHITECTURE.md is the tree."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"<!-- tree: begin -->\n(.*?)<!-- tree: end -->", re.DOTALL)


def named(text):
    """The files and folders of hftool/ that the block names, in its order."""
    return re.findall(r"^ {6}(\w+(?:\.py|/)) +\S", BLOCK.search(text)[1], flags=re.MULTILINE)


def there():
    """The files and folders of hftool/, without those that every package has."""
    names = {path.name + ("/" if path.is_dir() else "") for path in (ROOT / "hftool").iterdir()}
    return {name for name in names if not name.startswith("__")} - {"py.typed"}


def test_the_tree_is_the_tree():
    assert len(named(TEXT)) == len(set(named(TEXT)))
    assert set(named(TEXT)) == there()


def test_the_order_of_the_tree_is_that_of_the_layers():
    """What stands above is imported by what stands below, never the other way round; see tests/test_layers.py."""
    from test_layers import LEVEL

    order = [name.removesuffix("/").removesuffix(".py") for name in named(TEXT)]
    levels = [LEVEL[name] for name in order if name in LEVEL]
    assert set(order) - set(LEVEL) == {"assets"}
    assert levels == sorted(levels)


def test_the_check_bites():
    line = next(line for line in TEXT.splitlines(keepends=True) if line.startswith("      hub"))
    assert set(named(TEXT.replace(line, ""))) != there()
    assert set(named(TEXT.replace(line, line + line.replace("hub", "attic")))) != there()
