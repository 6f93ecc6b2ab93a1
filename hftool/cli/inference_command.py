"""Shared parts of the inference verbs: their options, their inputs (texts, stdin, a file), and one answer for each text."""

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

from hftool.cli.help import GENERATION
from hftool.cli.offline import go_offline
from hftool.cli.options import (
    READING,
    SHARED,
    Column,
    Command,
    Device,
    Encoding,
    Model,
    Precision,
    Shared,
    column_mapping,
    extend_signature,
    fields_of,
    flag_of,
    of_data,
    on_terminal,
    option,
    reading_options,
    texts_or_stdin,
)
from hftool.cli.progress import print_json
from hftool.cli.render import answer_line
from hftool.errors import UsageError
from hftool.progress import notice
from hftool.registry.heads import head_spec
from hftool.sampling import RANGES, SamplingParams

Answer = dict[str, Any]
File = Annotated[str | None, of_data("--file", "FILE", "Run on each row of this file instead.")]
Out = Annotated[
    str | None,
    of_data(
        "--out",
        "FILE",
        "Output file for the rows of --file with their answers: .csv .tsv .jsonl .parquet; or .npy for vectors.",
    ),
]
COMMON: dict[str, tuple[Any, Any]] = {
    "model": (Model, inspect.Parameter.empty),
    "file": (File, None),
    "out": (Out, None),
    "column": (Column, None),
    "encoding": (Encoding, None),
    **READING,
    "device": (Device, "auto"),
    "precision": (Precision, "auto"),
    **SHARED,
}


FLAGS = {"num_beams": "--beams", "num_return_sequences": "--samples"}  # the others are called as their parameter
METAVARS = {"max_new_tokens": "N", "temperature": "X", "top_k": "K", "top_p": "X"}
WITHOUT_DEFAULT = (*METAVARS, "length_penalty")  # their defaults depend on the model or the verb


def _flag(name: str) -> Any:
    """A sampling parameter as an option of the command line."""
    row, flag = RANGES[name], FLAGS.get(name, "--" + name.replace("_", "-"))
    text = row.help + ("" if name in WITHOUT_DEFAULT else f"  [default: {getattr(SamplingParams, name)}]")
    metavar = METAVARS.get(name, "N")
    return Annotated[Any, option(flag, metavar, text, parser=lambda raw: row.parse(flag, raw), rich_help_panel=GENERATION)]


SAMPLING: dict[str, Any] = {
    **{name: _flag(name) for name in RANGES if name != "length_penalty"},
    "stop": Annotated[
        list[str] | None, option("--stop", "TEXT", "End before this text; may be repeated.", rich_help_panel=GENERATION)
    ],
}


@dataclass(frozen=True)
class Common(Shared):
    """The shared options of an inference verb, parsed."""

    model: str = ""
    file: str | None = None
    out: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    encoding: str | None = None
    reading: Mapping[str, Any] = field(default_factory=dict)
    device: str = "auto"
    precision: str = "auto"

    def load(self, head: str | None, progress: Any) -> Any:
        """The model, loaded with `head`."""
        from hftool import workflow

        return workflow.load(self.model, head=head, device=self.device, precision=self.precision, **self.access(progress))


def inference_options(command: Command) -> Command:
    """Add the options that all inference verbs share; they reach the command as `common`."""
    return extend_signature(command, COMMON, "common", _common)


def generation_options(command: Command) -> Command:
    """Add the sampling parameters; those that were given reach the command as the mapping `sampling`."""
    return extend_signature(command, {name: (kind, None) for name, kind in SAMPLING.items()}, "sampling", _given)


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: value for name, value in values.items() if value is not None and value != []}
    return given | ({"stop": tuple(given["stop"])} if "stop" in given else {})


def _common(values: Mapping[str, Any]) -> Common:
    fields = fields_of(values)
    reading = reading_options({name: fields.pop(name) for name in READING})
    return Common(columns=column_mapping(fields.pop("column")), reading=reading, **fields)


def wants_help(context: typer.Context, texts: Sequence[str] | None, common: Common) -> bool:
    """Print the help, and return True, when there is no input on a terminal."""
    if texts or common.file is not None or not on_terminal():
        return False
    typer.echo(context.get_help())
    return True


