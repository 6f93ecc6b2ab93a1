"""Responses of the routes, with fake models."""

import asyncio
import base64
import json
import logging
import re

import jsonschema
import numpy as np
import pytest
from starlette.requests import Request

from hftool.errors import DataError, UsageError
from hftool.heads import head_class
from hftool.models import HeadConfig
from hftool.server.batching.batcher import Expired, Overloaded, RowFailed, Unavailable
from hftool.server.http import app as app_module
from hftool.server.http.app import make_app
from hftool.server.protocols.served_model import ClientDisconnected, cancel_on_disconnect
from support.asgi_calls import FakeBatcher, ask, call, served, service
from support.families import KINDS

POSITIVE = {"label": "good", "probability": 0.75, "probabilities": {"bad": 0.25, "good": 0.75}}
REPLY = [{"label": "good", "score": 0.75}, {"label": "bad", "score": 0.25}]


def head(name, **head_config):
    kind = {"generate": "gpt2", "text2text": "t5"}.get(name, "bert")
    return head_class(name)(tokenizer=KINDS[kind][0](), head_config=HeadConfig(head=name, **head_config))


def classifier(make=lambda row: POSITIVE, name="film", **more):
    return served(head("classify"), FakeBatcher(make, **more), name)


def writer(make=lambda row: {"text": " warm", "finish": "stop", "ends": [("stop", 1)]}, **more):
    return served(head("generate"), FakeBatcher(make, **more), "writer")


def vectors():
    return served(head("embed"), FakeBatcher(lambda row: {"embedding": np.array([1, -2], np.float32)}), "vectors")


# ---- Hugging Face's tasks


def test_one_input_gives_one_answer_and_a_list_a_list():
    result = service(classifier(), writer())
    code, headers, body, _ = ask(result, "/predict", {"inputs": "a"})
    assert (code, body, headers["x-hftool-model"], headers["x-hftool-version"]) == (200, [REPLY], "film", "v1")
    assert ask(result, "/models/film/predict", {"inputs": ["a", "b"], "parameters": {"top_k": 1}})[2] == [REPLY[:1]] * 2
    assert ask(result, "/models/writer/predict", {"inputs": ""})[2] == [{"generated_text": " warm"}]


def test_parameters_and_deadline_reach_the_batcher():
    model = writer()
    ask(service(model, timeout=7.0), "/predict", {"inputs": "a", "parameters": {"max_new_tokens": 5, "num_beams": 2}})
    assert model.batcher.submitted == [([{"prompt": "a"}], {"sampling": {"max_new_tokens": 5, "num_beams": 2}}, 7.0)]


def test_truncation_is_reported_in_a_header():
    result = service(classifier(lambda row: {**POSITIVE, "cut": 7}))
    assert ask(result, "/predict", {"inputs": ["a", "b"]})[1]["x-hftool-cut"] == "14"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"{", 400),
        ({}, 422),
        ({"inputs": 1}, 422),
        ({"inputs": "a", "more": 1}, 422),
        ({"inputs": "a", "parameters": {"top_k": 0}}, 422),
        ({"inputs": "a", "parameters": {"top": 1}}, 422),
        ({"inputs": "a", "parameters": []}, 422),
        ({"inputs": " "}, 422),
        ({"inputs": ["a"] * 5}, 422),
        ({"inputs": "a" * 51}, 422),
        (b'{"inputs": "' + b"a" * 2000 + b'"}', 413),
    ],
)
def test_invalid_requests_are_refused_before_queueing(content, code):
    model = classifier()
    result = service(model, inputs=4, text_chars=50, body_bytes=1000)
    status, _, body, _ = ask(result, "/predict", content)
    assert (status, set(body), model.batcher.submitted) == (code, {"error", "error_type"}, [])


@pytest.mark.parametrize(
    ("raises", "code", "retry"),
    [
        (Overloaded(9), 429, "9"),
        (Expired("late"), 504, None),
        (Unavailable("loads"), 503, "1"),
        (UsageError("no such field"), 422, None),
    ],
)
def test_status_of_batcher_errors_in_both_protocols(raises, code, retry):
    result = service(writer(raises=raises))
    for path, content in (("/predict", {"inputs": "a"}), ("/v1/completions", {"model": "writer", "prompt": "a"})):
        status, headers, _, _ = ask(result, path, content)
        assert (status, headers.get("retry-after")) == (code, retry)
    streamed = ask(result, "/v1/completions", {"model": "writer", "prompt": "a", "stream": True})
    assert streamed[0] == code and streamed[2]["error"]["message"]


