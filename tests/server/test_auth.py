"""API keys and host names."""

import pytest

from hftool.errors import DataError, InputMissing
from hftool.heads.classify.head import ClassifyHead
from hftool.models import HeadConfig
from hftool.server.http.address import is_loopback
from hftool.server.http.auth import is_open_to_others, read_keys
from support.asgi_calls import FakeBatcher, ask, served, service

KEY, OTHER = "0123456789abcdef", "fedcba9876543210"
OPEN = ("/livez", "/readyz", "/health", "/")
CLOSED = (
    "/info",
    "/metrics",
    "/openapi.json",
    "/v1/models",
    "//v1/models",
    "/livez/",
    "/Livez",
    "//livez",
    "/nope",
    "/x/../livez",
)


def model(name="m"):
    return served(ClassifyHead(None, HeadConfig(head="classify")), FakeBatcher(), name)


def status(path, *headers, method="GET", of=None):
    return ask(of or service(model(), keys=(KEY, OTHER)), path, method=method, headers=list(headers))[0]


@pytest.mark.parametrize("path", OPEN)
def test_public_routes_need_no_key(path):
    assert status(path) == 200
    assert status(path, method="HEAD") == 200
    assert status(path, method="POST") == status(path, method="OPTIONS") == 401


@pytest.mark.parametrize("path", CLOSED)
def test_all_other_routes_need_a_key(path):
    for method in ("GET", "HEAD", "OPTIONS", "POST", "DELETE"):
        assert status(path, method=method) == 401, method


@pytest.mark.parametrize("value", [f"Bearer {KEY}", f"bearer {KEY}", f"BEARER {OTHER}"])
def test_valid_keys_are_accepted(value):
    assert status("/info", ("authorization", value)) == 200


@pytest.mark.parametrize(
    "value",
    ["", "Bearer", "Bearer ", KEY, f"Basic {KEY}", f"Bearer {KEY.upper()}", f"Bearer {KEY}0", f"Bearer {KEY[:-1]}", "Bearer é"],
)
def test_malformed_authorization_is_rejected(value):
    code, headers, body, _ = ask(service(model(), keys=(KEY,)), "/info", headers=[("authorization", value)])
    assert (code, headers["www-authenticate"], body["error_type"]) == (401, "Bearer", "unauthorized")
    assert KEY not in str(body)


def test_two_authorization_headers_are_rejected():
    assert status("/info", ("authorization", f"Bearer {KEY}"), ("authorization", f"Bearer {KEY}")) == 401


def test_without_keys_all_routes_are_open():
    assert status("/info", of=service(model())) == 200


def test_foreign_host_names_are_rejected_when_hosts_are_checked():
    of = service(model(), hosts=("localhost", "my.proxy"))
    for host, code in [
        ("localhost", 200),
        ("LOCALHOST:8000", 200),
        ("127.0.0.1:8000", 200),
        ("127.9.9.9", 200),
        ("[::1]:8000", 200),
        ("my.proxy", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("10.0.0.1", 421),
        ("", 421),
    ]:
        assert status("/livez", ("host", host), of=of) == code, host
    assert status("/livez", ("host", "localhost"), ("host", "localhost"), of=of) == 421
    assert status("/livez", ("host", "evil.example"), of=service(model())) == 200


def test_keys_of_a_file(tmp_path):
    path = tmp_path / "keys"
    path.write_text(f"# ours\n{KEY}\r\n\n  {OTHER}  \n", encoding="ascii")
    assert read_keys(path) == (KEY, OTHER)
    path.chmod(0o644)
    assert is_open_to_others(path)
    path.chmod(0o600)
    assert not is_open_to_others(path)


@pytest.mark.parametrize(
    "text",
    [b"", b"# only\n", b"short\n", b"with a blank in it\n", "schlüssel-schlüssel\n".encode(), b"\0" * 20, b"#" * (2**20 + 1)],
)
def test_bad_key_file_is_an_error_without_its_content(tmp_path, text):
    path = tmp_path / "keys"
    path.write_bytes(text)
    with pytest.raises(DataError) as caught:
        read_keys(path)
    assert "blank in" not in str(caught.value) and "short\n" not in str(caught.value)
    with pytest.raises(InputMissing):
        read_keys(tmp_path / "none")


def test_loopback_addresses():
    assert all(map(is_loopback, ("127.0.0.1", "127.1.2.3", "::1", "localhost", "LocalHost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "example.org", "")))
