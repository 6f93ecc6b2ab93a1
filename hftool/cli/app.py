"""The command `hftool`: its verbs, its one way to report an error, its exit codes."""

import json
import os
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated, Any, NoReturn

import typer

from hftool import DISTRIBUTION
from hftool.cli import classify, copy, evaluate, finetune, info, models, predict, save, tasks, tokenize
from hftool.errors import HftoolError, StorageError, UsageError, did_you_mean

TOUR = """hftool: BERT, RoBERTa, GPT-2 and T5, each job one command.

  hftool finetune bert sst2                      train, measure and save; prints the next command
  hftool classify RUN "A warm, funny film."      ask the result
  hftool evaluate RUN                            metrics, by class, and the rows that went wrong
  hftool predict RUN reviews.csv --out out.csv   a file, row by row
  hftool models, hftool tasks                    what there is by name
  hftool copy bert                               the recipe as a file: now it is yours

Any CSV, TSV, JSON Lines or Parquet file is a task; any Hub id or folder is a model.
`hftool VERB --help` tells the options of a verb, `hftool --help` all verbs.
"""

# rich doubles the time of --help, and colours no pipe: https://typer.tiangolo.com/tutorial/commands/help/
app = typer.Typer(
    name="hftool",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hftool {version(DISTRIBUTION)}")
        raise typer.Exit()


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """BERT, RoBERTa, GPT-2 and T5: load, tokenize, infer, fine-tune, evaluate, save; each one command."""
    if context.invoked_subcommand is None:
        typer.echo(TOUR, nl=False)


for _verb in (finetune, evaluate, predict, classify, tokenize, info, models, tasks, copy, save):
    app.command(name=_verb.NAME)(_verb.command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code. Errors are one line on stderr, or one JSON document with --json."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = app(args=words, prog_name="hftool", standalone_mode=False)
        sys.stdout.flush()
        return int(code or 0)
    except HftoolError as error:
        return _report(error, words)
    except typer.Abort:
        return 130
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader has gone, as in `| head`: no error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _report(StorageError(f"{error.strerror or error}" + (f": '{error.filename}'" if error.filename else "")), words)
    except Exception as error:
        if isinstance(error, typer.TyperException):  # usage errors of the vendored click
            return _report(_usage_error(error), words)
        traceback.print_exc()
        return 1


def _report(error: HftoolError, words: Sequence[str]) -> int:
    if "--json" in words:
        typer.echo(json.dumps(error.as_json(), ensure_ascii=False))
    typer.echo(f"hftool: {error}", err=True)
    return error.code


def _usage_error(error: Any) -> UsageError:
    """typer's four lines as one, with the nearest verb or option."""
    text = " ".join(error.format_message().split()).rstrip(".")
    context = getattr(error, "ctx", None)
    verb = context.info_name if context is not None and context.parent is not None else ""
    otherwise = f"See `hftool {verb} --help`" if verb else "See `hftool --help`"
    option = getattr(error, "option_name", "")
    if option:
        known = [name for p in context.command.params for name in p.opts] if context is not None else []
        dashed = "--" + option.lstrip("-")
        hint = did_you_mean(dashed, known, otherwise=f"{otherwise}; a text that begins with - goes after --")
        return UsageError(f"unknown option '{option}'", hint)
    if text.startswith("No such command"):
        word = text.split("'")[1]
        return UsageError(f"unknown verb '{word}'", did_you_mean(word, app_verbs(), otherwise=otherwise))
    return UsageError(text[:1].lower() + text[1:], otherwise)


def app_verbs() -> list[str]:
    """The names of all verbs."""
    return [command.name for command in app.registered_commands if command.name]


def entry() -> NoReturn:
    """The console script."""
    sys.exit(main())
