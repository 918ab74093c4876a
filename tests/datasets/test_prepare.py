"""Preparing COCO: masks and labels against pycocotools, restarts and refusals."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from datasets.labels.classes import COCO_CLASSES
from datasets.layouts.coco import CocoLayout
from datasets.prepare import main as prepare
from tests.helpers import ROOT
from tests.helpers.folders import names_in, states
from tests.helpers.shared import COCO_MINI, needs_coco_mini
from tests.helpers.toy_data import COCO_OBJECTS, coco_stem, make_toy_coco, write_json
from utils.cams.masks import read_mask, voc_palette
from utils.errors import InputError

# Decoding in pycocotools: newer NumPy asks for more than it offers.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SPLITS = ("train2014", "val2014")


def prepare_coco(root: Path, extra: str = "") -> None:
    prepare(f"coco --data_path {root} --num_workers 1 {extra}".split())


def change(path: Path, edit: Callable[[dict], object]) -> None:
    content = json.loads(path.read_text())
    edit(content)
    write_json(path, content)


def load(path: Path) -> COCO:
    """COCO's own reader."""
    return COCO(str(path))


def in_front(coco: COCO, image: int) -> list[dict]:
    """Annotations from front to back: the smallest instance first, of one size the last in the file; crowds behind."""
    annotations = coco.loadAnns(coco.getAnnIds(image))
    return sorted(annotations, key=lambda a: (a["iscrowd"], coco.annToMask(a).sum(), -a["id"]))


def reference_mask(coco: COCO, image: int, crowds: str) -> np.ndarray:
    """A mask painted from front to back: a pixel keeps the first value it gets."""
    size = coco.loadImgs(image)[0]
    mask = np.zeros((size["height"], size["width"]), np.uint8)
    for annotation in in_front(coco, image):
        name = coco.loadCats(annotation["category_id"])[0]["name"]
        value = COCO_CLASSES.index(name) + 1
        if annotation["iscrowd"]:
            value = {"ignore": 255, "class": value, "background": 0}[crowds]
        mask[(mask == 0) & coco.annToMask(annotation).astype(bool)] = value
    return mask


def why_unseen(coco: COCO, image: int, category: int) -> str:
    """Why a mask shows nothing of a category that its image is labelled with; empty where it should."""
    free = np.ones_like(coco.annToMask(coco.loadAnns(coco.getAnnIds(image))[0]), bool)
    pixels = instances = 0
    for annotation in in_front(coco, image):
        shape = coco.annToMask(annotation).astype(bool)
        if annotation["category_id"] == category and not annotation["iscrowd"]:
            instances += 1
            pixels += shape.sum()
            if (shape & free).any():
                return ""
        free &= ~shape
    if not instances:
        return "only a crowd"
    return "behind smaller objects" if pixels else "no pixel"


def unseen(root: Path, masks: Path) -> dict[tuple[int, str], str]:
    """(image, class) of all labels of a data set that its masks do not show, and why.

    Fails where a mask shows a class that its image is not labelled with.
    """
    found = {}
    for split in SPLITS:
        coco = load(root / "annotations" / f"instances_{split}.json")
        layout = CocoLayout(root)
        ids = layout.read_list(split)
        assert len(ids) == len(coco.imgs)
        for image_id, row in zip(ids, layout.labels(ids), strict=True):
            image = int(image_id[-12:])
            shown = set(np.unique(read_mask(masks / split / f"{image_id}.png", None, 80)).tolist()) - {0, 255}
            labelled = set((np.flatnonzero(row) + 1).tolist())
            assert shown <= labelled, image_id
            for value in labelled - shown:
                name = COCO_CLASSES[value - 1]
                found[image, name] = why_unseen(coco, image, coco.getCatIds(catNms=[name])[0])
    return found


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """The tiny data set, prepared; tests leave it as it was."""
    root = make_toy_coco(tmp_path_factory.mktemp("prepared") / "COCO2014")
    prepare_coco(root)
    return root


