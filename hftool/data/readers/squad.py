"""Questions as SQuAD nests them, articles of paragraphs of questions, to a row for each question."""

from collections.abc import Iterator, Sequence
from typing import Any

from hftool.errors import DataError


def is_nested(rows: Sequence[Any]) -> bool:
    """True for articles: objects with "paragraphs"."""
    return any(isinstance(row, dict) and "paragraphs" in row for row in rows)


def flatten(articles: Sequence[Any], path: str) -> Iterator[dict[str, Any]]:
    """Articles -> rows with id, title, context, question, and answers as {"text": [...], "answer_start": [...]}.

    id, title and answers are left out where the file has none; a question marked is_impossible has empty answers, whatever
    else stands there, and the mark: an empty list alone may be that of a test set. Raises DataError that names the place,
    such as data[3].paragraphs[0].qas[2].
    """
    for i, article in enumerate(articles):
        where = f"data[{i}]"
        title = {"title": article["title"]} if isinstance(article.get("title"), str) else {}
        for j, paragraph in enumerate(_items(article, "paragraphs", where, path)):
            inside = f"{where}.paragraphs[{j}]"
            context = _text(paragraph, "context", inside, path)
            for k, asked in enumerate(_items(paragraph, "qas", inside, path)):
                place = f"{inside}.qas[{k}]"
                question = _text(asked, "question", place, path)
                known = {"id": str(asked["id"])} if asked.get("id") is not None else {}
                yield {**known, **title, "context": context, "question": question, **_answers(asked, place, path)}


def _answers(asked: dict[str, Any], where: str, path: str) -> dict[str, Any]:
    """{"answers": ...}, or {} for a question whose answers are kept back, as those of a test set."""
    if asked.get("is_impossible") is True:
        return {"answers": {"text": [], "answer_start": [], "is_impossible": True}}
    if asked.get("answers") is None:
        return {}
    answers = _items(asked, "answers", where, path)
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
