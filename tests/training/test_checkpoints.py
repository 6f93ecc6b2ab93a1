import functools
import json
import os
import random
import re
import shutil
import subprocess

import numpy as np
import pytest
import torch

from hftool.errors import ConfigError, DataError, StorageError
from hftool.storage import atomic
from hftool.training.checkpoint_schema import PYTHON
from hftool.training.checkpoints import (
    FILES,
    MANIFEST,
    CheckpointManager,
    load_weights,
    read_state,
    verify_checkpoint,
)
from hftool.training.optimizer import make_optimizer, unpack_optimizer
from hftool.training.random_state import load_generators


def trained(name="adamw"):
    """A small model and its optimizer after two steps."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.LayerNorm(8), torch.nn.Linear(8, 2))
    optimizer = make_optimizer(name, net, lr=0.1, weight_decay=0.01)
    for _ in range(2):
        step(net, optimizer)
    return net, optimizer


def step(net, optimizer):
    net(torch.linspace(-1, 1, 16).reshape(2, 8)).square().sum().backward()
    optimizer.step()
    optimizer.zero_grad()


@pytest.fixture
def store(tmp_path):
    return CheckpointManager(tmp_path / "checkpoints", keep=2)


@pytest.fixture
def saved(store):
    net, optimizer = trained()
    return store.save(net, optimizer, {"step": 7, "best_step": 7})


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd", "adafactor"])
def test_a_model_and_its_optimizer_resume_bitwise_as_if_never_stopped(store, name):
    net, optimizer = trained(name)
    path = store.save(net, optimizer, {"step": 2})
    step(net, optimizer)
    other = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.LayerNorm(8), torch.nn.Linear(8, 2))
    load_weights(path, other)
    fresh = make_optimizer(name, other, lr=0.1, weight_decay=0.01)
    unpack_optimizer(fresh, path, read_state(path)["optimizer"])
    step(other, fresh)
    assert all(torch.equal(p, q) for p, q in zip(net.parameters(), other.parameters(), strict=True))


def test_the_random_generators_resume_where_they_were(store):
    random.seed(3), np.random.seed(3), torch.manual_seed(3)
    random.gauss(0, 1), np.random.standard_normal(3)  # leaves half a pair of gaussians in each
    path = store.save(*trained(), {"step": 1})
    expected = (random.gauss(0, 1), random.random(), np.random.standard_normal(3).tolist(), torch.rand(3).tolist())
    random.seed(9), np.random.seed(9), torch.manual_seed(9)
    load_generators(path, read_state(path)[PYTHON])
    assert (random.gauss(0, 1), random.random(), np.random.standard_normal(3).tolist(), torch.rand(3).tolist()) == expected


def test_nothing_in_a_checkpoint_is_a_pickle(saved):
    assert sorted(p.name for p in saved.iterdir()) == sorted([*FILES, MANIFEST])
    from hftool.models.safety import check_safetensors

    for path in saved.glob("*.safetensors"):
        check_safetensors(path)
    verify_checkpoint(saved)


@pytest.mark.parametrize("name", [*FILES, MANIFEST])
def test_one_flipped_bit_is_found_in_every_file(saved, name):
    whole = (saved / name).read_bytes()
    for location in {0, 9, len(whole) // 2, len(whole) - 2}:
        broken = bytearray(whole)
        broken[location] ^= 1
        (saved / name).write_bytes(broken)
        with pytest.raises(ConfigError, match="is damaged") as caught:
            verify_checkpoint(saved)
        assert caught.value.code == 78 and str(saved) in str(caught.value) and "Use another one" in str(caught.value)
    (saved / name).write_bytes(whole)
    verify_checkpoint(saved)


@pytest.mark.parametrize("name", [*FILES, MANIFEST])
@pytest.mark.parametrize("left", [0, 0.5, None], ids=["empty", "half", "gone"])
def test_a_short_or_missing_file_is_found(saved, name, left):
    data = (saved / name).read_bytes()
    (saved / name).unlink() if left is None else (saved / name).write_bytes(data[: int(left * len(data))])
    with pytest.raises(ConfigError, match="is damaged"):
        verify_checkpoint(saved)


@pytest.mark.parametrize("text", ["{}", "[]", '{"files": {}}', '{"files": []}', '{"files": {"model.safetensors": 3}}'])
def test_a_manifest_that_promises_less_than_a_checkpoint_is_no_manifest(saved, text):
    (saved / MANIFEST).write_text(text)
    with pytest.raises(ConfigError, match="is damaged"):
        verify_checkpoint(saved)


def test_the_newest_and_the_best_stay_and_leftovers_go(store):
    net, optimizer = trained()
    for number in range(1, 7):
        (store.folder / f".tmp-{number}-1").mkdir(parents=True)
        store.save(net, optimizer, {"step": number, "best_step": 2})
    assert sorted(p.name for p in store.folder.iterdir()) == ["step-000002", "step-000005", "step-000006"]


def test_a_step_that_is_saved_again_is_replaced(store):
    net, optimizer = trained()
    store.save(net, optimizer, {"step": 1, "best_step": 0})
    store.save(net, optimizer, {"step": 1, "best_step": 1})
    assert read_state(store.path(1))["best_step"] == 1
    assert [p.name for p in store.folder.iterdir()] == ["step-000001"]


class Killed(BaseException):
    """As SIGKILL: nothing of ours catches it."""


def killed_at(monkeypatch, number, work):
    """Do something and be killed before this operation on the disk -> whether it came so far."""
    done = 0

    def count(operation, path):
        nonlocal done
        done += 1
        if done == number:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(atomic, "watch", count)
        try:
            work()
        except Killed:
            return True
    return False


def test_killed_at_any_point_of_saving_a_step_again_it_is_still_there(tmp_path, monkeypatch):
    """Its folder loses its name before the new one gets it: between the two there is none of that name."""
    net, optimizer = trained()
    number, found, going = 0, set(), True
    while going:
        number += 1
        store = CheckpointManager(tmp_path / str(number), keep=1)
        store.save(net, optimizer, {"step": 1, "best_step": 0})
        again = functools.partial(store.save, net, optimizer, {"step": 1, "best_step": 1})
        going = killed_at(monkeypatch, number, again)
        assert store.newest(print) == store.path(1), number
        verify_checkpoint(store.path(1))
        found.add(read_state(store.path(1))["best_step"])
        store.rotate()
        assert [p.name for p in store.folder.iterdir()] == ["step-000001"]
    assert number > 20 and found == {0, 1}


@pytest.mark.parametrize("which", ["best", "last", "step-000007"])
def test_a_checkpoint_that_a_crash_left_aside_is_found_and_left_where_it_is(store, saved, which):
    store._detach(7)
    aside = next(store.folder.glob(".tmp-7-*-old"))
    assert store.find(which) == aside
    assert [path.name for path in store.folder.iterdir()] == [aside.name]  # a run that lives may be about to remove it
    (aside / "rng.safetensors").unlink()
    with pytest.raises(ConfigError, match="it has: none"):
        store.find(which)


def test_half_of_a_checkpoint_that_was_put_aside_is_not_taken_back(store, saved):
    store._detach(7)
    aside = next(store.folder.glob(".tmp-7-*-old"))
    (aside / "rng.safetensors").unlink()
    assert store.newest(print) is None
    store.rotate()
    assert list(store.folder.iterdir()) == []


def test_find(store):
    net, optimizer = trained()
    assert store.steps() == []
    with pytest.raises(ConfigError, match="has no checkpoint 'last'; it has: none"):
        store.find("last")
    store.save(net, optimizer, {"step": 3, "best_step": 0})
    assert store.find("best") == store.path(3)  # nothing was evaluated yet
    store.save(net, optimizer, {"step": 5, "best_step": 3})
    assert store.find("best") == store.find("step-000003") == store.path(3)
    assert store.find("last") == store.path(5)
    with pytest.raises(ConfigError) as caught:
        store.find("step-000004")
    assert str(caught.value) == (
        f"'{store.folder}' has no checkpoint 'step-000004'; it has: step-000003, step-000005. Use best, last or one of these"
    )


@pytest.mark.parametrize("removed", [False, True])
def test_a_best_that_is_damaged_is_named_with_those_that_are_whole(store, removed):
    """However often it is asked for, and nothing of it is lost: a bit may come back, a folder be put back."""
    net, optimizer = trained()
    for step in (4, 8, 10):
        store.save(net, optimizer, {"step": step, "best_step": 4})
    if removed:
        shutil.rmtree(store.path(4))
    else:
        (store.path(4) / "model.safetensors").write_bytes(b"")
    before = sorted(path.name for path in store.folder.iterdir())
    word = (
        f"the best checkpoint '{store.path(4)}' {'is missing' if removed else 'is damaged'}; whole: step-000008, step-000010. "
        f"Keep one of these: hftool save {store.folder.parent} --checkpoint step-000010 --out DIR"
    )
    for _ in range(2):
        notices = []
        for ask in (
            lambda notices=notices: store.newest(notices.append),
            lambda: store.find("best"),
            lambda: store.check_best(4),
        ):
            with pytest.raises(DataError) as caught:
                ask()
            assert str(caught.value) == word and caught.value.code == 65
        assert len(notices) == 1 and notices[0].startswith(f"the checkpoint '{store.path(4)}' is ")
        assert sorted(path.name for path in store.folder.iterdir()) == before
    assert store.find("last") == store.find("step-000010") == store.path(10)


def test_best_is_not_taken_from_a_damaged_state(store):
    net, optimizer = trained()
    store.save(net, optimizer, {"step": 3, "best_step": 3})
    last = store.save(net, optimizer, {"step": 5, "best_step": 3})
    text = (last / "state.json").read_text()
    (last / "state.json").write_text(text.replace('"best_step": 3', '"best_step": 5'))
    with pytest.raises(ConfigError, match=r"step-000005' is damaged: state.json changed after it was written"):
        store.find("best")
    (last / "state.json").unlink()
    with pytest.raises(ConfigError, match="is damaged"):
        read_state(last)
    assert store.find("step-000003") == store.path(3)


def test_weights_of_another_model_do_not_fit(saved):
    with pytest.raises(ConfigError, match="does not fit"):
        load_weights(saved, torch.nn.Sequential(torch.nn.Linear(8, 9), torch.nn.LayerNorm(8), torch.nn.Linear(8, 2)))
    with pytest.raises(ConfigError, match="does not fit"):
        load_weights(saved, torch.nn.Sequential(torch.nn.Linear(8, 8)))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may mount a small tmpfs")
@pytest.mark.parametrize("room", ["64k", "100k", "140k"])
def test_a_full_disk_is_74_and_the_older_checkpoint_is_whole(tmp_path, room):
    """A disk with room for one checkpoint of about 55 kB and not for a second one, full at different files."""
    small = tmp_path / "small"
    small.mkdir()
    if (
        shutil.which("mount") is None
        or subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={room}", "tmpfs", small]).returncode
    ):
        pytest.skip("a tmpfs cannot be mounted here")
    try:
        store = CheckpointManager(small / "checkpoints", keep=2)
        net, optimizer = trained()
        store.save(net, optimizer, {"step": 1})
        wide = torch.nn.Linear(130, 130)  # 68 kB
        with pytest.raises(StorageError) as caught:
            for number in range(2, 9):
                (small / f"ballast-{number}").write_bytes(b"x" * 2048)
                store.save(wide, optimizer, {"step": number})
        assert caught.value.code == 74
        assert "could not be written" in str(caught.value) and "No space left on device" in str(caught.value)
        assert re.search(r"\(\d+ bytes needed, \d+ free\); older ones are whole", str(caught.value))
        assert [p.name for p in store.folder.iterdir() if p.name.startswith(".tmp")] == []
        verify_checkpoint(store.find("last"))
    finally:
        subprocess.run(["umount", small], check=True)


def test_a_folder_that_cannot_be_created_is_74(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"the checkpoint of step 1 could not be written into .*: Not a directory"):
        CheckpointManager(tmp_path / "file" / "checkpoints").save(*trained(), {"step": 1})


def test_a_state_file_holds_numbers_that_json_can_hold(saved):
    assert json.loads((saved / "state.json").read_text())["step"] == 7
