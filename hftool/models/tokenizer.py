"""The tokenizer of a model folder, and back: where there is a tokenizer.json, the ids are those that it gives.

transformers 5 takes vocabulary and added tokens from that file and rebuilds the normalizer, the pre-tokenizer, the model's
settings and the template from the defaults of the class that the config names: a cased tokenizer of class BertTokenizer is
lower-cased, without a word. Here the class supplies the names of the special tokens and the inputs of the model, the file
everything else.
"""

import inspect
import json
from pathlib import Path
from typing import Any

from hftool.errors import ConfigError, DataError, HftoolError, InputMissing
from hftool.models.families import family_of
from hftool.models.quiet import quiet
from hftool.models.sentence_transformers import lower_cases
from hftool.models.size_limits import SCHEMAS
from hftool.storage.json_documents import read_document

FILE = "tokenizer.json"
SETTINGS = "tokenizer_config.json"
CAPITALS = 0.05  # more of a vocabulary than this with capitals: cased. BERT's cased one has 0.34, its uncased one none
GENERIC = "PreTrainedTokenizerFast"  # the class that reads tokenizer.json as it is, in transformers 4 and 5
PIECES = ("spiece.model", "sentencepiece.bpe.model", "tokenizer.model")  # written by sentencepiece
VOCABULARIES = (FILE, "vocab.txt", "vocab.json", *PIECES)
# what tokenizers treat differently: case, accents, signs, digits, spaces, scripts with and without spaces, long words
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
    """The tokenizer of a folder, without the padding and truncation that its file may have baked in, and with a pad token.

    Args:
        folder: A checked model folder.
        config: The transformers config of that folder.

    Returns:
        A transformers tokenizer. Where the folder has a tokenizer.json it gives the ids that this file gives.

    Raises:
        InputMissing: There is no tokenizer.
        DataError: It cannot be read.
        ConfigError: Nothing can pad, or the files of the folder contradict each other.
    """
    # without any of these transformers makes up a tokenizer that knows no word, and says nothing
    if not any((folder / name).is_file() for name in VOCABULARIES):
        raise InputMissing(f"'{folder}' has no tokenizer", "Copy tokenizer.json, or vocab.txt, or vocab.json and merges.txt")
    with quiet():
        try:
            kind = _class_of(folder, config)
            own = _read_file(folder / FILE) if (folder / FILE).is_file() else None
            pieces = None if own else _read_pieces(folder)
            tokenizer = _without_vocabulary(kind, folder) if own else _from_vocabulary(kind, folder)
            _name_inputs(tokenizer, config)
        except HftoolError:
            raise
        except Exception as error:  # the tokenizers library raises bare Exception for a damaged tokenizer.json
            raise DataError(f"the tokenizer in '{folder}' is damaged: {' '.join(str(error).split())[:200]}") from error
    if own is not None:
        _take_over(tokenizer, own, folder)
    elif pieces is not None:
        _check_pieces(tokenizer, pieces, folder)
    if lower_cases(folder):
        _lower_case(tokenizer)
    clear_lengths(tokenizer)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token  # GPT-2 has none; padding is masked, so any token does
    if tokenizer.pad_token is None:
        raise ConfigError(f"the tokenizer in '{folder}' has neither a pad token nor an end token", "Add one to it")
    tokenizer.padding_side = family_of(config).padding_side
    return tokenizer


