"""A trained network for use from Python: `load_cam_model("experiment/x").cam("dog.jpg", ["dog"])`."""

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from utils.cams.inference import DEFAULT_CAP, network_pixels, predict
from utils.errors import InputError, did_you_mean
from utils.experiment import require_experiment, run_of, weights_of
from utils.images import open_rgb, upright_rgb
from utils.machine.device import AMP_DTYPES, Precision, prepare_device
from utils.options.experiment import DEVICES, OPTIONS_FILE
from utils.options.exported import ExportedConfig, config_of, is_exported, read_config
from utils.options.training import TrainOptions
from utils.training.checkpoint import load_file, load_strictly, state_dict_of

from .dig import LFCA_PREFIXES, DiG, Prediction, build_dig
from .hub import HubModel

WEIGHTS_HINT = "Train first, or copy the published 69.3_pascal.pth there, or name a file with --weights"
ImageLike = str | os.PathLike | Image.Image | np.ndarray | Tensor
"""An image file, a PIL image, an array (H, W, 3) uint8 RGB, or a tensor (3, H, W) in [0, 1], which is rounded to 8 bits."""


class CamModel(HubModel):
    """CAMs and image-level probabilities of single images, bit-identical to those of `infer_trm.py` on the same device.

    Args:
        net: the network, on its device.
        classes: C names.
        shorter_side, cap: size of images at the network's input (`utils.cams.inference.network_size`).
        precision: of the network.
        weights: the file that it was loaded from.
        white: white level of images of more than 8 bits; 0: found for each image (`utils.images.to_rgb`).
        scales: sizes that an image is seen at, relative to that.
        run: options that the network was trained with, without which it cannot be exported.
    """

    def __init__(
        self,
        net: DiG,
        classes: Sequence[str],
        shorter_side: int,
        precision: Precision,
        weights: Path,
        cap: int = DEFAULT_CAP,
        white: float = 0.0,
        scales: Sequence[float] = (1.0,),
        run: TrainOptions | None = None,
    ):
        self.net = net.eval()
        self.classes = tuple(classes)
        self.shorter_side = shorter_side
        self.cap = cap
        self.white = white
        self.scales = scales
        self.precision = precision
        self.weights = weights
        self.run = run

    @classmethod
    def of_folder(cls, folder: Path, device: str, amp: str) -> "CamModel":
        """`load_cam_model` of an exported network."""
        return load_cam_model(folder, device=device, amp=amp)

    def config_of_run(self, run: TrainOptions) -> ExportedConfig:
        """What `config.json` says of this network."""
        sizes = {"infer_size": self.shorter_side, "infer_cap": self.cap, "infer_scales": tuple(self.scales)}
        run = dataclasses.replace(run, white_level=self.white, **sizes)
        return config_of(run, "cam", self.classes, self.net.mean, self.net.std)

    def cam(self, image: ImageLike, labels: str | Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Class activation maps.

        Args:
            image: see `ImageLike`; files and PIL images are turned upright by their EXIF orientation.
            labels: names of the classes in the image; None: all classes of the network.

        Returns:
            By label, (H, W) float32 in [0, 1) at the size of the upright image.

        Raises:
            InputError: the network knows no such class, or the image cannot be used.
        """
        names = self.classes if labels is None else (labels,) if isinstance(labels, str) else tuple(labels)
        indices = self.indices_of(names)
        prediction, size = self.predict(image)
        return self.named_cams(prediction, indices, size)

    def probabilities(self, image: ImageLike) -> dict[str, float]:
        """Probability of each class to be in the image, in [0, 1].

        The sigmoid of the mean logit: over class tokens and patch CAM, and over the image and its mirror (`DiG.predict`).

        Args:
            image: see `ImageLike`.

        Raises:
            InputError: the image cannot be used.
        """
        prediction, _ = self.predict(image)
        return dict(zip(self.classes, prediction.probabilities[0].tolist(), strict=True))

    def found(self, image: ImageLike, threshold: float = 0.5) -> tuple[dict[str, np.ndarray], dict[str, float]]:
        """CAMs and probabilities of the classes that the network itself finds, from one pass.

        Args:
            image: see `ImageLike`.
            threshold: probability from which a class counts as found.

        Raises:
            InputError: the image cannot be used.
        """
        prediction, size = self.predict(image)
        probabilities = dict(zip(self.classes, prediction.probabilities[0].tolist(), strict=True))
        probabilities = {name: p for name, p in probabilities.items() if p >= threshold}
        return self.named_cams(prediction, self.indices_of(tuple(probabilities)), size), probabilities

    def predict(self, image: ImageLike) -> tuple[Prediction, tuple[int, int]]:
        """The network's prediction, on its device, and the height and width of the upright image.

        Args:
            image: see `ImageLike`.

        Raises:
            InputError: the image cannot be used.
        """
        picture = as_rgb(image, self.white)
        name = str(image) if isinstance(image, (str, os.PathLike)) else "the image"
        pixels = network_pixels(picture, self.shorter_side, self.scales, self.cap)
        return predict(self.net, [(name, pixels)], self.precision), (picture.height, picture.width)

    def named_cams(self, prediction: Prediction, indices: Mapping[str, int], size: tuple[int, int]) -> dict[str, np.ndarray]:
        """CAMs by class name, (H, W) float32 in [0, 1)."""
        labels = torch.tensor([*indices.values()], dtype=torch.long, device=self.precision.device)
        return dict(zip(indices, prediction.cams(0, labels, size).cpu().numpy(), strict=True))

    def indices_of(self, names: Sequence[str]) -> dict[str, int]:
        """Class indices by name, from 0.

        Raises:
            InputError: the network knows no such class.
        """
        unknown = [name for name in names if name not in self.classes]
        if unknown:
            meant = did_you_mean(unknown[0], self.classes) or f", which knows {', '.join(self.classes)}"
            raise InputError(f"{unknown[0]!r} is no class of {self.weights}{meant}")
        return {name: self.classes.index(name) for name in names}


def load_cam_model(
    experiment: str | os.PathLike,
    epoch: int | None = None,
    weights: str | os.PathLike | None = None,
    device: str = "auto",
    amp: str = "off",
    *,
    exp: str = "",
    classes: Sequence[str] | None = None,
    infer_size: int | None = None,
    infer_cap: int | None = None,
) -> CamModel:
    """The trained network of an experiment, on a device set up as the scripts do (`utils.machine.device.prepare_device`).

    Args:
        experiment: the experiment's folder, or that of an exported network (`tools.export`).
        epoch: epoch, from 0, whose `ckpt/<epoch>net_trm.pth` is used; None: the last one there.
        weights: weights file to use instead of an epoch's.
        device: auto, cuda, cuda:1 (the second GPU), mps or cpu; auto takes CUDA, then MPS, then the CPU.
        amp: precision of the network, off (float32), bf16 or fp16.
        exp: recipe of the weights, for a folder without options.json; empty: dig_eccv24.
        classes: class names, for such a folder; otherwise the run's are used.
        infer_size, infer_cap: replace the run's flags of these names.

    Raises:
        InputError: weights or class names are missing, damaged or do not fit, or the device is not available.
    """
    folder = Path(experiment)
    if weights is None:
        require_experiment(folder)
        weights = weights_of(folder, epoch)
    run, own_classes = run_of(folder, exp, "")
    names = own_classes or classes
    if not names:
        raise InputError(f"{folder / OPTIONS_FILE} is missing, so that names of the classes are needed: classes=[...]")
    precision = precision_of(device, amp)
    net = load_network(Path(weights), len(names), run).to(precision.device)
    if is_exported(folder):
        config = read_config(folder)
        net.mean, net.std = config.mean, config.std
    size = run.infer_size if infer_size is None else infer_size
    cap = run.infer_cap if infer_cap is None else infer_cap
    return CamModel(net, names, size, precision, Path(weights), cap, run.white_level, run.infer_scales, run)


def precision_of(device: str, amp: str) -> Precision:
    """A device that was set up as the scripts do, with the precision of a network on it.

    Raises:
        InputError: there is no such device or precision.
    """
    if not re.fullmatch(DEVICES[0], device):
        raise InputError(f"device must be {DEVICES[1]}, got {device!r}")
    if amp not in AMP_DTYPES:
        raise InputError(f"amp must be one of {', '.join(AMP_DTYPES)}, got {amp!r}")
    return Precision(amp, prepare_device(device))


def load_network(path: Path, num_classes: int, run: TrainOptions) -> DiG:
    """The network without LFCA, from a checkpoint with or without LFCA's parameters."""
    net = build_dig(num_classes, lfca=False, **run.architecture)
    load_strictly(net, state_dict_of(load_file(path, WEIGHTS_HINT), path), path, ignore=LFCA_PREFIXES)
    return net


def as_rgb(image: ImageLike, white: float = 0.0) -> Image.Image:
    """An image of any kind as an upright RGB image; `white` is that of `utils.images.to_rgb`.

    Raises:
        InputError: it is none of these kinds, or cannot be read.
    """
    if isinstance(image, (str, os.PathLike)):
        return open_rgb(Path(image), white)
    if isinstance(image, Image.Image):
        return upright_rgb(image, white)
    if isinstance(image, Tensor):
        image = array_of(image)
    if not (isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3):
        found = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise InputError(f"an image is a path, an image of PIL's, (H, W, 3) uint8 or a tensor (3, H, W), not {found}")
    if not image.size:
        raise InputError("the image has no pixels")
    return Image.fromarray(image)


def array_of(image: Tensor) -> np.ndarray:
    """A float tensor (3, H, W) in [0, 1] as (H, W, 3) uint8, rounded.

    Raises:
        InputError: shape, type or values are not those of an image.
    """
    if image.ndim != 3 or len(image) != 3 or not image.is_floating_point():
        raise InputError(f"an image as a tensor is (3, H, W) of floats, not {image.dtype} {tuple(image.shape)}")
    image = image.detach().float().cpu()
    if not ((image >= 0) & (image <= 1)).all():
        raise InputError("an image as a tensor has values from 0 to 1")
    return (image * 255).round().byte().permute(1, 2, 0).numpy()
