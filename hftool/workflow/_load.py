"""load: a model from its name or folder; and the predictor that all inference runs on."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from hftool.config import PRECISIONS
from hftool.data.label_cells import free_separator
from hftool.data.readers.tables import Row, replace_surrogates
from hftool.engines.fused_trial import fuse
from hftool.engines.onnx import OnnxEngine, OnnxModel, open_model
from hftool.engines.torch import TorchEngine
from hftool.engines.unpadded import supports_unpadding
from hftool.errors import ConfigError, DataError, UsageError
from hftool.heads import get_head, head_class
from hftool.heads.protocol import Answer
from hftool.inference.generation import OnToken
from hftool.inference.predictor import Engine, Predictor
from hftool.machine import choose_device, choose_precision
from hftool.models.config_facts import auto_class_of, family_of, natural_head_of, read_model_config
from hftool.models.export_folder import read_export
from hftool.models.head_config import HEAD_CONFIG, SEVERAL, HeadConfig, read_head_config
from hftool.models.load import Loaded, load_model
from hftool.models.positions import check_length, length_limit
from hftool.models.safety import is_export
from hftool.models.sentence_transformers import SentenceSettings, length_of, sentence_settings
from hftool.models.sha256sums import check_loaded
from hftool.models.tokenizer import load_tokenizer, tokenizer_notes
from hftool.progress import Progress, notice, silent
from hftool.registry.families import FAMILIES, Family, check_head
from hftool.registry.heads import head_spec
from hftool.registry.models import family_of_row, find_model, natural_head
from hftool.sampling import SamplingParams
from hftool.workflow.arguments import Model, model_name, text_list
from hftool.workflow.resolve import ModelSource, resolve_model

INT8 = "int8"  # a precision of generation only


def load(
    model: Model,
    *,
    head: str | None = None,
    device: str = "auto",
    precision: str = "auto",
    offline: bool = False,
    fallback: bool = False,
    progress: Progress = silent,
) -> Loaded:
    """Load a model with its tokenizer and head config.

    A model whose head is not trained loads, too, with the missing weights in `new_weights`; it never answers.

    Args:
        model: A name, a Hub id, a model folder or run folder, a Run, or the Result of `finetune`.
        head: By default what the model was trained for, or what its architecture does.
        device: auto, cpu, cuda, cuda:1 or mps.
        precision: Number format in which texts are answered: auto, fp32 or bf16; int8 for texts that GPT-2 or T5 generate.
        offline: Open no socket.
        fallback: Whether a stand-in may be used.
        progress: Receives notices.

    Raises:
        UsageError: The model's family has no such head, or there is no such precision.
        HftoolError: InputMissing, HubUnreachable, Refused, DataError, ConfigError.
    """
    model_source = resolve_with_head(model, head, offline=offline, fallback=fallback, progress=progress)
    return load_resolved(model_source, head=head, device=device, precision=precision, progress=progress)


def resolve_with_head(model: Model, head: str | None, *, offline: bool, fallback: bool, progress: Progress) -> ModelSource:
    """Resolve a model that is to have this head, which is checked first. Raises UsageError, and what `resolve_model` raises."""
    if head is not None:
        check_head_by_name(model, head)
    return resolve_model(model_name(model), head=head, offline=offline, fallback=fallback, progress=progress)


def check_head_by_name(model: Model, head: str) -> None:
    """Check a head by the names alone, before anything is read or fetched. Raises UsageError."""
    head_class(head)
    known = find_model(model_name(model))
    if known is not None:
        check_head(family_of_row(known), head, model=known.name)


def load_resolved(
    model_source: ModelSource, *, head: str | None, device: str, precision: str = "auto", progress: Progress = silent
) -> Loaded:
    """Load a resolved model: by its head config if it is for this head, else by its config. Raises what `load` raises."""
    if precision not in (*PRECISIONS, INT8):
        raise UsageError(f"precision '{precision}' is not known", f"Choose {', '.join(PRECISIONS)} or {INT8}")
    loaded = _load_resolved(model_source, head=head, device=device, progress=progress)
    if precision == INT8 and not head_spec(loaded.head_config.head).generates:
        raise UsageError(f"a model that is to {loaded.head_config.head} is not computed in int8", "Choose auto, fp32 or bf16")
    if isinstance(loaded.model, OnnxModel) and precision != "auto":
        raise UsageError("the graphs of an export have their own number format", "Leave --precision out")
    return dataclasses.replace(loaded, precision=precision)


def _load_resolved(model_source: ModelSource, *, head: str | None, device: str, progress: Progress) -> Loaded:
    config = read_model_config(model_source.folder, exported=True)
    if is_export(model_source.folder):
        return _load_export(model_source, config, head=head, device=device)
    family = known_family(config, progress)
    head_config = read_head_config(model_source.folder)
    if head_config is None or (head is not None and head != head_config.head):
        chosen = head or default_head(model_source, config)
        check_head(family, chosen, model=model_source.base)
        own = head_config.head if head_config else natural_head_of(model_source.folder, config)
        # BERT names the weights of both alike: labels of texts would tag words
        if own != chosen and head_spec(own).labels and head_spec(chosen).labels:
            what = f"'{model_source.base}' was trained to {own}, not to {chosen}"
            raise UsageError(what, "Fine-tune it: hftool finetune MODEL TASK")
        head_config = _infer_head_config(model_source, config, chosen)
        if head_spec(chosen).embeds:
            head_config = known_sentences(model_source, progress).on(head_config)
    check_length(head_config, config, model_source.folder)
    auto_class = auto_class_of(head_config.head, config)
    loaded = load_model(model_source.folder, auto_class, head_config=head_config, new_head=True, device=choose_device(device))
    notify_tokenizer(loaded.tokenizer, model_source, progress)
    for note in loaded.notes:
        notice(progress, note)
    if head_config.max_length:
        return loaded
    limit = longest_input(model_source, loaded.tokenizer, loaded.model.config, embeds=head_spec(head_config.head).embeds)
    return dataclasses.replace(loaded, head_config=dataclasses.replace(head_config, max_length=limit))


def default_head(model_source: ModelSource, config: Any) -> str:
    """The head of a model without head config, by its registry row or its config."""
    return natural_head(model_source.row) if model_source.row else natural_head_of(model_source.folder, config)


def longest_input(model_source: ModelSource, tokenizer: Any, config: Any, *, embeds: bool) -> int:
    """The longest input, in tokens, of a model without head config; sentence-transformers may set a shorter one."""
    limit = length_limit(tokenizer, config)
    return min(limit, (length_of(model_source.folder) if embeds else 0) or limit)


def _load_export(model_source: ModelSource, config: Any, *, head: str | None, device: str) -> Loaded:
    """Load an export, which has one head and runs on the CPU. Raises UsageError, ConfigError, DataError."""
    check_loaded(model_source.folder)  # the graphs themselves are compared by `read_export`
    head_config = read_head_config(model_source.folder)
    if head_config is None:
        raise ConfigError(f"the export in '{model_source.folder}' has no {HEAD_CONFIG}", "Export the model again")
    if head is not None and head != head_config.head:
        what = f"'{model_source.folder}' was exported to {head_config.head}, not to {head}"
        raise UsageError(what, f"Export its model with --head {head}")
    if device not in ("auto", "cpu"):
        raise UsageError(f"graphs run on the CPU, not on '{device}'", "Leave --device out")
    check_length(head_config, config, model_source.folder)
    if head_config.labels and len(head_config.labels) != config.num_labels:
        fault = f"'labels' has {len(head_config.labels)} names, and the graph answers with {config.num_labels}"
        what = f"'{model_source.folder / HEAD_CONFIG}' does not fit the export: {fault}"
        raise DataError(what, "Copy the whole folder again")
    export = read_export(model_source.folder)
    model = open_model(model_source.folder, export.graphs, config)
    return Loaded(model, load_tokenizer(model_source.folder, config), head_config, family_of(config))


def known_family(config: Any, progress: Progress) -> Family:
    """The family of a model, with a notice for an unknown one."""
    family = family_of(config)
    if family not in FAMILIES:
        notice(progress, f"'{family.name}' is no family that hftool knows: its facts are taken from the model's config")
    return family


def notify_tokenizer(tokenizer: Any, model_source: ModelSource, progress: Progress) -> None:
    """Notify what the files of a model leave open, or contradict each other in, about its tokenizer."""
    for note in tokenizer_notes(tokenizer, model_source.folder):
        notice(progress, note)


def known_sentences(model_source: ModelSource, progress: Progress) -> SentenceSettings:
    """How the model embeds a text, with a notice for the steps that hftool does not run."""
    settings = sentence_settings(model_source.folder)
    if settings.missed:
        what = ", ".join(settings.missed)
        notice(progress, f"'{model_source.base}' was made with {what}, which hftool does not do: its vectors are others")
    return settings


def _infer_head_config(model_source: ModelSource, config: Any, head: str) -> HeadConfig:
    """A head config for a model that hftool did not train, or not for this head, from its config."""
    stand_in = {"model": model_source.stand_in} if model_source.stand_in else {}
    head_config = HeadConfig(head=head, base=model_source.base, revision=model_source.revision, stand_in=stand_in)
    if not head_spec(head).labels:
        return head_config
    kind = config.problem_type or ("regression" if config.num_labels == 1 else head_config.problem_type)
    labels = tuple(str(config.id2label[i]) for i in sorted(config.id2label))
    if head_spec(head).regression and kind == "regression" and len(labels) == 1:
        return dataclasses.replace(head_config, problem_type=kind)
    several = kind == SEVERAL and head_spec(head).regression  # a classifier of texts
    if (kind != head_config.problem_type and not several) or len(labels) < 2:
        what = f"the model in '{model_source.folder}' is trained for {kind.replace('_', ' ')} with {len(labels)} outputs"
        raise ConfigError(what, f"{head} takes one label of several")
    # labels called LABEL_0 stand for the numbers in data
    values = tuple(str(i) if name == f"LABEL_{i}" else name for i, name in enumerate(labels))
    separator = free_separator(labels) if several else ""
    return dataclasses.replace(head_config, labels=labels, label_values=values, problem_type=kind, labels_sep=separator)


def text_rows(texts: Sequence[str], pairs: Sequence[str] | None, *, roles: Sequence[str] = ("text", "text_pair")) -> list[Row]:
    """Texts as rows under the first role, pairs under the second. Raises UsageError for anything but lists of equal length."""
    texts = text_list(texts)
    pairs = text_list(pairs, "pairs") if pairs is not None else None
    if pairs is not None and len(pairs) != len(texts):
        raise UsageError(f"there are {len(texts)} texts and {len(pairs)} second texts")
    rows: list[Row] = [{roles[0]: replace_surrogates(text)} for text in texts]
    for row, pair in zip(rows, pairs or [], strict=False):
        row[roles[1]] = replace_surrogates(pair)
    return rows


def make_predictor(loaded: Loaded, options: Mapping[str, Any] | None = None, *, packed: bool = False) -> Predictor:
    """The predictor of a model: its engine and its head.

    Args:
        loaded: The model.
        options: Fields of the head, such as top_k; under `sampling` SamplingParams, or a mapping of those that differ.
        packed: Run an encoder without padding where it can, and in the number format of `loaded`; otherwise in fp32.

    Raises:
        UsageError: An unknown option, or a value out of its range.
    """
    engine: Engine
    engine = OnnxEngine(loaded.model) if isinstance(loaded.model, OnnxModel) else _torch_engine(loaded, packed=packed)
    head: Any = get_head(loaded.tokenizer, loaded.head_config, loaded.model.config)
    given = dict(options or {})
    sampling = given.pop("sampling", None)
    if sampling is not None:
        given["settings"] = sampling if isinstance(sampling, SamplingParams) else head.sampling.updated(sampling)
    return Predictor(engine, dataclasses.replace(head, **given) if given else head)


def _torch_engine(loaded: Loaded, *, packed: bool) -> TorchEngine:
    """The engine of a model. By default only a fused encoder computes in bf16: what it decides is what fp32 decides."""
    packs = packed and supports_unpadding(loaded.model)
    wanted = loaded.precision if packed else "fp32"
    is_fast = packs and choose_precision(wanted, "cpu", loaded.family.safe_dtypes) == "bf16"
    fused = fuse(loaded.model) if is_fast else None
    precision = wanted if wanted in ("bf16", INT8) and not fused else "fp32"
    return TorchEngine(loaded.model, str(loaded.model.device), precision, packs, fused)


def trained(model: Model | Loaded, head: str | None) -> Loaded:
    """The model, loaded if it is a name. Raises what `load` raises, UsageError (another head), ConfigError (not trained)."""
    loaded = model if isinstance(model, Loaded) else load(model, head=head)
    if head is not None and loaded.head_config.head != head:
        raise UsageError(f"the model was loaded to {loaded.head_config.head}, not to {head}", f"Load it with head='{head}'")
    if loaded.new_weights:
        lacks = ", ".join(loaded.new_weights[:5])
        raise ConfigError(f"the model has no trained head: it lacks {lacks}", "Fine-tune it: hftool finetune MODEL TASK")
    return loaded


def answers_of(
    loaded: Loaded,
    rows: Iterable[Row],
    options: Mapping[str, Any] | None = None,
    on_token: OnToken | None = None,
    *,
    prepared: bool = True,
) -> Iterator[Answer]:
    """One answer for each row, in order, by a model that was `trained`; `prepared`: `packed` of `make_predictor`."""
    return make_predictor(loaded, options=options, packed=prepared).answer(rows, on_token)


def read_lines(handle: Iterable[str]) -> list[str]:
    """Lines of a pipe as texts, without their line ends."""
    return [line.rstrip("\r\n") for line in handle]
