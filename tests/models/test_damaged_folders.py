"""Invalid values in the JSON files of a model folder give an error that names file and key, before the model is built."""

import json
import os
import shutil
import socket
import time

import pytest
import torch

from conftest import one_line
from hftool.errors import DataError, Refused
from hftool.models import (
    HeadConfig,
    describe,
    load_model,
    meta_model,
    read_head_config,
    read_model_config,
    sentence_settings,
    write_head_config,
)
from hftool.models.head_config import SEVERAL
from hftool.models.sha256sums import read_checksums, verify_checksums
from hftool.models.untrusted_sizes import building_within, stored_size
from hftool.progress import silent
from hftool.storage.stand_ins import StandIn
from hftool.workflow.resolve import resolve_model
from support import families

CPU_LIMIT = 2.0  # seconds of CPU time: twice the documented second, since coverage slows the process


@pytest.fixture
def folder(tiny_run, tmp_path):
    """A copy of a trained model to damage, without the checksums that would detect it."""
    return shutil.copytree(tiny_run / "model", tmp_path / "model", ignore=shutil.ignore_patterns("SHA256SUMS"))


def update_json(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def run_quickly(cli, *words):
    started = time.process_time()
    code, _, err = cli(*words)
    assert time.process_time() - started < CPU_LIMIT
    return code, one_line(err)


HEAD_CONFIGS = [
    ("labels", [["x"], ["y"]]),
    ("max_length", -1),
    ("max_length", 1.5),
    ("max_length", "x"),
    ("prefix", 5),
    ("stand_in", "x"),
    ("stand_in", {"model": "x"}),
    ("stand_in", {"data": {"used": "x"}}),
    ("metrics", {"validation": 5}),
    ("pooling", 5),
    ("base", 5),
    ("versions", 5),
    ("label_range", ["a", "b"]),
    # similar values
    ("labels", ["x"]),
    ("labels", ["x", "x"]),
    ("labels", []),
    ("labels", {"0": "x"}),
    ("label_values", ["0", "1", "2"]),
    ("head", "nonesuch"),
    ("head", ["classify"]),
    ("problem_type", "guess"),
    ("columns", ["text"]),
    ("columns", {"text": ["a", "b"]}),
    ("pooling", "median"),
    ("max_length", 10**9),
    ("max_length", 1000),  # for a model with 64 positions
    ("max_length", True),
    ("class_weights", [1.0]),
    ("class_weights", [-1.0, 1.0]),
    ("label_thresholds", [0.5]),
    ("label_thresholds", [0.5, 1.5]),
    ("label_range", [2.0, 1.0]),
    ("metrics", {"validation": {"accuracy": 1.0}}),
    ("metrics", {"validation": {"rows": 5, "accuracy": "high"}}),
    ("measures", "accuracy"),
    ("thresholds", {"x": "y"}),
    ("max_new_tokens", None),
]


@pytest.mark.parametrize(("key", "value"), HEAD_CONFIGS, ids=[f"{key}={value}"[:40] for key, value in HEAD_CONFIGS])
@pytest.mark.parametrize("verb", ["classify", "export"])
def test_invalid_head_config_is_65_with_its_key(folder, cli, verb, key, value):
    update_json(folder / "hftool.json", **{key: value})
    code, line = run_quickly(cli, verb, folder, *(["a warm film"] if verb == "classify" else ["--out", folder.parent / "out"]))
    assert code == 65 and f"'{folder / 'hftool.json'}'" in line and f"'{key}" in line.replace("'labels' is", "'labels'")
    assert not (folder.parent / "out").exists()


@pytest.mark.parametrize(("key", "value"), HEAD_CONFIGS[:11])
def test_info_reports_the_same_error(folder, cli, key, value):
    update_json(folder / "hftool.json", **{key: value})
    code, line = run_quickly(cli, "info", folder)
    assert code == 65 and f"'{key}" in line


def test_every_head_config_field_has_a_schema_and_round_trips(tmp_path):
    cards = [
        HeadConfig(head="fill"),
        HeadConfig(head="classify", problem_type="regression", label_range=(-1.5, 2.0)),
        HeadConfig(head="answer", problem_type="answer_or_none", max_length=384),
        HeadConfig(head="classify", labels=("a", "b"), problem_type=SEVERAL, labels_sep="|", label_thresholds=(0.25, 0.75)),
        HeadConfig(head="tag", labels=("O", "B-PER"), class_weights=(0.5, 0.0), measures=("f1",)),
        HeadConfig(head="text2text", prefix="summarize: ", max_new_tokens=64, revision="0" * 40),
        HeadConfig(
            head="embed", pooling="cls", metrics={"test": {"rows": 3, "spearman": -0.5}}, stand_in={"model": StandIn("b", "a")}
        ),
    ]
    for head_config in cards:
        write_head_config(tmp_path, head_config)
        assert read_head_config(tmp_path) == head_config


def test_head_config_of_an_older_version_is_read(tmp_path):
    (tmp_path / "hftool.json").write_text('{"head": "fill", "thresholds": {"a": 0.5}}')
    assert read_head_config(tmp_path) == HeadConfig(head="fill")


@pytest.mark.parametrize("labels", [["a", "b"], ["a", "b", "c", "d"]])
def test_head_config_of_an_export_has_the_labels_of_its_graph(tmp_path, cli, labels):
    from support import exports

    folder = shutil.copytree(exports.exported("bert", "classify")[0], tmp_path / "export")
    (folder / "SHA256SUMS").unlink()
    update_json(folder / "hftool.json", labels=labels, label_values=[])
    code, line = run_quickly(cli, "classify", folder, "the red cat")
    assert code == 65 and f"'labels' has {len(labels)} names, and the graph answers with 3" in line


TOKENIZERS = [
    ("extra_ids", 10**18),
    ("extra_ids", -1),
    ("model_max_length", "x"),
    ("model_max_length", -1),
    ("model_max_length", [5]),
    ("model_max_length", float("nan")),
    ("padding_side", "middle"),
    ("added_tokens_decoder", 5),
    ("added_tokens_decoder", {"99999999999999999999": {"content": "x"}}),
    ("pad_token", 7),
    ("mask_token", ""),
    ("do_lower_case", "yes"),
    ("model_input_names", 5),
    ("model_input_names", [5]),
    ("extra_special_tokens", 5),
    ("additional_special_tokens", "<x>"),
    ("added_tokens_decoder", {"3": {"special": True}}),
    ("mask_token", {"content": 5}),
    ("unk_token", {}),
]


@pytest.mark.parametrize(("key", "value"), TOKENIZERS)
@pytest.mark.parametrize("verb", ["classify", "tokenize"])
def test_invalid_tokenizer_config_is_65(folder, cli, verb, key, value):
    update_json(folder / "tokenizer_config.json", **{key: value})
    code, line = run_quickly(cli, verb, folder, "a warm film")
    assert code == 65 and "tokenizer_config.json' is damaged: " in line and f"'{key}" in line


CONFIGS = [
    ("num_hidden_layers", 10**6),
    ("num_hidden_layers", -1),
    ("num_labels", 10**9),
    ("num_labels", -3),
    ("chunk_size_feed_forward", 10**9),
    ("chunk_size_feed_forward", -1),
    ("return_dict", False),
    ("vocab_size", 0),
    # similar values
    ("vocab_size", 10**12),
    ("hidden_size", 10**6),
    ("num_attention_heads", -2),
    ("num_attention_heads", 10**6),
    ("intermediate_size", 10**8),
    ("max_position_embeddings", 10**8),
    ("max_position_embeddings", -64),
    ("type_vocab_size", 10**8),
    ("id2label", {"x": "y"}),
    ("id2label", {str(i): str(i) for i in range(100_001)}),
    ("num_labels", 90_000),
    ("id2label", {"99999999999": "y"}),
    ("pad_token_id", [0]),
    ("hidden_dropout_prob", 5),
    ("output_attentions", "yes"),
    ("problem_type", 5),
    ("layer_norm_eps", "small"),
]


@pytest.mark.parametrize(("key", "value"), CONFIGS, ids=[f"{key}={value}"[:40] for key, value in CONFIGS])
@pytest.mark.parametrize("verb", ["classify", "info"])
def test_config_far_larger_than_the_weights_is_65(folder, cli, verb, key, value):
    update_json(folder / "config.json", **{key: value})
    code, line = run_quickly(cli, verb, folder, *(["a warm film"] if verb == "classify" else []))
    assert code == 65 and f"'{folder / 'config.json'}'" in line
    assert f"'{key}" in line or "far larger than its weights (" in line


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("gpt2", {"n_layer": 10**7}),
        ("gpt2", {"n_positions": 10**7}),
        ("gpt2", {"n_head": -1}),
        ("t5", {"num_decoder_layers": 10**7}),
        ("t5", {"d_ff": 10**8}),
        ("t5", {"relative_attention_num_buckets": 0}),
        ("roberta", {"max_position_embeddings": 2}),
        ("electra", {"embedding_size": 10**7}),
        ("xlm-roberta", {"num_hidden_layers": 500}),
    ],
)
def test_oversized_config_of_every_family(kind, values, tmp_path, cli):
    folder = shutil.copytree(families.folder(kind), tmp_path / kind)
    assert cli("tokenize", folder, "the cat")[0] == cli("info", folder)[0] == 0  # unchanged; this imports its classes
    update_json(folder / "config.json", **values)
    assert run_quickly(cli, "infer", folder, "the [MASK] cat")[0] in (65, 78)  # 78: the weights have another size
    if kind != "roberta":
        assert run_quickly(cli, "info", folder)[0] == 65


