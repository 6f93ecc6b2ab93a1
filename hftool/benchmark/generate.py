"""Texts that are generated token by token, greedily: GPT-2 and T5."""

import dataclasses
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from hftool.benchmark.arm import Arm, Counts, Outcome, bytes_of, shares
from hftool.benchmark.floor import Shape
from hftool.benchmark.job import OURS, Job
from hftool.benchmark.rows import rows_of
from hftool.data.readers.tables import Row
from hftool.engines.kv_cache import end_ids, start_id
from hftool.errors import UsageError
from hftool.heads.protocol import Batch
from hftool.inference.generation import generate
from hftool.models import Loaded
from hftool.registry.heads import head_spec
from hftool.sampling import SamplingParams
from hftool.workflow._load import load, make_predictor, trained

Texts = list[list[int]]  # the tokens of each row, without the end token
EXACT = (OURS, f"{OURS} fp32")
EXACT_GAP, GAP = 1e-5, 0.05  # of the largest logit, at the first other token


@dataclasses.dataclass
class GenerateWork:
    """A model and the prompts that it continues, or the texts that it answers."""

    job: Job
    loaded: Loaded
    rows: Sequence[Row]
    origin: str

    @functools.cached_property
    def batches(self) -> list[Batch]:
        """The prompts in batches: input_ids and attention_mask (B, T)."""
        head = make_predictor(self.loaded, {"sampling": {"max_new_tokens": self.job.max_new_tokens}}).head
        features = head.encode(list(self.rows))
        parts = [features[i : i + self.job.batch] for i in range(0, len(features), self.job.batch)]
        collated = [head.collate(part) for part in parts]
        return [{name: batch[name] for name in ("input_ids", "attention_mask")} for batch in collated]

    def ours(self, variant: str) -> Arm:
        """hftool with a number format."""
        loaded = dataclasses.replace(self.loaded, precision=variant)
        engine = make_predictor(loaded, packed=True).engine
        sampling = SamplingParams(max_new_tokens=self.job.max_new_tokens)

        def _texts(batch: Batch) -> Texts:
            return [list(text.ids) for (text,) in generate(engine, batch, sampling, tokenizer=loaded.tokenizer)]

        return self.arm(_texts, engine.number_format)

    def arm(self, texts: Callable[[Batch], Texts], number_format: str) -> Arm:
        """The arm of a function that generates the texts of a batch."""
        counts, most = Counts(), self.job.max_new_tokens

        def _run() -> Outcome:
            start = time.perf_counter()
            found = [texts(batch) for batch in self.batches]
            seconds = time.perf_counter() - start
            for batch, rows in zip(self.batches, found, strict=True):
                counts.add(batch["attention_mask"])
                counts.forwards += min(most, max(map(len, rows)) + 1) - 1
            rows = [row for part in found for row in part]
            return Outcome(rows, sum(min(most, len(row) + 1) for row in rows), seconds)

        weights = Shape.of(self.loaded.model).step()[0]
        return Arm(_run, number_format, weights * bytes_of(number_format), counts)

    def plain(self, batch: Batch) -> Texts:
        """The texts of model.generate in fp32."""
        from transformers import GenerationConfig

        model = self.loaded.model
        ends = list(end_ids(model)) or None
        given: dict[str, Any] = {"decoder_start_token_id": start_id(model)} if model.config.is_encoder_decoder else {}
        given |= {"eos_token_id": ends, "pad_token_id": self.loaded.tokenizer.pad_token_id}
        make: Any = GenerationConfig  # it carries no types
        settings = make(max_new_tokens=self.job.max_new_tokens, **given)
        with torch.inference_mode():
            rows = model.generate(**batch, generation_config=settings)
        first = 1 if model.config.is_encoder_decoder else batch["input_ids"].shape[1]
        return [_until(row, ends or []) for row in rows[:, first:].tolist()]

    def facts(self) -> dict[str, Any]:
        """The prompts, and what a token needs: operations, and weights that a step reads once for all rows of a batch."""
        shape = Shape.of(self.loaded.model)
        read, operations = shape.step()
        tokens = sum(int(batch["attention_mask"].sum()) for batch in self.batches)
        return {
            "rows": len(self.rows),
            "from": self.origin,
            "tokens": round(tokens / len(self.rows), 1),
            "head": self.loaded.head_config.head,
            "batch": self.job.batch,
            "gflop": operations / 1e9,
            "weights_of_unit": read / min(self.job.batch, len(self.rows)),
            "step_megabytes": {name: round(read * bytes_of(name) / 1e6, 1) for name in ("fp32", "bf16", "int8")},
        }

    @functools.cached_property
    def expected(self) -> Texts:
        """The texts of model.generate in fp32."""
        return [row for batch in self.batches for row in self.plain(batch)]

    def compare(self, arm: str, outputs: Any) -> dict[str, Any]:
        """The share of texts that are the same, and the gap of the logits at the first other token of the others."""
        gap = max(self._gaps(outputs))
        most = EXACT_GAP if arm in EXACT else GAP
        fault = f"its first other token lies at a gap of {gap:.4f} of the largest logit" if gap > most else ""
        return {"same": shares(self.expected, outputs), "gap": gap, "fault": fault}

    def _gaps(self, outputs: Texts) -> Iterator[float]:
        """For each text the gap of the fp32 logits at its first other token, as a share of the largest logit."""
        prompts = [row[mask.bool()] for batch in self.batches for row, mask in zip(*batch.values(), strict=True)]
        end = next(iter(end_ids(self.loaded.model)), -1)  # -1: never compared, as all texts have the same length
        for prompt, one, other in zip(prompts, self.expected, outputs, strict=True):
            pairs = list(zip([*one, end], [*other, end], strict=False))
            first = next((i for i, (a, b) in enumerate(pairs) if a != b), None)
            if first is None:
                yield 0.0
                continue
            a, b = pairs[first]
            logits = self._logits(prompt, one[:first])
            yield float((logits[a] - logits[b]).abs() / logits.abs().max())

    def _logits(self, prompt: torch.Tensor, before: list[int]) -> torch.Tensor:
        """The logits (V,) of the token after a prompt and the tokens before it."""
        model, known = self.loaded.model, torch.tensor([before], dtype=torch.long)
        with torch.inference_mode():
            if model.config.is_encoder_decoder:
                start = torch.tensor([[start_id(model)]])
                found = model(input_ids=prompt[None], decoder_input_ids=torch.cat([start, known], dim=1))
            else:
                found = model(torch.cat([prompt[None], known], dim=1))
        logits: torch.Tensor = found.logits[0, -1]
        return logits

    def close(self) -> None:
        """Nothing to stop."""


def _until(row: list[int], ends: Sequence[int]) -> list[int]:
    """The tokens before the first end token."""
    return row[: next((i for i, token in enumerate(row) if token in ends), len(row))]


def open_work(job: Job) -> GenerateWork:
    """The model and the prompts of a job.

    Raises:
        UsageError: The model does not generate.
        HftoolError: What `load` raises.
    """
    loaded = trained(load(job.model, device="cpu", offline=job.offline, fallback=job.fallback), None)
    if not head_spec(loaded.head_config.head).generates:
        raise UsageError(f"a model that is to {loaded.head_config.head} generates no text", f"hftool bench infer {job.model}")
    rows, _, origin = rows_of(loaded, job.file, job.rows)
    return GenerateWork(job, loaded, rows, origin)
