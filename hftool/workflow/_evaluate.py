"""evaluate: measure a model on labelled rows, or on running text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hftool.config import FILES, Knob, parse_as
from hftool.data.decimal_commas import parse_decimal_commas
from hftool.data.labels import Labels, check_separator, own_names
from hftool.data.passages import merge_lines
from hftool.data.readers.formats import AS_FOUND, ReadOptions, read_options
from hftool.data.readers.tables import Table
from hftool.data.rows import SplitRows, sample_indices
from hftool.data.rows import map_rows as prepare_rows
from hftool.data.splits import has_targets
from hftool.data.writers import output_format, write_rows
from hftool.errors import DataError, UsageError
from hftool.evaluation.report import error_rows, make_report
from hftool.heads import head_class
from hftool.models import HeadConfig, Loaded
from hftool.progress import Progress, notice, silent
from hftool.storage.run_folder import check_output
from hftool.storage.stand_ins import read_stand_ins
from hftool.workflow import plan
from hftool.workflow._load import check_head_by_name, load_resolved, make_predictor, trained
from hftool.workflow.arguments import Model, Task, model_name, task_name
from hftool.workflow.choose_head import columns_to_measure
from hftool.workflow.in_memory import PATH, rows_table
from hftool.workflow.metric_module import load_metric, measure_with
from hftool.workflow.resolve import ModelSource, TaskSource, resolve_model, resolve_task

SPLIT = Knob(str, "", choices=FILES)


@dataclass(frozen=True)
class Report:
    """An evaluation: its split, the metrics with their counts, and the wrongly predicted rows."""

    split: str
    metrics: Mapping[str, Any]
    errors: Sequence[Mapping[str, Any]]


def evaluate(
    model: Model,
    task: Task | None = None,
    *,
    split: str | None = None,
    column: Mapping[str, str] | None = None,
    head: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    device: str = "auto",
    encoding: str | None = None,
    reading: Mapping[str, Any] | None = None,
    labels_sep: str | None = None,
    errors: str | Path | None = None,
    metric: str | None = None,
    trust_metric: str | None = None,
    offline: bool = False,
    fallback: bool = False,
    progress: Progress = silent,
) -> Report:
    """Measure a model on labelled rows, or on running text. Raises what `load` raises, DataError and UsageError.

    Args:
        model: A name, a Hub id, a model or run folder, a Run, or the Result of `finetune`.
        task: A task, a file, or rows in memory; by default the data of the run.
        split: train, validation or test; by default test if it has labels, else validation.
        column: Role -> column, such as {"text": "review"}.
        head: By default what the model was trained for.
        limit: Evaluate on a random sample of so many rows.
        seed: Random seed of the sample.
        device: auto, cpu, cuda, cuda:1 or mps.
        encoding: Encoding of a text file; by default UTF-8.
        reading: Other fields of `hftool.data.readers.formats.ReadOptions`, such as {"format": "csv"}.
        labels_sep: Separator of several labels in one cell; by default as the model was trained.
        errors: File for the wrongly predicted rows, worst first; by default errors.jsonl in the run folder.
        metric: A module of `evaluate`, `module` in the metrics: a script, or a name on the Hub, repeated in trust_metric.
        trust_metric: The name of a metric on the Hub again, whose code may then run.
        offline: Open no socket.
        fallback: Whether a stand-in may be used.
        progress: Receives events and notices.
    """
    model, (rows, word), how = model_name(model), _named(task), read_options(encoding, reading)
    _check_words(model, word, split, errors, head, has_options=bool(column or labels_sep is not None or how != AS_FOUND))
    module = None if metric is None else load_metric(metric, trusted=trust_metric, offline=offline)
    model_source, loaded = _loaded(model, head, device, offline=offline, fallback=fallback, progress=progress)
    loaded = _with_separator(loaded, labels_sep)
    given = _Given(word, rows, how, split, column or {}, head, labels_sep or "")
    loaded, part = _labelled_rows(given, model, model_source, loaded, offline=offline, progress=progress)
    target = _errors_file(errors, model_source, loaded)
    return _with_errors(_measured(part, loaded, module, metric, limit, seed), target, progress)


@dataclass(frozen=True)
class _Given:
    """The rows to measure on, as the user names them: a task or rows in memory, and how they are read."""

    word: str | None
    rows: Table | None
    how: ReadOptions
    split: str | None
    column: Mapping[str, str]
    head: str | None
    separator: str


def _labelled_rows(
    given: _Given, model: str, model_source: ModelSource, loaded: Loaded, *, offline: bool, progress: Progress
) -> tuple[Loaded, SplitRows]:
    """The model as it is measured, and the rows of the run or of a task."""
    word, column = given.word, given.column
    if word is None:
        part = split_of_run(model_source, given.split, model, loaded.head_config, offline=offline, progress=progress)
        return loaded, part
    how = _with_columns(given.how, loaded, column)
    data = _data_of(model_source, word, given.rows, how, offline=offline, progress=progress)
    data = plan.with_label_columns(data, {**loaded.head_config.columns, **column})
    return _task_rows(data, word, given.split, loaded, column, given.head, given.separator, progress)


def _with_separator(loaded: Loaded, separator: str | None) -> Loaded:
    """The model with the separator of several labels, if one is given. Raises UsageError for one with one label a row."""
    if separator is None:
        return loaded
    if not separator:
        raise UsageError("labels_sep is empty", "Such as: --labels-sep '|'")
    if not loaded.head_config.has_several:
        raise UsageError("labels_sep has no effect on a model with one label or number a row", "Leave it out")
    return replace(loaded, head_config=replace(loaded.head_config, labels_sep=separator))


def _with_columns(how: ReadOptions, loaded: Loaded, column: Mapping[str, str] | None) -> ReadOptions:
    """The options of reading with the columns of the model and the given ones."""
    return how.for_columns(loaded.head_config.columns, column or {})


def _named(task: Task | None) -> tuple[Table | None, str | None]:
    """The rows in memory, if there are any, and the name of the task; None for the data of the run."""
    rows = rows_table(task)
    return rows, PATH if rows else None if task is None else task_name(task)


def _loaded(
    model: str, head: str | None, device: str, *, offline: bool, fallback: bool, progress: Progress
) -> tuple[ModelSource, Loaded]:
    """The resolved model, and the trained model in it."""
    model_source = resolve_model(model, head=head, offline=offline, fallback=fallback, progress=progress)
    return model_source, trained(load_resolved(model_source, head=head, device=device, progress=progress), None)


def _task_rows(
    data: TaskSource,
    word: str,
    split: str | None,
    loaded: Loaded,
    given: Mapping[str, str],
    head: str | None,
    separator: str,
    progress: Progress,
) -> tuple[Loaded, SplitRows]:
    """The model as it is measured on a task, and the rows of the task."""
    loaded = _with_task(loaded, data, head)
    config, chosen = loaded.head_config, head is not None
    return loaded, rows_to_measure(data, word, split, config, given, chosen=chosen, separator=separator, progress=progress)


def _check_words(
    model: str, task: str | None, split: str | None, errors: str | Path | None, head: str | None, *, has_options: bool
) -> None:
    """Raise UsageError or OutputUnavailable before anything is read. has_options: whether it is said how to read rows."""
    if task is None and has_options:
        raise UsageError("columns, an encoding and a format go with a task or a file", f"hftool evaluate {model} FILE ...")
    if split is not None:
        parse_as(SPLIT, split, name="split")
    if errors is not None:
        output_format(errors)
        check_output(Path(errors))
    if head is not None:
        check_head_by_name(model, head)


def _data_of(
    model_source: ModelSource, word: str, rows: Table | None, reading: ReadOptions, *, offline: bool, progress: Progress
) -> TaskSource:
    """The rows in memory, or those of a task; of a run's own task its stand-in, where it had one."""
    used = None if rows else _stand_in_of(model_source, word)
    data = resolve_task(used, {}, reading=reading, offline=offline, fallback=False, progress=progress)
    return replace(data, tables={"train": rows}) if rows else data


