"""hftool/data/tag_schemes.py and tag_ids.py: the tagging scheme is that of the majority of the tags."""

import pytest

from hftool.data.labels import Labels, find_tags
from hftool.data.readers.tables import Table
from hftool.data.rows import map_rows
from hftool.data.tag_schemes import scheme_of
from hftool.errors import DataError
from hftool.heads.tag.head import spans_of
from hftool.heads.tag.report import entities

PER = ("PER", 0, 1)
LOC = ("LOC", 3, 3)


def spans(tags, *more):
    """The entities that the head decodes, which must equal those that the metrics count."""
    labels = tuple(dict.fromkeys([*tags, *more]))
    found = spans_of(tags, scheme_of(labels))
    assert found == entities(tags, labels)
    return found


@pytest.mark.parametrize(
    ("tags", "more"),
    [
        ("B-PER I-PER O B-LOC", "I-LOC"),  # IOB2
        ("I-PER I-PER O I-LOC", ""),  # IOB1
        ("B-PER E-PER O S-LOC", "I-PER B-LOC I-LOC E-LOC S-PER"),  # BIOES
        ("B-PER L-PER O U-LOC", "I-PER B-LOC I-LOC L-LOC U-PER"),  # BILOU
        ("B-PER E-PER O S-LOC", "M-PER B-LOC M-LOC E-LOC S-PER"),  # BMES
        ("B-PER M-PER O W-LOC", "E-PER B-LOC M-LOC E-LOC W-PER"),  # BMEWO
        ("B_PER I_PER O B_LOC", "I_LOC"),
        ("B:PER I:PER O B:LOC", "I:LOC"),
        ("B/PER I/PER O B/LOC", "I/LOC"),
        ("PER-B PER-I O LOC-B", "LOC-I"),
        ("PER_B PER_I O LOC_B", ""),
        ("b-PER i-PER o b-LOC", "i-LOC"),
        ("b_PER i_PER 0 b_LOC", ""),
        ("PER PER O LOC", ""),
        ("PER PER 0 LOC", ""),
        ("PER PER o LOC", ""),
        ("PER PER none LOC", ""),
        ("B-PER I-PER \u041e B-LOC", "I-LOC"),  # a Cyrillic O
        ("B-PER I-PER Outside B-LOC", "I-LOC"),
        ("B-PER I-PER _ B-LOC", "I-LOC O"),
    ],
)
def test_all_tagging_schemes_give_the_same_entities(tags, more):
    assert spans(tags.split(), *more.split()) == [PER, LOC]


@pytest.mark.parametrize("tags", ["B I O B", "b i o b", "B I 0 B", "B- I- O B-", "B E O S", "B L O U"])
def test_tags_without_a_type(tags):
    assert spans(tags.split(), "B", "I") == [("_", 0, 1), ("_", 3, 3)]


@pytest.mark.parametrize(
    "unusual",
    ["b-PER", "B_PER", "PER-B", "B\u2013PER", "B-per", "[PAD]", "X", "<START>", "[CLS]", "0", "o", "-", "<pad>", "MISC"],
)
def test_one_unusual_tag_does_not_change_the_others(unusual):
    assert spans(["B-PER", "I-PER", "O", "B-LOC"], "I-LOC", unusual) == [PER, LOC]


@pytest.mark.parametrize(
    ("unusual", "found"),
    [
        ("b-PER", [PER]),
        ("B_PER", [PER]),
        ("PER-B", [PER]),
        ("B-per", [PER]),
        ("PER", [PER]),
        ("MISC", [("MISC", 0, 0), ("PER", 1, 1)]),
        ("e-mail", [("e-mail", 0, 0), ("PER", 1, 1)]),
        ("X", [("PER", 1, 1)]),
        ("[PAD]", [("PER", 1, 1)]),
        ("<START>", [("PER", 1, 1)]),
        ("o", [("PER", 1, 1)]),
        ("O-PER", [("PER", 1, 1)]),
    ],
)
def test_unusual_tags_are_interpreted(unusual, found):
    assert spans([unusual, "I-PER"], "O", "B-PER", "B-LOC", "I-LOC") == found


@pytest.mark.parametrize(
    "labels",
    [
        "NOUN VERB ADJ X PART O",
        "NN NNS PRP$ -LRB- , . VBZ O",
        "NN-TL NP-HL IN BE AT",  # Brown
        "n v a b i e o s u",  # parts of speech of one letter, o among them
        "A B C D E F I N P R S V",  # coarse tags of the Italian TANL
        "A B AB O",  # blood groups
        "E-mail Phone U-Bahn Address O",
        "Vitamin_B Vitamin_C Vitamin_E O",
        "TYPE_I TYPE_II TYPE_III O",
        "0 1 2 3",
        "LABEL_0 LABEL_1 LABEL_2",
    ],
)
def test_label_names_that_look_like_prefixes_are_types(labels):
    scheme = scheme_of(tuple(labels.split()))
    assert scheme.form == "types"
    assert [tag for tag in labels.split() if scheme.read(tag) != ("I", tag)] == [tag for tag in labels.split() if tag == "O"]


@pytest.mark.parametrize(
    ("tag", "reading"),
    [
        ("B-PER-part", ("B", "PER-part")),
        ("I-art_work", ("I", "art_work")),
        ("B-PRP$", ("B", "PRP$")),
        ("B-B", ("B", "B")),
        ("S-ORG", ("S", "ORG")),
        ("B-PER-I", ("B", "PER-I")),
        ("I-e-mail", ("I", "e-mail")),
    ],
)
def test_types_that_contain_prefix_letters(tag, reading):
    assert scheme_of((tag, "O", "B-PER", "I-PER", "S-PER", "E-PER")).read(tag) == reading


