"""A model as a folder of graphs that other programs can run: written, compared with the model, and only then kept."""

import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from hftool.data.readers.tables import Row
from hftool.engines.onnx import OnnxEngine, open_model
from hftool.engines.torch import TorchEngine
from hftool.errors import DataError
from hftool.heads import get_head
from hftool.heads.protocol import Batch, Feature, Head
from hftool.inference.predictor import Predictor
from hftool.models import Loaded, quiet, save_base
from hftool.models.checksums import write_checksums
from hftool.models.model_card import NO_PROVENANCE, RunProvenance
from hftool.onnx_export import parity
from hftool.onnx_export.encoder_graph import write_graph
from hftool.onnx_export.export_card import export_page
from hftool.onnx_export.generation_graphs import write_graphs
from hftool.onnx_export.parity import Pair
from hftool.onnx_export.quantize import quantize_graphs
from hftool.onnx_export.sample_texts import fitting
from hftool.safety import EXPORT, sha256
from hftool.storage.run_folder import write_json

TOLERANCE = 1e-3  # of the largest output: sums of fp32 numbers in another order differ by about 1e-6 of it
LEAST_SAME = 0.95  # of the answers of int8 graphs; one answer may differ where that is more than the rest
MOST_LOST = 0.01  # of the metric, or of 1 where it is less; one row may be lost where that is more
ERROR = "mean_absolute_error"  # has a unit: there the scale of the numbers takes the place of 1
FAULT = "This is a fault of the exporter: please report it with the model's name"
PACKAGES = ("torch", "transformers", "onnx", "onnxscript", "onnxruntime")
SAMPLE = (7, 4, 5)  # tokens of the texts that the model is traced with


@dataclass(frozen=True)
class ExportJob:
    """What is exported, and what it is tried on.

    facts: what `describe` says of it. size: bytes of its weights. asked: rows under the roles that its head answers; of heads
    that write with what is to be written, too. origin: where they are from. options: fields of the head when it is asked.
    pairs: rows of two texts, where the head takes such. measured: rows with known answers; none: no metric.
    story: how the model came to be, for its page.
    """

    loaded: Loaded
    facts: Mapping[str, Any]
    size: int
    asked: Sequence[Row]
    origin: str
    options: Mapping[str, Any]
    pairs: Sequence[Row] = ()
    measured: Sequence[Row] = ()
    provenance: RunProvenance = NO_PROVENANCE


def export(job: ExportJob, folder: Path, *, quantize: str | None = None) -> dict[str, Any]:
    """Fill a folder with graphs, tokenizer, config, card and page -> what stands in its export.json.

    quantize: "int8", or None. Raises DataError when the graphs do not answer as the model does, ConfigError when the exporter
    cannot follow it.
    """
    loaded = job.loaded
    head = get_head(loaded.tokenizer, loaded.head_config, loaded.model.config)
    save_base(loaded, folder)
    settings = getattr(loaded.model, "generation_config", None)
    if head.sampling is not None and settings is not None:
        with quiet():
            settings.save_pretrained(folder)
    sample = _sample(head, job)
    graphs = write_graphs(loaded.model, folder) if head.sampling else write_graph(loaded.model, sample, head.outputs, folder)
    report: dict[str, Any] = {"format": "onnx", "quantize": quantize, "head": loaded.head_config.head, "graphs": graphs}
    report["outputs"] = list(head.outputs)
    report["parity"] = _check_parity(_pair(job, head, folder, graphs), job, segments="token_type_ids" in sample)
    if quantize:
        report["converted"] = quantize_graphs(folder, graphs)
    pair = _pair(job, head, folder, graphs)
    if quantize:
        report["agreement"] = _close(pair, job)
    report["metrics"] = _measured(pair, job, quantize)
    report["latency"] = parity.latency(pair.asking(job.options), _features(pair.asking(job.options).head, job))
    files = sorted(path for path in folder.iterdir() if path.suffix in (".onnx", ".data"))
    report["bytes"] = {"before": job.size, "after": sum(path.stat().st_size for path in files)}
    report["model"] = dict(job.facts)
    report["made_with"] = {name: version(name) for name in PACKAGES} | {"machine": platform.machine()}
    report["files"] = {path.name: sha256(path) for path in files}
    (folder / "README.md").write_text(export_page(loaded, report, job.provenance), encoding="utf-8")
    write_json(folder / EXPORT, report)
    write_checksums(folder)
    return report


def _pair(job: ExportJob, head: Head, folder: Path, graphs: Mapping[str, str]) -> Pair:
    """The model and its graphs as they lie there now."""
    opened = open_model(folder, graphs, job.loaded.model.config)
    engine: Any = OnnxEngine(opened)
    return Pair(Predictor(TorchEngine(job.loaded.model), head), Predictor(engine, head))


def _features(head: Head, job: ExportJob) -> list[Feature]:
    return head.encode(job.asked)


