"""Maps columns to roles by flags, else the task, else common names, else content; an ambiguous mapping is an error."""

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hftool.data.column_contents import Content, Contents
from hftool.data.column_names import (
    COMMON_NAMES,
    LISTS_ONLY,
    SURE_LABELS,
    by_name,
    by_words,
    common_pair,
    normalize,
    numbered_pair,
)
from hftool.data.schema import ROLES, TEXTS, RowSchema
from hftool.errors import DataError, UsageError, did_you_mean, listing, nearest

MAX_HINTS = 3  # columns that a hint offers
NESTED = ("empty", "lists", "objects", "scores", "spans")
NO_TEXT = ("empty", "numbers", "spans", "scores", "dates", "identifiers", "objects")


def map_columns(
    columns: Sequence[str],
    row_schemas: Sequence[RowSchema],
    *,
    given: Mapping[str, str],
    known: Mapping[str, str],
    path: str,
    for_inference: bool = False,
    contents: Contents | None = None,
) -> tuple[RowSchema, dict[str, str]]:
    """The first schema, in order of preference, whose roles all have a column, and its role -> column.

    `given` are the columns of the user's flags, `known` those of the task or the model. Without `contents` names alone decide;
    `for_inference` needs no targets.

    Raises:
        UsageError: A role does not exist, is not one of the head's, or does not go with the others.
        DataError: No schema fits; the message lists the columns.
    """
    row_schemas = row_schemas if for_inference else _trainable(row_schemas)
    _check_given(given, row_schemas, columns, path)
    fitting = [schema for schema in row_schemas if set(given) <= set(schema.wanted)]
    if not fitting:
        together = "; or ".join(", ".join(schema.wanted) for schema in row_schemas)
        raise UsageError(f"the roles {listing(given)} do not go together", f"Roles: {together}")
    first_error: DataError | None = None
    sure = {role: column for role, column in {**known, **given}.items() if has_column(columns, column)}
    mapper = _Mapper(columns, sure, known, path, contents)
    for schema in fitting:
        try:
            mapping = mapper.map_schema(schema, for_inference=for_inference)
        except DataError as error:
            first_error = first_error or error
            continue
        _check_distinct(mapping, given)
        return schema, mapping
    assert first_error is not None
    raise first_error


def _trainable(row_schemas: Sequence[RowSchema]) -> list[RowSchema]:
    """The schemas to train on: if any has targets, those without that serve inference are left out."""
    has_targets = any(schema.targets for schema in row_schemas)
    return [schema for schema in row_schemas if schema.targets or not schema.for_inference or not has_targets]


def check_roles(given: Mapping[str, str]) -> None:
    """Check the user's role -> column. Raises UsageError (a role does not exist, or its column is not one name)."""
    if not isinstance(given, Mapping):
        raise UsageError(f"columns are pairs of role and column, not {given!r}", "Such as {'text': 'sentence'}")
    for role, column in given.items():
        if role not in ROLES:
            raise UsageError(f"unknown role '{role}'", did_you_mean(role, ROLES, otherwise="Roles: " + ", ".join(ROLES)))
        if not isinstance(column, str):
            raise UsageError(
                f"the role '{role}' takes the name of one column, not {column!r}", "Join columns in the file first"
            )


def _check_given(given: Mapping[str, str], row_schemas: Sequence[RowSchema], columns: Sequence[str], path: str) -> None:
    check_roles(given)
    possible = list(dict.fromkeys(role for schema in row_schemas for role in schema.wanted))
    for role in given:
        if role not in possible:
            raise UsageError(f"there is no role '{role}' here", "Roles: " + ", ".join(possible))
    for role, column in given.items():
        if not has_column(columns, column):
            raise missing_column(path, columns, column, role)


def has_column(columns: Iterable[str], name: str) -> bool:
    """Whether a column exists; translation.de is the key `de` of the column `translation`."""
    present = set(columns)
    return name in present or ("." in name and name.split(".", maxsplit=1)[0] in present)


