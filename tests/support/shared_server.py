"""One server for all tests that do not end it: with a key, three models, a short queue and switches for faults.

A plugin of pytest, so that all modules that name it share the one server.
"""

import shutil

import pytest

from support import families
from support.fault_server import KEY, QUEUE, SLOW, TIMEOUT, bad_words, switched_server


@pytest.fixture(scope="session")
def vectors(tiny_bert, tmp_path_factory):
    """The tiny BERT, marked as sentence-transformers marks a model that embeds."""
    folder = tmp_path_factory.mktemp("vectors") / "bert"
    shutil.copytree(tiny_bert, folder)
    (folder / "modules.json").write_text("[]", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def shared(tiny_run, vectors, tmp_path_factory):
    """The classifier `film`, the GPT-2 `writer` and the `vectors` behind one server. Leave it as it was."""
    folder = tmp_path_factory.mktemp("shared")
    keys = folder / "keys.txt"
    keys.write_text(f"{KEY}\n", encoding="utf-8")
    keys.chmod(0o600)
    models = [f"film={tiny_run}", f"writer={families.folder('gpt2')}", f"vectors={vectors}"]
    options = ("--api-key-file", keys, "--queue", QUEUE, "--timeout", TIMEOUT, "--grace", 5)
    environment = {"HFTOOL_POISON": bad_words(tiny_run / "model"), "HFTOOL_SLOW": str(SLOW)}
    with switched_server(models, *options, folder=folder, environment=environment) as switched:
        yield switched
