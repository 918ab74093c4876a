"""Scoring from the command line's point of view: tasks, places, files, refusals."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.labels.classes import COCO_CLASSES, VOC_CLASSES
from evaluation import main as evaluate
from tests.helpers.shared import COCO_MINI, needs_coco_mini
from tests.helpers.toy_data import COCO_OBJECTS, coco_stem, make_toy_coco, make_toy_voc
from utils.cams.files import read_cam_dict, write_cam_dict
from utils.cams.masks import read_mask, write_mask
from utils.errors import InputError
from utils.experiment.saved import save_options
from utils.options.training import TrainOptions


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


def test_masks_without_any_class_are_refused(toy_voc, perfect, tmp_path):
    for path in (toy_voc / "SegmentationClass").iterdir():
        write_mask(path, np.where(np.array(Image.open(path)) > 0, 255, 0).astype(np.uint8))
    with pytest.raises(
        InputError, match=r"no mask of these 6 images in \S+/SegmentationClass holds a class: 0 is the backg"
    ):
        run(toy_voc, perfect, tmp_path)
    assert not (tmp_path / "scores.json").exists()


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


@pytest.fixture
def experiment(toy_voc, perfect, tmp_path) -> Path:
    """An experiment without a run, with CAMs, score dicts of two exponents and masks."""
    folder = tmp_path / "experiments" / "e"
    folder.mkdir(parents=True)
    perfect.rename(folder / "dict")
    for path in (folder / "dict").iterdir():
        cams = read_cam_dict(path)
        for alpha, score in (("4", 0.3), ("8", 0.6)):
            scores = {c + 1: cam for c, cam in cams.items()}
            shape = next(iter(cams.values())).shape
            write_cam_dict(folder / "crf" / alpha / path.name, {0: np.full(shape, score), **scores})
        write_mask(folder / "png" / f"{path.stem}.png", np.zeros(shape, np.uint8))
    return folder


def score_experiment(experiment: Path, toy_voc: Path, extra: str = "") -> dict:
    place = f"--name e --experiments {experiment.parent} --data-path {toy_voc} --list val --num_workers 1"
    evaluate(f"{place} --json {experiment}/out.json {extra}".split())
    return json.loads((experiment / "out.json").read_text())


def test_every_task_knows_where_its_predictions_are(experiment, toy_voc):
    assert score_experiment(experiment, toy_voc)["best"]["threshold"] == 0.2
    assert score_experiment(experiment, toy_voc, "--task png")["recall"] == [pytest.approx(100 / 21)]
    shutil.rmtree(experiment / "crf" / "8")
    assert score_experiment(experiment, toy_voc, "--task crf")["iou"][0][0] == 100


def test_several_folders_of_scores_are_to_be_named(experiment, toy_voc):
    with pytest.raises(InputError, match=r"experiments/e holds crf/4, crf/8: name one of them with --dict-dir"):
        score_experiment(experiment, toy_voc, "--task crf")
    few = score_experiment(experiment, toy_voc, "--task crf --dict_dir crf/4")
    assert few["miou"] > score_experiment(experiment, toy_voc, "--task crf --dict_dir crf/8")["miou"]


def test_scores_of_another_network_are_to_be_named(experiment, toy_voc):
    with pytest.raises(InputError, match="--task dl needs the folder of a network's score dicts: name it with --dict-dir"):
        score_experiment(experiment, toy_voc, "--task dl")


@pytest.mark.parametrize(("task", "folder"), [("cam", "dict"), ("png", "png"), ("crf", "crf")])
def test_an_experiment_without_predictions_says_which_are_missing(experiment, toy_voc, task, folder):
    shutil.rmtree(experiment / folder)
    with pytest.raises(InputError, match=rf"experiments/e/{folder} is missing: run infer_trm\.py first"):
        score_experiment(experiment, toy_voc, f"--task {task}")


def test_the_best_threshold_stays_in_the_experiment(experiment, toy_voc):
    (experiment / "dict.made_with.json").write_text('{"weights": "0123"}')
    scores = score_experiment(experiment, toy_voc)
    assert json.loads((experiment / "evaluation.json").read_text()) == {
        "task": "cam",
        "list": "val",
        "data": str(toy_voc.resolve()),
        "weights": "0123",
        "made_with": {"weights": "0123"},
        **scores["best"],
    }


def test_a_data_set_with_other_classes_than_the_run_is_refused(experiment, toy_voc):
    options = TrainOptions(name="e", experiments=str(experiment.parent), data_path=str(toy_voc))
    save_options(options, VOC_CLASSES[::-1])
    with pytest.raises(InputError, match=r"VOC2012 has other classes than the run .*/e was trained on"):
        score_experiment(experiment, toy_voc)


def test_cams_of_each_folder_have_their_own_best_threshold(experiment, toy_voc):
    score_experiment(experiment, toy_voc)
    before = (experiment / "evaluation.json").read_bytes()
    shutil.copytree(experiment / "dict", experiment / "dict_pamr")
    score_experiment(experiment, toy_voc, "--dict-dir dict_pamr")
    assert (experiment / "evaluation.json").read_bytes() == before
    assert (experiment / "evaluation.dict_pamr.json").exists()


def test_other_tasks_leave_the_best_threshold_as_it_is(experiment, toy_voc):
    score_experiment(experiment, toy_voc)
    before = (experiment / "evaluation.json").read_bytes()
    score_experiment(experiment, toy_voc, "--task png")
    assert (experiment / "evaluation.json").read_bytes() == before


def test_cams_from_elsewhere_leave_no_best_threshold(experiment, toy_voc, tmp_path):
    (experiment / "dict").rename(tmp_path / "others")
    score_experiment(experiment, toy_voc, f"--dict_dir {tmp_path}/others")
    assert not (experiment / "evaluation.json").exists()


def test_an_experiment_that_cannot_be_written_to_is_scored_all_the_same(experiment, toy_voc, tmp_path, capsys):
    (experiment / "evaluation.json").mkdir()
    (experiment / "evaluation.json" / "in the way").touch()
    assert score_experiment(experiment, toy_voc)["best"]["threshold"] == 0.2
    assert "the best threshold is not kept: " in capsys.readouterr().out


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


@pytest.mark.parametrize("place", ["", "masks"])
def test_masks_alone_have_the_classes_beside_or_among_them(tmp_path, place):
    (tmp_path / "masks").mkdir()
    (tmp_path / place / "classes.txt").write_text("bar\nbaz\n")
    mask = np.array([[0, 2], [2, 2]], np.uint8)
    Image.fromarray(mask).save(tmp_path / "masks" / "one.png")
    write_cam_dict(tmp_path / "cams" / "one.npy", {1: (mask == 2).astype(np.float32)})
    (tmp_path / "list.txt").write_text("one\n")
    flags = f"--dict_dir {tmp_path}/cams --gt_dir {tmp_path}/masks --list {tmp_path}/list.txt --json {tmp_path}/scores.json"
    evaluate([*flags.split(), "--num_workers", "1"])
    assert json.loads((tmp_path / "scores.json").read_text())["iou"][0] == [100, 0, 100]


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


def coco_evaluate(folder: Path, predictions: Path, extra: str) -> dict:
    evaluate(f"--dict_dir {predictions} --json {folder}/scores.json --num_workers 1 {extra}".split())
    return json.loads((folder / "scores.json").read_text())


@pytest.fixture
def coco(tmp_path) -> Path:
    """A tiny COCO with masks, in the folder that nothing else is in."""
    return make_toy_coco(tmp_path / "data" / "mine", masks=True)


@pytest.fixture
def coco_cams(coco, tmp_path) -> Path:
    """CAMs that are 0.5 on the object and 0.2 elsewhere, under the names of the images."""
    for path in coco.glob("SegmentationClass/*/*.png"):
        mask = read_mask(path, None, 80)
        classes = set(np.unique(mask).tolist()) - {0, 255}
        (tmp_path / "cams").mkdir(exist_ok=True)
        write_cam_dict(tmp_path / "cams" / f"{path.stem}.npy", {c - 1: np.where(mask == c, 0.5, 0.2) for c in classes})
    return tmp_path / "cams"


@pytest.fixture
def alone(tmp_path, monkeypatch) -> None:
    """No data set lies where the recipes look for theirs."""
    monkeypatch.chdir(tmp_path)


SHOWN = {"background", "cat", "dog", "car", "couch", "tv", "person", "horse", "toothbrush"}
"""Classes in the masks of the toy's train2014."""


