"""Every knob of a training run, declared once: name, type, default, range and help line.

The command line's flags, `--set key=value`, `--config file.yaml`, the Python functions and `config.yaml` in a run
folder all read this table; a key that is not in it is refused. Flag wins over `--set`, `--set` over the file.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hftool.errors import ConfigError, HftoolError, InputMissing, UsageError, did_you_mean

Value = int | float | str | bool | None


@dataclass(frozen=True)
class Knob:
    """What may be written for one key. `kind` is int, float, str or bool; `least` and `most` include themselves."""

    kind: type
    help: str
    least: float = -math.inf
    most: float = math.inf
    choices: tuple[str, ...] = ()
    optional: bool = False

    def range_text(self) -> str:
        """What may be written, in words: for help lines and errors."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        if self.kind is bool:
            return "true or false"
        word = {int: "a whole number", float: "a number", str: "a text"}[self.kind]
        if self.least > -math.inf and self.most < math.inf:
            return f"{word} from {self.least:g} to {self.most:g}"
        return f"{word} of at least {self.least:g}" if self.least > -math.inf else word


def knob(
    default: Value,
    help: str,
    *,
    kind: type | None = None,
    least: float = -math.inf,
    most: float = math.inf,
    choices: tuple[str, ...] = (),
) -> Any:
    """A dataclass field that carries its Knob; without a default its kind must be named."""
    chosen = kind or type(default)
    row = Knob(chosen, help, least=least, most=most, choices=choices, optional=default is None)
    return field(default=default, metadata={"knob": row})


OPTIMIZERS = ("adamw", "adam", "sgd", "adafactor")
SCHEDULES = ("linear", "cosine", "constant")
PRECISIONS = ("auto", "fp32", "bf16")
WEIGHTINGS = ("none", "balanced")


@dataclass(frozen=True)
class Config:
    """What a run is made of: the model, the task and its files, then the knobs. `None` means: chosen from the family,
    the data or the machine, and written back before the run starts."""

    model: str | None = None
    task: str | None = None
    train: str | None = None
    validation: str | None = None
    test: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    labels: tuple[str, ...] = ()

    epochs: float = knob(3.0, "passes over the training rows", least=0.001, most=1000)
    max_steps: int | None = knob(None, "stop after N steps, whatever the epochs say", kind=int, least=1)
    batch_size: int = knob(32, "rows in a batch on one device", least=1, most=65536)
    accumulate: int = knob(1, "batches added up before each step", least=1, most=65536)
    lr: float | None = knob(None, "learning rate; by default what suits the family", kind=float, least=1e-9, most=10)
    optimizer: str = knob("adamw", "how weights are updated", choices=OPTIMIZERS)
    schedule: str = knob("linear", "how the learning rate changes", choices=SCHEDULES)
    warmup: float = knob(0.06, "share of the steps in which the learning rate rises", least=0, most=1)
    weight_decay: float = knob(0.01, "decay of weights, not of biases and norms", least=0, most=1)
    clip: float = knob(1.0, "largest norm of the gradient; 0 turns clipping off", least=0, most=1e6)
    max_length: int | None = knob(
        None, "longest text in tokens; by default from the data, up to the model's limit", kind=int, least=2, most=1_000_000
    )
    limit: int | None = knob(None, "use a seeded sample of N rows of each split", kind=int, least=1)
    seed: int = knob(0, "start of every random choice", least=0, most=2**32 - 1)
    eval_steps: int | None = knob(None, "evaluate each N steps; by default after each epoch", kind=int, least=1)
    save_steps: int | None = knob(None, "save each N steps, besides each evaluation", kind=int, least=1)
    save_minutes: float = knob(10.0, "save at least this often", least=0.01, most=1440)
    keep: int = knob(2, "checkpoints kept besides the best", least=1, most=1000)
    log_steps: int = knob(10, "write a line of log.jsonl each N steps", least=1)
    patience: int = knob(3, "stop after N evaluations without a better one; 0 never stops", least=0, most=1000)
    precision: str = knob("auto", "number format of the arithmetic of training", choices=PRECISIONS)
    device: str = knob("auto", "auto, cpu, cuda, cuda:1 or mps")
    workers: int = knob(0, "processes that prepare batches", least=0, most=64)
    class_weights: str = knob("none", "weigh rare labels more", choices=WEIGHTINGS)
    validation_share: float = knob(
        0.1, "share of train that is cut off when there is no validation split", least=0.001, most=0.5
    )
    allow_leak: bool = knob(False, "train although over 5 % of the validation rows are in train")
    encoding: str | None = knob(None, "encoding of text files; by default UTF-8", kind=str)


