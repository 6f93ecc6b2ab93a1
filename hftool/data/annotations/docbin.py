"""spaCy's DocBin (.spacy), by spaCy: texts with entities. Its tokens are left out, since a tagger splits words itself."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hftool.data.annotations.documents import Document, Span
from hftool.data.annotations.records import LABEL, annotated_records
from hftool.data.readers.containers import open_bytes
from hftool.data.readers.tables import OpenTable, Source
from hftool.data.word_splitting import word_offsets
from hftool.errors import DataError, InputMissing, brief
from hftool.storage.run_folder import whole_file


def _spacy() -> Any:
    try:
        import spacy
        import spacy.tokens
    except ImportError:
        raise InputMissing("a .spacy file needs the package spacy", "pip install spacy, or export JSON") from None
    return spacy


def open_docbin(source: Source) -> OpenTable:
    """The records of a DocBin. Raises InputMissing without spaCy, DataError for another file."""
    spacy = _spacy()
    with open_bytes(source.path) as handle:
        data = handle.read()
    try:
        found = spacy.tokens.DocBin().from_bytes(data)
        docs = list(found.get_docs(spacy.vocab.Vocab()))
    except Exception as error:  # of msgpack, zlib and numpy
        raise DataError(f"'{source.path}' is no DocBin of spaCy: {brief(error)}") from None
    documents = (_document(number, doc) for number, doc in enumerate(docs, start=1))
    return OpenTable((), annotated_records(documents, source))


def _document(number: int, doc: Any) -> Document:
    spans = tuple(Span(ent.start_char, ent.end_char, ent.label_) for ent in doc.ents)
    best = tuple(name for name, score in doc.cats.items() if score >= 0.5)
    marked = spans if spans or doc.has_annotation("ENT_IOB") else None
    return Document(number, doc.text, marked, {LABEL: best} if best else {}, source=doc)


def write(path: Path, documents: Iterator[Document]) -> int:
    """Write a DocBin with the words of hftool and the suggested entities -> the number of documents."""
    spacy = _spacy()
    docbin, vocab = spacy.tokens.DocBin(), spacy.vocab.Vocab()
    for document in documents:
        docbin.add(_doc(spacy, vocab, document))
    with whole_file(path, binary=True, overwrite=False) as handle:
        handle.write(docbin.to_bytes())
    return len(docbin)


def _doc(spacy: Any, vocab: Any, document: Document) -> Any:
    """The document as one of spaCy. White space other than one space after a word becomes a token of its own."""
    words: list[str] = []
    spaces: list[bool] = []
    last, text = 0, document.text
    for start, end in [*word_offsets(text), (len(text), len(text))]:
        gap = text[last:start]
        if words and gap.startswith(" "):
            spaces[-1], gap = True, gap[1:]
        for part in (gap, text[start:end]):
            if part:
                words.append(part)
                spaces.append(False)
        last = end
    doc = spacy.tokens.Doc(vocab, words=words, spaces=spaces)
    found = [doc.char_span(span.start, span.end, label=span.label) for span in document.spans or ()]
    doc.set_ents([span for span in found if span is not None], default="outside")
    doc.cats = {label: 1.0 for labels in document.labels.values() for label in labels}
    return doc
