"""The next command to type, with the model that was just written."""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hftool.registry.heads import head_spec


def read_facts(folder: Path) -> dict[str, Any]:
    """The contents of hftool.json in a model folder."""
    head_config: dict[str, Any] = json.loads((folder / "hftool.json").read_text(encoding="utf-8"))
    return head_config


def next_command(path: str | Path, head_config: Mapping[str, Any]) -> str:
    """An inference command for the model at `path`; a classifier of pairs takes two texts."""
    spec = head_spec(head_config["head"])
    pair = ' --pair "TEXT"' if spec.takes_pairs(head_config["columns"]) else ""
    return f"hftool {spec.next_command.format(shlex.quote(str(path)))}{pair}"
