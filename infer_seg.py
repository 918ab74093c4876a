"""Writes masks of a segmentation network: python infer_seg.py --name X_seg --png"""

from utils.command_line import check_flags
from utils.options.segmentation import SegInferOptions

if __name__ == "__main__":  # before the imports that take seconds
    check_flags(SegInferOptions)

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datasets.images import inference_loader
from datasets.layouts.base import Layout
from datasets.pixels import open_rgb
from datasets.runs import open_seg_run
from models import SEG_WEIGHTS_HINT, load_segmenter
from utils.cams.crf import mean_field, require_crf
from utils.cams.files import write_cam_dict
from utils.cams.folders import start_folder
from utils.cams.masks import write_mask
from utils.errors import run_script
from utils.experiment import SEG, weights_of
from utils.files import place
from utils.machine.cores import available_cores, loader_count
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
from utils.segmentation.training import segment_images
from utils.training.checkpoint import digest_of

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

        # Data: this process's shard of the images whose results are missing
        ids = layout.read_list(run.val_list)
        with first_on_each_machine():
            labels = layout.labels(ids) if options.labels else np.ones((len(ids), len(layout.classes)), bool)
        record |= {"images and labels": layout.digest(ids, labelled=True)} if options.labels else {}
        if is_main():
            for kind, folder in writer.folders.items():
                start_folder(folder, record, "*.npy" if kind == "dict" else "*.png", options.overwrite)
        barrier()
        left = gather([n for n, i in enumerate(ids) if not all(path.exists() for path in writer.files(i))])[0]
        part = shard(left)
        workers = loader_count(options.num_workers, local_world_size())
        loader = inference_loader(
            layout, [ids[n] for n in part], labels[part], size, workers, device, options.scales, cap, run.white_level
        )

        if is_main():
            there = f", {len(ids) - len(left)} of them there already" if len(left) < len(ids) else ""
            print(f"{weights} on {hardware(precision)}: {len(ids)} images of {run.val_list}{there}")

        # Loop: the network waits neither for images nor for files
        with in_background(max(1, available_cores() // local_world_size()) if options.crf else 0) as do:
            found = segment_images(net, loader, precision, "inference", interruptions, options.mirror, options.window)
            for sample, scores in found:
                if options.labels:
                    scores = among_labels(scores, sample.labels)
                do(writer.write, sample.image_id, layout.image_path(sample.image_id), scores.cpu().numpy())
        barrier()
        if is_main():
            print(f"done: {', '.join(map(str, writer.folders.values()))}")


def checkpoint_of(options: SegInferOptions) -> Path:
    """The experiment's checkpoint of the epoch asked for."""
    return weights_of(options.folder, options.load_epo if options.load_epo >= 0 else None, SEG)


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
    return record | {"data": place(layout.root, options.folder)}


def among_labels(scores: Tensor, labels: Tensor) -> Tensor:
    """Probabilities (C + 1, H, W) with those of classes that the labels (K,) do not name set to 0; their sum remains 1."""
    named = torch.cat([labels.new_zeros(1), labels + 1]).to(scores.device, non_blocking=True)
    kept = torch.zeros_like(scores).index_copy_(0, named, scores[named])
    return kept / kept.sum(0).clamp_min(torch.finfo(kept.dtype).tiny)


@dataclass(frozen=True)
class Writer:
    """Writes the results that the flags request; can be sent to another process."""

    options: SegInferOptions
    folders: dict[str, Path]
    white: float  # see `utils.images.to_rgb`

    def files(self, image_id: str) -> list[Path]:
        """The files of an image, in the order of `folders`."""
        return [folder / f"{image_id}.{'npy' if kind == 'dict' else 'png'}" for kind, folder in self.folders.items()]

    def write(self, image_id: str, image_path: Path, scores: np.ndarray) -> None:
        """Writes the results of one image from its probabilities (C + 1, H, W)."""
        mask = scores.argmax(0)
        kept = np.union1d(np.flatnonzero(scores.max((1, 2)) >= LEAST_KEPT), np.unique(mask))
        kept = np.union1d(0, kept)
        scores = scores[kept]
        if self.options.crf:
            image = np.asarray(open_rgb(image_path, self.white))
            scores = mean_field(image, scores.clip(LEAST_SCORE), self.options)
            mask = kept[scores.argmax(0)]
        for kind, path in zip(self.folders, self.files(image_id), strict=True):
            if kind == "dict":
                write_cam_dict(path, dict(zip(kept.tolist(), scores, strict=True)))
            else:
                write_mask(path, mask.astype(np.uint8))


if __name__ == "__main__":
    run_script(in_processes(main), memory_advice(SegInferOptions))
