"""Noise schedule of the denoiser: sigmoid, 1000 steps (https://arxiv.org/abs/2212.11972, figure 8)."""

import torch
from torch import Tensor


def sigmoid_betas(steps: int = 1000, start: float = -3, end: float = 3, tau: float = 1) -> Tensor:
    """Variances added at each step, (steps,) float64.

    The cumulative signal level (alpha bar) falls from 1 to 0 along a mirrored sigmoid.
    """
    # The published schedule rounds both ends to float32, and its buffers depend on it.
    low, high = (torch.tensor(float(x) / tau).sigmoid() for x in (start, end))
    time = torch.linspace(0, steps, steps + 1, dtype=torch.float64) / steps
    signal = (high - ((time * (end - start) + start) / tau).sigmoid()) / (high - low)
    signal = signal / signal[0]
    return (1 - signal[1:] / signal[:-1]).clamp(0, 0.999)


def schedule_buffers(betas: Tensor) -> dict[str, Tensor]:
    """The schedule's tables as checkpoints of the denoiser store them, (steps,) float32 each.

    Args:
        betas: (steps,) float64.

    Returns:
        Tables by name. `loss_weight` is that of the "v" objective, SNR / (SNR + 1).
    """
    alphas = 1 - betas
    signal = alphas.cumprod(0)
    previous = torch.cat((signal.new_ones(1), signal[:-1]))
    posterior_variance = betas * (1 - previous) / (1 - signal)
    snr = signal / (1 - signal)
    tables = {
        "betas": betas,
        "alphas_cumprod": signal,
        "alphas_cumprod_prev": previous,
        "sqrt_alphas_cumprod": signal.sqrt(),
        "sqrt_one_minus_alphas_cumprod": (1 - signal).sqrt(),
        "log_one_minus_alphas_cumprod": (1 - signal).log(),
        "sqrt_recip_alphas_cumprod": (1 / signal).sqrt(),
        "sqrt_recipm1_alphas_cumprod": (1 / signal - 1).sqrt(),
        "posterior_variance": posterior_variance,
        # The first posterior variance is 0 and has no logarithm.
        "posterior_log_variance_clipped": posterior_variance.clamp_min(1e-20).log(),
        "posterior_mean_coef1": betas * previous.sqrt() / (1 - signal),
        "posterior_mean_coef2": (1 - previous) * alphas.sqrt() / (1 - signal),
        "loss_weight": snr / (snr + 1),
    }
    return {name: table.float() for name, table in tables.items()}
