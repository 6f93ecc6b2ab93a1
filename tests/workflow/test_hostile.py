"""Hostile models under every verb that loads one: exit code 77, and an audit hook sees no code, socket or process of theirs.

One fresh process goes through all of them, since loading the libraries takes longer than all refusals together.
"""

import json
import os
import pickle
import shutil
import subprocess
import sys
import zipfile

import pytest

from conftest import film_rows, write_tsv
from hftool.cli.app import app_verbs
from hftool.models.safety import HOSTILE_KEYS
from hftool.models.sha256sums import write_checksums

DRIVER = """
import contextlib, io, json, os, sys, time

root, modules = sys.argv[1], os.path.join(os.environ["HF_HOME"], "modules")
seen, watching = [], False
PROCESSES = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "pty.spawn")


def foreign(name):
    return isinstance(name, str) and name.startswith((root, modules))


def audit(event, arguments):
    if not watching:
        return
    if event == "exec" and foreign(arguments[0].co_filename) or event == "compile" and foreign(arguments[1]):
        seen.append(event)
    elif event == "import" and foreign(arguments[1]) or event in PROCESSES or event == "pickle.find_class":
        seen.append(event)
    elif event == "socket.connect" or event == "socket.getaddrinfo" and arguments[0] not in (None, "127.0.0.1", "localhost"):
        seen.append(event)


sys.addaudithook(audit)
from hftool.cli.app import main

results = {}
for name, words in json.load(open(os.path.join(root, "cases.json"))).items():
    seen.clear()
    out, err = io.StringIO(), io.StringIO()
    began = time.monotonic()
    watching = name != "warm-up"
    sys.stdin = io.StringIO("")
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(words)
    watching = False
    took = time.monotonic() - began
    results[name] = {"took": took, "code": code, "err": err.getvalue(), "seen": list(seen), "canary": os.path.exists(os.path.join(root, "canary"))}
json.dump(results, open(os.path.join(root, "results.json"), "w"))
"""
CODE = "import os\nos.mkdir({canary!r})\n"
ESCAPE = "{{ ''.__class__.__mro__[1].__subclasses__() }}"
VERBS = {
    "classify": ["classify", "{}", "a warm film"],
    "infer": ["infer", "{}", "a warm film"],
    "predict": ["predict", "{}", "rows.tsv"],
    "evaluate": ["evaluate", "{}", "rows.tsv", "--split", "train"],
    "finetune": ["finetune", "{}", "rows.tsv", "--max-steps", "1", "--out", "made"],
    "info": ["info", "{}"],
    "tokenize": ["tokenize", "{}", "a warm film"],
    "prefetch": ["prefetch", "{}"],
    "export": ["export", "{}", "--to", "onnx", "--out", "made"],
    "serve": ["serve", "{}", "--port", "0"],
    "deploy": ["deploy", "{}", "--to", "docker", "--out", "made"],
}


class Evil:
    """Leaves a canary behind when it is unpickled."""

    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return (os.mkdir, (self.canary,))


def change(path, values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def in_config(key, value, name="config.json"):
    def make(folder, canary):
        path = folder / name
        path.write_text(path.read_text() if path.exists() else "{}")
        change(path, {key: value})
        for module in ("modeling_evil.py", "generate.py", "tokenization_evil.py"):
            (folder / module).write_text(CODE.format(canary=canary))

    return make


def pickled(name, *, beside=False):
    def make(folder, canary):
        if not beside:
            (folder / "model.safetensors").unlink()
        (folder / name).write_bytes(pickle.dumps(Evil(canary)) + b"." * 99)

    return make


def zipped(folder, canary):
    """A zip, as torch.save writes, under the name of safetensors."""
    with zipfile.ZipFile(folder / "model.safetensors", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Evil(canary)))


def polyglot(folder, canary):
    """Whole safetensors, with a zip behind them."""
    body = (folder / "model.safetensors").read_bytes()
    zipped(folder, canary)
    (folder / "model.safetensors").write_bytes(body + (folder / "model.safetensors").read_bytes())


def index(folder, canary):
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "pytorch_model.bin"}}))
    pickled("pytorch_model.bin", beside=True)(folder, canary)


def link(name):
    def make(folder, canary):
        target = folder.parent / f"outside-{name}"
        shutil.move(folder / name, target)
        (folder / name).symlink_to(target)

    return make


def template(folder, canary):
    (folder / "chat_template.jinja").write_text(ESCAPE)


CLASS = {"AutoModelForSequenceClassification": "modeling_evil.Evil", "AutoConfig": "modeling_evil.Evil"}
VALUES = {"auto_map": CLASS, "trust_remote_code": True, "_attn_implementation": "ann/kernel"}
HOSTILE = {
    **{f"config-{key}": in_config(key, VALUES.get(key, "ann/evil")) for key in sorted(HOSTILE_KEYS)},
    "config-attn_implementation": in_config("attn_implementation", "ann/kernel"),
    "config-experts_implementation": in_config("experts_implementation", {"text": "ann/kernel"}),
    "config-private": in_config("_other_implementation_internal", "ann/kernel"),
    "config-nested": in_config("text_config", {"vision": [{"trust_remote_code": True, "auto_map": CLASS}]}),
    "tokenizer-auto_map": in_config("auto_map", {"AutoTokenizer": ["tokenization_evil.Evil", None]}, "tokenizer_config.json"),
    "tokenizer-template": in_config("chat_template", ESCAPE, "tokenizer_config.json"),
    "tokenizer-templates": in_config("chat_template", [{"name": "a", "template": ESCAPE}], "tokenizer_config.json"),
    "template-file": template,
    "generation-custom": in_config("custom_generate", "ann/evil", "generation_config.json"),
    "pickle": pickled("pytorch_model.bin"),
    "pickle-renamed": pickled("model.safetensors"),
    "zip-renamed": zipped,
    "index": index,
    **{f"link-{name}": link(name) for name in ("config.json", "tokenizer.json", "model.safetensors")},
}


