"""The model card: the README.md of a model folder, from its head config and the run that trained it."""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from hftool.errors import as_line
from hftool.heads.card_snippets import snippet
from hftool.models import HeadConfig
from hftool.registry.heads import head_spec

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
MOST_CLASSES = 30  # above this the table by class is left out
KNOBS = (
    *("epochs", "max_steps", "batch_size", "accumulate", "lr", "lora"),
    *("optimizer", "schedule", "warmup", "weight_decay", "limit"),
)
FAULTS = (("rejected", "could not be used"), ("duplicates", "were there twice"), ("conflicts", "contradicted another"))
PAGE = """---
library_name: transformers
pipeline_tag: {pipeline}
{ids}tags:
- hftool
---

# {title}

{origin}{stand_in}

{facts}

## Data

{data}

## Metrics

{metrics}

## Limits

{limits}

## Use

{usage}

## How it was made

{training}

`SHA256SUMS` has the hash of every file: `sha256sum -c SHA256SUMS` checks them, and so does `hftool verify .`.
"""


USAGE = """With transformers alone, in this folder:

```python
{snippet}
```

With hftool: `hftool infer . "TEXT"`."""


@dataclass(frozen=True)
class RunProvenance:
    """The manifest, the metrics and the settings of the run that trained a model, as in its files; each may be empty."""

    manifest: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    knobs: Mapping[str, Any] = field(default_factory=dict)


NO_PROVENANCE = RunProvenance()


def write_model_card(
    folder: Path, head_config: HeadConfig, model_class: str, provenance: RunProvenance = NO_PROVENANCE
) -> None:
    """Write the README.md of a model folder; for the arguments see `page`."""
    (folder / "README.md").write_text(page(head_config, model_class, provenance), encoding="utf-8")


def page(
    head_config: HeadConfig, model_class: str, provenance: RunProvenance = NO_PROVENANCE, *, usage: str | None = None
) -> str:
    """The text of a model card.

    Args:
        head_config: The head config of the model.
        model_class: The class of transformers that loads the folder, such as BertForSequenceClassification.
        provenance: The run that trained the model.
        usage: Markdown of the section "Use"; by default how the folder is used with transformers and with hftool.
    """
    return PAGE.format(
        pipeline=head_spec(head_config.head).pipeline_tag,
        ids="".join(_ids(head_config, provenance)),
        title=as_line(_short(head_config.task) or _short(head_config.base) or head_config.head),
        origin=_origin(head_config),
        stand_in="".join(f" A stand-in was used: {what} ({kind})." for kind, what in head_config.stand_in_texts.items()),
        facts=" ".join(_facts(head_config, model_class)),
        data="\n".join(_data(provenance)) or "Nothing is recorded about the data.",
        metrics=_metrics(head_config, provenance.metrics),
        limits="\n".join(f"- {line}" for line in _limits(head_config, provenance)),
        usage=USAGE.format(snippet=snippet(head_config, model_class)) if usage is None else usage,
        training="\n\n".join(_training(head_config, provenance)) or "Nothing is recorded about how it was made.",
    )


def _short(name: str) -> str:
    """The last part of a path: folders of the author's machine are private. Other names stay."""
    return PurePath(name).name if name.startswith(("/", "~", "\\")) or re.match(r"[A-Za-z]:\\", name) else name


def _code(value: object) -> str:
    """Untrusted text as code in a line or a table of Markdown."""
    return "`" + as_line(str(value)).replace("`", "'").replace("|", "¦") + "`"


def _ids(head_config: HeadConfig, provenance: RunProvenance) -> Iterator[str]:
    """The metadata lines by which the Hub links the base model and the data set."""
    if HUB_ID.fullmatch(head_config.base):
        yield f"base_model: {head_config.base}\n"
    data = str(provenance.manifest.get("data_revision", "")).partition("@")[0]
    if HUB_ID.fullmatch(data):
        yield f"datasets:\n- {data}\n"


def _origin(head_config: HeadConfig) -> str:
    revision = f" at revision {_code(head_config.revision)}" if head_config.revision else ""
    base = _code(_short(head_config.base) or "a model without a name") + revision
    if not head_config.task:
        return f"{base}, saved by hftool for `{head_config.head}`; hftool has not trained it."
    return f"Fine-tuned from {base} with hftool for `{head_config.head}` on {_code(_short(head_config.task))}."


def _facts(head_config: HeadConfig, model_class: str) -> list[str]:
    """What users of plain transformers must know to get the same output."""
    facts = []
    if head_config.labels:
        facts.append("Labels, in id order: " + ", ".join(map(_code, head_config.labels)) + ".")
    if head_config.label_range:
        facts.append(f"It was trained on numbers from {head_config.label_range[0]:g} to {head_config.label_range[1]:g}.")
    if head_config.label_scale:
        mean, scale = head_config.label_scale
        facts.append(f"It was trained on standardised labels: the prediction is the model's output * {scale!r} + {mean!r}.")
    if of_head := getattr(head_spec(head_config.head).module("model_card"), "facts", None):
        facts += of_head(head_config, model_class)
    if head_config.prefix:
        unpooled = "" if head_config.pool_prefix else ", which is not pooled"
        facts.append(f"Each text gets the prefix {_code(head_config.prefix)}{unpooled}.")
    return [*facts, f"Texts are truncated to {head_config.max_length} tokens."] if head_config.max_length else facts


