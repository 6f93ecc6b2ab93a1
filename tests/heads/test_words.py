import pytest
import regex

from hftool.data.unspaced_scripts import RANGES, UNITS
from hftool.heads.words import has_units, is_mostly_non_ascii, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't stop, U.S. 3.14!", ["don", "t", "stop", "u", "s", "3", "14"]),
        ("Cafe\u0301 caf\u00e9", ["caf\u00e9", "caf\u00e9"]),  # one precomposed letter, or a letter with a combining accent
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("iPhone15は高い", ["iphone15", "は", "高", "い"]),
        ("서울 날씨", ["서울", "날씨"]),
        ("𠮷野家", ["𠮷", "野", "家"]),
        ("กำลังใช้ iPhone15 ๒๕๖๗", ["กำ", "ลั", "ง", "ใ", "ช้", "iphone15", "๒๕๖๗"]),
        ("ພາສາລາວ.", ["ພ", "າ", "ສ", "າ", "ລ", "າ", "ວ"]),
        ("ភាសាខ្មែរ ABC។", ["ភា", "សា", "ខ្មែ", "រ", "abc"]),
        ("မန္တလေး၊ ၂၀၂၄", ["မ", "န္တ", "လေး", "၂၀၂၄"]),
        ("ᨠᩥ᩠ᨶᨡ᩶ᩣ᩠ᩅ", ["ᨠᩥ᩠ᨶ", "ᨡ᩶ᩣ᩠ᩅ"]),  # Northern Thai in Tai Tham
        ("བོད་སྐད།", ["བོད", "སྐད"]),  # Tibetan separates syllables by a mark
        (" -- ", []),
    ],
)
def test_word_segmentation(text, expected):
    assert words(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("Ein schöner Tag", False), ("день", True), ("今天 GPU", False), ("今天的 GPU", False), ("!?", False)],
)
def test_detection_of_letters_that_rouge_score_drops(text, expected):
    assert is_mostly_non_ascii(text) is expected


SAMPLES = "กำลังน้ำเที่ยวๆ ພາສາລາວນ້ຳ ភាសាខ្មែរស្រីសង្គ្រាម မြန်မာနိုင်ငံသို့ကျွန်ုပ်မန္တလေးအင်္ဂလိပ် ᨠᩥ᩠ᨶᨡ᩶ᩣ᩠ᩅ ꪼꪕ"


def test_units_follow_unicode_segmentation():
    """Letters of line-break class SA; no unit cuts a grapheme cluster, and every cluster that starts with a letter starts one
    (UAX #29; a combining mark is never separated from its letter: WB4)."""
    pattern = {c for first, last in RANGES for c in range(first, last + 1)}
    reference_pattern = {c for c in range(0x20000) if regex.match(r"\p{Line_Break=SA}", chr(c))}
    assigned = {c for c in pattern ^ reference_pattern if regex.match(r"\P{Cn}", chr(c))}
    assert not assigned
    begins = {match.start() for match in UNITS.finditer(SAMPLES)}
    clusters = {match.start() for match in regex.finditer(r"\X", SAMPLES) if not regex.match(r"[\s\p{M}]", match[0])}
    assert begins == clusters
    words_by_rule = {match.start() for match in regex.finditer(r"(?w)\b(?!$)", SAMPLES)}
    assert begins <= words_by_rule


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ภาษาไทย", True),
        ("ใช้ GPU รุ่น RTX 4090 ดี", True),
        ("Bangkok is กรุงเทพ in Thai", True),
        ("a long text with one ไทย", False),
    ],
)
def test_detection_of_scripts_without_spaces(text, expected):
    assert has_units(text) is expected
