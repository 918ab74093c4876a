"""Devices, determinism, and a step of the optimiser in every precision that a CPU has."""

import os

import pytest
import torch
from torch import nn

from tests.helpers.device import THERE
from utils.errors import InputError
from utils.machine.device import Precision, keep_freed_memory, make_deterministic, prepare_device

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def restored_determinism(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    enabled, benchmark = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    products = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = products
    torch.use_deterministic_algorithms(enabled)
    torch.backends.cudnn.benchmark = benchmark
    os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)


def test_the_cpu_is_always_there():
    assert prepare_device("cpu") == CPU


@pytest.mark.accelerator
def test_auto_takes_the_first_device_that_is_there():
    assert prepare_device("auto").type == next((kind for kind, there in THERE.items() if there), "cpu")


@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_a_device_that_is_not_there_is_refused_by_flag(monkeypatch, name):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(InputError, match=f"--device {name}: PyTorch finds no such device here; it finds cpu"):
        prepare_device(name)


def test_auto_prefers_cuda_to_mps(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    assert prepare_device("auto") == torch.device("cuda", 0)


def test_of_several_gpus_each_process_takes_its_own(monkeypatch):
    chosen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert prepare_device("cuda") == torch.device("cuda", 3)
    assert chosen == [torch.device("cuda", 3)]


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(InputError, match="2 processes were started here, but PyTorch sees 1 GPUs"):
        prepare_device("cuda")


def test_tests_see_no_accelerator_in_processes_that_they_start_either():
    assert prepare_device("auto") == CPU
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""


def test_a_gpu_can_be_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    assert prepare_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(InputError, match="--device cuda:2: PyTorch sees 2 GPUs here, cuda:0 to cuda:1"):
        prepare_device("cuda:2")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="--device cuda:1 is one GPU for 2 processes"):
        prepare_device("cuda:1")


@pytest.fixture
def no_cuda(monkeypatch, tmp_path):
    """A machine whose PyTorch cannot use CUDA, with a nvidia-smi that lists what a test has it list."""

    def too_old() -> None:
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 11040).\nPlease update it.")

    def listing(*lines: str) -> None:
        program = tmp_path / "nvidia-smi"
        program.write_text("#!/bin/sh\n" + "".join(f"echo '{line}'\n" for line in lines))
        program.chmod(0o755)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "init", too_old)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return listing


def test_a_gpu_that_pytorch_cannot_use_is_told_before_the_cpu_is_taken(no_cuda, capsys):
    no_cuda("GPU 0: NVIDIA A100-SXM4-80GB (UUID: GPU-0)", "GPU 1: NVIDIA A100-SXM4-80GB (UUID: GPU-1)")
    assert prepare_device("auto") == CPU
    assert capsys.readouterr().err == (
        f"warning: nvidia-smi lists GPU 0: NVIDIA A100-SXM4-80GB and 1 more, but PyTorch {torch.__version__} cannot use it: "
        "The NVIDIA driver on your system is too old (found version 11040). This runs on the CPU; --device cpu says that it "
        "is meant to\n"
    )
    with pytest.raises(InputError, match=r"--device cuda: PyTorch finds no .*; nvidia-smi lists GPU 0: .* too old"):
        prepare_device("cuda")


def test_a_gpu_that_the_environment_names_is_missed_too(no_cuda, monkeypatch, capsys):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    prepare_device("auto")
    assert capsys.readouterr().err.startswith("warning: CUDA_VISIBLE_DEVICES=0,1 names a GPU, but PyTorch")


@pytest.mark.parametrize("visible", ["", "-1", None])
def test_where_no_gpu_is_or_all_are_hidden_nothing_is_said(no_cuda, monkeypatch, capsys, visible):
    if visible is not None:
        no_cuda("GPU 0: NVIDIA A100-SXM4-80GB (UUID: GPU-0)")
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert prepare_device("auto") == CPU
    assert capsys.readouterr().err == ""


def test_a_cpu_that_was_asked_for_is_taken_in_silence(no_cuda, capsys):
    no_cuda("GPU 0: NVIDIA A100-SXM4-80GB (UUID: GPU-0)")
    assert prepare_device("cpu") == CPU
    assert capsys.readouterr().err == ""


def test_auto_prefers_mps_to_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert prepare_device("auto").type == "mps"


def test_large_tensors_still_work_where_freed_memory_is_kept():
    keep_freed_memory()
    sums = [torch.ones(3_000_000).sum().item() for _ in range(3)]
    assert sums == [3_000_000] * 3


def test_determinism_asks_for_deterministic_kernels_and_only_warns(restored_determinism):
    make_deterministic()
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.is_deterministic_algorithms_warn_only_enabled()


