"""Refines CAMs along colours, attention or learnt affinities: python -m tools.refine --name NAME --method pamr"""

from utils.command_line import check_flags
from utils.options.results import RefineOptions

if __name__ == "__main__":  # before the imports that take seconds
    check_flags(RefineOptions)

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from datasets.runs import open_run
from models import SegmentationNet, load_cam_model, load_segmenter
from utils.cams.files import read_cam_dict, write_cam_dict
from utils.cams.folders import inside_or_path, require_files, start_folder, unfinished
from utils.cams.inference import network_pixels
from utils.cams.patch_size import normalized
from utils.cams.walk import colour_weights, dense_walk, ring_offsets, walk
from utils.errors import run_script
from utils.experiment.folder import weights_of
from utils.experiment.saved import AFF, mask_run_of
from utils.images import open_rgb
from utils.log import progress
from utils.machine.device import Precision, prepare_device, to_device
from utils.machine.locks import reading, writing
from utils.machine.parallel import in_background, in_parallel
from utils.options.flags import parse_options
from utils.options.segmentation import AffinityOptions
from utils.records import digest_of, made_with, place
from utils.segmentation.affinity import carry

Refine = Callable[[Image.Image, Tensor], Tensor]
"""From an RGB image and its CAMs (K, H, W) to other CAMs."""
USUAL_STEPS = {"pamr": 10, "attention": 2, "affinity": 256}
USUAL_POWER = {"attention": 2.0, "affinity": 8.0}


def main(args: list[str]) -> None:
    # Options: data set and classes are the run's
    options = parse_options(RefineOptions, args, "python -m tools.refine", __doc__)
    run, layout = open_run(options.folder, options.exp, options.data_path, options.val_list)
    ids = layout.read_list(run.val_list)
    cams = inside_or_path(options.folder, options.dict_dir)
    require_files(cams, ids)
    target = options.folder / f"dict_{options.method}"
    refine, learnt = method_of(options, layout.classes)

    with reading(cams), writing(target):
        # Files: those that are missing or out of date
        record = record_of(options, made_with(cams, options.folder), learnt, layout.root)
        start_folder(target, record, "*.npy", options.overwrite)
        left = unfinished(ids, target, ".npy", (cams,))
        there = f", {len(ids) - len(left)} of them there already" if len(left) < len(ids) else ""
        print(f"{cams}: {len(ids)} images of {run.val_list} by {options.method}{there}")

        # Loop
        job = Job(cams, target, len(layout.classes), refine, run.white_level)
        tasks = [(i, layout.image_path(i)) for i in left]
        if options.method == "pamr":
            for _ in in_parallel(job.write_alone, tasks, options.num_workers, "refinement"):
                pass
        else:
            with in_background(0) as do:  # the network does not wait for files
                for image_id, image_path in progress(tasks, "refinement"):
                    do(write_cam_dict, target / f"{image_id}.npy", job.refined(image_id, image_path))
        print(f"done: {target}")


def method_of(options: RefineOptions, classes: Sequence[str]) -> tuple[Refine, str]:
    """The refinement, and the digest of the weights that it uses; empty if it uses none.

    Args:
        options: the options.
        classes: class names of the data set, for weights without options.json.

    Raises:
        InputError: weights are missing or do not fit.
    """
    steps = options.steps or USUAL_STEPS[options.method]
    if options.method == "pamr":
        return Pamr(steps, options.scale), ""
    power = options.power or USUAL_POWER[options.method]
    if options.method == "affinity":
        folder = options.folder.parent / (options.affinity or f"{options.folder.name}_aff")
        run, _ = mask_run_of(folder, AffinityOptions, AFF, "train_affinity.py")
        weights = weights_of(folder, options.epoch, AFF)
        precision = Precision("off", prepare_device(options.device))
        net = load_segmenter(weights, run.embed_dim, run).to(precision.device).eval()
        return Affinity(net, precision, run, steps, power), digest_of(weights, "")
    model = load_cam_model(options.folder, options.epoch, device=options.device, exp=options.exp, classes=classes)
    return Attention(model, steps, power), digest_of(model.weights, "")


