"""Heat maps and grids."""

import numpy as np
import pytest
from PIL import Image

from utils.cams.pictures import cam_overlay, save_grid


def plain(value: int, shape: tuple[int, int] = (4, 6)) -> np.ndarray:
    return np.full((*shape, 3), value, np.uint8)


def cells(count: int, side: int = 3) -> np.ndarray:
    """Images of one colour each: 10, 20, 30 and so on."""
    return np.stack([np.full((side, side, 3), 10 * (i + 1), np.uint8) for i in range(count)])


def test_overlay_has_the_size_and_type_of_the_image():
    overlay = cam_overlay(plain(100), np.zeros((4, 6), np.float32))
    assert (overlay.shape, overlay.dtype) == ((4, 6, 3), np.uint8)


def test_low_scores_are_blue_and_high_ones_red():
    cam = np.array([[0.0, 1.0]], np.float32)
    low, high = cam_overlay(plain(0, (1, 2)), cam, opacity=1.0)[0].astype(int)
    assert low.argmax() == 2
    assert high.argmax() == 0


def test_scores_in_between_are_green():
    assert cam_overlay(plain(0, (1, 1)), np.array([[0.5]], np.float32), opacity=1.0)[0, 0].argmax() == 1


def test_opacity_0_leaves_the_image():
    image = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    np.testing.assert_array_equal(cam_overlay(image, np.ones((4, 6), np.float32), opacity=0.0), image)


def test_half_opacity_is_the_mean_of_image_and_heat():
    cam = np.linspace(0, 1, 24, dtype=np.float32).reshape(4, 6)
    heat = cam_overlay(plain(0), cam, opacity=1.0).astype(int)
    half = cam_overlay(plain(200), cam).astype(int)
    assert np.abs(half - (200 + heat) / 2).max() <= 1


def test_scores_outside_0_to_1_look_like_the_ends():
    outside = cam_overlay(plain(9, (1, 2)), np.array([[-3.0, 7.0]], np.float32))
    ends = cam_overlay(plain(9, (1, 2)), np.array([[0.0, 1.0]], np.float32))
    np.testing.assert_array_equal(outside, ends)


def test_overlay_leaves_its_inputs_alone():
    image, cam = plain(100), np.full((4, 6), 2.0, np.float32)
    cam_overlay(image, cam)
    assert (image == 100).all()
    assert (cam == 2).all()


@pytest.mark.parametrize(("count", "rows", "columns"), [(1, 1, 1), (2, 1, 2), (3, 2, 2), (4, 2, 2), (5, 2, 3), (16, 4, 4)])
def test_grid_is_as_near_to_a_square_as_it_goes(tmp_path, count, rows, columns):
    save_grid(cells(count), tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as grid:
        assert (grid.height, grid.width) == (3 * rows, 3 * columns)


def test_grid_is_filled_row_by_row_and_ends_black(tmp_path):
    save_grid(cells(5), tmp_path / "grid.png")
    grid = np.array(Image.open(tmp_path / "grid.png"))
    assert grid[1::3, 1::3, 0].tolist() == [[10, 20, 30], [40, 50, 0]]


def test_grid_keeps_the_pixels_of_an_image(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (4, 5, 5, 3), np.uint8)
    save_grid(images, tmp_path / "grid.png")
    grid = np.array(Image.open(tmp_path / "grid.png"))
    np.testing.assert_array_equal(grid[5:, :5], images[2])


def test_grid_makes_its_folder(tmp_path):
    save_grid(cells(2), tmp_path / "run" / "samples" / "grid.png")
    assert (tmp_path / "run" / "samples" / "grid.png").is_file()
