"""The device of a model and the precision of its training."""

from hftool.errors import UsageError
from hftool.machine import cpu_has_fast_bf16
from hftool.processes import is_distributed, local_rank, local_world_size, world_size


def devices() -> list[str]:
    """The available devices, such as cpu, cuda:0, cuda:1, mps."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return ["cpu"] + [f"cuda:{i}" for i in range(count)] + (["mps"] if torch.backends.mps.is_available() else [])


def choose_device(wish: str) -> str:
    """The available device for `auto`, `cpu`, `cuda`, `cuda:1` or `mps`. Raises UsageError that lists the available ones."""
    available = devices()
    if wish == "auto":
        return next((d for d in ("cuda:0", "mps") if d in available), "cpu")
    name = "cuda:0" if wish == "cuda" else wish
    if name not in available:
        raise UsageError(f"device '{wish}' is not there", "This machine has " + ", ".join(available))
    return name


def share_devices(device: str, *, wish: str = "auto") -> str:
    """The device of a run as a whole: `cuda` where each of several processes has its own GPU.

    Raises:
        UsageError: There are fewer GPUs than processes, or one GPU was requested by its number.
    """
    if not is_distributed() or not device.startswith("cuda"):
        return device
    if wish.startswith("cuda:"):
        what = f"'{wish}' is one GPU, and each of {world_size()} processes takes one"
        raise UsageError(what, "Use --device cuda, or --processes 1")
    gpus = len([name for name in devices() if name.startswith("cuda")])
    if local_world_size() > gpus:
        raise UsageError(f"{local_world_size()} processes cannot share {gpus} GPUs", f"Use --processes {gpus}, or --device cpu")
    return "cuda"


def own_device(device: str) -> str:
    """The device of this process in a run on `device`."""
    return f"cuda:{local_rank()}" if is_distributed() and device.startswith("cuda") else device


def choose_precision(wish: str, device: str, safe_dtypes: tuple[str, ...]) -> str:
    """The precision for `auto`: bf16 where the device is fast at it and the family supports it, else fp32."""
    if wish != "auto":
        return wish
    if "bfloat16" not in safe_dtypes:
        return "fp32"
    if device.startswith("cuda"):
        import torch

        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if device == "cpu" and cpu_has_fast_bf16() else "fp32"
