"""The Docker build context of `hftool deploy`: the Dockerfile is parsed, and its entry point runs with only the packages of the
image. Docker is not needed."""

import contextlib
import http.client
import json
import os
import re
import shlex
import signal
import socket
import stat
import subprocess
import sys
import time
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from conftest import one_line
from hftool.packaging.packages import EXPORTED, SERVING, pins, write_wheel

KEY = "k" * 40
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def context(tiny_run, tmp_path_factory):
    """The output for Kubernetes, which includes that for Docker, created with umask 077."""
    from hftool import workflow

    out = tmp_path_factory.mktemp("deploy") / "out"
    before = os.umask(0o077)
    try:
        workflow.deploy(str(tiny_run), to="kubernetes", out=out, name="films", offline=True)
    finally:
        os.umask(before)
    return out


def instructions(folder):
    """(instruction, argument) of each line of a Dockerfile, with continuation lines joined."""
    text = re.sub(r"\\\n\s*", "", (folder / "Dockerfile").read_text(encoding="utf-8"))
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [tuple(line.split(" ", maxsplit=1)) for line in lines]


def last(steps, word):
    """The argument of the last instruction of this kind, which is the effective one."""
    return [argument for name, argument in steps if name == word][-1]


def stages(steps):
    """The instructions of each stage, without those before the first."""
    starts = [i for i, (name, _) in enumerate(steps) if name == "FROM"]
    return [steps[a:b] for a, b in zip(starts, [*starts[1:], len(steps)], strict=True)]


def environment(steps):
    """Environment variables set by ENV."""
    return dict(word.split("=", maxsplit=1) for name, argument in steps if name == "ENV" for word in shlex.split(argument))


def test_build_context_is_complete_and_has_no_key(context):
    files = {path.relative_to(context).as_posix() for path in context.rglob("*") if path.is_file()}
    assert {"Dockerfile", ".dockerignore", "constraints.txt", "README.md", "model/config.json", "model/hftool.json"} <= files
    assert {"model/SHA256SUMS", "kubernetes/kustomization.yaml"} <= files
    assert len([name for name in files if name.startswith("wheels/")]) == 1
    assert not [name for name in files if "key" in name]


def test_all_copied_paths_exist_and_are_not_ignored(context):
    copied = [argument.split()[0] for name, argument in instructions(context) if name == "COPY" and "--from" not in argument]
    ignored = (context / ".dockerignore").read_text().split()
    assert ignored[0] == "*" and {f"!{name}" for name in copied} == set(ignored[1:])
    assert all((context / name).exists() for name in copied)


def test_every_user_can_read_the_model(context):
    """The model may be trained with a strict umask, and the image runs as another user."""
    for path in [context / "model", *(context / "model").rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o755 if path.is_dir() else 0o644), path


def test_base_image_is_slim_and_pinned(context):
    steps = instructions(context)
    assert steps[0][0] == "ARG" and re.fullmatch(r"BASE=python:3\.\d+-slim-\w+", steps[0][1])
    assert {argument.split()[0] for name, argument in steps if name == "FROM"} == {"${BASE}"}
    assert ":latest" not in (context / "Dockerfile").read_text()


