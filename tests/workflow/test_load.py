"""load, tokenize, infer, info."""

import pytest

from hftool import workflow
from hftool.errors import ConfigError, DataError, InputMissing, UsageError


def test_tokenize_is_what_training_uses_and_shows_what_was_truncated(tiny_run):
    loaded = workflow.load(str(tiny_run))
    whole, short = (
        workflow.tokenize(loaded, ["a warm funny film"]),
        workflow.tokenize(loaded, ["a warm funny film"], max_length=4),
    )
    from hftool.heads import get_head

    feature = get_head(loaded.tokenizer, loaded.head_config).encode([{"text": "a warm funny film"}])[0]
    assert whole[0].ids == feature.input_ids.tolist()
    assert (whole[0].tokens[0], whole[0].tokens[-1], whole[0].truncated) == ("[CLS]", "[SEP]", [])
    assert len(short[0].ids) == 4 and len(short[0].mask) == 4
    assert whole[0].tokens[1:3] + short[0].truncated == whole[0].tokens[1:-1]


def test_tokenize_needs_no_trained_head(tiny_bert):
    assert workflow.tokenize(str(tiny_bert), ["a film"])[0].tokens[0] == "[CLS]"


def test_a_model_with_a_random_head_never_answers(tiny_bert):
    loaded = workflow.load(str(tiny_bert), head="classify")
    assert loaded.new_weights == ("classifier.bias", "classifier.weight")
    with pytest.raises(ConfigError, match="has no trained head: it lacks classifier"):
        workflow.infer(loaded, ["a film"])


def test_infer_of_an_empty_text_is_an_error_that_counts(tiny_run):
    with pytest.raises(DataError, match="text 2 is empty"):
        workflow.infer(str(tiny_run), ["fine", "  "])


def test_infer_answers_unusual_texts(tiny_run):
    texts = ["🎬👩‍👩‍👧", "فيلم رائع", "half \ud83d of a character", "x" * 100_000, "\ufeffa film", "a\x00b", "é́́"]
    answers = workflow.infer(str(tiny_run), texts)
    assert len(answers) == len(texts)
    assert all(0.5 <= answer["probability"] <= 1 for answer in answers)


def test_info_counts_as_the_model_does(tiny_run):
    facts = workflow.info(str(tiny_run))
    model = workflow.load(str(tiny_run)).model
    assert facts["parameters"] == sum(p.numel() for p in model.parameters())
    assert sum(facts["parameters_by_part"].values()) == facts["parameters"]
    assert facts["parameters_by_part"]["head"] == 2 * 32 + 2
    assert facts["labels"] == ["negative", "positive"]
    assert facts["memory_to_train"] > facts["memory_to_infer"] > facts["bytes_in_memory"]


def test_a_folder_that_is_no_model(tmp_path):
    with pytest.raises(InputMissing, match="is no model folder: it has no config.json"):
        workflow.load(str(tmp_path))


def test_pairs_are_for_models_of_pairs_and_only_for_them(tiny_run):
    with pytest.raises(UsageError, match="the model was trained on single texts"):
        workflow.infer(str(tiny_run), ["a"], pairs=["b"])


@pytest.mark.parametrize(("texts", "pairs"), [(5, None), ([3], None), (["a", "b"], ["c"]), (["a"], "b")])
def test_anything_but_lists_of_texts_is_a_usage_error(texts, pairs, tiny_run):
    with pytest.raises(UsageError):
        workflow.infer(str(tiny_run), texts, pairs=pairs)


def test_tokenize_of_a_pair_truncates_the_longer_text(tiny_bert):
    classifier = workflow.load(str(tiny_bert), head="classify")
    result = workflow.tokenize(classifier, ["a warm funny film"], pairs=["a joy"], max_length=7)[0]
    assert result.tokens == ["[CLS]", "a", "warm", "[SEP]", "a", "joy", "[SEP]"]
    assert result.truncated == ["funny", "film"]


def strange(folder, **changes):
    """A classifier that somebody else made: no card, only what its config says."""
    import json
    import shutil

    shutil.copytree(changes.pop("source"), folder)
    (folder / "hftool.json").unlink()
    (folder / "SHA256SUMS").unlink()
    config = json.loads((folder / "config.json").read_text())
    config.update(changes)
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


def test_a_classifier_of_another_tool_answers_with_its_own_labels(tiny_run, tmp_path):
    names = {"0": "NEGATIVE", "1": "POSITIVE"}
    model = strange(tmp_path / "theirs", source=tiny_run / "model", id2label=names, label2id={"NEGATIVE": 0, "POSITIVE": 1})
    ours = workflow.infer(str(tiny_run), ["a warm funny film"])[0]
    reference = workflow.infer(model, ["a warm funny film"])[0]
    assert list(reference["probabilities"]) == ["NEGATIVE", "POSITIVE"]
    assert list(reference["probabilities"].values()) == pytest.approx(list(ours["probabilities"].values()))
    assert workflow.evaluate(model, "sst2-mini", split="test", limit=20).metrics["rows"] == 20


def test_a_multi_label_model_of_another_tool_is_not_answered_with_a_softmax(tiny_run, tmp_path):
    """It was refused before the classify head had several labels a row."""
    import torch
    import transformers

    path = strange(tmp_path / "theirs", source=tiny_run / "model", problem_type="multi_label_classification")
    model, tokenizer = (
        getattr(transformers, name).from_pretrained(path) for name in ("AutoModelForSequenceClassification", "AutoTokenizer")
    )
    with torch.inference_mode():
        chances = model.eval()(**tokenizer("a warm film", return_tensors="pt")).logits[0].sigmoid().tolist()
    [answer] = workflow.infer(path, ["a warm film"])
    assert list(answer["probabilities"].values()) == pytest.approx(chances, abs=1e-6) and "label" not in answer
    assert answer["labels"] == [name for name, chance in answer["probabilities"].items() if chance >= 0.5]
