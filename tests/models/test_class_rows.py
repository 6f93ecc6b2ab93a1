"""A head that is trained on: each class keeps its own row, whatever the order and the number of the new classes."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from hftool import workflow
from hftool.models import HeadConfig, auto_class_of, keep_classes, load_model, read_config, save_model
from hftool.models.class_rows import Classes, match
from support import families

OLD = ("joy", "anger", "fear")
HEADS = [(kind, head) for kind in ("bert", "roberta", "gpt2", "t5", "electra") for head in ("classify", "tag")]
BASE = {"validation": "", "allow_leak": True, "batch_size": 8, "warmup": 0, "schedule": "constant", "patience": 0}


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def trained(kind, head, folder, labels=OLD, **head_config):
    """A model folder with a head of its own, none of whose rows are alike."""
    made = load(families.folder(kind), head, labels, keep=False, **head_config)
    folder.mkdir()
    save_model(made.model, made.tokenizer, made.head_config, folder)
    return folder


def load(folder, head, labels, *, keep=True, in_order=False, **head_config):
    config = read_config(folder)
    made = HeadConfig(
        head=head,
        labels=tuple(labels),
        label_values=tuple(head_config.pop("label_values", labels)),
        max_length=64,
        **head_config,
    )
    loaded = load_model(folder, auto_class_of(head, config), head_config=made, new_head=True)
    return keep_classes(loaded, folder, config, in_order=in_order) if keep else loaded


def logits(loaded):
    ids = torch.arange(10, 22).view(2, 6)
    with torch.no_grad():
        return loaded.model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits


def same(one, other):
    """But for the rounding of products of other shapes."""
    return torch.allclose(one, other, atol=1e-6)


def as_stranger(folder, **names):
    """The folder without its card, its classes called otherwise."""
    (folder / "hftool.json").unlink()
    config = json.loads((folder / "config.json").read_text())
    if names:
        config["id2label"] = {str(i): name for i, name in enumerate(names["names"])}
        config["label2id"] = {name: i for i, name in enumerate(names["names"])}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(("kind", "head"), HEADS)
def test_rows_go_with_the_names_of_their_classes(kind, head, tmp_path):
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
def test_classes_of_other_names_begin_anew(kind, head, tmp_path):
    """As many as before: they would load by place without a word."""
    folder = trained(kind, head, tmp_path / "model")
    other = load(folder, head, ("x", "y", "z"))
    assert "the head is new" in other.notes[0] and other.new_weights
    weights = load_file(folder / "model.safetensors")
    for name in other.new_weights:
        assert not torch.equal(other.model.state_dict()[name], weights[name]) or name.endswith("bias")
    assert load(folder, head, ("x", "y")).new_weights == other.new_weights


def test_a_head_for_another_answer_is_no_start(tmp_path):
    """BERT calls the weights of both heads the same."""
    folder = trained("bert", "classify", tmp_path / "model")
    tagger = load(folder, "tag", OLD)
    assert tagger.notes == ("the head of the model, which was trained to classify, is not used",)
    assert not torch.equal(tagger.model.classifier.weight, load_file(folder / "model.safetensors")["classifier.weight"])


@pytest.mark.parametrize(
    ("kind", "first", "then"),
    [("bert", "classify", "embed"), ("roberta", "classify", "tag"), ("roberta", "tag", "answer"), ("gpt2", "tag", "generate")],
)
def test_a_head_that_is_left_out_is_named(kind, first, then, tmp_path):
    folder = trained(kind, first, tmp_path / "model")
    labels = OLD if then in ("classify", "tag") else ()
    assert load(folder, then, labels).notes == (f"the head of the model, which was trained to {first}, is not used",)
    assert load(families.folder(kind), then, labels).notes == ()


def test_a_head_of_another_make_is_named(tmp_path):
    """transformers' T5 for sequences runs the decoder, too, and calls its head otherwise."""
    from transformers import T5ForSequenceClassification

    folder = tmp_path / "model"
    T5ForSequenceClassification.from_pretrained(families.folder("t5"), num_labels=3).save_pretrained(folder)
    shutil.copy(families.folder("t5") / "tokenizer.json", folder)
    shutil.copy(families.folder("t5") / "tokenizer_config.json", folder)
    said = "the head of the model has other parts than that of T5ForTokenClassification: it is not used"
    assert load(folder, "classify", OLD).notes == (said,)


def test_a_number_is_no_class(tmp_path):
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
        (("LABEL_0", "LABEL_1"), ("1", "2"), ("1", "2"), False, (None, None)),  # not the places that they count from 0
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
def test_what_counts_as_the_same_class(names, new, values, in_order, found):
    assert match(Classes(names), Classes(new, values), in_order=in_order) == found


def test_values_tell_where_names_do_not():
    """A model of `negative` and `positive` that were 0 and 1, and a file that has just these."""
    old = Classes(("positive", "negative"), ("1", "0"))
    assert match(old, Classes(("0", "1"), ("0", "1"))) == (1, 0)
    assert match(old, Classes(("0", "1", "2"), ("0", "1", "2"))) == (None,) * 3


def test_the_names_in_the_config_of_a_stranger_count(tmp_path):
    folder = as_stranger(trained("roberta", "classify", tmp_path / "model"), names=["Joy", "Anger", "Fear"])
    before = logits(load(folder, "classify", OLD, keep=False))
    moved = load(folder, "classify", ("anger", "fear", "joy"))
    assert same(logits(moved), before[:, [1, 2, 0]])
    unnamed = as_stranger(trained("roberta", "classify", tmp_path / "unnamed"), names=["LABEL_0", "LABEL_1", "LABEL_2"])
    assert "--set labels=A,B in the order of the model keeps it" in load(unnamed, "classify", OLD).notes[0]
    kept = load(unnamed, "classify", OLD, in_order=True)
    assert torch.equal(logits(kept), logits(load(unnamed, "classify", OLD, keep=False)))
    assert "takes 'joy' for 'LABEL_0'" in kept.notes[0]


def test_a_head_that_torch_compile_renamed_is_found(tmp_path):
    folder = trained("bert", "classify", tmp_path / "model")
    before = logits(load(folder, "classify", OLD, keep=False))
    weights = {f"_orig_mod.{name}": tensor for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert same(logits(load(folder, "classify", ("fear", "joy", "anger"))), before[:, [2, 0, 1]])


@pytest.mark.parametrize(
    ("lesson", "rows", "labels"),
    [
        ("classify", families.classify_rows, ["good", "bad"]),
        ("tag", families.tag_rows, ["B-PER", "O", "I-LOC", "B-LOC", "I-PER"]),
    ],
)
def test_a_trained_model_goes_on_from_what_it_knows(lesson, rows, labels, tmp_path):
    """One step of no length: what is measured is what was learnt before."""
    first, _ = families.learnt("bert", lesson)
    path = str(families.write_jsonl(tmp_path / "rows.jsonl", rows()))
    config = {**BASE, "train": path, "validation": path, "lr": 1e-9, "max_steps": 1, "labels": labels}
    events = []
    out = tmp_path / "again"
    second = workflow.finetune(str(first.run.path), config=config, head=lesson, out=out, progress=events.append)
    best = {"classify": "accuracy", "tag": "entity_f1"}[lesson]
    assert first.metrics["validation"][best] > 0.9
    assert second.metrics["validation"][best] == first.metrics["validation"][best]
    assert any("keeps" in event.text for event in events)
    shutil.rmtree(out / "model")
    (out / "metrics.json").unlink()
    again = workflow.resume(out, offline=True)
    assert {**again.metrics["validation"]} == {**second.metrics["validation"]}
