"""The work of each kind, in this process: what hftool's arm computes is what the reference computes."""

import json

import pytest
import torch

from hftool.benchmark.infer import comparable
from hftool.benchmark.job import Job
from hftool.benchmark.peers.gguf_file import tensors
from hftool.benchmark.worker import commands_of_arm, commands_of_reference, open_arm, open_work
from hftool.errors import UsageError
from support import families


def job(kind, model, **more):
    return Job(kind, str(model), limit=8, offline=True, **more)


def both(given, variant="auto", engine="hftool"):
    """-> the facts of the work, the comparison with the reference, and what a round of the arm measures."""
    work = open_work(given)
    reference, arm = commands_of_reference(work), commands_of_arm(open_arm(open_work(given), given, engine, variant))
    outputs = json.loads(json.dumps(arm["outputs"](None)["outputs"]))
    name = engine if variant == "auto" else f"{engine} {variant}"
    return reference["facts"](None), reference["compare"]([name, outputs]), arm["round"](None) | arm["facts"](None)


@pytest.mark.parametrize("head", ["classify", "tag", "answer", "fill"])
def test_answers_of_hftool_are_those_of_the_padded_model(head):
    model = families.folder("bert") if head == "fill" else families.run_of(head)
    facts, compared, measured = both(job("infer", model))
    assert facts["head"] == head and facts["rows"] == measured["units"] == 8 and facts["gflop"] > 0
    assert compared == {"same": 1.0, "fault": ""}
    assert measured["seconds"] > 0 and 0 <= measured["padding"] < 1 and measured["peak_memory"] > 2**20


