"""Dense CRF: its settings, probabilities, the exponent of the background, and the command that refines files."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.experiments import make_experiment
from tests.helpers.processes import complete
from tools.crf import main as refine_files
from utils.cams.crf import refine, require_crf
from utils.cams.files import read_cam_dict, write_cam_dict
from utils.errors import InputError
from utils.options.results import CrfOptions


@pytest.fixture
def densecrf():
    return pytest.importorskip("pydensecrf.densecrf", reason="pydensecrf2 is not installed")


def example() -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """A noisy image of a bright square, and maps of two classes that find it roughly."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 40, (20, 26, 3))
    image[5:15, 6:18] += 150
    rough = np.zeros((20, 26), np.float32)
    rough[4:14, 8:20] = 0.7
    cams = {7: rough * rng.random((20, 26), np.float32), 2: 0.3 * rng.random((20, 26), np.float32)}
    return image.astype(np.uint8), cams


SETTINGS = {
    "iterations": 4,
    "gaussian_sxy": 1.5,
    "gaussian_weight": 2.0,
    "bilateral_sxy": 30.0,
    "bilateral_srgb": 7.0,
    "bilateral_weight": 5.0,
}
"""All different from the defaults."""


@pytest.mark.parametrize("alpha", [1.0, 4.0])
def test_refinement_equals_a_direct_call(densecrf, alpha):
    image, cams = example()
    expected = direct_call(densecrf, image, cams, alpha, (3, 3, 80, 13, 10, 10))
    refined = refine(image, cams, alpha)
    for row, c in enumerate((0, 8, 3)):
        np.testing.assert_allclose(refined[c], expected[row], atol=1e-5)


def test_settings_reach_the_crf(densecrf):
    image, cams = example()
    expected = direct_call(densecrf, image, cams, 4.0, (1.5, 2, 30, 7, 5, 4))
    refined = refine(image, cams, 4.0, CrfOptions(**SETTINGS))
    for row, c in enumerate((0, 8, 3)):
        np.testing.assert_allclose(refined[c], expected[row], atol=1e-5)


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_counts(densecrf, name):
    image, cams = example()
    changed = refine(image, cams, 4.0, CrfOptions(**{name: SETTINGS[name]}))
    assert np.abs(changed[0] - refine(image, cams, 4.0)[0]).max() > 1e-4


def direct_call(densecrf, image: np.ndarray, cams: dict[int, np.ndarray], alpha: float, settings: tuple) -> np.ndarray:
    """Scores of the background and of the classes 7 and 2, (3, H, W), from the library itself."""
    smooth_sxy, smooth, colour_sxy, colour_srgb, colour, iterations = settings
    background = np.power(1 - np.maximum(cams[7], cams[2]), alpha)
    scores = np.maximum(np.stack([background, cams[7], cams[2]]), 1e-5)
    probabilities = scores / scores.sum(axis=0)
    crf = densecrf.DenseCRF2D(26, 20, 3)
    crf.setUnaryEnergy(np.ascontiguousarray(-np.log(probabilities).reshape(3, -1).astype(np.float32)))
    crf.addPairwiseGaussian(sxy=smooth_sxy, compat=smooth)
    crf.addPairwiseBilateral(sxy=colour_sxy, srgb=colour_srgb, rgbim=image, compat=colour)
    return np.array(crf.inference(iterations)).reshape(3, 20, 26)


def test_background_is_0_and_classes_move_up_by_one(densecrf):
    image, cams = example()
    assert set(refine(image, cams, 4.0)) == {0, 8, 3}


def test_maps_are_float32_of_the_size_of_the_image(densecrf):
    image, cams = example()
    assert {(m.shape, m.dtype) for m in refine(image, cams, 4.0).values()} == {((20, 26), np.dtype(np.float32))}


def test_probabilities_sum_to_1(densecrf):
    image, cams = example()
    np.testing.assert_allclose(sum(refine(image, cams, 4.0).values()), 1, atol=1e-5)


def test_a_larger_exponent_leaves_less_background(densecrf):
    image, cams = example()
    shares = [refine(image, cams, alpha)[0].mean() for alpha in (1.0, 4.0, 8.0)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > shares[-1]


def test_refinement_follows_the_edges_of_the_image(densecrf):
    image, _ = example()
    square, shifted = np.zeros((20, 26), bool), np.zeros((20, 26), np.float32)
    square[5:15, 6:18] = True
    shifted[4:14, 8:20] = 0.9
    refined = refine(image, {7: shifted}, 4.0)[8]
    assert ((refined > 0.5) != square).sum() < 0.7 * ((shifted > 0.5) != square).sum()


def test_maps_that_reach_0_and_1_give_finite_probabilities(densecrf):
    image, _ = example()
    cam = np.zeros((20, 26), np.float32)
    cam[:10] = 1
    assert all(np.isfinite(m).all() for m in refine(image, {0: cam}, 8.0).values())


def test_an_image_whose_memory_is_mirrored_is_refined_as_its_copy(densecrf):
    image, cams = example()
    mirrored = image[:, ::-1]
    assert not mirrored.flags.c_contiguous
    np.testing.assert_array_equal(refine(mirrored, cams, 4.0)[8], refine(mirrored.copy(), cams, 4.0)[8])


def test_an_image_without_classes_is_all_background():
    refined = refine(np.zeros((4, 6, 3), np.uint8), {}, 4.0)
    assert list(refined) == [0]
    np.testing.assert_array_equal(refined[0], np.ones((4, 6)))


def test_a_missing_library_is_named_with_what_installs_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="the CRF needs pydensecrf2: pip install pydensecrf2"):
        require_crf()


