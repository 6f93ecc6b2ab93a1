"""--batch-size auto: the bounds of its rule, and what a run records of it."""

import pytest
import transformers

from hftool import workflow
from hftool.config import Config, parse, read_settings
from hftool.errors import UsageError
from hftool.training.batch_size import CHOICES, ModelSize, auto_batch_size, model_size
from hftool.workflow import plan
from support import families

SMALL = ModelSize(parameters=20_000_000, layers=6, hidden=384, heads=12)
GB = 10**9


def chosen(size=SMALL, lengths=(20,) * 100_000, **more):
    return auto_batch_size(size, lengths, **{"memory": 32 * GB, "window": 50, "epochs": 3.0, "max_steps": None, **more})


def test_memory_bounds_the_batch():
    found = [chosen(lengths=(512,) * 20_000, memory=memory * GB) for memory in (1, 2, 4, 8, 16, 1024)]
    assert found == sorted(found) and found[0] < 8 and found[-1] == CHOICES[-1]
    for memory, rows in zip((1, 2, 4, 8, 16), found, strict=False):
        assert rows == 1 or SMALL.bytes_to_train(rows, 512) <= memory * GB / 2
        assert SMALL.bytes_to_train(2 * rows, 512) > memory * GB / 2
    assert chosen(memory=1) == 1  # the loop halves it no further: the run says that there is no memory


def test_the_number_of_steps_bounds_the_batch_but_not_below_8():
    assert chosen(lengths=(20,) * 1_000, epochs=1.0) == 8
    assert chosen(lengths=(20,) * 10_000, epochs=1.0) == 32
    assert chosen(lengths=(20,) * 10_000, epochs=1.0, others=4) == 8
    assert chosen(lengths=(20,) * 10_000, epochs=1.0, max_steps=10) == 256


def test_padding_bounds_the_batch():
    """Without sorting, a larger batch pads more."""
    lengths = [1 if i % 32 else 256 for i in range(50_000)]
    tiny = ModelSize(parameters=5_000_000, layers=6, hidden=256, heads=4)
    assert chosen(tiny, lengths, window=1) < chosen(tiny, lengths, window=50)


def test_the_vocabulary_of_a_language_model_counts():
    wide = ModelSize(parameters=20_000_000, layers=6, hidden=384, heads=12, outputs=50_000)
    assert chosen(wide, (128,) * 100_000, memory=16 * GB) < chosen(SMALL, (128,) * 100_000, memory=16 * GB)


def test_the_size_of_a_model_of_each_family():
    bert = transformers.BertConfig(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=2, intermediate_size=64, vocab_size=99
    )
    gpt2 = transformers.GPT2Config(n_embd=32, n_layer=3, n_head=2, vocab_size=99)
    t5 = transformers.T5Config(d_model=32, d_kv=16, num_layers=3, num_decoder_layers=2, num_heads=2, d_ff=64, vocab_size=99)
    for model, layers, outputs in (
        (transformers.BertForSequenceClassification(bert), 3, 0),
        (transformers.GPT2LMHeadModel(gpt2), 3, 99),
        (transformers.T5ForConditionalGeneration(t5), 5, 99),
    ):
        size = model_size(model)
        assert (size.layers, size.hidden, size.heads, size.outputs) == (layers, 32, 2, outputs)
        assert size.parameters == sum(parameter.numel() for parameter in model.parameters())


def test_auto_is_a_value_of_batch_size_alone():
    assert parse("batch_size", "auto") is None and parse("batch_size", " 16 ") == 16 and Config().batch_size == 32
    for wrong in ("none", None, "0", "Auto", "", "65537", "auto,8"):
        with pytest.raises(UsageError, match="batch_size must be a whole number from 1 to 65536"):
            parse("batch_size", wrong)
    with pytest.raises(UsageError) as caught:
        parse("batch_size", "atuo")
    assert caught.value.hint == "Did you mean 'auto'?"
    with pytest.raises(UsageError, match="accumulate must be"):
        parse("accumulate", "auto")


def finetuned(out, size, monkeypatch, memory=16 * GB, **more):
    monkeypatch.setattr(plan, "memory_of", lambda device, processes: memory)
    notes = []
    settings = {"batch_size": size, "max_steps": 2, "validation_share": 0.2, "allow_leak": True, "device": "cpu", **more}
    result = workflow.finetune(
        families.folder("bert"),
        families.pair_rows(),
        config=settings,
        out=out,
        offline=True,
        progress=lambda event: notes.append(str(event)),
        resume=out.is_dir(),
    )
    return read_settings(str(result.run.config))["batch_size"], " ".join(notes)


def test_a_run_records_the_number_prints_it_and_resumes_with_it(tmp_path, monkeypatch):
    number, notes = finetuned(tmp_path / "run", "auto", monkeypatch)
    assert number == 256 and "batch size 256, chosen for rows of up to" in notes
    # less memory on resume changes nothing, and 'auto' means what was chosen
    again, notes = finetuned(tmp_path / "run", "auto", monkeypatch, memory=1)
    assert again == 256 and "chosen for rows" not in notes
    small, _ = finetuned(tmp_path / "small", "auto", monkeypatch, memory=1)
    assert small == 1


def test_a_run_that_was_chosen_refuses_another_number(tmp_path, monkeypatch):
    finetuned(tmp_path / "run", "auto", monkeypatch)
    with pytest.raises(Exception, match="batch_size was 256, now 4"):
        finetuned(tmp_path / "run", 4, monkeypatch)


def test_several_machines_need_a_number(monkeypatch, tmp_path):
    monkeypatch.setattr(plan, "world_size", lambda: 4)
    with pytest.raises(UsageError, match="works on one machine"):
        finetuned(tmp_path / "run", "auto", monkeypatch)
