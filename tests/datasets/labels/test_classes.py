"""Names of classes: VOC's, COCO's, or those of the data set."""

import json

import pytest

from datasets.labels.classes import COCO_CLASSES, VOC_CLASSES, class_names
from datasets.layouts.base import classes_at
from tests.helpers.shared import COCO_MINI, needs_coco_mini
from utils.errors import InputError


def test_voc_has_its_20_classes_in_alphabetical_order():
    assert len(VOC_CLASSES) == 20
    assert list(VOC_CLASSES) == sorted(VOC_CLASSES)


def test_a_data_set_without_list_has_the_classes_of_voc(tmp_path):
    assert class_names(tmp_path) == VOC_CLASSES


def test_a_list_names_the_classes_in_its_order(tmp_path):
    (tmp_path / "classes.txt").write_text("zebra\napple\n")
    assert class_names(tmp_path) == ("zebra", "apple")


def test_blank_lines_and_spaces_around_names_do_not_count(tmp_path):
    (tmp_path / "classes.txt").write_text("\n  traffic light \r\n\napple")
    assert class_names(tmp_path) == ("traffic light", "apple")


def test_names_may_be_of_any_script(tmp_path):
    (tmp_path / "classes.txt").write_text("Bär\n犬\n", encoding="utf-8")
    assert class_names(tmp_path) == ("Bär", "犬")


def test_an_empty_list_is_refused_by_file(tmp_path):
    (tmp_path / "classes.txt").write_text("\n \n")
    with pytest.raises(InputError, match=r"classes\.txt names no class"):
        class_names(tmp_path)


def test_a_class_named_twice_is_refused_by_name(tmp_path):
    (tmp_path / "classes.txt").write_text("cat\ndog\ndog \n")
    with pytest.raises(InputError, match=r"classes\.txt names dog twice"):
        class_names(tmp_path)


def test_as_many_classes_as_a_mask_has_room_for_are_taken(tmp_path):
    (tmp_path / "classes.txt").write_text("".join(f"class{i}\n" for i in range(65534)))
    assert len(class_names(tmp_path)) == 65534


def test_more_classes_than_a_mask_has_room_for_are_refused(tmp_path):
    (tmp_path / "classes.txt").write_text("".join(f"class{i}\n" for i in range(65535)))
    with pytest.raises(InputError, match=r"classes\.txt names 65535 classes; masks have room for 65534"):
        class_names(tmp_path)


def test_coco_has_80_classes_that_all_differ():
    assert len(set(COCO_CLASSES)) == len(COCO_CLASSES) == 80


@needs_coco_mini
@pytest.mark.parametrize("split", ["train2014", "val2014"])
def test_classes_of_coco_are_those_of_its_annotations_by_ascending_id(split):
    content = json.loads((COCO_MINI / "annotations" / f"instances_{split}.json").read_text())
    categories = sorted(content["categories"], key=lambda category: category["id"])
    assert tuple(category["name"] for category in categories) == COCO_CLASSES


@pytest.mark.parametrize("split", ["train2014", "val2014"])
def test_a_folder_with_a_split_has_the_classes_of_coco(tmp_path, split):
    (tmp_path / split).mkdir()
    assert classes_at(tmp_path) == COCO_CLASSES


def test_a_folder_without_a_split_is_not_coco(tmp_path):
    (tmp_path / "train2014").touch()
    (tmp_path / "JPEGImages").mkdir()
    assert classes_at(tmp_path) == VOC_CLASSES


def test_a_list_goes_before_the_classes_of_coco(tmp_path):
    (tmp_path / "train2014").mkdir()
    (tmp_path / "classes.txt").write_text("zebra\napple\n")
    assert classes_at(tmp_path) == ("zebra", "apple")


def test_a_list_that_is_no_text_is_refused_by_file(tmp_path):
    (tmp_path / "classes.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"classes\.txt is no UTF-8 text"):
        class_names(tmp_path)


def test_a_list_that_is_a_folder_is_refused_by_file(tmp_path):
    (tmp_path / "classes.txt").mkdir()
    with pytest.raises(InputError, match=r"classes\.txt cannot be read: Is a directory"):
        class_names(tmp_path)


@pytest.mark.parametrize("name", ["../x", "a/b", "a\\b", "a\0b"])
def test_a_class_that_no_file_can_be_named_after_is_refused(tmp_path, name):
    (tmp_path / "classes.txt").write_text(f"cat\n{name}\n")
    with pytest.raises(InputError, match=r"classes\.txt names '.*'; files are named after classes"):
        class_names(tmp_path)
