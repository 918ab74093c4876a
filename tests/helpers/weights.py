"""The weights that runs leave behind."""

from pathlib import Path

import torch


def transformer_weights(folder: Path, epoch: int = 0) -> dict[str, torch.Tensor]:
    """What train_trm.py wrote after an epoch."""
    return torch.load(folder / "ckpt" / f"{epoch:03d}net_trm.pth", weights_only=True)


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """Whether two networks have the same weights, to the bit."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
