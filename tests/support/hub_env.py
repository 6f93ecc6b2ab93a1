"""A fake Hub, and huggingface_hub of this process redirected to it: it has read its environment already."""

from contextlib import contextmanager

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.utils import _detect_agent

from support.fake_hub import fake_hub


@contextmanager
def led_hub(repos, monkeypatch, home, token=""):
    """A Hub with these repositories and an empty cache under `home`; every question of this process goes there."""
    with fake_hub(repos) as running:
        for name in ("HUGGING_FACE_HUB_TOKEN", "HF_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        if token:
            monkeypatch.setenv("HF_TOKEN", token)
        huggingface_hub.close_session()
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", running.url + "/{repo_id}/resolve/{revision}/{filename}")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
        monkeypatch.setattr(constants, "AGENT_HARNESSES_PATH", str(home / "agents.json"))
        monkeypatch.setattr(_detect_agent, "_registry", None)  # its own question, which it asks once a process
        yield running
    huggingface_hub.close_session()
