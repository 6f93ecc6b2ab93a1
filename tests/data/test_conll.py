"""hftool/data/readers/conll.py, through read_table: sentences with their lines; ragged ones are rejected."""

import gzip
from dataclasses import asdict

import pytest

import hftool
from hftool.data.readers.formats import ReadOptions
from hftool.data.readers.tables import read_table, split_files
from hftool.errors import DataError


def read(tmp_path, text, name="train.conll"):
    path = tmp_path / name
    path.write_bytes(text.encode())
    return read_table(path, "train")


@pytest.mark.parametrize("name", ["train.conll", "train.bio", "Train.IOB"])
def test_tokens_and_tags_are_the_first_and_last_column(tmp_path, name):
    text = "-DOCSTART- -X- O O\n\nEU NNP I-NP B-ORG\nrejects VBZ I-VP O\n\n\n  \nPeter NNP I-NP B-PER"
    table = read(tmp_path, text, name)
    assert table.rows == [{"tokens": ["EU", "rejects"], "tags": ["B-ORG", "O"]}, {"tokens": ["Peter"], "tags": ["B-PER"]}]
    assert table.numbers == [3, 8] and table.columns == ("tokens", "tags") and not table.rejected and not table.lines


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_endings_and_a_bom_are_accepted(tmp_path, end):
    table = read(tmp_path, "\ufeff" + end.join(["EU\tB-ORG", "it\tO", "", "a\u2028b\tO", "c\x85d\tO"]))
    assert table.rows[0] == {"tokens": ["EU", "it"], "tags": ["B-ORG", "O"]}
    assert table.rows[1] == {"tokens": ["a\u2028b", "c\x85d"], "tags": ["O", "O"]}
    assert table.numbers == [1, 4]


def test_tab_separated_files_keep_tokens_of_white_space(tmp_path):
    table = read(tmp_path, "New York\tB-LOC\n\u00a0\tO\n \tO\n\tO\na\0b\tO\n#\tO\n\t\n😀\tO\nשלום\tO\n")
    assert table.rows == [
        {"tokens": ["New York", "\u00a0", " ", "", "a\0b", "#"], "tags": ["B-LOC", "O", "O", "O", "O", "O"]},
        {"tokens": ["😀", "שלום"], "tags": ["O", "O"]},
    ]


def test_columns_are_separated_by_any_number_of_spaces(tmp_path):
    table = read(tmp_path, "EU   B-ORG  \n  it \t O\n\u00a0 O\n")
    assert table.rows == [{"tokens": ["EU", "it", "\u00a0"], "tags": ["B-ORG", "O", "O"]}]


def test_single_column_is_tokens_without_tags(tmp_path):
    table = read(tmp_path, "EU\nrejects\n\nPeter\n")
    assert table.rows == [{"tokens": ["EU", "rejects"]}, {"tokens": ["Peter"]}] and table.columns == ("tokens",)
    assert read(tmp_path, "EU\n\u00a0\nit\n").rows == [{"tokens": ["EU", "\u00a0", "it"]}]


def test_sentence_with_a_ragged_line_is_rejected_with_its_line(tmp_path):
    table = read(tmp_path, "EU NNP I O\n\nit VBZ\nis VBZ I O\nso RB I\n\nPeter NNP I B-PER\n\nend\n")
    assert [row["tokens"] for row in table.rows] == [["EU"], ["Peter"]] and table.numbers == [1, 7]
    assert [asdict(bad) for bad in table.rejected] == [
        {"row": 3, "reason": "line 3 has 2 columns where the file has 4", "raw": "it is so"},
        {"row": 9, "reason": "line 9 has 1 column where the file has 4", "raw": "end"},
    ]


def test_missing_tag_is_detected_with_tabs_and_with_spaces(tmp_path):
    for text in ("EU\tO\n\nNew York\t\n", "EU O\n\nYork \n", "EU\n\nYork\tO\n"):
        assert [bad.row for bad in read(tmp_path, text).rejected] == [3]


