"""Layouts as a registry: a layout of one's own is one class, and what was meant is named where nothing fits."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from datasets.layouts.base import LAYOUTS, Layout, classes_at, find_mask, is_data_set, open_layout, read_truth
from datasets.layouts.masks import MaskLayout
from tests.helpers.toy_data import make_toy_voc, save_mask, write_lines
from utils.errors import InputError, did_you_mean


@pytest.fixture
def leaves() -> type[Layout]:
    """A layout of one's own, known for the time of a test."""

    @dataclass(frozen=True)
    class LeafLayout(Layout):
        """Leaves whose kind is the first letter of their names."""

        published_classes = ("ash", "beech")

        @classmethod
        def mark(cls, root: Path) -> str:
            return "leaves/" if (root / "leaves").is_dir() else ""

        @classmethod
        def file_names(cls, image_id: str):
            return (f"{image_id}_segments",)

        def image_path(self, image_id: str) -> Path:
            return self.root / "leaves" / f"{image_id}.png"

        def labels(self, ids):
            return np.array([[image_id.startswith(name[0]) for name in self.classes] for image_id in ids])

    yield LeafLayout
    LAYOUTS.remove(LeafLayout)


@pytest.fixture
def grove(leaves, tmp_path) -> Path:
    """A data set in that layout."""
    for name in ("a1", "b1"):
        save_mask(np.zeros((4, 5), np.uint8), tmp_path / "leaves" / f"{name}.png")
        save_mask(np.full((4, 5), 1 + (name[0] == "b"), np.uint8), tmp_path / "SegmentationClass" / f"{name}_segments.png")
    write_lines(tmp_path / "ImageSets" / "Segmentation" / "train.txt", "a1", "b1")
    return tmp_path


def test_a_layout_is_known_when_it_is_defined(grove, leaves):
    layout = open_layout(grove)
    assert is_data_set(grove)
    assert layout == leaves(grove)
    assert layout.classes == classes_at(grove) == ("ash", "beech")
    assert layout.training_ids() == (["a1", "b1"], str(grove / "ImageSets" / "Segmentation" / "train.txt"))
    assert layout.labels(["b1"]).tolist() == [[False, True]]


def test_images_of_a_list_without_a_file_are_said_to_come_from_the_data_set(grove, leaves, monkeypatch):
    (grove / "ImageSets" / "Segmentation" / "train.txt").unlink()
    monkeypatch.setattr(leaves, "unlisted_ids", lambda self, name: ["a1"])
    assert open_layout(grove).training_ids() == (["a1"], str(grove / "train"))


def test_a_layout_may_name_masks_in_its_own_way(grove):
    assert find_mask(grove / "SegmentationClass", "b1").name == "b1_segments.png"
    assert (read_truth(open_layout(grove), "b1") == 2).all()


def test_a_folder_with_the_marks_of_two_layouts_is_refused(grove):
    (grove / "JPEGImages").mkdir()
    with pytest.raises(InputError, match=r"has both (leaves/ and JPEGImages/|JPEGImages/ and leaves/): move the one away"):
        open_layout(grove)


def test_every_layout_of_the_folder_is_known():
    assert {layout.__name__ for layout in LAYOUTS} >= {"CocoLayout", "FolderLayout", "VocLayout"}


def test_a_folder_that_does_not_exist_is_said_not_to_exist(tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(InputError, match=r"^--data-path \S+/phtos does not exist \(did you mean 'photos'\?\)$"):
        open_layout(tmp_path / "phtos")


def test_a_file_is_no_data_set(tmp_path):
    with pytest.raises(InputError, match=r"list\.txt is a file: name the folder of the data set"):
        open_layout(write_lines(tmp_path / "list.txt", "a"))


def test_a_misspelt_list_gets_the_one_that_was_meant(tmp_path):
    with pytest.raises(InputError, match=r"tarin\.txt is missing: name another list.* \(did you mean 'train'\?\)"):
        open_layout(make_toy_voc(tmp_path)).read_list("tarin")


def test_masks_without_images_have_classes_and_lists(tmp_path):
    write_lines(tmp_path / "classes.txt", "apple")
    path = write_lines(tmp_path / "list.txt", "a")
    layout = MaskLayout(tmp_path / "masks", tmp_path)
    assert (layout.classes, layout.read_list(str(path))) == (("apple",), ["a"])
    with pytest.raises(InputError, match="holds masks alone"):
        layout.image_path("a")


@pytest.mark.parametrize(
    ("word", "said"),
    [("sofaa", " (did you mean 'sofa'?)"), ("SOFA", " (did you mean 'sofa'?)"), ("zebra", ""), ("", "")],
)
def test_only_what_is_near_was_perhaps_meant(word, said):
    assert did_you_mean(word, ("sofa", "dog", "person")) == said
