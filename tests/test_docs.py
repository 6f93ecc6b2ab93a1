"""The commands and the Python code in docs/ run as they stand, page by page; the generated pages are those of the code."""

import contextlib
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import film_rows
from hftool.cli.app import app_verbs, main
from hftool.registry.heads import head_names
from hftool.registry.models import get_model
from hftool.registry.tasks import get_task
from support import serving
from support.hub_env import led_hub

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
ADDRESS = "http://127.0.0.1:8000"  # what the pages call the server
SHELL = re.compile(r"[|&;<>$()]")
# `sh` marks commands that no test can run: they need a network, Docker or a cluster
NOT_RUN = {"cd", "docker", "kubectl", "make", "pip"}
SLOW = {"answer-questions", "summarize", "tag-entities"}  # these train until the answers are worth a look
PAGES = sorted(path for folder in ("how-to", "concepts", "reference", "") for path in (DOCS / folder).glob("*.md"))
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(page, *kinds):
    """(kind, text) of the fenced blocks of a page, in order."""
    return [(kind, text) for kind, text in FENCE.findall(page.read_text(encoding="utf-8")) if kind in kinds]


def joined(text):
    """The commands of a block, one a line: continued lines are one command."""
    return re.sub(r"\s*\\\n\s*", " ", text).splitlines()


def chunks(text):
    """The parts of a block, in order: ("hftool", words) for a plain command of ours, ("bash", text) for all between them."""
    lines, shell, here = joined(text), [], ""
    for line in lines:
        if not here and line.startswith("hftool ") and not SHELL.search(line):
            if shell:
                yield "bash", "\n".join(shell)
            shell = []
            yield "hftool", shlex.split(line)[1:]
            continue
        shell.append(line)
        begins = re.search(r"<<'(\w+)'", line)
        here = begins[1] if begins else "" if line == here else here
    if shell:
        yield "bash", "\n".join(shell)


