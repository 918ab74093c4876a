"""Data sets in COCO layout: ids and their spellings, lists, masks, and labels from each of their sources."""

import csv
from pathlib import Path

import numpy as np
import pytest

from datasets.labels.classes import COCO_CLASSES
from datasets.layouts.base import find_mask, is_data_set, open_layout
from datasets.layouts.coco import CocoLayout, image_number, mask_classes, table_classes
from datasets.layouts.voc import VocLayout
from datasets.lists import draw
from tests.helpers.shared import COCO_MINI, needs_coco_mini
from tests.helpers.toy_data import COCO_OBJECTS, coco_stem, make_toy_coco, save_mask, write_lines
from utils.errors import InputError

TRAIN = [coco_stem("train2014", image) for image in COCO_OBJECTS["train2014"]]
VAL = [coco_stem("val2014", image) for image in COCO_OBJECTS["val2014"]]
MASK = np.zeros((2, 2), np.uint8)


@pytest.fixture
def masked(tmp_path) -> Path:
    """The tiny data set with masks and without annotations."""
    root = make_toy_coco(tmp_path / "masked", masks=True)
    for path in (root / "annotations").iterdir():
        path.unlink()
    return root


def names_of(row: np.ndarray) -> set[str]:
    return {COCO_CLASSES[c] for c in np.flatnonzero(row)}


def annotated(split: str) -> list[set[str]]:
    return [{thing.name for thing in objects} for objects in COCO_OBJECTS[split].values()]


def write_table(root: Path, split: str) -> Path:
    path = root / "annotations" / f"labels_{split}.csv"
    rows = zip(COCO_OBJECTS[split], annotated(split), strict=True)
    return write_lines(path, *(",".join([coco_stem(split, image), *sorted(names)]) for image, names in rows))


def test_the_toy_data_set_has_what_a_data_set_has(masked):
    layout = CocoLayout(masked)
    assert layout.classes == COCO_CLASSES
    assert all(path.is_file() for i in TRAIN + VAL for path in (layout.image_path(i), layout.mask_path(i)))


def test_a_folder_with_a_split_has_the_layout_of_coco(toy_coco):
    assert open_layout(toy_coco) == CocoLayout(toy_coco)


def test_a_folder_without_a_split_has_the_layout_of_voc(toy_voc):
    assert open_layout(toy_voc) == VocLayout(toy_voc)


def test_sbd_is_handed_on_to_the_layout_of_voc(toy_voc):
    assert open_layout(toy_voc, "sbd") == VocLayout(toy_voc, Path("sbd"))


def test_a_folder_of_neither_layout_is_refused(tmp_path):
    with pytest.raises(
        InputError, match=r"holds no data set: --data-path .* of COCO, .* or in VOC layout, with JPEGImages/"
    ):
        open_layout(tmp_path)


def test_folders_with_images_are_data_sets(toy_coco, toy_voc):
    assert is_data_set(toy_coco)
    assert is_data_set(toy_voc)


def test_folders_without_images_are_no_data_sets(masked, tmp_path):
    assert not is_data_set(tmp_path)
    assert not is_data_set(masked / "SegmentationClass")


@pytest.mark.parametrize(
    "image_id", ["COCO_val2014_000000000042", "COCO_train2014_000000000042", "000000000042", "42", "0042"]
)
def test_every_spelling_of_an_id_has_its_number(image_id):
    assert image_number(image_id) == 42


@pytest.mark.parametrize("image_id", ["2007_000032", "COCO_42", "42.jpg", "", "-42", "COCO_val2014_", "4" * 13])
def test_what_is_no_id_is_refused_by_name(image_id):
    with pytest.raises(InputError, match=rf"{image_id!r} is no COCO image id"):
        image_number(image_id)


@pytest.mark.parametrize("image_id", ["COCO_val2014_000000000042", "000000000042", "42"])
def test_an_image_is_found_by_every_spelling(toy_coco, image_id):
    assert CocoLayout(toy_coco).image_path(image_id) == toy_coco / "val2014" / "COCO_val2014_000000000042.jpg"


