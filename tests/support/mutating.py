"""Random mutations of the JSON files of a model folder: types, sizes, depths, missing and new keys, truncation."""

import copy
import json
import os
import shutil

WORDS = {
    "config.json": (
        *("num_labels", "id2label", "label2id", "return_dict", "chunk_size_feed_forward", "num_hidden_layers", "is_decoder"),
        *("add_cross_attention", "hidden_act", "pruned_heads", "output_attentions", "output_hidden_states", "dtype"),
        *("rope_scaling", "layer_types", "num_decoder_layers", "is_encoder_decoder", "architectures", "problem_type"),
        *("tie_word_embeddings", "use_cache", "quantization_config", "attn_implementation", "encoder", "decoder"),
        *("text_config", "max_position_embeddings", "type_vocab_size", "pad_token_id", "eos_token_id", "bos_token_id"),
        *("tokenizer_class", "feed_forward_proj", "relative_attention_num_buckets", "dense_act_fn", "max_length", "num_beams"),
        *("transformers_version", "prefix", "task_specific_params", "scale_attn_weights", "summary_type"),
    ),
    "hftool.json": (
        *("labels", "max_length", "prefix", "stand_in", "metrics", "pooling", "base", "versions", "label_range", "thresholds"),
        *("label_values", "columns", "problem_type", "head", "revision", "class_weights", "measures", "max_new_tokens", "task"),
    ),
    "tokenizer_config.json": (
        *("model_max_length", "added_tokens_decoder", "tokenizer_class", "pad_token", "unk_token", "mask_token"),
        *("extra_special_tokens", "additional_special_tokens", "padding_side", "truncation_side", "do_lower_case"),
        *("strip_accents", "chat_template", "max_len", "model_input_names", "backend", "vocab_file", "tokenizer_file"),
        *("name_or_path", "sp_model_kwargs", "legacy", "from_slow", "add_bos_token", "add_prefix_space", "vocab", "merges"),
        *("split_special_tokens", "padding", "truncation", "max_length", "stride"),
    ),
    "export.json": ("graphs", "files", "model", "outputs", "quantize"),
}
VALUES = (
    *(None, True, False, 0, 1, -1, 2, 3, 5, 1.5, -0.5, 10**3, 10**6, 10**9, 10**18, 10**30, 1e300, float("nan"), float("inf")),
    *("", "x", "5", "a/b", "../x", "x" * 1000, [], {}, [[]], ["x"], [["x"]], [1], [0] * 1000),
    *({"x": 1}, {"0": "a"}, {"a": {"b": [1]}}),
)


def deep(levels):
    value = 1
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


def _paths(document, path=()):
    """Where each value of a document stands, as the keys that lead to it."""
    items = document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from _paths(value, (*path, key))


def _other(value, rng):
    """A value near to another: a number moved or multiplied, a text or list cut short."""
    if isinstance(value, (int, float)):
        return rng.choice([value + rng.choice([-1, 1, 2, 7, 100, 0.5]), value * rng.choice([-1, 0, 1000, 10**6])])
    return value[: len(value) // 2] if isinstance(value, (str, list)) else [value]


def mutated(document, words, rng):
    """A document with one to three changes. rng: a random.Random."""
    result = copy.deepcopy(document)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        path = rng.choice([(), *_paths(result)] if rng.random() < 0.1 else [*_paths(result)] or [()])
        if not path:
            return copy.deepcopy(rng.choice(VALUES))
        parent = result
        for key in path[:-1]:
            parent = parent[key]
        chance = rng.random()
        if chance < 0.2:
            parent[path[-1]] = _other(parent[path[-1]], rng)
        elif chance < 0.6:
            parent[path[-1]] = copy.deepcopy(rng.choice(VALUES))
        elif chance < 0.7:
            parent[path[-1]] = deep(rng.choice((3, 30, 63, 70, 400)))
        elif chance < 0.8:
            del parent[path[-1]]
        else:
            result[rng.choice(words)] = copy.deepcopy(rng.choice(VALUES))
    return result


def write_mutated(source, folder, rng):
    """A copy of a model folder, made of links, with one of its files changed -> which file, and how."""
    name = rng.choice([name for name in WORDS if (source / name).is_file()])
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for path in source.iterdir():
        if path.is_file() and path.name not in (name, "SHA256SUMS"):
            os.link(path, folder / path.name)
    before = json.loads((source / name).read_text(encoding="utf-8"))
    after = mutated(before, WORDS[name], rng)
    (folder / name).write_text(json.dumps(after), encoding="utf-8")
    if not isinstance(after, dict):
        return f"{name} = {str(after)[:60]}"
    changed = sorted(key for key in {*before, *after} if before.get(key, "-") != after.get(key, "-"))
    return f"{name}: " + ", ".join(f"{key}={str(after.get(key, 'GONE'))[:60]}" for key in changed)
