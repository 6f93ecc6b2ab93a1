"""The words that ask a model: infer, and one for each kind of answer.

Each takes a model that was loaded, or a word that is then loaded for it, and gives one answer a text, in their order. All
raise what `load` raises, UsageError (a model that was loaded for another kind of answer), ConfigError (a head that is not
trained) and DataError (a text that is empty).
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hftool.data.readers.tables import Row
from hftool.data.schema import is_blank
from hftool.data.writers import check_ending, write_rows
from hftool.errors import DataError, UsageError, nearest
from hftool.heads.protocol import Answer, SamplingParams
from hftool.inference.streaming import TextStreamer
from hftool.models import Loaded
from hftool.progress import Progress, silent
from hftool.registry.heads import head_spec
from hftool.registry.languages import language_of
from hftool.storage.run_folder import check_output
from hftool.workflow._load import answers_of, load, text_rows, trained
from hftool.workflow.arguments import Model

LANGUAGES = {
    "cs": "Czech",
    "de": "German",
    "en": "English",
    "es": "Spanish",
    "fi": "Finnish",
    "fr": "French",
    "it": "Italian",
    "nl": "Dutch",
    "pl": "Polish",
    "pt": "Portuguese",
    "ro": "Romanian",
    "ru": "Russian",
    "tr": "Turkish",
    "zh": "Chinese",
}
OnText = Callable[[str], None]
Settings = SamplingParams | Mapping[str, Any] | None  # how a text is written, or what of it is not to be as usual


def infer(
    model: Model | Loaded,
    texts: Sequence[str],
    *,
    pairs: Sequence[str] | None = None,
    sampling: Settings = None,
    device: str = "auto",
    offline: bool = False,
    fallback: bool = False,
    progress: Progress = silent,
) -> list[Answer]:
    """What the model is naturally for: labels, entities, answers, texts, fills or embeddings, one answer a text.

    pairs: the second text of each, for a model of text pairs; the contexts, for one that answers questions. decoding: how a
    text is written, by a model that writes.
    """
    loaded = model
    if not isinstance(loaded, Loaded):
        loaded = load(loaded, device=device, offline=offline, fallback=fallback, progress=progress)
    trained(loaded, None)
    writes = head_spec(loaded.head_config.head).generates
    if sampling and not writes:
        raise UsageError(f"a model that is to {loaded.head_config.head} writes nothing", "Leave decoding out")
    options = {**natural_options(loaded), **(_options(sampling) if writes else {})}
    return list(answers_of(loaded, rows_for(loaded, texts, pairs), options))


def natural_options(loaded: Loaded) -> Mapping[str, Any]:
    """What a head must be told to answer a person: one that fills masks would else take the text to learn from."""
    return dict(head_spec(loaded.head_config.head).inference_options)


def rows_for(loaded: Loaded, texts: Sequence[str], pairs: Sequence[str] | None) -> list[Row]:
    """Texts, and pairs, under the roles that the model's head answers. Raises UsageError, DataError (an empty text)."""
    head_config, spec = loaded.head_config, head_spec(loaded.head_config.head)
    if pairs is not None and spec.second_input == "never":
        raise UsageError(f"a model that is to {head_config.head} takes single texts", "Leave --pair out")
    if spec.second_input == "always" and pairs is None:
        raise UsageError("a {} needs a {} to be answered from".format(*spec.inputs), f"Give it with --{spec.inputs[1]}")
    trains_pairs = spec.takes_pairs(head_config.columns)
    if spec.second_input == "as trained" and head_config.columns and trains_pairs != (pairs is not None):
        wants, flag = ("single texts", "Leave --pair out") if pairs else ("pairs of texts", "Give the second with --pair")
        raise UsageError(f"the model was trained on {wants}", flag)
    rows = text_rows(texts, pairs, roles=spec.inputs)
    for number, row in enumerate(rows, start=1):
        for role, text in row.items():
            if is_blank(text) and role != "prompt":
                what = "second text" if role == "text_pair" else role
                raise DataError(f"{what} {number} is empty" if len(rows) > 1 else f"the {what} is empty")
    return rows


