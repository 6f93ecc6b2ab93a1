"""Options that several verbs share, and the knobs of `hftool.config` as flags: declared there once, not here again."""

import inspect
import os
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

import typer

from hftool.config import KNOBS, parse
from hftool.errors import UsageError

Command = TypeVar("Command", bound=Callable[..., None])

Model = Annotated[str, typer.Argument(metavar="MODEL", help="A name of `hftool models`, a Hub id, a model or run folder.")]
Json = Annotated[bool, typer.Option("--json", help="Print exactly one JSON document.")]
Offline = Annotated[bool, typer.Option("--offline", help="Open no socket: what is not here is an error or has a stand-in.")]
NoFallback = Annotated[
    bool,
    typer.Option(
        "--no-fallback", envvar="HFTOOL_NO_FALLBACK", help="Never use a stand-in for a model or data that cannot be had."
    ),
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No progress and no notices.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="The log of the libraries, too.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1 or mps.")]
Encoding = Annotated[str | None, typer.Option("--encoding", help="Encoding of text files; by default UTF-8.")]
Column = Annotated[list[str] | None, typer.Option("--column", metavar="ROLE=NAME", help="Which column has which role.")]
Text = Annotated[str | None, typer.Option("--text", metavar="NAME", help="Short for --column text=NAME.")]
TextPair = Annotated[str | None, typer.Option("--text-pair", metavar="NAME", help="Short for --column text_pair=NAME.")]
Label = Annotated[str | None, typer.Option("--label", metavar="NAME", help="Short for --column label=NAME.")]

HOT = {"epochs", "max_steps", "batch_size", "lr", "max_length", "limit", "seed"}  # first in the help


def go_offline(offline: bool) -> None:
    """Before any library is imported: they read these once."""
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
        os.environ["HF_DATASETS_OFFLINE"] = "1"
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")


def column_mapping(columns: list[str] | None, **short: str | None) -> dict[str, str]:
    """--column role=name and the short forms as one mapping. Raises UsageError."""
    mapping = {}
    for pair in columns or []:
        role, equals, name = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"--column takes role=name, not '{pair}'", "Such as --column text=sentence")
        mapping[role.strip()] = name
    return mapping | {role: name for role, name in short.items() if name is not None}


def with_knobs(command: Command) -> Command:
    """Add a flag for every knob; those that were given reach the command as the mapping `knobs`, parsed.

    They come as text and are parsed by `hftool.config`, so that a flag, --set and a file have the same ranges and words.
    """
    ordered = sorted(KNOBS, key=lambda name: name not in HOT)
    flags = {}
    for name in ordered:
        row = KNOBS[name]
        default = "" if row.optional else f" [{_default(name)}]"
        if row.kind is bool:
            option = typer.Option("--" + name.replace("_", "-"), help=row.help + ".")
            flags[name] = inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Annotated[bool, option]
            )
        else:
            metavar = "|".join(row.choices) or {int: "N", float: "X", str: "WORD"}[row.kind]
            option = typer.Option("--" + name.replace("_", "-"), metavar=metavar, help=f"{row.help}{default}.")
            flags[name] = inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[str | None, option]
            )
    own = inspect.signature(command, eval_str=True).parameters
    plain = [parameter for name, parameter in own.items() if name != "knobs"]

    def wrapped(**values: Any) -> None:
        given = {name: values.pop(name) for name in flags}
        command(**values, knobs=_parsed(given))

    parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in plain] + list(flags.values())
    wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {p.name: p.annotation for p in parameters}
    wrapped.__doc__ = command.__doc__
    return wrapped  # type: ignore[return-value]


def _default(name: str) -> object:
    from hftool.config import Config

    return Config.__dataclass_fields__[name].default


def _parsed(given: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, raw in given.items():
        if raw is None or raw is False:
            continue
        try:
            values[name] = parse(name, raw)
        except UsageError as error:
            raise UsageError("--" + error.detail.replace(name, name.replace("_", "-"), 1), error.hint) from None
    return values
