"""Model folders whose tokenizer.json differs from the defaults of the tokenizer class in their config."""

import json
import shutil

from support import families

TEXTS = [
    *(row["text"] for row in families.classify_rows(4)),
    "The RED Cat is WARM and fine .",
    "Ann went to Rome with a cat, 2024-05-17: 3.5 % of it!",
    "  two  blanks\tand a tab\nand a line ",
    "Ünïcödé façade NAÏVE Straße İstanbul",
    "你好，世界 東京タワー カタカナ 한국어",
    "Привет Мир שָׁלוֹם مرحبا नमस्ते สวัสดี",
    "a" * 130,
    "",
    "😀 👍🏽 \u200bx\u00a0y ﬁne ½",
]


def _set(**parts):
    return lambda values: values.update(parts)


def _normal(**parts):
    return lambda values: values["normalizer"].update(parts)


def _model(**parts):
    return lambda values: values["model"].update(parts)


def _before(*steps):
    """Normalizers put before those that are there."""

    def change(values):
        old = values["normalizer"]
        rest = old["normalizers"] if old and old["type"] == "Sequence" else [old] if old else []
        values["normalizer"] = {"type": "Sequence", "normalizers": [*steps, *rest]}

    return change


def _splitters(*steps):
    return _set(pre_tokenizer={"type": "Sequence", "pretokenizers": list(steps)})


def _id(values, token):
    vocab = values["model"]["vocab"]
    return vocab[token] if isinstance(vocab, dict) else next(i for i, (piece, _) in enumerate(vocab) if piece == token)


def _template(single, pair):
    """Special tokens where these say, such as "[CLS] $A [SEP]"."""

    def change(values):
        parts = {}
        pieces = {}
        for name, text in (("single", single), ("pair", pair)):
            parts[name] = []
            for word in text.split():
                kind = 1 if word == "$B" else 0
                if word in ("$A", "$B"):
                    parts[name].append({"Sequence": {"id": word[1], "type_id": kind}})
                else:
                    parts[name].append({"SpecialToken": {"id": word, "type_id": kind}})
                    pieces[word] = {"id": word, "ids": [_id(values, word)], "tokens": [word]}
        values["post_processor"] = {"type": "TemplateProcessing", **parts, "special_tokens": pieces}

    return change


def _word_level(values):
    vocab = {token: number for token, number in values["model"]["vocab"].items() if not token.startswith("##")}
    vocab = {token: i for i, token in enumerate(vocab)}
    values["model"] = {"type": "WordLevel", "vocab": vocab, "unk_token": "[UNK]"}
    values["added_tokens"] = [{**token, "id": vocab[token["content"]]} for token in values["added_tokens"]]


def _bpe_of_letters(values):
    """Byte pairs without merges, under BERT's name."""
    vocab = {token: i for i, token in enumerate(values["model"]["vocab"])}
    values["model"] = {"type": "BPE", "vocab": vocab, "merges": [["t", "h"]] if "th" in vocab else [], "unk_token": "[UNK]"}
    values["normalizer"] = {"type": "Lowercase"}


def _unigram(values):
    """A Unigram model under BERT's name."""
    vocab = [[token, -float(i % 7) - 1] for i, token in enumerate(values["model"]["vocab"])]
    values["model"] = {"type": "Unigram", "vocab": vocab, "unk_id": 1, "byte_fallback": False}


def _no_added(*tokens):
    def change(values):
        values["added_tokens"] = [one for one in values["added_tokens"] if one["content"] not in tokens]

    return change


def _adds(token, **flags):
    """One more added token, with an id that the vocabulary has for another piece."""

    def change(values):
        usual = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
        values["added_tokens"].append({"id": _id(values, token), "content": token, **usual, **flags})

    return change


BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
DIGITS = {"type": "Digits", "individual_digits": True}
MARKS = {"type": "Punctuation", "behavior": "Isolated"}
SPACE = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True}
SPLIT = {"type": "Split", "pattern": {"Regex": "\\d|[aeiou]"}, "behavior": "Isolated", "invert": False}

