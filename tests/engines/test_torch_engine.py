import pytest
import torch

from hftool.engines.torch import TorchEngine
from hftool.models import HeadConfig, load_model


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 0.0), ("bf16", 0.05)])
def test_logits_are_float32_without_gradient_and_equal_those_of_the_model(tiny_bert, precision, tolerance):
    model = load_model(
        tiny_bert, "AutoModelForSequenceClassification", head_config=HeadConfig(head="classify"), new_head=True
    ).model
    batch = {"input_ids": torch.tensor([[2, 7, 8, 3]]), "attention_mask": torch.ones(1, 4, dtype=torch.long)}
    expected = model(**batch).logits.detach()
    output = TorchEngine(model, precision=precision).forward({**batch, "labels": torch.tensor([99])}, ("logits",))
    assert set(output) == {"logits", "attention_mask"} and output["attention_mask"] is batch["attention_mask"]
    logits = output["logits"]
    assert logits.dtype == torch.float32 and not logits.requires_grad
    torch.testing.assert_close(logits, expected, rtol=tolerance, atol=tolerance)
    assert precision == "fp32" or not torch.equal(logits, expected)
