"""Data sets in VOC layout: files, lists, and the images that training takes."""

from pathlib import Path

import pytest

from datasets.classes import VOC_CLASSES
from datasets.voc import VocLayout, find_list, read_ids, sbd_ids
from utils.errors import InputError

IDS = [f"2007_{i:06d}" for i in range(6)]
"""Of the toy data set: the first four are `train`, the others `val`."""


def write(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


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
    assert all(p.is_file() for i in IDS for p in (layout.image_path(i), layout.annotation_path(i), layout.mask_path(i)))


def test_a_folder_that_is_no_data_set_is_refused_by_flag(tmp_path):
    with pytest.raises(InputError, match="JPEGImages is missing: --data-path must name a folder in VOC layout"):
        VocLayout(tmp_path)


def test_classes_of_a_data_set_are_read_from_its_list(toy_voc):
    write(toy_voc / "classes.txt", "apple", "pear")
    assert VocLayout(toy_voc).classes == ("apple", "pear")


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".png", ".JPEG"])
def test_images_are_found_by_any_usual_suffix(toy_voc, suffix):
    touch(toy_voc / "JPEGImages", f"mine{suffix}")
    assert VocLayout(toy_voc).image_path("mine") == toy_voc / "JPEGImages" / f"mine{suffix}"


def test_dots_in_an_id_are_part_of_it(toy_voc):
    touch(toy_voc / "JPEGImages", "photo.v2.jpg")
    assert VocLayout(toy_voc).image_path("photo.v2").name == "photo.v2.jpg"


def test_a_missing_image_is_named(toy_voc):
    with pytest.raises(InputError, match=r"JPEGImages/gone\.jpg is missing"):
        VocLayout(toy_voc).image_path("gone")


def test_annotations_and_masks_stand_under_the_id(toy_voc):
    layout = VocLayout(toy_voc)
    assert layout.annotation_path("a.b") == toy_voc / "Annotations" / "a.b.xml"
    assert layout.mask_path("a.b") == toy_voc / "SegmentationClass" / "a.b.png"


def test_a_list_may_be_a_name_in_the_data_set(toy_voc):
    assert find_list(toy_voc, "val") == segmentation_list(toy_voc, "val")


def test_a_list_may_be_a_file_name_in_the_data_set(toy_voc):
    assert find_list(toy_voc, "val.txt") == segmentation_list(toy_voc, "val")


def test_a_list_may_be_a_file_anywhere(toy_voc, tmp_path):
    path = write(tmp_path / "mine", "2007_000003")
    assert VocLayout(toy_voc).read_list(str(path)) == ["2007_000003"]


def test_a_missing_list_is_refused_by_file(toy_voc):
    with pytest.raises(InputError, match=r"ImageSets/Segmentation/train_augg\.txt is missing: name another list, or a file"):
        VocLayout(toy_voc).read_list("train_augg")


def test_lists_of_voc_hold_an_id_per_line(tmp_path):
    assert read_ids(write(tmp_path / "a.txt", "2007_000033", "2007_000032")) == ["2007_000033", "2007_000032"]


def test_lists_of_sbd_hold_paths_of_image_and_mask(tmp_path):
    path = write(
        tmp_path / "a.txt",
        "/JPEGImages/2007_000032.jpg /SegmentationClassAug/2007_000032.png",
        "/JPEGImages/2011_003271.jpg /SegmentationClassAug/2011_003271.png",
    )
    assert read_ids(path) == ["2007_000032", "2011_003271"]


def test_lists_may_hold_file_names(tmp_path):
    assert read_ids(write(tmp_path / "a.txt", "2007_000032.jpg", "2007_000033.jpg")) == ["2007_000032", "2007_000033"]


def test_only_the_first_column_of_a_list_counts(tmp_path):
    assert read_ids(write(tmp_path / "a.txt", "2007_000032  1", "2007_000033 -1")) == ["2007_000032", "2007_000033"]


def test_dots_in_an_id_of_a_list_are_part_of_it(tmp_path):
    assert read_ids(write(tmp_path / "a.txt", "photo.v2")) == ["photo.v2"]


