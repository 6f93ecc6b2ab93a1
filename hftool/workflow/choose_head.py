"""Choose a head for the columns of a file, and the columns of a file for a model, by their names and contents."""

import shlex
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace

from hftool.data.column_contents import Contents, cell_of, contents_of
from hftool.data.column_names import by_name, is_named, words_of
from hftool.data.columns import check_roles, fits, map_columns, missing_column
from hftool.data.readers.tables import Record, Table
from hftool.data.schema import RowSchema
from hftool.data.splits import mapping_sentence
from hftool.data.unused_columns import check_prompt, check_unused_targets, has_clear_targets
from hftool.errors import DataError, UsageError
from hftool.heads import head_class
from hftool.models import HeadConfig, Loaded
from hftool.progress import Progress, notice
from hftool.registry.families import Family
from hftool.registry.heads import HeadSpec, all_heads, head_spec
from hftool.workflow.resolve import TaskSource

NO_RUNNING_TEXT = ("numbers", "dates", "spans", "scores", "lists", "objects")


def infer_head(data: TaskSource, given: Mapping[str, str], family: Family) -> str:
    """The first head of the family whose roles the columns of the data have, some of them given by the user.

    A head that trains on text alone is chosen only where no column looks like a target.

    Raises:
        DataError: No head fits, or a column that looks like a target would be left out; it names the columns and the flag.
        UsageError: A role that does not exist.
    """
    table = data.tables.get("train") or next(iter(data.tables.values()))
    check_roles(given)
    contents = contents_of(table)
    first_error: DataError | None = None
    most, unclear = -1, {}
    able = [spec for spec in _by_priority() if spec.name in family.heads]
    rewrites = any(spec.generates and not spec.unlabeled for spec in able)
    labelled = not rewrites or any(contents.of(name).is_target for name in table.columns)
    for head in (spec.name for spec in able):
        row_schemas = head_class(head).row_schemas
        try:
            shape, mapping = map_columns(table.columns, row_schemas, given=given, known={}, path=table.path, contents=contents)
        except UsageError:
            continue
        except DataError as error:  # the error of the head that lacks least is raised
            fit = max(_present(table.columns, shape, given, contents) for shape in row_schemas)
            if fit > most or (fit == most and head_spec(head).regression and labelled):
                first_error, most = error, fit
            continue
        if shape.targets and has_clear_targets(shape, mapping, given):
            check_prompt(table.path, table.columns, mapping, given, contents)
            return head
        if head_spec(head).unlabeled and not shape.targets:
            _check_plain(table, mapping, given, contents, head)
            return head
        unclear = {role: column for role, column in mapping.items() if role not in shape.targets}
    if unclear:  # a label that was found by its content alone
        check_unused_targets(table.path, table.columns, unclear, contents)
    if first_error is not None:
        raise _of_another_family(first_error, table, given, family, contents)
    raise DataError(f"no head of {family.name} can learn from the columns of {table.path}", "Choose with --head")


def _by_priority() -> list[HeadSpec]:
    """The heads that columns can decide on, those that need most columns first."""
    return sorted((spec for spec in all_heads() if spec.priority), key=lambda spec: spec.priority)


def _of_another_family(
    first_error: DataError, table: Table, given: Mapping[str, str], family: Family, contents: Contents
) -> DataError:
    """The error, with the head that the columns fit where the family does not have it."""
    for head in (spec.name for spec in _by_priority()):
        try:
            shape, mapping = map_columns(
                table.columns, head_class(head).row_schemas, given=given, known={}, path=table.path, contents=contents
            )
        except (DataError, UsageError):
            continue
        if head not in family.heads and shape.targets and has_clear_targets(shape, mapping, given):
            hint = f"These are rows to {head}, which {family.name} cannot do: choose another model, or other columns"
            return DataError(first_error.detail, hint)
    return first_error


def _present(columns: Sequence[str], shape: RowSchema, given: Mapping[str, str], contents: Contents) -> int:
    """The number of roles of a schema that have a column, by the user's flags, or by name and content."""
    found = 0
    for role in (*shape.inputs, *shape.targets):
        found += role in given or any(fits(role, contents.of(name)) for name in by_name(columns, role))
    return found


