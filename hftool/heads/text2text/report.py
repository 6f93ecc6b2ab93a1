"""The report on generated texts: ROUGE, BLEU, chrF and the ratio of lengths.

ROUGE is that of the package rouge_score, without stemming. It knows a to z and 0 to 9 only, so rows whose expected text is
mostly in other scripts are split by `heads.words`. BLEU and chrF are those of sacrebleu, each named by its signature.

BLEU uses sacrebleu's tokenizer zh for Chinese, and char for Japanese and Korean, as ja-mecab and ko-mecab need more packages.
For Thai, Lao, Khmer and Burmese sacrebleu has only models to be downloaded: 13a-units is its 13a with spaces around each unit
of hftool.data.unspaced_scripts, as zh puts them around ideographs.
"""

import re
from collections.abc import Sequence
from typing import Any

from hftool.data.readers.tables import Rows
from hftool.data.unspaced_scripts import UNITS
from hftool.heads.label_metrics import share
from hftool.heads.protocol import Answers, Metrics
from hftool.heads.words import HANGUL, IDEOGRAPH, JAPANESE, has_units, is_mostly_non_ascii, words

KOREAN = re.compile(f"[{HANGUL}]")
UNIT_LANGUAGES = ("th", "lo", "km", "my")
TOKENIZERS = {"zh": "zh", "ja": "char", "ko": "char"}
UNITS_TOKENIZER = "13a-units"


class _Words:
    """A tokenizer for rouge_score."""

    @staticmethod
    def tokenize(text: str) -> list[str]:
        """The words of a text in any script."""
        return words(text)


class _Units:
    """A tokenizer for sacrebleu: another one, after spaces were put around units."""

    def __init__(self, base: Any) -> None:
        self.base = base

    def __call__(self, line: str) -> str:
        tokens: str = self.base(UNITS.sub(r" \g<0> ", line))
        return tokens


def report(answers: Answers, rows: Rows, metrics: Metrics, labels: Sequence[str], loss: float) -> dict[str, Any]:
    """The metrics, and length_ratio: the number of generated words divided by that of expected ones.

    ROUGE (rouge1, rouge2, rougeL, rougeLsum) is the mean F over the rows, 0 to 1; its `tokenizer` is "rouge_score", "unicode"
    where a row needs it, or "unicode-units" where one is in Thai, Lao, Khmer or Burmese. BLEU and chrF are of the corpus, 0 to
    100; `signatures` has their settings with the tokenizer.
    """
    given, expected = [answer["text"] for answer in answers], [row["target"] for row in rows]
    found: dict[str, Any] = {}
    if rouges := [name for name in metrics.names if name.startswith("rouge")]:
        found |= _rouge(rouges, given, expected)
        found["tokenizer"] = _rouge_tokenizer(expected)
    scorers = {"bleu": lambda: _bleu(_bleu_tokenizer(expected, metrics.language)), "chrf": _chrf}
    signatures = {}
    for name in metrics.names:
        if name in scorers:
            scorer = scorers[name]()
            found[name] = float(scorer.corpus_score(given, [expected]).score)
            signatures[name] = str(scorer.get_signature())
    found = {name: found[name] for name in metrics.names} | found
    if signatures:
        found["signatures"] = signatures
    return {**found, "length_ratio": share(_count(given), _count(expected))}


def error_rows(answers: Answers, rows: Rows, numbers: Sequence[int], labels: Sequence[str]) -> list[dict[str, Any]]:
    """All rows, the lowest chrF (0 to 100) first."""
    scorer = _chrf()
    found: list[dict[str, Any]] = [
        {
            "row": number,
            "source": row["source"],
            "expected": row["target"],
            "answered": answer["text"],
            "chrf": float(scorer.sentence_score(answer["text"], [row["target"]]).score),
        }
        for answer, row, number in zip(answers, rows, numbers, strict=True)
    ]
    return sorted(found, key=lambda error: error["chrf"])


def predictions_and_references(answers: Answers, rows: Rows, labels: Sequence[str]) -> tuple[list[Any], list[Any]]:
    """Texts, for a module of `evaluate` such as rouge."""
    return [answer["text"] for answer in answers], [row["target"] for row in rows]


def _rouge(names: Sequence[str], given: Sequence[str], expected: Sequence[str]) -> dict[str, float]:
    from rouge_score.rouge_scorer import RougeScorer

    scorers = {ours: RougeScorer(names, tokenizer=_Words() if ours else None) for ours in (False, True)}
    scores = [scorers[_needs_words(text)].score(text, answer) for answer, text in zip(given, expected, strict=True)]
    return {name: float(sum(score[name].fmeasure for score in scores) / max(len(scores), 1)) for name in names}


def _needs_words(text: str) -> bool:
    return is_mostly_non_ascii(text) or has_units(text)


def _rouge_tokenizer(expected: Sequence[str]) -> str:
    if any(map(has_units, expected)):
        return "unicode-units"
    return "unicode" if any(map(is_mostly_non_ascii, expected)) else "rouge_score"


def _bleu_tokenizer(expected: Sequence[str], language: str) -> str:
    """By the language of the expected texts where they have its script, else by their script.

    sacrebleu's default takes a sentence without spaces for one word.
    """
    text = "".join(expected)
    kana, ideographs = len(JAPANESE.findall(text)), len(IDEOGRAPH.findall(text))
    hangul = len(KOREAN.findall(text))
    units = dict.fromkeys(UNIT_LANGUAGES, len(UNITS.findall(text)))
    counts = {"zh": ideographs, "ja": kana + ideographs, "ko": hangul, **units}
    if counts.get(language):
        return TOKENIZERS.get(language, UNITS_TOKENIZER)
    if has_units(text):
        return UNITS_TOKENIZER
    if 2 * (kana + ideographs + hangul) <= sum(char.isalnum() for char in text):
        return "13a"
    return "zh" if ideographs > max(10 * kana, hangul) else "char"


def _bleu(tokenizer: str) -> Any:
    from sacrebleu.metrics.bleu import BLEU

    own = tokenizer == UNITS_TOKENIZER
    scorer = BLEU(tokenize="13a" if own else tokenizer, force=True)  # force: no advice when texts look tokenized
    if own:
        scorer.tokenizer, scorer.tokenizer_signature = _Units(scorer.tokenizer), UNITS_TOKENIZER
    return scorer


def _chrf() -> Any:
    from sacrebleu.metrics.chrf import CHRF

    return CHRF()


def _count(texts: Sequence[str]) -> int:
    return sum(len(words(text)) for text in texts)
