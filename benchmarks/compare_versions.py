"""What the command line and the server of two versions of hftool print, return and write, and where they differ.

    python benchmarks/compare_versions.py --before OLD_TREE --after NEW_TREE [--out results/compare_versions.json]

Both trees run through PYTHONPATH with this interpreter, at the same time, each in a fresh folder, always offline. Four passes:

commands  those of compare_commands.py: stdout, stderr, exit code, and the documents that are written.
server    the requests of compare_server.py: status, headers and body of the answers, and the server's own log.
older     both versions on the runs, models and exports of the version before, from the first pass.
resume    both versions on copies of runs of the version before that SIGTERM has ended; weights and losses must be those of
          the uninterrupted run.

One line for each command says same or differs; a unified diff of each difference follows in --diffs.
Times, dates, paths, ports and request ids are normalized first. The digest of each difference is in the result, so that
`--known results/compare_versions.json` names only differences that were not there then.
"""

import argparse
import concurrent.futures
import difflib
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import compare_commands
import compare_inputs
from compare_commands import Command
from compare_reasons import explain
from compare_server import SERVERS, served

LAUNCHER = Path(__file__).parent / "compare_launcher.py"
DOCUMENTS = {".json", ".jsonl", ".csv", ".tsv", ".txt", ".md", ".yaml", ".yml", ".py", ".j2", ".in", ""}
SECONDS = 240
HASHED = r"(?:README\.md|SHA256SUMS|hftool\.json|state\.json|export\.json|tokenizer_config\.json)"
# (pattern, replacement): what differs between two runs of the same version
ALIKE = (
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?([+-]\d\d:?\d\d|Z)?", "DATE"),
    (r"\b20\d{6}-\d{6}\b", "DATE"),
    (
        r"(\"(?:seconds\w*|\w*_seconds|ms|\w+_ms|created|started|uptime\w*|\w+_per_second|memory|pid)\": )-?[\d.e+-]+",
        r"\1N",
    ),
    (r"[\d,.]+( tokens/s| rows/s)", r"N\1"),
    (r"[\d.]+ ms (before|after)", r"N ms \1"),
    (r"\b(\d+\.\d+\.\d+)-[0-9a-f]{12}\b", r"\1-HASH"),
    (r"\d+:\d\d(:\d\d)? left", "N left"),
    (r"(about|time +|in) (\d+:\d\d:\d\d|[\d.]+ (?:s|min|h|ms))\b", r"\1 N s"),
    (r"[\d.]+ % of it saving", "N % of it saving"),
    (r"(?:cmpl|embd|req|chatcmpl)-[0-9a-zA-Z]+", "ID"),
    (r"(\"id\": )\"[0-9a-f]{32}\"", r"\1ID"),
    (r"(\"created\":)\d+", r"\1N"),
    (r"(x-hftool-version: |\"version\": \"|version=\")[0-9a-f]{12}\b", r"\1HASH"),
    (r"(\"request_id\": )\"[^\"]*\"", r"\1ID"),
    # the contents of these documents are compared, and their hashes follow
    (rf"(\"(?:\w+/)*{HASHED}\": )\"[0-9a-f]{{64}}\"", r"\1HASH"),
    (rf"\b[0-9a-f]{{64}}( +[\d,]+)?(  +\S*{HASHED}\b)", r"HASH\2"),
    (r"(hftool_\w*(?:seconds|bytes|created)\w*(?:\{[^}]*\})?) [\d.e+-]+", r"\1 N"),
    (r"((?:process|python)_\w+(?:\{[^}]*\})?) [\d.e+-]+", r"\1 N"),
)