def _check_plain(table: Table, mapping: Mapping[str, str], given: Mapping[str, str], contents: Contents, head: str) -> None:
    """Raise DataError where the rows have more than text, or the column is not text."""
    check_unused_targets(table.path, table.columns, mapping, contents, head=head)
    if table.lines:
        return
    column = mapping["text"]
    content, named = contents.of(column), is_named(column, "text")
    if content.kind in NO_RUNNING_TEXT or (content.kind == "classes" and not named):
        hint = f"--head {head} trains on it all the same"
        raise DataError(f"column '{column}' of {table.path} holds {content.phrase()}, no texts", hint)
    if "text" not in given and not named:
        what = f"no column of {table.path} is named as text, and none looks like a label"
        raise DataError(what, f"Take one with --text, such as --text {shlex.quote(column)}")


def check_untrained(
    head_config: HeadConfig, path: str, columns: Sequence[str], mapping: Mapping[str, str], contents: Contents
) -> None:
    """Raise DataError where a pre-trained language model meets a column that looks like a target: training may be meant."""
    if not head_config.task and head_spec(head_config.head).unlabeled:
        choose = "train a model on {}: hftool finetune MODEL FILE"
        check_unused_targets(path, columns, mapping, contents, head=head_config.head, choose=choose)


def columns_to_measure(
    table: Table, data: TaskSource, head_config: HeadConfig, given: Mapping[str, str], *, chosen: bool, progress: Progress
) -> tuple[RowSchema, dict[str, str]]:
    """The columns as in training, else inferred as there; a target is matched by its name alone."""
    known = dict(data.row.columns) if data.row else head_config.columns
    row_schemas: Sequence[RowSchema] = head_class(head_config.head).row_schemas
    if head_config.columns:
        row_schemas = _row_schemas_of(head_config, {*known, *given}, row_schemas)
    contents = contents_of(table)
    shape, mapping = map_columns(table.columns, row_schemas, given=given, known=known, path=table.path, contents=contents)
    for role in shape.targets:
        if mapping[role] != {**known, **given}.get(role) and not is_named(mapping[role], role):
            raise missing_column(table.path, table.columns, known.get(role, role), role, contents=contents)
    if not chosen and data.row is None:
        check_untrained(head_config, table.path, table.columns, mapping, contents)
    if any(mapping[role] != column for role, column in known.items() if role in mapping):
        notice(progress, mapping_sentence(mapping, of=table.path))
    return shape, mapping


def columns_to_answer(
    present: Sequence[str], sample: Sequence[Record], loaded: Loaded, given: Mapping[str, str], path: str, *, chosen: bool
) -> dict[str, str]:
    """Role -> column for rows to answer. A column of prompts, or a text with a mask, makes the purpose clear."""
    head_config, contents = loaded.head_config, Contents([record.row for record in sample])
    answered = [shape for shape in head_class(head_config.head).row_schemas if shape.for_inference]
    row_schemas = _row_schemas_of(head_config, {*head_config.columns, *given}, answered)
    _, mapping = map_columns(
        present, row_schemas, given=given, known=head_config.columns, path=path, for_inference=True, contents=contents
    )
    mask = getattr(loaded.tokenizer, "mask_token", None)
    masked = mask and "text" in mapping and any(mask in str(cell_of(record.row, mapping["text"])) for record in sample)
    if not chosen and not masked and "prompt" not in words_of(mapping.get("prompt", "")):
        check_untrained(head_config, path, present, mapping, contents)
    return mapping


def _row_schemas_of(head_config: HeadConfig, known: Container[str], row_schemas: Sequence[RowSchema]) -> list[RowSchema]:
    """The row schemas that a model accepts; `known` are the roles with a column.

    text_pair is required if the model was trained on pairs, and optional if the task or the user maps it.
    """
    found = []
    for shape in row_schemas:
        if "text_pair" not in shape.inputs or "text_pair" in known:
            inputs = (*shape.inputs, *(role for role in shape.optional if role in head_config.columns))
            optional = tuple(role for role in shape.optional if role in known and role not in inputs)
            found.append(replace(shape, inputs=inputs, optional=optional))
    return found
