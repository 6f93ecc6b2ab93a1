"""Model folders: loading and saving the model, tokenizer and head config; the facts of a config."""

from hftool.models.class_rows import keep_classes
from hftool.models.config_facts import auto_class_of, family_of, natural_head_of, read_config
from hftool.models.describe import describe, meta_model
from hftool.models.head_config import HEAD_CONFIG, HeadConfig, read_head_config, write_head_config
from hftool.models.load import Loaded, load_base, load_model, save_base, save_model
from hftool.models.positions import check_length, length_limit
from hftool.models.quiet import quiet
from hftool.models.sentence_transformers import SentenceSettings, length_of, sentence_settings
from hftool.models.tokenizer import load_tokenizer, tokenizer_notes
from hftool.registry.heads import POOLINGS

# fmt: off
__all__ = [
    "HEAD_CONFIG", "POOLINGS", "HeadConfig", "Loaded", "SentenceSettings", "auto_class_of", "check_length", "describe",
    "family_of", "keep_classes", "length_limit", "length_of", "load_base", "load_model", "load_tokenizer", "meta_model",
    "natural_head_of", "quiet", "read_config", "read_head_config", "save_base", "save_model", "sentence_settings",
    "tokenizer_notes", "write_head_config",
]
# fmt: on
