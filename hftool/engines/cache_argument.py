"""The cache of keys and values under the name that the installed transformers gives it."""

import functools
from typing import Any


@functools.cache
def cache_name() -> str:
    """Return the name of a model's cache, both as an argument of its forward and as a field of its output.

    Returns:
        "cache" (transformers 5.24 and later) or "past_key_values" (earlier).
    """
    from transformers.modeling_outputs import BaseModelOutputWithPast

    return "cache" if "cache" in BaseModelOutputWithPast.__dataclass_fields__ else "past_key_values"


def cache_of(output: Any) -> Any:
    """Return the cache of a model's output.

    Returns:
        The cache, or None when no layer of it has keys and values, as in Mamba, which has a state instead.
    """
    from transformers.cache_utils import CacheLayerMixin, EncoderDecoderCache

    cache = getattr(output, cache_name(), None)
    layers = getattr(cache, "layers", ())
    attends = isinstance(cache, EncoderDecoderCache) or any(isinstance(layer, CacheLayerMixin) for layer in layers)
    return cache if attends else None