@pytest.fixture(scope="module")
def prepared_mini(tmp_path_factory) -> Path:
    """The real images, prepared in a folder that links to them; tests leave it as it was."""
    root = tmp_path_factory.mktemp("mini") / "COCO2014"
    (root / "annotations").mkdir(parents=True)
    for split in SPLITS:
        (root / split).symlink_to(COCO_MINI / split)
        name = f"annotations/instances_{split}.json"
        (root / name).symlink_to(COCO_MINI / name)
    prepare(f"coco --data_path {root} --num_workers 2".split())
    return root


@pytest.mark.parametrize("crowds", ["ignore", "class", "background"])
def test_masks_agree_with_pycocotools(toy_coco, crowds):
    prepare_coco(toy_coco, f"--crowds {crowds}")
    for split in SPLITS:
        coco = load(toy_coco / "annotations" / f"instances_{split}.json")
        for image in coco.getImgIds():
            mask = read_mask(toy_coco / "SegmentationClass" / split / f"{coco_stem(split, image)}.png", None, 80)
            np.testing.assert_array_equal(mask, reference_mask(coco, image, crowds), err_msg=str(image))


@needs_coco_mini
@pytest.mark.parametrize("split", SPLITS)
def test_masks_of_real_images_agree_with_pycocotools(prepared_mini, split):
    coco = load(COCO_MINI / "annotations" / f"instances_{split}.json")
    assert len(coco.getImgIds()) > 60
    for image in coco.getImgIds():
        mask = read_mask(prepared_mini / "SegmentationClass" / split / f"{coco_stem(split, image)}.png", None, 80)
        np.testing.assert_array_equal(mask, reference_mask(coco, image, "ignore"), err_msg=str(image))


@pytest.mark.parametrize("split", SPLITS)
def test_labels_agree_with_pycocotools(prepared, split):
    expected = labels_by_pycocotools(prepared, split)
    assert expected.any()
    for found in labels_of_both_sources(prepared, split):
        np.testing.assert_array_equal(found, expected)


@needs_coco_mini
@pytest.mark.parametrize("split", SPLITS)
def test_labels_of_real_images_agree_with_pycocotools(prepared_mini, split):
    expected = labels_by_pycocotools(prepared_mini, split)
    assert expected.any()
    for found in labels_of_both_sources(prepared_mini, split):
        np.testing.assert_array_equal(found, expected)


def labels_by_pycocotools(root: Path, split: str) -> np.ndarray:
    """What pycocotools finds for each class, (n, 80) bool."""
    coco = load(root / "annotations" / f"instances_{split}.json")
    expected = np.zeros((len(ids := CocoLayout(root).read_list(split)), 80), bool)
    for c, name in enumerate(COCO_CLASSES):
        images = {coco_stem(split, i) for i in coco.getImgIds(catIds=coco.getCatIds(catNms=[name]))}
        expected[:, c] = [image_id in images for image_id in ids]
    return expected


def labels_of_both_sources(root: Path, split: str) -> list[np.ndarray]:
    """Labels from the JSON, and from the table that was written."""
    source, layout = root / "annotations" / f"instances_{split}.json", CocoLayout(root)
    ids = layout.read_list(split)
    labels = [layout.labels(ids)]
    hidden = source.rename(source.with_suffix(".hidden"))
    try:
        assert layout.label_source(split).suffix == ".csv"
        labels.append(layout.labels(ids))
    finally:
        hidden.rename(source)
    return labels


def test_labels_that_masks_do_not_show_are_crowds_or_hidden(prepared):
    assert unseen(prepared, prepared / "SegmentationClass") == {
        (25, "person"): "only a crowd",
        (30, "chair"): "behind smaller objects",
        (36, "tie"): "no pixel",
    }


@needs_coco_mini
def test_masks_of_real_images_show_all_labels_but_those_that_are_hidden(prepared_mini):
    reasons = unseen(prepared_mini, prepared_mini / "SegmentationClass")
    assert all(reasons.values()), reasons