def test_failed_row_is_an_error_item_and_unreadable_row_names_its_index():
    poison = service(classifier(lambda row: RowFailed("it fails") if row["text"] == "p" else POSITIVE))
    failed = {"error": "it fails", "error_type": "model"}
    assert ask(poison, "/predict", {"inputs": ["a", "p"]})[:3:2] == (200, [REPLY, failed])
    assert ask(poison, "/predict", {"inputs": "p"})[:3:2] == (500, {"error": "it fails", "error_type": "internal"})
    unread = service(classifier(lambda row: DataError("no mask") if row["text"] == "p" else POSITIVE))
    assert ask(unread, "/predict", {"inputs": ["a", "p"]})[:3:2] == (
        422,
        {"error": "inputs[1]: no mask", "error_type": "validation"},
    )


def test_internal_error_has_the_protocols_shape_and_is_logged_without_its_message(caplog):
    with caplog.at_level(logging.INFO, logger="hftool.serve"):
        code, _, body, _ = ask(service(classifier(raises=RuntimeError("secret text"))), "/predict", {"inputs": "a"})
    assert (code, body["error_type"]) == (500, "internal")
    logged = json.loads(caplog.messages[-1])
    assert logged["failed"].startswith("RuntimeError at ") and "secret" not in caplog.text


def test_client_disconnect_cancels_its_rows(caplog):
    model = classifier()

    async def leave():
        model.batcher.gate = asyncio.Event()
        await asyncio.wait_for(call(make_app(result), "/predict", {"inputs": "a"}, leave_after=0), 5)
        await asyncio.sleep(0.01)
        return model.batcher.cancelled  # seen here: the end of the loop cancels everything

    result = service(model)
    with caplog.at_level(logging.INFO, logger="hftool.serve"):
        assert asyncio.run(leave())
    assert json.loads(caplog.messages[-1])["status"] == 499


def test_cancellation_from_outside_is_not_a_client_disconnect():
    async def receive():
        await asyncio.Event().wait()

    async def scene(of_client):
        never = asyncio.Event()
        came = asyncio.Event()

        async def is_cancelled():
            await came.wait()
            return {"type": "http.disconnect"}

        request = Request({"type": "http"}, is_cancelled if of_client else receive)
        task = asyncio.ensure_future(cancel_on_disconnect(request, never.wait()))
        await asyncio.sleep(0)
        came.set()
        await asyncio.sleep(0)
        if not of_client:
            task.cancel()
        await asyncio.wait([task])
        assert len(asyncio.all_tasks()) == 1  # nothing is left that waits for the client
        return type(task.exception()) if not task.cancelled() else asyncio.CancelledError

    assert asyncio.run(scene(of_client=True)) is ClientDisconnected
    assert asyncio.run(scene(of_client=False)) is asyncio.CancelledError


def test_disconnect_at_the_time_of_the_answer_cancels_nothing_later():
    async def scene():
        came, answer = asyncio.Event(), asyncio.get_running_loop().create_future()

        async def is_cancelled():
            await came.wait()
            return {"type": "http.disconnect"}

        async def handler():
            result = await cancel_on_disconnect(Request({"type": "http"}, is_cancelled), asyncio.wait_for(answer, None))
            await asyncio.sleep(0.01)
            return result

        task = asyncio.ensure_future(handler())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        came.set()  # in one turn: first the client goes, then the answer is there
        answer.set_result("made")
        return await task

    assert asyncio.run(scene()) == "made"


# ---- OpenAI


def test_completion_response():
    ends = [("length", 5), ("stop", 3)]
    model = writer(lambda row: {"text": " b", "finish": "length", "samples": [" b", " c"], "ends": ends})
    body = {"model": "writer", "prompt": ["a", "d"], "n": 2, "max_tokens": 5, "stop": ".", "top_p": 0.5, "seed": 4}
    code, _, result, _ = ask(service(classifier(), model), "/v1/completions", body)
    assert (
        code == 200
        and result["object"] == "text_completion"
        and result["model"] == "writer"
        and result["id"].startswith("cmpl-")
    )
    assert [(c["index"], c["text"]) for c in result["choices"]] == [(0, " b"), (1, " c"), (2, " b"), (3, " c")]
    assert [c["finish_reason"] for c in result["choices"]] == ["length", "stop"] * 2
    assert result["usage"] == {"prompt_tokens": 6, "completion_tokens": 16, "total_tokens": 22}
    wanted = {"max_new_tokens": 5, "temperature": 1.0, "num_return_sequences": 2, "top_p": 0.5, "stop": (".",)}
    rows, options, _ = model.batcher.submitted[0]
    assert options == {"sampling": wanted, "ends": True} and rows == [{"prompt": "a", "seed": 4}, {"prompt": "d", "seed": 4}]