def test_packages_are_pinned_and_installed_in_the_first_stage_only(context):
    build, serve = stages(instructions(context))
    installs = [argument for name, argument in build if name == "RUN" and "install" in argument]
    assert len(installs) == 2
    assert f"torch=={pins(['torch'])['torch']}" in installs[0]
    assert "--constraint /build/constraints.txt" in installs[1]
    assert not [argument for _, argument in serve if "pip" in argument.split()]
    pinned = [line for line in (context / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert len(pinned) > 30 and all(re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line) for line in pinned)
    wheel = next((context / "wheels").iterdir()).name
    assert installs[1].count(wheel) == 1


def test_no_root_user_shell_form_or_url(context):
    steps = instructions(context)
    serve = stages(steps)[1]
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", last(serve, "USER"))
    after = [name for name, _ in serve][[name for name, _ in serve].index("USER") :]
    assert not {"RUN", "COPY"} & set(after)
    assert not [name for name, _ in steps if name in ("ADD", "MAINTAINER", "ONBUILD", "SHELL")]
    for word in ("ENTRYPOINT", "CMD"):
        assert isinstance(json.loads(last(serve, word)), list)
    assert last(serve, "STOPSIGNAL") == "SIGTERM"
    assert not re.search(r"curl |wget |https?://(?!download\.pytorch\.org)", " ".join(argument for _, argument in steps))


def test_image_is_offline_and_writes_to_tmp_only(context):
    known = environment(stages(instructions(context))[1])
    assert known["HF_HUB_OFFLINE"] == "1" and known["PYTHONDONTWRITEBYTECODE"] == "1"
    assert known["HF_HOME"].startswith("/tmp/") and known["HOME"] == "/tmp"


def test_labels_have_name_and_version(context):
    text = last(stages(instructions(context))[1], "LABEL")
    labels = dict(word.split("=", maxsplit=1) for word in shlex.split(text))
    assert labels["org.opencontainers.image.title"] == "films"
    assert re.fullmatch(r"[\d.]+-[0-9a-f]{12}", labels["org.opencontainers.image.version"])


def test_readme_commands_agree_with_the_files(context):
    text = (context / "README.md").read_text()
    image = re.search(r"docker build -t (\S+) \.", text)[1]
    assert f'image: "{image}"' in (context / "kubernetes/deployment.yaml").read_text()
    assert (
        "films-api-key --from-file=api-key" in text
        and 'secretName: "films-api-key"' in (context / "kubernetes/deployment.yaml").read_text()
    )
    body = re.search(r"-d '(.*)'", text)[1]
    assert isinstance(json.loads(body)["inputs"], str)
    assert f":{json.loads(last(instructions(context), 'ENTRYPOINT'))[-1]}:ro" in text


def test_image_tag_depends_on_the_model(tiny_run, tmp_path, context):
    import shutil

    from hftool import workflow

    repeated = workflow.deploy(str(tiny_run), to="docker", out=tmp_path / "repeated", name="films", offline=True)
    assert (tmp_path / "repeated" / "Dockerfile").read_bytes() == (context / "Dockerfile").read_bytes()
    wheels = [next((folder / "wheels").iterdir()) for folder in (tmp_path / "repeated", context)]
    assert wheels[0].name == wheels[1].name and wheels[0].read_bytes() == wheels[1].read_bytes()
    shutil.copytree(tiny_run / "model", tmp_path / "other", ignore=shutil.ignore_patterns("SHA256SUMS"))
    head_config = json.loads((tmp_path / "other" / "hftool.json").read_text())
    (tmp_path / "other" / "hftool.json").write_text(json.dumps({**head_config, "task": 'x"\nRUN touch /canary'}))
    other = workflow.deploy(str(tmp_path / "other"), to="docker", out=tmp_path / "third", offline=True)
    assert other.name == "other" and other.image.split(":")[1] != repeated.image.split(":")[1]
    assert "canary" not in (tmp_path / "third" / "Dockerfile").read_text() + (tmp_path / "third" / "README.md").read_text()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--to", "dockr", "--out", "x"], 2, "Did you mean 'docker'?"),
        (["--to", "docker", "--out", "x", "--image", "films:latest"], 2, "Such as --image films:1"),
        (["--to", "docker", "--out", "x", "--name", "My Films"], 2, "Such as --name my-films"),
        (["--to", "docker", "--out", "x", "--replicas", "0"], 2, "--replicas"),
        (["--to", "docker", "--out", "."], 73, "exists already"),
    ],
)
def test_invalid_options_are_one_line_and_leave_no_files(cli, tiny_run, tmp_path, words, code, message):
    given, out, err = cli("deploy", tiny_run, *words)
    assert (given, out) == (code, "") and message in one_line(err)
    assert list(tmp_path.iterdir()) == []