@needs_coco_mini
def test_masks_of_real_images_are_close_to_the_release_of_others(prepared_mini):
    equal = pixels = 0
    for path in (prepared_mini / "SegmentationClass").glob("*/*.png"):
        ours = read_mask(path, None, 80)
        theirs = read_mask(COCO_MINI / "SegmentationClass" / path.parent.name / path.name, ours.shape, 80)
        equal, pixels = equal + (ours == theirs).sum(), pixels + ours.size
    assert equal / pixels > 0.97


def test_the_table_has_a_line_for_every_image_in_order(prepared):
    lines = (prepared / "annotations" / "labels_train2014.csv").read_text().splitlines()
    assert lines == [
        "COCO_train2014_000000000009,cat,dog",
        "COCO_train2014_000000000025,person,car",
        "COCO_train2014_000000000030,chair,couch,tv",
        "COCO_train2014_000000000034",
        "COCO_train2014_000000000036,person,tie",
        "COCO_train2014_000000000049,horse,toothbrush",
    ]


def test_masks_are_found_by_the_layout(prepared):
    layout = CocoLayout(prepared)
    ids = [i for split in SPLITS for i in layout.read_list(split)]
    assert all(layout.mask_path(i).is_file() for i in ids)


def test_masks_have_the_colours_of_voc(prepared):
    with Image.open(prepared / "SegmentationClass" / "train2014" / "COCO_train2014_000000000009.png") as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.array(image.convert("RGB")), voc_palette()[np.array(image)])


def test_preparation_says_what_it_did(toy_coco, capsys):
    prepare_coco(toy_coco)
    out = capsys.readouterr().out
    assert f"train2014: 6 masks written to {toy_coco}/SegmentationClass/train2014, 0 were there" in out
    assert f"val2014: {toy_coco}/annotations/labels_val2014.csv, 1 of 4 images without a label" in out


def test_the_number_of_processes_changes_no_mask(toy_coco, prepared):
    prepare_coco(toy_coco, "--num_workers 2")
    one, other = ({p.relative_to(root): p.read_bytes() for p in root.rglob("*.png")} for root in (prepared, toy_coco))
    assert len(one) == 10
    assert one == other


def test_one_split_may_be_prepared_alone(toy_coco):
    prepare_coco(toy_coco, "--splits val2014")
    assert names_in(toy_coco / "SegmentationClass") == {"val2014", "val2014.made_with.json"}
    assert names_in(toy_coco / "annotations") == {
        "instances_train2014.json",
        "instances_val2014.json",
        "labels_val2014.csv",
    }


def test_masks_go_where_they_are_told(toy_coco, tmp_path):
    prepare_coco(toy_coco, f"--out {tmp_path}/masks")
    assert len(states(tmp_path / "masks")) == 10
    assert not (toy_coco / "SegmentationClass").exists()


def test_a_second_run_writes_no_mask(toy_coco, capsys):
    prepare_coco(toy_coco)
    before = states(toy_coco)
    capsys.readouterr()
    prepare_coco(toy_coco)
    assert states(toy_coco) == before
    assert len(before) == 10
    assert "train2014: 0 masks written" in capsys.readouterr().out


def test_a_run_that_was_stopped_writes_what_is_missing(toy_coco):
    prepare_coco(toy_coco)
    masks = toy_coco / "SegmentationClass"
    lost = masks / "train2014" / "COCO_train2014_000000000030.png"
    content, before = lost.read_bytes(), states(masks)
    lost.unlink()
    prepare_coco(toy_coco)
    after = states(masks)
    assert {path for path in before if before[path] != after[path]} == {str(lost)}
    assert lost.read_bytes() == content


def test_a_run_leaves_nothing_but_masks_and_its_record(prepared):
    stems = {coco_stem("val2014", image) for image in COCO_OBJECTS["val2014"]}
    assert names_in(prepared / "SegmentationClass" / "val2014") == {f"{stem}.png" for stem in stems}


