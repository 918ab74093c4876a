"""A project that is copied to another place, or used from another folder, goes on working."""

import json
import shutil
from pathlib import Path

import pytest

import infer_trm
import train_trm
from tests.helpers.folders import states
from tests.helpers.small_runs import SMALL
from tests.helpers.toy_data import make_toy_voc
from tools import masks
from utils.errors import InputError

RUN = "--name run --device cpu --num_workers 0"


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A folder with a data set and a trained run that has CAMs, both named by relative paths."""
    root = tmp_path / "project"
    make_toy_voc(root / "data" / "VOC2012")
    monkeypatch.chdir(root)
    train_trm.main(f"--name run {SMALL} --epochs 1".split())
    infer_trm.main(f"{RUN} --dict".split())
    return root


@pytest.fixture
def copy(project, tmp_path, monkeypatch) -> Path:
    """The same elsewhere; the original is gone, and the copy is the current folder."""
    shutil.copytree(project, tmp_path / "elsewhere" / "copy")
    monkeypatch.chdir(tmp_path / "elsewhere" / "copy")
    shutil.rmtree(project)
    return tmp_path / "elsewhere" / "copy"


def test_a_copied_project_goes_on_working(copy, capsys):
    dicts = copy / "experiment" / "run" / "dict"
    before = states(dicts, "*.npy")
    infer_trm.main(f"{RUN} --dict".split())
    assert "4 images of train, 4 of them there already" in capsys.readouterr().out
    assert states(dicts, "*.npy") == before != {}
    masks.main(["--name", "run", "--threshold", "0.4"])
    infer_trm.main(f"{RUN} --png threshold --threshold 0.4".split())
    assert "4 images of train, 4 of them there already" in capsys.readouterr().out


def test_a_copied_run_can_be_resumed(copy, capsys):
    (copy / "experiment" / "run" / "ckpt" / "last.pth").unlink()
    (copy / "experiment" / "run" / "ckpt" / "last.previous.pth").unlink(missing_ok=True)
    train_trm.main(f"--name run {SMALL} --epochs 1 --overwrite".split())
    train_trm.main(["--name", "run", "--resume", "--device", "cpu", "--num_workers", "0"])
    assert "resuming" in capsys.readouterr().out


def test_a_run_is_found_from_another_folder(project, tmp_path, monkeypatch, capsys):
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    infer_trm.main(f"{RUN} --experiments {project}/experiment --dict".split())
    assert "4 of them there already" in capsys.readouterr().out


def test_a_data_set_that_stays_where_it_is_is_the_same_for_a_copied_experiment(project, tmp_path, monkeypatch, capsys):
    shutil.copytree(project / "experiment", tmp_path / "deep" / "er" / "experiment")
    monkeypatch.chdir(tmp_path / "deep")
    where = f"--experiments er/experiment --data-path {project}/data/VOC2012"
    infer_trm.main(f"{RUN} {where} --dict".split())
    assert "4 of them there already" in capsys.readouterr().out


def test_cams_of_another_data_set_are_still_told_apart(project):
    make_toy_voc(project / "data" / "other")
    with pytest.raises(InputError, match=r"dict was made with data '.*/data/VOC2012', not '.*/data/other'\. --overwrite"):
        infer_trm.main(f"{RUN} --dict --data-path data/other".split())


def test_cams_of_another_device_or_precision_are_told_apart(project):
    path = project / "experiment" / "run" / "dict.made_with.json"
    record = json.loads(path.read_text())
    assert record["device"] == "cpu in float32"
    path.write_text(json.dumps(record | {"device": "cuda in float32 (TF32 products)"}))
    expected = r"dict was made with device 'cuda in float32 \(TF32 products\)', not 'cpu in float32'"
    with pytest.raises(InputError, match=expected):
        infer_trm.main(f"{RUN} --dict".split())