def _sample(head: Head, job: ExportJob) -> Batch:
    """What the model is traced with: every input that the head may give it, and padding."""
    segments = any(feature.segments is not None for rows in (job.asked, job.pairs) for feature in head.encode(rows))
    kinds = [np.arange(length) % 2 if segments else None for length in SAMPLE]
    features = [Feature(np.arange(length, dtype=np.int32), i, kinds[i]) for i, length in enumerate(SAMPLE)]
    return {name: values for name, values in head.collate(features).items() if name != "labels"}


def _check_parity(pair: Pair, job: ExportJob, *, segments: bool) -> dict[str, Any]:
    """Graphs in fp32 against the model, on real texts and random ones. Raises DataError over the tolerance."""
    asked = pair.asking(job.options)
    head, features = asked.head, _features(asked.head, job)
    drawn = _check_sampling(head, job, segments=segments)
    report: dict[str, Any] = {"tolerance": TOLERANCE, "texts_from": job.origin}
    real = parity.batches_of(head, features)
    if head.sampling is None:
        pairs = parity.batches_of(head, head.encode(job.pairs)) if job.pairs else iter(())
        report["outputs"] = _near(parity.compare_outputs(asked, chain(real, pairs)))
        report["random"] = _near(parity.compare_outputs(asked, drawn))
        report["answers"] = parity.compare_answers(asked, features)
        same, count = report["answers"]["same"], report["answers"]["of"]
    else:
        report["outputs"] = _near(parity.compare_outputs(asked, real))
        prompts = parity.batches_of(head, head.encode(fitting(head, [_prompt(head, row) for row in job.asked])))
        report["random"] = parity.compare_texts(asked, chain(prompts, drawn))
        same, count = report["random"]["same_texts"], report["random"]["texts"]
    if same < count:
        raise DataError(f"the graphs do not answer as the model does: only {same} of {count} answers are the same", FAULT)
    return report


def _near(compared: dict[str, Any]) -> dict[str, Any]:
    """What was compared. Raises DataError over the tolerance, and where numbers are none."""
    if compared["relative"] <= TOLERANCE:
        return compared
    what = f"outputs differ by {compared['relative']:.1e} of the largest, where {TOLERANCE:g} is allowed"
    raise DataError(f"the graphs do not answer as the model does: {what}", FAULT)


def _check_sampling(head: Head, job: ExportJob, *, segments: bool) -> Iterator[Batch]:
    words = min(len(job.loaded.tokenizer), int(job.loaded.model.config.vocab_size))
    longest = max(1, (job.loaded.head_config.max_length or 64) // 2)
    return parity.random_batches(head, words=words, longest=longest, segments=segments)


def _prompt(head: Head, row: Row) -> Row:
    """A row of a head that writes, without what is to be written."""
    wanted = {role for shape in head.row_schemas for role in shape.targets}
    return {role: value for role, value in row.items() if role not in wanted}


def _close(pair: Pair, job: ExportJob) -> dict[str, Any]:
    """Quantized graphs against the model, on real texts. Raises DataError when too few answers are the same."""
    asked = pair.asking(job.options)
    features = _features(asked.head, job)
    if asked.head.sampling is None:
        report = parity.compare_answers(asked, features)
        same, count = report["same"], report["of"]
    else:
        report = parity.compare_outputs(asked, parity.batches_of(asked.head, features))
        same, count = report["same_tokens"], report["tokens"]
    allowed = max(1, int((1 - LEAST_SAME) * count))
    if count - same > allowed:
        raise DataError(
            f"only {same} of {count} answers of the quantized graphs are those of the model, where {LEAST_SAME:.0%} must be",
            "Export it without --quantize",
        )
    return {**report, "least": LEAST_SAME, "texts_from": job.origin}


def _measured(pair: Pair, job: ExportJob, quantize: str | None) -> dict[str, Any]:
    """The metrics of the task before and after; nothing where no rows are at hand. Raises DataError when too much is lost."""
    if not job.measured:
        return {}
    labels, metrics = job.loaded.head_config.labels, pair.head.metrics()
    before = parity.measure(pair.before, job.measured, labels)
    after = parity.measure(pair.after, job.measured, labels)
    change = after[metrics.best] - before[metrics.best]
    lost = -change if metrics.rises else change
    unit = job.loaded.head_config.label_scale[1] if metrics.best == ERROR and job.loaded.head_config.label_scale else 1.0
    allowed = max(MOST_LOST * max(unit, abs(before[metrics.best])), unit / len(job.measured))
    if lost > allowed + 1e-9 * unit:
        raise DataError(
            f"{metrics.best} goes from {before[metrics.best]:.4f} to {after[metrics.best]:.4f}: over {allowed:.4f} is lost",
            "Export it without --quantize" if quantize else FAULT,
        )
    return {"rows": len(job.measured), "deciding": metrics.best, "before": before, "after": after, "allowed_loss": allowed}