def test_masks_with_other_crowds_are_not_mixed(toy_coco):
    prepare_coco(toy_coco)
    before = states(toy_coco)
    with pytest.raises(InputError, match=r"SegmentationClass/train2014 was made with crowds .ignore., not "):
        prepare_coco(toy_coco, "--crowds class")
    assert states(toy_coco) == before


def test_masks_of_other_annotations_are_not_mixed(toy_coco):
    prepare_coco(toy_coco)
    change(toy_coco / "annotations" / "instances_train2014.json", lambda content: content["annotations"].pop())
    with pytest.raises(InputError, match="SegmentationClass/train2014 was made with annotations "):
        prepare_coco(toy_coco)


def test_masks_from_elsewhere_are_left_alone(tmp_path):
    root = make_toy_coco(tmp_path, masks=True)
    before = states(root, "*")
    with pytest.raises(InputError, match="SegmentationClass/train2014 holds files from elsewhere"):
        prepare_coco(root)
    assert states(root, "*") == before


def test_damaged_annotations_are_named_and_leave_nothing(toy_coco):
    path = toy_coco / "annotations" / "instances_train2014.json"
    path.write_bytes(path.read_bytes()[:1000])
    before = states(toy_coco, "*")
    with pytest.raises(InputError, match=r"instances_train2014\.json is no file of COCO instances"):
        prepare_coco(toy_coco)
    assert states(toy_coco, "*") == before


def test_repaired_annotations_are_taken(toy_coco):
    path = toy_coco / "annotations" / "instances_train2014.json"
    good = path.read_bytes()
    path.write_bytes(good[:1000])
    with pytest.raises(InputError):
        prepare_coco(toy_coco)
    path.write_bytes(good)
    prepare_coco(toy_coco)
    assert len(states(toy_coco)) == 10


def test_an_unknown_category_is_named(toy_coco):
    path = toy_coco / "annotations" / "instances_val2014.json"
    change(path, lambda content: content["categories"][0].update(name="unicorn"))
    with pytest.raises(InputError, match=r"instances_val2014\.json .*differ in 'unicorn'"):
        prepare_coco(toy_coco, "--splits val2014")


def test_missing_annotations_are_named_before_anything_is_written(toy_coco):
    (toy_coco / "annotations" / "instances_val2014.json").unlink()
    with pytest.raises(InputError, match=r"instances_val2014\.json is missing: it is in annotations_trainval2014\.zip"):
        prepare_coco(toy_coco)
    assert not (toy_coco / "SegmentationClass").exists()


REGIONS = {
    "list index out of range": [],
    "size": {},
    "invalid run lengths": {"counts": [5, 10**6], "size": [43, 57]},
    "a region is": {"counts": [6], "size": [2, 3]},
}


@pytest.mark.parametrize("cause", REGIONS)
def test_a_region_that_cannot_be_drawn_is_named_by_image(toy_coco, cause):
    path = toy_coco / "annotations" / "instances_train2014.json"
    change(path, lambda content: content["annotations"][0].update(segmentation=REGIONS[cause]))
    with pytest.raises(InputError, match=rf"annotations of COCO_train2014_000000000009 cannot be drawn: .*{cause}"):
        prepare_coco(toy_coco)


@pytest.mark.parametrize("args", [[], ["imagenet"]])
def test_what_to_prepare_must_be_said(args):
    with pytest.raises(InputError, match=r"say what to prepare: python -m datasets\.prepare coco, or voc"):
        prepare(args)


def test_help_names_what_can_be_prepared(capsys):
    prepare(["--help"])
    assert "python -m datasets.prepare coco|voc" in capsys.readouterr().out


def test_unknown_crowd_options_are_refused(toy_coco):
    with pytest.raises(InputError, match="--crowds"):
        prepare_coco(toy_coco, "--crowds merge")


def test_as_a_command_bad_input_ends_with_one_line(tmp_path):
    command = [sys.executable, "-m", "datasets.prepare", "coco", "--data-path", str(tmp_path)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.splitlines()[0].startswith(f"error: {tmp_path}/annotations/instances_train2014.json is missing")
    assert len(result.stderr.splitlines()) == 1
