"""Training of tiny networks, and a batch for them."""

from pathlib import Path
from typing import Any

import torch
from ema_pytorch import EMA

import train_diffusion
from diffusion import Guidance, build_denoiser
from models import DiGLoss, build_dig
from utils.log import RunLog
from utils.machine.device import Precision
from utils.machine.interruptions import Interruptions
from utils.training.checkpoint import LastCheckpoint
from utils.training.engine import Training
from utils.training.guided_step import GuidedStep

TINY = {"image_size": 32, "embed_dim": 16, "depth": 2, "num_heads": 2}
LABELS = ((1, 0, 0), (0, 1, 0), (1, 0, 1), (0, 0, 1))


def dig_training(folder: Path, device: str = "cpu", net: dict[str, Any] | None = None, **options: Any) -> Training:
    """A training of DiG, with all losses from epoch 1 on.

    Args:
        folder: folder of its log and checkpoint.
        device: device of the networks, which are built on the CPU.
        net: arguments of `build_dig`.
        options: arguments of `Training`.
    """
    torch.manual_seed(0)
    sizes = {**TINY, **(net or {})}
    guidance = Guidance(build_denoiser(8, sizes["image_size"]), (0, 1), 100, "exact", sizes.pop("stride", 16))
    channels = guidance.denoiser.model.feature_channels
    network = build_dig(3, feature_steps=2, feature_channels=channels, **sizes)
    precision = Precision("off", torch.device(device))
    step = GuidedStep(network, guidance, DiGLoss(start_epoch=1), network.normalize, precision).to(device)
    optimizer = torch.optim.AdamW(network.parameters(), fused=device != "meta")
    log = RunLog(folder, silent=True)
    return Training(
        step.train(), optimizer, 0, LastCheckpoint(folder / "last.pth", {}, log.info), log, 50, Interruptions(), **options
    )


def denoiser_training(device: str = "cpu", accum: int = 1, **options: Any) -> train_diffusion.DenoiserTraining:
    """A training of the denoiser, with the fused optimiser also on the CPU; `options` are those of `build_denoiser`."""
    torch.manual_seed(0)
    denoiser = build_denoiser(8, 32, **options).to(device)
    ema = EMA(denoiser, beta=0.9, update_every=1)
    optimizer = train_diffusion.build_optimizer(denoiser, 1e-3, torch.device("meta" if device == "meta" else "cuda"))
    return train_diffusion.DenoiserTraining(
        denoiser, ema, optimizer, Precision("off", torch.device(device)), LastCheckpoint(Path(), {}, print), accum
    )


def batch(side: int = 32, device: str = "cpu") -> tuple[torch.Tensor, torch.Tensor, list[int]]:
    """Four images, their labels of three classes, and their indices."""
    images = torch.randint(0, 256, (4, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return images.to(device), torch.tensor(LABELS).to(device), [0, 1, 2, 3]
