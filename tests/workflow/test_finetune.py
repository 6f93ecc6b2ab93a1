"""finetune and save: from names and files to a model that answers."""

import json
from pathlib import Path

import pytest

from conftest import film_rows, write_tsv
from hftool import workflow
from hftool.config import read_settings
from hftool.errors import ConfigError, HftoolError, OutputUnavailable, UsageError
from hftool.progress import Event
from hftool.storage.checksums import sha256
from support import families


def knobs(folder, **more):
    return {
        "train": str(folder / "train.tsv"),
        "validation": str(folder / "dev.tsv"),
        "epochs": 1,
        "batch_size": 16,
        "lr": 1e-3,
        **more,
    }


def weights(run):
    return sha256(Path(run) / "model" / "model.safetensors")


def test_minilm_learns_the_bundled_task_and_answers(tmp_path):
    """The main job on real weights: better than the majority by far, and the saved model answers with names."""
    events: list[Event] = []
    result = workflow.finetune(
        "bert",
        "sst2",
        config={"limit": 400, "epochs": 2, "lr": 2e-4, "eval_steps": 1000},
        out=tmp_path / "run",
        offline=True,
        fallback=True,
        progress=events.append,
    )
    assert result.metrics["validation"]["majority_baseline"]["accuracy"] == pytest.approx(0.5, abs=0.1)
    assert result.metrics["validation"]["accuracy"] > 0.68
    message = [event.text for event in events if event.kind == "notice"]
    assert {message[0].split("'")[1], message[1].split("'")[1]} == {"sst2", "bert"}
    assert all(text.startswith("stand-in: ") for text in message[:2])
    head_config = json.loads((result.run.model / "hftool.json").read_text())
    assert head_config["stand_in"] == {
        "model": {"requested": "bert", "used": "minilm"},
        "data": {"requested": "sst2", "used": "sst2-mini"},
    }
    assert result.stand_in == {"model": "minilm for bert", "data": "sst2-mini for sst2"}
    assert json.loads(result.run.manifest.read_text())["stand_in"] == head_config["stand_in"]
    good, bad = workflow.infer(str(tmp_path / "run"), ["A wonderful, moving film.", "A dreadful, tedious mess."])
    assert (good["label"], bad["label"]) == ("positive", "negative")
    assert sum(good["probabilities"].values()) == pytest.approx(1)


def test_a_run_folder_holds_all_that_produced_it(tiny_run):
    names = {path.name for path in tiny_run.iterdir()} - {".lock", "errors.jsonl"}  # the second is of an evaluation
    assert names == {"config.yaml", "manifest.json", "log.jsonl", "metrics.json", "base", "checkpoints", "model"}
    model = {path.name for path in (tiny_run / "model").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "hftool.json", "README.md"} <= model
    manifest = json.loads((tiny_run / "manifest.json").read_text())
    assert manifest["rows"] == {"train": 64, "validation": 16}
    assert len(manifest["data"]) == 2 and all(len(digest) == 64 for digest in manifest["data"].values())
    assert manifest["stand_in"] == {}