@dataclass
class Tree:
    """A version of hftool with its workspace and its launcher."""

    label: str
    root: Path
    workspace: Path
    fresh: bool
    jobs: object = None
    answers: object = None
    process: subprocess.Popen | None = None
    environment: dict[str, str] = field(default_factory=dict)

    def start(self) -> None:
        """Set the environment, and start the launcher."""
        home = self.workspace.parent / f"home-{self.workspace.name}"
        home.mkdir()
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF", "HFTOOL", "PYTHON"))}
        self.environment = {
            **kept,
            **{"PYTHONPATH": str(self.root), "HOME": str(home), "HF_HOME": str(home / "hf"), "PYTHONDONTWRITEBYTECODE": "1"},
            **{"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "COLUMNS": "120", "HF_HUB_OFFLINE": "1"},
        }
        if self.fresh:
            return
        jobs, to_jobs = os.pipe()
        from_answers, answers = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, str(LAUNCHER), str(jobs), str(answers)],
            env=self.environment,
            pass_fds=(jobs, answers),
            stdin=subprocess.DEVNULL,
        )
        os.close(jobs), os.close(answers)
        self.jobs, self.answers = os.fdopen(to_jobs, "w", encoding="utf-8"), os.fdopen(from_answers, encoding="utf-8")
        self.answers.readline()

    def stop(self) -> None:
        """End the launcher."""
        if self.process is not None:
            self.jobs.close()
            self.process.wait()

    def code_of(self, arguments: Sequence[str], files: Mapping[str, str], fresh: bool) -> int:
        """The exit code of a command line whose standard streams are files."""
        if fresh:
            with open(files["stdin"], "rb") as stdin, open(files["stdout"], "wb") as out, open(files["stderr"], "wb") as err:
                words = [sys.executable, "-m", "hftool", *arguments]
                return subprocess.run(
                    words, cwd=self.workspace, env=self.environment, stdin=stdin, stdout=out, stderr=err, timeout=SECONDS
                ).returncode
        job = {"folder": str(self.workspace), "arguments": list(arguments), "environment": {}, "timeout": SECONDS, **files}
        print(json.dumps(job), file=self.jobs, flush=True)
        return int(json.loads(self.answers.readline())["code"])

    def run(self, command: Command, *, fresh: bool = False) -> dict[str, str]:
        """Stream or file -> text, normalized. fresh: in its own interpreter."""
        streams = self.workspace.parent / f"streams-{self.workspace.name}"
        streams.mkdir(exist_ok=True)
        files = {name: str(streams / name) for name in ("stdin", "stdout", "stderr")}
        Path(files["stdin"]).write_text(command.stdin, encoding="utf-8")
        if command.prepare is not None:
            try:
                command.prepare(self.workspace)
            except OSError as error:
                return {"prepare": f"{type(error).__name__}"}
        started = time.monotonic()
        texts = {"exit code": str(self.code_of(command.arguments, files, fresh or self.fresh))}
        print(f"{time.monotonic() - started:6.1f} s  {self.label:<7}{command.title[:100]}", file=sys.stderr, flush=True)
        for name in ("stdout", "stderr"):
            texts[name] = Path(files[name]).read_text(encoding="utf-8", errors="replace")
        for path in command.collects:
            texts.update(contents(self.workspace, path))
        texts = {name: self.normalized(text) for name, text in texts.items()}
        if command.arguments[:1] == ("doctor",):  # it measures
            texts = {name: re.sub(r"\d[\d.,]*(?:e[+-]?\d+)?", "N", text) for name, text in texts.items()}
        return texts

    def normalized(self, text: str) -> str:
        """The text with normalized paths and times, and JSON with one value a line."""
        for path, name in ((self.workspace, "WORK"), (self.root, "TREE"), (self.environment.get("HOME", "HOME"), "HOME")):
            text = text.replace(str(path), name)
        text = "\n".join(pretty(line) for line in (text.splitlines() if "\n{" in text.strip() else [text]))
        for pattern, replacement in ALIKE:
            text = re.sub(pattern, replacement, text)
        return text


