"""The machine: cores, memory, fast number formats, and the device and precision that a model gets."""

import ctypes
import gc
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hftool.errors import UsageError
from hftool.processes import is_distributed, local_rank, local_world_size, world_size

FAST_BF16_FLAGS = ("avx512_bf16", "amx_bf16", "bf16")  # x86 and Arm, as in /proc/cpuinfo
DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}  # hftool's name to torch's
PRODUCT = 2.0  # seconds to time one matrix product, at most
PRODUCTS = 5.0  # seconds for all of them
LEAST_SIDE, MOST_SIDE = 128, {"cpu": 2048, "mps": 4096, "cuda": 8192}  # sizes of the matrices, by device type
KERNEL_CACHES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")  # of oneDNN, and of torch's layer above it
KERNELS = 24  # capacity of each: more than a layer of two batches needs, else each layer compiles them again
TRAINING_KERNELS = 64  # ... forward and backward
HUGE_PAGES = "THP_MEM_ALLOC_ENABLE"  # of torch
CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # version 2, version 1
# by limit file: the file with the memory in use, and the key of memory.stat for the part that the kernel can reclaim
USED = {
    "memory.max": ("memory.current", "inactive_file"),
    "memory.limit_in_bytes": ("memory.usage_in_bytes", "total_inactive_file"),
}


@dataclass(frozen=True)
class Machine:
    """The machine, as in a manifest; memory in bytes."""

    system: str
    processor: str
    cores: int
    threads: int
    memory: int
    fast_bf16: bool
    devices: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def this_machine() -> Machine:
    """The facts of this machine. Imports torch."""
    import torch

    return Machine(
        system=f"{platform.system()} {platform.machine()}",
        processor=_cpuinfo("model name") or platform.processor() or platform.machine(),
        cores=usable_cores(),
        threads=torch.get_num_threads(),
        memory=total_memory(),
        fast_bf16=cpu_has_fast_bf16(),
        devices=tuple(f"{torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count())),
    )


def _cpuinfo(key: str) -> str:
    lines = _read(Path("/proc/cpuinfo")).splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.split(":")[0].strip() == key), "")


def usable_cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def total_memory() -> int:
    """Main memory in bytes."""
    import psutil

    return int(psutil.virtual_memory().total)


