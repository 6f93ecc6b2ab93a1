"""The whole way over a Hub: a model and a data set fetched, trained on, then used again with no network."""

import json
import os
import subprocess
import sys

import pyarrow
import pyarrow.parquet
import pytest

from conftest import film_rows
from support.fake_hub import fake_hub

GLUE = "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"  # the revision that the registry names for sst2
HEAD_CONFIG = """---
configs:
- config_name: sst2
  data_files:
  - split: train
    path: sst2/train-*
  - split: validation
    path: sst2/validation-*
---
"""


def parquet(folder, rows):
    path = folder / "rows.parquet"
    table = {"sentence": [row["sentence"] for row in rows], "label": [int(row["label"]) for row in rows]}
    pyarrow.parquet.write_table(pyarrow.table(table), path)
    return path.read_bytes()


@pytest.fixture
def hub(tiny_bert, tmp_path):
    rows = film_rows(80)
    data = {
        "README.md": HEAD_CONFIG.encode(),
        "sst2/train-00000-of-00001.parquet": parquet(tmp_path, rows[:64]),
        "sst2/validation-00000-of-00001.parquet": parquet(tmp_path, rows[64:]),
        "cola/train-00000-of-00001.parquet": b"not asked for",
    }
    model = {path.name: path.read_bytes() for path in tiny_bert.iterdir()}
    with fake_hub({("model", "ann/tiny"): {"main": model}, ("dataset", "nyu-mll/glue"): {GLUE: data}}) as running:
        yield running


def test_finetune_from_the_hub_then_offline(hub, tmp_path):
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")}
    environment.pop("HF_HUB_OFFLINE", None)

    def hftool(*words):
        command = [sys.executable, "-m", "hftool", *words]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    done = hftool("finetune", "ann/tiny", "sst2", "--epochs", "1", "--out", "first", "--no-fallback", "--json")
    assert done.returncode == 0, done.stderr
    first = json.loads(done.stdout)
    assert first["stand_in"] == {}
    assert first["metrics"]["validation"]["rows"] == 16
    manifest = json.loads((tmp_path / "first" / "manifest.json").read_text())
    assert manifest["base"] == "ann/tiny" and len(manifest["revision"]) == 40
    assert f"ann/tiny@{manifest['revision']}" in (tmp_path / "first" / "config.yaml").read_text()
    queries = len(hub.requests)
    assert not any("cola" in str(request) for request in hub.requests)
    again = hftool("finetune", "--config", "first/config.yaml", "--out", "second", "--offline", "--no-fallback", "--json")
    assert again.returncode == 0, again.stderr
    assert len(hub.requests) == queries
    model = [(tmp_path / run / "model" / "model.safetensors").read_bytes() for run in ("first", "second")]
    assert model[0] == model[1]
    unknown = hftool("finetune", "ann/none", "sst2", "--out", "third")
    assert unknown.returncode == 69
    assert "the Hub has no ann/none" in unknown.stderr
    assert not (tmp_path / "third").exists()
