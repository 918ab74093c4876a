"""Scores of a run's CAMs, and the areas in each image that they follow from."""

import json
import os
import statistics
import subprocess
import sys
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import torch

import models
from datasets.layouts.base import open_layout, read_truth
from datasets.validation import validation_loader
from utils.cams.inference import infer_images
from utils.errors import InputError, run_script
from utils.experiment.folder import read_scores, weights_of
from utils.experiment.saved import run_of
from utils.log import RunLog
from utils.machine.device import Precision
from utils.machine.interruptions import Interruptions
from utils.scoring.classification import ClassificationTally
from utils.scoring.metrics import ThresholdSweep

from .results import RECENT, Result


def score(folder: Path, images: str, threads: int) -> Result:
    """Scores a run's last epoch on a list of images, in a process of its own.

    Raises:
        InputError: it failed.
    """
    out = folder / "result.json"
    command = [sys.executable, "-m", "benchmarks.ablation.scoring", str(folder), images, str(out)]
    with (folder / "output.txt").open("ab") as output:
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        status = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, env=environment).returncode
    if status:
        raise InputError(f"{' '.join(command)} failed: see {folder / 'output.txt'}")
    return Result(**json.loads(out.read_text()))


def main(args: list[str]) -> None:
    folder, images, out = Path(args[0]), args[1], Path(args[2])
    options, _ = run_of(folder, "", "", images)
    layout = open_layout(Path(options.data_path))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    net = models.load_network(weights_of(folder), len(layout.classes), options).to(device)
    log, reading = RunLog(folder, silent=True), replace(options, num_workers=1)
    loader = validation_loader(layout, reading, device, log, scales=options.infer_scales)
    if loader is None:
        raise InputError(f"images of {images} have no masks")
    read, precision = partial(read_truth, layout), Precision(options.amp, device)
    sweeps, tally = {}, ClassificationTally(len(layout.classes))
    with Interruptions() as interruptions:
        for sample, cams, probabilities in infer_images(net, loader, precision, "scoring", interruptions):
            sweep = sweeps[sample.image_id] = ThresholdSweep(len(layout.classes))
            sweep.add(cams, read(sample.image_id))
            tally.add(probabilities, sample.labels.numpy())
    result = replace(result_of(sweeps, tally.scores().mean_ap), recent=recent_miou(folder))
    out.write_text(json.dumps(asdict(result)))


def result_of(sweeps: dict[str, ThresholdSweep], mean_ap: float) -> Result:
    """The result of the counts of all images."""
    whole = ThresholdSweep(next(iter(sweeps.values())).num_classes)
    for sweep in sweeps.values():
        whole.counts += sweep.counts
    scores = whole.scores()
    best, areas = scores.best, {}
    for image, sweep in sweeps.items():
        right, predicted, true = sweep.areas()
        found = zip(right[best].tolist(), predicted[best].tolist(), true.tolist(), strict=True)
        areas[image] = {str(label): list(pixels) for label, pixels in enumerate(found) if any(pixels)}
    threshold = float(scores.thresholds[best])
    return Result("", 0, "", "", float(scores.miou[best]), whole.num_classes, threshold, map=mean_ap, areas=areas)


def recent_miou(folder: Path) -> float | None:
    """Mean of a run's mIoU after the last epochs that were scored in training, on its validation list; None: too few."""
    scores = read_scores(folder)
    last = sorted(scores, key=int)[-RECENT:]
    return statistics.mean(scores[epoch]["miou"] for epoch in last) if len(last) == RECENT else None


if __name__ == "__main__":
    run_script(main)
