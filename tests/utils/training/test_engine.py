"""The training step and the scoring between epochs, on stand-ins of the networks."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from tests.helpers.tiny_training import dig_training
from utils.cams.validation import score_cams
from utils.errors import InputError
from utils.machine.device import Precision
from utils.machine.interruptions import Interruptions
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


def test_the_first_loss_that_is_not_finite_is_named(tmp_path):
    training = dig_training(tmp_path)
    training.epoch, training.steps_done = 4, 13
    losses = torch.tensor([[1.0, 2.0], [3.0, torch.nan], [torch.inf, 1.0]])
    training.waiting = [(row, [number]) for number, row in enumerate(losses)]
    loader = SimpleNamespace(names_of=lambda indices: [f"image {i}" for i in indices])
    with pytest.raises(InputError, match="epoch 4 step 12: loss second is nan on the images image 1;"):
        training.report(["first", "second"], loader, 1.0)


def test_cams_and_labels_are_scored_against_the_masks_and_labels_of_their_images(toy_voc):
    from datasets.images import InferenceImages
    from datasets.layouts.base import read_truth
    from datasets.layouts.voc import VocLayout
    from models.dig import Prediction
    from utils.cams.masks import read_mask

    layout = VocLayout(toy_voc)
    ids = layout.read_list("train")
    images = InferenceImages(ids, [layout.image_path(i) for i in ids], layout.labels(ids))
    masks = {i: torch.from_numpy(read_mask(layout.mask_path(i), None, 20)) for i in ids}
    remaining = iter(ids)

    class Oracle(nn.Module):
        """Knows the masks, in the order of the list."""

        patch_size = 16

        def predict(self, scales):
            image_id = next(remaining)
            maps = torch.stack([(masks[image_id] == c + 1).float() for c in range(20)])
            return Prediction((maps[None],), 0.6 * torch.from_numpy(layout.labels([image_id])).float())

    loader = torch.utils.data.DataLoader(images, batch_size=None)
    scores, classification = score_cams(Oracle(), loader, CPU, partial(read_truth, layout), 20, Interruptions())
    present = scores.pixels > 0
    assert present.sum() > 3
    assert (scores.iou[scores.best][present] == 100).all()
    assert classification.mean_ap == classification.f1 == 100
