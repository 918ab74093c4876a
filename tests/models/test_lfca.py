"""Locality fusion cross attention."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from models.lfca import LFCA, ResidualBlock


@pytest.fixture
def lfca():
    torch.manual_seed(0)
    return LFCA(num_classes=2, embed_dim=16, feature_channels=24, channels=32, num_heads=8).eval()


@torch.no_grad()
def test_cross_attention_is_softmax_of_scaled_products(lfca):
    queries, kv = torch.randn(1, 6, 16), torch.randn(1, 32, 3, 3)
    q = lfca.norm_k(lfca.query(queries))[0]  # (L, D)
    k = lfca.norm_k(lfca.key(kv).flatten(2).mT)[0]  # (9, D)
    v = lfca.norm_v(lfca.value(kv).flatten(2).mT)[0]  # (9, K)
    expected = torch.cat(
        [
            torch.softmax(q[:, 2 * i : 2 * i + 2] @ k[:, 2 * i : 2 * i + 2].T / 2**0.5, dim=-1) @ v[:, 4 * i : 4 * i + 4]
            for i in range(8)
        ],
        dim=1,
    )
    torch.testing.assert_close(lfca.cross_attention(queries, kv)[0], expected)


@torch.no_grad()
def test_patches_come_out_on_the_grid_of_the_features(lfca):
    class_tokens, patches = lfca(torch.randn(2, 2 + 3 * 5, 16), (3, 5), torch.randn(2, 24, 4, 4))
    assert class_tokens.shape == (2, 2, 16)
    assert patches.shape == (2, 32, 4, 4)


@torch.no_grad()
def test_class_tokens_keep_their_raw_queries_as_residual(lfca):
    for layer in (lfca.mlp_c0, lfca.mlp_c1[2]):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    queries = torch.randn(1, 2 + 4, 16)
    class_tokens, _ = lfca(queries, (2, 2), torch.randn(1, 24, 2, 2))
    assert torch.equal(class_tokens, queries[:, :2])


@torch.no_grad()
def test_patches_keep_the_fused_features_as_residual(lfca):
    for layer in (lfca.mlp_p0, lfca.mlp_p1[2]):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    features = torch.randn(1, 24, 2, 2)
    _, patches = lfca(torch.randn(1, 2 + 4, 16), (2, 2), features)
    assert torch.equal(patches, lfca.diff_init(features))


@torch.no_grad()
def test_norms_have_the_papers_epsilons(lfca):
    assert {m.eps for m in lfca.diff_init.modules() if isinstance(m, nn.GroupNorm)} == {1e-5}
    assert {m.eps for m in (lfca.norm_k, lfca.norm_v, lfca.norm_p1, lfca.norm_c1)} == {1e-6}


@torch.no_grad()
def test_fused_features_are_non_negative_and_use_the_shortcut():
    torch.manual_seed(0)
    block = ResidualBlock(4, 8)
    nn.init.zeros_(block.convbn2[1].weight)
    x = torch.randn(1, 4, 5, 5)
    torch.testing.assert_close(block(x), F.relu(F.conv2d(x, block.branch.weight)))


@torch.no_grad()
def test_features_shared_by_all_steps_equal_features_repeated(lfca):
    queries, features = torch.randn(2, 2 + 4, 16), torch.randn(2, 8, 3, 3)
    for shared, repeated in zip(
        lfca(queries, (2, 2), features), lfca(queries, (2, 2), features.repeat(1, 3, 1, 1)), strict=True
    ):
        torch.testing.assert_close(shared, repeated)
