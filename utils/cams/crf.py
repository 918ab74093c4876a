"""Dense CRF on CAMs (https://arxiv.org/abs/1210.5644) by pydensecrf2, with the settings usual in this field."""

import importlib.util
from collections.abc import Mapping

import numpy as np

from ..errors import InputError
from ..options.results import CrfOptions

USUAL = CrfOptions()


def require_crf() -> None:
    """Raises InputError if pydensecrf2 is not installed; it is optional, because installing it needs a C++ compiler."""
    if importlib.util.find_spec("pydensecrf") is None:
        raise InputError("the CRF needs pydensecrf2: pip install pydensecrf2 (a C++ compiler is needed)")


def refine(
    image: np.ndarray, cams: Mapping[int, np.ndarray], alpha: float, options: CrfOptions = USUAL
) -> dict[int, np.ndarray]:
    """Probabilities after mean-field inference.

    Args:
        image: (H, W, 3) uint8 RGB.
        cams: {class index: (H, W) in [0, 1]}, without background.
        alpha: exponent of the background score (1 - max CAM)^alpha; a larger one gives less background.
        options: CRF settings; its exponents are ignored.

    Returns:
        {0: background, class index + 1: class}, each (H, W) float32; they sum to 1.
    """
    from pydensecrf.densecrf import DenseCRF2D
    from pydensecrf.utils import unary_from_softmax

    height, width = image.shape[:2]
    if not cams:
        return {0: np.ones((height, width), np.float32)}
    foreground = np.stack(list(cams.values()))
    scores = np.concatenate(((1 - foreground.max(0, keepdims=True)).clip(0) ** alpha, foreground))
    # Scores are not probabilities: as usual in the field, clip zeros and normalise over the classes.
    probabilities = np.clip(scores, 1e-5, None)
    probabilities /= probabilities.sum(0)
    crf = DenseCRF2D(width, height, len(probabilities))
    crf.setUnaryEnergy(np.ascontiguousarray(unary_from_softmax(probabilities)))
    crf.addPairwiseGaussian(sxy=options.gaussian_sxy, compat=options.gaussian_weight)
    crf.addPairwiseBilateral(
        sxy=options.bilateral_sxy,
        srgb=options.bilateral_srgb,
        rgbim=np.array(image, np.uint8, order="C"),
        compat=options.bilateral_weight,
    )
    refined = np.array(crf.inference(options.iterations), np.float32).reshape(scores.shape)
    return dict(zip((0, *(c + 1 for c in cams)), refined, strict=True))
