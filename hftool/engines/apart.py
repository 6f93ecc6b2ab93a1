"""Work in a thread that ends with it, for a process whose batches are computed in another thread."""

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def run_in_thread(work: Callable[[], T]) -> T:
    """What work() returns or raises, out of a thread that ends.

    OpenMP gives each thread that computes in parallel helpers of its own, and keeps them until that thread ends. With more of
    them than cores they no longer wait awake for the next operation (libgomp: gomp_throttled_spin_count_var, env.c), and
    waking them costs a small model time. A main thread that only loads a model is enough for that.
    """
    made: list[T] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            made.append(work())
        except BaseException as error:  # it is raised again, where it is waited for
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True, name="hftool-apart")
    thread.start()
    thread.join()
    if raised:
        raise raised[0]
    return made[0]
