"""Sampling parameters of requests: their types, built from hftool.sampling, and the random seed of each row."""

import random
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from hftool.data.readers.tables import Row
from hftool.sampling import RANGES, SamplingParams
from hftool.server.limits import Limits
from hftool.server.protocols.schemas import NoSurrogates

SEED_BITS = 63  # of a number that a tensor holds
MAX_STOPS, MAX_STOP_CHARS = 16, 256  # a stop string is looked for after each token
StopString = Annotated[str, Field(min_length=1, max_length=MAX_STOP_CHARS), NoSurrogates]
NAMES = (*RANGES, "stop", "do_sample")
UNUSED = ("top_k", "top_p", "seed", "temperature")  # without sampling


def parameter_type(name: str, most: float | None = None) -> Any:
    """The type of a sampling parameter. `most`: the limit of the server, where it has one."""
    row = RANGES[name]
    high = row.most if most is None else min(most, row.most)
    low: Any = {"gt" if row.above else "ge": row.least}
    return Annotated[row.kind, Field(description=row.help, le=row.kind(high), **low)]


def parameter_types(limits: Limits) -> dict[str, Any]:
    """The types of the sampling parameters in Hugging Face's API, by name."""
    most = {"max_new_tokens": limits.max_new_tokens, "num_beams": limits.beams, "num_return_sequences": limits.samples}
    stops = Field(max_length=min(MAX_STOPS, limits.stops), description="A text ends before any of these.")
    return {
        **{name: parameter_type(name, most.get(name)) for name in RANGES},
        "do_sample": Annotated[bool, Field(description="False: no sampling. True: sampling, by default at temperature 1.")],
        "stop": Annotated[list[StopString], stops, AfterValidator(tuple)],
    }


def sampling_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of SamplingParams from the parameters of a request, without those that have no effect.

    Raises:
        UsageError: Some of them contradict each other.
    """
    values = {name: value for name, value in given.items() if name != "do_sample"}
    if given.get("do_sample"):
        values.setdefault("temperature", 1.0)
    if given.get("do_sample") is False or not values.get("temperature"):
        values = {name: value for name, value in values.items() if name not in UNUSED}
    SamplingParams(**values).check()
    return values


def with_seeds(rows: Sequence[Row], options: Mapping[str, Any]) -> tuple[Sequence[Row], Mapping[str, Any]]:
    """Move the random seed of sampling from the options to the rows, so that requests with different seeds can share a batch.

    The first of equal rows has the seed of the options, as if it were alone, or a random one; the others have seeds derived
    from it. Without sampling nothing changes.
    """
    sampling = dict(options.get("sampling", {}))
    if not sampling.get("temperature"):
        return rows, options
    given = sampling.pop("seed", None)
    seed = secrets.randbits(SEED_BITS) if given is None else given
    seeded: list[Row] = []
    seen: Counter[tuple[Any, ...]] = Counter()
    for row in rows:
        number = seen[key := tuple(row.items())]
        seen[key] += 1
        own = random.Random(f"{seed} {number}").getrandbits(SEED_BITS) if number else seed
        seeded.append({**row, "seed": own})
    return seeded, {**options, "sampling": sampling}
