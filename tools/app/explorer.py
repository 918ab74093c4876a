"""The answers of the page: figures and files for a photograph."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from tools.report.views import outlined
from utils.errors import InputError, memory_trouble

from . import figures
from .downloads import write_download
from .photograph import (
    FULL_CRF_SIDE,
    QUICK_CRF_SIDE,
    CamNetwork,
    Photograph,
    SegNetwork,
    cam_mask,
    crf_mask,
    study,
)
from .uploads import Limits, one_line

CAMS, CRF, SEGMENTS = "CAMs", "dense CRF", "segmentation network"
"""Sources of a mask."""
WELCOME = "Drop a photograph, or take an example."
Cams = Mapping[int, np.ndarray]
"""{class index from 0: (h, w) float32 in [0, 1)}, at the size of a photograph's view."""


class Answer(NamedTuple):
    """All that a page shows, as HTML, and what it keeps for its visitor."""

    photograph: Photograph | None
    cams: Cams
    message: str
    image: str
    cam_mask: str
    crf_mask: str
    segments: str
    heat: str


@dataclass(frozen=True)
class Explorer:
    """Answers about photographs. It has no state: the page keeps what belongs to a visitor.

    Args:
        model: network whose CAMs are shown.
        segmenter: a segmentation network; None without one.
        limits: limits of photographs.
        has_crf: whether the CRF is installed.
    """

    model: CamNetwork
    segmenter: SegNetwork | None
    limits: Limits
    has_crf: bool

    @property
    def sources(self) -> list[str]:
        """The sources of masks that are available."""
        return [CAMS, *[CRF] * self.has_crf, *[SEGMENTS] * (self.segmenter is not None)]

    def open(self, path: str | None) -> tuple[Photograph | None, str]:
        """A photograph and an empty text, or None and one line that says why it cannot be used.

        Args:
            path: the file; None without one.
        """
        if path is None:
            return None, ""
        try:
            return study(Path(path), self.limits, self.model, self.segmenter), ""
        except InputError as error:
            return None, one_line(str(error))
        except (MemoryError, RuntimeError) as error:
            reason = memory_trouble(error, "take a smaller photograph, or start the page with a smaller --infer-cap")
            if reason is None:
                raise
            return None, one_line(reason)

    def answer(
        self,
        photograph: Photograph | None,
        why_not: str,
        names: Sequence[str],
        label_threshold: float,
        threshold: float,
        alpha: float,
    ) -> Answer:
        """All that a page shows of a photograph.

        Args:
            photograph: None without one.
            why_not: why there is none, as `open` returns it.
            names, label_threshold: see `choose`.
            threshold: background score in masks of CAMs.
            alpha: exponent of the background score in the CRF.
        """
        cams, words = self.choose(photograph, names, label_threshold)
        return Answer(
            photograph,
            cams,
            figures.line(why_not, "bad") if why_not else figures.line(words or WELCOME),
            self.image_figure(photograph),
            self.cam_mask_figure(photograph, cams, threshold),
            self.crf_figure(photograph, cams, alpha),
            self.segments_figure(photograph),
            self.cam_figures(photograph, cams, threshold),
        )

    def choose(
        self, photograph: Photograph | None, names: Sequence[str], label_threshold: float
    ) -> tuple[dict[int, np.ndarray], str]:
        """CAMs of the named classes, or of those that the network finds if none is named, and a line about the photograph.

        Args:
            photograph: None without one.
            names: names of classes; unknown ones are left out.
            label_threshold: probability from which a class counts as found.
        """
        if photograph is None:
            return {}, ""
        named = [self.model.classes.index(name) for name in dict.fromkeys(names) if name in self.model.classes]
        found = photograph.found(label_threshold)
        height, width = photograph.view.shape[:2]
        size = f"{photograph.shape[1]} x {photograph.shape[0]} pixels"
        words = f"{photograph.file}, {size}. {self.found_in_words(photograph, found, label_threshold)}"
        return photograph.cams(named or found, (height, width)), words

    def found_in_words(self, photograph: Photograph, found: Sequence[int], threshold: float) -> str:
        """The classes that the network finds, with their probabilities; the most probable one if it finds none."""
        by_probability = sorted(enumerate(photograph.probabilities), key=lambda pair: -pair[1])
        words = [f"{self.model.classes[index]} {p:.2f}" for index, p in by_probability if index in found]
        if words:
            return f"The network finds {', '.join(words)}."
        index, p = by_probability[0]
        name = self.model.classes[index]
        return f"The network finds no class with a probability of {threshold:g} or more; {name} is nearest with {p:.2f}."

    def cam_figures(self, photograph: Photograph | None, cams: Cams, threshold: float) -> str:
        """HTML of the heat maps, with a line where each crosses the threshold."""
        if photograph is None:
            return ""
        shown = []
        for index, cam in cams.items():
            name = self.model.classes[index]
            picture = outlined(photograph.view, cam, threshold)
            note = f"probability {photograph.probabilities[index]:.2f}"
            shown.append(figures.figure(f"CAM of {name}", picture, f"CAM of {name} over {photograph.name}", note=note))
        return figures.grid(shown) if shown else figures.line("No class, no CAM: choose classes, or lower the probability.")

    def cam_mask_figure(self, photograph: Photograph | None, cams: Cams, threshold: float) -> str:
        """HTML of the mask from the CAMs."""
        if photograph is None:
            return ""
        mask = cam_mask(cams, photograph.view.shape[:2], threshold)
        return self.mask_figure("CAM mask", photograph, mask, self.model.classes)

    def crf_figure(self, photograph: Photograph | None, cams: Cams, alpha: float) -> str:
        """HTML of the mask from the CRF, computed at a reduced size."""
        if photograph is None or not self.has_crf:
            return ""
        mask = crf_mask(photograph.view, cams, alpha, QUICK_CRF_SIDE, max(photograph.shape))
        return self.mask_figure("CRF mask", photograph, mask, self.model.classes)

    def image_figure(self, photograph: Photograph | None) -> str:
        """HTML of the photograph."""
        if photograph is None:
            return ""
        return figures.figure("Photograph", photograph.view, f"the photograph {photograph.name}")

    def segments_figure(self, photograph: Photograph | None) -> str:
        """HTML of the segmentation network's mask."""
        if photograph is None or photograph.segments is None or self.segmenter is None:
            return ""
        size = photograph.view.shape[1::-1]
        mask = np.asarray(cv2.resize(photograph.segments, size, interpolation=cv2.INTER_NEAREST))
        return self.mask_figure("Segmentation", photograph, mask, self.segmenter.classes)

    def mask_figure(self, heading: str, photograph: Photograph, mask: np.ndarray, classes: Sequence[str]) -> str:
        """HTML of a mask (h, w) of the view's size."""
        parts = figures.parts_of(mask, classes)
        words = ", ".join(f"{part.name} {100 * part.share:.0f} %" for part in parts) or "background alone"
        picture = figures.outlined_mask(photograph.view, mask)
        return figures.figure(heading, picture, f"{heading} of {photograph.name}: {words}", parts, "" if parts else words)

    def download(
        self, photograph: Photograph, cams: Cams, source: str, kind: str, threshold: float, alpha: float, folder: Path
    ) -> Path:
        """Writes a mask at the photograph's own size.

        Args:
            photograph: the photograph.
            cams: CAMs of the classes that are shown.
            source: one of `sources`.
            kind: one of `downloads.KINDS`.
            threshold, alpha: see `answer`.
            folder: folder of the file.

        Raises:
            InputError: the file cannot be written.
        """
        mask, classes = self.full_mask(photograph, list(cams), source, threshold, alpha)
        return write_download(kind, folder, photograph, mask, classes, source)

    def full_mask(
        self, photograph: Photograph, indices: Sequence[int], source: str, threshold: float, alpha: float
    ) -> tuple[np.ndarray, Sequence[str]]:
        """A mask (H, W) uint8 at the photograph's own size, and the names of its classes; see `download`."""
        if source == SEGMENTS and self.segmenter is not None and photograph.segments is not None:
            return photograph.segments, self.segmenter.classes
        cams = photograph.cams(indices, photograph.shape)
        if source == CRF and self.has_crf:
            image = np.asarray(photograph.image)
            return crf_mask(image, cams, alpha, FULL_CRF_SIDE, max(photograph.shape)), self.model.classes
        return cam_mask(cams, photograph.shape, threshold), self.model.classes
