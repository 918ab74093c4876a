"""Writes class activation maps: python infer_trm.py --name NAME --load_epo 19 --dict"""

from pathlib import Path

import numpy as np
from PIL import Image

from datasets.images import inference_loader, open_rgb
from datasets.layout import Layout, open_layout
from models import LFCA_PREFIXES, DiG, build_dig
from utils.cam_files import write_cam_dict
from utils.checkpoint import load_file, load_strictly, state_dict_of
from utils.cores import loader_count
from utils.crf import refine, require_crf
from utils.device import Precision, hardware, prepare_device
from utils.distributed import (
    barrier,
    first_on_each_machine,
    in_processes,
    is_main,
    local_world_size,
    process_group,
    share,
)
from utils.engine import infer_cams
from utils.errors import InputError, run_script
from utils.experiment import epoch_file, latest_epoch, run_of
from utils.flags import parse_options
from utils.options import InferOptions, TrainOptions
from utils.pictures import cam_overlay


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

    with process_group(device, options.nproc):
        # Data: this process's share
        ids = layout.read_list(run.val_list)
        with first_on_each_machine():
            labels = layout.labels(ids)
        size = run.infer_size if options.infer_size < 0 else options.infer_size
        workers = loader_count(options.num_workers, local_world_size())
        loader = inference_loader(layout, share(ids), share(labels), size, workers, device)

        # Network: only what inference needs
        weights = Path(options.weights) if options.weights else checkpoint_of(options)
        net = load_network(weights, len(layout.classes), run).to(device)
        if is_main():
            print(f"{weights} on {hardware(precision)}: {len(ids)} images of {run.val_list}")

        # Loop
        for sample, cams in infer_cams(net, loader, precision, "inference"):
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
    hint = "Train first, or copy the published 69.3_pascal.pth there, or name a file with --weights"
    load_strictly(net, state_dict_of(load_file(path, hint), path), path, ignore=LFCA_PREFIXES)
    return net


def written(options: InferOptions) -> list[str]:
    """Folders of the experiment that this call fills."""
    return ["dict"] * options.dict + ["vis"] * options.vis + [f"crf/{alpha:g}" for alpha in options.alphas] * options.crf


def write_results(options: InferOptions, layout: Layout, image_id: str, cams: dict[int, np.ndarray]) -> None:
    """Writes what the flags ask for of one image."""
    for folder in written(options):
        (options.folder / folder).mkdir(parents=True, exist_ok=True)
    if options.dict:
        write_cam_dict(options.folder / "dict" / f"{image_id}.npy", cams)
    if not (options.vis or options.crf):
        return
    image = np.asarray(open_rgb(layout.image_path(image_id)))
    if options.vis:
        for c, cam in cams.items():
            picture = Image.fromarray(cam_overlay(image, cam))
            picture.save(options.folder / "vis" / f"{image_id}_{layout.classes[c]}.png")
    if options.crf:
        for alpha in options.alphas:
            write_cam_dict(options.folder / f"crf/{alpha:g}" / f"{image_id}.npy", refine(image, cams, alpha))


if __name__ == "__main__":
    run_script(in_processes(main))
