"""CAMs refined without training."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import infer_trm
import train_affinity
import train_trm
from tests.helpers.experiments import make_experiment
from tests.helpers.folders import states
from tests.helpers.small_runs import SMALL
from tests.helpers.stopped import stop_in_second_epoch
from tools import masks, refine
from tools.refine import Pamr, method_of
from utils.cams.files import read_cam_dict
from utils.errors import InputError
from utils.options.results import RefineOptions


def run(tmp_path, voc, flags=""):
    line = f"--name run --experiments {tmp_path} --data-path {voc} --val_list train --num-workers 1 --device cpu {flags}"
    refine.main(line.split())
    return tmp_path / "run"


def all_differ(folder, refined):
    """Asserts that every CAM has been refined, and has kept its class and shape."""
    paths = [*(folder / "dict").glob("*.npy")]
    assert paths
    for path in paths:
        before, after = read_cam_dict(path), read_cam_dict(folder / refined / path.name)
        assert before.keys() == after.keys()
        assert all(before[c].shape == after[c].shape for c in before)
        assert not any(np.array_equal(before[c], after[c]) for c in before)


def test_every_cam_is_refined_and_keeps_its_class_and_size(tmp_path, toy_voc):
    folder = make_experiment(tmp_path, toy_voc)
    run(tmp_path, toy_voc)
    files = sorted((folder / "dict").iterdir())
    assert len(files) == 4
    for path in files:
        before, after = read_cam_dict(path), read_cam_dict(folder / "dict_pamr" / path.name)
        assert before.keys() == after.keys()
        for c in before:
            assert before[c].shape == after[c].shape
            assert not np.array_equal(before[c], after[c])
            assert 0 <= after[c].min() < after[c].max() < 1


def test_refinement_goes_on_where_it_stopped_and_never_mixes(tmp_path, toy_voc):
    folder = make_experiment(tmp_path, toy_voc)
    run(tmp_path, toy_voc)
    (folder / "dict_pamr" / "2007_000001.npy").unlink()
    before = states(folder / "dict_pamr", "*.npy")
    run(tmp_path, toy_voc)
    assert before.items() < states(folder / "dict_pamr", "*.npy").items()
    with pytest.raises(InputError, match="dict_pamr was made with steps 10, not 3"):
        run(tmp_path, toy_voc, "--steps 3")
    run(tmp_path, toy_voc, "--steps 3 --overwrite")


def test_pamr_at_half_the_size_sees_the_halved_image():
    small, cams = np.random.default_rng(0).integers(0, 256, (12, 10, 3), np.uint8), torch.rand(2, 12, 10)
    large = Image.fromarray(small.repeat(2, 0).repeat(2, 1))
    at_half = Pamr(3, 0.5)(large, cams.repeat_interleave(2, 1).repeat_interleave(2, 2))
    expected = F.interpolate(Pamr(3)(Image.fromarray(small), cams)[None], (24, 20), mode="bilinear")[0]
    torch.testing.assert_close(at_half, expected)


def test_cams_of_another_scale_are_not_mixed(tmp_path, toy_voc):
    folder = make_experiment(tmp_path, toy_voc)
    run(tmp_path, toy_voc, "--scale 0.5")
    assert len(list((folder / "dict_pamr").iterdir())) == 4
    with pytest.raises(InputError, match=r"dict_pamr was made with scale 0\.5"):
        run(tmp_path, toy_voc)


def test_cams_go_along_the_attention_of_the_runs_network(tmp_path, toy_voc):
    command = f"--name run --experiments {tmp_path} --data-path {toy_voc} {SMALL} --epochs 1"
    train_trm.main(command.split())
    infer_trm.main(f"--name run --experiments {tmp_path} --dict --device cpu --num_workers 0".split())
    folder = run(tmp_path, toy_voc, "--method attention")
    record = json.loads((folder / "dict_attention.made_with.json").read_text())
    assert record["weights"].endswith("+attention")
    all_differ(folder, "dict_attention")


AFFINITY = (
    "--exp aff_toy --crop-size 32 --batch-size 4 --device cpu --num_workers 0 --arch-options decoder_channels=(8,8,8,8,8)"
)


def test_cams_go_along_affinities_learnt_from_sure_masks(tmp_path, toy_voc):
    folder = make_experiment(tmp_path, toy_voc)
    place = f"--experiments {tmp_path} --data-path {toy_voc}"
    sure = "--val_list train --low 0.3 --high 0.6 --png_dir sure --num_workers 1"
    masks.main(f"--name run {place} {sure}".split())
    assert len(list((folder / "sure").glob("*.png"))) == 4
    assert not (folder / "png").exists()
    train_affinity.main(f"--name run_aff {place} --masks {folder}/sure --epochs 2 {AFFINITY}".split())
    assert (tmp_path / "run_aff" / "ckpt" / "001net_aff.pth").exists()
    losses = [line for line in (tmp_path / "run_aff" / "log.txt").read_text().splitlines() if "epoch 1 done" in line]
    assert {"background", "object", "different"} < set(losses[0].split())
    run(tmp_path, toy_voc, "--method affinity")
    all_differ(folder, "dict_affinity")


def test_training_of_affinities_that_was_stopped_ends_with_the_same_bits(tmp_path, toy_voc, monkeypatch):
    flags = f"--experiments {tmp_path} --data-path {toy_voc} --masks truth --epochs 2 {AFFINITY}"
    train_affinity.main(f"--name whole {flags}".split())
    stop_in_second_epoch(monkeypatch, lambda: train_affinity.main(f"--name cut {flags}".split()))
    train_affinity.main(f"--name cut {flags}".split())
    whole, cut = (torch.load(tmp_path / n / "ckpt" / "001net_aff.pth", weights_only=True) for n in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


def test_affinities_are_told_from_other_runs(tmp_path, toy_voc):
    make_experiment(tmp_path, toy_voc)
    with pytest.raises(InputError, match=r"run_aff holds no run of train_affinity\.py"):
        run(tmp_path, toy_voc, "--method affinity")
    place = f"--experiments {tmp_path} --data-path {toy_voc}"
    train_affinity.main(f"--name other {AFFINITY} {place} --masks truth --epochs 1".split())
    with pytest.raises(InputError, match=r"other is a run of train_affinity\.py, which has no CAMs"):
        infer_trm.main(f"--name other --experiments {tmp_path} --dict".split())


def test_missing_cams_and_networks_are_told(tmp_path, toy_voc):
    with pytest.raises(InputError, match=r"\.npy is missing.*infer them first"):
        run(tmp_path, toy_voc)
    make_experiment(tmp_path, toy_voc)
    with pytest.raises(InputError, match=r"holds no <epoch>net_trm\.pth"):
        run(tmp_path, toy_voc, "--method attention")


def test_an_affinity_run_that_is_not_there_is_one_line(tmp_path, toy_voc):
    with pytest.raises(InputError, match=r"experiment/x_aff holds no run of train_affinity\.py"):
        method_of(RefineOptions(name="run", experiments=str(tmp_path), method="affinity", affinity="experiment/x_aff"), ())