def clear_lengths(tokenizer: Any) -> None:
    """Take padding and truncation out: all-MiniLM-L6-v2 pads everything to 128 and cuts at 128 by its tokenizer.json, and
    every call that cuts leaves its own limit behind."""
    backend = getattr(tokenizer, "backend_tokenizer", None)  # the few tokenizers written in Python have none
    if backend is not None:
        backend.no_padding()
        backend.no_truncation()


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Write a tokenizer into a folder that holds config.json, so that transformers by itself reads it as it is here.

    Where the class that it has would rebuild another pipeline than the one in tokenizer.json, the generic class is named.
    """
    from transformers import AutoTokenizer

    clear_lengths(tokenizer)
    with quiet():
        tokenizer.save_pretrained(folder)
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            return
        again = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    alike = again.model_input_names == tokenizer.model_input_names
    if not alike or again.backend_tokenizer.to_str() != backend.to_str():
        path, pipeline = folder / SETTINGS, _parameters(type(tokenizer)) - set(tokenizer.SPECIAL_TOKENS_ATTRIBUTES)
        settings = {key: value for key, value in _settings(folder).items() if key not in pipeline}
        settings |= {"tokenizer_class": GENERIC, "model_input_names": list(tokenizer.model_input_names)}
        path.write_text(json.dumps(settings, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def _class_of(folder: Path, config: Any) -> Any:
    """The class of transformers for a folder: the one that its files name, else the one of its architecture."""
    from transformers import TOKENIZER_MAPPING, TokenizersBackend
    from transformers.models.auto.tokenization_auto import tokenizer_class_from_name

    name = _settings(folder).get("tokenizer_class") or getattr(config, "tokenizer_class", None)
    kind: Any = tokenizer_class_from_name(str(name)) if name else None
    if kind is None:  # MT5Tokenizer, say, is gone from transformers 5
        kind = TOKENIZER_MAPPING.get(type(config), TokenizersBackend)
    reads_files = isinstance(kind, type) and issubclass(kind, TokenizersBackend)
    if not reads_files and ((folder / FILE).is_file() or getattr(kind, "__name__", "") == "PythonBackend"):
        return TokenizersBackend
    return kind


def _parameters(kind: Any) -> set[str]:
    """What the class builds its pipeline of, and its special tokens."""
    return set(inspect.signature(kind.__init__).parameters)


def _settings(folder: Path) -> dict[str, Any]:
    """What tokenizer_config.json says. Raises DataError that names the key, Refused."""
    path = folder / SETTINGS
    values: dict[str, Any] = read_document(path, SCHEMAS[SETTINGS]) if path.is_file() else {}
    return values


def tokenizer_notes(tokenizer: Any, folder: Path) -> tuple[str, ...]:
    """What whoever uses the tokenizer of a folder should know of how it treats case."""
    backend, said = getattr(tokenizer, "backend_tokenizer", None), _settings(folder).get("do_lower_case")
    if backend is None or lower_cases(folder):
        return ()
    lowers = backend.normalizer is not None and backend.normalizer.normalize_str("A") == "a"
    if (folder / FILE).is_file():
        if not isinstance(said, bool) or said == lowers:
            return ()
        does = "lower-cases" if lowers else "keeps case"
        return (f"'{folder}': {SETTINGS} says do_lower_case: {str(said).lower()}, but {FILE} {does}; {FILE} decides",)
    if said is None and not lowers and getattr(tokenizer, "do_lower_case", True) is False:
        return (f"'{folder}': nothing says whether case is kept; its vocab.txt has capitals, so it is",)
    return ()


def _name_inputs(tokenizer: Any, config: Any) -> None:
    """Let a tokenizer of the generic class give what the architecture's own gives: in transformers 5 it leaves out the token
    types of BERT, without which the second text of a pair counts as part of the first."""
    from transformers import TOKENIZER_MAPPING, TokenizersBackend

    if type(tokenizer) is TokenizersBackend and "model_input_names" not in tokenizer.init_kwargs:
        own: Any = TOKENIZER_MAPPING.get(type(config), TokenizersBackend)
        tokenizer.model_input_names = list(own.model_input_names)


def _read_file(path: Path) -> Any:
    from tokenizers import Tokenizer

    own = Tokenizer.from_file(str(path))
    own.no_padding()
    own.no_truncation()
    return own


def _from_vocabulary(kind: Any, folder: Path) -> Any:
    """A tokenizer of a class from its vocabulary files, where there is no tokenizer.json."""
    from tokenizers import AddedToken, pre_tokenizers

    options = {"do_lower_case": False} if _keeps_case(kind, folder) else {}
    tokenizer = kind.from_pretrained(folder, local_files_only=True, **options)
    mask, declared = tokenizer.init_kwargs.get("mask_token"), tokenizer.init_kwargs.get("added_tokens_decoder") or {}
    splitter = getattr(getattr(tokenizer, "backend_tokenizer", None), "pre_tokenizer", None)
    if isinstance(splitter, pre_tokenizers.ByteLevel) and isinstance(mask, str) and mask not in map(str, declared.values()):
        # RoBERTa, BART and the like: the mask stands for the space before it, too; transformers 5 has lost that
        tokenizer.add_special_tokens({"mask_token": AddedToken(mask, lstrip=True, normalized=False, special=True)})
    return tokenizer


def _keeps_case(kind: Any, folder: Path) -> bool:
    """Whether a vocab.txt of a class that lower-cases is a cased one, where no setting says so: it has words with capitals."""
    path = folder / "vocab.txt"
    reads = kind.vocab_files_names.get("vocab_file") == path.name and path.is_file()
    if not reads or "do_lower_case" not in _parameters(kind) or "do_lower_case" in _settings(folder):
        return False
    lines = path.read_text(encoding="utf-8").splitlines()
    words = [word for word in lines if word.lower() != word.upper() and word[0] not in "[<"]
    return sum(word != word.lower() for word in words) > CAPITALS * len(words)


def _lower_case(tokenizer: Any) -> None:
    """Lower-case texts before anything else, as sentence-transformers does; a saved tokenizer then does so by itself."""
    from tokenizers import normalizers

    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        old = [backend.normalizer] if backend.normalizer else []
        backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), *old])


def _check_pieces(tokenizer: Any, pieces: Any, folder: Path) -> None:
    """A model of sentencepiece is converted by transformers, which leaves out the normalizer for some classes.

    Raises ConfigError where the pieces are not those of sentencepiece itself.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)  # the few tokenizers written in Python have none
    if backend is None:
        return
    unknown = pieces.unk_id()
    for text in PROBES:
        normal = backend.normalizer.normalize_str(text) if backend.normalizer else text  # a class may lower-case on purpose
        made = tokenizer.convert_ids_to_tokens(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
        right = pieces.encode(normal, out_type=str)
        if made != [tokenizer.unk_token if pieces.piece_to_id(piece) == unknown else piece for piece in right]:
            raise ConfigError(
                f"the tokenizer in '{folder}' gives '{_short(text)}' other pieces than sentencepiece does",
                f"transformers cannot convert this one: put a {FILE} beside it",
            )


def _read_pieces(folder: Path) -> Any:
    """The model of sentencepiece in a folder, or None. transformers takes what is none for a file of tiktoken."""
    for path in (folder / name for name in PIECES):
        if path.is_file():
            from sentencepiece import SentencePieceProcessor

            return SentencePieceProcessor(model_file=str(path))
    return None


def _without_vocabulary(kind: Any, folder: Path) -> Any:
    """A tokenizer of a class with the settings of a folder, and no words yet: building its own pipeline would be in vain."""
    from tokenizers import Tokenizer, models
    from transformers import TokenizersBackend

    class Blank(kind):  # type: ignore[misc]
        @classmethod
        def convert_to_native_format(cls, **values: Any) -> dict[str, Any]:
            made = {key: value for key, value in values.items() if key not in kind.vocab_files_names}
            return made if kind is not TokenizersBackend else {**made, "tokenizer_object": Tokenizer(models.BPE())}

    tokenizer = Blank.from_pretrained(folder, local_files_only=True)
    tokenizer.__class__ = kind
    return tokenizer


def _take_over(tokenizer: Any, own: Any, folder: Path) -> None:
    """Put the pipeline of tokenizer.json into a tokenizer without words, and leave out special tokens that it does not have.

    Raises ConfigError where a token that the config declares cannot have the id that is declared, or ids change by it.
    """
    expected = [own.encode(text).ids for text in PROBES]
    known = {token.content for token in own.get_added_tokens_decoder().values()}
    declared = {str(token): int(number) for number, token in tokenizer.init_kwargs.get("added_tokens_decoder", {}).items()}
    for token in tokenizer.added_tokens_decoder.values():
        inside = own.token_to_id(token.content)
        if token.content in known or (inside is None and token.content not in declared):
            continue
        own.add_special_tokens([token]) if token.special else own.add_tokens([token])
        if inside is None and own.token_to_id(token.content) != declared[token.content]:
            raise ConfigError(
                f"'{folder}' does not fit together: its config gives the token '{token.content}' the id "
                f"{declared[token.content]}, which {FILE} cannot give it",
                f"Take {FILE} and {SETTINGS} from the same model",
            )
    own.encode_special_tokens = tokenizer.split_special_tokens
    tokenizer._tokenizer = own  # there is no public way to set it
    for name, value in dict(tokenizer.special_tokens_map).items():
        if own.token_to_id(str(value)) is None:
            setattr(tokenizer, name, None)
    tokenizer.extra_special_tokens = [t for t in tokenizer.extra_special_tokens if own.token_to_id(str(t)) is not None]
    for text, ids in zip(PROBES, expected, strict=True):
        if tokenizer(text, verbose=False)["input_ids"] != ids:
            raise ConfigError(
                f"the tokenizer in '{folder}' gives '{_short(text)}' other ids than its {FILE} does",
                f"Take the tokens out of {SETTINGS} and added_tokens.json that {FILE} does not have",
            )


def _short(text: str) -> str:
    return " ".join(text.split())[:30] + "..."
