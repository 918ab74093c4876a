"""Writes masks of a segmentation network: python infer_seg.py --name X_seg --png"""

from utils.command_line import check_flags
from utils.options.segmentation import SegInferOptions

if __name__ == "__main__":  # before the imports that take seconds
    check_flags(SegInferOptions)

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datasets.images import inference_loader
from datasets.layouts.base import Layout
from datasets.runs import open_seg_run
from models import SEG_WEIGHTS_HINT, load_segmenter
from utils.cams.crf import mean_field, require_crf
from utils.cams.files import write_cam_dict
from utils.cams.folders import remove_of_other_labels, start_folder
from utils.cams.masks import write_mask
from utils.errors import run_script
from utils.experiment.folder import weights_of
from utils.experiment.saved import SEG
from utils.folders import names_in
from utils.images import open_rgb
from utils.machine.cores import crf_count, loader_count
from utils.machine.device import Precision, hardware, prepare_device
from utils.machine.distributed import (
    barrier,
    first_on_each_machine,
    gather,
    in_processes,
    is_main,
    local_world_size,
    process_group,
    shard,
)
from utils.machine.interruptions import Interruptions
from utils.machine.parallel import in_background
from utils.options.flags import memory_advice, parse_options
from utils.records import digest_of, place
from utils.segmentation.inference import segment_images

LEAST_KEPT = 0.01
"""Score dicts leave out classes whose probability is lower everywhere, unless they win a pixel."""
LEAST_SCORE = 1e-5
"""Lower limit of scores for the CRF, which takes logarithms."""


def main(args: list[str]) -> None:
    # Options: data set, classes and network are the run's
    options = parse_options(SegInferOptions, args, "infer_seg.py", __doc__)
    run, layout = open_seg_run(options.folder, options.data_path, options.val_list)
    if options.crf:
        require_crf()
    device = prepare_device(options.device)
    precision = Precision(options.amp, device)
    weights = Path(options.weights) if options.weights else checkpoint_of(options)
    size = run.infer_size if options.infer_size < 0 else options.infer_size
    cap = run.infer_cap if options.infer_cap < 0 else options.infer_cap
    record = record_of(options, digest_of(weights, SEG_WEIGHTS_HINT), size, precision, layout) | {"infer_cap": cap}
    writer = Writer(options, folders_of(options, run.val_list), run.white_level)

    with process_group(device, options.nproc, [*writer.folders.values()]), Interruptions() as interruptions:
        # Network
        net = load_segmenter(weights, len(layout.classes) + 1, run).to(device)

        # Data: this process's shard of the images whose results are missing; without labels all classes are admitted
        ids = layout.read_list(run.val_list)
        with first_on_each_machine():
            labels = layout.labels(ids) if options.labels else np.ones((len(ids), len(layout.classes)), bool)
        if is_main():
            writer.start(record, ids, labels)
        barrier()
        left = gather(writer.unwritten(ids))[0]
        part = shard(left)
        workers = loader_count(options.num_workers, local_world_size())
        loader = inference_loader(
            layout, [ids[n] for n in part], labels[part], size, workers, device, options.scales, cap, run.white_level
        )

        if is_main():
            there = f", {len(ids) - len(left)} of them there already" if len(left) < len(ids) else ""
            print(f"{weights} on {hardware(precision)}: {len(ids)} images of {run.val_list}{there}")

        # Loop: the network waits neither for images nor for files
        with in_background(crf_count(options.num_workers, local_world_size()) if options.crf else 0) as do:
            found = segment_images(net, loader, precision, "inference", interruptions, options.mirror, options.window)
            for sample, scores in found:
                classes = torch.cat([torch.zeros(1, dtype=torch.int64), sample.labels + 1])  # as masks number them
                if options.labels:
                    scores = among(scores, classes)
                if writer.needs_scores:
                    kept, image_path = likely(scores), layout.image_path(sample.image_id)
                    scores, classes = scores[kept], classes[kept.cpu()]
                    do(writer.write, sample.image_id, image_path, scores.cpu().numpy(), classes.numpy())
                else:  # the mask alone leaves the device
                    mask = classes.to(scores.device, non_blocking=True)[scores.argmax(0)]
                    do(writer.write_mask, sample.image_id, mask.byte().cpu().numpy())
        barrier()
        if is_main():
            print(f"done: {', '.join(map(str, writer.folders.values()))}")


