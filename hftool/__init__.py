"""hftool: from a checkpoint to a running model, each step one function.

`import hftool` imports nothing but the standard library: each name below is imported when it is first used.

    import hftool

    model = hftool.load("gpt2")
    hftool.generate(model, "Once upon a time", max_new_tokens=20, temperature=0.8)["text"]
    result = hftool.finetune("bert", [{"text": "A warm film.", "label": "positive"}, ...], out="runs/films")
    hftool.classify(result, ["A cold film.", "A funny film."])
"""

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hftool.errors import HftoolError
    from hftool.sampling import SamplingParams

    # fmt: off
    # isort: off
    from hftool.workflow import (
        Report, Result, Suggested, Tokens, answer, classify, copy, deploy, doctor, embed, evaluate, export, fill, finetune,
        generate, infer, info, load, predict, prefetch, prepare_training, push, resume, save, serve, similar, suggest,
        summarize, tag, tokenize, translate, verify,
    )
    # isort: on
    # fmt: on

DISTRIBUTION = "hftool-recipes"  # on the package index `hftool` is another project
WITH_PROGRESS = ("evaluate", "finetune", "predict", "resume", "suggest")  # in a notebook they show it
ELSEWHERE = {"HftoolError": "hftool.errors", "SamplingParams": "hftool.sampling"}

# fmt: off
__all__ = [
    "HftoolError", "Report", "Result", "SamplingParams", "Suggested", "Tokens", "answer", "classify", "copy", "deploy",
    "doctor", "embed", "evaluate", "export", "fill", "finetune", "generate", "infer", "info", "load", "predict", "prefetch",
    "prepare_training", "push", "resume", "save", "serve", "similar", "suggest", "summarize", "tag", "tokenize", "translate",
    "verify",
]
# fmt: on


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version(DISTRIBUTION)
    if name not in __all__:
        raise AttributeError(f"module 'hftool' has no attribute {name!r}")
    value = getattr(importlib.import_module(ELSEWHERE.get(name, "hftool.workflow")), name)
    if name in WITH_PROGRESS and "ipykernel" in sys.modules:
        value = importlib.import_module("hftool.progress.display").in_notebook(value)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
