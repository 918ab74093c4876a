"""Training of a segmentation network at its smallest: what it writes, what it repeats, what it refuses."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import train_seg
from tests.helpers.processes import finish, start
from tests.helpers.small_runs import SMALL_SEG
from tests.helpers.stopped import stop_in_second_epoch
from tests.helpers.toy_data import make_toy_coco, make_toy_folder, make_toy_voc
from tests.helpers.weights import equal
from utils.cams.masks import read_mask, write_mask
from utils.errors import InputError
from utils.experiment.folder import epoch_file, read_scores
from utils.experiment.saved import SEG
from utils.options.segmentation import AffinityOptions
from utils.training.engine import Training


@pytest.fixture
def voc(tmp_path) -> Path:
    """Eight images to learn from, four to validate on."""
    return make_toy_voc(tmp_path / "VOC2012", 12)


def train(tmp_path: Path, data: Path, name: str = "run", extra: str = "") -> Path:
    train_seg.main(f"--name {name} --experiments {tmp_path} --data-path {data} {SMALL_SEG} {extra}".split())
    return tmp_path / name


def weights(folder: Path, epoch: int = 1) -> dict[str, torch.Tensor]:
    return torch.load(epoch_file(folder, epoch, SEG), weights_only=True)


def test_a_run_writes_weights_options_scores_log_and_events(tmp_path, voc):
    folder = train(tmp_path, voc)
    assert {p.name for p in (folder / "ckpt").iterdir()} == {
        "000net_seg.pth",
        "001net_seg.pth",
        "last.pth",
        "last.previous.pth",
    }
    saved = json.loads((folder / "options.json").read_text())
    assert saved["options"]["encoder"] == "tu-test_efficientnet"
    assert len(saved["classes"]) == 20
    log = (folder / "log.txt").read_text()
    scores = read_scores(folder)
    assert set(scores) == {"0", "1"}
    assert f"epoch 1 mIoU {scores['1']['miou']:.2f} on val" in log
    assert list(folder.glob("events.*"))


@pytest.mark.parametrize("flags", ["", "--ema_decay 0.5 --optimizer sgd --amp bf16", "--freeze_bn"])
def test_a_run_that_was_stopped_ends_with_the_same_bits(tmp_path, voc, monkeypatch, flags):
    whole = train(tmp_path, voc, "whole", flags)
    stop_in_second_epoch(monkeypatch, lambda: train(tmp_path, voc, "cut", flags))
    train_seg.main(f"--name cut --experiments {tmp_path} --resume".split())
    assert equal(weights(whole), weights(tmp_path / "cut"))
    assert read_scores(whole) == read_scores(tmp_path / "cut")


def test_the_same_seed_gives_the_same_bits_whatever_the_workers(tmp_path, voc):
    alone, others = (weights(train(tmp_path, voc, str(n), f"--num_workers {n} --seed 3")) for n in (0, 2))
    assert equal(alone, others)


def test_batch_statistics_of_a_frozen_encoder_stay_and_its_weights_learn(tmp_path, voc):
    folder = train(tmp_path, voc, "run", "--freeze_bn")
    before, after = weights(folder, 0), weights(folder, 1)
    statistics = [name for name in before if name.endswith(("running_mean", "running_var"))]
    assert all(torch.equal(before[n], after[n]) for n in statistics if n.startswith("model.encoder."))
    assert not any(torch.equal(before[n], after[n]) for n in statistics if not n.startswith("model.encoder."))
    assert not torch.equal(before["model.encoder.model.conv_stem.weight"], after["model.encoder.model.conv_stem.weight"])


def test_rates_follow_the_polynomial_and_the_encoders_share(tmp_path, voc, monkeypatch):
    rates, update = [], Training.update

    def watched(self, *rest):
        rates.append(tuple(sorted({group["lr"] for group in self.optimizer.param_groups})))
        return update(self, *rest)

    monkeypatch.setattr(Training, "update", watched)
    train(tmp_path, voc, "run", "--lr 0.1 --encoder_lr 0.5 --power 0.9 --epochs 2")
    expected = [0.1 * (1 - step / 4) ** 0.9 for step in range(4)]
    assert [high for _, high in rates] == pytest.approx(expected)
    assert [low for low, _ in rates] == pytest.approx([rate / 2 for rate in expected])


def test_the_loss_falls_on_masks_that_can_be_learnt(tmp_path, voc):
    folder = train(tmp_path, voc, "run", "--epochs 12 --lr 0.01 --jitter 0 --scale 1 1")
    losses = [
        float(line.split(" ce ")[1].split()[0])
        for line in (folder / "log.txt").read_text().splitlines()
        if "done: ce" in line
    ]
    assert losses[-1] < 0.6 * losses[0]


def test_masks_of_any_folder_are_learnt_from(tmp_path, voc):
    (voc / "SegmentationClass").rename(tmp_path / "png")
    folder = train(tmp_path, voc, "run", f"--masks {tmp_path}/png")
    log = (folder / "log.txt").read_text()
    assert f"with masks of {tmp_path}/png" in log
    assert "4 of 4 images of val have no mask: nothing is scored" in log


def test_a_run_is_not_resumed_on_masks_that_were_made_anew(tmp_path, voc):
    (voc / "SegmentationClass").rename(tmp_path / "png")
    record = tmp_path / "png.made_with.json"
    record.write_text('{"alpha": 4.0}')
    flags = f"--masks {tmp_path}/png"
    train(tmp_path, voc, "run", flags)
    train(tmp_path, voc, "run", flags)
    record.write_text('{"alpha": 8.0}')
    with pytest.raises(InputError, match=r"run/masks was made with alpha 4\.0, not 8\.0\. The masks have changed"):
        train(tmp_path, voc, "run", flags)
    train(tmp_path, voc, "run", f"{flags} --overwrite")


def test_a_missing_mask_is_named_before_anything_is_written(tmp_path, voc):
    masks = sorted((voc / "SegmentationClass").iterdir())
    masks[1].unlink()
    with pytest.raises(InputError, match=rf"{masks[1].name} is missing: make the masks first, .*--masks"):
        train(tmp_path, voc)
    assert not (tmp_path / "run" / "options.json").exists()


def test_a_mask_of_another_size_is_refused(tmp_path, voc):
    mask = sorted((voc / "SegmentationClass").iterdir())[0]
    mask.write_bytes(sorted((voc / "SegmentationClass").iterdir())[3].read_bytes())
    with pytest.raises(InputError, match=rf"{mask.name} is \d+ x \d+ pixels, its image \d+ x \d+"):
        train(tmp_path, voc)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--arch nothing", "--arch nothing is none of segmentation-models-pytorch: it has unet"),
        ("--encoder tu-nothing", "--arch unet with --encoder tu-nothing cannot be built: Unknown model"),
        ("--encoder nothing", "--arch unet with --encoder nothing cannot be built"),
        ("--encoder resnet18 --encoder_weights x.pth", "goes with an encoder of timm"),
        ("--arch-options width", "--arch-options takes NAME=VALUE"),
        ("--crop-size 40", "--crop-size 40 must be a multiple of 32"),
        ("--exp dig_lite", "--exp dig_lite is no recipe; there are seg_deeplab"),
        ("--encoder_weights x.pth", r"x\.pth is missing"),
    ],
)
def test_what_does_not_fit_is_refused_with_a_line(tmp_path, voc, flags, message):
    with pytest.raises(InputError, match=message):
        train(tmp_path, voc, "run", flags)


def test_compiling_without_a_compiler_is_refused_at_the_start(tmp_path, voc, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(InputError, match=r"^--compile needs a compiler, and no-such-compiler is not found: install it"):
        train(tmp_path, voc, "run", "--compile")


def test_another_command_of_the_same_name_is_refused(tmp_path, voc):
    train(tmp_path, voc)
    with pytest.raises(InputError, match=r"holds a run with --lr 0\.003: --resume continues it"):
        train(tmp_path, voc, "run", "--lr 1")
    with pytest.raises(InputError, match=r"--epochs 2.*one polynomial over all 2 epochs, so that 3 would"):
        train(tmp_path, voc, "run", "--epochs 3")


@pytest.mark.parametrize("kind", ["coco", "folder"])
def test_coco_and_own_images_work_the_same_way(tmp_path, kind):
    if kind == "coco":
        data, lists, classes = make_toy_coco(tmp_path / "COCO2014", masks=True), "--train_list train --val_list val", 80
    else:
        data, classes = make_toy_folder(tmp_path / "own", masks=True), 8
        (tmp_path / "list.txt").write_text("".join(f"{i}\n" for i in range(6)))
        lists = f"--train_list {tmp_path}/list.txt --val_list {tmp_path}/list.txt"
    state = weights(train(tmp_path, data, "run", lists))
    assert len(state["model.segmentation_head.0.bias"]) == classes + 1
    assert set(read_scores(tmp_path / "run")) == {"0", "1"}


def test_own_images_without_a_list_to_validate_on_are_learnt_from(tmp_path):
    folder = train(tmp_path, make_toy_folder(tmp_path / "own", masks=True))
    assert "own has no list val: nothing is scored during training" in (folder / "log.txt").read_text()
    with pytest.raises(InputError, match=r"vall?\.txt is missing"):
        train(tmp_path, tmp_path / "own", "other", "--val_list vall")


@pytest.mark.end_to_end
@pytest.mark.parametrize("flags", ["", "--freeze_bn"])
def test_two_processes_take_the_steps_of_one(tmp_path, flags):
    make_toy_voc(tmp_path / "VOC2012", 24)
    states = []
    for nproc in (1, 2):
        line = f"train_seg.py --name {nproc} --data-path VOC2012 {SMALL_SEG} --lr 1e-4 --epochs 1 --nproc {nproc} {flags}"
        finish(start(line, tmp_path))
        states.append(weights(tmp_path / "experiment" / str(nproc), 0))
    one, two = states
    assert one.keys() == two.keys()
    apart = {name: float((one[name].double() - two[name].double()).abs().max()) for name in one}
    assert max(apart.values()) < 1e-4, max(apart, key=lambda name: apart[name])


def test_a_run_is_not_resumed_on_other_images(tmp_path, voc):
    train(tmp_path, voc, "run")
    listed = voc / "ImageSets" / "Segmentation" / "train.txt"
    listed.write_text("".join(reversed(listed.read_text().splitlines(keepends=True))))
    with pytest.raises(InputError, match=r"last\.pth is of other training images, labels or classes than those there now"):
        train(tmp_path, voc, "run")


def test_masks_of_two_folders_of_one_name_are_told_apart(tmp_path, voc):
    for place in ("a", "b"):
        shutil.copytree(voc / "SegmentationClass", tmp_path / place / "png")
    train(tmp_path, voc, "run", f"--masks {tmp_path}/a/png")
    with pytest.raises(InputError, match="The masks have changed"):
        train(tmp_path, voc, "run", f"--masks {tmp_path}/b/png")


def test_pairs_that_do_not_fit_into_a_crop_are_refused():
    with pytest.raises(InputError, match=r"--radius 5 must be at most the 4 strides of --crop-size"):
        AffinityOptions(name="x", masks="m", crop_size=32)


def test_a_run_is_not_resumed_on_masks_that_were_edited(tmp_path, voc):
    flags = f"--masks {tmp_path}/png"
    shutil.copytree(voc / "SegmentationClass", tmp_path / "png")
    train(tmp_path, voc, "run", flags)
    image_id = (voc / "ImageSets" / "Segmentation" / "train.txt").read_text().split()[0]
    path = tmp_path / "png" / f"{image_id}.png"
    mask = read_mask(path, None, 20)
    write_mask(path, np.where((mask == 0) | (mask == 255), mask, 21 - mask).astype(np.uint8))
    with pytest.raises(InputError, match=r"run/masks was made with contents '\w+', not '\w+'\. The masks have changed"):
        train(tmp_path, voc, "run", flags)
