"""Inference: infer, and one function for each kind of answer.

Each takes a loaded model, or a name that is then loaded. One text gives one answer, a list gives a list in the same order. All
raise what `load` raises, UsageError (a model that was loaded for another kind of answer), ConfigError (a head that is not
trained) and DataError (an empty text). Those that generate take the fields of `hftool.SamplingParams` as keyword arguments,
under transformers' names: max_new_tokens, temperature, top_k, top_p, num_beams, do_sample, seed, stop.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hftool.data.readers.tables import Row
from hftool.data.schema import is_blank
from hftool.data.writers import output_format, write_rows
from hftool.errors import DataError, UsageError, nearest
from hftool.heads.protocol import Answer
from hftool.inference.generation import OnToken
from hftool.inference.streaming import TextStreamer
from hftool.models import Loaded
from hftool.progress import Progress, silent
from hftool.registry.heads import head_spec
from hftool.registry.languages import LANGUAGES, language_of
from hftool.registry.tasks import SUMMARIZE, is_translation, translation_prefix
from hftool.sampling import SamplingParams, with_field_names
from hftool.storage.run_folder import check_output
from hftool.workflow._load import answers_of, load, text_rows, trained
from hftool.workflow.arguments import Model, one_or_many

OnText = Callable[[str], None]
FEW = 64  # texts up to which a model is not prepared for more of them: benchmarks/start_up.py
Sampling = SamplingParams | Mapping[str, Any] | None  # how text is generated, or what differs from the model's defaults


@one_or_many
def infer(
    model: Model | Loaded,
    texts: Sequence[str],
    *,
    pairs: Sequence[str] | None = None,
    sampling: Sampling = None,
    device: str = "auto",
    offline: bool = False,
    fallback: bool = False,
    progress: Progress = silent,
    **options: Any,
) -> list[Answer]:
    """Answer texts with whatever the model was trained for: labels, entities, answers, texts, fills or embeddings.

    Args:
        model: A loaded model, or what `load` takes.
        texts: One text, or a list.
        pairs: The second text of each: for a model of text pairs, or the contexts of questions.
        sampling: How text is generated, as SamplingParams or a mapping; `options` override it.
        device: auto, cpu, cuda, cuda:1 or mps.
        offline: Open no socket.
        fallback: Whether a stand-in may be used.
        progress: Receives events and notices.
        **options: Sampling parameters, under transformers' names.
    """
    loaded = model
    if not isinstance(loaded, Loaded):
        loaded = load(loaded, device=device, offline=offline, fallback=fallback, progress=progress)
    trained(loaded, None)
    given = _options(sampling, options)
    if given and not head_spec(loaded.head_config.head).generates:
        raise UsageError(f"a model that is to {loaded.head_config.head} generates no text", "Leave the sampling parameters out")
    return respond(loaded, None, texts, pairs, given)


def respond(
    model: Model | Loaded,
    head: str | None,
    texts: Sequence[str],
    pairs: Sequence[str] | None = None,
    options: Mapping[str, Any] | None = None,
    on_token: OnToken | None = None,
    *,
    once: bool = False,
) -> list[Answer]:
    """Answer texts, or pairs, with this head, by default the model's own.

    Args:
        model: A loaded model, or what `load` takes.
        head: The head that the model must have.
        texts: The texts.
        pairs: The second text of each.
        options: Fields of the head, and `sampling`.
        on_token: Called with each token as it is generated.
        once: Whether the model answers nothing else, as where it is given by name: a few texts are then answered in fp32, as
            they come, which takes less time than to prepare a faster number format.
    """
    once = once or not isinstance(model, Loaded)
    loaded = trained(model, head)
    rows, given = rows_for(loaded, texts, pairs), {**natural_options(loaded), **(options or {})}
    vectors = head_spec(loaded.head_config.head).embeds  # which are compared with others, and all come in one format
    prepared = not once or len(rows) > FEW or loaded.precision != "auto" or vectors
    return list(answers_of(loaded, rows, given, on_token, prepared=prepared))


def natural_options(loaded: Loaded) -> Mapping[str, Any]:
    """Options of the head in inference: a head that fills masks would otherwise encode the text for training."""
    return dict(head_spec(loaded.head_config.head).inference_options)


def rows_for(loaded: Loaded, texts: Sequence[str], pairs: Sequence[str] | None) -> list[Row]:
    """Texts, and pairs, under the roles that the model's head answers. Raises UsageError, DataError (an empty text)."""
    head_config, spec = loaded.head_config, head_spec(loaded.head_config.head)
    if pairs is not None and spec.second_input == "never":
        raise UsageError(f"a model that is to {head_config.head} takes single texts", "Leave --pair out")
    if spec.second_input == "always" and pairs is None:
        raise UsageError("a {} needs a {} to be answered from".format(*spec.inputs), "Give it with --pair TEXT")
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


