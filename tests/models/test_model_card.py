"""The model card: facts of the run, valid metadata for the Hub, and a snippet with the answers of hftool."""

import functools
import re

import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCard

from hftool import workflow
from hftool.heads.model_card import RunProvenance, page
from hftool.models import HeadConfig
from hftool.registry.heads import head_names, head_spec
from hftool.storage.run_folder import read_json
from support import families

CAT, COLD = "the red cat is warm and fine .", "the red cat is cold ."
ANN, QUESTION = "Ann Lee went to Rome with a hat .", "where did ann go ?"
HEAD_CASES = [
    *(("bert", task) for task in ("classify", "regression", "pairs", "tag", "answer", "fill", "embed")),
    *(("gpt2", task) for task in ("classify", "tag", "generate")),
    *(("t5", task) for task in ("classify", "text2text")),
    ("roberta", "answer"),
]


@functools.cache
def trained_run(kind, task):
    """A short training run; its quality is irrelevant here."""
    head, rows, _ = families.HEAD_CASES[task]
    path = families.write_jsonl(families.HOME / f"page-{kind}-{task}.jsonl", rows())
    config = {"train": str(path), "validation": str(path), "allow_leak": True, "max_steps": 4, "batch_size": 16, "lr": 3e-3}
    return workflow.finetune(str(families.folder(kind)), config=config, head=head, out=path.with_suffix(".run")).run


def readme(run):
    return (run.model / "README.md").read_text(encoding="utf-8")


def snippet_answer(run, monkeypatch, capsys):
    """The variable `answer` after the snippet of the card is executed unchanged in the model folder."""
    monkeypatch.chdir(run.model)
    names = {}
    exec(re.search(r"```python\n(.*?)```", readme(run), flags=re.DOTALL)[1], names)
    assert capsys.readouterr().out.strip() == str(names["answer"]).strip()
    return names["answer"]


def expected_answer(run, task):
    """The answers of hftool to the texts of the snippet, in the format of the snippet."""
    model = str(run.path)
    if task == "pairs":
        return workflow.infer(model, [CAT], pairs=[COLD])[0]["probabilities"]
    if task == "answer":
        return workflow.infer(model, [QUESTION], pairs=[ANN])[0]["answer"]
    if task == "tag":
        found = workflow.infer(model, ["Ann Lee went to Rome ."])[0]
        return list(zip(found["tokens"], found["tags"], strict=True))
    if task == "fill":
        return [fill["token"].strip() for fill in workflow.infer(model, ["the [MASK] cat"])[0]["masks"][0]["fills"]]
    found = workflow.infer(model, [CAT])[0]
    return found[{"classify": "probabilities", "regression": "score", "embed": "embedding"}.get(task, "text")]


@pytest.mark.parametrize(("kind", "task"), HEAD_CASES)
def test_snippet_gives_the_answers_of_hftool(kind, task, monkeypatch, capsys):
    run = trained_run(kind, task)
    answer, expected = snippet_answer(run, monkeypatch, capsys), expected_answer(run, task)
    if task in ("classify", "pairs"):
        assert answer == pytest.approx(expected, abs=1e-5)
    elif task == "regression":
        assert answer == pytest.approx(expected, abs=1e-4)
    elif task == "embed":
        assert np.allclose(answer.numpy(), expected, atol=1e-5)
    elif task in ("generate", "text2text"):
        assert answer.strip() == expected.strip()
    else:
        assert answer == expected


@pytest.mark.parametrize(("kind", "task"), HEAD_CASES)
def test_metadata_is_valid_for_the_hub(kind, task):
    run = trained_run(kind, task)
    facts = ModelCard(readme(run)).data.to_dict()
    assert facts["library_name"] == "transformers" and facts["tags"] == ["hftool"]
    assert facts["pipeline_tag"] == head_spec(families.HEAD_CASES[task][0]).pipeline_tag
    assert "base_model" not in facts  # a local folder is not a repository


