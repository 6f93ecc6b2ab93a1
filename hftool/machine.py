"""What this machine is: cores, memory, devices, and the number formats that it is fast at, by its own word."""

import ctypes
import os
import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hftool.errors import UsageError
from hftool.processes import local_rank, local_world, several, world

FAST_BF16_FLAGS = ("avx512_bf16", "amx_bf16", "bf16")  # x86 and Arm, as Linux spells them in /proc/cpuinfo
DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}  # as hftool and as torch calls them
PRODUCT = 2.0  # seconds in which one product is timed, at most
PRODUCTS = 5.0  # seconds for all of them
LEAST_SIDE, MOST_SIDE = 128, {"cpu": 2048, "mps": 4096, "cuda": 8192}  # of the matrices, by kind of device
KERNEL_CACHES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")  # of oneDNN, and of torch's layer above it
KERNELS = 16  # kept in each: more than a layer has
CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # version 2, version 1
# by the name of the limit: the file beside it that says how much is in use, and which line of memory.stat can be had back of it
USED = {
    "memory.max": ("memory.current", "inactive_file"),
    "memory.limit_in_bytes": ("memory.usage_in_bytes", "total_inactive_file"),
}


@dataclass(frozen=True)
class Machine:
    """A machine as it is written into a manifest. memory in bytes."""

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
    """Look at this machine. Imports torch."""
    import torch

    return Machine(
        system=f"{platform.system()} {platform.machine()}",
        processor=_processor(),
        cores=usable_cores(),
        threads=torch.get_num_threads(),
        memory=total_memory(),
        fast_bf16=cpu_has_fast_bf16(),
        devices=tuple(f"{torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count())),
    )


def _cpuinfo(key: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.split(":")[0].strip() == key), "")


def _processor() -> str:
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def usable_cores() -> int:
    """Cores that this process may use, which may be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def total_memory() -> int:
    """Main memory in bytes; 0 where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0


def free_memory() -> int:
    """Main memory in bytes that can still be had, by the limit of a container too; 0 where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    free = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), 0)
    path, limit = _limit()
    return min(free, max(0, limit - _used(path))) if path else free


def memory_limit() -> int:
    """Main memory in bytes that a container leaves to this process; 0 where there is no such limit."""
    return _limit()[1]


def _limit() -> tuple[Path | None, int]:
    """The file that says what a container may have, and what it says; none and 0 where there is no such limit."""
    for path in map(Path, CGROUPS):
        word = _read(path).strip()
        if word.isdigit() and 0 < int(word) < (total_memory() or 2**62):
            return path, int(word)
    return None, 0


def _used(limit: Path) -> int:
    """What a container uses of its limit, but for files that are cached and no longer in use: the kernel gives those up."""
    current, idle = USED[limit.name]
    word = _read(limit.with_name(current)).strip()
    cached = [line.split()[1] for line in _read(limit.with_name("memory.stat")).splitlines() if line.startswith(f"{idle} ")]
    return int(word) - int(cached[0] if cached else 0) if word.isdigit() else 0


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""


def cpu_has_fast_bf16() -> bool:
    """True if the processor multiplies bfloat16 in hardware. Read from its flags, never timed: timing is not repeatable."""
    flags = (_cpuinfo("flags") or _cpuinfo("Features")).split()
    return any(flag in flags for flag in FAST_BF16_FLAGS)


def devices() -> list[str]:
    """The devices that are there, such as cpu, cuda:0, cuda:1, mps."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return ["cpu"] + [f"cuda:{i}" for i in range(count)] + (["mps"] if torch.backends.mps.is_available() else [])


def choose_device(wish: str) -> str:
    """`auto`, `cpu`, `cuda`, `cuda:1` or `mps` -> a device that is there. Raises UsageError that lists those that are."""
    there = devices()
    if wish == "auto":
        return next((d for d in ("cuda:0", "mps") if d in there), "cpu")
    name = "cuda:0" if wish == "cuda" else wish
    if name not in there:
        raise UsageError(f"device '{wish}' is not there", "This machine has " + ", ".join(there))
    return name


