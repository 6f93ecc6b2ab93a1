"""Which column is which: by the user's flags, by what the task says, by the names that such columns usually have.

Nothing is guessed in silence: each choice comes back as a sentence for the user, and what is ambiguous is an error.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hftool.data.roles import ROLES, Shape
from hftool.data.sources import Row
from hftool.errors import DataError, UsageError, did_you_mean, listing

# Common names by role, the surest first. Pairs of texts are known by their two names together.
COMMON_NAMES = {
    "text": ("text", "sentence", "review", "content", "comment", "document", "message", "body", "tweet", "headline"),
    "label": ("label", "labels", "class", "category", "sentiment", "stars", "rating", "polarity", "score", "target"),
    "tokens": ("tokens", "words", "token", "word"),
    "tags": ("tags", "ner_tags", "ner", "labels", "tag", "ner_tag", "pos_tags", "pos"),
    "context": ("context", "passage", "paragraph"),
    "question": ("question", "query"),
    "answers": ("answers", "answer"),
    "source": ("source", "src", "input", "dialogue", "dialog", "document", "article", "text"),
    "target": ("target", "tgt", "summary", "highlights", "output", "translation"),
    "prompt": ("prompt", "instruction", "text"),
    "completion": ("completion", "response"),
}
COMMON_PAIRS = (
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("text1", "text2"),
    ("text_a", "text_b"),
    ("question", "sentence"),
)


def map_columns(
    columns: Sequence[str],
    shapes: Sequence[Shape],
    *,
    given: Mapping[str, str],
    known: Mapping[str, str],
    path: str,
    answering: bool = False,
) -> tuple[Shape, dict[str, str]]:
    """The first shape whose columns are all there, and role -> column: by the user's flags, else by the task, else by common
    names. answering: rows to answer need no targets.

    Raises UsageError (a role that does not exist or that the head does not have, roles that do not go together), DataError that
    lists the columns there are.
    """
    shapes = shapes if answering else _learnt(shapes)
    _check_given(given, shapes, columns, path)
    fitting = [shape for shape in shapes if set(given) <= set(shape.wanted)]
    if not fitting:
        together = "; or ".join(", ".join(shape.wanted) for shape in shapes)
        raise UsageError(f"the roles {listing(given)} do not go together", f"Roles: {together}")
    trouble: DataError | None = None
    for shape in fitting:
        try:
            mapping = _map_shape(columns, shape, given=given, known=known, path=path, answering=answering)
        except DataError as error:
            trouble = trouble or error
            continue
        _check_roles(mapping, given)
        return shape, mapping
    assert trouble is not None
    raise trouble


def _learnt(shapes: Sequence[Shape]) -> list[Shape]:
    """The shapes to train on: where a head learns towards targets, rows without any that can be answered are only answered."""
    towards = any(shape.targets for shape in shapes)
    return [shape for shape in shapes if shape.targets or not shape.answered or not towards]


def _check_given(given: Mapping[str, str], shapes: Sequence[Shape], columns: Sequence[str], path: str) -> None:
    possible = list(dict.fromkeys(role for shape in shapes for role in shape.wanted))
    for role in given:
        if role not in ROLES:
            raise UsageError(f"unknown role '{role}'", did_you_mean(role, ROLES, otherwise="Roles: " + ", ".join(ROLES)))
        if role not in possible:
            raise UsageError(f"there is no role '{role}' here", "Roles: " + ", ".join(possible))
    for role, column in given.items():
        if not has_column(columns, column):
            raise missing_column(path, columns, column, role)


def present_roles(columns: Sequence[str], shape: Shape, *, given: Mapping[str, str]) -> int:
    """How many of the roles that a shape needs have a column, by the user's flags or by common names."""
    lower = {name.lower() for name in columns}
    needed = (*shape.inputs, *shape.targets)
    return sum(role in given or any(name in lower for name in COMMON_NAMES.get(role, (role,))[:3]) for role in needed)


def has_column(columns: Iterable[str], name: str) -> bool:
    """Whether there is a column `name`; translation.de is the part `de` of the column `translation`."""
    present = set(columns)
    return name in present or ("." in name and name.split(".", maxsplit=1)[0] in present)


def cell_of(row: Row, column: str) -> Any:
    """The cell of a column, or the part of it that translation.de names; None where there is none."""
    if column in row or "." not in column:
        return row.get(column)
    head, _, rest = column.partition(".")
    inner = row.get(head)
    return inner.get(rest) if isinstance(inner, Mapping) else None


def _map_shape(
    columns: Sequence[str],
    shape: Shape,
    *,
    given: Mapping[str, str],
    known: Mapping[str, str],
    path: str,
    answering: bool,
) -> dict[str, str]:
    wanted = (*shape.inputs, *shape.optional) if answering else shape.wanted
    both = {**known, **given}.items()
    mapping = {role: column for role, column in both if has_column(columns, column) and role in wanted}
    if "text" in wanted and "text" not in mapping:
        lower = {c.lower(): c for c in reversed(columns)}
        pair = next((p for p in COMMON_PAIRS if set(p) <= set(lower)), None)
        if pair and "text_pair" in wanted and "text_pair" not in mapping:
            mapping["text"], mapping["text_pair"] = lower[pair[0]], lower[pair[1]]
    for role in wanted:
        taken = set(mapping.values())
        if role not in mapping:
            lower = {c.lower(): c for c in reversed(columns) if c not in taken}
            found = next((lower[n] for n in COMMON_NAMES.get(role, (role,)) if n in lower), None)
            if found is not None:
                mapping[role] = found
            elif role not in shape.optional:
                raise missing_column(path, columns, known.get(role, COMMON_NAMES.get(role, (role,))[0]), role)
    return mapping


def _check_roles(mapping: Mapping[str, str], given: Mapping[str, str]) -> None:
    """A label that is read as a text gives a model that is always right and knows nothing."""
    for column, count in Counter(mapping.values()).items():
        if count > 1:
            roles = [role for role in ROLES if mapping.get(role) == column]
            other = next((role for role in roles if role not in given), roles[-1])
            raise UsageError(f"column '{column}' is both {' and '.join(roles)}", f"Name another with {_flag(other)}")


def _flag(role: str) -> str:
    short = ("text", "text_pair", "label", "source", "target")
    return "--" + role.replace("_", "-") if role in short else f"--column {role}=NAME"


def missing_column(path: str, columns: Sequence[str], column: str, role: str) -> DataError:
    """The error that lists the columns there are, with the flag to type."""
    flag = _flag(role)
    near = did_you_mean(column, columns).removeprefix("Did you mean '").removesuffix("'?")
    common = COMMON_NAMES.get(role, ())
    likely = near or next((name for name in columns if name.lower() in common), "COLUMN")
    example = f"{flag} {likely}" if flag.startswith("--") and "=" not in flag else flag
    return DataError(f"{path} has no column '{column}'; it has {listing(columns)}", f"Try {example}")
