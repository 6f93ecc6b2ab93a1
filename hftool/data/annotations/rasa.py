"""Rasa's training data in YAML: the examples of intents, with entities marked in them. Intents are labels, entities spans."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hftool.data.annotations.documents import Document, Span
from hftool.data.annotations.json_values import as_dict, as_list
from hftool.data.annotations.records import LABEL, annotated_records
from hftool.data.readers.containers import open_text
from hftool.data.readers.tables import OpenTable, Source
from hftool.errors import DataError, brief

KNOWN = re.compile(r"[23]\.[0-9]+")
# [text](type), [text](type:value), [text]{"entity": "type", "value": ...}
ENTITY = re.compile(r"\[([^\]]+)\](?:\(([^:)]+)(?::[^)]*)?\)|(\{[^}]+\}))")
ITEM = re.compile(r"-[ \t]*(.*)")


def open_rasa(source: Source) -> OpenTable:
    """The records of the examples. Raises DataError for other YAML, or another version of the format."""
    import yaml

    try:
        with open_text(source.path, source.codec()) as handle:
            # the base loader makes texts, lists and dicts only: an intent may be called no
            found = as_dict(getattr(yaml, "CBaseLoader", yaml.BaseLoader)(handle).get_single_data())
    except (yaml.YAMLError, RecursionError) as error:
        raise DataError(f"'{source.path}' is not YAML: {brief(error, 160)}") from None
    version = found.get("version", "3.1")
    if "nlu" not in found:
        raise DataError(f"'{source.path}' is YAML without 'nlu', the examples of Rasa", "Known is the training data of Rasa")
    if not isinstance(version, str) or not KNOWN.fullmatch(version):
        raise DataError(f"'{source.path}' is Rasa's YAML of version '{version}'", "Known are 2.0 to 3.1: rasa data convert")
    intents = [item for item in as_list(found["nlu"]) if isinstance(item, dict)]
    left_out = sorted({key for item in intents for key in item if key in ("synonym", "regex", "lookup")})
    if left_out:
        source.notes.append(f"'{source.path}': {', '.join(left_out)} are no examples and are left out")
    examples = [(str(item["intent"]), text) for item in intents if "intent" in item for text in _examples(item)]
    with_spans = any(ENTITY.search(text) for _, text in examples)
    documents = (_document(number, intent, text, with_spans) for number, (intent, text) in enumerate(examples, start=1))
    return OpenTable((), annotated_records(documents, source))


def _examples(item: Mapping[str, Any]) -> Iterator[str]:
    """The examples of an intent: lines that begin with -, or objects with a text."""
    examples = item.get("examples")
    lines: Sequence[Any] = examples.splitlines() if isinstance(examples, str) else as_list(examples)
    for line in lines:
        text = as_dict(line).get("text") if isinstance(line, dict) else line
        marked = ITEM.fullmatch(text) if isinstance(examples, str) and isinstance(text, str) else None
        found = marked[1] if marked else text if not isinstance(examples, str) else None
        if isinstance(found, str) and found.strip():
            yield found.strip()


def _document(number: int, intent: str, example: str, with_spans: bool) -> Document:
    text, last, spans, reason = "", 0, list[Span](), ""
    for found in ENTITY.finditer(example):
        text += example[last : found.start()]
        label = found[2] or _entity(found[3])
        if label:
            spans.append(Span(len(text), len(text) + len(found[1]), label, found[1]))
        else:
            reason = f"'{found[3]}' is no JSON with an entity"
        text += found[1]
        last = found.end()
    text += example[last:]
    return Document(number, text, tuple(spans) if with_spans else None, {LABEL: (intent,)}, source=number, reason=reason)


def _entity(attributes: str) -> str:
    """The type in the attributes of an entity, "" if there is none."""
    try:
        return str(as_dict(json.loads(attributes)).get("entity") or "")
    except ValueError:
        return ""
