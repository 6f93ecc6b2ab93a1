import pytest
import torch
import transformers

from hftool.training.embedding_rows import EmbeddingRows, embedding_rows
from hftool.training.optimizer import scale_and_clip

SIZE = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 100}


def test_the_gradient_is_that_of_the_dense_backward_pass_at_every_step():
    torch.manual_seed(0)
    plain, sparse = torch.nn.Embedding(50, 4, padding_idx=0), torch.nn.Embedding(50, 4, padding_idx=0)
    sparse.load_state_dict(plain.state_dict())
    rows = EmbeddingRows(sparse)
    for clip in (0.0, 1.0, 1e-3):
        for _ in range(2):  # batches that are added up
            ids = torch.randint(0, 50, (3, 5))
            for one in (plain, rows):
                (one(ids) * torch.arange(60.0).view(3, 5, 4)).sum().backward()
        assert sparse.weight.grad.is_sparse
        norms = [scale_and_clip([module.weight], 3, clip) for module in (plain, sparse)]
        assert sparse.weight.grad.is_sparse and norms[1] == pytest.approx(norms[0])
        rows.store()
        assert not sparse.weight.grad.is_sparse and bool(sparse.weight.grad.any())
        torch.testing.assert_close(sparse.weight.grad, plain.weight.grad)
        plain.zero_grad()
        sparse.zero_grad()


def test_without_a_gradient_or_with_a_dense_one_nothing_is_stored():
    module = torch.nn.Embedding(5, 2)
    rows = EmbeddingRows(module)
    rows.store()
    assert module.weight.grad is None
    module(torch.tensor([1])).sum().backward()
    dense = module.weight.grad
    rows.store()
    assert module.weight.grad is dense


def test_an_embedding_that_is_also_the_output_layer_or_frozen_stays_as_it_is():
    tied = transformers.BertForMaskedLM(transformers.BertConfig(**SIZE))
    assert tied.get_output_embeddings().weight is tied.get_input_embeddings().weight
    frozen = transformers.BertModel(transformers.BertConfig(**SIZE))
    frozen.get_input_embeddings().weight.requires_grad_(False)
    assert embedding_rows(tied) is None and embedding_rows(frozen) is None
    assert embedding_rows(transformers.BertModel(transformers.BertConfig(**SIZE))) is not None
