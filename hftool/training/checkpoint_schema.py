"""JSON schemas of the files of a checkpoint."""

from hftool.storage.json_documents import Schema, each

PYTHON = "python_random"
COUNT: Schema = {"type": "integer", "minimum": 0}
STATE_SCHEMA: Schema = {  # of state.json: the keys that are read
    "type": "object",
    "properties": {
        **each(("step", "epoch", "step_in_epoch", "best_step", "worse", "micro", "log_bytes"), COUNT),
        **each(("seconds", "seconds_saving"), {"type": "number", "minimum": 0}),
        "meter": {"type": "array", "maxItems": 2},  # any numbers: a loss may have been NaN
        "skipped": {"type": "array", "items": COUNT, "maxItems": 2},
        "optimizer": {"type": "object", "properties": {"scalars": {"type": "object"}}},
        PYTHON: {"type": "array", "items": {"type": "array"}},
    },
}
FILE: Schema = {"type": "object", "required": ("bytes", "sha256"), "properties": {"bytes": COUNT, "sha256": {"type": "string"}}}
MANIFEST_SCHEMA: Schema = {  # of MANIFEST.json
    "type": "object",
    "required": ("files",),
    "properties": {"files": {"type": "object", "additionalProperties": FILE}, "released": {"type": "boolean"}},
}
