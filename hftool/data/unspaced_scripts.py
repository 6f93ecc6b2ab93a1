"""Scripts without spaces between words that only a dictionary segments: Thai, Lao, Khmer, Burmese and related ones.

A unit is a letter with the marks after it and the rest of its grapheme cluster: a vowel AM, the consonants stacked below.
Unicode Standard Annex #29, "Unicode Text Segmentation", has no other boundaries without a dictionary (rule WB4 keeps marks);
Annex #14, "Unicode Line Breaking Algorithm", calls these letters class SA.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence

# line-break class SA, with unassigned code points that regex's \p{Line_Break=SA} lacks: Thai, Lao,
# Myanmar, Khmer, Tai Le, New Tai Lue, Tai Tham, Myanmar Extended, Tai Viet, Ahom
RANGES = (
    *((0x0E01, 0x0E3A), (0x0E40, 0x0E4E), (0x0E81, 0x0EBD), (0x0EC0, 0x0EC6), (0x0EC8, 0x0ECE), (0x0EDC, 0x0EDF)),
    *((0x1000, 0x103F), (0x1050, 0x108F), (0x109A, 0x109F), (0x1780, 0x17D3), (0x17D7, 0x17D7), (0x17DC, 0x17DD)),
    *((0x1950, 0x1974), (0x1980, 0x19C9), (0x19DE, 0x19DF), (0x1A20, 0x1A7C), (0x1AA0, 0x1AAD), (0xA9E0, 0xA9EF)),
    *((0xA9FA, 0xA9FE), (0xAA60, 0xAAC2), (0xAADB, 0xAADF), (0x11700, 0x1172B), (0x1173A, 0x1173B), (0x1173F, 0x11746)),
)
UNSPACED = "".join(f"{chr(first)}-{chr(last)}" for first, last in RANGES)  # the inside of a character class
MAX_SINGLE_RATIO = 4  # tokens are words if fewer than this many single units come to each longer token
STACKERS = "\u1039\u17d2\u1a60"  # the next consonant is placed below the previous one
AM = "\u0e33\u0eb3"
_AFTER = AM + "".join(chr(c) for a, b in RANGES for c in range(a, b + 1) if unicodedata.category(chr(c))[0] == "M")
UNIT = rf"[{UNSPACED}][{_AFTER}]*(?:(?<=[{STACKERS}])[{UNSPACED}][{_AFTER}]*)*"  # pattern of one unit
UNITS = re.compile(UNIT)


def are_words(sentences: Iterable[Sequence[str]]) -> bool:
    """Whether tokens in these scripts are words and not single units."""
    single = several = 0
    for tokens in sentences:
        if UNITS.search("".join(tokens)):
            counts = [len(UNITS.findall(token)) for token in tokens]
            single, several = single + counts.count(1), several + sum(count > 1 for count in counts)
    return MAX_SINGLE_RATIO * several > single
