"""Why a command differs between 427113a and the version after issues 13 and 14, for the table that compare_versions.py writes.

A rule explains changed lines of the streams and files that it names. What no rule explains is a difference to be looked at.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

REWORDED = "reworded"
WANTED = "wanted"
FAULT = "fault of before"


@dataclass(frozen=True)
class Rule:
    """What a difference is.

    Attributes:
        command: A regular expression that is searched in the command.
        stream: One that matches the whole name of the stream or file.
        kind: REWORDED, WANTED or FAULT.
        reason: With the sentence of issue 13 or 14, as 13.22 for its fault 22.
        lines: One that is searched in each changed line; other lines are not explained.
    """

    command: str
    stream: str
    kind: str
    reason: str
    lines: str = ""


OUT = "stdout|stderr|exit code"
TERMS = "14.1: help lines, errors and notices in the field's terms"
NEW_FLAGS = {
    "finetune": "--metric (13.22), --max-rejected (13.25)",
    "evaluate": "--metric and --trust-metric (14.5: evaluate --metric NAME or PATH)",
    "copy": "--out, --quiet, --json (13.25)",
    "models": "--quiet, --json (13.25)",
    "tasks": "--quiet, --json (13.25)",
    "serve": "--json (13.25)",
}
NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")
ROUNDING = 0.002  # of a probability or a similarity: bf16 of encoders from 256 hidden units, batches without padding
ROUNDED = f"{WANTED}: 15: --precision auto and batches without padding: the same answers, numbers within {ROUNDING}"
ONE_SYSTEM = "14.3: one validation system (pydantic) and one web layer (Starlette)"
RULES = (
    Rule(
        r"^hftool doctor",
        "stdout",
        WANTED,
        "13.7, 13.D, 14.3: the packages that are used",
        "versions|protobuf|sentencepiece|fastapi|jinja|prometheus",
    ),
    Rule(
        r"^hftool finetune bert-mini squad ",
        r".*metrics\.json|.*hftool\.json|.*README\.md|stdout|.*log\.jsonl",
        FAULT,
        "rows longer than those of train were measured whole, and truncated in every later use",
        "loss|f1|exact_match",
    ),
    Rule(r"^hftool deploy", r".*constraints\.txt", WANTED, f"{ONE_SYSTEM}: FastAPI and what it needs are gone"),
    Rule(r"GET /(info|openapi)", "body", WANTED, f"{ONE_SYSTEM}: the JSON Schema of the types that check the requests"),
    Rule(r"\[serve .*DELETE", "answer", WANTED, f"{ONE_SYSTEM}: HEAD is named", "allow"),
    Rule(r"\[serve .*POST .*", "body", REWORDED, f"{ONE_SYSTEM}: one form of message for all routes", "error|message"),
    Rule(r"^verbs of", "verbs", WANTED, "15, 16: new verbs", "bench|suggest"),
    Rule(r"^hftool (bench|suggest) --help", "exit code", WANTED, "15, 16: new verbs"),
    Rule(r"POST /predict", "answer", REWORDED, "a connection that is closed: one of two errors in the client", "no answer"),
    *(Rule(rf"^hftool {verb} --help", "stdout", WANTED, f"new: {flags}; {TERMS}") for verb, flags in NEW_FLAGS.items()),
    Rule(r"--help|^hftool$|^hftool tasks|^hftool prefetch|^hftool resume nosuch", "stdout|stderr", REWORDED, TERMS),
    Rule(r"^hftool copy bert", f"{OUT}|my_bert.py", WANTED, "13.25: copy hints at --out, which it lacked"),
    Rule(r"^hftool copy|^hftool (models|tasks) --json", OUT, WANTED, "13.25: copy, models and tasks lacked --json"),
    Rule(r"^hftool serve .*--json", OUT, WANTED, "13.25: serve lacked --json"),
    Rule(
        r"^hftool tokenize",
        "stdout",
        WANTED,
        "14.4: tokenize shows what the model's own head sees: windows, and an empty text; 13.D",
    ),
    Rule(r"roberta-mini .*--json", "stdout", WANTED, "13.D: the mask of roberta-mini", r"tokenizer\.json"),
    Rule(r"fill roberta-mini", "stdout", WANTED, "13.D: the mask of roberta-mini takes the space before it"),
    Rule(
        r"pooling nosuch", "stderr", WANTED, "13, list of proofs: ten kinds of sentence models, mean_sqrt_len_tokens among them"
    ),
    Rule(
        r"hftool embed (minilm|bert) ", r"stdout|films\.npy", WANTED, "13.19: Normalize of modules.json; 384 numbers of norm 1"
    ),
    Rule(r"embed runs/vectors", "stdout", WANTED, "13.19: a model trained from minilm normalizes as it does"),
    # finetune
    Rule(
        r"finetune", r".*/config\.yaml", WANTED, "13.22 and 13.25: the settings metric and max_rejected", r"metric|max_rejected"
    ),
    Rule(r"finetune", r".*/config\.yaml", WANTED, "16, 17: new settings", "column_names|labels_sep|thresholds"),
    Rule(r"squad\.json", "stderr", WANTED, "16: the form that a file is read in is printed", "is read as SQuAD JSON"),
    Rule(r"finetune", r".*/manifest\.json", WANTED, "13.15: data by absolute path and by split, so that a moved run resumes"),
    Rule(r"finetune|save|export|deploy", r".*README\.md", REWORDED, "14.1: the text of the model card"),
    Rule(
        r"finetune|save|export|deploy",
        r".*hftool\.json",
        WANTED,
        "13.21 label_scale, 13.19 normalize, 13.11 pool_prefix, 13.C split_units; thresholds was never read (14.4: dead code)",
    ),
    Rule(r"finetune|save|export|deploy", r".*SHA256SUMS", WANTED, "follows the files above"),
    Rule(
        r"finetune|save|export|deploy", r".*tokenizer_config\.json", WANTED, "13.2: what tokenizer.json holds is not repeated"
    ),
    Rule(
        r"roberta-mini",
        r".*tokenizer\.json|.*metrics\.json",
        WANTED,
        "13.D: the mask of roberta-mini takes the space before it",
    ),
    Rule(
        r"numbers\.csv|runs/numbers", r".*", WANTED, "13.21: targets standardised, the error decides, the baseline is printed"
    ),
    Rule(r"finetune runs/films reviews\.csv", r".*", WANTED, "13.8: classes matched by name, others new, with a notice"),
    Rule(
        r"finetune|resume",
        r".*metrics\.json|stdout",
        WANTED,
        "13.22: the deciding metric is named, macro F1 of the baseline, a verdict at the end",
        r"best at step|^verdict|deciding|verdicts|macro_f1|\"label\":|only_answer|majority|[\]\[{}],?$|median|HASH|--epochs",
    ),
    Rule(r"similar\.tsv", r"stdout|.*metrics\.json", WANTED, "13.21: the baseline is printed"),
    Rule(r"pairs\.tsv", "stdout", WANTED, "13.25: the printed next command of a pair model failed", r"^next"),
    Rule(
        r".*",
        "stderr",
        REWORDED,
        TERMS,
        r"^stand-in: |truncated$|are cut$|is not read|weights (learn|are trained)|model is to|metrics (flatter|are inflated)"
        r"|^validation: .* rows (cut|held out) from|a validation split|^hftool: device .* is not (there|available)"
        r"|is not as it was written|differs from its checksums",
    ),
    Rule(r"finetune", "stderr", WANTED, "13.A: columns that are left out are printed", r"^columns left out"),
    Rule(
        r"(ragged|missing)\.csv|squad_wrong", OUT, WANTED, "13.25: --max-rejected raises the limit, rejected.jsonl is written"
    ),
    Rule(
        r"spans\.jsonl|fasttext\.txt|toxic\.csv --offline", r".*", WANTED, "13.A: marks of another task are no language model"
    ),
    Rule(r"two_labels\.csv|topics\.jsonl", r".*", WANTED, "13.A: cells with two classes are named with count and separator"),
    Rule(r"toxic\.csv --label", r".*", WANTED, "13.A2: --label given twice is exit code 2"),
    Rule(r"latin1\.csv|utf16\.csv", r".*", WANTED, "13.A2: a certain guess of the encoding is used, with a notice"),
    Rule(r"headers\.csv", r".*", WANTED, "13.A2: columns found by common names, in finetune, evaluate and predict"),
    Rule(r"--metric bleu", "stderr", WANTED, "13.22: --metric decides; a metric of another task is refused by name"),
    Rule(
        r"leak_train|finetune --resume|--file texts.csv|scored\.xyz|'Bad Name!'|nosuch!|0\.0\.0\.0", "stderr", REWORDED, TERMS
    ),
    # evaluate
    Rule(
        r"evaluate", "stderr", REWORDED, "14.1 (for numbers and embeddings 'wrong' is not right: see below)", "the worst first"
    ),
    Rule(
        r"evaluate .*(csv|conll|json)",
        "stderr",
        WANTED,
        "13.A2: columns of other names than in training are mapped, with a notice",
        "^columns of",
    ),
    Rule(
        r"evaluate",
        "stdout",
        WANTED,
        "13.22: macro F1 of the baseline; a model that answers one class is named",
        r"macro_f1|\"label\":|only_answer|median|baseline|mean_absolute_error|pearson|score|spearman|[\]\[{}],?$",
    ),
    # from a run to a service
    Rule(
        r"verify",
        "stdout",
        WANTED,
        "13.25: a finished run drops the optimizer state",
        "HASH|files (are|match)|optimizer|[0-9a-f]{64}",
    ),
    Rule(r"classify saved-flipped", r".*", WANTED, "13.17: a flipped byte in weights with SHA256SUMS is an error"),
    Rule(
        r"classify saved-(labels|length)",
        r".*",
        WANTED,
        "13.A2: hftool.json has a schema: 65 with the key, no traceback",
    ),
    Rule(r"export", "stdout", WANTED, "13.25: the next command names the verb of the head", r"^next"),
    Rule(r"export", "stderr", REWORDED, TERMS),
    Rule(r"export", r".*export\.json", WANTED, "follows hftool.json"),
    Rule(
        r"deploy",
        r".*networkpolicy\.yaml",
        REWORDED,
        TERMS,
        "^egress: ",
    ),
    Rule(
        r"deploy",
        r".*constraints\.txt",
        WANTED,
        "14.3 prometheus_client, 13.7 sentencepiece",
        r"prometheus|protobuf|sentencepiece",
    ),
    Rule(r"deploy", r"stdout|.*(README\.md|Dockerfile)", REWORDED, "14.1; 14.3: the manifests are templates"),
    Rule(r"push", "stdout", WANTED, "follows the model's documents", r"HASH|size|sha256|README|hftool\.json|SHA256SUMS"),
    # the server
    Rule(
        r"^\[serve",
        "answer|body",
        WANTED,
        "follows the model's documents: its version, and the time",
        r"x-hftool-version|\"version\"|\"created\":\d",
    ),
    Rule(
        r"^\[serve onnx|^hftool serve onnx",
        ".*",
        FAULT,
        "14.3: the server of before fails on an export of a classifier (FrozenInstanceError)",
    ),
    Rule(r"GET /$", ".*", REWORDED, "14.1: the page in the field's terms, and the hash of its script"),
    Rule(r"GET /(info|openapi)", "body", REWORDED, TERMS, r"\"(description|summary)\": "),
    Rule(r"GET /(info|openapi)", "body", WANTED, "13.11: a pooling of sentence models", r"^\"max\",?$|mean_sqrt_len_tokens"),
    Rule(r"^\[serve films.*/metrics", ".*", WANTED, "14.3: prometheus_client"),
    Rule(r"GET /|POST /predict", "body", REWORDED, TERMS, r"\"error\""),
    Rule(r"v1/completions .*\"prompt\": \[", ".*", WANTED, "13.A2: token ids as prompts, checked against the vocabulary"),
    Rule(r"v1/embeddings .*\"(A man\.|A dog\.)", "body", WANTED, "13.19: /v1/embeddings normalizes as modules.json says"),
    Rule(
        r"v1/embeddings .*\"input\": (\[|\"\")",
        ".*",
        WANTED,
        "13.A2, 13.14, 13.20: an empty input and token ids are refused by name",
    ),
    Rule(r"v1/(completions|embeddings) .*films", "body", REWORDED, TERMS),
    Rule(r"^hftool serve .*: log", ".*", WANTED, "the log follows the answers"),
    # runs of before
    Rule(r"resume relative paths", r".*", WANTED, "13.15: a run whose data were given by a relative path could not be resumed"),
    Rule(r"resume translator", r"bitwise.*|stdout", FAULT, "a T5 that was stopped is resumed with other weights; now bitwise"),
    Rule(r"resume roberta-mini", r".*", WANTED, "13.D: the bundled roberta-mini has changed, so a run on it is refused (78)"),
)


def changed_lines(diff: Sequence[str]) -> dict[str, list[str]]:
    """Stream or file -> its changed lines, from the unified diffs of a command."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in diff:
        if line.startswith("--- before: "):
            name = line.removeprefix("--- before: ")
            found[name] = []
        elif line.startswith("+++ after: ") or not line.startswith(("+", "-")):
            continue
        else:
            found[name].append(line[1:].strip())
    return found