def classify(model: Model | Loaded, texts: Sequence[str], *, pairs: Sequence[str] | None = None) -> list[Answer]:
    """The label of each text: {"label", "probability", "probabilities"}, or {"score"} of a model that answers a number."""
    loaded = trained(model, "classify")
    return list(answers_of(loaded, rows_for(loaded, texts, pairs)))


def tag(model: Model | Loaded, texts: Sequence[str]) -> list[Answer]:
    """The entities of each text: {"entities": [{"text", "type", "start", "end", "probability"}], "tokens", "tags"}.

    start and end are character offsets in the text as it was given.
    """
    loaded = trained(model, "tag")
    return list(answers_of(loaded, rows_for(loaded, texts, None)))


def answer(model: Model | Loaded, questions: Sequence[str], contexts: Sequence[str]) -> list[Answer]:
    """The span of each context that answers its question: {"answer", "start", "end", "probability", "candidates"}.

    start and end are character offsets in the context; both are None where a model that may say so finds no answer.
    """
    loaded = trained(model, "answer")
    return list(answers_of(loaded, rows_for(loaded, questions, contexts)))


def summarize(model: Model | Loaded, texts: Sequence[str], *, sampling: Settings = None) -> list[Answer]:
    """A summary of each text: {"text", "finish"}. decoding: how it is written; by default the most probable tokens."""
    loaded = as_summarizer(trained(model, "text2text"))
    return list(answers_of(loaded, rows_for(loaded, texts, None), _options(sampling)))


def as_summarizer(loaded: Loaded) -> Loaded:
    """The model, told to summarize as T5 was pre-trained to; one that was fine-tuned does as it was trained."""
    if loaded.head_config.prefix.startswith("translate"):
        raise UsageError(f"the model was trained to {loaded.head_config.prefix.strip(' :')}", "hftool translate MODEL TEXT")
    is_base = not loaded.head_config.task and loaded.family.prefixed
    return _with_prefix(loaded, "summarize: ") if is_base else loaded


def translate(
    model: Model | Loaded, texts: Sequence[str], *, to: str | None = None, source: str = "en", sampling: Settings = None
) -> list[Answer]:
    """A translation of each text: {"text", "finish"}. to and source: codes of languages, such as de, deu or de-AT.

    A model that was fine-tuned translates as it was trained; another one is told the languages by its prefix, and needs `to`.
    Raises UsageError for a language that is not known, or not the one that the model was trained for.
    """
    loaded = as_translator(trained(model, "text2text"), to=to, source=source)
    return list(answers_of(loaded, rows_for(loaded, texts, None), _options(sampling)))


def write(model: Model | Loaded, texts: Sequence[str], *, sampling: Settings = None) -> list[Answer]:
    """What a text-to-text model makes of each text, without a prefix but its own: {"text", "finish"}."""
    loaded = trained(model, "text2text")
    return list(answers_of(loaded, rows_for(loaded, texts, None), _options(sampling)))


def as_translator(loaded: Loaded, *, to: str | None, source: str) -> Loaded:
    """The model, told which languages. Raises what `translate` raises."""
    wanted = f"translate {_language(source)} to {_language(to)}: " if to is not None else ""
    head_config = loaded.head_config
    if head_config.prefix.startswith("summarize"):
        raise UsageError("the model was trained to summarize", "hftool summarize MODEL TEXT")
    if to is not None and language_of(to) == language_of(source):
        raise UsageError(f"that is from {_language(source)} to {_language(source)}", "Name two languages: --from en --to de")
    if head_config.task:
        target = language_of(str(head_config.columns.get("target", "")).rpartition(".")[2])
        fixed = head_config.prefix.startswith("translate") or to is None or target != language_of(to)
        if to is not None and head_config.prefix != wanted and fixed:
            raise UsageError(f"the model was trained on {head_config.task} and takes no other language", "Leave --to out")
        return loaded
    if not wanted:
        raise UsageError("to which language?", "Name it with --to, such as --to de")
    if not loaded.family.prefixed:
        family = loaded.family.name
        raise UsageError(f"a {family} that nobody fine-tuned cannot translate", "Fine-tune it: hftool finetune MODEL TASK")
    return _with_prefix(loaded, wanted)


