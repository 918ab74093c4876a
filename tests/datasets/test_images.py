"""Images for training and inference: pixels, and randomness that depends on seed, epoch and index alone."""

import itertools
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch.utils.data import DataLoader

from datasets.images import (
    EpochSampler,
    InferenceImages,
    TrainingImages,
    Visit,
    epoch_loader,
    inference_loader,
    posterize,
    random_augmentation,
)
from datasets.layouts.voc import VocLayout
from tests.helpers.pixels import pixels
from utils.errors import InputError


def images_of(root: Path) -> list[Path]:
    return sorted((root / "JPEGImages").glob("*.jpg"))


def training_images(
    root: Path, seed: int = 0, scale=(0.3, 1.2), ratio=(3 / 4, 4 / 3), auto_augment: str = ""
) -> TrainingImages:
    paths = images_of(root)
    return TrainingImages(paths, np.eye(len(paths), 20, dtype=bool), 16, scale, ratio, seed, auto_augment)


def order_of(size: int, seed: int, epoch: int, skip: int = 0) -> list[Visit]:
    sampler = EpochSampler(size, seed)
    sampler.epoch, sampler.skip = epoch, skip
    return list(sampler)


def test_an_epoch_visits_every_sample_once():
    assert sorted(order_of(50, 0, 3)) == [Visit(3, i) for i in range(50)]


def test_the_order_of_an_epoch_repeats():
    assert order_of(50, 0, 3) == order_of(50, 0, 3)


def test_the_order_of_an_epoch_is_shuffled():
    assert [v.index for v in order_of(50, 0, 0)] != list(range(50))


def test_the_order_differs_by_epoch():
    assert [v.index for v in order_of(50, 0, 3)] != [v.index for v in order_of(50, 0, 4)]


def test_the_order_differs_by_seed():
    assert order_of(50, 0, 3) != order_of(50, 1, 3)


def test_the_order_does_not_depend_on_the_global_generator():
    torch.manual_seed(0)
    first = order_of(50, 0, 3)
    torch.manual_seed(1)
    assert order_of(50, 0, 3) == first


def test_the_order_does_not_depend_on_the_epochs_before():
    sampler = EpochSampler(50, 0)
    for epoch in range(4):
        sampler.epoch = epoch
        visits = list(sampler)
    assert visits == order_of(50, 0, 3)


def test_skipped_visits_are_the_first_of_the_epoch():
    assert order_of(50, 0, 3, skip=20) == order_of(50, 0, 3)[20:]


def test_a_sampler_is_as_long_as_the_data_set():
    assert len(EpochSampler(50, 0)) == 50


def part_of(rank: int, world_size: int, size: int = 50, batch_size: int = 6, skip: int = 0) -> list[int]:
    sampler = EpochSampler(size, 0, batch_size, rank, world_size)
    sampler.epoch, sampler.skip = 3, skip
    return [visit.index for visit in sampler]


def in_batches(indices: list[int], size: int) -> list[list[int]]:
    return [indices[i : i + size] for i in range(0, len(indices), size)]


def test_the_rest_that_fills_no_batch_is_left_out():
    assert part_of(0, 1) == [visit.index for visit in order_of(50, 0, 3)][:48]


@pytest.mark.parametrize(("size", "batch_size", "world_size", "length"), [(50, 6, 1, 48), (50, 6, 3, 16), (5, 6, 2, 0)])
def test_a_sampler_is_as_long_as_its_part_of_whole_batches(size, batch_size, world_size, length):
    assert len(EpochSampler(size, 0, batch_size, 0, world_size)) == length
    assert len(part_of(0, world_size, size, batch_size)) == length


