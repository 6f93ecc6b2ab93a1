"""Settings of sentence-transformers models: pooling, normalization, prompts and length limit.

https://sbert.net/docs/sentence_transformer/usage/custom_models.html
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hftool.errors import DataError
from hftool.models.head_config import HeadConfig, read_head_config
from hftool.registry.heads import POOLINGS, head_spec
from hftool.storage.json_documents import Schema, each, read_document

MODULES = "modules.json"
PROMPTS = "config_sentence_transformers.json"
# settings of the Transformer module; before sentence-transformers 2 they were named by the architecture
TRANSFORMER = tuple(
    f"sentence_{kind}_config.json" for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
SUPPORTED = ("Transformer", "Pooling", "Normalize")
OLD = {  # before sentence-transformers 5 each mode had its own switch
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
LISTED: Schema = {  # modules.json
    "type": "array",
    "items": {"type": "object", "required": ("type",), "properties": {"type": {"type": "string"}, "path": {"type": "string"}}},
}
POOLING: Schema = {  # config.json of the Pooling module
    "type": "object",
    "properties": {
        "pooling_mode": {"type": ["string", "array"], "items": {"type": "string"}},
        **each(OLD, {"type": "boolean"}),
    },
}
SETTINGS: Schema = {  # the keys of sentence_bert_config.json that are read
    "type": "object",
    "properties": {
        "max_seq_length": {"type": ["integer", "null"], "minimum": 1},
        "do_lower_case": {"type": ["boolean", "null"]},
    },
}
PROMPTED: Schema = {  # the keys of config_sentence_transformers.json that are read
    "type": "object",
    "properties": {
        "default_prompt_name": {"type": ["string", "null"]},
        "prompts": {"type": ["object", "null"], "additionalProperties": {"type": "string"}},
        "truncate_dim": {"type": ["integer", "null"]},
    },
}


@dataclass(frozen=True)
class SentenceSettings:
    """How the embedding of a text is computed."""

    pooling: str = HeadConfig.pooling  # how token vectors are combined, one of `POOLINGS`
    normalize: bool = HeadConfig.normalize  # whether embeddings have length 1
    prefix: str = HeadConfig.prefix  # the prompt before each text
    pool_prefix: bool = HeadConfig.pool_prefix  # whether the tokens of the prompt are pooled, too
    missed: tuple[str, ...] = ()  # steps of the model that hftool does not support

    def on(self, head_config: HeadConfig) -> HeadConfig:
        """The head config with these settings."""
        return dataclasses.replace(
            head_config, pooling=self.pooling, normalize=self.normalize, prefix=self.prefix, pool_prefix=self.pool_prefix
        )


def sentence_settings(folder: Path) -> SentenceSettings:
    """The settings in a checked folder: from hftool.json, else from sentence-transformers' files, else mean pooling.

    Raises DataError (an invalid value), ConfigError (hftool.json is of another version).
    """
    head_config = read_head_config(folder)
    if head_config is not None and head_spec(head_config.head).embeds:
        return SentenceSettings(head_config.pooling, head_config.normalize, head_config.prefix, head_config.pool_prefix)
    modules = _read(folder / MODULES, LISTED, [])
    if not modules:
        return SentenceSettings()
    kinds = {module["type"].rpartition(".")[2]: module.get("path", "") for module in modules}
    missed = [kind for kind in kinds if kind not in SUPPORTED]
    prompts = _read(folder / PROMPTS, PROMPTED, {})
    if prompts.get("truncate_dim"):
        missed.append("truncate_dim")
    found = SentenceSettings(normalize="Normalize" in kinds, prefix=_default_prompt(prompts, folder / PROMPTS))
    subfolder = kinds.get("Pooling", "")
    if subfolder in ("", "..") or Path(subfolder).name != subfolder:  # never leave the folder
        return dataclasses.replace(found, missed=tuple(missed))
    settings = _read(folder / subfolder / "config.json", POOLING, {})
    mode = settings.get("pooling_mode", [mode for key, mode in OLD.items() if settings.get(key) is True])
    modes = tuple(mode) if isinstance(mode, list) else (mode,)
    pooling = modes[0] if len(modes) == 1 and modes[0] in POOLINGS else HeadConfig.pooling
    if modes and modes != (pooling,):
        missed.append(f"pooling by {' and '.join(modes)}")
    pool_prefix = settings.get("include_prompt", True) is not False
    return dataclasses.replace(found, pooling=pooling, pool_prefix=pool_prefix, missed=tuple(missed))


def _default_prompt(values: dict[str, Any], path: Path) -> str:
    """The default prompt, or "". Raises DataError when its name is not among the prompts."""
    name, prompts = values.get("default_prompt_name"), values.get("prompts") or {}
    if name is None:
        return ""
    if name not in prompts:
        raise DataError(f"'{path}' names '{name}' as the default prompt, and has no such text among its prompts")
    return str(prompts[name])


def lower_cases(folder: Path) -> bool:
    """Whether sentence-transformers lower-cases each text before tokenization. Raises DataError."""
    return (folder / MODULES).is_file() and _transformer(folder).get("do_lower_case") is True


def length_of(folder: Path) -> int:
    """The max_seq_length of a sentence-transformers model, special tokens included; 0 if not set. Raises DataError, Refused."""
    return _transformer(folder).get("max_seq_length") or 0


def _transformer(folder: Path) -> dict[str, Any]:
    """The settings of the Transformer module."""
    found: dict[str, Any] = next((values for name in TRANSFORMER if (values := _read(folder / name, SETTINGS, {}))), {})
    return found


def _read(path: Path, schema: Schema, default: Any) -> Any:
    """A document of the schema, or `default` where there is no file. Raises DataError, Refused."""
    return read_document(path, schema) if path.exists() else default
