"""Label images: what is read, what is refused, and what is written."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.helpers.shared import VOC_MINI, needs_voc_mini
from tests.helpers.toy_data import save_mask
from utils.cams.masks import read_mask, voc_palette, write_mask
from utils.errors import InputError

MASK = np.array([[0, 1, 20], [255, 5, 0]], np.uint8)


def test_a_palette_image_is_read_as_indices(tmp_path):
    save_mask(MASK, tmp_path / "a.png")
    mask = read_mask(tmp_path / "a.png", (2, 3), 20)
    np.testing.assert_array_equal(mask, MASK)
    assert mask.dtype == np.uint8


def test_a_grey_image_is_read_as_indices(tmp_path):
    Image.fromarray(MASK).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png", (2, 3), 20), MASK)


def test_a_palette_image_of_few_bits_is_read_as_indices(tmp_path):
    image = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8))
    image.putpalette([0, 0, 0, 128, 0, 0])
    image.save(tmp_path / "a.png", bits=1)
    assert read_mask(tmp_path / "a.png", None, 1).tolist() == [[0, 1], [1, 0]]


def test_any_size_is_taken_where_none_is_asked_for(tmp_path):
    save_mask(MASK, tmp_path / "a.png")
    assert read_mask(tmp_path / "a.png", None, 20).shape == (2, 3)


def test_a_mask_of_another_size_than_its_image_is_refused_with_both(tmp_path):
    save_mask(MASK, tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a\.png is 3 x 2 pixels, its image 2 x 3"):
        read_mask(tmp_path / "a.png", (3, 2), 20)


def test_a_class_beyond_the_data_set_is_refused(tmp_path):
    save_mask(MASK, tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a\.png holds class 20; there are 19"):
        read_mask(tmp_path / "a.png", (2, 3), 19)


def test_the_ignored_value_is_no_class(tmp_path):
    save_mask(np.full((2, 2), 255, np.uint8), tmp_path / "a.png")
    assert (read_mask(tmp_path / "a.png", (2, 2), 1) == 255).all()


def test_a_missing_mask_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.png is missing"):
        read_mask(tmp_path / "gone.png", None, 20)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "1", "LA"])
def test_an_image_of_another_kind_is_refused_by_mode(tmp_path, mode):
    Image.new(mode, (3, 2)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=rf"a\.png is no mask: it has mode {mode}"):
        read_mask(tmp_path / "a.png", (2, 3), 20)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_mask_is_refused_by_name(tmp_path, share):
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 20, (40, 50), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(InputError, match=r"a\.png is no readable image"):
        read_mask(path, (40, 50), 20)


def test_a_text_file_is_no_mask(tmp_path):
    (tmp_path / "a.png").write_text("no image\n")
    with pytest.raises(InputError, match=r"a\.png is no readable image"):
        read_mask(tmp_path / "a.png", None, 20)


def test_an_image_too_large_to_be_one_is_refused_by_name(tmp_path):
    path = tmp_path / "bomb.png"
    Image.new("L", (1, 1)).save(path)
    data = bytearray(path.read_bytes())
    data[16:24] = (30000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    path.write_bytes(bytes(data))
    with pytest.raises(InputError, match=r"bomb\.png is no readable image"):
        read_mask(path, None, 20)


DEVKIT = {
    0: (0, 0, 0),
    1: (128, 0, 0),
    2: (0, 128, 0),
    3: (128, 128, 0),
    4: (0, 0, 128),
    7: (128, 128, 128),
    8: (64, 0, 0),
    15: (192, 128, 128),
    20: (0, 64, 128),
    255: (224, 224, 192),
}
"""Colours of classes in VOC's own masks."""


@pytest.mark.parametrize("index", DEVKIT)
def test_the_palette_is_the_devkits(index):
    assert tuple(voc_palette()[index].tolist()) == DEVKIT[index]


def test_every_class_has_a_colour_of_its_own():
    palette = voc_palette()
    assert (palette.shape, palette.dtype) == ((256, 3), np.uint8)
    assert len(np.unique(palette, axis=0)) == 256


@needs_voc_mini
def test_the_palette_is_that_of_real_masks():
    with Image.open(next((VOC_MINI / "SegmentationClass").glob("*.png"))) as image:
        np.testing.assert_array_equal(np.reshape(image.getpalette(), (256, 3)), voc_palette())


def test_a_mask_that_was_written_is_read_as_it_was(tmp_path):
    mask = np.arange(256, dtype=np.uint8).reshape(16, 16)
    write_mask(tmp_path / "a.png", mask)
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png", (16, 16), 254), mask)


def test_a_mask_is_written_with_the_palette(tmp_path):
    write_mask(tmp_path / "a.png", MASK)
    with Image.open(tmp_path / "a.png") as image:
        assert (image.format, image.mode) == ("PNG", "P")
        np.testing.assert_array_equal(np.array(image.convert("RGB")), voc_palette()[MASK])


def test_writing_a_mask_makes_its_folder_and_leaves_no_other_file(tmp_path):
    write_mask(tmp_path / "new" / "train2014" / "a.png", MASK)
    assert [path.name for path in (tmp_path / "new" / "train2014").iterdir()] == ["a.png"]


def test_a_mask_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    write_mask(tmp_path / "a.png", MASK)
    monkeypatch.setattr(Image.Image, "save", lambda image, file, kind: file.write(b"half") and 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_mask(tmp_path / "a.png", MASK + 1)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png", None, 20), MASK)


@pytest.mark.parametrize("bits", [2, 4])
def test_a_grey_image_of_few_bits_is_read_as_indices(tmp_path, bits):
    values = range(2**bits)
    row = int("".join(f"{value:0{bits}b}" for value in values), 2).to_bytes(len(values) * bits // 8, "big")
    head = struct.pack(">IIBBBBB", len(values), 1, bits, 0, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(b"\0" + row)), (b"IEND", b"")]
    parts = [struct.pack(">I", len(c)) + name + c + struct.pack(">I", zlib.crc32(name + c)) for name, c in chunks]
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    assert read_mask(tmp_path / "a.png", None, 20).tolist() == [[*values]]
