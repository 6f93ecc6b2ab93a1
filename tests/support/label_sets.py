"""Rows with any number of labels, in the three forms that files have."""

import json

# a word for each label: warm, cold and who; some texts have none
ENDS = {
    "the {} is warm and fine .": ("joy",),
    "the {} is cold and fine .": ("anger",),
    "the {} is warm and cold .": ("anger", "joy"),
    "where is the {} ?": (),
    "who is the warm {} ?": ("joy", "wonder"),
    "who went to the {} ?": ("wonder",),
}
THINGS = ("red cat", "blue dog", "green car", "white hat", "red cup", "blue bed", "green box", "white pen")
LABELS = ("anger", "joy", "wonder")


def label_rows(count=48):
    """Texts with their labels, which the words of the text decide; none twice."""
    pairs = [(end.format(thing), labels) for thing in THINGS for end, labels in ENDS.items()]
    return [{"text": text, "emotions": list(labels)} for text, labels in pairs[:count]]


def write_joined(path, rows, separator="|"):
    """A table with a cell `a|b`."""
    lines = [f"{row['text']}\t{separator.join(row['emotions'])}" for row in rows]
    path.write_text("\n".join(["text\temotions", *lines]) + "\n", encoding="utf-8")
    return path


def write_lists(path, rows):
    """JSON Lines with a list a row."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_columns(path, rows, labels=LABELS):
    """A table with a 0/1 column a label."""
    lines = ["\t".join([row["text"], *(str(int(label in row["emotions"])) for label in labels)]) for row in rows]
    path.write_text("\n".join(["\t".join(["text", *labels]), *lines]) + "\n", encoding="utf-8")
    return path
