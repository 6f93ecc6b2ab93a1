"""Limits of the JSON files of a model folder: types, ranges, and sizes that the stored weights can fill.

A few numbers in config.json decide how large a model is built. They are compared with the safetensors headers before and while
the model is built, so that a wrong or hostile number costs neither minutes nor memory.
"""

import contextlib
import math
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hftool.errors import DataError
from hftool.models.safety import safetensors_header
from hftool.storage.json_documents import Schema, each, fault_of, read_document

RESTORE_FILES = "Restore the files of one model"
LARGEST = 2**31 - 1
MOST_LABELS = 100_000
MOST_CHUNK = 2**16
MOST_LAYERS = 128  # where layers share their weights, whatever the number of tensors
# Limits of the built model relative to its weights. Untrained heads and tied weights count: an embedding may be built four
# times, for encoder, decoder, head and by itself.
TIMES, MORE_NUMBERS, MORE_TENSORS = 4, 10_000_000, 1000

SIZE: Schema = {"type": ["integer", "null", "array"], "minimum": 1, "maximum": LARGEST}
LAYERS: Schema = {"type": ["integer", "null", "array"], "minimum": 0, "maximum": LARGEST}
SHARE: Schema = {"type": ["number", "null"], "minimum": 0, "maximum": 1}
SWITCH: Schema = {"type": ["boolean", "null"]}
TEXT: Schema = {"type": ["string", "null"]}
TOKEN_ID: Schema = {"type": ["integer", "array", "null"], "items": {"type": "integer"}}
TOKEN_IDS = each((f"{name}_token_id" for name in ("bos", "eos", "sep", "cls", "mask", "decoder_start")), TOKEN_ID)
TOKEN_IDS["pad_token_id"] = {"type": ["integer", "null"]}
SIZES = (
    *("hidden_size", "d_model", "n_embd", "dim", "embedding_size", "vocab_size"),
    *("num_attention_heads", "n_head", "n_heads", "num_heads", "num_key_value_heads", "head_dim", "d_kv"),
    *("intermediate_size", "d_ff", "hidden_dim"),
)
POSITIONS = ("max_position_embeddings", "n_positions", "relative_attention_num_buckets", "relative_attention_max_distance")
LAYER_COUNTS = (
    *("num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_decoder_layers", "encoder_layers", "decoder_layers"),
    *("num_hidden_groups", "inner_group_num"),
)
CONFIG: Schema = {
    "type": "object",
    "properties": {
        "model_type": {"type": "string"},
        "architectures": {"type": ["array", "null"], "items": {"type": "string"}},
        "num_labels": {"type": ["integer", "null"], "minimum": 0, "maximum": MOST_LABELS},
        "id2label": {
            "type": ["object", "null"],
            "propertyNames": {"pattern": r"^[0-9]{1,9}$"},
            "additionalProperties": {"type": ["string", "integer", "number"]},
        },
        "label2id": {"type": ["object", "null"], "additionalProperties": {"type": ["integer", "string"]}},
        "problem_type": TEXT,
        "return_dict": {"enum": (True,)},  # outputs are read by name
        "chunk_size_feed_forward": {"type": "integer", "minimum": 0, "maximum": MOST_CHUNK},
        **each(("is_encoder_decoder", "is_decoder", "add_cross_attention", "tie_word_embeddings"), SWITCH),
        **each(("output_attentions", "output_hidden_states", "use_cache"), SWITCH),
        **each(SIZES, SIZE),
        **each(POSITIONS, {**SIZE, "type": ["integer", "null"]}),
        **each(LAYER_COUNTS, LAYERS),
        "type_vocab_size": LAYERS,
        **each(("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout", "dropout"), SHARE),
        **each(("dropout_rate", "embd_pdrop", "resid_pdrop", "attn_pdrop", "attention_dropout"), SHARE),
        **each(("layer_norm_eps", "layer_norm_epsilon"), SHARE),
        **TOKEN_IDS,
    },
}
# a special token: a text, or, since transformers 3, an object with its settings
TOKEN: Schema = {"type": ["string", "object", "null"], "required": ("content",), "properties": {"content": {"type": "string"}}}
TOKENIZER: Schema = {
    "type": "object",
    "properties": {
        **each(("model_max_length", "max_len"), {"type": ["number", "null"], "minimum": 1}),
        **each(("tokenizer_class", "name_or_path"), TEXT),
        "extra_ids": {"type": ["integer", "null"], "minimum": 0, "maximum": 10_000},  # T5 has 100; each is a token
        **each(("padding_side", "truncation_side"), {"enum": ("left", "right", None)}),
        **each(("do_lower_case", "add_prefix_space", "clean_up_tokenization_spaces", "strip_accents"), SWITCH),
        **each((f"{name}_token" for name in ("unk", "bos", "eos", "sep", "cls")), TOKEN),
        **each(("pad_token", "mask_token"), {**TOKEN, "minLength": 1}),
        **each(("additional_special_tokens", "extra_special_tokens"), {"type": ["array", "object", "null"]}),
        "model_input_names": {"type": "array", "items": {"type": "string"}},
        "added_tokens_decoder": {
            "type": ["object", "null"],
            "propertyNames": {"pattern": r"^[0-9]{1,9}$"},
            "additionalProperties": {**TOKEN, "type": ["object", "string"]},
        },
    },
}
GENERATION: Schema = {"type": "object", "properties": TOKEN_IDS}
SCHEMAS = {"config.json": CONFIG, "tokenizer_config.json": TOKENIZER, "generation_config.json": GENERATION}


