"""Where masks beside those of the CAMs are looked for."""

import json
from pathlib import Path

import numpy as np
import pytest

from tools.report.mask_folders import crf_masks, segmentation_masks
from utils.cams.files import write_cam_dict
from utils.cams.masks import write_mask
from utils.errors import InputError

SCORES = {0: np.array([[0.4, 0.6]]), 3: np.array([[0.6, 0.4]])}


def write_pngs(folder: Path, **record: object) -> None:
    write_mask(folder / "png" / "a.png", np.array([[3, 255]], np.uint8))
    (folder / "png.made_with.json").write_text(json.dumps(record))


def test_the_scores_of_the_lowest_exponent_are_taken(tmp_path):
    for alpha in ("16", "4", "8"):
        write_cam_dict(tmp_path / "crf" / alpha / "a.npy", SCORES)
    write_pngs(tmp_path, alpha=[8.0])
    [folder] = crf_masks(tmp_path)
    assert folder.heading == "CRF mask, alpha 4"
    assert folder.read("a", (1, 2), 20).tolist() == [[3, 0]]


def test_masks_of_a_crf_are_taken_where_there_are_no_scores(tmp_path):
    write_pngs(tmp_path, alpha=[4.0, 8.0])
    [folder] = crf_masks(tmp_path)
    assert folder.heading == "CRF mask, alpha 4 and 8"
    assert folder.read("a", (1, 2), 20).tolist() == [[3, 255]]


@pytest.mark.parametrize("record", [{"thresholds": [0.4]}, {"files": {"path": "/a"}}])
def test_masks_of_cams_are_no_crf_masks(tmp_path, record):
    write_pngs(tmp_path, **record)
    assert crf_masks(tmp_path) == []


def test_an_experiment_without_either_has_none(tmp_path):
    assert crf_masks(tmp_path) == []


def test_it_is_known_whether_all_images_have_a_mask(tmp_path):
    write_pngs(tmp_path)
    folder = segmentation_masks(tmp_path / "png")
    assert folder.has_all(["a"])
    assert not folder.has_all(["a", "b"])


def test_a_mask_of_another_size_is_refused(tmp_path):
    write_pngs(tmp_path)
    with pytest.raises(InputError, match=r"a\.png is 2 x 1 pixels, its image 4 x 3"):
        segmentation_masks(tmp_path / "png").read("a", (3, 4), 20)
