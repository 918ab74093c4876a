"""Dense CRF on CAMs (https://arxiv.org/abs/1210.5644) by pydensecrf2, with the settings usual in this field."""

import importlib.util
from collections.abc import Mapping

import numpy as np

from ..errors import InputError
from ..options.results import CrfSettings

USUAL_CRF = CrfSettings()


def require_crf() -> None:
    """Raises InputError if pydensecrf2 is not installed; it is optional, because installing it needs a C++ compiler."""
    if importlib.util.find_spec("pydensecrf") is None:
        raise InputError("the CRF needs pydensecrf2: pip install pydensecrf2 (a C++ compiler is needed)")


def refine(
    image: np.ndarray, cams: Mapping[int, np.ndarray], alpha: float, options: CrfSettings = USUAL_CRF
) -> dict[int, np.ndarray]:
    """Probabilities of CAMs after mean-field inference.

    Args:
        image: (H, W, 3) uint8 RGB.
        cams: {class index: (H, W) in [0, 1]}, background not among them.
        alpha: exponent of the background score (1 - max CAM)^alpha; a larger one means less background.
        options: the settings.

    Returns:
        {0: background, class index + 1: class}, each (H, W) float32; they sum to 1.
    """
    height, width = image.shape[:2]
    if not cams:
        return {0: np.ones((height, width), np.float32)}
    foreground = np.stack(list(cams.values()))
    scores = np.concatenate(((1 - foreground.max(0, keepdims=True)).clip(0) ** alpha, foreground))
    # Scores are no probabilities: like the field's other tools, clip away zeros and normalise over the classes.
    refined = mean_field(image, np.clip(scores, 1e-5, None), options)
    return dict(zip((0, *(c + 1 for c in cams)), refined, strict=True))


def mean_field(image: np.ndarray, scores: np.ndarray, options: CrfSettings = USUAL_CRF) -> np.ndarray:
    """Probabilities after mean-field inference.

    Args:
        image: (H, W, 3) uint8 RGB.
        scores: (K, H, W) of K classes, all positive.
        options: the settings.

    Returns:
        (K, H, W) float32, which sum to 1.
    """
    from pydensecrf.densecrf import DenseCRF2D
    from pydensecrf.utils import unary_from_softmax

    height, width = image.shape[:2]
    probabilities = scores / scores.sum(0)
    crf = DenseCRF2D(width, height, len(probabilities))
    crf.setUnaryEnergy(np.ascontiguousarray(unary_from_softmax(probabilities)))
    crf.addPairwiseGaussian(sxy=options.gaussian_sxy, compat=options.gaussian_weight)
    crf.addPairwiseBilateral(
        sxy=options.bilateral_sxy,
        srgb=options.bilateral_srgb,
        rgbim=np.array(image, np.uint8, order="C"),
        compat=options.bilateral_weight,
    )
    return np.array(crf.inference(options.iterations), np.float32).reshape(scores.shape)
