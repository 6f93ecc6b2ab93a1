"""Reports on heads that answer with a text: ROUGE, BLEU and chrF, and how long the answers are.

ROUGE as the package rouge_score has it, without stemming. It sees a to z and 0 to 9 only, so rows whose expected text is mostly
in other letters go through it with words of ours. BLEU and chrF as sacrebleu has them, each named by its signature.

BLEU of Chinese takes sacrebleu's tokenizer zh; of Japanese and Korean char, since ja-mecab and ko-mecab need packages that are
not here. sacrebleu has none for Thai, Lao, Khmer and Burmese but models to be fetched: its 13a, after spaces were put around
each unit (see hftool.data.unspaced_scripts) as zh puts them around ideographs, is called 13a-units here.
"""

import re
from collections.abc import Sequence
from typing import Any

from hftool.data.readers.tables import Row
from hftool.data.unspaced_scripts import UNITS
from hftool.heads.metrics import share
from hftool.heads.protocol import Answer, Metrics
from hftool.heads.words import HANGUL, IDEOGRAPH, JAPANESE, has_units, is_foreign, words

KOREAN = re.compile(f"[{HANGUL}]")
UNITED = ("th", "lo", "km", "my")
TOKENIZERS = {"zh": "zh", "ja": "char", "ko": "char"}
OF_UNITS = "13a-units"


class _Words:
    """What rouge_score asks of a tokenizer."""

    @staticmethod
    def tokenize(text: str) -> list[str]:
        """A text -> its words, in any script."""
        return words(text)


class _Units:
    """What sacrebleu asks of a tokenizer: another one, after spaces were put around units."""

    def __init__(self, base: Any) -> None:
        self.base = base

    def __call__(self, line: str) -> str:
        tokens: str = self.base(UNITS.sub(r" \g<0> ", line))
        return tokens


def report(
    answers: Sequence[Answer], rows: Sequence[Row], metrics: Metrics, labels: Sequence[str], loss: float
) -> dict[str, Any]:
    """The metrics that are asked for, and length_ratio: words answered by words expected.

    ROUGE (rouge1, rouge2, rougeL, rougeLsum) is the mean of F over the rows, 0 to 1, and `tokenizer` tells what its words
    are: "rouge_score", "unicode" where any row needed it, or "unicode-units" where any is in Thai, Lao, Khmer or Burmese. BLEU
    and chrF are of the whole, 0 to 100, as everywhere else; `signatures` names their settings, the tokenizer among them.
    """
    given, expected = [answer["text"] for answer in answers], [row["target"] for row in rows]
    found: dict[str, Any] = {}
    if rouges := [name for name in metrics.names if name.startswith("rouge")]:
        found |= _rouge(rouges, given, expected)
        found["tokenizer"] = _rouge_tokenizer(expected)
    makers = {"bleu": lambda: _bleu(_bleu_tokenizer(expected, metrics.language)), "chrf": _chrf}
    signatures = {}
    for name in metrics.names:
        if name in makers:
            scorer = makers[name]()
            found[name] = float(scorer.corpus_score(given, [expected]).score)
            signatures[name] = str(scorer.get_signature())
    found = {name: found[name] for name in metrics.names} | found
    if signatures:
        found["signatures"] = signatures
    return {**found, "length_ratio": share(_count(given), _count(expected))}


def error_rows(
    answers: Sequence[Answer], rows: Sequence[Row], numbers: Sequence[int], labels: Sequence[str]
) -> list[dict[str, Any]]:
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


def _rouge(names: Sequence[str], given: Sequence[str], expected: Sequence[str]) -> dict[str, float]:
    from rouge_score.rouge_scorer import RougeScorer

    scorers = {ours: RougeScorer(names, tokenizer=_Words() if ours else None) for ours in (False, True)}
    scores = [scorers[_needs_words(text)].score(text, answer) for answer, text in zip(given, expected, strict=True)]
    return {name: float(sum(score[name].fmeasure for score in scores) / max(len(scores), 1)) for name in names}


def _needs_words(text: str) -> bool:
    return is_foreign(text) or has_units(text)


def _rouge_tokenizer(expected: Sequence[str]) -> str:
    if any(map(has_units, expected)):
        return "unicode-units"
    return "unicode" if any(map(is_foreign, expected)) else "rouge_score"


def _bleu_tokenizer(expected: Sequence[str], language: str) -> str:
    """By the language of the expected texts where it is known and its letters are there, else by their letters: sacrebleu's
    default takes a sentence without spaces for one word."""
    text = "".join(expected)
    kana, ideographs = len(JAPANESE.findall(text)), len(IDEOGRAPH.findall(text))
    hangul = len(KOREAN.findall(text))
    there = {"zh": ideographs, "ja": kana + ideographs, "ko": hangul, **dict.fromkeys(UNITED, len(UNITS.findall(text)))}
    if there.get(language):
        return TOKENIZERS.get(language, OF_UNITS)
    if has_units(text):
        return OF_UNITS
    if 2 * (kana + ideographs + hangul) <= sum(char.isalnum() for char in text):
        return "13a"
    return "zh" if ideographs > max(10 * kana, hangul) else "char"


def _bleu(tokenizer: str) -> Any:
    from sacrebleu.metrics.bleu import BLEU

    own = tokenizer == OF_UNITS
    scorer = BLEU(tokenize="13a" if own else tokenizer, force=True)  # force: no advice when texts look tokenized
    if own:
        scorer.tokenizer, scorer.tokenizer_signature = _Units(scorer.tokenizer), OF_UNITS
    return scorer


def _chrf() -> Any:
    from sacrebleu.metrics.chrf import CHRF

    return CHRF()


def _count(texts: Sequence[str]) -> int:
    return sum(len(words(text)) for text in texts)
