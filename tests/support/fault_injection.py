"""Faults inside a training process, as context managers: `crash_injection.start(change=fault_injection.hanging)`."""

import contextlib
import errno
import os
import random
import signal
import time
from pathlib import Path

import torch

from hftool.training.loop import Trainer

WHERE = "BREAKING_AT"  # environment: the step before which the fault happens
TOUCHED = "BREAKING_TOUCHES"  # environment: a file that is created when the fault happens


@contextlib.contextmanager
def backward_is(change):
    """Put `change(real, trainer, batches)` in the place of Trainer.backward, which the estimate before the first step calls
    too."""
    real = Trainer.backward

    def backward(self, batches):
        return change(real, self, batches)

    Trainer.backward = backward
    try:
        yield
    finally:
        Trainer.backward = real


def _here(trainer):
    return trainer.position.step + 1 == int(os.environ[WHERE])


def hanging():
    """A step that takes a minute, as one that waits for a network."""

    def change(real, trainer, batches):
        if _here(trainer):
            Path(os.environ[TOUCHED]).touch()
            time.sleep(60)
        return real(trainer, batches)

    return backward_is(change)


@contextlib.contextmanager
def evaluation_is(change):
    """Call `change(trainer)` before each evaluation."""
    real = Trainer._evaluate

    def evaluate(self):
        change(self)
        real(self)

    Trainer._evaluate = evaluate
    try:
        yield
    finally:
        Trainer._evaluate = real


def damaged_best():
    """A disk that loses the weights of the best checkpoint; the evaluation after it finds nothing better."""

    def change(trainer):
        if trainer.position.step == int(os.environ[WHERE]):
            (trainer.store.path(trainer.position.best_step) / "model.safetensors").write_bytes(b"")
            trainer.position.best_value = 2.0

    return evaluation_is(change)


def hanging_evaluation():
    """An evaluation that takes a minute."""

    def change(trainer):
        if trainer.position.step == int(os.environ[WHERE]):
            Path(os.environ[TOUCHED]).touch()
            time.sleep(60)

    return evaluation_is(change)


@contextlib.contextmanager
def signalled():
    """SIGTERM in the middle of a step; an evaluation after it is too long for any grace."""

    def step(real, trainer, batches):
        if _here(trainer):
            os.kill(os.getpid(), signal.SIGTERM)
        return real(trainer, batches)

    def evaluation(trainer):
        if trainer.position.step == int(os.environ[WHERE]):
            os._exit(1)

    with backward_is(step), evaluation_is(evaluation):
        yield


def slow():
    """Steps long enough for a signal to meet them."""

    def change(real, trainer, batches):
        time.sleep(0.03)
        return real(trainer, batches)

    return backward_is(change)


def _no_memory(error):
    """From a step on there is no memory for more than 2 rows, noticed in the middle of the step."""

    def change(real, trainer, batches):
        if trainer.position.step + 1 >= int(os.environ[WHERE]) and max(len(b["input_ids"]) for b in batches) > 2:
            real(trainer, batches[:1])
            raise error
        return real(trainer, batches)

    return backward_is(change)


def out_of_memory():
    """The exception that CUDA raises."""
    return _no_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))


def memory_error():
    """The exception that Python raises."""
    return _no_memory(MemoryError())


def no_room_for_one():
    """No memory for a single row."""

    def change(real, trainer, batches):
        if trainer.position.step + 1 >= int(os.environ[WHERE]):
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:119] DefaultCPUAllocator: can't allocate memory: you tried")
        return real(trainer, batches)

    return backward_is(change)


def full_disk():
    """Before this step somebody else fills the disk on which TOUCHED lies."""

    def change(real, trainer, batches):
        if _here(trainer):
            with contextlib.suppress(OSError), open(os.environ[TOUCHED], "wb", buffering=0) as ballast:
                while True:
                    ballast.write(bytes(4096))
        return real(trainer, batches)

    return backward_is(change)


@contextlib.contextmanager
def failing_disk():
    """The disk reports EIO at the WHERE-th fsync, as one that dies."""
    real, done = os.fsync, 0

    def fsync(handle):
        nonlocal done
        done += 1
        if done == int(os.environ[WHERE]):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(handle)

    os.fsync = fsync
    try:
        yield
    finally:
        os.fsync = real


@contextlib.contextmanager
def leaping_clock():
    """The clock on the wall leaps by years, back and forth; the monotonic one does not."""
    real, leaps = time.time, random.Random(3)
    time.time = lambda: real() + leaps.uniform(-3e8, 3e8)
    try:
        yield
    finally:
        time.time = real


@contextlib.contextmanager
def unmeasurable():
    """An evaluation that finds no number in this process's share of the rows."""
    from hftool.errors import DataError
    from hftool.inference.predictor import Predictor

    def sums(self, features):
        raise DataError("the model answers with NaN")

    real, Predictor.sums = Predictor.sums, sums
    try:
        yield
    finally:
        Predictor.sums = real
