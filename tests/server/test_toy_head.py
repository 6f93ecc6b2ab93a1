"""A head added by one row of the registry and one folder: multi-label classification."""

import asyncio
import json

import pytest

from hftool import workflow
from hftool.registry import heads
from hftool.registry.heads import HeadSpec, ReportSpec
from hftool.server.http.app import make_app
from hftool.workflow._infer import natural_options
from hftool.workflow._load import load, make_predictor
from support import families
from support.asgi_calls import call, served, service
from support.fake_predictor import serving

SPEC = HeadSpec(
    name="vote",
    implementation="toy_head.head:VoteHead",
    architectures=("encoder",),
    auto_class="AutoModelForSequenceClassification",
    pipeline_tag="text-classification",
    gives="votes",
    empty_key="vote",
    purpose="vote on a text",
    reports=(ReportSpec(name="votes", module="toy_head.report", metrics=("right", "certain")),),
    labels=True,
    new_layer=True,
)
FILES = {
    "__init__.py": "",
    "head.py": """
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import numpy as np
from hftool.data.schema import RowSchema
from hftool.heads.collate import collate_inputs
from hftool.heads.protocol import Feature, Metrics


@dataclass(frozen=True)
class VoteHead:
    tokenizer: Any
    head_config: Any
    config: Any = None
    least: float = 0.5

    numbers: ClassVar = False
    knobs: ClassVar = ()
    row_schemas: ClassVar = (RowSchema(("text",), ("label",)),)
    outputs: ClassVar = ("logits",)
    batch_tokens: ClassVar = 4096
    sampling: ClassVar = None

    def encode(self, rows):
        limit = self.head_config.max_length
        encoded = [self.tokenizer(row["text"], truncation=True, max_length=limit)["input_ids"] for row in rows]
        return [Feature(np.array(ids, np.int32), i, target=rows[i].get("label")) for i, ids in enumerate(encoded)]

    def collate(self, features, epoch_seed=0):
        batch = collate_inputs(features, pad=self.tokenizer.pad_token_id, left=False)
        if features[0].target is not None:
            batch["labels"] = torch.tensor([feature.target for feature in features])
        return batch

    def loss(self, outputs, batch):
        logits = outputs["logits"].float()
        wanted = torch.nn.functional.one_hot(batch["labels"], logits.shape[1]).float()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, wanted, reduction="sum")
        return loss, len(logits)

    def decode(self, outputs, features):
        shares = outputs["logits"].double().sigmoid().tolist()
        names = self.head_config.labels
        return [{"vote": [name for name, share in zip(names, row) if share >= self.least]} for row in shares]

    def join(self, parts):
        return parts[0]

    def decision(self, answer):
        return "vote", answer["vote"]

    def margin(self, parts, answer):
        return float("inf")

    def metrics(self):
        return Metrics(self.head_config.measures or ("right",), higher_is_better=True, report="votes")
""",
    "schema.py": """
from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict


class Parameters(TypedDict, total=False):
    least: Annotated[float, Field(ge=0, le=1, description="A vote.")]


class Vote(TypedDict):
    vote: list[str]


def reply(row, answer, parameters: Parameters) -> Vote:
    return {"vote": answer["vote"]}
""",
    "render.py": """
def line(text, answer, head_config, *, terminal):
    return "-" if answer is None else f"{'+'.join(answer['vote'])}\\t{text}"
""",
    "model_card.py": """
def snippet(head_config, model_class):
    return "answer = 'a vote'\\n"


def facts(head_config, model_class):
    return ["Each label is its own vote."]
""",
    "report.py": """
def report(answers, rows, metrics, labels, loss):
    right = [answer["vote"] == [labels[row["label"]]] for answer, row in zip(answers, rows)]
    certain = sum(len(answer["vote"]) == 1 for answer in answers) / len(right)
    return {"right": sum(right) / len(right), "certain": certain}


def error_rows(answers, rows, numbers, labels):
    pairs = zip(numbers, answers, rows)
    return [{"row": n, "answered": a["vote"]} for n, a, row in pairs if a["vote"] != [labels[row["label"]]]]
""",
}


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """A run of the toy head, which is in the table as long as the module is tested."""
    folder = tmp_path_factory.mktemp("toy")
    (folder / "toy_head").mkdir()
    for name, source in FILES.items():
        (folder / "toy_head" / name).write_text(source, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(folder)
        patched.setattr(heads, "HEADS", (*heads.HEADS, SPEC))
        path = families.write_jsonl(folder / "rows.jsonl", families.classify_rows())
        config = {"train": str(path), "validation": str(path), "allow_leak": True, "epochs": 10, "lr": 3e-3, "batch_size": 8}
        yield workflow.finetune(str(families.folder("bert")), config=config, head="vote", out=folder / "run"), path


def test_toy_head_is_trained_and_evaluated(result):
    result, path = result
    assert result.metrics["validation"]["right"] == 1.0
    assert "Each label is its own vote." in (result.run.model / "README.md").read_text(encoding="utf-8")
    report = workflow.evaluate(result.run.path, path)
    assert report.metrics["right"] == 1.0 and report.errors == []


def test_toy_head_is_trained_by_a_metric_of_its_own(result, cli, tmp_path):
    _, path = result
    files = ["--train", path, "--validation", path, "--allow-leak", "--head", "vote", "--max-steps", 2, "--json"]
    command = ["finetune", families.folder("bert"), *files, "--out"]
    code, out, _ = cli(*command, tmp_path / "run", "--metric", "certain")
    metrics = json.loads(out)["metrics"]
    assert code == 0 and metrics["deciding"] == "certain" and 0 <= metrics["validation"]["certain"] <= 1
    code, _, message = cli(*command, tmp_path / "other", "--metric", "accuracy")
    assert code == 2 and message.endswith(
        "metric must be one of right, certain, loss for this task, not 'accuracy'. Correct --metric\n"
    )


def test_toy_head_predicts_a_file_and_is_rendered(result, cli, tmp_path):
    result, path = result
    workflow.predict(result.run.path, path, out=tmp_path / "out.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["vote"] for row in rows] == [[row["label"]] for row in rows] and len(rows) == 64
    text = rows[0]["text"]
    assert cli("infer", result.run.path, text) == (0, f"good\t{text}\n", "this model is to vote on a text\n")
    assert json.loads(cli("infer", result.run.path, text, "--json")[1])["answers"] == [{"text": text, "vote": ["good"]}]
    assert cli("finetune", "gpt2", "rows.csv", "--head", "vote")[2].startswith(
        "hftool: 'gpt2' is of the family gpt2, which cannot do 'vote'. Families that can: 'bert'"
    )


def test_toy_head_is_served(result):
    result, _ = result
    loaded = load(str(result.run.path))

    async def scene():
        def make(options):
            return make_predictor(loaded, options={**natural_options(loaded), **options}, packed=True)

        gate = type("Fake", (), {"gate": asyncio.Event()})()
        async with serving(gate, make=make) as batcher:
            app = make_app(service(served(make({}).head, batcher)))
            text = families.classify_rows()[1]["text"]
            assert (await call(app, "/predict", {"inputs": text}))[::2][:2] == (200, {"vote": ["bad"]})
            code, _, body, _ = await call(app, "/predict", {"inputs": [text], "parameters": {"least": 0.0}})
            assert (code, len(body[0]["vote"])) == (200, 2)
            assert "/predict" in (await call(app, "/openapi.json"))[2]["paths"]

    asyncio.run(scene())
