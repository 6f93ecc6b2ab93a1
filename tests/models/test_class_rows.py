"""hftool/models/class_rows.py: when a head is fine-tuned further, each class keeps its row of weights."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from hftool import workflow
from hftool.models import HeadConfig, auto_class_of, keep_classes, load_model, read_model_config, save_model
from hftool.models.class_rows import Classes, match
from support import families

OLD = ("joy", "anger", "fear")
HEADS = [(kind, head) for kind in ("bert", "roberta", "gpt2", "t5", "electra") for head in ("classify", "tag")]
BASE = {"validation": "", "allow_leak": True, "batch_size": 8, "warmup": 0, "schedule": "constant", "patience": 0}


@pytest.fixture(autouse=True)
def seed_torch():
    torch.manual_seed(0)


def trained(kind, head, folder, labels=OLD, **head_config):
    """A model folder whose head has random, distinct rows."""
    created = load(families.folder(kind), head, labels, keep=False, **head_config)
    folder.mkdir()
    save_model(created.model, created.tokenizer, created.head_config, folder)
    return folder


def load(folder, head, labels, *, keep=True, in_order=False, **head_config):
    config = read_model_config(folder)
    created = HeadConfig(
        head=head,
        labels=tuple(labels),
        label_values=tuple(head_config.pop("label_values", labels)),
        max_length=64,
        **head_config,
    )
    loaded = load_model(folder, auto_class_of(head, config), head_config=created, new_head=True)
    return keep_classes(loaded, folder, config, in_order=in_order) if keep else loaded


def logits(loaded):
    ids = torch.arange(10, 22).view(2, 6)
    with torch.no_grad():
        return loaded.model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits


def same(one, other):
    """Equal up to the rounding of matrix products of different shapes."""
    return torch.allclose(one, other, atol=1e-6)


def as_third_party_folder(folder, **names):
    """The folder without hftool.json and with other class names, like a third-party model."""
    (folder / "hftool.json").unlink()
    config = json.loads((folder / "config.json").read_text())
    if names:
        config["id2label"] = {str(i): name for i, name in enumerate(names["names"])}
        config["label2id"] = {name: i for i, name in enumerate(names["names"])}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(("kind", "head"), HEADS)
def test_rows_follow_the_class_names(kind, head, tmp_path):
    folder = trained(kind, head, tmp_path / "model")
    before = logits(load(folder, head, OLD, keep=False))
    moved = load(folder, head, ("fear", "joy", "anger"))
    assert same(logits(moved), before[..., [2, 0, 1]])
    assert moved.new_weights == () and "'fear', 'joy', 'anger'" in moved.notes[0]
    more = load(folder, head, ("fear", "trust", "joy", "anger"))
    assert same(logits(more)[..., [0, 2, 3]], before[..., [2, 0, 1]])
    assert "adds 'trust'" in more.notes[0] and more.new_weights == ()
    fewer = load(folder, head, ("anger", "JOY "))
    assert same(logits(fewer), before[..., [1, 0]])
    assert "'JOY ' for 'joy'" in fewer.notes[0] and "drops 'fear'" in fewer.notes[0]
    unchanged = load(folder, head, OLD)
    assert torch.equal(logits(unchanged), before) and unchanged.notes == ()


@pytest.mark.parametrize(("kind", "head"), HEADS)
def test_renamed_classes_start_from_new_rows(kind, head, tmp_path):
    """The number of classes is the same, so the old rows would load silently by index."""
    folder = trained(kind, head, tmp_path / "model")
    other = load(folder, head, ("x", "y", "z"))
    assert "the head is new" in other.notes[0] and other.new_weights
    weights = load_file(folder / "model.safetensors")
    for name in other.new_weights:
        assert not torch.equal(other.model.state_dict()[name], weights[name]) or name.endswith("bias")
    assert load(folder, head, ("x", "y")).new_weights == other.new_weights


def test_head_of_another_task_is_not_reused(tmp_path):
    """BERT uses the same weight names for both heads."""
    folder = trained("bert", "classify", tmp_path / "model")
    tagger = load(folder, "tag", OLD)
    assert tagger.notes == ("the head of the model, which was trained to classify, is not used",)
    assert not torch.equal(tagger.model.classifier.weight, load_file(folder / "model.safetensors")["classifier.weight"])


@pytest.mark.parametrize(
    ("kind", "first", "then"),
    [("bert", "classify", "embed"), ("roberta", "classify", "tag"), ("roberta", "tag", "answer"), ("gpt2", "tag", "generate")],
)
def test_unused_head_is_reported(kind, first, then, tmp_path):
    folder = trained(kind, first, tmp_path / "model")
    labels = OLD if then in ("classify", "tag") else ()
    assert load(folder, then, labels).notes == (f"the head of the model, which was trained to {first}, is not used",)
    assert load(families.folder(kind), then, labels).notes == ()


def test_incompatible_head_is_reported(tmp_path):
    """T5ForSequenceClassification also runs the decoder and has other head weights."""
    from transformers import T5ForSequenceClassification

    folder = tmp_path / "model"
    T5ForSequenceClassification.from_pretrained(families.folder("t5"), num_labels=3).save_pretrained(folder)
    shutil.copy(families.folder("t5") / "tokenizer.json", folder)
    shutil.copy(families.folder("t5") / "tokenizer_config.json", folder)
    note = "the head of the model has other parts than that of T5ForTokenClassification: it is not used"
    assert load(folder, "classify", OLD).notes == (note,)


def test_regression_head_is_not_a_class(tmp_path):
    folder = trained("bert", "classify", tmp_path / "model", (), problem_type="regression")
    two = load(folder, "classify", ("bad", "good"))
    assert two.notes == ("the head of the model, which was trained to give a number, is not used",)
    number = load(folder, "classify", (), problem_type="regression")
    assert number.notes == () and torch.equal(logits(number), logits(load(folder, "classify", (), keep=False)))


@pytest.mark.parametrize(
    ("names", "new", "values", "in_order", "found"),
    [
        (("LABEL_0", "LABEL_1"), ("neg", "pos"), ("0", "1"), False, (0, 1)),
        (("LABEL_0", "LABEL_1"), ("1", "0"), ("1", "0"), False, (1, 0)),
        (("LABEL_0", "LABEL_1"), ("1", "2"), ("1", "2"), False, (None, None)),  # the indices in LABEL_n do not count as values
        (("LABEL_0", "LABEL_1"), ("neg", "pos"), ("neg", "pos"), False, (None, None)),
        (("LABEL_0", "LABEL_1"), ("neg", "pos"), ("neg", "pos"), True, (0, 1)),
        (("LABEL_0", "LABEL_1"), ("neg", "pos", "mixed"), ("neg", "pos", "mixed"), True, (None,) * 3),
        (("LABEL_0", "LABEL_1"), ("LABEL_1", "LABEL_0"), ("LABEL_1", "LABEL_0"), False, (1, 0)),
        (("NEGATIVE", "POSITIVE"), ("negative", "positive"), ("negative", "positive"), False, (0, 1)),
        (("NEGATIVE", "POSITIVE"), (" positive", "Negative"), (" positive", "Negative"), True, (1, 0)),
        (("Us", "them"), ("US", "us", "them"), ("US", "us", "them"), False, (None, None, 1)),
        (("US", "Us"), ("US", "us"), ("US", "us"), False, (0, 1)),
        (("B-PER", "I-PER", "O"), ("O", "B-PER", "I-PER"), ("O", "B-PER", "I-PER"), False, (2, 0, 1)),
        (("a", "b"), ("c", "d"), ("c", "d"), False, (None, None)),
    ],
)
def test_matching_of_classes(names, new, values, in_order, found):
    assert match(Classes(names), Classes(new, values), in_order=in_order) == found


def test_classes_match_by_value_where_names_differ():
    """The model has the names `negative` and `positive` for 0 and 1; the file has 0 and 1."""
    old = Classes(("positive", "negative"), ("1", "0"))
    assert match(old, Classes(("0", "1"), ("0", "1"))) == (1, 0)
    assert match(old, Classes(("0", "1", "2"), ("0", "1", "2"))) == (None,) * 3


def test_class_names_of_a_third_party_config_are_used(tmp_path):
    folder = as_third_party_folder(trained("roberta", "classify", tmp_path / "model"), names=["Joy", "Anger", "Fear"])
    before = logits(load(folder, "classify", OLD, keep=False))
    moved = load(folder, "classify", ("anger", "fear", "joy"))
    assert same(logits(moved), before[:, [1, 2, 0]])
    unnamed = as_third_party_folder(
        trained("roberta", "classify", tmp_path / "unnamed"), names=["LABEL_0", "LABEL_1", "LABEL_2"]
    )
    assert "--set labels=A,B in the order of the model keeps it" in load(unnamed, "classify", OLD).notes[0]
    in_given_order = load(unnamed, "classify", OLD, in_order=True)
    assert torch.equal(logits(in_given_order), logits(load(unnamed, "classify", OLD, keep=False)))
    assert "takes 'joy' for 'LABEL_0'" in in_given_order.notes[0]


def test_head_with_the_prefix_of_torch_compile_is_found(tmp_path):
    folder = trained("bert", "classify", tmp_path / "model")
    before = logits(load(folder, "classify", OLD, keep=False))
    weights = {f"_orig_mod.{name}": tensor for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert same(logits(load(folder, "classify", ("fear", "joy", "anger"))), before[:, [2, 0, 1]])


@pytest.mark.parametrize(
    ("task", "rows", "labels"),
    [
        ("classify", families.classify_rows, ["good", "bad"]),
        ("tag", families.tag_rows, ["B-PER", "O", "I-LOC", "B-LOC", "I-PER"]),
    ],
)
def test_fine_tuning_a_trained_model_starts_from_its_head(task, rows, labels, tmp_path):
    """One step with a tiny learning rate: the metrics are those of the first run."""
    first, _ = families.trained_run("bert", task)
    path = str(families.write_jsonl(tmp_path / "rows.jsonl", rows()))
    config = {**BASE, "train": path, "validation": path, "lr": 1e-9, "max_steps": 1, "labels": labels}
    events = []
    out = tmp_path / "second"
    second = workflow.finetune(str(first.run.path), config=config, head=task, out=out, progress=events.append)
    best = {"classify": "accuracy", "tag": "entity_f1"}[task]
    assert first.metrics["validation"][best] > 0.9
    assert second.metrics["validation"][best] == first.metrics["validation"][best]
    assert any("keeps" in event.text for event in events)
    shutil.rmtree(out / "model")
    (out / "metrics.json").unlink()
    resumed = workflow.resume(out, offline=True)
    assert {**resumed.metrics["validation"]} == {**second.metrics["validation"]}
