"""hftool/registry/models.py: rows are complete, stand-ins are usable, and the facts of a family agree with transformers."""

import json
import re

import pytest
import torch
import transformers
from transformers import AutoConfig, AutoModel

from hftool.errors import UsageError
from hftool.models.safety import check_folder
from hftool.progress import silent
from hftool.registry.families import FAMILIES, check_head, find_family
from hftool.registry.heads import head_names, head_spec
from hftool.registry.models import MODELS, find_model, get_model, natural_head
from hftool.workflow.resolve import ASSETS, resolve_model

BY_NAME = {family.name: family for family in FAMILIES}
TINY = {
    "bert": {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8},
    "distilbert": {"dim": 8, "n_layers": 1, "n_heads": 1, "hidden_dim": 8},
    "gpt2": {"n_embd": 8, "n_layer": 1, "n_head": 1, "bos_token_id": 0, "eos_token_id": 0},
    "t5": {"d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_heads": 2},
}
TINY |= {"roberta": TINY["bert"], "xlm-roberta": TINY["bert"], "mt5": TINY["t5"]}
LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
ROBERTA = {"max_position_embeddings": 514, "type_vocab_size": 1}
GATED = {"feed_forward_proj": "gated-gelu", "vocab_size": 32128}
T5_BASE = {"d_model": 768, "num_layers": 12, "num_heads": 12}
# Settings in the checkpoints' config.json that differ from the defaults of the config class
CONFIGS = {
    "bert": {},
    "bert-large": LARGE,
    "bert-cased": {"vocab_size": 28996},
    "bert-large-cased": {**LARGE, "vocab_size": 28996},
    "bert-multilingual": {"vocab_size": 119547},
    "bert-chinese": {"vocab_size": 21128},
    "minilm": {"hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1536},
    "distilbert": {},
    "roberta": {**ROBERTA, "vocab_size": 50265},
    "roberta-large": {**ROBERTA, **LARGE, "vocab_size": 50265},
    "xlm-roberta": {**ROBERTA, "vocab_size": 250002},
    "gpt2": {},
    "gpt2-medium": {"n_embd": 1024, "n_layer": 24, "n_head": 16},
    "gpt2-large": {"n_embd": 1280, "n_layer": 36, "n_head": 20},
    "distilgpt2": {"n_layer": 6},
    "t5": {},
    "t5-base": {**T5_BASE, "d_ff": 3072},
    "t5-large": {"d_model": 1024, "d_ff": 4096, "num_layers": 24, "num_heads": 16},
    "flan-t5": {**T5_BASE, **GATED, "d_ff": 2048},
    "flan-t5-small": {**GATED, "d_ff": 1024, "num_layers": 8, "num_heads": 6},
    "mt5": {"vocab_size": 250112},
}


def config_of(family, **facts):
    return AutoConfig.for_model(BY_NAME[family].model_type, **facts)


def tiny(family, **facts):
    return config_of(family, **{"vocab_size": 40, **TINY[family], **facts})


def count(config):
    with torch.device("meta"):
        return sum(weights.numel() for weights in AutoModel.from_config(config).parameters())


# ---- models


def test_rows_are_complete_and_pinned():
    assert len({row.name for row in MODELS}) == len(MODELS)
    for row in MODELS:
        assert row.family in BY_NAME
        assert not row.natural or row.natural in BY_NAME[row.family].heads
        if row.bundled:
            assert (row.repo, row.revision, row.package, row.stand_ins) == ("", "", None, ())
        else:
            assert re.fullmatch(r"[\w.-]+/[\w.-]+", row.repo) and re.fullmatch(r"[0-9a-f]{40}", row.revision)
        assert row.package is None or re.fullmatch(r"[0-9a-f]{64}", row.package.sha256)
    assert len({(row.repo, row.revision) for row in MODELS if row.repo}) == sum(bool(row.repo) for row in MODELS)


@pytest.mark.parametrize("row", [row for row in MODELS if row.repo], ids=lambda row: row.name)
def test_parameter_counts_agree_with_the_config(row):
    assert count(config_of(row.family, **CONFIGS[row.name])) == row.parameters


@pytest.mark.parametrize("name", [row.name for row in MODELS if row.bundled])
def test_bundled_model_exists_with_the_parameter_count_of_its_row(name):
    row = get_model(name)
    folder = ASSETS / "models" / row.bundled
    check_folder(folder)
    config = AutoConfig.from_pretrained(folder)
    assert config.model_type == BY_NAME[row.family].model_type
    assert count(config) == row.parameters
    head_config = json.loads((folder / "hftool.json").read_text(encoding="utf-8")) if (folder / "hftool.json").exists() else {}
    assert head_config.get("head", natural_head(row)) == natural_head(row)


def test_unknown_name_suggests_the_nearest():
    assert find_model("bert") is get_model("bert") and find_model("nope") is None
    assert find_family("bert").name == "bert" and find_family("llama") is None
    with pytest.raises(UsageError, match=r"^unknown model 'minlm'. Did you mean 'minilm'\?$"):
        get_model("minlm")
    with pytest.raises(UsageError, match=r"See `hftool models`; a Hub id is owner/name$"):
        get_model("zzzzzz")


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("bert", "fill"),
        ("minilm", "embed"),
        ("distilbert", "fill"),
        ("roberta", "fill"),
        ("xlm-roberta", "fill"),
        ("gpt2", "generate"),
        ("distilgpt2", "generate"),
        ("t5", "text2text"),
        ("flan-t5", "text2text"),
        ("mt5", "text2text"),
        ("roberta-mini", "fill"),
        ("gpt2-mini", "generate"),
    ],
)
def test_natural_head_of_pre_trained_models(name, head):
    assert natural_head(get_model(name)) == head


