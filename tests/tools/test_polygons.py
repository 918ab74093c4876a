"""Polygons of a folder of masks: files, what they hold, what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from datasets.labels.classes import VOC_CLASSES
from datasets.layouts.base import open_layout
from tests.helpers.folders import names_in
from tests.helpers.shards import jpeg, write_tar
from tests.helpers.toy_data import make_toy_voc
from tests.helpers.trained import make_run
from tools import polygons
from utils.cams.masks import write_mask
from utils.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools
IDS = ("2007_000000", "2007_000001")


@pytest.fixture
def root(tmp_path) -> Path:
    """A folder with the experiment `run`, which has two masks, and the data set `VOC2012`."""
    make_run(tmp_path, make_toy_voc(tmp_path / "VOC2012"))
    for value, image_id in enumerate(IDS, 3):
        with Image.open(tmp_path / "VOC2012" / "JPEGImages" / f"{image_id}.jpg") as image:
            mask = np.zeros((image.height, image.width), np.uint8)
        mask[2:12, 3:20] = value
        mask[5:8, 6:9] = 0
        mask[20:, :] = 255
        write_mask(tmp_path / "run" / "png" / f"{image_id}.png", mask)
    return tmp_path


def export(root: Path, extra: str) -> None:
    polygons.main(f"--name run --experiments {root} {extra}".split())


def test_coco_gets_one_file_for_all_masks(root, capsys):
    export(root, "--format coco --tolerance 0")
    coco = COCO(str(root / "run" / "coco" / "annotations.json"))
    assert [image["file_name"] for image in coco.imgs.values()] == [f"{image_id}.jpg" for image_id in IDS]
    for number, annotations in coco.imgToAnns.items():
        mask = np.asarray(Image.open(root / "run" / "png" / f"{IDS[number - 1]}.png"))
        (one,) = annotations
        assert coco.cats[one["category_id"]]["name"] == VOC_CLASSES[one["category_id"] - 1]
        np.testing.assert_array_equal(coco.annToMask(one) > 0, mask == one["category_id"])
    output = capsys.readouterr().out
    assert "png: polygons of 2 masks for coco, tolerance 0 pixels" in output
    assert f"done: {root}/run/coco/annotations.json" in output


def test_what_annotators_have_edited_stays(root, capsys):
    export(root, "--format labelme")
    edited = root / "run" / "labelme" / f"{IDS[0]}.json"
    edited.write_text("{}")
    (root / "run" / "labelme" / f"{IDS[1]}.json").unlink()
    export(root, "--format labelme")
    assert edited.read_text() == "{}"
    assert (root / "run" / "labelme" / f"{IDS[1]}.json").exists()
    assert "polygons of 2 masks for labelme, tolerance 1 pixels; 1 of them there already" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"labelme was made with tolerance 1\.0, not 0\.0"):
        export(root, "--format labelme --tolerance 0")
    export(root, "--format labelme --overwrite")
    assert edited.read_text() != "{}"


def test_one_file_of_all_masks_is_not_replaced_unasked(root):
    export(root, "--format coco")
    with pytest.raises(InputError, match=r"annotations\.json exists, and may have been edited: --overwrite"):
        export(root, "--format coco")
    export(root, "--format coco --overwrite")


def test_labelme_gets_a_file_for_each_mask(root):
    export(root, f"--format labelme --out {root}/to_check")
    assert names_in(root / "to_check") == {f"{image_id}.json" for image_id in IDS}
    document = json.loads((root / "to_check" / f"{IDS[0]}.json").read_text())
    assert [shape["label"] for shape in document["shapes"]] == [VOC_CLASSES[2]]
    assert document["imagePath"] == f"../VOC2012/JPEGImages/{IDS[0]}.jpg"


def test_links_to_images_stay_links(root):
    (root / "VOC2012").rename(root / "real")
    (root / "VOC2012").symlink_to(root / "real")
    (root / "disk").mkdir()
    (root / "out").symlink_to(root / "disk")
    export(root, f"--format labelme --out {root}/out/deep")
    document = json.loads((root / "out" / "deep" / f"{IDS[0]}.json").read_text())
    assert document["imagePath"] == f"../../VOC2012/JPEGImages/{IDS[0]}.jpg"
    assert (root / "disk" / "deep" / document["imagePath"]).is_file()


def test_another_folder_of_masks_can_be_named(root):
    (root / "run" / "png").rename(root / "elsewhere")
    export(root, f"--png_dir {root}/elsewhere")
    assert names_in(root / "run" / "coco") == {"annotations.json"}


def test_what_is_no_mask_of_the_data_set_is_refused(root):
    mask = root / "run" / "png" / f"{IDS[0]}.png"
    write_mask(mask, np.zeros((5, 6), np.uint8))
    with pytest.raises(InputError, match=rf"{IDS[0]}\.png is 6 x 5 pixels, its image"):
        export(root, "")
    mask.rename(root / "run" / "png" / "other.png")
    with pytest.raises(InputError, match=r"other\.jpg is missing"):
        export(root, "")
    assert not (root / "run" / "coco").exists()


def test_where_there_are_no_masks_the_command_that_makes_them_is_named(root):
    with pytest.raises(InputError, match=r"nothing holds no masks: make them first \(python -m tools\.masks\)"):
        export(root, "--png_dir nothing")


def test_images_in_shards_are_refused(tmp_path):
    archive = write_tar(tmp_path / "data" / "val-000000.tar", {"a.jpg": jpeg(1), "a.json": b'{"labels": ["dog"]}'})
    write_mask(tmp_path / "png" / "a.png", np.zeros((8, 10), np.uint8))
    with pytest.raises(InputError, match=r"a\.jpg is in a shard, and polygons name files of images"):
        polygons.images_of(tmp_path / "png", open_layout(archive.parent))
