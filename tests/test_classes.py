"""Names of classes: VOC's, or those of the data set."""

import pytest

from datasets.classes import VOC_CLASSES, class_names
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
    (tmp_path / "classes.txt").write_text("".join(f"class{i}\n" for i in range(254)))
    assert len(class_names(tmp_path)) == 254


def test_more_classes_than_a_mask_has_room_for_are_refused(tmp_path):
    (tmp_path / "classes.txt").write_text("".join(f"class{i}\n" for i in range(255)))
    with pytest.raises(InputError, match=r"classes\.txt names 255 classes; masks have room for 254"):
        class_names(tmp_path)
