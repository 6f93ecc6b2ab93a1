"""hftool/data/passages.py: lines become passages, and no word of the text is lost."""

import random

import pytest

from hftool.data.passages import merge_lines
from hftool.data.readers.tables import Table, read_table
from hftool.errors import DataError


def table_of(texts, lines=True):
    rows = [{"text": text} for text in texts]
    return Table("train", "book.txt", ("text",), rows, list(range(1, len(rows) + 1)), lines=lines)


def texts(table):
    return [row["text"] for row in table.rows]


def visible(text):
    """The text without white space and NUL, neither of which makes a passage."""
    return "".join(text.replace("\0", "").split())


def test_lines_are_joined_and_paragraph_breaks_kept():
    merged = merge_lines(table_of(["", "  one", "two", "", " ", "three\n", "four", "", ""]), 1000)
    assert texts(merged) == ["  one\ntwo\n\n \nthree\nfour"] and merged.numbers == [2]
    assert merged.columns == ("text",) and merged.path == "book.txt" and not merged.lines


def test_passage_ends_at_a_line_end_within_the_limit():
    merged = merge_lines(table_of(["aaaa", "bbbb", "cccc", "", "dd", "", "e" * 30, "f"]), 9)
    assert texts(merged) == ["aaaa\nbbbb", "cccc\n\ndd", "e" * 30, "f"]
    assert merged.numbers == [1, 3, 7, 8]


def test_lines_over_the_limit_are_split_at_spaces():
    long, longer = "word " * 39 + "word.", "word " * 40 + "end."
    merged = merge_lines(table_of([long, longer]), 10)
    assert texts(merged)[0] == long
    assert texts(merged)[1:] == ["word word"] * 20 + ["end."]
    assert merged.numbers == [1] + [2] * 21


def test_line_over_the_limit_without_spaces_is_split():
    merged = merge_lines(table_of(["长" * 100_000]), 100)
    assert "".join(texts(merged)) == "长" * 100_000 and max(map(len, texts(merged))) == 2000


@pytest.mark.parametrize("seed", range(40))
def test_passages_joined_equal_the_text_up_to_white_space(seed):
    rng = random.Random(seed)
    alphabet = ["a", "שלום", "😀", " ", "  ", "\t", "\0", "\u00a0", "\u3000", "é", "word", "\u2028", "."]
    lines = ["".join(rng.choices(alphabet, k=rng.choice([0, 0, 1, 5, 30, 400]))) for _ in range(rng.randrange(1, 60))]
    merged = merge_lines(table_of([*lines, "end"]), rng.choice([1, 7, 50, 2000]))
    assert visible("\n".join(texts(merged))) == visible("\n".join([*lines, "end"]))
    assert merged.numbers == sorted(merged.numbers) and all(text.strip() for text in texts(merged))
    for text, number in zip(texts(merged), merged.numbers, strict=True):
        assert text.split("\n")[0] in lines[number - 1 :][0] if number <= len(lines) else text == "end"


def test_text_within_a_passage_is_unchanged():
    lines = ["\tdef f():", "", "    return  '\u00a0'  ", "", "", "f()"]
    assert texts(merge_lines(table_of(lines))) == ["\n".join(lines)]


def test_passages_without_letters_are_dropped_and_an_empty_result_is_an_error():
    merged = merge_lines(table_of(["\u200b\ufeff", "abcdefgh", "\0"]), 8)
    assert texts(merged) == ["abcdefgh"] and merged.numbers == [2]
    with pytest.raises(DataError, match=r"'book.txt' holds nothing but white space"):
        merge_lines(table_of(["", " \t", "\ufeff"]))


def test_rows_that_are_not_lines_are_unchanged():
    table = table_of(["a", "b"], lines=False)
    assert merge_lines(table) is table
    merged = merge_lines(table_of(["a", "b"]))
    assert merge_lines(merged) is merged


def test_file_to_passages(tmp_path):
    path = tmp_path / "train.txt"
    path.write_bytes("\ufeffChapter 1\r\n\r\nIt rained.\r\nStill.".encode())
    merged = merge_lines(read_table(path, "train"))
    assert texts(merged) == ["Chapter 1\n\nIt rained.\nStill."] and merged.numbers == [1]
