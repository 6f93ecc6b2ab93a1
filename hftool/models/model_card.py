"""The README.md of a model folder, filled from its card and from the run that made it. What is not known is not said."""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from hftool.errors import as_line
from hftool.models.head_config import HeadConfig
from hftool.models.snippets import snippet
from hftool.registry.heads import head_spec

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
MOST_CLASSES = 30  # rows of the table by class; more would bury the page
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

With transformers alone, in this folder:

```python
{snippet}
```

With hftool: `hftool infer . "TEXT"`.{sections}

## How it was made

{made}

`SHA256SUMS` has the hash of every file: `sha256sum -c SHA256SUMS` checks them, and so does `hftool verify .`.
"""


@dataclass(frozen=True)
class RunProvenance:
    """How a model came to be: the manifest, the metrics and the knobs of its run, as they stand in its files; all may be
    empty."""

    manifest: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    knobs: Mapping[str, Any] = field(default_factory=dict)


NO_PROVENANCE = RunProvenance()


def write_readme(
    folder: Path,
    head_config: HeadConfig,
    model_class: str,
    provenance: RunProvenance = NO_PROVENANCE,
    *,
    sections: Sequence[str] = (),
) -> None:
    """Write the README.md.

    model_class: the class of transformers that loads the folder. sections: more of the page, Markdown with headings of the
    second level, such as how an export is run.
    """
    (folder / "README.md").write_text(page(head_config, model_class, provenance, sections=sections), encoding="utf-8")


def page(
    head_config: HeadConfig, model_class: str, provenance: RunProvenance = NO_PROVENANCE, *, sections: Sequence[str] = ()
) -> str:
    """The text of the README.md; see `write_readme`."""
    return PAGE.format(
        pipeline=head_spec(head_config.head).pipeline_tag,
        ids="".join(_ids(head_config, provenance)),
        title=as_line(_short(head_config.task) or _short(head_config.base) or head_config.head),
        origin=_origin(head_config),
        stand_in="".join(f" A stand-in was used: {what} ({kind})." for kind, what in head_config.stand_in.items()),
        facts=" ".join(_facts(head_config, model_class)),
        data="\n".join(_data(provenance)) or "Nothing is recorded about the data.",
        metrics=_metrics(head_config, provenance.metrics),
        limits="\n".join(f"- {line}" for line in _limits(head_config, provenance)),
        snippet=snippet(head_config, model_class),
        sections="".join(f"\n\n{text.strip()}" for text in sections),
        made="\n\n".join(_made(head_config, provenance)) or "Nothing is recorded about how it was made.",
    )


def _short(word: str) -> str:
    """A path as its last part: where a file lay on somebody's machine is nobody's business."""
    return PurePath(word).name if word.startswith(("/", "~", "\\")) or re.match(r"[A-Za-z]:\\", word) else word


def _code(value: object) -> str:
    """Somebody's word as code within a line or a table of Markdown."""
    return "`" + as_line(str(value)).replace("`", "'").replace("|", "¦") + "`"


def _ids(head_config: HeadConfig, provenance: RunProvenance) -> Iterator[str]:
    """The lines of the head of the page by which the Hub links models and data sets."""
    if HUB_ID.fullmatch(head_config.base):
        yield f"base_model: {head_config.base}\n"
    data = str(provenance.manifest.get("data_revision", "")).partition("@")[0]
    if HUB_ID.fullmatch(data):
        yield f"datasets:\n- {data}\n"


def _origin(head_config: HeadConfig) -> str:
    base = _code(_short(head_config.base) or "a model without a name") + (
        f" at revision {_code(head_config.revision)}" * bool(head_config.revision)
    )
    if not head_config.task:
        return f"{base}, written by hftool for `{head_config.head}`; hftool has not trained it."
    return f"Fine-tuned from {base} with hftool for `{head_config.head}` on {_code(_short(head_config.task))}."


def _facts(head_config: HeadConfig, model_class: str) -> list[str]:
    """What whoever loads it plainly must know to get the same answers."""
    facts = []
    if head_config.labels:
        facts.append("Labels, in id order: " + ", ".join(map(_code, head_config.labels)) + ".")
    if head_config.label_range:
        facts.append(f"It was trained on numbers from {head_config.label_range[0]:g} to {head_config.label_range[1]:g}.")
    if head_config.label_scale:
        mean, scale = head_config.label_scale
        facts.append(f"It was trained on standardised numbers: an answer is the model's output times {scale!r} plus {mean!r}.")
    if of_head := getattr(head_spec(head_config.head).module("model_card"), "facts", None):
        facts += of_head(head_config, model_class)
    if head_config.prefix:
        alone = "" if head_config.pool_prefix else ", which is no part of its vector"
        facts.append(f"Before each text stands {_code(head_config.prefix)}{alone}.")
    return [*facts, f"Texts are cut at {head_config.max_length} tokens."] if head_config.max_length else facts


