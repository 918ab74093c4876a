"""Writes class activation maps: python infer_trm.py --name NAME --load_epo 19 --dict"""

from utils.command_line import check_flags
from utils.options.inference import OF_RUN, USUAL, InferOptions

if __name__ == "__main__":  # before the imports that take seconds
    check_flags(InferOptions)

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from datasets.images import inference_loader
from datasets.layouts.base import Layout
from datasets.runs import open_run
from models import WEIGHTS_HINT, load_network
from utils.cams.artefacts import CrfFiles, MaskFiles, thresholds_of
from utils.cams.crf import require_crf
from utils.cams.files import write_cam_dict
from utils.cams.folders import remove_of_other_labels, start_folder
from utils.cams.inference import infer_images
from utils.cams.patch_size import full_size_cams
from utils.cams.pictures import cam_overlay, save_picture
from utils.errors import run_script
from utils.experiment.folder import require_experiment, weights_of
from utils.folders import names_in
from utils.images import open_rgb
from utils.machine.compiler import require_compiler
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
from utils.options.training import TrainOptions
from utils.records import digest_of, place


def main(args: list[str]) -> None:
    # Options: data set, classes and architecture come from the run
    options = parse_options(InferOptions, args, "infer_trm.py", __doc__)
    if not options.weights:
        require_experiment(options.folder)
    run, layout = open_run(options.folder, options.exp, options.data_path, options.val_list)
    options = options.of_run(run)
    if options.uses_crf:
        require_crf()
    device = prepare_device(options.device)
    if options.compile:
        require_compiler(device)
    precision = Precision(options.amp, device)
    weights = Path(options.weights) if options.weights else checkpoint_of(options)
    record = record_of(options, run, digest_of(weights, WEIGHTS_HINT), precision, layout)
    thresholds = thresholds_of(options, options.folder / "dict", record) if options.png == "threshold" else ()
    writer = Writer(options, thresholds, layout.classes, run.white_level)

    writes = [options.folder / name for name in written(options)]
    with process_group(device, options.nproc, writes), Interruptions() as interruptions:
        # Network: only what inference needs
        net = load_network(weights, len(layout.classes), run).to(device)
        net.spreads = options.spreads
        if options.compile:
            net.compile_blocks()

        # Data: this process's shard of the images whose results are missing
        ids = layout.read_list(run.val_list)
        with first_on_each_machine():
            labels = layout.labels(ids)
        if is_main():
            start_folders(writer, record)
            remove_outdated(options, layout, ids, labels)
        barrier()
        left = gather(unwritten(options, layout, ids, labels))[0]  # all processes must shard the same list
        workers = loader_count(options.num_workers, local_world_size())
        loader = inference_loader(
            layout,
            [ids[i] for i in shard(left)],
            labels[shard(left)],
            options.infer_size,
            workers,
            device,
            options.scales,
            options.infer_cap,
            run.white_level,
        )

        if is_main():
            there = f", {len(ids) - len(left)} of them there already" if len(left) < len(ids) else ""
            print(f"{weights} on {hardware(precision)}: {len(ids)} images of {run.val_list}{there}")

        # Loop: images are loaded and results are written in the background
        with in_background(crf_count(options.num_workers, local_world_size()) if options.uses_crf else 0) as do:
            found = infer_images(
                net, loader, precision, "inference", interruptions, options.batch_size, options.cam_size == "patch"
            )
            for sample, cams, _ in found:
                do(writer.write, sample.image_id, layout.image_path(sample.image_id), cams, tuple(sample.size))
        barrier()
        if is_main():
            print(f"done: {', '.join(str(options.folder / folder) for folder in written(options))}")


def checkpoint_of(options: InferOptions) -> Path:
    """The experiment's weights file of the requested epoch."""
    return weights_of(options.folder, options.epoch)


def record_of(
    options: InferOptions, run: TrainOptions, weights: str, precision: Precision, layout: Layout
) -> dict[str, Any]:
    """The settings that CAMs are made with.

    Args:
        options: the options.
        run: those of the training.
        weights: digest of the weights file.
        precision: of the network.
        layout: the data set.
    """
    record = {
        "weights": weights,
        "infer_size": options.infer_size,
        "device": str(precision),
        "data": place(layout.root, options.folder),
    }
    for name, usual in USUAL.items():
        value = getattr(run if name in OF_RUN else options, name)
        if value != usual:
            record[name] = list(value) if isinstance(value, tuple) else value
    return record


def written(options: InferOptions) -> list[str]:
    """Names of the experiment's folders that this command writes to."""
    folders = [name for name, wanted in (("dict", options.dict), ("vis", options.vis)) if wanted]
    if options.crf:
        folders += [f"crf/{alpha:g}" for alpha in options.alphas]
    return folders if options.png == "none" else [*folders, "png"]


