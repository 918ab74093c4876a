"""The files that `predict.py` writes: masks, pictures, polygons, and predictions.json with what was found in each image."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..cams.masks import write_mask
from ..cams.pictures import cam_overlay, save_picture
from ..errors import InputError
from ..files import whole_file
from ..folders import names_in
from .overlay import mask_overlay
from .polygon_files import ANNOTATIONS_FILE, CocoFile, common_folder, write_labelme

PREDICTIONS_FILE = "predictions.json"


@dataclass(frozen=True)
class Found:
    """What a network finds in an image."""

    mask: np.ndarray  # (H, W) of `label_type`, 0 background, 1 .. C
    words: str  # the classes found, in words
    cams: Mapping[str, np.ndarray] = field(default_factory=dict)  # by class, (H, W) in [0, 1]
    probabilities: Mapping[str, float] = field(default_factory=dict)  # by class, in [0, 1]


class Predictions:
    """The files of one call. In `predictions.json`, images are named as given, and all other files relative to `out`.

    Args:
        out: folder of all files.
        paths: the images.
        classes: C names.
        network: entries on the network, repeated for each image in `predictions.json`.
        exports: formats of polygons, coco and labelme.
        tolerance: see `utils.predictions.polygons.regions`.
    """

    def __init__(
        self,
        out: Path,
        paths: Sequence[Path],
        classes: Sequence[str],
        network: Mapping[str, Any],
        exports: Sequence[str],
        tolerance: float,
    ):
        self.out = out
        self.paths = paths
        self.classes = classes
        self.network = network
        self.labelme = "labelme" in exports
        self.coco = CocoFile(classes, common_folder(paths), tolerance) if "coco" in exports else None
        self.tolerance = tolerance
        self.done: list[dict[str, Any]] = []
        self.failed: list[dict[str, str]] = []

    def mask_file(self, stem: str) -> Path:
        """The file of an image's mask."""
        return self.out / f"{stem}.png"

    def picture_file(self, stem: str, name: str) -> Path:
        """The file of the picture of a class in an image."""
        return self.out / f"{stem}_{name}.png"

    def overlay_file(self, stem: str) -> Path:
        """The file of the picture of an image's mask."""
        return self.out / f"{stem}_overlay.jpg"

    def labelme_file(self, stem: str) -> Path:
        """The file of labelme's polygons of an image."""
        return self.out / f"{stem}.json"

    def files_of(self, stem: str, names: Sequence[str]) -> Iterator[Path]:
        """All files that an image may get; `names` are the classes that may get a picture."""
        yield self.mask_file(stem)
        yield self.overlay_file(stem)
        yield from (self.picture_file(stem, name) for name in names)
        if self.labelme:
            yield self.labelme_file(stem)

    def require_own_files(self, names: Sequence[str]) -> None:
        """Checks that no result would replace another one or an image; for `names` see `files_of`.

        Raises:
            InputError: one would.
        """
        images = {os.path.realpath(path) for path in self.paths}  # realpath accepts circular links
        common = {self.out / PREDICTIONS_FILE, *([self.out / ANNOTATIONS_FILE] if self.coco else [])}
        there, out = names_in(self.out), os.path.realpath(self.out)  # only an existing file can be a link
        owners: dict[Path, Path] = {}
        for path in self.paths:
            for file in self.files_of(path.stem, names):
                if (os.path.realpath(file) if file.name in there else f"{out}/{file.name}") in images:
                    raise InputError(f"{file}, a result of {path}, would replace an image: name another folder with --out")
                if file in common:
                    raise InputError(f"{file}, a result of {path}, is the name of the file for all images: rename the image")
                if (other := owners.setdefault(file, path)) != path:
                    raise InputError(
                        f"{other} and {path} would both be written to {file}: rename one, or give them in two calls"
                    )

    def add(self, path: Path, image: np.ndarray, found: Found) -> None:
        """Writes the files of an image (H, W, 3) uint8."""
        stem, mask = path.stem, found.mask
        for name, cam in found.cams.items():
            save_picture(cam_overlay(image, cam), self.picture_file(stem, name))
        save_picture(mask_overlay(image, mask, self.classes), self.overlay_file(stem))
        write_mask(self.mask_file(stem), mask)
        values = {name: c for c, name in enumerate(self.classes, 1)}
        scores = {values[name]: p for name, p in found.probabilities.items()}
        if self.coco:
            self.coco.add(path, mask, scores)
        if self.labelme:
            write_labelme(self.labelme_file(stem), path, mask, self.classes, self.tolerance)
        self.done.append(self.record(path, found, values))

    def record(self, path: Path, found: Found, values: Mapping[str, int]) -> dict[str, Any]:
        """The entry of an image in `predictions.json`; `values`: value in the mask by class name."""
        classes = []
        for name in sorted(
            {*found.cams, *(self.classes[c - 1] for c in np.unique(found.mask) if c)}, key=values.__getitem__
        ):
            one: dict[str, Any] = {"name": name, "value": values[name], "share": float((found.mask == values[name]).mean())}
            if name in found.probabilities:
                one["probability"] = found.probabilities[name]
            if name in found.cams:
                one["picture"] = self.picture_file(path.stem, name).name
            classes.append(one)
        height, width = found.mask.shape
        record = {"file": str(path), "width": width, "height": height, **self.network, "classes": classes}
        record |= {"mask": self.mask_file(path.stem).name, "overlay": self.overlay_file(path.stem).name}
        return record | ({"labelme": self.labelme_file(path.stem).name} if self.labelme else {})

    def fail(self, path: Path, reason: str) -> None:
        """Records an image that cannot be used."""
        self.failed.append({"file": str(path), "reason": reason})

    def close(self) -> None:
        """Writes the files for all images: `predictions.json`, and COCO's polygons if requested."""
        if self.coco:
            self.coco.write(self.out / ANNOTATIONS_FILE)
        with whole_file(self.out / PREDICTIONS_FILE) as file:
            content = {"images": self.done, "failed": self.failed}
            file.write((json.dumps(content, indent=1) + "\n").encode())
