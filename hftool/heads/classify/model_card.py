"""The model card of a classifier: a snippet for plain transformers, and facts on its scores."""

from hftool.heads.card_snippets import INPUTS
from hftool.models import HeadConfig

LABEL = """probabilities = logits.softmax(-1).tolist()
answer = {model.config.id2label[i]: probability for i, probability in enumerate(probabilities)}
"""


def snippet(head_config: HeadConfig, model_class: str) -> str:
    """The lines of Python that put an answer to an example into `answer`; see `hftool.heads.card_snippets`."""
    mean = ".mean(0)" if _scores_tokens(model_class) else ""
    unit = " * {1!r} + {0!r}".format(*head_config.label_scale) if head_config.label_scale else ""
    score = f"answer = float(logits){unit}\n" if head_config.problem_type == "regression" else LABEL
    return f"{INPUTS}logits = outputs.logits[0]{mean}\n{score}"


def facts(head_config: HeadConfig, model_class: str) -> list[str]:
    """Sentences on what a user needs to know to get the same answers."""
    return ["The score of a text is the mean of its tokens' logits."] if _scores_tokens(model_class) else []


def _scores_tokens(model_class: str) -> bool:
    """Whether it is a T5, whose head scores each token."""
    return model_class.endswith("ForTokenClassification")