# ---- stand-ins


def test_stand_in_names_by_head():
    bert = get_model("bert")
    assert bert.stand_in_names("fill") == ("bert-mini",)  # MiniLM has no masked-language-model head
    assert bert.stand_in_names("classify") == bert.stand_in_names("embed") == ("minilm", "bert-mini")
    assert get_model("gpt2").stand_in_names("generate") == ("gpt2-mini",)
    assert get_model("mt5").stand_in_names("text2text") == ()


def test_stand_ins_are_of_the_same_family_and_available_offline():
    for row in MODELS:
        for head in ("", *head_names()):
            for other in map(get_model, row.stand_in_names(head)):
                assert other.family == row.family and other.name != row.name and other.natural in ("", "embed")
                assert other.bundled or other.package is not None
                assert not head or other.parameters <= row.parameters
        for head, names in row.stand_ins:
            assert names and (not head or head in BY_NAME[row.family].heads)


@pytest.mark.parametrize(
    ("name", "head", "used"),
    [
        ("bert", "classify", "minilm"),
        ("bert", "tag", "minilm"),
        ("bert", "answer", "minilm"),
        ("bert", "embed", "minilm"),
        ("bert", "fill", "bert-mini"),
        ("roberta", "fill", "roberta-mini"),
        ("gpt2", "generate", "gpt2-mini"),
        ("t5", "text2text", "t5-mini"),
    ],
)
def test_stand_in_is_resolved_offline(name, head, used):
    model_source = resolve_model(name, head=head, offline=True, fallback=True, progress=silent)
    assert (model_source.stand_in.requested, model_source.stand_in.used) == (name, used) and model_source.row is get_model(used)
    assert (model_source.folder / "model.safetensors").is_file() and (model_source.folder / "config.json").is_file()


# ---- families


def test_families_have_the_model_types_of_transformers():
    assert {family.model_type for family in FAMILIES} == {type(config_of(family.name)).model_type for family in FAMILIES}
    assert [family.name for family in FAMILIES] == ["bert", "distilbert", "roberta", "xlm-roberta", "gpt2", "t5", "mt5"]
    for family in FAMILIES:
        assert find_family(family.model_type) is family
        assert family.natural in family.heads and set(family.heads) <= set(head_names())
        assert {family.padding_side, family.prompt_padding_side} <= {"left", "right"}


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_transformers_has_a_class_for_every_head_of_a_family(family):
    for head in family.heads:
        auto_class = getattr(transformers, family.auto_class(head, head_spec(head).auto_class))
        with torch.device("meta"):
            assert auto_class.from_config(tiny(family.name)).config.model_type == family.model_type


def test_transformers_has_no_class_for_unsupported_heads():
    for family, head in (
        ("bert", "text2text"),
        ("distilbert", "generate"),
        ("gpt2", "fill"),
        ("gpt2", "embed"),
        ("t5", "fill"),
    ):
        assert head not in BY_NAME[family].heads
        with pytest.raises(ValueError, match="Unrecognized configuration class"):
            getattr(transformers, head_spec(head).auto_class).from_config(tiny(family))


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta", "xlm-roberta", "gpt2"])
def test_position_offset_is_the_number_of_unused_positions(family):
    config = tiny(family, max_position_embeddings=12)
    model = AutoModel.from_config(config).eval()
    longest = 12 - BY_NAME[family].position_offset
    with torch.inference_mode():
        assert model(torch.full((1, longest), 5)).last_hidden_state.shape == (1, longest, 8)
        with pytest.raises((IndexError, RuntimeError, ValueError)):
            model(torch.full((1, longest + 1), 5))


