"""How hard each loss pulls at the transformer: python -m benchmarks.ablation.gradients --run FOLDER

For some batches of a run's last epoch, with the weights of its last checkpoint: the gradient of every loss with respect to
the transformer's parameters, its length as a share of loss 1's, and the cosine between the two.
"""

import argparse
import json
from dataclasses import replace
from itertools import islice
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import Tensor

import train_trm
from datasets.layouts.base import open_layout
from models import LFCA_PREFIXES, DiG
from utils.errors import InputError, run_script
from utils.experiment.folder import last_file
from utils.experiment.saved import load_run
from utils.files import whole_file
from utils.log import RunLog, progress
from utils.machine.device import Precision
from utils.options.training import TrainOptions
from utils.training.checkpoint import load_last, load_strictly, state_dict_of
from utils.training.guided_step import GuidedStep

from .results import commit


def main(args: list[str]) -> None:
    # Options
    parser = argparse.ArgumentParser(prog="benchmarks.ablation.gradients", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--run", required=True, help="folder of a run of train_trm.py that has its last checkpoint")
    parser.add_argument("--batches", type=int, default=8, help="batches that are averaged over")
    parser.add_argument("--out", default="./experiment/ablation/gradients.json", help="results")
    options = parser.parse_args(args)
    run = load_run(Path(options.run))
    if run is None:
        raise InputError(f"{options.run} holds no run of train_trm.py")

    # Gradients
    losses = gradients(Path(options.run), run[0], len(run[1]), options.batches)
    results = {"commit": commit(), "batches": options.batches, "losses": losses}
    print(markdown(results))
    with whole_file(Path(options.out)) as file:
        file.write((json.dumps(results, indent=1) + "\n").encode())


def markdown(results: dict[str, Any]) -> str:
    """The table in Markdown."""
    lines = ["| loss | value | gradient, share of loss 1's | cosine with loss 1's |", "|---|---|---|---|"]
    lines += [
        f"| {number} `{name}` | {found['value']:.4f} | {found['share']:.3f} | {found['cosine']:+.2f} |"
        for number, (name, found) in enumerate(results["losses"].items(), 1)
    ]
    return "\n".join(lines) + "\n"


def gradients(folder: Path, options: TrainOptions, classes: int, batches: int) -> dict[str, dict[str, float]]:
    """Means over batches of each loss's value, its gradient's length as a share of loss 1's, and the cosine with loss 1's.

    A loss without a gradient for the transformer has share and cosine 0.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    log = RunLog(folder, silent=True)
    options, epoch = replace(options, resume=True, num_workers=1), options.epochs - 1
    loader = train_trm.training_loader(open_layout(Path(options.data_path)), options, device, log)
    criterion, denoiser, net = train_trm.build_networks(classes, options, log)
    guidance = train_trm.build_guidance(denoiser, net, loader.dataset, options, log) if denoiser is not None else None
    content, _ = load_last(last_file(folder), log.info)
    load_strictly(net, state_dict_of(content, last_file(folder)), last_file(folder))
    step = GuidedStep(net, guidance, criterion, net.normalize, Precision("off", device)).to(device).train()
    found: dict[str, list[tuple[float, float, float]]] = {}
    loader.start(epoch, skip=0)
    for image, labels, index in progress(islice(loader, batches), "batches", min(batches, len(loader))):
        image01 = image.to(device).float() / 255
        noise = step.noise(image01, options.seed_of("noise"), epoch, index.tolist())
        losses = step(image01, labels.to(device), noise, epoch)
        pulls = {name: gradient(loss, net) for name, loss in losses.items()}
        first = pulls["cls"]
        for name, loss in losses.items():
            cosine = torch.nn.functional.cosine_similarity(pulls[name], first, dim=0)
            measured = (float(loss.detach()), float(pulls[name].norm() / first.norm()), float(cosine))
            found.setdefault(name, []).append(measured)
    return {
        name: dict(zip(("value", "share", "cosine"), map(mean, zip(*values, strict=True)), strict=True))
        for name, values in found.items()
    }


def gradient(loss: Tensor, net: DiG) -> Tensor:
    """The gradient (n,) of a loss with respect to the transformer's parameters: without a stem's trunk and LFCA."""
    own = [
        parameter
        for name, parameter in net.named_parameters()
        if parameter.requires_grad and not name.startswith((*LFCA_PREFIXES, train_trm.STEM_PREFIX))
    ]
    if not loss.requires_grad:
        return torch.zeros(sum(parameter.numel() for parameter in own), device=loss.device)
    parts = torch.autograd.grad(loss, own, retain_graph=True, materialize_grads=True)
    return torch.cat([part.flatten() for part in parts])


if __name__ == "__main__":
    run_script(main)
