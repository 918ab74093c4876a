"""Devices, precision and determinism."""

import contextlib
import ctypes
import os
import subprocess
import sys

import torch

from ..errors import InputError
from .distributed import local_rank, local_world_size, world_size

AMP_DTYPES = {"off": None, "bf16": torch.bfloat16, "fp16": torch.float16}

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # of glibc's malloc.h


def prepare_device(name: str) -> torch.device:
    """Selects the device of `--device` and configures PyTorch: deterministic, and with TF32 for float32 on CUDA.

    Args:
        name: auto, cuda, mps, cpu or cuda:N. auto takes the first of cuda, mps and cpu that is available, and warns about a
            GPU that PyTorch cannot use. With several GPUs, cuda is the GPU of this process's local rank.

    Raises:
        InputError: the device is not available, or there are fewer GPUs than processes.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(kind for kind, there in available.items() if there)
        if name == "cpu" and local_rank() == 0 and (reason := unusable_gpu()):
            print(f"warning: {reason}. This runs on the CPU; --device cpu says that it is meant to", file=sys.stderr)
    kind, _, number = name.partition(":")
    if not available[kind]:
        there = ", ".join(kind for kind, is_there in available.items() if is_there)
        reason = f"; {why}" if kind == "cuda" and (why := unusable_gpu()) else ""
        raise InputError(f"--device {name}: PyTorch finds no such device here; it finds {there}{reason}")
    make_deterministic()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    if name == "cpu":
        keep_freed_memory()
    if kind != "cuda":
        return torch.device(name)
    device = torch.device("cuda", gpu_of_process(number))
    torch.cuda.set_device(device)
    return device


def gpu_of_process(number: str) -> int:
    """Index of this process's GPU among those that PyTorch sees.

    Args:
        number: the N of `--device cuda:N`; empty: the local rank.

    Raises:
        InputError: there is no such GPU, or one GPU was named for several processes.
    """
    seen = torch.cuda.device_count()
    if number:
        if world_size() > 1:
            raise InputError(f"--device cuda:{number} is one GPU for {world_size()} processes: leave it out, or --nproc 1")
        if int(number) >= seen:
            raise InputError(f"--device cuda:{number}: PyTorch sees {seen} GPUs here, cuda:0 to cuda:{seen - 1}")
        return int(number)
    if local_rank() >= seen:
        raise InputError(f"{local_world_size()} processes were started here, but PyTorch sees {seen} GPUs")
    return local_rank()


def unusable_gpu() -> str:
    """Why PyTorch cannot use a GPU that the driver lists; empty if there is no such GPU."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.strip() in ("", "-1"):
        return ""
    if visible:
        found = f"CUDA_VISIBLE_DEVICES={visible} names a GPU"
    elif gpus := listed_gpus():
        found = f"nvidia-smi lists {gpus[0]}" + (f" and {len(gpus) - 1} more" if len(gpus) > 1 else "")
    else:
        return ""
    try:
        torch.cuda.init()
        reason = "it sees none"
    except (RuntimeError, AssertionError) as error:  # of a driver too old, and of a PyTorch without CUDA
        reason = str(error).partition("\n")[0].rstrip(".")
    return f"{found}, but PyTorch {torch.__version__} cannot use it: {reason}"


def listed_gpus() -> list[str]:
    """Names of the NVIDIA GPUs that the driver lists; empty without a driver."""
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [line.partition(" (UUID")[0] for line in listed.stdout.splitlines() if line.startswith("GPU ")]


def hardware(precision: "Precision") -> str:
    """Processes, device and precision of a run, for its log: `2 x cuda in torch.bfloat16`."""
    return f"{world_size()} x {precision}" if world_size() > 1 else str(precision)


def make_deterministic() -> None:
    """Makes PyTorch use deterministic kernels where they exist, so that results are bit-identical on the same machine."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Filling uninitialised memory costs time and changes no result.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    # The gradients of these attention kernels depend on the order of atomic additions; those of the math kernel do not.
    torch.backends.cuda.enable_flash_sdp(False)
    torch.backends.cuda.enable_mem_efficient_sdp(False)
    torch.backends.cuda.enable_cudnn_sdp(False)


def keep_freed_memory() -> None:
    """Makes glibc reuse the memory of large tensors instead of returning it to the system after each operation.

    New pages cost more than the arithmetic of a small denoiser: its passes become 1.2 to 1.8 times as fast. Without glibc
    this does nothing.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        for parameter, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 2**28)):
            mallopt(parameter, value)


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copies a tensor to a device; asynchronously only from pinned memory, where that is safe and faster."""
    return tensor.to(device, non_blocking=tensor.is_pinned())


def upload(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copies a small new CPU tensor to a device without waiting for the copy."""
    return to_device(tensor.pin_memory() if device.type == "cuda" else tensor, device)


class Precision:
    """Mixed precision of a run: autocast, and gradient scaling for float16.

    Args:
        amp: off, bf16 or fp16.
        device: the run's device.

    Raises:
        InputError: fp16 on a CPU.
    """

    def __init__(self, amp: str, device: torch.device):
        if amp == "fp16" and device.type == "cpu":
            raise InputError("--amp fp16 needs a GPU; on a CPU use bf16 or off")
        self.dtype = AMP_DTYPES[amp]
        self.device = device
        self.scaler = torch.amp.GradScaler(device.type, enabled=amp == "fp16")

    def __str__(self) -> str:
        exact = "float32 (TF32 products)" if self.device.type == "cuda" else "float32"
        return f"{self.device.type} in {exact if self.dtype is None else self.dtype}"

    def autocast(self) -> contextlib.AbstractContextManager:
        """Context for the networks' forward passes; losses are computed outside of it."""
        if self.dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.dtype)

    def backward(self, loss: torch.Tensor) -> None:
        """Backward pass of a loss, scaled for float16."""
        self.scaler.scale(loss).backward()

    def step(self, optimizer: torch.optim.Optimizer, max_norm: float | None = None) -> None:
        """One optimiser step, with gradient clipping if `max_norm` is given; then frees the gradients to save memory."""
        if max_norm is not None:
            self.scaler.unscale_(optimizer)
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, max_norm)
        self.scaler.step(optimizer)
        self.scaler.update()
        optimizer.zero_grad(set_to_none=True)
