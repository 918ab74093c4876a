"""Damaged, hostile and merely odd input files: refused in one line, or read as what they are."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import evaluation
import infer_trm
import train_trm
from datasets.labels.classes import COCO_CLASSES
from datasets.layouts.coco import CocoLayout
from datasets.layouts.voc import VocLayout
from tests.helpers.small_runs import SMALL
from tests.helpers.toy_data import make_toy_voc, save_mask, toy_mask, write_annotation, write_lines
from tests.helpers.turned import STORED, save_turned
from utils.errors import InputError
from utils.experiment.saved import load_options
from utils.options.training import TrainOptions

from .checkpoints import try_damaged_checkpoints
from .hostile import hostile_pickles, try_hostile
from .mutations import try_mutations

INFER = "--device cpu --num_workers 0 --overwrite --dict"


def test_damaged_files_are_refused_or_read_as_they_are(tmp_path):
    tally = try_mutations(150, 0, tmp_path)
    assert tally.failures == []
    assert tally.survived == tally.tried == 150


def test_hostile_files_do_nothing(tmp_path):
    tally = try_hostile(tmp_path)
    assert tally.failures == []
    assert tally.survived == tally.tried > 100


@pytest.mark.parametrize("name", ["os.system", "os.system of protocol 0", "eval", "exec", "a key", "INST", "OBJ"])
def test_hostile_files_would_do_something_elsewhere(tmp_path, name):
    pickle.loads(hostile_pickles(tmp_path / "canary")[name])
    assert (tmp_path / "canary").exists()


def test_runs_go_on_after_damage_to_their_last_checkpoint(tmp_path):
    tally = try_damaged_checkpoints(4, 0, tmp_path)
    assert tally.failures == []
    assert tally.survived == tally.tried == 4


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A folder of experiments with a trained one, `run`."""
    root = tmp_path_factory.mktemp("odd")
    train(root, make_toy_voc(root / "VOC2012"), "run")
    return root


def train(root: Path, data: Path, name: str) -> None:
    train_trm.main(f"--name {name} --experiments {root} --data-path {data} {SMALL} --epochs 1".split())


def infer(root: Path, data: Path, extra: str = "") -> dict[str, dict[int, np.ndarray]]:
    """CAMs of the list `train` of a data set, by image."""
    infer_trm.main(f"--name run --experiments {root} --data-path {data} {INFER} {extra}".split())
    return {path.stem: np.load(path, allow_pickle=True).item() for path in (root / "run" / "dict").iterdir()}


def put(data: Path, picture: Image.Image, suffix: str = "png") -> None:
    """Replaces an image of a data set, with a mask of its size."""
    (data / "JPEGImages" / "2007_000000.jpg").unlink()
    picture.save(data / "JPEGImages" / f"2007_000000.{suffix}")
    save_mask(toy_mask(*picture.size, ("cat",)), data / "SegmentationClass" / "2007_000000.png")


def noise(width: int = 40, height: int = 30) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


ODD = {
    "grey": (lambda: noise().convert("L"), "jpg"),
    "CMYK": (lambda: noise().convert("CMYK"), "jpg"),
    "RGBA": (lambda: noise().convert("RGBA"), "png"),
    "palette": (lambda: noise().convert("P"), "png"),
    "16 bits": (lambda: Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40) * 50), "png"),
}


@pytest.mark.parametrize("kind", ODD)
def test_an_image_of_any_mode_is_trained_on_inferred_and_scored(run, tmp_path, toy_voc, kind, capsys):
    make, suffix = ODD[kind]
    put(toy_voc, make(), suffix)
    train(tmp_path, toy_voc, "own")
    assert [cam.shape for cam in infer(run, toy_voc)["2007_000000"].values()] == [(30, 40)]
    evaluation.main(f"--name run --experiments {run} --data-path {toy_voc} --num_workers 1".split())
    assert "mIoU" in capsys.readouterr().out


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("drawn", ["upright", "as stored"])
def test_cams_and_masks_of_turned_images_agree(run, toy_voc, orientation, drawn, capsys):
    mask = toy_mask(40, 30, ("cat",))
    save_turned(np.asarray(noise()), toy_voc / "JPEGImages" / "2007_000000.jpg", orientation)
    as_drawn = STORED[orientation](mask) if drawn == "as stored" and orientation > 4 else mask
    save_mask(np.ascontiguousarray(as_drawn), toy_voc / "SegmentationClass" / "2007_000000.png")
    assert [cam.shape for cam in infer(run, toy_voc)["2007_000000"].values()] == [(30, 40)]
    evaluation.main(f"--name run --experiments {run} --data-path {toy_voc} --num_workers 1".split())
    assert "mIoU" in capsys.readouterr().out


def test_an_image_of_one_pixel_is_refused_at_inference(run, toy_voc):
    put(toy_voc, Image.new("RGB", (1, 1)))
    with pytest.raises(InputError, match=r"^2007_000000 is 1 x 1 pixels, smaller than one patch of 8$"):
        infer(run, toy_voc)


def test_an_image_of_one_pixel_can_be_enlarged(run, toy_voc):
    put(toy_voc, Image.new("RGB", (1, 1)))
    assert infer(run, toy_voc, "--infer-size 16")["2007_000000"][7].shape == (1, 1)