class PageRunner:
    """Runs the blocks of pages in one folder. `hftool` commands run in this process, for its imports take seconds.

    offline: whether each verb gets --offline, as HF_HUB_OFFLINE=1 would have it.
    """

    def __init__(self, folder, *, offline=True):
        self.folder, self.offline = folder, offline
        self.servers = contextlib.ExitStack()
        self.url = ADDRESS

    def run(self, page):
        """Run all blocks of a page, in order, in the current folder -> their number."""
        with self.servers:
            found = blocks(page, "bash", "python")
            for kind, text in found:
                if kind == "python":
                    self.python(text, page)
                else:
                    for program, part in chunks(text):
                        getattr(self, program)(part)
        return len(found)

    def hftool(self, words):
        if words[0] == "serve":
            self.serve(words[1:])
            return
        if self.offline and "--offline" not in words and words[0] not in ("push", "save", "verify", "copy"):
            words = [*words, "--offline"]
        assert main(words) == 0, shlex.join(["hftool", *words])

    def serve(self, words):
        count = next((i for i, word in enumerate(words) if word.startswith("--")), len(words))
        started = serving.started(words[:count], *words[count:], folder=self.folder)
        server = self.servers.enter_context(started)
        self.url = f"http://127.0.0.1:{server.port}"

    def bash(self, text):
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PATH": path}
        script = text.replace(ADDRESS, self.url)
        command = ["bash", "-euo", "pipefail", "-c", script]
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        print(done.stdout)

    def python(self, text, page):
        exec(compile(text, page.name, "exec"), {"__name__": "__main__"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder in which the pages are run one after the other: some use the run of own-data.md."""
    return tmp_path_factory.mktemp("docs")


@pytest.fixture
def pages(folder, monkeypatch):
    monkeypatch.chdir(folder)
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HFTOOL_LOCK"):  # --offline sets them for its process, which is ours
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return PageRunner(folder)


@pytest.fixture
def tickets(pages):
    """The run of own-data.md."""
    if not (pages.folder / "runs/tickets/model").is_dir():
        pages.run(DOCS / "how-to/own-data.md")
    return pages


def test_files_in_other_forms_than_tables(pages):
    assert pages.run(DOCS / "how-to/files.md") == 1
    assert len((pages.folder / "good.jsonl").read_text(encoding="utf-8").splitlines()) == 1


def test_exports_of_annotation_tools(pages):
    assert pages.run(DOCS / "how-to/annotation-tools.md") == 3
    tasks = json.loads((pages.folder / "tasks.json").read_text(encoding="utf-8"))
    assert [task["data"]["text"] for task in tasks] == ["Gus lives in Rome.", "Ida is here."]
    assert (pages.folder / "pool-brat").is_dir()
    assert len((pages.folder / "suggestions.jsonl").read_text(encoding="utf-8").splitlines()) == 12


def test_a_csv_of_ones_own(pages, capfd):
    assert pages.run(DOCS / "how-to/own-data.md") == 7
    out, err = capfd.readouterr()
    assert "12 rows in scored.jsonl" in out or "2 rows in scored.jsonl" in out
    assert re.search(r"^  cost +\d", out, flags=re.MULTILINE)
    assert "billing\t" in out or "billing " in out
    assert "columns: text='message', label='team'" in err
    header, first = (pages.folder / "scored.csv").read_text().splitlines()[:2]
    assert header == "id,message,team,label,probability,probability_billing,probability_support"
    # twelve rows, two of them for validation, teach steps and no labels: which one is answered is chance
    assert re.match(r"1,The invoice shows the wrong amount,billing,(billing|support),0\.", first)


def test_rows_with_several_labels(pages, capfd):
    assert pages.run(DOCS / "how-to/several-labels.md") == 3
    out, err = capfd.readouterr()
    assert "a row has any number of them" in err and re.search(r"^  micro_f1 +\d", out, flags=re.MULTILINE)
    header, first = (pages.folder / "emotions.csv").read_text().splitlines()[:2]
    assert header == "text,emotions,labels,probability_anger,probability_joy,probability_wonder"
    assert first.startswith("What a lovely surprise!,joy/wonder,")


def test_what_is_saved_is_verified_and_would_be_pushed(tickets, capfd):
    tickets.run(DOCS / "how-to/share.md")
    out = capfd.readouterr().out
    assert "model tickets-model: 6 files match their checksums" in out
    assert "model.safetensors: OK" in out
    assert "would go to someone/tickets (private): 7 files; nothing was sent" in out


@pytest.mark.slow  # README exports and asks, too
def test_an_export_answers(tickets, capfd):
    tickets.run(DOCS / "how-to/export.md")
    out = capfd.readouterr().out
    assert out.count("outputs differ by at most") == 2 and "products and 3 tables converted" in out
    assert out.splitlines()[-1].startswith(("billing\t", "support\t"))


def test_a_server_answers_with_keys_and_without(tickets, capfd):
    tickets.run(DOCS / "how-to/serve.md")
    out = capfd.readouterr().out
    assert out.count('"label":"billing"') >= 2 and '"tickets"' in out


def test_the_folder_for_a_cluster(tickets, capfd):
    page = DOCS / "how-to/kubernetes.md"
    tickets.run(page)
    assert "Dockerfile" in capfd.readouterr().out
    cluster = tickets.folder / "cluster"
    kinds = {line.split()[1] for path in (cluster / "kubernetes").glob("*.yaml") for line in kind_lines(path)}
    shown = {"Deployment", "Service", "HorizontalPodAutoscaler", "NetworkPolicy", "PodDisruptionBudget", "Kustomization"}
    assert kinds == shown and all(kind.lower() in page.read_text().lower() for kind in shown)
    saved = (cluster / "README.md").read_text(encoding="utf-8")
    for _, text in blocks(page, "sh"):  # the page quotes what the folder's own README.md says
        for command in joined(text)[1:]:
            assert command.replace("cluster/kubernetes", "kubernetes") in saved, command
    assert "docker build -t " in saved


def kind_lines(path):
    return [line for line in path.read_text().splitlines() if line.startswith("kind:")]


def test_models_that_need_no_training(pages, capfd):
    pages.run(DOCS / "how-to/generate-fill-embed.md")
    assert "Once upon a time" in capfd.readouterr().out
    alike, other = (pages.folder / "pairs-scored.csv").read_text().splitlines()[1:]
    assert float(alike.rpartition(",")[2]) > 0.6 > float(other.rpartition(",")[2])


@pytest.mark.skipif(os.name == "nt", reason="no SIGTERM there")
def test_a_run_is_stopped_and_resumed(pages, capfd):
    pages.run(DOCS / "how-to/resume.md")
    out = capfd.readouterr().out
    assert "best at step" in out and (pages.folder / "runs/long/model/model.safetensors").is_file()


def test_what_was_fetched_is_used_offline_and_locked(tiny_bert, monkeypatch, tmp_path, capfd):
    monkeypatch.setenv("HFTOOL_LOCK", "")
    monkeypatch.chdir(tmp_path)
    bert, sst2 = get_model("bert"), get_task("sst2")
    table = "sentence,label\n" + "".join(f"{row['sentence']},{row['label']}\n" for row in film_rows(48))
    card = b"---\nconfigs:\n- config_name: sst2\n  data_files:\n  - split: train\n    path: sst2/train.csv\n---\n"
    repos = {
        ("model", bert.repo): {bert.revision: {path.name: path.read_bytes() for path in tiny_bert.iterdir()}},
        ("dataset", sst2.repo): {sst2.revision: {"README.md": card, "sst2/train.csv": table.encode()}},
    }
    with led_hub(repos, monkeypatch, tmp_path / "home"):
        PageRunner(tmp_path, offline=False).run(DOCS / "how-to/offline.md")
    assert "fetched" in capfd.readouterr().out
    assert bert.revision in (tmp_path / "hftool.lock").read_text()
    assert (tmp_path / "runs/locked/model").is_dir()


def test_the_machine_is_looked_at(pages, capfd):
    pages.run(DOCS / "install.md")
    assert "versions" in capfd.readouterr().out


@pytest.mark.slow  # benchmark/test_run.py measures, too
def test_the_speed_is_measured(pages, capfd):
    pages.run(DOCS / "how-to/benchmark.md")
    out = capfd.readouterr().out
    assert "tokens/s" in out and "R and B allow" in out


def test_the_python_interface(pages, capfd):
    pages.run(DOCS / "reference/python.md")
    assert "opened the door" in capfd.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "shown"),
    [
        ("tag-entities", "person: Amina Okafor"),
        ("answer-questions", "1906"),
        ("summarize", "bleu"),
    ],
)
def test_pages_that_train_for_a_minute(pages, capfd, page, shown):
    pages.run(DOCS / f"how-to/{page}.md")
    assert shown in capfd.readouterr().out


def test_every_page_with_commands_is_run_by_a_test():
    """A new page with `bash` or `python` blocks needs a test above."""
    source = Path(__file__).read_text(encoding="utf-8")
    for page in PAGES:
        if blocks(page, "bash", "python"):
            name = page.relative_to(DOCS).as_posix()
            assert name in source or page.stem in SLOW, name


# -- what is not run is looked at ---------------------------------------------------------------------------------------


def commands():
    """(page, words) of each `hftool` command of the pages and of README, run or shown."""
    for page in [*PAGES, ROOT / "README.md"]:
        for kind, text in blocks(page, "bash", "console", "sh"):
            for line in joined(text):
                line = line.removeprefix("$ ") if kind == "console" else line
                if line.startswith("hftool "):
                    yield page.name, shlex.split(line.partition(" &")[0])[1:]


def wrong(words):
    """What the command line has against these words, without running them; empty if nothing."""
    import typer

    from hftool.cli.app import app

    group = typer.main.get_command(app)
    try:
        group.commands[words[0]].make_context(words[0], words[1:], parent=None)
    except KeyError:
        return f"no verb {words[0]}"
    except Exception as error:
        return str(error)
    return ""


def test_a_block_is_split_at_the_commands_of_ours():
    text = "cat > a.csv <<'END'\nhftool no command\nEND\nhftool info \\\n    bert\nhftool info x | cat\nhead -1 a.csv\n"
    first, second, third = chunks(text)
    assert first == ("bash", "cat > a.csv <<'END'\nhftool no command\nEND") and second == ("hftool", ["info", "bert"])
    assert third == ("bash", "hftool info x | cat\nhead -1 a.csv")


def test_every_command_shown_has_a_verb_and_options_that_there_are(monkeypatch):
    monkeypatch.setenv("HFTOOL_LOCK", "")
    monkeypatch.setattr("hftool.workflow.lockfile.read_lock", lambda path: None)  # --locked reads it while the words are parsed
    found = list(commands())
    assert len(found) > 40
    assert [(page, words, wrong(words)) for page, words in found if wrong(words)] == []


@pytest.mark.parametrize("words", [["finetun", "bert"], ["finetune", "bert", "sst2", "--epoch", "1"], ["save", "runs/a"]])
def test_the_check_of_commands_bites(words):
    assert wrong(words)


def test_only_what_needs_a_network_docker_or_a_cluster_is_not_run():
    for page in PAGES:
        for _, text in blocks(page, "sh"):
            assert {line.split()[0] for line in joined(text) if line} <= NOT_RUN, page


def test_every_block_has_a_language():
    for page in PAGES:
        kinds = {kind for kind, _ in FENCE.findall(page.read_text(encoding="utf-8"))}
        assert kinds <= {"bash", "python", "console", "sh", "text"}, page


# -- the site -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hooks():
    """docs/hooks.py."""
    spec = importlib.util.spec_from_file_location("hooks", DOCS / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_the_command_line_has_every_verb_with_its_help(hooks):
    page = hooks.cli_page()
    assert re.findall(r"^## hftool (\w+)$", page, flags=re.MULTILINE) == app_verbs()
    assert "--class-weights" in page and "\x1b" not in page
    assert hooks.help_text("fill") in page


def test_the_page_of_modules_has_every_module_and_its_purpose(hooks):
    page = hooks.modules_page()
    rows = dict(re.findall(r"^\| `(hftool[\w.]*)` \| (.*) \|$", page, flags=re.MULTILINE))
    there = [path for path in (ROOT / "hftool").rglob("*.py") if "assets" not in path.parts]
    assert len(rows) == len(there) and all(rows.values())


def test_the_page_of_the_python_interface_has_every_public_name(hooks):
    import hftool

    shown = re.findall(r"^::: [\w.]+\.(\w+)$", hooks.public_objects(), flags=re.MULTILINE)
    assert sorted([*shown, "HftoolError"]) == sorted(hftool.__all__)  # the errors have a section
    assert hooks.FUNCTIONS in (DOCS / "reference/python.md").read_text(encoding="utf-8")


def test_the_front_page_has_the_heads_of_the_readme(hooks):
    page = (DOCS / "index.md").read_text(encoding="utf-8")
    assert "| **tag**" not in page and hooks.HEADS in page
    rows = re.findall(r"^\| \*\*(\w+)\*\*", hooks.on_page_markdown(page), flags=re.MULTILINE)
    assert sorted(rows) == sorted(head_names())


def test_the_pages_of_the_menu_are_the_pages(hooks):
    import yaml

    menu = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]

    def files(entry):
        if isinstance(entry, str):
            return [entry]
        return [name for inner in (entry if isinstance(entry, list) else entry.values()) for name in files(inner)]

    saved = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    assert sorted(files(menu)) == sorted(saved | set(hooks.pages()))


def test_links_of_the_files_outside_the_site_lead_somewhere():
    for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        for target in re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", text):
            assert (ROOT / target).exists(), f"{name}: {target}"


def test_files_that_the_instructions_name_are_there():
    """CONTRIBUTING and ARCHITECTURE say which files to touch."""
    for name in ("CONTRIBUTING.md", "ARCHITECTURE.md", "SECURITY.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        for path in re.findall(r"`((?:hftool|tests|benchmarks|docs|examples|recipes|findings)/[\w./]*)`", text):
            assert (ROOT / path.replace("NAME.py", "classify.py")).exists(), f"{name}: {path}"