@pytest.mark.parametrize("world_size", [2, 3, 6])
def test_processes_share_every_batch_of_a_single_process(world_size):
    parts = [in_batches(part_of(rank, world_size), 6 // world_size) for rank in range(world_size)]
    together = [list(itertools.chain(*shares)) for shares in zip(*parts, strict=True)]
    assert together == in_batches(part_of(0, 1), 6)


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_skipped_batches_are_the_first_of_every_process(world_size):
    share = 6 // world_size
    for rank in range(world_size):
        assert part_of(rank, world_size, skip=5) == part_of(rank, world_size)[5 * share :]


def test_an_epoch_may_be_skipped_whole():
    assert part_of(1, 2, skip=8) == []


@pytest.fixture
def second_of_two(monkeypatch) -> None:
    """This process is one of two."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")


def test_a_loader_gives_whole_batches(toy_voc):
    loader = epoch_loader(training_images(toy_voc), 4, 0, 0, torch.device("cpu"))
    assert [batch.index.tolist() for batch in loader] == [[visit.index for visit in order_of(6, 0, 0)][:4]]


@pytest.mark.usefixtures("second_of_two")
def test_a_loader_gives_the_part_of_its_process(toy_voc):
    loader = epoch_loader(training_images(toy_voc), 4, 0, 0, torch.device("cpu"))
    assert [batch.index.tolist() for batch in loader] == [[visit.index for visit in order_of(6, 0, 0)][2:4]]


def test_fewer_images_than_a_batch_are_refused_by_flag(toy_voc):
    with pytest.raises(InputError, match="there are 6 images to train on, fewer than --batch-size 7"):
        epoch_loader(training_images(toy_voc), 7, 0, 0, torch.device("cpu"))


@pytest.mark.usefixtures("second_of_two")
def test_a_batch_that_processes_cannot_share_is_refused_by_flag(toy_voc):
    with pytest.raises(InputError, match="--batch-size 5 is for all processes together; 2 of them do not divide it"):
        epoch_loader(training_images(toy_voc), 5, 0, 0, torch.device("cpu"))


def test_training_samples_are_bytes_with_labels_and_index(toy_voc):
    sample = training_images(toy_voc)[Visit(0, 2)]
    assert (sample.image.shape, sample.image.dtype) == ((3, 16, 16), torch.uint8)
    assert sample.labels.tolist() == [0, 0, 1] + 17 * [0]
    assert sample.labels.dtype == torch.float32
    assert sample.index == 2


def test_a_training_set_is_as_long_as_its_files(toy_voc):
    assert len(training_images(toy_voc)) == 6


def test_a_visit_repeats_whatever_the_state_outside(toy_voc):
    images = training_images(toy_voc)
    torch.manual_seed(0), np.random.seed(0)
    first = images[Visit(3, 1)].image
    torch.manual_seed(1), np.random.seed(1)
    assert torch.equal(images[Visit(3, 1)].image, first)


def test_a_visit_does_not_depend_on_the_visits_before(toy_voc):
    forward, backward = training_images(toy_voc), training_images(toy_voc)
    visits = [Visit(2, i) for i in range(6)]
    first = {v: forward[v].image for v in visits}
    second = {v: backward[v].image for v in reversed(visits)}
    assert all(torch.equal(first[v], second[v]) for v in visits)


@pytest.mark.parametrize(("seed", "epoch"), [(1, 3), (0, 4)])
def test_crops_differ_by_seed_and_epoch(toy_voc, seed, epoch):
    first = training_images(toy_voc)[Visit(3, 1)].image
    assert not torch.equal(first, training_images(toy_voc, seed)[Visit(epoch, 1)].image)


def test_crops_differ_by_index(tmp_path):
    Image.fromarray(pixels()).save(tmp_path / "a.png")
    same = TrainingImages([tmp_path / "a.png"] * 2, np.ones((2, 1), bool), 16, (0.3, 0.5), (1, 1), 0)
    assert not torch.equal(same[Visit(0, 0)].image, same[Visit(0, 1)].image)


def test_crops_leave_the_global_generators_alone(toy_voc):
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    training_images(toy_voc)[Visit(0, 0)]
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == numpy_before).all()


def batches(root: Path, workers: int) -> list:
    sampler = EpochSampler(6, 5)
    sampler.epoch = 2
    return list(DataLoader(training_images(root), 2, sampler=sampler, num_workers=workers))


def test_batches_do_not_depend_on_the_number_of_workers(toy_voc):
    for alone, spread in zip(batches(toy_voc, 0), batches(toy_voc, 2), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(alone, spread, strict=True))


def test_batches_keep_names_and_types(toy_voc):
    batch = batches(toy_voc, 0)[0]
    assert (batch.image.shape, batch.labels.shape, batch.index.shape) == ((2, 3, 16, 16), (2, 20), (2,))
    assert batch.image.dtype == torch.uint8


def test_every_sample_of_a_batch_keeps_its_labels(toy_voc):
    for batch in batches(toy_voc, 0):
        assert batch.labels.argmax(1).tolist() == batch.index.tolist()


def test_about_half_of_the_visits_are_mirrored(tmp_path):
    gradient = np.repeat(np.linspace(0, 255, 40).astype(np.uint8)[None, :, None], 40, 0).repeat(3, 2)
    Image.fromarray(gradient).save(tmp_path / "a.png")
    images = TrainingImages([tmp_path / "a.png"], np.ones((1, 1), bool), 16, (0.9, 1.0), (1, 1), 0)
    rows = [images[Visit(epoch, 0)].image[0, 8].tolist() for epoch in range(80)]
    assert 25 < sum(row[0] > row[-1] for row in rows) < 55


def test_a_crop_of_the_whole_image_is_the_resized_image(tmp_path):
    Image.fromarray(pixels(40, 40)).save(tmp_path / "a.png")
    images = TrainingImages([tmp_path / "a.png"], np.ones((1, 1), bool), 16, (1.0, 1.0), (1, 1), 0)
    expected = np.array(Image.fromarray(pixels(40, 40)).resize((16, 16), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
    found = images[Visit(0, 0)].image.numpy()
    assert (found == expected).all() or (found == expected[:, :, ::-1]).all()


COCO_POLICY = "rand-m9-mstd0.5-inc1"


def test_augmentation_has_timms_own_operations_and_settings():
    from timm.data import create_transform

    steps = create_transform(64, is_training=True, auto_augment=COCO_POLICY, interpolation="bicubic").transforms
    (theirs,) = [step for step in steps if type(step).__name__ == "RandAugment"]
    ours = random_augmentation(COCO_POLICY, 64)
    assert (ours.num_layers, ours.choice_weights) == (theirs.num_layers, theirs.choice_weights)
    # Functions are compared by name: `posterize` replaces timm's.
    named = [[vars(op) | {"aug_fn": op.aug_fn.__name__} for op in augmentation.ops] for augmentation in (ours, theirs)]
    assert named[0] == named[1]


@pytest.mark.parametrize("policy", [COCO_POLICY, "rand-m9-n3", "v0", "original-mstd0.5", "3a", "augmix-m3-w2"])
def test_policies_of_timm_change_images_and_keep_their_size(policy):
    random.seed(0), np.random.seed(0)
    image = Image.fromarray(pixels(32, 32))
    results = [random_augmentation(policy, 32)(image) for _ in range(8)]
    assert {(result.mode, result.size) for result in results} == {("RGB", (32, 32))}
    assert any(np.array(result).tolist() != pixels(32, 32).tolist() for result in results)


@pytest.mark.parametrize("policy", ["rand-m9-inc1", "rand-m9", "augmix-m3", "original", "originalr", "v0", "v0r", "3a"])
def test_every_operation_of_a_policy_takes_an_image_at_every_level(policy):
    augmentation = random_augmentation(policy, 32)
    operations = augmentation.ops if hasattr(augmentation, "ops") else [op for pair in augmentation.policy for op in pair]
    image = Image.fromarray(np.full((32, 32, 3), 200, np.uint8))
    for operation in operations:
        for level in range(11):
            arguments = operation.level_fn(level, operation.hparams) if operation.level_fn is not None else ()
            assert operation.aug_fn(image, *arguments, **operation.kwargs).size == (32, 32), (operation.name, level)


def test_an_image_of_no_bits_is_black_and_one_of_eight_is_whole():
    image = Image.fromarray(np.arange(27, dtype=np.uint8).reshape(3, 3, 3) * 9)
    assert not np.asarray(posterize(image, 0)).any()
    assert np.array_equal(posterize(image, 3), np.asarray(image) // 32 * 32)
    assert np.array_equal(posterize(image, 8), image)


@pytest.mark.parametrize("policy", ["nope", "randfoo", "rand-m9-x3", "augmix-z9", "-", "rand-n1.5"])
def test_an_unknown_policy_is_refused_by_flag(policy):
    with pytest.raises(InputError, match=rf"--aa {policy} is no policy of timm, such as rand-m9-mstd0\.5-inc1"):
        random_augmentation(policy, 32)


def visits_of(images: TrainingImages) -> list[torch.Tensor]:
    return [images[Visit(epoch, index)].image for epoch in range(3) for index in range(6)]


def test_augmented_training_images_differ_from_plain_ones(toy_voc):
    plain = visits_of(training_images(toy_voc))
    augmented = visits_of(training_images(toy_voc, auto_augment=COCO_POLICY))
    assert sum(not torch.equal(a, b) for a, b in zip(plain, augmented, strict=True)) > 9


def test_augmented_visits_repeat_whatever_the_state_outside(toy_voc):
    images = training_images(toy_voc, auto_augment=COCO_POLICY)
    first = visits_of(images)
    for generator in (random.seed, np.random.seed, torch.manual_seed):
        generator(1)
    assert all(torch.equal(a, b) for a, b in zip(first, visits_of(images), strict=True))


def test_augmentation_follows_crop_and_flip_of_the_same_visit(toy_voc, monkeypatch):
    monkeypatch.setattr("datasets.images.random_augmentation", lambda policy, size: ImageOps.invert)
    plain = visits_of(training_images(toy_voc))
    inverted = visits_of(training_images(toy_voc, auto_augment="any"))
    assert all(torch.equal(255 - a, b) for a, b in zip(plain, inverted, strict=True))


def test_a_broken_training_image_is_named(toy_voc):
    images_of(toy_voc)[3].write_text("no image")
    with pytest.raises(InputError, match=r"2007_000003\.jpg is no readable image"):
        training_images(toy_voc)[Visit(0, 3)]


def inference_images(root: Path, shorter_side: int = 0) -> InferenceImages:
    paths = images_of(root)
    labels = np.zeros((len(paths), 20), bool)
    labels[1, [17, 4]] = True
    return InferenceImages([p.stem for p in paths], paths, labels, shorter_side)


def test_inference_takes_whole_images_pixel_by_pixel(toy_voc):
    sample = inference_images(toy_voc)[1]
    with Image.open(toy_voc / "JPEGImages" / "2007_000001.jpg") as image:
        expected = np.array(image)
    np.testing.assert_array_equal(sample.pixels[0].permute(1, 2, 0), expected)
    assert sample.size == expected.shape[:2]


def test_inference_names_image_and_classes(toy_voc):
    sample = inference_images(toy_voc)[1]
    assert sample.image_id == "2007_000001"
    assert sample.labels.tolist() == [4, 17]
    assert sample.labels.dtype == torch.int64


def test_an_image_without_classes_has_none_at_inference(toy_voc):
    assert inference_images(toy_voc)[0].labels.shape == (0,)


@pytest.mark.parametrize(("width", "height", "resized"), [(40, 30, (24, 32)), (30, 60, (48, 24))])
def test_inference_resizes_the_shorter_side(tmp_path, width, height, resized):
    Image.new("RGB", (width, height)).save(tmp_path / "a.png")
    sample = InferenceImages(["a"], [tmp_path / "a.png"], np.ones((1, 3), bool), 24)[0]
    assert sample.pixels[0].shape == (3, *resized)
    assert sample.size == (height, width)


def test_inference_goes_in_order_whatever_the_workers(toy_voc):
    loader = DataLoader(inference_images(toy_voc), batch_size=None, num_workers=2)
    assert [sample.image_id for sample in loader] == [f"2007_{i:06d}" for i in range(6)]


def test_an_inference_loader_gives_images_of_a_layout_one_by_one(toy_voc):
    layout = VocLayout(toy_voc)
    ids = layout.read_list("val")
    samples = list(inference_loader(layout, ids, layout.labels(ids), 24, 0, torch.device("cpu")))
    assert [sample.image_id for sample in samples] == ids
    assert [min(sample.pixels[0].shape[1:]) for sample in samples] == [24, 24]
    assert [sample.labels.tolist() for sample in samples] == [[19], [0, 18]]


def test_an_inference_set_is_as_long_as_its_ids(toy_voc):
    assert len(inference_images(toy_voc)) == 6
