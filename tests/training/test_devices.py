"""Which device each process of a run computes on. The GPUs are pretended: nothing is computed on them."""

import contextlib
import json
import os

import pytest

from hftool import machine
from hftool.config import make_config
from hftool.errors import UsageError
from hftool.machine import own_device, share_devices
from hftool.workflow.resume_checks import check_same
from support import families
from support.crash_injection import fork
from support.process_pairs import environments, free_port


def with_gpus(count):
    """Make the choice of a device find `count` GPUs on this machine."""
    import accelerate.state
    import torch

    torch.cuda.is_available = lambda: True
    torch.cuda.device_count = lambda: count
    torch.cuda.set_device = lambda device: chosen.append(str(device))
    torch.cuda.is_bf16_supported = lambda *given, **more: False
    several = accelerate.utils.DistributedType.MULTI_GPU
    accelerate.state.PartialState._prepare_backend = lambda self, *given, **more: ("gloo", several)
    accelerate.state.check_cuda_p2p_ib_support = lambda: True
    chosen = []
    return chosen


def devices_of(target, rows, environment, wish):
    """In its own process: the device of the settings, and those on which the model and the accelerator are."""
    from hftool.training.distributed import ProcessGroup
    from hftool.workflow import plan

    os.environ.update(environment)
    os.environ["ACCELERATE_TORCH_DEVICE"] = "cuda:0"  # as on a machine that was set up for one GPU
    chosen, loaded = with_gpus(2), []

    def load(*given, device, **more):
        loaded.append(device)
        raise StopIteration

    plan.load_model = load
    knobs = {"train": rows, "validation": rows, "allow_leak": True, "device": wish}
    settings = plan.make_settings(knobs, model=str(families.folder("bert")), task=None, head="tag")
    found = plan.find(settings, offline=True, fallback=False, progress=lambda event: None)
    with contextlib.suppress(StopIteration):
        plan.prepare(found, plan.split(found.settings, found.data, found.head))
    accelerator = ProcessGroup(settings.device).accelerator
    result = {"settings": settings.device, "loaded": loaded, "accelerator": str(accelerator.device), "torch": chosen}
    target.write_text(json.dumps(result))


@pytest.mark.parametrize("wish", ["auto", "cuda"])
def test_each_of_several_processes_has_a_gpu_of_its_own(tmp_path, wish):
    rows = str(families.write_jsonl(tmp_path / "rows.jsonl", families.tag_rows(20)))
    targets = [tmp_path / "0", tmp_path / "1"]
    started = [
        fork(devices_of, target, rows, environment, wish)
        for target, environment in zip(targets, environments(free_port()), strict=True)
    ]
    for process in started:
        process.join(100)
        assert process.exitcode == 0
    for number, target in enumerate(targets):
        own = f"cuda:{number}"
        found = json.loads(target.read_text())
        assert found == {"settings": "cuda", "loaded": [own], "accelerator": own, "torch": [own]}


def test_the_device_of_a_run_by_its_number_of_processes(monkeypatch):
    monkeypatch.setattr(machine, "devices", lambda: ["cpu", "cuda:0", "cuda:1"])
    assert [share_devices(name) for name in ("cpu", "cuda:1", "mps")] == ["cpu", "cuda:1", "mps"]
    for name, value in environments(1)[1].items():
        monkeypatch.setenv(name, value)
    assert [share_devices(name) for name in ("cpu", "cuda:1", "mps")] == ["cpu", "cuda", "mps"]
    assert [own_device(name) for name in ("cpu", "cuda")] == ["cpu", "cuda:1"]
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert share_devices("cpu") == "cpu"
    with pytest.raises(UsageError, match="4 processes cannot share 2 GPUs. Use --processes 2, or --device cpu"):
        share_devices("cuda:0")
    with pytest.raises(UsageError, match="'cuda:1' is one GPU, and each of 2 processes takes one. Use --device cuda, or"):
        share_devices("cuda:1", wish="cuda:1")
    assert share_devices("cpu", wish="cuda:1") == "cpu"


def test_a_run_finished_by_several_processes_is_the_same_run_for_one(tmp_path):
    check_same(make_config({"device": "cuda"}), make_config({"device": "cuda:0"}), tmp_path)
