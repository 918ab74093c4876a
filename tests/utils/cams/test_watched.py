"""Pictures of the same images at every validation."""

from types import SimpleNamespace

import numpy as np
import torch

from utils.cams.watched import SIDE, WATCHED, WatchedCams

CLASSES = ("cat", "dog", "sofa", "bus")


def images(count: int, unlabelled: tuple[int, ...] = ()) -> SimpleNamespace:
    labels = np.ones((count, len(CLASSES)), bool)
    labels[list(unlabelled)] = False
    return SimpleNamespace(ids=[f"{i}" for i in range(count)], labels=labels)


def sample(image_id: str) -> SimpleNamespace:
    return SimpleNamespace(image_id=image_id, pixels=(torch.full((3, 24, 32), 100, dtype=torch.uint8),))


def cams(*classes: int) -> dict[int, np.ndarray]:
    return {c: np.linspace(0, 1, 48 * 64, dtype=np.float32).reshape(48, 64) for c in classes}


def watched(shown: SimpleNamespace) -> WatchedCams:
    """What is left when all images have been seen."""
    collected = WatchedCams(shown, CLASSES)
    for image_id in shown.ids:
        collected.add(sample(image_id), cams(0))
    return collected


def test_a_few_images_are_watched_and_always_the_same():
    first, again = (watched(images(30)).pictures for _ in range(2))
    assert len(first) == WATCHED
    assert first.keys() == again.keys()
    assert {"cams/0", "cams/29"} <= first.keys()


def test_images_without_labels_are_passed_over():
    assert watched(images(4, unlabelled=(0, 2))).pictures.keys() == {"cams/1", "cams/3"}
    assert watched(images(3, unlabelled=(0, 1, 2))).pictures == {}


def test_pictures_are_small_and_have_a_place_for_each_of_the_first_classes():
    widths = []
    for classes in ((1,), (0, 1), (0, 1, 2, 3)):
        collected = WatchedCams(images(1), CLASSES)
        collected.add(sample("0"), cams(*classes))
        picture = collected.pictures["cams/0"]
        assert picture.dtype == np.uint8
        widths.append(picture.shape[1] // SIDE)
    assert widths == [2, 3, 4]
