"""Exports a model to a folder of ONNX graphs and checks their parity with the model."""

import platform
from collections.abc import Mapping, Sequence
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
from hftool.heads.model_card import NO_PROVENANCE, RunProvenance
from hftool.heads.protocol import Batch, Feature, Head
from hftool.inference.predictor import Predictor
from hftool.models import Loaded, quiet, save_base
from hftool.models.safety import EXPORT
from hftool.models.sha256sums import write_checksums
from hftool.onnx_export import parity
from hftool.onnx_export.encoder_graph import write_graph
from hftool.onnx_export.export_card import export_page
from hftool.onnx_export.generation_graphs import write_graphs
from hftool.onnx_export.parity import Pair
from hftool.onnx_export.quantize import quantize_graphs
from hftool.onnx_export.sample_texts import fitting
from hftool.storage.checksums import sha256
from hftool.storage.run_folder import write_json

TOLERANCE = 1e-3  # of the largest output: fp32 sums in another order differ by about 1e-6 of it
LEAST_SAME = 0.95  # of the answers of int8 graphs; one may always differ
MAX_DROP = 0.01  # of the metric, or of 1 where it is less; one row may always be lost
ERROR = "mean_absolute_error"  # has a unit: the scale of the labels replaces 1
FAULT = "This is a bug of the exporter: please report it with the model's name"
PACKAGES = ("torch", "transformers", "onnx", "onnxscript", "onnxruntime")
SAMPLE = (7, 4, 5)  # tokens of the texts that the model is traced with


@dataclass(frozen=True)
class ExportJob:
    """A model to export, and the rows to check it on."""

    loaded: Loaded  # the model
    facts: Mapping[str, Any]  # what `describe` returns for it
    size: int  # size of its weights in bytes
    rows: Sequence[Row]  # rows whose answers are compared; where the head generates, with their targets
    origin: str  # where those rows are from, for the report
    options: Mapping[str, Any]  # fields of the head that inference replaces
    pairs: Sequence[Row] = ()  # rows with two texts, where the head takes them
    labelled_rows: Sequence[Row] = ()  # labelled rows for the metric; without any it is not measured
    provenance: RunProvenance = NO_PROVENANCE  # how the model was trained, for its model card


