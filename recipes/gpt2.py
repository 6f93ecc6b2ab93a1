"""GPT-2, which reads from left to right: it continues texts, and can be trained to label texts and to tag words.

Each verb is a function: load, tokenize, infer, finetune, evaluate, save, deploy, serve. `generate_by_hand` and `loss_by_hand`
show generation token by token, and what the loss compares. Run all of it with `python -m recipes.gpt2`, or make the file
yours with `hftool copy gpt2`.
"""

from typing import Any

import torch

import hftool
from hftool.engines.cache_argument import cache_name
from hftool.models import Loaded
from hftool.workflow.arguments import Model, Task

MODEL = "gpt2"  # openai-community/gpt2; any GPT-2 works here: a Hub id, a folder, a run
TASK = "wikitext"  # running text; any text works here: letters.txt, or a CSV with the columns prompt and completion


def load(model: Model = MODEL, **options: Any) -> Loaded:
    """Load a model with its tokenizer; options: head (generate, classify or tag), device, offline, fallback."""
    return hftool.load(model, **options)


tokenize = hftool.tokenize  # texts -> tokens, ids, attention mask, and the truncated tokens of each
infer = hftool.infer  # prompts -> the text after each; options: max_new_tokens, temperature, top_k, ... (hftool.SamplingParams)


def generate_by_hand(
    model: Loaded, prompt: str, *, max_new_tokens: int = 20, temperature: float = 0.0, top_k: int = 0, seed: int = 0
) -> list[int]:
    """Continue a prompt token by token, in plain torch -> the new ids, of which `model.tokenizer.decode` makes a text."""
    gpt2, end = model.model, model.tokenizer.eos_token_id
    generator = torch.Generator().manual_seed(seed)
    cache, tokens = None, list[int]()
    read = model.tokenizer(prompt)["input_ids"] or [end]  # <|endoftext|> stands before each text
    while len(tokens) < max_new_tokens:
        with torch.no_grad():  # reads the prompt, then one token at a time: the cache has keys and values of those before
            output = gpt2(torch.tensor([read], device=gpt2.device), use_cache=True, **{cache_name(): cache})
        cache = output[cache_name()]
        logits = output.logits[0, -1].cpu()  # (V,): the higher, the more likely is a token to be next
        if top_k:
            logits[logits < logits.topk(top_k).values[-1]] = -torch.inf
        if temperature == 0:
            token = int(logits.argmax())
        else:
            token = int(torch.multinomial((logits / temperature).softmax(dim=-1), 1, generator=generator))
        if token == end:
            break
        tokens.append(token)
        read = [token]
    return tokens


def finetune(
    model: Model = MODEL, task: Task = TASK, *, out: Any = None, offline: bool = False, fallback: bool = False, **knobs: Any
) -> hftool.Result:
    """Train on a task and keep the best checkpoint; knobs: head, columns, epochs, lr, batch_size, seed, ... (hftool.config)."""
    return hftool.finetune(model, task, config=knobs, out=out, offline=offline, fallback=fallback)


def loss_by_hand(model: Loaded, text: str) -> float:
    """The mean loss of a token, of which e**loss is the perplexity: each position predicts the token after it."""
    ids = torch.tensor([[*model.tokenizer(text)["input_ids"], model.tokenizer.eos_token_id]], device=model.model.device)
    with torch.no_grad():
        logits = model.model(ids).logits  # (1, T, V); the first token is not predicted, and nothing follows the last
    return torch.nn.functional.cross_entropy(logits[0, :-1], ids[0, 1:]).item()


evaluate = hftool.evaluate  # a run or a model -> metrics with their counts, and the wrong rows, worst first
save = hftool.save  # a run, a folder -> the folder, a plain Hugging Face model
deploy = hftool.deploy  # a run, to="onnx", "docker" or "kubernetes" -> a folder with the deployment. Extra [export]
serve = hftool.serve  # a list of models -> HTTP with a web page, until the process is stopped. Extra [serve]

if __name__ == "__main__":
    generator = load(fallback=True)  # fallback: without a network, a small model stands in
    print(generator.tokenizer.decode(generate_by_hand(generator, "Once upon a time", temperature=0.8, top_k=50)))
    result = finetune(fallback=True, epochs=2, lr=5e-4)
    report = evaluate(result)
    print("perplexity", report.metrics["perplexity"], "of", report.metrics["rows"], "rows")
    model = load(save(result, result.run.path / "saved"))
    prompts = ["Once upon a time", "The old woman"]
    print(tokenize(model, prompts)[0].tokens, "loss", loss_by_hand(model, prompts[0]))
    for prompt, answer in zip(prompts, infer(model, prompts, max_new_tokens=30, temperature=0.8), strict=True):
        print(prompt + answer["text"])
