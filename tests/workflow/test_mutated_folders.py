"""A fuzz of the JSON files of a model folder: every verb that begins with one ends in a line or an answer, soon and small."""

import contextlib
import importlib
import json
import random
import time
from pathlib import Path

import pytest

from hftool.errors import HftoolError
from support.mutating import write_mutated

SAMPLE, ALL, A_BATCH = 60, 10_000, 500
SECONDS = 2
CAUSES_OF_ITS_OWN = 150  # MB that one input may add to the libraries, which take over 500 when all are loaded
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
VERBS = ("infer", "info", "tokenize", "predict", "serve", "export", "verify")
ROWS = {
    "text2text": {"source": "red cat"},
    "embed": {"text": "the red cat"},
    "fill": {"text": "the red cat is [MASK] and fine"},
    "generate": {"text": "the red cat", "prompt": "the red cat"},
}


class Begun(HftoolError):
    """An export that got as far as its graphs."""

    code = 200


@pytest.fixture(scope="module")
def sources(tiny_run):
    """Model folders of every family and of every kind, and what is asked of each."""
    from support import exports, families

    kinds = {families.folder(kind): head for kind, head in FAMILIES.items()}
    graphs = {exports.exported(kind, head)[0]: head for kind, head in (("bert", "classify"), ("gpt2", "generate"))}
    return [*kinds.items(), *graphs.items(), (tiny_run / "model", "classify")]


FAMILIES = {"bert": "fill", "roberta": "fill", "gpt2": "generate", "t5": "text2text", "electra": "fill", "xlm-roberta": "fill"}


def words(verb, folder, row, here):
    """The command line of a verb."""
    if verb == "predict":
        (here / "rows.jsonl").write_text(f"{json.dumps(row)}\n" * 2, encoding="utf-8")
        (here / "out.jsonl").unlink(missing_ok=True)
        return ["predict", folder, here / "rows.jsonl", "--out", here / "out.jsonl", "--offline"]
    if verb == "export":
        return ["export", folder, "--out", here / "out", "--offline"]
    return {
        "infer": ["infer", folder, next(iter(row.values())), "--offline"],
        "tokenize": ["tokenize", folder, "the red cat", "--offline"],
        "info": ["info", folder, "--offline"],
        "verify": ["verify", folder],
    }[verb]


def begin_to_serve(folder):
    """What `serve` does until it listens. Raises HftoolError."""
    from hftool.progress import silent
    from hftool.server.limits import Limits
    from hftool.server.prometheus import Stats
    from hftool.workflow.resolve import resolve_model

    serving = importlib.import_module("hftool.workflow._serve")
    path = resolve_model(str(folder), head=None, offline=True, fallback=False, progress=silent)
    serving._served("m", path, serving._load(path, "cpu", "auto", silent), Limits(), Stats())


def peak():
    """The most memory since `CLEAR` was written, in MB; 0 where the system does not say."""
    if not STATUS.exists():
        return 0
    return next(int(line.split()[1]) // 1024 for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))


def trouble(verb, folder, row, here, cli):
    """What is wrong with how a verb ends; empty where nothing is."""
    from hftool.models.sha256sums import write_checksums

    if CLEAR.exists():
        CLEAR.write_text("5")
    before, began = peak(), time.process_time()  # seconds of the processor: others may be busy, too
    err = ""
    if verb == "verify":
        write_checksums(folder)
    if verb == "serve":
        with contextlib.suppress(HftoolError):
            begin_to_serve(folder)
    else:
        code, _, err = cli(*words(verb, folder, row, here))
        lines = [line for line in err.splitlines() if line.startswith("hftool: ")]
        if code == 1 or "Traceback" in err or (code != 0 and len(lines) != 1):
            return f"exit {code}: {err[-600:]}"
    took, grown = time.process_time() - began, peak() - before
    slow = f"{took:.1f} s" if took > SECONDS else ""
    return slow or (f"{grown} MB more" if grown > CAUSES_OF_ITS_OWN else "")


def run(numbers, sources, here, cli):
    """The inputs of these numbers -> what went wrong, each with what was changed."""
    found = []
    for number in numbers:
        rng = random.Random(number)
        source, head = rng.choice(sources)
        verb = VERBS[number % len(VERBS)]
        message = write_mutated(source, here / "model", rng)
        row = ROWS.get(head, {"text": "the red cat", "sentence": "a warm film"})
        try:
            wrong = trouble(verb, here / "model", row, here, cli)
        except Exception as error:
            wrong = repr(error)
        found += [f"{number}: {verb} {source.name}, {message}: {wrong}"] if wrong else []
    return found


@pytest.fixture
def quick_export(monkeypatch):
    def stop_at_begin(*given, **options):
        raise Begun("the export has begun")

    monkeypatch.setattr(importlib.import_module("hftool.workflow._export").graphs, "export", stop_at_begin)


@pytest.fixture
def warm(sources, tmp_path, cli):
    """All libraries loaded, and the folders are fine as they are."""
    for source, head in sources:
        row = ROWS.get(head, {"text": "the red cat"})
        code, _, err = cli(*words("infer", source, row, tmp_path))
        assert code in (0, 78), err  # 78: a body without a head


def test_a_sample_of_mutated_folders(sources, warm, quick_export, tmp_path, cli):
    assert run(range(SAMPLE), sources, tmp_path, cli) == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("batch", range(ALL // A_BATCH))
def test_ten_thousand_mutated_folders(sources, warm, quick_export, tmp_path, cli, batch):
    assert run(range(batch * A_BATCH, (batch + 1) * A_BATCH), sources, tmp_path, cli) == []


def test_the_check_of_a_verb_bites(tmp_path, cli, monkeypatch):
    """A traceback, a verb that takes long and one that takes memory are seen."""
    (tmp_path / "model").mkdir()
    app = importlib.import_module("hftool.cli.app")

    def ends(act):
        monkeypatch.setattr(app, "app", lambda **given: act())
        return trouble("info", tmp_path / "model", {"text": "a"}, tmp_path, cli)

    assert "ZeroDivisionError" in ends(lambda: 1 // 0)
    monkeypatch.setattr(importlib.import_module(__name__), "SECONDS", 0.001)
    assert ends(lambda: sum(range(3_000_000)) and 0).endswith(" s")
    monkeypatch.setattr(importlib.import_module(__name__), "SECONDS", 2)
    assert ends(lambda: bytearray(b"x" * 200_000_000)[:0] and 0).endswith(" MB more") or not CLEAR.exists()
