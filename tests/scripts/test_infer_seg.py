"""Masks of a segmentation network: files, scores, the same from Python, what is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import evaluation
import infer_seg
import infer_trm
import predict
import train_seg
from datasets.layouts.base import open_layout
from models import load_seg_model
from tests.helpers.folders import names_in, states
from tests.helpers.small_runs import SMALL_SEG
from tests.helpers.toy_data import make_toy_voc
from utils.errors import InputError

SERVER = "results/VOC2012/Segmentation/comp6_val_cls"


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder with a data set and a run."""
    folder = tmp_path_factory.mktemp("seg")
    make_toy_voc(folder / "VOC2012", 12)
    command = f"--name run --experiments {folder} --data-path {folder}/VOC2012 {SMALL_SEG} --lr 0.02 --epochs 6 --val_from 5"
    train_seg.main(command.split())
    return folder


def infer(folder: Path, flags: str) -> Path:
    infer_seg.main(f"--name run --experiments {folder} --device cpu --num_workers 0 --overwrite {flags}".split())
    return folder / "run"


def evaluate(folder: Path, flags: str) -> dict:
    scores = folder / "scored.json"
    evaluation.main(f"--name run --experiments {folder} --num_workers 1 --json {scores} {flags}".split())
    return json.loads(scores.read_text())


def read(path: Path) -> np.ndarray:
    return np.array(Image.open(path))


def test_masks_scores_and_the_servers_tree_say_the_same(trained):
    run = infer(trained, "--png --dict --server --mirror --scales 0.75 1")
    ids = (trained / "VOC2012/ImageSets/Segmentation/val.txt").read_text().split()
    assert names_in(run / "png") == names_in(run / SERVER) == {f"{i}.png" for i in ids}
    for image_id in ids:
        mask = read(run / "png" / f"{image_id}.png")
        assert mask.shape == read(trained / "VOC2012/SegmentationClass" / f"{image_id}.png").shape
        np.testing.assert_array_equal(read(run / SERVER / f"{image_id}.png"), mask)
        scores = np.load(run / "dl" / f"{image_id}.npy", allow_pickle=True).item()
        classes = np.array(sorted(scores))
        np.testing.assert_array_equal(classes[np.stack([scores[c] for c in classes]).argmax(0)], mask)
        assert sum(scores.values()).max() <= 1 + 1e-5
    dl, png = evaluate(trained, "--task dl --list val"), evaluate(trained, "--task png --list val")
    assert dl == png
    assert dl["best"]["threshold"] is None


def test_scores_are_those_of_an_independent_computation(trained):
    run = infer(trained, "--png")
    truth, found = [], []
    for path in sorted((run / "png").iterdir()):
        mask = read(trained / "VOC2012/SegmentationClass" / path.name)
        truth.append(mask[mask != 255])
        found.append(read(path)[mask != 255])
    truth, found = np.concatenate(truth), np.concatenate(found)
    ious = []
    for c in range(21):
        union = np.logical_or(truth == c, found == c).sum()
        ious.append(100 * np.logical_and(truth == c, found == c).sum() / union if union else 0.0)
    scored = evaluate(trained, "--task png")
    assert scored["iou"][0] == pytest.approx(ious)
    assert scored["best"]["miou"] == pytest.approx(np.mean(ious))
    assert f"mIoU {np.mean(ious):.2f} on val" in (run / "log.txt").read_text()  # validation, at one scale, is the same


def test_python_gives_the_bits_of_the_files(trained):
    run = infer(trained, "--png --dict --mirror --scales 1 1.5")
    model = load_seg_model(run, device="cpu")
    image = trained / "VOC2012/JPEGImages/2007_000009.jpg"
    np.testing.assert_array_equal(model.mask(image, (1, 1.5), mirror=True), read(run / "png" / "2007_000009.png"))
    written = np.load(run / "dl" / "2007_000009.npy", allow_pickle=True).item()
    probabilities = model.probabilities(image, (1, 1.5), mirror=True)
    assert [*probabilities] == ["background", *model.classes]
    for c, score in written.items():
        np.testing.assert_array_equal([*probabilities.values()][c], score)


def test_python_takes_every_kind_of_image_and_several(trained):
    model = load_seg_model(trained / "run", device="cpu")
    path = trained / "VOC2012/JPEGImages/2007_000009.jpg"
    picture = np.array(Image.open(path).convert("RGB"))
    with path.open("rb") as file:
        expected = model.mask(path)
        for mask in model.masks([str(path), file, picture, picture / 255, torch.from_numpy(picture).permute(2, 0, 1)]):
            np.testing.assert_array_equal(mask, expected)
    assert model.mask(picture[:, :, 0]).shape == expected.shape


def test_a_gpu_that_is_not_there_is_named(trained):
    with pytest.raises(InputError, match="--device cuda:1: PyTorch finds no such device here; it finds cpu"):
        load_seg_model(trained / "run", device="cuda:1")


def test_loose_images_get_masks_without_labels(trained, tmp_path, capsys):
    run = infer(trained, "--png --mirror")
    image = trained / "VOC2012/JPEGImages/2007_000009.jpg"
    place = f"--name run --experiments {trained} --out {tmp_path} --device cpu"
    predict.main(f"{image} {place}".split())
    assert names_in(tmp_path) == {"2007_000009.png", "2007_000009_overlay.jpg", "predictions.json"}
    (one,) = json.loads((tmp_path / "predictions.json").read_text())["images"]
    shown = {c["value"]: c["share"] for c in one["classes"]}
    mask = read(tmp_path / "2007_000009.png")
    assert shown == {c: pytest.approx((mask == c).mean()) for c in np.unique(mask).tolist() if c}
    assert one["background_score"] is None
    np.testing.assert_array_equal(read(tmp_path / "2007_000009.png"), read(run / "png" / "2007_000009.png"))
    assert "masks of a segmentation network" in capsys.readouterr().out
    with pytest.raises(InputError, match="is a segmentation network, which needs neither --labels nor --threshold"):
        predict.main(f"{image} {place} --labels dog".split())


