"""SQuAD JSON (articles of paragraphs of questions) to one row per question."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from hftool.data.readers.tables import Record, Source
from hftool.data.readers.token_per_row import Numbered
from hftool.errors import DataError


def detect(sample: Sequence[Any]) -> bool:
    """Whether any row is an article, an object with "paragraphs", or a paragraph, one with a list of "qas"."""
    return any(isinstance(row, dict) and ("paragraphs" in row or isinstance(row.get("qas"), list)) for row in sample)


def read(rows: Iterable[Numbered], source: Source) -> Iterator[Record]:
    """The questions of the articles, numbered in order. Raises what `flatten` raises."""
    questions = flatten(_objects(rows, source), str(source.path))
    return (Record(number, row) for number, row in enumerate(questions, start=1))


def _objects(rows: Iterable[Numbered], source: Source) -> Iterator[dict[str, Any]]:
    """The rows. Raises DataError for one that is no object."""
    for i, (_, row) in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise DataError(f"'{source.path}': row {i} is a JSON {type(row).__name__}, not an object")
        yield row


def flatten(articles: Iterable[Any], path: str) -> Iterator[dict[str, Any]]:
    """Yield a row with id, title, context, question and answers for each question.

    id, title and answers are left out if the file has none. A question marked is_impossible keeps the mark, with empty
    answers, since an empty list alone may be a test set's. An article may be one paragraph, and its keys those of CMRC's own
    files (context_text, query_text, query_id, answers without offsets) or KorQuAD 2's (one "answer").

    Raises:
        DataError: A part is missing; the message has its JSON path, such as data[3].paragraphs[0].qas[2].
    """
    for i, article in enumerate(articles):
        where = f"data[{i}]"
        title = {"title": article["title"]} if isinstance(article.get("title"), str) else {}
        if "paragraphs" not in article and isinstance(article.get("qas"), list):
            yield from _questions(article, where, title, path)
            continue
        for j, paragraph in enumerate(_items(article, "paragraphs", where, path)):
            yield from _questions(paragraph, f"{where}.paragraphs[{j}]", title, path)


def _questions(paragraph: dict[str, Any], where: str, title: dict[str, str], path: str) -> Iterator[dict[str, Any]]:
    """The rows of a paragraph."""
    context = _text(paragraph, _key(paragraph, "context", "context_text"), where, path)
    for k, qa in enumerate(_items(paragraph, "qas", where, path)):
        inside = f"{where}.qas[{k}]"
        question = _text(qa, _key(qa, "question", "query_text"), inside, path)
        number = qa.get(_key(qa, "id", "query_id"))
        known = {"id": str(number)} if number is not None else {}
        yield {**known, **title, "context": context, "question": question, **_answers(qa, inside, path)}


def _key(holder: dict[str, Any], usual: str, other: str) -> str:
    return other if other in holder and usual not in holder else usual


def _answers(qa: dict[str, Any], where: str, path: str) -> dict[str, Any]:
    """{"answers": ...}, or {} for a question without answers, as in a test set."""
    if qa.get("is_impossible") is True:
        return {"answers": {"text": [], "answer_start": [], "is_impossible": True}}
    if isinstance(qa.get("answer"), dict) and qa.get("answers") is None:
        qa = {**qa, "answers": [qa["answer"]]}
    listed = qa.get("answers")
    if listed is None:
        return {}
    if isinstance(listed, list) and listed and all(isinstance(answer, str) for answer in listed):
        return {"answers": {"text": listed, "answer_start": [None] * len(listed)}}
    answers = _items(qa, "answers", where, path)
    texts = [_text(answer, "text", f"{where}.answers[{i}]", path) for i, answer in enumerate(answers)]
    return {"answers": {"text": texts, "answer_start": [answer.get("answer_start") for answer in answers]}}


def _items(holder: dict[str, Any], key: str, where: str, path: str) -> list[dict[str, Any]]:
    items = holder.get(key)
    if not isinstance(items, list):
        raise DataError(f"'{path}': {where} has no list of \"{key}\"")
    odd = next((i for i, item in enumerate(items) if not isinstance(item, dict)), None)
    if odd is not None:
        raise DataError(f"'{path}': {where}.{key}[{odd}] is a JSON {type(items[odd]).__name__}, not an object")
    return items


def _text(holder: dict[str, Any], key: str, where: str, path: str) -> str:
    text = holder.get(key)
    if not isinstance(text, str):
        raise DataError(f"'{path}': {where} has no text under \"{key}\"")
    return text