@pytest.mark.parametrize("stem", ["000000000042", "42"])
def test_an_image_may_be_a_file_named_by_its_number(toy_coco, stem):
    (toy_coco / "val2014" / "COCO_val2014_000000000042.jpg").rename(toy_coco / "val2014" / f"{stem}.jpg")
    assert CocoLayout(toy_coco).image_path("COCO_val2014_000000000042").stem == stem


def test_an_image_of_one_split_is_not_looked_for_in_the_other(toy_coco):
    with pytest.raises(InputError, match=r"holds no image COCO_train2014_000000000042 in train2014$"):
        CocoLayout(toy_coco).image_path("COCO_train2014_000000000042")


def test_a_missing_image_is_named_with_all_places(toy_coco):
    with pytest.raises(InputError, match=r"COCO2014 holds no image 1000 in train2014 or val2014"):
        CocoLayout(toy_coco).image_path("1000")


PLACES = ["COCO_val2014_000000000042", "000000000042", "42", "val2014/COCO_val2014_000000000042", "val2014/000000000042"]


@pytest.mark.parametrize("image_id", ["COCO_val2014_000000000042", "000000000042", "42"])
@pytest.mark.parametrize("place", [*PLACES, "val2014/42"])
def test_a_mask_is_found_by_every_spelling_in_every_place(tmp_path, place, image_id):
    save_mask(MASK, tmp_path / f"{place}.png")
    assert find_mask(tmp_path, image_id) == tmp_path / f"{place}.png"


def test_a_mask_under_the_very_id_goes_before_all_others(tmp_path):
    for place in (*PLACES, "val2014/42"):
        save_mask(MASK, tmp_path / f"{place}.png")
    assert find_mask(tmp_path, "42") == tmp_path / "42.png"


def test_the_mask_of_another_split_is_not_taken(tmp_path):
    save_mask(MASK, tmp_path / "train2014" / "COCO_train2014_000000000042.png")
    assert find_mask(tmp_path, "COCO_val2014_000000000042") == tmp_path / "COCO_val2014_000000000042.png"


def test_the_mask_of_another_number_is_not_taken(tmp_path):
    save_mask(MASK, tmp_path / "val2014" / "COCO_val2014_000000000421.png")
    assert find_mask(tmp_path, "42") == tmp_path / "42.png"


def test_a_mask_that_is_nowhere_is_expected_under_the_id(tmp_path):
    assert find_mask(tmp_path, "COCO_val2014_000000000042") == tmp_path / "COCO_val2014_000000000042.png"


def test_masks_of_other_data_sets_stand_under_the_id_alone(tmp_path):
    save_mask(MASK, tmp_path / "val2014" / "2007_000032.png")
    assert find_mask(tmp_path, "2007_000032") == tmp_path / "2007_000032.png"


@pytest.mark.parametrize(("name", "ids"), [("train", TRAIN), ("train2014", TRAIN), ("val", VAL), ("val2014", VAL)])
def test_a_split_is_a_list_of_all_its_images(toy_coco, name, ids):
    assert CocoLayout(toy_coco).read_list(name) == ids


def test_only_images_are_in_a_split(toy_coco):
    (toy_coco / "val2014" / "README.txt").touch()
    assert CocoLayout(toy_coco).read_list("val") == VAL


def test_a_split_with_a_count_is_a_draw_from_it(toy_coco):
    assert CocoLayout(toy_coco).read_list("train:3") == draw(TRAIN, 3)


def test_a_list_of_the_data_set_goes_before_the_split_of_its_name(toy_coco):
    write_lines(toy_coco / "ImageSets" / "Segmentation" / "val.txt", VAL[2], VAL[0])
    assert CocoLayout(toy_coco).read_list("val") == [VAL[2], VAL[0]]


def test_a_list_with_a_count_is_a_draw_from_its_ids(toy_coco, tmp_path):
    path = write_lines(tmp_path / "list.txt", *TRAIN)
    assert CocoLayout(toy_coco).read_list(f"{path}:2") == draw(TRAIN, 2)