def test_comments_above_a_sentence_are_skipped(tmp_path):
    table = read(tmp_path, "# id 7f3a\tdomain=en\nEU _ _ O\n# _ _ O\n\n# text = It\nIt _ _ O\n")
    assert [row["tokens"] for row in table.rows] == [["EU", "#"], ["It"]] and table.numbers == [2, 6]


def test_docstart_line_ends_a_sentence(tmp_path):
    assert [row["tokens"] for row in read(tmp_path, "EU O\n-DOCSTART- O\nit O\n").rows] == [["EU"], ["it"]]


def test_long_token_and_many_sentences(tmp_path):
    table = read(tmp_path, "x" * 100_000 + " O\n\n" + "a O\nb O\n\n" * 20_000)
    assert len(table.rows) == 20_001 and len(table.rows[0]["tokens"][0]) == 100_000 and table.numbers[-1] == 60_000


def test_file_of_docstart_and_blank_lines_is_an_error(tmp_path):
    with pytest.raises(DataError, match="has no rows"):
        read(tmp_path, "-DOCSTART- O\n\n \t\n")


# ---- columns and prefixes that do not belong to the tokens

NUMBERED = "the first column counts the tokens and is left out; "
ADA = {"tokens": ["Ada", "met", "Bob"], "tags": ["B-PER", "O", "B-PER"]}
RAIN = {"tokens": ["It", "rains"], "tags": ["O", "O"]}


@pytest.mark.parametrize(
    "text",
    [
        "1 Ada B-PER\n2 met O\n3 Bob B-PER\n\n1 It O\n2 rains O\n",
        "1\tAda\tB-PER\n2\tmet\tO\n3\tBob\tB-PER\n\n\n1\tIt\tO\n2\trains\tO",
        "0\tAda\tNN\tB-PER\n1\tmet\tVB\tO\n2\tBob\tNN\tB-PER\n\n0\tIt\tPP\tO\n1\trains\tVB\tO\n",
        "1 Ada B-PER\n2 met O\n3 Bob B-PER\n\n4 It O\n5 rains O\n",
        "-DOCSTART- O O\n\n1 Ada B-PER\n2 met O\n3 Bob B-PER\n\n1 It O\n2 rains O\n",
        "# sentence 1\n1 Ada B-PER\n2 met O\n3 Bob B-PER\n\n# sentence 2\n1 It O\n2 rains O\n",
    ],
)
def test_column_that_numbers_the_tokens_is_dropped(tmp_path, text):
    table = read(tmp_path, text)
    assert table.rows == [ADA, RAIN] and not table.rejected
    assert table.notes == [f"'{tmp_path / 'train.conll'}': {NUMBERED}tags are the last column"]


def test_numbered_file_may_have_no_tags(tmp_path):
    table = read(tmp_path, "1\tIt\n2\trains\n\n1\tAda\n2\tmet\n3\tBob\n")
    assert table.rows == [{"tokens": RAIN["tokens"]}, {"tokens": ADA["tokens"]}]
    assert table.notes[0].endswith(f"{NUMBERED}there are no tags")


@pytest.mark.parametrize("inner", ["O", "B-PER"])
def test_germeval_comments_with_tabs_and_nested_entities(tmp_path, inner):
    head = "#\thttp://example.org/a\t[2009-10-17]\n"
    text = f"{head}1\tAda\tB-PER\t{inner}\n2\tmet\tO\tO\n3\tBob\tB-PER\tO\n\n{head}1\tIt\tO\tO\n2\trains\tO\tO\n"
    table = read(tmp_path, text)
    assert table.rows == [ADA, RAIN] and table.notes[0].endswith(
        "tags are column 3, since column 4 has entities inside of those"
    )


