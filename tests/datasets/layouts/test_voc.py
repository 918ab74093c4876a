"""Data sets in VOC layout: files, lists, and the images that training takes."""

from pathlib import Path

import pytest

from datasets.labels.classes import VOC_CLASSES
from datasets.layouts.voc import VocLayout, sbd_ids
from datasets.lists import draw
from tests.helpers.toy_data import write_lines
from utils.errors import InputError

IDS = [f"2007_{i:06d}" for i in range(6)]
"""Of the toy data set: the first four are `train`, the others `val`."""


def segmentation_list(root: Path, name: str) -> Path:
    return root / "ImageSets" / "Segmentation" / f"{name}.txt"


def touch(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


def test_the_toy_data_set_has_what_a_data_set_has(toy_voc):
    layout = VocLayout(toy_voc)
    assert layout.classes == VOC_CLASSES
    assert (layout.read_list("train"), layout.read_list("val")) == (IDS[:4], IDS[4:])
    assert all(p.is_file() for i in IDS for p in (layout.image_path(i), layout.mask_path(i)))


def test_a_folder_that_is_no_data_set_is_refused_by_flag(tmp_path):
    with pytest.raises(InputError, match="JPEGImages is missing: --data-path must name a folder in VOC layout"):
        VocLayout(tmp_path)


def test_classes_of_a_data_set_are_read_from_its_list(toy_voc):
    write_lines(toy_voc / "classes.txt", "apple", "pear")
    assert VocLayout(toy_voc).classes == ("apple", "pear")


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".png", ".JPEG", ".Jpg"])
def test_images_are_found_by_any_usual_suffix(toy_voc, suffix):
    touch(toy_voc / "JPEGImages", f"mine{suffix}")
    assert VocLayout(toy_voc).image_path("mine") == toy_voc / "JPEGImages" / f"mine{suffix}"


def test_dots_in_an_id_are_part_of_it(toy_voc):
    touch(toy_voc / "JPEGImages", "photo.v2.jpg")
    assert VocLayout(toy_voc).image_path("photo.v2").name == "photo.v2.jpg"


def test_a_missing_image_is_named(toy_voc):
    with pytest.raises(InputError, match=r"JPEGImages/gone\.jpg is missing"):
        VocLayout(toy_voc).image_path("gone")


def test_masks_stand_under_the_id(toy_voc):
    assert VocLayout(toy_voc).mask_path("a.b") == toy_voc / "SegmentationClass" / "a.b.png"


def test_a_list_may_be_a_file_anywhere(toy_voc, tmp_path):
    path = write_lines(tmp_path / "mine", "2007_000003")
    assert VocLayout(toy_voc).read_list(str(path)) == ["2007_000003"]


def test_a_missing_list_is_refused_by_file(toy_voc):
    with pytest.raises(InputError, match=r"ImageSets/Segmentation/train_augg\.txt is missing: name another list, or a file"):
        VocLayout(toy_voc).read_list("train_augg")


def test_training_takes_the_list_that_is_named(toy_voc):
    write_lines(segmentation_list(toy_voc, "train_aug"), *IDS)
    write_lines(segmentation_list(toy_voc, "mine"), IDS[5], IDS[0])
    assert VocLayout(toy_voc).training_ids("mine") == ([IDS[5], IDS[0]], str(segmentation_list(toy_voc, "mine")))


def test_training_refuses_a_named_list_that_is_missing(toy_voc):
    with pytest.raises(InputError, match=r"mine\.txt is missing"):
        VocLayout(toy_voc).training_ids("mine")


def test_training_takes_train_aug_where_it_exists(toy_voc):
    write_lines(segmentation_list(toy_voc, "train_aug"), IDS[1], IDS[4])
    touch(toy_voc / "SegmentationClassAug", f"{IDS[0]}.png")
    assert VocLayout(toy_voc).training_ids() == ([IDS[1], IDS[4]], str(segmentation_list(toy_voc, "train_aug")))


def test_training_derives_train_aug_from_the_augmented_masks(toy_voc):
    touch(toy_voc / "SegmentationClassAug", *(f"{i}.png" for i in (*IDS, "2008_000001")))
    touch(toy_voc / "SBD" / "cls", "2009_000001.mat")
    ids, source = VocLayout(toy_voc).training_ids()
    assert ids == [*IDS[:4], "2008_000001"]
    assert source == "SegmentationClassAug less val"


