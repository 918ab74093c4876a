"""Scores of a network's CAMs, between epochs."""

from functools import partial

import torch
from torch import nn

from utils.cams.validation import score_cams
from utils.machine.device import Precision
from utils.machine.interruptions import Interruptions

CPU = Precision("off", torch.device("cpu"))


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