def test_card_describes_the_run(monkeypatch):
    run = trained_run("bert", "classify")
    text, manifest, metrics = readme(run), read_json(run.manifest), read_json(run.metrics)
    (path, digest), *_ = manifest["data"].items()
    measured = metrics["validation"]
    assert f"| `page-bert-classify.jsonl` | `{digest}` |" in text and path not in text
    assert "| train | 64 |" in text and "| validation | 64 |" in text
    assert "64 of train were in validation or test as well" in text
    assert f"| validation | 64 | {measured['accuracy']:.4f} | {measured['macro_f1']:.4f} |" in text
    assert f"has an accuracy of {measured['majority_baseline']['accuracy']:.4f} on validation" in text
    assert f"| `good` | {measured['by_class']['good']['rows']} |" in text
    assert "no train row was longer" in text and "trained on 64 rows" in text
    assert "seed 0" in text and "max_steps 4" in text and f"transformers {manifest['versions']['transformers']}" in text
    assert str(families.HOME) not in text


def test_truncated_rows_are_counted(tmp_path):
    rows = [{"text": f"{'the red cat ' * (20 if i < 8 else 1)}{i}", "label": "ab"[i % 2]} for i in range(32)]
    path = families.write_jsonl(tmp_path / "rows.jsonl", rows)
    config = {"train": str(path), "max_steps": 1, "max_length": 16, "limit": 30}
    run = workflow.finetune(str(families.folder("bert")), config=config, out=tmp_path / "run").run
    truncated = read_json(run.manifest)["cut"]["train"]
    train = read_json(run.manifest)["rows"]["train"]
    assert 0 < truncated <= 8
    assert f"{truncated} of the {train} train rows ({100 * truncated / train:.1f} %) were longer" in readme(run)


PROVENANCE = RunProvenance(
    {
        "command": ["/home/ann/bin/hftool", "finetune", "bert", "my file.csv"],
        "data_revision": f"nyu-mll/glue@{'a' * 40}:sst2",
        "data": {"/home/ann/train.csv": "b" * 64},
        "rows": {"train": 10},
        "rejected": 2,
        "seed": 7,
    }
)


def test_metadata_names_base_model_and_data_set():
    text = page(
        HeadConfig(head="classify", task="sst2", base="o/n", revision="c" * 40), "BertForSequenceClassification", PROVENANCE
    )
    facts = yaml.safe_load(text.split("---")[1])
    assert facts["base_model"] == "o/n" and facts["datasets"] == ["nyu-mll/glue"]
    assert f"at revision `{'c' * 40}`" in text and f"`nyu-mll/glue@{'a' * 40}:sst2`" in text
    assert "hftool finetune bert 'my file.csv'" in text and "2 could not be used" in text
    assert "/home/ann" not in text


def test_script_is_described_as_a_script():
    text = page(
        HeadConfig(head="classify", task="a"), "BertModel", RunProvenance({"command": ["/home/ann/train.py", "--fast"]})
    )
    assert "```\npython train.py --fast\n```" in text


@pytest.mark.parametrize("head", head_names())
def test_card_without_a_run_makes_no_claims(head):
    text = page(HeadConfig(head=head, base="/home/ann/bert"), "BertModel")
    assert "Not measured." in text and "hftool has not trained it" in text and "Fine-tuned" not in text
    assert "Nothing is recorded about the data." in text and "Nothing is recorded about how it was made." in text
    assert yaml.safe_load(text.split("---")[1])["pipeline_tag"] == head_spec(head).pipeline_tag and "/home/ann" not in text


def test_names_from_files_are_escaped():
    head_config = HeadConfig(
        head="classify", task="a\n# b", labels=("x`\n", "|y"), base="o/n\nlicense: mit", prefix='say "hi": '
    )
    text = page(head_config, "BertForSequenceClassification", RunProvenance({"data": {"/a/b|c`.csv\n": "0"}, "rows": {}}))
    assert set(yaml.safe_load(text.split("---")[1])) == {"library_name", "pipeline_tag", "tags"}
    assert "\n# b" not in text and "`x'\\n`, `¦y`" in text and "`b¦c'.csv\\n`" in text
    compile(re.search(r"```python\n(.*?)```", text, flags=re.DOTALL)[1], "snippet", "exec")


def test_given_usage_replaces_the_snippet():
    text = page(HeadConfig(head="fill"), "BertForMaskedLM", usage="Run the graph.\n\n## As a graph\n\nRun it.")
    assert "from transformers" not in text
    assert text.index("## Use") < text.index("## As a graph") < text.index("## How it was made")
