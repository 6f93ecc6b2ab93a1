"""T5, which generates a text from a text: summaries, translations; its encoder labels and embeds.

Each verb is a function: load, tokenize, infer, finetune, evaluate, save, deploy, serve. `generate_by_hand` and `loss_by_hand`
show prefix, encoder and decoder. Run all of it with `python -m recipes.t5`, or make the file yours with `hftool copy t5`.
"""

from typing import Any

import torch

import hftool
from hftool.models import Loaded
from hftool.workflow.arguments import Model, Task

MODEL = "t5"  # google-t5/t5-small; any T5 works here: a Hub id, a folder, a run
TASK = "dialogsum"  # conversations and their summaries; any file with two columns works here: letters.csv


def load(model: Model = MODEL, **options: Any) -> Loaded:
    """Load a model with its tokenizer; options: head (text2text, classify or embed), device, offline, fallback."""
    return hftool.load(model, **options)


tokenize = hftool.tokenize  # texts -> tokens, ids, attention mask, and the truncated tokens of each
infer = hftool.infer  # texts -> a text from each; options: max_new_tokens, temperature, num_beams, ... (hftool.SamplingParams)


def generate_by_hand(model: Loaded, source: str, *, max_new_tokens: int = 20) -> list[int]:
    """Generate a text from a text, in plain torch -> its token ids, of which `model.tokenizer.decode` makes a text."""
    t5 = model.model
    # the prefix names the task, such as "summarize: " or "translate English to German: "
    inputs = model.tokenizer(model.head_config.prefix + source, return_tensors="pt").to(t5.device)
    tokens = [t5.config.decoder_start_token_id]  # <pad>
    with torch.no_grad():
        encoded = t5.get_encoder()(**inputs)  # a vector for each token of the source, computed once: (1, T, H)
        while len(tokens) <= max_new_tokens:
            # the decoder reads what it has generated, and attends to the source; recipes/gpt2.py shows the cache
            decoder_inputs = torch.tensor([tokens], device=t5.device)
            output = t5(encoder_outputs=encoded, attention_mask=inputs["attention_mask"], decoder_input_ids=decoder_inputs)
            token = int(output.logits[0, -1].argmax())
            if token == model.tokenizer.eos_token_id:
                break
            tokens.append(token)
    return tokens[1:]


def finetune(
    model: Model = MODEL, task: Task = TASK, *, out: Any = None, offline: bool = False, fallback: bool = False, **knobs: Any
) -> hftool.Result:
    """Train on a task and keep the best checkpoint; knobs: head, columns, epochs, lr, batch_size, seed, ... (hftool.config)."""
    return hftool.finetune(model, task, config=knobs, out=out, offline=offline, fallback=fallback)


def loss_by_hand(model: Loaded, source: str, target: str) -> float:
    """The mean loss of a token of the target: the decoder reads the labels one position later, and predicts each in turn."""
    t5 = model.model
    inputs = model.tokenizer(model.head_config.prefix + source, return_tensors="pt").to(t5.device)
    labels = model.tokenizer(text_target=target, return_tensors="pt").to(t5.device)["input_ids"]  # Das Haus </s>: (1, U)
    start = torch.full_like(labels[:, :1], t5.config.decoder_start_token_id)
    decoder_inputs = torch.cat([start, labels[:, :-1]], dim=1)  # <pad> Das Haus
    with torch.no_grad():
        logits = t5(**inputs, decoder_input_ids=decoder_inputs).logits  # (1, U, V)
    return torch.nn.functional.cross_entropy(logits[0], labels[0]).item()


evaluate = hftool.evaluate  # a run or a model -> metrics with their counts, and the wrong rows, worst first
save = hftool.save  # a run, a folder -> the folder, a plain Hugging Face model
deploy = hftool.deploy  # a run, to="onnx", "docker" or "kubernetes" -> a folder with the deployment. Extra [export]
serve = hftool.serve  # a list of models -> HTTP with a web page, until the process is stopped. Extra [serve]

if __name__ == "__main__":
    result = finetune(fallback=True, epochs=2)  # fallback: without a network, a small model stands in
    report = evaluate(result)
    print("ROUGE-L", report.metrics["rougeL"], "of", report.metrics["rows"], "rows")
    model = load(save(result, result.run.path / "saved"))
    talk = "#Person1#: Is the shop open?\n#Person2#: Yes, until six.\n#Person1#: Good, I need bread."
    print(tokenize(model, [talk])[0].tokens)
    print(infer(model, [talk], max_new_tokens=30)[0]["text"])
    print(model.tokenizer.decode(generate_by_hand(model, talk, max_new_tokens=30)))
    print("loss", loss_by_hand(model, talk, "The shop is open until six."))
