"""Loads and saves tokenizers; a tokenizer.json decides all token ids.

transformers 5 takes only vocabulary and added tokens from that file. It rebuilds the normalizer, the pre-tokenizer, the model's
settings and the template from the defaults of the class that the config names, so a cased tokenizer of class BertTokenizer is
silently lower-cased. Here the class gives only the names of the special tokens and of the model inputs.
"""

import inspect
import json
from pathlib import Path
from typing import Any

from hftool.errors import ConfigError, DataError, HftoolError, InputMissing, brief
from hftool.models.config_facts import family_of
from hftool.models.quiet import quiet
from hftool.models.sentence_transformers import lower_cases
from hftool.models.untrusted_sizes import SCHEMAS
from hftool.storage.json_documents import read_document

FILE = "tokenizer.json"
SETTINGS = "tokenizer_config.json"
CAPITALS = 0.05  # share of words with capitals above which a vocabulary is cased; BERT's cased one has 0.34, its uncased one 0
GENERIC = "PreTrainedTokenizerFast"  # the class that reads tokenizer.json as it is, in transformers 4 and 5
PIECES = ("spiece.model", "sentencepiece.bpe.model", "tokenizer.model")  # written by sentencepiece
VOCABULARIES = (FILE, "vocab.txt", "vocab.json", *PIECES)
# texts that tokenizers treat differently: case, accents, punctuation, digits, spaces, scripts, long words
PROBES = (
    "The Quick Brown FOX, aged 12 (or 3.5), didn't jump: e-mail him at fox@example.org!",
    "  two  spaces,\ta tab\nand a line;  Ünïcödé façade naïve ŒUVRE ﬁne ½ № ① Å",
    "Straße, İstanbul, Łódź, Việt Nam, Ελλάδα ὀξύς, Привет Мир, Київ",
    "שָׁלוֹם עולם, مرحبا بالعالم, سلام دنیا, नमस्ते दुनिया, বাংলা, தமிழ், తెలుగు, ಕನ್ನಡ, മലയാളം",
    "สวัสดีชาวโลก, ສະບາຍດີ, ខ្មែរ, မြန်မာ, 你好，世界。東京タワー カタカナ ｶﾀｶﾅ, 한국어 한",
    "გამარჯობა, Հայերեն, አማርኛ, ᏣᎳᎩ, ᠮᠣᠩᠭᠣᠯ, བོད་ཡིག, 😀👍🏽 e\u0301 \u200b\u00ad\u00a0 ~^$€ <x> [y] _z_",
    "a" * 120,
)


def load_tokenizer(folder: Path, config: Any) -> Any:
    """Load the tokenizer of a folder, with the ids of tokenizer.json if there is one, and with a pad token.

    Padding and truncation that its file stores are left out.

    Raises:
        InputMissing: There is no tokenizer.
        DataError: It cannot be read.
        ConfigError: There is no token to pad with, or the files of the folder contradict each other.
    """
    # without any of these transformers silently creates a tokenizer with an empty vocabulary
    if not any((folder / name).is_file() for name in VOCABULARIES):
        raise InputMissing(f"'{folder}' has no tokenizer", "Copy tokenizer.json, or vocab.txt, or vocab.json and merges.txt")
    with quiet():
        try:
            kind = _class_of(folder, config)
            backend = _read_file(folder / FILE) if (folder / FILE).is_file() else None
            pieces = None if backend else _read_pieces(folder)
            tokenizer = _without_vocabulary(kind, folder) if backend else _from_vocabulary(kind, folder)
            _name_inputs(tokenizer, config)
        except HftoolError:
            raise
        except Exception as error:  # the tokenizers library raises bare Exception for a damaged tokenizer.json
            raise DataError(f"the tokenizer in '{folder}' is damaged: {brief(error)}") from error
    if backend is not None:
        _set_backend(tokenizer, backend, folder)
    elif pieces is not None:
        _check_pieces(tokenizer, pieces, folder)
    if lower_cases(folder):
        _lower_case(tokenizer)
    clear_lengths(tokenizer)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token  # GPT-2 has none; padding is masked, so any token will do
    if tokenizer.pad_token is None:
        raise ConfigError(f"the tokenizer in '{folder}' has neither a pad token nor an end token", "Add one to it")
    tokenizer.padding_side = family_of(config).padding_side
    return tokenizer


