"""Which head learns from a file, by what its columns are called and what they hold."""

import shlex
from collections.abc import Mapping, Sequence

from hftool.data.column_names import by_name, is_named
from hftool.data.columns import check_roles, fits, map_columns
from hftool.data.contents import Contents
from hftool.data.leftovers import check_alone, check_prompt, is_clear
from hftool.data.roles import Shape
from hftool.data.sources import Table
from hftool.errors import DataError, UsageError
from hftool.heads import head_class
from hftool.names import TaskData
from hftool.registry.models import Family

BY_COLUMNS = ("tag", "answer", "text2text", "classify", "generate", "fill")  # the ones that ask for most first
PLAIN = ("generate", "fill")  # heads that learn from text alone
NO_RUNNING_TEXT = ("amounts", "dates", "identifiers", "spans", "scores", "lists", "objects")


def infer_head(data: TaskData, given: Mapping[str, str], family: Family) -> str:
    """The first head of the family whose roles the columns of the data have.

    Text alone is learnt only where nothing else in the rows looks like a target.

    Args:
        data: The tables of the task.
        given: Role -> column, as the user says.
        family: What the model can do.

    Raises:
        DataError: No head fits, or a column that looks like a target would be left out; it names the columns and the flag.
        UsageError: A role that does not exist.
    """
    table = data.tables.get("train") or next(iter(data.tables.values()))
    check_roles(given)
    contents = Contents(table.rows)
    trouble: DataError | None = None
    most, unclear = -1, {}
    for head in (name for name in BY_COLUMNS if name in family.heads):
        shapes = head_class(head).shapes
        try:
            shape, mapping = map_columns(table.columns, shapes, given=given, known={}, path=table.path, contents=contents)
        except UsageError:
            continue
        except DataError as error:  # the one that is raised is of the head that lacks least
            fit = max(_present(table.columns, shape, given, contents) for shape in shapes)
            if fit > most or (fit == most and head == "classify"):
                trouble, most = error, fit
            continue
        if shape.targets and is_clear(shape, mapping, given):
            check_prompt(table.path, table.columns, mapping, given, contents)
            return head
        if head in PLAIN and not shape.targets:
            _check_plain(table, mapping, given, contents, head)
            return head
        unclear = {role: column for role, column in mapping.items() if role not in shape.targets}
    if unclear:  # a label that was found by what it holds alone
        check_alone(table.path, table.columns, unclear, contents)
    raise trouble or DataError(f"no head of {family.name} can learn from the columns of {table.path}", "Choose with --head")


def _present(columns: Sequence[str], shape: Shape, given: Mapping[str, str], contents: Contents) -> int:
    """How many of the roles that a shape needs have a column, by the user's flags, or by name and content."""
    found = 0
    for role in (*shape.inputs, *shape.targets):
        found += role in given or any(fits(role, contents.of(name)) for name in by_name(columns, role))
    return found


def _check_plain(table: Table, mapping: Mapping[str, str], given: Mapping[str, str], contents: Contents, head: str) -> None:
    """Raise DataError where the rows hold more than a text, or the text is none."""
    check_alone(table.path, table.columns, mapping, contents, head=head)
    column = mapping["text"]
    content = contents.of(column)
    if content.kind in NO_RUNNING_TEXT:
        raise DataError(
            f"column '{column}' of {table.path} holds {content.phrase()}, no texts", f"--head {head} learns it all the same"
        )
    if "text" not in given and not is_named(column, "text"):
        raise DataError(
            f"no column of {table.path} is called a text, and none looks like a label",
            f"Take one with --text, such as --text {shlex.quote(column)}",
        )