def _errors_file(errors: str | Path | None, model_source: ModelSource, loaded: Loaded) -> Path | None:
    """The file for wrongly predicted rows; None for a head that has none. Raises UsageError when one is named all the same."""
    if make_predictor(loaded).head.metrics().answers:
        return Path(errors) if errors is not None else model_source.run.path / "errors.jsonl" if model_source.run else None
    if errors is not None:
        raise UsageError("a language model has no wrongly predicted rows", "Leave --out out")
    return None


def _with_errors(report: Report, target: Path | None, progress: Progress) -> Report:
    """The report, after its wrong rows were written to the target, if any."""
    if target is not None:
        write_rows(target, (dict(row) for row in report.errors), overwrite=True)
        notice(progress, f"{len(report.errors)} rows with errors, the worst first: {target}")
    return report


def _with_task(loaded: Loaded, data: TaskSource, head: str | None) -> Loaded:
    """The model with the metrics and the prefix of the task, where it was trained on none.

    Raises UsageError for a task of another head, DataError for a table that is named as text, unless the user chose the head.
    """
    head_config, row = loaded.head_config, data.row
    if head is None:
        plan.check_texts(data)
    if row is None:
        return loaded
    if head is None and head_config.head not in (row.head, *row.also):
        what = f"'{row.name}' is a task to {row.head}, and this model is to {head_config.head}"
        raise UsageError(what, f"Fine-tune it: hftool finetune MODEL {row.name}; or choose with --head {head_config.head}")
    if head_config.task or row.head != head_config.head:
        return loaded
    prefix = row.prefix if loaded.family.prefixed else head_config.prefix
    return replace(loaded, head_config=replace(head_config, measures=row.measures, prefix=prefix))


