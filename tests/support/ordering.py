"""The order of test files: the longest first, so that the test processes end at about the same time.

By itself pytest-xdist begins with the files that have the most tests; those with few and long ones would end the run alone.
"""

from pathlib import Path

ROOT = Path(__file__).parents[2]
LONGEST = (  # files of more than 12 s, the longest first; the order of all others is that of their names
    "tests/test_docs.py",
    "tests/test_readme.py",
    "tests/benchmark/test_run.py",
    "tests/onnx_export/test_generation_graphs.py",
    "tests/workflow/test_families.py",
    "tests/training/test_processes.py",
    "tests/training/test_resume.py",
    "tests/workflow/test_hub_to_model.py",
    "tests/workflow/test_odd_rows.py",
    "tests/workflow/test_finetune.py",
    "tests/onnx_export/test_export.py",
    "tests/training/test_faults_of_training.py",
    "tests/workflow/test_hostile.py",
    "tests/test_recipes.py",
    "tests/engines/test_onnx_generation.py",
    "tests/inference/test_generation.py",
    "tests/training/test_signals.py",
    "tests/workflow/test_prefetch.py",
    "tests/training/test_adapters.py",
)


def longest_first(items):
    """Sort tests in place; those of a file stay together."""
    rank = {name: i for i, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.nodeid.partition("::")[0], len(rank)))


def missing_files(names=LONGEST):
    """Those that have been renamed or removed."""
    return [name for name in names if not (ROOT / name).is_file()]
