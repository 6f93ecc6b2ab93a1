"""The input files that compare_versions.py makes in each workspace: good ones, and ones with a fault."""

import csv
import io
import json
from pathlib import Path

GOOD = ("warm", "funny", "moving", "clever", "bright")
BAD = ("dull", "slow", "empty", "noisy", "sour")
CITIES = ("Lisbon", "Oslo", "Accra", "Quito", "Hanoi")
PEOPLE = ("Amina Okafor", "Jonas Berg", "Mei Lin", "Rosa Diaz", "Omar Said")


def reviews(count=60):
    """(text, label) of films, alternating."""
    rows = []
    for i in range(count):
        words = BAD if i % 2 else GOOD
        rows.append((f"A {words[i % 5]} and {words[(i // 5) % 5]} film, number {i}.", "neg" if i % 2 else "pos"))
    return rows


def table(rows, header, delimiter=","):
    """Rows as CSV or TSV."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return out.getvalue()


def lines(documents):
    """Documents as JSON Lines."""
    return "".join(json.dumps(document, ensure_ascii=False) + "\n" for document in documents)


def sentences(count=40):
    """(words, tags) of somebody in a town."""
    rows = []
    for i in range(count):
        first, last = PEOPLE[i % 5].split()
        rows.append(
            (
                [first, last, "flew", "to", CITIES[(i // 2) % 5], f"on day {i}".split()[-1], "."],
                ["B-PER", "I-PER", "O", "O", "B-LOC", "O", "O"],
            )
        )
    return rows


def conll(rows):
    """A CoNLL file: word and tag a line, an empty line after each sentence."""
    return "".join("".join(f"{word} {tag}\n" for word, tag in zip(*row, strict=True)) + "\n" for row in rows)


def squad(count=24):
    """A file as SQuAD v1 has it."""
    paragraphs = []
    for i in range(count):
        who, town = PEOPLE[i % 5], CITIES[(i // 3) % 5]
        context = f"In the year {1900 + i} the engineer {who} opened a workshop in {town}, near the old harbour."
        answer = {"text": town, "answer_start": context.index(town)}
        paragraphs.append(
            {"context": context, "qas": [{"id": f"q{i}", "question": f"Where did {who} open it?", "answers": [answer]}]}
        )
    return {"version": "1.1", "data": [{"title": "made", "paragraphs": paragraphs}]}


def good_inputs():
    """Name -> contents of files that can be used."""
    rows = reviews()
    pairs = [
        (f"A man number {i} rides.", f"Somebody {'rests' if i % 2 else 'rides'} {i}.", "no" if i % 2 else "yes")
        for i in range(40)
    ]
    numbers = [(f"A {GOOD[i % 5]} table of size {i}", f"{i * 12.5 + 3:.1f}") for i in range(40)]
    topics = [
        {"text": f"Story {i} of {CITIES[i % 5]}", "labels": ["sea", "city"] if i % 3 == 0 else ["city"] if i % 3 == 1 else []}
        for i in range(40)
    ]
    return {
        "reviews.csv": table(rows, ("text", "label")),
        "train.tsv": table(rows[:40], ("sentence", "label"), "\t"),
        "dev.tsv": table(rows[40:], ("sentence", "label"), "\t"),
        "reviews.jsonl": lines({"text": text, "label": label, "id": i} for i, (text, label) in enumerate(rows)),
        "headers.csv": table(rows, ("Review Text", "Rating")),
        "more_columns.csv": table(
            [(i, text, label, "x") for i, (text, label) in enumerate(rows)], ("id", "text", "label", "note")
        ),
        "semicolons.csv": table(rows, ("text", "label"), ";"),
        "pairs.tsv": table(pairs, ("sentence1", "sentence2", "label"), "\t"),
        "numbers.csv": table(numbers, ("text", "score")),
        "topics.jsonl": lines(topics),
        "tags.conll": conll(sentences()),
        "tags.jsonl": lines({"tokens": words, "tags": tags} for words, tags in sentences()),
        "squad.json": json.dumps(squad()),
        "summaries.jsonl": lines(
            {"document": f"{who} went to {town}. It rained.", "summary": f"{who} in {town}."}
            for who in PEOPLE
            for town in CITIES
        ),
        "prompts.jsonl": lines({"prompt": f"Q: capital number {i}? A:", "completion": f" {CITIES[i % 5]}"} for i in range(30)),
        "story.txt": "\n\n".join(
            f"Once {who} walked to {town}. The road was long, and the night was cold." for who in PEOPLE for town in CITIES
        )
        + "\n",
        "texts.txt": "A warm film.\nA dull film.\n\nA film of 90 minutes, 好, naïve and 👍.\n",
        "texts.csv": table([(i, text) for i, (text, _) in enumerate(rows[:6])], ("id", "text")),
        "similar.tsv": table(
            [(f"A man {i}", f"A man {i % 7}", (i % 11) / 2) for i in range(30)], ("sentence1", "sentence2", "score"), "\t"
        ),
        "settings.yaml": "model: bert-mini\ntask: reviews.csv\nmax_steps: 2\nbatch_size: 8\nprecision: fp32\n",
    }


def bad_inputs():
    """Name -> contents of files with a fault."""
    rows = reviews(20)
    return {
        "empty.csv": "",
        "header_only.csv": "text,label\n",
        "one_class.csv": table([(text, "pos") for text, _ in rows], ("text", "label")),
        "broken.jsonl": '{"text": "a", "label": "x"}\n{"text": "b", \n',
        "binary.csv": "text,label\n\x00\x01\x02,1\n",
        "ragged.csv": "text,label\na,b,c,d\n" + table(rows, ("x", "y"))[4:],
        "no_label.csv": table([(text,) for text, _ in rows], ("text",)),
        "leak_train.csv": table(reviews(30), ("text", "label")),
        "leak_dev.csv": table(reviews(20), ("text", "label")),
        "conflict.csv": table([*rows, (rows[0][0], "neg"), (rows[1][0], "pos"), rows[2]], ("text", "label")),
        "missing.csv": table([(text, label if i % 4 else "") for i, (text, label) in enumerate(rows)], ("text", "label")),
        "spans.jsonl": lines(
            {"text": "Ada met Bob.", "spans": [{"start": 0, "end": 3, "label": "PER"}], "answer": "accept"} for _ in range(10)
        ),
        "fasttext.txt": "".join(f"__label__{label} {text}\n" for text, label in rows),
        "table.txt": table(rows, ("text", "label"), "\t"),
        "two_labels.csv": table(
            [(text, "neg|pos" if i % 3 == 0 else label) for i, (text, label) in enumerate(rows)], ("text", "label")
        ),
        "toxic.csv": table(
            [(text, *(int((i + j) % 4 == 0) for j in range(4))) for i, (text, _) in enumerate(rows)],
            ("text", "toxic", "obscene", "threat", "insult"),
        ),
        "bad_tags.conll": "Amina B-PER\nOkafor\n\nOslo B-LOC extra words\n",
        "bad.yaml": "model: bert-mini\nlearning_rat: 3\n",
        "squad_wrong.json": json.dumps(
            {
                "data": [
                    {
                        "paragraphs": [
                            {
                                "context": "A short text.",
                                "qas": [{"id": "1", "question": "What?", "answers": [{"text": "long", "answer_start": 3}]}],
                            }
                        ]
                    }
                ]
            }
        ),
        "keys.txt": "a-key-of-sixteen-or-more-characters\n",
    }


def make_inputs(workspace: Path) -> None:
    """Write all input files."""
    for name, text in {**good_inputs(), **bad_inputs()}.items():
        (workspace / name).write_text(text, encoding="utf-8", newline="")
    (workspace / "latin1.csv").write_bytes(
        b"text,label\n" + "".join(f"Café {i} déjà vu,{'ab'[i % 2]}\n" for i in range(20)).encode("cp1252")
    )
    (workspace / "utf16.csv").write_bytes(table(reviews(), ("text", "label")).encode("utf-16"))
    (workspace / "folder").mkdir()
    for name, part in (("train", reviews()[:40]), ("validation", reviews()[40:])):
        (workspace / "folder" / f"{name}.csv").write_text(table(part, ("text", "label")), encoding="utf-8")
