"""Pseudo-masks: their labels, what two thresholds or exponents leave undecided, their files, and the command."""

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.layouts.voc import VocLayout
from evaluation import main as evaluate
from tests.helpers.experiments import make_experiment
from tests.helpers.processes import complete
from tools.crf import main as refine_files
from tools.masks import main as write_masks
from utils.cams.files import read_cam_dict, read_score_dict, write_cam_dict
from utils.cams.masks import read_mask, voc_palette
from utils.cams.pseudo_masks import score_mask, threshold_mask
from utils.errors import InputError
from utils.scoring.metrics import label_map

CAMS = {7: np.array([[0.5, 0.2, 0.1, 0.3]], np.float32), 2: np.array([[0.1, 0.4, 0.1, 0.3]], np.float32)}


def test_the_largest_cam_above_the_threshold_wins():
    np.testing.assert_array_equal(threshold_mask(CAMS, (1, 4), (0.25,)), [[8, 3, 0, 3]])


def test_background_wins_ties():
    np.testing.assert_array_equal(threshold_mask(CAMS, (1, 4), (0.3,)), [[8, 3, 0, 0]])


def test_what_two_thresholds_label_differently_is_undecided():
    np.testing.assert_array_equal(threshold_mask(CAMS, (1, 4), (0.05, 0.35)), [[8, 3, 255, 255]])


def test_an_image_without_a_class_is_all_background():
    mask = threshold_mask({}, (2, 3), (0.1, 0.3))
    np.testing.assert_array_equal(mask, np.zeros((2, 3)))
    assert mask.dtype == np.uint8


def test_scores_label_every_pixel_and_two_of_them_where_they_agree():
    rows = np.array(
        [[[0.5, 0.3, 0.2], [0.3, 0.4, 0.2], [0.2, 0.3, 0.6]], [[0.1, 0.6, 0.2], [0.7, 0.3, 0.2], [0.2, 0.1, 0.6]]]
    )
    few, many = ({c: row[None] for c, row in zip((0, 4, 9), scores, strict=True)} for scores in rows)
    np.testing.assert_array_equal(score_mask([few]), [[0, 4, 9]])
    np.testing.assert_array_equal(score_mask([few, many]), [[255, 255, 9]])


def test_cams_are_not_taken_for_scores(tmp_path):
    write_cam_dict(tmp_path / "cams.npy", CAMS)
    with pytest.raises(InputError, match=r"cams\.npy has no score for the background, class 0"):
        read_score_dict(tmp_path / "cams.npy", (1, 4), 20)


@pytest.fixture
def experiment(tmp_path, toy_voc) -> Path:
    return make_experiment(tmp_path, toy_voc)


@pytest.fixture
def refined(experiment) -> Path:
    """An experiment with CRF scores of two exponents."""
    pytest.importorskip("pydensecrf", reason="pydensecrf2 is not installed")
    refine_files(f"{where(experiment)} --val_list train --alphas 0.2 8".split())
    return experiment


def where(experiment: Path) -> str:
    return (
        f"--name {experiment.name} --experiments {experiment.parent} --data-path {experiment.parent}/VOC2012 --num_workers 1"
    )


def run(experiment: Path, extra: str) -> dict[str, bytes]:
    """Makes masks of the list `train`; returns their files."""
    write_masks(f"{where(experiment)} --val_list train {extra}".split())
    return {path.name: path.read_bytes() for path in (experiment / "png").iterdir()}


def score(experiment: Path, extra: str) -> dict:
    evaluate(f"{where(experiment)} --list train --json {experiment}/scores.json {extra}".split())
    return json.loads((experiment / "scores.json").read_text())