def test_saved_model_gives_the_same_logits_with_plain_transformers(tiny_run):
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    texts = ["a warm funny film", "a cold dull film and much longer than the other"]
    loaded = workflow.load(str(tiny_run))
    plain = AutoModelForSequenceClassification.from_pretrained(tiny_run / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(tiny_run / "model")
    assert plain.config.id2label == {0: "negative", 1: "positive"}
    with torch.inference_mode():
        reference = plain(**tokenizer(texts, padding=True, return_tensors="pt")).logits
        ours = loaded.model(**tokenizer(texts, padding=True, return_tensors="pt")).logits
    assert torch.equal(reference, ours)
    answers = workflow.infer(loaded, texts)
    for answer, row in zip(answers, reference.softmax(-1).tolist(), strict=True):
        assert list(answer["probabilities"].values()) == pytest.approx(row, abs=1e-5)


def test_config_yaml_repeats_the_run_bit_for_bit_from_another_folder(tiny_bert, film_files, tmp_path, monkeypatch):
    first = workflow.finetune(str(tiny_bert), "sst2", config=knobs(film_files), out=tmp_path / "a").run.path
    monkeypatch.chdir("/")
    from hftool.config import make_config

    again = workflow.finetune(config=make_config(read_settings(str(first / "config.yaml"))), out=tmp_path / "b").run.path
    other = workflow.finetune(str(tiny_bert), "sst2", config=knobs(film_files, seed=1), out=tmp_path / "c").run.path
    assert weights(first) == weights(again)
    assert weights(first) != weights(other)


def test_labels_keep_their_order_through_training_and_reload(tiny_bert, tmp_path):
    names = ["meh", "awful", "superb"]
    rows = [{"review": f"text {i} {names[i % 3]}", "verdict": names[i % 3]} for i in range(30)]
    path = write_tsv(tmp_path / "reviews.tsv", rows)
    config = {"columns": {"text": "review", "label": "verdict"}, "labels": ("superb", "meh", "awful"), "epochs": 1}
    run = workflow.finetune(str(tiny_bert), str(path), config=config, out=tmp_path / "run").run.path
    answer = workflow.infer(str(run), ["text"])[0]
    assert list(answer["probabilities"]) == ["superb", "meh", "awful"]
    from transformers import AutoConfig

    assert AutoConfig.from_pretrained(run / "model").id2label == {0: "superb", 1: "meh", 2: "awful"}


def test_text_pairs(tiny_bert, tmp_path):
    rows = [{"sentence1": f"a {i}", "sentence2": f"b {i % 2}", "label": i % 2} for i in range(24)]
    path = write_tsv(tmp_path / "pairs.tsv", rows)
    run = workflow.finetune(str(tiny_bert), str(path), config={"epochs": 1}, out=tmp_path / "run").run.path
    assert json.loads((run / "model" / "hftool.json").read_text())["columns"] == {
        "text": "sentence1",
        "text_pair": "sentence2",
        "label": "label",
    }
    assert workflow.infer(str(run), ["a"], pairs=["b"])[0]["label"] in ("0", "1")


def test_class_weights_raise_the_share_of_the_rare_label(tiny_bert, tmp_path):
    rows = [row for i, row in enumerate(film_rows(200)) if row["label"] == "0" or i % 10 == 1]
    path = write_tsv(tmp_path / "skewed.tsv", rows)
    config = {"columns": {"text": "sentence"}, "epochs": 4, "batch_size": 16, "lr": 3e-3}
    shares = []
    for weighting in ("none", "balanced"):
        out = tmp_path / weighting
        workflow.finetune(str(tiny_bert), str(path), config={**config, "class_weights": weighting}, out=out)
        answers = workflow.infer(str(out), [row["sentence"] for row in rows])
        shares.append(sum(answer["probabilities"]["1"] for answer in answers) / len(answers))
    assert shares[1] > shares[0] + 0.05


def test_final_metrics_are_those_of_the_best_evaluation(tiny_run):
    lines = [json.loads(line) for line in (tiny_run / "log.jsonl").read_text().splitlines()]
    best = max(line["evaluation"]["accuracy"] for line in lines if "evaluation" in line)
    metrics = json.loads((tiny_run / "metrics.json").read_text())
    assert metrics["validation"]["accuracy"] == best
    assert metrics["validation"]["rows"] == 16


def test_rejected_rows_are_listed_with_line_and_reason(tiny_bert, tmp_path):
    rows = film_rows(120)
    path = write_tsv(tmp_path / "train.tsv", rows)
    with open(path, "a", encoding="utf-8") as handle:
        handle.write("one field too many\t1\textra\n")
    run = workflow.finetune(str(tiny_bert), str(path), config={"epochs": 1}, out=tmp_path / "run").run
    line = json.loads(run.rejected.read_text())
    assert (line["row"], line["reason"]) == (122, "3 fields where the header has 2")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"model": "brt"}, 2),
        ({"model": "t5", "task": "wnut17"}, 2),
        ({"task": "sst3"}, 2),
        ({"head": "clasify"}, 2),
        ({"config": {"lr": 50}}, 2),
        ({"config": {"learning_rate": 1e-4}}, 2),
        ({"config": {"device": "cuda:9"}}, 2),
        ({"model": "no/such/folder"}, 66),
        ({"config": {"train": "nowhere.tsv"}}, 66),
        ({"config": {"columns": {"text": "txt"}}}, 65),
        ({"config": {"labels": ("a", "0")}}, 65),
    ],
)
def test_bad_input_creates_nothing(change, code, tiny_bert, film_files, tmp_path, monkeypatch):
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    config = {**knobs(film_files), **change.get("config", {})}
    if "columns" in config or "labels" in config:
        task = None
    else:
        task = change.get("task", "sst2")
    with pytest.raises(HftoolError) as caught:
        workflow.finetune(change.get("model", str(tiny_bert)), task, config=config, head=change.get("head"))
    assert caught.value.code == code
    assert "\n" not in str(caught.value)
    assert list(empty.iterdir()) == []


def test_an_output_that_exists_is_an_error_before_anything_is_read(tmp_path):
    (tmp_path / "run").mkdir()
    with pytest.raises(OutputUnavailable, match="exists already"):
        workflow.finetune("no/such/folder", "sst2", out=tmp_path / "run")


def test_save_takes_the_best_or_a_named_checkpoint(tiny_run, tmp_path):
    best = workflow.save(tiny_run, out=tmp_path / "best")
    assert sha256(best / "model.safetensors") == sha256(tiny_run / "model" / "model.safetensors")
    first = workflow.save(tiny_run, out=tmp_path / "first", checkpoint="step-000004")
    assert workflow.infer(str(first), ["a warm funny film"])[0]["label"] in ("negative", "positive")
    with pytest.raises(ConfigError, match=r"no checkpoint 'step-000999'; it has: step-000004, step-000008"):
        workflow.save(tiny_run, out=tmp_path / "none", checkpoint="step-000999")
    with pytest.raises(OutputUnavailable):
        workflow.save(tiny_run, out=tmp_path / "best")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best", "first"]


