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
    write,
)
from hftool.workflow.ask import Tokens, info, load, read_lines, tokenize
from hftool.workflow.doctor import doctor
from hftool.workflow.measure import Report, evaluate, predict
from hftool.workflow.recipes import copy
from hftool.workflow.train import Result, finetune, resume, save

__all__ = [
    "Decoding",
    "Report",
    "Result",
    "Tokens",
    "answer",
    "as_summarizer",
    "as_translator",
    "check_vectors",
    "classify",
    "copy",
    "doctor",
    "embed",
    "evaluate",
    "fill",
    "finetune",
    "generate",
    "infer",
    "info",
    "load",
    "predict",
    "read_lines",
    "resume",
    "save",
    "save_vectors",
    "similar",
    "summarize",
    "tag",
    "tokenize",
    "translate",
    "write",
]
