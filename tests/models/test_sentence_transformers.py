"""Model folders of sentence-transformers give its vectors, before and after fine-tuning."""

import json
import re
import shutil
import warnings

import numpy as np
import pytest

from hftool import workflow
from hftool.errors import DataError, UsageError
from hftool.models import HeadConfig, sentence_settings
from support import families

TEXTS = ["the red cat is warm and fine .", "The RED cat", "ann went to rome with a cat .", "a", "the blue dog " * 30]
PROMPTS = {"prompts": {"query": "the red hat : ", "document": "to rome "}, "default_prompt_name": "query"}
PLAIN = ("Transformer", "Pooling")
LENGTH_1 = (*PLAIN, "Normalize")
ALL = {
    "kind": "roberta",
    "pooling": {"pooling_mode": "mean", "include_prompt": False},
    "modules": LENGTH_1,
    "sentence_bert_config": {"max_seq_length": 16, "do_lower_case": True},
    "config_sentence_transformers": PROMPTS,
}
FOLDERS = {
    "the mean": {},
    "the first token": {"pooling": {"pooling_mode": "cls"}},
    "the largest values": {"pooling": {"pooling_mode": "max"}},
    "the sum by a root": {"pooling": {"pooling_mode": "mean_sqrt_len_tokens"}},
    "older file format": {"pooling": {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}},
    "length 1": {"modules": LENGTH_1},
    "length 1 of the largest": {"modules": LENGTH_1, "pooling": {"pooling_mode": "max"}},
    "lower case": {"kind": "roberta", "sentence_bert_config": {"max_seq_length": 20, "do_lower_case": True}},
    "lower case of a unigram": {"kind": "xlm-roberta", "sentence_bert_config": {"do_lower_case": True}},
    "lower case twice": {"sentence_bert_config": {"do_lower_case": True}},
    "lower case under an older name": {"kind": "roberta", "sentence_roberta_config": {"do_lower_case": True}},
    "short texts": {"sentence_bert_config": {"max_seq_length": 8, "do_lower_case": False}},
    "a prompt": {"config_sentence_transformers": PROMPTS},
    "prompts, none by default": {"config_sentence_transformers": {**PROMPTS, "default_prompt_name": None}},
    "a prompt left out of the mean": {"config_sentence_transformers": PROMPTS, "pooling": {"include_prompt": False}},
    "a prompt before the first": {
        "config_sentence_transformers": PROMPTS,
        "pooling": {"pooling_mode": "cls", "include_prompt": False},
    },
    "a prompt left out of the largest": {
        "config_sentence_transformers": PROMPTS,
        "pooling": {"pooling_mode": "max", "include_prompt": False},
    },
    "a T5 of length 1": {"kind": "t5", "modules": LENGTH_1},
    "all of it": ALL,
}


def sentence_folder(path, *, kind="bert", pooling=None, modules=PLAIN, **files):
    shutil.copytree(families.folder(kind), path)
    rows = [
        {"path": f"{i}_{name}" if i else "", "type": f"sentence_transformers.models.{name}"} for i, name in enumerate(modules)
    ]
    settings = {"word_embedding_dimension": 48, "pooling_mode": "mean", **(pooling or {})}
    if "pooling_mode_cls_token" in settings:
        del settings["pooling_mode"]
    for i, row in enumerate(rows):
        row.update(idx=i, name=str(i))
        (path / row["path"]).mkdir(exist_ok=True)
    (path / "1_Pooling" / "config.json").write_text(json.dumps(settings))
    for name, values in {"modules": rows, **files}.items():
        (path / f"{name}.json").write_text(json.dumps(values))
    return path


def expected(folder, texts=TEXTS):
    """The vectors of sentence-transformers."""
    from hftool.models import quiet

    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
        return model.encode(list(texts), show_progress_bar=False)


@pytest.mark.parametrize("name", FOLDERS)
def test_vectors_equal_those_of_sentence_transformers(name, tmp_path):
    folder = sentence_folder(tmp_path / "model", **FOLDERS[name])
    events = []
    vectors_here = workflow.embed(workflow.load(str(folder), progress=events.append), TEXTS)
    np.testing.assert_allclose(vectors_here, expected(folder), atol=1e-5)
    assert [event for event in events if event.kind == "notice"] == []


def test_tokenize_includes_the_prompt(tmp_path):
    folder = sentence_folder(tmp_path / "model", **ALL)
    [tokens] = workflow.tokenize(str(folder), ["The RED cat"])
    assert "".join(tokens.tokens).replace("\u0120", " ") == "<s>the red hat : the red cat</s>"


