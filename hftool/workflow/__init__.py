"""The words of hftool, one function each: load, tokenize, infer, finetune, evaluate, predict, save, and one for each answer.

Here names become rows and folders, and the rooms below are put together; nowhere else. The command line and the recipes
call these functions, and so may you. From Python nothing stands in for what cannot be had unless `fallback=True`.
"""

from hftool.heads.protocol import Decoding
from hftool.workflow.answers import (
    answer,
    as_summarizer,
    as_translator,
    check_vectors,
    classify,
    embed,
    fill,
    generate,
    infer,
    save_vectors,
    similar,
    summarize,
    tag,
    translate,
    vectors,
    write,
)
from hftool.workflow.ask import Tokens, info, load, read_lines, tokenize
from hftool.workflow.deploy import Deployment, deploy
from hftool.workflow.doctor import doctor
from hftool.workflow.export import Exported, export
from hftool.workflow.fetch import Fetched, prefetch
from hftool.workflow.measure import Report, evaluate, predict
from hftool.workflow.push import Push, push
from hftool.workflow.recipes import copy
from hftool.workflow.save import Verified, save, verify
from hftool.workflow.serve import Address, serve
from hftool.workflow.train import Result, finetune, resume

__all__ = [
    "Address",
    "Decoding",
    "Deployment",
    "Exported",
    "Fetched",
    "Push",
    "Report",
    "Result",
    "Tokens",
    "Verified",
    "answer",
    "as_summarizer",
    "as_translator",
    "check_vectors",
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
    "push",
    "read_lines",
    "resume",
    "save",
    "save_vectors",
    "serve",
    "similar",
    "summarize",
    "tag",
    "tokenize",
    "translate",
    "vectors",
    "verify",
    "write",
]
