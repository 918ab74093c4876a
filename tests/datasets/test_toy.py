"""The synthetic data set."""

import numpy as np
import pytest
from PIL import Image

from datasets import toy
from datasets.layouts.base import open_layout, read_truth
from utils.errors import InputError
from utils.scoring.metrics import IGNORE


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "toy"
    toy.main(f"--data-path {root} --train-images 60 --val-images 5 --size 48".split())
    return root


def test_every_script_finds_a_data_set_in_it(root):
    layout = open_layout(root)
    assert layout.classes == toy.CLASS_NAMES
    ids, source = layout.training_ids()
    assert (len(ids), len(layout.read_list("val"))) == (60, 5)
    assert source.endswith("train.txt")


def test_annotations_name_what_the_masks_show(root):
    layout = open_layout(root)
    ids = layout.read_list("train")
    for image_id, labels in zip(ids, layout.labels(ids), strict=True):
        shown = set(np.unique(read_truth(layout, image_id))) - {0, IGNORE}
        assert shown == {c + 1 for c in labels.nonzero()[0]}, image_id


def test_all_classes_companies_scales_and_hidden_objects_occur(root):
    objects = [toy.draw_sample((0, 0, i), 48)[2] for i in range(60)]
    labels = [{c for c, _ in drawn} for drawn in objects]
    assert set().union(*labels) == set(range(len(toy.CLASSES)))
    together = sum(c in present and toy.COMPANION[c] in present for present in labels for c in present)
    assert together > sum(map(len, labels)) / 4
    areas = [seen.sum() for drawn in objects for _, seen in drawn]
    assert max(areas) > 4 * min(areas)


def test_no_shape_texture_or_hue_alone_tells_the_classes_apart():
    textures, shapes = zip(*toy.CLASSES, strict=True)
    assert len(set(toy.CLASSES)) == len(toy.CLASSES) == 8
    assert all(textures.count(texture) == 2 for texture in textures)
    assert all(shapes.count(shape) == 2 for shape in shapes)
    assert 1 / len(toy.CLASSES) < 4 * toy.HUE_SPREAD
    for c, companion in enumerate(toy.COMPANION):
        assert toy.COMPANION[companion] == c
        assert not set(toy.CLASSES[c]) & set(toy.CLASSES[companion])


def test_the_same_seed_draws_the_same_files(root, tmp_path):
    toy.main(f"--data-path {tmp_path / 'again'} --train-images 3 --val-images 1 --size 48".split())
    toy.main(f"--data-path {tmp_path / 'other'} --train-images 3 --val-images 1 --size 48 --seed 1".split())
    for name in ("JPEGImages/train_000002.jpg", "SegmentationClass/train_000002.png", "Annotations/train_000002.xml"):
        assert (tmp_path / "again" / name).read_bytes() == (root / name).read_bytes()
        assert (tmp_path / "other" / name).read_bytes() != (root / name).read_bytes()


def test_a_call_that_was_stopped_goes_on(tmp_path):
    command = f"--data-path {tmp_path / 'toy'} --train-images 3 --val-images 1 --size 48".split()
    toy.main(command)
    kept, redrawn = (tmp_path / "toy" / "JPEGImages" / f"train_00000{i}.jpg" for i in (0, 1))
    before = redrawn.read_bytes()
    kept.write_bytes(b"as it was")
    redrawn.unlink()
    (tmp_path / "toy" / "Annotations" / "train_000001.xml").unlink()
    toy.main(command)
    assert kept.read_bytes() == b"as it was"
    assert redrawn.read_bytes() == before


def test_other_images_are_never_mixed_in(root):
    with pytest.raises(InputError, match="was made with seed 0, not 1"):
        toy.main(f"--data-path {root} --seed 1 --size 48".split())


def test_images_are_pictures_of_their_size(root):
    sizes = {Image.open(path).size for path in (root / "JPEGImages").glob("*.jpg")}
    assert {max(size) for size in sizes} == {48}
    assert len(sizes) > 5
