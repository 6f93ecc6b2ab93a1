"""The columns that a mapping leaves out: what they hold is said, and what looks like a target is no accident."""

import shlex
from collections.abc import Mapping, Sequence

from hftool.data.column_contents import Contents
from hftool.data.column_names import is_named, normalize
from hftool.data.schema import RowSchema
from hftool.errors import DataError, listing

MOST = 12  # columns that a sentence names
LEARNT = ("classes", "amounts")  # what --label can name
# what stands beside an instruction and is a part of the same prompt, as in the rows of Alpaca and Dolly
PROMPT_PARTS = ("instruction", "input", "prompt", "context", "system", "system_prompt", "history")


def unused_columns(columns: Sequence[str], mapping: Mapping[str, str]) -> list[str]:
    """The columns that have no role. answer_start belongs to the answers, and translation.de to its column."""
    used = {*mapping.values(), *(column.split(".", maxsplit=1)[0] for column in mapping.values() if column not in columns)}
    used |= {"answer_start"} if "answers" in mapping else set()
    return [name for name in columns if name not in used]


def unused_columns_sentence(columns: Sequence[str], mapping: Mapping[str, str], contents: Contents) -> str:
    """What is left out and what it holds, "" when nothing is."""
    names = unused_columns(columns, mapping)
    return f"columns left out: {_with_contents(names, contents)}" if names else ""


def _with_contents(names: Sequence[str], contents: Contents) -> str:
    """Columns with what they hold; of many, or where all hold alike, once."""
    phrases = {contents.of(name).phrase() for name in names}
    if len(names) > 2 and len(phrases) == 1:
        return f"{listing(names, most=MOST)} ({phrases.pop()} each)"
    shown = ", ".join(f"'{name}' ({contents.of(name).phrase()})" for name in names[:MOST])
    return shown + (f" and {len(names) - MOST} more" if len(names) > MOST else "")


def has_clear_targets(schema: RowSchema, mapping: Mapping[str, str], given: Mapping[str, str]) -> bool:
    """Whether the targets of a schema are surely meant: named by the user or by their column, or beside a pair of texts, with
    which nothing else can be done."""
    if "text_pair" in mapping:
        return True
    return all(role in given or is_named(mapping[role], role) for role in schema.targets)


def check_unused_targets(
    path: str,
    columns: Sequence[str],
    mapping: Mapping[str, str],
    contents: Contents,
    *,
    head: str = "",
    choose: str = "choose {} with",
) -> None:
    """Refuse texts with something beside them that a model could be meant to learn.

    Args:
        path: The file, for the error.
        columns: The columns there are.
        mapping: Role -> column, of the texts.
        contents: What the columns hold.
        head: The head that takes the texts alone, "" when there is none.
        choose: How a label is chosen, before the flag; {} stands for it.

    Raises:
        DataError: A column that is left out looks like a target.
    """
    targets = [name for name in unused_columns(columns, mapping) if contents.of(name).is_target]
    if not targets:
        return
    text = mapping.get("text") or mapping.get("prompt")
    beside = f" besides '{text}'" if text else ""
    count = "a column" if len(targets) == 1 else f"{len(targets)} columns"
    looks = "looks like a label" if len(targets) == 1 else "look like labels"
    detail = f"{path} has {count}{beside} that {looks}: {_with_contents(targets, contents)}"
    learnt = [name for name in targets if contents.of(name).kind in LEARNT]
    which = "it" if len(targets) == 1 else "one of them"
    ways = [f"{choose.format(which)} --label {shlex.quote(learnt[0])}"] if learnt else []
    ways += [f"take the texts alone with --head {head}"] if head else []
    if not learnt:
        ways.insert(0, "tags are read from two columns, tokens and tags, and labels one a row: convert the file")
    hint = ", or ".join(ways)
    raise DataError(detail, hint[:1].upper() + hint[1:])


def check_prompt(
    path: str, columns: Sequence[str], mapping: Mapping[str, str], given: Mapping[str, str], contents: Contents
) -> None:
    """Raise DataError where a prompt stands in two columns, of which one would be left out without a word of the user's."""
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
