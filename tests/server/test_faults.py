"""Requests that a client should not send: a real server process answers each of them, and none with 5xx."""

import base64
import gzip
import json
import re
import time

import pytest

from conftest import SENTENCES

LONGEST = 1_000_000  # bytes of a body
SLACK = 65_536  # bytes that may be read beyond it
TEXT_ROUTES = {  # path -> the body of a request with this text
    "/models/film/predict": lambda text: {"inputs": text},
    "/models/writer/predict": lambda text: {"inputs": text, "parameters": {"max_new_tokens": 2}},
    "/models/vectors/predict": lambda text: {"inputs": text},
    "/v1/completions": lambda text: {"model": "writer", "prompt": text, "max_tokens": 2, "temperature": 0},
    "/v1/embeddings": lambda text: {"model": "vectors", "input": text},
}
KEY_TEXT = "a warm funny film"
pytest_plugins = ("support.shared_server",)


# ---- unusual texts


@pytest.mark.parametrize("path", TEXT_ROUTES)
@pytest.mark.parametrize(
    "text",
    {
        "empty": "",
        "blank": " \t\n\u3000",
        "100,000 characters": "word " * 20_000,
        "100,000 without a space": "a" * 100_000,
        "1,000,000 without a space": "a" * 1_000_000,
        "family of emoji": "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466",
        "right to left": "\u202e\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627",
        "combining marks": "e" + "\u0301" * 15,
        "half a character": "\ud800 film \udfff",
        "NUL": "a\x00b",
        "control characters": "\x01\x1b[31m\x7f",
    }.items(),
    ids=lambda item: item[0],
)
def test_unusual_text_is_answered_or_refused(shared, path, text):
    began = time.monotonic()
    try:
        status, _, reply = shared.ask(path, TEXT_ROUTES[path](text[1]))
    except ConnectionError:  # the server did not wait for the end of a body that is over the limit
        status, reply = 413, ""
        assert len(text[1]) >= LONGEST
    assert status in (200, 413, 422), reply
    assert time.monotonic() - began < 10
    if text[0] in ("family of emoji", "right to left", "combining marks", "NUL"):
        assert status == 200


def test_truncated_tokens_are_counted_in_a_header(shared):
    status, headers, _ = shared.ask("/models/film/predict", {"inputs": "film " * 500})
    assert status == 200 and int(headers["x-hftool-cut"]) > 400


# ---- malformed bodies