def _data(provenance: RunProvenance) -> Iterator[str]:
    made = provenance.manifest
    if made.get("data_revision"):
        yield f"From the Hub: {_code(made['data_revision'])}.\n"
    if made.get("rows"):
        yield "| split | rows |\n|---|---|"
        yield from (f"| {split} | {count} |" for split, count in made["rows"].items())
    faults = [f"{made[key]} {what}" for key, what in FAULTS if made.get(key)]
    faults += [f"{made['leaked']} of train were in validation or test as well"] if made.get("leaked") else []
    if "rows" in made:
        yield "\n" + (f"Of the rows that were read {', '.join(faults)}." if faults else "No row was rejected.")
    if made.get("data"):
        yield "\n| file | SHA-256 |\n|---|---|"
        yield from (f"| {_code(PurePath(path).name)} | {_code(digest)} |" for path, digest in made["data"].items())


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
    """What goes beside the table: the majority, and each class or type with its count."""
    lines, majority = [], measured.get("majority_baseline")
    if majority:
        what = f"Always {_code(majority['label'])} has an accuracy of {majority['accuracy']:.4f} on {split}."
        lines += ["", what]
    for key, word, count in (("by_class", "label", "rows"), ("by_type", "type", "entities")):
        rows = list(measured.get(key, {}).items())
        if rows and len(rows) <= MOST_CLASSES:
            lines += ["", f"| {split}: {word} | {count} | precision | recall | f1 |", "|---|---|---|---|---|"]
            for name, row in rows:
                cells = " | ".join(f"{row[part]:.4f}" for part in ("precision", "recall", "f1"))
                lines.append(f"| {_code(name)} | {row[count]} | {cells} |")
    return lines


def _limits(head_config: HeadConfig, provenance: RunProvenance) -> Iterator[str]:
    """What is known of where it ends, and that no more is known."""
    made, rows = provenance.manifest, provenance.manifest.get("rows", {})
    if head_config.max_length:
        yield f"It reads {head_config.max_length} tokens of a text" + _cut(made) + "."
    learnt = f"It has learnt from {rows['train']} rows" if rows.get("train") else "What it has learnt from is not recorded here"
    yield f"{learnt}. Nothing here says how it does on other kinds of text, or in languages that these rows do not hold."
    if head_config.stand_in:
        yield "It stands in for another: its figures are not those of the model or data set that was asked for."
    if not head_config.metrics:
        yield "It has not been measured: `hftool evaluate . FILE` does that."


def _cut(made: Mapping[str, Any]) -> str:
    cut, rows = made.get("cut", {}).get("train"), made.get("rows", {}).get("train")
    if cut is None or not rows:
        return ""
    return f"; {cut} of the {rows} train rows ({100 * cut / rows:.1f} %) were longer" if cut else "; no train row was longer"


def _made(head_config: HeadConfig, provenance: RunProvenance) -> Iterator[str]:
    made, knobs = provenance.manifest, provenance.knobs
    if made.get("command"):
        yield f"```\n{_command(made['command'])}\n```"
    facts = [f"{key} {made[key]}" for key in ("seed", "device", "precision", "created") if made.get(key) not in (None, "")]
    facts += [f"{key} {knobs[key]}" for key in KNOBS if knobs.get(key) is not None]
    if facts:
        yield f"{', '.join(facts)}."
    versions = {"hftool": made.get("hftool"), "python": made.get("python"), **(made.get("versions") or head_config.versions)}
    named = [f"{name} {version}" for name, version in versions.items() if version]
    if named:
        yield f"Versions: {', '.join(named)}."


def _command(words: Sequence[str]) -> str:
    """The command as it was typed, but for the folder that hftool lay in."""
    program = PurePath(words[0]).name if words else ""
    begin = ["hftool"] if program in ("hftool", "hftool.exe", "__main__.py") else ["python", program or "-"]
    return as_line(shlex.join([*begin, *words[1:]])).replace("```", "'''")
