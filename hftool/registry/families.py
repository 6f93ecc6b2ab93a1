"""The model families: what their checkpoints have in common, such as the auto classes and the position offset."""

from dataclasses import dataclass

from hftool.errors import UsageError, listing
from hftool.registry.heads import Architecture, heads_of, pretraining_head

# The encoder alone, with averaged token scores: transformers' T5 for sequences also runs the decoder. Liu et al., "EncT5", 2021
T5_CLASSES = (("classify", "AutoModelForTokenClassification"),)


@dataclass(frozen=True)
class Family:
    """What differs between the families of models."""

    name: str
    model_type: str  # the `model_type` of their config.json
    architecture: Architecture  # what decides which heads they can have
    learning_rate: float = 5e-5  # the default of full fine-tuning
    safe_dtypes: tuple[str, ...] = ("float32", "bfloat16", "float16")
    padding_side: str = "right"  # the side on which a batch is padded in training and scoring
    prompt_padding_side: str = "right"  # the side on which prompts are padded
    position_offset: int = 0  # how many position embeddings the family reserves; RoBERTa counts from padding_idx + 1
    prefixed: bool = False  # whether the name of the task comes before the text, as in "summarize: "
    length: int = 0  # tokens of the texts in pre-training, where neither the architecture nor the tokenizer has a limit
    # pairs of a head and the class of transformers that loads it, where that is not the head's own
    auto_classes: tuple[tuple[str, str], ...] = ()
    # the heads of a family without a row here, where they are not those of its architecture
    own_heads: tuple[str, ...] | None = None

    @property
    def heads(self) -> tuple[str, ...]:
        """The names of the heads that its models can have."""
        return heads_of(self.architecture) if self.own_heads is None else self.own_heads

    @property
    def natural(self) -> str:
        """The head of a checkpoint that no task has trained."""
        return pretraining_head(self.architecture)

    def auto_class(self, head: str, otherwise: str) -> str:
        """The class of transformers for `head`: the family's own, else that of the head."""
        return dict(self.auto_classes).get(head, otherwise)


# T5 overflows in float16: https://github.com/huggingface/transformers/issues/4287
NO_HALF = ("float32", "bfloat16")


FAMILIES = (
    Family("bert", "bert", "encoder"),
    Family("distilbert", "distilbert", "encoder"),
    Family("roberta", "roberta", "encoder", position_offset=2),
    Family("xlm-roberta", "xlm-roberta", "encoder", position_offset=2),
    Family("gpt2", "gpt2", "decoder", prompt_padding_side="left"),
    Family(
        "t5",
        "t5",
        "encoder-decoder",
        learning_rate=3e-4,
        safe_dtypes=NO_HALF,
        prefixed=True,
        length=512,
        auto_classes=T5_CLASSES,
    ),
    Family(  # pre-trained on spans alone, without prefixes: Xue et al., "mT5", 2021, section 3
        "mt5", "mt5", "encoder-decoder", learning_rate=3e-4, safe_dtypes=NO_HALF, length=1024, auto_classes=T5_CLASSES
    ),
)


def find_family(model_type: str) -> Family | None:
    """The family of the `model_type` of a config.json, or None."""
    return next((row for row in FAMILIES if row.model_type == model_type), None)


def get_family(name: str) -> Family:
    """The family called `name`."""
    return next(row for row in FAMILIES if row.name == name)


def check_head(family: Family, head: str, *, model: str) -> None:
    """Raise UsageError unless `family` can have `head`; the error names the families that can."""
    if head not in family.heads:
        able = listing(f.name for f in FAMILIES if head in f.heads)
        raise UsageError(f"'{model}' is of the family {family.name}, which cannot do '{head}'", f"Families that can: {able}")
