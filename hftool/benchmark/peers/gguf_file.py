"""GPT-2 as a file of llama.cpp, in fp16 or with weights of 8 bits, written by the package gguf."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

LAYER = {  # of transformers' block: the name in the file
    "ln_1": "attn_norm",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "ln_2": "ffn_norm",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
}


def tensors(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """The names and weights of the file, from a GPT-2 with a language model's head; matrices are (outputs, inputs)."""
    body = model.transformer
    yield "token_embd.weight", body.wte.weight
    yield "position_embd.weight", body.wpe.weight
    for number, block in enumerate(body.h):
        for inside, name in LAYER.items():
            layer = block.get_submodule(inside)
            yield f"blk.{number}.{name}.weight", layer.weight.t()  # Conv1D has (inputs, outputs); a vector stays as it is
            yield f"blk.{number}.{name}.bias", layer.bias
    yield "output_norm.weight", body.ln_f.weight
    yield "output_norm.bias", body.ln_f.bias
    yield "output.weight", model.lm_head.weight


def write(model: Any, tokenizer: Any, number_format: str, path: Path) -> None:
    """Write the file. number_format: fp16 or int8, of the matrices but for that of the positions; all else is fp32."""
    gguf = importlib.import_module("gguf")
    kinds = gguf.GGMLQuantizationType
    writer, config = gguf.GGUFWriter(path, "gpt2"), model.config
    writer.add_context_length(config.n_positions)
    writer.add_embedding_length(config.n_embd)
    writer.add_feed_forward_length(config.n_inner or 4 * config.n_embd)
    writer.add_block_count(config.n_layer)
    writer.add_head_count(config.n_head)
    writer.add_layer_norm_eps(config.layer_norm_epsilon)
    _add_vocabulary(writer, tokenizer, model.transformer.wte.num_embeddings)
    for name, weight in tensors(model):
        is_matrix = weight.dim() == 2 and not name.startswith("position")
        kind = {"fp16": kinds.F16, "int8": kinds.Q8_0}[number_format] if is_matrix else kinds.F32
        values = weight.detach().float().contiguous().numpy()
        writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_vocabulary(writer: Any, tokenizer: Any, size: int) -> None:
    """The tokens, which llama.cpp asks for although it is given ids alone."""
    known = {token_id: token for token, token_id in tokenizer.get_vocab().items()}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([known.get(i, f"[unused{i}]") for i in range(size)])
    writer.add_token_types([1] * size)  # normal
    writer.add_token_merges(["a b"])
