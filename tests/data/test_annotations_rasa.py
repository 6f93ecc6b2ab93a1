"""hftool/data/annotations/rasa.py: intents and entities of Rasa's YAML."""

import pytest

from hftool.data.readers.formats import ReadOptions
from hftool.data.readers.tables import read_table, stream
from hftool.errors import DataError

RASA = """\
version: "3.1"
nlu:
- intent: no
  examples: |
    - never
    - not to [New York](city:NYC), 😀 [Ann]{"entity": "person", "role": "x", "value": "Anna"}!
- synonym: credit
  examples: |
    - credit card account
- intent: faq/ask_time
  examples:
  - text: |
      at [5](time)?
    metadata: {sentiment: neutral}
  - text: see [1] (or [a](b)c
"""


def read(tmp_path, text, name="nlu.yml", **options):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return read_table(path, "train", ReadOptions(**options))


def test_intents_are_labels_and_entities_tags(tmp_path):
    table = read(tmp_path, RASA)
    assert [row["text"] for row in table.rows] == ["never", "not to New York, 😀 Ann!", "at 5?"]
    assert [row["label"] for row in table.rows] == ["no", "no", "faq/ask_time"]
    assert table.rows[1]["tags"] == ["O", "O", "B-city", "I-city", "O", "O", "B-person", "O"]
    assert table.rows[0]["tags"] == ["O"]
    assert [bad.reason for bad in table.rejected] == ["the span 12-13 'b' splits the word 'ac'"]
    assert table.notes[0] == f"'{tmp_path / 'nlu.yml'}': synonym are no examples and are left out"
    assert read(tmp_path, RASA, "a.txt", format="rasa").rows == table.rows
    _, records = stream(tmp_path / "nlu.yml", rejected=[])
    assert [record.row["text"] for record in records][-1] == "see [1] (or ac"


def test_without_entities_there_are_no_tags(tmp_path):
    text = 'version: "2.0"\nnlu:\n- intent: greet\n  examples: |\n    - hi\n    - hello\n    -\n'
    assert read(tmp_path, text, "a.yaml").rows == [{"text": "hi", "label": "greet"}, {"text": "hello", "label": "greet"}]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('version: "1.0"\nnlu: []\n', "is Rasa's YAML of version '1.0'. Known are 2.0 to 3.1"),
        ("model: bert\n", "is YAML without 'nlu'"),
        ("- a\n- b\n", "is YAML without 'nlu'"),
        ("nlu: [\n", "is not YAML"),
        ('version: "3.1"\nnlu: []\n', "has no rows"),
    ],
)
def test_other_files_are_errors_of_one_line(tmp_path, text, what):
    with pytest.raises(DataError, match=".*") as caught:
        read(tmp_path, text)
    assert caught.value.code == 65 and what in str(caught.value)
    damaged = read(tmp_path, RASA.replace('"entity": "person"', "entity: person"))
    assert damaged.rejected[0].reason.endswith("is no JSON with an entity")