def pretty(text: str) -> str:
    """JSON with one value a line, keys sorted; other text as it is."""
    if text.strip()[:1] not in ("{", "["):
        return text
    try:
        return json.dumps(json.loads(text), indent=1, sort_keys=True, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text


def contents(workspace: Path, path: str) -> dict[str, str]:
    """The files below a path: documents as text, others by their SHA-256."""
    start = workspace / path
    if not start.exists():
        return {path: "(not there)"}
    found = {}
    for file in sorted(start.rglob("*")) if start.is_dir() else [start]:
        if not file.is_file():
            continue
        name = file.relative_to(workspace).as_posix()
        data = file.read_bytes()
        if file.suffix == ".whl":
            found[name] = "(a wheel of hftool)"
        elif file.suffix in DOCUMENTS and file.name != "tokenizer.json" and b"\0" not in data:
            found[name] = data.decode("utf-8", "replace")
        else:
            found[name] = f"sha256 {hashlib.sha256(data).hexdigest()}"
    return found


# ---- the passes: each gives title -> (stream or file -> text) for a tree


def first_pass(tree: Tree, verbs: Sequence[str]) -> dict[str, dict[str, str]]:
    compare_inputs.make_inputs(tree.workspace)
    return {command.title: tree.run(command) for command in compare_commands.commands(verbs)}


def server_pass(tree: Tree) -> dict[str, dict[str, str]]:
    found = {}
    for arguments, calls in SERVERS:
        for title, text in served(arguments, calls, tree.workspace, tree.environment).items():
            head, empty, body = text.partition("\n\n")
            found[title] = {"answer": tree.normalized(head), **({"body": tree.normalized(body)} if empty else {})}
            if title.endswith(": log"):
                found[title] = {"answer": tree.normalized(text)}
    return found


def second_pass(tree: Tree) -> dict[str, dict[str, str]]:
    return {command.title: tree.run(command) for command in compare_commands.on_older()}


@dataclass(frozen=True)
class Stopped:
    """A run of the version before that is ended in the middle."""

    name: str
    words: Sequence[str]


STEPS = ("--max-steps", "16", "--batch-size", "4", "--log-steps", "1", "--precision", "fp32", "--offline", "-q")
# one evaluation, as which checkpoint is the best of a tie is decided in another way since
STOPPED = (
    Stopped("classifier", ("bert-mini", "sst2-mini", "--limit", "64", "--eval-steps", "16")),
    Stopped("generator", ("gpt2-mini", "stories-mini", "--max-length", "64", "--eval-steps", "16")),
    Stopped("translator", ("t5-mini", "phrases-mini", "--limit", "64", "--eval-steps", "16", "--max-new-tokens", "4")),
    Stopped("own files", ("bert-mini", "--train", "{work}/train.tsv", "--validation", "{work}/dev.tsv", "--eval-steps", "16")),
    Stopped("relative paths", ("bert-mini", "--train", "train.tsv", "--validation", "dev.tsv", "--eval-steps", "16")),
    Stopped("roberta-mini", ("roberta-mini", "--train", "{work}/train.tsv", "--validation", "{work}/dev.tsv")),
)


def stop_in_the_middle(tree: Tree, stopped: Stopped, out: Path) -> int:
    """Start a run, and end it by SIGTERM after its fifth step -> its exit code."""
    words = [word.replace("{work}", str(tree.workspace)) for word in stopped.words]
    process = subprocess.Popen(
        [sys.executable, "-m", "hftool", "finetune", *words, *STEPS, "--out", str(out)],
        cwd=tree.workspace,
        env=tree.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while process.poll() is None:
        if (out / "log.jsonl").is_file() and len((out / "log.jsonl").read_text(encoding="utf-8").splitlines()) >= 5:
            process.send_signal(signal.SIGTERM)
            break
        time.sleep(0.005)
    return process.wait(SECONDS)


def trained_run(run: Path) -> str:
    """What must be bitwise the same: the weights of the model and of the last checkpoint, the loss of each step.

    The checkpoint of SIGTERM is not in an uninterrupted run, and a finished run has no optimizer state any more.
    """
    lines = []
    for path in [run / "model" / "model.safetensors", *sorted(run.glob("checkpoints/*/model.safetensors"))[-1:]]:
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "(not there)"
        lines.append(f"{path.relative_to(run)} {digest}")
    log = run / "log.jsonl"
    for line in log.read_text(encoding="utf-8").splitlines() if log.is_file() else []:
        document = json.loads(line)
        if "loss" in document:
            lines.append(f"step {document['step']} loss {document['loss']!r}")
    return "\n".join(lines)


def make_stopped(tree: Tree) -> dict[str, int]:
    """The runs of STOPPED, each ended in the middle, and each uninterrupted -> the exit codes of the former."""

    def whole(stopped: Stopped) -> None:
        words = [word.replace("{work}", str(tree.workspace)) for word in stopped.words]
        tree.run(Command(["finetune", *words, *STEPS, "--out", str(tree.workspace / "whole" / stopped.name)]), fresh=True)

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        wholes = [pool.submit(whole, stopped) for stopped in STOPPED]
        codes = {
            stopped.name: stop_in_the_middle(tree, stopped, tree.workspace / "stopped" / stopped.name) for stopped in STOPPED
        }
        for future in wholes:
            future.result()
    return codes


def resume_pass(tree: Tree, folder: Path, codes: Mapping[str, int]) -> dict[str, dict[str, str]]:
    """Each stopped run in the folder is copied and resumed by the tree."""
    found = {}
    for stopped in STOPPED:
        copy, whole = folder / f"resumed-{tree.label}" / stopped.name, folder / "whole" / stopped.name
        shutil.copytree(folder / "stopped" / stopped.name, copy)
        texts = tree.run(Command(["resume", str(copy), "--offline", "-q"]), fresh=True)
        texts = {
            name: text.replace(str(folder), "WORK")
            .replace(f"{folder.name}/{copy.parent.name}", "resumed")
            .replace(copy.parent.name, "resumed")
            for name, text in texts.items()
        }
        same = trained_run(copy) == trained_run(whole)
        texts["bitwise as if not stopped"] = "yes" if same else f"no:\n{trained_run(copy)}\nnot stopped:\n{trained_run(whole)}"
        found[f"[of before] resume {stopped.name} after SIGTERM ({codes[stopped.name]})"] = texts
    return found


# ---- the comparison


def difference(name: str, before: str, after: str) -> list[str]:
    """A unified diff of one stream or file."""
    return list(
        difflib.unified_diff(before.splitlines(), after.splitlines(), f"before: {name}", f"after: {name}", n=1, lineterm="")
    )


def compared(title: str, before: Mapping[str, str], after: Mapping[str, str]) -> dict:
    """The row of a command: which streams and files differ, and the diff."""
    names = [*before, *(name for name in after if name not in before)]
    diff, differs = [], []
    for name in names:
        lines = difference(name, before.get(name, "(none)"), after.get(name, "(none)"))
        if lines or before.get(name) != after.get(name):
            differs.append(name)
            diff += lines or [f"{name}: the end of the last line"]
    digest = hashlib.sha256("\n".join(diff).encode()).hexdigest()[:16] if diff else ""
    codes = [texts.get("exit code", texts.get("answer", "").split("\n", 1)[0][:3]) for texts in (before, after)]
    return {"command": title, "same": not differs, "codes": codes, "differs": differs, "digest": digest, "diff": diff}


def rows_of(before: Mapping[str, Mapping[str, str]], after: Mapping[str, Mapping[str, str]]) -> list[dict]:
    titles = [*before, *(title for title in after if title not in before)]
    missing = {"": "(not there)"}
    return [compared(title, before.get(title, missing), after.get(title, missing)) for title in titles]


def verbs_of(tree: Tree) -> list[str]:
    """The verbs that `hftool --help` lists."""
    words = [sys.executable, "-m", "hftool", "--help"]
    out = subprocess.run(words, env=tree.environment, cwd=tree.workspace, capture_output=True, text=True, check=True).stdout
    return re.findall(r"^  (\w+)  ", out.partition("Commands:")[2], re.MULTILINE)


def both(function: Callable, trees: Sequence[Tree], *more) -> list:
    """The function of each tree, at the same time."""
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda tree: function(tree, *more), trees))