def _measured(part: SplitRows, loaded: Loaded, module: Any, name: str | None, limit: int | None, seed: int) -> Report:
    part = part.keep(sample_indices(len(part.rows), limit, seed))
    predictor = make_predictor(replace(with_label_range(part, loaded), precision="fp32"), packed=True)
    metrics, labels = predictor.head.metrics(), loaded.head_config.labels
    answers, loss = predictor.score(predictor.head.encode(part.rows))
    measured = make_report(answers, part.rows, metrics, labels, loss)
    if module is not None:
        measured["module"] = measure_with(module, str(name), answers, part.rows, metrics, labels)
    wrong = error_rows(answers, part.rows, part.numbers, metrics, labels)
    return Report(part.split, {**measured, "stand_in": loaded.head_config.stand_in_texts}, wrong)


def with_label_range(part: SplitRows, loaded: Loaded) -> Loaded:
    """The model with the range of the labels, where it gives scores and was trained on none."""
    if not head_class(loaded.head_config.head).numbers or loaded.head_config.label_range:
        return loaded
    labels = [float(row["label"]) for row in part.rows]
    return replace(loaded, head_config=replace(loaded.head_config, label_range=(min(labels), max(labels))))


def split_of_run(
    model_source: ModelSource, on: str | None, model: str, head_config: HeadConfig, *, offline: bool, progress: Progress
) -> SplitRows:
    """A split of the data of a run, split as in training, with the labels as the head config names them."""
    if model_source.run is None:
        raise UsageError(f"'{model}' is no run folder, so there is no data to measure it on", "Name a task or a file")
    settings, data = plan.find_rows_again(model_source.run, offline=offline, progress=progress)
    splits = plan.split(settings, data, head_config.head, labels=_labels_of(head_config, {}))
    return splits.get(on or ("test" if splits.test is not None else "validation"))


def _stand_in_of(model_source: ModelSource, task: str) -> str:
    """The task itself, or its stand-in in the run."""
    recorded = model_source.run.read_manifest().get("stand_in", {}) if model_source.run else {}
    stand_in = read_stand_ins(recorded).get("data")
    return stand_in.used if stand_in and stand_in.requested == task else task


def rows_to_measure(
    data: TaskSource,
    task: str,
    on: str | None,
    head_config: HeadConfig,
    given: Mapping[str, str],
    *,
    chosen: bool = False,
    separator: str = "",
    progress: Progress = silent,
) -> SplitRows:
    """The split to measure, with the labels as the head config names them.

    chosen: whether the user named the head; separator: that of several labels in a cell, which one of them must have.
    """
    row = data.row
    is_file = row is None and (task == PATH or Path(task).is_file())
    if is_file and on is not None:
        raise UsageError(f"'{task}' is one file and has no splits", "Leave --split out")
    for name in [on] if on else ["test", "validation", "train"]:
        table = data.tables.get(name)
        if table is None:
            continue
        shape, mapping = columns_to_measure(table, data, head_config, given, chosen=chosen, progress=progress)
        if all(has_targets(table, mapping[role]) for role in shape.targets):
            names = own_names(table, mapping.get("label", mapping.get("tags", "")), row)
            table = merge_lines(table) if table.lines and not shape.targets else table
            labels = _labels_of(head_config, names)
            if separator:
                check_separator(table, mapping["label"], separator)
            if labels.range and "label" in mapping:
                table, note = parse_decimal_commas(table, mapping["label"])
                if note:
                    notice(progress, note)
            part = prepare_rows(table, mapping, labels)
            part = replace(part, split=Path(task).name) if is_file else part
            _notify_unused_columns(part, progress)
            return part
        if is_file:  # there is no other table
            role = next(role for role in shape.targets if not has_targets(table, mapping[role]))
            what = f"{task} has nothing to measure by in column '{mapping[role]}'"
            raise DataError(what, f"Fill it, or name another with --column {role}=NAME")
    there = ", ".join(data.tables) or "nothing"
    raise DataError(f"there is no {on or 'labelled'} split to measure; there is {there}")


def _notify_unused_columns(part: SplitRows, progress: Progress) -> None:
    for sentence in part.sentences():
        notice(progress, sentence)
    if part.rejected:
        first, total = part.rejected[0], len(part.rejected) + len(part.rows)
        which = f"{len(part.rejected)} of {total} rows of {part.path} cannot be used"
        notice(progress, f"{which}; the first is line {first.row}: {first.reason}")


def _labels_of(head_config: HeadConfig, names: Mapping[str, str]) -> Labels:
    """The labels of the model, with their values in this data: matched by name where the data has names, never by order."""
    by_name = {name.casefold(): value for value, name in names.items()}
    values = head_config.label_values or head_config.labels
    found = tuple(by_name.get(name.casefold(), value) for name, value in zip(head_config.labels, values, strict=True))
    is_number = head_config.problem_type == "regression" or head_class(head_config.head).numbers
    numbers = head_config.label_range or ((0.0, 1.0) if is_number else ())
    several, separator = head_config.has_several, head_config.labels_sep
    return Labels(found, head_config.labels, "as the model names them", numbers, several=several, separator=separator)
