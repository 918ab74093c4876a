"""One whole image through the network: the one way that validation, inference and `models.CamModel` share."""

from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import v2

from .device import Precision, to_device
from .errors import InputError


def network_pixels(image: Image.Image, shorter_side: int) -> Tensor:
    """An RGB image as the network takes it: (3, H, W) uint8, its shorter side resized to so many pixels; 0 leaves it."""
    if shorter_side:
        image = v2.functional.resize(image, shorter_side, v2.InterpolationMode.BICUBIC)
    return v2.functional.pil_to_tensor(image)


def predict(
    net: nn.Module, pixels: Tensor, labels: Tensor, size: tuple[int, int], precision: Precision, name: str
) -> tuple[Tensor, Tensor]:
    """CAMs and image-level probabilities of one image, from one pass.

    Args:
        net: `models.DiG`, in evaluation mode.
        pixels: (3, H, W) uint8 of `network_pixels`.
        labels: (K,) int64, classes whose CAMs are wanted.
        size: height and width of the CAMs in pixels.
        precision: of the network.
        name: of the image, for the message.

    Returns:
        CAMs (K, height, width) and probabilities (C,), float32, on the network's device.

    Raises:
        InputError: the image is smaller than one patch.
    """
    if min(pixels.shape[-2:]) < net.patch_size:
        height, width = pixels.shape[-2:]
        raise InputError(f"{name} is {width} x {height} pixels, smaller than one patch of {net.patch_size}")
    image01 = to_device(pixels, precision.device).float() / 255
    with precision.autocast():
        return net.predict(image01, labels.to(precision.device), size)
