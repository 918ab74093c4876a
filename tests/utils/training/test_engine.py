"""The loop over steps."""

from types import SimpleNamespace

import pytest
import torch

from tests.helpers.tiny_training import dig_training
from utils.errors import InputError


def test_the_first_loss_that_is_not_finite_is_named(tmp_path):
    training = dig_training(tmp_path)
    training.epoch, training.steps_done = 4, 13
    losses = torch.tensor([[1.0, 2.0], [3.0, torch.nan], [torch.inf, 1.0]])
    training.waiting = [(row, [number]) for number, row in enumerate(losses)]
    loader = SimpleNamespace(names_of=lambda indices: [f"image {i}" for i in indices])
    with pytest.raises(InputError, match="epoch 4 step 12: loss second is nan on the images image 1;"):
        training.report(["first", "second"], loader, 1.0)
