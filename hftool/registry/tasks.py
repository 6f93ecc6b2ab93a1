"""Tasks known by name. A new task is one row here."""

from dataclasses import dataclass

from hftool.errors import UsageError, did_you_mean


@dataclass(frozen=True)
class Task:
    """A data set with what it is for.

    columns    pairs of role and column name
    labels     pairs of the value in the data and the name in every answer, in id order
    splits     pairs of split (train, validation, test) and its name in the repository
    bundled    folder under hftool/assets/data, for the sets that hftool brings itself
    stand_in   the bundled task that stands in when neither cache nor Hub can give this one
    """

    name: str
    head: str
    about: str
    columns: tuple[tuple[str, str], ...]
    labels: tuple[tuple[str, str], ...]
    splits: tuple[tuple[str, str], ...] = (("train", "train"), ("validation", "validation"), ("test", "test"))
    repo: str = ""
    revision: str = ""
    config: str = ""
    bundled: str = ""
    stand_in: str = ""


SENTIMENT = (("0", "negative"), ("1", "positive"))
SENTENCE = (("text", "sentence"), ("label", "label"))

TASKS = (
    Task(
        "sst2",
        "classify",
        "film opinion, negative or positive (GLUE SST-2)",
        SENTENCE,
        SENTIMENT,
        repo="nyu-mll/glue",
        revision="bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c",
        config="sst2",
        stand_in="sst2-mini",
    ),
    Task("sst2-mini", "classify", "film opinion, hand-written for hftool, bundled", SENTENCE, SENTIMENT, bundled="sst2-mini"),
)


def find_task(name: str) -> Task | None:
    """The row called `name`, or None."""
    return next((row for row in TASKS if row.name == name), None)


def get_task(name: str) -> Task:
    """The row called `name`. Raises UsageError with the nearest name."""
    row = find_task(name)
    if row is None:
        otherwise = (
            "See `hftool tasks`; a Hub data set is owner/name, a file needs its ending (.csv .tsv .json .jsonl .parquet)"
        )
        raise UsageError(f"unknown task '{name}'", did_you_mean(name, (t.name for t in TASKS), otherwise=otherwise))
    return row
