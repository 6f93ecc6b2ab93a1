"""hftool/workflow/arguments.py: what Python callers give, taken or refused by name; never [] or an error of another thing."""

import importlib
import io
from pathlib import Path

import numpy as np
import pandas
import pytest

from hftool import workflow
from hftool.errors import HftoolError, UsageError
from hftool.storage.run_folder import Run
from hftool.workflow.arguments import model_name, shown, task_name, text_list
from recipes import bert

TEXTS = ["a warm funny film", "a cold dull film"]


@pytest.fixture(scope="module")
def loaded(tiny_run):
    return workflow.load(str(tiny_run))


@pytest.fixture(scope="module")
def expected(loaded):
    return [answer["label"] for answer in workflow.infer(loaded, TEXTS)]


@pytest.mark.parametrize(
    "given",
    [
        lambda: (text for text in TEXTS),
        lambda: map(str, TEXTS),
        lambda: filter(None, TEXTS),
        lambda: iter(TEXTS),
        lambda: tuple(TEXTS),
        lambda: io.StringIO("\n".join(TEXTS) + "\n"),
        lambda: np.array(TEXTS),
        lambda: pandas.DataFrame({"text": TEXTS})["text"],
    ],
    ids=["generator", "map", "filter", "iterator", "tuple", "file", "array", "column"],
)
def test_texts_may_come_in_any_order_that_there_is(loaded, expected, given):
    assert len(expected) == 2
    assert [answer["label"] for answer in workflow.infer(loaded, given())] == expected


def test_pairs_and_other_verbs_take_them_too(loaded, expected):
    assert [a["label"] for a in workflow.classify(loaded, (text for text in TEXTS))] == expected
    assert [len(t.ids) for t in workflow.tokenize(loaded, iter(TEXTS), pairs=iter(TEXTS))] == [
        len(t.ids) for t in workflow.tokenize(loaded, TEXTS, pairs=TEXTS)
    ]


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (
            pandas.DataFrame({"review": TEXTS}),
            "texts must be a list of texts, not a DataFrame of 2. Give one column of it, such as list(table['review'])",
        ),
        ({"text": "a"}, "texts must be a list of texts, not a dict of 1. Give texts as a list of texts"),
        ({"a", "b"}, "texts must be a list of texts, not a set of 2. Give texts as a list of texts"),
        (b"a warm film", "texts must be a list of texts, not bytes. Give texts as a list of texts"),
        (5, "texts must be a list of texts, not 5. Give texts as a list of texts"),
        (None, "texts must be a list of texts, not None. Give texts as a list of texts"),
        (["a", 1.5], "texts must be a list of texts, but texts[1] is 1.5. Give texts as a list of texts"),
        ([{"text": "a"}], "texts must be a list of texts, but texts[0] is a dict of 1. Give texts as a list of texts"),
        (io.BytesIO(b"a\n"), "texts must be a list of texts, but texts[0] is bytes. Give texts as a list of texts"),
    ],
)
def test_what_is_no_list_of_texts_is_named(loaded, given, line):
    with pytest.raises(UsageError) as caught:
        bert.infer(loaded, given)
    assert str(caught.value) == line


@pytest.mark.parametrize("text", ["a warm film", "x" * 70])
def test_one_text_instead_of_a_list_is_an_error(text):
    with pytest.raises(UsageError, match="texts must be a list of texts, not the text '"):
        text_list(text)


def test_a_data_set_is_no_list_of_texts():
    import datasets

    rows = datasets.Dataset.from_dict({"text": TEXTS})
    with pytest.raises(UsageError, match=r"not a Dataset of 2. Give one column of it, such as list\(table\['text'\]\)"):
        text_list(rows)
    assert text_list(rows["text"]) == TEXTS


# ---- models and tasks


def test_a_run_and_a_result_are_models(tiny_run, expected):
    result = workflow.Result(Run(tiny_run), {}, 0.0, {})
    for model in (result, Run(tiny_run), tiny_run, str(tiny_run)):
        assert [answer["label"] for answer in workflow.infer(model, TEXTS)] == expected
        assert model_name(model) == str(tiny_run)
    assert bert.load(result).head_config.labels == ("negative", "positive")
    assert workflow.info(result)["head"] == "classify"
    assert bert.evaluate(result, split="validation").metrics["rows"] == 16