def test_a_very_long_image_is_inferred_at_another_size(run, toy_voc):
    put(toy_voc, noise(10_000, 50), "jpg")
    assert infer(run, toy_voc, "--infer-size 8")["2007_000000"][7].shape == (50, 10_000)


def test_several_bad_images_are_all_named_before_training(tmp_path, toy_voc):
    for number in (0, 2):
        path = toy_voc / "JPEGImages" / f"2007_00000{number}.jpg"
        path.write_bytes(path.read_bytes()[: 300 * number])
    with pytest.raises(InputError, match=r"^2 of 4 images cannot be used: \S+0\.jpg is no .*; \S+2\.jpg is no [^\n]*$"):
        train(tmp_path, toy_voc, "own")
    assert not (tmp_path / "own" / "ckpt").exists()


def test_a_mask_of_another_size_than_its_image_ends_training_by_name(tmp_path, toy_voc):
    save_mask(toy_mask(21, 20, ("cat",)), toy_voc / "SegmentationClass" / "2007_000000.png")
    with pytest.raises(InputError, match=r"2007_000000\.png is 21 x 20 pixels, its image \d+ x \d+$"):
        train(tmp_path, toy_voc, "own")


def test_a_mask_with_a_class_beyond_the_set_is_named_in_scoring(run, toy_voc):
    infer(run, toy_voc)
    with Image.open(toy_voc / "SegmentationClass" / "2007_000002.png") as image:
        mask = np.array(image)
    save_mask(np.where(mask == 15, 21, mask).astype(np.uint8), toy_voc / "SegmentationClass" / "2007_000002.png")
    with pytest.raises(InputError, match=r"2007_000002\.png holds class 21; there are 20$"):
        evaluation.main(f"--name run --experiments {run} --data-path {toy_voc} --num_workers 1".split())


def test_an_unknown_object_ends_training_by_name(tmp_path, toy_voc):
    write_annotation(toy_voc / "Annotations" / "2007_000001.xml", ("cat", "unicorn"))
    with pytest.raises(InputError, match=r"2007_000001\.xml names 'unicorn', which is none of the 20 classes$"):
        train(tmp_path, toy_voc, "own")


@pytest.mark.parametrize("folder", ["JPEGImages", "Annotations"])
def test_a_listed_image_whose_files_are_missing_is_named(tmp_path, toy_voc, folder):
    next((toy_voc / folder).glob("2007_000001.*")).unlink()
    with pytest.raises(InputError, match=rf"{folder}/2007_000001\.\w+ is missing"):
        train(tmp_path, toy_voc, "own")


@pytest.mark.parametrize("line", ["a\0b", "x" * 201, "JPEGImages/", "/"])
def test_a_line_that_can_be_no_file_is_no_image_id(toy_voc, tmp_path, line):
    with pytest.raises(InputError, match=r"odd\.txt: '.*' is no image id$"):
        VocLayout(toy_voc).read_list(str(write_lines(tmp_path / "odd.txt", line)))


def test_weights_for_other_classes_are_refused_with_what_differs(run, toy_voc, tmp_path):
    write_lines(toy_voc / "classes.txt", *COCO_CLASSES[:2])
    for path in (toy_voc / "Annotations").iterdir():
        write_annotation(path, (COCO_CLASSES[0],))
    for path in (toy_voc / "SegmentationClass").iterdir():
        path.unlink()
    train(tmp_path, toy_voc, "two")
    weights = tmp_path / "two" / "ckpt" / "000net_trm.pth"
    with pytest.raises(
        InputError, match=r"000net_trm\.pth does not fit the network: cls_token is \(1, 2, 16\), not \(1, 20, 16\)"
    ):
        infer(run, run / "VOC2012", f"--weights {weights}")


@pytest.mark.parametrize(
    "value",
    [torch.eye(16).to_sparse(), torch.zeros(1, 20, 16, dtype=torch.complex64), torch.empty(1, 20, 16, device="meta")],
    ids=["sparse", "complex", "without content"],
)
def test_weights_that_are_no_plain_numbers_are_refused(run, tmp_path, value):
    state = torch.load(run / "run" / "ckpt" / "000net_trm.pth", weights_only=True)
    torch.save(state | {"cls_token": value}, tmp_path / "odd.pth")
    with pytest.raises(InputError, match=r"odd\.pth does not fit the network: .*cls_token is no plain tensor"):
        infer(run, run / "VOC2012", f"--weights {tmp_path}/odd.pth")


@pytest.mark.parametrize(
    "values",
    [{"scale": [0.5]}, {"scale": 0.5}, {"val_also": 3}, {"ratio": [1, 1, 1]}, {"epochs": 10**400}, {"lr": None}],
    ids=str,
)
def test_options_of_another_shape_are_refused_by_file(tmp_path, values):
    (tmp_path / "options.json").write_text(json.dumps({"options": {"name": "x"} | values}))
    with pytest.raises(InputError, match=r"options\.json is not the options of a run: --"):
        load_options(TrainOptions, tmp_path)


def test_an_empty_name_in_a_table_is_no_class(toy_coco):
    (toy_coco / "annotations" / "instances_train2014.json").unlink()
    write_lines(toy_coco / "annotations" / "labels_train2014.csv", "COCO_train2014_000000000009,cat,")
    with pytest.raises(InputError, match=r"labels_train2014\.csv is no table of labels: '' is none of the 80 classes"):
        CocoLayout(toy_coco).labels(["COCO_train2014_000000000009"])
