"""Scoring from the command line's point of view: tasks, places, files, refusals."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evaluation import main as evaluate
from utils.cam_files import write_cam_dict
from utils.errors import InputError


@pytest.fixture
def ids(toy_voc) -> list[str]:
    return sorted(p.stem for p in (toy_voc / "SegmentationClass").iterdir())


@pytest.fixture
def truth(toy_voc, ids) -> dict[str, np.ndarray]:
    return {i: np.array(Image.open(toy_voc / "SegmentationClass" / f"{i}.png")) for i in ids}


@pytest.fixture
def perfect(tmp_path, truth) -> Path:
    """CAMs that are 0.5 on the object and 0.2 elsewhere."""
    folder = tmp_path / "cams"
    folder.mkdir()
    for image_id, mask in truth.items():
        classes = set(np.unique(mask)) - {0, 255}
        write_cam_dict(folder / f"{image_id}.npy", {c - 1: np.where(mask == c, 0.5, 0.2) for c in classes})
    return folder


def run(toy_voc: Path, predictions: Path, tmp_path: Path, extra: str = "", images: str = "train val") -> dict:
    lists = [(toy_voc / "ImageSets" / "Segmentation" / f"{name}.txt").read_text() for name in images.split()]
    (tmp_path / "list.txt").write_text("".join(lists))
    evaluate(
        f"--dict_dir {predictions} --gt_dir {toy_voc}/SegmentationClass --list {tmp_path}/list.txt "
        f"--json {tmp_path}/scores.json --num_workers 2 {extra}".split()
    )
    return json.loads((tmp_path / "scores.json").read_text())


def test_perfect_cams_score_full_marks_between_their_values(toy_voc, perfect, tmp_path, truth):
    scores = run(toy_voc, perfect, tmp_path)
    assert scores["thresholds"] == [round(i / 100, 2) for i in range(1, 100)]
    present = sorted(set(np.unique(np.concatenate([m.ravel() for m in truth.values()]))) - {255})
    assert [scores["iou"][29][c] for c in present] == [100] * len(present)
    assert scores["miou"][29] == pytest.approx(100 * len(present) / 21)
    assert scores["best"] == {"threshold": 0.2, "miou": pytest.approx(100 * len(present) / 21)}


def test_means_are_over_all_classes(toy_voc, perfect, tmp_path):
    scores = run(toy_voc, perfect, tmp_path)
    for row in range(99):
        assert scores["miou"][row] == pytest.approx(np.mean(scores["iou"][row]))
    assert len(scores["precision"]) == len(scores["recall"]) == 99


def test_the_number_of_processes_does_not_matter(toy_voc, perfect, tmp_path):
    assert run(toy_voc, perfect, tmp_path) == run(toy_voc, perfect, tmp_path, "--num_workers 1")


def test_the_terminal_shows_sweep_table_and_best(toy_voc, perfect, tmp_path, capsys):
    run(toy_voc, perfect, tmp_path)
    out = capsys.readouterr().out
    assert "mIoU by threshold" in out
    assert "background" in out
    assert "tvmonitor" in out
    assert "bicycle" in next(line for line in out.splitlines() if "not in the ground truth" in line)
    assert out.rstrip().endswith("at threshold 0.20")


@pytest.mark.parametrize("task", ["crf", "dl"])
def test_score_dicts_with_background_need_no_threshold(toy_voc, tmp_path, truth, task):
    folder = tmp_path / "scores"
    folder.mkdir()
    for image_id, mask in truth.items():
        classes = set(np.unique(mask)) - {255}
        write_cam_dict(folder / f"{image_id}.npy", {c: (mask == c) * 0.9 for c in classes})
    scores = run(toy_voc, folder, tmp_path, f"--task {task}")
    assert scores["thresholds"] == []
    assert scores["best"]["threshold"] is None
    assert scores["iou"][0][0] == 100


def test_score_dicts_without_background_are_refused(toy_voc, perfect, tmp_path):
    with pytest.raises(InputError, match="has no score for the background"):
        run(toy_voc, perfect, tmp_path, "--task crf")


def test_label_images_are_scored_with_undecided_pixels_as_missed(toy_voc, tmp_path, truth):
    folder = tmp_path / "png"
    folder.mkdir()
    for image_id, mask in truth.items():
        Image.fromarray(np.where(mask == 0, 0, 255).astype(np.uint8)).save(folder / f"{image_id}.png")
    scores = run(toy_voc, folder, tmp_path, "--task png")
    assert scores["iou"][0][0] == 100
    assert scores["recall"][0] == pytest.approx(100 / 21)
    assert scores["precision"][0] == pytest.approx(100 / 21)


def test_names_resolve_inside_the_experiment_and_the_data_set(toy_voc, perfect, tmp_path):
    perfect.rename(tmp_path / "e_dict")
    (tmp_path / "e").mkdir()
    (tmp_path / "e_dict").rename(tmp_path / "e" / "dict")
    evaluate(
        f"--name e --experiments {tmp_path} --exp dig_nano --data-path {toy_voc} --dict_dir dict --list val "
        f"--json {tmp_path}/out.json".split()
    )
    assert json.loads((tmp_path / "out.json").read_text())["best"]["threshold"] == 0.2


def test_classes_of_a_data_set_of_ones_own_are_used(toy_voc, tmp_path, truth):
    (toy_voc / "classes.txt").write_text("bar\nbaz\n")
    folder = tmp_path / "cams"
    folder.mkdir()
    for image_id, mask in truth.items():
        own = np.where(mask == 255, 255, 2 * (mask > 0)).astype(np.uint8)
        Image.fromarray(own).save(toy_voc / "SegmentationClass" / f"{image_id}.png")
        write_cam_dict(folder / f"{image_id}.npy", {1: (own == 2).astype(np.float32)})
    scores = run(toy_voc, folder, tmp_path)
    assert len(scores["iou"][0]) == 3
    assert scores["iou"][0] == [100, 0, 100]


DAMAGE = {
    "is missing": lambda path: path.unlink(),
    "is no CAM dict": lambda path: path.write_bytes(b""),
    r"\(2, 2\)": lambda path: write_cam_dict(path, {3: np.zeros((2, 2))}),
    "20 is no class": lambda path: write_cam_dict(path, {20: np.zeros((50, 60))}),
}


@pytest.mark.parametrize("message", DAMAGE)
def test_a_bad_file_is_named_and_nothing_is_scored(toy_voc, perfect, tmp_path, ids, message):
    DAMAGE[message](perfect / f"{ids[2]}.npy")
    with pytest.raises(InputError, match=rf"{ids[2]}\.npy.*{message}"):
        run(toy_voc, perfect, tmp_path)
    assert not (tmp_path / "scores.json").exists()


def test_a_missing_mask_is_named(toy_voc, perfect, tmp_path, ids):
    (toy_voc / "SegmentationClass" / f"{ids[0]}.png").unlink()
    with pytest.raises(InputError, match=rf"{ids[0]}\.png is missing"):
        run(toy_voc, perfect, tmp_path)


def test_a_missing_folder_says_what_to_run_first(toy_voc, tmp_path):
    with pytest.raises(InputError, match=r"nowhere is missing: run infer_trm\.py first"):
        run(toy_voc, tmp_path / "nowhere", tmp_path)