def export(job: ExportJob, folder: Path, *, quantize: str | None = None) -> dict[str, Any]:
    """Write graphs, tokenizer, config, model card, checksums and export.json into a folder -> the content of export.json.

    Raises:
        DataError: The graphs do not answer as the model does.
        ConfigError: The exporter cannot trace the model.
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
    report["parity"] = _check_parity(_pair(job, head, folder, graphs), job, token_type_ids="token_type_ids" in sample)
    if quantize:
        report["converted"] = quantize_graphs(folder, graphs)
    pair = _pair(job, head, folder, graphs)
    if quantize:
        report["agreement"] = _check_agreement(pair, job)
    report["metrics"] = _check_metrics(pair, job, quantize)
    inference = pair.with_options(job.options)
    report["latency"] = parity.latency(inference, inference.head.encode(job.rows))
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
    """The model and the graphs that the folder has now."""
    opened = open_model(folder, graphs, job.loaded.model.config)
    engine: Any = OnnxEngine(opened)
    return Pair(Predictor(TorchEngine(job.loaded.model), head), Predictor(engine, head))


def _sample(head: Head, job: ExportJob) -> Batch:
    """The batch to trace with: every input that the head may give the model, and padding."""
    token_type_ids = any(feature.token_type_ids is not None for rows in (job.rows, job.pairs) for feature in head.encode(rows))
    types = [np.arange(length) % 2 if token_type_ids else None for length in SAMPLE]
    features = [Feature(np.arange(length, dtype=np.int32), i, types[i]) for i, length in enumerate(SAMPLE)]
    return {name: values for name, values in head.collate(features).items() if name != "labels"}


def _check_parity(pair: Pair, job: ExportJob, *, token_type_ids: bool) -> dict[str, Any]:
    """Compare the fp32 graphs with the model on real texts and random tokens. Raises DataError over the tolerance."""
    pair = pair.with_options(job.options)
    head, features = pair.head, pair.head.encode(job.rows)
    vocab_size = min(len(job.loaded.tokenizer), int(job.loaded.model.config.vocab_size))
    max_tokens = max(1, (job.loaded.head_config.max_length or 64) // 2)
    random = parity.random_batches(head, vocab_size=vocab_size, max_tokens=max_tokens, token_type_ids=token_type_ids)
    report: dict[str, Any] = {"tolerance": TOLERANCE, "texts_from": job.origin}
    real = parity.batches_of(head, features)
    if head.sampling is None:
        pairs = parity.batches_of(head, head.encode(job.pairs)) if job.pairs else iter(())
        report["outputs"] = _within_tolerance(parity.compare_outputs(pair, chain(real, pairs)))
        report["random"] = _within_tolerance(parity.compare_outputs(pair, random))
        report["answers"] = parity.compare_answers(pair, features)
        same, count = report["answers"]["same"], report["answers"]["of"]
    else:
        report["outputs"] = _within_tolerance(parity.compare_outputs(pair, real))
        targets = {role for schema in head.row_schemas for role in schema.targets}
        rows = [{role: value for role, value in row.items() if role not in targets} for row in job.rows]
        prompts = parity.batches_of(head, head.encode(fitting(head, rows)))
        report["random"] = parity.compare_texts(pair, chain(prompts, random))
        same, count = report["random"]["same_texts"], report["random"]["texts"]
    if same < count:
        raise DataError(f"the graphs do not answer as the model does: only {same} of {count} answers are the same", FAULT)
    return report


def _within_tolerance(compared: dict[str, Any]) -> dict[str, Any]:
    """Return a comparison of outputs. Raises DataError over the tolerance and for NaN."""
    if compared["relative"] <= TOLERANCE:
        return compared
    detail = f"outputs differ by {compared['relative']:.1e} of the largest, where {TOLERANCE:g} is allowed"
    raise DataError(f"the graphs do not answer as the model does: {detail}", FAULT)


def _check_agreement(pair: Pair, job: ExportJob) -> dict[str, Any]:
    """Compare the quantized graphs with the model on real texts. Raises DataError when too few answers agree."""
    pair = pair.with_options(job.options)
    features = pair.head.encode(job.rows)
    if pair.head.sampling is None:
        report = parity.compare_answers(pair, features)
        same, count = report["same"], report["of"]
    else:
        report = parity.compare_outputs(pair, parity.batches_of(pair.head, features))
        same, count = report["same_tokens"], report["tokens"]
    allowed = max(1, int((1 - LEAST_SAME) * count))
    if count - same > allowed:
        what = f"only {same} of {count} answers of the quantized graphs are the model's, where {LEAST_SAME:.0%} are required"
        raise DataError(what, "Export it without --quantize")
    return {**report, "least": LEAST_SAME, "texts_from": job.origin}


def _check_metrics(pair: Pair, job: ExportJob, quantize: str | None) -> dict[str, Any]:
    """The metrics of both on labelled rows, if there are any. Raises DataError when the best metric drops too far."""
    if not job.labelled_rows:
        return {}
    labels, metrics = job.loaded.head_config.labels, pair.head.metrics()
    before = parity.measure(pair.before, job.labelled_rows, labels)
    after = parity.measure(pair.after, job.labelled_rows, labels)
    change = after[metrics.best] - before[metrics.best]
    drop = -change if metrics.rises else change
    unit = job.loaded.head_config.label_scale[1] if metrics.best == ERROR and job.loaded.head_config.label_scale else 1.0
    allowed = max(MAX_DROP * max(unit, abs(before[metrics.best])), unit / len(job.labelled_rows))
    if drop > allowed + 1e-9 * unit:
        what = f"{metrics.best} goes from {before[metrics.best]:.4f} to {after[metrics.best]:.4f}: a drop of over {allowed:.4f}"
        raise DataError(what, "Export it without --quantize" if quantize else FAULT)
    return {"rows": len(job.labelled_rows), "deciding": metrics.best, "before": before, "after": after, "allowed_loss": allowed}