def test_determinism_sets_the_workspace_of_cublas(restored_determinism):
    make_deterministic()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


def test_determinism_keeps_a_workspace_that_was_chosen(restored_determinism, monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    make_deterministic()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"


def test_determinism_turns_the_choice_of_kernels_by_speed_off(restored_determinism):
    torch.backends.cudnn.benchmark = True
    make_deterministic()
    assert not torch.backends.cudnn.benchmark


def update(
    precision: Precision, loss: torch.Tensor, optimizer: torch.optim.Optimizer, max_norm: float | None = None
) -> None:
    """One step of training."""
    precision.backward(loss)
    precision.step(optimizer, max_norm)


@pytest.mark.parametrize(("amp", "dtype"), [("off", torch.float32), ("bf16", torch.bfloat16)])
def test_networks_compute_in_the_precision_asked_for(amp, dtype):
    with Precision(amp, CPU).autocast():
        assert nn.Linear(3, 4)(torch.zeros(2, 3)).dtype == dtype


@pytest.mark.parametrize("amp", ["off", "bf16"])
def test_weights_stay_float32(amp):
    torch.manual_seed(0)
    net = nn.Linear(3, 1)
    precision = Precision(amp, CPU)
    with precision.autocast():
        loss = net(torch.ones(2, 3)).float().sum()
    update(precision, loss, torch.optim.SGD(net.parameters(), 0.1))
    assert {p.dtype for p in net.parameters()} == {torch.float32}


def test_float16_on_a_cpu_is_refused_with_what_else_will_do():
    with pytest.raises(InputError, match="--amp fp16 needs a GPU; on a CPU use bf16 or off"):
        Precision("fp16", CPU)


def test_a_step_descends_along_the_gradient():
    # d/dw (3 w0 + 4 w1) = (3, 4).
    w = nn.Parameter(torch.tensor([1.0, 1.0]))
    update(Precision("off", CPU), w @ torch.tensor([3.0, 4.0]), torch.optim.SGD([w], 0.1))
    torch.testing.assert_close(w.detach(), torch.tensor([0.7, 0.6]))


def test_gradients_of_earlier_steps_do_not_add_up():
    w = nn.Parameter(torch.tensor([1.0, 1.0]))
    optimizer = torch.optim.SGD([w], 0.1)
    for _ in range(2):
        update(Precision("off", CPU), w @ torch.tensor([3.0, 4.0]), optimizer)
    torch.testing.assert_close(w.detach(), torch.tensor([0.4, 0.2]))


def test_gradients_are_clipped_to_the_norm_asked_for():
    # The gradient (3, 4) has norm 5; clipped to 1 it is (0.6, 0.8).
    w = nn.Parameter(torch.tensor([1.0, 1.0]))
    update(Precision("off", CPU), w @ torch.tensor([3.0, 4.0]), torch.optim.SGD([w], 1.0), max_norm=1.0)
    torch.testing.assert_close(w.detach(), torch.tensor([0.4, 0.2]), atol=1e-5, rtol=0)


def test_the_norm_is_that_of_all_groups_together():
    a, b = (nn.Parameter(torch.tensor([1.0])) for _ in range(2))
    optimizer = torch.optim.SGD([{"params": [a]}, {"params": [b]}], 1.0)
    update(Precision("off", CPU), 3 * a.sum() + 4 * b.sum(), optimizer, max_norm=1.0)
    torch.testing.assert_close(torch.cat((a, b)).detach(), torch.tensor([0.4, 0.2]), atol=1e-5, rtol=0)


def test_gradients_below_the_norm_are_left_alone():
    w = nn.Parameter(torch.tensor([1.0, 1.0]))
    update(Precision("off", CPU), w @ torch.tensor([3.0, 4.0]), torch.optim.SGD([w], 0.1), max_norm=6.0)
    torch.testing.assert_close(w.detach(), torch.tensor([0.7, 0.6]))


def test_scaled_gradients_are_clipped_by_their_true_norm():
    precision = Precision("off", CPU)
    precision.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    w = nn.Parameter(torch.tensor([1.0, 1.0]))
    update(precision, w @ torch.tensor([3.0, 4.0]), torch.optim.SGD([w], 0.1), max_norm=6.0)
    torch.testing.assert_close(w.detach(), torch.tensor([0.7, 0.6]))


def test_a_step_whose_scaled_gradients_overflow_is_left_out():
    precision = Precision("off", CPU)
    precision.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    w = nn.Parameter(torch.tensor([1.0, 1.0]))
    update(precision, w @ torch.tensor([3e38, 4.0]), torch.optim.SGD([w], 0.1))
    assert w.tolist() == [1, 1]
    assert precision.scaler.get_scale() == 512