def copy_work(source: Tree, target: Tree) -> None:
    """What the older pass uses."""
    shutil.rmtree(target.workspace, ignore_errors=True)
    shutil.copytree(source.workspace, target.workspace)


def all_rows(
    roots: Sequence[Path], folder: Path, fresh: bool, passes: Sequence[str]
) -> tuple[list[dict], dict[str, list[str]]]:
    """The rows of all passes, and the verbs of each tree."""
    trees = [Tree(label, root, folder / label, fresh) for label, root in zip(("before", "after"), roots, strict=True)]
    for tree in trees:
        tree.workspace.mkdir(parents=True)
    both(Tree.start, trees)
    verbs = dict(zip(("before", "after"), both(verbs_of, trees), strict=True))
    rows = [compared("verbs of `hftool --help`", *({"verbs": "\n".join(verbs[label])} for label in verbs))]
    known = [*verbs["before"], *(verb for verb in verbs["after"] if verb not in verbs["before"])]
    try:
        rows += rows_of(*both(first_pass, trees, known))
        if "server" in passes:
            rows += rows_of(*both(server_pass, trees))
        older = [Tree(tree.label, tree.root, folder / f"older-{tree.label}", fresh) for tree in trees]
        for tree, first in zip(older, trees, strict=True):
            copy_work(trees[0], tree)
            tree.environment, tree.jobs, tree.answers = first.environment, first.jobs, first.answers
        if "older" in passes:
            rows += rows_of(*both(second_pass, older))
        if "resume" in passes:
            codes = make_stopped(trees[0])
            rows += rows_of(*both(resume_pass, trees, trees[0].workspace, codes))
    finally:
        both(Tree.stop, trees)
    return rows, verbs