def _language(code: str) -> str:
    if language_of(code) not in LANGUAGES:
        named = nearest(code, LANGUAGES.values())
        codes = [known for known, name in LANGUAGES.items() if name == named]
        hint = f"Did you mean '{codes[0]}'?" if codes else "Languages: " + ", ".join(LANGUAGES)
        raise UsageError(f"unknown language '{code}'", hint)
    return LANGUAGES[language_of(code)]


def _with_prefix(loaded: Loaded, prefix: str) -> Loaded:
    return dataclasses.replace(loaded, head_config=dataclasses.replace(loaded.head_config, prefix=prefix))


def _options(sampling: Settings) -> dict[str, Any]:
    return {"sampling": sampling} if sampling is not None else {}


def generate(
    model: Model | Loaded,
    prompts: Sequence[str] = ("",),
    *,
    sampling: Settings = None,
    on_text: OnText | None = None,
) -> list[Answer]:
    """What the model writes after each prompt: {"text", "finish"}, and "samples" where several are wanted.

    An empty prompt begins after the end-of-text token. on_text: told of each piece of text as it is written, for one prompt and
    one sample. Raises DataError for a prompt that is longer than the model.
    """
    loaded = trained(model, "generate")
    rows = rows_for(loaded, prompts, None)
    if on_text is None:
        return list(answers_of(loaded, rows, _options(sampling)))
    pieces = TextStreamer(loaded.tokenizer, on_text)
    made = list(answers_of(loaded, rows, _options(sampling), lambda _, token: pieces.take(token)))
    for answer in made[:1]:
        pieces.end(answer["text"])
    return made


def fill(model: Model | Loaded, texts: Sequence[str], *, top_k: int = 5) -> list[Answer]:
    """The words for each mask: {"text", "masks": [{"start", "end", "fills": [{"token", "probability"}]}]}.

    A mask is written [MASK], or as the model writes it. Raises DataError for a text without one.
    """
    loaded = trained(model, "fill")
    return list(answers_of(loaded, rows_for(loaded, texts, None), {"for_inference": True, "top_k": top_k}))


def embed(model: Model | Loaded, texts: Sequence[str], *, pooling: str | None = None) -> np.ndarray:
    """Texts to vectors (N, H) float32. pooling: mean, cls or max over the tokens; by default as the model was trained."""
    loaded = trained(model, "embed")
    made = [answer["embedding"] for answer in vectors(loaded, texts, pooling=pooling)]
    width = int(loaded.model.config.hidden_size)
    return np.stack(made) if made else np.zeros((0, width), np.float32)


def vectors(
    model: Model | Loaded, texts: Sequence[str], *, pairs: Sequence[str] | None = None, pooling: str | None = None
) -> list[Answer]:
    """What `embed` and `similar` tell: {"embedding"} of a text, {"similarity", "score"} of a pair, `cut` of one too long."""
    loaded = trained(model, "embed")
    options = {"pooling": pooling} if pooling is not None else {}
    return list(answers_of(loaded, rows_for(loaded, texts, pairs), options))


def check_vectors(out: str | Path) -> None:
    """Raise UsageError or OutputUnavailable unless vectors can be written to `out`."""
    if check_ending(out) != "npy":
        raise UsageError(f"vectors of texts go into an array, not into '{out}'", "Name it .npy, or use --file and --out")
    check_output(Path(out))


def save_vectors(out: str | Path, vectors: Iterable[np.ndarray | None]) -> None:
    """Write vectors (H,) as one array (N, H) that numpy.load reads, NaN where there is none.

    Raises what `check_vectors` raises, StorageError.
    """
    check_vectors(out)
    write_rows(Path(out), ({"embedding": vector} for vector in vectors))


def similar(model: Model | Loaded, first: str, second: str, *, pooling: str | None = None) -> float:
    """The cosine similarity of two texts, -1 to 1."""
    (made,) = vectors(model, [first], pairs=[second], pooling=pooling)
    return float(made["similarity"])