def clear_lengths(tokenizer: Any) -> None:
    """Remove padding and truncation, which a tokenizer.json may have, and which every call with truncation leaves behind."""
    backend = getattr(tokenizer, "backend_tokenizer", None)  # the few tokenizers written in Python have none
    if backend is not None:
        backend.no_padding()
        backend.no_truncation()


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Save a tokenizer into a folder with a config.json, so that plain transformers loads the same tokenizer.

    Where its class would rebuild another pipeline than that of tokenizer.json, the generic class is saved instead.
    """
    from transformers import AutoTokenizer

    clear_lengths(tokenizer)
    with quiet():
        tokenizer.save_pretrained(folder)
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            return
        reloaded = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    same_inputs = reloaded.model_input_names == tokenizer.model_input_names
    if not same_inputs or reloaded.backend_tokenizer.to_str() != backend.to_str():
        path, pipeline = folder / SETTINGS, _parameters(type(tokenizer)) - set(tokenizer.SPECIAL_TOKENS_ATTRIBUTES)
        settings = {key: value for key, value in _settings(folder).items() if key not in pipeline}
        settings |= {"tokenizer_class": GENERIC, "model_input_names": list(tokenizer.model_input_names)}
        path.write_text(json.dumps(settings, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def _class_of(folder: Path, config: Any) -> Any:
    """The tokenizer class of a folder: the one that its files name, else that of its architecture."""
    from transformers import TOKENIZER_MAPPING, TokenizersBackend
    from transformers.models.auto.tokenization_auto import tokenizer_class_from_name

    name = _settings(folder).get("tokenizer_class") or getattr(config, "tokenizer_class", None)
    kind: Any = tokenizer_class_from_name(str(name)) if name else None
    if kind is None:  # removed from transformers 5, such as MT5Tokenizer
        kind = TOKENIZER_MAPPING.get(type(config), TokenizersBackend)
    reads_files = isinstance(kind, type) and issubclass(kind, TokenizersBackend)
    if not reads_files and ((folder / FILE).is_file() or getattr(kind, "__name__", "") == "PythonBackend"):
        return TokenizersBackend
    return kind


def _parameters(kind: Any) -> set[str]:
    """The parameters of a tokenizer class: those of its pipeline, and its special tokens."""
    return set(inspect.signature(kind.__init__).parameters)


def _settings(folder: Path) -> dict[str, Any]:
    """The content of tokenizer_config.json, or {}. Raises DataError that names the key, Refused."""
    path = folder / SETTINGS
    values: dict[str, Any] = read_document(path, SCHEMAS[SETTINGS]) if path.is_file() else {}
    return values


def tokenizer_notes(tokenizer: Any, folder: Path) -> tuple[str, ...]:
    """Notes for the user on how the tokenizer of a folder treats case."""
    backend, setting = getattr(tokenizer, "backend_tokenizer", None), _settings(folder).get("do_lower_case")
    if backend is None or lower_cases(folder):
        return ()
    lowers = backend.normalizer is not None and backend.normalizer.normalize_str("A") == "a"
    if (folder / FILE).is_file():
        if not isinstance(setting, bool) or setting == lowers:
            return ()
        does = "lower-cases" if lowers else "keeps case"
        return (f"'{folder}': {SETTINGS} says do_lower_case: {str(setting).lower()}, but {FILE} {does}; {FILE} decides",)
    if setting is None and not lowers and getattr(tokenizer, "do_lower_case", True) is False:
        return (f"'{folder}': nothing says whether case is kept; its vocab.txt has capitals, so it is",)
    return ()


def _name_inputs(tokenizer: Any, config: Any) -> None:
    """Give a tokenizer of the generic class the model inputs of its architecture.

    In transformers 5 the generic class leaves out BERT's token types, without which the second text of a pair is treated as
    part of the first.
    """
    from transformers import TOKENIZER_MAPPING, TokenizersBackend

    if type(tokenizer) is TokenizersBackend and "model_input_names" not in tokenizer.init_kwargs:
        kind: Any = TOKENIZER_MAPPING.get(type(config), TokenizersBackend)
        tokenizer.model_input_names = list(kind.model_input_names)


def _read_file(path: Path) -> Any:
    from tokenizers import Tokenizer

    backend = Tokenizer.from_file(str(path))
    backend.no_padding()
    backend.no_truncation()
    return backend


def _from_vocabulary(kind: Any, folder: Path) -> Any:
    """A tokenizer of class `kind` from vocabulary files, where there is no tokenizer.json."""
    from tokenizers import AddedToken, pre_tokenizers

    options = {"do_lower_case": False} if _keeps_case(kind, folder) else {}
    tokenizer = kind.from_pretrained(folder, local_files_only=True, **options)
    mask, declared = tokenizer.init_kwargs.get("mask_token"), tokenizer.init_kwargs.get("added_tokens_decoder") or {}
    splitter = getattr(getattr(tokenizer, "backend_tokenizer", None), "pre_tokenizer", None)
    if isinstance(splitter, pre_tokenizers.ByteLevel) and isinstance(mask, str) and mask not in map(str, declared.values()):
        # RoBERTa, BART and similar: the mask token includes the space before it, which transformers 5 has lost
        tokenizer.add_special_tokens({"mask_token": AddedToken(mask, lstrip=True, normalized=False, special=True)})
    return tokenizer


def _keeps_case(kind: Any, folder: Path) -> bool:
    """Whether a vocab.txt is cased although its class lower-cases by default and no setting decides: it has capitals."""
    path = folder / "vocab.txt"
    reads = kind.vocab_files_names.get("vocab_file") == path.name and path.is_file()
    if not reads or "do_lower_case" not in _parameters(kind) or "do_lower_case" in _settings(folder):
        return False
    lines = path.read_text(encoding="utf-8").splitlines()
    words = [word for word in lines if word.lower() != word.upper() and word[0] not in "[<"]
    return sum(word != word.lower() for word in words) > CAPITALS * len(words)


def _lower_case(tokenizer: Any) -> None:
    """Add lower-casing as the first normalizer, as sentence-transformers does; it is saved with the tokenizer."""
    from tokenizers import normalizers

    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        old = [backend.normalizer] if backend.normalizer else []
        backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), *old])


def _check_pieces(tokenizer: Any, pieces: Any, folder: Path) -> None:
    """Check a tokenizer that transformers converted from sentencepiece, since it drops the normalizer for some classes.

    Raises:
        ConfigError: Its tokens differ from those of sentencepiece.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)  # the few tokenizers written in Python have none
    if backend is None:
        return
    unknown = pieces.unk_id()
    for text in PROBES:
        normal = backend.normalizer.normalize_str(text) if backend.normalizer else text  # a class may lower-case on purpose
        tokens = tokenizer.convert_ids_to_tokens(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
        expected = pieces.encode(normal, out_type=str)
        if tokens != [tokenizer.unk_token if pieces.piece_to_id(piece) == unknown else piece for piece in expected]:
            what = f"the tokenizer in '{folder}' gives '{_short(text)}' other pieces than sentencepiece does"
            raise ConfigError(what, f"transformers cannot convert it correctly: add a {FILE}")


def _read_pieces(folder: Path) -> Any:
    """The sentencepiece model of a folder, or None; transformers would read any other content as a tiktoken file."""
    for path in (folder / name for name in PIECES):
        if path.is_file():
            from sentencepiece import SentencePieceProcessor

            return SentencePieceProcessor(model_file=str(path))
    return None


def _without_vocabulary(kind: Any, folder: Path) -> Any:
    """A tokenizer of class `kind` with the settings of a folder and an empty pipeline, which `_set_backend` replaces."""
    from tokenizers import Tokenizer, models
    from transformers import TokenizersBackend

    class Blank(kind):  # type: ignore[misc]
        """The class without its vocabulary."""

        @classmethod
        def convert_to_native_format(cls, **values: Any) -> dict[str, Any]:
            """Settings without vocabulary files."""
            kept = {key: value for key, value in values.items() if key not in kind.vocab_files_names}
            return kept if kind is not TokenizersBackend else {**kept, "tokenizer_object": Tokenizer(models.BPE())}

    tokenizer = Blank.from_pretrained(folder, local_files_only=True)
    tokenizer.__class__ = kind
    return tokenizer


def _set_backend(tokenizer: Any, backend: Any, folder: Path) -> None:
    """Set the pipeline of tokenizer.json as the backend, and drop special tokens that it does not have.

    Raises:
        ConfigError: A declared token cannot get its declared id, or declared tokens change the ids of texts.
    """
    expected = [backend.encode(text).ids for text in PROBES]
    known = {token.content for token in backend.get_added_tokens_decoder().values()}
    declared = {str(token): int(number) for number, token in tokenizer.init_kwargs.get("added_tokens_decoder", {}).items()}
    for token in tokenizer.added_tokens_decoder.values():
        token_id = backend.token_to_id(token.content)
        if token.content in known or (token_id is None and token.content not in declared):
            continue
        backend.add_special_tokens([token]) if token.special else backend.add_tokens([token])
        if token_id is None and backend.token_to_id(token.content) != declared[token.content]:
            raise ConfigError(
                f"'{folder}' does not fit together: its config gives the token '{token.content}' the id "
                f"{declared[token.content]}, which {FILE} cannot give it",
                f"Take {FILE} and {SETTINGS} from the same model",
            )
    backend.encode_special_tokens = tokenizer.split_special_tokens
    tokenizer._tokenizer = backend  # there is no public way to set it
    for name, value in dict(tokenizer.special_tokens_map).items():
        if backend.token_to_id(str(value)) is None:
            setattr(tokenizer, name, None)
    tokenizer.extra_special_tokens = [t for t in tokenizer.extra_special_tokens if backend.token_to_id(str(t)) is not None]
    for text, ids in zip(PROBES, expected, strict=True):
        if tokenizer(text, verbose=False)["input_ids"] != ids:
            what = f"the tokenizer in '{folder}' gives '{_short(text)}' other ids than its {FILE} does"
            raise ConfigError(what, f"Remove the tokens from {SETTINGS} and added_tokens.json that {FILE} does not have")


def _short(text: str) -> str:
    return " ".join(text.split())[:30] + "..."
