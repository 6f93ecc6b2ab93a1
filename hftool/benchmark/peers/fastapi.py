"""A typical FastAPI endpoint: one text per request, one request per model call, as `def` (a thread pool) or `async def`.

The server is this file, started as a program with the folder of a model, the variant and a port.
"""

import socket
import sys
import tempfile
import time
from typing import Any

from hftool.benchmark.arm import Arm
from hftool.benchmark.serve import PATH, START, ServeWork
from hftool.errors import DataError

HOST = "127.0.0.1"


def serve(work: ServeWork, variant: str) -> Arm:
    """The endpoint of the model. variant: def or async def."""
    loaded, port = work.infer.loaded, _free_port()
    folder = tempfile.mkdtemp()
    loaded.model.config.id2label = dict(enumerate(loaded.head_config.labels))
    loaded.model.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    server = work.start([sys.executable, "-m", __name__, folder, variant, str(port)])
    end = time.monotonic() + START
    while not _answers(port):
        if server.poll() is not None or time.monotonic() > end:
            raise DataError("the endpoint did not start")
        time.sleep(0.1)
    return work.arm(server, port, "fp32")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def run(folder: str, variant: str, port: int) -> None:
    """Serve until the process is stopped."""
    import torch
    import uvicorn
    from fastapi import Body, FastAPI
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    app = FastAPI()

    def _classify(text: str) -> list[dict[str, Any]]:
        with torch.inference_mode():
            logits = model(**tokenizer(text, truncation=True, return_tensors="pt")).logits[0]
        return [{"label": model.config.id2label[i], "score": score} for i, score in enumerate(logits.softmax(-1).tolist())]

    def _predict(inputs: str = Body(embed=True)) -> list[dict[str, Any]]:
        return _classify(inputs)

    async def _predict_in_loop(inputs: str = Body(embed=True)) -> list[dict[str, Any]]:
        return _classify(inputs)

    app.post(PATH)(_predict if variant == "def" else _predict_in_loop)
    uvicorn.run(app, host=HOST, port=port, log_level="warning", access_log=False)


if __name__ == "__main__":
    run(sys.argv[1], sys.argv[2], int(sys.argv[3]))
