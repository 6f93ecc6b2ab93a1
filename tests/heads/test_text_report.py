import csv
import json
import random
import subprocess
import sys

import pytest

from hftool.evaluation.report import error_rows, make_report
from hftool.heads.protocol import Metrics
from hftool.heads.text2text.head import Text2TextHead
from hftool.models import HeadConfig
from hftool.registry.languages import language_of

NAMES = ("rouge1", "rouge2", "rougeL", "bleu", "chrf")
WORDS = ["the", "cat", "sat", "on", "a", "mat", "don't", "U.S.", "1,000", "Running", "runs", "well-known", "--", "snake_case"]


def report_of(given, expected, names=NAMES, **kwargs):
    rows = [{"source": "s", "target": text} for text in expected]
    return make_report([{"text": text} for text in given], rows, Metrics(names, True, "texts", **kwargs), (), 0.5)


def random_texts(seed, count=30):
    rng = random.Random(seed)
    expected = [" ".join(rng.choice(WORDS) for _ in range(rng.randrange(3, 14))) + "." for _ in range(count)]
    given = [" ".join(word for word in text.split() if rng.random() < 0.8) + " cat" for text in expected]
    return given, expected


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    given, expected = random_texts(1)
    folder = tmp_path_factory.mktemp("texts")
    (folder / "given").write_text("\n".join(given) + "\n", encoding="utf-8")
    (folder / "expected").write_text("\n".join(expected) + "\n", encoding="utf-8")
    return folder, report_of(given, expected)


def test_rouge_equals_the_rouge_score_command(files):
    folder, report = files
    flags = ["--target_filepattern=expected", "--prediction_filepattern=given", "--output_filename=out", "--noaggregate"]
    subprocess.run([sys.executable, "-m", "rouge_score.rouge", *flags], cwd=folder, check=True, capture_output=True)
    with open(folder / "out", encoding="utf-8") as handle:
        lines = list(csv.DictReader(handle))
    assert len(lines) == 30
    for name in ("rouge1", "rouge2", "rougeL"):
        assert report[name] == pytest.approx(sum(float(line[f"{name}-F"]) for line in lines) / 30, abs=1e-6)
    assert report["tokenizer"] == "rouge_score"


def test_bleu_and_chrf_equal_the_sacrebleu_command(files):
    folder, report = files
    flags = ["expected", "-i", "given", "-m", "bleu", "chrf", "-w", "8", "--format", "json"]
    run = subprocess.run([sys.executable, "-m", "sacrebleu", *flags], cwd=folder, check=True, capture_output=True)
    bleu, chrf = json.loads(run.stdout)
    assert (report["bleu"], report["chrf"]) == (pytest.approx(bleu["score"], abs=1e-7), pytest.approx(chrf["score"], abs=1e-7))
    assert 1 < report["bleu"] < 100 and report["signatures"] == {
        "bleu": bleu["signature"],
        "chrf": chrf["signature"].replace("chrF2|", ""),
    }


def test_only_requested_metrics_are_computed():
    assert report_of(["a cat sat"], ["a cat"], ("rouge1",)) == {
        "rows": 1,
        "rouge1": pytest.approx(0.8),
        "tokenizer": "rouge_score",
        "length_ratio": 1.5,
        "loss": 0.5,
    }


@pytest.mark.parametrize(
    ("given", "expected", "rouge1", "rouge2"),
    [
        ("我喜欢北京", "我爱北京", 2 * 3 / 9, 2 * 1 / 7),  # 5 and 4 characters, 3 in common; 北京 is the only common bigram
        ("кот сидит", "кот сидит тут", 0.8, 2 / 3),
        ("हिन्दी भाषा", "हिन्दी", 2 / 3, 0.0),  # vowel signs are part of their word
    ],
)
def test_rouge_of_other_scripts(given, expected, rouge1, rouge2):
    report = report_of([given], [expected], ("rouge1", "rouge2"))
    assert (report["rouge1"], report["rouge2"]) == (pytest.approx(rouge1), pytest.approx(rouge2))
    assert report["tokenizer"] == "unicode"


def test_latin_rows_keep_the_rouge_score_tokens_beside_other_scripts():
    report = report_of(["naïve cat", "кот"], ["na cat", "кот"], ("rouge1",))  # rouge_score splits it into: na ve cat
    assert report["rouge1"] == pytest.approx((0.8 + 1) / 2)


@pytest.mark.parametrize(
    ("text", "tokenizer"),
    [
        ("今天北京的天气很好。", "zh"),
        ("今日は東京の天気がとても良いです。", "char"),
        ("Сегодня хорошая погода.", "13a"),
        ("A cat.", "13a"),
    ],
)
def test_bleu_splits_scripts_without_spaces(text, tokenizer):
    report = report_of([text[:-2] + "x" + text[-1], text], [text, text], ("bleu",))
    assert f"|tok:{tokenizer}|" in report["signatures"]["bleu"]
    if tokenizer != "13a":
        assert 60 < report["bleu"] < 100