def test_a_run_is_verified_pushed_and_served_as_its_folder_is(tiny_run):
    named = importlib.import_module("hftool.workflow._serve").named
    assert workflow.verify(Run(tiny_run)).kind == "run"
    assert workflow.push(Run(tiny_run), "me/film", dry_run=True).repo == "me/film"
    assert named([Run(tiny_run)]) == named([tiny_run]) == {tiny_run.name: str(tiny_run)}


@pytest.mark.parametrize("models", ["bert-mini", Run(Path("run")), 5, None])
def test_models_to_serve_are_a_list(models):
    with pytest.raises(UsageError, match="models must be a list of models, not") as caught:
        workflow.serve(models)
    assert caught.value.hint == "Put it in a list: [MODEL]"


@pytest.mark.parametrize(
    "call", [workflow.verify, lambda model: workflow.push(model, "me/film"), lambda one: workflow.serve([one])]
)
@pytest.mark.parametrize("model", [None, 5, ["bert"]])
def test_what_is_no_model_is_named_by_each(call, model):
    with pytest.raises(UsageError, match="the model is "):
        call(model)


@pytest.mark.parametrize("call", [bert.load, workflow.info, bert.evaluate, bert.finetune, workflow.resume])
def test_a_loaded_model_is_no_name(loaded, call):
    with pytest.raises(UsageError, match=r"a loaded model is given where its name or folder is needed. A name of"):
        call(loaded)


@pytest.mark.parametrize("model", [None, 5, ["bert"], {"model": "bert"}, b"bert"])
def test_what_is_no_model_is_named(model):
    with pytest.raises(UsageError, match="the model is ") as caught:
        workflow.load(model)
    assert shown(model) in str(caught.value)


@pytest.mark.parametrize(
    ("task", "what"),
    [
        ({"train": "train.tsv"}, "not a dict of 1. Rows are a list of dicts, a pandas DataFrame or a datasets.Dataset"),
        (["a", "b"], "not a list of 2. Rows are"),
        (iter(["a"]), "not a list_iterator. Rows are"),
        (5, "not 5. Rows are"),
    ],
)
def test_what_is_no_task_is_named(task, what):
    for call in (bert.finetune, workflow.evaluate):
        with pytest.raises(UsageError, match=f"a task is a name of `hftool tasks`, .* a folder or rows, {what}"):
            call("bert-mini", task)


def test_paths_are_taken(tmp_path):
    with pytest.raises(HftoolError, match="no-such-file"):
        workflow.finetune("bert-mini", tmp_path / "no-such-file.csv")
    assert task_name(tmp_path) == str(tmp_path)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"max_steps": 2}, "'max_steps' is a knob and no argument. Give it in config: config={'max_steps': 2}"),
        (
            {"columns": {"text": "a"}},
            "'columns' is a knob and no argument. Give it in config: config={'columns': {'text': 'a'}}",
        ),
        ({"learning_rate": 1e-3}, "unknown argument 'learning_rate'. Did you mean 'lr'?"),
        ({"num_train_epochs": 1}, "unknown argument 'num_train_epochs'. Did you mean 'epochs'?"),
        ({"outt": "x"}, "unknown argument 'outt'. Did you mean 'out'?"),
        (
            {"config": {"columns": {"text": ["title", "body"]}}},
            "columns must be pairs of role and column: 'text' is ['title', 'body']. Such as {text: sentence, label: stars}",
        ),
        ({"config": {"max_stepz": 2}}, "unknown key 'max_stepz'. Did you mean 'max_steps'?"),
    ],
)
def test_settings_are_separated_from_arguments(given, line):
    with pytest.raises(UsageError) as caught:
        workflow.finetune("bert-mini", "sst2-mini", **given)
    assert str(caught.value) == line


def test_the_recipe_raises_the_same_errors():
    with pytest.raises(UsageError, match=r"columns must be pairs of role and column: 'text' is \['title', 'body'\]"):
        bert.finetune("bert-mini", "sst2-mini", columns={"text": ["title", "body"]})