def test_conll_u_gives_part_of_speech_tags_and_skips_multiword_tokens(tmp_path):
    more = "\t_\t_\t0\troot\t_\tSpaceAfter=No"
    text = "# newpar\n# text = vámonos ya\n1-2\tvámonos" + "\t_" * 8 + f"\n1\tvamos\tir\tVERB{more}\n2\tnos\tyo\tPRON{more}\n"
    table = read(tmp_path, f"{text}3\tya\tya\tADV{more}\n3.1\tx\tx\tX{more}\n\n1\tSí\tsí\tINTJ{more}\n2\t.\t.\tPUNCT{more}\n")
    assert table.rows == [
        {"tokens": ["vamos", "nos", "ya"], "tags": ["VERB", "PRON", "ADV"]},
        {"tokens": ["Sí", "."], "tags": ["INTJ", "PUNCT"]},
    ]
    assert table.notes[0].endswith("tags are column 4, the parts of speech of CoNLL-U")
    assert "1 multiword tokens (as 3-4) and 1 empty nodes (as 8.1) are left out" in table.notes[1]


@pytest.mark.parametrize(
    "text",
    [
        "1 O\n2 O\n",  # too few rows to decide
        "1 CD O\n2 CD O\n\nIt PP O\n",
        "3 CD O\n1 CD O\n2 CD O\n\n1 CD O\n",
        "1\n2\n3\n",
        "1 CD O\n\n1 CD O\n\n1 CD O\n",
    ],
)
def test_numbers_that_are_not_token_indices_are_tokens(tmp_path, text):
    table = read(tmp_path, text)
    assert table.rows[0]["tokens"][0] in ("1", "3") and not table.notes


@pytest.mark.parametrize("codes", [("en",), ("en", "de"), ("zh-min-nan",), ("als",), ("fiu-vro", "no")])
def test_language_prefix_of_each_token_is_dropped(tmp_path, codes):
    tokens = ["Sioux", "Falls", ":", "a:b", "SD", "."]
    text = "".join(f"{codes[i % len(codes)]}:{token}\tO\n" for i, token in enumerate(tokens))
    table = read(tmp_path, text)
    assert table.rows == [{"tokens": tokens, "tags": ["O"] * 6}]
    first = f"{codes[0]}:Sioux"
    assert table.notes == [
        f"'{tmp_path / 'train.conll'}': each token begins with its language, as '{first}', which is left out"
    ]


def test_colons_in_tokens_are_not_language_prefixes(tmp_path):
    table = read(tmp_path, "re:you\tO\nat:10\tO\nno:x\tO\nso:y\tO\nit\tO\n")
    assert table.rows[0]["tokens"][0] == "re:you" and not table.notes


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("".join(f"w{i}\tO\n\n" for i in range(9)), "every sentence is one token: there are blank lines after tokens"),
        ("".join(f"w{i}\tO\n" for i in range(300)), "no blank lines separate sentences: 300 tokens and more are read as one"),
    ],
)
def test_suspicious_sentence_boundaries_are_reported(tmp_path, text, note):
    (notice,) = read(tmp_path, text).notes
    assert note in notice


# ---- other endings, marks and layers


@pytest.mark.parametrize("name", ["eng.testa", "train", "ner.iob2", "NER-de-train.tsv", "train.conll.gz"])
def test_any_ending_or_none_and_compressed(tmp_path, name):
    text = "-DOCSTART- -X- O\n\nEU\tB-ORG\nrejects\tO\n\nPeter\tB-PER\nB.\tI-PER\n\n".replace(
        "\t", " " if name == "train" else "\t"
    )
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    table = read_table(path, "train")
    assert table.rows == [
        {"tokens": ["EU", "rejects"], "tags": ["B-ORG", "O"]},
        {"tokens": ["Peter", "B."], "tags": ["B-PER", "I-PER"]},
    ]
    assert any("is read as CoNLL, by its content" in note for note in table.notes) == (not name.endswith(".gz"))