ODD = {  # what is odd -> the family, the change of its tokenizer.json
    "bert keeps case": ("bert", _normal(lowercase=False)),
    "bert keeps accents": ("bert", _normal(strip_accents=False)),
    "bert strips accents, keeps case": ("bert", _normal(lowercase=False, strip_accents=True)),
    "bert leaves Chinese whole": ("bert", _normal(handle_chinese_chars=False)),
    "bert cleans nothing": ("bert", _normal(clean_text=False)),
    "bert normalizes nothing": ("bert", _set(normalizer=None)),
    "bert by NFKC": ("bert", _set(normalizer={"type": "NFKC"})),
    "bert replaces": ("bert", _before({"type": "Replace", "pattern": {"String": "cat"}, "content": "dog"})),
    "bert at blanks only": ("bert", _set(pre_tokenizer={"type": "WhitespaceSplit"})),
    "bert at digits": ("bert", _splitters({"type": "BertPreTokenizer"}, DIGITS)),
    "bert at vowels": ("bert", _splitters({"type": "BertPreTokenizer"}, SPLIT)),
    "bert of short words": ("bert", _model(max_input_chars_per_word=3)),
    "bert with another prefix": ("bert", _model(continuing_subword_prefix="")),
    "bert without an end": ("bert", _template("[CLS] $A", "[CLS] $A $B")),
    "bert ends first": ("bert", _template("[SEP] $A [CLS]", "[SEP] $A [CLS] $B")),
    "bert adds nothing": ("bert", _set(post_processor=None)),
    "bert of whole words": ("bert", _word_level),
    "bert of byte pairs": ("bert", _bpe_of_letters),
    "bert of a unigram": ("bert", _unigram),
    "bert with a word added": ("bert", _adds("warm", normalized=True, lstrip=True)),
    "bert without a known mask": ("bert", _no_added("[MASK]")),
    "electra keeps case": ("electra", _normal(lowercase=False)),
    "roberta lower-cases": ("roberta", _before({"type": "Lowercase"})),
    "roberta begins with a blank": ("roberta", _set(pre_tokenizer={**BYTES, "add_prefix_space": True})),
    "roberta without words": ("roberta", _set(pre_tokenizer={**BYTES, "use_regex": False})),
    "roberta at digits": ("roberta", _splitters(DIGITS, BYTES)),
    "roberta in a template": ("roberta", _template("<s> $A </s>", "<s> $A </s> $B </s>")),
    "roberta without merges": ("roberta", _model(merges=[])),
    "gpt2 by NFC": ("gpt2", _before({"type": "NFC"}, {"type": "StripAccents"})),
    "gpt2 ends itself": ("gpt2", _template("$A <|endoftext|>", "$A <|endoftext|> $B <|endoftext|>")),
    "gpt2 at digits": ("gpt2", _splitters(DIGITS, BYTES)),
    "gpt2 with a blank": ("gpt2", _set(pre_tokenizer={**BYTES, "add_prefix_space": True})),
    "t5 lower-cases": ("t5", _before({"type": "Lowercase"})),
    "t5 without an end": ("t5", _template("$A", "$A $B")),
    "t5 at blanks and signs": ("t5", _splitters(MARKS, SPACE)),
    "t5 begins without a blank": ("t5", _set(pre_tokenizer={**SPACE, "prepend_scheme": "never"})),
    "xlm-roberta lower-cases": ("xlm-roberta", _before({"type": "Lowercase"}, {"type": "NFKC"})),
    "xlm-roberta at digits": ("xlm-roberta", _splitters(DIGITS, SPACE)),
}


def odd_folder(name, path):
    """A copy of the family's checkpoint with the odd tokenizer.json. Returns `path`."""
    kind, change = ODD[name]
    shutil.copytree(families.folder(kind), path)
    file = path / "tokenizer.json"
    values = json.loads(file.read_text(encoding="utf-8"))
    change(values)
    file.write_text(json.dumps(values), encoding="utf-8")
    return path
