"""A trained network for use from Python: `load_cam_model("experiment/x").cam("dog.jpg", ["dog"])`."""

import dataclasses
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from utils.cams.inference import DEFAULT_CAP, network_pixels, predict
from utils.cams.pseudo_masks import threshold_mask
from utils.errors import InputError, did_you_mean
from utils.experiment.exported import ExportedConfig, config_of, is_exported, read_config
from utils.experiment.folder import require_experiment, weights_of
from utils.experiment.saved import run_of
from utils.machine.device import AMP_DTYPES, Precision, prepare_device
from utils.options.experiment import DEVICES, OPTIONS_FILE
from utils.options.training import TrainOptions
from utils.scoring.best_threshold import DEFAULT_BACKGROUND, background_of
from utils.training.checkpoint import load_file, load_strictly, state_dict_of

from ..dig import LFCA_PREFIXES, DiG, Prediction, build_dig
from .hub import HubModel
from .image_like import ImageLike, as_rgb, name_of, several

WEIGHTS_HINT = "Train first, or copy the published 69.3_pascal.pth there, or name a file with --weights"


class CamModel(HubModel):
    """CAMs and image-level probabilities of single images, bit-identical to those of `infer_trm.py` on the same device.

    Args:
        net: the network, on its device.
        classes: C names.
        shorter_side, cap: size of images at the network's input (`utils.cams.inference.network_size`).
        precision: of the network.
        weights: the file that it was loaded from.
        white: white level of images of more than 8 bits; 0: found for each image (`utils.images.to_rgb`).
        scales: further resizing, relative to that size.
        background: score of the background in masks, in [0, 1].
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
        background: float = DEFAULT_BACKGROUND,
        run: TrainOptions | None = None,
    ):
        super().__init__(net, classes, shorter_side, precision, weights, cap, white, run)
        self.scales = scales
        self.background = background

    @classmethod
    def of_folder(cls, folder: Path, device: str, amp: str) -> "CamModel":
        """`load_cam_model` of an exported network."""
        return load_cam_model(folder, device=device, amp=amp)

    def config_of_run(self, run: TrainOptions) -> ExportedConfig:
        """The content of `config.json` for this network."""
        scales = tuple(self.scales)
        run = dataclasses.replace(
            run, white_level=self.white, infer_size=self.shorter_side, infer_cap=self.cap, infer_scales=scales
        )
        return config_of(run, "cam", self.classes, self.net.mean, self.net.std, self.background)

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

        The sigmoid of the mean logit: over class tokens and patch CAM, image and mirror, and all scales (`DiG.predict`).

        Args:
            image: see `ImageLike`.

        Raises:
            InputError: the image cannot be used.
        """
        return self.probable(self.predict(image)[0], 0.0)

    def found(self, image: ImageLike, threshold: float = 0.5) -> tuple[dict[str, np.ndarray], dict[str, float]]:
        """CAMs and probabilities of the classes that the network itself finds, from one pass.

        Args:
            image: see `ImageLike`.
            threshold: probability from which a class counts as found.

        Raises:
            InputError: the image cannot be used.
        """
        prediction, size = self.predict(image)
        probabilities = self.probable(prediction, threshold)
        return self.named_cams(prediction, self.indices_of(tuple(probabilities)), size), probabilities

    def mask(
        self,
        image: ImageLike,
        labels: str | Sequence[str] | None = None,
        background: float | None = None,
        threshold: float = 0.5,
    ) -> np.ndarray:
        """The mask of an image: at each pixel the class with the largest CAM.

        Args:
            image: see `ImageLike`.
            labels: names of the classes in the image; None: those that the network itself finds.
            background: score that a CAM must exceed, in [0, 1]; None: the model's.
            threshold: probability from which a class counts as found.

        Returns:
            (H, W) uint8, or uint16 for more than 254 classes, of the image's upright size: 0 background, 1 .. C.

        Raises:
            InputError: the network knows no such class, or the image cannot be used.
        """
        names = (labels,) if isinstance(labels, str) else labels
        indices = None if names is None else self.indices_of(tuple(names))
        prediction, size = self.predict(image)
        if indices is None:
            indices = self.indices_of(tuple(self.probable(prediction, threshold)))
        return self.mask_of(self.named_cams(prediction, indices, size), size, background)

    def masks(
        self,
        images: Iterable[ImageLike],
        labels: Sequence[str] | None = None,
        background: float | None = None,
        threshold: float = 0.5,
    ) -> list[np.ndarray]:
        """The masks of several images, one after the other; `labels` are those of all of them; see `mask`."""
        return [self.mask(image, labels, background, threshold) for image in several(images)]

    def mask_of(self, cams: Mapping[str, np.ndarray], size: tuple[int, int], background: float | None = None) -> np.ndarray:
        """The mask (H, W) of CAMs by class name; see `mask`."""
        by_index = {index: cams[name] for name, index in self.indices_of(tuple(cams)).items()}
        return threshold_mask(by_index, size, (self.background if background is None else background,), len(self.classes))

    def probable(self, prediction: Prediction, threshold: float) -> dict[str, float]:
        """Probabilities by class name, of those classes that reach a threshold."""
        probabilities = zip(self.classes, prediction.probabilities[0].tolist(), strict=True)
        return {name: p for name, p in probabilities if p >= threshold}

    def predict(self, image: ImageLike) -> tuple[Prediction, tuple[int, int]]:
        """The network's prediction, on its device, and the height and width of the upright image.

        Args:
            image: see `ImageLike`.

        Raises:
            InputError: the image cannot be used.
        """
        picture = as_rgb(image, self.white)
        pixels = network_pixels(picture, self.shorter_side, self.scales, self.cap)
        return predict(self.net, [(name_of(image), pixels)], self.precision), (picture.height, picture.width)

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
    device: str | torch.device = "auto",
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

    The background's score in masks is the best one that evaluation.py found for the experiment (before the export, for an
    exported network), else 0.4.

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
    sizes = (run.white_level, run.infer_scales)
    background, _ = background_of(folder, Path(weights))
    return CamModel(net, names, size, precision, Path(weights), cap, *sizes, background, run)


def precision_of(device: str | torch.device, amp: str) -> Precision:
    """A device that was set up as the scripts do, with the precision of a network on it.

    Raises:
        InputError: there is no such device or precision.
    """
    name = str(device)
    if not re.fullmatch(DEVICES[0], name):
        raise InputError(f"device must be {DEVICES[1]}, got {name!r}")
    if amp not in AMP_DTYPES:
        raise InputError(f"amp must be one of {', '.join(AMP_DTYPES)}, got {amp!r}")
    return Precision(amp, prepare_device(name))


def load_network(path: Path, num_classes: int, run: TrainOptions) -> DiG:
    """The network without LFCA, from a checkpoint with or without LFCA's parameters."""
    net = build_dig(num_classes, lfca=False, **run.architecture)
    load_strictly(net, state_dict_of(load_file(path, WEIGHTS_HINT), path), path, ignore=LFCA_PREFIXES)
    return net
