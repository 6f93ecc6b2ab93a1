"""The command `hftool doctor`."""

import shutil
import sys
import textwrap
from typing import Any

import typer

from hftool.cli.offline import go_offline
from hftool.cli.options import Shared, shared_options
from hftool.cli.progress import print_json
from hftool.errors import ConfigError, as_line

NAME = "doctor"
INDENT = 12
LEAST_WIDTH = 30  # columns, below which lines are not wrapped


@shared_options("offline")
def command(*, shared: Shared) -> None:
    """Show what this machine can do and how fast, what `auto` would choose, and what is missing.

    Takes under ten seconds, five of them to time matrix products.

    \b
    hftool doctor --offline
    """
    go_offline(shared.offline)
    try:
        from hftool import workflow
    except ImportError as error:  # exactly what doctor is for
        what = f"a package is missing or broken: {error}"
        raise ConfigError(what, f"{sys.executable} -m pip install --upgrade hftool-recipes") from None
    with shared.screen() as progress:
        facts = workflow.doctor(offline=shared.offline, progress=progress)
    if shared.as_json:
        print_json(facts)
        return
    for key, text in _rows(facts):
        _say(key, text)


def _rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """The lines of the report: key and text."""
    machine, memory, auto, versions = facts["machine"], facts["memory"], facts["auto"], facts["versions"]
    limit = f", {_size(memory['limit'])} of it for this container" if memory["limit"] else ""
    precisions = list(auto["precision"].values())
    by_word = {word: [name for name, one in auto["precision"].items() if one == word] for word in dict.fromkeys(precisions)}
    chosen = next(iter(by_word)) if len(by_word) == 1 else "; ".join(f"{w} for {', '.join(n)}" for w, n in by_word.items())
    return [
        ("machine", f"{machine['processor']}, {machine['system']}, {machine['cores']} cores, {machine['threads']} threads"),
        ("memory", f"{_size(memory['total'])}{limit}, {_size(memory['free'])} free"),
        *((row["device"], _device(row)) for row in facts["devices"]),
        ("auto", f"--device {auto['device']}: {auto['device_why']}"),
        ("", f"--precision {chosen}: {auto['precision_why']}"),
        ("versions", ", ".join(f"{name} {number or 'not installed'}" for name, number in versions.items())),
        ("hub", _hub(facts["hub"])),
        ("cache", _cache(facts["cache"])),
        ("disk", f"{_size(facts['disk']['free'])} free in {facts['disk']['folder']}"),
        *((("problem", f"{row['what']}. To fix it: {row['mend']}")) for row in facts["problems"]),
        *([] if facts["problems"] else [("problems", "none")]),
    ]


def _device(row: dict[str, Any]) -> str:
    speeds = ", ".join(f"{dtype} {_speed(number)}" for dtype, number in row["gflops"].items())
    more = f"; {row['name']}, {_size(row['memory'])}, {_size(row['free'])} free" if "memory" in row else ""
    return f"{speeds} GFLOP/s{more}"


def _speed(number: float | None) -> str:
    return "none" if number is None else f"{number:,.0f}" if number >= 10 else f"{number:.2g}"


def _hub(hub: dict[str, Any]) -> str:
    if hub["answers"]:
        return f"{hub['address']} answers in {hub['seconds']:.1f} s"
    return f"{hub['address']} does not answer" if hub["asked"] else f"{hub['address']} {hub['detail']}"


def _cache(cache: dict[str, Any]) -> str:
    least = "" if cache["whole"] else "at least "
    return f"{least}{_size(cache['bytes'])} in {cache['folder']}, {_size(cache['free'])} free there"


def _size(count: float) -> str:
    return f"{count / 2**20:,.0f} MiB" if count < 2**30 else f"{count / 2**30:,.1f} GiB"


def _say(key: str, text: str) -> None:
    """Print a line, wrapped on a terminal, never in a pipe. Paths and commands are never broken."""
    line = f"{key:<{INDENT}}{as_line(text)}"
    width = shutil.get_terminal_size().columns
    if sys.stdout is not None and sys.stdout.isatty() and width >= LEAST_WIDTH:
        line = textwrap.fill(line, width, subsequent_indent=" " * INDENT, break_long_words=False, break_on_hyphens=False)
    typer.echo(line)