def share_devices(device: str, *, wish: str = "auto") -> str:
    """What a run computes on, as all its processes say it: of several on GPUs each has one of its own, and the run is on
    `cuda`. wish: what was asked for. Raises UsageError where there are fewer GPUs than processes, or one was asked for by its
    number."""
    if not several() or not device.startswith("cuda"):
        return device
    if wish.startswith("cuda:"):
        raise UsageError(
            f"'{wish}' is one GPU, and each of {world()} processes takes one", "Use --device cuda, or --processes 1"
        )
    gpus = len([name for name in devices() if name.startswith("cuda")])
    if local_world() > gpus:
        raise UsageError(f"{local_world()} processes cannot share {gpus} GPUs", f"Use --processes {gpus}, or --device cpu")
    return "cuda"


def own_device(device: str) -> str:
    """The device of this process, where the run is on this one."""
    return f"cuda:{local_rank()}" if several() and device.startswith("cuda") else device


def choose_precision(wish: str, device: str, safe_dtypes: tuple[str, ...]) -> str:
    """`auto` -> bf16 where the device says that it is fast at it and the family bears it, else fp32."""
    if wish != "auto":
        return wish
    if "bfloat16" not in safe_dtypes:
        return "fp32"
    if device.startswith("cuda"):
        import torch

        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if device == "cpu" and cpu_has_fast_bf16() else "fp32"


def speeds(device: str, seconds: float = PRODUCT) -> dict[str, float | None]:
    """How fast a device multiplies matrices: billions of operations a second, for fp32, bf16 and fp16; None: it cannot.

    seconds: for each of the three. A picture of this moment: other work on the machine makes it smaller.
    """
    return {name: _product_speed(device, dtype, seconds) for name, dtype in DTYPES.items()}


def _product_speed(device: str, dtype: str, seconds: float) -> float | None:
    """The best of products whose sides double for as long as one of them is short beside the time that there is."""
    import torch

    side, most, best = LEAST_SIDE, MOST_SIDE[device.partition(":")[0]], 0.0
    end = time.perf_counter() + seconds
    try:
        while True:
            one = torch.ones(side, side, device=device, dtype=getattr(torch, dtype))
            _timed_product(one)  # the first of a size sets up what the others use
            took = _timed_product(one)
            best = max(best, 2 * side**3 / took)
            left = end - time.perf_counter()
            if side < most and 3 * 8 * took < left:  # the next size takes eight times as long
                side *= 2
            elif took > left:
                return best / 1e9
    except (RuntimeError, TypeError):  # torch has no such product there, or there is no memory for it
        return best / 1e9 or None


def _timed_product(one: Any) -> float:
    import torch

    started = time.perf_counter()
    made = one @ one
    float(made[0, 0])  # waits until the device is done
    assert isinstance(made, torch.Tensor)
    return max(time.perf_counter() - started, 1e-9)


def bound_kernel_caches() -> None:
    """Keep few compiled kernels of oneDNN, for a process that computes batches of ever other sizes until it is ended.

    oneDNN compiles a kernel for each shape that it multiplies and keeps 1,024 of them, and torch as many descriptions of them.
    Each shape of a batch is a new one. Kernels are small, but they lie between tensors that are freed, and the memory around
    them cannot be used again: hundreds of MB before the first of them is let go. A forward needs a handful.
    Read at the first product: call it before. What is set in the environment is left as it is.
    """
    for name in KERNEL_CACHES:
        os.environ.setdefault(name, str(KERNELS))


def keep_freed_memory() -> None:
    """Let glibc keep the memory that tensors free, instead of giving it back to the kernel after each step.

    Each step allocates and frees a dense gradient of the embeddings (47 MB for MiniLM); returned to the kernel, its
    pages are faulted in and zeroed again every time. See mallopt(3). Elsewhere than on glibc this does nothing.
    """
    m_trim_threshold, m_mmap_max, largest = -1, -4, 2**31 - 1
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(m_mmap_max, 0)  # blocks over 32 MB are mapped, and unmapped when freed, whatever the threshold says
    mallopt(m_trim_threshold, largest)