BODIES = {
    "truncated": (b'{"inputs": "a f', 400),
    "no JSON": (b"film", 400),
    "empty": (b"", 400),
    "a second value": (b'{"inputs": "a"} {"inputs": "b"}', 400),
    "no UTF-8": (b'{"inputs": "\xff\xfe"}', 400),
    "UTF-16": ('{"inputs": "a"}'.encode("utf-16"), 400),
    "NaN": (b'{"inputs": NaN}', 400),
    "Infinity": (b'{"inputs": "a", "parameters": {"top_k": -Infinity}}', 400),
    "1e400": (b'{"inputs": "a", "parameters": {"top_k": 1e400}}', 400),
    "a key twice": (b'{"inputs": "a", "inputs": "b"}', 400),
    "100,000 brackets": (b'{"inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400),
    "100,000 objects": (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, 400),
    "33 lists": (b'{"inputs": ' + b"[" * 33 + b"]" * 33 + b"}", 400),
    "a number of 5,000 digits": (b'{"inputs": "a", "parameters": {"top_k": ' + b"9" * 5000 + b"}}", 400),
    "a large number": (b'{"inputs": "a", "parameters": {"top_k": 9000000000000000000}}', 422),
    "a number for a text": (b'{"inputs": 5}', 422),
    "null": (b'{"inputs": null}', 422),
    "true": (b'{"inputs": true}', 422),
    "an empty list": (b'{"inputs": []}', 422),
    "a list of lists": (b'{"inputs": [["a"]]}', 422),
    "a foreign field of an input": (b'{"inputs": {"text": "a", "txt": "b"}}', 422),
    "no inputs": (b"{}", 422),
    "a list": (b"[]", 422),
    "a text": (b'"a"', 422),
    "an unknown field": (b'{"inputs": "a", "input": "b"}', 422),
    "an unknown parameter": (b'{"inputs": "a", "parameters": {"top": 1}}', 422),
    "parameters in a list": (b'{"inputs": "a", "parameters": []}', 422),
    "a wrong kind of number": (b'{"inputs": "a", "parameters": {"top_k": 1.5}}', 422),
    "true for a number": (b'{"inputs": "a", "parameters": {"top_k": true}}', 422),
    "too many inputs": (json.dumps({"inputs": ["a"] * 65}).encode(), 422),
}


def check_shape(path, reply):
    """The error in the shape of its protocol, in one line and without a traceback."""
    if path.startswith("/v1"):
        assert set(reply) == {"error"} and set(reply["error"]) == {"message", "type", "param", "code"}
        text = reply["error"]["message"]
    else:
        assert set(reply) == {"error", "error_type"}
        text = reply["error"]
    assert text and "\n" not in text and "Traceback" not in text


@pytest.mark.parametrize(("body", "wanted"), BODIES.values(), ids=BODIES)
def test_malformed_body_is_refused(shared, body, wanted):
    status, _, reply = shared.ask("/models/film/predict", body)
    assert status == wanted, reply
    check_shape("/models/film/predict", reply)


def test_integers_with_a_decimal_point_are_accepted(shared):
    """JSON has one kind of number, and JSON Schema calls 2.0 an integer."""
    status, _, reply = shared.ask("/models/film/predict", b'{"inputs": "a film", "parameters": {"top_k": 1.0}}')
    assert status == 200 and len(reply) == 1
    body = b'{"model": "writer", "prompt": "the red", "max_tokens": 2e0, "temperature": 0}'
    assert shared.ask("/v1/completions", body)[2]["usage"]["completion_tokens"] == 2


@pytest.mark.parametrize("least", [{"temperature": 5e-324}, {"temperature": 0.5, "top_p": 5e-324}], ids=str)
def test_smallest_temperature_and_top_p_are_greedy(shared, least):
    """They are 0 to a tensor: what is divided by them is no number."""
    queries = {"model": "writer", "prompt": "the red", "max_tokens": 6}
    wanted = shared.ask("/v1/completions", {**queries, "temperature": 0})[2]["choices"]
    status, _, reply = shared.ask("/v1/completions", {**queries, **least})
    assert status == 200 and reply["choices"] == wanted


@pytest.mark.parametrize("name", [name for name, (_, status) in BODIES.items() if status == 400])
def test_openai_routes_have_openai_errors(shared, name):
    for path in ("/v1/completions", "/v1/embeddings"):
        status, _, reply = shared.ask(path, BODIES[name][0])
        assert status == 400, reply
        check_shape(path, reply)


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": 5},
        {"prompt": []},
        {"prompt": [1, "a"]},
        {"prompt": None},
        {"max_tokens": 0},
        {"max_tokens": 10**9},
        {"max_tokens": "4"},
        {"temperature": -1},
        {"temperature": 3},
        {"top_p": 0},
        {"n": 0},
        {"n": 10**6},
        {"stop": ["a"] * 5},
        {"stop": ""},
        {"stop": 1},
        {"seed": -1},
        {"stream": "yes"},
        {"echo": True},
        {"logprobs": 5},
        {"unknown": 1},
    ],
    ids=str,
)
def test_completion_fields_have_types_and_bounds(shared, change):
    status, _, reply = shared.ask("/v1/completions", {"model": "writer", "prompt": "the red", **change})
    assert status == 422, reply
    check_shape("/v1/completions", reply)


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "multipart/form-data; boundary=x"},
        {"Content-Type": "application/json; charset=latin-1"},
        {"Content-Encoding": "gzip"},
        {"Content-Encoding": "br"},
    ],
    ids=str,
)
def test_other_content_type_or_encoding_is_415(shared, headers):
    good = json.dumps({"inputs": KEY_TEXT}).encode()
    body = gzip.compress(good) if "Content-Encoding" in headers else good
    for path in ("/models/film/predict", "/v1/completions"):
        status, _, reply = shared.ask(path, body, headers=headers)
        assert status == 415
        check_shape(path, reply)


# ---- the size of a body


