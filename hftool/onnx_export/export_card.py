"""The model card of an export: that of its model, with how to run the graphs without hftool."""

from collections.abc import Mapping
from typing import Any

from hftool.heads.model_card import RunProvenance, page
from hftool.models import Loaded

ONE_GRAPH = """With ONNX Runtime alone, in this folder:

```python
import onnxruntime
from transformers import AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(".")
session = onnxruntime.InferenceSession("{file}", providers=["CPUExecutionProvider"])
inputs = tokenizer(["{text}"], return_tensors="np")
outputs = session.run({outputs}, {{value.name: inputs[value.name] for value in session.get_inputs()}})
```
"""
GENERATION = """The graphs generate a text token by token; their inputs and outputs have names and shapes that describe them.
`import hftool; hftool.infer(".", "TEXT")` runs the generation loop.
"""
EXPORT = """
With hftool: `hftool infer . "TEXT"`, and every command for inference, evaluation and serving.

## Export

ONNX{quantized}, {size:.1f} MB where the weights had {before:.1f} MB. One text took {after_ms:g} ms where torch took
{before_ms:g} ms, in {threads} threads of the machine that exported it. In fp32 the outputs differed from torch's by at most
{difference:.1e} of the largest. `export.json` has all figures."""


def export_page(loaded: Loaded, report: Mapping[str, Any], provenance: RunProvenance) -> str:
    """The text of README.md."""
    file, size = report["graphs"].get("model"), report["bytes"]
    text = f"{loaded.head_config.prefix}A text."
    run = ONE_GRAPH.format(file=file, text=text, outputs=report["outputs"]) if file else GENERATION
    export = EXPORT.format(
        quantized=f", {report['quantize']}" if report["quantize"] else "",
        size=size["after"] / 1e6,
        before=size["before"] / 1e6,
        difference=report["parity"]["outputs"]["relative"],
        **report["latency"],
    )
    return page(loaded.head_config, type(loaded.model).__name__, provenance, usage=run + export)
