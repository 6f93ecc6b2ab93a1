"""Trained runs of tiny models for tag and answer, shared by all tests. Do not change them."""

import functools

from support import families
from support.shared_folders import shared_folder

# the head, the rows that it learns by heart, and how many steps of 16 rows that takes
MEMORIZED = {"tag": (families.tag_rows, 24), "answer": (families.answer_rows, 12)}


@functools.cache
def run_of(head):
    """The folder of a run of the tiny BERT."""
    return shared_folder(f"{head}-trained", functools.partial(_train, head)) / "run"


def _train(head, folder):
    from hftool import workflow

    rows, steps = MEMORIZED[head]
    file = str(families.write_jsonl(folder / "rows.jsonl", rows()))
    knobs = {"batch_size": 16, "lr": 1e-2, "warmup": 0, "max_length": 32, "allow_leak": True, "eval_steps": steps}
    config = {**knobs, "train": file, "validation": file, "max_steps": steps}
    base = families.folder("bert")
    workflow.finetune(str(base), config=config, head=head, out=folder / "run", offline=True)