def test_untrained_and_damaged_models_are_refused(cli, tiny_bert, tiny_run, tmp_path):
    import shutil

    shutil.copytree(tiny_bert, tmp_path / "headless")
    config = tmp_path / "headless" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "architectures": ["BertForSequenceClassification"]}))
    code, _, err = cli("deploy", "headless", "--to", "docker", "--out", "x")
    assert code == 78 and "no trained head" in one_line(err)
    shutil.copytree(tiny_run / "model", tmp_path / "bad")
    with open(tmp_path / "bad" / "model.safetensors", "r+b") as handle:
        handle.seek(-4, os.SEEK_END)
        handle.write(b"\x00\x01\x02\x03")
    code, _, err = cli("deploy", "bad", "--to", "docker", "--out", "x")
    assert code == 65 and "model.safetensors" in one_line(err)
    assert sorted(os.listdir(tmp_path)) == ["bad", "headless"]


def test_command_prints_the_next_step(cli, tiny_run, tmp_path):
    code, out, _ = cli("deploy", tiny_run, "--to", "docker", "--out", "my image", "--offline")
    assert code == 0 and re.search(r"docker build -t run:\S+ 'my image'", out)
    assert not (tmp_path / "my image" / "kubernetes").exists()
    code, out, _ = cli("deploy", tiny_run, "--to", "docker", "--out", "b", "--image", "a/b:2", "--offline", "--json")
    assert json.loads(out) == {"path": "b", "to": "docker", "name": "run", "image": "a/b:2"}


def test_pinning_a_package_that_is_not_installed_is_an_error():
    from hftool.errors import UsageError

    with pytest.raises(UsageError, match=r"hftool-recipes\[serve\]"):
        pins(["torch", "no-such-package"])


def linked(site, names):
    """A folder with links to these installed packages and no others."""
    site.mkdir()
    for name in names:
        installed = metadata.distribution(name)
        for top in {file.parts[0] for file in installed.files or [] if file.parts[0] not in ("..", "__pycache__")}:
            if not (site / top).exists():
                os.symlink(installed.locate_file(top), site / top)
    return site


@pytest.fixture(scope="module")
def image(context, tmp_path_factory):
    """The image's /opt/venv as a folder: links to the packages of constraints.txt, and the unpacked wheel."""
    lines = (context / "constraints.txt").read_text().splitlines()
    names = [line.partition("==")[0] for line in lines if not line.startswith("#")]
    site = linked(tmp_path_factory.mktemp("image") / "site", names)
    with zipfile.ZipFile(next((context / "wheels").iterdir())) as wheel:
        wheel.extractall(site)
    return site


def in_image(image, code, *args, **process_options):
    """A process that sees the image's packages and the standard library."""
    known = {"PYTHONPATH": str(image), "PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", **process_options.pop("env", {})}
    return subprocess.Popen([sys.executable, "-S", "-c", code, *args], env=known, text=True, **process_options)


def test_wheel_is_complete_and_its_requirements_are_pinned(image, context, tmp_path):
    code = "import sys, hftool; from importlib.metadata import *; print(hftool.__file__); print(version('hftool-recipes'))\n"
    code += "print('\\n'.join(requires('hftool-recipes')))"
    process = in_image(image, code, cwd=tmp_path, stdout=subprocess.PIPE)
    where, version, *needs = process.communicate(timeout=60)[0].split("\n")
    assert where == str(image / "hftool" / "__init__.py") and version.endswith("+serve")
    assert set(filter(None, needs)) <= set((context / "constraints.txt").read_text().splitlines())
    assert len(list(filter(None, needs))) == len(SERVING)
    record = next(image.glob("hftool_recipes-*.dist-info/RECORD")).read_text().splitlines()
    assert all((image / line.split(",")[0]).is_file() for line in record)
    assert (image / "hftool" / "server" / "http" / "page.html").is_file() and not (image / "hftool" / "assets").exists()


