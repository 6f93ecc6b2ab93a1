"""The same rows give the same gradient in one batch, in accumulated batches, and in two processes."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file, save_file

from support import families
from support.crash_injection import fork, start
from support.process_pairs import environments, free_port, log_of, words_for, workers_of

ROWS = 33  # steps of 16, 16 and 1: in the last one a second process has nothing to do
SPLITS = {  # name -> rows in a batch, batches added up, processes
    "whole": (16, 1, 1),
    "parts": (4, 4, 1),
    "two": (8, 1, 2),
}
HEAD_CASES = [
    ("bert", "classify"),
    ("roberta", "regression"),
    ("electra", "tag"),
    ("bert", "answer"),
    ("t5", "text2text"),
    ("gpt2", "generate"),
    ("roberta", "fill"),
    ("bert", "embed"),
]
QUICK = ("classify", "text2text")  # one loss for a text, one for each token


def gradients(plan, name, rank, port, target):
    """In its own process: the summed loss, the count and the clipped gradient of each step of an epoch, into `target`."""
    from hftool.storage.run_folder import Run
    from hftool.training.distributed import ProcessGroup, seed_everything, sum_gradients
    from hftool.training.loop import Trainer
    from hftool.workflow._load import make_predictor
    from hftool.workflow.plan import find, make_settings, prepare, split

    torch.set_num_threads(1)
    batch, accumulate, processes = SPLITS[name]
    if processes > 1:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": "2"}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true"}
    knobs = {**plan["knobs"], "batch_size": batch, "accumulate": accumulate}
    settings = make_settings(knobs, model=plan["model"], task=None, head=plan["head"])
    found = find(settings, offline=True, fallback=False, progress=lambda event: None)
    splits = split(found.settings, found.data, found.head)
    seed_everything(0)
    job = prepare(found, splits)
    trainer = Trainer(
        model=job.loaded.model,
        head=make_predictor(job.loaded).head,
        features=job.encoded["train"],
        config=job.settings,
        precision="fp32",
        accelerator=ProcessGroup("cpu").accelerator,
        evaluate=dict,
        run=Run(target.parent),
        progress=lambda event: None,
    )
    created = {}
    trainer.model.train()
    for number, (_, batches) in enumerate(trainer._rest_of_epoch()):
        loss, count = sum_gradients(trainer.accelerator, trainer.model, *trainer.backward(batches))
        trainer.scale_and_clip(count)
        created |= {f"{number}.{n}": p.grad.clone() for n, p in trainer.model.named_parameters() if p.grad is not None}
        created |= {f"{number}": torch.tensor([loss, count], dtype=torch.float64)}
        trainer.optimizer.zero_grad()
    if rank == 0:
        save_file(created, target)


@pytest.mark.parametrize(
    ("kind", "head_case"),
    [pair if pair[1] in QUICK else pytest.param(*pair, marks=pytest.mark.slow) for pair in HEAD_CASES],
    ids=["-".join(pair) for pair in HEAD_CASES],
)
def test_the_gradient_of_16_rows_is_that_of_4_times_4_and_of_2_processes_of_8(tmp_path, kind, head_case):
    """For each head, with texts and label counts of many lengths, and a last step of one row; nothing is dropped."""
    head, rows, knobs = families.HEAD_CASES[head_case]
    path = families.write_jsonl(tmp_path / "rows.jsonl", uneven(head_case, rows(ROWS)))
    knobs = {"train": str(path), "validation": str(path), "allow_leak": True, "device": "cpu", "clip": 0.5, "lr": 0.1}
    knobs |= {"max_length": 16} if head_case == "fill" else {}
    plan, port = {"model": str(families.folder(kind)), "head": head, "knobs": knobs}, free_port()
    started = [
        fork(gradients, plan, name, rank, port, tmp_path / f"{name}.safetensors")
        for name, (_, _, processes) in SPLITS.items()
        for rank in range(processes)
    ]
    for process in started:
        process.join(120)
        assert process.exitcode == 0
    created = {name: load_file(tmp_path / f"{name}.safetensors") for name in SPLITS}
    whole = created["whole"]
    assert {key.partition(".")[0] for key in whole} == {str(n) for n in range(len(steps(whole)))} and len(steps(whole)) >= 3
    for name in ("parts", "two"):
        assert created[name].keys() == whole.keys()
        for key, expected in whole.items():
            torch.testing.assert_close(created[name][key], expected, rtol=2e-4, atol=2e-6, msg=f"{name} {key}")


def steps(created):
    return [value for key, value in created.items() if "." not in key]


def uneven(head_case, rows):
    """Texts of many lengths, where a head case has them all alike."""
    for number, row in enumerate(rows):
        for key in ("text", "sentence1", "prompt", "target"):
            if key in row and head_case != "fill":
                row[key] = row[key] + " the" * (number % 5)
    return rows


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A folder with a run of two processes, whose environment is that of torchrun (see below for torchrun itself)."""
    folder = tmp_path_factory.mktemp("pair")
    started = [
        start(folder / f"output-{rank}", words_for(folder, "two", "--batch-size", "8"), environment=environment)
        for rank, environment in enumerate(environments(free_port()))
    ]
    first, second = (process.wait() for process in started)
    assert (first.code, second.code, second.err) == (0, 0, ""), (first.err, second.err)
    return folder


