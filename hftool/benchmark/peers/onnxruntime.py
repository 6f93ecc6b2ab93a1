"""ONNX Runtime with the graph of `hftool export`, in fp32 or with weights of 8 bits."""

import dataclasses
import tempfile
from pathlib import Path

import torch

from hftool.benchmark.arm import Arm
from hftool.benchmark.generate import GenerateWork
from hftool.benchmark.infer import InferWork
from hftool.engines.onnx import OnnxEngine, open_model
from hftool.inference.generation import generate as run
from hftool.onnx_export.encoder_graph import write_graph
from hftool.onnx_export.generation_graphs import write_graphs
from hftool.onnx_export.quantize import quantize_graphs
from hftool.sampling import SamplingParams


def infer(work: InferWork, variant: str) -> Arm:
    """The graph of the model. variant: fp32 or int8."""
    head = work.head
    features = sorted(head.encode(list(work.rows)), key=lambda feature: feature.length)
    sample = {name: values for name, values in head.collate([features[0], features[-1]]).items() if name != "labels"}
    if features[0].length == features[-1].length:  # padding in a row is traced, too
        sample["attention_mask"] = torch.cat([sample["attention_mask"][:, :-1], torch.tensor([[0], [1]])], dim=1)
    folder = Path(tempfile.mkdtemp())
    graphs = write_graph(work.loaded.model, sample, head.outputs, folder)
    if variant == "int8":
        quantize_graphs(folder, graphs)
    return work.arm_of_engine(OnnxEngine(open_model(folder, graphs, work.loaded.model.config)), variant)


def generate(work: GenerateWork, variant: str) -> Arm:
    """The graphs of a decoder, with hftool's own decoding loop. variant: fp32 or int8."""
    folder = Path(tempfile.mkdtemp())
    graphs = write_graphs(work.loaded.model, folder)
    if variant == "int8":
        quantize_graphs(folder, graphs)
    opened = open_model(folder, graphs, work.loaded.model.config)
    engine = OnnxEngine(dataclasses.replace(opened, generation_config=work.loaded.model.generation_config))
    sampling = SamplingParams(max_new_tokens=work.job.max_new_tokens)
    return work.arm(lambda batch: [list(text.ids) for (text,) in run(engine, batch, sampling, tokenizer=None)], variant)
