"""What the machine allows: the rate of products, the bandwidth of the memory, and the peak memory of a process."""

import time
from pathlib import Path

from hftool.machine import speeds

PRODUCT_SECONDS = 0.7  # for each number format
BLOCK = 64 << 20  # numbers of four bytes that are read
READS = 10


def machine_rates() -> dict[str, float | None]:
    """GFLOP/s of products by number format, and GB/s of reading memory as `memory`."""
    return {**speeds("cpu", PRODUCT_SECONDS), "memory": bandwidth()}


def bandwidth() -> float:
    """GB/s of reading memory, the best of ten."""
    import torch

    large, best = torch.ones(BLOCK), float("inf")
    for _ in range(READS):
        start = time.perf_counter()
        large.sum()
        best = min(best, time.perf_counter() - start)
    return large.numel() * 4 / best / 1e9


def reset_peak() -> None:
    """Let the peak memory of this process start again from what it uses now, where the kernel allows it."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def peak_memory() -> int:
    """The peak of the resident memory of this process in bytes, since `reset_peak`."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
