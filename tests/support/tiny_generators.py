"""Tiny models that write, in torch and as graphs, exported once for all tests of a process."""

import functools
from types import SimpleNamespace

import torch
from transformers import GPT2Config, GPT2LMHeadModel, T5Config, T5ForConditionalGeneration

from hftool.onnx_export.generation_graphs import write_graphs
from support.session_folders import created_once, session_folder

V = 300  # so that embeddings are large enough to be left as they are by the exporter


def gpt2(seed=0, positions=64):
    torch.manual_seed(seed)
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": positions}
    return GPT2LMHeadModel(GPT2Config(vocab_size=V, **sizes, bos_token_id=0, eos_token_id=None, initializer_range=0.4)).eval()


def t5(seed=0):
    torch.manual_seed(seed)
    sizes = {"d_model": 32, "d_ff": 64, "num_layers": 1, "num_heads": 2, "d_kv": 16}
    ids = {"decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": None}
    return T5ForConditionalGeneration(T5Config(vocab_size=V, initializer_factor=2.0, **sizes, **ids)).eval()


MODELS = {"gpt2": gpt2, "t5": t5}


@functools.cache
def exported(family):
    """-> (model in torch, its graphs, open, their folder, their files by name). Do not change them."""
    import onnxruntime

    folder = session_folder("generators") / family
    folder.mkdir(exist_ok=True)
    model = MODELS[family]()
    files = created_once(folder.parent, family, lambda: write_graphs(model, folder))
    sessions = {name: onnxruntime.InferenceSession(folder / file) for name, file in files.items()}
    return model, SimpleNamespace(sessions=sessions, config=model.config, generation_config=None), folder, files