def test_cams_of_other_tools_may_exceed_1(densecrf):
    image, cams = example()
    assert all(np.isfinite(m).all() for m in refine(image, {7: 3 * cams[7]}, 0.5).values())


@pytest.fixture
def experiment(tmp_path, toy_voc) -> Path:
    return make_experiment(tmp_path, toy_voc)


def run(experiment: Path, extra: str = "") -> dict[str, bytes]:
    """Refines the CAMs of an experiment; returns all its score files."""
    data = f"--data-path {experiment.parent}/VOC2012 --val_list train"
    refine_files(f"--name {experiment.name} --experiments {experiment.parent} {data} --num_workers 1 {extra}".split())
    return score_files(experiment)


def score_files(experiment: Path) -> dict[str, bytes]:
    return {f"{path.parent.name}/{path.name}": path.read_bytes() for path in experiment.glob("crf/*/*.npy")}


def test_files_are_refined_as_the_flags_say(densecrf, experiment, toy_voc):
    flags = " ".join(f"--{name} {value}" for name, value in SETTINGS.items())
    run(experiment, f"--alphas 4 0.5 {flags}")
    image = np.asarray(Image.open(toy_voc / "JPEGImages" / "2007_000001.jpg"))
    cams = read_cam_dict(experiment / "dict" / "2007_000001.npy")
    for alpha in (4.0, 0.5):
        written = read_cam_dict(experiment / "crf" / f"{alpha:g}" / "2007_000001.npy")
        expected = refine(image, cams, alpha, CrfOptions(**SETTINGS))
        assert sorted(written) == sorted(expected) == [0, 12, 18]
        for c, scores in written.items():
            np.testing.assert_array_equal(scores, expected[c])


def test_every_image_gets_scores_also_one_without_a_class(densecrf, experiment):
    files = run(experiment)
    assert sorted(files) == [f"{alpha}/2007_{i:06d}.npy" for alpha in (4, 8) for i in range(4)]
    assert list(read_cam_dict(experiment / "crf" / "4" / "2007_000000.npy")) == [0]


def test_several_processes_write_the_same_bytes_as_one(densecrf, experiment):
    assert run(experiment, "--num_workers 3 --overwrite") == run(experiment, "--overwrite")


def test_only_what_is_missing_is_refined(densecrf, experiment, capsys):
    before = run(experiment)
    first, *others = sorted(experiment.glob("crf/*/*.npy"))
    times = [path.stat().st_mtime_ns for path in others]
    first.unlink()
    capsys.readouterr()
    assert run(experiment) == before
    assert "4 images of train, 2 alphas; 7 files are there already" in capsys.readouterr().out
    assert [path.stat().st_mtime_ns for path in others] == times


def test_cams_that_have_changed_are_refined_again(densecrf, experiment):
    before = run(experiment)
    path = experiment / "dict" / "2007_000003.npy"
    write_cam_dict(path, {c: 1 - cam for c, cam in read_cam_dict(path).items()})
    os.utime(path, (2e9, 2e9))  # a clock may tick too slowly to tell
    after = run(experiment)
    assert {name for name in before if before[name] != after[name]} == {"4/2007_000003.npy", "8/2007_000003.npy"}


def test_scores_of_other_settings_are_not_mixed(densecrf, experiment):
    before = run(experiment)
    with pytest.raises(InputError, match=r"crf/4 was made with iterations 10, not 9\. --overwrite replaces it"):
        run(experiment, "--iterations 9")
    assert score_files(experiment) == before
    assert run(experiment, "--iterations 1 --overwrite") != before


def test_scores_of_other_cams_are_not_mixed(densecrf, experiment, tmp_path):
    run(experiment)
    (experiment / "dict").rename(tmp_path / "others")
    with pytest.raises(InputError, match=r"crf/4 was made with files '.*/run/dict', not '.*/others'"):
        run(experiment, f"--dict_dir {tmp_path}/others")


def test_images_without_cams_are_counted(densecrf, experiment):
    for i in (1, 3):
        (experiment / "dict" / f"2007_{i:06d}.npy").unlink()
    with pytest.raises(InputError, match=r"dict/2007_000001\.npy is missing, and so are 1 more of 4: infer them first"):
        run(experiment)
    assert not (experiment / "crf").exists()


def test_cams_of_another_size_than_their_image_are_refused_by_file(densecrf, experiment):
    write_cam_dict(experiment / "dict" / "2007_000001.npy", {11: np.zeros((2, 2))})
    with pytest.raises(InputError, match=r"2007_000001\.npy: class 11 is \(2, 2\)"):
        run(experiment)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--alphas 4 8 4.0000001", "--alphas must all differ, got 4 8 4"),
        ("--iterations 0", "--iterations must be at least 1"),
        ("--bilateral_srgb 0", "--bilateral-srgb must be at least 0.1"),
        ("--gaussian_weight -1", "--gaussian-weight must be at least 0"),
    ],
)
def test_settings_out_of_range_are_refused_by_flag(experiment, flags, message):
    with pytest.raises(InputError, match=message):
        run(experiment, flags)


def test_the_command_is_found_in_tools_and_refuses_in_one_line(densecrf, tmp_path):
    result = complete(f"-m tools.crf --name none --experiments {tmp_path} --data-path nowhere", tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: there is no experiment {tmp_path / 'none'}")
    assert len(result.stderr.splitlines()) == 1
