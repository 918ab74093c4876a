"""The multi-class-token transformer, against timm's DeiT and by its own properties."""

import pytest
import timm
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from models import build_dig, load_deit
from models.vit import MultiClassTokenViT

TINY = {"image_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 3, "num_heads": 2}


@pytest.fixture
def vit():
    torch.manual_seed(0)
    return MultiClassTokenViT(5, **TINY).eval()


@torch.no_grad()
def test_with_one_class_it_is_timms_deit():
    torch.manual_seed(0)
    theirs = timm.create_model("deit_small_patch16_224").eval()
    ours = build_dig(1, lfca=False).eval()
    load_deit(ours, theirs.state_dict())
    theirs.norm = nn.Identity()  # DiG's tokens are those before the final norm
    image = torch.randn(2, 3, 224, 224)

    expected = theirs.forward_features(image)  # (B, 1 + N, D)
    tokens = ours.forward_tokens(image)
    torch.testing.assert_close(tokens.class_tokens, expected[:, :1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(tokens.patch_tokens.flatten(2).transpose(1, 2), expected[:, 1:], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_attention_adds_up_over_all_blocks(vit):
    matrices = []
    for block in vit.blocks:
        block.attn.register_forward_hook(lambda module, _inputs, _output: matrices.append(module.kept[0]))
    tokens = vit.forward_tokens(torch.randn(1, 3, 32, 32))
    assert len(matrices) == 3
    torch.testing.assert_close(tokens.attention, sum(matrices)[:, :, 5:])


@torch.no_grad()
def test_queries_are_those_of_the_last_two_blocks_last_first(vit):
    queries = []
    for block in vit.blocks:
        block.attn.register_forward_hook(lambda module, _inputs, _output: queries.append(module.kept[1]))
    last, before_last = vit.forward_tokens(torch.randn(1, 3, 32, 32)).queries
    assert torch.equal(last, queries[-1])
    assert torch.equal(before_last, queries[-2])


@torch.no_grad()
def test_no_attention_matrix_outlives_the_pass(vit):
    vit.forward_tokens(torch.randn(1, 3, 32, 32))
    assert all(block.attn.kept is None for block in vit.blocks)


def test_attention_is_the_same_however_many_rows_are_computed_at_a_time(vit, monkeypatch):
    image = torch.randn(2, 3, 32, 32)  # 5 + 16 tokens
    results = []
    for rows in (21, 4):
        monkeypatch.setattr("models.attention.LocalizingAttention.query_rows", rows)
        vit.zero_grad()
        tokens = vit.forward_tokens(image)
        (tokens.attention.square().sum() + tokens.patch_tokens.square().sum()).backward()
        results.append((tokens.attention, tokens.patch_tokens, vit.blocks[0].attn.qkv.weight.grad))
    for whole, parts in zip(*results, strict=True):
        torch.testing.assert_close(parts, whole)


@torch.no_grad()
def test_the_attention_of_all_heads_is_never_there_at_once(vit, monkeypatch):
    monkeypatch.setattr("models.attention.LocalizingAttention.query_rows", 10)
    image = torch.randn(1, 3, 80, 80)  # L = 5 + 100 tokens, 2 heads
    with LargestTensor() as largest:
        vit.forward_tokens(image)
    assert largest.numel == 105 * 105  # averaged over heads


class LargestTensor(TorchDispatchMode):
    """Number of elements of the largest tensor that any operation gave meanwhile."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        self.numel = max([self.numel, *(t.numel() for t in tensors)])
        return result


def test_position_embedding_of_the_training_grid_is_the_parameter_itself(vit):
    assert vit.position_embedding(4, 4) is vit.pos_embed


@torch.no_grad()
@pytest.mark.parametrize(("h", "w"), [(1, 1), (3, 7), (9, 2)])
def test_position_embedding_fits_any_grid_and_keeps_the_class_positions(vit, h, w):
    position = vit.position_embedding(h, w)
    assert position.shape == (1, 5 + h * w, 16)
    assert torch.equal(position[:, :5], vit.pos_embed[:, :5])


@torch.no_grad()
def test_a_rest_smaller_than_a_patch_is_left_out(vit):
    image = torch.randn(1, 3, 39, 33)
    whole, cut = vit.forward_tokens(image), vit.forward_tokens(image[:, :, :32, :32])
    assert torch.equal(whole.patch_tokens, cut.patch_tokens)


@pytest.mark.parametrize("again", [False, True])
def test_no_attention_outlives_a_step(again):
    vit = MultiClassTokenViT(2, **TINY, grad_checkpoint=again).train()
    vit.forward_tokens(torch.randn(1, 3, 32, 32)).patch_tokens.sum().backward()
    assert [block.attn.kept for block in vit.blocks] == [None] * 3


def test_stochastic_depth_rises_linearly_from_zero():
    vit = MultiClassTokenViT(2, **TINY, drop_path=0.4)
    for name in ("drop_path1", "drop_path2"):
        assert [getattr(block, name).drop_prob for block in vit.blocks] == pytest.approx([0, 0.2, 0.4])


@pytest.mark.parametrize("wrong", [{"image_size": 33}, {"num_heads": 3}, {"depth": 1}])
def test_impossible_sizes_are_refused(wrong):
    with pytest.raises(ValueError, match=r"image size|heads|depth"):
        MultiClassTokenViT(2, **{**TINY, **wrong})
