"""CAMs refined without training."""

import json

import numpy as np
import pytest

import infer_trm
import train_trm
from tests.helpers.experiments import make_experiment
from tests.helpers.folders import states
from tests.helpers.small_runs import SMALL
from tools import refine
from utils.cams.files import read_cam_dict
from utils.errors import InputError


def run(tmp_path, voc, flags=""):
    line = f"--name run --experiments {tmp_path} --data-path {voc} --val_list train --num-workers 1 --device cpu {flags}"
    refine.main(line.split())
    return tmp_path / "run"


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


def test_cams_go_along_the_attention_of_the_runs_network(tmp_path, toy_voc):
    command = f"--name run --experiments {tmp_path} --data-path {toy_voc} {SMALL} --epochs 1"
    train_trm.main(command.split())
    infer_trm.main(f"--name run --experiments {tmp_path} --dict --device cpu --num_workers 0".split())
    folder = run(tmp_path, toy_voc, "--method attention")
    record = json.loads((folder / "dict_attention.made_with.json").read_text())
    assert record["weights"].endswith("+attention")
    for path in (folder / "dict").glob("*.npy"):
        before, after = read_cam_dict(path), read_cam_dict(folder / "dict_attention" / path.name)
        assert before.keys() == after.keys()
        assert all(before[c].shape == after[c].shape for c in before)
        assert not any(np.array_equal(before[c], after[c]) for c in before)


def test_missing_cams_and_networks_are_told(tmp_path, toy_voc):
    with pytest.raises(InputError, match=r"\.npy is missing.*infer them first"):
        run(tmp_path, toy_voc)
    make_experiment(tmp_path, toy_voc)
    with pytest.raises(InputError, match=r"holds no <epoch>net_trm\.pth"):
        run(tmp_path, toy_voc, "--method attention")
