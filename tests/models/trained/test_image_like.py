"""Whatever can be an image: what each kind becomes, and what is refused."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models.trained.image_like import as_rgb, several
from tests.helpers.turned import STORED, save_turned
from utils.errors import InputError

PICTURE = np.random.default_rng(0).integers(0, 256, (10, 20, 3), np.uint8)
GREY = PICTURE[:, :, 0]
ALPHA = PICTURE[:, :, 1]
TENSOR = torch.from_numpy(PICTURE).permute(2, 0, 1)


def file_with(content: bytes) -> io.BytesIO:
    return io.BytesIO(content)


def png(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "png")
    return file.getvalue()


COLORED = {
    "array": PICTURE,
    "array with transparency": np.dstack((PICTURE, ALPHA)),
    "floats": PICTURE / 255,
    "floats of 32 bits": (PICTURE / 255).astype(np.float32),
    "integers of 64 bits": PICTURE.astype(np.int64),
    "PIL image": Image.fromarray(PICTURE),
    "PIL image with transparency": Image.fromarray(np.dstack((PICTURE, ALPHA))),
    "tensor": TENSOR,
    "tensor of floats": TENSOR / 255,
    "tensor of doubles": TENSOR.double() / 255,
    "tensor that learns": (TENSOR / 255).requires_grad_(),
    "tensor with transparency": torch.cat((TENSOR, TENSOR[:1])),
}
GREYS = {
    "array": GREY,
    "array with a channel": GREY[:, :, None],
    "array with transparency": np.dstack((GREY, ALPHA)),
    "floats": GREY / 255,
    "16 bits": GREY.astype(np.uint16) * 257,
    "PIL image": Image.fromarray(GREY),
    "PIL image of 16 bits": Image.fromarray(GREY.astype(np.uint16) * 257),
    "tensor": torch.from_numpy(GREY.copy()),
    "tensor with a channel": torch.from_numpy(GREY.copy())[None],
}


@pytest.mark.parametrize("kind", COLORED)
def test_colours_are_kept(kind):
    found = as_rgb(COLORED[kind])
    assert found.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(found), PICTURE)


@pytest.mark.parametrize("kind", GREYS)
def test_grey_gets_three_channels(kind):
    np.testing.assert_array_equal(np.asarray(as_rgb(GREYS[kind])), GREY[:, :, None].repeat(3, 2))


def test_16_bits_of_brain_floats_are_rounded():
    np.testing.assert_allclose(np.asarray(as_rgb((TENSOR / 255).bfloat16())).astype(int), PICTURE, atol=1)


def test_an_open_file_is_read(tmp_path):
    (tmp_path / "a.png").write_bytes(png(PICTURE))
    with (tmp_path / "a.png").open("rb") as file:
        np.testing.assert_array_equal(np.asarray(as_rgb(file)), PICTURE)
    np.testing.assert_array_equal(np.asarray(as_rgb(file_with(png(PICTURE)))), PICTURE)


def test_the_white_level_counts_for_arrays_too():
    np.testing.assert_array_equal(np.asarray(as_rgb(np.full((2, 2), 500, np.uint16), white=1000))[:, :, 0], 128)


def test_files_and_pil_images_are_turned_upright(tmp_path):
    for orientation in STORED:
        save_turned(PICTURE, tmp_path / "turned.png", orientation)
        with (tmp_path / "turned.png").open("rb") as file:
            for image in (tmp_path / "turned.png", file, Image.open(tmp_path / "turned.png")):
                np.testing.assert_array_equal(np.asarray(as_rgb(image)), PICTURE)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((9, 9, 5), np.uint8), r"with C of 1 to 4, not uint8 \(9, 9, 5\)"),
        (np.zeros(9, np.uint8), r"not uint8 \(9,\)"),
        (np.zeros((9, 9), bool), r"not bool \(9, 9\)"),
        (np.zeros((0, 9, 3), np.uint8), "has no pixels"),
        (np.full((9, 9), -1), "the image has values from -1 to 0: say with"),
        (np.full((9, 9, 3), 255.0), "the image has floats outside of 0 to 1: divide them"),
        (torch.zeros(9, 9, 3), r"an image as a tensor is \(H, W\) or \(C, H, W\) with C of 1 to 4, not \(9, 9, 3\)"),
        (torch.zeros(1, 3, 9, 9), r"a tensor of shape \(1, 3, 9, 9\) is a batch: give its images one by one"),
        (torch.full((3, 9, 9), float("nan")), "the image has floats outside of 0 to 1"),
        (None, "an image is a path, an open file, a PIL image, .*, not NoneType"),
        ("nowhere.jpg", r"nowhere\.jpg is missing"),
        (file_with(b"no image"), "the open file is no readable image"),
        (Image.open(file_with(png(PICTURE)[:300])), "the image cannot be read: "),
    ],
)
def test_what_is_no_image_is_refused(image, message):
    with pytest.raises(InputError, match=message):
        as_rgb(image)


@pytest.mark.parametrize("image", ["dog.jpg", Path("dog.jpg"), Image.fromarray(PICTURE), file_with(png(PICTURE))])
def test_a_single_image_in_the_place_of_several_is_refused(image):
    with pytest.raises(InputError, match=r"^masks takes several images, .*: for one, (dog\.jpg|the image), there is mask$"):
        several(image)
    assert several([image]) == [image]
