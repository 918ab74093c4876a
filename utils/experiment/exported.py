"""A trained network in a folder to share: `config.json` has the settings for loading, `model.safetensors` the weights."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..options.experiment import OPTIONS_FILE
from ..options.flags import OptionsT, make_options

CONFIG_FILE, WEIGHTS_FILE, CARD_FILE = "config.json", "model.safetensors", "README.md"
LARGEST = 100_000
"""Largest number in the options: a larger one would take all memory before the weights show that it is wrong."""
INFERENCE = ("infer_size", "infer_cap", "white_level")
KEPT = {
    "cam": (
        *("input_size", "patch_size", "embed_dim", "depth", "num_heads", "backbone", "backbone_options", "stem"),
        *("stem_levels", "cam", "spreads", "infer_scales", *INFERENCE),
    ),
    "seg": ("arch", "encoder", "arch_options", "freeze_bn", *INFERENCE),
}
"""Options that loading needs, by the kind of network: CAMs (train_trm.py) or segmentation (train_seg.py)."""
LATER = {"spreads"}
"""Options that exports of earlier versions lack; they had the defaults."""
UNUSED = {"cam": {"vit_weights": "none"}, "seg": {"masks": "truth"}}
"""Options that only training reads, but that must have a value."""


@dataclass(frozen=True)
class ExportedConfig:
    """The content of `config.json`."""

    kind: str  # cam or seg
    classes: tuple[str, ...]
    options: Mapping[str, Any]  # those of `KEPT`
    mean: tuple[float, ...]  # of each channel of an image in [0, 1], subtracted
    std: tuple[float, ...]  # divided by
    background: float | None = None  # its score in masks of CAMs, in [0, 1]

    def to_bytes(self) -> bytes:
        """The file's content."""
        content: dict[str, Any] = {
            "kind": self.kind,
            "classes": list(self.classes),
            "normalization": {"mean": list(self.mean), "std": list(self.std)},
            "options": dict(self.options),
        }
        if self.background is not None:
            content["background"] = self.background
        return (json.dumps(content, indent=2) + "\n").encode()

    def run(self, cls: type[OptionsT], name: str) -> OptionsT:
        """The options of a training that would have given this network.

        Args:
            cls: `TrainOptions` or `SegOptions`.
            name: name of the experiment.

        Raises:
            InputError: a value is not valid for a run.
        """
        return make_options(cls, {"name": name, **UNUSED[self.kind], **self.options})


def config_of(
    run: Any,
    kind: str,
    classes: Sequence[str],
    mean: Sequence[float],
    std: Sequence[float],
    background: float | None = None,
) -> ExportedConfig:
    """The content of `config.json` for a run.

    Args:
        run: its `TrainOptions` or `SegOptions`.
        kind: cam or seg.
        classes: C names, without the background.
        mean, std: channel statistics by which images are standardised.
        background: background score in masks of CAMs.
    """
    options = {name: getattr(run, name) for name in KEPT[kind]}
    return ExportedConfig(kind, tuple(classes), options, tuple(mean), tuple(std), background)


def is_exported(folder: Path) -> bool:
    """Whether a folder holds an exported network, and no run."""
    return (folder / CONFIG_FILE).is_file() and not (folder / OPTIONS_FILE).exists()


def read_config(folder: Path) -> ExportedConfig:
    """The configuration of an exported network.

    Raises:
        InputError: the file is missing, damaged, or no configuration of such a network.
    """
    path = folder / CONFIG_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        kind, classes, options = content["kind"], content["classes"], content["options"]
        mean, std = (tuple(map(float, content["normalization"][name])) for name in ("mean", "std"))
        background = float(content["background"]) if "background" in content else None
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise InputError(f"{path} is no configuration of an exported network: {error!r}") from error
    if not isinstance(kind, str) or kind not in KEPT:
        raise InputError(f"{path} is of a network of the kind {kind!r}, not one of {', '.join(KEPT)}")
    if not isinstance(classes, list) or not classes or not all(isinstance(name, str) for name in classes):
        raise InputError(f"{path} names no classes")
    if not isinstance(options, dict) or LATER | set(options) != LATER | set(KEPT[kind]):
        raise InputError(f"{path} must hold the options {', '.join(KEPT[kind])}, and no others")
    if large := [name for name, value in options.items() if isinstance(value, int | float) and not -1 <= value <= LARGEST]:
        raise InputError(f"{path} has a {large[0]} of {options[large[0]]}, which no network has")
    if len(mean) != 3 or len(std) != 3 or not all(map(math.isfinite, (*mean, *std))) or min(std) <= 0:
        raise InputError(f"{path} must hold a mean and a standard deviation above 0 for each of three channels")
    if background is not None and not 0 <= background <= 1:
        raise InputError(f"{path} has a background score of {background}, which is not between 0 and 1")
    return ExportedConfig(kind, tuple(classes), options, mean, std, background)


def exported_run(folder: Path, cls: type[OptionsT]) -> tuple[OptionsT, tuple[str, ...]]:
    """Options and classes of an exported network; see `ExportedConfig.run`.

    Raises:
        InputError: the configuration is damaged, or of a network of another kind.
    """
    config = read_config(folder)
    try:
        return config.run(cls, folder.resolve().name), config.classes
    except (TypeError, InputError) as error:
        raise InputError(f"{folder / CONFIG_FILE} cannot be used: {error}") from error
