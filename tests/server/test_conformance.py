"""Third-party clients of the server: schemathesis on its OpenAPI document, the openai package on /v1."""

import asyncio
import base64
import contextlib
import struct

import pytest

from support.fault_server import KEY

schemathesis = pytest.importorskip("schemathesis")
openai = pytest.importorskip("openai")
from hypothesis import HealthCheck, Phase, given, settings  # noqa: E402
from hypothesis.errors import Unsatisfiable  # noqa: E402
from schemathesis.config import SchemathesisConfig  # noqa: E402

pytest_plugins = ("support.shared_server",)
HEADERS = {"Authorization": f"Bearer {KEY}"}
EXAMPLES = 6  # a route; `make soak` takes more
PROMPT = "the red cat is"


# ---- the OpenAPI document


# what is within the bounds of each field may still be too large as a whole
REFUSED, TAKEN = [400, 401, 404, 405, 413, 415, 422], [200, 404, 413, 429]


def document(shared, taken=TAKEN):
    """The routes of the server. taken: what may be said to a request that is right by the document."""
    checks = {
        "negative_data_rejection": {"expected-statuses": REFUSED},
        "positive_data_acceptance": {"expected-statuses": taken},
    }
    config = SchemathesisConfig.from_dict({"checks": checks})
    return schemathesis.openapi.from_url(f"{shared.server.url}/openapi.json", headers=HEADERS, config=config)


def writes(operation):
    """Whether its parameters can contradict each other, as beams and a temperature do: no schema can say that."""
    return "writer" in operation.path or operation.path.endswith("/completions")


def send(api, mode, examples, which=lambda operation: True):
    """What schemathesis makes up for every route, right or wrong by the document, with all its checks. -> the routes."""
    quiet = settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    sent = []
    for result in api.get_all_operations():
        operation = result.ok()
        if not which(operation):
            continue

        @given(case=operation.as_strategy(generation_mode=mode))
        @quiet
        def check(case):
            case.call_and_validate(headers=HEADERS)

        with contextlib.suppress(Unsatisfiable):  # a route that takes nothing cannot be asked wrongly
            check()
            sent.append(operation.label)
    return sent


def test_valid_requests_of_the_openapi_document_are_accepted(shared):
    right = schemathesis.GenerationMode.POSITIVE
    plain = send(document(shared), right, EXAMPLES, lambda operation: not writes(operation))
    writing = send(document(shared, [*TAKEN, 422]), right, EXAMPLES, writes)
    assert len(plain) >= 10 and len(writing) == 2


def test_invalid_requests_of_the_openapi_document_are_refused(shared):
    assert len(send(document(shared), schemathesis.GenerationMode.NEGATIVE, EXAMPLES)) >= 5


@pytest.mark.slow
@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
def test_many_requests_of_the_openapi_document(shared, mode):
    assert send(document(shared, [*TAKEN, 422]), mode, 400)


def test_openapi_document_lists_every_public_route(shared):
    paths = set(document(shared).raw_schema["paths"])
    assert {"/predict", "/models/film/predict", "/models/writer/predict", "/v1/completions", "/v1/embeddings"} <= paths
    assert {"/livez", "/readyz", "/health", "/metrics", "/info", "/v1/models"} <= paths


# ---- the openai package


@pytest.fixture(scope="session")
def client(shared):
    with openai.OpenAI(base_url=f"{shared.server.url}/v1", api_key=KEY, max_retries=0, timeout=30) as created:
        yield created


def test_openai_client_lists_models(client):
    assert [model.id for model in client.models.list()] == ["film", "writer", "vectors"]
    assert client.models.retrieve("writer").id == "writer"


def test_openai_client_completion(client):
    created = client.completions.create(model="writer", prompt=PROMPT, max_tokens=8, temperature=0)
    [choice] = created.choices
    assert created.object == "text_completion" and created.id.startswith("cmpl-")
    assert choice.index == 0 and choice.text and choice.finish_reason == "length"
    assert created.usage.completion_tokens == 8
    assert created.usage.total_tokens == created.usage.prompt_tokens + 8


def test_openai_client_stream_equals_the_whole_completion(client):
    queries = {"model": "writer", "prompt": PROMPT, "max_tokens": 12, "temperature": 0}
    whole = client.completions.create(**queries)
    events = list(client.completions.create(**queries, stream=True, stream_options={"include_usage": True}))
    assert len(events) > 3
    assert "".join(choice.text for event in events for choice in event.choices) == whole.choices[0].text
    reasons = [choice.finish_reason for event in events for choice in event.choices]
    assert reasons[-1] == whole.choices[0].finish_reason and set(reasons[:-1]) == {None}
    assert events[-1].choices == [] and events[-1].usage == whole.usage
    assert {event.id for event in events} == {events[0].id}