def answer_of(line):
    """Status and body of the first reply on a socket, and nothing once it is closed."""
    parts = []
    try:
        while part := line.recv(65536):
            parts.append(part)
    except ConnectionError:
        pass
    head, _, body = b"".join(parts).partition(b"\r\n\r\n")
    return (int(head.split(b" ")[1]) if head else 0), body


def flood(line, parts):
    """Send until the server has had enough."""
    try:
        for part in parts:
            line.sendall(part)
    except (ConnectionError, TimeoutError):
        pass


JSON_TYPE = "Content-Type: application/json"


def test_body_over_the_limit_is_413_and_not_read_on(shared):
    part = b"a" * 50_000
    chunk = b"c350\r\n" + part + b"\r\n"
    announced = shared.head("/predict", JSON_TYPE, "Content-Length: 20000000") + b"\r\n"
    chunked = shared.head("/predict", JSON_TYPE, "Transfer-Encoding: chunked") + b"\r\n"
    for head, body in ((announced, [part] * 400), (chunked, [chunk] * 400)):
        before = len(shared.noted("read"))
        with shared.server.raw(head) as line:
            flood(line, body)
            status, text = answer_of(line)
        assert status in (413, 0)  # 0: the server hung up while we still sent, and the kernel threw its answer away
        if status:
            assert json.loads(text)["error_type"] == "too_large"
        shared.until(lambda: len(shared.noted("read")) > before)  # noqa: B023
        assert max(int(count) for count in shared.noted("read")[before:]) <= LONGEST + SLACK + len(head) + 1000


def test_413_is_sent_before_the_body_is_read(shared):
    with shared.server.raw(shared.head("/predict", JSON_TYPE, "Content-Length: 20000000") + b"\r\n") as line:
        status, text = answer_of(line)
    assert status == 413 and json.loads(text)["error_type"] == "too_large"


def test_body_of_the_largest_size_is_read(shared):
    filler = json.dumps({"inputs": [KEY_TEXT] * 3, "parameters": {}}).encode()
    status, _, reply = shared.ask("/models/film/predict", filler + b" " * (LONGEST - len(filler)))
    assert status == 200 and len(reply) == 3
    with shared.server.raw(shared.head("/predict", JSON_TYPE, f"Content-Length: {LONGEST + 1}") + b"\r\n") as line:
        assert answer_of(line)[0] == 413


@pytest.mark.parametrize(
    ("more", "body"),
    [
        (("Content-Length: 3",), b'{"inputs": "a"}'),
        (("Content-Length: -5",), b"{}"),
        (("Content-Length: 1e3",), b"{}"),
        (("Content-Length: 15", "Content-Length: 2"), b'{"inputs": "a"}'),
        (("Content-Length: 15", "Transfer-Encoding: chunked"), b'{"inputs": "a"}'),
        (("Transfer-Encoding: chunked",), b"zz\r\n{}\r\n0\r\n\r\n"),
        (("Transfer-Encoding: chunked",), b"ffffffffffffffffffff\r\n{}\r\n0\r\n\r\n"),
        (("Transfer-Encoding: gzip",), b"{}"),
    ],
    ids=str,
)
def test_wrong_content_length_is_a_client_error(shared, more, body):
    with shared.server.raw(shared.head("/models/film/predict", JSON_TYPE, *more) + b"\r\n" + body) as line:
        line.shutdown(1)
        status, _ = answer_of(line)
    assert status in (0, 400, 408, 411, 413, 501)  # 0: closed without a word
    assert shared.predict(KEY_TEXT)[0] == 200


# ---- independence of the batch


def labels(reply):
    return [sorted((one["label"], one["score"]) for one in answer) for answer in reply]


def test_failing_row_leaves_the_rest_of_its_batch_unchanged(shared):
    goods = [f"{text} number {i}" for i, text in enumerate(SENTENCES["positive"] * 3) if "joy" not in text]
    alone = [shared.predict([good])[1][0] for good in goods]
    for bad in ("a joy to watch", "a chore to watch", "flat and empty"):
        assert shared.ask("/models/film/predict", {"inputs": bad})[0] == 500
        status, reply = shared.predict([*goods[:5], bad, *goods[5:]])
        assert status == 200
        assert set(reply.pop(5)) == {"error", "error_type"}
        near(labels(reply), labels(alone))
    assert shared.ask("/readyz")[0] == 200