@pytest.mark.parametrize("family", ["roberta", "xlm-roberta"])
def test_roberta_positions_start_after_the_padding_index(family):
    """Compared with the position ids that RobertaModel computes."""
    config = config_of(family)
    embeddings = AutoModel.from_config(tiny(family)).embeddings
    ids = torch.tensor([[0, 5, 6, config.pad_token_id]])
    positions = embeddings.create_position_ids_from_input_ids(ids, config.pad_token_id)
    assert BY_NAME[family].position_offset == config.pad_token_id + 1 == 2
    assert positions.tolist() == [[2, 3, 4, config.pad_token_id]]
    assert all(row.position_offset == 0 for row in FAMILIES if row.name not in ("roberta", "xlm-roberta"))


def test_prompts_of_decoders_are_padded_on_the_left():
    """GPT-2 has no pad token; generation continues after the last column of the batch, which must be a token of the prompt."""
    config = config_of("gpt2")
    assert config.pad_token_id is None and not config.is_encoder_decoder
    for family in FAMILIES:
        assert family.prompt_padding_side == ("left" if family.natural == "generate" else "right")
        assert family.padding_side == "right"
        assert family.name == "gpt2" or config_of(family.name).pad_token_id is not None


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_families_that_overflow_in_float16_exclude_it(family):
    """transformers keeps `wo` of T5 in float32, which alone does not prevent overflow in float16."""
    auto_class = getattr(transformers, head_spec(family.natural).auto_class)
    overflows = bool(auto_class._model_mapping[type(config_of(family.name))]._keep_in_fp32_modules)
    assert overflows == (family.name in ("t5", "mt5"))
    assert ("float16" not in family.safe_dtypes) == overflows
    assert {"float32", "bfloat16"} <= set(family.safe_dtypes)


@pytest.mark.parametrize("family", ["t5", "mt5"])
def test_t5_decoder_starts_with_the_pad_token(family):
    """T5Config does not set decoder_start_token_id and MT5Config sets 0, the pad token."""
    config = config_of(family)
    assert config.is_encoder_decoder and config.pad_token_id == 0
    assert getattr(config, "decoder_start_token_id", None) in (None, config.pad_token_id)
    assert BY_NAME[family].natural == "text2text" and "text2text" in BY_NAME[family].heads


@pytest.mark.parametrize("family", ["t5", "mt5"])
def test_t5_classifies_with_its_encoder_only(family):
    """AutoModelForSequenceClassification would run the decoder as well."""
    auto_class = BY_NAME[family].auto_class("classify", head_spec("classify").auto_class)
    with torch.device("meta"):
        encoder_only = getattr(transformers, auto_class).from_config(tiny(family, num_labels=3))
        with_decoder = transformers.AutoModelForSequenceClassification.from_config(tiny(family, num_labels=3))
    assert not any("decoder" in name for name, _ in encoder_only.named_parameters())
    assert any("decoder" in name for name, _ in with_decoder.named_parameters())
    assert tuple(encoder_only.classifier.weight.shape) == (3, 8)
    assert BY_NAME[family].auto_class("text2text", head_spec("text2text").auto_class) == "AutoModelForSeq2SeqLM"
    assert BY_NAME["bert"].auto_class("classify", head_spec("classify").auto_class) == "AutoModelForSequenceClassification"


def test_families_without_a_position_limit_use_their_pre_training_length():
    for family in FAMILIES:
        limit = getattr(config_of(family.name), "max_position_embeddings", None)
        assert bool(family.length) == (limit is None), family.name
    assert (BY_NAME["t5"].length, BY_NAME["mt5"].length) == (512, 1024)


def test_only_t5_was_pre_trained_with_task_prefixes():
    assert [family.name for family in FAMILIES if family.prefixed] == ["t5"]


def test_default_learning_rates():
    assert {family.name: family.learning_rate for family in FAMILIES if family.learning_rate != 5e-5} == {
        "t5": 3e-4,
        "mt5": 3e-4,
    }


def test_unsupported_head_error_lists_the_families_that_support_it():
    check_head(find_family("bert"), "classify", model="bert")
    check_head(find_family("t5"), "classify", model="t5")
    with pytest.raises(UsageError) as caught:
        check_head(find_family("t5"), "tag", model="flan-t5")
    assert str(caught.value) == (
        "'flan-t5' is of the family t5, which cannot do 'tag'. "
        "Families that can: 'bert', 'distilbert', 'roberta', 'xlm-roberta', 'gpt2'"
    )
    with pytest.raises(
        UsageError, match=r"'gpt2' is of the family gpt2, which cannot do 'text2text'. Families that can: 't5', 'mt5'$"
    ):
        check_head(find_family("gpt2"), "text2text", model="gpt2")
