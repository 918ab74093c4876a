"""Writes class activation maps: python infer_trm.py --name NAME --load_epo 19 --dict"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from datasets.images import inference_loader
from datasets.layout import Layout, open_layout
from datasets.pixels import open_rgb
from models import LFCA_PREFIXES, DiG, build_dig
from utils.cam_files import write_cam_dict
from utils.checkpoint import load_file, load_strictly, state_dict_of
from utils.cores import loader_count
from utils.crf import refine, require_crf
from utils.device import Precision, hardware, prepare_device
from utils.distributed import (
    barrier,
    first_on_each_machine,
    gather,
    in_processes,
    is_main,
    local_world_size,
    process_group,
    share,
)
from utils.engine import infer_cams
from utils.errors import InputError, run_script
from utils.experiment import epoch_file, latest_epoch, run_of
from utils.files import claim, claim_file, remove_leftovers
from utils.flags import parse_options
from utils.interruptions import Interruptions
from utils.options import InferOptions, TrainOptions
from utils.pictures import cam_overlay, save_picture

WEIGHTS_HINT = "Train first, or copy the published 69.3_pascal.pth there, or name a file with --weights"


def main(args: list[str]) -> None:
    # Options: data set, classes and architecture are the run's
    options = parse_options(InferOptions, args, "infer_trm.py", __doc__)
    run, classes = run_of(options.folder, options.exp, options.data_path, options.val_list)
    layout = open_layout(Path(run.data_path))
    if classes is not None and classes != layout.classes:
        raise InputError(f"{layout.root} has other classes than the run {options.folder} was trained on")
    if options.crf:
        require_crf()
    device = prepare_device(options.device)
    precision = Precision("off", device)
    weights = Path(options.weights) if options.weights else checkpoint_of(options)
    size = run.infer_size if options.infer_size < 0 else options.infer_size

    with process_group(device, options.nproc), Interruptions() as interruptions:
        # Network: only what inference needs
        net = load_network(weights, len(layout.classes), run).to(device)

        # Data: this process's share of what is not there yet
        ids = layout.read_list(run.val_list)
        with first_on_each_machine():
            labels = layout.labels(ids)
        if is_main():
            claim_folders(options, weights, layout, size)
        barrier()
        left = [i for i, row in zip(ids, labels, strict=True) if not is_written(options, layout, i, row.nonzero()[0])]
        left = gather(left)[0]  # all must share out the same
        labels = labels[np.isin(ids, left)]
        workers = loader_count(options.num_workers, local_world_size())
        loader = inference_loader(layout, share(left), share(labels), size, workers, device)

        if is_main():
            there = f", {len(ids) - len(left)} of them there already" if len(left) < len(ids) else ""
            print(f"{weights} on {hardware(precision)}: {len(ids)} images of {run.val_list}{there}")

        # Loop
        for sample, cams in infer_cams(net, loader, precision, "inference", interruptions):
            write_results(options, layout, sample.image_id, cams)
        barrier()
        if is_main():
            print(f"done: {', '.join(str(options.folder / folder) for folder in written(options))}")


def checkpoint_of(options: InferOptions) -> Path:
    """The experiment's checkpoint of the epoch asked for."""
    epoch = options.load_epo if options.load_epo >= 0 else latest_epoch(options.folder)
    return epoch_file(options.folder, epoch)


def load_network(path: Path, num_classes: int, run: TrainOptions) -> DiG:
    """The network without its LFCA part, which a checkpoint may hold or not."""
    net = build_dig(num_classes, lfca=False, **run.architecture)
    load_strictly(net, state_dict_of(load_file(path, WEIGHTS_HINT), path), path, ignore=LFCA_PREFIXES)
    return net


def written(options: InferOptions) -> list[str]:
    """Folders of the experiment that this call fills."""
    return ["dict"] * options.dict + ["vis"] * options.vis + [f"crf/{alpha:g}" for alpha in options.alphas] * options.crf


def files_of(options: InferOptions, layout: Layout, image_id: str, classes: Iterable[int]) -> list[Path]:
    """Files that this call writes for an image that shows some classes."""
    files = []
    for folder in written(options):
        if folder == "vis":
            files += [options.folder / folder / f"{image_id}_{layout.classes[c]}.png" for c in classes]
        else:
            files.append(options.folder / folder / f"{image_id}.npy")
    return files


def is_written(options: InferOptions, layout: Layout, image_id: str, classes: Iterable[int]) -> bool:
    """Whether an earlier call has finished an image."""
    return all(path.exists() for path in files_of(options, layout, image_id, classes))


def claim_folders(options: InferOptions, weights: Path, layout: Layout, size: int) -> None:
    """Sees to it that what other weights or options have written is never mixed with what is written now.

    Raises:
        InputError: there are such files, and `--overwrite` was not given.
    """
    with weights.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    record = {"weights": digest[:16], "infer_size": size, "data": str(layout.root.resolve())}
    for name in written(options):
        folder, pattern = options.folder / name, "*.png" if name == "vis" else "*.npy"
        if options.overwrite:
            for path in (*folder.glob(pattern), claim_file(folder)):
                path.unlink(missing_ok=True)
        remove_leftovers(folder)
        claim(folder, record, pattern, "--overwrite replaces it; or move it away")


def write_results(options: InferOptions, layout: Layout, image_id: str, cams: dict[int, np.ndarray]) -> None:
    """Writes what the flags ask for of one image."""
    if options.dict:
        write_cam_dict(options.folder / "dict" / f"{image_id}.npy", cams)
    if not (options.vis or options.crf):
        return
    image = np.asarray(open_rgb(layout.image_path(image_id)))
    if options.vis:
        for c, cam in cams.items():
            save_picture(cam_overlay(image, cam), options.folder / "vis" / f"{image_id}_{layout.classes[c]}.png")
    if options.crf:
        for alpha in options.alphas:
            write_cam_dict(options.folder / f"crf/{alpha:g}" / f"{image_id}.npy", refine(image, cams, alpha))


if __name__ == "__main__":
    run_script(in_processes(main))