def without_rounding(lines: Sequence[str]) -> list[str]:
    """The changed lines but those whose partner differs by `ROUNDING` at most, in numbers alone."""
    groups: dict[str, list[str]] = {}
    for line in lines:
        groups.setdefault(NUMBER.sub("N", line).rstrip(", "), []).append(line)
    left = []
    for group in groups.values():
        numbers = sorted([float(number) for number in NUMBER.findall(line)] for line in group)  # old and new side by side
        pairs = zip(numbers[::2], numbers[1::2], strict=False)
        close = all(abs(a - b) <= ROUNDING for old, new in pairs for a, b in zip(old, new, strict=True))
        left += [] if close and numbers[0] and len(group) % 2 == 0 else group
    return left


def explain(row: Mapping) -> tuple[list[str], list[str]]:
    """The kinds with reasons of a command that differs, and the changed lines that no rule explains."""
    reasons: dict[str, None] = {}
    left = []
    for stream, lines in changed_lines(row["diff"]).items():
        rest = lines or ["(the end of the last line)"]
        for rule in RULES:
            if not rest or not re.search(rule.command, row["command"]) or not re.fullmatch(rule.stream, stream):
                continue
            kept = [line for line in rest if rule.lines and not re.search(rule.lines, line)]
            if len(kept) < len(rest):
                reasons[f"{rule.kind}: {rule.reason}"] = None
                rest = kept
        if len(rest) > len(rest := without_rounding(rest)):
            reasons[ROUNDED] = None
        left += [f"{stream}: {line}" for line in rest]
    return list(reasons), left
