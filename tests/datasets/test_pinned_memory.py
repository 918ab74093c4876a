"""Every kind of sample goes into pinned memory as the loader does it for CUDA, whole and of its own type."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader
from torch.utils.data._utils.pin_memory import pin_memory

from datasets.images import FolderImages, InferenceSample, TrainingImages, TrainingSample, epoch_loader, inference_loader
from datasets.layouts.voc import VocLayout

CPU = torch.device("cpu")


@pytest.fixture
def pinned(monkeypatch) -> list[int]:
    """Addresses of the tensors that were pinned: without CUDA nothing can be."""
    addresses: list[int] = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: addresses.append(self.data_ptr()) or self.clone())
    return addresses


def training(voc: VocLayout) -> DataLoader:
    ids = voc.read_list("train")
    paths = [voc.image_path(i) for i in ids]
    images = TrainingImages(paths, voc.labels(ids), 16, (0.5, 1), (1, 1), 0)
    return epoch_loader(images, 2, 0, 0, CPU)


def inference(voc: VocLayout) -> DataLoader:
    ids = voc.read_list("train")
    return inference_loader(voc, ids, voc.labels(ids), 24, 0, CPU, (1.0, 0.5))


def denoiser(voc: VocLayout) -> DataLoader:
    return epoch_loader(FolderImages(voc.root / "JPEGImages", 16, True, 0), 2, 0, 0, CPU)


def tensors(sample: object) -> Iterator[torch.Tensor]:
    """All tensors of a sample, in their order."""
    if isinstance(sample, torch.Tensor):
        yield sample
    elif isinstance(sample, tuple | list):
        for part in sample:
            yield from tensors(part)


@pytest.mark.parametrize(
    ("make", "kind", "count"), [(training, TrainingSample, 3), (inference, InferenceSample, 3), (denoiser, list, 2)]
)
def test_all_of_a_sample_is_pinned_and_it_stays_what_it_was(toy_voc, pinned, make, kind, count):
    sample = next(iter(make(VocLayout(toy_voc))))
    assert type(sample) is kind
    copy = pin_memory(sample)
    assert type(copy) is kind
    assert pinned == [tensor.data_ptr() for tensor in tensors(sample)]
    assert len(pinned) == count
    for before, after in zip(tensors(sample), tensors(copy), strict=True):
        np.testing.assert_array_equal(before, after)
    if kind is InferenceSample:
        assert (copy.image_id, copy.size) == (sample.image_id, sample.size)


@pytest.mark.parametrize("make", [training, inference, denoiser])
def test_loaders_pin_for_cuda_alone(toy_voc, make, monkeypatch):
    assert not make(VocLayout(toy_voc)).pin_memory
    monkeypatch.setattr(f"{__name__}.CPU", torch.device("cuda"))
    assert make(VocLayout(toy_voc)).pin_memory
