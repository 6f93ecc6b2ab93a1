"""Text generation in Hugging Face's API (https://huggingface.co/docs/inference-providers/tasks/text-generation)."""

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from hftool.data.readers.tables import Row
from hftool.heads.protocol import Answer


class Parameters(TypedDict, total=False):
    """The parameters of a request besides those of sampling."""

    return_full_text: Annotated[bool, Field(description="The prompt, followed by the generated text.")]


class Text(TypedDict):
    """A generated text."""

    generated_text: str


def reply(row: Row, answer: Answer, parameters: Parameters) -> list[Text]:
    """The generated texts."""
    before = row["prompt"] if parameters.get("return_full_text") else ""
    return [{"generated_text": before + text} for text in answer.get("samples") or [answer["text"]]]
