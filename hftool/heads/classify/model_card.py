"""The model card of a classifier: a snippet for plain transformers, and facts on its scores."""

from hftool.errors import as_line
from hftool.heads.card_snippets import INPUTS
from hftool.models import HeadConfig
from hftool.models.head_config import THRESHOLD

LABEL = """probabilities = logits.softmax(-1).tolist()
answer = {model.config.id2label[i]: probability for i, probability in enumerate(probabilities)}
"""
LABELS = """probabilities = logits.sigmoid().tolist()
answer = {model.config.id2label[i]: probability for i, probability in enumerate(probabilities)}
"""


def snippet(head_config: HeadConfig, model_class: str) -> str:
    """The lines of Python that put an answer to an example into `answer`; see `hftool.heads.card_snippets`."""
    mean = ".mean(0)" if _scores_tokens(model_class) else ""
    unit = " * {1!r} + {0!r}".format(*head_config.label_scale) if head_config.label_scale else ""
    score = f"answer = float(logits){unit}\n" if head_config.problem_type == "regression" else LABEL
    score = LABELS if head_config.has_several else score
    return f"{INPUTS}logits = outputs.logits[0]{mean}\n{score}"


def facts(head_config: HeadConfig, model_class: str) -> list[str]:
    """Sentences on what a user needs to know to get the same answers."""
    found = ["The score of a text is the mean of its tokens' logits."] if _scores_tokens(model_class) else []
    if head_config.has_several:
        own = head_config.label_thresholds
        least = ", ".join(f"{name} {one:.4f}" for name, one in zip(head_config.labels, own, strict=True)) if own else THRESHOLD
        found.append(f"A text has any number of labels: each whose probability reaches its threshold ({as_line(str(least))}).")
    return found


def _scores_tokens(model_class: str) -> bool:
    """Whether it is a T5, whose head scores each token."""
    return model_class.endswith("ForTokenClassification")
