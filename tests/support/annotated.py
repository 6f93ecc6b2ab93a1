"""Generated documents with spans, and the annotation forms that hold them."""

import json
import random

from hftool.data.annotations.documents import Document, Span
from hftool.data.readers.formats import AS_FOUND
from hftool.data.readers.tables import read_table
from hftool.data.word_splitting import word_offsets
from hftool.registry.formats import get_format
from hftool.workflow.suggestions import write_suggestions

WORDS = (
    "Ann",
    "Okafor",
    "flew",
    "to",
    "😀",
    "𐍈𐍉",
    "👩‍👧",
    "Lisbon",
    "北京大学",
    "𠮷野家",
    "naïve",
    "cafe\u0301",
    "ไทย",
    "3.5",
    "U.S.",
    ",",
    "!",
)
TYPES = ("person", "location", "Brand Name", "日付")


def documents(count=200, seed=0, types=TYPES):
    """Texts in several scripts, beyond the basic plane too, with spans of whole words that do not overlap."""
    chance = random.Random(seed)
    found = []
    for number in range(1, count + 1):
        text = " ".join(chance.choice(WORDS) for _ in range(chance.randint(1, 12)))
        words, spans, at = word_offsets(text), [], 0
        while at < len(words):
            last = min(at + chance.randint(0, 2), len(words) - 1)
            if chance.random() < 0.4:
                start, end = words[at][0], words[last][1]
                spans.append(Span(start, end, chance.choice(types), text[start:end]))
            at = last + 1
        found.append(Document(number, text, tuple(spans)))
    return found


def marks(document):
    """The spans of a document as (start, end, label)."""
    return [(span.start, span.end, span.label) for span in document.spans or ()]


def write(path, name, given):
    """Write documents as suggestions in a form."""
    assert write_suggestions(get_format(name), path, iter(given)) == len(given)
    return path


def accept_all(path):
    """What Label Studio writes once a person has submitted the prediction of each task unchanged."""
    tasks = json.loads(path.read_text(encoding="utf-8"))
    accepted = [{"id": 1, "completed_by": 1, "result": task["predictions"][0]["result"]} for task in tasks]
    tasks = [{**task, "annotations": [found]} for task, found in zip(tasks, accepted, strict=True)]
    path.write_text(json.dumps(tasks, ensure_ascii=False), encoding="utf-8")
    return path


def read_documents(path, monkeypatch, options=AS_FOUND):
    """The documents of a file, before their spans become tags."""
    seen = []

    def taken(given, source):
        for document in given:
            seen.append(document)
            yield Record(document.number, {"text": document.text}, document)

    from hftool.data.readers.tables import Record

    for module in ("doccano", "label_studio", "label_studio_min", "prodigy", "spacy_json", "docbin", "brat", "vertex"):
        monkeypatch.setattr(f"hftool.data.annotations.{module}.annotated_records", taken)
    read_table(path, "train", options)
    return seen
