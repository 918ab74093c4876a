"""The images that a network in training is scored on."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from utils.log import RunLog
from utils.machine.cores import loader_count
from utils.machine.distributed import first_on_each_machine, gather, local_world_size, shard
from utils.options.segmentation import SegOptions
from utils.options.training import TrainOptions

from .check import check_images, check_masks
from .images import InferenceLoader, inference_loader
from .layouts.base import Layout


def validation_loader(
    layout: Layout,
    options: TrainOptions | SegOptions,
    device: torch.device,
    log: RunLog,
    trained: Sequence[Path] = (),
    *,
    usual_list: str | None = None,
    scales: Sequence[float] = (1.0,),
    labelled: bool = True,
) -> InferenceLoader | None:
    """Loader of this process's shard of the validation images, uncropped, one at a time.

    Args:
        layout, options, device, log: those of the run.
        trained: its training images.
        usual_list: list that the data set need not have.
        scales: see `InferenceImages`.
        labelled: the images have labels; without, no label is set.

    Returns:
        None if true masks or `usual_list` are missing; the log says so.
    """
    if options.val_list == usual_list and not layout.has_list(options.val_list):
        log.info(f"{layout.root} has no list {options.val_list}: nothing is scored during training")
        return None
    ids = layout.read_list(options.val_list)
    if unmasked := max(gather(sum(not layout.mask_path(i).exists() for i in ids))):
        what = f"{unmasked} of {len(ids)} images of {options.val_list} have no mask"
        log.info(f"{what}: nothing is scored during training{layout.other_masks}")
        return None
    with first_on_each_machine():
        labels = layout.labels(ids) if labelled else np.zeros((len(ids), len(layout.classes)), bool)
        paths = [layout.image_path(i) for i in ids]
        check_images(layout.root, paths, options.check_data, options.white_level, like=trained)
        check_masks(layout, ids, labels, options.check_data, log.info)
    workers = loader_count(options.num_workers, local_world_size())
    size, cap, white = options.infer_size, options.infer_cap, options.white_level
    return inference_loader(layout, shard(ids), shard(labels), size, workers, device, scales, cap, white)
