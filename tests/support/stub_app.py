"""The server's application over fixed answers: the web page is tested against it."""

import asyncio
import contextlib
import socket
import threading
import time

import numpy as np

from support import families


class Created:
    """A batcher whose answers are made up. fault: what it raises instead."""

    ready, waiting, retry_after = True, 0, 1

    def __init__(self, answer):
        self.answer, self.fault, self.submitted = answer, None, []
        self.gate = threading.Event()
        self.gate.set()

    async def submit(self, rows, *, options, timeout, on_token=None, on_tokenized=None):
        self.submitted.append((list(rows), dict(options)))
        if self.fault is not None:
            raise self.fault
        if isinstance(self.answer, list):  # token ids of a text, one by one
            for token in self.answer:
                on_token(0, token)
                await asyncio.sleep(0)
                while not self.gate.is_set():
                    await asyncio.sleep(0.005)
            return [{"text": self.text, "finish": "stop", "ends": [("stop", len(self.answer))]}]
        return [self.answer(row) for row in rows]


def labels(row):
    shares = {"positive": 0.9, "negative": 0.1} if "warm" in row["text"] else {"positive": 0.2, "negative": 0.8}
    best = max(shares, key=shares.get)
    return {
        "label": best,
        "probability": shares[best],
        "probabilities": shares,
        **({"cut": 7} if "long" in row["text"] else {}),
    }


def entities(row):
    text = row["text"]
    found = [(word, text.index(word)) for word in ("ann", "rome") if word in text]
    return {"entities": [{"text": w, "type": f"<i>{w}", "start": i, "end": i + len(w), "probability": 0.75} for w, i in found]}


def span(row):
    start = row["context"].find("rome")
    found = (
        {"start": start, "end": start + 4, "probability": 0.5}
        if start >= 0
        else {"start": None, "end": None, "probability": 0.6}
    )
    text = "rome" if start >= 0 else ""
    return {"answer": text, **found, "candidates": [{"text": text, **found}]}


def words(row):
    path = row["text"].index("[MASK]")
    fills = [{"token": "cat", "probability": 0.5}, {"token": "dog", "probability": 0.25}]
    return {"text": row["text"], "masks": [{"start": path, "end": path + 6, "fills": fills}]}


def vector(row):
    return {"score": 0.5} if "text_pair" in row else {"embedding": np.array([0.6, 0.8, 0.0], dtype=np.float32)}


MODELS = {  # name -> family, card, answer
    "films": ("bert", {"head": "classify", "labels": ("positive", "negative"), "columns": {"text": "text"}}, labels),
    "pairs": ("bert", {"head": "classify", "labels": ("a", "b"), "columns": {"text": "a", "text_pair": "b"}}, labels),
    "stars": ("bert", {"head": "classify", "problem_type": "regression", "columns": {"text": "a"}}, lambda _: {"score": 3.25}),
    "names": ("bert", {"head": "tag", "labels": ("O", "B-PER")}, entities),
    "where": ("bert", {"head": "answer"}, span),
    "gaps": ("bert", {"head": "fill"}, words),
    "vectors": ("bert", {"head": "embed"}, vector),
    "stories": ("gpt2", {"head": "generate"}, [1]),
}


def served(name):
    from hftool.heads import get_head
    from hftool.models import HeadConfig, load_tokenizer, read_model_config
    from hftool.server.protocols.served_model import ServedModel

    kind, head_config, answer = MODELS[name]
    folder = families.folder(kind)
    config = read_model_config(folder)
    tokenizer = load_tokenizer(folder, config)
    head = get_head(tokenizer, HeadConfig(**head_config), config)
    batcher = Created(answer)
    if isinstance(answer, list):
        batcher.text = " went to <b>rome</b> with a cat"
        batcher.answer = tokenizer(batcher.text, add_special_tokens=False)["input_ids"]
    facts = {"head": head_config["head"], "family": kind, "labels": list(head_config.get("labels", ()))}
    return ServedModel(name=name, head=head, batcher=batcher, version="v1", facts=facts)


@contextlib.contextmanager
def answering(names, keys=()):
    """The app on its own port -> its address, and the batchers by name."""
    import uvicorn

    from hftool.server.http.app import Service, make_app
    from hftool.server.limits import Limits
    from hftool.server.prometheus import Stats

    models = {name: served(name) for name in names}
    app = make_app(Service(models=models, limits=Limits(), stats=Stats(), keys=keys))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off", ws="none"))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/", {name: one.batcher for name, one in models.items()}
        finally:
            server.should_exit = server.force_exit = True
            thread.join(10)
