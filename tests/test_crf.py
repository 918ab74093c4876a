"""Dense CRF: the settings of the field, probabilities, and the exponent of the background."""

import numpy as np
import pytest

from utils.crf import refine, require_crf
from utils.errors import InputError


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


@pytest.mark.parametrize("alpha", [1.0, 4.0])
def test_refinement_equals_a_direct_call(densecrf, alpha):
    image, cams = example()
    background = np.power(1 - np.maximum(cams[7], cams[2]), alpha)
    scores = np.maximum(np.stack([background, cams[7], cams[2]]), 1e-5)
    probabilities = scores / scores.sum(axis=0)
    crf = densecrf.DenseCRF2D(26, 20, 3)
    crf.setUnaryEnergy(np.ascontiguousarray(-np.log(probabilities).reshape(3, -1).astype(np.float32)))
    crf.addPairwiseGaussian(sxy=3, compat=3)
    crf.addPairwiseBilateral(sxy=80, srgb=13, rgbim=image, compat=10)
    expected = np.array(crf.inference(10)).reshape(3, 20, 26)

    refined = refine(image, cams, alpha)
    for row, c in enumerate((0, 8, 3)):
        np.testing.assert_allclose(refined[c], expected[row], atol=1e-5)


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
    with pytest.raises(InputError, match="--crf needs pydensecrf2: pip install pydensecrf2"):
        require_crf()
