"""What stands in `prompt` and `input` of OpenAI's protocol: a text, token ids, or a list of either.

https://platform.openai.com/docs/api-reference/completions/create and /embeddings/create
"""

from typing import Any

from hftool.data.readers.tables import Row
from hftool.errors import DataError, UsageError
from hftool.heads.wire import Asks, rows_of

LARGEST_ID = 2**31 - 1
IDS_REFUSED = (
    "Send texts. Clients that cut texts into tokens themselves do so for OpenAI's models, and the ids mean other words here; "
    "LangChain's OpenAIEmbeddings sends texts with check_embedding_ctx_length=False"
)


def prompt_rows(asks: Asks, value: Any, *, name: str, most: int, chars: int) -> list[Row]:
    """The rows of a field; in those of token ids a tuple of numbers stands in place of the text.

    Args:
        asks: What the head takes; only where it says so may the field hold token ids.
        value: The field as JSON has it.
        name: Of the field, for errors.
        most: Texts, or lists of ids.
        chars: Characters of a text, and ids of a list.

    Raises:
        UsageError: Of another kind, too many, too long, or token ids where they are not taken.
        DataError: A text or a list of none where there must be something.
    """
    words = "a text or a list of texts" + (", or token ids: a list of numbers or a list of such lists" if asks.ids else "")
    if value is None:
        raise UsageError(f"'{name}' is null", f"It takes {words}")
    if value == []:
        raise DataError(f"'{name}' is an empty list", f"It takes {words}")
    many = value if isinstance(value, list) and not _is_id(value[0]) else [value]
    if len(many) > most:
        raise UsageError(f"'{name}' has {len(many)} texts and at most {most} are taken", "Send them in several requests")
    places = [name] if many is not value else [f"{name}[{i}]" for i in range(len(many))]
    odd = next((i for i, one in enumerate(many) if not (isinstance(one, str) or _is_ids(one))), None)
    if odd is not None:
        raise UsageError(f"'{places[odd]}' is neither a text nor a list of token ids", f"It takes {words}")
    if not any(isinstance(one, list) for one in many):
        return rows_of(asks, value, most=most, chars=chars, name=name)
    if not asks.ids:
        raise UsageError(f"'{name}' holds token ids, and this model takes texts alone", IDS_REFUSED)
    if not all(isinstance(one, list) for one in many):
        raise UsageError(f"'{name}' has texts and lists of token ids", "Send them in two requests")
    return [_row(asks, ids, place, chars) for ids, place in zip(many, places, strict=True)]


def _row(asks: Asks, ids: list[int], place: str, most: int) -> Row:
    if not ids and not asks.blank:
        raise DataError(f"'{place}' is empty")
    if len(ids) > most:
        raise UsageError(f"'{place}' has {len(ids)} token ids: at most {most} are taken", "Shorten it")
    return {next(iter(asks.texts.values())): tuple(ids)}


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_ids(value: Any) -> bool:
    """Whether it is a list of numbers that could be ids of some tokenizer."""
    return isinstance(value, list) and all(_is_id(one) and 0 <= one <= LARGEST_ID for one in value)


def prompt_schema(asks: Asks, *, most: int, chars: int) -> dict[str, Any]:
    """The JSON Schema of such a field."""
    text = asks.text_schema(chars)
    kinds = [text, {"type": "array", "items": text, "minItems": 1, "maxItems": most}]
    if asks.ids:
        number = {"type": "integer", "minimum": 0, "maximum": LARGEST_ID}
        ids = {"type": "array", "items": number, "minItems": 1, "maxItems": chars}
        kinds += [ids, {"type": "array", "items": {**ids, "minItems": 0}, "minItems": 1, "maxItems": most}]
    return {"anyOf": kinds}
