"""Words of texts in all scripts, for the metrics of texts."""

import re
import unicodedata

from hftool.data.unspaced_scripts import UNIT, UNITS
from hftool.data.unspaced_scripts import UNSPACED as COMPLEX

# not the scripts of the package `regex`: \p{Han} lacks code points to be assigned and has radicals, \p{M} is of another Unicode
# version than Python's, and both would change measured metrics
HAN = "\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
KANA = "\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f"
HANGUL = "\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3"
IDEOGRAPH = re.compile(f"[{HAN}]")
UNSPACED = re.compile(f"[{HAN}{KANA}]")  # scripts without spaces
EASTERN = re.compile(f"[{HAN}{KANA}{HANGUL}]|{UNIT}")
REST = re.compile(f"[^{HAN}{KANA}{HANGUL}{COMPLEX}]+")  # all other characters
SPELLED = re.compile(f"{UNIT}|[^{COMPLEX}]+")
JAPANESE = re.compile(f"[{KANA}]")


def words(text: str) -> list[str]:
    """Runs of letters, digits and their marks, in lower case.

    Each ideograph, each kana and each unit of Thai, Lao, Khmer, Burmese and related scripts (hftool.data.unspaced_scripts) is a
    word.
    """
    found, run = [], ""
    for char in unicodedata.normalize("NFC", text.lower()):
        single = UNSPACED.match(char) is not None
        if not single and unicodedata.category(char)[0] in "LMN":
            run += char
            continue
        if run:
            found += SPELLED.findall(run)
            run = ""
        if single:
            found.append(char)
    return found + SPELLED.findall(run)


def has_units(text: str) -> bool:
    """Whether a text has more units of Thai, Lao, Khmer, Burmese and related scripts than other words."""
    units = len(UNITS.findall(text))
    return units > 0 and units > len(words(UNITS.sub(" ", text)))


def is_mostly_non_ascii(text: str) -> bool:
    """Whether most letters and digits are not a to z or 0 to 9."""
    letters = [char for char in text if char.isalnum()]
    return 2 * sum(not char.isascii() for char in letters) > len(letters)