# ---- training


def table(*tags, split="train"):
    rows = [{"tokens": ["a"] * len(cell.split()), "tags": cell.split()} for cell in tags]
    return Table(split, f"{split}.jsonl", ("tokens", "tags"), rows, list(range(1, len(rows) + 1)))


def prepared(*tags, labels=None):
    """The labels, the tags of each row by name, and all notices."""
    found = labels or find_tags(table(*tags), "tags")
    result = map_rows(table(*tags), {"tokens": "tokens", "tags": "tags"}, found)
    return found.names, [[found.names[i] for i in row["tags"]] for row in result.rows], [*found.notes, *result.notes]


@pytest.mark.parametrize(
    ("unusual", "read"),
    [("b-PER", "B-PER"), ("B_PER", "B-PER"), ("PER-B", "B-PER"), ("I-per", "I-PER"), ("PER", "I-PER"), ("0", "O"), ("o", "O")],
)
def test_unusual_tag_spellings_are_merged_and_reported(unusual, read):
    names, rows, notice = prepared("B-PER I-PER O", "O O B-PER", f"O {unusual} O", f"{unusual} O O")
    assert names == ("O", "B-PER", "I-PER")
    assert rows[2] == ["O", read, "O"]
    assert notice == [f"tags: '{unusual}' (2, first at train.jsonl:3) is read as '{read}'"]


@pytest.mark.parametrize(
    ("tags", "names", "notice"),
    [
        ("0 B-X I-X 0", ("0", "B-X", "I-X"), "tags: '0' (2, first at train.jsonl:1): outside of all entities, as O"),
        ("O B-X I-X [PAD]", ("O", "B-X", "I-X", "[PAD]"), "'[PAD]' (1, first at train.jsonl:1): outside of all entities, as O"),
        ("O B-X I-X LOC", ("O", "LOC", "B-X", "I-X"), "'LOC' (1, first at train.jsonl:1): without the mark that most have"),
        ("O PER-B LOC-B", ("O", "LOC-B", "LOC-I", "PER-B", "PER-I"), "tags: 'PER-B' begins an entity of type 'PER'"),
        ("O b_x o", ("O", "b_x", "i_x"), "tags: 'o' (1, first at train.jsonl:1) is read as 'O'"),
        ("O B O", ("O", "B", "I"), "tags: 'B' begins an entity without a type"),
        ("O B-X M-X E-X B-Y", ("O", "B-X", "E-X", "M-X", "B-Y", "M-Y"), None),
        ("NOUN VERB X", ("NOUN", "VERB", "X"), None),
        ("per Per O loc", ("O", "Per", "loc", "per"), "differ in case only, and stay separate tags"),
        ("0 1 2", ("0", "1", "2"), "tags: numbers without names, each a type, 0 too; --set labels=O,B-X,I-X names them"),
    ],
)
def test_unusual_tags_are_reported(tags, names, notice):
    found, _, notes = prepared(tags)
    assert found == names
    assert any(notice in note for note in notes) if notice else notes == []


def test_most_frequent_spelling_is_the_label():
    names, rows, _ = prepared("b-PER i-PER O", "b-PER O O", "B-PER I-PER O")
    assert names == ("O", "b-PER", "i-PER") and rows[2] == ["b-PER", "i-PER", "O"]
    assert prepared("B-PER L-PER O", "B-PER L-PER O", "B-PER E-PER O")[0] == ("O", "B-PER", "I-PER", "L-PER")


def test_many_unusual_tags_are_summarized():
    unusual = [f"b-T{i}" for i in range(8)]
    usual = " ".join(f"B-T{i} I-T{i}" for i in range(8))
    [notice] = prepared(f"O {usual}", " ".join(unusual))[2]
    assert notice.count("is read as") == 5 and notice.endswith("; 3 other tags likewise")


@pytest.mark.parametrize("tags", ["O [PAD] O", "O o [CLS]", "O 0 <START> [SEP]"])
def test_tags_without_any_entity_are_refused(tags):
    with pytest.raises(DataError, match=r"marks an entity|only one tag"):
        find_tags(table(tags), "tags")


@pytest.mark.parametrize(
    ("tags", "read"),
    [
        ("O B_PER I_PER", ["O", "B-PER", "I-PER"]),
        ("0 b-per i-per", ["O", "B-PER", "I-PER"]),
        ("o PER-B PER-I", ["O", "B-PER", "I-PER"]),
        ("None B-Per I-Per", ["O", "B-PER", "I-PER"]),
        ("O PER O", ["O", "I-PER", "O"]),
    ],
)
def test_evaluation_file_may_spell_the_labels_of_the_model_differently(tags, read):
    names = ("O", "B-PER", "I-PER")
    _, rows, notice = prepared(tags, labels=Labels(names, names, "as the model names them"))
    assert rows == [read] and "is read as" in notice[0]


def test_tag_unknown_to_the_model_is_an_error():
    names = ("O", "B-PER", "I-PER")
    with pytest.raises(DataError, match=r"train.jsonl:1: the label 'B-LOC' is not one of 'O', 'B-PER', 'I-PER'"):
        prepared("O B-LOC", labels=Labels(names, names, ""))


def test_given_label_order_applies_to_unusual_tags():
    order = ("O", "B-PER", "I-PER")
    assert find_tags(table("b-PER I-PER 0"), "tags", ordered=order).names == order
