"""Strict parsing of request bodies, and the shape of errors in each protocol."""

import json
import time

import pytest

from hftool.server.protocols.http_errors import HttpError, as_response
from hftool.server.protocols.requests import MAX_DEPTH, check_media, parse_json_body

NESTED = b'{"a":' + b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1) + b"}"


@pytest.mark.parametrize(
    ("body", "result"),
    [
        (b'{"a": [1, 2.5, "\\u00e9", null, true]}', {"a": [1, 2.5, "é", None, True]}),
        (b'{"a": 9223372036854775807}', {"a": 2**63 - 1}),
        (b'{"a": "\\ud83d\\ude42"}', {"a": "🙂"}),
        (b"{}", {}),
    ],
)
def test_json_is_read(body, result):
    assert parse_json_body(body) == result


def test_deepest_allowed_nesting_is_read():
    assert parse_json_body(NESTED)


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"", 400, "not JSON"),
        (b'{"a": ', 400, "line 1, column 7"),
        (b"{'a': 1}", 400, "not JSON"),
        (b'{"a": 1} x', 400, "not JSON"),
        (b'\xef\xbb\xbf{"a": 1}', 400, "not JSON"),
        (b'{"a": "\xff"}', 400, "byte 0xff at offset 7"),
        (b'{"a": NaN}', 400, "NaN"),
        (b'{"a": -Infinity}', 400, "-Infinity"),
        (b'{"a": 1e400}', 400, "too large"),
        (b'{"a": ' + b"9" * 5000 + b"}", 400, "too large"),
        (b'{"a": 1, "a": 2}', 400, "'a' twice"),
        (b'{"b": {"a": 1, "a": 2}}', 400, "'a' twice"),
        (b'{"b": {' + b",".join(b'"%d": 1' % i for i in range(1001)) + b"}}", 400, "more than 1000 names"),
        (NESTED.replace(b"[]", b"[[]]"), 400, "nested deeper than 32"),
        (b'{"a":' + b"[" * 200_000, 400, ""),
        (b"[" * 200_000 + b"]" * 200_000, 400, "nested deeper"),
        (b"[]", 422, "must be a JSON object"),
        (b"null", 422, "must be a JSON object"),
    ],
)
def test_malformed_json_is_refused(body, status, message):
    with pytest.raises(HttpError) as caught:
        parse_json_body(body)
    assert caught.value.status == status
    assert message in caught.value.message


@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8", 'Application/JSON;charset="UTF-8"'])
def test_json_content_types_are_accepted(kind):
    check_media({"content-type": kind, "content-encoding": "identity"})


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "application/json; charset=latin-1"},
        {"content-type": "application/json", "content-encoding": "gzip"},
    ],
)
def test_content_types_of_simple_cross_site_requests_are_refused(headers):
    with pytest.raises(HttpError) as caught:
        check_media(headers)
    assert caught.value.status == 415


def test_errors_have_the_shape_of_the_protocol():
    fault = HttpError(422, "no\nway", param="n")
    assert fault.as_json("/predict") == {"error": "no\\nway", "error_type": "validation"}
    wanted = {"message": "no\\nway", "type": "invalid_request_error", "param": "n", "code": "invalid_value"}
    assert fault.as_json("/v1/completions") == {"error": wanted}
    assert HttpError(429, "x").as_json("/v1/x")["error"]["type"] == "rate_limit_error"
    assert HttpError(503, "x").as_json("/v10")["error_type"] == "unavailable"


def test_surrogates_and_nan_are_not_sent():
    assert json.loads(as_response({"a": "\ud83d"}).body) == {"a": "?"}
    with pytest.raises(ValueError, match="NaN|Out of range"):
        as_response({"a": float("nan")})


@pytest.mark.parametrize("more", [b"", b', "7": 1'])
def test_many_keys_are_parsed_in_linear_time(more):
    """No other client is answered meanwhile."""
    body = b"{" + b",".join(b'"%d": 1' % i for i in range(120_000)) + more + b"}"
    began = time.perf_counter()
    with pytest.raises(HttpError):
        parse_json_body(body)
    assert time.perf_counter() - began < 2