def test_model_built_from_unknown_size_keys_is_stopped(folder):
    """The guard counts the parameters as they are created, whatever their names."""
    stored = stored_size(folder)
    assert stored.tensors == 41 and stored.numbers == sum(t.numel() for t in _weights(folder).values())
    with pytest.raises(DataError, match="far larger than its weights"), building_within(folder), torch.device("meta"):
        torch.nn.Linear(10_000, 10_000)
    with pytest.raises(DataError, match="far larger"), building_within(folder), torch.device("meta"):
        [torch.nn.LayerNorm(2) for _ in range(10_000)]
    with pytest.raises(ZeroDivisionError), building_within(folder):
        raise ZeroDivisionError
    before = torch.nn.Linear(2, 2).state_dict().keys()
    assert before == {"weight", "bias"}  # counting has ended


def _weights(folder):
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def test_chunked_feed_forward_does_not_change_answers(folder, cli):
    """chunk_size_feed_forward saves memory but requires lengths that are its multiples."""
    command = ["classify", folder, "a warm film", "a warm funny film", "--json"]
    before = cli(*command)
    update_json(folder / "config.json", chunk_size_feed_forward=4)
    assert cli(*command)[:2] == before[:2]


# -- no false positives ---------------------------------------------------------------------------------------------------


def _tiny(name, **values):
    import transformers

    known = {"vocab_size": 50, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    return getattr(transformers, name)(**{**known, **values})


BERT = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
OTHERS = {
    # twelve layers that share one set of weights, and twelve in one group
    "albert": lambda: _tiny("AlbertConfig", **{**BERT, "num_hidden_layers": 12}, embedding_size=4, num_hidden_groups=1),
    "albert-inner": lambda: _tiny("AlbertConfig", **{**BERT, "num_hidden_layers": 48}, embedding_size=4, inner_group_num=2),
    "distilbert": lambda: _tiny("DistilBertConfig", dim=8, n_layers=2, n_heads=2, hidden_dim=16),
    "bart": lambda: _tiny(
        "BartConfig",
        d_model=8,
        **dict.fromkeys(("encoder_layers", "decoder_layers"), 2),
        **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 2),
        **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), 16),
    ),
    "deberta": lambda: _tiny("DebertaV2Config", **BERT, relative_attention=True, max_relative_positions=-1, type_vocab_size=0),
    "mpnet": lambda: _tiny("MPNetConfig", **BERT),
    "modernbert": lambda: _tiny("ModernBertConfig", **BERT, cls_token_id=1, sep_token_id=2),
    "t5-deep-decoder": lambda: _tiny("T5Config", d_model=8, d_kv=4, d_ff=16, num_layers=1, num_decoder_layers=4, num_heads=2),
    "llama-long": lambda: _tiny("LlamaConfig", **BERT, max_position_embeddings=1_000_000, num_key_value_heads=1),
    "opt": lambda: _tiny(
        "OPTConfig", hidden_size=8, num_hidden_layers=2, num_attention_heads=2, ffn_dim=16, word_embed_proj_dim=8
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_architectures_pass_the_size_check(name, tmp_path):
    import transformers

    config = OTHERS[name]()
    torch.manual_seed(0)
    transformers.AutoModel.from_config(config).save_pretrained(tmp_path)
    loaded_config = read_model_config(tmp_path)
    assert loaded_config.model_type == config.model_type
    for auto_class in ("AutoModel", "AutoModelForSequenceClassification"):
        assert meta_model(loaded_config, auto_class, tmp_path) is not None
    assert describe(tmp_path, "AutoModel", batch_size=1, length=8)["parameters"] > 0


def test_head_of_a_thousand_labels_on_a_small_encoder_passes(tiny_bert):
    labels = tuple(f"label {i}" for i in range(1000))
    head_config = HeadConfig(head="classify", labels=labels)
    loaded = load_model(tiny_bert, "AutoModelForSequenceClassification", head_config=head_config, new_head=True)
    assert loaded.model.config.num_labels == 1000


# -- the files of sentence-transformers and of a run ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "document"),
    [
        ("modules.json", {"0": "x"}),
        ("modules.json", [5]),
        ("modules.json", [{"type": 5}]),
        ("modules.json", [{"path": "1_Pooling"}]),
        ("modules.json", [{"type": "x.Pooling", "path": ["1_Pooling"]}]),
        ("1_Pooling/config.json", {"pooling_mode": 5}),
        ("1_Pooling/config.json", {"pooling_mode_cls_token": "yes"}),
    ],
)
def test_pooling_config_is_validated(tiny_bert, tmp_path, name, document):
    folder = shutil.copytree(tiny_bert, tmp_path / "model")
    (folder / "1_Pooling").mkdir()
    (folder / "modules.json").write_text(json.dumps([{"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"}]))
    (folder / name).write_text(json.dumps(document))
    with pytest.raises(DataError, match="is damaged"):
        sentence_settings(folder)


