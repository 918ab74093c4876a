"""Images of a folder, for the denoiser: which are found, and how they are cropped."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datasets.images import (
    FolderImages,
    Visit,
)
from tests.helpers.pixels import pixels
from utils.errors import InputError


@pytest.fixture
def folder(tmp_path) -> Path:
    """Images of several kinds in sub-folders, and files that are none."""
    for i, name in enumerate(("b/1.png", "b/c/2.JPG", "a.jpeg", "d.webp", "e.bmp", "f.tif")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(30 + i, 50, i)).save(tmp_path / name)
    (tmp_path / "b" / "note.txt").write_text("no image")
    return tmp_path


def test_a_folder_is_searched_through_all_its_sub_folders(folder):
    found = [str(p.relative_to(folder)) for p in FolderImages(folder, 16, True, 0).paths]
    assert found == ["a.jpeg", "b/1.png", "b/c/2.JPG", "d.webp", "e.bmp", "f.tif"]


@pytest.mark.parametrize("crop", [True, False])
def test_images_of_a_folder_are_squares_of_bytes_with_their_index(folder, crop):
    images = FolderImages(folder, 16, crop, 0)
    samples = [images[Visit(0, i)] for i in range(len(images))]
    assert {(image.shape, image.dtype) for image, _ in samples} == {((3, 16, 16), torch.uint8)}
    assert [index for _, index in samples] == list(range(6))


def edges(tmp_path: Path, crop: bool) -> set[tuple[bool, bool]]:
    """Whether the left and right edge of a wide image, white on grey, are in its squares."""
    wide = np.full((20, 80, 3), 100, np.uint8)
    wide[:, :8] = wide[:, -8:] = 255
    Image.fromarray(wide).save(tmp_path / "wide.png")
    images = FolderImages(tmp_path, 16, crop, 0)
    squares = (images[Visit(epoch, 0)][0][0, 8] for epoch in range(40))
    return {(bool(s[0] > 200), bool(s[-1] > 200)) for s in squares}


def test_squeezed_images_keep_both_edges(tmp_path):
    assert edges(tmp_path, crop=False) == {(True, True)}


def test_cropped_images_never_hold_both_edges(tmp_path):
    assert (True, True) not in edges(tmp_path, crop=True)


def test_crops_of_a_folder_are_drawn_anew(tmp_path):
    assert len(edges(tmp_path, crop=True)) > 1


def test_images_of_a_folder_depend_on_the_visit_alone(folder):
    images = FolderImages(folder, 16, True, 0)
    first = images[Visit(3, 2)][0]
    torch.manual_seed(1)
    images[Visit(0, 0)]
    assert torch.equal(images[Visit(3, 2)][0], first)


@pytest.mark.parametrize(("seed", "epoch"), [(1, 3), (0, 4)])
def test_images_of_a_folder_differ_by_seed_and_epoch(folder, seed, epoch):
    reference, other = FolderImages(folder, 16, True, 0), FolderImages(folder, 16, True, seed)
    assert any(not torch.equal(reference[Visit(3, i)][0], other[Visit(epoch, i)][0]) for i in range(6))


def test_a_folder_without_images_is_refused_by_name(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty holds no image \(looked for \.jpg \.jpeg"):
        FolderImages(tmp_path / "empty", 16, True, 0)


def test_a_folder_that_does_not_exist_is_told_with_what_was_perhaps_meant(tmp_path):
    (tmp_path / "images").mkdir()
    with pytest.raises(InputError, match=r"^--data \S+/imgaes does not exist \(did you mean 'images'\?\): name a folder"):
        FolderImages(tmp_path / "imgaes", 16, True, 0)


def test_hidden_folders_and_files_that_are_no_images_are_left_out_and_named(tmp_path):
    for name in ("b/1.png", ".cache/2.png", "b/._1.png", "__MACOSX/b/3.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 20)).save(tmp_path / name)
    (tmp_path / "b" / "film.mp4").touch()
    images = FolderImages(tmp_path, 16, True, 0)
    assert list(images.paths) == [tmp_path / "b" / "1.png"]
    assert images.left_out == "b/film.mp4 (films are not read: save its frames as images)"


def test_links_in_a_circle_are_followed_once(tmp_path):
    (tmp_path / "b").mkdir()
    Image.new("RGB", (20, 20)).save(tmp_path / "b" / "1.png")
    (tmp_path / "b" / "again").symlink_to(tmp_path)
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "c.jpg").symlink_to(tmp_path / "c.jpg")
    images = FolderImages(tmp_path, 16, True, 0)
    assert list(images.paths) == [tmp_path / "b" / "1.png"]
    assert images.left_out == "c.jpg (is a link that leads nowhere)"


def test_a_broken_image_of_a_folder_is_named(folder):
    (folder / "a.jpeg").write_text("no image")
    with pytest.raises(InputError, match=r"a\.jpeg is no readable image"):
        FolderImages(folder, 16, True, 0)[Visit(0, 0)]


def test_a_denoiser_never_learns_from_masks(tmp_path):
    for name in ("cat/1.png", "masks/cat__1.png", "SegmentationClass/1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (16, 16)).save(tmp_path / name)
    images = FolderImages(tmp_path, 16, True, 0)
    assert [path.parent.name for path in images.paths] == ["cat"]
    assert images.left_out == "folder masks, folder SegmentationClass"
