"""The head of a model when none is given: by its model card, its row of the registry, or the class that its config names."""

import json
import shutil

import numpy as np
import pytest

from hftool import workflow
from hftool.errors import ConfigError, UsageError
from hftool.models import read_head_config
from hftool.workflow import _infer
from support import families


def copy(source, folder, **changes):
    """A model that somebody else made: no card, and a config that says `changes`."""
    shutil.copytree(source, folder)
    for name in ("hftool.json", "SHA256SUMS"):
        (folder / name).unlink(missing_ok=True)
    config = {**json.loads((folder / "config.json").read_text()), **changes}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("kind", "text", "keys"),
    [
        ("bert", "the [MASK] cat", {"text", "masks"}),
        ("roberta", "the <mask> cat", {"text", "masks"}),
        ("xlm-roberta", "the <mask> cat", {"text", "masks"}),
        ("gpt2", "the red cat", {"text", "finish"}),
        ("t5", "translate: red", {"text", "finish"}),
    ],
)
def test_a_pre_trained_model_does_what_its_class_does(kind, text, keys):
    assert set(workflow.infer(str(families.folder(kind)), [text])[0]) == keys


@pytest.mark.parametrize(
    ("kind", "head_case"),
    [
        ("bert", "tag"),
        ("bert", "answer"),
        ("roberta", "classify"),
        ("gpt2", "generate"),
        ("t5", "text2text"),
        ("bert", "regression"),
    ],
)
def test_a_model_of_another_tool_does_its_trained_task(kind, head_case, tmp_path):
    """Without the card the class in the config decides; labels are what the config calls them."""
    model = families.trained_run(kind, head_case)[0].run.model
    texts, pairs = families.inputs_of(head_case, families.HEAD_CASES[head_case][1](4))
    reference = workflow.infer(str(copy(model, tmp_path / "theirs")), texts, pairs=pairs)
    for answer, expected in zip(reference, workflow.infer(str(model), texts, pairs=pairs), strict=True):
        if head_case == "generate":  # how many tokens were wanted stood in the card
            assert answer["text"].startswith(expected["text"])
        elif head_case == "tag":
            assert answer == expected
        elif head_case == "regression":  # the unit stood in the card
            mean, scale = read_head_config(model).label_scale
            assert answer["score"] * scale + mean == pytest.approx(expected["score"], abs=1e-6)
        else:
            assert next(iter(answer.values())) == pytest.approx(next(iter(expected.values())))


def test_a_sentence_model_embeds_whatever_class_it_was_trained_from(tmp_path):
    folder = copy(families.folder("bert"), tmp_path / "minilm")
    (folder / "modules.json").write_text("[]")
    [answer] = workflow.infer(str(folder), ["the red cat"])
    assert answer["embedding"].shape == (48,)
    assert np.array_equal(workflow.embed(str(folder), ["the red cat"])[0], answer["embedding"])


def test_a_bare_body_embeds_and_fills_nothing(tiny_bert):
    """tiny_bert is a BertModel: it has no head to fill masks with, and a random one never answers."""
    assert set(workflow.infer(str(tiny_bert), ["a film"])[0]) == {"embedding"}
    with pytest.raises(ConfigError, match="has no trained head"):
        workflow.fill(str(tiny_bert), ["a [MASK]"])


@pytest.mark.parametrize("word", ["minilm", "bert"])
def test_a_registry_name_uses_the_head_of_its_row(word):
    """all-MiniLM-L6-v2 embeds, though it is a BERT; what stands in for `bert` where masks are filled fills masks."""
    loaded = workflow.load(word, offline=True, fallback=True)
    assert loaded.head_config.head == {"minilm": "embed", "bert": "fill"}[word]
    assert not loaded.new_weights


@pytest.mark.parametrize(
    ("ask", "head"),
    [
        (lambda model: workflow.classify(model, ["a"]), "classify"),
        (lambda model: workflow.tag(model, ["a"]), "tag"),
        (lambda model: workflow.answer(model, ["a"], ["b"]), "answer"),
        (lambda model: workflow.fill(model, ["a [MASK]"]), "fill"),
        (lambda model: workflow.embed(model, ["a"]), "embed"),
        (lambda model: workflow.similar(model, "a", "b"), "embed"),
        (lambda model: workflow.generate(model, ["a"]), "generate"),
        (lambda model: workflow.summarize(model, ["a"]), "text2text"),
        (lambda model: workflow.translate(model, ["a"], to="de"), "text2text"),
        (lambda model: _infer.text2text(model, ["a"]), "text2text"),
    ],
)
def test_a_model_that_was_loaded_for_one_thing_does_no_other(ask, head):
    other = families.trained_run("bert", "classify" if head != "classify" else "tag")[0].run.path
    loaded = workflow.load(str(other))
    with pytest.raises(UsageError, match=f"the model was loaded to {loaded.head_config.head}, not to {head}"):
        ask(loaded)
    if head != "embed":  # which takes no more than the body
        with pytest.raises((UsageError, ConfigError), match="no trained head|cannot do|was trained to"):
            ask(str(other))


def test_weights_of_labels_never_tag_words():
    """BERT calls both its classifier, and two labels fit: only the card, or else the class in the config, tells them apart."""
    with pytest.raises(UsageError, match="was trained to classify, not to tag"):
        workflow.load(str(families.trained_run("bert", "classify")[0].run.model), head="tag")
    with pytest.raises(UsageError, match="was trained to tag, not to classify"):
        workflow.load(str(families.trained_run("bert", "tag")[0].run.model), head="classify")


def test_a_body_that_lacks_layers_is_no_model_that_embeds(tmp_path):
    """A model without a pooler is accepted: its head does not read one."""
    folder = copy(families.folder("bert"), tmp_path / "deeper", num_hidden_layers=3)
    assert not workflow.load(str(families.folder("bert")), head="embed").new_weights
    with pytest.raises(ConfigError, match="of another architecture: they lack encoder.layer.2"):
        workflow.load(str(folder), head="embed")


def test_pairs_and_decoding_are_for_models_that_take_them():
    tagger, writer = (str(families.trained_run(*pair)[0].run.path) for pair in (("bert", "tag"), ("gpt2", "generate")))
    answerer = str(families.trained_run("bert", "answer")[0].run.path)
    with pytest.raises(UsageError, match="a model that is to tag takes single texts"):
        workflow.infer(tagger, ["a"], pairs=["b"])
    with pytest.raises(UsageError, match="a model that is to tag generates no text"):
        workflow.infer(tagger, ["a"], sampling={"samples": 2})
    with pytest.raises(UsageError, match="a model that is to generate takes single texts"):
        workflow.infer(writer, ["a"], pairs=["b"])
    with pytest.raises(UsageError, match="needs a context"):
        workflow.infer(answerer, ["who went ?"])
    with pytest.raises(UsageError, match="unknown sampling parameter 'temprature'"):
        workflow.infer(writer, ["a"], sampling={"temprature": 1})


def test_decoding_is_obeyed():
    writer = workflow.load(str(families.folder("gpt2")))
    settings = {"max_new_tokens": 5, "temperature": 1.0, "samples": 3, "seed": 1}
    one, again, other = (
        workflow.infer(writer, ["the red"], sampling={**settings, "seed": seed})[0]["samples"] for seed in (1, 1, 2)
    )
    assert len(one) == 3 and one == again != other
    whole = workflow.SamplingParams(max_new_tokens=2)
    [answer] = workflow.infer(writer, ["the red"], sampling=whole)
    assert len(writer.tokenizer(answer["text"])["input_ids"]) <= 2
