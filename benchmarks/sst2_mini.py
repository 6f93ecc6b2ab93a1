"""sst2-mini: MiniLM fine-tuned with hftool, and bag-of-words models, on the same test sentences.

    python benchmarks/sst2_mini.py [--seeds 0 1 2] [--out results/sst2_mini.json]

The bag-of-words model is the best on the validation split among TF-IDF and counts, unigrams and bigrams, three strengths of
regularization. MiniLM is trained with hftool's defaults. Both are evaluated on the test split. Needs the extra [offline].
"""

import argparse
import itertools
import json
import statistics
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from hftool import workflow
from hftool.data.readers.tables import read_table
from hftool.machine import this_machine
from hftool.workflow.resolve import ASSETS


def texts_and_labels(split):
    rows = read_table(ASSETS / "data" / "sst2-mini" / f"{split}.tsv", split).rows
    return [row["sentence"] for row in rows], [row["label"] for row in rows]


def bag_of_words():
    train, validation, test = (texts_and_labels(split) for split in ("train", "validation", "test"))
    best = None
    for kind, words, strength in itertools.product((TfidfVectorizer, CountVectorizer), (1, 2), (0.1, 1.0, 10.0)):
        model = make_pipeline(kind(ngram_range=(1, words)), LogisticRegression(C=strength, max_iter=5000)).fit(*train)
        score = model.score(*validation)
        if best is None or score > best["validation"]:
            best = {"model": f"{kind.__name__}, 1-{words} words, C={strength}", "validation": score, "test": model.score(*test)}
    return best


def minilm(seed):
    with tempfile.TemporaryDirectory() as folder:
        result = workflow.finetune("minilm", "sst2-mini", config={"seed": seed}, out=Path(folder) / "run", offline=True)
    return {
        "seed": seed,
        "test": result.metrics["test"]["accuracy"],
        "rows": result.metrics["test"]["rows"],
        "seconds": result.seconds,
    }


def command_line():
    """The command line with file names instead of full paths."""
    return " ".join(["python", f"benchmarks/{Path(__file__).name}", *(Path(argument).name for argument in sys.argv[1:])])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out")
    options = parser.parse_args()
    words = bag_of_words()
    print(f"bag of words  {words['test']:.4f}  ({words['model']})")
    runs = []
    for seed in options.seeds:
        runs.append(minilm(seed))
        print(f"MiniLM        {runs[-1]['test']:.4f}  seed {seed}", flush=True)
    mean = statistics.mean(run["test"] for run in runs)
    points = 100 * (min(run["test"] for run in runs) - words["test"])
    print(f"MiniLM {mean:.4f} on average; its worst seed is {points:.1f} points above the bag of words")
    if options.out:
        names = ("torch", "transformers", "scikit-learn", "hftool-recipes")
        result = {
            "command": command_line(),
            "bag_of_words": words,
            "minilm": runs,
            "mean": mean,
            "points_of_worst_seed": points,
            "machine": this_machine().as_dict(),
            "versions": {name: version(name) for name in names},
        }
        Path(options.out).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
