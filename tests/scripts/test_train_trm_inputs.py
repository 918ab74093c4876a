"""Training of DiG with inputs that are missing, damaged or incomplete."""

import numpy as np
import pytest
import torch

from diffusion import build_denoiser
from models import build_dig
from tests.helpers.small_runs import train_small as train
from tests.helpers.toy_data import save_mask
from tests.helpers.weights import transformer_weights
from utils.errors import InputError


def test_a_missing_denoiser_says_what_else_will_do(tmp_path, toy_voc):
    with pytest.raises(InputError, match=r"model-140\.pt is missing\. .*train_diffusion\.py.*--diffusion_weights random"):
        train(tmp_path, toy_voc, "run", f"--diffusion_weights {tmp_path}/model-140.pt")


def test_a_missing_transformer_says_what_else_will_do(tmp_path, toy_voc):
    with pytest.raises(
        InputError, match=r"deit\.pth is missing\. .*https://dl\.fbaipublicfiles\.com/deit/.*--vit_weights timm"
    ):
        train(tmp_path, toy_voc, "run", f"--vit_weights {tmp_path}/deit.pth")


@pytest.mark.parametrize("spelling", ["model-140-pascal.pt", "model-140-pascal.pth", "model-140-pascal.ptht.pth"])
def test_the_published_denoiser_is_found_under_all_its_names(tmp_path, toy_voc, spelling):
    torch.manual_seed(0)
    torch.save({"step": 1, "model": build_denoiser(16).state_dict(), "ema": {}, "scaler": None}, tmp_path / spelling)
    folder = train(tmp_path, toy_voc, "run", f"--epochs 1 --diffusion_weights {tmp_path}/model-140-pascal.pt")
    assert f"{spelling}, width 16" in (folder / "log.txt").read_text()


@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"model": state}])
def test_a_deit_file_starts_the_transformer(tmp_path, toy_voc, wrap):
    deit = build_dig(1, lfca=False, image_size=32, patch_size=8, embed_dim=16, depth=2, num_heads=2).state_dict()
    deit = {name: value for name, value in deit.items() if not name.startswith("head")}
    torch.save(wrap(deit), tmp_path / "deit.pth")
    still = "--epochs 1 --warmup-epochs 0 --lr 0 --min-lr 0 --weight-decay 0"
    state = transformer_weights(train(tmp_path, toy_voc, "run", f"{still} --vit_weights {tmp_path}/deit.pth"))
    assert torch.equal(state["blocks.1.mlp.fc1.weight"], deit["blocks.1.mlp.fc1.weight"])
    assert torch.equal(state["cls_token"][:, 7:8], deit["cls_token"])


def test_a_deit_of_another_size_is_refused_by_name(tmp_path, toy_voc):
    torch.save({"cls_token": torch.zeros(1, 1, 8)}, tmp_path / "deit.pth")
    with pytest.raises(InputError, match=r"deit\.pth does not fit the network: .*is missing"):
        train(tmp_path, toy_voc, "run", f"--vit_weights {tmp_path}/deit.pth")


def test_too_few_images_for_a_batch_are_refused(tmp_path, toy_voc):
    with pytest.raises(InputError, match="fewer than --batch-size 64"):
        train(tmp_path, toy_voc, "run", "--batch-size 64")


def test_a_loss_that_is_not_finite_stops_the_run_and_leaves_the_last_checkpoint(tmp_path, toy_voc):
    with pytest.raises(InputError, match=r"epoch 1 step \d+: loss \w+ is (nan|inf)|no longer finite"):
        train(tmp_path, toy_voc, "run", "--epochs 3 --warmup-epochs 1 --lr 1e30")
    assert "stopped: InputError" in (tmp_path / "run" / "log.txt").read_text()
    state = transformer_weights(tmp_path / "run", 0)
    assert all(value.isfinite().all() for value in state.values())
    assert not (tmp_path / "run" / "ckpt" / "001net_trm.pth").exists()


def test_a_data_set_without_all_masks_is_trained_on_and_not_scored(tmp_path, toy_voc):
    (toy_voc / "SegmentationClass" / "2007_000001.png").unlink()
    log = (train(tmp_path, toy_voc, "run") / "log.txt").read_text()
    assert "1 of 4 images of train have no mask" in log
    assert "mIoU" not in log


def test_bad_masks_of_the_validation_list_are_named_before_training(tmp_path, toy_voc):
    for image_id in ("2007_000001", "2007_000002"):
        save_mask(np.ones((5, 6), np.uint8), toy_voc / "SegmentationClass" / f"{image_id}.png")
    with pytest.raises(
        InputError, match=r"2 of 4 masks cannot be used: \S+01\.png is 6 x 5 pixels, its image .*; \S+02\.png is"
    ):
        train(tmp_path, toy_voc, "run")
    assert not (tmp_path / "run" / "ckpt").exists()


def test_masks_under_another_suffix_are_told_to_be_none(tmp_path, toy_voc):
    for path in (toy_voc / "SegmentationClass").iterdir():
        path.rename(path.with_suffix(".tif"))
    log = (train(tmp_path, toy_voc, "run") / "log.txt").read_text()
    assert "4 of 4 images of train have no mask: nothing is scored during training; " in log
    assert "SegmentationClass holds 2007_000000.tif, and masks are files NAME.png" in log


def test_images_without_a_label_are_left_out_and_counted(tmp_path, toy_voc):
    first = sorted((toy_voc / "Annotations").iterdir())[0]
    first.write_text("<annotation></annotation>")
    ids = "\n".join(p.stem for p in sorted((toy_voc / "Annotations").iterdir()))
    (tmp_path / "all.txt").write_text(ids)
    log = (train(tmp_path, toy_voc, "run", f"--epochs 1 --train_list {tmp_path}/all.txt") / "log.txt").read_text()
    assert "1 left out for having no label" in log