def test_training_derives_train_aug_from_sbd_and_train(toy_voc):
    write_lines(toy_voc / "SBD" / "train.txt", "2008_000002", IDS[4])
    write_lines(toy_voc / "SBD" / "val.txt", "2008_000001", IDS[0])
    write_lines(toy_voc / "ImageSets" / "Main" / "trainval.txt", "2009_000001")
    ids, source = VocLayout(toy_voc).training_ids()
    assert ids == [*IDS[:4], "2008_000001", "2008_000002"]
    assert source == f"{toy_voc / 'SBD'} and train less val"


def test_training_looks_for_sbd_where_it_is_told(toy_voc, tmp_path):
    touch(toy_voc / "SBD" / "cls", "2009_000001.mat")
    write_lines(tmp_path / "benchmark" / "train.txt", "2008_000002")
    ids, source = VocLayout(toy_voc, tmp_path / "benchmark").training_ids()
    assert ids == [*IDS[:4], "2008_000002"]
    assert source.startswith(str(tmp_path / "benchmark"))


def test_training_derives_train_aug_from_sbd_alone_without_train(toy_voc):
    segmentation_list(toy_voc, "train").unlink()
    write_lines(toy_voc / "SBD" / "train.txt", "2008_000002", IDS[4])
    assert VocLayout(toy_voc).training_ids() == (["2008_000002"], f"{toy_voc / 'SBD'} less val")


def test_training_derives_a_list_from_all_labelled_images(toy_voc):
    write_lines(toy_voc / "ImageSets" / "Main" / "trainval.txt", IDS[5], "2008_000003", IDS[0])
    ids, source = VocLayout(toy_voc).training_ids()
    assert ids == ["2008_000003", IDS[0]]
    assert source == "ImageSets/Main/trainval less val"


def test_training_falls_back_to_train(toy_voc):
    assert VocLayout(toy_voc).training_ids() == (IDS[:4], str(segmentation_list(toy_voc, "train")))


def test_training_without_any_list_is_refused_by_file(toy_voc):
    segmentation_list(toy_voc, "train").unlink()
    with pytest.raises(InputError, match=r"train\.txt is missing"):
        VocLayout(toy_voc).training_ids()


def test_nothing_is_held_out_where_there_is_no_val(toy_voc):
    segmentation_list(toy_voc, "val").unlink()
    touch(toy_voc / "SegmentationClassAug", *(f"{i}.png" for i in IDS))
    assert VocLayout(toy_voc).training_ids()[0] == IDS


def test_a_derivation_that_leaves_no_image_is_refused_by_source(toy_voc):
    touch(toy_voc / "SegmentationClassAug", *(f"{i}.png" for i in IDS[4:]))
    with pytest.raises(InputError, match="SegmentationClassAug less val leaves no image to train on"):
        VocLayout(toy_voc).training_ids()


@pytest.mark.parametrize("folder", ["", "dataset", "benchmark_RELEASE/dataset"])
def test_sbd_is_found_at_every_depth_of_its_archive(tmp_path, folder):
    write_lines(tmp_path / folder / "train.txt", "b")
    write_lines(tmp_path / folder / "val.txt", "a", "b")
    assert sbd_ids(tmp_path) == ["a", "b"]


@pytest.mark.parametrize("folder", ["", "dataset", "benchmark_RELEASE/dataset"])
def test_sbd_without_lists_is_read_from_its_annotations(tmp_path, folder):
    touch(tmp_path / folder / "cls", "b.mat", "a.mat", "note.txt")
    assert sbd_ids(tmp_path) == ["a", "b"]


def test_lists_of_sbd_go_before_its_annotations(tmp_path):
    write_lines(tmp_path / "train.txt", "c")
    touch(tmp_path / "cls", "a.mat")
    assert sbd_ids(tmp_path) == ["c"]


def test_a_folder_that_is_not_sbd_is_refused_by_name(tmp_path):
    with pytest.raises(InputError, match=r"is not the SBD release: it has neither train\.txt and val\.txt nor cls/\*\.mat"):
        sbd_ids(tmp_path)


def test_an_sbd_path_that_is_no_folder_is_refused(toy_voc):
    with pytest.raises(InputError, match=r"--sbd-path .*nowhere is no folder"):
        VocLayout(toy_voc, toy_voc / "nowhere").training_ids()


def test_a_list_with_a_count_is_a_draw_from_it(toy_voc):
    layout = VocLayout(toy_voc)
    assert layout.read_list("train:2") == draw(layout.read_list("train"), 2)


def test_the_mask_folder_is_the_devkits(toy_voc):
    assert VocLayout(toy_voc).mask_folder == toy_voc / "SegmentationClass"