def test_greedy_choices_are_generated_once_and_repeated():
    model = writer()
    result = ask(service(model), "/v1/completions", {"model": "writer", "prompt": "a", "n": 3, "temperature": 0})[2]
    assert [c["text"] for c in result["choices"]] == [" warm"] * 3
    assert model.batcher.submitted[0][1] == {"sampling": {"max_new_tokens": 16, "num_return_sequences": 1}, "ends": True}
    assert result["usage"]["completion_tokens"] == 3


def events(text):
    parts = text.split("\n\n")
    assert parts[-1] == "" and parts[-2] == "data: [DONE]"
    return [json.loads(part.removeprefix("data: ")) for part in parts[:-2]]


def test_stream_chunks_join_to_the_text_with_a_finish_reason():
    result = head("generate")
    ids = result.tokenizer(" naïve 🙂.")["input_ids"]
    answer = {"text": " naïve 🙂.!", "finish": "stop", "ends": [("stop", len(ids))]}
    model = served(result, FakeBatcher(lambda row: answer, tokens=ids), "writer")
    body = {"model": "writer", "prompt": ["a", "b"], "stream": True, "stream_options": {"include_usage": True}}
    code, headers, text, parts = ask(service(model), "/v1/completions", body)
    assert (code, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    sent = events(text)
    for i in range(2):
        own = [e["choices"][0] for e in sent if e["choices"] and e["choices"][0]["index"] == i]
        assert "".join(c["text"] for c in own) == " naïve 🙂.!"
        assert [c["finish_reason"] for c in own][-1] == "stop" and len(own) > 5
        assert not any("\ufffd" in c["text"] for c in own)
    assert sent[-1]["choices"] == [] and sent[-1]["usage"]["prompt_tokens"] == 6
    assert len({e["id"] for e in sent}) == 1 and len(parts) > 10


def test_disconnect_from_a_stream_cancels_generation():
    result = head("generate")
    model = served(result, FakeBatcher(tokens=result.tokenizer("a b c d e")["input_ids"]), "writer")

    async def leave():
        model.batcher.gate = asyncio.Event()
        body = {"model": "writer", "prompt": "a", "stream": True}
        await asyncio.wait_for(call(make_app(service(model)), "/v1/completions", body, leave_after=2), 5)
        await asyncio.sleep(0.01)
        return model.batcher.cancelled

    assert asyncio.run(leave())


def test_expired_stream_ends_with_an_error_event():
    result = head("generate")

    class Late(FakeBatcher):
        async def submit(self, rows, **more):
            more["on_token"](0, result.tokenizer("a")["input_ids"][0])
            await asyncio.sleep(0.01)
            raise Expired("not answered within 1 s")

    text = ask(
        service(served(result, Late(), "writer")), "/v1/completions", {"model": "writer", "prompt": "a", "stream": True}
    )[2]
    assert events(text)[-1]["error"]["code"] == "timeout"


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({"model": "no"}, 404, "model"),
        ({"model": "film"}, 422, None),
        ({"prompt": [1, "a"]}, 422, "prompt"),
        ({"prompt": []}, 422, "prompt"),
        ({"prompt": None}, 422, "prompt"),
        ({"n": 9}, 422, "n"),
        ({"max_tokens": 2000}, 422, "max_tokens"),
        ({"max_tokens": "5"}, 422, "max_tokens"),
        ({"temperature": 3}, 422, "temperature"),
        ({"echo": True}, 422, "echo"),
        ({"stop": ["a"] * 5}, 422, "stop"),
        ({"other": 1}, 422, "other"),
    ],
)
def test_invalid_completion_has_an_openai_error(change, code, param):
    body = {"model": "writer", "prompt": "a", **change}
    status, _, result, _ = ask(service(classifier(), writer()), "/v1/completions", body)
    assert (status, result["error"]["param"]) == (code, param)
    assert set(result["error"]) == {"message", "type", "param", "code"}