def test_two_processes_learn_and_measure_what_one_does_and_only_the_first_writes(pair):
    alone = start(pair / "output-one", words_for(pair, "one", "--batch-size", "16")).wait()
    assert alone.code == 0, alone.err
    wanted, found = log_of(pair / "one"), log_of(pair / "two")
    assert [line["step"] for line in found] == [line["step"] for line in wanted] == [1, 2, 3, 3, 4, 5, 6, 6]
    for here, there in zip(found, wanted, strict=True):
        assert here.keys() == there.keys()
        for key in {"loss", "grad_norm", "lr"} & here.keys():
            assert here[key] == pytest.approx(there[key], rel=1e-4)
    weights = [load_file(pair / name / "model" / "model.safetensors") for name in ("one", "two")]
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=1e-3, atol=1e-5, msg=name)
    measured = [json.loads((pair / name / "metrics.json").read_text())["validation"] for name in ("one", "two")]
    assert measured[0]["rows"] == measured[1]["rows"] == 41
    assert measured[1]["loss"] == pytest.approx(measured[0]["loss"], rel=1e-4)


def test_what_several_processes_measure_is_what_one_measures_of_the_same_weights(pair, cli):
    """41 rows are an odd number: no row may be counted twice or not at all."""
    together = json.loads((pair / "two" / "metrics.json").read_text())["validation"]
    code, out, err = cli("evaluate", pair / "two", "--split", "validation", "--json")
    assert code == 0, err
    alone = json.loads(out)
    alone = alone.get("metrics", alone)
    alone = alone.get("validation", alone)
    for key, value in together.items():
        if isinstance(value, int | float):
            assert value == pytest.approx(alone[key], rel=1e-5), key


def torchrun(folder, out, *more):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "hftool"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    words = words_for(folder, out, "--batch-size", "8", *more)
    return subprocess.run([*command, *words], env=environment, capture_output=True, text=True, cwd=folder, check=False)


@pytest.mark.slow
def test_a_run_started_by_torchrun_is_resumed_by_torchrun(tmp_path):
    done = torchrun(tmp_path, "whole")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("run         ") == 1
    done = torchrun(tmp_path, "whole", "--resume")
    assert done.returncode == 0 and "is finished" in done.stderr
    code = subprocess.run(
        [sys.executable, "-m", "hftool", "finetune", *words_for(tmp_path, "whole", "--batch-size", "8")[1:], "--resume", "-q"],
        capture_output=True,
    ).returncode
    assert code == 0


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="workers are found in /proc")
def test_a_worker_that_is_killed_is_started_again_and_the_run_ends_bitwise_the_same(tmp_path):
    """hftool starts the processes itself: --processes 2 --max-restarts 2; dropout is on."""
    from support.crash_injection import result

    def begin(out):
        words = words_for(tmp_path, out, "--batch-size", "4", "--epochs", "40", "--save-steps", "5", "--patience", "0")
        words += ["--processes", "2", "--max-restarts", "2", "-q"]
        command = [sys.executable, "-m", "hftool", *words]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    whole = begin("whole")
    out, err = whole.communicate(timeout=200)
    assert whole.returncode == 0, err
    broken = begin("broken")
    deadline = time.monotonic() + 120
    while len(list((tmp_path / "broken").glob("checkpoints/step-*"))) < 2:
        assert time.monotonic() < deadline and broken.poll() is None
        time.sleep(0.05)
    os.kill(workers_of(broken.pid)[1], signal.SIGKILL)
    out, err = broken.communicate(timeout=200)
    assert broken.returncode == 0, err
    assert re.search(r"^run +", out, re.MULTILINE) and result(tmp_path / "broken") == result(tmp_path / "whole")
