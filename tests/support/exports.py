"""Exported folders that tests share, made once a session; and hostile graphs. Copy a folder before you change it."""

import dataclasses
import functools
import importlib

from support.session_folders import created_once, session_folder

HOME = session_folder("exports")


def random_head(kind, head):
    """A tiny model of the family with a head of random weights that counts as trained, and the place where its body lies."""
    import torch

    from hftool.models import HeadConfig, auto_class_of, length_limit, load_model, read_model_config
    from hftool.workflow.resolve import ModelSource
    from support import families

    folder = families.folder(kind)
    config = read_model_config(folder)
    labels = ("a", "b", "c") if head in ("classify", "tag") else ()
    torch.manual_seed(0)
    result = load_model(
        folder, auto_class_of(head, config), head_config=HeadConfig(head=head, labels=labels, base=kind), new_head=True
    )
    head_config = dataclasses.replace(result.head_config, max_length=length_limit(result.tokenizer, config))
    return dataclasses.replace(result, head_config=head_config, new_weights=()), ModelSource(folder, kind)


@functools.cache
def exported(kind, head, quantize=None):
    """-> the folder of an export of `random_head`, the model itself, and its report. It is exported once a session."""
    loaded, source = random_head(kind, head)
    name = f"{kind}-{head}-{quantize}"
    return HOME / name, loaded, created_once(HOME, name, lambda: _export(loaded, source, HOME / name, quantize))


def _export(loaded, source, folder, quantize):
    from hftool.onnx_export.export_job import export

    job = importlib.import_module("hftool.workflow._export").make_job(source, loaded, ())
    folder.mkdir(exist_ok=True)
    return export(job, folder, quantize=quantize)


def graph(path, *, domain="", op="Identity", location="", functions=(), inner=False):
    """A graph of one node at `path`, of an operator of this domain, whose weights lie at `location`."""
    import onnx
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    node = helper.make_node(op, ["x"], ["y"], domain=domain)
    if inner:  # in the branch of a condition
        branch = helper.make_graph([node], "branch", [], [y])
        node = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    result = helper.make_graph([node], "g", [x], [y])
    if location:
        tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
        tensor.external_data.add(key="location", value=location)
        tensor.external_data.add(key="length", value="4")
        result.initializer.append(tensor)
    model = helper.make_model(result, functions=list(functions))
    path.write_bytes(model.SerializeToString())
    assert onnx.load_model_from_string(path.read_bytes()).graph.name == "g"
    return path