def test_embeddings_as_floats_and_base64():
    result = service(classifier(), vectors())
    body = {"model": "vectors", "input": ["a", "b"]}
    data = ask(result, "/v1/embeddings", body)[2]
    assert [row["embedding"] for row in data["data"]] == [[1.0, -2.0]] * 2 and data["usage"]["prompt_tokens"] == 6
    packed = ask(result, "/v1/embeddings", {**body, "encoding_format": "base64", "input": "a"})[2]["data"][0]["embedding"]
    assert np.frombuffer(base64.b64decode(packed), "<f4").tolist() == [1.0, -2.0]
    assert ask(result, "/v1/embeddings", {"model": "film", "input": "a"})[0] == 422
    assert ask(result, "/v1/embeddings", {"model": "vectors", "input": ""})[0] == 422


def test_models_are_listed():
    result = service(classifier(), writer())
    assert [row["id"] for row in ask(result, "/v1/models")[2]["data"]] == ["film", "writer"]
    assert ask(result, "/v1/models/film")[2]["id"] == "film" and ask(result, "/v1/models/no")[0] == 404


# ---- what is around them


def test_health_follows_the_models():
    model = classifier()
    result = service(model)
    assert [ask(result, path)[0] for path in ("/livez", "/readyz", "/health")] == [200, 200, 200]
    model.batcher.ready = False
    assert [ask(result, path)[0] for path in ("/livez", "/readyz", "/health")] == [200, 503, 503]
    model.batcher.ready, result.stopping = True, True
    assert [ask(result, path)[0] for path in ("/livez", "/readyz", "/health")] == [200, 503, 503]


def test_404_has_the_shape_of_its_protocol():
    result = service(classifier())
    assert ask(result, "/nope")[2]["error_type"] == "not_found"
    assert ask(result, "/models/..%2f/predict", {"inputs": "a"})[0] == 404
    assert ask(result, "/models/no/predict", {"inputs": "a"})[:3:2][1]["error"].startswith("there is no model 'no'")
    assert ask(result, "/v1/nope")[2]["error"]["code"] == "not_found"
    code, headers, body, _ = ask(result, "/predict", method="GET")
    assert (code, headers["allow"], body["error_type"]) == (405, "POST", "not_allowed")


def test_info_contains_what_the_web_page_needs():
    result = ask(service(classifier(), served(head("fill"), FakeBatcher(), "fill"), timeout=7.0), "/info")[2]
    film, fill = result["models"]
    assert (film["name"], film["gives"], film["takes"], film["may_take"], film["head"]) == (
        "film",
        "labels",
        ["text"],
        ["text_pair"],
        "x",
    )
    assert (film["version"], film["commit"], film["sha256"], film["mask"]) == ("v1", "c" * 40, "s" * 64, None)
    assert fill["mask"] == "[MASK]" and fill["parameters"]["properties"]["top_k"]["maximum"] == 100
    assert result["limits"]["timeout"] == 7.0


def test_request_ids_are_kept_when_they_are_safe_to_log():
    result = service(classifier())
    assert ask(result, "/livez", headers=[("x-request-id", "a.B-9_")])[1]["x-request-id"] == "a.B-9_"
    for bad in ("a b", "", "a" * 129, "a\r\nb", "é"):
        assert re.fullmatch(r"[0-9a-f]{32}", ask(result, "/livez", headers=[("x-request-id", bad)])[1]["x-request-id"]), bad


def test_log_has_one_line_per_request_without_texts_and_keys(caplog):
    result = service(classifier(), keys=("0123456789abcdef",))
    key = ("authorization", "Bearer 0123456789abcdef")
    with caplog.at_level(logging.INFO, logger="hftool.serve"):
        ask(result, "/predict", {"inputs": ["hidden words", "b"]}, headers=[key, ("x-request-id", "r1")])
        ask(result, "/predict", {"inputs": "hidden words"}, headers=[("authorization", "Bearer wrong-and-hidden")])
        ask(result, "/models/hidden/predict", {"inputs": "a"}, headers=[key])
    first, second, third = map(json.loads, caplog.messages)
    assert (first["id"], first["route"], first["model"], first["status"], first["rows"]) == ("r1", "/predict", "film", 200, 2)
    assert (second["status"], second["model"], third["status"], third["route"]) == (401, "", 404, "other")
    assert "hidden" not in caplog.text and "0123456789abcdef" not in caplog.text


