"""A classifier served by LitServe with batching, as in its documentation; benchmarks/serve_faults.py compares with it.

python benchmarks/serve_faults_litserve.py MODEL PORT
"""

import sys
from typing import Any

import litserve


class Classifier(litserve.LitAPI):
    """Classifies texts in batches of at most 32, collected for up to 10 ms."""

    def __init__(self, model: str) -> None:
        super().__init__(max_batch_size=32, batch_timeout=0.01)
        self.folder = model

    def setup(self, device: str) -> None:
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(self.folder)
        self.network = AutoModelForSequenceClassification.from_pretrained(self.folder, dtype=torch.float32).eval()

    def decode_request(self, request):  # LitServe derives the route from the annotation; without one it passes the JSON body
        return request["inputs"]

    def batch(self, inputs: list[Any]) -> list[Any]:
        return list(inputs)

    def predict(self, texts: list[Any]) -> list[Any]:
        import torch

        with torch.inference_mode():
            features = self.tokenizer(texts, truncation=True, padding=True, return_tensors="pt")
            probabilities = self.network(**features).logits.softmax(-1).tolist()
        names = self.network.config.id2label
        return [[{"label": names[i], "score": score} for i, score in enumerate(row)] for row in probabilities]

    def unbatch(self, output: list[Any]) -> list[Any]:
        return output

    def encode_response(self, output: Any) -> Any:
        return output


if __name__ == "__main__":
    server = litserve.LitServer(Classifier(sys.argv[1]), accelerator="cpu")
    server.run(host="127.0.0.1", port=int(sys.argv[2]), generate_client_file=False, log_level="warning")
