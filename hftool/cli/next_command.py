"""The next command to type, with the model that was just written."""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ASK = {
    "classify": 'classify {} "TEXT"',
    "tag": 'tag {} "TEXT"',
    "answer": 'answer {} --question "TEXT" --context "TEXT"',
    "text2text": 'infer {} "TEXT"',
    "generate": 'generate {} "TEXT"',
    "fill": 'fill {} "TEXT with a [MASK]"',
    "embed": 'embed {} "TEXT"',
}


def read_facts(folder: Path) -> dict[str, Any]:
    """The contents of hftool.json in a model folder."""
    head_config: dict[str, Any] = json.loads((folder / "hftool.json").read_text(encoding="utf-8"))
    return head_config


def next_command(path: str | Path, head_config: Mapping[str, Any]) -> str:
    """An inference command for the model at `path`; a classifier of pairs takes two texts."""
    pair = ' --pair "TEXT"' if head_config["head"] == "classify" and "text_pair" in head_config["columns"] else ""
    return f"hftool {ASK[head_config['head']].format(shlex.quote(str(path)))}{pair}"
