"""Common column names by role, compared without case, spaces, underscores and hyphens."""

import re
from collections.abc import Iterable, Mapping, Sequence

# most reliable first; pairs of texts are recognized by both names together
COMMON_NAMES = {
    "text": (
        *("text", "sentence", "review", "content", "comment", "document", "message", "body", "tweet", "headline"),
        *("sms", "qtext", "utterance", "post", "ticket"),
    ),
    "label": (
        *("label", "labels", "gold_label", "class", "category", "sentiment", "stars", "rating", "polarity", "score", "target"),
        *("intent", "emotion", "quality", "is_duplicate"),
    ),
    "tokens": ("tokens", "words", "token", "word"),
    "tags": (
        *("tags", "ner_tags", "ner", "labels", "tag", "ner_tag", "iob", "bio", "pos_tags", "pos_tag", "pos", "upos"),
        *("gold", "label"),
    ),
    "context": ("context", "passage", "paragraph"),
    "question": ("question", "query"),
    "answers": ("answers", "answer", "answer_text"),
    "source": ("source", "src", "input", "dialogue", "dialog", "document", "article", "text", "instruction", "prompt"),
    "target": ("target", "tgt", "summary", "highlights", "output", "translation", "response", "completion"),
    "prompt": ("prompt", "instruction", "text"),
    "completion": ("completion", "response", "output"),
}
SURE_LABELS = ("label", "labels", "gold_label")  # win over every other common name of a label
COMMON_PAIRS = (
    *(("sentence1", "sentence2"), ("premise", "hypothesis"), ("question1", "question2"), ("text1", "text2")),
    *(("text_a", "text_b"), ("sentence_a", "sentence_b"), ("question", "sentence")),
)
LISTS_ONLY = ("gold", "label")  # names of tags only if the cells are lists, else of a class
ORDINALS = (("1", "2"), ("a", "b"), ("first", "second"), ("left", "right"))


def normalize(name: str) -> str:
    """A name as it is compared."""
    return re.sub(r"[\s_-]+", "", name).casefold()


def words_of(name: str) -> list[str]:
    """The words of a name: "Review Text", review_text and reviewText have the same two."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return [word for word in re.split(r"[\s_/().:-]+", spaced.casefold()) if word]


def by_name(columns: Iterable[str], role: str, *, first: str = "") -> list[str]:
    """The columns with a common name of a role, the most reliable first; `first` is one more name, tried before all."""
    present = _by_normalized(columns)
    names = [normalize(name) for name in (first, *COMMON_NAMES.get(role, (role,))) if name]
    return list(dict.fromkeys(present[name] for name in names if name in present))


def _by_normalized(columns: Iterable[str]) -> dict[str, str]:
    """Normalized name -> column, the first of several alike."""
    return {normalize(name): name for name in reversed(list(columns))}


def by_words(columns: Iterable[str], role: str) -> list[str]:
    """The columns with a common name of a role as one of their words, such as "Review Text"."""
    common = {normalize(name) for name in COMMON_NAMES.get(role, (role,))}
    return [name for name in columns if common & set(words_of(name))]


def is_named(column: str, role: str) -> bool:
    """Whether a column has a common name of a role, whole or as one of its words."""
    return bool(by_name([column], role) or by_words([column], role))


def common_pair(columns: Sequence[str]) -> tuple[str, str] | None:
    """The two columns of a text pair, by both names together."""
    present = _by_normalized(columns)
    pairs = ((normalize(one), normalize(two)) for one, two in COMMON_PAIRS)
    return next(((present[one], present[two]) for one, two in pairs if one in present and two in present), None)


def numbered_pair(columns: Sequence[str]) -> tuple[str, str] | None:
    """Two columns whose names differ in one ordinal only, such as "#1 String" and "#2 String"."""
    present: Mapping[tuple[str, ...], str] = {_parts(name): name for name in columns}
    for name in columns:
        parts = _parts(name)
        for one, two in ORDINALS:
            other = tuple(two if part == one else part for part in parts)
            if one in parts and other in present:
                return name, present[other]
    return None


def _parts(name: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\d|[^\W\d_]+|[^\w\s-]", " ".join(words_of(name))))