@one_or_many
def classify(model: Model | Loaded, texts: Sequence[str], *, pairs: Sequence[str] | None = None) -> list[Answer]:
    """Label texts, or pairs of texts.

    Args:
        model: A loaded model, or what `load` takes.
        texts: One text, or a list.
        pairs: The second text of each, for a model of text pairs.

    Returns:
        {"label", "probability", "probabilities"} for each text; {"labels", "probabilities"} where it may have any number of
        labels, or {"score"} from a regression model.
    """
    return respond(model, "classify", texts, pairs)


@one_or_many
def tag(model: Model | Loaded, texts: Sequence[str]) -> list[Answer]:
    """Find the entities in texts.

    Args:
        model: A loaded model, or what `load` takes.
        texts: One text, or a list.

    Returns:
        {"entities": [{"text", "type", "start", "end", "probability"}], "tokens", "tags"} for each text; start and end are
        character offsets in the text as given.
    """
    return respond(model, "tag", texts)


@one_or_many
def answer(model: Model | Loaded, questions: Sequence[str], contexts: Sequence[str]) -> list[Answer]:
    """Answer each question with a span of its context.

    Args:
        model: A loaded model, or what `load` takes.
        questions: One question, or a list.
        contexts: The context of each.

    Returns:
        {"answer", "start", "end", "probability", "candidates"} for each question; start and end are character offsets in the
        context, and None where a model that may abstain finds no answer.
    """
    return respond(model, "answer", questions, contexts)


@one_or_many
def summarize(model: Model | Loaded, texts: Sequence[str], *, sampling: Sampling = None, **options: Any) -> list[Answer]:
    """Summarize texts.

    Args:
        model: A loaded model, or what `load` takes.
        texts: One text, or a list.
        sampling: How text is generated; `options` override it.
        **options: Sampling parameters, under transformers' names.

    Returns:
        {"text", "finish"} for each text; finish is "stop" or "length".

    Raises:
        UsageError: The model was trained to translate.
    """
    return respond(as_summarizer(trained(model, "text2text")), None, texts, options=_options(sampling, options))


def as_summarizer(loaded: Loaded) -> Loaded:
    """The model with the prefix with which T5 was pre-trained to summarize; a fine-tuned model keeps its own."""
    if is_translation(loaded.head_config.prefix):
        raise UsageError(f"the model was trained to {loaded.head_config.prefix.strip(' :')}", "hftool translate MODEL TEXT")
    is_base = not loaded.head_config.task and loaded.family.prefixed
    return _with_prefix(loaded, SUMMARIZE) if is_base else loaded


@one_or_many
def translate(
    model: Model | Loaded,
    texts: Sequence[str],
    *,
    to: str | None = None,
    source: str = "en",
    sampling: Sampling = None,
    **options: Any,
) -> list[Answer]:
    """Translate texts: {"text", "finish"}.

    Args:
        model: A loaded model, or what `load` takes.
        texts: One text, or a list.
        to: Code of the target language, such as de, deu or de-AT. Only a model that was not fine-tuned to translate needs it.
        source: Code of the source language.
        sampling: How text is generated; `options` override it.
        **options: Sampling parameters, under transformers' names.

    Raises:
        UsageError: An unknown language, or one that the model was not trained for.
    """
    loaded = as_translator(trained(model, "text2text"), to=to, source=source)
    return respond(loaded, None, texts, options=_options(sampling, options))


@one_or_many
def text2text(model: Model | Loaded, texts: Sequence[str], *, sampling: Sampling = None, **options: Any) -> list[Answer]:
    """Generate the target of each text with a text-to-text model, with no prefix but its own: {"text", "finish"}."""
    return respond(model, "text2text", texts, options=_options(sampling, options))


def as_translator(loaded: Loaded, *, to: str | None, source: str) -> Loaded:
    """The model with the prefix for a pair of languages. Raises what `translate` raises."""
    wanted = translation_prefix(_language(source), _language(to)) if to is not None else ""
    head_config = loaded.head_config
    if head_config.prefix == SUMMARIZE:
        raise UsageError("the model was trained to summarize", "hftool summarize MODEL TEXT")
    if to is not None and language_of(to) == language_of(source):
        raise UsageError(f"that is from {_language(source)} to {_language(source)}", "Name two languages: --from en --to de")
    if head_config.task:
        target = language_of(str(head_config.columns.get("target", "")).rpartition(".")[2])
        fixed = is_translation(head_config.prefix) or to is None or target != language_of(to)
        if to is not None and head_config.prefix != wanted and fixed:
            raise UsageError(f"the model was trained on {head_config.task} and takes no other language", "Leave --to out")
        return loaded
    if not wanted:
        raise UsageError("to which language?", "Name it with --to, such as --to de")
    if not loaded.family.prefixed:
        family = loaded.family.name
        raise UsageError(f"a {family} that is not fine-tuned cannot translate", "Fine-tune it: hftool finetune MODEL TASK")
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


