"""Training of DiG on a pretrained trunk, and with stand-ins for the denoiser."""

import numpy as np
import pytest
import torch

import infer_trm
import train_trm
from models import build_dig, load_cam_model
from tests.helpers.small_runs import train_small as train
from tests.helpers.stopped import stop_in_second_epoch
from tests.helpers.weights import equal, transformer_weights
from utils.errors import InputError
from utils.options.training import TrainOptions

STEM = "--stem test_efficientnet --stem_weights none --patch_size 16 --input_size 32 --print_freq 1"


def test_a_frozen_stem_stays_as_it_was_and_a_learning_one_does_not(tmp_path, toy_voc):
    frozen, learning = (
        train(tmp_path, toy_voc, name, f"--epochs 2 {STEM} --stem_lr {share}") for name, share in (("a", 0), ("b", 0.1))
    )
    weight = "patch_embed.trunk.conv_stem.weight"
    assert torch.equal(transformer_weights(frozen, 0)[weight], transformer_weights(frozen, 1)[weight])
    assert not torch.equal(transformer_weights(learning, 0)[weight], transformer_weights(learning, 1)[weight])


def test_frozen_stages_need_a_stem_that_learns(tmp_path, toy_voc):
    with pytest.raises(InputError, match="--stem-frozen keeps stages of a stem that learns: it needs --stem-lr above 0"):
        train(tmp_path, toy_voc, "run", f"{STEM} --stem_frozen 1")


def test_a_stem_learns_at_its_share_of_the_rate(toy_voc):
    options = TrainOptions(
        name="x", vit_weights="none", stem="test_efficientnet", stem_lr=0.1, embed_dim=16, num_heads=2, depth=2, epochs=4
    )
    net = build_dig(2, lfca=False, **options.architecture)
    optimizer = train_trm.build_optimizer(net, options)
    train_trm.build_scheduler(optimizer, options).step(3)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    stem = net.patch_embed
    assert rates[id(stem.trunk.conv_stem.weight)] == pytest.approx(0.1 * rates[id(stem.proj.weight)])
    assert decays[id(stem.trunk.bn1.weight)] == 0 < decays[id(stem.trunk.conv_stem.weight)]
    assert len(rates) == len([p for p in net.parameters() if p.requires_grad])


def test_a_run_with_a_stem_that_was_stopped_ends_with_the_same_bits(tmp_path, toy_voc, monkeypatch):
    flags = f"--epochs 2 --guided_from 1 --start_epoch 1 {STEM} --stem_lr 0.1 --stem_frozen 2"
    whole = train(tmp_path, toy_voc, "whole", flags)

    stop_in_second_epoch(monkeypatch, lambda: train(tmp_path, toy_voc, "cut", flags))
    train_trm.main(f"--name cut --experiments {tmp_path} --resume".split())
    assert equal(transformer_weights(whole, 1), transformer_weights(tmp_path / "cut", 1))


def test_inference_and_python_need_no_flag_for_a_stem(tmp_path, toy_voc):
    run = train(tmp_path, toy_voc, "run", f"--epochs 1 {STEM}")
    infer_trm.main(f"--name run --experiments {tmp_path} --dict --device cpu --num_workers 0".split())
    dicts = sorted((run / "dict").glob("*.npy"))
    model = load_cam_model(run, device="cpu")
    assert model.net.patch_embed.name == "test_efficientnet"
    for path in dicts:
        written = np.load(path, allow_pickle=True).item()
        cams = model.cam(toy_voc / "JPEGImages" / f"{path.stem}.jpg", [model.classes[c] for c in written])
        for c, cam in written.items():
            np.testing.assert_array_equal(cams[model.classes[c]], cam)
    assert dicts


def test_a_stem_beside_weights_of_a_whole_transformer_is_refused():
    with pytest.raises(InputError, match=r"--stem takes --vit-weights mimetic or none, not deit\.pth"):
        TrainOptions(name="x", stem="efficientnet_lite0", vit_weights="deit.pth")
    with pytest.raises(InputError, match="--stem-levels must ascend, got 4 3"):
        TrainOptions(name="x", stem="efficientnet_lite0", vit_weights="none", stem_levels=(4, 3))


@pytest.mark.parametrize("guide", ["blur", "image", "stem"])
def test_stand_ins_guide_a_resumed_run_as_one_that_was_not_stopped(tmp_path, toy_voc, guide):
    flags = f"--epochs 2 --start_epoch 0 {STEM} --guide {guide}"
    whole = train(tmp_path, toy_voc, "whole", flags)
    train(tmp_path, toy_voc, "part", f"{flags} --until 1")
    train(tmp_path, toy_voc, "part", flags)
    assert equal(transformer_weights(whole, 1), transformer_weights(tmp_path / "part", 1))
    plain = train(tmp_path, toy_voc, "plain", f"--epochs 2 --start_epoch 0 {STEM}")
    assert not equal(transformer_weights(whole, 1), transformer_weights(plain, 1))


def test_features_of_a_stem_need_one():
    with pytest.raises(InputError, match="--guide stem takes the features of --stem, which is not given"):
        TrainOptions(name="x", guide="stem")
