"""hftool/sampling.py: one table of sampling parameters; the command line, HTTP and Python all read it."""

from dataclasses import replace

import pytest
from pydantic import TypeAdapter, ValidationError

from hftool.cli.inference_command import SAMPLING
from hftool.errors import UsageError
from hftool.sampling import RANGES, SamplingParams
from hftool.server.limits import Limits
from hftool.server.protocols.sampling import parameter_type, parameter_types
from hftool.server.protocols.schemas import STRICT

TYPES = {int: "integer", float: "number"}


def test_old_names_are_accepted_and_new_names_are_those_of_transformers():
    from transformers import GenerationConfig

    assert SamplingParams(beams=3, samples=2) == SamplingParams(num_beams=3, num_return_sequences=2)
    assert replace(SamplingParams(num_beams=2), beams=4).num_beams == SamplingParams(beams=4).beams == 4
    assert SamplingParams().updated({"samples": 2, "stop_strings": "."}) == SamplingParams(num_return_sequences=2, stop=(".",))
    assert all(hasattr(GenerationConfig(), name) for name in RANGES if name != "seed")


def test_flags_http_and_python_have_the_same_ranges():
    assert set(SAMPLING) == {*RANGES, "stop"} - {"length_penalty"}
    assert set(parameter_types(Limits())) == {*RANGES, "stop", "do_sample"}
    for name, row in RANGES.items():
        adapter = TypeAdapter(parameter_type(name), config=STRICT)
        schema = adapter.json_schema()
        low = schema["exclusiveMinimum" if row.above else "minimum"]
        assert (schema["type"], low, schema["maximum"]) == (TYPES[row.kind], row.least, row.most)
        for bad in (row.least - 1, row.most * 2 + 1):
            for check in (
                lambda: SamplingParams().updated({name: bad}),  # noqa: B023
                lambda: replace(SamplingParams(), **{name: bad}).check(),  # noqa: B023
                lambda: row.parse(f"--{name}", str(bad)),  # noqa: B023
                lambda: adapter.validate_python(bad),  # noqa: B023
            ):
                with pytest.raises((UsageError, ValidationError)):
                    check()


@pytest.mark.parametrize(
    ("given", "temperature"),
    [({"do_sample": True}, 1.0), ({"do_sample": True, "temperature": 0.5}, 0.5), ({"do_sample": False, "temperature": 0.5}, 0)],
)
def test_do_sample_maps_to_a_temperature(given, temperature):
    assert SamplingParams().updated(given).temperature == temperature


def test_none_is_ignored_and_unknown_parameters_are_errors():
    assert SamplingParams(seed=3).updated({"seed": None, "max_new_tokens": None}) == SamplingParams(seed=3)
    with pytest.raises(UsageError, match="unknown sampling parameter 'temprature'. Did you mean 'temperature'?"):
        SamplingParams().updated({"temprature": 1})