def shown(scores: dict) -> set[str]:
    """Classes with full marks at threshold 0.3; all others have none."""
    assert set(scores["iou"][29]) == {0, 100}
    return {name for name, iou in zip(("background", *COCO_CLASSES), scores["iou"][29], strict=True) if iou == 100}


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("images", ["train2014", "train"])
def test_coco_is_scored_by_paths_alone(coco, coco_cams, tmp_path, images):
    scores = coco_evaluate(tmp_path, coco_cams, f"--gt_dir {coco}/SegmentationClass --list {images}")
    assert shown(scores) == SHOWN


@pytest.mark.usefixtures("alone")
def test_coco_is_scored_by_a_list_of_numbers(coco, coco_cams, tmp_path):
    (tmp_path / "list.txt").write_text("9\n000000000042\n")
    scores = coco_evaluate(tmp_path, coco_cams, f"--gt_dir {coco}/SegmentationClass --list {tmp_path}/list.txt")
    assert shown(scores) == {"background", "cat", "dog"}


@pytest.mark.usefixtures("alone")
def test_coco_is_scored_on_a_draw(coco, coco_cams, tmp_path, capsys):
    coco_evaluate(tmp_path, coco_cams, f"--gt_dir {coco}/SegmentationClass --list train:2")
    assert capsys.readouterr().out.startswith("cam: 2 images")


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("stem", ["COCO_train2014_{:012d}", "{:012d}", "{}", "train2014/{:012d}", "train2014/{}"])
def test_masks_of_coco_are_scored_under_every_spelling(coco, coco_cams, tmp_path, stem):
    for number in COCO_OBJECTS["train2014"]:
        old = coco / "SegmentationClass" / "train2014" / f"{coco_stem('train2014', number)}.png"
        old.rename(coco / "SegmentationClass" / f"{stem.format(number)}.png")
    scores = coco_evaluate(tmp_path, coco_cams, f"--gt_dir {coco}/SegmentationClass --list train2014")
    assert shown(scores) == SHOWN


