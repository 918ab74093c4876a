"""Crops of images with their masks."""

import numpy as np
import pytest
import torch
from PIL import Image

from datasets.images import Visit
from datasets.segmentation import SegmentationImages, require_masks
from utils.cams.masks import write_mask
from utils.errors import InputError


@pytest.fixture
def pair(tmp_path):
    """An image whose red is ten times its mask's class, and a mask of every class."""
    mask = np.repeat(np.repeat(np.arange(20, dtype=np.uint8).reshape(4, 5), 10, 0), 10, 1)
    image = np.stack([10 * mask, mask, mask], 2)
    Image.fromarray(image).save(tmp_path / "image.png")
    write_mask(tmp_path / "mask.png", mask)
    return tmp_path


def images(folder, size=32, shorter_side=0, scale=(1, 1), jitter=0.0, seed=0) -> SegmentationImages:
    return SegmentationImages([folder / "image.png"], [folder / "mask.png"], 20, size, shorter_side, scale, jitter, seed)


@pytest.mark.parametrize("epoch", range(6))
def test_a_mask_goes_where_its_image_goes(pair, epoch):
    image, mask, index = images(pair)[Visit(epoch, 0)]
    assert (image.shape, mask.shape, index) == ((3, 32, 32), (32, 32), 0)
    assert image.dtype == mask.dtype == torch.uint8
    torch.testing.assert_close(image[1], mask)


def test_what_lies_beside_an_image_is_ignored(pair):
    image, mask, _ = images(pair, size=64)[Visit(0, 0)]
    beside = mask == 255
    assert beside.sum() == 64 * 64 - 40 * 50
    assert (image[:, beside] == 124).all()


def test_scaled_masks_hold_no_new_class(pair):
    for epoch in range(8):
        _, mask, _ = images(pair, size=64, scale=(0.5, 2))[Visit(epoch, 0)]
        assert set(mask.unique().tolist()) <= {*range(20), 255}


def test_crops_depend_on_seed_and_visit_alone(pair):
    one = images(pair, scale=(0.5, 2), jitter=0.4)[Visit(3, 0)]
    torch.rand(3)  # moves the global generator
    again = images(pair, scale=(0.5, 2), jitter=0.4)[Visit(3, 0)]
    assert torch.equal(one.image, again.image)
    assert torch.equal(one.mask, again.mask)
    for other in (images(pair, scale=(0.5, 2), jitter=0.4)[Visit(4, 0)], images(pair, scale=(0.5, 2), seed=1)[Visit(3, 0)]):
        assert not torch.equal(one.image, other.image)


def test_the_shorter_side_is_brought_to_a_size_first(pair):
    _, mask, _ = images(pair, size=96, shorter_side=80)[Visit(0, 0)]
    assert (mask != 255).any(1).sum() == 80


def test_colours_change_and_masks_do_not(pair):
    plain, coloured = (images(pair, size=64, jitter=jitter)[Visit(1, 0)] for jitter in (0.0, 0.4))
    assert torch.equal(plain.mask, coloured.mask)
    assert not torch.equal(plain.image.unique(), coloured.image.unique())


def test_masks_that_are_missing_are_counted(tmp_path):
    with pytest.raises(InputError, match=r"a\.png is missing, and so are 1 more of 2"):
        require_masks([tmp_path / "a.png", tmp_path / "b.png"])