def test_image_of_an_export_has_its_packages(tmp_path):
    """Loading an export first checks for these packages; a real export would take half a minute."""
    code = "import onnx, onnxruntime; from hftool.models.safety import check_extra; check_extra()"
    known = pins((*SERVING, *EXPORTED))
    process = in_image(linked(tmp_path / "site", known), code, cwd=tmp_path, env={"PYTHONPATH": f"{tmp_path / 'site'}:{ROOT}"})
    assert process.wait(60) == 0
    assert "onnx" not in pins(SERVING)


def test_pip_installs_the_wheel(tmp_path):
    """Installed as in the image, but without its requirements."""
    if not list(metadata.distributions(name="pip")):
        pytest.skip("there is no pip in this environment")
    wheel = write_wheel(tmp_path, pins(SERVING))
    words = ["install", "--quiet", "--no-deps", "--no-index", "--target", str(tmp_path / "there"), str(wheel)]
    done = subprocess.run([sys.executable, "-m", "pip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "there" / "bin" / "hftool").is_file()


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def send_request(port, method, path, body=None, key=None):
    """(status, document or text) of one request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    headers = {"Content-Type": "application/json"} if body is not None else {}
    headers |= {"Authorization": f"Bearer {key}"} if key else {}
    with contextlib.closing(connection):
        connection.request(method, path, body=None if body is None else json.dumps(body), headers=headers)
        response = connection.getresponse()
        return response.status, response.read().decode("utf-8")


@contextlib.contextmanager
def container(context, image, folder):
    """The entry point of the Dockerfile as a process, its paths and its port mapped. Yields (process, port)."""
    serve = stages(instructions(context))[1]
    words = [*json.loads(last(serve, "ENTRYPOINT")), *json.loads(last(serve, "CMD"))]
    port, key = free_port(), folder / "api-key"
    key.write_text(KEY + "\n")
    key.chmod(0o600)
    (folder / "tmp").mkdir()
    paths = {"/model": str(context / "model"), "/run/secrets/hftool/api-key": str(key), "8000": str(port)}
    assert words[0] == "hftool"
    words = [re.sub(r"^(\w+=)?(.*)$", lambda m: (m[1] or "") + paths.get(m[2], m[2]), word) for word in words[1:]]
    known = {name: value.replace("/tmp", str(folder / "tmp")) for name, value in environment(serve).items() if name != "PATH"}
    code = "from hftool.cli.app import entry; entry()"
    process = in_image(image, code, *words, cwd=folder, env=known, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        yield process, port
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def wait_ready(process, port):
    for _ in range(600):
        assert process.poll() is None, process.stderr.read()
        with contextlib.suppress(OSError):
            if send_request(port, "GET", "/readyz")[0] == 200:
                return
        time.sleep(0.1)
    raise AssertionError("it did not become ready within 60 s")


def test_entry_point_serves_with_the_packages_of_the_image(context, image, tmp_path):
    with container(context, image, tmp_path) as (process, port):
        wait_ready(process, port)
        _, health = last(stages(instructions(context))[1], "HEALTHCHECK").split(" CMD ")
        probe = [word.replace("8000", str(port)) for word in json.loads(health)]
        assert subprocess.run([sys.executable, *probe[1:]], check=False).returncode == 0
        body = {"inputs": "a warm funny film"}
        status, text = send_request(port, "POST", "/predict", body, KEY)
        assert status == 200 and "score" in text
        assert send_request(port, "POST", "/models/films/predict", body, KEY)[0] == 200
        assert send_request(port, "POST", "/predict", body)[0] == 401
        assert send_request(port, "POST", "/predict", body, KEY.upper())[0] == 401
        assert send_request(port, "GET", "/livez")[0] == 200
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=20)
        assert time.monotonic() - started < 5 and process.returncode in (0, 143), stderr
        assert KEY not in stderr and "Traceback" not in stderr
        assert subprocess.run([sys.executable, *probe[1:]], check=False, capture_output=True).returncode != 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["api-key", "tmp"]