@dataclass(frozen=True)
class _Mapper:
    """Maps the roles of a schema to the columns of one table; `sure` is the part that the user and the task name."""

    columns: Sequence[str]
    sure: Mapping[str, str]
    known: Mapping[str, str]
    path: str
    contents: Contents | None

    def map_schema(self, schema: RowSchema, *, for_inference: bool) -> dict[str, str]:
        """Role -> column. Raises DataError for a required role without a column."""
        wanted = (*schema.inputs, *schema.optional) if for_inference else schema.wanted
        mapping = {role: column for role, column in self.sure.items() if role in wanted}
        if "text_pair" in wanted and not {"text", "text_pair"} & set(mapping):
            pair = self._pair()
            mapping |= {"text": pair[0], "text_pair": pair[1]} if pair else {}
        for role in wanted:
            if role in mapping:
                continue
            free = [name for name in self.columns if name not in mapping.values()]
            found = self._column(role, free)
            if found is not None:
                mapping[role] = found
            elif role not in schema.optional:
                column = self.known.get(role, COMMON_NAMES.get(role, (role,))[0])
                raise missing_column(self.path, self.columns, column, role, contents=self.contents, free=free)
        return mapping

    def _pair(self) -> tuple[str, str] | None:
        pair = common_pair(self.columns)
        if pair is None and self.contents and not by_name(self.columns, "text", first=self.known.get("text", "")):
            pair = numbered_pair([name for name in self.columns if self._content(name).kind == "text"])
        return pair

    def _column(self, role: str, free: Sequence[str]) -> str | None:
        """The column of a role among the free ones; None if there is none or the choice is ambiguous."""
        named = by_name(free, role, first=self.known.get(role, ""))
        if self.contents is None:
            return named[0] if named else None
        fitting = [name for name in named if fits(role, self._content(name))]
        if role in ("tokens", "tags"):
            lists = [name for name in (*named, *by_words(free, role)) if self._content(name).kind == "lists"]
            return next(iter([*(name for name in fitting if normalize(name) not in LISTS_ONLY), *lists]), None)
        if role == "label":
            return self._label(named, fitting, free)
        if named or role != "text":
            return next(iter(fitting or named), None)
        texts = [name for name in by_words(free, role) if self._content(name).kind in ("text", "words")]
        texts = texts or [name for name in free if self._content(name).kind == "text"]
        return texts[0] if len(texts) == 1 and not common_pair(free) else None

    def _label(self, named: Sequence[str], fitting: Sequence[str], free: Sequence[str]) -> str | None:
        """A sure name; else the only column with a common name; else the only one whose content is a target."""
        sure = {normalize(name) for name in (*SURE_LABELS, self.known.get("label", ""))}
        if named and (len(named) == 1 or normalize(named[0]) in sure or not fitting):
            return named[0]
        targets = fitting if named else [name for name in free if self._content(name).is_target]
        return targets[0] if len(targets) == 1 else None

    def _content(self, column: str) -> Content:
        assert self.contents is not None
        return self.contents.of(column)


def fits(role: str, content: Content) -> bool:
    """Whether a column with this content can have a role."""
    if role == "label":
        return content.is_target
    if role in ("tokens", "tags"):
        return content.kind == "lists" or content.words > 1 or content.kind in ("text", "words")
    return role not in TEXTS or content.kind not in NO_TEXT


def _check_distinct(mapping: Mapping[str, str], given: Mapping[str, str]) -> None:
    """A label that is an input as well would be leakage: a model that is always right and has learned nothing."""
    for column, count in Counter(mapping.values()).items():
        if count > 1:
            roles = [role for role in ROLES if mapping.get(role) == column]
            other = next((role for role in roles if role not in given), roles[-1])
            raise UsageError(f"column '{column}' is both {' and '.join(roles)}", f"Name another with {_flag(other)}")


def _flag(role: str) -> str:
    short = ("text", "text_pair", "label", "source", "target")
    return "--" + role.replace("_", "-") if role in short else f"--column {role}=NAME"


def missing_column(
    path: str,
    columns: Sequence[str],
    column: str,
    role: str,
    *,
    contents: Contents | None = None,
    free: Sequence[str] | None = None,
) -> DataError:
    """The error for a role without a column: it lists the columns and the flag to type; `free` have no other role."""
    flag = _flag(role)
    detail = f"{path} has no column '{column}'; it has {listing(columns)}"
    likely = _likely(columns if free is None else free, column, role, contents)[:MAX_HINTS]
    if not likely and contents is not None and role == "text":
        nested = all(contents.of(name).kind in NESTED for name in columns)
        rest = ": lists and objects are none" if nested else f"; {flag} COLUMN takes one all the same"
        return DataError(detail, f"None of them holds texts{rest}")
    if "=" in flag:
        flags = [f"--column {shlex.quote(f'{role}={name}')}" for name in likely] or [flag]
    else:
        flags = [f"{flag} {shlex.quote(name)}" for name in likely] or [f"{flag} COLUMN"]
    return DataError(detail, "Try " + " or ".join(flags))


def _likely(columns: Sequence[str], column: str, role: str, contents: Contents | None) -> list[str]:
    """The columns that may be meant: by content if that is known, else by the nearest or a common name."""
    if contents is not None and role in ("tokens", "tags"):
        return [name for name in columns if contents.of(name).kind == "lists"]
    if contents is not None and role in ("text", "text_pair", "source", "target"):
        parts = [*columns, *(f"{name}.{part}" for name in columns for part in contents.parts(name))]
        return [name for name in parts if contents.of(name).kind == "text"]
    if contents is not None and role == "label":
        return [name for name in columns if contents.of(name).is_target]
    near = nearest(column, columns)
    return [near] if near else by_name(columns, role)[:1]
