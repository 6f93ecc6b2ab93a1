"""RoBERTa, BERT with tokens of bytes: it labels texts and pairs, tags words, answers questions, fills masks, embeds.

Each verb is a function: load, tokenize, infer, finetune, evaluate, save, deploy, serve. `align_by_hand` and `tag_by_hand`
show how words become tokens and positions. Run all of it with `python -m recipes.roberta`, or make the file yours with
`hftool copy roberta`.
"""

from collections.abc import Sequence
from typing import Any

import torch

import hftool
from hftool.models import Loaded
from hftool.workflow.arguments import Model, Task

MODEL = "roberta"  # FacebookAI/roberta-base; any RoBERTa works here: a Hub id, a folder, a run
TASK = "wnut17"  # names in messages; any CoNLL file works here: names.conll


def load(model: Model = MODEL, **options: Any) -> Loaded:
    """Load a model with its tokenizer; options: head (classify, tag, answer, fill or embed), device, offline, fallback."""
    return hftool.load(model, **options)


tokenize = hftool.tokenize  # texts -> tokens, ids, attention mask, and the truncated tokens of each


def align_by_hand(model: Loaded, words: Sequence[str], tags: Sequence[int]) -> tuple[list[int], list[int]]:
    """Words with their tags -> token ids, and a label for each token: the tag at the first token of a word, else -100.

    A token may include the space before it: "Amina flew" is <s> Am ina Ġflew </s>. Its last character decides to which word it
    belongs. The loss ignores labels of -100. `finetune` also splits texts that are longer than max_length into windows.
    """
    owner = []  # for each character of the text, the index of its word; -1 for the space after a word
    for i, word in enumerate(words):
        owner += [i] * len(word) + [-1]
    encoded = model.tokenizer(" ".join(words), return_offsets_mapping=True)
    labels, last = [], -1
    for start, end in encoded["offset_mapping"]:  # of characters in the text; (0, 0) for <s> and </s>
        index = owner[end - 1] if start < end else -1
        labels.append(tags[index] if index > last else -100)
        last = max(index, last)
    return encoded["input_ids"], labels


def tag_by_hand(model: Loaded, words: Sequence[str]) -> list[str]:
    """The tag of each word, in plain torch: the best label at its first token."""
    ids, first = align_by_hand(model, words, range(len(words)))  # first: of each token, the index of a new word or -100
    roberta, offset = model.model, model.tokenizer.pad_token_id + 1
    # RoBERTa's positions start after the id of <pad>, which is 1: so 514 positions are enough for 512 tokens
    positions = torch.arange(offset, offset + len(ids), device=roberta.device)[None]  # (1, T)
    with torch.no_grad():
        logits = roberta(input_ids=torch.tensor([ids], device=roberta.device), position_ids=positions).logits  # (1, T, C)
    best = logits[0].argmax(dim=-1).tolist()
    return [model.head_config.labels[label] for label, index in zip(best, first, strict=True) if index >= 0]


infer = hftool.infer  # texts, or pairs of texts -> a label, entities, fills for a mask, or a vector for each


def finetune(
    model: Model = MODEL, task: Task = TASK, *, out: Any = None, offline: bool = False, fallback: bool = False, **knobs: Any
) -> hftool.Result:
    """Train on a task and keep the best checkpoint; knobs: head, columns, epochs, lr, batch_size, seed, ... (hftool.config)."""
    return hftool.finetune(model, task, config=knobs, out=out, offline=offline, fallback=fallback)


evaluate = hftool.evaluate  # a run or a model -> metrics with their counts, and the wrong rows, worst first
save = hftool.save  # a run, a folder -> the folder, a plain Hugging Face model
deploy = hftool.deploy  # a run, to="onnx", "docker" or "kubernetes" -> a folder with the deployment. Extra [export]
serve = hftool.serve  # a list of models -> HTTP with a web page, until the process is stopped. Extra [serve]

if __name__ == "__main__":
    filler = load(fallback=True)  # fallback: without a network, a small model on bundled sentences stands in
    for mask in infer(filler, ["The old man opened the <mask>."])[0]["masks"]:
        print(" ".join(fill["token"] for fill in mask["fills"]))
    result = finetune(fallback=True, epochs=10, batch_size=16)
    report = evaluate(result)
    print("entity F1", report.metrics["entity_f1"], "of", report.metrics["rows"], "rows")
    model = load(save(result, result.run.path / "saved"))
    sentences = ["Amina Okafor flew to Lisbon .", "It rained all day ."]
    print(tokenize(model, sentences)[0].tokens)
    for sentence, answer in zip(sentences, infer(model, sentences), strict=True):
        print(sentence, [f"{entity['type']}: {entity['text']}" for entity in answer["entities"]] or "no entities")
    print(tag_by_hand(model, sentences[0].split()))
