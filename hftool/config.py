"""The settings of a training run, declared once: name, type, default, range and help text.

Flags, `--set key=value`, `--config file.yaml`, the Python functions and `config.yaml` in a run folder all use this table, and
refuse unknown keys. A flag overrides `--set`, and `--set` the file.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hftool.errors import ConfigError, HftoolError, InputMissing, UsageError, brief, did_you_mean, plain_number
from hftool.registry.formats import AUTO, INCLUDE, REJECT, format_names
from hftool.registry.heads import deciding_metrics

Value = int | float | str | bool | None


@dataclass(frozen=True)
class Knob:
    """The type and range of one setting."""

    kind: type  # int, float, str or bool
    help: str
    least: float = -math.inf  # least, most: the range, inclusive
    most: float = math.inf
    choices: tuple[str, ...] | Callable[[], tuple[str, ...]] = ()  # the allowed texts, or what gives them; empty for any
    optional: bool = False  # whether None is allowed
    word: str = ""  # a text that means None where None is not allowed otherwise
    verbatim: bool = False  # whether leading and trailing white space is kept

    @property
    def allowed(self) -> tuple[str, ...]:
        """The allowed texts; empty for any."""
        return self.choices() if callable(self.choices) else self.choices

    def range_text(self) -> str:
        """The allowed values, for help texts and errors."""
        if self.allowed:
            return "one of " + ", ".join(self.allowed)
        if self.kind is bool:
            return "true or false"
        noun = {int: "a whole number", float: "a number", str: "a text"}[self.kind]
        if self.least > -math.inf and self.most < math.inf:
            return f"{noun} from {plain_number(self.least)} to {plain_number(self.most)}"
        return f"{noun} of at least {plain_number(self.least)}" if self.least > -math.inf else noun


def knob(default: Value, help: str, *, kind: type | None = None, **bounds: Any) -> Any:
    """A dataclass field with a Knob in its metadata, `bounds` among its fields; a default of None needs the `kind`."""
    row = Knob(kind or type(default), help, optional=default is None, **bounds)
    return field(default=default, metadata={"knob": row})


OPTIMIZERS = ("adamw", "adam", "sgd", "adafactor")
SCHEDULES = ("linear", "cosine", "constant")
PRECISIONS = ("auto", "fp32", "bf16")
PARTIAL = (REJECT, INCLUDE)
WEIGHTINGS = ("none", "balanced")
THRESHOLDS = ("0.5", "f1")


@dataclass(frozen=True)
class Config:
    """The configuration of a run: the model, the task and its files, the head, and the settings.

    `None` means a default from the family, the data or the machine, which is stored before the run starts.
    """

    model: str | None = None
    task: str | None = None
    head: str | None = None
    train: str | None = None
    validation: str | None = None
    test: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    column_names: str | None = None  # of tables without a header, separated by commas

    epochs: float = knob(3.0, "passes over the training rows", least=0.001, most=1000)
    max_steps: int | None = knob(None, "maximum number of steps; overrides epochs", kind=int, least=1)
    batch_size: int | None = knob(
        32,
        "batch size per device, in rows; auto: the largest that fits into memory, without a change of the learning rate",
        least=1,
        most=65536,
        word="auto",
    )
    accumulate: int = knob(1, "gradient accumulation: batches per step", least=1, most=65536)
    sort_steps: int = knob(50, "sort the rows of N steps by length, for less padding; 1: shuffle only", least=1, most=10**6)
    lr: float | None = knob(None, "learning rate; by default that of the family", kind=float, least=1e-9, most=10)
    lora: int = knob(0, "rank of LoRA adapters, trained instead of the body's weights; 0 for none", least=0, most=1024)
    optimizer: str = knob("adamw", "optimizer", choices=OPTIMIZERS)
    schedule: str = knob("linear", "learning rate schedule", choices=SCHEDULES)
    warmup: float = knob(0.06, "share of the steps for learning rate warmup", least=0, most=1)
    weight_decay: float = knob(0.01, "weight decay, not applied to biases and norms", least=0, most=1)
    clip: float = knob(1.0, "maximum gradient norm; 0 turns clipping off", least=0, most=1e6)
    max_length: int | None = knob(
        None, "maximum input length in tokens; by default from the data; 128 for running text", kind=int, least=2, most=10**6
    )
    max_new_tokens: int | None = knob(
        None, "maximum length of generated texts in tokens; by default from the data", kind=int, least=1, most=100_000
    )
    prefix: str | None = knob(None, "text put before each input; by default T5's prefix for the task", kind=str, verbatim=True)
    limit: int | None = knob(None, "use a random sample of N rows of each split", kind=int, least=1)
    seed: int = knob(0, "random seed", least=0, most=2**32 - 1)
    eval_steps: int | None = knob(None, "evaluate every N steps; by default after each epoch", kind=int, least=1)
    save_steps: int | None = knob(None, "save every N steps, in addition to each evaluation", kind=int, least=1)
    save_minutes: float = knob(10.0, "save at least every N minutes", least=0.01, most=1440)
    keep: int = knob(2, "checkpoints to keep in addition to the best", least=1, most=1000)
    log_steps: int = knob(10, "log every N steps to log.jsonl", least=1)
    patience: int = knob(3, "stop after N evaluations without a better metric or loss; 0: never", least=0, most=1000)
    metric: str | None = knob(
        None, "metric of the best checkpoint; by default that of the task", kind=str, choices=deciding_metrics
    )
    precision: str = knob("auto", "number format for training", choices=PRECISIONS)
    device: str = knob("auto", "device: auto, cpu, cuda, cuda:1 or mps")
    grace: float = knob(30.0, "seconds to finish a step and save after SIGTERM, SIGINT or SIGHUP", least=0, most=86400)
    workers: int = knob(0, "data loader processes", least=0, most=64)
    class_weights: str = knob("none", "weight of each class in the loss; balanced: rare classes weigh more", choices=WEIGHTINGS)
    labels_sep: str | None = knob(
        None, "separator of several labels in one cell, such as |, for rows with any number of labels", kind=str, verbatim=True
    )
    thresholds: str = knob(
        "0.5",
        "probability from which a row has a label, where it may have several; f1: by the F1 on validation, for each label",
        choices=THRESHOLDS,
    )
    validation_share: float = knob(0.1, "share of train to split off where there is no validation", least=0.001, most=0.5)
    allow_leak: bool = knob(False, "train although over 5 % of the validation rows are in train")
    max_rejected: float = knob(0.01, "largest share of unusable rows in a file", least=0, most=1)
    encoding: str | None = knob(None, "encoding of text files; by default UTF-8", kind=str)
    no_header: bool = knob(False, "the first line of a table is a row, and its columns have no names")
    format: str = knob(AUTO, "format of data files; auto is by ending and content", choices=format_names)
    partial_words: str = knob(REJECT, "words that a span covers in part: reject the text, or include them", choices=PARTIAL)
    annotator: str | None = knob(None, "whose annotations of an annotation project are read", kind=str)


KNOBS: dict[str, Knob] = {f.name: f.metadata["knob"] for f in dataclasses.fields(Config) if "knob" in f.metadata}
FILES = ("train", "validation", "test")
KEYS = tuple(f.name for f in dataclasses.fields(Config))
# the names of transformers' Trainer: https://huggingface.co/docs/transformers/main_classes/trainer
TRAINER_NAMES = {
    "learning_rate": "lr",
    "num_train_epochs": "epochs",
    "per_device_train_batch_size": "batch_size",
    "auto_find_batch_size": "batch_size",
    "gradient_accumulation_steps": "accumulate",
    "group_by_length": "sort_steps",
    "train_sampling_strategy": "sort_steps",
    "optim": "optimizer",
    "lora_r": "lora",
    "lora_rank": "lora",
    "lr_scheduler_type": "schedule",
    "warmup_ratio": "warmup",
    "warmup_steps": "warmup",
    "max_grad_norm": "clip",
    "max_seq_length": "max_length",
    "max_train_samples": "limit",
    "save_total_limit": "keep",
    "logging_steps": "log_steps",
    "early_stopping_patience": "patience",
    "metric_for_best_model": "metric",
    "bf16": "precision",
    "fp16": "precision",
    "dataloader_num_workers": "workers",
}


def parse(key: str, raw: object) -> Value:
    """`raw` as the type of the setting `key`. Raises UsageError that names the range."""
    return parse_as(KNOBS[key], raw, name=key)


def parse_as(row: Knob, raw: object, *, name: str) -> Value:
    """Parse `raw`, a text from the command line or YAML or a value from Python.

    Raises UsageError with `name` and the range when it is of another type or out of range.
    """
    if (row.optional and (raw is None or raw == "none")) or (row.word and raw == row.word):
        return None
    try:
        value = _convert(row, raw)
    except (ValueError, OverflowError):
        raise _out_of_range(row, raw, name) from None
    if isinstance(value, (int, float)) and not row.least <= value <= row.most:
        raise _out_of_range(row, raw, name)
    if row.allowed and value not in row.allowed:
        raise _out_of_range(row, raw, name)
    return value


def _convert(row: Knob, raw: object) -> int | float | str | bool:
    if raw is None or isinstance(raw, (Mapping, list, tuple, set)):
        raise ValueError(raw)
    text = str(raw) if row.verbatim else str(raw).strip()
    if row.kind is bool:
        if text.lower() in ("true", "yes", "on", "1"):
            return True
        if text.lower() in ("false", "no", "off", "0"):
            return False
        raise ValueError(text)
    if isinstance(raw, bool):
        raise ValueError(text)
    if row.kind is int:
        return int(text.replace("_", ""))
    if row.kind is float:
        return float(text)
    return text


def _out_of_range(row: Knob, raw: object, name: str) -> UsageError:
    words = row.allowed or ((row.word,) if row.word else ())
    near = did_you_mean(str(raw), words) if words else ""
    shown = "empty" if raw is None or raw == "" else f"'{raw}'"
    return UsageError(f"{name} must be {row.range_text()}, not {shown}", near)


def check_key(key: str) -> None:
    """Raise UsageError with the closest match for an unknown key."""
    if key not in KEYS:
        raise UsageError(f"unknown key '{key}'", nearest_key(key, otherwise="See `hftool finetune --help`"))


def nearest_key(name: str, *, otherwise: str = "") -> str:
    """A hint with the key closest to `name`, which may be a name of transformers' Trainer."""
    name = name.replace("-", "_").lower()
    key = TRAINER_NAMES.get(name, name)
    return f"Did you mean '{key}'?" if key in KEYS else did_you_mean(key, KEYS, otherwise=otherwise)


