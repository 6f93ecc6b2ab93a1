"""An architecture that the registry has no row for: its facts come from its config, and that is said."""

import families
import pytest

from hftool import workflow
from hftool.errors import UsageError

FACTS = "'electra' is no family that hftool knows: its facts are taken from the model's config"


@pytest.mark.parametrize("lesson", ["classify", "regression", "pairs", "tag", "answer", "fill", "embed"])
def test_it_learns_by_the_same_heads(lesson):
    result, said = families.learnt("electra", lesson)
    measured = result.metrics["validation"]
    assert measured["perplexity"] < 3 if lesson == "fill" else measured["loss"] < 0.05
    assert said.count(FACTS) == 1
    texts, pairs = families.asked(lesson, families.LESSONS[lesson][1](4))
    events = []
    assert len(workflow.infer(str(result.run.path), texts, pairs=pairs, progress=events.append)) == 4
    assert FACTS in [event.text for event in events]


@pytest.mark.parametrize(("head", "able"), [("text2text", "'t5', 'mt5'"), ("generate", "'gpt2'")])
def test_a_head_that_it_cannot_do_is_refused(head, able, tmp_path):
    """Generating, too: transformers has a class for it, in which each token sees those that it is to predict."""
    folder = str(families.folder("electra"))
    rows = families.write_jsonl(tmp_path / "rows.jsonl", families.LESSONS[head][1]())
    with pytest.raises(UsageError, match=f"family electra, which cannot do '{head}'") as caught:
        workflow.load(folder, head=head)
    assert caught.value.code == 2
    assert caught.value.hint == f"Families that can: {able}"
    with pytest.raises(UsageError, match=f"cannot do '{head}'"):
        workflow.finetune(folder, str(rows), head=head, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_it_does_what_its_config_says(tmp_path):
    loaded = workflow.load(str(families.folder("electra")))
    assert loaded.card.head == "fill" and not loaded.new_weights
    assert len(workflow.infer(loaded, ["the [MASK] cat"])[0]["masks"][0]["fills"]) == 5


def test_an_encoder_with_a_class_that_writes_is_no_writer():
    """Every family of four, too, has such classes in transformers; only the decoder is offered to write."""
    assert {kind: "generate" in workflow.info(str(families.folder(kind)))["heads"] for kind in families.KINDS} == {
        "bert": False,
        "roberta": False,
        "gpt2": True,
        "t5": False,
        "electra": False,
        "xlm-roberta": False,
    }
