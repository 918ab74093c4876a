"""The linear probe of the denoiser's features, and the comparison of CAMs."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import train_trm
from benchmarks.ablation import probe
from tests.helpers.small_runs import SMALL
from utils.errors import InputError


def test_a_probe_reads_what_is_linear_in_features_and_nothing_else():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 6, generator=generator)
    y = (x[:, 2] > 0).long()
    weights = probe.chosen(x, y, 2, F.cross_entropy, groups=torch.arange(200))
    other = torch.randn(500, 6, generator=generator)
    assert (probe.linear(weights, other).argmax(1) == (other[:, 2] > 0)).float().mean() > 0.95
    chance = torch.randint(0, 2, (200,), generator=generator)
    weights = probe.chosen(x, chance, 2, F.cross_entropy, groups=torch.arange(200))
    assert abs((probe.linear(weights, x).argmax(1) == chance).float().mean() - 0.5) < 0.2


def test_a_larger_penalty_gives_smaller_weights():
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > 0).long()
    loose, tight = (probe.fit(x, y, 2, F.cross_entropy, penalty)[:-1].norm() for penalty in (1e-4, 1e-1))
    assert tight < loose / 2


def test_equal_cams_are_at_no_distance_and_disjoint_ones_share_nothing():
    a = torch.zeros(1, 4, 4)
    a[0, :2] = 1
    assert probe.cam_distance(a, a) == (0, 100)
    assert probe.cam_distance(a, 1 - a) == (1, 0)


def test_patches_have_the_class_in_their_middle(toy_voc):
    layout = train_trm.open_layout(toy_voc)
    settings = train_trm.parse(f"--name x --data-path {toy_voc} {SMALL}".split())
    ids = layout.read_list("val")
    grids, truth = probe.table_of(layout, ids, settings, lambda images, numbers: F.avg_pool2d(images, 16), "colours")
    assert grids.shape == (2, 3, 2, 2)
    mask = train_trm.read_truth(layout, ids[0])
    height, width = mask.shape
    assert truth[0, 1, 0] == mask[int(0.75 * height), int(0.25 * width)]


@pytest.mark.parametrize("stem", [[], ["pretrained trunk"]])
def test_all_features_of_a_run_are_probed(tmp_path, toy_voc, stem):
    flags = f"{SMALL} --patch_size 16 --vit_weights mimetic" + " --stem test_efficientnet --stem-weights none" * len(stem)
    train_trm.main(f"--name run --experiments {tmp_path} --data-path {toy_voc} --epochs 1 {flags}".split())
    probe.main(f"--run {tmp_path / 'run'} --score-list val --out {tmp_path / 'probe.json'}".split())
    found = json.loads((tmp_path / "probe.json").read_text())
    assert list(found["probes"]) == ["colours", "denoiser, untrained", "denoiser", *stem]
    assert all(0 <= value <= 100 for scores in found["probes"].values() for value in scores.values())
    assert found["images"] == [4, 2]
    assert {*found["cams"]} == {"denoised", "blurred"}
    assert np.isfinite([value for scores in found["cams"].values() for value in scores.values()]).all()


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"holds no run of train_trm\.py"):
        probe.main(["--run", str(tmp_path)])
