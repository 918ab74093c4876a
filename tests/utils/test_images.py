"""Files that are images or are not, and images of more than 8 bits."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from utils.errors import InputError
from utils.images import SUFFIXES, Depth, open_rgb, open_with_depth, to_rgb, why_unread

RAMP = np.linspace(0, 1, 48, dtype=np.float32).reshape(6, 8)
"""From black to white."""
GREY = (RAMP * 255).round()


def read(path: Path, white: float = 0.0) -> np.ndarray:
    image = np.array(open_rgb(path, white))
    assert (image[:, :, 0] == image[:, :, 1]).all()
    return image[:, :, 0].astype(float)


def save(values: np.ndarray, path: Path, **tags: object) -> Path:
    Image.fromarray(values).save(path, **tags)
    return path


@pytest.mark.parametrize(("largest", "white"), [(1.0, 1), (1.03, 1), (255, 255), (1000, 1023), (4095, 4095), (65535, 65535)])
def test_floats_are_scaled_by_their_values(tmp_path, largest, white):
    path = save(RAMP * np.float32(largest), tmp_path / "a.tif")
    np.testing.assert_allclose(read(path), np.minimum(GREY * largest / white, 255), atol=1)
    assert open_with_depth(path)[1] == Depth("floats", white)


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize(("bits", "white"), [(8, 255), (10, 1023), (12, 4095), (14, 16383), (16, 65535)])
def test_integers_of_16_bits_are_scaled_by_the_bits_that_they_use(tmp_path, suffix, bits, white):
    path = save((RAMP * white).astype(np.uint16), tmp_path / f"a.{suffix}")
    np.testing.assert_allclose(read(path), GREY, atol=1)
    assert open_with_depth(path)[1] == Depth("integers", white)


@pytest.mark.parametrize("told", [{281: 65535}, {341: 65535.0}])
def test_what_a_tiff_says_of_its_values_counts(tmp_path, told):
    tags = Image.Exif()
    for tag, value in told.items():
        tags[tag] = value
    path = save((RAMP * 4095).astype(np.uint16), tmp_path / "a.tif", tiffinfo=dict(tags))
    assert open_with_depth(path)[1] == Depth("integers", 65535)


def test_the_white_that_is_given_goes_before_values(tmp_path):
    path = save((RAMP * 4000).astype(np.uint16), tmp_path / "a.png")
    np.testing.assert_allclose(read(path, 65535), GREY * 4000 / 65535, atol=1.5)
    np.testing.assert_allclose(read(path, 2000), np.minimum(GREY * 2, 255), atol=2)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (RAMP - 0.5, "has values from -0.5 to 0.5: say with --white-level which is white; 0 is black"),
        (RAMP * 70000, "has values from 0 to 70000: say with --white-level which is white; 0 is black"),
        (np.where(RAMP > 0.5, np.nan, RAMP), "has values that are no numbers: replace them, or save it as PNG"),
    ],
)
def test_values_of_unknown_meaning_are_refused_by_file(tmp_path, values, reason):
    path = save(values.astype(np.float32), tmp_path / "a.tif")
    with pytest.raises(InputError) as caught:
        open_rgb(path)
    assert str(caught.value) == f"{path} {reason}"
    read(path, white=0.5)  # says what they mean


def deep_colours(path: Path, brightest: int) -> Path:
    """Writes an RGB PNG of 16 bits a colour, which pillow only reads."""
    cv2 = pytest.importorskip("cv2")
    cv2.imwrite(str(path), np.dstack([(RAMP * brightest).astype(np.uint16)] * 3))
    return path


def test_deep_colours_that_would_come_out_black_are_refused(tmp_path):
    np.testing.assert_allclose(read(deep_colours(tmp_path / "a.png", 65535)), GREY, atol=1)
    dark = deep_colours(tmp_path / "b.png", 4095)
    reason = r"b\.png has 16 bits for each colour, .* or give --white-level 65535 if it really is that dark"
    with pytest.raises(InputError, match=reason):
        open_rgb(dark)
    assert read(dark, 65535).max() == 15


def test_ordinary_images_have_no_depth_and_stay_as_they_are():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 9, (5, 6, 3), np.uint8))
    rgb, depth = to_rgb(image)
    assert depth is None
    np.testing.assert_array_equal(np.array(rgb), np.array(image))


@pytest.mark.parametrize(
    "suffix", ["gif", pytest.param("avif", marks=pytest.mark.skipif("AVIF" not in SUFFIXES, reason="no AVIF"))]
)
def test_gif_and_avif_are_images(tmp_path, suffix):
    Image.new("RGB", (20, 10), (200, 30, 30)).save(tmp_path / f"a.{suffix}")
    assert np.abs(np.array(open_rgb(tmp_path / f"a.{suffix}")).mean((0, 1)) - (200, 30, 30)).max() < 6


@pytest.mark.skipif("HEIF" not in SUFFIXES, reason="pillow-heif is not installed")
def test_heic_is_read_where_pillow_heif_is_there(tmp_path):
    Image.new("RGB", (64, 48), (200, 30, 30)).save(tmp_path / "a.heic")
    image = np.array(open_rgb(tmp_path / "a.heic"))
    assert image.shape == (48, 64, 3)
    assert np.abs(image.mean((0, 1)) - (200, 30, 30)).max() < 10


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        pytest.param(
            "a.HEIC",
            "HEIC is read where pillow-heif is installed (pip install pillow-heif)",
            marks=pytest.mark.skipif("HEIF" in SUFFIXES, reason="pillow-heif is installed"),
        ),
        ("._a.jpg", "macOS keeps such a file beside each of its own"),
        ("a.nef", "raw files are not read: save it as PNG"),
        ("a.txt", ".txt is no suffix of images"),
        ("a.jpg", ""),
    ],
)
def test_names_say_why_a_file_is_no_image(name, reason):
    assert why_unread(name) == reason


def test_a_file_of_an_unread_kind_is_refused_with_the_reason(tmp_path):
    (tmp_path / "a.nef").write_bytes(b"II*\0")
    with pytest.raises(InputError, match=r"a\.nef is no readable image: raw files are not read"):
        open_rgb(tmp_path / "a.nef")


def test_a_folder_is_told_as_such(tmp_path):
    (tmp_path / "a.jpg").mkdir()
    with pytest.raises(InputError, match=r"a\.jpg is a folder, not an image$"):
        open_rgb(tmp_path / "a.jpg")


def test_a_link_in_a_circle_is_told_as_such(tmp_path):
    (tmp_path / "a.jpg").symlink_to(tmp_path / "a.jpg")
    with pytest.raises(InputError, match=r"a\.jpg is a link that leads nowhere$"):
        open_rgb(tmp_path / "a.jpg")
