"""Columns without a role: they are reported with their content, and one that looks like a target is an error."""

import shlex
from collections.abc import Mapping, Sequence

from hftool.data.column_contents import Contents
from hftool.data.column_names import is_named, normalize
from hftool.data.schema import RowSchema
from hftool.errors import DataError, listing

MAX_SHOWN = 12  # columns that a notice names
LABEL_KINDS = ("classes", "numbers")  # what --label can name
# columns that together make one prompt, as in the rows of Alpaca and Dolly
PROMPT_PARTS = ("instruction", "input", "prompt", "context", "system", "system_prompt", "history")


def unused_columns(columns: Sequence[str], mapping: Mapping[str, str]) -> list[str]:
    """The columns without a role; answer_start belongs to the answers, translation.de to `translation`."""
    used = {*mapping.values(), *(column.split(".", maxsplit=1)[0] for column in mapping.values() if column not in columns)}
    used |= {"answer_start"} if "answers" in mapping else set()
    return [name for name in columns if name not in used]


def unused_columns_sentence(columns: Sequence[str], mapping: Mapping[str, str], contents: Contents) -> str:
    """The notice on columns without a role and their content, "" if there are none."""
    names = unused_columns(columns, mapping)
    return f"columns left out: {_with_contents(names, contents)}" if names else ""


def _with_contents(names: Sequence[str], contents: Contents) -> str:
    """Columns with their content, given once if all of several have the same."""
    phrases = {contents.of(name).phrase() for name in names}
    if len(names) > 2 and len(phrases) == 1:
        return f"{listing(names, most=MAX_SHOWN)} ({phrases.pop()} each)"
    shown = ", ".join(f"'{name}' ({contents.of(name).phrase()})" for name in names[:MAX_SHOWN])
    return shown + (f" and {len(names) - MAX_SHOWN} more" if len(names) > MAX_SHOWN else "")


def has_clear_targets(schema: RowSchema, mapping: Mapping[str, str], given: Mapping[str, str]) -> bool:
    """Whether the targets are certain: named by the user or by their column, or those of a text pair."""
    return "text_pair" in mapping or all(role in given or is_named(mapping[role], role) for role in schema.targets)


def check_unused_targets(
    path: str,
    columns: Sequence[str],
    mapping: Mapping[str, str],
    contents: Contents,
    *,
    head: str = "",
    choose: str = "choose {} with",
) -> None:
    """Check that no column without a role could be the target.

    The hint offers --label after `choose`, where {} is the column, and the `head` that takes the texts alone.

    Raises:
        DataError: A column without a role looks like a target.
    """
    targets = [name for name in unused_columns(columns, mapping) if contents.of(name).is_target]
    if not targets:
        return
    text = mapping.get("text") or mapping.get("prompt")
    besides = f" besides '{text}'" if text else ""
    count = "a column" if len(targets) == 1 else f"{len(targets)} columns"
    looks = "looks like a label" if len(targets) == 1 else "look like labels"
    detail = f"{path} has {count}{besides} that {looks}: {_with_contents(targets, contents)}"
    labels = [name for name in targets if contents.of(name).kind in LABEL_KINDS]
    which = "it" if len(targets) == 1 else "one of them"
    convert = "tags are read from two columns, tokens and tags, and labels one a row: convert the file"
    hint = f"{choose.format(which)} --label {shlex.quote(labels[0])}" if labels else convert
    hint += f", or take the texts alone with --head {head}" if head else ""
    raise DataError(detail, hint[:1].upper() + hint[1:])


def check_prompt(
    path: str, columns: Sequence[str], mapping: Mapping[str, str], given: Mapping[str, str], contents: Contents
) -> None:
    """Raise DataError if a prompt is spread over several columns and the user has not chosen one."""
    role = next((role for role in ("prompt", "source") if role in mapping and role not in given), None)
    if role is None or normalize(mapping[role]) not in map(normalize, PROMPT_PARTS):
        return
    parts = [name for name in unused_columns(columns, mapping) if normalize(name) in map(normalize, PROMPT_PARTS)]
    parts = [name for name in parts if contents.of(name).kind not in ("empty", "identifiers", "dates")]
    if parts:
        flag = "--source " if role == "source" else "--column prompt="
        parts = sorted([mapping[role], *parts], key=lambda name: [*map(normalize, PROMPT_PARTS)].index(normalize(name)))
        raise DataError(
            f"the prompts of {path} stand in several columns: {listing(parts)}",
            f"Join them into one column, or take one and leave the rest out with {flag}{shlex.quote(parts[0])}",
        )
