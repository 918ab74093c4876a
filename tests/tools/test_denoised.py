"""How well a denoiser denoises: that the numbers are right, and that the same command gives the same."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from diffusion import build_denoiser
from tests.helpers.toy_data import make_toy_voc, write_lines
from tools.denoised import BLUR_SIGMAS, main, noised_and_denoised, psnr, size_of
from utils.errors import InputError


class Oracle(torch.nn.Module):
    """A network that knows the image, and predicts the v that leads to it."""

    def __init__(self, denoiser, images):
        super().__init__()
        self.tables = denoiser.sqrt_alphas_cumprod, denoiser.sqrt_one_minus_alphas_cumprod
        self.images = images

    def forward(self, x, step):
        signal, sigma = (table[step][:, None, None, None] for table in self.tables)
        return (signal * x - (2 * self.images - 1)) / sigma


@pytest.fixture
def grey() -> torch.Tensor:
    """Images far from black and white, so that little noise clips nothing."""
    return torch.full((4, 3, 32, 32), 0.5)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Photographs, and a denoiser that knows nothing."""
    root = tmp_path_factory.mktemp("denoised")
    make_toy_voc(root / "VOC2012")
    torch.manual_seed(0)
    torch.save({"model": build_denoiser(8, 32).state_dict()}, root / "model.pt")
    return root


def run(place: Path, out: Path, *flags: str) -> dict:
    small = "--steps 5 300 --image-size 32 --samples 2 --sample-steps 2 --count 3 --rows 2 --device cpu"
    paths = ["--weights", str(place / "model.pt"), "--data", str(place / "VOC2012" / "JPEGImages"), "--out", str(out)]
    main([*paths, *small.split(), *flags])
    return json.loads((out / "denoised.json").read_text())


def test_psnr_is_that_of_the_error():
    images = torch.zeros(2, 3, 4, 4)
    errors = torch.tensor([0.1, 0.01])[:, None, None, None]
    assert psnr(images + errors, images).tolist() == pytest.approx([20, 40], abs=1e-3)


@pytest.mark.parametrize("step", [0, 20, 100])
def test_the_noise_is_that_of_the_step(grey, step):
    denoiser = build_denoiser(8, 32).eval()
    ratio = (denoiser.sqrt_one_minus_alphas_cumprod / denoiser.sqrt_alphas_cumprod)[step].item() / 2
    found = psnr(noised_and_denoised(denoiser, grey, step, seed=0)["noisy"], grey).mean().item()
    assert found == pytest.approx(-20 * math.log10(ratio), abs=0.15)


@pytest.mark.parametrize("step", [1, 100, 900])
def test_a_denoiser_that_knows_the_image_finds_it(step):
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    denoiser = build_denoiser(8, 32)
    denoiser.model = Oracle(denoiser, images)
    assert psnr(noised_and_denoised(denoiser, images, step, seed=0)["denoised"], images).min() > 50


def test_the_blur_is_the_best_of_all_and_wider_for_more_noise(grey):
    denoiser = build_denoiser(8, 32).eval()
    images = grey + 0.2 * torch.linspace(-1, 1, 32).mul(9).sin()
    little, much = (noised_and_denoised(denoiser, images, step, seed=0) for step in (2, 300))
    assert BLUR_SIGMAS[0] == little["sigma"] < much["sigma"]
    assert psnr(much["blurred"], images).mean() > psnr(much["noisy"], images).mean() + 3


def test_scores_and_pictures_are_written(place, tmp_path, capsys):
    content = run(place, tmp_path)
    assert [*content["psnr_db"]] == ["5", "300"]
    assert (content["images"], content["image_size"]) == (3, 32)
    assert all({"noisy", "blurred", "denoised", "blur_sigma_px"} == {*row} for row in content["psnr_db"].values())
    printed = capsys.readouterr().out
    assert all(f"{row['denoised']:.2f}" in printed for row in content["psnr_db"].values())
    with Image.open(tmp_path / "denoised.png") as picture, Image.open(tmp_path / "samples.png") as samples:
        assert picture.width > 5 * 128  # itself, and for both steps noisy and denoised
        assert samples.width > 2 * 128


def test_the_same_command_gives_the_same_and_another_seed_does_not(place, tmp_path):
    first, again = (run(place, tmp_path / name) for name in "ab")
    other = run(place, tmp_path / "c", "--seed", "1")
    assert first == again
    for name in ("denoised.png", "samples.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
        assert (tmp_path / "a" / name).read_bytes() != (tmp_path / "c" / name).read_bytes()
    assert first["psnr_db"] != other["psnr_db"]


def test_only_the_photographs_of_a_list_count(place, tmp_path):
    ids = write_lines(tmp_path / "held_out.txt", "2007_000003", "2007_000005")
    assert run(place, tmp_path, "--list", str(ids))["images"] == 2


def test_no_samples_are_drawn_where_none_are_wanted(place, tmp_path):
    run(place, tmp_path, "--samples", "0")
    assert not (tmp_path / "samples.png").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--weights", "nothing.pt"], r"nothing\.pt"),
        (["--data", "nowhere"], "nowhere"),
        (["--steps", "5", "5"], "must all differ"),
        (["--steps", "1000"], "at most 999"),
        (["--image-size", "30"], "multiple of 8"),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_line(place, tmp_path, flags, message):
    with pytest.raises(InputError, match=message):
        run(place, tmp_path / "out", *flags)
    assert not (tmp_path / "out").exists()


def test_a_list_of_other_photographs_is_refused(place, tmp_path):
    ids = write_lines(tmp_path / "other.txt", "2012_000001")
    with pytest.raises(InputError, match=r"holds no photograph of .*other\.txt"):
        run(place, tmp_path / "out", "--list", str(ids))


@pytest.mark.parametrize(("name", "size"), [("model-lite.pt", 64), ("model-toy.pt", 32), ("model-140-pascal.pt", 224)])
def test_the_size_is_that_of_the_recipe_which_looks_for_the_file(name, size):
    assert size_of(Path("somewhere") / name) == size


def test_pictures_hold_the_photographs_themselves(place, tmp_path):
    run(place, tmp_path)
    picture = np.array(Image.open(tmp_path / "denoised.png"))
    assert (picture != 255).any(2).sum() > 2 * 5 * 100 * 100  # two rows of five pictures
