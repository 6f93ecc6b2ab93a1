"""The report on extracted answers: exact match and F1.

As in the evaluation of SQuAD 2.0: case, punctuation, articles (a, an, the) and white space are ignored, F1 is over the words,
and the best of the expected answers counts; a question without an answer scores 1 when nothing is answered, else 0.

Chinese, Japanese and Korean are measured by character as in the evaluation of CMRC 2018: case and its set of punctuation are
ignored, and F1 is from the longest common run of characters; words in other scripts are one token each, as nltk splits them.
CMRC 2018 has Chinese characters only; here kana and hangul also count by character, and Thai, Lao, Khmer, Burmese and related
scripts by the units of hftool.data.unspaced_scripts.
"""

import re
import string
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from hftool.data.readers.tables import Row, Rows
from hftool.heads.label_metrics import harmonic
from hftool.heads.protocol import Answer, Answers, Metrics
from hftool.heads.words import EASTERN, REST, words

ANSWERS = ("text", "answer_start")  # the keys of expected answers, as in SQuAD
ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)
# of CMRC 2018, and of Burmese, Khmer and Thai
EASTERN_PUNCTUATION = str.maketrans("", "", "-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』၊။។៕៖៚๏๚๛")
STRETCHES = re.compile(f"{EASTERN.pattern}|{REST.pattern}")

Score = tuple[float, float]  # exact match, F1


def report(answers: Answers, rows: Rows, metrics: Metrics, labels: Sequence[str], loss: float) -> dict[str, Any]:
    """Mean exact match and F1, 0 to 1, also of the rows with and without an answer where there are both.

    `by_character` is the number of rows that are measured by character, if any.
    """
    scores = [score(answer, row) for answer, row in zip(answers, rows, strict=True)]
    measured = _means(scores)
    found: dict[str, Any] = {**{name: measured[name] for name in metrics.names}, **measured}
    with_answer = [one for one, row in zip(scores, rows, strict=True) if row["answers"]["text"]]
    without = [one for one, row in zip(scores, rows, strict=True) if not row["answers"]["text"]]
    if with_answer and without:
        found["answerable"] = {"rows": len(with_answer), **_means(with_answer)}
        found["unanswerable"] = {"rows": len(without), **_means(without)}
    count = sum(is_by_character(row) for row in rows)
    return {**found, "by_character": count} if count else found


def error_rows(answers: Answers, rows: Rows, numbers: Sequence[int], labels: Sequence[str]) -> list[dict[str, Any]]:
    """The rows without an exact match, the lowest F1 first."""
    wrong: list[dict[str, Any]] = []
    for answer, row, number in zip(answers, rows, numbers, strict=True):
        exact, f1 = score(answer, row)
        if not exact:
            expected = list(dict.fromkeys(row["answers"]["text"]))
            texts = {"question": row["question"], "expected": expected, "answered": answer["answer"]}
            wrong.append({"row": number, **texts, "f1": f1})
    return sorted(wrong, key=lambda error: error["f1"])


def predictions_and_references(answers: Answers, rows: Rows, labels: Sequence[str]) -> tuple[list[Any], list[Any]]:
    """What `squad` of `evaluate` takes; an answer that was not found is an empty text."""
    given = [{"id": str(i), "prediction_text": answer["answer"] or ""} for i, answer in enumerate(answers)]
    known = [{"id": str(i), "answers": {k: list(row["answers"][k]) for k in ANSWERS}} for i, row in enumerate(rows)]
    return given, known


def score(answer: Answer, row: Row) -> Score:
    """Exact match and F1 of one row."""
    given, expected = answer["answer"] or "", list(row["answers"]["text"])
    one, plain = (_eastern_score, _eastern_plain) if is_by_character(row) else (_score, _plain)
    expected = [text for text in expected if plain(text)]  # as SQuAD 2.0: an answer of nothing but articles is none
    if not expected:
        nothing = float(not plain(given))
        return nothing, nothing
    each = [one(given, text) for text in expected]
    return max(exact for exact, _ in each), max(f1 for _, f1 in each)


def is_by_character(row: Row) -> bool:
    """Whether a row is measured by character: most words of the question, or of it and the answers, are in unspaced scripts.

    The question counts so that "1998" is compared by character where "1998 年" is, and so that one Chinese name in an English
    row changes nothing.
    """
    question = row["question"]
    return any(
        len(EASTERN.findall(text)) > len(words(EASTERN.sub(" ", text)))
        for text in (question, " ".join([question, *row["answers"]["text"]]))
    )


def _means(scores: Sequence[Score]) -> dict[str, float]:
    count = max(len(scores), 1)
    return {"exact_match": sum(exact for exact, _ in scores) / count, "f1": sum(f1 for _, f1 in scores) / count}


def _plain(text: str) -> str:
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def _score(given: str, expected: str) -> Score:
    ours, theirs = _plain(given).split(), _plain(expected).split()
    common = sum((Counter(ours) & Counter(theirs)).values())
    return float(ours == theirs), _f1(common, len(ours), len(theirs))


def _eastern_plain(text: str) -> str:
    return text.lower().strip().translate(EASTERN_PUNCTUATION)


def _eastern_score(given: str, expected: str) -> Score:
    ours, theirs = _segments(_eastern_plain(given)), _segments(_eastern_plain(expected))
    return float(_eastern_plain(given) == _eastern_plain(expected)), _f1(_longest_run(ours, theirs), len(ours), len(theirs))


def _f1(common: int, ours: int, theirs: int) -> float:
    return harmonic(common / ours, common / theirs) if common else 0.0


def _segments(text: str) -> list[str]:
    found: list[str] = []
    for stretch in STRETCHES.findall(text):
        if EASTERN.match(stretch):
            found.append(stretch)
        elif stretch.strip():
            found += _word_tokenizer().tokenize(stretch)
    return found


@lru_cache(maxsize=1)
def _word_tokenizer() -> Any:
    """nltk's word_tokenize without its sentence splitter, which needs a download."""
    from nltk.tokenize.destructive import NLTKWordTokenizer

    return NLTKWordTokenizer()


def _longest_run(ours: Sequence[str], theirs: Sequence[str]) -> int:
    """The length of the longest common run of tokens."""
    longest, before = 0, [0] * (len(theirs) + 1)
    for token in ours:
        runs = [0, *(before[j] + 1 if token == other else 0 for j, other in enumerate(theirs))]
        longest, before = max(longest, *runs), runs
    return longest
