"""Arguments from Python callers: models, tasks and texts, accepted in their usual forms or refused with their type."""

import functools
import io
import os
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from inspect import signature
from typing import Any, Protocol, TypeVar, overload

from hftool import config as knobs
from hftool.errors import UsageError, as_line, nearest
from hftool.models import Loaded
from hftool.storage.run_folder import Run

T_co = TypeVar("T_co", covariant=True)
SECOND_TEXTS = ("pairs", "contexts", "second")  # the parameters that have the second text of each pair
MAX_SHOWN = 60  # characters of a value in an error


class HasRun(Protocol):
    """The result of `finetune`."""

    @property
    def run(self) -> Run:
        """The run folder."""
        ...


Task = str | os.PathLike[str] | Sequence[Mapping[str, Any]] | Any  # Any: a DataFrame or a Dataset, neither imported here
Model = str | os.PathLike[str] | Run | HasRun  # a model by its name or its folder


def shown(value: object) -> str:
    """A value as an error names it: its type, or a short value itself."""
    if isinstance(value, str):
        text = as_line(value)
        return f"the text '{text[:MAX_SHOWN]}{'...' if len(text) > MAX_SHOWN else ''}'"
    if value is None or isinstance(value, (int, float)):
        return str(value)
    name = type(value).__name__
    size = f" of {len(value)}" if isinstance(value, Sized) and not isinstance(value, bytes) else ""
    article = "" if isinstance(value, bytes) else "an " if name[0].lower() in "aeiou" else "a "
    return f"{article}{name}{size}"


def model_name(model: object) -> str:
    """The name or the folder of a model that is given as a string, a path, a Run, or a Result.

    Raises:
        UsageError: It is anything else.
    """
    given = getattr(model, "run", model)
    if isinstance(given, Run):
        return str(given.path)
    if isinstance(model, (str, os.PathLike)):
        return os.fspath(model) if isinstance(os.fspath(model), str) else os.fsdecode(model)
    takes = "A name of `hftool models`, a Hub id, a folder, a Run or the Result of finetune"
    if isinstance(model, Loaded):
        raise UsageError("a loaded model is given where its name or folder is needed", takes)
    raise UsageError(f"the model is {shown(model)}", takes)


def task_name(task: object) -> str:
    """The name or the path of a task. Raises UsageError (it is anything else)."""
    if isinstance(task, (str, os.PathLike)):
        return os.fsdecode(task)
    takes = "a task is a name of `hftool tasks`, a Hub data set, a file, a folder or rows"
    raise UsageError(f"{takes}, not {shown(task)}", "Rows are a list of dicts, a pandas DataFrame or a datasets.Dataset")


class Inference(Protocol[T_co]):
    """An inference function: one text gives one answer, several texts give a list."""

    @overload
    def __call__(self, model: Any, text: str = ..., /, *args: Any, **options: Any) -> T_co: ...
    @overload
    def __call__(self, model: Any, texts: Iterable[str] = ..., /, *args: Any, **options: Any) -> list[Any]: ...


def one_or_many(function: Callable[..., list[T_co]]) -> Inference[T_co]:
    """Let a function of a model and a list of texts take one text, too, for which it returns one answer."""
    known = signature(function)
    first = list(known.parameters)[1]

    @functools.wraps(function)
    def _wrapped(*args: Any, **options: Any) -> Any:
        given = known.bind(*args, **options)
        given.apply_defaults()
        if not isinstance(given.arguments[first], str):
            return function(*args, **options)
        for name in (first, *SECOND_TEXTS):
            if isinstance(given.arguments.get(name), str):
                given.arguments[name] = [given.arguments[name]]
        return function(*given.args, **given.kwargs)[0]

    return _wrapped


def text_list(texts: object, name: str = "texts") -> list[str]:
    """The texts of any ordered iterable: a list, an array, a column, a generator, the lines of an open file.

    Raises:
        UsageError: One text, a table, a mapping, a set, or an item that is not a text.
    """
    takes = f"Give {name} as a list of texts"
    if isinstance(texts, str):
        raise UsageError(f"{name} must be a list of texts, not {shown(texts)}", "Put it in a list: [TEXT]")
    columns = getattr(texts, "column_names", getattr(texts, "columns", None))
    if columns is not None:  # iterating it gives column names, or rows
        hint = f"Give one column of it, such as list(table['{next(iter(columns), 'text')}'])"
        raise UsageError(f"{name} must be a list of texts, not {shown(texts)}", hint)
    if isinstance(texts, (bytes, Mapping, set, frozenset)) or not isinstance(texts, Iterable):
        raise UsageError(f"{name} must be a list of texts, not {shown(texts)}", takes)
    lines = isinstance(texts, io.TextIOBase)
    found = [value.rstrip("\r\n") if lines else value for value in texts]
    for number, value in enumerate(found):
        if not isinstance(value, str):
            raise UsageError(f"{name} must be a list of texts, but {name}[{number}] is {shown(value)}", takes)
    return [str(value) for value in found]  # numpy has its own subclass of str


def refuse_unknown(function: Any, unknown: Mapping[str, object]) -> None:
    """Raise UsageError for arguments that `function` does not have; a knob belongs into `config`."""
    for name, value in unknown.items():
        if name in knobs.KEYS:
            raise UsageError(f"'{name}' is a knob and no argument", f"Give it in config: config={{'{name}': {value!r}}}")
        own = [word for word in signature(function).parameters if word != "unknown"]
        known = knobs.TRAINER_NAMES.get(name) or nearest(name, [*own, *knobs.KEYS])
        hint = f"Did you mean '{known}'?" if known else "Arguments: " + ", ".join(own)
        raise UsageError(f"unknown argument '{name}'", hint)