def test_masks_reopen_with_their_values_and_the_devkits_colours(experiment):
    assert sorted(run(experiment, "--low 0.3 --high 0.6")) == [f"2007_{i:06d}.png" for i in range(4)]
    cams = read_cam_dict(experiment / "dict" / "2007_000001.npy")
    with Image.open(experiment / "png" / "2007_000001.png") as image:
        assert image.mode == "P"
        assert image.getpalette() == voc_palette().ravel().tolist()
        np.testing.assert_array_equal(np.array(image), threshold_mask(cams, (image.height, image.width), (0.3, 0.6)))
    assert np.unique(np.array(image)).tolist() == [0, 12, 18, 255]
    assert not read_mask(experiment / "png" / "2007_000000.png", None, 20).any()


@pytest.mark.parametrize("threshold", [0.29, 0.5, 0.7])
def test_masks_score_what_the_sweep_says_of_their_threshold(experiment, threshold):
    sweep = score(experiment, "")
    run(experiment, f"--threshold {threshold}")
    masks = score(experiment, "--task png")
    row = sweep["thresholds"].index(threshold)
    assert masks["miou"] == [sweep["miou"][row]]
    assert masks["iou"] == [sweep["iou"][row]]


def test_cams_that_equal_the_threshold_are_background_in_masks_and_sweep(experiment):
    for path in (experiment / "dict").iterdir():
        write_cam_dict(path, {c: np.round(cam, 2) for c, cam in read_cam_dict(path).items()})
    sweep = score(experiment, "")
    run(experiment, "--threshold 0.57")
    assert score(experiment, "--task png")["miou"] == [sweep["miou"][56]]


def test_the_best_threshold_is_the_one_that_scoring_found(experiment):
    best = score(experiment, "")["best"]
    by_name = run(experiment, "")
    assert by_name == run(experiment, f"--threshold {best['threshold']} --overwrite")
    assert score(experiment, "--task png")["best"]["miou"] == best["miou"]


def test_there_is_no_best_threshold_before_scoring(experiment):
    with pytest.raises(InputError, match=r"run/evaluation\.json is missing: --threshold best needs evaluation\.py"):
        run(experiment, "")


def test_the_best_threshold_of_other_weights_is_refused(experiment):
    made_with = experiment / "dict.made_with.json"
    made_with.write_text('{"weights": "aaaa"}')
    score(experiment, "")
    made_with.write_text('{"weights": "bbbb"}')
    with pytest.raises(InputError, match=r"evaluation\.json is of CAMs with weights 'aaaa', not 'bbbb': score these"):
        run(experiment, "")


@pytest.mark.parametrize(("other", "message"), [({"scales": [1.0, 1.8]}, r"with scales None, not \[1.0, 1.8\]"), ({}, "")])
def test_the_best_threshold_is_that_of_cams_made_alike_on_any_device(experiment, other, message):
    made_with = experiment / "dict.made_with.json"
    made_with.write_text('{"weights": "aaaa", "device": "cuda in float32"}')
    score(experiment, "")
    made_with.write_text(json.dumps({"weights": "aaaa", "device": "cpu in float32", **other}))
    with pytest.raises(InputError, match=message) if message else contextlib.nullcontext():
        run(experiment, "")


@pytest.mark.parametrize("text", ["[1]", "{", '{"threshold": "high", "weights": ""}', '{"threshold": 7, "weights": ""}'])
def test_a_damaged_best_threshold_is_refused_by_file(experiment, text):
    (experiment / "evaluation.json").write_text(text)
    with pytest.raises(InputError, match=r"evaluation\.json .*; score the CAMs anew"):
        run(experiment, "")


def test_masks_of_scores_are_undecided_where_two_exponents_disagree(refined):
    run(refined, "--source crf")
    folders = [refined / "crf" / alpha / "2007_000003.npy" for alpha in ("0.2", "8")]
    few, many = (label_map(read_cam_dict(path)) for path in folders)
    mask = read_mask(refined / "png" / "2007_000003.png", few.shape, 20)
    np.testing.assert_array_equal(mask, np.where(few == many, few, 255))
    assert 255 in mask


def test_masks_of_one_exponent_label_every_pixel(refined):
    run(refined, "--source crf --alphas 8")
    for path in (refined / "png").iterdir():
        assert 255 not in read_mask(path, None, 20)
    assert score(refined, "--task png")["iou"] == score(refined, "--task crf --dict_dir crf/8")["iou"]