def checkpoint_of(options: SegInferOptions) -> Path:
    """The experiment's checkpoint of the epoch asked for."""
    return weights_of(options.folder, options.epoch, SEG)


def folders_of(options: SegInferOptions, images: str) -> dict[str, Path]:
    """Folders that this call fills, by the flag that asks for them."""
    server = f"results/VOC2012/Segmentation/comp6_{Path(images).stem}_cls"  # comp6: training may use any images
    folders = {"png": options.png_dir, "dict": "dl", "server": server}
    return {flag: options.folder / name for flag, name in folders.items() if getattr(options, flag)}


def record_of(
    options: SegInferOptions, weights: str, infer_size: int, precision: Precision, layout: Layout
) -> dict[str, Any]:
    """The settings that masks are made with."""
    record = {"weights": weights, "infer_size": infer_size, "device": str(precision), "amp": options.amp}
    record |= {"scales": list(options.scales), "mirror": options.mirror, "window": options.window}
    record |= options.crf_settings if options.crf else {}
    record |= {"labels": True} if options.labels else {}
    return record | {"data": place(layout.root, options.folder)}


def among(scores: Tensor, classes: Tensor) -> Tensor:
    """Of probabilities (C + 1, H, W) those of some classes (K,), in proportion so that their sum is 1: (K, H, W)."""
    kept = scores[classes.to(scores.device, non_blocking=True)]
    return kept / kept.sum(0).clamp_min(torch.finfo(kept.dtype).tiny)


def likely(scores: Tensor) -> Tensor:
    """Which of K classes (K, H, W) a score dict keeps, (K,) bool: background, the likeliest of a pixel, `LEAST_KEPT`."""
    kept = scores.amax((1, 2)) >= LEAST_KEPT
    kept[scores.argmax(0).flatten()] = True
    kept[0] = True
    return kept


@dataclass(frozen=True)
class Writer:
    """Writes the results that the flags request; can be sent to another process."""

    options: SegInferOptions
    folders: dict[str, Path]
    white: float  # see `utils.images.to_rgb`

    @property
    def needs_scores(self) -> bool:
        """Whether anything but the likeliest class of each pixel is needed."""
        return self.options.crf or "dict" in self.folders

    def name(self, kind: str, image_id: str) -> str:
        """Name of an image's file in a folder."""
        return f"{image_id}.{'npy' if kind == 'dict' else 'png'}"

    def names(self, kind: str, image_id: str, classes: Iterable[int]) -> list[str]:
        """`name` as `remove_of_other_labels` wants it."""
        return [self.name(kind, image_id)]

    def start(self, record: dict[str, Any], ids: Sequence[str], labels: np.ndarray) -> None:
        """Prepares the folders; with `--labels`, files of images whose labels (n, C) have changed are removed."""
        for kind, folder in self.folders.items():
            start_folder(folder, record, self.name(kind, "*"), self.options.overwrite)
            if self.options.labels:
                remove_of_other_labels(folder, ids, labels, partial(self.names, kind))

    def unwritten(self, ids: Sequence[str]) -> list[int]:
        """Indices of the images that lack a file; each folder is listed only once."""
        there = {kind: names_in(folder) for kind, folder in self.folders.items()}
        return [n for n, i in enumerate(ids) if any(self.name(kind, i) not in there[kind] for kind in there)]

    def write(self, image_id: str, image_path: Path, scores: np.ndarray, classes: np.ndarray) -> None:
        """Writes the results of one image from the probabilities (K, H, W) of K classes, ascending from 0, background."""
        if self.options.crf:
            image = np.asarray(open_rgb(image_path, self.white))
            scores = mean_field(image, scores.clip(LEAST_SCORE), self.options)
        if "dict" in self.folders:
            path = self.folders["dict"] / self.name("dict", image_id)
            write_cam_dict(path, dict(zip(classes.tolist(), scores, strict=True)))
        self.write_mask(image_id, classes[scores.argmax(0)].astype(np.uint8))

    def write_mask(self, image_id: str, mask: np.ndarray) -> None:
        """Writes the mask (H, W) uint8 of one image to the folders of masks."""
        for kind in self.folders.keys() - {"dict"}:
            write_mask(self.folders[kind] / self.name(kind, image_id), mask)


if __name__ == "__main__":
    run_script(in_processes(main), memory_advice(SegInferOptions))
