"""CTranslate2 with weights of 8 bits: the encoder of a BERT under transformers' own head, GPT-2 and T5."""

import functools
import importlib
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers.modeling_outputs import BaseModelOutputWithPoolingAndCrossAttentions as EncoderOutput

from hftool.benchmark.arm import Arm
from hftool.benchmark.generate import GenerateWork
from hftool.benchmark.infer import InferWork
from hftool.benchmark.peers.forward import Batch, ForwardEngine
from hftool.engines.kv_cache import end_ids
from hftool.errors import UsageError

CLASSES = {"bert": "BertModel"}  # model type -> the class of the encoder that it converts
GENERATORS = ("gpt2", "t5", "mt5")


def infer(work: InferWork, variant: str) -> Arm:
    """The encoder converted, and the head in torch. variant: int8."""
    import transformers

    ctranslate2, model = importlib.import_module("ctranslate2"), work.loaded.model
    kind = model.config.model_type
    if kind not in CLASSES:
        raise UsageError(f"CTranslate2 converts the encoders of {', '.join(CLASSES)}, not of {kind}")
    plain = getattr(transformers, CLASSES[kind])(model.config)  # with a pooler, which the converter needs
    encoder = getattr(model, model.base_model_prefix, model)
    plain.load_state_dict(encoder.state_dict(), strict=False)
    plain.config.position_embedding_type = "absolute"  # transformers has no other since 5.0, and no longer says so
    engine = ctranslate2.Encoder(str(convert(plain, work.loaded.tokenizer, variant)), **settings(variant))

    def _hidden_states(input_ids: torch.Tensor, attention_mask: torch.Tensor, **more: Any) -> EncoderOutput:
        lengths = attention_mask.sum(1).tolist()
        ids = [row[:length] for row, length in zip(input_ids.tolist(), lengths, strict=True)]
        kinds = more.get("token_type_ids")
        given = {} if kinds is None else {"token_type_ids": [r[:n] for r, n in zip(kinds.tolist(), lengths, strict=True)]}
        found = torch.from_numpy(_array(engine.forward_batch(ids, **given).last_hidden_state))
        pooled = encoder.pooler(found) if encoder.pooler is not None else None
        return EncoderOutput(last_hidden_state=found, pooler_output=pooled)

    encoder.forward = _hidden_states

    def _outputs(batch: Batch, names: Sequence[str]) -> dict[str, Any]:
        with torch.inference_mode():
            found = model(**batch)
        return {name: found[name] for name in names}

    return work.arm_of_engine(ForwardEngine(_outputs), variant)


def generate(work: GenerateWork, variant: str) -> Arm:
    """The model converted. variant: int8."""
    ctranslate2, model, tokenizer = importlib.import_module("ctranslate2"), work.loaded.model, work.loaded.tokenizer
    kind = model.config.model_type
    if kind not in GENERATORS:
        raise UsageError(f"CTranslate2 converts the generators {', '.join(GENERATORS)}, not {kind}")
    folder, most = str(convert(model, tokenizer, variant)), work.job.max_new_tokens
    least = 0 if end_ids(model) else most  # a model without an end token never ends
    if model.config.is_encoder_decoder:
        translator = ctranslate2.Translator(folder, **settings(variant))
        limits = {"max_decoding_length": most, "min_decoding_length": least, "beam_size": 1}
        return work.arm(_texts(tokenizer, functools.partial(_translated, translator, limits)), variant)
    generator = ctranslate2.Generator(folder, **settings(variant))
    limits = {"max_length": most, "min_length": least, "include_prompt_in_result": False}
    return work.arm(_texts(tokenizer, functools.partial(_continued, generator, limits)), variant)


def _texts(tokenizer: Any, answer: Callable[[list[list[str]]], list[list[str]]]) -> Callable[[Batch], list[list[int]]]:
    """Token ids in and out of a function on tokens."""

    def _continue(batch: Batch) -> list[list[int]]:
        pairs = zip(batch["input_ids"], batch["attention_mask"].bool(), strict=True)
        prompts = [tokenizer.convert_ids_to_tokens(row[mask].tolist()) for row, mask in pairs]
        return [tokenizer.convert_tokens_to_ids(row) for row in answer(prompts)]

    return _continue


def _translated(translator: Any, limits: dict[str, Any], texts: list[list[str]]) -> list[list[str]]:
    return [found.hypotheses[0] for found in translator.translate_batch(texts, **limits)]


def _continued(generator: Any, limits: dict[str, Any], prompts: list[list[str]]) -> list[list[str]]:
    """Continue prompts in one batch; beside one of one token 4.8.5 returns the others' own tokens: then by length."""
    lengths = {len(prompt) for prompt in prompts}
    answers: list[list[str]] = [[] for _ in prompts]
    for some in [{length} for length in sorted(lengths)] if min(lengths) == 1 else [lengths]:
        rows = [i for i, prompt in enumerate(prompts) if len(prompt) in some]
        for i, found in zip(rows, generator.generate_batch([prompts[i] for i in rows], **limits), strict=True):
            answers[i] = found.sequences[0]
    return answers


def settings(variant: str) -> dict[str, Any]:
    """The options of an engine with this number format, on as many threads as torch has."""
    return {"device": "cpu", "compute_type": variant, "intra_threads": torch.get_num_threads()}


def convert(model: Any, tokenizer: Any, variant: str) -> Path:
    """The folder of a converted model."""
    converters = importlib.import_module("ctranslate2.converters")
    folder = Path(tempfile.mkdtemp())
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    converters.TransformersConverter(str(folder)).convert(str(folder / variant), quantization=variant)
    return folder / variant


def _array(view: Any) -> Any:
    import numpy as np

    return np.array(view)
