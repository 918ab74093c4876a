"""Training of the denoiser: its file format in both directions, repetition, refusals."""

from pathlib import Path

import numpy as np
import pytest
import torch
from denoising_diffusion_pytorch import GaussianDiffusion, Trainer, Unet
from PIL import Image

import train_diffusion
from tests.helpers.small_runs import SMALL_DENOISER
from tests.helpers.weights import equal
from utils.errors import InputError


@pytest.fixture
def folder(tmp_path) -> Path:
    """Ten small images of several kinds, one of them in a sub-folder."""
    rng = np.random.default_rng(0)
    images = tmp_path / "images"
    (images / "deep").mkdir(parents=True)
    for i in range(10):
        shape = (20 + i, 30) if i % 3 == 0 else (20 + i, 30, 3)
        path = images / ("deep" if i == 9 else "") / f"{i}.{'png' if i % 2 else 'jpg'}"
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(path)
    return images


def train(tmp_path: Path, images: Path, name: str, extra: str = "--steps 4") -> dict:
    """Trains and returns what the finished file holds."""
    out = tmp_path / f"{name}.pt"
    train_diffusion.main(
        f"--name {name} --experiments {tmp_path} --data {images} --out {out} {SMALL_DENOISER} {extra}".split()
    )
    return torch.load(out, weights_only=True)


def their_trainer(tmp_path: Path) -> Trainer:
    """The library's trainer around a network of the same size; it wants a hundred images."""
    images = tmp_path / "hundred"
    images.mkdir(exist_ok=True)
    for i in range(100):
        Image.fromarray(np.full((16, 16, 3), i, np.uint8)).save(images / f"{i}.png")
    diffusion = GaussianDiffusion(Unet(dim=8, flash_attn=False), image_size=16)
    return Trainer(diffusion, str(images), results_folder=str(tmp_path), calculate_fid=False, num_samples=4)


def test_the_file_has_the_published_format(tmp_path, folder):
    content = train(tmp_path, folder, "run")
    assert set(content) == {"step", "model", "opt", "ema", "scaler", "version"}
    assert content["step"] == 4
    assert content["scaler"] is None


def test_the_library_resumes_from_our_file(tmp_path, folder):
    ours = train(tmp_path, folder, "model-7")
    trainer = their_trainer(tmp_path)
    trainer.load(7)
    assert trainer.step == 4
    assert equal(ours["model"], trainer.model.state_dict())
    average = {k.removeprefix("ema_model."): v for k, v in trainer.ema.state_dict().items() if k.startswith("ema_model.")}
    assert equal({k: ours["ema"][f"ema_model.{k}"] for k in average}, average)


def test_we_resume_from_the_librarys_file(tmp_path, folder):
    trainer = their_trainer(tmp_path)
    trainer.step = 2
    trainer.save(1)
    (tmp_path / "run" / "ckpt").mkdir(parents=True)
    (tmp_path / "model-1.pt").rename(tmp_path / "run" / "ckpt" / "last.pth")
    train(tmp_path, folder, "other", "--steps 1")
    (tmp_path / "other" / "options.json").rename(tmp_path / "run" / "options.json")
    content = train(tmp_path, folder, "run", "--steps 2 --resume")
    assert equal(content["model"], trainer.model.state_dict())
    assert train(tmp_path, folder, "run", "--steps 3 --resume")["step"] == 3


def test_training_lowers_the_loss(tmp_path, folder):
    train(tmp_path, folder, "run", "--steps 60 --lr 2e-3 --print-freq 20")
    losses = [
        float(line.split()[-1]) for line in (tmp_path / "run" / "log.txt").read_text().splitlines() if " loss " in line
    ]
    assert len(losses) == 3
    assert losses[-1] < losses[0] / 2


