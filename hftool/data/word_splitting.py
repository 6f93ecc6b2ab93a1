"""The words of a text that is to be tagged, for training on spans and for inference alike."""

import functools
import re
import unicodedata

from hftool.data.unspaced_scripts import UNIT, UNSPACED

SHORT = 32  # characters of a part between spaces whose words are remembered


def word_offsets(text: str, *, units: bool = True) -> list[tuple[int, int]]:
    """The start and the end of each word of a text, in characters.

    White space separates words. One word each: an ideograph or kana; a unit of Thai, Lao, Khmer, Burmese and related scripts,
    as in hftool.data.unspaced_scripts, unless `units` is False; a URL, an @name, a #tag; letters and digits with combining
    marks, apostrophes and hyphens, but without 's, which is a word; a number with its points and commas; letters with a point
    after each (U.S.); any other character, with what joins it to an emoji. A byte order mark is no word.
    """
    found: list[tuple[int, int]] = []
    start = 0
    for part in text.split(" "):  # no word depends on what a space separates from it
        if part:
            spans = _spans_of(part, units) if len(part) <= SHORT else _find_spans(part, units)
            found += [(start + first, start + end) for first, end in spans]
        start += len(part) + 1
    return found


def _find_spans(part: str, units: bool) -> list[tuple[int, int]]:
    return [found.span() for found in _pattern(units).finditer(part)]


# parts recur: an export of spans is read at 2.4 times the speed, benchmarks/spans_rate.py
_spans_of = functools.lru_cache(maxsize=1 << 15)(_find_spans)


# ideographs with their repetition marks, and kana of both widths
ALONE = "\u3005-\u3007\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f"
ALONE += "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
JOINERS = "\u00ad\u200c\u200d"  # soft hyphen and zero-width joiners: no letters, but within words


@functools.cache
def _pattern(units: bool) -> re.Pattern[str]:
    """The pattern of a word. No alternative may fail after a long match: it would be tried again at each of its characters."""
    # Python's \w has no combining marks, such as vowel signs of Hindi; all are in these two ranges. The package `regex` has
    # them as \p{M}, but its \w differs from Python's in 30,000 code points: trained taggers would get other words.
    codes = [*range(0x300, 0x20000), *range(0xE0100, 0xE01F0)]
    marks = JOINERS + "".join(chr(code) for code in codes if unicodedata.category(chr(code))[0] == "M")
    alone = ALONE + UNSPACED if units else ALONE
    letter = rf"[^\W{alone}]"
    run = rf"{letter}(?:{letter}|[{marks}])*"
    of_it = rf"['’][sS](?!{letter})"
    web = rf"[^\s<>\"{alone}\u3000-\u303f\uff00-\uff65]"  # a Chinese sentence continues right after it
    parts = (
        rf"(?i:https?://|www\.){web}*(?<![.,;:!?'’)\]}}…])",
        rf"(?<!{letter})[@#]{run}",
        rf"(?:(?<={letter})|(?<=[{marks}])){of_it}",
        rf"(?:(?![\d_]){letter}\.){{2,}}",
        rf"{run}(?:(?!{of_it})['’\-‐‑]{run}|(?<=\d)[.,](?=\d){run})*",
        rf"(?:[{ALONE}]{'|' + UNIT if units else ''})[{marks}]*",
        r"[\U0001F1E6-\U0001F1FF]{2}",
        rf"[^\s\ufeff](?:\u200d[^\s\w]|[{marks}\U0001F3FB-\U0001F3FF\U000E0020-\U000E007F])*",
    )
    return re.compile("|".join(parts))
