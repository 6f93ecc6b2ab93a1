"""Hostile and damaged ONNX graphs."""

import os

import pytest

from hftool.errors import DataError, Refused, UsageError
from hftool.models.safety import MAX_GRAPH, check_folder, check_onnx
from support.exports import graph


def test_builtin_operator_domains_are_accepted(tmp_path):
    for domain in ("", "ai.onnx", "ai.onnx.ml", "com.microsoft"):
        check_onnx(graph(tmp_path / "model.onnx", domain=domain))


@pytest.mark.parametrize("domain", ["com.evil", "ai.onnx.contrib", "com.microsoft.extensions"])
@pytest.mark.parametrize("inner", [False, True])
def test_an_operator_of_a_foreign_library_is_refused_wherever_it_stands(tmp_path, domain, inner):
    with pytest.raises(Refused, match=f"{domain}.Run"):
        check_onnx(graph(tmp_path / "model.onnx", domain=domain, op="Run", inner=inner))


def test_a_function_of_the_graph_itself_may_be_called_but_is_looked_into(tmp_path):
    from onnx import helper

    def function(domain):
        node = helper.make_node("Do", ["a"], ["b"], domain=domain)
        return helper.make_function("own", "Run", ["a"], ["b"], [node], [helper.make_opsetid("", 18)])

    check_onnx(graph(tmp_path / "a.onnx", domain="own", op="Run", functions=[function("")]))
    with pytest.raises(Refused, match=r"com\.evil\.Do"):
        check_onnx(graph(tmp_path / "b.onnx", domain="own", op="Run", functions=[function("com.evil")]))


def test_a_compiled_engine_is_refused(tmp_path):
    with pytest.raises(Refused, match="EPContext"):
        check_onnx(graph(tmp_path / "model.onnx", domain="com.microsoft", op="EPContext"))


@pytest.mark.parametrize(
    "location", ["/etc/passwd", "../weights.data", "..", "a/b", "a\\b", "C:weights", "*/_ORT_MEM_ADDR_/*", "x/../weights.data"]
)
def test_weights_from_elsewhere_are_refused(tmp_path, location):
    (tmp_path / "weights.data").write_bytes(bytes(4))
    with pytest.raises(Refused, match="no file of its folder"):
        check_onnx(graph(tmp_path / "model.onnx", location=location))


def test_weights_in_the_attribute_of_a_node_are_looked_at_too(tmp_path):
    import onnx
    from onnx import TensorProto, helper

    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="/etc/passwd")
    node = helper.make_node("Constant", [], ["y"], value=tensor)
    result = helper.make_graph([node], "g", [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])])
    (tmp_path / "model.onnx").write_bytes(helper.make_model(result).SerializeToString())
    assert onnx.__version__
    with pytest.raises(Refused, match="/etc/passwd"):
        check_onnx(tmp_path / "model.onnx")


@pytest.mark.parametrize("size", [None, 0, 3])
def test_weights_that_are_missing_or_too_short_are_damage(tmp_path, size):
    if size is not None:
        (tmp_path / "weights.data").write_bytes(bytes(size))
    with pytest.raises(DataError, match="missing or too short"):
        check_onnx(graph(tmp_path / "model.onnx", location="weights.data"))


def test_weights_beside_the_graph_pass(tmp_path):
    (tmp_path / "weights.data").write_bytes(bytes(4))
    check_onnx(graph(tmp_path / "model.onnx", location="weights.data"))


def test_a_link_out_of_the_folder_is_refused(tmp_path, tiny_bert):
    import shutil

    outside = tmp_path / "weights.data"
    outside.write_bytes(bytes(4))
    folder = shutil.copytree(tiny_bert, tmp_path / "export", ignore=shutil.ignore_patterns("*.safetensors"))
    (folder / "export.json").write_text('{"graphs": {"model": "model.onnx"}}', encoding="utf-8")
    graph(folder / "model.onnx", location="weights.data")
    (folder / "weights.data").symlink_to(outside)
    with pytest.raises(Refused, match="link out of its folder"):
        check_folder(folder)


def test_a_graph_over_two_gigabytes_is_refused_unread(tmp_path):
    path = tmp_path / "model.onnx"
    path.touch()
    os.truncate(path, MAX_GRAPH + 1)  # takes no space
    with pytest.raises(Refused, match="2 GiB"):
        check_onnx(path)


@pytest.mark.parametrize("content", [b"\xff" * 40, b"PK\x03\x04junk"])
def test_bytes_that_are_not_a_graph_are_damage(tmp_path, content):
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(DataError, match="no ONNX graph"):
        check_onnx(tmp_path / "model.onnx")


@pytest.mark.parametrize(
    ("document", "error"),
    [
        ('{"graphs": {"model": "../model.onnx"}}', Refused),
        ('{"graphs": {"model": "library.so"}}', Refused),
        ('{"graphs": {"model": 7}}', Refused),
        ('{"graphs": {}}', DataError),
        ('{"components": {}}', DataError),
        ("[]", DataError),
        ('{"graphs": {"model": "gone.onnx"}}', DataError),
    ],
)
def test_a_hostile_or_damaged_export_json_opens_nothing(tmp_path, document, error):
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    (tmp_path / "export.json").write_text(document, encoding="utf-8")
    with pytest.raises(error):
        check_folder(tmp_path)


def test_missing_export_extra_has_the_command_that_installs_it(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError) as caught:
        check_onnx(tmp_path / "model.onnx")
    assert str(caught.value) == "graphs need onnx, onnxruntime. pip install 'hftool-recipes[export]'"


def test_folder_below_the_root_is_checked(tmp_path):
    """A model in a folder right under / has too few parents to be in a cache."""
    from pathlib import Path

    import hftool.models.safety as safety

    class Shallow(type(Path())):
        def resolve(self, strict=False):
            return Path("/model")

        def rglob(self, pattern):
            return iter(())

    safety.check_links(Shallow(tmp_path))