def test_blank_lines_and_windows_line_ends_do_not_count(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\r\na\r\n\r\n  b  \r\n")
    assert read_ids(tmp_path / "a.txt") == ["a", "b"]


def test_an_empty_list_is_refused_by_file(tmp_path):
    with pytest.raises(InputError, match=r"a\.txt names no image"):
        read_ids(write(tmp_path / "a.txt", "", "  "))


def test_an_image_named_twice_is_refused_by_name(tmp_path):
    with pytest.raises(InputError, match=r"a\.txt names c twice"):
        read_ids(write(tmp_path / "a.txt", "b", "c", "/x/c.jpg", "b"))


@pytest.mark.parametrize("line", ["..", ".", "..\\secret", "/JPEGImages/.."])
def test_a_line_that_would_leave_the_data_set_is_refused(tmp_path, line):
    with pytest.raises(InputError, match=r"a\.txt: .* is no image id"):
        read_ids(write(tmp_path / "a.txt", line))


def test_ids_never_contain_a_folder(tmp_path):
    assert read_ids(write(tmp_path / "a.txt", "../../etc/passwd")) == ["passwd"]


def test_training_takes_the_list_that_is_named(toy_voc):
    write(segmentation_list(toy_voc, "train_aug"), *IDS)
    write(segmentation_list(toy_voc, "mine"), IDS[5], IDS[0])
    assert VocLayout(toy_voc).training_ids("mine") == ([IDS[5], IDS[0]], str(segmentation_list(toy_voc, "mine")))


def test_training_refuses_a_named_list_that_is_missing(toy_voc):
    with pytest.raises(InputError, match=r"mine\.txt is missing"):
        VocLayout(toy_voc).training_ids("mine")


def test_training_takes_train_aug_where_it_exists(toy_voc):
    write(segmentation_list(toy_voc, "train_aug"), IDS[1], IDS[4])
    touch(toy_voc / "SegmentationClassAug", f"{IDS[0]}.png")
    assert VocLayout(toy_voc).training_ids() == ([IDS[1], IDS[4]], str(segmentation_list(toy_voc, "train_aug")))


def test_training_derives_train_aug_from_the_augmented_masks(toy_voc):
    touch(toy_voc / "SegmentationClassAug", *(f"{i}.png" for i in (*IDS, "2008_000001")))
    touch(toy_voc / "SBD" / "cls", "2009_000001.mat")
    ids, source = VocLayout(toy_voc).training_ids()
    assert ids == [*IDS[:4], "2008_000001"]
    assert source == "SegmentationClassAug less val"


def test_training_derives_train_aug_from_sbd_and_train(toy_voc):
    write(toy_voc / "SBD" / "train.txt", "2008_000002", IDS[4])
    write(toy_voc / "SBD" / "val.txt", "2008_000001", IDS[0])
    write(toy_voc / "ImageSets" / "Main" / "trainval.txt", "2009_000001")
    ids, source = VocLayout(toy_voc).training_ids()
    assert ids == [*IDS[:4], "2008_000001", "2008_000002"]
    assert source == f"{toy_voc / 'SBD'} and train less val"


def test_training_looks_for_sbd_where_it_is_told(toy_voc, tmp_path):
    touch(toy_voc / "SBD" / "cls", "2009_000001.mat")
    write(tmp_path / "benchmark" / "train.txt", "2008_000002")
    ids, source = VocLayout(toy_voc, tmp_path / "benchmark").training_ids()
    assert ids == [*IDS[:4], "2008_000002"]
    assert source.startswith(str(tmp_path / "benchmark"))


def test_training_derives_train_aug_from_sbd_alone_without_train(toy_voc):
    segmentation_list(toy_voc, "train").unlink()
    write(toy_voc / "SBD" / "train.txt", "2008_000002", IDS[4])
    assert VocLayout(toy_voc).training_ids() == (["2008_000002"], f"{toy_voc / 'SBD'} less val")


def test_training_derives_a_list_from_all_labelled_images(toy_voc):
    write(toy_voc / "ImageSets" / "Main" / "trainval.txt", IDS[5], "2008_000003", IDS[0])
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
    write(tmp_path / folder / "train.txt", "b")
    write(tmp_path / folder / "val.txt", "a", "b")
    assert sbd_ids(tmp_path) == ["a", "b"]


@pytest.mark.parametrize("folder", ["", "dataset", "benchmark_RELEASE/dataset"])
def test_sbd_without_lists_is_read_from_its_annotations(tmp_path, folder):
    touch(tmp_path / folder / "cls", "b.mat", "a.mat", "note.txt")
    assert sbd_ids(tmp_path) == ["a", "b"]


def test_lists_of_sbd_go_before_its_annotations(tmp_path):
    write(tmp_path / "train.txt", "c")
    touch(tmp_path / "cls", "a.mat")
    assert sbd_ids(tmp_path) == ["c"]


def test_a_folder_that_is_not_sbd_is_refused_by_name(tmp_path):
    with pytest.raises(InputError, match=r"is not the SBD release: it has neither train\.txt and val\.txt nor cls/\*\.mat"):
        sbd_ids(tmp_path)


def test_an_sbd_path_that_is_no_folder_is_refused(toy_voc):
    with pytest.raises(InputError, match=r"--sbd-path .*nowhere is no folder"):
        VocLayout(toy_voc, toy_voc / "nowhere").training_ids()


def test_a_byte_order_mark_is_no_part_of_an_id(tmp_path):
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbf2007_000001\n2007_000002\n")
    assert read_ids(tmp_path / "list.txt") == ["2007_000001", "2007_000002"]


def test_a_list_that_is_no_text_is_refused_by_name(tmp_path):
    (tmp_path / "list.txt").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(InputError, match=r"list\.txt is no UTF-8 text"):
        read_ids(tmp_path / "list.txt")


def test_a_list_name_may_have_a_dot(tmp_path):
    assert find_list(tmp_path, "train_v1.5").name == "train_v1.5.txt"
