"""The mimetic start of a transformer."""

import pytest
import torch

from models import build_dig, init_mimetic
from models.mimetic import sinusoidal_positions


@pytest.fixture
def net():
    torch.manual_seed(0)
    net = build_dig(3, lfca=False, image_size=32, patch_size=4, embed_dim=64, depth=2, num_heads=4)
    init_mimetic(net)
    return net


def test_query_key_products_of_every_head_are_near_an_identity_of_the_heads_rank(net):
    for block in net.blocks:
        query, key, _ = block.attn.qkv.weight.view(3, 4, 16, 64).unbind()
        for q, k in zip(query, key, strict=True):
            product = q.T @ k  # (D, D)
            assert torch.linalg.matrix_rank(product) == 16
            assert 0.15 < product.diagonal().mean() < 0.6
            assert product.diagonal().mean() > 3 * product.fill_diagonal_(0).abs().mean()


def test_value_projection_products_are_near_a_negative_identity(net):
    for block in net.blocks:
        product = (block.attn.proj.weight @ block.attn.qkv.weight[128:]).detach()
        assert product.diagonal().mean() == pytest.approx(-0.4, abs=0.1)
        assert product.fill_diagonal_(0).mean().abs() < 0.01


def test_a_patch_attends_to_patches_like_itself(net):
    """An image of two halves: attention stays in the own half."""
    image = torch.zeros(1, 3, 32, 32)
    image[..., 16:] = 2.0
    net.pos_embed.data.zero_()
    attention = net.eval()(image).patch_attention[0].view(8, 8, 8, 8).detach()
    own = attention[:, :4, :, :4].sum() + attention[:, 4:, :, 4:].sum()
    assert own > 2 * (attention.sum() - own)


def test_positions_near_each_other_are_alike():
    positions = sinusoidal_positions(8, 64).view(8, 8, 64)
    likeness = (positions @ positions[3, 3]) / 32
    assert likeness[3, 3] == pytest.approx(1)
    assert likeness[3, 4] > likeness[3, 5] > likeness[3, 7]
    assert likeness[4, 3] == pytest.approx(likeness[3, 4].item())


def test_the_same_seed_gives_the_same_start():
    def start():
        torch.manual_seed(1)
        net = build_dig(2, lfca=False, image_size=32, patch_size=8, embed_dim=16, depth=2, num_heads=2)
        init_mimetic(net)
        return torch.cat([parameter.flatten() for parameter in net.parameters()])

    assert torch.equal(start(), start())
