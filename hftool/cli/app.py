"""The command `hftool`: its verbs, error reporting and exit codes."""

import contextlib
import errno
import importlib
import io
import os
import signal
import sys
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import typer

from hftool import DISTRIBUTION
from hftool.cli.help import Page, Tour
from hftool.cli.options import with_lock
from hftool.cli.progress import print_json
from hftool.config import TRAINER_NAMES
from hftool.errors import (
    HftoolError,
    Interrupted,
    StorageError,
    UsageError,
    as_line,
    did_you_mean,
    nearest,
    without_credentials,
)
from hftool.processes import become_worker, rank, rank0_has_exited, worker_exit_code

TOUR = """hftool: BERT, RoBERTa, GPT-2 and T5, each job one command.

  hftool finetune bert sst2                      train, evaluate and save; prints the next command
  hftool classify RUN "A warm, funny film."      run inference with it
  hftool generate gpt2 "Once upon a time"        continue a text; also fill, tag, answer, summarize, translate, embed
  hftool evaluate RUN                            metrics, by class, and the wrong rows
  hftool predict RUN reviews.csv --out out.csv   a file, row by row
  hftool models, hftool tasks                    what is known by name
  hftool copy bert                               the recipe as a file of your own

Any CSV, TSV, JSON Lines or Parquet file is a task; any Hub id or folder is a model.
`hftool VERB --help` lists the options of a verb, `hftool --help` all verbs.
"""

# rich doubles the time of --help, and does not colour pipes: https://typer.tiangolo.com/tutorial/commands/help/
app = typer.Typer(
    name="hftool",
    cls=Tour,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # a tenth of the time of --help

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


NAMES = (  # in the order of the help page
    "finetune resume evaluate predict suggest infer classify tag answer summarize translate generate fill embed similar"
    " tokenize info models tasks copy export serve deploy save verify push prefetch bench doctor"
)
VERBS = NAMES.split()
for _name in VERBS:
    _verb = importlib.import_module(f"hftool.cli.verbs.{_name}")
    app.command(name=_verb.NAME, cls=Page)(with_lock(_verb.command))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code. Errors are one line on stderr, and one JSON document with --json."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):  # a character that the encoding lacks is no error
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = int(app(args=words, prog_name="hftool", standalone_mode=False, obj=words) or 0)
        if sys.stdout is not None:
            sys.stdout.flush()
        if code == 128 + signal.SIGINT:  # typer's code for KeyboardInterrupt
            raise Interrupted("interrupted", signal_number=signal.SIGINT)
        return 2 if code == 1 else code  # 1 is typer's code for a shell without completion
    except HftoolError as error:
        return _report(error, words)
    except SystemExit as error:  # from typer, after completion and after a closed pipe
        return _closed_pipe() if _is_closed_pipe(error.__context__) else int(error.code or 0)
    except OSError as error:
        if _is_closed_pipe(error):
            return _closed_pipe()
        return _report(StorageError(f"{error.strerror or error}" + (f": '{error.filename}'" if error.filename else "")), words)
    except Exception as error:
        if isinstance(error, typer.TyperException):  # usage errors of the vendored click
            return _report(_usage_error(error, words), words)
        return _bug(error, words)


def _is_closed_pipe(error: BaseException | None) -> bool:
    return isinstance(error, OSError) and error.errno == errno.EPIPE


def _closed_pipe() -> int:
    """The reader has closed the pipe, as `| head` does: no error, and nothing is flushed at exit."""
    sys.stdout = sys.__stdout__  # typer has wrapped it
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _wants_json(words: Sequence[str]) -> bool:
    options = list(words[: words.index("--")] if "--" in words else words)
    return "--json" in options


def _report(error: HftoolError, words: Sequence[str]) -> int:
    try:
        if _wants_json(words):
            print_json(error.as_json())
    except OSError:  # stdout may be the very error: the line on stderr still reports it
        _closed_pipe()
    if rank() == 0:
        typer.echo(f"hftool: {as_line(str(error))}", err=True)
    return error.code


def _bug(error: Exception, words: Sequence[str]) -> int:
    """A bug: the only case with a traceback. A worker whose rank 0 has exited prints nothing."""
    import traceback

    if rank0_has_exited():
        return 1
    typer.echo(without_credentials("".join(traceback.format_exception(error))), err=True, nl=False)
    if _wants_json(words):
        hint = "This is a bug of hftool: please report it with the lines on stderr"
        print_json({"code": 1, "kind": "bug", "detail": without_credentials(f"{type(error).__name__}: {error}"), "hint": hint})
    return 1


def _usage_error(error: Any, words: Sequence[str]) -> UsageError:
    """The four lines of typer as one, with the nearest verb or option."""
    text = " ".join(error.format_message().split()).rstrip(".")
    verb = next((word for word in words if not word.startswith("-")), "")
    known = verb in app_verbs()
    otherwise = f"See `hftool {verb} --help`" if known else "See `hftool --help`"
    option = getattr(error, "option_name", "")
    if option and hasattr(error, "possibilities"):
        return _unknown_option(option, error.ctx, verb, words)
    if option:
        needs = "takes no value" if any(word.startswith(f"{option}=") for word in words) else "needs a value"
        return UsageError(f"the option '{option}' {needs}", otherwise)
    if not known:
        return UsageError(f"unknown verb '{verb}'", did_you_mean(verb, app_verbs(), otherwise=otherwise))
    return UsageError(text[:1].lower() + text[1:], otherwise)


def _unknown_option(option: str, context: Any, verb: str, words: Sequence[str]) -> UsageError:
    """The error for an unknown option; for a verb that takes texts, '-5 degrees' is more likely a text."""
    if not option.startswith("--") and any(param.name in ("texts", "first") for param in context.command.params):
        text = next((word for word in words if word.startswith("-") and option[1:] in word), option)
        what = f"unknown option '{option}'"
        return UsageError(what, f"A text that begins with - goes after --: hftool {verb} MODEL -- '{text}'")
    names = [name.lstrip("-") for param in context.command.get_params(context) for name in param.opts if name[:2] == "--"]
    typed = option.lstrip("-")
    ours = TRAINER_NAMES.get(typed.replace("-", "_"), typed).replace("_", "-")
    near = nearest(ours, names)
    otherwise = f"See `hftool {verb} --help`" if verb in app_verbs() else "See `hftool --help`"
    return UsageError(f"unknown option '{option}'", f"Did you mean '--{near}'?" if near else otherwise)


def app_verbs() -> list[str]:
    """The names of all verbs."""
    return [command.name for command in app.registered_commands if command.name]


def entry() -> NoReturn:
    """The console script. Pipes on Windows are set to UTF-8: their code page fails at characters such as 好."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and not stream.isatty() and "PYTHONIOENCODING" not in os.environ:
            stream.reconfigure(encoding="utf-8")
    become_worker()
    code = worker_exit_code(main())
    if "hftool.server.process" in sys.modules:
        # the threads of the server have ended or are inside a batch, but those of libraries may be at work: at a normal exit
        # the process then aborts ("terminate called without an active exception"). stderr is flushed with each line
        with contextlib.suppress(OSError, ValueError, AttributeError):
            sys.stdout.flush()
        os._exit(code)
    sys.exit(code)