KNOBS: dict[str, Knob] = {f.name: f.metadata["knob"] for f in dataclasses.fields(Config) if "knob" in f.metadata}
FILES = ("train", "validation", "test")
KEYS = tuple(f.name for f in dataclasses.fields(Config))


def parse(key: str, raw: object) -> Value:
    """`raw` as the type that `key` declares. Raises UsageError that names the range.

    A text comes from the command line, anything else from YAML, whose `3e-5` is a text and whose `no` is False.
    """
    row = KNOBS[key]
    if raw is None or (row.optional and raw == "none"):
        if row.optional:
            return None
        raise _out_of_range(key, raw)
    try:
        value = _convert(row, raw)
    except (ValueError, OverflowError):
        raise _out_of_range(key, raw) from None
    if isinstance(value, (int, float)) and not row.least <= value <= row.most:
        raise _out_of_range(key, raw)
    if row.choices and value not in row.choices:
        raise _out_of_range(key, raw)
    return value


def _convert(row: Knob, raw: object) -> int | float | str | bool:
    text = str(raw).strip()
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


def _out_of_range(key: str, raw: object) -> UsageError:
    row = KNOBS[key]
    near = did_you_mean(str(raw), row.choices) if row.choices else ""
    return UsageError(f"{key} must be {row.range_text()}, not '{raw}'", near)


def check_key(key: str) -> None:
    """Raise UsageError with the nearest key when there is no such key."""
    if key not in KEYS:
        raise UsageError(f"unknown key '{key}'", did_you_mean(key, KEYS, otherwise="See `hftool finetune --help`"))


def parse_assignments(pairs: list[str]) -> dict[str, Any]:
    """`--set key=value ...` as a dictionary of parsed values. Raises UsageError."""
    values: dict[str, Any] = {}
    for pair in pairs:
        key, equals, raw = pair.partition("=")
        if not equals:
            raise UsageError(f"--set takes key=value, not '{pair}'")
        check_key(key)
        values[key] = parse(key, raw) if key in KNOBS else _parse_plain(key, raw)
    return values


def _parse_plain(key: str, raw: object) -> Any:
    """The keys that are no knobs: texts, the mapping of columns, the list of labels."""
    if raw is None:
        return {} if key == "columns" else () if key == "labels" else None
    if key == "labels":
        parts = raw if isinstance(raw, list) else str(raw).split(",")
        return tuple(str(part).strip() for part in parts)
    if key == "columns":
        pairs = raw.items() if isinstance(raw, Mapping) else [p.partition("=")[::2] for p in str(raw).split(",")]
        return {str(role).strip(): str(column).strip() for role, column in pairs}
    return str(raw)


def read_config(path: str) -> dict[str, Any]:
    """The values of a YAML file. Raises InputMissing, or ConfigError that names the file and the key."""
    import yaml

    if not Path(path).is_file():
        raise InputMissing(f"there is no config file '{path}'")
    try:
        loaded = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(loaded, dict):
        raise ConfigError(f"{path} must hold `key: value` lines", "See config.yaml in any run folder")
    values: dict[str, Any] = {}
    for key, raw in loaded.items():
        try:
            check_key(str(key))
            values[str(key)] = parse(str(key), raw) if key in KNOBS else _parse_plain(str(key), raw)
        except HftoolError as error:
            raise ConfigError(f"{path}: {error.detail}", error.hint) from None
    return values


def dump_config(config: Config) -> str:
    """The config as YAML that `read_config` gives back unchanged."""
    import yaml

    values = {key: _plain(value) for key, value in dataclasses.asdict(config).items()}
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def make_config(*layers: Mapping[str, Any]) -> Config:
    """A Config from layers of values, the later ones winning. Values must have been parsed."""
    merged: dict[str, Any] = {}
    for layer in layers:
        merged.update(layer)
    return Config(**merged)