def total_memory_of(device: str) -> int:
    """Memory of a device in bytes: of a GPU, or main memory within the limit of a container."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.get_device_properties(device).total_memory)
    return memory_limit() or total_memory()


def free_memory() -> int:
    """Available main memory in bytes, within the limit of a container."""
    import psutil

    free = int(psutil.virtual_memory().available)
    path, limit = _limit()
    return min(free, max(0, limit - _used(path))) if path else free


def memory_limit() -> int:
    """The memory limit of the container in bytes; 0 if there is none."""
    return _limit()[1]


def _limit() -> tuple[Path | None, int]:
    """The cgroup file with the memory limit, and the limit in bytes; None and 0 if there is none."""
    for path in map(Path, CGROUPS):
        text = _read(path).strip()
        if text.isdigit() and 0 < int(text) < total_memory():
            return path, int(text)
    return None, 0


def _used(limit: Path) -> int:
    """Bytes that the container uses of its limit, without inactive cached files, which the kernel reclaims."""
    current, idle = USED[limit.name]
    text = _read(limit.with_name(current)).strip()
    cached = [line.split()[1] for line in _read(limit.with_name("memory.stat")).splitlines() if line.startswith(f"{idle} ")]
    return int(text) - int(cached[0] if cached else 0) if text.isdigit() else 0


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def cpu_has_fast_bf16() -> bool:
    """Whether the processor multiplies bfloat16 in hardware, by its flags: timings are not repeatable."""
    flags = (_cpuinfo("flags") or _cpuinfo("Features")).split()
    return any(flag in flags for flag in FAST_BF16_FLAGS)


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
        raise UsageError(f"device '{wish}' is not available", "This machine has " + ", ".join(available))
    return name


def share_devices(device: str, *, wish: str = "auto") -> str:
    """The device of a run as a whole: `cuda` where each of several processes has its own GPU.

    Raises:
        UsageError: There are fewer GPUs than processes, or one GPU was requested by its number.
    """
    if not is_distributed() or not device.startswith("cuda"):
        return device
    if wish.startswith("cuda:"):
        raise UsageError(
            f"'{wish}' is one GPU, and each of {world_size()} processes takes one", "Use --device cuda, or --processes 1"
        )
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


def speeds(device: str, seconds: float = PRODUCT) -> dict[str, float | None]:
    """The speed of matrix products in GFLOPS, for fp32, bf16 and fp16; None where the device does not support them.

    Each is timed for so many seconds; other work on the machine lowers the result.
    """
    return {name: _product_speed(device, dtype, seconds) for name, dtype in DTYPES.items()}


def _product_speed(device: str, dtype: str, seconds: float) -> float | None:
    """The best speed over products whose size doubles while the time allows."""
    import torch

    side, most, best = LEAST_SIDE, MOST_SIDE[device.partition(":")[0]], 0.0
    end = time.perf_counter() + seconds
    try:
        while True:
            matrix = torch.ones(side, side, device=device, dtype=getattr(torch, dtype))
            _timed_product(matrix)  # the first of a size compiles its kernel
            took = _timed_product(matrix)
            best = max(best, 2 * side**3 / took)
            left = end - time.perf_counter()
            if side < most and 3 * 8 * took < left:  # the next size takes eight times as long
                side *= 2
            elif took > left:
                return best / 1e9
    except (RuntimeError, TypeError):  # not supported on the device, or out of memory
        return best / 1e9 or None


def _timed_product(matrix: Any) -> float:
    started = time.perf_counter()
    float((matrix @ matrix)[0, 0])  # waits until the device is done
    return max(time.perf_counter() - started, 1e-9)


def limit_kernel_caches(kernels: int = KERNELS) -> None:
    """Let oneDNN cache few compiled kernels, for a process that computes batches of many shapes: a server, training, predict.

    oneDNN compiles a kernel per shape and caches 1,024 of them, and torch as many descriptors. Kernels are small, but they
    fragment the memory between freed tensors, which costs hundreds of MB before the first is evicted. A forward pass needs
    about twenty. Call it before the first product. Variables that are set in the environment are kept.

    Args:
        kernels: The capacity of each cache.
    """
    for name in KERNEL_CACHES:
        os.environ.setdefault(name, str(kernels))


def use_huge_pages() -> None:
    """Let torch allocate tensors of 2 MB and more in huge pages, where the kernel allows them.

    Weights that are read once per step miss the TLB less: where the kernel has huge pages free, generation in int8 with 8 rows
    is 1.4 times as fast for a GPT-2 of 124M parameters. torch reads the variable at its first allocation. If it is set in the
    environment, it is kept.
    """
    os.environ.setdefault(HUGE_PAGES, "1")


def keep_freed_memory() -> None:
    """Let glibc keep freed memory instead of returning it to the kernel after each step; does nothing without glibc.

    Each step allocates and frees activations and gradients, whose pages would be faulted in and zeroed again every time. See
    mallopt(3).
    """
    m_trim_threshold, m_mmap_max, largest = -1, -4, 2**31 - 1
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(m_mmap_max, 0)  # without this, blocks over 32 MB are mapped, and unmapped when freed, whatever the threshold
    mallopt(m_trim_threshold, largest)


@contextmanager
def collection_paused() -> Iterator[None]:
    """Pause Python's garbage collection, also as a decorator, while many rows are created.

    They hold no reference cycles, and each pass of the collector visits them all again: of a file for training, a fifth of the
    time from rows to features, see `finetune` of benchmarks/data_rate.py.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
