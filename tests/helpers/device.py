"""The device of the tests: the CPU, except for tests marked `accelerator`."""

import pytest
import torch
import torch._dynamo  # before the functions that it looks at are replaced

THERE = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
"""Accelerators of this machine."""


def hide_accelerators(patch: pytest.MonkeyPatch) -> None:
    """Makes `--device auto` choose the CPU, here and in processes that tests start."""
    patch.setattr(torch.cuda, "is_available", lambda: False)
    patch.setattr(torch.cuda, "device_count", lambda: 0)
    patch.setattr(torch.backends.mps, "is_available", lambda: False)
    patch.setenv("CUDA_VISIBLE_DEVICES", "")