def record_of(options: RefineOptions, cams: dict[str, Any], learnt: str, root: Path) -> dict[str, Any]:
    """The settings that refined CAMs are made with. `weights` differs from that of the CAMs, as the best threshold does."""
    record = {**cams, "weights": f"{cams.get('weights', '')}+{options.method}", "data": place(root, options.folder)}
    record |= {"method": options.method, "steps": options.steps or USUAL_STEPS[options.method]}
    if options.method == "pamr" and options.scale != 1:
        record |= {"scale": options.scale}
    if learnt:
        record |= {"power": options.power or USUAL_POWER[options.method], "learnt": learnt}
    return record


@dataclass(frozen=True)
class Job:
    """Everything that a worker process needs to refine images."""

    cams: Path
    target: Path
    num_classes: int
    refine: Refine
    white: float  # see `utils.images.to_rgb`

    def write_alone(self, task: tuple[str, Path]) -> None:
        """Writes the refined CAMs of one image with one thread, for one of several processes that share the cores."""
        torch.set_num_threads(1)
        write_cam_dict(self.target / f"{task[0]}.npy", self.refined(*task))

    def refined(self, image_id: str, image_path: Path) -> dict[int, np.ndarray]:
        """The refined CAMs of one image.

        Raises:
            InputError: the image or its CAMs are damaged, or do not fit each other.
        """
        image = open_rgb(image_path, self.white)
        cams = read_cam_dict(self.cams / f"{image_id}.npy", (image.height, image.width), self.num_classes)
        if not cams:
            return {}
        maps = torch.from_numpy(np.stack([*cams.values()]))
        refined = self.refine(image, maps).cpu().numpy()
        return {c: normalized(np.array(cam)) for c, cam in zip(cams, refined, strict=True)}


@dataclass(frozen=True)
class Pamr:
    """Refinement along similar colours (PAMR), of image and CAMs at a share of their size."""

    steps: int
    scale: float = 1.0

    def __call__(self, image: Image.Image, cams: Tensor) -> Tensor:
        """See `Refine`."""
        (pixels,) = network_pixels(image, 0, cap=0)
        full = cams.shape[-2:]
        small = [max(1, round(side * self.scale)) for side in full]
        seen, maps = (F.interpolate(x.float()[None], small, mode="area")[0] for x in (pixels / 255, cams))
        offsets = ring_offsets()
        refined = walk(maps, colour_weights(seen, offsets), offsets, self.steps)
        return F.interpolate(refined[None], full, mode="bilinear")[0]


@dataclass(frozen=True)
class Attention:
    """Refinement along the patch attention of the run's transformer."""

    model: Any
    steps: int
    power: float

    @torch.no_grad()
    def __call__(self, image: Image.Image, cams: Tensor) -> Tensor:
        """See `Refine`."""
        net, precision = self.model.net, self.model.precision
        (pixels,) = network_pixels(image, self.model.shorter_side, cap=self.model.cap)
        output = net(net.normalize(to_device(pixels, precision.device).float()[None] / 255))
        grid = output.patch_cam.shape[-2:]
        maps = F.adaptive_avg_pool2d(to_device(cams, precision.device), grid)
        spread = dense_walk(maps, output.patch_attention[0].float(), self.power, self.steps)
        return F.interpolate(spread[None], cams.shape[-2:], mode="bilinear")[0]


@dataclass(frozen=True)
class Affinity:
    """Refinement along learnt affinities."""

    net: SegmentationNet
    precision: Precision
    run: AffinityOptions
    steps: int
    power: float

    def __call__(self, image: Image.Image, cams: Tensor) -> Tensor:
        """See `Refine`."""
        (pixels,) = network_pixels(image, self.run.infer_size, cap=self.run.infer_cap)
        return carry(self.net, pixels, cams, self.precision, **self.run.reach, power=self.power, steps=self.steps)


if __name__ == "__main__":
    run_script(main)