def test_table_with_a_header_is_no_conll_file(tmp_path):
    table = read(tmp_path, "word\ttag\nEU\tB-ORG\nis\tO\n\nBob\tB-PER\nis\tO\n", "train.tsv")
    assert table.columns == ("word", "tag") and "separated by blank lines" in table.notes[0]


def test_folder_of_splits_without_endings(tmp_path):
    for name in ("train", "dev", "test", "extra"):
        (tmp_path / name).write_text("en:EU\tB-ORG\nen:is\tO\n\n" * 4, encoding="utf-8")
    assert {split: path.name for split, path in split_files(tmp_path).items()} == {
        "train": "train",
        "validation": "dev",
        "test": "test",
    }
    assert read_table(tmp_path / "train", "train").rows[0] == {"tokens": ["EU", "is"], "tags": ["B-ORG", "O"]}
    (tmp_path / "train.conll").write_text("EU\tB-ORG\n", encoding="utf-8")
    assert [path.name for path in split_files(tmp_path).values()] == ["train.conll"]


def test_comments_of_any_words_and_document_marks_are_skipped(tmp_path):
    text = "# newdoc\n# a note of three words\nEU B-ORG\n# B-X\n\n###MEDLINE:95369245\n\nis O\nit O\n\n# sent_id = 2\n# more of it\nBob B-PER\n"
    table = read(tmp_path, text)
    assert [row["tokens"] for row in table.rows] == [["EU", "#"], ["is", "it"], ["Bob"]] and not table.rejected


@pytest.mark.parametrize("blank", ["\t", " ", "\ufeff", "\u00a0", "\u200b", "\t\ufeff"])
def test_invisible_lines_separate_sentences_of_several_columns(tmp_path, blank):
    table = read(tmp_path, f"EU\tB-ORG\nis\tO\n{blank}\nBob\tB-PER\n{blank}\n{blank}")
    assert [row["tokens"] for row in table.rows] == [["EU", "is"], ["Bob"]] and not table.rejected


GERMEVAL = "#\thttp://de.wikipedia.org/wiki/TU\t[2009-10-17]\n1\tTU\tB-ORG\tO\n2\tWien\tI-ORG\tB-LOC\n3\tist\tO\tO\n\n" * 3


def test_column_of_tags_is_chosen_by_its_number(tmp_path):
    path = tmp_path / "NER-de-train.tsv"
    path.write_text(GERMEVAL, encoding="utf-8")
    outer = read_table(path, "train", ReadOptions(columns={"tags": "3"}))
    inner = read_table(path, "train", ReadOptions(columns={"tags": "4"}))
    assert outer.rows[0] == {"tokens": ["TU", "Wien", "ist"], "3": ["B-ORG", "I-ORG", "O"]}
    assert inner.rows[0] == {"tokens": ["TU", "Wien", "ist"], "4": ["O", "B-LOC", "O"]}
    assert outer.notes[-1].endswith("the first column counts the tokens and is left out")
    words = read_table(path, "train", ReadOptions(columns={"tokens": "3", "tags": "2"}))
    assert words.rows[0] == {"3": ["B-ORG", "I-ORG", "O"], "2": ["TU", "Wien", "ist"]}
    with pytest.raises(DataError, match="has 4 columns and no column 5"):
        read_table(path, "train", ReadOptions(columns={"tags": "5"}))


def test_run_is_trained_and_measured_on_the_chosen_layer(tmp_path):
    path = tmp_path / "NER-de-train.tsv"
    path.write_text("".join(GERMEVAL.replace("ist", f"ist{i}") for i in range(12)), encoding="utf-8")
    config = {"columns": {"tags": "4"}, "max_steps": 1, "max_length": 16, "allow_leak": True}
    result = hftool.finetune("bert-mini", str(path), config=config, out=tmp_path / "run", offline=True)
    assert "LOC" in hftool.evaluate(result, str(path), offline=True).metrics["by_type"]
    other = hftool.evaluate(result, str(path), column={"tags": "4"}, offline=True).metrics["by_type"]
    assert set(other) == {"LOC"}