def test_grids_of_samples_are_written_at_intervals(tmp_path, folder):
    train(tmp_path, folder, "run", "--steps 4 --sample-every 2")
    grids = sorted((tmp_path / "run" / "samples").iterdir())
    assert [grid.name for grid in grids] == ["000002.png", "000004.png"]
    assert Image.open(grids[0]).size == (32, 32)


def test_the_same_seed_gives_the_same_bits_whatever_the_workers(tmp_path, folder):
    runs = [train(tmp_path, folder, f"workers{n}", f"--steps 5 --num_workers {n}")["model"] for n in (0, 2)]
    assert equal(*runs)


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(tmp_path, folder):
    whole = train(tmp_path, folder, "whole", "--steps 7")
    train(tmp_path, folder, "cut", "--steps 3")  # in the middle of an epoch of two steps
    cut = train(tmp_path, folder, "cut", "--steps 7 --resume")
    assert equal(whole["model"], cut["model"])
    assert equal(whole["ema"], cut["ema"])


def test_activations_that_are_computed_again_change_no_bit_even_at_a_resume(tmp_path, folder):
    whole = train(tmp_path, folder, "whole", "--steps 4")
    train(tmp_path, folder, "again", "--steps 2 --grad_checkpoint")
    assert equal(whole["model"], train(tmp_path, folder, "again", "--steps 4 --resume")["model"])


def test_parts_of_a_batch_take_the_same_steps_up_to_rounding(tmp_path, folder):
    # With a width of 8, GroupNorm would have one channel in each group and the gradient of a bias before it none.
    whole, parts = (
        train(tmp_path, folder, name, f"--steps 4 --dim 16 --lr 1e-4 {flag}")
        for name, flag in (("whole", ""), ("parts", "--accum 2"))
    )
    apart = max((a - b).abs().max() for a, b in zip(whole["model"].values(), parts["model"].values(), strict=True))
    assert 0 < apart < 1e-5


def test_parts_that_are_not_equal_are_refused(tmp_path, folder):
    with pytest.raises(InputError, match="--accum 3 does not divide the 4 images of a step"):
        train(tmp_path, folder, "run", "--accum 3")


@pytest.mark.parametrize("crop", ["crop", "resize"])
def test_both_ways_to_a_square_train(tmp_path, folder, crop):
    assert train(tmp_path, folder, "run", f"--steps 1 --crop {crop}")["step"] == 1


def test_bfloat16_trains_the_float32_weights(tmp_path, folder):
    content = train(tmp_path, folder, "run", "--steps 2 --amp bf16")
    assert {value.dtype for value in content["model"].values()} == {torch.float32}


def test_float16_on_a_cpu_is_refused(tmp_path, folder):
    with pytest.raises(InputError, match="--amp fp16 needs a GPU"):
        train(tmp_path, folder, "run", "--amp fp16")


def test_a_finished_denoiser_is_not_overwritten_by_accident(tmp_path, folder):
    train(tmp_path, folder, "run")
    with pytest.raises(InputError, match=r"run\.pt exists: name another file with --out"):
        train(tmp_path, folder, "other", f"--steps 3 --out {tmp_path}/run.pt")


def test_the_same_command_after_the_end_changes_nothing(tmp_path, folder):
    first = train(tmp_path, folder, "run")
    again = train(tmp_path, folder, "run")
    assert again["step"] == first["step"]
    assert all(torch.equal(first["model"][name], again["model"][name]) for name in first["model"])


def test_a_folder_without_images_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty holds no image"):
        train(tmp_path, tmp_path / "empty", "run")


def test_a_broken_image_is_named(tmp_path, folder):
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(InputError, match=r"broken\.jpg is no readable image"):
        train(tmp_path, folder, "run", "--steps 3 --batch-size 11")


def test_a_denoiser_is_not_resumed_on_other_images(tmp_path, folder):
    train(tmp_path, folder, "run")
    (folder / "0.jpg").rename(folder / "z.jpg")
    with pytest.raises(InputError, match=r"last\.pth is of other training images"):
        train(tmp_path, folder, "run")
