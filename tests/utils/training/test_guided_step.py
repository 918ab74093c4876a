"""DiG's training step, on stand-ins of the networks."""

import torch
from torch import nn

from utils.machine.device import Precision
from utils.training.guided_step import GuidedStep

CPU = Precision("off", torch.device("cpu"))


class Recorder(nn.Module):
    """Stands in for a network: returns what it was called with."""

    def forward(self, *args):
        return args


def test_the_step_feeds_both_images_normalised_and_features_once():
    class Guidance(nn.Module):
        def features(self, image01, noise):
            return "features"

        def denoised(self, image01, noise):
            return image01 + noise[7]

    class Criterion:
        uses_features = uses_denoised = staticmethod(lambda epoch: True)

        def __call__(self, *args):
            return args

    step = GuidedStep(Recorder(), Guidance(), Criterion(), lambda x: 10 * x, CPU)
    image = torch.rand(2, 3, 4, 4)
    original, denoised, labels, epoch = step(image, "labels", {7: torch.ones(1)}, 3)
    assert torch.equal(original[0], 10 * image)
    assert original[1] == "features"
    assert len(denoised) == 1
    assert torch.equal(denoised[0], 10 * (image + 1))
    assert (labels, epoch) == ("labels", 3)
