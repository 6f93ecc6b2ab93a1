"""A Trainer on a tiny BERT, made from its parts: what the tests of this folder share."""

from hftool.config import make_config
from hftool.evaluation.report import make_report
from hftool.heads.classify.head import ClassifyHead
from hftool.models import HeadConfig, load_model
from hftool.progress import silent
from hftool.storage.run_folder import Run
from hftool.training.distributed import make_accelerator, seed_everything
from hftool.training.loop import Trainer
from hftool.workflow._load import make_predictor

WORDS = [
    "a",
    "warm",
    "funny",
    "film",
    "cold",
    "dull",
    "joy",
    "chore",
    "to",
    "watch",
    "bright",
    "and",
    "tender",
    "the",
    "cast",
    "is",
    "delight",
    "disaster",
]


def rows_of_many_lengths(count):
    """Rows of 1 to 17 words, no two lengths in a row alike."""
    return [{"text": " ".join(WORDS[: 1 + (7 * i) % 17]), "label": i % 2} for i in range(count)]


def make_trainer(folder, out, *, rows=None, evaluate=None, weights=(), lines=(), progress=silent, **knobs):
    """A Trainer in a fresh run folder `out`; `evaluate` is by default accuracy on its own train rows."""
    config = make_config({"lr": 1e-3, "batch_size": 4, "epochs": 1.0, "log_steps": 1, "device": "cpu", **knobs})
    seed_everything(config.seed)
    head_config = HeadConfig(head="classify", labels=("negative", "positive"), max_length=64, class_weights=weights)
    loaded = load_model(folder, "AutoModelForSequenceClassification", head_config=head_config, new_head=True)
    head = ClassifyHead(loaded.tokenizer, head_config)
    train = rows_of_many_lengths(18) if rows is None else rows
    features = head.encode(train)
    predictor = make_predictor(loaded)

    def measure():
        answers, loss = predictor.score(features)
        report = make_report(answers, train, head.metrics(), head_config.labels, loss)
        return {name: report[name] for name in ("accuracy", "macro_f1", "loss")}

    out.mkdir(parents=True)
    return Trainer(
        model=loaded.model,
        head=head,
        features=features,
        config=config,
        precision="bf16" if config.precision == "bf16" else "fp32",
        accelerator=make_accelerator("cpu"),
        evaluate=evaluate or measure,
        run=Run(out),
        progress=progress,
        lines=lines,
    )


def weights_of(trainer):
    """A copy of every parameter."""
    return {name: p.detach().clone() for name, p in trainer.model.named_parameters()}


def same(a, b):
    """True if two sets of weights are bitwise alike."""
    return a.keys() == b.keys() and all(bool((a[k] == b[k]).all()) for k in a)