def test_more_than_two_exponents_are_to_be_named(refined):
    refine_files(f"{where(refined)} --val_list train --alphas 3".split())
    with pytest.raises(InputError, match=r"run/crf holds 0\.2, 3, 8: name one or two with --alphas"):
        run(refined, "--source crf")


def test_scores_of_different_settings_do_not_make_a_mask(refined):
    refine_files(f"{where(refined)} --val_list train --alphas 8 --iterations 2 --overwrite".split())
    with pytest.raises(InputError, match=r"crf/0\.2 and .*crf/8 were made with different iterations"):
        run(refined, "--source crf")


def test_masks_of_scores_that_are_not_there_say_what_makes_them(experiment):
    with pytest.raises(InputError, match=r"run/crf is missing: run infer_trm\.py --crf or python -m tools\.crf first"):
        run(experiment, "--source crf")


def test_several_processes_write_the_same_bytes_as_one(experiment):
    assert run(experiment, "--threshold 0.4 --num_workers 3") == run(experiment, "--threshold 0.4 --overwrite")


def test_only_what_is_missing_is_written(experiment, capsys):
    before = run(experiment, "--threshold 0.4")
    first, *others = sorted((experiment / "png").iterdir())
    times = [path.stat().st_mtime_ns for path in others]
    first.unlink()
    capsys.readouterr()
    assert run(experiment, "--threshold 0.4") == before
    assert "masks at threshold 0.4 of 4 images of train, 3 of them there already" in capsys.readouterr().out
    assert [path.stat().st_mtime_ns for path in others] == times


def test_masks_of_another_threshold_are_not_mixed(experiment):
    run(experiment, "--threshold 0.4")
    with pytest.raises(InputError, match=r"run/png was made with thresholds \[0\.4\], not \[0\.2, 0\.4\]\. --overwrite"):
        run(experiment, "--low 0.2 --high 0.4")


def test_masks_from_elsewhere_are_left_alone(experiment):
    (experiment / "png").mkdir()
    (experiment / "png" / "mine.png").write_bytes(b"mine")
    with pytest.raises(InputError, match="run/png holds files from elsewhere"):
        run(experiment, "--threshold 0.4")


def test_turned_images_have_masks_as_they_are_seen(experiment, toy_voc):
    path = VocLayout(toy_voc).image_path("2007_000001")
    with Image.open(path) as image:
        upright = image.transpose(Image.Transpose.ROTATE_90)
        exif = Image.Exif()
        exif[0x0112] = 6  # stored lying on its left side
        upright.save(path, exif=exif)
        run(experiment, "--threshold 0.4")
        assert read_mask(experiment / "png" / "2007_000001.png", None, 20).shape == (image.height, image.width)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--threshold high", "--threshold takes best or a number from 0 to 1, got 'high'"),
        ("--threshold 1.5", "--threshold takes best or a number from 0 to 1, got '1.5'"),
        ("--threshold nan", "--threshold takes best or a number from 0 to 1, got 'nan'"),
        ("--low 0.2", "--low and --high take two scores, 0 <= LOW < HIGH, got 0.2 and -1"),
        ("--low 0.5 --high 0.5", "0 <= LOW < HIGH, got 0.5 and 0.5"),
        ("--low -0.5 --high 0.5", "0 <= LOW < HIGH"),
        ("--threshold 0.3 --low 0.2 --high 0.4", "--threshold and --low with --high exclude each other"),
        ("--source crf --alphas 1 2 3", "--source crf takes one of --alphas or two, got 1 2 3"),
        ("--source png", "--source"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(experiment, flags, message):
    with pytest.raises(InputError, match=message):
        run(experiment, flags)
    assert not (experiment / "png").exists()


def test_the_command_is_found_in_tools(experiment):
    line = f"-m tools.masks {where(experiment)} --val_list train --threshold"
    done, refused = (complete(f"{line} {value}", experiment) for value in ("0.4", "2"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == f"done: {experiment}/png"
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