def report(rows: Sequence[Mapping], known: Mapping[str, str], diffs: Path) -> None:
    """One line a command on stdout, and the diffs into a file."""
    text = []
    for row in rows:
        new = "" if row["same"] or known.get(row["command"]) in (row["digest"], None) else "  (another difference than before)"
        if not row["same"] and known and row["command"] not in known:
            new = "  (new)"
        codes = row["codes"][0] if row["codes"][0] == row["codes"][1] else " -> ".join(row["codes"])
        what = (
            "same" if row["same"] else f"differs in {', '.join(row['differs'][:4])}{' ...' if len(row['differs']) > 4 else ''}"
        )
        print(f"{'  ' if row['same'] else '! '}{row['command'][:110]}  [{codes}]  {what}{new}")
        if not row["same"]:
            text += [f"==== {row['command']}  [{codes}]", *row["diff"], ""]
    diffs.write_text("\n".join(text) + "\n", encoding="utf-8")


def write_table(rows: Sequence[Mapping], path: Path) -> int:
    """The commands that differ, each with its reason, as Markdown -> how many have lines that no rule explains.

    What stands in the file after a line that begins with `## Notes` is kept.
    """
    kept = path.read_text(encoding="utf-8").partition("\n## Notes")[2] if path.is_file() else ""
    same = sum(row["same"] for row in rows)
    text = [
        "# What differs between 427113a and now, and why",
        "",
        f"Written by `benchmarks/compare_versions.py`: {len(rows)} compared, {same} same, {len(rows) - same} differ.",
        "Reasons are rows of `benchmarks/compare_reasons.py`; 13.22 is fault 22 of issue 13, 13.A2 its table, 14.4 section 4",
        "of issue 14. All the other streams and files of these commands are the same, the trained weights among them.",
        "",
        "| command | code | differs in | reason |",
        "|---|---|---|---|",
    ]
    open_ends = 0
    for row in rows:
        if row["same"]:
            continue
        reasons, left = explain(row)
        open_ends += bool(left)
        reasons += [f"**not explained**: {line[:120]}" for line in left[:3]]
        files = ", ".join(sorted({name.rsplit("/", 1)[-1] for name in row["differs"]}))
        codes = row["codes"][0] if row["codes"][0] == row["codes"][1] else " -> ".join(row["codes"])
        cells = [f"`{row['command'][:110]}`", codes, files[:90], "; ".join(reasons)]
        text.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
    path.write_text("\n".join(text) + "\n" + (f"\n## Notes{kept}" if kept else ""), encoding="utf-8")
    return open_ends


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, required=True)
    parser.add_argument("--after", type=Path, required=True)
    parser.add_argument("--out", type=Path, help="the result as JSON")
    parser.add_argument("--diffs", type=Path, help="the unified diffs as text; by default in the folder for temporary files")
    parser.add_argument("--known", type=Path, help="an earlier result: its differences are not new")
    parser.add_argument("--fresh", action="store_true", help="start an interpreter for each command: 5 s more for each")
    parser.add_argument("--passes", nargs="*", default=["server", "older", "resume"], help="besides the commands")
    parser.add_argument("--keep", type=Path, help="a folder for the workspaces, which are kept")
    options = parser.parse_args()
    started = time.perf_counter()
    known = {}
    if options.known:
        earlier = json.loads(options.known.read_text(encoding="utf-8"))
        known = {row["command"]: row["digest"] for row in earlier["commands_that_differ"]}
    with tempfile.TemporaryDirectory() as folder:
        rows, verbs = all_rows(
            [options.before.resolve(), options.after.resolve()], options.keep or Path(folder), options.fresh, options.passes
        )
    diffs = options.diffs or Path(tempfile.gettempdir()) / "compare_versions.diff"
    report(rows, known, diffs)
    same = sum(row["same"] for row in rows)
    seconds = round(time.perf_counter() - started)
    print(f"{len(rows)} compared, {same} same, {len(rows) - same} differ (diffs in {diffs}); {seconds} s")
    if options.out:
        open_ends = write_table(rows, options.out.with_suffix(".md"))
        print(f"{open_ends} with differences that no rule of compare_reasons.py explains: see {options.out.with_suffix('.md')}")
        kept = [{key: value for key, value in row.items() if key not in ("diff", "same")} for row in rows if not row["same"]]
        result = {
            "compared": len(rows),
            "same": same,
            "differ": len(rows) - same,
            "seconds": seconds,
            "verbs": verbs,
            "commands_that_differ": kept,
            "commands_that_are_the_same": [row["command"] for row in rows if row["same"]],
        }
        options.out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
