"""Scores against a direct computation: one argmax per threshold, and sets of pixels."""

import math

import numpy as np
import pytest

from utils.scoring.metrics import IGNORE, SWEEP, Confusion, Scores, ThresholdSweep, label_map


def prediction_at(cams: dict[int, np.ndarray], threshold: float, shape: tuple[int, int], num_classes: int) -> np.ndarray:
    """(H, W): the background scores the threshold, a class that is not in the image 0, the first of the largest wins."""
    scores = np.zeros((num_classes + 1, *shape), np.float32)
    scores[0] = threshold
    for c, cam in cams.items():
        scores[c + 1] = cam
    return scores.argmax(0)


def direct_scores(predictions: list[np.ndarray], masks: list[np.ndarray], num_classes: int) -> np.ndarray:
    """(3, C + 1): IoU, precision, recall in percent, from sets of pixels."""
    prediction = np.concatenate([p.ravel() for p in predictions]).astype(int)
    truth = np.concatenate([m.ravel() for m in masks]).astype(int)
    prediction, truth = prediction[truth != 255], truth[truth != 255]
    rows = []
    for c in range(num_classes + 1):
        p, t = set(np.flatnonzero(prediction == c)), set(np.flatnonzero(truth == c))
        rows.append([100 * len(p & t) / len(whole) if whole else 0.0 for whole in (p | t, p, t)])
    return np.array(rows).T


def random_case(seed: int, num_classes: int, levels: int | None, images: int = 3):
    """Images with random maps of some classes; `levels` coarsens them, so that they tie with each other and thresholds."""
    rng = np.random.default_rng(seed)
    case = []
    for _ in range(images):
        shape = tuple(rng.integers(5, 12, 2))
        present = rng.choice(num_classes, rng.integers(1, num_classes + 1), replace=False)
        maps = {int(c): rng.random(shape, np.float32) for c in present}
        if levels:
            maps = {c: (np.round(m * levels) / levels).astype(np.float32) for c, m in maps.items()}
        mask = rng.integers(0, num_classes + 1, shape).astype(np.uint8)
        mask[rng.random(shape) < 0.1] = 255
        case.append((maps, mask))
    return case


def sweep_of(case, num_classes: int, thresholds=SWEEP) -> Scores:
    sweep = ThresholdSweep(num_classes, thresholds)
    for maps, mask in case:
        sweep.add(maps, mask)
    return sweep.scores()


def assert_scores_as_direct(scores: Scores, case, num_classes: int, thresholds) -> None:
    for k, threshold in enumerate(np.asarray(thresholds, np.float32)):
        predictions = [prediction_at(maps, threshold, mask.shape, num_classes) for maps, mask in case]
        expected = direct_scores(predictions, [mask for _, mask in case], num_classes)
        np.testing.assert_allclose((scores.iou[k], scores.precision[k], scores.recall[k]), expected, atol=1e-9)


def test_the_sweep_covers_the_hundredths():
    assert len(SWEEP) == 99
    np.testing.assert_allclose(SWEEP, [k / 100 for k in range(1, 100)])


@pytest.mark.parametrize("seed", range(4))
def test_sweep_equals_one_argmax_per_threshold(seed):
    case = random_case(seed, 4, levels=None)
    assert_scores_as_direct(sweep_of(case, 4), case, 4, SWEEP)


@pytest.mark.parametrize("levels", [2, 4, 10, 20, 100])
def test_sweep_equals_one_argmax_per_threshold_where_scores_tie(levels):
    case = random_case(levels, 3, levels)
    assert_scores_as_direct(sweep_of(case, 3), case, 3, SWEEP)


def test_sweep_with_other_thresholds_equals_one_argmax_each():
    thresholds = (0.0, 0.25, 0.5, 1.0)
    case = random_case(7, 3, levels=4)
    assert_scores_as_direct(sweep_of(case, 3, thresholds), case, 3, thresholds)


def test_background_wins_ties_with_the_threshold():
    scores = sweep_of([({0: np.full((1, 1), 0.5, np.float32)}, np.array([[0]]))], 1, (0.49, 0.5, 0.51))
    assert scores.iou[:, 0].tolist() == [0, 100, 100]


