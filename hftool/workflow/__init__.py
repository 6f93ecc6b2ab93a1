"""The verbs of hftool as functions: each resolves names, then combines the packages below it.

The command line and the recipes call these functions; `hftool` exports most of them. From Python no stand-in is used unless
`fallback=True`. The module of a name is imported when the name is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

from hftool.sampling import SamplingParams

if TYPE_CHECKING:
    from hftool.workflow._copy import copy
    from hftool.workflow._deploy import Deployment, deploy
    from hftool.workflow._doctor import doctor
    from hftool.workflow._evaluate import Report, evaluate
    from hftool.workflow._export import Exported, export
    from hftool.workflow._finetune import Result, finetune, resume
    from hftool.workflow._infer import answer, classify, embed, fill, generate, infer, similar, summarize, tag, translate
    from hftool.workflow._inspect import Tokens, info, tokenize
    from hftool.workflow._load import load
    from hftool.workflow._predict import predict
    from hftool.workflow._prefetch import Fetched, prefetch
    from hftool.workflow._prepare import prepare_training
    from hftool.workflow._push import Push, push
    from hftool.workflow._save import Verified, save, verify
    from hftool.workflow._serve import Address, serve
    from hftool.workflow._suggest import Suggested, suggest
    from hftool.workflow.plan import FinetuneJob

Decoding = SamplingParams  # its name in older versions

_NAMES = {  # the names of each module, as __all__ has them
    "_copy": "copy",
    "_deploy": "Deployment deploy",
    "_doctor": "doctor",
    "_evaluate": "Report evaluate",
    "_export": "Exported export",
    "_finetune": "Result finetune resume",
    "_infer": "answer classify embed fill generate infer similar summarize tag translate",
    "_inspect": "Tokens info tokenize",
    "_load": "load",
    "_predict": "predict",
    "_prefetch": "Fetched prefetch",
    "_prepare": "prepare_training",
    "_push": "Push push",
    "_save": "Verified save verify",
    "_serve": "Address serve",
    "_suggest": "Suggested suggest",
    "plan": "FinetuneJob",
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}

# fmt: off
__all__ = [
    "Address",
    "Deployment",
    "Exported",
    "Fetched",
    "FinetuneJob",
    "Push",
    "Report",
    "Result",
    "SamplingParams",
    "Suggested",
    "Tokens",
    "Verified",
    "answer",
    "classify",
    "copy",
    "deploy",
    "doctor",
    "embed",
    "evaluate",
    "export",
    "fill",
    "finetune",
    "generate",
    "infer",
    "info",
    "load",
    "predict",
    "prefetch",
    "prepare_training",
    "push",
    "resume",
    "save",
    "serve",
    "similar",
    "suggest",
    "summarize",
    "tag",
    "tokenize",
    "translate",
    "verify",
]
# fmt: on


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    return value
