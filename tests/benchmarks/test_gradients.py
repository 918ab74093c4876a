"""How hard each loss pulls at the transformer."""

import json

import pytest
import torch

import train_trm
from benchmarks.ablation import gradients
from models import DiGLoss, build_dig
from tests.helpers.small_runs import SMALL
from utils.errors import InputError


def test_the_gradient_of_a_loss_is_that_of_the_backward_pass_for_the_transformer_alone():
    torch.manual_seed(0)
    sizes = {"image_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2}
    net = build_dig(3, feature_steps=2, feature_channels=8, **sizes)
    output = net(torch.randn(2, 3, 32, 32), torch.randn(2, 16, 4, 4))
    losses = DiGLoss(start_epoch=0)(output, output, torch.tensor([[1, 0, 1], [0, 1, 0]]), 0)
    found = gradients.gradient(losses["cam_consistency"], net)
    losses["cam_consistency"].backward()
    named = {name: p for name, p in net.named_parameters() if not name.startswith(gradients.LFCA_PREFIXES)}
    own = [p for p in named.values() if p.requires_grad]
    expected = [p.grad if p.grad is not None else torch.zeros_like(p) for p in own]
    torch.testing.assert_close(found, torch.cat([part.flatten() for part in expected]))
    assert found.norm() > 0


def test_the_losses_of_a_run_are_compared_with_loss_1(tmp_path, toy_voc):
    flags = f"--name run --experiments {tmp_path} --data-path {toy_voc} --epochs 1 --start_epoch 0 {SMALL}"
    train_trm.main(flags.split())
    gradients.main(f"--run {tmp_path / 'run'} --batches 1 --out {tmp_path / 'gradients.json'}".split())
    found = json.loads((tmp_path / "gradients.json").read_text())["losses"]
    assert list(found) == ["cls", "pred_diff", "cam_consistency", "cls_diff", "rcams_consistency"]
    assert [found["cls"][name] for name in ("share", "cosine")] == pytest.approx([1, 1])
    assert found["cam_consistency"]["share"] > 0
    assert all(abs(loss["cosine"]) <= 1 + 1e-5 for loss in found.values())


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"holds no run of train_trm\.py"):
        gradients.main(["--run", str(tmp_path)])