@dataclass(frozen=True)
class StoredSize:
    """The number of tensors in the weights of a folder, and of numbers in all of them."""

    tensors: int
    numbers: int


def stored_size(folder: Path) -> StoredSize | None:
    """The size of a folder's weights, by their headers; None where there are none. Raises DataError, Refused."""
    files = sorted(folder.glob("*.safetensors"))
    tensors = numbers = 0
    for path in files:
        for row in safetensors_header(path).values():
            start, end = row["data_offsets"]
            tensors += 1
            numbers += (end - start) * 8 // _bits(str(row.get("dtype")))
    return StoredSize(tensors, numbers) if files else None


def _bits(dtype: str) -> int:
    """Bits per number of a dtype such as BF16."""
    found = re.search(r"\d+", dtype)
    return max(int(found[0]), 4) if found else 8


def check_settings(folder: Path) -> None:
    """Check the types, ranges and sizes in the JSON files of a checked folder. Raises DataError with the file and the key."""
    for name, schema in SCHEMAS.items():
        path = folder / name
        if not path.exists():
            continue
        document = read_document(path, schema)
        if name == "config.json":
            fault = _size_fault(document, stored_size(folder))
            if fault:
                raise DataError(f"'{path}' does not fit the weights of its folder: {fault}", RESTORE_FILES)


def _size_fault(config: Mapping[str, Any], stored: StoredSize | None) -> str:
    """Names a size that is far larger than the weights; "" if there is none."""
    for inner in ("text_config", "encoder", "decoder"):  # configs of composite models
        if isinstance(config.get(inner), dict):
            fault = fault_of(config[inner], CONFIG, inner) or _size_fault(config[inner], stored)
            if fault:
                return fault
    most_layers = max(stored.tensors, MOST_LAYERS) if stored else MOST_LAYERS
    most = stored.numbers if stored else LARGEST
    bounds = [*((name, most_layers) for name in LAYER_COUNTS), *((name, most) for name in (*SIZES, "num_labels"))]
    labels = len(config.get("id2label") or ())
    if labels > min(most, MOST_LABELS):
        return f"'id2label' has {labels} names" + (f", and the weights {stored.numbers} numbers" if stored else "")
    weights = f", and they are {stored.tensors} tensors of {stored.numbers} numbers" if stored else ""
    for name, bound in bounds:
        value = config.get(name)
        if type(value) is int and value > bound:
            return f"'{name}' is {value}{weights}"
    return ""


@contextlib.contextmanager
def building_within(folder: Path) -> Iterator[None]:
    """While a model is built, raise DataError as soon as it has far more numbers or tensors than the weights of the folder.

    Without weights only the number of tensors is limited; memory is up to the caller.
    """
    from torch.nn.modules import module as registry

    stored = stored_size(folder)
    most = TIMES * stored.numbers + MORE_NUMBERS if stored else math.inf
    most_tensors = TIMES * (stored.tensors if stored else MORE_TENSORS) + MORE_TENSORS
    seen: dict[tuple[int, str], int] = {}
    total, thread = 0, threading.get_ident()

    def _count(module: Any, name: str, tensor: Any) -> None:
        nonlocal total
        key = id(module), name
        if tensor is None or key in seen or threading.get_ident() != thread:
            return
        seen[key] = tensor.numel()
        total += seen[key]
        if total > most or len(seen) > most_tensors:
            raise DataError("too large")

    hooks = (
        registry.register_module_parameter_registration_hook(_count),
        registry.register_module_buffer_registration_hook(_count),
    )
    try:
        yield
    except Exception:
        if total > most or len(seen) > most_tensors:
            what = f"{stored.tensors} tensors of {stored.numbers} numbers" if stored else "none"
            fault = f"the model that it describes is far larger than its weights ({what})"
            raise DataError(f"'{folder / 'config.json'}' does not fit: {fault}", RESTORE_FILES) from None
        raise
    finally:
        for hook in hooks:
            hook.remove()
