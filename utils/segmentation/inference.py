"""Inference of a segmentation network on whole images: several scales, mirrored, and large ones in windows."""

from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ..errors import Stopped
from ..log import progress
from ..machine.device import Precision, to_device
from ..machine.distributed import is_main
from ..machine.interruptions import SAVE, Interruptions
from ..machine.memory import returning_freed_memory

OVERLAP = 1 / 3
"""Share of a window that overlaps with the next one."""


def segment(
    net: nn.Module, pixels: Sequence[Tensor], size: tuple[int, int], precision: Precision, mirror: bool, window: int
) -> Tensor:
    """Class probabilities at each pixel of an image.

    Args:
        net: `models.SegmentationNet`, in evaluation mode.
        pixels: (3, H, W) uint8 for each scale, from `utils.cams.inference.network_pixels`.
        size: height and width of the image.
        precision: precision of the network.
        mirror: also average over the mirror image.
        window: side in pixels of the windows that larger images are split into.

    Returns:
        Probabilities (C + 1, height, width) float32 on the device, means over scales and mirror.
    """
    total: Tensor | None = None
    for scaled in pixels:
        image01 = to_device(scaled, precision.device).float()[None] / 255
        for mirrored in (False, True)[: 1 + mirror]:
            image = image01.flip(-1) if mirrored else image01
            found = over_windows(lambda part: probabilities(net, part, precision), image, window)
            found = F.interpolate(found.flip(-1) if mirrored else found, size, mode="bilinear")[0]
            total = found if total is None else total + found
    assert total is not None
    return total / (len(pixels) * (1 + mirror))


def segment_images(
    net: nn.Module,
    loader: DataLoader,
    precision: Precision,
    description: str,
    interruptions: Interruptions,
    mirror: bool = False,
    window: int = 2**15,
) -> Iterator[tuple]:
    """Probabilities of every image of a loader of `InferenceImages`; see `segment`.

    Yields:
        (sample, (C + 1, H, W) float32 on the device)

    Raises:
        Stopped: a signal came.
    """
    net.eval()
    for sample in returning_freed_memory(progress(loader, description, shown=is_main()), precision.device):
        if interruptions.request() > SAVE:
            raise Stopped(interruptions.request())
        yield sample, segment(net, sample.pixels, tuple(sample.size), precision, mirror, window)


@torch.no_grad()
def probabilities(net: nn.Module, image01: Tensor, precision: Precision) -> Tensor:
    """(B, 3, H, W) in [0, 1] -> (B, C + 1, H, W) float32."""
    with precision.autocast():
        logits = net(image01)
    return logits.float().softmax(1)


def over_windows(look: Callable[[Tensor], Tensor], image: Tensor, window: int) -> Tensor:
    """`look` of an image (B, 3, H, W): of the whole image, or its mean over overlapping windows if the image is larger."""
    height, width = image.shape[-2:]
    if max(height, width) <= window:
        return look(image)
    total: Tensor | None = None
    seen = image.new_zeros(height, width)
    for top in starts(height, window):
        for left in starts(width, window):
            rows, columns = slice(top, top + window), slice(left, left + window)
            found = look(image[:, :, rows, columns])
            if total is None:
                total = found.new_zeros(*found.shape[:2], height, width)
            total[:, :, rows, columns] += found
            seen[rows, columns] += 1
    assert total is not None
    return total / seen


def starts(length: int, window: int) -> Iterator[int]:
    """Starts of evenly spaced windows that cover a length."""
    if length <= window:
        yield 0
        return
    stride = window - int(OVERLAP * window)
    count = -(-(length - window) // stride) + 1
    for i in range(count):
        yield round(i * (length - window) / (count - 1))
