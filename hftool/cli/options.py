"""Options that several verbs share, and the knobs of `hftool.config` as flags, built from their table."""

import functools
import inspect
import math
import os
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from hftool.cli.help import COMMON, DATA, EVALUATING, MACHINE, TRAINING
from hftool.cli.progress import screen
from hftool.config import KNOBS, Config, Knob, parse_as
from hftool.errors import DataError, UsageError, did_you_mean
from hftool.progress import Progress
from hftool.registry.formats import format_names

Command = TypeVar("Command", bound=Callable[..., None])
SHORT_ROLES = ("text", "text_pair", "label", "source", "target")  # roles with an option of their own


def option(name: str, metavar: str, help: str, **more: Any) -> Any:
    """An option with a value."""
    return typer.Option(name, metavar=metavar, help=help, **more)


def argument(metavar: str, help: str, **more: Any) -> Any:
    """An argument, which has no name."""
    return typer.Argument(metavar=metavar, help=help, **more)


def number(name: str, help: str, *, least: int, most: float = math.inf, metavar: str = "N") -> Any:
    """An option for a whole number, whose error names the option and the range."""
    row = Knob(int, help, least=least, most=most)
    return option(name, metavar, help, parser=lambda raw: parse_as(row, raw, name=name))


def choice(name: str, help: str, choices: tuple[str, ...]) -> Any:
    """An option for one of several words, whose error names the option and the words."""
    row = Knob(str, help, choices=choices)
    return option(name, "WORD", help, parser=lambda raw: parse_as(row, raw, name=name))


everywhere = functools.partial(typer.Option, rich_help_panel=COMMON)
of_data = functools.partial(option, rich_help_panel=DATA)
of_machine = functools.partial(option, rich_help_panel=MACHINE)
Model = Annotated[str, argument("MODEL", "A name of `hftool models`, a Hub id, a model or run folder.")]
Texts = Annotated[list[str] | None, argument("TEXT", "Texts; without any, the lines of stdin.")]
Json = Annotated[bool, everywhere("--json", help="Print exactly one JSON document.")]
Offline = Annotated[
    bool, everywhere("--offline", help="Open no socket: what is not available locally is an error or has a stand-in.")
]


def _hold_lock(wanted: bool) -> bool:
    """Activate the lock of this folder, or the one that HFTOOL_LOCK names, in this process."""
    if wanted:
        from hftool.workflow.lockfile import NAME, VARIABLE, read_lock

        path = os.environ.get(VARIABLE) or str(Path(NAME).absolute())
        read_lock(Path(path))
        os.environ[VARIABLE] = path
    return wanted


Locked = Annotated[
    bool, everywhere("--locked", callback=_hold_lock, help="Refuse models and data from the Hub that differ from hftool.lock.")
]
NoFallback = Annotated[
    bool,
    everywhere(
        "--no-fallback", envvar="HFTOOL_NO_FALLBACK", help="Never use a stand-in for a model or data that are not available."
    ),
]
Quiet = Annotated[bool, everywhere("-q", "--quiet", help="No progress and no notices except those of stand-ins.")]
Verbose = Annotated[bool, everywhere("-v", "--verbose", help="Show the log of the libraries.")]
Device = Annotated[str, everywhere("--device", metavar="WORD", help="Device: auto, cpu, cuda, cuda:1 or mps.")]
Precision = Annotated[
    str,
    everywhere(
        "--precision",
        metavar="WORD",
        help="Number format: auto (decides as fp32 does), fp32, bf16; int8 to generate.",
    ),
]
Encoding = Annotated[str | None, of_data("--encoding", "WORD", "Encoding of text files; by default UTF-8.")]
Format = Annotated[
    str | None,
    of_data(
        "--format",
        "WORD",
        "Format of data files: " + ", ".join(format_names()) + "; auto is by ending and content.",
        parser=lambda raw: parse_as(KNOBS["format"], raw, name="--format"),
    ),
]
NoHeader = Annotated[
    bool | None,
    typer.Option("--no-header", help="The first line of a table is a row; its columns have no names.", rich_help_panel=DATA),
]
Columns = Annotated[
    str | None, of_data("--columns", "NAMES", "Names of the columns of a table without a header, such as label,text.")
]
PartialWords = Annotated[
    str | None,
    of_data(
        "--partial-words",
        "WORD",
        "Words that a span covers in part: reject the text, or include them.",
        parser=lambda raw: parse_as(KNOBS["partial_words"], raw, name="--partial-words"),
    ),
]
Annotator = Annotated[str | None, of_data("--annotator", "NAME", "Whose annotations of an annotation project are read.")]
Column = Annotated[list[str] | None, of_data("--column", "ROLE=NAME", "The column of a role.")]
Head = Annotated[str | None, option("--head", "WORD", "The head: what the model does; by default what it was trained for.")]

