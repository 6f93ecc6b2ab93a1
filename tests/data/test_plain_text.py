"""hftool/data/readers/plain_text.py: a .txt file of another format is not learned as running text."""

import json

import pytest

from hftool import workflow
from hftool.errors import DataError
from hftool.workflow import plan

FILMS = [("a warm film", "positive"), ("a cold film", "negative"), ("a joy to watch", "positive"), ("a chore", "negative")]
ROWS = [(f"{text} number {i}", label) for i, (text, label) in enumerate(FILMS * 10)]
SENTENCE = [("Ada", "B-PER"), ("met", "O"), ("Bob", "B-PER"), (".", "O")]
SPEECH = [("The", "DT"), ("dog", "NN"), ("barks", "VBZ"), (".", ".")]


def lines(form):
    return "".join(form.format(text=text, label=label, one=i % 2) + "\n" for i, (text, label) in enumerate(ROWS))


def conll(row):
    return "\n".join("".join(row.format(word=word, tag=tag) + "\n" for word, tag in SENTENCE) for _ in range(10))


MISNAMED = {
    "fasttext": (lines("film __label__{label} {text}"), "fastText's lines"),
    "fasttext with two labels": (lines("film __label__{label} __label__film {text}"), "fastText's lines"),
    "fasttext with its label last": (lines("{text} __label__{label}"), "fastText's lines"),
    "tsv": ("text\tlabel\n" + lines("{text}\t{label}"), "a table: 41 of 41 lines have 2 cells between tabs"),
    "tsv without a header": (lines("{label}\t{text}"), "a table: 40 of 40 lines have 2 cells between tabs"),
    "csv": ("text,label\n" + lines('"{text}, really",{label}'), "a table: 41 of 41 lines have 2 cells between commas"),
    "semicolons": (lines("{text};{label}"), "a table: 40 of 40 lines have 2 cells between semicolons"),
    "bars": (lines("{text} | {label} | x"), "a table: 40 of 40 lines have 3 cells between bars"),
    "conll": (conll("{word}\t{tag}"), "CoNLL, a token and its tag a line ('Ada B-PER')"),
    "conll of four columns": ("-DOCSTART- -X- O O\n\n" + conll("{word} NNP I-NP {tag}"), "CoNLL"),
    "word/TAG with abbreviations": (
        "Mr./NNP Orsa/NNP left/VBD the/DT U.S./NNP ./.\n" * 10,
        "words with their tags ('Mr./NNP')",
    ),
    "word/TAG": ((" ".join(f"{word}/{tag}" for word, tag in SPEECH) + "\n") * 10, "words with their tags ('The/DT')"),
    "word_TAG": ((" ".join(f"{word}_{tag}" for word, tag in SPEECH) + "\n") * 10, "words with their tags ('The_DT')"),
    "chinese/TAG": ("迈向/v 充满/v 希望/n 的/u 新/a 世纪/n\n" * 10, "words with their tags"),
    "json lines": ("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in ROWS), "JSON Lines"),
    "trec": (lines("DESC:manner {text}").replace("DESC:manner", "NUM:count", 20), "texts with a class before each"),
    "0 or 1": (lines("{one} {text}"), "texts with a class before each ('0', '1')"),
}

PROSE = {
    "prose": "It was, he said; and so it was: a film.\nNobody knew.\n\n" * 40,
    "poem": "The woods are lovely,\nAnd dark, and deep,\n" * 40,
    "couplets": "床前明月光,疑是地上霜。\n举头望明月,低头思故乡。\n",
    "dialogue": "".join(f"{('Ada', 'Bob')[i % 2]}: hello, number {i}\n" for i in range(60)),
    "dialogue with tabs": "".join(f"{('ADA.', 'BOB.')[i % 2]}\thello number {i}\n" for i in range(60)),
    "contents": "".join(f"Chapter {i}: a film\t{3 * i}\n" for i in range(60)),
    "contents with dots": "".join(f"{i}. A film . . . . . {3 * i}\n" for i in range(60)),
    "numbers": "".join(f"1,{i}\n" for i in range(200, 260)),
    "a matrix": "1 0 1 1\n0 1 0 0\n" * 40,
    "recipe": "2 eggs\n1 onion\n1 cup of milk\n2 carrots\n" * 10,
    "code": "def f(a, b):\n\treturn a + b\n\nx_y = f(1, 2)\n" * 20,
    "paths": "".join(f"src/part_{i}/file_{i}.py\n" for i in range(60)),
    "two words a line": "Dear Ada\nDear Bob\nOh My\nGood Day\n" * 20,
    "addresses": "Paris, France\nRome, Italy\nOslo, Norway\n" * 20,
    "one line": "a film\tand more\n",
    "tagged now and then": "The and/or of it, I_think, is a b/c of d.\n" * 20,
    "quotes": '"Yes," he said. "No," she said.\n' * 40,
}


def find(path, **knobs):
    """The steps of finetune before a model is loaded."""
    return plan.find(
        plan.make_settings(knobs, model="bert-mini", task=str(path)),
        offline=True,
        fallback=False,
        progress=lambda event: None,
    )


@pytest.mark.parametrize("name", MISNAMED)
def test_tables_tags_and_labels_are_rejected_as_running_text(tmp_path, name):
    path = tmp_path / "train.txt"
    text, looks = MISNAMED[name]
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        find(path)
    assert caught.value.detail.startswith(f"'{path}' is called a text but looks like {looks}")
    assert caught.value.hint.endswith("; or, if it is plain text, say so with --head")
    assert find(path, head="fill").head == "fill"


def test_lines_that_all_begin_with_a_label_are_those_of_fasttext(tmp_path):
    path = tmp_path / "train.txt"
    path.write_text(lines("__label__{label} {text}"), encoding="utf-8")
    assert find(path).head == "classify"
    path.write_text(lines("__label__{label} {text}") + "no label\n", encoding="utf-8")
    with pytest.raises(DataError, match="looks like fastText's lines"):
        find(path)


@pytest.mark.parametrize("name", PROSE)
def test_prose_is_accepted(tmp_path, name):
    path = tmp_path / "train.txt"
    path.write_text(PROSE[name], encoding="utf-8")
    assert find(path).head == "fill"


@pytest.mark.parametrize("name", ["fasttext", "tsv", "conll", "word/TAG"])
def test_evaluate_and_predict_reject_them_too(tmp_path, name):
    path = tmp_path / "test.txt"
    path.write_text(MISNAMED[name][0], encoding="utf-8")
    for verb in (workflow.evaluate, workflow.predict):
        with pytest.raises(DataError, match="is called a text but looks like"):
            verb("bert-mini", str(path), offline=True)


@pytest.mark.parametrize(("name", "ending", "head"), [("tsv", "tsv", "classify"), ("conll", "conll", "tag")])
def test_file_name_suggested_by_the_error_works(tmp_path, name, ending, head):
    path = tmp_path / f"train.{ending}"
    path.write_text(MISNAMED[name][0], encoding="utf-8")
    assert find(path).head == head
