"""Text-to-text generation in Hugging Face's API; the reply is that of text generation."""

from typing_extensions import TypedDict

from hftool.data.readers.tables import Row
from hftool.heads.generate import schema
from hftool.heads.protocol import Answer


class Parameters(TypedDict, total=False):
    """The parameters of a request besides those of sampling: none."""


def reply(row: Row, answer: Answer, parameters: Parameters) -> list[schema.Text]:
    """The generated texts."""
    return schema.reply(row, answer, {})
