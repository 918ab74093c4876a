"""Images with masks to train a segmentation network on."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from utils.errors import InputError
from utils.images import open_rgb
from utils.machine.parallel import in_threads
from utils.scoring.metrics import IGNORE, MOST_OF_8_BITS, label_type
from utils.training.seeding import Stream, seeded

from .check import refuse_bad
from .images import Visit, VisitedImages
from .labels.image_labels import cache_path
from .names import FileNames
from .pixels import read_upright_mask, upright_size

GREY = 124
"""Padding where a crop is larger than its image: about the mean of photographs."""
HUE = 0.25
"""Strength of the hue jitter relative to the other colour jitters: 0.1 to 0.4, as is usual."""


class SegmentationSample(NamedTuple):
    """One crop of an image with its mask; the loader forms batches of them."""

    image: Tensor  # (3, S, S) uint8
    mask: Tensor  # (S, S) uint8, 0 background, 1 .. C, 255 ignored
    index: int  # type: ignore[assignment]  # in the data set


class SegmentationImages(VisitedImages):
    """Randomly scaled, cropped, mirrored and coloured images with their masks, indexed by `Visit`.

    Args:
        paths: n image files.
        masks: n label images.
        num_classes: without background.
        crop_size: side S of the crop in pixels.
        shorter_side: shorter side in pixels that images are first resized to; 0: no resizing.
        scale: range of the random factor by which they are then scaled.
        jitter: strength of random brightness, contrast, saturation and hue; 0: none.
        seed: of all random transforms.
        white: white level of images of more than 8 bits; 0: found for each image.

    Raises:
        InputError: there are more classes than masks of 8 bits can hold.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        masks: Sequence[Path],
        num_classes: int,
        crop_size: int,
        shorter_side: int,
        scale: tuple[float, float],
        jitter: float,
        seed: int,
        white: float = 0.0,
    ):
        if label_type(num_classes) is not np.uint8:
            raise InputError(f"masks to learn from have at most {MOST_OF_8_BITS} classes, these have {num_classes}")
        self.paths = FileNames(paths)
        self.masks = FileNames(masks)
        self.num_classes = num_classes
        self.shorter_side = shorter_side
        self.scale = scale
        self.seed = seed
        self.white = white
        fill: dict = {tv_tensors.Mask: IGNORE, "others": GREY}
        self.transform = v2.Compose(
            [
                v2.RandomCrop(crop_size, pad_if_needed=True, fill=fill),
                v2.RandomHorizontalFlip(),
                *([v2.ColorJitter(jitter, jitter, jitter, HUE * jitter)] if jitter else []),
            ]
        )

    def __getitem__(self, visit: Visit) -> SegmentationSample:
        image, mask = self.read(visit.index)
        with seeded(Stream.AUGMENTATION, self.seed, visit.epoch, visit.index):
            size = self.random_size(image)
            scaled = tv_tensors.Image(v2.functional.pil_to_tensor(image.resize(size, Image.Resampling.BILINEAR)))
            labels = tv_tensors.Mask(np.array(mask.resize(size, Image.Resampling.NEAREST)))
            scaled, labels = self.transform(scaled, labels)
        return SegmentationSample(scaled.as_subclass(Tensor), labels.as_subclass(Tensor), visit.index)

    def read(self, index: int) -> tuple[Image.Image, Image.Image]:
        """An image and its mask, not transformed.

        Raises:
            InputError: one of them cannot be read, or they have different sizes.
        """
        image = open_rgb(self.paths[index], self.white)
        return image, Image.fromarray(self.read_mask(index, (image.height, image.width)))

    def read_mask(self, index: int, size: tuple[int, int]) -> np.ndarray:
        """The mask of an image of (height, width); see `read_upright_mask`."""
        return read_upright_mask(self.masks[index], self.paths[index], size, self.num_classes)

    def random_size(self, image: Image.Image) -> tuple[int, int]:
        """A random width and height in pixels to resize an image to."""
        low, high = self.scale
        factor = low + (high - low) * float(torch.rand(()))
        if self.shorter_side:
            factor *= self.shorter_side / min(image.size)
        return max(1, round(factor * image.width)), max(1, round(factor * image.height))


def check_pairs(images: SegmentationImages) -> None:
    """Checks that all masks can be read, hold known classes, and have the sizes of their images.

    Raises:
        InputError: a mask does not; the first twenty are named.
    """

    def problem_of(index: int) -> str:
        try:
            images.read_mask(index, upright_size(images.paths[index]))
        except InputError as error:
            return str(error)
        return ""

    problems = [problem for problem in in_threads(problem_of, range(len(images)), "looking at masks") if problem]
    refuse_bad(problems, f"{len(images)} masks", cache_path(images.masks[0].parent, "masks_to_learn"))


def require_masks(paths: Sequence[Path]) -> None:
    """Raises InputError if masks are missing; the message gives their number."""
    missing = [path for path in paths if not path.is_file()]
    if missing:
        others = f", and so are {len(missing) - 1} more of {len(paths)}" if len(missing) > 1 else ""
        raise InputError(f"{missing[0]} is missing{others}: make the masks first, or name another folder with --masks")
