"""Runs of tiny models that tag and that answer, made once. Do not change them."""

import functools

from support import families

# the head, the rows that it learns by heart, and how many steps of 16 rows that takes
LEARNT = {"tag": (families.tag_rows, 24), "answer": (families.answer_rows, 12)}


@functools.cache
def run_of(head):
    """The folder of a run of the tiny BERT."""
    from hftool import workflow

    rows, steps = LEARNT[head]
    file = str(families.write_jsonl(families.HOME / f"{head}-rows.jsonl", rows()))
    knobs = {"batch_size": 16, "lr": 1e-2, "warmup": 0, "max_length": 32, "allow_leak": True, "eval_steps": steps}
    config = {**knobs, "train": file, "validation": file, "max_steps": steps}
    base = families.folder("bert")
    return workflow.finetune(str(base), config=config, head=head, out=families.HOME / f"{head}-run", offline=True).run.path