def near(result, wanted):
    """The same labels, and probabilities within 1e-5."""
    for one, other in zip(result, wanted, strict=True):
        assert [label for label, _ in one] == [label for label, _ in other]
        assert max(abs(a - b) for (_, a), (_, b) in zip(one, other, strict=True)) < 1e-5


def test_answers_do_not_depend_on_the_batch(shared):
    texts = [
        f"{' '.join(['number'] * (i % 7))} {text}" for i, text in enumerate(SENTENCES["negative"] * 9) if "joy" not in text
    ]
    texts = [text for text in texts if "flat" not in text and "chore" not in text]
    alone = [shared.predict([text])[1][0] for text in texts]
    for order in (texts, texts[::-1]):
        status, reply = shared.predict(order)
        assert status == 200
        near(labels(reply), labels(alone if order is texts else alone[::-1]))


def test_greedy_generation_does_not_depend_on_the_batch(shared):
    prompts = ["the red", "the blue cat is", "ann went to rome with a", "who"]
    queries = {"model": "writer", "max_tokens": 8, "temperature": 0}
    alone = [shared.ask("/v1/completions", {**queries, "prompt": prompt})[2]["choices"][0]["text"] for prompt in prompts]
    together = shared.ask("/v1/completions", {**queries, "prompt": prompts})[2]["choices"]
    assert [choice["text"] for choice in together] == alone


# ---- authorization

OPEN = {("GET", "/livez"), ("GET", "/readyz"), ("GET", "/health"), ("GET", "/")}
ROUTES = ["/", "/livez", "/readyz", "/health", "/metrics", "/info", "/openapi.json", "/v1/models", "/v1/models/film"]
ASKED = ["/predict", "/models/film/predict", "/v1/completions", "/v1/embeddings"]
TWISTED = [
    "//v1/models",
    "/v1//models",
    "/v1/models/",
    "/%76%31/models",
    "/v1%2fmodels",
    "/./info",
    "/livez/../info",
    "/info%00",
]
TWISTED += [
    "/livez%2f..%2finfo",
    "/INFO",
    "/livez/",
    "/livez;/info",
    "/info?x=/livez",
    "/metrics#/livez",
    "/docs",
    "/redoc",
    "/x",
]


