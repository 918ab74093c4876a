"""Experiments with random weights, as trainings would have left them."""

from pathlib import Path
from typing import Any

import torch

from datasets.labels.classes import VOC_CLASSES
from models import build_dig, build_segmenter
from utils.experiment.folder import epoch_file
from utils.experiment.saved import SEG
from utils.experiment.start import start_run
from utils.options.flags import make_options
from utils.options.segmentation import SegOptions
from utils.options.training import TrainOptions
from utils.training.checkpoint import save_file

TINY_CAM = {"input_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2, "vit_weights": "none"}
TINY_SEG = {"arch": "fpn", "encoder": "resnet18", "masks": "truth", "arch_options": ("decoder_pyramid_channels=8",)}


def cam_experiment(root: Path, name: str = "run", epochs: int = 1, **options: Any) -> Path:
    """A run of train_trm.py on VOC's classes; returns its folder."""
    run = make_options(TrainOptions, {**TINY_CAM, **options, "name": name, "experiments": str(root)})
    for epoch in range(epochs):
        torch.manual_seed(epoch)
        net = build_dig(20, lfca=False, **run.architecture)
        shake(net)
        save_file(net.state_dict(), epoch_file(run.folder, epoch))
    start_run(run, VOC_CLASSES)
    return run.folder


def make_run(root: Path, data: Path, infer_size: int = 0, name: str = "run", epochs: int = 1) -> Path:
    """The same on a data set, with a size of its own at inference."""
    return cam_experiment(root, name, epochs, infer_size=infer_size, data_path=str(data))


def seg_experiment(root: Path, name: str = "run_seg", **options: Any) -> Path:
    """A run of train_seg.py on VOC's classes with one epoch; returns its folder."""
    run = make_options(SegOptions, {**TINY_SEG, **options, "name": name, "experiments": str(root)})
    torch.manual_seed(0)
    net, _ = build_segmenter(21, **run.architecture)
    shake(net)
    save_file(net.state_dict(), epoch_file(run.folder, 0, SEG))
    start_run(run, VOC_CLASSES)
    return run.folder


def shake(net: torch.nn.Module) -> None:
    """Moves parameters and batch statistics away from their first values, so that outputs depend on all of them."""
    for parameter in net.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    for name, buffer in net.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.add_(0.1 * torch.rand_like(buffer))