@pytest.mark.parametrize("length", ["x", -1, 0, 1.5, [128], True])
def test_max_seq_length_of_sentence_transformers_is_validated(tiny_bert, tmp_path, cli, length):
    folder = shutil.copytree(tiny_bert, tmp_path / "model")
    (folder / "modules.json").write_text("[]")
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": length}))
    code, line = run_quickly(cli, "embed", folder, "a warm film")
    assert code == 65 and "'max_seq_length'" in line


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("manifest.json", {"stand_in": "x"}),
        ("manifest.json", {"stand_in": {"data": ["x", "y"]}}),
        ("manifest.json", {"data": ["a"]}),
        ("manifest.json", {"command": "hftool"}),
        ("manifest.json", {"rows": {"train": "64"}}),
        ("manifest.json", {"versions": {"torch": 2}}),
        ("metrics.json", {"model": {"../outside": "0"}}),
        ("metrics.json", {"model": {"/etc/passwd": "0"}}),
        ("metrics.json", {"model": 5}),
        ("metrics.json", {"validation": 5}),
        ("metrics.json", {"validation": {"by_class": {"x": 5}}}),
        ("metrics.json", {"seconds": "long"}),
    ],
)
def test_invalid_files_of_a_run(tiny_run, tmp_path, cli, name, values):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    update_json(run / name, **values)
    code, line = run_quickly(cli, "export", run, "--out", tmp_path / "out")
    assert code == 65 and f"'{run / name}' is damaged: '{next(iter(values))}" in line
    if name == "metrics.json" and values.get("model"):
        assert run_quickly(cli, "save", run, "--out", tmp_path / "out")[0] == 65
        assert run_quickly(cli, "verify", run)[0] == 65


