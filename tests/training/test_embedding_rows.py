import torch
import transformers

from hftool.training.embedding_rows import EmbeddingRows, embedding_rows, gradients

SIZE = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 100}


def test_the_gradient_is_that_of_the_dense_backward_pass_at_every_step():
    torch.manual_seed(0)
    plain, sparse = torch.nn.Embedding(50, 4, padding_idx=0), torch.nn.Embedding(50, 4, padding_idx=0)
    sparse.load_state_dict(plain.state_dict())
    rows = EmbeddingRows(sparse)
    for step in range(3):
        for _ in range(2):  # batches that are added up
            ids = torch.randint(0, 50, (3, 5))
            for embedding in (plain, sparse):
                (embedding(ids) * torch.arange(60.0).view(3, 5, 4)).sum().backward()
        [taken] = gradients(sparse, rows)
        assert taken.shape[0] < 50 and sparse.weight.grad is None
        torch.testing.assert_close(taken.norm(), plain.weight.grad.norm())
        taken.mul_(step + 1.0)
        rows.store()
        torch.testing.assert_close(sparse.weight.grad, plain.weight.grad * (step + 1.0))
        plain.zero_grad()
        sparse.zero_grad()


def test_without_a_gradient_nothing_is_taken_or_stored():
    embedding = torch.nn.Embedding(5, 2)
    rows = EmbeddingRows(embedding)
    assert gradients(embedding, rows) == [] and gradients(embedding, None) == []
    rows.store()
    assert embedding.weight.grad is None


def test_an_embedding_that_is_also_the_output_layer_or_frozen_stays_as_it_is():
    tied = transformers.BertForMaskedLM(transformers.BertConfig(**SIZE))
    assert tied.get_output_embeddings().weight is tied.get_input_embeddings().weight
    frozen = transformers.BertModel(transformers.BertConfig(**SIZE))
    frozen.get_input_embeddings().weight.requires_grad_(False)
    assert embedding_rows(tied) is None and embedding_rows(frozen) is None
    assert embedding_rows(transformers.BertModel(transformers.BertConfig(**SIZE))) is not None