def test_openai_client_several_prompts_and_choices(client):
    queries = {"model": "writer", "max_tokens": 4, "temperature": 1.0, "seed": 3, "top_p": 0.9}
    created = client.completions.create(prompt=[PROMPT, "ann went to"], n=3, **queries)
    assert [choice.index for choice in created.choices] == list(range(6))
    again = client.completions.create(prompt=[PROMPT, "ann went to"], n=3, **queries)
    assert [choice.text for choice in again.choices] == [choice.text for choice in created.choices]
    assert len({choice.text for choice in created.choices[:3]}) > 1


def test_usage_counts_generated_tokens(client):
    """Not what the text gives when it is cut into tokens again: at this temperature that is another number."""
    for seed in range(6):
        created = client.completions.create(model="writer", prompt=PROMPT, max_tokens=20, temperature=2.0, seed=seed, n=4)
        full = sum(choice.finish_reason == "length" for choice in created.choices)
        assert 20 * full <= created.usage.completion_tokens <= 80
        if full == 4:
            assert created.usage.completion_tokens == 80


def test_openai_client_streams_several_choices(client):
    queries = {"model": "writer", "max_tokens": 4, "temperature": 1.0, "seed": 3, "prompt": PROMPT, "n": 2}
    whole = [choice.text for choice in client.completions.create(**queries).choices]
    streamed = ["", ""]
    for event in client.completions.create(**queries, stream=True):
        for choice in event.choices:
            streamed[choice.index] += choice.text
    assert streamed == whole


def test_openai_client_stop_string(client):
    text = client.completions.create(model="writer", prompt=PROMPT, max_tokens=20, temperature=0).choices[0].text
    word = text[len(text) // 2 :][:3]
    for stream in (False, True):
        created = client.completions.create(
            model="writer", prompt=PROMPT, max_tokens=20, temperature=0, stop=[word], stream=stream
        )
        choices = [c for event in created for c in event.choices] if stream else created.choices
        assert choices[-1].finish_reason == "stop"
        assert text.startswith("".join(choice.text for choice in choices)) and word not in choices[-1].text


def test_openai_client_embeddings_as_floats_and_base64(client):
    texts = ["a warm funny film", "a cold dull film"]
    numbers = client.embeddings.create(model="vectors", input=texts, encoding_format="float")
    raw = client.embeddings.create(model="vectors", input=texts, encoding_format="base64")
    usual = client.embeddings.create(model="vectors", input=texts)  # the client asks for bytes and reads them
    assert [row.index for row in numbers.data] == [0, 1]
    assert numbers.usage.prompt_tokens == numbers.usage.total_tokens > 8
    for one, other, third in zip(numbers.data, raw.data, usual.data, strict=True):
        bytes_ = base64.b64decode(other.embedding)
        read = struct.unpack(f"<{len(bytes_) // 4}f", bytes_)
        assert len(read) == 32
        assert one.embedding == pytest.approx(read, abs=1e-7)
        assert third.embedding == pytest.approx(read, abs=1e-7)


def test_openai_client_error_classes(client, shared):
    queries = {"prompt": PROMPT, "max_tokens": 4}
    with pytest.raises(openai.NotFoundError, match="no model 'nobody'"):
        client.completions.create(model="nobody", **queries)
    with pytest.raises(openai.UnprocessableEntityError, match="max_tokens") as error:
        client.completions.create(model="writer", prompt=PROMPT, max_tokens=10**7)
    assert error.value.body["param"] == "max_tokens"
    with pytest.raises(openai.UnprocessableEntityError, match="film"):
        client.completions.create(model="film", **queries)
    with openai.OpenAI(base_url=f"{shared.server.url}/v1", api_key="wrong-key", max_retries=0) as unauthorized:
        with pytest.raises(openai.AuthenticationError):
            unauthorized.models.list()


def test_openai_client_closing_a_stream_cancels_it(client, shared):
    with shared.switched("slow"):
        with client.completions.create(model="writer", prompt=PROMPT, max_tokens=50, temperature=0, stream=True) as stream:
            next(iter(stream))
        shared.wait_for_rows(0)


def test_asynchronous_openai_client_streams(shared):
    async def read():
        async with openai.AsyncOpenAI(base_url=f"{shared.server.url}/v1", api_key=KEY, max_retries=0) as created:
            stream = await created.completions.create(model="writer", prompt=PROMPT, max_tokens=6, temperature=0, stream=True)
            return [event async for event in stream]

    assert len(asyncio.run(read())) > 3
