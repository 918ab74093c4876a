"""Transfer from a DeiT with one class token."""

import pytest
import torch

from models import build_dig, imagenet_normalize, load_deit

TINY = {"image_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2}


@pytest.fixture
def deit():
    """A tiny DeiT: one class, random values, an ImageNet classifier."""
    torch.manual_seed(0)
    state = {k: torch.randn_like(v) for k, v in build_dig(1, lfca=False, **TINY).state_dict().items() if k[:4] != "head"}
    return state | {"head.weight": torch.randn(1000, 16), "head.bias": torch.randn(1000)}


def test_every_class_starts_from_the_one_class_token(deit):
    net = build_dig(4, lfca=False, **TINY)
    load_deit(net, deit)
    for c in range(4):
        assert torch.equal(net.cls_token[0, c], deit["cls_token"][0, 0])
        assert torch.equal(net.pos_embed[0, c], deit["pos_embed"][0, 0])
    assert torch.equal(net.pos_embed[0, 4:], deit["pos_embed"][0, 1:])
    assert torch.equal(net.blocks[1].mlp.fc2.weight, deit["blocks.1.mlp.fc2.weight"])


def test_the_classifier_and_lfca_keep_their_own_values(deit):
    net = build_dig(4, feature_steps=1, feature_channels=8, **TINY)
    before = {name: value.clone() for name, value in net.state_dict().items() if name.startswith(("head", "LFCA", "diff"))}
    load_deit(net, deit)
    assert all(torch.equal(net.state_dict()[name], value) for name, value in before.items())


def test_patch_positions_are_resized_to_another_grid(deit):
    net = build_dig(4, lfca=False, **{**TINY, "image_size": 64})
    deit["pos_embed"][:, 1:] = 3.0
    load_deit(net, deit)
    assert net.pos_embed.shape == (1, 4 + 64, 16)
    torch.testing.assert_close(net.pos_embed[:, 4:], torch.full((1, 64, 16), 3.0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("cls_token"), "cls_token is missing"),
        (lambda s: s.update(extra=torch.zeros(1)), "extra is not known"),
        (lambda s: s.update({"blocks.0.norm1.weight": torch.zeros(3)}), r"blocks.0.norm1.weight is \(3,\), not \(16,\)"),
    ],
)
def test_what_does_not_fit_is_named(deit, change, message):
    change(deit)
    with pytest.raises(ValueError, match=message):
        load_deit(build_dig(4, lfca=False, **TINY), deit)


def test_imagenet_statistics_become_zero_and_one():
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None].expand(3, 2, 2)
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    torch.testing.assert_close(imagenet_normalize(mean), torch.zeros(3, 2, 2))
    torch.testing.assert_close(imagenet_normalize((mean + std)[None]), torch.ones(1, 3, 2, 2))
