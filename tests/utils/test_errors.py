"""Exit codes and messages of the scripts."""

import sys

import pytest
import torch

from utils.errors import InputError, run_script
from utils.options.flags import memory_advice
from utils.options.inference import InferOptions
from utils.options.training import TrainOptions


def run(monkeypatch, main, *args: str) -> None:
    monkeypatch.setattr(sys, "argv", ["script.py", *args])
    run_script(main)


def refuse(args: list[str]) -> None:
    raise InputError("--epochs must be at least 1")


def interrupt(args: list[str]) -> None:
    raise KeyboardInterrupt


def test_main_receives_the_command_line(monkeypatch):
    seen = []
    run(monkeypatch, seen.extend, "--name", "run")
    assert seen == ["--name", "run"]


def test_debug_is_kept_from_main(monkeypatch):
    seen = []
    run(monkeypatch, seen.extend, "--name", "run", "--debug")
    assert seen == ["--name", "run"]


def test_wrong_input_leaves_with_code_2(monkeypatch):
    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, refuse)
    assert stop.value.code == 2


def test_wrong_input_is_one_line_on_standard_error(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run(monkeypatch, refuse)
    output = capsys.readouterr()
    assert (output.out, output.err) == ("", "error: --epochs must be at least 1\n")


def test_debug_adds_the_traceback(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run(monkeypatch, refuse, "--debug")
    error = capsys.readouterr().err
    assert "Traceback" in error
    assert "in refuse" in error
    assert error.endswith("error: --epochs must be at least 1\n")


def test_interruption_leaves_with_code_130(monkeypatch, capsys):
    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, interrupt)
    assert stop.value.code == 130
    assert capsys.readouterr().err == "stopped\n"


def test_other_errors_are_not_hidden(monkeypatch):
    with pytest.raises(ZeroDivisionError):
        run(monkeypatch, lambda args: 1 / 0)


def test_a_loader_that_dies_while_something_is_saved_is_what_is_told(monkeypatch, capsys):
    def save(args: list[str]) -> None:
        try:
            raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")
        finally:
            raise RuntimeError("[enforce fail] . unexpected pos 1277248 vs 1277136")

    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, save)
    assert stop.value.code == 1
    assert capsys.readouterr().err.startswith("error: a process that loads images (7)")


class AcceleratorError(RuntimeError):
    """Named like PyTorch's."""


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 15.00 GiB"),
    AcceleratorError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("GET was unable to find an engine to execute this computation"),
    RuntimeError("NCCL error in: ../NCCLUtils.cpp:93, unhandled cuda error\nLast error:\nCuda failure 2 'out of memory'"),
    RuntimeError("HIP out of memory. Tried to allocate 20.00 MiB"),
    RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB, other allocations: 1.00 GB, max allowed: 9.07 GB)"),
]


def test_too_little_memory_is_one_line_that_names_loaders_too(monkeypatch, capsys):
    def main(args: list[str]) -> None:
        raise MemoryError

    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, main)
    assert stop.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: there is not enough memory: try a smaller --batch-size; fewer --num-workers also help")


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: str(error)[:30])
def test_too_little_memory_of_a_gpu_is_one_line_with_what_a_resumed_run_may_change_first(monkeypatch, capsys, error):
    def main(args: list[str]) -> None:
        raise error

    monkeypatch.setattr(sys, "argv", ["train_trm.py"])
    with pytest.raises(SystemExit) as stop:
        run_script(main, memory_advice(TrainOptions))
    assert stop.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        "error: the GPU has too little memory: add --grad-checkpoint or --update-in-backward, which a run may be resumed "
        "with; or start a new run with a larger --accum or --amp bf16 or a smaller --batch-size"
    )
    assert str(error).splitlines()[0] in line


def test_the_advice_names_flags_that_the_command_has():
    assert memory_advice(InferOptions) == "try --amp bf16 or a smaller --batch-size or a smaller --infer-size"


@pytest.mark.parametrize("text", ["CUDA error: device-side assert triggered", "shapes do not match", "NCCL error: timeout"])
def test_other_errors_of_a_gpu_are_not_taken_for_too_little_memory(monkeypatch, text):
    def main(args: list[str]) -> None:
        raise RuntimeError(text)

    with pytest.raises(RuntimeError, match=text):
        run(monkeypatch, main)