def parse_assignments(pairs: list[str]) -> dict[str, Any]:
    """The parsed values of `--set key=value ...`. Raises UsageError."""
    values: dict[str, Any] = {}
    for pair in pairs:
        key, equals, raw = pair.partition("=")
        if not equals:
            raise UsageError(f"--set takes key=value, not '{pair}'")
        check_key(key)
        value = parse(key, raw) if key in KNOBS else parse_plain(key, raw)
        if values.setdefault(key, value) != value:
            raise UsageError(f"--set {key} is given two values: '{values[key]}' and '{value}'", "Give it once")
    return values


def parse_plain(key: str, raw: object) -> Any:
    """Parse a key without a Knob: a text, the mapping `columns` or the list `labels`. Raises UsageError."""
    if raw is None:
        return {} if key == "columns" else () if key == "labels" else None
    if key == "labels":
        parts = raw if isinstance(raw, (list, tuple)) else str(raw).split(",")
        if isinstance(raw, Mapping) or not all(_is_scalar(part) for part in parts):
            raise UsageError("labels must be a list of names in the order of their ids, such as [negative, positive]")
        return tuple(str(part).strip() for part in parts)
    if key == "columns":
        pairs = dict(raw) if isinstance(raw, Mapping) else dict(p.partition("=")[::2] for p in str(raw).split(","))
        if isinstance(raw, (list, tuple)) or not all(_is_scalar(name) and str(name) for name in pairs.values()):
            wrong = next((f": '{role}' is {name!r}"[:80] for role, name in pairs.items() if not _is_scalar(name)), "")
            raise UsageError(f"columns must be pairs of role and column{wrong}", "Such as {text: sentence, label: stars}")
        return {str(role).strip(): str(column).strip() for role, column in pairs.items()}
    if not _is_scalar(raw):
        raise UsageError(f"{key} must be a text, not '{raw}'")
    return str(raw)


