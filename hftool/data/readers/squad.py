"""SQuAD JSON (articles of paragraphs of questions) to one row per question."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from hftool.data.readers.tables import Record, Source
from hftool.data.readers.token_per_row import Numbered
from hftool.errors import DataError


def detect(sample: Sequence[Any]) -> bool:
    """Whether any row is an article: an object with "paragraphs"."""
    return any(isinstance(row, dict) and "paragraphs" in row for row in sample)


def read(rows: Iterable[Numbered], source: Source) -> Iterator[Record]:
    """The questions of the articles, numbered in order. Raises what `flatten` raises."""
    articles = [row for _, row in rows]
    odd = next((i for i, row in enumerate(articles, start=1) if not isinstance(row, dict)), None)
    if odd is not None:
        raise DataError(f"'{source.path}': row {odd} is a JSON {type(articles[odd - 1]).__name__}, not an object")
    questions = flatten(articles, str(source.path))
    return (Record(number, row) for number, row in enumerate(questions, start=1))


def flatten(articles: Sequence[Any], path: str) -> Iterator[dict[str, Any]]:
    """Yield a row with id, title, context, question and answers for each question.

    id, title and answers are left out if the file has none. A question marked is_impossible keeps the mark, with empty
    answers, since an empty list alone may be a test set's.

    Raises:
        DataError: A part is missing; the message has its JSON path, such as data[3].paragraphs[0].qas[2].
    """
    for i, article in enumerate(articles):
        where = f"data[{i}]"
        title = {"title": article["title"]} if isinstance(article.get("title"), str) else {}
        for j, paragraph in enumerate(_items(article, "paragraphs", where, path)):
            inside = f"{where}.paragraphs[{j}]"
            context = _text(paragraph, "context", inside, path)
            for k, qa in enumerate(_items(paragraph, "qas", inside, path)):
                qa_path = f"{inside}.qas[{k}]"
                question = _text(qa, "question", qa_path, path)
                known = {"id": str(qa["id"])} if qa.get("id") is not None else {}
                yield {**known, **title, "context": context, "question": question, **_answers(qa, qa_path, path)}


def _answers(qa: dict[str, Any], where: str, path: str) -> dict[str, Any]:
    """{"answers": ...}, or {} for a question without answers, as in a test set."""
    if qa.get("is_impossible") is True:
        return {"answers": {"text": [], "answer_start": [], "is_impossible": True}}
    if qa.get("answers") is None:
        return {}
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
