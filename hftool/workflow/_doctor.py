"""doctor: what this machine and this installation can do, and how to fix what is missing."""

import os
import platform
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

from hftool import DISTRIBUTION, machine
from hftool.errors import HubUnreachable
from hftool.hub import address, ask_revision
from hftool.machine import choose_device, choose_precision, devices
from hftool.progress import Progress, notice, silent
from hftool.registry.families import FAMILIES
from hftool.registry.models import MODELS
from hftool.storage.atomic import free_bytes

EXTRAS = {  # extra -> what it is for
    "offline": "an answer for `bert` without a network",
    "serve": "hftool serve",
    "export": "hftool export",
}
CACHE_SECONDS = 1.0  # to add up the files of the cache


def doctor(*, offline: bool = False, seconds: float = machine.PRODUCT, progress: Progress = silent) -> dict[str, Any]:
    """Check devices, memory, packages, Hub, cache and disk, and time matrix products on each device. Writes nothing.

    Args:
        offline: Send no request to the Hub.
        seconds: For each device and number format, at most 5 in all.
        progress: Receives a notice before the timing.

    Returns:
        Facts as JSON; each of `problems` has `what` and `mend`, a command or advice.
    """
    there = devices()
    each = min(seconds, machine.PRODUCTS / (3 * len(there)))
    notice(progress, f"timing products of matrices for {3 * len(there) * each:.0f} s")
    with ThreadPoolExecutor(max_workers=1) as pool:
        hub = pool.submit(_hub, offline)  # network time overlaps with the products
        rows = [_device(name, each) for name in there]
        facts = {
            "machine": machine.this_machine().as_dict(),
            "memory": {"total": machine.total_memory(), "limit": machine.memory_limit(), "free": machine.free_memory()},
            "devices": rows,
            "auto": _auto(),
            "versions": _versions(),
            "hub": hub.result(),
            "cache": _cache(),
            "disk": {"folder": str(Path.cwd()), "free": free_bytes(Path.cwd())},
        }
    return {**facts, "problems": [*_problems_of_packages(), *_problems_of_machine(facts)]}


def _device(name: str, seconds: float) -> dict[str, Any]:
    """The name of a device, its memory in bytes, and its billions of operations per second."""
    import torch

    row: dict[str, Any] = {"device": name, "name": machine.this_machine().processor}
    if name.startswith("cuda"):
        free, total = torch.cuda.mem_get_info(int(name[5:]))
        row |= {"name": torch.cuda.get_device_name(int(name[5:])), "memory": total, "free": free}
    return row | {"gflops": machine.speeds(name, seconds)}


def _auto() -> dict[str, Any]:
    """What `--device auto` and `--precision auto` resolve to for each family, and why."""
    device = choose_device("auto")
    chosen = {family.name: choose_precision("auto", device, family.safe_dtypes) for family in FAMILIES}
    why = {"cpu": "no GPU is visible to torch", "mps": "the GPU of this Mac"}.get(device, "the first GPU")
    if "bf16" in chosen.values():
        reason = f"{device} multiplies bf16 in hardware"
    elif device == "cpu" and not machine.cpu_has_fast_bf16():
        reason = f"the processor has none of {', '.join(machine.FAST_BF16_FLAGS)} among its flags"
    else:
        reason = f"{device} has no bf16 in hardware"
    narrow = [name for name, word in chosen.items() if word == "fp32"]
    if "bf16" in chosen.values() and narrow:
        reason += f"; {', '.join(narrow)} overflow or lose precision in it"
    return {"device": device, "device_why": why, "precision": chosen, "precision_why": reason}


def _requirements() -> list[tuple[str, Any]]:
    """(extra or "", requirement) for each dependency of hftool and its extras."""
    from packaging.requirements import Requirement

    found = []
    for row in map(Requirement, requires(DISTRIBUTION) or []):
        extras = (extra for extra in ("", *EXTRAS) if row.marker is None or row.marker.evaluate({"extra": extra}))
        if row.name != DISTRIBUTION and (first := next(extras, None)) is not None:
            found.append((first, row))
    return found


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _versions() -> dict[str, str]:
    """Versions of Python, hftool and each dependency; empty where one is not installed."""
    found = {"python": platform.python_version(), "hftool": _installed(DISTRIBUTION)}
    return found | {row.name: _installed(row.name) for _, row in _requirements()}


def _problems_of_packages() -> list[dict[str, str]]:
    found = []
    pip = f"{sys.executable} -m pip install"
    absent: dict[str, list[str]] = {}
    for extra, row in _requirements():
        have = _installed(row.name)
        if have and not row.specifier.contains(have, prereleases=True):
            what = f"{row.name} {have} is installed, hftool needs {row.specifier}"
            found.append({"what": what, "mend": f"{pip} '{row.name}{row.specifier}'"})
        elif not have:
            absent.setdefault(extra, []).append(row.name)
    for extra, names in absent.items():
        what = f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} not installed"
        target = f"{DISTRIBUTION}[{extra}]" if extra else DISTRIBUTION
        found.append({"what": f"{what}{f', for {EXTRAS[extra]}' if extra else ''}", "mend": f"{pip} '{target}'"})
    return found


def _problems_of_machine(facts: dict[str, Any]) -> list[dict[str, str]]:
    found = []
    if shutil.which("nvidia-smi") and facts["auto"]["device"] == "cpu":
        fix = f"{sys.executable} -m pip install --force-reinstall torch, as https://pytorch.org/get-started says for your CUDA"
        found.append({"what": "there is an NVIDIA driver, and torch sees no GPU", "mend": fix})
    if facts["hub"]["asked"] and not facts["hub"]["answers"]:
        what = f"{facts['hub']['address']} does not answer"
        found.append({"what": what, "mend": "export HF_HUB_OFFLINE=1, or repair the network"})
    folder = facts["cache"]["folder"]
    if not facts["cache"]["writable"]:
        found.append({"what": f"the cache {folder} cannot be written", "mend": "export HF_HOME=/a/folder/of/yours"})
    if min(facts["cache"]["free"], facts["disk"]["free"]) < 2**30:
        found.append({"what": "less than 1 GiB of the disk is free", "mend": f"hf cache prune, or export HF_HOME; {folder}"})
    return found


def _hub(offline: bool) -> dict[str, Any]:
    """Whether the Hub answers a single request, for the first model of the registry."""
    from huggingface_hub import constants

    row: dict[str, Any] = {"address": address(), "asked": False, "answers": False, "seconds": 0.0, "detail": ""}
    if offline or constants.HF_HUB_OFFLINE:
        return row | {"detail": "not asked: --offline" if offline else "not asked: HF_HUB_OFFLINE is set"}
    started = time.perf_counter()
    try:
        ask_revision(next(model.repo for model in MODELS if model.repo))
        notices: dict[str, Any] = {"answers": True}
    except HubUnreachable as error:
        notices = {"detail": error.detail}
    return row | {"asked": True, "seconds": time.perf_counter() - started} | notices


def _cache() -> dict[str, Any]:
    """The cache of the Hub and its size in bytes; `whole` is False when time ran out before all files were counted."""
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE).expanduser()
    total, end, whole = 0, time.monotonic() + CACHE_SECONDS, True
    for where, _, names in os.walk(folder):
        if time.monotonic() > end:
            whole = False
            break
        total += sum((Path(where) / name).lstat().st_size for name in names)
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    writable, free = os.access(nearest, os.W_OK), free_bytes(folder)
    return {"folder": str(folder), "bytes": total, "whole": whole, "writable": writable, "free": free}
