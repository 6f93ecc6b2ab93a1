"""An estimate of the duration of a run, before its first step."""

import dataclasses
import time

from hftool.training.divergence import is_out_of_memory, rng_state_preserved
from hftool.training.loop import Trainer


def estimate_seconds(trainer: Trainer) -> float | None:
    """The approximate duration of a run: the time of one batch of median length, forward and backward, times the steps.

    Weights, gradients, random state and sums are left unchanged. If memory runs out the batch is halved; the number of rows for
    the steps is not changed by that, since they have longer rows.

    Returns:
        Seconds; None if there is no memory for one row, which the first step reports.
    """
    lengths = trainer.lengths
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    median = order[len(order) // 2 :][: trainer.micro] or order
    seconds, meter = None, dataclasses.replace(trainer.meter)
    trainer.model.train()
    with rng_state_preserved(trainer.accelerator.device) as rewind:
        while seconds is None and median:
            try:
                seconds = _time_batch(trainer, median)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                median = median[: len(median) // 2]
            trainer.optimizer.zero_grad()
            rewind()
    trainer.meter = dataclasses.replace(meter, since=time.perf_counter())
    if seconds is None:
        return None
    tokens = sum(lengths) * min(trainer.steps * trainer.rows_a_step / len(lengths), 1e9)
    tokens /= trainer.accelerator.num_processes
    return float(seconds * tokens / sum(lengths[i] for i in median))


def _time_batch(trainer: Trainer, rows: list[int]) -> float:
    batch = trainer.head.collate([trainer.features[i] for i in rows])
    seconds = 0.0
    for _ in range(2):  # the first warms up
        started = time.perf_counter()
        trainer.backward([batch])
        seconds = time.perf_counter() - started
    return seconds
