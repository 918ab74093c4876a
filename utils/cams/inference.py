"""Inference on whole images, shared by validation, `infer_trm.py` and `models.CamModel`."""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from ..errors import InputError, Stopped
from ..log import progress
from ..machine.device import Precision, to_device
from ..machine.distributed import is_main
from ..machine.interruptions import SAVE, Interruptions
from ..machine.memory import returning_freed_memory
from ..options.training import DEFAULT_CAP

WAITING_BATCHES = 4
"""How many batches of images may wait for others of the same size."""


class HasPixels(Protocol):
    """A sample with the pixels of an image."""

    @property
    def pixels(self) -> tuple[Tensor, ...]:
        """(3, H, W) uint8 for each scale, from `network_pixels`."""


class CamNetwork(Protocol):
    """A network that localises classes, such as `models.DiG`."""

    patch_size: int

    def eval(self) -> object:
        """Switches to evaluation mode."""

    def predict(self, scales: Sequence[Tensor]) -> Any:
        """CAMs and probabilities (`models.dig.Prediction`) of B images in [0, 1], (B, 3, H, W) for each scale."""


Sample = TypeVar("Sample", bound=HasPixels)


def network_size(height: int, width: int, shorter_side: int, cap: int = DEFAULT_CAP) -> tuple[int, int]:
    """Height and width of an image at the network's input.

    Memory grows with the square of the number of pixels, hence two limits: without a `shorter_side`, the shorter side is
    reduced to `cap`; and no image has more than 2 max(cap, shorter_side)^2 pixels.

    Args:
        height, width: of the image in pixels.
        shorter_side: length to resize the shorter side to, in pixels; 0: unchanged, up to `cap`.
        cap: limit of an unchanged shorter side in pixels; 0: neither limit.
    """
    short, long = sorted((height, width))
    new = shorter_side or (min(short, cap) if cap else short)
    size = (new, int(new * long / short))  # as torchvision's Resize computes it
    most = 2 * max(cap, shorter_side) ** 2
    if cap and math.prod(size) > most:
        factor = (most / (height * width)) ** 0.5
        size = (max(1, int(factor * short)), max(1, int(factor * long)))
    return size if height <= width else size[::-1]


def network_pixels(
    image: Image.Image, shorter_side: int, scales: Sequence[float] = (1.0,), cap: int = DEFAULT_CAP
) -> tuple[Tensor, ...]:
    """Pixels of an RGB image, resized for the network.

    Args:
        image: the image.
        shorter_side, cap: see `network_size`.
        scales: further resizing, relative to `network_size`.

    Returns:
        (3, H, W) uint8 for each scale.
    """
    from torchvision.transforms import v2  # here, because it takes a second

    size = network_size(image.height, image.width, shorter_side, cap)
    if size != (image.height, image.width):
        image = v2.functional.resize(image, size, v2.InterpolationMode.BICUBIC)
    pixels = []
    for scale in scales:
        scaled_size = [max(1, round(scale * side)) for side in (image.height, image.width)]
        scaled = image if scale == 1 else v2.functional.resize(image, scaled_size, v2.InterpolationMode.BICUBIC)
        pixels.append(v2.functional.pil_to_tensor(scaled))
    return tuple(pixels)


def batches_of_one_size(samples: Iterable[Sample], batch_size: int) -> Iterator[list[Sample]]:
    """Groups images into batches of equal size at every scale, in nearly their order.

    All scales are compared, because sizes that differ by a pixel may be equal after scaling.

    Args:
        samples: samples with `pixels` from `network_pixels`.
        batch_size: images of a batch; fewer at the end, or if too many images of other sizes are waiting.
    """
    waiting: dict[tuple[torch.Size, ...], list[Sample]] = {}
    for sample in samples:
        size = tuple(pixels.shape for pixels in sample.pixels)
        waiting.setdefault(size, []).append(sample)
        if len(waiting[size]) == batch_size:
            yield waiting.pop(size)
        elif sum(map(len, waiting.values())) >= WAITING_BATCHES * batch_size:
            yield waiting.pop(next(iter(waiting)))
    yield from waiting.values()


def predict(net: CamNetwork, images: Sequence[tuple[str, Sequence[Tensor]]], precision: Precision) -> Any:
    """CAMs and image-level probabilities of images of equal size, with one pass for each scale.

    Args:
        net: `models.DiG`, in evaluation mode.
        images: B names with their pixels from `network_pixels`.
        precision: of the network.

    Returns:
        `models.dig.Prediction`, on the network's device.

    Raises:
        InputError: an image is smaller than one patch.
    """
    for name, pixels in images:
        height, width = min((p.shape[-2:] for p in pixels), key=min)
        if min(height, width) < net.patch_size:
            raise InputError(f"{name} is {width} x {height} pixels, smaller than one patch of {net.patch_size}")
    scales = zip(*(pixels for _, pixels in images), strict=True)
    on_device = [torch.stack([to_device(pixels, precision.device) for pixels in same]) for same in scales]
    with precision.autocast():
        return net.predict([pixels.float() / 255 for pixels in on_device])


def infer_images(
    net: CamNetwork,
    loader: DataLoader,
    precision: Precision,
    description: str,
    interruptions: Interruptions,
    batch_size: int = 1,
    at_patches: bool = False,
) -> Iterator[tuple]:
    """CAMs and image-level probabilities of all images of a loader of `InferenceImages`.

    Args:
        net: `models.DiG`, on its device.
        loader: loader of `InferenceSample`s.
        precision: of the network.
        description: label of the progress bar.
        interruptions: checked before every batch.
        batch_size: images of equal size that go through the network together; 1 keeps the order of the loader.
        at_patches: return the maps of the only scale at patch resolution, before normalisation (`utils.cams.patch_size`).

    Yields:
        (sample, CAMs {class index: (H, W) float32} at the size of the image file, probabilities (C,) float32)

    Raises:
        Stopped: a signal asked to stop.
    """
    net.eval()
    samples = returning_freed_memory(progress(loader, description, shown=is_main()), precision.device)
    for batch in batches_of_one_size(samples, batch_size):
        if interruptions.request() > SAVE:
            raise Stopped(interruptions.request())
        prediction = predict(net, [(sample.image_id, sample.pixels) for sample in batch], precision)
        probabilities = prediction.probabilities.cpu().numpy()
        for i, sample in enumerate(batch):
            labels = to_device(sample.labels, precision.device)
            cams = prediction.maps[0][i, labels] if at_patches else prediction.cams(i, labels, tuple(sample.size))
            yield sample, dict(zip(sample.labels.tolist(), cams.cpu().numpy(), strict=True)), probabilities[i]
