"""The longest input of a model: its positions less their offset, and the limit of its tokenizer."""

from pathlib import Path
from typing import Any

from hftool.errors import DataError
from hftool.models.config_facts import family_of
from hftool.models.head_config import HEAD_CONFIG, HeadConfig

UNLIMITED = 10**6  # tokens; a tokenizer without a limit has 10**30


def length_limit(tokenizer: Any, config: Any) -> int:
    """The longest input of the model in tokens, special tokens included."""
    limit = min(_positions(config), int(min(tokenizer.model_max_length, UNLIMITED)))
    return limit if limit < UNLIMITED else family_of(config).length or limit


def check_length(head_config: HeadConfig, config: Any, folder: Path) -> None:
    """Raise DataError when max_length is more than the model's positions."""
    if head_config.max_length > _positions(config):
        fault = f"'max_length' is {head_config.max_length}, and the model has {_positions(config)} positions"
        raise DataError(f"'{folder / HEAD_CONFIG}' does not fit the model: {fault}", "Put the file back as it was written")


def _positions(config: Any) -> int:
    """The number of tokens for which a model has positions. Raises DataError when there are none."""
    count = int(getattr(config, "max_position_embeddings", 0) or UNLIMITED)
    offset = family_of(config).position_offset
    if offset and getattr(config, "pad_token_id", None) is not None:
        offset = int(config.pad_token_id) + 1  # positions start after the pad token's id, which is 1 in most checkpoints
    if count <= offset:
        raise DataError(f"the config has {count} positions, of which {offset} are not for tokens", "Take the model's own")
    return count - offset