def test_numbers_of_a_list_become_the_names_of_the_images(toy_coco, tmp_path):
    path = write_lines(tmp_path / "list.txt", "42", "000000000009", TRAIN[1], f"/train2014/{TRAIN[3]}.jpg")
    assert CocoLayout(toy_coco).read_list(str(path)) == [VAL[0], TRAIN[0], TRAIN[1], TRAIN[3]]


def test_an_image_named_twice_in_two_spellings_is_refused(toy_coco, tmp_path):
    path = write_lines(tmp_path / "list.txt", "42", VAL[0])
    with pytest.raises(InputError, match=rf"list\.txt names {VAL[0]} twice"):
        CocoLayout(toy_coco).read_list(str(path))


@pytest.mark.parametrize(("line", "cause"), [("1000", "holds no image 1000 in"), ("2007_000032", "is no COCO image id")])
def test_a_list_with_an_unknown_image_is_refused_by_file_and_id(toy_coco, tmp_path, line, cause):
    path = write_lines(tmp_path / "list.txt", TRAIN[0], line)
    with pytest.raises(InputError, match=rf"list\.txt: .*{cause}"):
        CocoLayout(toy_coco).read_list(str(path))


def test_a_list_that_is_neither_file_nor_split_is_refused(toy_coco):
    with pytest.raises(InputError, match=r"test\.txt is missing: name another list, a file, or one of train2014, val2014"):
        CocoLayout(toy_coco).read_list("test")


@pytest.mark.parametrize("folder", ["missing", "empty"])
def test_a_split_without_images_is_refused_by_folder(toy_coco, folder):
    for path in (toy_coco / "val2014").iterdir():
        path.unlink()
    if folder == "missing":
        (toy_coco / "val2014").rmdir()
    with pytest.raises(InputError, match="COCO2014/val2014 holds no image"):
        CocoLayout(toy_coco).read_list("val")


def test_training_takes_all_of_the_training_split(toy_coco):
    assert CocoLayout(toy_coco).training_ids() == (TRAIN, str(toy_coco / "train2014"))


def test_training_takes_the_list_that_is_named(toy_coco):
    path = write_lines(toy_coco / "ImageSets" / "Segmentation" / "mine.txt", *TRAIN[:4])
    assert CocoLayout(toy_coco).training_ids("mine:2") == (draw(TRAIN[:4], 2), str(path))


def test_labels_are_the_annotations_of_every_split(toy_coco):
    labels = CocoLayout(toy_coco).labels(TRAIN + VAL)
    assert (labels.shape, labels.dtype) == ((10, 80), bool)
    assert [names_of(row) for row in labels] == annotated("train2014") + annotated("val2014")


def test_labels_follow_the_order_of_the_ids(toy_coco):
    layout = CocoLayout(toy_coco)
    mixed = [VAL[1], TRAIN[4], VAL[0], TRAIN[0]]
    np.testing.assert_array_equal(layout.labels(mixed), np.stack([layout.labels([i])[0] for i in mixed]))


def test_labels_of_an_image_named_by_its_number_are_the_same(toy_coco):
    layout = CocoLayout(toy_coco)
    np.testing.assert_array_equal(layout.labels(["42", "9"]), layout.labels([VAL[0], TRAIN[0]]))


def test_labels_come_from_the_table_where_there_are_no_annotations(masked):
    write_table(masked, "train2014")
    assert [names_of(row) for row in CocoLayout(masked).labels(TRAIN)] == annotated("train2014")


def test_labels_come_from_the_masks_where_there_is_nothing_else(masked):
    hidden = {25: {"person"}, 30: {"chair"}, 36: {"tie"}}
    expected = [
        names - hidden.get(image, set())
        for image, names in zip(COCO_OBJECTS["train2014"], annotated("train2014"), strict=True)
    ]
    assert [names_of(row) for row in CocoLayout(masked).labels(TRAIN)] == expected


def test_annotations_go_before_a_table(toy_coco):
    write_lines(toy_coco / "annotations" / "labels_val2014.csv", f"{VAL[0]},sheep")
    assert names_of(CocoLayout(toy_coco).labels(VAL[:1])[0]) == {"dog"}