def ask(
    texts: list[str] | None,
    common: Common,
    *,
    head: str | None,  # None for the model's own, which is then named on stderr
    pair: str | None = None,  # the second text of each
    line: Callable[[str, Answer | None, Any], str] = answer_line,  # of a text, its answer (None if it is empty) and the model
    options: Mapping[str, Any] | None = None,  # fields of the head
    top_k: int | None = None,  # labels of a row, for --file
    adapt: Callable[[Any], Any] = lambda loaded: loaded,  # changes the loaded model, such as its prefix
    document: Callable[[Answer], Answer] = lambda answer: answer,  # the form of an answer in --json
    blanks: bool = False,  # whether an empty text is answered; otherwise its line is empty
) -> None:
    """Answer texts, the lines of stdin, or each row of a file, and print the answers."""
    go_offline(common.offline)
    if common.file is not None:
        return _ask_file(texts, common, head=head, options=options, top_k=top_k, adapt=adapt)
    if common.out is not None:
        raise UsageError("--out goes with --file", "To keep the answers to texts: > FILE")
    check_of_file(common)
    from hftool.data.schema import is_blank
    from hftool.workflow._infer import respond

    given = texts_or_stdin(texts)
    with common.screen() as progress:
        loaded = adapt(common.load(head, progress))
        full = [text for text in given if blanks or not is_blank(text)]
        answered = iter(respond(loaded, head, full, [pair] * len(full) if pair is not None else None, options, once=True))
        answers = [next(answered) if blanks or not is_blank(text) else None for text in given]  # one line for each input
        _name_head(head, common, loaded)  # after the answers: an error is one line
        notify_truncated(answers, loaded, progress)
    if common.as_json:
        _print_json(given, [document(answer) if answer is not None else None for answer in answers], loaded)
        return None
    for text, given_answer in zip(given, answers, strict=True):
        typer.echo(line(text, given_answer, loaded))
    return None


def _print_json(texts: Sequence[str], answers: Sequence[Answer | None], loaded: Any) -> None:
    """Print the texts with their answers as one document."""
    spec = head_spec(loaded.head_config.head)
    documents = [_without_arrays(answer) if answer is not None else {spec.empty_key: None} for answer in answers]
    rows = [{spec.text_key: text, **answer} for text, answer in zip(texts, documents, strict=True)]
    print_json({"answers": rows, "stand_in": loaded.head_config.stand_in_texts})


def _without_arrays(answer: Answer) -> Answer:
    """An answer as JSON, which has no arrays."""
    return {key: value.tolist() if hasattr(value, "tolist") else value for key, value in answer.items()}


def _name_head(head: str | None, common: Common, loaded: Any) -> None:
    """Print the head of the model, where it was left open and the verb is not --quiet."""
    if head is None and not common.quiet:
        spec = head_spec(loaded.head_config.head)
        typer.echo(f"this model is to {spec.purpose or spec.name}", err=True)


def notify_truncated(answers: Sequence[Answer | None], loaded: Any, progress: Any) -> None:
    """Notify how many texts were truncated."""
    truncated = sum("cut" in answer for answer in answers if answer is not None)
    if truncated:
        length = loaded.head_config.max_length
        notice(progress, f"{truncated} of {len(answers)} texts are longer than {length} tokens and were truncated")


def check_of_file(common: Common) -> None:
    """Raise UsageError for an option about reading a file without --file."""
    for flag, given in (
        ("--column", common.columns),
        ("--encoding", common.encoding),
        *((flag_of(name), True) for name in common.reading),
    ):
        if given:
            raise UsageError(f"{flag} goes with --file", "Leave it out, or name the file with --file")


def _ask_file(
    texts: list[str] | None,
    common: Common,
    *,
    head: str | None,
    options: Mapping[str, Any] | None,
    top_k: int | None,
    adapt: Callable[[Any], Any],
) -> None:
    from hftool import workflow

    if texts:
        raise UsageError("--file and TEXT exclude each other", "Leave one of them out")
    if common.as_json and common.out is None:
        raise UsageError("--json prints one document, and --file writes rows", "Add --out FILE, or leave --json out")
    with common.screen() as progress:
        loaded = adapt(common.load(head, progress))
        _name_head(head, common, loaded)
        count = workflow.predict(
            loaded,
            common.file,
            out=common.out,
            head=head,
            column=common.columns,
            options=options,
            top_k=top_k,
            encoding=common.encoding,
            reading=common.reading,
            progress=progress,
            handle=sys.stdout,
        )
    if common.as_json:
        print_json({"out": common.out, "rows": count, "stand_in": loaded.head_config.stand_in_texts})
    elif common.out is not None:
        typer.echo(f"{count} rows in {common.out}")
