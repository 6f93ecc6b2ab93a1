"""Reports on heads that answer with a text: ROUGE, BLEU and chrF, and how long the answers are.

ROUGE as the package rouge_score has it, without stemming. It sees a to z and 0 to 9 only, so rows whose expected text is mostly
in other letters go through it with words of ours. BLEU and chrF as sacrebleu has them, each named by its signature.
"""

from collections.abc import Sequence
from typing import Any

from hftool.data.sources import Row
from hftool.evaluation.metrics import share
from hftool.evaluation.words import IDEOGRAPH, JAPANESE, is_foreign, words
from hftool.heads.protocol import Answer, Metrics


class _Words:
    """What rouge_score asks of a tokenizer."""

    @staticmethod
    def tokenize(text: str) -> list[str]:
        """A text -> its words, in any script."""
        return words(text)


def texts_report(answers: Sequence[Answer], rows: Sequence[Row], metrics: Metrics, labels: Sequence[str]) -> dict[str, Any]:
    """The metrics that are asked for, and length_ratio: words answered by words expected.

    ROUGE (rouge1, rouge2, rougeL, rougeLsum) is the mean of F over the rows, 0 to 1, and `tokenizer` tells what its words
    are: "rouge_score", or "unicode" where any row needed it. BLEU and chrF are of the whole, 0 to 100, as everywhere else;
    `signatures` names their settings. BLEU of Chinese and Japanese is over characters.
    """
    given, expected = [answer["text"] for answer in answers], [row["target"] for row in rows]
    report: dict[str, Any] = {}
    if rouges := [name for name in metrics.names if name.startswith("rouge")]:
        report |= _rouge(rouges, given, expected)
        report["tokenizer"] = "unicode" if any(map(is_foreign, expected)) else "rouge_score"
    makers = {"bleu": lambda: _bleu(_bleu_tokenizer(expected)), "chrf": _chrf}
    signatures = {}
    for name in metrics.names:
        if name in makers:
            scorer = makers[name]()
            report[name] = float(scorer.corpus_score(given, [expected]).score)
            signatures[name] = str(scorer.get_signature())
    report = {name: report[name] for name in metrics.names} | report
    if signatures:
        report["signatures"] = signatures
    return {**report, "length_ratio": share(_count(given), _count(expected))}


def poor_texts(
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

    scorers = {foreign: RougeScorer(names, tokenizer=_Words() if foreign else None) for foreign in (False, True)}
    scores = [scorers[is_foreign(text)].score(text, answer) for answer, text in zip(given, expected, strict=True)]
    return {name: float(sum(score[name].fmeasure for score in scores) / max(len(scores), 1)) for name in names}


def _bleu_tokenizer(expected: Sequence[str]) -> str:
    """sacrebleu's default takes a sentence without spaces for one word."""
    text = "".join(expected)
    if not is_foreign(text):
        return "13a"
    kana, ideographs = len(JAPANESE.findall(text)), len(IDEOGRAPH.findall(text))
    if 2 * (kana + ideographs) <= sum(char.isalnum() for char in text):
        return "13a"
    return "char" if kana > ideographs / 10 else "zh"


def _bleu(tokenizer: str) -> Any:
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(tokenize=tokenizer, force=True)  # force: no advice to the screen when texts look tokenized


def _chrf() -> Any:
    from sacrebleu.metrics.chrf import CHRF

    return CHRF()


def _count(texts: Sequence[str]) -> int:
    return sum(len(words(text)) for text in texts)
