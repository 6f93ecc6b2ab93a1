"""From a config to a job that is ready to run: names resolved, rows checked, model loaded, every default chosen.

Nothing is written here. Training, saving a checkpoint and evaluating a run all start from the same job.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hftool import config as knobs
from hftool.config import Config
from hftool.data.columns import check_roles
from hftool.data.label_columns import join_label_columns
from hftool.data.labels import Labels
from hftool.data.readers.formats import recorded_options
from hftool.data.readers.plain_text import check_running_text
from hftool.data.readers.tables import Table
from hftool.data.splits import SplitOptions, Splits, build_splits
from hftool.data.unspaced_scripts import are_words
from hftool.errors import DataError, UsageError
from hftool.heads import get_head, head_class
from hftool.heads.classify.head import balanced_weights, positive_weights
from hftool.heads.long_texts import groups, shorten
from hftool.heads.protocol import Feature
from hftool.machine import choose_device, choose_precision, collection_paused, own_device, share_devices
from hftool.models.class_rows import keep_classes
from hftool.models.config_facts import auto_class_of, family_of, read_model_config
from hftool.models.head_config import SEVERAL, SINGLE, HeadConfig, package_versions
from hftool.models.load import Loaded, load_model
from hftool.models.positions import length_limit
from hftool.models.sentence_transformers import SentenceSettings, length_of
from hftool.models.tokenizer import load_tokenizer
from hftool.processes import local_world_size, world_size
from hftool.progress import Progress, notice, silent
from hftool.registry.families import Family, check_head
from hftool.registry.heads import head_spec
from hftool.registry.models import family_of_row, find_model
from hftool.registry.tasks import Task, find_task
from hftool.storage.checksums import compare_folder
from hftool.storage.run_folder import Run
from hftool.storage.stand_ins import StandIn, read_stand_ins
from hftool.training.adapters import LEARNING_RATE, add_adapters
from hftool.training.batch_size import auto_batch_size, memory_of, model_size
from hftool.workflow._load import known_family, known_sentences
from hftool.workflow.choose_head import infer_head
from hftool.workflow.in_memory import check_given, is_in_memory
from hftool.workflow.resolve import ModelSource, TaskSource, check_model_name, resolve_model, resolve_task
from hftool.workflow.resume_checks import absolute_path, relocate
from hftool.workflow.targets import UNEVEN_METRICS, fit_head, is_uneven, scale_of, with_metric

OF_HEADS = (
    "class_weights",
    "labels",
    "labels_sep",
    "max_new_tokens",
    "prefix",
    "thresholds",
)  # knobs that some heads alone have
TEXT_BLOCK = 128  # tokens of a block of running text: a laptop trains on batches of 32
MOST_NEW_TOKENS = 512  # tokens of a target, unless the config says more
LEAST_MAX_LENGTH = 128  # tokens: texts in inference may be longer than those of training


@dataclass(frozen=True)
class ResolvedInputs:
    """The names of a config, resolved."""

    settings: Config
    head: str
    model_source: ModelSource
    model_config: Any  # the transformers config of the model's folder
    data: TaskSource  # the tables of the task
    sentences: SentenceSettings  # the pooling of embeddings

    def stand_ins(self) -> dict[str, StandIn]:
        """The stand-ins by kind, "model" or "data"."""
        kinds = {"model": self.model_source.stand_in, "data": self.data.stand_in}
        return {kind: stand_in for kind, stand_in in kinds.items() if stand_in}


@dataclass(frozen=True)
class FinetuneJob:
    """A run that is ready to start."""

    settings: Config  # without open defaults
    found: ResolvedInputs  # the names of the config, resolved
    splits: Splits  # the rows of each split, and the labels
    loaded: Loaded  # the model with its new head, its tokenizer and its head config
    encoded: Mapping[str, list[Feature]]  # the features of each split
    adapted: Any = None  # the low-rank adapters that are trained; None for full fine-tuning


def make_settings(
    config: Config | Mapping[str, Any] | None, *, model: str | None, task: str | None, head: str | None = None
) -> Config:
    """The Config of a call, with its device chosen. Raises UsageError."""
    if config is None or isinstance(config, Mapping):
        values = dict(config or {})
        for key, value in values.items():
            knobs.check_key(key)
            raw = os.fspath(value) if isinstance(value, os.PathLike) else value
            values[key] = knobs.parse(key, raw) if key in knobs.KNOBS else knobs.parse_plain(key, raw)
        config = knobs.make_config(values)
        check_roles(config.columns)
    config = dataclasses.replace(config, model=model or config.model, task=task or config.task, head=head or config.head)
    if config.model is None:
        raise UsageError("which model?", "hftool finetune MODEL TASK, such as: hftool finetune bert sst2")
    if config.task is None and config.train is None:
        raise UsageError("which task?", "Name one of `hftool tasks`, a file, or --train FILE")
    return dataclasses.replace(config, device=share_devices(choose_device(config.device), wish=config.device))


def choose_head(settings: Config) -> str | None:
    """The head that the user or the task names, checked against the family; None where columns decide. Raises UsageError."""
    row, head = find_task(settings.task) if settings.task else None, settings.head
    if head is not None:
        head_class(head)
    known = find_model(settings.model or "")
    family = family_of_row(known) if known else None
    if row is None or head is not None:
        if family is not None and head is not None:
            check_head(family, head, model=settings.model or "")
        return head
    return head_of_task(row, family, settings.model or "") if family is not None or not row.also else None


def head_of_task(row: Task, family: Family | None, model: str) -> str:
    """The head of a task, or another that can train on it where the family lacks that one. Raises UsageError."""
    if family is None:
        return row.head
    able = next((head for head in (row.head, *row.also) if head in family.heads), row.head)
    check_head(family, able, model=model)
    return able


def find(settings: Config, rows: Table | None = None, *, offline: bool, fallback: bool, progress: Progress) -> ResolvedInputs:
    """Read the tables and resolve the model: the data first, so that a typo in it costs no download.

    Raises what `resolve_task` and `resolve_model` raise.
    """
    chosen = choose_head(settings)
    model = settings.model or ""
    check_model_name(model)
    data = _read_task(settings, settings.task, rows, offline=offline, fallback=fallback, progress=progress)
    if not (settings.head and head_spec(settings.head).unlabeled):
        check_texts(data)
    known = find_model(model)
    if chosen is None and known is not None:
        chosen = infer_head(data, settings.columns, family_of_row(known))
    model_source = resolve_model(model, head=chosen, offline=offline, fallback=fallback, progress=progress)
    model_config = read_model_config(model_source.folder)
    family = known_family(model_config, progress)
    if chosen is None:
        chosen = head_of_task(data.row, family, model) if data.row else infer_head(data, settings.columns, family)
    check_head(family, chosen, model=model)
    if settings.labels_sep == "":
        raise UsageError("labels_sep is empty", "Such as: --labels-sep '|'")
    usual = Config()
    for name in OF_HEADS:
        if getattr(settings, name) != getattr(usual, name) and name not in head_class(chosen).knobs:
            raise UsageError(f"{name} has no effect on a model that learns to {chosen}", "Leave it out")
    sentences = known_sentences(model_source, progress) if head_spec(chosen).embeds else SentenceSettings()
    if data.row is None and settings.head is None:
        notice(progress, f"head: {chosen}, by the columns; --head decides")
    return ResolvedInputs(dataclasses.replace(settings, head=chosen), chosen, model_source, model_config, data, sentences)


def check_texts(data: TaskSource) -> None:
    """Raise DataError for a table, tags or labels in a file that is named as text."""
    for table in data.tables.values():
        if table.lines:
            check_running_text((row["text"] for row in table.rows), table.path)


def find_rows_again(run: Run, *, offline: bool, progress: Progress) -> tuple[Config, TaskSource]:
    """The data of a run: the same stand-in as then, even if the real data is available by now.

    A changed data file is a notice. Raises what `resolve_task` raises.
    """
    settings, known = knobs.make_config(knobs.read_settings(str(run.config))), run.read_manifest()
    settings = relocate(settings, settings, known, run.path, progress)
    stand_in = read_stand_ins(known.get("stand_in", {})).get("data")
    task = stand_in.used if stand_in else settings.task
    for path in compare_folder(Path(), known.get("data", {})).changed:
        notice(progress, f"{path} has changed since the run")
    return settings, _read_task(settings, task, None, offline=offline, fallback=False, progress=progress)


def _read_task(
    settings: Config, task: str | None, rows: Table | None, *, offline: bool, fallback: bool, progress: Progress
) -> TaskSource:
    """The tables of a task and of the files of a config. rows: those of a task in memory. Raises what `resolve_task` raises."""
    word = None if is_in_memory(task) else task
    files = {split: path for split in knobs.FILES if (path := getattr(settings, split)) is not None}
    data = resolve_task(word, files, reading=recorded_options(settings), offline=offline, fallback=fallback, progress=progress)
    tables = {"train": check_given(rows), **data.tables} if word != task else data.tables
    return with_label_columns(dataclasses.replace(data, tables=tables), settings.columns)


def with_label_columns(data: TaskSource, columns: Mapping[str, str]) -> TaskSource:
    """The tables with one column of labels, where the role `label` has several. Raises what `join_label_columns` raises."""
    label = columns.get("label", "")
    tables = {name: join_label_columns(table, label) for name, table in data.tables.items()}
    return dataclasses.replace(data, tables=tables)


def split(settings: Config, data: TaskSource, head: str, *, labels: Labels | None = None) -> Splits:
    """The splits of a run from its tables, for a head.

    labels: those of an existing model; by default found in train. Raises DataError, UsageError.
    """
    row = data.row
    if "train" not in data.tables:
        raise DataError(f"the task '{settings.task}' has no train split", "Name one with --train FILE")
    kind = head_class(head)
    choices = SplitOptions(
        row_schemas=kind.row_schemas,
        numbers=True if kind.numbers or (row is not None and row.numbers) else None,
        columns=settings.columns,
        known_columns=dict(row.columns) if row else {},
        known_labels=row.labels if row else (),
        ordered_labels=settings.labels,
        limit=settings.limit,
        seed=settings.seed,
        validation_share=settings.validation_share,
        allow_leak=settings.allow_leak,
        labels=labels,
        max_rejected=settings.max_rejected,
        labels_sep=settings.labels_sep or "",
    )
    return build_splits(data.tables, choices)


def prepare(found: ResolvedInputs, splits: Splits, progress: Progress = silent) -> FinetuneJob:
    """Load the model with a new head for these labels, encode the splits, and choose the defaults of the config.

    Raises what `load_model` raises, UsageError (device, family), DataError.
    """
    settings, model_source, device = found.settings, found.model_source, own_device(found.settings.device)
    model_config = found.model_config
    family = family_of(model_config)
    tokenizer = load_tokenizer(model_source.folder, model_config)
    limit = length_limit(tokenizer, model_config)
    if head_spec(found.head).embeds and settings.max_length is None:
        limit = min(limit, length_of(model_source.folder) or limit)
    plain = set(splits.columns) == {"text"}  # running text is packed into blocks
    length = min(settings.max_length or (TEXT_BLOCK if plain else limit), limit)
    most = _most_tokens(tokenizer, splits, settings.max_new_tokens, limit)
    head_config = dataclasses.replace(_new_head_config(found, splits, family), max_length=length, max_new_tokens=most)
    head_config = with_metric(head_config, get_head(tokenizer, head_config, model_config).metrics(), settings.metric)
    encoded = _encode(tokenizer, head_config, model_config, splits)
    if not encoded["train"]:
        raise DataError(f"{splits.train.path} has no text to train on", "Raise --limit, or add rows")
    if settings.max_length is None:
        longest = max(feature.length for feature in encoded["train"])
        head_config = dataclasses.replace(head_config, max_length=min(limit, max(longest, LEAST_MAX_LENGTH)))
        encoded = _encode(tokenizer, head_config, model_config, splits, known=encoded)
    auto_class = auto_class_of(found.head, model_config)
    folder = model_source.folder
    loaded = load_model(
        folder, auto_class, head_config=head_config, new_head=True, device=device, config=model_config, tokenizer=tokenizer
    )
    loaded = keep_classes(loaded, folder, model_config, in_order=bool(settings.labels))
    resolved = dataclasses.replace(
        settings,
        batch_size=settings.batch_size or _batch_size(settings, loaded.model, device, encoded["train"], progress),
        lr=settings.lr or (LEARNING_RATE if settings.lora else family.learning_rate),
        max_length=head_config.max_length,
        max_new_tokens=head_config.max_new_tokens or None,
        prefix=head_config.prefix or settings.prefix,
        precision=choose_precision(settings.precision, device, family.safe_dtypes),
        columns=dict(splits.columns),
    )
    fit_head(loaded, model_source.folder, encoded["train"], progress)
    adapted = add_adapters(loaded.model, settings.lora) if settings.lora else None
    return FinetuneJob(_with_absolute_paths(resolved, model_source, found.data), found, splits, loaded, encoded, adapted)


def _batch_size(settings: Config, model: Any, device: str, features: Sequence[Feature], progress: Progress) -> int:
    """The batch size of `--batch-size auto`, with a notice. Raises UsageError where several machines could choose several."""
    if world_size() != local_world_size():
        raise UsageError("--batch-size auto works on one machine, and this run has several", "Give a number")
    lengths = [feature.length for feature in features]
    found = auto_batch_size(
        model_size(model),
        lengths,
        memory=memory_of(device, local_world_size()),
        window=settings.sort_steps,
        epochs=settings.epochs,
        max_steps=settings.max_steps,
        others=settings.accumulate * world_size(),
    )
    notice(progress, f"batch size {found}, chosen for rows of up to {max(lengths)} tokens; --batch-size N decides")
    return found


def _new_head_config(found: ResolvedInputs, splits: Splits, family: Family) -> HeadConfig:
    settings, model_source, row, train = found.settings, found.model_source, found.data.row, splits.train.rows
    classes = splits.labels.names if not splits.labels.range else ()
    for knob in ("class_weights", "labels"):
        if splits.labels.range and getattr(settings, knob) != getattr(Config(), knob):
            raise UsageError(f"{knob} has no effect on continuous labels (regression)", "Leave it out")
    if row and settings.labels and "f1" in row.measures:
        raise UsageError(f"the order of the labels of {row.name} is fixed: its F1 is that of the second", "Leave labels out")
    several = splits.labels.several
    if settings.thresholds != Config().thresholds and not several:
        raise UsageError("thresholds has no effect on one label or number a row", "Leave it out")
    balanced = settings.class_weights == "balanced" and "label" in splits.columns and classes
    weights = positive_weights if several else balanced_weights
    usual = (row.prefix if row and family.prefixed else "") or found.sentences.prefix
    prefix = settings.prefix if settings.prefix is not None else usual
    measures = row.measures if row and row.head == found.head else ()
    return HeadConfig(
        head=found.head,
        task=row.name if row else str(settings.task or settings.train),
        columns=splits.columns,
        labels=classes,
        label_values=splits.labels.values if classes else (),
        label_range=splits.labels.range,
        label_scale=scale_of(train) if splits.labels.range and not head_class(found.head).numbers else (),
        problem_type=_problem_type(splits),
        prefix=prefix,
        base=model_source.base,
        revision=model_source.revision,
        labels_sep=splits.labels.separator,
        class_weights=weights([row["label"] for row in train], len(classes)) if balanced else (),
        measures=measures or (UNEVEN_METRICS if is_uneven(splits) else ()),
        pooling=found.sentences.pooling,
        normalize=found.sentences.normalize,
        pool_prefix=found.sentences.pool_prefix,
        split_units=not are_words(row["tokens"] for row in train if "tokens" in row),
        stand_in=found.stand_ins(),
        versions=package_versions(),
    )


def _problem_type(splits: Splits) -> str:
    if splits.labels.range:
        return "regression"
    if splits.labels.several:
        return SEVERAL
    unanswerable = any(not row["answers"]["text"] for row in splits.train.rows if "answers" in row)
    return "answer_or_none" if unanswerable else SINGLE


def _most_tokens(tokenizer: Any, splits: Splits, given: int | None, limit: int) -> int:
    """The maximum number of generated tokens; 0 where nothing is generated.

    It is that of the config, else of the longest target in train, at most MOST_NEW_TOKENS, with half of the positions left to a
    prompt.
    """
    texts = [text for row in splits.train.rows if (text := row.get("target", row.get("completion"))) is not None]
    if not texts:
        return given or 0
    room = limit // 2 if "completion" in splits.columns else limit
    texts = [shorten(tokenizer, text, MOST_NEW_TOKENS)[0] for text in texts]
    encoded = (tokenizer(text_target=texts[some], add_special_tokens=True, verbose=False) for some in groups(texts))
    return given or min(max(len(ids) for some in encoded for ids in some["input_ids"]), MOST_NEW_TOKENS, room)


@collection_paused()
def _encode(
    tokenizer: Any,
    head_config: HeadConfig,
    model_config: Any,
    splits: Splits,
    known: Mapping[str, list[Feature]] = MappingProxyType({}),
) -> dict[str, list[Feature]]:
    """The features of each split. known: those of a larger max_length, which are kept where none is longer than it is now."""
    head = get_head(tokenizer, head_config, model_config)
    parts = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    fits = {name for name, features in known.items() if all(f.length <= head_config.max_length for f in features)}
    return {name: known[name] if name in fits else head.encode(part.rows) for name, part in parts.items() if part is not None}


def _with_absolute_paths(settings: Config, model_source: ModelSource, data: TaskSource) -> Config:
    """Absolute paths and pinned revisions, so that the config of a run works from any folder and stays reproducible."""
    pinned = f"{model_source.base}@{model_source.revision}" if model_source.revision else absolute_path(settings.model)
    return dataclasses.replace(
        settings,
        model=settings.model if model_source.row is not None else pinned,
        task=settings.task if find_task(settings.task or "") else data.pinned or absolute_path(settings.task),
        train=absolute_path(settings.train),
        validation=absolute_path(settings.validation),
        test=absolute_path(settings.test),
    )
