import pytest
import torch

from hftool.engines import token_layout
from hftool.engines.token_layout import TokenLayout

LENGTHS = {"padded": (9, 4, 4, 1), "equal": (5, 5, 5), "one row": (7,), "one token": (1, 1)}


def mask_of(lengths):
    return (torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]).long()


@pytest.fixture(params=LENGTHS.values(), ids=LENGTHS)
def mask(request):
    return mask_of(request.param)


def test_packing_keeps_the_tokens_alone_and_unpacking_puts_zeros_at_padding(mask):
    states = torch.randn(*mask.shape, 6)
    layout = TokenLayout(mask)
    packed = layout.pack(states)
    assert packed.shape == (layout.size, 6) and layout.size >= layout.tokens == int(mask.sum())
    assert not layout.is_padded or layout.size % token_layout.MULTIPLE == 0
    assert torch.equal(packed[: layout.tokens], states[mask.bool()]) and not packed[layout.tokens :].any()
    assert torch.equal(layout.unpack(packed), states * mask[..., None])
    assert torch.equal(packed[layout.first], states[:, 0])


def test_first_tokens_alone_are_unpacked_to_the_first_column(mask):
    layout, states = TokenLayout(mask), torch.randn(len(mask), 6)
    unpacked = layout.unpack(states)
    assert torch.equal(unpacked[:, 0], states) and not unpacked[:, 1:].any() and unpacked.shape[:2] == mask.shape


def test_heads_are_split_and_merged(mask):
    layout, states = TokenLayout(mask), torch.randn(*mask.shape, 6)
    heads = layout.split_heads(layout.pack(states), 2)
    expected = (states * mask[..., None]).unflatten(2, (2, 3)).transpose(1, 2)
    assert heads.is_contiguous() and torch.equal(heads, expected)
    assert torch.equal(layout.merge_heads(heads), layout.pack(states))
    merged = layout.merge_heads(torch.ones_like(heads))
    assert not merged[layout.tokens :].any()  # the gradients of no token


@pytest.mark.parametrize("short", [0, 100], ids=["keys last", "keys first"])
def test_the_bias_excludes_padding_from_attention(mask, monkeypatch, short):
    monkeypatch.setattr(token_layout, "SHORT", short)
    layout = TokenLayout(mask, torch.float32)
    products = torch.randn(len(mask), 2, mask.shape[1], mask.shape[1])
    scores = layout.to_scores(products)
    assert torch.equal(layout.from_scores(scores), products)
    found = layout.from_scores(torch.softmax(scores if layout.bias is None else scores + layout.bias, layout.key_dimension))
    torch.testing.assert_close(found, torch.softmax(products.masked_fill(mask[:, None, None] == 0, -torch.inf), -1))


def test_heads_of_several_projections_are_split_and_merged_at_once(mask):
    layout, states = TokenLayout(mask), torch.randn(*mask.shape, 6)
    packed = [layout.pack(states * factor) for factor in (1, 2, 3)]
    heads = layout.split_heads(torch.cat(packed, dim=1), 2, 3)
    assert torch.equal(heads, torch.cat([layout.split_heads(one, 2) for one in packed])) and heads.is_contiguous()
    assert torch.equal(layout.merge_heads(heads, 3), torch.cat(packed, dim=1))