def trained(folder, tmp_path, **overrides):
    rows = families.write_jsonl(tmp_path / "rows.jsonl", families.HEAD_CASES["embed"][1](16))
    config = {"train": str(rows), "validation": str(rows), "allow_leak": True, "max_steps": 2, "lr": 1e-2, **overrides}
    return workflow.finetune(str(folder), config=config, head="embed", out=tmp_path / "run").run


def test_fine_tuned_models_keep_pooling_and_prompt(tmp_path):
    folder = sentence_folder(tmp_path / "model", **ALL)
    run = trained(folder, tmp_path)
    head_config = workflow.load(str(run.path)).head_config
    assert (head_config.pooling, head_config.normalize, head_config.pool_prefix, head_config.prefix) == (
        "mean",
        True,
        False,
        "the red hat : ",
    )
    before = expected(folder, TEXTS[:4])
    shutil.copy(run.model / "model.safetensors", folder)
    after = expected(folder, TEXTS[:4])
    assert np.abs(before - after).max() > 1e-3
    for source in (run.path, run.model):
        np.testing.assert_allclose(workflow.embed(str(source), TEXTS[:4]), after, atol=1e-5)
    (tmp_path / "second").mkdir()
    head_config = workflow.load(str(trained(run.model, tmp_path / "second").path)).head_config
    assert (head_config.normalize, head_config.pool_prefix, head_config.prefix) == (True, False, "the red hat : ")


def test_given_prefix_replaces_the_prompt(tmp_path):
    folder = sentence_folder(tmp_path / "model", **ALL)
    assert workflow.load(str(trained(folder, tmp_path, prefix="").path)).head_config.prefix == ""


def test_snippet_of_a_fine_tuned_model_gives_its_vectors(tmp_path, monkeypatch, capsys):
    run = trained(sentence_folder(tmp_path / "model", **ALL), tmp_path)
    code = re.search(r"```python\n(.*?)```", (run.model / "README.md").read_text(), re.DOTALL)[1]
    monkeypatch.chdir(run.model)
    values = {}
    exec(code, values)
    np.testing.assert_allclose(values["answer"].numpy(), workflow.embed(str(run.path), [TEXTS[0]])[0], atol=1e-5)


@pytest.mark.slow
def test_export_gives_the_same_vectors(tmp_path):
    run = trained(sentence_folder(tmp_path / "model", **ALL), tmp_path)
    workflow.export(str(run.path), out=tmp_path / "export")
    np.testing.assert_allclose(workflow.embed(str(tmp_path / "export"), TEXTS), workflow.embed(str(run.path), TEXTS), atol=1e-4)


def test_minilm_vectors_have_length_one():
    """all-MiniLM-L6-v2 has a Normalize module."""
    vectors = workflow.embed(workflow.load("minilm", head="embed", offline=True), ["A warm, funny film.", "Cold."])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)


def test_empty_text_after_a_prompt(tmp_path):
    folder = sentence_folder(tmp_path / "model", **{**ALL, "sentence_bert_config": {"max_seq_length": 4}})
    assert np.isfinite(workflow.embed(str(folder), TEXTS)).all()


@pytest.mark.parametrize(
    "values",
    [
        {"default_prompt_name": "nonesuch", "prompts": {"query": "a"}},
        {"default_prompt_name": "query", "prompts": {"query": 5}},
        {"default_prompt_name": "query", "prompts": ["query"]},
        {"default_prompt_name": 7, "prompts": {"query": "a"}},
        {"default_prompt_name": "query"},
    ],
)
def test_missing_default_prompt_is_65(values, tmp_path, cli):
    folder = sentence_folder(tmp_path / "model", config_sentence_transformers=values)
    with pytest.raises(
        DataError,
        match="as the default prompt, and has no such text among its prompts|is damaged: '(prompts|default_prompt_name)",
    ):
        sentence_settings(folder)
    assert cli("embed", folder, "a text")[0] == 65


def test_truncated_vectors_are_reported(tmp_path):
    folder = sentence_folder(tmp_path / "model", config_sentence_transformers={"truncate_dim": 8})
    assert sentence_settings(folder).missed == ("truncate_dim",)


def test_other_folders_are_unchanged(tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(families.folder("bert"), folder)
    (folder / "config_sentence_transformers.json").write_text(json.dumps(PROMPTS))
    settings = sentence_settings(folder)
    assert settings.on(HeadConfig(head="embed")) == HeadConfig(head="embed") and not settings.missed


def test_unknown_pooling_is_an_error(tmp_path):
    with pytest.raises(UsageError, match="unknown pooling 'mena'"):
        workflow.embed(str(sentence_folder(tmp_path / "model")), ["a"], pooling="mena")
