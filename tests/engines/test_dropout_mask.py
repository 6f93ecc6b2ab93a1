import pytest
import torch

from hftool.engines.dropout_mask import add_dropped, draw_mask, mask_gradient


@pytest.mark.parametrize("p", [0.1, 0.5, 1e-3, 0.99])
def test_the_share_of_zeros_is_p_and_the_scale_keeps_the_mean(p):
    torch.manual_seed(0)
    mask, scale = draw_mask(torch.Size((1000, 1001)), p)
    share = 1 - float(mask.float().mean())
    assert abs(share - p) < 4 * (p * (1 - p) / mask.numel()) ** 0.5 + 1e-5
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    assert (1 - round(p * 65536) / 65536) * scale == pytest.approx(1.0)


def test_elements_are_dropped_independently():
    """A pair is dropped together with a chance of p * p, at any distance within a random word and between words."""
    torch.manual_seed(0)
    dropped = 1 - draw_mask(torch.Size((2**21,)), 0.25)[0].float()
    for distance in (1, 2, 3, 4, 8, 64):
        together = float((dropped[distance:] * dropped[:-distance]).mean())
        assert together == pytest.approx(0.0625, abs=2e-3)


def test_masks_come_from_the_default_generator():
    torch.manual_seed(3)
    state = torch.get_rng_state()
    one, two = draw_mask(torch.Size((5, 7)), 0.3)[0], draw_mask(torch.Size((5, 7)), 0.3)[0]
    assert not torch.equal(one, two)
    torch.set_rng_state(state)
    assert torch.equal(draw_mask(torch.Size((5, 7)), 0.3)[0], one)


def test_a_sum_with_dropout_and_its_gradient():
    residual, states = torch.randn(2, 64, 32, dtype=torch.bfloat16).unbind()
    summed, mask, scale = add_dropped(residual, states, 0.5)
    torch.testing.assert_close(summed, residual + states * mask * scale)
    torch.testing.assert_close(mask_gradient(states, mask, scale), states * mask * scale)
    summed, mask, scale = add_dropped(residual, states, 0.0)
    assert mask is None and torch.equal(summed, residual + states) and mask_gradient(states, mask, scale) is states