def _data(provenance: RunProvenance) -> Iterator[str]:
    manifest = provenance.manifest
    if manifest.get("data_revision"):
        yield f"From the Hub: {_code(manifest['data_revision'])}.\n"
    if manifest.get("rows"):
        yield "| split | rows |\n|---|---|"
        yield from (f"| {split} | {count} |" for split, count in manifest["rows"].items())
    faults = [f"{manifest[key]} {what}" for key, what in FAULTS if manifest.get(key)]
    faults += [f"{manifest['leaked']} of train were in validation or test as well"] if manifest.get("leaked") else []
    if "rows" in manifest:
        yield "\n" + (f"Of the rows that were read {', '.join(faults)}." if faults else "No row was rejected.")
    if manifest.get("data"):
        yield "\n| file | SHA-256 |\n|---|---|"
        yield from (f"| {_code(PurePath(path).name)} | {_code(digest)} |" for path, digest in manifest["data"].items())


def _metrics(head_config: HeadConfig, metrics: Mapping[str, Any]) -> str:
    if not head_config.metrics:
        return "Not measured."
    names = [name for name in next(iter(head_config.metrics.values())) if name != "rows"]
    lines = ["| split | rows | " + " | ".join(names) + " |", "|---" * (len(names) + 2) + "|"]
    for split, values in head_config.metrics.items():
        lines.append(f"| {split} | {values['rows']} | " + " | ".join(f"{values[name]:.4f}" for name in names) + " |")
    for split in head_config.metrics:
        lines += _of_split(split, metrics.get(split, {}))
    return "\n".join(lines)


def _of_split(split: str, measured: Mapping[str, Any]) -> list[str]:
    """The majority baseline, and the table by class or entity type."""
    lines, majority = [], measured.get("majority_baseline")
    if majority:
        what = f"Always predicting {_code(majority['label'])} has an accuracy of {majority['accuracy']:.4f} on {split}."
        lines += ["", what]
    constant = measured.get("constant_baseline")
    if constant:
        always = ", ".join(map(_code, constant["labels"])) or "no label"
        lines += ["", f"Always predicting {always} has a micro_f1 of {constant['micro_f1']:.4f} on {split}."]
    for key, kind, count in (("by_class", "label", "rows"), ("by_type", "type", "entities")):
        rows = list(measured.get(key, {}).items())
        if rows and len(rows) <= MOST_CLASSES:
            lines += ["", f"| {split}: {kind} | {count} | precision | recall | f1 |", "|---|---|---|---|---|"]
            for name, row in rows:
                cells = " | ".join(f"{row[part]:.4f}" for part in ("precision", "recall", "f1"))
                lines.append(f"| {_code(name)} | {row[count]} | {cells} |")
    return lines


def _limits(head_config: HeadConfig, provenance: RunProvenance) -> Iterator[str]:
    """The known limits of the model."""
    manifest, rows = provenance.manifest, provenance.manifest.get("rows", {})
    if head_config.max_length:
        yield f"It reads {head_config.max_length} tokens of a text" + _truncated(manifest) + "."
    data = f"It was trained on {rows['train']} rows" if rows.get("train") else "Its training data is not recorded here"
    yield f"{data}. Nothing is known about other kinds of text, or about languages that are not in these rows."
    if head_config.stand_in:
        yield "A stand-in was used: its metrics are not those of the requested model or data set."
    if not head_config.metrics:
        yield "It has not been measured: `hftool evaluate . FILE` does that."


def _truncated(manifest: Mapping[str, Any]) -> str:
    count, rows = manifest.get("cut", {}).get("train"), manifest.get("rows", {}).get("train")
    if count is None or not rows:
        return ""
    share = f"{100 * count / rows:.1f} %"
    return f"; {count} of the {rows} train rows ({share}) were longer" if count else "; no train row was longer"


def _training(head_config: HeadConfig, provenance: RunProvenance) -> Iterator[str]:
    manifest, knobs = provenance.manifest, provenance.knobs
    if manifest.get("command"):
        yield f"```\n{_command(manifest['command'])}\n```"
    keys = ("seed", "device", "precision", "created")
    facts = [f"{key} {manifest[key]}" for key in keys if manifest.get(key) not in (None, "")]
    facts += [f"{key} {knobs[key]}" for key in KNOBS if knobs.get(key) is not None]
    if facts:
        yield f"{', '.join(facts)}."
    libraries = manifest.get("versions") or head_config.versions
    versions = {"hftool": manifest.get("hftool"), "python": manifest.get("python"), **libraries}
    named = [f"{name} {version}" for name, version in versions.items() if version]
    if named:
        yield f"Versions: {', '.join(named)}."


def _command(words: Sequence[str]) -> str:
    """The command line of the run, without the path of hftool."""
    program = PurePath(words[0]).name if words else ""
    prefix = ["hftool"] if program in ("hftool", "hftool.exe", "__main__.py") else ["python", program or "-"]
    return as_line(shlex.join([*prefix, *words[1:]])).replace("```", "'''")
