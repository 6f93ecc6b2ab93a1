"""Language codes of data sets, as two letters."""

import re

# ISO 639-2 and 639-3 -> 639-1, for the languages with a name in hftool or an own tokenizer
TO_ISO_639_1 = {
    **{"ces": "cs", "cze": "cs", "deu": "de", "ger": "de", "eng": "en", "spa": "es", "fin": "fi", "fra": "fr", "fre": "fr"},
    **{"ita": "it", "nld": "nl", "dut": "nl", "pol": "pl", "por": "pt", "ron": "ro", "rum": "ro", "rus": "ru", "tur": "tr"},
    **{"zho": "zh", "chi": "zh", "cmn": "zh", "yue": "zh", "wuu": "zh", "lzh": "zh", "jpn": "ja", "kor": "ko"},
    **{"tha": "th", "lao": "lo", "khm": "km", "mya": "my", "bur": "my", "cn": "zh", "jp": "ja"},
}

LANGUAGES = {  # the languages that can be named, and their names in T5's prefixes
    **{"cs": "Czech", "de": "German", "en": "English", "es": "Spanish", "fi": "Finnish", "fr": "French", "it": "Italian"},
    **{"nl": "Dutch", "pl": "Polish", "pt": "Portuguese", "ro": "Romanian", "ru": "Russian", "tr": "Turkish", "zh": "Chinese"},
}


def language_of(code: str) -> str:
    """The two-letter code of a language, where it has one: zh of zh-CN, zh_TW, zho, zho_Hans and cmn-Hans-CN."""
    first = re.split(r"[-_.@]", code.strip().lower(), maxsplit=1)[0]
    return TO_ISO_639_1.get(first, first)
