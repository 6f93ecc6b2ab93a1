"""The README.md of an export: the page of its model, and how a graph is run without hftool."""

import re
from collections.abc import Mapping
from typing import Any

from hftool.models import Loaded
from hftool.models.model_card import RunProvenance, page

RUN = """With ONNX Runtime alone, in this folder:

```python
import onnxruntime
from transformers import AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(".")
session = onnxruntime.InferenceSession("{file}", providers=["CPUExecutionProvider"])
inputs = tokenizer(["{text}"], return_tensors="np")
outputs = session.run({outputs}, {{value.name: inputs[value.name] for value in session.get_inputs()}})
```
"""
WRITES = """The graphs write a text token by token: what goes in and what comes out is told by the names and shapes of their
inputs and outputs. `from hftool import workflow; workflow.load(".")` holds the loop around them.
"""
USE = """## Use

{run}
With hftool: `hftool infer . "TEXT"`, and every verb that asks, measures or serves a model.

## Export

ONNX{quantized}, {size:.1f} MB where the weights had {before:.1f} MB. One text took {after_ms:g} ms where torch took
{before_ms:g} ms, in {threads} threads of the machine that wrote it. In fp32 the outputs differed from torch's by at most
{difference:.1e} of the largest. `export.json` has all figures.

"""


def export_page(loaded: Loaded, report: Mapping[str, Any], provenance: RunProvenance) -> str:
    """The text of the README.md. report: what will stand in export.json. story: how the model came to be."""
    bytes_, latency = report["bytes"], report["latency"]
    text = page(loaded.head_config, type(loaded.model).__name__, provenance)
    file = report["graphs"].get("model")
    run = RUN.format(file=file, text=f"{loaded.head_config.prefix}A text.", outputs=report["outputs"]) if file else WRITES
    use = USE.format(
        run=run,
        quantized=f", {report['quantize']}" if report["quantize"] else "",
        size=bytes_["after"] / 1e6,
        before=bytes_["before"] / 1e6,
        difference=report["parity"]["outputs"]["relative"],
        **latency,
    )
    # the weights of transformers are not here, so neither is how they are loaded
    return re.sub(r"## Use\n.*?(?=\n## |\Z)", lambda _: use.rstrip("\n") + "\n", text, count=1, flags=re.DOTALL)