def test_the_lower_class_wins_ties_between_classes():
    half = np.full((1, 1), 0.5, np.float32)
    scores = sweep_of([({2: half, 1: half}, np.array([[2]]))], 3, (0.1,))
    assert scores.recall[0].tolist() == [0, 0, 100, 0]


def test_sweep_scores_of_a_small_example_by_hand():
    # Truth 1 1 0 0; the class scores 0.9 0.4 0.6 0.1.
    scores = sweep_of([({0: np.array([[0.9, 0.4, 0.6, 0.1]], np.float32)}, np.array([[1, 1, 0, 0]]))], 1, (0.2, 0.5, 0.95))
    np.testing.assert_allclose(scores.iou, [[50, 200 / 3], [100 / 3, 100 / 3], [50, 0]])
    np.testing.assert_allclose(scores.precision, [[100, 200 / 3], [50, 50], [50, 0]])
    np.testing.assert_allclose(scores.recall, [[50, 100], [50, 50], [100, 0]])
    np.testing.assert_allclose(scores.miou, [175 / 3, 100 / 3, 25])


def test_an_image_without_maps_is_background_at_every_threshold():
    scores = sweep_of([({}, np.array([[0, 0, 0, 1]]))], 1)
    assert (scores.iou == [75, 0]).all()


def test_ignored_pixels_do_not_count():
    maps = {0: np.array([[0.9, 0.9, 0.1]], np.float32)}
    scores = sweep_of([(maps, np.array([[1, IGNORE, 0]]))], 1, (0.5,))
    assert scores.iou.tolist() == [[100, 100]]
    assert scores.pixels.tolist() == [1, 1]


def test_a_wholly_ignored_image_changes_nothing():
    case = random_case(3, 2, None)
    ignored = ({0: np.ones((4, 4), np.float32)}, np.full((4, 4), IGNORE, np.uint8))
    np.testing.assert_array_equal(sweep_of([*case, ignored], 2).iou, sweep_of(case, 2).iou)


def test_scores_do_not_depend_on_the_order_of_images():
    case = random_case(4, 3, None)
    np.testing.assert_array_equal(sweep_of(case, 3).iou, sweep_of(case[::-1], 3).iou)


def test_adding_an_image_leaves_its_maps_alone():
    maps = {c: np.full((2, 2), 0.3, np.float32) for c in (0, 1)}
    ThresholdSweep(2).add(maps, np.zeros((2, 2), np.uint8))
    assert all((cam == np.float32(0.3)).all() for cam in maps.values())


def test_classes_that_never_occur_count_as_zero():
    scores = sweep_of([({0: np.array([[0.9, 0.1]], np.float32)}, np.array([[1, 0]]))], 4, (0.5,))
    assert scores.iou.tolist() == [[100, 100, 0, 0, 0]]
    assert scores.miou.tolist() == [40]


def test_pixels_count_the_truth():
    scores = sweep_of([({}, np.array([[0, 0, 2, 255]])), ({}, np.array([[2, 1, 0, 2]]))], 2)
    assert scores.pixels.tolist() == [3, 1, 3]


def test_thresholds_of_the_scores_are_those_asked_for():
    assert sweep_of([], 1).thresholds.tolist() == list(SWEEP)


def test_best_is_the_lowest_threshold_of_equals():
    iou = np.array([[10.0, 10.0], [30.0, 50.0], [40.0, 40.0], [0.0, 0.0]])
    assert Scores(np.arange(4.0), iou, iou, iou, np.ones(2)).best == 1


def test_confusion_equals_sets_of_pixels():
    rng = np.random.default_rng(5)
    predictions = [rng.integers(0, 5, (7, 9)).astype(np.uint8) for _ in range(3)]
    masks = [rng.choice([0, 1, 2, 3, 4, 255], (7, 9)).astype(np.uint8) for _ in range(3)]
    confusion = Confusion(4)
    for prediction, mask in zip(predictions, masks, strict=True):
        confusion.add(prediction, mask)
    scores = confusion.scores()
    expected = direct_scores(predictions, masks, 4)
    np.testing.assert_allclose((scores.iou[0], scores.precision[0], scores.recall[0]), expected)