@pytest.fixture(scope="module")
def results(tiny_run, tmp_path_factory):
    """What happened to each (verb, hostile model), by one process that heard all audit events."""
    root = tmp_path_factory.mktemp("hostile")
    write_tsv(root / "rows.tsv", film_rows(16))
    cases = {"warm-up": ["classify", str(tiny_run), "a warm film"]}
    for name, make in HOSTILE.items():
        folder = root / name / "model"
        shutil.copytree(tiny_run / "model", folder)
        make(folder, str(root / "canary"))
        write_checksums(folder)  # an attacker would write the checksums, too
        for verb in set(VERBS) & set(app_verbs()):
            cases[f"{verb} {name}"] = [word.format(folder) for word in VERBS[verb]]
    (root / "cases.json").write_text(json.dumps(cases))
    (root / "driver.py").write_text(DRIVER)
    command = [sys.executable, str(root / "driver.py"), str(root)]
    home = {**os.environ, "HF_HOME": str(root / "home"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=root, env=home, capture_output=True, text=True, timeout=240, check=False)
    assert (root / "results.json").is_file(), done.stdout + done.stderr
    found = json.loads((root / "results.json").read_text())
    assert found["warm-up"]["code"] == 0 and not (root / "made").exists()
    return found


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("name", HOSTILE)
def test_it_is_refused_and_nothing_of_it_runs(results, verb, name):
    if verb not in app_verbs():
        pytest.skip(f"there is no verb {verb} yet")
    found = results[f"{verb} {name}"]
    assert (found["code"], found["seen"], found["canary"]) == (77, [], False), found["err"]
    assert found["err"].startswith("hftool: ") and found["err"].count("\n") == 1


def test_the_hook_would_have_seen_it(tmp_path):
    """A process that runs code of the folder, opens a socket and starts a process is reported for all three."""
    (tmp_path / "evil.py").write_text("x = 1\n")
    (tmp_path / "cases.json").write_text('{"a": []}')
    fake = "import runpy, socket, subprocess\n\n\ndef main(words):\n    runpy.run_path({!r})\n    socket.socket().connect_ex(('127.0.0.1', 9))\n"
    fake += "    subprocess.run(['true'])\n    return 0\n"
    package = tmp_path / "elsewhere" / "hftool" / "cli"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").write_text("")
    (package / "app.py").write_text(fake.format(str(tmp_path / "root" / "evil.py")))
    root = tmp_path / "root"
    root.mkdir()
    for name in ("evil.py", "cases.json"):
        shutil.move(tmp_path / name, root / name)
    (tmp_path / "driver.py").write_text(DRIVER)
    environment = {**os.environ, "HF_HOME": str(tmp_path), "PYTHONPATH": str(tmp_path / "elsewhere")}
    subprocess.run([sys.executable, str(tmp_path / "driver.py"), str(root)], env=environment, check=True, cwd=tmp_path)
    seen = json.loads((root / "results.json").read_text())["a"]["seen"]
    assert {"compile", "exec", "socket.connect", "subprocess.Popen"} <= set(seen)


def test_safetensors_with_a_zip_behind_them_are_damaged(tiny_run, tmp_path, cli):
    """65 and not 77: a zip archive cannot be distinguished from other trailing bytes, and nothing reads it."""
    folder = shutil.copytree(tiny_run / "model", tmp_path / "model")
    polyglot(folder, str(tmp_path / "canary"))
    code, _, err = cli("classify", folder, "a warm film")
    assert code == 65 and "bytes where its header promises" in err and not (tmp_path / "canary").exists()


def test_safetensors_beside_a_pickle_are_taken(tiny_run, tmp_path, cli):
    folder = shutil.copytree(tiny_run / "model", tmp_path / "model")
    pickled("pytorch_model.bin", beside=True)(folder, str(tmp_path / "canary"))
    code, out, _ = cli("classify", folder, "a warm film")
    assert code == 0 and out and not (tmp_path / "canary").exists()


def test_a_template_that_formats_a_chat_passes(tiny_run, tmp_path, cli):
    folder = shutil.copytree(tiny_run / "model", tmp_path / "model")
    plain = "{% for m in messages %}{{ m['role'] ~ ': ' ~ m.content | trim }}{% if not loop.last %}{{ '\\n' }}{% endif %}{% endfor %}"
    (folder / "chat_template.jinja").write_text(plain)
    change(folder / "tokenizer_config.json", {"chat_template": plain})
    (folder / "SHA256SUMS").unlink()  # otherwise the folder is damaged
    assert cli("classify", folder, "a warm film")[0] == 0
