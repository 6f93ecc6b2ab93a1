"""Validation of `prompt` and `input` of OpenAI's protocol: a text, token ids, or a list of either.

https://platform.openai.com/docs/api-reference/completions/create and /embeddings/create
"""

import functools
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, create_model

from hftool.data.readers.tables import Row
from hftool.errors import DataError, UsageError
from hftool.heads.inputs import InputSpec
from hftool.server.protocols.schemas import json_schema, list_type, text_type, union_type, validate

MAX_TOKEN_ID = 2**31 - 1
HINT_IDS = (
    "Send texts. Clients that tokenize texts themselves do so for OpenAI's models, and their ids mean other tokens here; "
    "LangChain's OpenAIEmbeddings sends texts with check_embedding_ctx_length=False"
)


def prompt_rows(spec: InputSpec, value: Any, *, name: str, most: int, chars: int) -> list[Row]:
    """Read the rows of a field; rows of token ids have a tuple of integers instead of the text.

    The inputs of the head also decide whether token ids are accepted. At most `most` texts, or lists of ids, are taken, and
    `chars` characters of a text or ids of a list.

    Raises:
        UsageError: Wrong type, too many, too long, or token ids that are not accepted.
        DataError: An empty list that must not be empty.
        HttpError: 422 for an empty or too long text.
    """
    expected = "a text or a list of texts" + (
        ", or token ids: a list of numbers or a list of such lists" if spec.token_ids else ""
    )
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
        texts = getattr(validate(_texts_model(spec, name, most, chars), {name: value}), name)
        return [{next(iter(spec.fields.values())): text} for text in texts]
    if not spec.token_ids:
        raise UsageError(f"'{name}' contains token ids, and this model takes only texts", HINT_IDS)
    if not all(isinstance(one, list) for one in many):
        raise UsageError(f"'{name}' has texts and lists of token ids", "Send them in two requests")
    return [_row(spec, ids, path, chars) for ids, path in zip(many, paths, strict=True)]


@functools.lru_cache(maxsize=256)
def _texts_model(spec: InputSpec, name: str, most: int, chars: int) -> type[BaseModel]:
    """The model of an object whose field `name` is a text or a list of texts."""
    as_list = BeforeValidator(lambda value: value if isinstance(value, list) else [value])
    known: dict[str, Any] = {name: (Annotated[list_type(text_type(spec, chars), most), as_list], ...)}
    return create_model("Texts", **known)


def _row(spec: InputSpec, ids: list[int], path: str, most: int) -> Row:
    if not ids and not spec.allow_empty:
        raise DataError(f"'{path}' is empty")
    if len(ids) > most:
        raise UsageError(f"'{path}' has {len(ids)} token ids: at most {most} are taken", "Shorten it")
    return {next(iter(spec.fields.values())): tuple(ids)}


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_ids(value: Any) -> bool:
    """Whether a value is a list of valid token ids of some tokenizer."""
    return isinstance(value, list) and all(_is_id(one) and 0 <= one <= MAX_TOKEN_ID for one in value)


def prompt_schema(spec: InputSpec, *, most: int, chars: int) -> dict[str, Any]:
    """The JSON Schema of the field."""
    text = text_type(spec, chars)
    kinds = [text, list_type(text, most)]
    if spec.token_ids:
        ids = list[Annotated[int, Field(ge=0, le=MAX_TOKEN_ID)]]
        kinds += [
            Annotated[ids, Field(min_length=1, max_length=chars)],
            list_type(Annotated[ids, Field(max_length=chars)], most),
        ]
    return json_schema(union_type(*kinds))