def ontonotes(*words):
    """Sentences of CoNLL-2012, separated by None, from pairs of a word and its entity; each has its own number of predicates."""
    text, number, more = "#begin document (bc/cctv/00/cctv_0000); part 000\n", 0, ""
    for pair in words:
        if pair is None:
            text, number, more = text + "\n", 0, more + "  *"
        else:
            text += f"bc/cctv/00/cctv_0000   0   {number}   {pair[0]}   NN   (TOP*   -   -   -   Speaker#1   {pair[1]}{more}   (5)\n"
            number += 1
    return text + "\n#end document\n"


def test_conll_2012_has_entities_in_brackets_and_any_number_of_columns(tmp_path):
    first = [
        ("In", "*"),
        ("New", "(GPE*"),
        ("York", "*"),
        ("City", "*)"),
        ("#", "*"),
        ("two", "(CARDINAL)"),
        ("men", "(DATE*)"),
    ]
    text = ontonotes(*first, None, ("It", "*"), ("rains", "*"))
    for name in ("train.conll", "a.v4_gold_conll"):
        table = read(tmp_path, text, name)
        assert table.rows == [
            {
                "tokens": ["In", "New", "York", "City", "#", "two", "men"],
                "tags": ["O", "B-GPE", "I-GPE", "I-GPE", "O", "B-CARDINAL", "B-DATE"],
            },
            {"tokens": ["It", "rains"], "tags": ["O", "O"]},
        ]
        assert table.numbers == [2, 10] and table.notes[-1].endswith("tags the entities of column 11, in IOB2")
    chosen = ReadOptions(columns={"tags": "5"})
    assert read_table(tmp_path / "train.conll", "train", chosen).rows[1] == {"tokens": ["It", "rains"], "5": ["NN", "NN"]}


def test_damaged_conll_2012_is_rejected_or_an_error(tmp_path):
    words = [("a", "(GPE*"), ("b", "(GPE*"), None, ("c", "*)"), None, ("d", "(GPE*"), None, ("e", "*")]
    table = read(tmp_path, ontonotes(*words))
    assert [bad.reason for bad in table.rejected] == [
        "'(GPE*' opens or closes no entity",
        "'*)' opens or closes no entity",
        "an entity is not closed",
    ]
    with pytest.raises(DataError, match="line 2 has no words. Known is CoNLL-2012 with its words"):
        read(tmp_path, ontonotes(("[WORD]", "*")))
    with pytest.raises(DataError, match="line 2 has 3 columns"):
        read(tmp_path, "#begin document (a); part 000\na 0 0\n")


# ---- tags that do not follow their scheme


@pytest.mark.parametrize(
    ("tags", "note"),
    [
        ("B-A I-A O B-B", ""),
        ("B-A I-A O I-B B-B", "1 of 5 tags continue no entity of their type, the first 'I-B' in the sentence of line 1"),
        ("I-A I-A O I-B I-B B-B", ""),  # IOB1
        ("I-A O I-B", ""),
        ("I-A E-A O E-B", ""),  # IOE
        ("B-A E-A S-B O", ""),
        ("B-A I-A O E-A S-B", "2 of 5 tags begin or end no entity as the others do, the first 'E-A' in the sentence of line 1"),
        ("B-A L-A U-B O", ""),
        ("B-A U-B L-A", "2 of 3 tags begin or end no entity as the others do, the first 'L-A' in the sentence of line 1"),
        ("NN VB NN", ""),
    ],
)
def test_malformed_tags_are_counted_and_kept(tmp_path, tags, note):
    table = read(tmp_path, "".join(f"w{i} {tag}\n" for i, tag in enumerate(tags.split())))
    assert table.rows[0]["tags"] == tags.split()
    assert [line.partition(": ")[2] for line in table.notes] == ([f"{note}; they are kept as they are"] if note else [])