def _options(sampling: Sampling, given: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a head that generates: `sampling`, overridden by those of the keyword arguments that are given."""
    given = dict(given)
    sampling = given.pop("decoding", sampling)  # its name in older versions
    if isinstance(sampling, SamplingParams):
        return {"sampling": sampling.updated(given) if given else sampling}
    merged = with_field_names(sampling or {}) | with_field_names(given)
    return {"sampling": merged} if merged else {}


@one_or_many
def generate(
    model: Model | Loaded,
    prompts: Sequence[str] = ("",),
    *,
    sampling: Sampling = None,
    on_text: OnText | None = None,
    **options: Any,
) -> list[Answer]:
    """Continue prompts: {"text", "finish"}, and "samples" where several texts are generated for each.

    An empty prompt starts with the end-of-text token.

    Args:
        model: A loaded model, or what `load` takes.
        prompts: One prompt, or a list.
        sampling: How text is generated; `options` override it.
        on_text: Receives each piece of the text as it is generated, for one prompt and one text.
        **options: Sampling parameters, under transformers' names.

    Raises:
        DataError: A prompt that is longer than the model allows.
    """
    loaded, given = trained(model, "generate"), _options(sampling, options)
    if on_text is None:
        return respond(loaded, None, prompts, options=given)
    streamer = TextStreamer(loaded.tokenizer, on_text)
    answers = respond(loaded, None, prompts, options=given, on_token=lambda _, token: streamer.take(token))
    for answer in answers[:1]:
        streamer.end(answer["text"])
    return answers


@one_or_many
def fill(model: Model | Loaded, texts: Sequence[str], *, top_k: int = 5) -> list[Answer]:
    """Fill the masks of texts: {"text", "masks": [{"start", "end", "fills": [{"token", "probability"}]}]}.

    A mask is [MASK], or the model's own mask token.

    Args:
        model: A loaded model, or what `load` takes.
        texts: One text, or a list.
        top_k: The number of fills for each mask.

    Raises:
        DataError: A text without a mask.
    """
    return respond(model, "fill", texts, options={"top_k": top_k})


def embed(model: Model | Loaded, texts: str | Sequence[str], *, pooling: str | None = None) -> np.ndarray:
    """Embed texts as float32 vectors: (H,) for one text, (N, H) for a list.

    Args:
        model: A loaded model, or what `load` takes.
        texts: One text, or a list.
        pooling: mean, cls or max over the tokens; by default as the model was trained.
    """
    loaded = trained(model, "embed")
    found = [answer["embedding"] for answer in vectors(loaded, [texts] if isinstance(texts, str) else texts, pooling=pooling)]
    if isinstance(texts, str):
        return np.asarray(found[0])
    width = int(loaded.model.config.hidden_size)
    return np.stack(found) if found else np.zeros((0, width), np.float32)


def vectors(
    model: Model | Loaded, texts: Sequence[str], *, pairs: Sequence[str] | None = None, pooling: str | None = None
) -> list[Answer]:
    """The answers behind `embed` and `similar`: {"embedding"} of a text, {"similarity", "score"} of a pair."""
    return respond(model, "embed", texts, pairs, {"pooling": pooling} if pooling is not None else {})


def check_vectors(out: str | Path) -> None:
    """Raise UsageError or OutputUnavailable unless vectors can be written to `out`."""
    if output_format(out) != "npy":
        raise UsageError(f"vectors of texts go into an array, not into '{out}'", "Name it .npy, or use --file and --out")
    check_output(Path(out))


def save_vectors(out: str | Path, vectors: Iterable[np.ndarray | None]) -> None:
    """Write vectors (H,) as one array (N, H) that numpy.load reads, NaN where there is none.

    Raises what `check_vectors` raises, StorageError.
    """
    check_vectors(out)
    write_rows(Path(out), ({"embedding": vector} for vector in vectors))


@one_or_many
def similar(model: Model | Loaded, first: Sequence[str], second: Sequence[str], *, pooling: str | None = None) -> list[float]:
    """The cosine similarity of two texts, or of two lists of texts pair by pair: -1 to 1.

    Args:
        model: A loaded model, or what `load` takes.
        first: One text, or a list.
        second: One text, or a list of the same length.
        pooling: mean, cls or max over the tokens; by default as the model was trained.
    """
    return [float(answer["similarity"]) for answer in vectors(model, first, pairs=second, pooling=pooling)]
