"""Polygons of masks, read again by the tools that they are for: pycocotools, and labelme's way of drawing."""

import json

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw
from pycocotools.coco import COCO

from tests.helpers.shared import VOC_MINI, needs_voc_mini
from utils.cams.masks import read_mask
from utils.predictions.polygons import TOLERANCE, area, coco_annotations, coco_categories, labelme_document
from utils.scoring.metrics import IGNORE, Confusion

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools
CLASSES = tuple("abcdefghijklmnopqrst")
RING = np.zeros((9, 11), np.uint8)
RING[1:8, 2:9] = 3
RING[3:6, 4:6] = 0


def random_mask(seed: int, blur: float = 2.0) -> np.ndarray:
    """(40, 50) with regions, holes and specks of three classes."""
    noise = np.random.default_rng(seed).normal(size=(40, 50, 4)).astype(np.float32)
    return cv2.GaussianBlur(noise, (0, 0), blur).argmax(2).astype(np.uint8)


def drawn_by_coco(mask: np.ndarray, tmp_path, tolerance: float) -> np.ndarray:
    """The mask that COCO's own loader draws, smaller objects on top."""
    height, width = mask.shape
    content = {
        "images": [{"id": 7, "file_name": "a.jpg", "height": height, "width": width}],
        "annotations": coco_annotations(mask, 7, tolerance=tolerance),
        "categories": coco_categories(CLASSES),
    }
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    coco = COCO(str(tmp_path / "annotations.json"))
    drawn = np.zeros_like(mask)
    for annotation in sorted(coco.imgToAnns[7], key=lambda one: -one["area"]):
        drawn[coco.annToMask(annotation) > 0] = annotation["category_id"]
    return drawn


def drawn_by_labelme(mask: np.ndarray, tolerance: float) -> np.ndarray:
    """The mask that labelme makes of its document: each polygon by Pillow, with its outline, in their order."""
    document = json.loads(json.dumps(labelme_document(mask, CLASSES, "a.jpg", tolerance)))
    drawn = np.zeros_like(mask)
    for shape in document["shapes"]:
        one = Image.new("1", (document["imageWidth"], document["imageHeight"]))
        ImageDraw.Draw(one).polygon([tuple(point) for point in shape["points"]], outline=1, fill=1)
        drawn[np.asarray(one)] = CLASSES.index(shape["label"]) + 1
    return drawn


def miou(drawn: np.ndarray, mask: np.ndarray) -> float:
    """In percent, over the classes in the mask; pixels of 255 are left out."""
    confusion = Confusion(len(CLASSES))
    confusion.add(drawn, mask)
    scores = confusion.scores()
    return float(scores.iou[0][scores.pixels > 0].mean())


@pytest.mark.parametrize("blur", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("seed", range(4))
def test_outlines_give_the_mask_back_exactly(tmp_path, seed, blur):
    mask = random_mask(seed, blur)
    np.testing.assert_array_equal(drawn_by_coco(mask, tmp_path, 0), mask)
    np.testing.assert_array_equal(drawn_by_labelme(mask, 0), mask)


@pytest.mark.parametrize("tolerance", [TOLERANCE, 2.0])
def test_simplified_polygons_differ_only_near_outlines(tmp_path, tolerance):
    mask = random_mask(0, 4)
    edges = cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    edges[[0, -1]] = edges[:, [0, -1]] = True  # a region ends there too
    reach = 2 * int(np.ceil(tolerance)) + 1
    near = cv2.dilate(edges.astype(np.uint8), np.ones((reach, reach), np.uint8)) > 0
    assert not near.all()
    for drawn in (drawn_by_coco(mask, tmp_path, tolerance), drawn_by_labelme(mask, tolerance)):
        assert (drawn[~near] == mask[~near]).all()


@needs_voc_mini
def test_real_masks_keep_their_score(tmp_path):
    for path in sorted((VOC_MINI / "SegmentationClass").glob("*.png"))[:12]:
        mask = read_mask(path, None, 20)
        known = np.where(mask == IGNORE, 0, mask).astype(np.uint8)  # what lies under 255 is in no polygon
        assert miou(drawn_by_coco(mask, tmp_path, 0), known) == 100
        assert miou(drawn_by_labelme(mask, 0), known) == 100
        assert miou(drawn_by_coco(mask, tmp_path, TOLERANCE), known) > 95
        assert miou(drawn_by_labelme(mask, TOLERANCE), known) > 95


def test_a_hole_stays_empty_in_a_single_polygon():
    (annotation,) = coco_annotations(RING, 1, tolerance=0)
    assert len(annotation["segmentation"]) == 1
    assert annotation["area"] == 7 * 7 - 3 * 2 + 4 * 0.125  # the hole's corners are cut
    assert annotation["bbox"] == [2, 1, 7, 7]


def test_annotations_say_what_they_are_of():
    mask = RING.copy()
    mask[0, :2] = 1
    first, second = coco_annotations(mask, 5, first_id=10, scores={3: 0.87654321})
    assert (first["id"], first["image_id"], first["category_id"], first["iscrowd"]) == (10, 5, 1, 0)
    assert (second["id"], second["category_id"], second["score"]) == (11, 3, 0.8765)
    assert "score" not in first


def test_background_and_ignored_pixels_have_no_polygon():
    mask = np.full((6, 6), IGNORE, np.uint8)
    mask[:3] = 0
    assert coco_annotations(mask, 1) == []
    assert labelme_document(mask, CLASSES, "a.jpg")["shapes"] == []


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (5, 1), (2, 2)])
def test_no_region_is_too_small(tmp_path, shape):
    mask = np.zeros((8, 9), np.uint8)
    mask[2 : 2 + shape[0], 3 : 3 + shape[1]] = 2
    np.testing.assert_array_equal(drawn_by_coco(mask, tmp_path, 5) > 0, mask > 0)
    np.testing.assert_array_equal(drawn_by_labelme(mask, 5) > 0, mask > 0)


def test_a_region_up_to_the_border_reaches_it():
    (annotation,) = coco_annotations(np.ones((6, 8), np.uint8), 1)
    assert (annotation["bbox"], annotation["area"]) == ([0, 0, 8, 6], 48)


def test_a_labelme_document_has_all_that_labelme_asks_for():
    document = labelme_document(RING, CLASSES, "../images/a.jpg")
    assert (document["imagePath"], document["imageData"]) == ("../images/a.jpg", None)
    assert (document["imageHeight"], document["imageWidth"]) == RING.shape
    (shape,) = document["shapes"]
    assert (shape["label"], shape["shape_type"], shape["group_id"], shape["flags"]) == ("c", "polygon", None, {})


def test_larger_shapes_come_first_so_that_labelme_draws_smaller_ones_on_top():
    sizes = [area(np.array(shape["points"])) for shape in labelme_document(random_mask(1), CLASSES, "a.jpg")["shapes"]]
    assert sizes == sorted(sizes, reverse=True)


def test_categories_are_the_values_in_masks():
    assert [(one["id"], one["name"]) for one in coco_categories(("dog", "cat"))] == [(1, "dog"), (2, "cat")]