UNSPACED = [
    ("วันนี้อากาศที่กรุงเทพดีมากครับ", "วันนี้อากาศที่กรุงเทพดีมากค่ะ"),
    ("ມື້ນີ້ອາກາດຢູ່ວຽງຈັນດີຫຼາຍ", "ມື້ນີ້ອາກາດຢູ່ວຽງຈັນດີ"),
    ("ថ្ងៃនេះអាកាសធាតុនៅភ្នំពេញល្អណាស់", "ថ្ងៃនេះអាកាសធាតុនៅភ្នំពេញល្អ"),
    ("ယနေ့ရန်ကုန်ရာသီဥတုအရမ်းကောင်းပါတယ်", "ယနေ့ရန်ကုန်ရာသီဥတုကောင်းပါတယ်"),
    ("ซื้อ iPhone 15 Pro ที่ Central World วันนี้", "ซื้อ iPhone 15 Pro ที่ Central World เมื่อวาน"),
    ("๒๕๖๗ เป็นปีที่ดีมาก", "๒๕๖๗ เป็นปีที่ดี"),
]


@pytest.mark.parametrize(("given", "expected"), UNSPACED)
def test_small_differences_in_scripts_without_spaces_score_high(given, expected):
    report = report_of([given], [expected])
    assert report["rouge1"] > 0.7 and report["rouge2"] > 0.6 and report["rougeL"] > 0.7 and report["bleu"] > 40
    assert report["tokenizer"] == "unicode-units" and "|tok:13a-units|" in report["signatures"]["bleu"]
    assert 0.5 < report["length_ratio"] < 2


def test_latin_words_and_numbers_within_thai_are_not_split():
    report = report_of(["ใช้ Python 3.14 ครับ"], ["ใช้ Pythonic 3.15 ครับ"], ("rouge1", "bleu"))
    assert report["rouge1"] == pytest.approx(2 * 6 / (8 + 8))  # ใ ช้ ค รั บ, and 3 of 8 in common: neither Python nor 14
    assert report_of(["ใช้ Python 3.14 ครับ"] * 2, ["ใช้ Python 3.14 ครับ"] * 2, ("bleu",))["bleu"] == pytest.approx(100)


@pytest.mark.parametrize(
    "code", ["zh", "zh-CN", "zh-TW", "zh_TW", "zh-Hans-CN", "zho", "zho_Hans", "chi", "cmn", "yue", "ZH-cn"]
)
def test_target_language_selects_the_tokenizer(code):
    texts = ["CUDA 和 PyTorch Lightning 框架"]  # mostly in Latin letters
    assert "|tok:13a|" in report_of(texts, texts, ("bleu",))["signatures"]["bleu"]
    assert "|tok:zh|" in report_of(texts, texts, ("bleu",), language=language_of(code))["signatures"]["bleu"]


@pytest.mark.parametrize(
    ("code", "text", "tokenizer"),
    [
        ("ja-JP", "PyTorch Lightning の使い方", "char"),
        ("jpn_Jpan", "PyTorch Lightning の使い方", "char"),
        ("ko-KR", "PyTorch Lightning 사용법", "char"),
        ("kor", "서울의 날씨가 좋다", "char"),
        ("", "서울의 날씨가 좋다", "char"),
        ("th-TH", "PyTorch Lightning for deep learning คือ", "13a-units"),
        ("mya_Mymr", "PyTorch Lightning for deep learning က", "13a-units"),
        ("de-AT", "Ein schöner Tag", "13a"),
        ("zh-CN", "never translated", "13a"),  # it contains none of the letters of that language
    ],
)
def test_tokenizer_of_related_languages(code, text, tokenizer):
    report = report_of([text], [text], ("bleu",), language=language_of(code))
    assert f"|tok:{tokenizer}|" in report["signatures"]["bleu"]


def test_language_is_derived_from_the_target_column():
    for column, language in {"translation.zh-TW": "zh", "ja_JP": "ja", "summary": "summary"}.items():
        head = Text2TextHead(None, HeadConfig(head="text2text", columns={"source": "en", "target": column}))
        assert head.metrics().language == language


def test_empty_predictions_are_zero_without_a_warning():
    report = report_of(["", ""], ["a cat", "a dog"])
    assert [report[name] for name in (*NAMES, "length_ratio")] == [0.0] * 6


def test_rows_are_sorted_by_chrf():
    rows = [{"source": f"s{i}", "target": "the cat"} for i in range(3)]
    found = error_rows(
        [{"text": t} for t in ("the cat", "dog", "the cats")], rows, [1, 2, 3], Metrics(NAMES, True, "texts"), ()
    )
    assert [error["row"] for error in found] == [2, 3, 1]
    assert found[0] == {"row": 2, "source": "s1", "expected": "the cat", "answered": "dog", "chrf": 0.0}
    assert found[-1]["chrf"] == pytest.approx(100)


def test_no_sacrebleu_warning_about_tokenized_texts(caplog):
    texts = ["a cat sat on the mat ."] * 150
    assert report_of(texts, texts, ("bleu",))["bleu"] == pytest.approx(100)
    assert caplog.records == []