Processes = Annotated[
    int | None,
    of_machine("--processes", "N", "Processes on this machine; by default one for each GPU, or as many as the run had.", min=1),
]
MaxRestarts = Annotated[int, of_machine("--max-restarts", "N", "Restart failed processes at most N times.", min=0)]


def flag_of(name: str) -> str:
    """The flag of a field of `hftool.config`."""
    return "--columns" if name == "column_names" else "--" + name.replace("_", "-")


def _short_column(role: str) -> Any:
    """The option that is short for --column with this role."""
    short = of_data("--" + role.replace("_", "-"), "NAME", f"Short for --column {role}=NAME.")
    return Annotated[str | None, short]


COLUMNS: dict[str, Any] = {role: _short_column(role) for role in SHORT_ROLES} | {"column": Column}

# The headings of the help; the knobs that are changed most often come first.
KNOB_HEADINGS = {
    TRAINING: (
        *("epochs", "max_steps", "batch_size", "accumulate", "lr", "lora", "max_length", "max_new_tokens", "prefix", "seed"),
        *("class_weights", "optimizer", "schedule", "warmup", "weight_decay", "clip", "sort_steps"),
    ),
    DATA: (
        "labels_sep",
        "limit",
        "validation_share",
        "allow_leak",
        "max_rejected",
        "partial_words",
        "format",
        "annotator",
        "no_header",
        "encoding",
    ),
    EVALUATING: ("eval_steps", "patience", "metric", "thresholds", "save_steps", "save_minutes", "keep", "grace", "log_steps"),
    MACHINE: ("device", "precision", "workers"),
}


def column_mapping(columns: list[str] | None, **short: str | None) -> dict[str, str]:
    """The mapping of --column role=name and its short forms. Raises UsageError."""
    mapping: dict[str, str] = {}
    for pair in columns or []:
        role, equals, name = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"--column takes role=name, not '{pair}'", "Such as --column text=sentence")
        _add_role(mapping, role.strip(), name)
    if mapping:
        from hftool.data.schema import ROLES

        for role in mapping:
            if role not in ROLES:
                hint = did_you_mean(role, ROLES, otherwise="Roles: " + ", ".join(ROLES))
                raise UsageError(f"--column has no role '{role}'", hint)
    for role, short_name in short.items():
        if short_name is not None:
            _add_role(mapping, role, short_name)
    return mapping


def _add_role(mapping: dict[str, str], role: str, name: str) -> None:
    """Raise UsageError for a role that has another column already."""
    if mapping.setdefault(role, name) != name:
        raise UsageError(f"the role '{role}' is given two columns: '{mapping[role]}' and '{name}'", "Choose one")


# how files are read, besides their encoding
READING: dict[str, tuple[Any, Any]] = {
    "format": (Format, None),
    "partial_words": (PartialWords, None),
    "annotator": (Annotator, None),
    "no_header": (NoHeader, None),
    "column_names": (Columns, None),
}


def reads_files(command: Command) -> Command:
    """Add the options on how files are read; those that were given reach the command as the mapping `reading`."""
    return extend_signature(command, READING, "reading", reading_options)


def reading_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of READING that were given."""
    return {name: given[name] for name in READING if given[name] not in (None, False)}


def reads_columns(*short: str) -> Callable[[Command], Command]:
    """Add --column and the short forms of these roles; they reach the command as the mapping `columns`."""
    more = {name: (kind, None) for name, kind in COLUMNS.items() if name in (*short, "column")}
    return lambda command: extend_signature(
        command, more, "columns", lambda given: column_mapping(given.pop("column"), **given)
    )


def extend_signature(
    command: Command,
    added: Mapping[
        str, tuple[Any, Any]
    ],  # name -> annotation, default; `model` becomes the first argument, after a typer.Context
    name: str,
    gather: Callable[[dict[str, Any]], Any],
    *,
    after: str = "",  # the parameter that they follow; by default they are the last
) -> Command:
    """Add parameters to a command, where it has a parameter `name` as one value that `gather` makes of theirs."""
    own = inspect.signature(command, eval_str=True).parameters

    def wrapped(**values: Any) -> None:
        """The command, with the added parameters gathered."""
        given = {key: values.pop(key) for key in added}
        command(**values, **({name: gather(given)} if name in own else {}))

    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [p.replace(kind=keyword) for key, p in own.items() if key != name]
    at = [p.name for p in parameters].index(after) + 1 if after else len(parameters)
    parameters[at:at] = [inspect.Parameter(k, keyword, default=d, annotation=a) for k, (a, d) in added.items()]
    if "model" in added:
        parameters.insert(1, parameters.pop([p.name for p in parameters].index("model")))
    wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {p.name: p.annotation for p in parameters}
    wrapped.__doc__ = command.__doc__
    return wrapped  # type: ignore[return-value]


def with_lock(command: Command) -> Command:
    """Add --locked, whose callback does all, to a command that has --offline: one that may load from the Hub."""
    if "offline" not in inspect.signature(command).parameters:
        return command
    return extend_signature(command, {"locked": (Locked, False)}, "", dict, after="offline")


@dataclass(frozen=True)
class Shared:
    """The options that most verbs share."""

    as_json: bool
    quiet: bool
    verbose: bool
    offline: bool = False
    fallback: bool = False

    def screen(self) -> AbstractContextManager[Progress]:
        """The progress display of a verb."""
        return screen(quiet=self.quiet, verbose=self.verbose, as_json=self.as_json)

    def access(self, progress: Progress) -> dict[str, Any]:
        """Keyword arguments of a function that may load from the Hub and use a stand-in."""
        return {"offline": self.offline, "fallback": self.fallback, "progress": progress}


SHARED: dict[str, tuple[Any, Any]] = {
    "offline": (Offline, False),
    "no_fallback": (NoFallback, False),
    "as_json": (Json, False),
    "quiet": (Quiet, False),
    "verbose": (Verbose, False),
}


def shared_options(*access: str) -> Callable[[Command], Command]:
    """Add --json, --quiet and --verbose, and of --offline and --no-fallback those named; they reach the command as `shared`."""
    added = {name: pair for name, pair in SHARED.items() if name in (*access, "as_json", "quiet", "verbose")}
    return lambda command: extend_signature(command, added, "shared", lambda given: Shared(**fields_of(given)))


def fields_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `Shared` from its options."""
    fields = {key: value for key, value in given.items() if key != "no_fallback"}
    return {**fields, "fallback": not given.get("no_fallback")}


