"""What the server that forks runs has imported and computed before it forks the first one; a run would spend a third of its time
on it."""

import importlib
import pkgutil

import transformers
from transformers.conversion_mapping import get_checkpoint_conversion_mapping

import hftool

PACKAGES = ("data", "engines", "evaluation", "heads", "inference", "models", "registry", "storage", "training", "workflow")
FAMILIES = ("bert", "roberta", "xlm_roberta", "electra", "gpt2", "t5")
LIBRARIES = ("accelerate", "jinja2", "pydantic.type_adapter", "sentencepiece", "seqeval.metrics", "sklearn.metrics")

for found in pkgutil.walk_packages(hftool.__path__, "hftool."):
    if found.name.split(".")[1] in PACKAGES:
        importlib.import_module(found.name)
for family in FAMILIES:
    for kind in ("modeling", "tokenization"):
        importlib.import_module(f"transformers.models.{family}.{kind}_{family}")
for name in ("hftool.cli.app", *LIBRARIES, "transformers.models.auto.tokenization_auto", "transformers.convert_slow_tokenizer"):
    importlib.import_module(name)
get_checkpoint_conversion_mapping("bert")  # compiles a thousand regular expressions
assert transformers.__version__
