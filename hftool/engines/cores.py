"""Parts of a batch on one core each: cores then wait for each other once a batch, and not once an operation."""

import functools
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")


def run_on_cores(tasks: Sequence[Callable[[], T]]) -> list[T]:
    """Run tasks at the same time, each in a thread that computes on one core without gradients -> their results, in order.

    Raises:
        Exception: What the first of the tasks that fail raises.
    """
    return list(_threads(os.getpid(), torch.get_num_threads()).map(_run, tasks))


def _run(task: Callable[[], T]) -> T:
    with torch.inference_mode():
        return task()


@functools.cache  # the threads of a process do not exist in one that it forks
def _threads(process: int, count: int) -> ThreadPoolExecutor:
    threads = ThreadPoolExecutor(count, "core", _compute_on_one_core)
    started = threading.Barrier(count)
    list(threads.map(lambda _: started.wait(), range(count)))
    torch.set_num_threads(count)  # those of `threads` have set it for all threads that start later, too
    return threads


def _compute_on_one_core() -> None:
    torch.get_num_threads()  # the first call of a thread sets the number for all threads, and so would undo the next line
    torch.set_num_threads(1)
