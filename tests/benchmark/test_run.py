"""A whole benchmark: processes, comparison, rounds and the document."""

import io
import json
import sys

import pytest

from hftool.benchmark.benchmark import run_benchmark
from hftool.benchmark.job import PEERS, ArmName, Job, peers_of
from hftool.benchmark.process import ArmProcess
from hftool.errors import InputMissing, UsageError


def test_arms_take_turns_and_the_document_has_each(tiny_run, monkeypatch):
    """A peer whose process ends is named with the last line of its log; the rest is measured."""
    monkeypatch.setitem(PEERS, "zentorch", PEERS["pipeline"].__class__({}, {"infer": ("bf16",)}))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    lines = []
    job = Job("infer", str(tiny_run), against=("pipeline", "zentorch"), limit=8, rounds=2, offline=True)
    document = run_benchmark(job, progress=lambda event: lines.append(event.text))
    assert list(document["arms"]) == ["hftool", "pipeline", "pipeline in batches"]
    assert list(document["left_out"]) == ["zentorch bf16"] and "zentorch" in document["left_out"]["zentorch bf16"]
    assert document["rounds"] == 2 and document["work"]["from"] == "sst2-mini"
    for row in document["arms"].values():
        assert row["spread"][0] <= row["rate"] <= row["spread"][1] and row["same"] == 1.0
    compared = [i for i, line in enumerate(lines) if "as in fp32" in line]
    assert len(compared) == 3 and max(compared) < min(i for i, line in enumerate(lines) if line.startswith("round "))
    json.dumps(document, allow_nan=False)


def test_the_error_of_a_process_is_that_of_the_benchmark(tmp_path):
    with pytest.raises(InputMissing):
        run_benchmark(Job("infer", str(tmp_path / "nothing"), offline=True))


def test_no_further_round_starts_when_time_is_over():
    from hftool.benchmark.benchmark import Running, run_rounds

    class Process:
        def ask(self, command):
            return {"units": 4, "seconds": 2.0}

    arms = [Running("hftool", Process(), {})]
    assert run_rounds(Job("infer", "m", rounds=5, seconds=0), arms, lambda event: None) == 1 and arms[0].rates == [2.0]
    assert run_rounds(Job("infer", "m", rounds=3), arms, lambda event: None) == 3


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"kind": "infr"}, "unknown kind of work 'infr'"),
        ({"against": ("pipelin",)}, "unknown peer 'pipelin'"),
        ({"against": ("trainer",)}, "'trainer' cannot be measured beside hftool bench infer"),
        ({"precisions": ("fp8",)}, "unknown precision 'fp8'"),
    ],
)
def test_unknown_words(given, says):
    with pytest.raises(UsageError, match=says):
        Job(**{"kind": "infer", "model": "bert", **given}).check()


def test_a_peer_that_is_not_installed_names_its_package(monkeypatch):
    monkeypatch.setattr("hftool.benchmark.job.find_spec", lambda name: None)
    with pytest.raises(UsageError) as caught:
        Job("infer", "bert", against=("openvino",)).check()
    assert str(caught.value) == "'openvino' needs openvino. pip install openvino"


def test_peers_run_in_the_interpreter_that_is_named(monkeypatch):
    """It is asked for the packages, and the command to install them is its own."""
    monkeypatch.setitem(PEERS, "other", PEERS["openvino"].__class__({"no_such_module": "no-such-package"}, {"infer": ("",)}))
    with pytest.raises(UsageError) as caught:
        Job("infer", "bert", against=("other",), peer_python=sys.executable).check()
    assert str(caught.value) == f"'other' needs no-such-package. {sys.executable} -m pip install no-such-package"
    with pytest.raises(UsageError, match="'/no/python' does not run"):
        Job("infer", "bert", against=("other",), peer_python="/no/python").check()
    Job("infer", "bert", against=("pipeline",), peer_python=sys.executable).check()


def test_only_peers_are_started_in_the_other_interpreter(monkeypatch, tmp_path):
    class Process:
        def __init__(self, command, **more):
            started.append(command[0])
            self.stdin, self.stdout = io.StringIO(), io.StringIO("{}\n")

        def wait(self, seconds):
            return 0

    started = []
    monkeypatch.setattr("subprocess.Popen", Process)
    for arm in (None, ArmName("hftool", "auto"), ArmName("pipeline", "")):
        ArmProcess(Job("infer", "bert", peer_python="other"), arm, tmp_path, verbose=False).close()
    assert started == [sys.executable, sys.executable, "other"]


def test_a_package_of_node_that_is_missing_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr("hftool.benchmark.job.find_spec", lambda name: True)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="'llamacpp' needs node and its package node-llama-cpp. npm install"):
        Job("generate", "gpt2", against=("llamacpp",)).check()


def test_arms_can_be_chosen_by_name():
    arms = Job("train", "bert", ("trainer",), only=("trainer",)).arms()
    assert list(map(str, arms)) == ["hftool", "trainer"]


def test_peers_of_the_option():
    assert peers_of("infer", None) == ("pipeline",) and peers_of("infer", "none") == ()
    assert peers_of("infer", "openvino, pipeline,openvino") == ("openvino", "pipeline")


def test_every_peer_has_a_file_with_a_function_for_each_kind_of_work():
    from pathlib import Path

    import hftool.benchmark.peers

    folder = Path(hftool.benchmark.peers.__file__).parent
    for name, peer in PEERS.items():
        text = (folder / f"{name}.py").read_text(encoding="utf-8")
        assert all(f"\ndef {kind}(work: " in text for kind in peer.variants), name
