"""Model folders: loading and saving the model, tokenizer and head config; the facts of a config."""

from hftool.models.class_rows import keep_classes
from hftool.models.config_facts import auto_class_of, family_of, read_model_config
from hftool.models.describe import describe, meta_model
from hftool.models.head_config import HeadConfig, read_head_config, write_head_config
from hftool.models.load import Loaded, load_base, load_model, save_base, save_model
from hftool.models.positions import length_limit
from hftool.models.quiet import quiet
from hftool.models.sentence_transformers import sentence_settings
from hftool.models.tokenizer import load_tokenizer

# fmt: off
__all__ = [
    "HeadConfig",
    "Loaded",
    "auto_class_of",
    "describe",
    "family_of",
    "keep_classes",
    "length_limit",
    "load_base",
    "load_model",
    "load_tokenizer",
    "meta_model",
    "quiet",
    "read_head_config",
    "read_model_config",
    "save_base",
    "save_model",
    "sentence_settings",
    "write_head_config",
]
# fmt: on
