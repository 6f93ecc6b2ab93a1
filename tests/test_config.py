"""hftool/config.py: one table of settings for flags, --set, YAML files and Python; ranges and round trips."""

import dataclasses

import pytest

from hftool import config
from hftool.config import Config, dump_config, make_config, parse, parse_assignments, read_settings
from hftool.errors import ConfigError, InputMissing, UsageError


def error_of(kind, call, *arguments):
    with pytest.raises(kind) as caught:
        call(*arguments)
    return str(caught.value)


def yaml_file(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "c.yaml"
    path.write_text(text, encoding=encoding)
    return str(path)


FULL = Config(
    model="./bert",
    task="null",
    train="/data/no.csv",
    validation="2024-01-01",
    test="a: b # c",
    columns={"text": "no", "label": "1:30", "text_pair": "语"},
    labels=("no", "yes", "01", "1.0", "null", "~", "a,b"),
    epochs=0.5,
    max_steps=7,
    lr=3e-05,
    optimizer="sgd",
    seed=2**32 - 1,
    device="cuda:1",
    allow_leak=True,
    encoding="gb18030",
    clip=0.0,
)


@pytest.mark.parametrize("whole", [Config(), FULL])
def test_dumped_config_is_read_back_unchanged(whole, tmp_path):
    values = read_settings(yaml_file(tmp_path, dump_config(whole)))
    assert set(values) == set(config.KEYS)
    assert make_config(values) == whole


@pytest.mark.parametrize("name", sorted(config.KNOBS))
def test_defaults_are_within_their_ranges_and_help_is_a_phrase(name):
    default = Config.__dataclass_fields__[name].default
    assert parse(name, default) == default
    assert config.KNOBS[name].help[-1] not in ".,;"


def test_values_are_parsed_by_the_types_of_the_settings_not_by_yaml(tmp_path):
    text = "lr: 3e-5\nepochs: 1\nallow_leak: yes\nmax_steps: null\nlimit: none\nbatch_size: 1_6\nlabels: [no, yes, 007]\ntask: on\n"
    values = read_settings(yaml_file(tmp_path, text + "columns: {text: off, label: 1.50}\n", encoding="utf-8-sig"))
    assert values == {
        "lr": 3e-5,
        "epochs": 1.0,
        "allow_leak": True,
        "max_steps": None,
        "limit": None,
        "batch_size": 16,
        "labels": ("no", "yes", "007"),
        "task": "on",
        "columns": {"text": "off", "label": "1.50"},
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lrr: 1", "unknown key 'lrr'. Did you mean 'lr'?"),
        ("learning_rate: 1", "unknown key 'learning_rate'. Did you mean 'lr'?"),
        ("lr: fast", "lr must be a number from 1e-09 to 10, not 'fast'"),
        ("lr: [1]", "lr must be a number from 1e-09 to 10, not '['1']'"),
        ("device: [cpu]", "device must be a text, not '['cpu']'"),
        ("batch_size: 3.5", "batch_size must be a whole number from 1 to 65536, not '3.5'"),
        ("batch_size:", "batch_size must be a whole number from 1 to 65536, not empty"),
        ("max_steps: 0", "max_steps must be a whole number of at least 1, not '0'"),
        ("optimizer: no", "optimizer must be one of adamw, adam, sgd, adafactor, not 'no'"),
        ("optimizer: adma", "optimizer must be one of adamw, adam, sgd, adafactor, not 'adma'. Did you mean 'adam'?"),
        ("allow_leak: maybe", "allow_leak must be true or false, not 'maybe'"),
        ("seed: 1\nseed: 2", "the key 'seed' appears twice"),
        ("model: [a, b]", "model must be a text, not '['a', 'b']'"),
        ("labels: {a: 1}", "labels must be a list of names in the order of their ids, such as [negative, positive]"),
        ("labels: [[a]]", "labels must be a list of names in the order of their ids, such as [negative, positive]"),
        ("columns: text", "columns must be pairs of role and column. Such as {text: sentence, label: stars}"),
        ("columns: [a]", "columns must be pairs of role and column. Such as {text: sentence, label: stars}"),
    ],
)
def test_invalid_file_is_78_with_file_and_key(text, message, tmp_path):
    path = yaml_file(tmp_path, text)
    assert error_of(ConfigError, read_settings, path) == f"{path}: {message}"


@pytest.mark.parametrize("text", ["", "- a", "just words", "# nothing"])
def test_file_without_keys_is_an_error(text, tmp_path):
    assert "must hold `key: value` lines" in error_of(ConfigError, read_settings, yaml_file(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "encoding"), [("a: [", "utf-8"), ("a: !!python/object:os.system x", "utf-8"), ("lr: 1", "utf-16")]
)
def test_invalid_yaml_is_a_one_line_error(text, encoding, tmp_path):
    path = yaml_file(tmp_path, text, encoding)
    message = error_of(ConfigError, read_settings, path)
    assert path in message and "\n" not in message


def test_missing_file_is_66(tmp_path):
    assert error_of(InputMissing, read_settings, str(tmp_path)) == f"there is no config file '{tmp_path}'"


def test_assignments_are_parsed_like_other_settings():
    pairs = [
        "lr=3e-5",
        "max_steps=none",
        "labels=no, yes",
        "columns=text=a, label=b",
        "task=x=y",
        "allow_leak=no",
        "device=cpu",
    ]
    assert parse_assignments(pairs) == {
        "lr": 3e-5,
        "max_steps": None,
        "labels": ("no", "yes"),
        "columns": {"text": "a", "label": "b"},
        "task": "x=y",
        "allow_leak": False,
        "device": "cpu",
    }
    assert error_of(UsageError, parse_assignments, ["lr"]) == "--set takes key=value, not 'lr'"
    assert error_of(UsageError, parse_assignments, ["batch-size=1"]) == "unknown key 'batch-size'. Did you mean 'batch_size'?"
    assert error_of(UsageError, parse_assignments, ["zzz=1"]) == "unknown key 'zzz'. See `hftool finetune --help`"
    assert error_of(UsageError, parse_assignments, ["columns=text"]).startswith("columns must be pairs")


@pytest.mark.parametrize(
    ("key", "raw"), [("lr", "nan"), ("lr", "1e999"), ("epochs", True), ("seed", -1), ("epochs", None), ("batch_size", 32.5)]
)
def test_values_from_python_have_the_same_ranges(key, raw):
    assert error_of(UsageError, parse, key, raw).startswith(f"{key} must be a ")


def test_later_layers_take_precedence():
    merged = make_config({"lr": 1.0, "epochs": 2.0}, {"lr": 2.0}, {"seed": 3})
    assert (merged.lr, merged.epochs, merged.seed) == (2.0, 2.0, 3)


def test_every_trainer_argument_name_suggests_a_setting():
    assert set(config.TRAINER_NAMES.values()) <= set(config.KNOBS)
    assert not set(config.TRAINER_NAMES) & {f.name for f in dataclasses.fields(Config)}


def test_prefix_keeps_its_trailing_space_in_a_round_trip(tmp_path):
    """Without the trailing space T5 would read "translate English to German:House"."""
    prefix = "translate English to German: "
    config = make_config({"prefix": prefix})
    (tmp_path / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    assert read_settings(str(tmp_path / "config.yaml"))["prefix"] == prefix
    assert parse_assignments([f"prefix={prefix}"])["prefix"] == prefix == parse("prefix", prefix)
