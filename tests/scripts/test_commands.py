"""The commands of the README, typed as they stand, in processes of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models import LFCA_PREFIXES, build_dig
from tests.helpers import ROOT
from tests.helpers.processes import complete
from tests.helpers.recorded import fill_
from tests.helpers.shared import COCO_MINI, VOC_MINI, needs_coco_mini, needs_voc_mini

pytestmark = pytest.mark.end_to_end

FEW = ["2007_000033", "2007_000187", "2007_000032", "2007_000039"]


def succeed(line: str, cwd: Path) -> str:
    result = complete(line, cwd)
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    return result.stdout


@pytest.fixture
def four(tmp_path) -> Path:
    """A list of four real images."""
    ids = [i for i in FEW if (VOC_MINI / "JPEGImages" / f"{i}.jpg").exists()]
    path = tmp_path / "four.txt"
    path.write_text("\n".join(ids))
    return path


@needs_voc_mini
def test_four_scripts_go_from_nothing_to_an_miou(tmp_path, four):
    data = f"--exp dig_nano --data-path {VOC_MINI}"
    succeed(
        f"train_diffusion.py --name denoiser --exp dig_nano --data {VOC_MINI}/JPEGImages --steps 2 --num-samples 1", tmp_path
    )
    assert (tmp_path / "pretrained" / "model-nano.pt").exists()
    small = f"--epochs 2 --batch_size 2 --train_list {four} --val_list {four} --num_workers 2"
    trained = succeed(f"train_trm.py --name exp_name {data} {small}", tmp_path)
    assert "denoiser: pretrained/model-nano.pt, width 16" in trained
    succeed(f"infer_trm.py --name exp_name --load_epo 1 --dict {data}", tmp_path)
    scored = succeed(f"evaluation.py --name exp_name --task cam --dict_dir dict {data} --json scores.json", tmp_path)
    best = json.loads((tmp_path / "scores.json").read_text())["best"]["miou"]
    assert scored.rstrip().splitlines()[-1].startswith(f"mIoU {best:.3f} at threshold")
    assert f"mIoU {best:.2f} at threshold" in trained.splitlines()[-2]


def test_the_demo_goes_from_nothing_to_an_miou_and_a_picture_sheet(tmp_path):
    succeed("-m datasets.toy --train-images 24 --val-images 4", tmp_path)
    denoiser = "--name toy_denoiser --exp dig_toy --data data/toy/JPEGImages"
    succeed(f"train_diffusion.py {denoiser} --steps 2 --num-samples 1", tmp_path)
    succeed("train_trm.py --name toy --exp dig_toy --epochs 4 --batch-size 8 --num-workers 0", tmp_path)
    succeed("infer_trm.py --name toy --dict", tmp_path)
    scored = succeed("evaluation.py --name toy", tmp_path)
    assert "striped disc" in scored
    assert scored.splitlines()[-1].startswith("mIoU ")
    sheet = succeed("-m tools.report --name toy", tmp_path)
    assert "experiment/toy/report.png" in sheet
    assert Image.open(tmp_path / "experiment" / "toy" / "report.png").width > 500


@needs_voc_mini
def test_a_published_checkpoint_is_inferred_at_full_size_within_bounded_memory(tmp_path, four):
    weights = tmp_path / "experiment" / "paper" / "ckpt" / "019net_trm.pth"
    weights.parent.mkdir(parents=True)
    state = fill_(build_dig()).state_dict()
    assert any(name.startswith(LFCA_PREFIXES) for name in state)
    torch.save(state, weights)
    data = f"--data-path {VOC_MINI}"
    peak = peak_memory(f"infer_trm.py --name paper --load_epo 19 --dict {data} --val_list {four} --num_workers 0", tmp_path)
    assert peak < 1.5e9
    succeed(f"evaluation.py --name paper --task cam --dict_dir dict {data} --list {four}", tmp_path)
    cams = np.load(tmp_path / "experiment" / "paper" / "dict" / "2007_000033.npy", allow_pickle=True).item()
    assert {cam.shape for cam in cams.values()} == {(366, 500)}


@needs_coco_mini
def test_four_scripts_go_from_nothing_to_an_miou_of_81_classes(tmp_path):
    data = f"--exp dig_coco_nano --data-path {COCO_MINI}"
    succeed(f"train_diffusion.py --name denoiser --exp dig_coco_nano --data {COCO_MINI} --steps 2 --num-samples 1", tmp_path)
    small = "--epochs 2 --batch_size 2 --train_list train:4 --val_list val:3 --num_workers 2"
    trained = succeed(f"train_trm_coco.py --name exp_name {data} {small}", tmp_path)
    assert "80 classes" in trained
    assert "denoiser: pretrained/model-nano.pt, width 16" in trained
    succeed(f"infer_trm.py --name exp_name --load_epo 1 --dict {data}", tmp_path)
    scored = succeed(f"evaluation.py --name exp_name --task cam --dict_dir dict {data} --json scores.json", tmp_path)
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert len(scores["iou"][0]) == 81
    assert f"mIoU {scores['best']['miou']:.2f} at threshold" in trained.splitlines()[-2]
    assert scored.rstrip().splitlines()[-1].startswith(f"mIoU {scores['best']['miou']:.3f} at threshold")


@needs_coco_mini
def test_a_full_size_network_of_80_classes_takes_a_training_step(tmp_path):
    (tmp_path / "one.txt").write_text("9")
    random = "--diffusion_weights random --vit_weights none --lr 0.1 --warmup_epochs 0 --min-lr 0.1"
    one = "--batch_size 1 --epochs 1 --train_list one.txt --val_list one.txt --num_workers 0"
    trained = succeed(f"train_trm_coco.py --name full --data-path {COCO_MINI} {random} {one}", tmp_path)
    assert "dig_coco_eccv24 on " in trained
    folder = tmp_path / "experiment" / "full"
    state = torch.load(folder / "ckpt" / "last.pth", weights_only=True, mmap=True)
    assert state["model"]["cls_token"].shape == (1, 80, 384)
    assert all(moment["exp_avg"].any() for moment in state["optimizer"]["state"].values())
    (folder / "ckpt" / "last.pth").unlink()  # 2.6 GB


def peak_memory(line: str, cwd: Path) -> int:
    """Largest resident size in bytes of a command that succeeds, measured by the system for that process alone."""
    measure = (
        "import resource, subprocess, sys; code = subprocess.call(sys.argv[1:]); "
        "print('PEAK', resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(code)"
    )
    script, *args = line.split()
    env = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    measured = [sys.executable, "-c", measure, sys.executable, str(ROOT / script), *args]
    result = subprocess.run(measured, cwd=cwd, env=env, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr
    unit = 1 if sys.platform == "darwin" else 1024
    return int(result.stdout.rsplit("PEAK", 1)[1]) * unit


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train_trm.py --name x --data-path nowhere", "error: --data-path nowhere does not exist"),
        ("train_trm.py --data-path nowhere", "error: the following arguments are required: --name"),
        ("train_trm.py --name a/b", "error: --name must be a plain name"),
        ("train_trm.py --name x --exp dig", "error: --exp dig is no recipe; there are dig_eccv24 (the paper"),
        ("train_trm.py --name x --batchsize 3", "error: unrecognized arguments: --batchsize 3"),
        ("infer_trm.py --name x", "error: nothing to write"),
        ("evaluation.py --task seg", "error: argument --task: invalid choice"),
        ("train_diffusion.py --name x --data nowhere", "error: --data nowhere does not exist: name a folder of images"),
    ],
)
def test_wrong_input_ends_with_one_line_and_code_2(tmp_path, line, message):
    result = complete(line, tmp_path)
    assert result.returncode == 2
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith(message)
    assert list(tmp_path.iterdir()) == []


def test_an_error_in_a_loading_process_is_one_line_too(tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    line = "train_diffusion.py --name x --data . --dim 8 --image-size 16 --batch-size 1 --num_workers 2 --device cpu"
    line += " --check_data never"  # which would find it before
    result = complete(line, tmp_path)
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].startswith("error: broken.jpg is no readable image")
    assert "Traceback" not in result.stderr


def test_debug_shows_the_traceback(tmp_path):
    result = complete("evaluation.py --task cam --debug", tmp_path)
    assert result.returncode == 2
    assert "Traceback" in result.stderr


@pytest.mark.parametrize(
    "script", ["train_trm.py", "train_trm_coco.py", "train_diffusion.py", "infer_trm.py", "evaluation.py"]
)
def test_help_is_printed_by_the_script(tmp_path, script):
    text = succeed(f"{script} --help", tmp_path)
    assert "--name" in text
    assert "(default:" in text
