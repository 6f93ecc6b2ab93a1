"""The words of hftool, one function each: load, tokenize, infer, info, finetune, evaluate, predict, save, copy.

Here names become rows and folders, and the rooms below are put together; nowhere else. The command line and the recipes
call these functions, and so may you. From Python nothing stands in for what cannot be had unless `fallback=True`.
"""

from hftool.workflow.ask import Tokens, infer, info, load, read_lines, tokenize
from hftool.workflow.measure import Report, evaluate, predict
from hftool.workflow.recipes import copy
from hftool.workflow.train import Result, finetune, save

__all__ = [
    "Report",
    "Result",
    "Tokens",
    "copy",
    "evaluate",
    "finetune",
    "infer",
    "info",
    "load",
    "predict",
    "read_lines",
    "save",
    "tokenize",
]