def files_of(options: InferOptions, layout: Layout, image_id: str, classes: Iterable[int]) -> Iterator[tuple[str, str]]:
    """Files that this command writes for an image: the folder in the experiment, and the name.

    Args:
        options: the options.
        layout: the data set.
        image_id: the image.
        classes: indices of its classes.
    """
    return ((folder, name) for folder in written(options) for name in names_of(folder, layout, image_id, classes))


def names_of(folder: str, layout: Layout, image_id: str, classes: Iterable[int]) -> list[str]:
    """Names of an image's files in one folder; see `files_of`."""
    if folder == "vis":
        return [f"{image_id}_{layout.classes[c]}.png" for c in classes]
    return [f"{image_id}.{'png' if folder == 'png' else 'npy'}"]


def remove_outdated(options: InferOptions, layout: Layout, ids: Sequence[str], labels: np.ndarray) -> None:
    """Removes results of images whose labels have changed; see `unwritten` for the arguments."""
    for name in written(options):
        folder = options.folder / name
        remove_of_other_labels(folder, ids, labels, partial(names_of, name, layout))


def unwritten(options: InferOptions, layout: Layout, ids: Sequence[str], labels: np.ndarray) -> list[int]:
    """Indices of the images that lack a file; each folder is listed only once.

    Args:
        options: the options.
        layout: the data set.
        ids: n images.
        labels: (n, C) bool.
    """
    there = {folder: names_in(options.folder / folder) for folder in written(options)}

    def lacks(image_id: str, row: np.ndarray) -> bool:
        return any(name not in there[folder] for folder, name in files_of(options, layout, image_id, row.nonzero()[0]))

    return [i for i, (image_id, row) in enumerate(zip(ids, labels, strict=True)) if lacks(image_id, row)]


@dataclass(frozen=True)
class Writer:
    """Writes the results that the flags request; can be sent to another process."""

    options: InferOptions
    thresholds: tuple[float, ...]
    classes: tuple[str, ...]
    white: float = 0.0  # see `utils.images.to_rgb`

    @property
    def crf(self) -> CrfFiles:
        """Writer of CRF scores."""
        return CrfFiles(self.options.folder, self.options)

    @property
    def masks(self) -> MaskFiles:
        """Writer of pseudo-masks."""
        return MaskFiles(self.options.folder, self.thresholds, num_classes=len(self.classes))

    def write(self, image_id: str, image_path: Path, cams: dict[int, np.ndarray], size: tuple[int, int]) -> None:
        """Writes the results of one image.

        Args:
            image_id, image_path: the image.
            cams: CAMs of its classes, at patch resolution with `--cam-size patch`.
            size: height and width of the image.
        """
        options, folder = self.options, self.options.folder
        at_patches = options.cam_size == "patch"
        if options.dict:
            write_cam_dict(folder / "dict" / f"{image_id}.npy", cams, size if at_patches else None)
        if at_patches:
            cams = full_size_cams(cams, size)
        if options.vis or options.uses_crf or self.thresholds:
            image = np.asarray(open_rgb(image_path, self.white))
        if options.vis:
            for c, cam in cams.items():
                save_picture(cam_overlay(image, cam), folder / "vis" / f"{image_id}_{self.classes[c]}.png")
        if self.thresholds:
            self.masks.write_of_cams(image_id, cams, image.shape[:2])
        if not options.uses_crf:
            return
        scores = {alpha: self.crf.make(image, cams, alpha) for alpha in options.alphas}
        if options.crf:
            for alpha, one in scores.items():
                self.crf.write(image_id, alpha, one)
        if options.png == "crf":
            self.masks.write_of_scores(image_id, [*scores.values()])


def start_folders(writer: Writer, record: dict[str, Any]) -> None:
    """Prepares the folders of results, so that results of different weights or options are never mixed.

    Args:
        writer: the writer of the results.
        record: the settings that the CAMs are made with.

    Raises:
        InputError: there are results of other settings, and `--overwrite` was not given.
    """
    options = writer.options
    for name in ("dict", "vis"):
        if name in written(options):
            start_folder(options.folder / name, record, "*.npy" if name == "dict" else "*.png", options.overwrite)
    if options.crf:
        writer.crf.start(record, options.overwrite)
    if options.png == "threshold":
        writer.masks.start_of_cams(record, options.overwrite)
    if options.png == "crf":
        writer.masks.start_of_scores(writer.crf.records(record), options.overwrite)


if __name__ == "__main__":
    run_script(in_processes(main), memory_advice(InferOptions))