def test_every_split_has_its_own_source(masked):
    write_lines(masked / "annotations" / "labels_val2014.csv", f"{VAL[0]},sheep")
    assert [names_of(row) for row in CocoLayout(masked).labels([VAL[0], TRAIN[0]])] == [{"sheep"}, {"cat", "dog"}]


def test_without_any_source_of_labels_all_are_named(toy_coco):
    (toy_coco / "annotations" / "instances_val2014.json").unlink()
    with pytest.raises(
        InputError, match=r"instances_val2014\.json nor annotations/labels_val2014\.csv nor SegmentationClass/"
    ):
        CocoLayout(toy_coco).labels(VAL)


@pytest.mark.parametrize("source", ["json", "csv"])
def test_an_image_that_the_labels_lack_is_named(toy_coco, source):
    if source == "csv":
        write_table(toy_coco, "val2014")
        (toy_coco / "annotations" / "instances_val2014.json").unlink()
    with pytest.raises(InputError, match=rf"2014\.{source} does not know image COCO_val2014_000000001000"):
        CocoLayout(toy_coco).labels(["COCO_val2014_000000001000"])


def test_a_missing_mask_is_named_where_labels_come_from_masks(masked):
    CocoLayout(masked).mask_path(VAL[1]).unlink()
    with pytest.raises(InputError, match=rf"{VAL[1]}\.png is missing: it holds the labels of {VAL[1]}"):
        CocoLayout(masked).labels(VAL)


def test_a_mask_with_a_class_too_many_is_named_though_it_was_read_before(masked):
    CocoLayout(masked).labels(TRAIN[:1])
    write_lines(masked / "classes.txt", *COCO_CLASSES[:16])
    with pytest.raises(InputError, match=rf"{TRAIN[0]}\.png holds class 17; there are 16"):
        CocoLayout(masked).labels(TRAIN[:1])


def test_background_and_ignored_pixels_are_no_classes(tmp_path):
    save_mask(np.array([[0, 255], [80, 1]], np.uint8), tmp_path / "a.png")
    assert mask_classes(tmp_path / "a.png") == [0, 79]


def test_a_table_has_an_image_and_its_classes_per_line(tmp_path):
    path = write_lines(tmp_path / "a.csv", "COCO_val2014_000000000042,dog,cat", "9.jpg", '000000000030,"dog"')
    assert table_classes(path, ("cat", "dog")) == {42: [0, 1], 9: [], 30: [1]}


def test_a_table_may_have_classes_with_commas(tmp_path):
    with (tmp_path / "a.csv").open("w", newline="") as file:
        csv.writer(file).writerow(["9", "lamp, tall"])
    assert table_classes(tmp_path / "a.csv", ("lamp, tall",)) == {9: [0]}


def test_a_table_with_an_unknown_class_is_refused_by_name(tmp_path):
    path = write_lines(tmp_path / "a.csv", "9,cat", "25,unicorn")
    with pytest.raises(InputError, match=r"a\.csv is no table of labels: 'unicorn' is none of the 2 classes"):
        table_classes(path, ("cat", "dog"))


@pytest.mark.parametrize("content", [b"9,cat\n\n25,dog\n", b"image\n9,cat\n", b"\xff\xfe9\n"])
def test_a_damaged_table_is_refused_by_name(tmp_path, content):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.csv is no table of labels: "):
        table_classes(tmp_path / "a.csv", ("cat", "dog"))


@needs_coco_mini
@pytest.mark.parametrize(("split", "count"), [("train2014", 67), ("val2014", 80)])
def test_labels_of_real_images_and_of_their_masks_are_the_same(split, count):
    layout = CocoLayout(COCO_MINI)
    ids = layout.read_list(split)
    assert len(ids) == count
    for image_id, row in zip(ids, layout.labels(ids), strict=True):
        assert np.flatnonzero(row).tolist() == mask_classes(layout.mask_path(image_id)), image_id
