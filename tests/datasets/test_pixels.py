"""Image files of every kind as upright RGB, and masks that turn with their images."""

import numpy as np
import pytest
from PIL import Image

from datasets.layouts.base import read_truth
from datasets.layouts.voc import VocLayout
from datasets.pixels import SIDEWAYS, turned_like, upright_size
from tests.helpers.pixels import pixels
from tests.helpers.toy_data import save_mask, toy_mask
from tests.helpers.turned import ORIENTATION, STORED, save_turned
from utils.errors import InputError
from utils.images import open_rgb

TURNED = (".jpg", ".png", ".webp", ".tif")
"""Formats that keep the orientation; of TIFF, Pillow already gives the upright size before it reads the pixels."""


def test_colours_are_read_as_they_are(tmp_path):
    Image.fromarray(pixels()).save(tmp_path / "a.png")
    np.testing.assert_array_equal(np.array(open_rgb(tmp_path / "a.png")), pixels())


def test_a_grey_jpeg_becomes_rgb(tmp_path):
    Image.fromarray(pixels()[:, :, 0]).save(tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as image:
        grey = np.array(image)
    rgb = open_rgb(tmp_path / "a.jpg")
    assert rgb.mode == "RGB"
    np.testing.assert_array_equal(np.array(rgb), np.stack([grey] * 3, 2))


@pytest.mark.parametrize(("mode", "suffix"), [("RGBA", "png"), ("P", "png"), ("LA", "png"), ("CMYK", "jpg"), ("1", "png")])
def test_images_of_every_mode_become_rgb(tmp_path, mode, suffix):
    Image.fromarray(pixels()).convert(mode).save(tmp_path / f"a.{suffix}")
    image = open_rgb(tmp_path / f"a.{suffix}")
    assert (image.mode, image.size) == ("RGB", (40, 30))


def test_a_missing_image_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.jpg is missing"):
        open_rgb(tmp_path / "gone.jpg")


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp"])
@pytest.mark.parametrize("share", [0, 0.3, 0.9])
def test_a_truncated_image_is_refused_by_name(tmp_path, suffix, share):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(pixels()).save(path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(InputError, match=rf"a\.{suffix} is no readable image"):
        open_rgb(path)


def test_a_text_file_is_no_image(tmp_path):
    (tmp_path / "a.jpg").write_text("no image")
    with pytest.raises(InputError, match=r"a\.jpg is no readable image"):
        open_rgb(tmp_path / "a.jpg")


def test_an_image_of_unreasonable_size_is_refused_by_name(tmp_path, monkeypatch):
    Image.fromarray(pixels()).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(InputError, match=r"a\.png is no readable image: Image size \(1200 pixels\) exceeds"):
        open_rgb(tmp_path / "a.png")


def test_a_16_bit_png_keeps_its_brightness(tmp_path):
    deep = np.arange(1200, dtype=np.uint16).reshape(30, 40) * 54
    Image.fromarray(deep).save(tmp_path / "a.png")
    image = open_rgb(tmp_path / "a.png")
    assert image.mode == "RGB"
    np.testing.assert_allclose(np.array(image)[:, :, 0], deep / 257, atol=1)


def test_colours_of_a_cmyk_jpeg_are_not_inverted(tmp_path):
    Image.new("RGB", (16, 16), (250, 20, 20)).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    red, green, blue = np.array(open_rgb(tmp_path / "a.jpg")).mean((0, 1))
    assert red > 200 > 90 > max(green, blue)


def test_colours_below_transparent_pixels_stay(tmp_path):
    colours = np.dstack([pixels(), np.zeros((30, 40), np.uint8)])
    Image.fromarray(colours).save(tmp_path / "a.png")
    np.testing.assert_array_equal(np.array(open_rgb(tmp_path / "a.png")), pixels())


def test_a_palette_with_transparency_becomes_its_colours(tmp_path):
    image = Image.fromarray(pixels()).convert("P")
    image.save(tmp_path / "a.png", transparency=3)
    np.testing.assert_array_equal(np.array(open_rgb(tmp_path / "a.png")), np.array(image.convert("RGB")))


@pytest.mark.parametrize("name", ["a.eps", "a.jpg", "a.png"])
def test_a_program_is_no_image_whatever_its_name(tmp_path, name):
    (tmp_path / name).write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")
    with pytest.raises(InputError, match="is no readable image"):
        open_rgb(tmp_path / name)


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_an_image_is_turned_upright(tmp_path, orientation, suffix):
    path = tmp_path / f"a.{suffix}"
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](pixels())))
    stored.save(path, exif=exif, lossless=True)
    np.testing.assert_array_equal(np.array(open_rgb(path)), pixels())


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_is_none_turns_nothing(tmp_path, orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(pixels()).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(np.array(open_rgb(tmp_path / "a.png")), pixels())
    assert upright_size(tmp_path / "a.png") == (30, 40)


@pytest.mark.parametrize("suffix", TURNED)
@pytest.mark.parametrize("orientation", STORED)
def test_the_upright_size_is_that_of_the_upright_image(tmp_path, orientation, suffix):
    path = tmp_path / f"a{suffix}"
    save_turned(pixels(), path, orientation)
    assert upright_size(path) == np.array(open_rgb(path)).shape[:2] == (30, 40)


@pytest.mark.parametrize("suffix", TURNED)
@pytest.mark.parametrize("orientation", STORED)
def test_a_mask_drawn_upright_stays(tmp_path, orientation, suffix):
    save_turned(pixels(), tmp_path / f"a{suffix}", orientation)
    mask = toy_mask(40, 30, ("cat", "dog"))
    np.testing.assert_array_equal(turned_like(mask, tmp_path / f"a{suffix}"), mask)


@pytest.mark.parametrize("suffix", TURNED)
@pytest.mark.parametrize("orientation", SIDEWAYS)
def test_a_mask_drawn_as_the_image_is_stored_is_turned(tmp_path, orientation, suffix):
    save_turned(pixels(), tmp_path / f"a{suffix}", orientation)
    mask = toy_mask(40, 30, ("cat", "dog"))
    stored = np.ascontiguousarray(STORED[orientation](mask))
    np.testing.assert_array_equal(turned_like(stored, tmp_path / f"a{suffix}"), mask)


def test_a_mask_without_a_readable_image_stays(tmp_path):
    mask = toy_mask(40, 30, ("cat",))
    (tmp_path / "a.jpg").write_text("no image")
    for name in ("a.jpg", "gone.jpg"):
        assert turned_like(mask, tmp_path / name) is mask


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("drawn", ["upright", "as stored"])
def test_image_and_mask_of_a_data_set_have_one_size(toy_voc, orientation, drawn):
    mask = toy_mask(40, 30, ("cat", "dog"))
    save_turned(pixels(), toy_voc / "JPEGImages" / "2007_000001.jpg", orientation)
    as_drawn = STORED[orientation](mask) if drawn == "as stored" and orientation in SIDEWAYS else mask
    save_mask(np.ascontiguousarray(as_drawn), toy_voc / "SegmentationClass" / "2007_000001.png")
    np.testing.assert_array_equal(read_truth(VocLayout(toy_voc), "2007_000001"), mask)


def test_a_mask_of_neither_size_is_refused_with_both(toy_voc):
    save_turned(pixels(), toy_voc / "JPEGImages" / "2007_000001.jpg", 6)
    save_mask(toy_mask(41, 30, ("cat",)), toy_voc / "SegmentationClass" / "2007_000001.png")
    with pytest.raises(InputError, match=r"2007_000001\.png is 41 x 30 pixels, its image 40 x 30"):
        read_truth(VocLayout(toy_voc), "2007_000001")