@pytest.mark.parametrize("path", [*ROUTES, *ASKED, *TWISTED])
def test_without_a_key_only_public_routes_answer(shared, path):
    for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "PROPFIND"):
        content = {"inputs": KEY_TEXT} if method in ("POST", "PUT", "PATCH") else None
        status, headers, reply = shared.ask(path, content, method=method, key=None)
        if ("GET" if method == "HEAD" else method, path) in OPEN:
            assert status == 200, (method, path)
        else:
            assert status == 401, (method, path, status)
            assert headers["www-authenticate"] == "Bearer"
            assert "film" not in str(reply)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong-key-0123",
        "Basic {key}",
        "{key}",
        "Token {key}",
        "Bearer {upper}",
        "Bearer {half}",
        "Bearer {key}x",
        "Bearer {key},Bearer {key}",
        "Bearer\t{key}\t{key}",
        "Bearer \xff\xfe",
    ],
)
def test_wrong_key_is_401(shared, value):
    key = shared_key(shared)
    given = value.format(key=key, upper=key.upper(), half=key[: len(key) // 2])
    assert shared.ask("/info", key=None, headers={"Authorization": given})[0] == 401


def shared_key(shared):
    return re.search(rb"Bearer (\S+)", shared.head())[1].decode()


def test_two_authorization_headers_are_401(shared):
    key = f"Authorization: Bearer {shared_key(shared)}\r\n"
    for first, second in ((key, key), (key, "Authorization: Bearer wrong\r\n"), ("Authorization: Basic x\r\n", key)):
        with shared.server.raw(
            f"GET /info HTTP/1.1\r\nHost: 127.0.0.1\r\n{first}{second}Connection: close\r\n\r\n".encode()
        ) as line:
            assert answer_of(line)[0] == 401


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "x/livez", "a@127.0.0.1", ""])
def test_foreign_host_header_is_rejected(shared, host):
    for path, key in (("/info", ""), ("/info", f"Authorization: Bearer {shared_key(shared)}\r\n")):
        with shared.server.raw(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{key}Connection: close\r\n\r\n".encode()) as line:
            status, body = answer_of(line)
        assert status in (400, 401, 421) and b"film" not in body


def test_with_a_key_all_routes_answer(shared):
    for path in ROUTES:
        assert shared.ask(path)[0] == 200, path


# ---- names, headers and bytes


@pytest.mark.parametrize(
    "name",
    ["..", "../film", "..%2ffilm", "%2e%2e", "film%00", "film%0d%0a", "film/", "FILM", "a" * 300, "%F0%9F%98%80", "%ff", "~"],
)
def test_unknown_model_name_is_404(shared, name):
    status, _, reply = shared.ask(f"/models/{name}/predict", {"inputs": KEY_TEXT})
    assert status == 404
    check_shape("/models", reply)
    for path, field in (("/v1/completions", "prompt"), ("/v1/embeddings", "input")):
        status, _, reply = shared.ask(path, {"model": f"../{name}\r\nx", field: KEY_TEXT})
        assert status == 404
        check_shape(path, reply)


@pytest.mark.parametrize("given", ["a b", "a\tb", 'a"b', "a{b}", "ä", "a" * 129, "a;b", "\x7f", "${jndi:x}"])
def test_unsafe_request_id_is_replaced(shared, given):
    with shared.server.raw(b"") as line:
        name = f"x-request-id: {given}\r\n".encode("latin-1")
        line.sendall(b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n" + name + b"Connection: close\r\n\r\n")
        reply = b""
        while part := line.recv(65536):
            reply += part
    result = re.search(rb"(?im)^x-request-id: (\S+)\r$", reply)
    if result is None:  # what is no header at all is refused
        assert b" 400 " in reply.split(b"\r\n")[0]
    else:
        assert re.fullmatch(rb"[0-9a-f]{32}", result[1])


def test_safe_request_id_is_returned_and_logged(shared):
    _, headers, _ = shared.ask("/models/film/predict", {"inputs": KEY_TEXT}, headers={"x-request-id": "A.good-id_1"})
    assert headers["x-request-id"] == "A.good-id_1"
    assert headers["x-hftool-model"] == "film" and headers["x-hftool-version"]
    shared.until(lambda: any(line.get("id") == "A.good-id_1" for line in logged(shared)))
    [line] = [line for line in logged(shared) if line.get("id") == "A.good-id_1"]
    assert (line["route"], line["model"], line["status"], line["rows"]) == ("/models/film/predict", "film", 200, 1)


def logged(shared):
    return [line for line in shared.server.lines() if isinstance(line, dict)]


@pytest.mark.parametrize("size", [100_000, 1_000_000])
def test_long_header_is_431(shared, size):
    with shared.server.raw(b"") as line:
        flood(line, [b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Long: " + b"a" * size + b"\r\n\r\n"])
        status, _ = answer_of(line)
    assert status in (431, 0)  # 0: the server hung up while we still sent
    assert by_code(shared.metrics(), "other").get(431)
    shared.until(lambda: any(line.get("status") == 431 for line in logged(shared)))  # a thread writes it
    assert [line for line in logged(shared) if line.get("status") == 431]
    assert shared.ask("/livez", headers={"x-long": "a" * 20_000})[0] == 200


@pytest.mark.parametrize(
    "bytes_sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x00" * 64,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_bytes_that_are_not_http_are_refused(shared, bytes_sent):
    with shared.server.raw(bytes_sent + b"\r\n\r\n") as line:
        assert answer_of(line)[0] in (0, 400, 421, 505)  # 421: it names no host
    assert shared.ask("/livez")[0] == 200


# ---- metrics


def grown(before, after):
    """What has changed, without the buckets of histograms."""
    return {
        name: after[name] - before.get(name, 0)
        for name in after
        if after[name] != before.get(name, 0) and "_bucket" not in name
    }


def by_code(change, route):
    pattern = re.compile(rf'hftool_requests_total{{code="(\d+)",model="[^"]*",route="{re.escape(route)}"')
    return {int(found[1]): value for name, value in change.items() if (found := pattern.match(name))}


def test_counters_equal_the_requests_sent(shared):
    path = "/models/film/predict"
    before = shared.metrics()
    for i in range(7):
        assert shared.predict([f"{KEY_TEXT} {i}", f"a cold dull film {i}"])[0] == 200
    for _ in range(3):
        assert shared.ask(path, {"inputs": 5})[0] == 422
    for _ in range(2):
        assert shared.ask(path, b"{")[0] == 400
    assert shared.ask("/models/unknown/predict", {"inputs": "a"})[0] == 404
    assert shared.ask("/info", key=None)[0] == 401
    lines = []
    with shared.switched("hold"):
        body = json.dumps({"inputs": KEY_TEXT}).encode()
        for i in range(4):
            lines.append(shared.server.raw(shared.message(body)))
            shared.wait_for_rows(i + 1)
        for line in lines:
            line.close()
        shared.until(lambda: grown(before, shared.metrics()).get('hftool_dropped_total{reason="disconnected"}') == 4)
    shared.wait_for_rows(0)
    change = grown(before, shared.metrics())
    counts = by_code(change, path)
    assert {code: counts.pop(code) for code in (200, 422, 400)} == {200: 7, 422: 3, 400: 2}
    assert counts == {499: 4}  # of those who had gone: sent to no client
    assert change['hftool_rejected_total{reason="validation"}'] == 3
    assert change['hftool_rejected_total{reason="malformed"}'] == 2
    assert change['hftool_rejected_total{reason="unauthorized"}'] == 1
    assert change[f'hftool_request_duration_seconds_count{{route="{path}"}}'] == 16
    assert change["hftool_queue_duration_seconds_count"] == change["hftool_batch_items_sum"]
    assert 14 <= change["hftool_batch_items_sum"] <= 18  # 14 answered; those who went may have been in a batch already
    assert "hftool_queue_size" not in change


def test_histogram_count_equals_its_buckets(shared):
    shared.predict([KEY_TEXT, "a cold dull film"])
    text = shared.ask("/metrics")[2]
    for name in ("hftool_batch_items", "hftool_queue_duration_seconds", "hftool_padding_ratio"):
        buckets = [int(value) for value in re.findall(rf'^{name}_bucket{{le="[^"]*"}} (\d+)\.0$', text, re.M)]
        [total] = re.findall(rf"^{name}_count (\d+)\.0$", text, re.M)
        assert buckets == sorted(buckets) and buckets[-1] == int(total) > 0
    assert re.search(
        r'^hftool_model_info{commit="[^"]*",model="film",sha256="[0-9a-f]{64}",version="[0-9a-f]{12}"} 1\.0$', text, re.M
    )
    assert re.search(r"^hftool_ready 1\.0$", text, re.M)


# ---- outgoing connections and the log, after all that the tests above have sent


def test_no_outgoing_connection_is_opened(shared):
    shared.predict(KEY_TEXT)
    shared.ask("/v1/embeddings", {"model": "vectors", "input": "http://evil.example/a.png ![x](http://evil.example)"})
    status, _, reply = shared.ask("/v1/embeddings", {"model": "vectors", "input": "film", "encoding_format": "base64"})
    assert status == 200 and base64.b64decode(reply["data"][0]["embedding"])
    assert [line for line in shared.noted("sockets") if "127.0.0.1" not in line] == []


def test_log_contains_no_key_and_no_text(shared):
    secret = "a secret funny film"
    shared.ask("/models/film/predict", {"inputs": secret}, headers={"x-secret": "a-private-header"})
    shared.ask("/models/film/predict", {"inputs": 5, secret: secret})
    shared.ask("/v1/completions", {"model": secret, "prompt": secret})
    shared.ask(f"/{secret.replace(' ', '%20')}")
    text = shared.server.log.read_text(encoding="utf-8")
    assert secret not in text and shared_key(shared) not in text and "a-private-header" not in text
    assert KEY_TEXT not in text and "Traceback" not in text
    assert all(isinstance(line, dict) for line in shared.server.lines()[1:]), "every line is one JSON document"
