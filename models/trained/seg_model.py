"""A segmentation network for use from Python: `load_seg_model("experiment/x_seg").mask("dog.jpg")`."""

import dataclasses
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from utils.cams.inference import network_pixels
from utils.experiment.exported import ExportedConfig, config_of, is_exported, read_config
from utils.experiment.folder import weights_of
from utils.experiment.saved import SEG, seg_run_of
from utils.machine.device import Precision
from utils.options.segmentation import SegInferOptions, SegOptions
from utils.segmentation.inference import segment

from ..segmentation import SegmentationNet, load_segmenter
from .cam_model import precision_of
from .hub import HubModel
from .image_like import ImageLike, as_rgb, several


class SegModel(HubModel):
    """Masks of single images: those that `infer_seg.py` writes with the same scales and mirror. No labels are needed.

    Its arguments are those of `HubModel`.
    """

    def __init__(
        self,
        net: SegmentationNet,
        classes: Sequence[str],
        shorter_side: int,
        precision: Precision,
        weights: Path,
        cap: int = 0,
        white: float = 0.0,
        run: SegOptions | None = None,
    ):
        super().__init__(net, classes, shorter_side, precision, weights, cap, white, run)

    @classmethod
    def of_folder(cls, folder: Path, device: str, amp: str) -> "SegModel":
        """`load_seg_model` of an exported network."""
        return load_seg_model(folder, device=device, amp=amp)

    def config_of_run(self, run: SegOptions) -> ExportedConfig:
        """The content of `config.json` for this network."""
        run = dataclasses.replace(run, infer_size=self.shorter_side, infer_cap=self.cap, white_level=self.white)
        return config_of(run, "seg", self.classes, self.net.mean, self.net.std)

    def mask(self, image: ImageLike, scales: Sequence[float] = (1.0,), mirror: bool = False) -> np.ndarray:
        """(H, W) uint8 of the image's upright size: 0 background, 1 .. C; see `probabilities`."""
        return self.predict(image, scales, mirror).argmax(0).byte().cpu().numpy()

    def masks(self, images: Iterable[ImageLike], scales: Sequence[float] = (1.0,), mirror: bool = False) -> list[np.ndarray]:
        """The masks of several images, one after the other; see `mask`."""
        return [self.mask(image, scales, mirror) for image in several(images)]

    def probabilities(
        self, image: ImageLike, scales: Sequence[float] = (1.0,), mirror: bool = False
    ) -> dict[str, np.ndarray]:
        """Probability of each class, and of `background`, at each pixel: (H, W) float32 in [0, 1] by name.

        Args:
            image: see `ImageLike`.
            scales: further resizing, relative to the size at the network's input; probabilities are averaged.
            mirror: also average over the mirror image.

        Raises:
            InputError: the image cannot be used.
        """
        found = self.predict(image, scales, mirror).cpu().numpy()
        return dict(zip(("background", *self.classes), found, strict=True))

    def predict(self, image: ImageLike, scales: Sequence[float], mirror: bool) -> Tensor:
        """(C + 1, H, W) float32 on the network's device; see `probabilities`."""
        picture = as_rgb(image, self.white)
        pixels = network_pixels(picture, self.shorter_side, scales, self.cap)
        size = (picture.height, picture.width)
        return segment(self.net, pixels, size, self.precision, mirror, SegInferOptions.window)


def load_seg_model(
    experiment: str | os.PathLike,
    epoch: int | None = None,
    weights: str | os.PathLike | None = None,
    device: str | torch.device = "auto",
    amp: str = "off",
    *,
    infer_size: int | None = None,
    infer_cap: int | None = None,
) -> SegModel:
    """The segmentation network of an experiment of train_seg.py, or an exported one; for the arguments see `load_cam_model`.

    Raises:
        InputError: there is no such run, weights are missing, damaged or do not fit, or the device is not available.
    """
    folder = Path(experiment)
    run, classes = seg_run_of(folder)
    if weights is None:
        weights = weights_of(folder, epoch, SEG)
    precision = precision_of(device, amp)
    net = load_segmenter(Path(weights), len(classes) + 1, run).to(precision.device)
    if is_exported(folder):
        config = read_config(folder)
        net.mean, net.std = config.mean, config.std
    size = run.infer_size if infer_size is None else infer_size
    cap = run.infer_cap if infer_cap is None else infer_cap
    return SegModel(net, classes, size, precision, Path(weights), cap, run.white_level, run)
