"""The table of heads: one row for each kind of answer. The row names the package with the head's behaviour."""

import importlib
from collections.abc import Container
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

from hftool.errors import UsageError, did_you_mean

Architecture = Literal["encoder", "decoder", "encoder-decoder"]


@dataclass(frozen=True, kw_only=True)
class ReportSpec:
    """A kind of evaluation report, which `Metrics.report` of a head names."""

    name: str
    # The module of its functions `report` and `error_rows`, and where answers are compared with references
    # `predictions_and_references`, which gives the inputs of a module of the library `evaluate`.
    module: str
    metrics: tuple[str, ...]  # those that can choose the best checkpoint, in addition to the loss
    given: str = ""  # the key of an answer and
    expected: str = ""  # of a row whose values are compared to find that all rows get the same answer; "" to leave that out


@dataclass(frozen=True, kw_only=True)
class HeadSpec:
    """What the rest of hftool needs to know of a head without importing it."""

    name: str  # its name in hftool.json, in --head and, where it has one, as a verb
    # "package.module:Class" of the `heads.protocol.Head`. The package also holds `render` (answers as lines), `model_card`
    # (facts and a Python snippet for the README.md of a model) and `schema` (parameters and reply in the Hub's API).
    implementation: str
    architectures: tuple[Architecture, ...]  # the architectures that can have it
    auto_class: str  # the class of transformers that loads such a model
    encoder_auto_class: str = ""  # the class for encoders that `auto_class` does not know
    class_suffixes: tuple[str, ...] = ()  # the suffixes of its classes in the `architectures` of a config.json
    natural_of: Architecture | None = None  # the architecture whose pre-trained checkpoints have it
    pipeline_tag: str  # the Hub's name of the task: https://huggingface.co/docs/hub/models-tasks
    gives: str  # what an answer is: labels, entities, a span, text, words or a vector
    inputs: tuple[str, ...] = ("text",)  # the roles of an input: of its text, and of a second text
    # when the second text is needed: never, always, as in training, or optionally
    second_input: Literal["never", "always", "as trained", "optional"] = "never"
    text_key: str = "text"  # the key of the input in documents of --json
    empty_key: str  # the key that is null there where the input is empty
    next_command: str = 'infer {} "TEXT"'  # how a trained model is used from the command line; {} is the model
    purpose: str = ""  # what it does, after "this model is to"; by default its name
    reports: tuple[ReportSpec, ...] = ()  # the reports that its `metrics` may name
    generates: bool = False  # whether it generates texts
    embeds: bool = False  # whether it gives vectors, as sentence-transformers makes them
    labels: bool = False  # whether it scores named labels or tags, so that a model without `labels` cannot be used
    regression: bool = False  # whether it can give a number instead of a label
    new_layer: bool = False  # whether its last layer gets weights only by training on a task
    unlabeled: bool = False  # whether it trains on text alone
    priority: int = 0  # the order in which heads are tried where columns decide, 1 first; 0 is never
    offset_roles: tuple[str, ...] = ()  # the roles in whose text an answer has character offsets
    inference_options: tuple[tuple[str, Any], ...] = ()  # pairs of a field of the head and its value in inference
    continues: bool = False  # whether it continues its input, which may then be empty, or token ids
    fills: bool = False  # whether its input must have a mask, which it fills
    nested_reply: bool = False  # whether the Hub's API puts the reply to a single input into a list

    def load(self) -> Any:
        """Import the class of the head."""
        module, _, name = self.implementation.partition(":")
        return getattr(importlib.import_module(module), name)

    def module(self, name: str) -> ModuleType:
        """Import a module of the head's package, such as "render"."""
        package = self.implementation.partition(":")[0].rpartition(".")[0]
        return importlib.import_module(f"{package}.{name}")

    def takes_pairs(self, columns: Container[str]) -> bool:
        """Whether a model that was trained on columns of these roles takes pairs of texts alone."""
        return self.second_input == "as trained" and self.inputs[1] in columns


POOLINGS = ("mean", "cls", "max", "mean_sqrt_len_tokens")  # how the vectors of tokens become that of a text
LOSS = "loss"
LOWER_IS_BETTER = (LOSS, "perplexity", "mean_absolute_error")  # the metrics that improve as they fall
CLASSIFICATION_REPORT = ReportSpec(
    name="classification",
    module="hftool.heads.classify.report",
    metrics=("accuracy", "macro_f1", "mcc", "f1"),
    given="label",
    expected="label",
)
MULTI_LABEL_REPORT = ReportSpec(
    name="multi_label",
    module="hftool.heads.classify.multi_label_report",
    metrics=("micro_f1", "macro_f1", "samples_f1", "subset_accuracy"),
    given="labels",
    expected="label",
)
REGRESSION_REPORT = ReportSpec(
    name="regression", module="hftool.heads.regression_report", metrics=("mean_absolute_error", "pearson", "spearman")
)
TAGGING_REPORT = ReportSpec(
    name="tagging",
    module="hftool.heads.tag.report",
    metrics=("entity_f1", "precision", "recall", "accuracy"),
    given="tags",
    expected="tags",
)
ANSWERS_REPORT = ReportSpec(
    name="answers", module="hftool.heads.answer.report", metrics=("f1", "exact_match"), given="answer", expected="answers"
)
TEXTS_REPORT = ReportSpec(
    name="texts",
    module="hftool.heads.text2text.report",
    metrics=("rougeL", "rouge1", "rouge2", "rougeLsum", "bleu", "chrf"),
    given="text",
    expected="target",
)
LANGUAGE_REPORT = ReportSpec(name="language", module="hftool.heads.language_report", metrics=("perplexity",))

