"""`hftool doctor` on a terminal, in a pipe and with --json."""

import importlib
import json
import socket
import sys
import time

import pytest
from huggingface_hub import constants

from conftest import one_line
from hftool import hub, machine, workflow
from hftool.machine import devices, memory_limit, speeds

MODULE = importlib.import_module("hftool.workflow._doctor")  # the name in the package is the function's


@pytest.fixture
def quick(monkeypatch):
    """Products of a millisecond."""
    monkeypatch.setattr(machine, "PRODUCTS", 0.01)


def test_a_program_gets_one_document(cli, quick):
    code, out, err = cli("doctor", "--offline", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert list(found) == ["machine", "memory", "devices", "auto", "versions", "hub", "cache", "disk", "problems"]
    assert [row["device"] for row in found["devices"]] == devices()
    cpu = found["devices"][0]["gflops"]
    assert list(cpu) == ["fp32", "bf16", "fp16"] and cpu["fp32"] > 0.01
    assert found["memory"]["total"] >= found["memory"]["free"] > 0
    assert found["versions"]["torch"] and found["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["hub"]["asked"] is False and found["disk"]["free"] > 0


def test_auto_device_and_precision_are_reported(cli, quick):
    from hftool.machine import choose_device, choose_precision
    from hftool.registry.families import FAMILIES

    auto = json.loads(cli("doctor", "--offline", "--json")[1])["auto"]
    assert auto["device"] == choose_device("auto") and auto["device_why"] and auto["precision_why"]
    assert auto["precision"] == {f.name: choose_precision("auto", auto["device"], f.safe_dtypes) for f in FAMILIES}


@pytest.mark.parametrize("fast", [True, False])
def test_reason_of_the_precision(monkeypatch, fast):
    monkeypatch.setattr(MODULE, "choose_device", lambda wish: "cpu")
    monkeypatch.setattr(machine, "cpu_has_fast_bf16", lambda: fast)
    auto = MODULE._auto()
    if fast:
        assert auto["precision"]["bert"] == "bf16" and auto["precision_why"].startswith("cpu multiplies bf16 in hardware")
    else:
        assert set(auto["precision"].values()) == {"fp32"}
        assert auto["precision_why"] == "the processor has none of avx512_bf16, amx_bf16, bf16 among its flags"


def test_text_report_has_one_line_per_topic_in_a_pipe(cli, quick):
    code, out, err = cli("doctor", "--offline")
    assert code == 0 and err == "timing products of matrices for 0 s\n"
    words = [line.split()[0] for line in out.splitlines() if not line.startswith(" ")]
    assert words[:2] == ["machine", "memory"] and words[-1] in ("problem", "problems")
    assert {"cpu", "auto", "versions", "hub", "cache", "disk"} <= set(words)
    assert "not asked: --offline" in out and "GFLOP/s" in out


FACTS = {
    "machine": {"processor": "A Processor of Many Words", "system": "Linux x86_64", "cores": 8, "threads": 8},
    "memory": {"total": 2**35, "limit": 2**33, "free": 2**32},
    "devices": [
        {"device": "cpu", "name": "A Processor", "gflops": {"fp32": 100.4, "bf16": 3.14159, "fp16": None}},
        {
            "device": "cuda:0",
            "name": "A GPU",
            "memory": 2**36,
            "free": 2**35,
            "gflops": {"fp32": 51234.5, "bf16": 712345.6, "fp16": 700000.0},
        },
    ],
    "auto": {
        "device": "cuda:0",
        "device_why": "the first GPU",
        "precision": {"bert": "bf16", "t5": "fp32"},
        "precision_why": "cuda:0 multiplies bf16 in hardware",
    },
    "versions": {"python": "3.11.7", "hftool": "0.1.0", "torch": "", "a-package": "1.2.3", "another-package": "4.5.6"},
    "hub": {"address": "https://example.org", "asked": True, "answers": True, "seconds": 0.21, "detail": ""},
    "cache": {"folder": "/a/cache", "bytes": 2**31, "whole": False, "writable": True, "free": 2**33},
    "disk": {"folder": "/a/disk", "free": 2**30},
    "problems": [{"what": "torch is not installed", "mend": "python -m pip install hftool-recipes"}],
}
PLAIN = """\
machine     A Processor of Many Words, Linux x86_64, 8 cores, 8 threads
memory      32.0 GiB, 8.0 GiB of it for this container, 4.0 GiB free
cpu         fp32 100, bf16 3.1, fp16 none GFLOP/s
cuda:0      fp32 51,234, bf16 712,346, fp16 700,000 GFLOP/s; A GPU, 64.0 GiB, 32.0 GiB free
auto        --device cuda:0: the first GPU
            --precision bf16 for bert; fp32 for t5: cuda:0 multiplies bf16 in hardware
versions    python 3.11.7, hftool 0.1.0, torch not installed, a-package 1.2.3, another-package 4.5.6
hub         https://example.org answers in 0.2 s
cache       at least 2.0 GiB in /a/cache, 8.0 GiB free there
disk        1.0 GiB free in /a/disk
problem     torch is not installed. To fix it: python -m pip install hftool-recipes
"""


@pytest.mark.parametrize("width", [0, 200, 80, 40, 20])
def test_lines_are_wrapped_at_the_terminal_width(cli, monkeypatch, width):
    import os

    monkeypatch.setattr(workflow, "doctor", lambda **options: FACTS)
    monkeypatch.setattr("hftool.cli.verbs.doctor.shutil.get_terminal_size", lambda: os.terminal_size((width, 24)))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: width > 0, raising=False)
    code, out, _ = cli("doctor")
    assert code == 0
    if width in (0, 200, 20):  # a pipe; room enough; too narrow for breaking to help
        assert out == PLAIN
    else:
        assert max(map(len, out.splitlines())) <= width and out.split() == PLAIN.split()
        assert all(line[:12].strip() == "" or line[11] == " " for line in out.splitlines())


def test_unreachable_hub_is_reported_with_a_fix(cli, quick, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    code, out, _ = cli("doctor")
    assert code == 0 and "hub         http://127.0.0.1:1 does not answer\n" in out
    assert "problem     http://127.0.0.1:1 does not answer. To fix it: export HF_HUB_OFFLINE=1, or repair the network\n" in out
    monkeypatch.setattr(hub, "TIMEOUT", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:  # takes the connection, and never says a word
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        started = time.monotonic()
        found = json.loads(cli("doctor", "--json")[1])["hub"]
        assert found["asked"] and not found["answers"] and 0.4 < time.monotonic() - started < 4


def test_reachable_hub(cli, quick, monkeypatch):
    queries = []
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(MODULE, "ask_revision", lambda repo: queries.append(repo))
    found = json.loads(cli("doctor", "--json")[1])
    assert found["hub"]["answers"] and len(queries) == 1
    assert not any(found["hub"]["address"] in row["what"] for row in found["problems"])


def test_missing_and_outdated_packages_have_the_command_that_fixes_them(monkeypatch):
    real = MODULE.version

    def version(name):
        if name == "onnx":
            raise MODULE.PackageNotFoundError(name)
        return {"torch": "2.1.0", "transformers": "6.0.0"}.get(name) or real(name)

    asks = ["torch>=2.10", "transformers<6,>=5.3", "numpy>=2", 'onnx>=1.21; extra == "export"', 'ruff; extra == "dev"']
    monkeypatch.setattr(MODULE, "requires", lambda name: asks)
    monkeypatch.setattr(MODULE, "version", version)
    pip = f"{sys.executable} -m pip install"
    assert MODULE._problems_of_packages() == [
        {"what": "torch 2.1.0 is installed, hftool needs >=2.10", "mend": f"{pip} 'torch>=2.10'"},
        {"what": "transformers 6.0.0 is installed, hftool needs <6,>=5.3", "mend": f"{pip} 'transformers<6,>=5.3'"},
        {"what": "onnx is not installed, for hftool export", "mend": f"{pip} 'hftool-recipes[export]'"},
    ]
    assert MODULE._versions() | {"hftool": ""} == {
        "python": ".".join(map(str, sys.version_info[:3])),
        "hftool": "",
        "torch": "2.1.0",
        "transformers": "6.0.0",
        "numpy": real("numpy"),
        "onnx": "",
    }


def test_a_full_disk_and_a_cache_that_cannot_be_written_are_problems(monkeypatch):
    facts = {**FACTS, "hub": {**FACTS["hub"]}, "cache": {**FACTS["cache"], "writable": False}, "disk": {"free": 2**29}}
    problems = [row["what"] for row in MODULE._problems_of_machine(facts)]
    assert problems == ["the cache /a/cache cannot be written", "less than 1 GiB of the disk is free"]


def test_cache_size_is_summed(monkeypatch, tmp_path):
    (tmp_path / "hub" / "blobs").mkdir(parents=True)
    (tmp_path / "hub" / "blobs" / "one").write_bytes(bytes(5000))
    (tmp_path / "hub" / "link").symlink_to(tmp_path / "hub" / "blobs" / "one")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    found = MODULE._cache()
    assert 5000 < found["bytes"] < 5500 and found["whole"] and found["writable"]
    monkeypatch.setattr(MODULE, "CACHE_SECONDS", -1.0)
    assert MODULE._cache()["whole"] is False
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "not" / "there"))
    assert MODULE._cache()["bytes"] == 0


def test_unsupported_precision_is_none(monkeypatch):
    assert speeds("meta:0".replace("meta:0", "cpu"), 0.001)["fp32"] > 0

    def fails(one):
        raise RuntimeError("\"addmm_impl_cpu_\" not implemented for 'Half'")

    monkeypatch.setattr(machine, "_timed_product", fails)
    assert speeds("cpu", 0.001) == {"fp32": None, "bf16": None, "fp16": None}


def test_memory_limit_of_a_container_is_read(monkeypatch, tmp_path):
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(machine, "CGROUPS", (str(tmp_path / "none"), str(limit)))
    assert memory_limit() == 0
    for text, expected in (("max\n", 0), (f"{2**28}\n", 2**28), (f"{2**63 - 4096}\n", 0)):
        limit.write_text(text)
        assert memory_limit() == expected
    limit.write_text(str(2**20))
    assert machine.free_memory() <= 2**20


@pytest.mark.parametrize(
    ("names", "idle"),
    [
        (("memory.max", "memory.current"), "inactive_file"),
        (("memory.limit_in_bytes", "memory.usage_in_bytes"), "total_inactive_file"),
    ],
)
def test_memory_used_by_a_container_is_not_free(monkeypatch, tmp_path, names, idle):
    limit, used = tmp_path / names[0], tmp_path / names[1]
    monkeypatch.setattr(machine, "CGROUPS", (str(limit),))
    limit.write_text(f"{5 * 2**20}\n")
    assert machine.free_memory() == 5 * 2**20  # nothing says what is used
    used.write_text(f"{3 * 2**20}\n")
    assert machine.free_memory() == 2 * 2**20
    (tmp_path / "memory.stat").write_text(f"anon 7\n{idle} {2**20}\nactive_file 9\n")
    assert machine.free_memory() == 3 * 2**20  # cached files can be had back
    used.write_text(f"{9 * 2**20}\n")
    assert machine.free_memory() == 0


def test_doctor_reports_a_broken_installation(cli, monkeypatch):
    monkeypatch.setitem(sys.modules, "hftool.workflow", None)
    monkeypatch.delattr("hftool.workflow")
    code, out, err = cli("doctor", "--offline")
    assert code == 78 and out == ""
    assert one_line(err).endswith(f"{sys.executable} -m pip install --upgrade hftool-recipes")


@pytest.mark.slow
def test_doctor_takes_less_than_ten_seconds(tmp_path):
    """Python, its imports and the products, on a machine that is idle."""
    import subprocess

    started = time.monotonic()
    subprocess.run([sys.executable, "-m", "hftool", "doctor", "--offline"], check=True, capture_output=True)
    assert time.monotonic() - started < 10