def _is_scalar(value: object) -> bool:
    return isinstance(value, (str, int, float))


def read_settings(path: str) -> dict[str, Any]:
    """The parsed values of a YAML file. Raises InputMissing, or ConfigError that names the file and the key."""
    if not Path(path).is_file():
        raise InputMissing(f"there is no config file '{path}'")
    values: dict[str, Any] = {}
    for key, raw in _read_texts(path):
        try:
            check_key(key)
            if key in values:
                raise UsageError(f"the key '{key}' appears twice")
            values[key] = parse(key, raw) if key in KNOBS else parse_plain(key, raw)
        except HftoolError as error:
            raise ConfigError(f"{path}: {error.detail}", error.hint) from None
    return values


def _read_texts(path: str) -> list[tuple[str, Any]]:
    """The pairs of a YAML mapping, with every scalar but null as its text.

    The type of the setting decides how a text is parsed: YAML itself reads `no` as False, 3e-5 as a text and 1:30 as 90. A
    BaseLoader would not do: it reads null as the text "null" and a key without a value as an empty text, as if quoted.
    """
    import yaml

    class _TextLoader(yaml.SafeLoader):
        pass

    _TextLoader.yaml_implicit_resolvers = {
        first: [pair for pair in pairs if pair[0] == "tag:yaml.org,2002:null"]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    try:
        loader = _TextLoader(Path(path).read_text(encoding="utf-8-sig"))
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError(f"{path} must hold `key: value` lines", "See config.yaml in any run folder")
        return [(str(loader.construct_object(k, deep=True)), loader.construct_object(v, deep=True)) for k, v in node.value]
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {brief(error)}") from None


def dump_config(config: Config) -> str:
    """The config as YAML, which `read_settings` reads back unchanged."""
    import yaml

    values = {key: list(value) if isinstance(value, tuple) else value for key, value in dataclasses.asdict(config).items()}
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def make_config(*layers: Mapping[str, Any]) -> Config:
    """A Config from layers of parsed values; later layers override earlier ones."""
    merged: dict[str, Any] = {}
    for layer in layers:
        merged.update(layer)
    return Config(**merged)
