"""Documents of an annotation project to records: words with tags, or texts with labels."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from hftool.data.annotations.documents import Document
from hftool.data.annotations.tagging import check_spans, tag_words
from hftool.data.readers.tables import Record, Rejected, Row, Source
from hftool.errors import DataError
from hftool.registry.formats import INCLUDE

LABEL = "label"
SPLITS = "splits the word"  # in the reason of a text that is rejected
MAX_SHOWN = 1000  # characters of a rejected document


def annotated_records(documents: Iterable[Document], source: Source) -> Iterator[Record]:
    """Yield a record for each document that can be used, the others go to `source.rejected`; notices come with the last.

    Where targets are not wanted, as in `predict`, each text comes once, as it is.

    Raises:
        DataError: Annotators contradict each other, an annotator is unknown, or nothing is annotated.
    """
    if not source.targets:
        return (_untagged(document, source) for document in _first_of_each(documents))
    return _Reading(source).records(documents)


def _first_of_each(documents: Iterable[Document]) -> Iterator[Document]:
    """The documents without the second and further annotations of a row of the file."""
    last = 0
    for document in documents:
        if document.number != last:
            yield document
        last = document.number


def _untagged(document: Document, source: Source) -> Record:
    document = replace(document, form=source.form)
    return Record(document.number, {"text": document.text, **document.columns}, document)


@dataclass
class _Reading:
    """The state of reading a project: what was counted for the notices."""

    source: Source
    counts: Counter[str] = field(default_factory=Counter)
    widened: str = ""  # the first span that was widened
    annotators: Counter[str] = field(default_factory=Counter)
    seen: dict[str, tuple[str, int]] = field(default_factory=dict)  # key -> first annotator, hash of the annotation

    @property
    def _widens(self) -> bool:
        return self.source.options.partial_words == INCLUDE

    def records(self, documents: Iterable[Document]) -> Iterator[Record]:
        """The records of the annotated documents."""
        for document in documents:
            self.counts["texts"] += 1
            if not document.is_annotated and not document.reason:
                self.counts["bare"] += 1
            elif self._is_wanted(document):
                row, reason = ({}, document.reason) if document.reason else self._row(document)
                if reason:
                    raw = document.text[:MAX_SHOWN]
                    self.source.rejected.append(Rejected(document.number, reason, raw))
                else:
                    yield Record(document.number, row, document)
        self._end()

    def _is_wanted(self, document: Document) -> bool:
        """Whether this annotation counts: it is by the chosen annotator, or the first of several equal ones of a text."""
        chosen, who = self.source.options.annotator, document.annotator
        self.annotators[who] += 1
        if chosen is not None and who != chosen:
            self.counts["others"] += 1
            return False
        if not who:
            return True
        marks = hash((tuple(sorted((s.start, s.end, s.label) for s in document.spans or ())), tuple(document.labels.items())))
        first = self.seen.get(document.key or document.text)
        if first is None:
            self.seen[document.key or document.text] = (who, marks)
            return True
        if first[1] != marks:
            whose = f"'{first[0]}' and '{who}'" if first[0] != who else f"'{who}' twice"
            what = f"'{self.source.path}': the text of row {document.number} is marked by {whose}, and not alike"
            raise DataError(what, f"Choose one with --annotator, such as --annotator '{first[0]}'")
        self.counts["alike"] += 1
        return False

    def _row(self, document: Document) -> tuple[Row, str]:
        """The row of a document, or the reason why it cannot be used."""
        row: Row = {"text": document.text}
        for name, labels in document.labels.items():
            if len(labels) > 1 and document.spans is None:
                return {}, f"{len(labels)} labels where one is needed: {', '.join(labels)}"[:200]
            row[name] = labels[0] if len(labels) == 1 else None
            self.counts["labels"] += len(labels)
        if document.spans is not None:
            reason = check_spans(document.text, document.spans)
            tagged, reason = (None, reason) if reason else tag_words(document.text, document.spans, widen=self._widens)
            if tagged is None:
                self.counts["splits"] += SPLITS in reason
                return {}, reason
            self.widened = self.widened or next((f"row {document.number}: {what}" for what in tagged.widened), "")
            self.counts["widened"] += len(tagged.widened)
            row |= {"tokens": tagged.tokens, "tags": tagged.tags}
            self.counts["spans"] += len(document.spans)
            self.counts["overlapping"] += tagged.overlapping
        return row | {name: value for name, value in document.columns.items() if name not in row}, ""

    def _end(self) -> None:
        """Add the notices. Raises DataError if nothing is annotated, or not by the chosen annotator."""
        path, counts, chosen = self.source.path, self.counts, self.source.options.annotator
        if chosen is not None and not self.annotators[chosen]:
            known = ", ".join(f"'{who}'" for who in self.annotators if who)
            hint = f"It has those by {known}" if known else "It names no annotators"
            raise DataError(f"'{path}' has no annotations by '{chosen}'", hint)
        if counts["texts"] and not counts["spans"] + counts["labels"] + len(self.source.rejected):
            raise DataError(f"'{path}' has no annotations: none of its texts has a span or a label")
        sentences = {
            "bare": "{} texts are not annotated and are left out",
            "others": "{} annotations by others than '{chosen}' are left out",
            "alike": "{} texts that several annotators marked alike count once",
            "splits": "{} texts have a span that begins or ends inside of a word; --partial-words include keeps them",
            "widened": "{} of {spans} spans begin or end inside of a word and include all of it; the first is {widened}",
            "overlapping": "{} of {spans} spans overlap longer ones, which win",
        }
        for name, sentence in sentences.items():
            if counts[name]:
                found = sentence.format(counts[name], spans=counts["spans"], chosen=chosen, widened=self.widened)
                self.source.notes.append(f"'{path}': {found}")
