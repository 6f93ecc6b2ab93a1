"""How long a run will take, found out before its first step."""

import dataclasses
import time

from hftool.training.divergence import is_out_of_memory, rng_state_preserved
from hftool.training.loop import Trainer


def estimate_seconds(trainer: Trainer) -> float | None:
    """About how long the run will take: one batch of middle size, forward and backward, timed twice, times the steps; None
    where there is no memory for one row, which the first step says better.

    Leaves weights, gradients, generators and sums as they were. Where memory runs out it takes half as many rows, as a step
    does; what a step then finds out is left to it, as it has longer rows.
    """
    lengths = trainer.lengths
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    middle = order[len(order) // 2 :][: trainer.micro] or order
    seconds, meter = None, dataclasses.replace(trainer.meter)
    trainer.model.train()
    with rng_state_preserved(trainer.accelerator.device) as rewind:
        while seconds is None and middle:
            try:
                seconds = _seconds_of(trainer, middle)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                middle = middle[: len(middle) // 2]
            trainer.optimizer.zero_grad()
            rewind()
    trainer.meter = dataclasses.replace(meter, since=time.perf_counter())
    if seconds is None:
        return None
    tokens = sum(lengths) * min(trainer.steps * trainer.rows_a_step / len(lengths), 1e9)
    tokens /= trainer.accelerator.num_processes
    return float(seconds * tokens / sum(lengths[i] for i in middle))


def _seconds_of(trainer: Trainer, rows: list[int]) -> float:
    batch = trainer.head.collate([trainer.features[i] for i in rows])
    seconds = 0.0
    for _ in range(2):  # the first warms up
        started = time.perf_counter()
        trainer.backward([batch])
        seconds = time.perf_counter() - started
    return seconds