# -- special files ---------------------------------------------------------------------------------------------------


def pipe(path):
    os.mkfifo(path)


def socket_file(path):
    here = os.getcwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(path.name)
    finally:
        os.chdir(here)


VERBS = {
    "verify": ["verify", "{}"],
    "classify": ["classify", "{}", "a warm film"],
    "info": ["info", "{}"],
    "tokenize": ["tokenize", "{}", "a warm film"],
    "export": ["export", "{}", "--out", "out"],
    "deploy": ["deploy", "{}", "--to", "docker", "--out", "out"],
    "evaluate": ["evaluate", "{}", "rows.tsv"],
    "predict": ["predict", "{}", "rows.tsv", "--out", "out.csv"],
    "finetune": ["finetune", "{}", "rows.tsv", "--out", "out"],
}
NAMES = (
    "config.json",
    "hftool.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "model.safetensors",
    "SHA256SUMS",
    "more/x.txt",
)


@pytest.mark.skipif(os.name == "nt", reason="no pipes there")
@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", NAMES)
def test_pipe_instead_of_a_file_is_77_without_blocking(tiny_run, tmp_path, cli, name):
    folder = shutil.copytree(tiny_run / "model", tmp_path / "model")
    (folder / "more").mkdir()
    (folder / name).unlink(missing_ok=True)
    (pipe if name != "hftool.json" else socket_file)(folder / name)
    (tmp_path / "rows.tsv").write_text("sentence\tlabel\n" + "".join(f"a film {i}\t{i % 2}\n" for i in range(9)))
    for verb, words in VERBS.items():
        code, line = run_quickly(cli, *[word.format(folder) for word in words])
        assert code == 77 and "is not a plain file" in line, verb
    with pytest.raises(Refused):
        verify_checksums(folder)


@pytest.mark.skipif(os.name == "nt", reason="no pipes there")
@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["SHA256SUMS", "manifest.json", "metrics.json", "checkpoints/x", "base/config.json"])
def test_pipe_in_a_run_folder(tiny_run, tmp_path, cli, name):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    (run / name).unlink(missing_ok=True)
    pipe(run / name)
    assert run_quickly(cli, "verify", run)[0] == 77
    if "/" not in name:
        with pytest.raises(Refused, match="not a plain file"):
            resolve_model(str(run), head=None, offline=True, fallback=False, progress=silent)


@pytest.mark.skipif(os.name == "nt", reason="no pipes there")
def test_checksums_in_a_pipe(tmp_path):
    pipe(tmp_path / "SHA256SUMS")
    with pytest.raises(Refused, match="SHA256SUMS' is not a plain file"):
        read_checksums(tmp_path)
