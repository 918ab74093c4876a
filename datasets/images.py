"""Images as PyTorch data sets and loaders. Pixels stay uint8 until they are on the device."""

import hashlib
import json
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from utils.cams.inference import DEFAULT_CAP, network_pixels
from utils.errors import InputError, did_you_mean
from utils.folders import visible_files
from utils.images import IMAGE_SUFFIXES, is_image_name, is_packed_image, named_by_reason, open_rgb, require_samples
from utils.machine.distributed import local_batch_size, rank, world_size
from utils.machine.interruptions import leave_process_group
from utils.tar_members import is_shard, member_path, members
from utils.training.seeding import Stream, derive_seed, seeded

from .layouts.base import Layout
from .names import FileNames, Names

ImagesT = TypeVar("ImagesT", bound="VisitedImages")


class Visit(NamedTuple):
    """One sample in one epoch; together with the seed, it determines random transforms."""

    epoch: int
    index: int  # type: ignore[assignment]  # tuples have a method of this name


class EpochSampler(Sampler[Visit]):
    """Yields each sample once per epoch, in an order that depends only on (seed, epoch).

    Set `epoch` before iterating; after a resume also `skip`, the number of batches already done. An incomplete last batch is
    dropped. Each process gets its shard of every batch.

    Args:
        size: number of samples.
        seed: of the order.
        batch_size: of all processes together.
        rank: rank of this process.
        world_size: number of processes; must divide the batch.
    """

    def __init__(self, size: int, seed: int, batch_size: int = 1, rank: int = 0, world_size: int = 1):
        self.size = size
        self.seed = seed
        self.shape = (size // batch_size, world_size, batch_size // world_size)
        self.rank = rank
        self.epoch = 0
        self.skip = 0

    def __len__(self) -> int:
        batches, _, batch_of_process = self.shape
        return batches * batch_of_process

    def __iter__(self) -> Iterator[Visit]:
        generator = torch.Generator().manual_seed(derive_seed(Stream.ORDER, self.seed, self.epoch))
        order = torch.randperm(self.size, generator=generator)
        order = order[: math.prod(self.shape)].view(self.shape)[self.skip :, self.rank]  # (batches, batch of a process)
        return (Visit(self.epoch, index) for index in order.flatten().tolist())


class VisitedImages(Dataset[Any], ABC):
    """Image files, indexed by `Visit`: samples differ between epochs."""

    paths: FileNames

    def __len__(self) -> int:
        return len(self.paths)

    def digest(self, classes: Sequence[str]) -> str:
        """A digest of the files' names and the classes, with which a run notices that it is resumed on other images."""
        found = hashlib.sha256(json.dumps(classes).encode())
        for path in self.paths.names:
            found.update(os.fsencode(os.path.basename(path)) + b"\0")  # noqa: PTH119  a Path takes ten times as long
        return found.hexdigest()[:16]

    @abstractmethod
    def __getitem__(self, visit: Visit) -> Any:
        """The sample of one image in one epoch."""


class TrainingSample(NamedTuple):
    """One image with its labels; the loader forms batches of them."""

    image: Tensor  # (3, S, S) uint8
    labels: Tensor  # (C,) float32 in {0, 1}
    index: int  # type: ignore[assignment]  # index in the data set


class TrainingImages(VisitedImages):
    """Randomly cropped and mirrored images with their labels, indexed by `Visit`.

    Args:
        paths: n image files.
        labels: (n, C) bool.
        size: side S of the crop in pixels.
        scale: range of the crop's area as a fraction of the image's area.
        ratio: range of the crop's aspect ratio.
        seed: of all random transforms.
        auto_augment: policy in timm's notation, such as rand-m9-mstd0.5-inc1; empty: none.
        white: white level of images of more than 8 bits; 0: found for each image.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        labels: np.ndarray,
        size: int,
        scale: tuple[float, float],
        ratio: tuple[float, float],
        seed: int,
        auto_augment: str = "",
        white: float = 0.0,
    ):
        # Imported here, because they take seconds and most of this module does not need them.
        from timm.data.transforms import RandomResizedCropAndInterpolation
        from torchvision.transforms import v2

        self.paths = FileNames(paths)
        self.white = white
        self.labels = torch.from_numpy(labels)
        self.seed = seed
        self.transform = v2.Compose(
            [
                RandomResizedCropAndInterpolation(size, scale=scale, ratio=ratio, interpolation="bicubic"),
                v2.RandomHorizontalFlip(),
                *([random_augmentation(auto_augment, size)] if auto_augment else []),
                v2.PILToTensor(),
            ]
        )

    def digest(self, classes: Sequence[str]) -> str:
        """A digest of the files' names, the classes and the labels."""
        labels = np.packbits(self.labels.numpy()).tobytes()
        return hashlib.sha256(super().digest(classes).encode() + labels).hexdigest()[:16]

    def __getitem__(self, visit: Visit) -> TrainingSample:
        image = open_rgb(self.paths[visit.index], self.white)
        with seeded(Stream.AUGMENTATION, self.seed, visit.epoch, visit.index):
            return TrainingSample(self.transform(image), self.labels[visit.index].float(), visit.index)


def random_augmentation(policy: str, size: int) -> Callable[[Image.Image], Image.Image]:
    """RandAugment or another policy of timm, with the settings of `timm.data.create_transform` for training.

    Args:
        policy: policy in timm's notation, such as rand-m9-mstd0.5-inc1 (https://arxiv.org/abs/1909.13719).
        size: side of the image in pixels.

    Raises:
        InputError: timm has no such policy.
    """
    from timm.data import IMAGENET_DEFAULT_MEAN, auto_augment

    settings = {
        "translate_const": int(size * 0.45),
        "img_mean": tuple(round(255 * mean) for mean in IMAGENET_DEFAULT_MEAN),
        "interpolation": Image.Resampling.BICUBIC,
    }
    build = auto_augment.auto_augment_transform
    if policy.startswith("augmix"):
        build = auto_augment.augment_and_mix_transform
    elif policy.startswith("rand"):
        build = auto_augment.rand_augment_transform
    try:
        augmentation = build(policy, settings)
    # timm raises any of these for an invalid policy.
    except (AssertionError, KeyError, ValueError, IndexError) as error:
        raise InputError(f"--aa {policy} is no policy of timm, such as rand-m9-mstd0.5-inc1") from error
    operations = augmentation.ops if hasattr(augmentation, "ops") else chain.from_iterable(augmentation.policy)
    for operation in operations:
        if operation.aug_fn is auto_augment.posterize:
            operation.aug_fn = posterize
    return augmentation


def posterize(image: Image.Image, bits: int, **ignored: Any) -> Image.Image:
    """Keeps the highest bits of each value. timm also asks for 0 bits, a black image, which Pillow 13 refuses."""
    if bits == 0:
        return Image.new(image.mode, image.size)
    return ImageOps.posterize(image, bits) if bits < 8 else image


class EpochLoader(DataLoader[Any], Generic[ImagesT]):
    """A loader whose order depends on the epoch; see `epoch_loader`."""

    dataset: ImagesT
    sampler: EpochSampler

    def start(self, epoch: int, skip: int = 0) -> None:
        """Chooses the epoch that is iterated over next, without its first `skip` batches."""
        self.sampler.epoch, self.sampler.skip = epoch, skip

    def names_of(self, indices: Sequence[int]) -> list[str]:
        """Names of images by their indices in the data set."""
        return [self.dataset.paths[index].stem for index in indices]


def epoch_loader(images: ImagesT, batch_size: int, seed: int, workers: int, device: torch.device) -> EpochLoader[ImagesT]:
    """Loader of this process's shard of every batch; `start` it before each epoch.

    Args:
        images: data set indexed by `Visit`.
        batch_size: of all processes together; an incomplete last batch is dropped.
        seed: of the order.
        workers: number of this process's workers.
        device: the device that batches are copied to; for CUDA they are in pinned memory.

    Raises:
        InputError: there are fewer images than one batch, or the number of processes does not divide the batch.
    """
    own_batch_size = local_batch_size(batch_size)
    count = len(images)
    if count < batch_size:
        raise InputError(f"there are {count} images to train on, fewer than --batch-size {batch_size}")
    return EpochLoader(
        images,
        own_batch_size,
        sampler=EpochSampler(count, seed, batch_size, rank(), world_size()),
        num_workers=workers,
        persistent_workers=workers > 0,
        worker_init_fn=leave_process_group,
        pin_memory=device.type == "cuda",
    )


class InferenceSample(NamedTuple):
    """One whole image."""

    image_id: str
    pixels: tuple[Tensor, ...]  # (3, H, W) uint8 for each scale, from `utils.cams.inference.network_pixels`
    labels: Tensor  # (K,) int64, indices of the classes in the image, ascending
    size: tuple[int, int]  # height and width of the upright image file


class InferenceImages(Dataset[InferenceSample]):
    """Whole images in order.

    Args:
        ids: n names.
        paths: n image files.
        labels: (n, C) bool.
        shorter_side, cap: size at the network's input, see `utils.cams.inference.network_size`.
        scales: further resizing, relative to that size.
        white: white level of images of more than 8 bits, see `utils.images.to_rgb`.
    """

    def __init__(
        self,
        ids: Sequence[str],
        paths: Sequence[Path],
        labels: np.ndarray,
        shorter_side: int = 0,
        scales: Sequence[float] = (1.0,),
        cap: int = DEFAULT_CAP,
        white: float = 0.0,
    ):
        self.ids: Sequence[str] = Names(ids)
        self.paths: Sequence[Path] = FileNames(paths)
        self.labels = labels
        self.shorter_side = shorter_side
        self.scales = scales
        self.cap = cap
        self.white = white

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> InferenceSample:
        image = open_rgb(self.paths[index], self.white)
        size = (image.height, image.width)
        labels = torch.from_numpy(self.labels[index].nonzero()[0])
        pixels = network_pixels(image, self.shorter_side, self.scales, self.cap)
        return InferenceSample(self.ids[index], pixels, labels, size)


class InferenceLoader(DataLoader[InferenceSample]):
    """A loader of whole images; see `inference_loader`."""

    dataset: InferenceImages


def inference_loader(
    layout: Layout,
    ids: Sequence[str],
    labels: np.ndarray,
    shorter_side: int,
    workers: int,
    device: torch.device,
    scales: Sequence[float] = (1.0,),
    cap: int = DEFAULT_CAP,
    white: float = 0.0,
) -> InferenceLoader:
    """Loader of `InferenceSample`s, one at a time.

    Args:
        layout: the data set.
        ids: n images of it.
        labels: (n, C) bool.
        shorter_side, scales, cap, white: see `InferenceImages`.
        workers: number of worker processes.
        device: the device that images are copied to; for CUDA they are in pinned memory.
    """
    images = InferenceImages(ids, [layout.image_path(i) for i in ids], labels, shorter_side, scales, cap, white)
    return InferenceLoader(
        images, None, num_workers=workers, worker_init_fn=leave_process_group, pin_memory=device.type == "cuda"
    )


MASK_FOLDERS = ("masks", "SegmentationClass", "SegmentationClassAug", "SegmentationObject")
"""Folders beside images that hold masks, which a denoiser must not see."""


def images_of(shard: Path) -> list[Path]:
    """The images of the samples in a shard.

    Raises:
        InputError: the shard is damaged, or an image in it is no sample's.
    """
    found = list(members(shard))
    require_samples([member.name for member in found], shard)
    return [member_path(shard, member) for member in found if is_packed_image(member.name)]


class FolderImages(VisitedImages):
    """Square images from a folder and its sub-folders for the denoiser, indexed by `Visit`.

    Args:
        folder: folder that is searched for image files, or for shards, if there are any; its `MASK_FOLDERS` are left out.
        size: side of the square in pixels.
        crop: resize the shorter side and take a random square crop; else resize to a square, changing the aspect ratio.
        seed: of crops and flips.
        white: white level of images of more than 8 bits; 0: found for each image.

    Raises:
        InputError: the folder holds no image.
    """

    def __init__(self, folder: Path, size: int, crop: bool, seed: int, white: float = 0.0):
        from torchvision.transforms import v2

        if not folder.is_dir():
            beside = [path.name for path in folder.parent.iterdir()] if folder.parent.is_dir() else []
            what = "is a file" if folder.exists() else f"does not exist{did_you_mean(folder.name, beside)}"
            raise InputError(f"--data {folder} {what}: name a folder of images")
        files = list(visible_files(folder, MASK_FOLDERS))
        shards = [path for path in files if is_shard(path.name)]
        images = sorted(path for path in files if is_image_name(path.name) and path.is_file())
        unread = named_by_reason(sorted({*files} - {*images, *shards}), folder)
        of_masks = ", ".join(f"folder {name}" for name in MASK_FOLDERS if (folder / name).is_dir())
        self.left_out = "; ".join(filter(None, (unread, of_masks)))
        if shards and images:
            raise InputError(
                f"{folder} has both {shards[0].name} and {images[0].name}: move the one away that does not count"
            )
        paths = [image for shard in shards for image in images_of(shard)] if shards else images
        self.paths = FileNames(paths)
        if not paths:
            others = f"; it holds {self.left_out}" if self.left_out else ""
            raise InputError(f"{folder} holds no image (looked for {' '.join(IMAGE_SUFFIXES)} in all sub-folders){others}")
        self.seed = seed
        self.white = white
        resize = [v2.Resize(size), v2.RandomCrop(size)] if crop else [v2.Resize((size, size))]
        self.transform = v2.Compose([*resize, v2.RandomHorizontalFlip(), v2.PILToTensor()])

    def __getitem__(self, visit: Visit) -> tuple[Tensor, int]:
        """(3, size, size) uint8 and the index."""
        image = open_rgb(self.paths[visit.index], self.white)
        with seeded(Stream.AUGMENTATION, self.seed, visit.epoch, visit.index):
            return self.transform(image), visit.index
