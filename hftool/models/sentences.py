"""What sentence-transformers writes beside a model that embeds: how the vector of a text is made of its tokens.

https://sbert.net/docs/sentence_transformer/usage/custom_models.html
"""

from pathlib import Path
from typing import Any

from hftool.documents import Schema, each, read_document
from hftool.models.card import read_card

MODULES = "modules.json"
LENGTH = "sentence_bert_config.json"
DONE = ("Transformer", "Pooling", "Normalize")  # the last leaves every cosine as it is
POOLINGS = {"cls": "cls", "mean": "mean", "max": "max", "mean_sqrt_len_tokens": "mean"}  # the last is the mean, made longer
OLD = {  # before sentence-transformers 5 each had a switch of its own
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
LISTED: Schema = {  # modules.json
    "type": "array",
    "items": {
        "type": "object",
        "required": ("type",),
        "properties": {"type": {"type": "string"}, "path": {"type": "string"}},
    },
}
POOLING: Schema = {  # of config.json of the module that pools
    "type": "object",
    "properties": {
        "pooling_mode": {"type": ["string", "array"], "items": {"type": "string"}},
        **each(OLD, {"type": "boolean"}),
    },
}
SETTINGS: Schema = {  # of sentence_bert_config.json: what is read of it
    "type": "object",
    "properties": {"max_seq_length": {"type": ["integer", "null"], "minimum": 1}},
}


def pooling_of(folder: Path) -> tuple[str, tuple[str, ...]]:
    """How a checked folder's tokens become a vector: mean, cls or max, and what it does besides that hftool does not do.

    By the card of a model that embeds, else by what sentence-transformers wrote, else the mean. Raises DataError, ConfigError.
    """
    card = read_card(folder)
    if card is not None and card.head == "embed":
        return card.pooling, ()
    modules = _read(folder / MODULES, LISTED, [])
    kinds = {module["type"].rpartition(".")[2]: module.get("path", "") for module in modules}
    missed = tuple(kind for kind in kinds if kind not in DONE)
    place = kinds.get("Pooling", "")
    if place in ("", "..") or Path(place).name != place:  # a plain name: no way out of the folder
        return "mean", missed
    settings = _read(folder / place / "config.json", POOLING, {})
    told = settings.get("pooling_mode", [mode for key, mode in OLD.items() if settings.get(key) is True])
    modes = tuple(told) if isinstance(told, list) else (told,)
    if len(modes) == 1 and modes[0] in POOLINGS:
        return POOLINGS[modes[0]], missed
    return "mean", (*missed, *(f"pooling by {' and '.join(modes)}" for _ in modes[:1]))


def length_of(folder: Path) -> int:
    """The most tokens of a text, special ones included, that sentence-transformers lets such a model read; 0: it does not say.

    Raises DataError, Refused.
    """
    return _read(folder / LENGTH, SETTINGS, {}).get("max_seq_length") or 0


def _read(path: Path, schema: Schema, otherwise: Any) -> Any:
    """A document of the schema, or `otherwise` where there is no file. Raises DataError, Refused."""
    return read_document(path, schema) if path.exists() else otherwise
