"""COCO's instances: categories, what an image shows, and masks of regions that overlap."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle

from datasets.labels.classes import COCO_CLASSES
from datasets.labels.image_labels import cache_folder
from datasets.layouts.coco_annotations import annotated_classes, class_indices, draw_mask, load_annotations, region
from tests.helpers.toy_data import COCO_IDS, COCO_OBJECTS, CocoObject, coco_annotation, coco_mask, coco_stem, write_json
from utils.errors import InputError

HEIGHT, WIDTH = 20, 30
INDEX = {category: c for c, category in enumerate(COCO_IDS)}


def instances(root: Path) -> Path:
    return root / "annotations" / "instances_train2014.json"


def change(path: Path, edit: Callable[[dict], object]) -> None:
    content = json.loads(path.read_text())
    edit(content)
    write_json(path, content)


def draw(*objects: CocoObject, crowds: str = "ignore") -> np.ndarray:
    annotations = [coco_annotation(k + 1, 1, thing, HEIGHT, WIDTH) for k, thing in enumerate(objects)]
    return draw_mask(annotations, INDEX, HEIGHT, WIDTH, crowds)


def box(left: int, top: int, right: int, bottom: int) -> np.ndarray:
    pixels = np.zeros((HEIGHT, WIDTH), bool)
    pixels[top:bottom, left:right] = True
    return pixels


def number(name: str) -> int:
    """Value of a class in a mask."""
    return COCO_CLASSES.index(name) + 1


def test_category_ids_with_gaps_become_indices_without():
    assert (COCO_IDS[0], COCO_IDS[11], COCO_IDS[-1], len(COCO_IDS)) == (1, 13, 90, 80)


def test_classes_are_in_the_order_of_the_category_ids(toy_coco):
    coco = load_annotations(instances(toy_coco), COCO_CLASSES)
    names = {coco.cats[category]["name"]: c for category, c in class_indices(coco).items()}
    assert names == {name: c for c, name in enumerate(COCO_CLASSES)}


def test_the_order_of_categories_in_the_file_does_not_matter(toy_coco):
    change(instances(toy_coco), lambda content: content["categories"].reverse())
    assert class_indices(load_annotations(instances(toy_coco), COCO_CLASSES))[90] == 79


def test_loading_prints_nothing(toy_coco, capsys):
    load_annotations(instances(toy_coco), COCO_CLASSES)
    assert capsys.readouterr() == ("", "")


def test_categories_of_ones_own_are_taken_with_their_classes(toy_coco):
    change(
        instances(toy_coco),
        lambda content: content.update(categories=[{"id": 7, "name": "pear"}, {"id": 3, "name": "fig"}], annotations=[]),
    )
    assert class_indices(load_annotations(instances(toy_coco), ("fig", "pear"))) == {3: 0, 7: 1}


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"text"', "{}", '{"images": 5}', "\x00\x01"])
def test_a_file_that_holds_no_instances_is_refused_by_name(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match=r"a\.json (is no file of COCO instances|has 0 categories)"):
        load_annotations(tmp_path / "a.json", COCO_CLASSES)


def test_a_file_that_breaks_off_is_refused_by_name(toy_coco):
    path = instances(toy_coco)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"instances_train2014\.json is no file of COCO instances: JSONDecodeError"):
        load_annotations(path, COCO_CLASSES)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.json is no file of COCO instances"):
        load_annotations(tmp_path / "gone.json", COCO_CLASSES)


def test_a_list_of_images_without_annotations_is_refused(toy_coco):
    change(instances(toy_coco), lambda content: content.pop("annotations"))
    with pytest.raises(InputError, match=r"instances_train2014\.json is no file of COCO instances: KeyError: 'annotations'"):
        load_annotations(instances(toy_coco), COCO_CLASSES)


@pytest.mark.parametrize("key", ["file_name", "height", "width"])
def test_an_image_without_name_or_size_is_refused(toy_coco, key):
    change(instances(toy_coco), lambda content: content["images"][2].pop(key))
    with pytest.raises(InputError, match=rf"instances_train2014\.json is no file.*image 30 has no {key}"):
        load_annotations(instances(toy_coco), COCO_CLASSES)


@pytest.mark.parametrize(("key", "value"), [("category_id", 12), ("category_id", 91), ("image_id", 1000)])
def test_an_annotation_of_something_that_is_not_there_is_refused(toy_coco, key, value):
    change(instances(toy_coco), lambda content: content["annotations"][4].update({key: value}))
    with pytest.raises(InputError, match=r"instances_train2014\.json is no file of COCO instances.*annotation 5 refers to"):
        load_annotations(instances(toy_coco), COCO_CLASSES)


def test_an_unknown_category_is_refused_by_name(toy_coco):
    change(instances(toy_coco), lambda content: content["categories"][3].update(name="unicorn"))
    with pytest.raises(
        InputError, match=r"instances_train2014\.json has 80 categories .* 80 classes; they differ in 'unicorn'"
    ):
        load_annotations(instances(toy_coco), COCO_CLASSES)


def test_missing_categories_are_refused(toy_coco):
    change(instances(toy_coco), lambda content: content.update(categories=content["categories"][:3], annotations=[]))
    with pytest.raises(InputError, match=r"instances_train2014\.json has 3 categories and the data set 80 classes"):
        load_annotations(instances(toy_coco), COCO_CLASSES)


def test_categories_in_another_order_than_the_classes_are_refused(toy_coco):
    swapped = (COCO_CLASSES[1], COCO_CLASSES[0], *COCO_CLASSES[2:])
    with pytest.raises(InputError, match="they differ in"):
        load_annotations(instances(toy_coco), swapped)


def test_an_image_shows_all_that_is_annotated_crowds_too(toy_coco):
    expected = {
        image: sorted({COCO_CLASSES.index(thing.name) for thing in objects})
        for image, objects in COCO_OBJECTS["train2014"].items()
    }
    assert annotated_classes(instances(toy_coco), COCO_CLASSES) == expected


def test_classes_from_the_cache_are_the_same(toy_coco):
    first = annotated_classes(instances(toy_coco), COCO_CLASSES)
    assert annotated_classes(instances(toy_coco), COCO_CLASSES) == first


def test_annotations_of_the_same_size_and_time_are_not_read_again(toy_coco):
    path = instances(toy_coco)
    first, stat = annotated_classes(path, COCO_CLASSES), path.stat()
    path.write_bytes(b" " * stat.st_size)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert annotated_classes(path, COCO_CLASSES) == first


def test_changed_annotations_are_read_again(toy_coco):
    path = instances(toy_coco)
    annotated_classes(path, COCO_CLASSES)
    change(path, lambda content: content.update(annotations=[]))
    assert set(map(tuple, annotated_classes(path, COCO_CLASSES).values())) == {()}


def test_changed_classes_are_checked_against_the_annotations_again(toy_coco):
    annotated_classes(instances(toy_coco), COCO_CLASSES)
    with pytest.raises(InputError, match="has 80 categories and the data set 2 classes"):
        annotated_classes(instances(toy_coco), ("cat", "dog"))


def test_a_damaged_cache_of_annotations_is_replaced(toy_coco):
    first = annotated_classes(instances(toy_coco), COCO_CLASSES)
    (cache,) = cache_folder().iterdir()
    good = cache.read_text()
    cache.write_text(good[:50])
    assert annotated_classes(instances(toy_coco), COCO_CLASSES) == first
    assert cache.read_text() == good


def test_an_image_without_annotation_is_background():
    assert not draw().any()


def test_a_mask_holds_bytes_of_the_size_of_the_image():
    mask = draw(CocoObject("cat", (0, 0, 5, 5)))
    assert (mask.shape, mask.dtype) == ((HEIGHT, WIDTH), np.uint8)


def test_an_object_becomes_its_class_number():
    mask = draw(CocoObject("toothbrush", (2, 3, 12, 9)))
    np.testing.assert_array_equal(mask, np.where(box(2, 3, 12, 9), 80, 0))


@pytest.mark.parametrize("order", [1, -1])
def test_a_smaller_object_lies_on_top_wherever_it_stands_in_the_file(order):
    mask = draw(*(CocoObject("cat", (10, 6, 16, 12)), CocoObject("dog", (4, 2, 22, 18)))[::order])
    assert set(mask[box(10, 6, 16, 12)]) == {number("cat")}
    assert set(mask[box(4, 2, 22, 18) & ~box(10, 6, 16, 12)]) == {number("dog")}


def test_of_objects_of_one_size_the_later_lies_on_top():
    mask = draw(CocoObject("zebra", (2, 2, 12, 8)), CocoObject("bear", (8, 2, 18, 8)))
    assert set(mask[box(8, 2, 18, 8)]) == {number("bear")}


def test_the_order_does_not_depend_on_the_area_that_the_file_states():
    annotations = [
        coco_annotation(1, 1, CocoObject("cat", (10, 6, 16, 12)), HEIGHT, WIDTH) | {"area": 10_000.0},
        coco_annotation(2, 1, CocoObject("dog", (4, 2, 22, 18)), HEIGHT, WIDTH) | {"area": 1.0},
    ]
    assert draw_mask(annotations, INDEX, HEIGHT, WIDTH)[8, 12] == number("cat")


@pytest.mark.parametrize(("crowds", "value"), [("ignore", 255), ("class", number("person")), ("background", 0)])
def test_a_crowd_becomes_what_is_asked_for(crowds, value):
    mask = draw(CocoObject("person", (2, 2, 20, 12), crowd=True), crowds=crowds)
    np.testing.assert_array_equal(mask, np.where(box(2, 2, 20, 12), value, 0))


@pytest.mark.parametrize("crowds", ["ignore", "class", "background"])
@pytest.mark.parametrize("order", [1, -1])
def test_objects_lie_on_top_of_crowds_even_of_smaller_ones(crowds, order):
    mask = draw(
        *(CocoObject("person", (8, 8, 12, 12), crowd=True), CocoObject("bus", (2, 2, 28, 18)))[::order], crowds=crowds
    )
    np.testing.assert_array_equal(mask, np.where(box(2, 2, 28, 18), number("bus"), 0))


def test_several_polygons_are_one_object():
    shapes = [CocoObject("cat", b) for b in ((0, 0, 10, 20), (20, 0, 30, 20))]
    parts = [coco_annotation(1, 1, shape, HEIGHT, WIDTH) for shape in shapes]
    halves = parts[0] | {"segmentation": parts[0]["segmentation"] + parts[1]["segmentation"]}
    # With 200 pixels each half would lie on top of the dog's 300; both together lie below.
    dog = coco_annotation(2, 1, CocoObject("dog", (0, 0, 30, 10)), HEIGHT, WIDTH)
    mask = draw_mask([halves, dog], INDEX, HEIGHT, WIDTH)
    assert set(mask[:10].flat) == {number("dog")}
    assert mask[15, 5] == mask[15, 25] == number("cat")


def test_all_ways_to_write_a_region_are_the_same_region():
    expected = box(3, 4, 17, 11)
    polygon = coco_annotation(1, 1, CocoObject("cat", (3, 4, 17, 11)), HEIGHT, WIDTH)["segmentation"]
    runs = coco_annotation(1, 1, CocoObject("cat", (3, 4, 17, 11), crowd=True), HEIGHT, WIDTH)["segmentation"]
    packed = rle.encode(np.asfortranarray(expected.astype(np.uint8)))
    text = {"size": packed["size"], "counts": packed["counts"].decode()}
    for segmentation in (polygon, runs, packed, text):
        np.testing.assert_array_equal(region(segmentation, HEIGHT, WIDTH), expected)


def test_a_polygon_beyond_the_edge_is_cut_off():
    beyond = [[-5, -5, 10, -5, 10, 10, -5, 10]]
    np.testing.assert_array_equal(region(beyond, HEIGHT, WIDTH), box(0, 0, 10, 10))


def test_a_region_of_another_size_than_its_image_is_refused():
    with pytest.raises(ValueError, match=r"a region is \(30, 20\), its image \(20, 30\)"):
        region({"counts": [600], "size": [WIDTH, HEIGHT]}, HEIGHT, WIDTH)


@pytest.mark.parametrize("split", COCO_OBJECTS)
def test_masks_of_the_toy_data_set_are_the_boxes_it_was_made_of(toy_coco, split):
    coco = load_annotations(toy_coco / "annotations" / f"instances_{split}.json", COCO_CLASSES)
    for image, objects in COCO_OBJECTS[split].items():
        with Image.open(toy_coco / split / f"{coco_stem(split, image)}.jpg") as picture:
            width, height = picture.size
        mask = draw_mask(coco.imgToAnns[image], class_indices(coco), height, width)
        np.testing.assert_array_equal(mask, coco_mask(objects, height, width), err_msg=str(image))


@pytest.mark.parametrize("corner", [1e9, -1e12, float("nan"), float("inf"), 61, -61])
def test_a_polygon_with_a_corner_far_outside_is_refused(corner):
    with pytest.raises(ValueError, match="corners far outside the image"):
        region([[2, 2, corner, 2, 5, 9]], HEIGHT, WIDTH)


@pytest.mark.parametrize("counts", [[], [599], [601], [5, -3, 598], [2**40], [600.0], "", "zz99~~~~", "\x00", "é", b"\xff"])
def test_run_lengths_that_do_not_fill_the_image_are_refused(counts):
    with pytest.raises(ValueError, match=r"run lengths|zero-size"):
        region({"counts": counts, "size": [HEIGHT, WIDTH]}, HEIGHT, WIDTH)


@pytest.mark.parametrize("seed", range(5))
def test_text_of_run_lengths_is_read_as_pycocotools_reads_it(seed):
    pixels = np.random.default_rng(seed).random((HEIGHT, WIDTH)) < (0.02, 0.5, 0.98, 0, 1)[seed]
    packed = rle.encode(np.asfortranarray(pixels.astype(np.uint8)))
    np.testing.assert_array_equal(region(packed, HEIGHT, WIDTH), pixels)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("height", "40"),
        ("width", 0),
        ("height", 10**9),
        ("width", True),
        ("file_name", 5),
        ("file_name", "a\0b"),
        ("id", "x"),
    ],
)
def test_an_image_with_an_impossible_value_is_refused(toy_coco, key, value):
    path = toy_coco / "annotations" / "instances_val2014.json"
    content = json.loads(path.read_text())
    content["images"][0][key] = value
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"instances_val2014\.json is no file of COCO instances: ValueError: image"):
        load_annotations(path, COCO_CLASSES)


def test_an_id_that_is_not_the_number_of_the_files_name_is_refused(toy_coco):
    def shift(content: dict) -> None:
        for entry in content["images"]:
            entry["id"] += 1000
        for entry in content["annotations"]:
            entry["image_id"] += 1000

    change(instances(toy_coco), shift)
    with pytest.raises(InputError, match=r"image 10\d\d is called '.*\.jpg': its id must be that number"):
        annotated_classes(instances(toy_coco), COCO_CLASSES)
