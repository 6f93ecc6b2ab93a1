import json

import pytest
import torch

from hftool import machine
from hftool.errors import UsageError
from hftool.machine import choose_device, choose_precision, keep_freed_memory, this_machine


def test_machine_facts_are_json_serializable():
    found = this_machine()
    again = json.loads(json.dumps(found.as_dict()))
    assert again["cores"] >= 1 and again["threads"] == torch.get_num_threads() and again["memory"] > 2**28
    assert again["processor"] and again["system"]


def test_missing_device_is_2_and_available_ones_are_listed():
    assert choose_device("cpu") == "cpu"
    for wish in ("tpu", "cuda:99", "CPU", ""):
        with pytest.raises(UsageError, match=f"device '{wish}' is not available. This machine has cpu") as caught:
            choose_device(wish)
        assert caught.value.code == 2
    if not torch.cuda.is_available() and not torch.backends.mps.is_available():
        assert choose_device("auto") == "cpu"
        with pytest.raises(UsageError):
            choose_device("cuda")


@pytest.mark.parametrize(
    ("flags", "fast"), [("fpu avx512_bf16 sse", True), ("fpu avx512f", False), ("", False), ("amx_bf16", True)]
)
def test_bf16_is_selected_by_cpu_flags(monkeypatch, tmp_path, flags, fast):
    info = tmp_path / "cpuinfo"
    info.write_text(f"processor\t: 0\nflags\t\t: {flags}\n")
    monkeypatch.setattr(machine, "Path", lambda name: info)
    safe = ("float32", "bfloat16")
    assert choose_precision("auto", "cpu", safe) == ("bf16" if fast else "fp32")
    assert choose_precision("auto", "cpu", ("float32",)) == "fp32"
    assert choose_precision("auto", "mps", safe) == "fp32"
    assert choose_precision("bf16", "cpu", ("float32",)) == "bf16"
    assert choose_precision("fp32", "cpu", safe) == "fp32"


def test_without_cpuinfo_bf16_is_not_selected(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "Path", lambda name: tmp_path / "missing")
    assert machine.cpu_has_fast_bf16() is False
    assert this_machine().processor


def test_keep_freed_memory_is_safe_on_all_platforms(monkeypatch):
    keep_freed_memory()

    def missing(name):
        raise OSError(name)

    monkeypatch.setattr(machine.ctypes, "CDLL", missing)
    keep_freed_memory()
