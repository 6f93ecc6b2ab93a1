"""Values of JSON documents, which may be damaged, as what they should be."""

from typing import Any


def as_list(value: Any) -> list[Any]:
    """A list; an empty one for anything else."""
    return value if isinstance(value, list) else []


def as_dict(value: Any) -> dict[str, Any]:
    """An object; an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def offsets_of(item: Any) -> tuple[int, int]:
    """`start` and `end` of an object; outside of every text if they are not whole numbers."""
    start, end = as_dict(item).get("start"), as_dict(item).get("end")
    return (start, end) if type(start) is int and type(end) is int else (-1, -1)
