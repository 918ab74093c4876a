"""Mean average precision and F1 of image-level labels."""

import numpy as np
import pytest

from utils.scoring.classification import ClassificationTally, average_precision, micro_f1


def brute_force_ap(scores: np.ndarray, positive: np.ndarray) -> float:
    """VOC's definition word for word: all thresholds, the largest precision at each recall or beyond, exact area."""
    points = []
    for threshold in sorted(set(scores.tolist()), reverse=True):
        hits = sum(1 for s, p in zip(scores, positive, strict=True) if s >= threshold and p)
        chosen = sum(1 for s in scores if s >= threshold)
        points.append((hits / positive.sum(), hits / chosen))
    area = before = 0.0
    for recall, _ in points:
        area += (recall - before) * max(p for r, p in points if r >= recall)
        before = recall
    return area


def uninterpolated_ap(scores: np.ndarray, positive: np.ndarray) -> float:
    """The mean, over the positives, of the precision among what scores no less: scikit-learn's definition."""
    return float(np.mean([positive[scores >= s].mean() for s in scores[positive]]))


def draws(decimals: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Scores and labels of 1 to 40 images; with few decimals many scores are equal."""
    rng = np.random.default_rng(0)
    cases = []
    for n in rng.integers(1, 41, 60):
        positive = rng.random(n) < rng.random()
        positive[rng.integers(n)] = True
        cases.append((rng.random(n).round(decimals).astype(np.float32), positive))
    return cases


def tally_of(probabilities: np.ndarray, present: np.ndarray) -> ClassificationTally:
    tally = ClassificationTally(probabilities.shape[1])
    for p, row in zip(probabilities, present, strict=True):
        tally.add(p, row.nonzero()[0])
    return tally


@pytest.mark.parametrize("decimals", [8, 1, 0])
def test_average_precision_is_the_area_that_brute_force_finds(decimals):
    for scores, positive in draws(decimals):
        assert average_precision(scores, positive) == pytest.approx(brute_force_ap(scores, positive), abs=1e-12)


@pytest.mark.parametrize("decimals", [8, 1])
def test_average_precision_is_never_below_the_uninterpolated_one(decimals):
    gaps = [average_precision(*case) - uninterpolated_ap(*case) for case in draws(decimals)]
    assert min(gaps) > -1e-12
    assert max(gaps) > 0.01


def test_a_curve_drawn_by_hand():
    scores, positive = np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, False, True, True])
    # Precision is 1 at recall 1/3, 2/3 at 2/3, 3/4 at 1; the second is raised to the third.
    assert average_precision(scores, positive) == pytest.approx((1 + 0.75 + 0.75) / 3)


def test_all_positives_in_front_are_perfect():
    assert average_precision(np.array([0.3, 0.2, 0.1]), np.array([True, True, False])) == 1


def test_equal_scores_give_the_share_of_positives_whatever_the_order():
    for place in range(4):
        assert average_precision(np.full(4, 0.5), np.arange(4) == place) == 0.25


def test_the_order_of_images_does_not_matter():
    for scores, positive in draws(1):
        order = np.random.default_rng(1).permutation(len(scores))
        assert average_precision(scores, positive) == average_precision(scores[order], positive[order])


def test_f1_counts_all_decisions_together():
    rng = np.random.default_rng(0)
    predicted, present = rng.random((30, 4)) < 0.4, rng.random((30, 4)) < 0.3
    tp, fp, fn = ((a & b).sum() for a, b in ((predicted, present), (predicted, ~present), (~predicted, present)))
    precision, recall = tp / (tp + fp), tp / (tp + fn)
    assert micro_f1(predicted, present) == pytest.approx(2 * precision * recall / (precision + recall))


def test_f1_of_nothing_is_0():
    assert micro_f1(np.zeros((2, 3), bool), np.zeros((2, 3), bool)) == 0


def test_a_probability_of_a_half_counts_as_predicted():
    tally = tally_of(np.array([[0.5, 0.499]], np.float32), np.array([[True, False]]))
    assert tally.scores().f1 == 100


def test_scores_are_percentages_of_each_class_and_their_mean():
    rng = np.random.default_rng(0)
    probabilities, present = rng.random((20, 3)), rng.random((20, 3)) < 0.5
    scores = tally_of(probabilities, present).scores()
    expected = [100 * brute_force_ap(p, t) for p, t in zip(probabilities.T, present.T, strict=True)]
    np.testing.assert_allclose(scores.ap, expected)
    assert scores.mean_ap == pytest.approx(np.mean(expected))
    assert str(scores) == f"mAP {scores.mean_ap:.2f}, F1 {scores.f1:.2f}"


def test_classes_in_no_image_are_left_out_and_counted():
    probabilities, present = np.array([[0.9, 0.8], [0.1, 0.7]]), np.array([[True, False], [False, False]])
    scores = tally_of(probabilities, present).scores()
    assert np.isnan(scores.ap[1])
    assert (scores.mean_ap, scores.scored) == (100, 1)
    assert str(scores) == "mAP 100.00 (of the 1 classes of 2 that occur), F1 50.00"


def test_images_without_any_label_score_0():
    scores = tally_of(np.full((3, 2), 0.9), np.zeros((3, 2), bool)).scores()
    assert (scores.mean_ap, scores.f1, scores.scored) == (0, 0, 0)