def with_knobs(command: Command) -> Command:
    """Add a flag for every knob; those that were given reach the command as the mapping `knobs`, parsed.

    `hftool.config` parses the text, so that a flag, --set and a file have the same ranges and errors.
    """
    flags = {name: _flag(name, heading) for heading, names in KNOB_HEADINGS.items() for name in names}
    return extend_signature(command, flags, "knobs", _parsed)


def _flag(name: str, heading: str) -> tuple[Any, Any]:
    """The annotation and the default of a knob's flag. Its value stays text: hftool.config parses it."""
    row = KNOBS[name]
    default: Any = Config.__dataclass_fields__[name].default
    shown = f"  [default: {default:g}]" if isinstance(default, float) else f"  [default: {default}]"
    choices = f": {', '.join(row.allowed)}" if row.allowed else ""
    is_flag = row.kind is bool
    metavar = None if is_flag else {int: "N", float: "X", str: "WORD"}[row.kind]
    help_text = f"{row.help[0].upper()}{row.help[1:]}{choices}.{'' if row.optional or is_flag else shown}"
    flag = typer.Option("--" + name.replace("_", "-"), metavar=metavar, help=help_text, rich_help_panel=heading)
    kind: Any = bool if is_flag else str | None
    return Annotated[kind, flag], False if is_flag else None


def _parsed(given: Mapping[str, Any]) -> dict[str, Any]:
    """The given flags, parsed. Raises UsageError that names the flag and its range."""
    chosen = {name: raw for name, raw in given.items() if raw is not None and raw is not False}
    return {name: parse_as(KNOBS[name], raw, name="--" + name.replace("_", "-")) for name, raw in chosen.items()}


def texts_or_stdin(texts: list[str] | None, *, otherwise: list[str] | None = None) -> list[str]:
    """The texts of the command line, else the lines of stdin, else `otherwise`.

    Raises:
        DataError: None of these, or stdin is not UTF-8.
    """
    if texts:
        return list(texts)
    from hftool.workflow._load import read_lines

    advice = "Convert it first, such as: iconv -f GBK -t UTF-8"
    try:
        lines = read_lines(sys.stdin or [])
    except UnicodeDecodeError as error:
        byte = f"byte 0x{error.object[error.start]:02x} at offset {error.start}"
        raise DataError(f"stdin is not {error.encoding}: {byte}", advice) from None
    for row, line in enumerate(lines, start=1):  # in the C locale such bytes become lone surrogates
        if wrong := re.search("[\udc80-\udcff]", line):
            byte = f"byte 0x{ord(wrong[0]) - 0xDC00:02x} in line {row}"
            raise DataError(f"stdin is not UTF-8: {byte}", advice)
    if not lines and otherwise is not None:
        return otherwise
    if not lines:
        raise DataError("stdin is empty and there is no TEXT", "Give texts, or a pipe with one text a line")
    return [lines[0].removeprefix("\ufeff"), *lines[1:]]  # the byte order mark


def on_terminal() -> bool:
    """Whether stdin is a terminal: then the help is shown instead of waiting for input."""
    return sys.stdin is not None and sys.stdin.isatty()
