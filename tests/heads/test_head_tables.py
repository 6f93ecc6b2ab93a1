"""hftool/registry/heads.py is complete, and no other file outside hftool/heads/ branches on the names of heads."""

import ast
from pathlib import Path

import pytest

import hftool
from hftool.heads import head_class
from hftool.registry.families import FAMILIES
from hftool.registry.heads import all_heads, deciding_metrics, head_names, head_spec, report_module

ROOT = Path(hftool.__file__).parent
ALLOWED = {  # files with the names of two or more heads -> the reason
    "registry/models.py": "a model names the head of its checkpoint, and its stand-ins by head",
    "registry/tasks.py": "a task names the heads that learn from it",
    "data/column_names.py": "names of columns in the data of others, which are no heads",
    "__init__.py": "the names of the public functions classify, tag, answer, ...",
    "workflow/__init__.py": "the names of the public functions",
    "benchmark/rows.py": "the bundled data that a head answers",
    "benchmark/infer.py": "the keys of answers, of which one is `answer`",
    "benchmark/peers/pipeline.py": "the pipelines of transformers whose answers have the same form",
    "workflow/_infer.py": "these functions, each of which needs the head that it is named after",
}


MEASURED = {  # files with two or more metrics -> the reason
    "cli/verbs/finetune.py": "those of the baselines in the line about a run",
    "registry/tasks.py": "the metrics by which a task is published",
    "workflow/targets.py": "those of uneven classes, and of runs of earlier versions",
    "cli/verbs/evaluate.py": "those in which an answer is right or wrong, for the line that counts errors",
}


def literals(path):
    """The string literals of a file."""
    return {node.value for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Constant)}


def head_names_in(path):
    """The names of heads among the string literals of a file."""
    return literals(path) & {*head_names()}


def files_with_heads(root):
    """Files with the names of two or more heads, except the registry and the packages of the heads."""
    head_packages = {root / "heads" / name for name in head_names()}
    files = [
        path for path in root.rglob("*.py") if not head_packages & {*path.parents} and path != root / "registry" / "heads.py"
    ]
    return {path.relative_to(root).as_posix() for path in files if len(head_names_in(path)) > 1}


def test_no_other_file_branches_on_head_names():
    assert files_with_heads(ROOT) == set(ALLOWED)


def test_the_check_finds_violations(tmp_path):
    for name in ("workflow/plan.py", "heads/collate.py", "heads/tag/head.py", "registry/heads.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('def f(head):\n    return head in ("generate", "text2text")\n', encoding="utf-8")
    (tmp_path / "cli.py").write_text('NAME = "classify"\n', encoding="utf-8")
    assert files_with_heads(tmp_path) == {"workflow/plan.py", "heads/collate.py"}


def test_no_other_file_lists_the_reports_or_their_metrics():
    """A metric or a report is one row in registry/heads.py and one function of its report."""
    kinds = {report.name for spec in all_heads() for report in spec.reports} - {"answers", "texts", "language"}
    lists = {path for path in ROOT.rglob("*.py") if "heads" not in path.with_suffix("").parts[len(ROOT.parts) :]}
    assert {path.name for path in lists if len(literals(path) & kinds) > 1} == set()
    metrics = {*deciding_metrics()} - {"loss", "precision"}  # precision is a setting, too
    assert {path.relative_to(ROOT).as_posix() for path in lists if len(literals(path) & metrics) > 1} == set(MEASURED)


def test_every_head_has_a_family_and_its_class_attributes():
    assert {head for family in FAMILIES for head in family.heads} == set(head_names())
    for name in head_names():
        kind = head_class(name)
        assert kind.row_schemas and kind.outputs and kind.batch_tokens > 0
        assert isinstance(kind.numbers, bool) and isinstance(kind.knobs, tuple)


@pytest.mark.parametrize("spec", all_heads(), ids=head_names())
def test_row_refers_to_existing_parts(spec):
    import transformers

    assert head_spec(spec.name) is spec and spec.load().__name__ == spec.implementation.partition(":")[2]
    assert callable(spec.module("render").line) and callable(spec.module("model_card").snippet)
    assert all(hasattr(transformers, name) for name in (spec.auto_class, spec.encoder_auto_class or spec.auto_class))
    assert all(callable(report_module(report.name).report) and report.metrics for report in spec.reports) and spec.reports
    shapes = [{*shape.inputs, *shape.optional} for shape in spec.load().row_schemas]
    assert any({*spec.inputs} <= shape for shape in shapes) and {*spec.offset_roles} <= {*spec.inputs}
    assert (len(spec.inputs) == 2) == (spec.second_input != "never") and spec.next_command.count("{}") == 1


def test_each_architecture_has_one_natural_head():
    for architecture in ("encoder", "decoder", "encoder-decoder"):
        found = [spec for spec in all_heads() if spec.natural_of == architecture]
        assert len(found) == 1 and architecture in found[0].architectures


def test_priorities_of_heads_are_distinct():
    order = [spec.priority for spec in all_heads() if spec.priority]
    assert sorted(order) == list(range(1, len(order) + 1))