def test_an_unfinished_run_is_no_model_and_the_hint_is_a_command(tiny_run, tmp_path):
    import shutil

    copy = tmp_path / "half"
    shutil.copytree(tiny_run, copy)
    (copy / "metrics.json").unlink()
    with pytest.raises(ConfigError) as caught:
        workflow.load(str(copy))
    assert caught.value.hint == (
        f"Resume: hftool resume {copy}; or take its best checkpoint: hftool save {copy} --checkpoint best --out DIR"
    )
    assert workflow.save(copy, out=tmp_path / "saved").is_dir()


def test_a_checkpoint_becomes_a_model_without_data_and_base_and_keeps_its_labels(tiny_bert, tmp_path):
    """What a killed run leaves must be enough: the file may be gone, or have other labels by now."""
    import shutil

    base = tmp_path / "base"
    shutil.copytree(tiny_bert, base)
    rows = [{"text": f"text {i} {'good' if i % 2 else 'zbad'}", "label": "good" if i % 2 else "zbad"} for i in range(40)]
    path = write_tsv(tmp_path / "rows.tsv", rows)
    run = workflow.finetune(str(base), str(path), config={"epochs": 1, "lr": 1e-3}, out=tmp_path / "run").run
    expected = workflow.infer(str(run.path), [row["text"] for row in rows])
    shutil.rmtree(base)
    path.write_text(path.read_text().replace("good\n", "zzgood\n"))
    saved = workflow.save(run.path, out=tmp_path / "saved", checkpoint="last")
    assert workflow.infer(str(saved), [row["text"] for row in rows]) == expected
    with pytest.raises(HftoolError, match="the label 'zzgood' is not one of 'good', 'zbad'"):
        workflow.evaluate(str(run.path), split="train")


def test_a_damaged_model_of_a_run_is_saved_from_its_checkpoint(tiny_run, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(tiny_run, copy)
    expected = weights(copy)
    path = copy / "model" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    saved = workflow.save(copy, out=tmp_path / "saved")
    assert sha256(saved / "model.safetensors") == expected


def test_an_explicit_max_length_is_kept(tiny_bert, film_files, tmp_path):
    run = workflow.finetune(str(tiny_bert), "sst2", config=knobs(film_files, max_length=9, max_steps=1), out=tmp_path / "r").run
    assert json.loads((run.model / "hftool.json").read_text())["max_length"] == 9


def test_numbers_in_the_data_can_be_given_names(tmp_path):
    rows = [{"tokens": ["Ann", "met", "Bob"], "ner_tags": [1, 0, 1]}, {"tokens": ["a", "Bob"], "ner_tags": [0, 1]}] * 10
    path = families.write_jsonl(tmp_path / "tags.jsonl", rows)
    config = {"train": str(path), "validation": str(path), "allow_leak": True, "max_steps": 1, "labels": ("O", "B-PER")}
    result = workflow.finetune(str(families.folder("bert")), config=config, out=tmp_path / "run")
    assert set(result.metrics["validation"]["by_type"]) <= {"PER"}


def test_labels_and_class_weights_for_regression_are_refused(tmp_path):
    rows = [{"text": f"film {i}", "label": i / 4} for i in range(20)]
    path = families.write_jsonl(tmp_path / "amounts.jsonl", rows)
    with pytest.raises(UsageError, match="class_weights has no effect on continuous labels \\(regression\\)"):
        config = {"train": str(path), "class_weights": "balanced"}
        workflow.finetune(str(families.folder("bert")), config=config, out=tmp_path / "run")


def test_the_error_is_of_the_head_that_lacks_least(tmp_path):
    path = families.write_jsonl(tmp_path / "source.jsonl", [{"source": "a"}, {"source": "b"}])
    with pytest.raises(Exception, match="has no column 'target'; it has 'source'. Try --target"):
        workflow.finetune("t5-mini", str(path), out=tmp_path / "run", offline=True)


def test_answers_too_long_for_the_windows_are_counted_in_a_notice(tmp_path):
    words = " ".join(f"word{i % 7}" for i in range(120))
    rows = []
    for i in range(8):
        context = f"{i} ann met bob . {words}"
        answer = words if i == 3 else "bob"
        rows.append({"question": f"who {i} ?", "context": context, "answers": {"text": [answer]}})
    path = families.write_jsonl(tmp_path / "asked.jsonl", rows)
    notices = []
    config = {"train": str(path), "validation": str(path), "max_length": 48, "max_steps": 1, "allow_leak": True}
    workflow.finetune(str(families.folder("bert")), config=config, out=tmp_path / "run", progress=notices.append)
    (notice,) = [event.text for event in notices if event.kind == "notice" and "holds whole" in event.text]
    assert notice.startswith("1 of 8 train rows have an answer that no window of 48 tokens holds whole: they are trained as")