def test_undecided_pixels_are_missed_by_every_class():
    # Truth 0 0 1 1; one pixel of each is left undecided: it is in the union, and in no prediction.
    confusion = Confusion(1)
    confusion.add(np.array([[0, 255, 1, 255]], np.uint8), np.array([[0, 0, 1, 1]], np.uint8))
    scores = confusion.scores()
    assert (scores.iou.tolist(), scores.precision.tolist(), scores.recall.tolist()) == ([[50, 50]], [[100, 100]], [[50, 50]])


def test_undecided_predictions_equal_sets_of_pixels():
    rng = np.random.default_rng(6)
    prediction = rng.choice([0, 1, 2, 3, 255], (20, 20)).astype(np.uint8)
    mask = rng.choice([0, 1, 2, 3, 255], (20, 20)).astype(np.uint8)
    confusion = Confusion(3)
    confusion.add(prediction, mask)
    scores = confusion.scores()
    expected = direct_scores([prediction], [mask], 3)
    np.testing.assert_allclose((scores.iou[0], scores.precision[0], scores.recall[0]), expected)


def test_undecided_predictions_are_told_apart_with_254_classes():
    confusion = Confusion(254)
    confusion.add(np.array([[254, 255]], np.uint8), np.array([[254, 254]], np.uint8))
    assert confusion.scores().recall[0, 254] == 50


def test_a_perfect_prediction_scores_100():
    mask = np.array([[0, 1, 2], [2, 255, 0]], np.uint8)
    confusion = Confusion(2)
    confusion.add(np.where(mask == 255, 1, mask), mask)
    assert confusion.scores().miou.tolist() == [100]


def test_scores_without_a_threshold_have_none():
    assert Confusion(2).scores().thresholds.size == 0


def test_confusion_equals_a_sweep_at_the_same_threshold():
    case = random_case(9, 3, None)
    confusion = Confusion(3)
    for maps, mask in case:
        confusion.add(prediction_at(maps, np.float32(0.4), mask.shape, 3), mask)
    np.testing.assert_allclose(confusion.scores().iou, sweep_of(case, 3, (0.4,)).iou)


def test_counts_do_not_overflow_a_byte():
    confusion = Confusion(1)
    confusion.add(np.ones((20, 20), np.uint8), np.ones((20, 20), np.uint8))
    assert confusion.scores().pixels.tolist() == [0, 400]


def test_label_map_takes_the_largest_score():
    scores = {0: np.array([[0.5, 0.1, 0.2]]), 3: np.array([[0.4, 0.7, 0.1]]), 20: np.array([[0.1, 0.2, 0.7]])}
    labels = label_map(scores)
    assert labels.tolist() == [[0, 3, 20]]
    assert labels.dtype == np.uint8


def test_label_map_gives_ties_to_the_lowest_class_in_whatever_order_they_come():
    assert label_map({7: np.ones((1, 1)), 2: np.ones((1, 1))}).tolist() == [[2]]


def test_label_map_of_background_alone_is_background():
    assert label_map({0: np.zeros((2, 2))}).tolist() == [[0, 0], [0, 0]]


def test_miou_is_finite_where_nothing_was_added():
    assert math.isfinite(ThresholdSweep(3).scores().miou.max())


def test_thresholds_are_counted_as_a_search_counts_them():
    sweep = ThresholdSweep(1)
    near = [np.nextafter(sweep.thresholds, np.float32(side)) for side in (0, 2)]
    scores = np.concatenate(
        [sweep.thresholds, *near, np.float32([0, 1, 7]), np.random.default_rng(0).random(999, np.float32)]
    )
    np.testing.assert_array_equal(sweep.exceeded(scores), np.searchsorted(sweep.thresholds, scores, side="left"))


def test_the_counts_of_a_sweep_grow_with_the_classes_and_not_with_their_square():
    assert ThresholdSweep(919).counts.nbytes <= 46 * ThresholdSweep(19).counts.nbytes


def test_masks_of_many_classes_have_16_bits():
    assert label_map({0: np.zeros((1, 1)), 255: np.ones((1, 1))}, 919).tolist() == [[255]]
    assert label_map({0: np.zeros((1, 1)), 300: np.ones((1, 1))}).tolist() == [[300]]
    sweep = ThresholdSweep(919)
    sweep.add({254: np.ones((1, 3), np.float32)}, np.array([[255, 7, 65535]], np.uint16))
    assert sweep.scores().pixels.sum() == 2
    assert sweep.scores().recall[0, 255] == 100
