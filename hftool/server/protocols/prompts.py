"""Validation of `prompt` and `input` of OpenAI's protocol: a text, token ids, or a list of either.

https://platform.openai.com/docs/api-reference/completions/create and /embeddings/create
"""

from typing import Any

from hftool.data.readers.tables import Row
from hftool.errors import DataError, UsageError
from hftool.heads.wire import InputSpec, rows_of

MAX_TOKEN_ID = 2**31 - 1
HINT_IDS = (
    "Send texts. Clients that tokenize texts themselves do so for OpenAI's models, and their ids mean other tokens here; "
    "LangChain's OpenAIEmbeddings sends texts with check_embedding_ctx_length=False"
)


def prompt_rows(spec: InputSpec, value: Any, *, name: str, most: int, chars: int) -> list[Row]:
    """Read the rows of a field; rows of token ids have a tuple of integers instead of the text.

    Args:
        spec: The input schema of the head, which also decides whether token ids are accepted.
        value: The value of the field in the JSON body.
        name: Of the field, for errors.
        most: Maximum number of texts, or lists of ids.
        chars: Maximum number of characters of a text, and of ids in a list.

    Raises:
        UsageError: Wrong type, too many, too long, or token ids that are not accepted.
        DataError: An empty text or list that must not be empty.
    """
    expected = "a text or a list of texts" + (", or token ids: a list of numbers or a list of such lists" if spec.ids else "")
    if value is None:
        raise UsageError(f"'{name}' is null", f"It takes {expected}")
    if value == []:
        raise DataError(f"'{name}' is an empty list", f"It takes {expected}")
    many = value if isinstance(value, list) and not _is_id(value[0]) else [value]
    if len(many) > most:
        raise UsageError(f"'{name}' has {len(many)} texts and at most {most} are taken", "Send them in several requests")
    paths = [name] if many is not value else [f"{name}[{i}]" for i in range(len(many))]
    odd = next((i for i, one in enumerate(many) if not (isinstance(one, str) or _is_ids(one))), None)
    if odd is not None:
        raise UsageError(f"'{paths[odd]}' is neither a text nor a list of token ids", f"It takes {expected}")
    if not any(isinstance(one, list) for one in many):
        return rows_of(spec, value, most=most, chars=chars, name=name)
    if not spec.ids:
        raise UsageError(f"'{name}' contains token ids, and this model takes only texts", HINT_IDS)
    if not all(isinstance(one, list) for one in many):
        raise UsageError(f"'{name}' has texts and lists of token ids", "Send them in two requests")
    return [_row(spec, ids, path, chars) for ids, path in zip(many, paths, strict=True)]


def _row(spec: InputSpec, ids: list[int], path: str, most: int) -> Row:
    if not ids and not spec.blank:
        raise DataError(f"'{path}' is empty")
    if len(ids) > most:
        raise UsageError(f"'{path}' has {len(ids)} token ids: at most {most} are taken", "Shorten it")
    return {next(iter(spec.texts.values())): tuple(ids)}


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_ids(value: Any) -> bool:
    """Whether a value is a list of valid token ids of some tokenizer."""
    return isinstance(value, list) and all(_is_id(one) and 0 <= one <= MAX_TOKEN_ID for one in value)


def prompt_schema(spec: InputSpec, *, most: int, chars: int) -> dict[str, Any]:
    """The JSON Schema of the field."""
    text = spec.text_schema(chars)
    kinds = [text, {"type": "array", "items": text, "minItems": 1, "maxItems": most}]
    if spec.ids:
        number = {"type": "integer", "minimum": 0, "maximum": MAX_TOKEN_ID}
        ids = {"type": "array", "items": number, "minItems": 1, "maxItems": chars}
        kinds += [ids, {"type": "array", "items": {**ids, "minItems": 0}, "minItems": 1, "maxItems": most}]
    return {"anyOf": kinds}
