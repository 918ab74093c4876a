"""CAMs at patch resolution: what is made of them is what the network would have made."""

import numpy as np
import pytest
import torch

from models.cam import EPSILON, normalize_cam
from models.dig import Prediction
from utils.cams import patch_size
from utils.cams.files import read_cam_dict, read_score_dict, write_cam_dict
from utils.cams.patch_size import full_size_cams, normalized
from utils.errors import InputError


def maps(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)) + 0.5


@pytest.mark.parametrize("size", [(48, 64), (37, 61), (3, 4), (333, 500)])
def test_full_size_cams_are_those_of_the_network(size):
    prediction = Prediction((maps(1, 5, 3, 4),), torch.zeros(1, 5))
    expected = prediction.cams(0, torch.tensor([1, 3]), size).numpy()
    found = full_size_cams({c: prediction.maps[0][0, c].numpy() for c in (1, 3)}, size)
    np.testing.assert_allclose(np.stack([found[1], found[3]]), expected, atol=2e-6)


def test_both_normalisations_are_one():
    cam = maps(7, 9)
    np.testing.assert_allclose(normalized(cam.numpy().copy()), normalize_cam(cam), atol=1e-7)
    assert patch_size.EPSILON == EPSILON


def test_a_constant_map_becomes_all_zero():
    assert not normalized(np.full((3, 3), 2.5, np.float32)).any()


def test_a_file_of_patches_is_read_at_full_size(tmp_path):
    written = {2: maps(3, 4).numpy(), 11: maps(3, 4).numpy() * 2}
    write_cam_dict(tmp_path / "a.npy", written, (50, 70))
    found = read_cam_dict(tmp_path / "a.npy", (50, 70), 20)
    expected = full_size_cams(written, (50, 70))
    assert list(found) == [2, 11]
    assert all(np.array_equal(found[c], expected[c]) for c in found)


def test_a_file_of_patches_is_a_hundredth_of_the_size(tmp_path):
    write_cam_dict(tmp_path / "patch.npy", {2: maps(23, 31).numpy()}, (375, 500))
    write_cam_dict(tmp_path / "full.npy", full_size_cams({2: maps(23, 31).numpy()}, (375, 500)))
    assert 100 * (tmp_path / "patch.npy").stat().st_size < (tmp_path / "full.npy").stat().st_size


def test_an_image_without_a_class_has_a_file_too(tmp_path):
    write_cam_dict(tmp_path / "a.npy", {}, (50, 70))
    assert read_cam_dict(tmp_path / "a.npy", (50, 70), 20) == {}


def test_patches_of_another_image_are_refused(tmp_path):
    write_cam_dict(tmp_path / "a.npy", {2: maps(3, 4).numpy()}, (50, 70))
    with pytest.raises(InputError, match=r"a\.npy is of an image of \(50, 70\), not \(70, 50\)"):
        read_cam_dict(tmp_path / "a.npy", (70, 50), 20)


def test_patches_are_no_scores(tmp_path):
    write_cam_dict(tmp_path / "a.npy", {0: maps(3, 4).numpy()}, (50, 70))
    with pytest.raises(InputError, match=r"a\.npy holds CAMs at patch resolution: it is no score dict"):
        read_score_dict(tmp_path / "a.npy", (50, 70), 20)


@pytest.mark.parametrize(
    "size",
    [
        np.array([0, 70]),
        np.array([-50, 70]),
        np.array([50.0, 70.0]),
        np.array([50, 70, 3]),
        np.array([2**15, 2]),
        np.array([2**14, 2**14]),
        (50, 70),
        "50",
        None,
    ],
    ids=str,
)
def test_what_is_no_size_is_refused(tmp_path, size):
    np.save(tmp_path / "a.npy", {2: maps(3, 4).numpy(), "size": size}, allow_pickle=True)
    with pytest.raises(InputError, match=r"a\.npy: its size is no height and width of an image"):
        read_cam_dict(tmp_path / "a.npy")


@pytest.mark.parametrize("shape", [(51, 4), (3, 71), (0, 4)])
def test_a_map_larger_than_its_image_or_empty_is_refused(tmp_path, shape):
    np.save(tmp_path / "a.npy", {2: np.zeros(shape, np.float32), "size": np.array([50, 70])}, allow_pickle=True)
    with pytest.raises(InputError, match=r"a\.npy: class 2 is .* in an image of \(50, 70\)"):
        read_cam_dict(tmp_path / "a.npy")