@pytest.mark.usefixtures("alone")
def test_masks_of_coco_without_its_images_are_scored_by_a_list(coco, coco_cams, tmp_path):
    masks = (coco / "SegmentationClass").rename(tmp_path / "masks")
    (tmp_path / "list.txt").write_text("".join(f"{coco_stem('train2014', i)}\n" for i in COCO_OBJECTS["train2014"]))
    scores = coco_evaluate(tmp_path, coco_cams, f"--gt_dir {masks}/train2014 --list {tmp_path}/list.txt")
    assert shown(scores) == SHOWN


@pytest.mark.usefixtures("alone")
def test_masks_of_one_split_may_be_named(coco, coco_cams, tmp_path):
    (tmp_path / "list.txt").write_text("".join(f"{coco_stem('train2014', i)}\n" for i in COCO_OBJECTS["train2014"]))
    folder = coco / "SegmentationClass" / "train2014"
    assert shown(coco_evaluate(tmp_path, coco_cams, f"--gt_dir {folder} --list {tmp_path}/list.txt")) == SHOWN


def test_masks_elsewhere_are_scored_with_the_data_set_that_is_named(coco, coco_cams, tmp_path):
    (coco / "SegmentationClass").rename(tmp_path / "masks")
    scores = coco_evaluate(tmp_path, coco_cams, f"--gt_dir {tmp_path}/masks --data_path {coco} --list train2014")
    assert shown(scores) == SHOWN


@pytest.mark.usefixtures("alone")
def test_masks_of_another_data_set_than_the_default_have_its_classes(coco, coco_cams, tmp_path):
    make_toy_voc(tmp_path / "data" / "VOC2012")
    scores = coco_evaluate(tmp_path, coco_cams, f"--gt_dir {coco}/SegmentationClass --list train2014")
    assert shown(scores) == SHOWN


@pytest.mark.usefixtures("alone")
def test_a_list_with_an_image_that_coco_lacks_is_refused(coco, coco_cams, tmp_path):
    (tmp_path / "list.txt").write_text("1000\n")
    with pytest.raises(InputError, match=r"list\.txt: .*holds no image 1000"):
        coco_evaluate(tmp_path, coco_cams, f"--gt_dir {coco}/SegmentationClass --list {tmp_path}/list.txt")


@pytest.mark.usefixtures("alone")
def test_a_missing_mask_of_coco_is_named(coco, coco_cams, tmp_path):
    (coco / "SegmentationClass" / "train2014" / f"{coco_stem('train2014', 9)}.png").unlink()
    with pytest.raises(InputError, match=rf"{coco_stem('train2014', 9)}\.png is missing"):
        coco_evaluate(tmp_path, coco_cams, f"--gt_dir {coco}/SegmentationClass --list train2014")


@needs_coco_mini
@pytest.mark.usefixtures("alone")
def test_real_masks_of_coco_score_full_marks_against_themselves(tmp_path):
    masks = COCO_MINI / "SegmentationClass"
    scores = coco_evaluate(tmp_path, masks / "val2014", f"--task png --gt_dir {masks} --list val2014")
    values = np.unique(np.concatenate([np.unique(read_mask(p, None, 80)) for p in (masks / "val2014").iterdir()]))
    assert np.flatnonzero(np.array(scores["iou"][0]) == 100).tolist() == sorted({*values.tolist()} - {255})
