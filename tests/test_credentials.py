"""User, password and token in the Hub address never appear in messages, logs or documents."""

import pytest

from hftool import hub
from hftool.errors import HubUnreachable, without_credentials
from hftool.workflow import doctor

ADDRESSES = [
    "http://ann:s3cret@127.0.0.1:9",
    "http://s3cret@127.0.0.1:9",
    "http://ann:s3cret@127.0.0.1:9/sub/folder",
    "http://ann:s3cr@et@127.0.0.1:9",
    "http://ann:s3cret%21@127.0.0.1:9",
    "ann:s3cret@127.0.0.1:9",
    "ftp://ann:s3cret@127.0.0.1:9",
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_errors_show_the_address_without_credentials(cli, monkeypatch, address):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
    for command in (["info", "ann/model"], ["info", "ann/model", "--json"], ["info", "ann/model", "--verbose"]):
        code, out, err = cli(*command)
        assert code == 69 and "127.0.0.1:9" in err
        assert "s3cr" not in out + err and "ann:" not in out + err
    assert hub.address().endswith(address.rpartition("@")[2])


def test_doctor_and_push_show_the_address_without_credentials(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", ADDRESSES[0])
    facts = doctor(seconds=0.01)
    assert facts["hub"]["address"] == "http://127.0.0.1:9" and "s3cret" not in str(facts)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_token")
    with pytest.raises(HubUnreachable) as caught:
        hub.push("ann/model", {}, public=False, message="m")
    assert "s3cret" not in str(caught.value) and "hf_token" not in str(caught.value)


def test_invalid_token_is_not_quoted_in_the_error(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_s3cret\udce4")
    with pytest.raises(HubUnreachable) as caught:
        hub.ask_revision("ann/model")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("at https://ann:pw@host/x and http://tok@b", "at https://host/x and http://b"),
        ("ValueError('https://a:b@c@host')", "ValueError('https://host')"),
        ("https://host/x?mail=a@b.c", "https://host/x?mail=a@b.c"),
        ("https://host/@scope/x", "https://host/@scope/x"),
        ("mail ann@host.org", "mail ann@host.org"),
    ],
)
def test_credentials_are_removed_from_addresses_in_any_error(text, shown):
    assert without_credentials(text) == HubUnreachable(text, text).hint == shown