def test_metrics_count_answers():
    result = service(classifier())
    for _ in range(3):
        ask(result, "/predict", {"inputs": "a"})
    for content in ({"inputs": 1}, b"{"):
        ask(result, "/predict", content)
    for i in range(4):
        ask(result, f"/nope/{i}")
    code, headers, text, _ = ask(result, "/metrics")
    assert (code, headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    stats = result.stats
    assert stats.value("hftool_requests_total", route="/predict", code=200, model="film", version="v1") == 3
    assert stats.value("hftool_requests_total", route="/predict", code=422, model="film", version="v1") == 1
    assert stats.value("hftool_requests_total", route="/predict", code=400, model="film", version="v1") == 1
    assert stats.value("hftool_requests_total", route="other", code=404, model="", version="") == 4
    assert stats.count("hftool_request_duration_seconds", route="/predict") == 5
    assert "hftool_ready 1" in text and "nope" not in text


def test_web_page_policy_allows_only_its_own_script(monkeypatch):
    page = b"<style>a{}</style><script>\nlet a = 1;\n</script>"
    monkeypatch.setattr(app_module, "read_page", lambda: page)
    code, headers, text, _ = ask(service(classifier()), "/")
    policy = headers["content-security-policy"]
    assert (code, text.encode()) == (200, page)
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
    assert "script-src 'sha256-" in policy and "http" not in policy and headers["x-content-type-options"] == "nosniff"


def test_openapi_document_describes_the_served_models():
    result = service(classifier(), writer(), vectors(), inputs=2)
    paper = ask(result, "/openapi.json")[2]
    assert paper["openapi"].startswith("3.1")
    wanted = {"/predict", "/models/film/predict", "/models/writer/predict", "/models/vectors/predict", "/v1/completions"}
    assert wanted | {"/v1/embeddings", "/v1/models", "/info", "/metrics", "/livez", "/readyz", "/health"} == set(paper["paths"])
    assert '"$ref"' not in json.dumps(paper)

    def schema(path):
        return paper["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]

    bodies = {
        "/predict": ({"inputs": "a"}, {"inputs": ["a"] * 3}),
        "/v1/completions": ({"model": "writer", "prompt": "a", "n": 2}, {"model": "film", "prompt": "a"}),
        "/v1/embeddings": ({"model": "vectors", "input": ["a"]}, {"model": "vectors", "input": [1]}),
    }
    for path, (good, bad) in bodies.items():
        jsonschema.validate(good, schema(path))
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(bad, schema(path))
        code, _, body, _ = ask(result, path, good)
        assert code == 200
        known = paper["paths"][path]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
        jsonschema.validate(body, known)
        assert ask(result, path, bad)[0] in (404, 422)


def test_openapi_document_omits_completions_without_generating_models():
    assert "/v1/completions" not in ask(service(classifier()), "/openapi.json")[2]["paths"]
    assert ask(service(classifier()), "/v1/completions", {"model": "film", "prompt": "a"})[0] == 422


def test_early_refusals_are_counted_with_their_model():
    result = service(classifier(), writer())
    ask(result, "/v1/completions", {"model": "writer", "prompt": 1})
    ask(result, "/v1/completions", {"model": "film", "prompt": "a"})
    ask(result, "/v1/models/film")
    ask(result, "/v1/models/nope")
    stats = result.stats
    assert stats.value("hftool_requests_total", route="/v1/completions", code=422, model="film", version="v1") == 1
    assert stats.value("hftool_requests_total", route="/v1/models/{name}", code=200, model="", version="") == 1
    assert stats.value("hftool_requests_total", route="/v1/models/{name}", code=404, model="", version="") == 1


@pytest.mark.parametrize("more", [{"logprobs": 0}, {"logit_bias": {"5": 1}}, {"stop": "a" * 257}, {"stop": ["b", "a" * 257]}])
def test_unsupported_parameters_are_refused(more):
    code, _, result, _ = ask(service(writer()), "/v1/completions", {"model": "writer", "prompt": "a", **more})
    assert code == 422 and result["error"]["param"] == next(iter(more))


def test_parameters_at_neutral_values_are_accepted():
    more = {"logprobs": None, "logit_bias": {}, "suffix": "", "best_of": 1, "echo": False, "stop": "a" * 256}
    assert ask(service(writer()), "/v1/completions", {"model": "writer", "prompt": "a", **more})[0] == 200


def test_stream_on_predict_is_refused_with_the_route_that_streams():
    result = service(writer())
    code, _, body, _ = ask(result, "/predict", {"inputs": "a", "stream": True})
    assert code == 422 and "/v1/completions" in body["error"]
    assert ask(result, "/predict", {"inputs": "a", "stream": False})[0] == 200
