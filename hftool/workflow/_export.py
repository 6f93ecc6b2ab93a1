"""export: write a model as ONNX graphs, which run without torch."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hftool import config as knobs
from hftool.data.readers.tables import Row
from hftool.data.rows import sample_indices
from hftool.errors import ConfigError, HftoolError, UsageError, did_you_mean
from hftool.heads import get_head
from hftool.heads.model_card import NO_PROVENANCE, RunProvenance
from hftool.heads.protocol import Head
from hftool.models import Loaded, auto_class_of, describe
from hftool.models.export_folder import REQUIRED_FACTS
from hftool.models.safety import check_extra, is_export
from hftool.onnx_export import export_job as graphs
from hftool.onnx_export.sample_texts import inference_rows, pairs_as_rows, texts_as_rows
from hftool.progress import Progress, notice, silent
from hftool.registry.tasks import find_task
from hftool.storage.run_folder import check_output, whole_folder
from hftool.workflow import _evaluate
from hftool.workflow._infer import natural_options
from hftool.workflow._load import load_resolved, resolve_with_head, trained
from hftool.workflow.arguments import Model, model_name
from hftool.workflow.resolve import ModelSource, resolve_task

FORMATS = ("onnx",)
NUMBERS = ("int8",)
COMPARED, MEASURED = 200, 1000  # rows
COMPARED_GENERATED, MEASURED_GENERATED = 24, 50  # generation takes a hundred times as long


@dataclass(frozen=True)
class Exported:
    """An export: its folder, and the contents of its export.json."""

    path: Path
    report: Mapping[str, Any]


def export(
    model: Model,
    *,
    out: str | Path,
    to: str = "onnx",
    quantize: str | None = None,
    head: str | None = None,
    offline: bool = False,
    fallback: bool = False,
    progress: Progress = silent,
) -> Exported:
    """Write a model as a folder of ONNX graphs that every verb takes as a model.

    The folder is written only if the graphs give the same answers as the model.

    Args:
        model: A name, a Hub id, a model or run folder, a Run, or the Result of `finetune`.
        out: The folder to write.
        to: onnx.
        quantize: int8, for weights of 8 bits.
        head: By default what the model was trained for.
        offline: Open no socket.
        fallback: Whether a stand-in may be used.
        progress: Receives events and notices.

    Raises:
        DataError: The graphs answer differently.
        ConfigError: An export, a head that is not trained, or a model that cannot be exported.
        HftoolError: What `load` raises, OutputUnavailable.
    """
    model = model_name(model)
    _check_words(to, quantize)
    check_output(Path(out))
    check_extra("onnxscript")
    model_source = resolve_with_head(model, head, offline=offline, fallback=fallback, progress=progress)
    if is_export(model_source.folder):
        raise ConfigError(f"'{model}' is an export already", "Export the run or the model folder that it came from")
    _provenance(model_source)  # damaged files of the run are an error now, not at the end
    loaded = trained(load_resolved(model_source, head=head, device="cpu", progress=progress), None)
    loaded, measured = _measured_rows(model_source, loaded, progress)
    job = make_job(model_source, loaded, measured)
    with whole_folder(Path(out)) as folder:
        report = graphs.export(job, folder, quantize=quantize)
    return Exported(Path(out), report)


def _check_words(to: str, quantize: str | None) -> None:
    for name, word, known in (("to", to, FORMATS), ("quantize", quantize, NUMBERS)):
        if word is not None and word not in known:
            choices = "One of: " + ", ".join(known)
            raise UsageError(f"{name} cannot be '{word}'", did_you_mean(word, known, otherwise=choices))


def make_job(model_source: ModelSource, loaded: Loaded, measured: Sequence[Row]) -> graphs.ExportJob:
    """The export job: the model, and rows to compare on, of its own task if they are available locally.

    measured: labelled rows, or none.
    """
    head = get_head(loaded.tokenizer, loaded.head_config, loaded.model.config)
    options = natural_options(loaded)
    asked: Any = dataclasses.replace(head, **options)  # type: ignore[type-var]
    hidden = _hide if options.get("for_inference") else lambda head, rows: list(rows)
    most = COMPARED if head.sampling is None else COMPARED_GENERATED
    rows, origin = inference_rows(asked, hidden(head, measured))[:most], "the rows of its task"
    if not rows:
        texts = hidden(head, texts_as_rows(head))
        rows, origin = inference_rows(asked, texts), "texts of hftool"
    facts = describe(model_source.folder, auto_class_of(loaded.head_config.head, loaded.model.config), batch_size=1, length=1)
    return graphs.ExportJob(
        loaded,
        facts={name: facts[name] for name in REQUIRED_FACTS},
        size=facts["bytes_on_disk"],
        rows=rows,
        origin=origin,
        options=options,
        pairs=pairs_as_rows(head),
        labelled_rows=measured,
        provenance=_provenance(model_source),
    )


def _hide(head: Head, rows: Sequence[Row]) -> list[Row]:
    """Texts with their middle word masked, for a model that fills masks."""
    hidden = []
    for row in rows:
        words = str(row["text"]).split()
        words[len(words) // 2 : len(words) // 2 + 1] = [head.tokenizer.mask_token]
        hidden.append({**row, "text": " ".join(words)})
    return hidden


def _provenance(model_source: ModelSource) -> RunProvenance:
    if model_source.run is None:
        return NO_PROVENANCE
    return RunProvenance(
        model_source.run.read_manifest(), model_source.run.read_metrics(), knobs.read_settings(str(model_source.run.config))
    )


def _measured_rows(model_source: ModelSource, loaded: Loaded, progress: Progress) -> tuple[Loaded, Sequence[Row]]:
    """Labelled rows of the run or the task that are available locally, and the model with the range of their labels."""
    task = find_task(loaded.head_config.task) if loaded.head_config.task else None
    try:
        if model_source.run is not None:
            part = _evaluate.split_of_run(
                model_source, None, str(model_source.folder), loaded.head_config, offline=True, progress=progress
            )
        elif task is not None:
            data = resolve_task(task.name, {}, offline=True, fallback=False, progress=progress)
            part = _evaluate.rows_to_measure(data, task.name, None, loaded.head_config, {})
        else:
            return loaded, ()
    except HftoolError as error:
        notice(progress, f"the metric is not measured: {error.detail}")
        return loaded, ()
    generates = get_head(loaded.tokenizer, loaded.head_config, loaded.model.config).sampling is not None
    part = part.keep(sample_indices(len(part.rows), MEASURED_GENERATED if generates else MEASURED, 0))
    return _evaluate.with_label_range(part, loaded), part.rows