HEADS = (
    HeadSpec(
        name="classify",
        implementation="hftool.heads.classify.head:ClassifyHead",
        architectures=("encoder", "decoder", "encoder-decoder"),
        auto_class="AutoModelForSequenceClassification",
        class_suffixes=("ForSequenceClassification",),
        pipeline_tag="text-classification",
        gives="labels",
        inputs=("text", "text_pair"),
        second_input="as trained",
        empty_key="label",
        next_command='classify {} "TEXT"',
        reports=(CLASSIFICATION_REPORT, MULTI_LABEL_REPORT, REGRESSION_REPORT),
        labels=True,
        regression=True,
        new_layer=True,
        priority=4,
        nested_reply=True,
    ),
    HeadSpec(
        name="tag",
        implementation="hftool.heads.tag.head:TagHead",
        architectures=("encoder", "decoder"),
        auto_class="AutoModelForTokenClassification",
        class_suffixes=("ForTokenClassification",),
        pipeline_tag="token-classification",
        gives="entities",
        empty_key="entities",
        next_command='tag {} "TEXT"',
        reports=(TAGGING_REPORT,),
        labels=True,
        new_layer=True,
        priority=1,
        offset_roles=("text",),
    ),
    HeadSpec(
        name="answer",
        implementation="hftool.heads.answer.head:AnswerHead",
        architectures=("encoder",),
        auto_class="AutoModelForQuestionAnswering",
        class_suffixes=("ForQuestionAnswering",),
        pipeline_tag="question-answering",
        gives="span",
        inputs=("question", "context"),
        second_input="always",
        text_key="question",
        empty_key="answer",
        next_command='answer {} --question "TEXT" --context "TEXT"',
        reports=(ANSWERS_REPORT,),
        new_layer=True,
        priority=2,
        offset_roles=("context",),
    ),
    HeadSpec(
        name="text2text",
        implementation="hftool.heads.text2text.head:Text2TextHead",
        architectures=("encoder-decoder",),
        auto_class="AutoModelForSeq2SeqLM",
        class_suffixes=("ForConditionalGeneration",),
        natural_of="encoder-decoder",
        pipeline_tag="text2text-generation",
        gives="text",
        inputs=("source",),
        text_key="input",
        empty_key="text",
        purpose="generate a text from a text",
        reports=(TEXTS_REPORT,),
        generates=True,
        priority=3,
    ),
    HeadSpec(
        name="generate",
        implementation="hftool.heads.generate.head:GenerateHead",
        architectures=("decoder",),
        auto_class="AutoModelForCausalLM",
        class_suffixes=("LMHeadModel", "ForCausalLM"),
        natural_of="decoder",
        pipeline_tag="text-generation",
        gives="text",
        inputs=("prompt",),
        text_key="input",
        empty_key="text",
        next_command='generate {} "TEXT"',
        purpose="continue a text",
        reports=(LANGUAGE_REPORT,),
        generates=True,
        unlabeled=True,
        priority=5,
        continues=True,
    ),
    HeadSpec(
        name="fill",
        implementation="hftool.heads.fill.head:FillHead",
        architectures=("encoder",),
        auto_class="AutoModelForMaskedLM",
        class_suffixes=("ForMaskedLM", "ForPreTraining"),
        natural_of="encoder",
        pipeline_tag="fill-mask",
        gives="words",
        text_key="input",
        empty_key="masks",
        next_command='fill {} "TEXT with a [MASK]"',
        reports=(LANGUAGE_REPORT,),
        unlabeled=True,
        priority=6,
        offset_roles=("text",),
        inference_options=(("for_inference", True),),
        fills=True,
    ),
    HeadSpec(
        name="embed",
        implementation="hftool.heads.embed.head:EmbedHead",
        architectures=("encoder", "encoder-decoder"),
        auto_class="AutoModelForTextEncoding",
        encoder_auto_class="AutoModel",
        class_suffixes=("Model",),
        pipeline_tag="feature-extraction",
        gives="vector",
        inputs=("text", "text_pair"),
        second_input="optional",
        empty_key="embedding",
        next_command='embed {} "TEXT"',
        reports=(REGRESSION_REPORT,),
        embeds=True,
    ),
)


def all_heads() -> tuple[HeadSpec, ...]:
    """All rows, as the table is now."""
    return HEADS


def head_names() -> tuple[str, ...]:
    """The names of all heads."""
    return tuple(spec.name for spec in HEADS)


def head_spec(name: str) -> HeadSpec:
    """The row called `name`. Raises UsageError with the nearest name."""
    found = next((spec for spec in HEADS if spec.name == name), None)
    if found is None:
        names = head_names()
        raise UsageError(f"unknown head '{name}'", did_you_mean(name, names, otherwise="Heads: " + ", ".join(names)))
    return found


def heads_of(architecture: Architecture) -> tuple[str, ...]:
    """The names of the heads that models of an architecture can have."""
    return tuple(spec.name for spec in HEADS if architecture in spec.architectures)


def pretraining_head(architecture: Architecture) -> str:
    """The head of a checkpoint of an architecture that no task has trained."""
    return next(spec.name for spec in HEADS if spec.natural_of == architecture)


def report_spec(name: str) -> ReportSpec:
    """The report called `name`."""
    return next(report for spec in HEADS for report in spec.reports if report.name == name)


def report_module(name: str) -> ModuleType:
    """Import the module of the report called `name`."""
    return importlib.import_module(report_spec(name).module)


def deciding_metrics() -> tuple[str, ...]:
    """The metrics of all heads that can choose the best checkpoint."""
    return tuple(dict.fromkeys([LOSS, *(name for spec in HEADS for report in spec.reports for name in report.metrics)]))