@pytest.fixture
def prompts(tmp_path):
    """A file of short prompts."""
    path = tmp_path / "prompts.tsv"
    path.write_text("prompt\n" + "a warm film\nthe cast\n" * 4, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(("kind", "variant"), [("gpt2", "auto"), ("gpt2", "bf16"), ("t5", "auto")])
def test_generated_texts_are_those_of_transformers(kind, variant, prompts):
    given = job("generate", families.folder(kind), batch_size=4, max_new_tokens=6, file=prompts if kind == "gpt2" else None)
    facts, compared, measured = both(given, variant)
    assert compared["fault"] == "" and (variant != "auto" or compared["same"] == 1.0)
    assert facts["weights_of_unit"] * 4 * 4 == pytest.approx(facts["step_megabytes"]["fp32"] * 1e6, abs=1e5)
    assert 0 < measured["units"] <= 8 * 6 and measured["forwards"] > 0


def test_a_text_that_leaves_the_greedy_path_is_refused(prompts):
    work = open_work(job("generate", families.folder("gpt2"), batch_size=4, max_new_tokens=6, file=prompts))
    wrong = [[(token + 1) % 5 for token in row] for row in work.expected]
    assert "the largest logit" in work.compare("hftool", wrong)["fault"]
    assert work.compare("hftool", work.expected)["fault"] == ""


def test_labels_of_another_model_are_refused(tiny_run):
    work = open_work(job("infer", tiny_run))
    wrong = [{"positive": "negative", "negative": "positive"}[label] for label in work.expected]
    assert work.compare("pipeline", wrong) == {"same": 0.0, "fault": "only 0.0% of its answers are those of fp32"}


@pytest.mark.parametrize("variant", ["", "in batches"])
def test_the_pipeline_gives_the_same_labels(variant, tiny_run):
    _, compared, measured = both(job("infer", tiny_run, batch_size=4), variant, "pipeline")
    assert compared["same"] == 1.0
    assert measured["padding"] == 0 if not variant else measured["padding"] > 0


def test_training_follows_the_steps(tiny_bert):
    given = job("train", tiny_bert, batch_size=4)
    facts, compared, measured = both(given)
    assert facts["rows"] == measured["units"] == 8 and measured["seconds"] > 0
    assert compared["fault"] == "" and compared["loss"] != compared["before"]


def test_training_that_diverges_is_refused(tiny_bert):
    work = open_work(job("train", tiny_bert, batch_size=4))
    assert "before training" in work.compare("hftool", {"loss": 2 * work.before})["fault"]


def test_trainer_learns_the_same_rows(tiny_bert):
    facts, compared, measured = both(job("train", tiny_bert, batch_size=4), "", "trainer")
    assert measured["units"] == facts["rows"] and compared["fault"] == ""


@pytest.mark.parametrize(
    ("kind", "model", "says"),
    [
        ("infer", "gpt2", "generates"),
        ("generate", "bert", "generates no text"),
        ("serve", "bert", "classifiers of single texts"),
    ],
)
def test_a_model_that_cannot_do_the_work(kind, model, says):
    with pytest.raises(UsageError, match=says):
        open_work(job(kind, families.folder(model)))


@pytest.mark.parametrize("kind", ["infer", "train"])
def test_int8_is_a_precision_of_generation(kind, tiny_run):
    given = job(kind, tiny_run)
    with pytest.raises(UsageError, match="int8"):
        open_arm(open_work(given), given, "hftool", "int8")


def test_a_pipeline_without_the_answers_of_a_head_is_left_out():
    given = job("infer", families.run_of("tag"))
    with pytest.raises(UsageError, match="no pipeline"):
        open_arm(open_work(given), given, "pipeline", "")


def test_rows_of_a_file(tiny_run, tmp_path):
    path = tmp_path / "films.tsv"
    path.write_text("sentence\tlabel\n" + "a warm film\t1\n\t0\na dull film\t0\n" * 9, encoding="utf-8")
    work = open_work(job("infer", tiny_run, file=str(path)))
    assert [row["text"] for row in work.rows] == ["a warm film", "a dull film"] * 4 and work.origin == "films.tsv"


def test_what_is_compared_is_what_was_chosen():
    assert comparable({"label": "a", "probability": 0.9}) == "a"
    assert comparable({"masks": [{"fills": [{"token": "x", "probability": 0.5}, {"token": "y"}]}]}) == ["x"]
    assert comparable({"tags": ["O"], "entities": [], "tokens": ["a"]}) == ["O"]


@pytest.fixture
def labelled(tmp_path):
    """A file of texts with labels, of which the model does not know the last."""
    path = tmp_path / "films.tsv"
    path.write_text("sentence\tlabel\na warm film\t1\na dull film\t0\na dull, dull film\t0\nwhat a film\t7\n", encoding="utf-8")
    return str(path)


def test_accuracy_on_labels(tiny_run, labelled):
    """It is the share of the labels that the model knows; without labels there is none."""
    work = open_work(job("infer", tiny_run, file=labelled))
    assert list(work.labels) == ["positive", "negative", "negative", ""]
    right = [label or "positive" for label in work.labels]
    assert work.compare("hftool", right)["accuracy"] == 1.0
    assert work.compare("hftool", ["positive", "positive", *right[2:]])["accuracy"] == pytest.approx(2 / 3)


def test_a_compiled_model_gives_the_same_labels(tiny_run, monkeypatch):
    """With what torch.compile receives, as compiling takes half a minute."""
    monkeypatch.setattr("torch.compile", lambda model, dynamic: model)
    _, compared, measured = both(job("infer", tiny_run, batch_size=4), "", "inductor")
    assert compared["same"] >= 0.8 and measured["format"] in ("bf16", "fp32")


def test_the_file_of_llamacpp_has_each_weight_of_a_gpt2_once():
    """Matrices of Conv1D are transposed, so that a token's hidden state times the matrix is what transformers computes."""
    model = open_work(job("generate", families.folder("gpt2"))).loaded.model
    named = dict(tensors(model))
    block = model.transformer.h[1]
    assert len(named) == 5 + 12 * len(model.transformer.h) == len({*named})
    assert sum(weight.numel() for weight in named.values()) == sum(
        weight.numel() for weight in (*model.parameters(), model.lm_head.weight)
    )
    states = torch.randn(3, model.config.n_embd)
    expected = block.attn.c_attn(states)
    found = torch.nn.functional.linear(states, named["blk.1.attn_qkv.weight"], named["blk.1.attn_qkv.bias"])
    assert torch.allclose(found, expected, atol=1e-6) and torch.equal(named["blk.1.ffn_norm.weight"], block.ln_2.weight)