def test_inference_goes_on_where_it_stopped(trained):
    run = infer(trained, "--png")
    removed = run / "png" / "2007_000010.png"
    mask = read(removed)
    removed.unlink()
    before = states(run / "png")
    infer_seg.main(f"--name run --experiments {trained} --device cpu --num_workers 0 --png".split())
    assert before.items() <= states(run / "png").items()
    np.testing.assert_array_equal(read(removed), mask)


def test_masks_made_otherwise_are_not_mixed(trained):
    infer(trained, "--png")
    with pytest.raises(InputError, match=r"png was made with mirror False, not True\. --overwrite replaces it"):
        infer_seg.main(f"--name run --experiments {trained} --device cpu --num_workers 0 --png --mirror".split())


def test_the_crf_changes_masks_and_keeps_probabilities(trained):
    pytest.importorskip("pydensecrf")
    run = infer(trained, "--dict --png --crf --iterations 2")
    scores = np.load(run / "dl" / "2007_000009.npy", allow_pickle=True).item()
    np.testing.assert_allclose(sum(scores.values()), 1, atol=1e-5)
    classes = np.array(sorted(scores))
    labels = classes[np.stack([scores[c] for c in classes]).argmax(0)]
    np.testing.assert_array_equal(read(run / "png" / "2007_000009.png"), labels)


def test_masks_of_labels_show_the_likeliest_class_that_an_image_is_labelled_with(trained):
    run = infer(trained, "--dict --val_list train")
    everything = {path.stem: np.load(path, allow_pickle=True).item() for path in (run / "dl").glob("*.npy")}
    infer(trained, "--png --labels --png-dir labelled --val_list train")
    assert len(everything) == len(names_in(run / "labelled")) == 8
    layout = open_layout(trained / "VOC2012")
    for image_id, scores in everything.items():
        named = [0, *(layout.labels([image_id])[0].nonzero()[0] + 1)]
        shape = scores[0].shape
        likeliest = np.array(named)[np.stack([scores.get(c, np.zeros(shape)) for c in named]).argmax(0)]
        np.testing.assert_array_equal(read(run / "labelled" / f"{image_id}.png"), likeliest)


def test_masks_of_images_whose_labels_have_changed_are_made_anew(trained, tmp_path):
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    masks, voc = tmp_path / "run" / "of_val", tmp_path / "VOC2012"
    command = f"--name run --experiments {tmp_path} --data-path {voc} --device cpu --num_workers 0 --png --labels"
    infer_seg.main(f"{command} --png-dir of_val".split())
    before = states(masks)
    shutil.copy(voc / "Annotations" / "2007_000009.xml", voc / "Annotations" / "2007_000008.xml")
    infer_seg.main(f"{command} --png-dir of_val".split())
    infer_seg.main(f"{command} --png-dir of_changed".split())
    assert {Path(name).name for name, state in states(masks).items() if before[name] != state} == {"2007_000008.png"}
    for path in masks.iterdir():
        np.testing.assert_array_equal(read(path), read(tmp_path / "run" / "of_changed" / path.name))


@pytest.mark.parametrize("labels", [[], [1], [0, 2]])
def test_probabilities_among_labels_are_those_of_a_softmax_over_them(labels):
    logits = torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(0))
    classes = torch.tensor([0, *(label + 1 for label in labels)])
    torch.testing.assert_close(infer_seg.among(logits.softmax(0), classes), logits[classes].softmax(0))


def test_images_of_a_list_without_masks_are_inferred(trained):
    (trained / "VOC2012/ImageSets/Segmentation/test.txt").write_text("2007_000001\n")
    run = infer(trained, "--server --val_list test")
    assert names_in(run / "results/VOC2012/Segmentation/comp6_test_cls") == {"2007_000001.png"}


def test_scripts_for_cams_refuse_a_segmentation_network(trained):
    with pytest.raises(InputError, match=r"run is a run of train_seg\.py, a segmentation network, which has no CAMs"):
        infer_trm.main(f"--name run --experiments {trained} --dict".split())


def test_an_experiment_of_another_script_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"holds no run of train_seg\.py"):
        infer_seg.main(f"--name nothing --experiments {tmp_path} --png".split())
    with pytest.raises(InputError, match="nothing to write"):
        infer_seg.main(["--name", "nothing"])


@pytest.mark.parametrize("damage", ["torn", "hostile", "other"])
def test_damaged_hostile_and_other_weights_are_refused(trained, tmp_path, damage):
    weights = tmp_path / "weights.pth"
    good = (trained / "run/ckpt/005net_seg.pth").read_bytes()
    if damage == "torn":
        weights.write_bytes(good[: len(good) // 2])
    elif damage == "hostile":
        torch.save({"model": Hostile(tmp_path / "executed")}, weights)
    else:
        torch.save({"head.weight": torch.zeros(3)}, weights)
    with pytest.raises(InputError, match=r"weights\.pth (is damaged|is no PyTorch|could run code|does not fit)"):
        infer(trained, f"--png --weights {weights}")
    assert not (tmp_path / "executed").exists()


class Hostile:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))
