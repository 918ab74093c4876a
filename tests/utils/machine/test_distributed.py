"""Several processes: the same steps, the same files, nothing twice, and an end when one dies."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import train_trm
from tests.helpers import ROOT
from tests.helpers.processes import finish, start
from tests.helpers.toy_data import make_toy_voc
from tests.helpers.warm import Command
from utils.errors import InputError
from utils.experiment.folder import read_scores
from utils.machine.distributed import (
    local_batch_size,
    process_group,
    require_common_start,
    shard,
    shard_rows,
    wanted_processes,
)
from utils.machine.locks import writing

SMALL = (
    "--exp dig_nano --data-path VOC2012 --input-size 32 --infer-size 0 --embed-dim 16 --depth 2 --num-heads 2 "
    "--diffusion_weights random --diffusion-dim 8 --feature-steps 0 2 --batch-size 4 --device cpu --num_workers 0 "
    "--epochs 2 --lfca-drop-path 0 --print-freq 1 --start-epoch 1 --warmup_epochs 0 --lr 0.0128"
)
# With a width of 8, GroupNorm would have one channel in each group and the gradient of a bias before it none.
DENOISER = "--exp dig_nano --data VOC2012/JPEGImages --dim 16 --image-size 32 --batch-size 4 --steps 10 --num-samples 4"
FEW_SECONDS = 30


@pytest.fixture
def ranks(monkeypatch):
    """Pretends to be one process of several."""

    def pretend(rank: int, world_size: int) -> None:
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", str(world_size))

    return pretend


@pytest.mark.parametrize("count", [0, 1, 3, 7, 8])
def test_every_item_belongs_to_exactly_one_process(ranks, count):
    shares = []
    for rank in range(3):
        ranks(rank, 3)
        shares += shard(range(count))
    assert sorted(shares) == list(range(count))


def test_a_batch_is_dealt_out_evenly_or_refused(ranks):
    ranks(0, 4)
    assert local_batch_size(32) == 8
    with pytest.raises(InputError, match="--batch-size 30 is for all processes together; 4 of them do not divide it"):
        local_batch_size(30)


def test_rows_of_a_batch_are_those_of_the_samples(ranks):
    rows = []
    for rank in range(2):
        ranks(rank, 2)
        rows += shard_rows(torch.arange(6)).tolist()
    assert rows == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("args", "gpus", "count"),
    [("", 0, 1), ("", 4, 4), ("--nproc 2", 0, 2), ("--nproc=2", 4, 2), ("--device cpu", 4, 1), ("--nproc", 0, 1)],
)
def test_there_is_one_process_for_every_gpu_unless_told_otherwise(monkeypatch, args, gpus, count):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert wanted_processes(["--name", "x", *args.split()]) == count


@pytest.mark.parametrize(
    ("flags", "gpus", "count"),
    [("", 3, 2), ("", 4, 4), ("", 7, 4), ("--batch-size 30", 7, 6), ("--batch-size 31", 4, 1), ("--accum 4", 16, 8)],
)
def test_as_many_gpus_are_used_as_divide_the_batch(monkeypatch, capsys, flags, gpus, count):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert wanted_processes(["--name", "x", *flags.split()], train_trm.shared_batch) == count
    said = capsys.readouterr().err
    assert said == "" if count == gpus else said.startswith(f"using {count} of {gpus} GPUs: more of them cannot share")
    assert len(said.splitlines()) == (count < gpus)


def test_a_number_of_processes_that_was_asked_for_is_not_changed(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert wanted_processes(["--name", "x", "--nproc", "3"], train_trm.shared_batch) == 3


def test_a_gpu_that_is_named_is_used_alone(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert wanted_processes(["--name", "x", "--device", "cuda:1"], train_trm.shared_batch) == 1


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(InputError, match="--nproc 3: PyTorch sees 2 GPUs"):
        wanted_processes(["--nproc", "3"])


def test_a_number_of_processes_that_is_none_is_refused():
    with pytest.raises(InputError, match="--nproc must be a number of processes, got 'two'"):
        wanted_processes(["--nproc", "two"])


def test_torchrun_and_nproc_must_agree(monkeypatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(InputError, match="--nproc 4, but torchrun started 2"), process_group(torch.device("cpu"), 4):
        pass


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "ckpt" / "last.pth", weights_only=True)["model"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """A folder with a data set and the same ten steps of training, by one process, by two, and by two in parts."""
    folder = tmp_path_factory.mktemp("runs")
    make_toy_voc(folder / "VOC2012", 30)
    finish(start(f"train_trm.py --name one {SMALL}", folder))
    finish(start(f"train_trm.py --name two {SMALL} --nproc 2", folder))
    finish(start(f"train_trm.py --name parts {SMALL} --nproc 2 --accum 2", folder))
    return folder / "experiment"


@pytest.mark.end_to_end
# Sums in yet another order: of ten steps of 1e-4, rounding that AdamW blows up has been seen to take 1.4e-5.
@pytest.mark.parametrize(("name", "apart"), [("two", 1e-5), ("parts", 5e-5)])
def test_two_processes_take_the_steps_of_one(runs, name, apart):
    one, two = weights(runs / "one"), weights(runs / name)
    # The gradient of a key's bias is zero but for rounding, which softmax does not see and AdamW blows up to whole steps.
    D = one["pos_embed"].shape[-1]
    for name in [name for name in one if name.endswith("attn.qkv.bias")]:
        one[name][D : 2 * D] = two[name][D : 2 * D] = 0
    assert max((one[name] - two[name]).abs().max() for name in one) < apart
    first = torch.load(runs / "one" / "ckpt" / "000net_trm.pth", weights_only=True)
    assert max((one[name] - first[name]).abs().max() for name in first) > 2e-4  # they did go somewhere


@pytest.mark.end_to_end
def test_two_processes_log_what_one_logs(runs):
    one, two = (
        [line.split()[2:-2] for line in (runs / name / "log.txt").read_text().splitlines() if " step " in line]
        for name in ("one", "two")
    )
    assert len(one) == len(two) == 10
    for a, b in zip(one, two, strict=True):
        assert a[:4] == b[:4]
        assert [float(v) for v in a[7::2]] == pytest.approx([float(v) for v in b[7::2]], abs=2e-4)


@pytest.mark.end_to_end
def test_two_processes_score_what_one_scores(runs):
    finish(start("infer_trm.py --name one --dict --num_workers 0", runs.parent))
    finish(start("evaluation.py --name one --json one.json --num_workers 1", runs.parent))
    best = float((runs.parent / "one.json").read_text().split('"miou": ')[-1].split("}")[0])
    assert f"mIoU {best:.2f}" in (runs / "one" / "log.txt").read_text()
    assert (runs / "two" / "log.txt").read_text().count(" mIoU ") == 1
    one, two = (read_scores(runs / name)["1"] for name in ("one", "two"))
    assert two == pytest.approx(one, abs=0.5)  # of weights that differ by rounding


@pytest.mark.end_to_end
def test_two_processes_write_the_cams_of_one(runs):
    written = []
    for nproc in (1, 2):
        line = f"infer_trm.py --name two --dict --num_workers 0 --nproc {nproc} --val_list train:7 --device cpu"
        finish(start(line, runs.parent))
        files = sorted((runs / "two" / "dict").iterdir())
        written.append({path.name: path.read_bytes() for path in files})
        for path in files:
            path.unlink()
    assert len(written[0]) == 7
    assert written[0] == written[1]


@pytest.mark.end_to_end
def test_the_denoiser_takes_the_same_steps_too(tmp_path):
    make_toy_voc(tmp_path / "VOC2012", 8)
    states = []
    for nproc in (1, 2):
        finish(start(f"train_diffusion.py --name {nproc} {DENOISER} --out {nproc}.pt --nproc {nproc} --lr 1e-4", tmp_path))
        states.append(torch.load(tmp_path / f"{nproc}.pt", weights_only=True)["model"])
    assert max((a - b).abs().max() for a, b in zip(*(state.values() for state in states), strict=True)) < 1e-5


def process_of_rank(rank: int, launcher: subprocess.Popen | Command) -> int:
    """The process that a launcher started for a rank."""
    for child in Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split():
        with contextlib.suppress(OSError):
            if f"RANK={rank}" in Path(f"/proc/{child}/environ").read_text().split("\0"):
                return int(child)
    raise AssertionError(f"there is no process of rank {rank}")


def kill_rank_1_in_epoch_1(process: Command) -> None:
    process.wait_for("epoch 1 step 1/")
    os.kill(process_of_rank(1, process), signal.SIGKILL)


linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc")


@linux_only
@pytest.mark.end_to_end
def test_a_killed_process_ends_the_others_and_the_same_command_ends_in_the_same_bits(runs):
    """With three, the order in which gradients are summed could depend on where a run was resumed."""
    command = f"train_trm.py --name {{}} {SMALL} --nproc 3".replace("--batch-size 4", "--batch-size 6")
    finish(start(command.format("three"), runs.parent))
    process = start(command.format("killed"), runs.parent)
    kill_rank_1_in_epoch_1(process)
    killed = time.monotonic()
    _, errors = process.communicate(timeout=FEW_SECONDS)
    assert time.monotonic() - killed < FEW_SECONDS
    assert process.returncode == 1
    assert errors.splitlines()[-1].startswith("error: process 1 of 3 was ended by SIGKILL")
    assert "Traceback" not in errors
    assert "of epoch 0 from" in finish(start(command.format("killed"), runs.parent))
    uninterrupted, resumed = weights(runs / "three"), weights(runs / "killed")
    assert all(torch.equal(uninterrupted[name], resumed[name]) for name in uninterrupted)


@linux_only
@pytest.mark.end_to_end
def test_torchruns_restart_goes_on_from_the_last_checkpoint(runs):
    torchrun = f"-m torch.distributed.run --standalone --nproc_per_node=2 --max-restarts=1 {ROOT}"
    process = start(f"{torchrun}/train_trm.py --name restarted {SMALL} --overwrite", runs.parent)
    kill_rank_1_in_epoch_1(process)
    assert "of epoch 0 from" in finish(process)
    uninterrupted, restarted = weights(runs / "two"), weights(runs / "restarted")
    assert all(torch.equal(uninterrupted[name], restarted[name]) for name in uninterrupted)


@pytest.mark.end_to_end
def test_a_second_run_of_a_name_is_refused_and_touches_nothing(runs):
    first = start(f"train_trm.py --name locked {SMALL} --nproc 2 --epochs 500", runs.parent)
    try:
        first.wait_for("epoch 0 step 1/")
        before = {path: path.read_bytes() for path in (runs / "locked").iterdir() if path.name == "options.json"}
        second = start(f"train_trm.py --name locked {SMALL} --seed 5 --overwrite", runs.parent)
        _, errors = second.communicate(timeout=120)
        assert second.returncode == 2
        (line,) = errors.splitlines()
        assert re.match(
            r"error: experiment/locked is in use by process \d+ on \S+ since .* \(train_trm\.py --name locked", line
        )
        assert {path: path.read_bytes() for path in before} == before != {}
        assert "seed 5" not in (runs / "locked" / "log.txt").read_text()
        assert first.returncode is None
    finally:
        first.send_signal(signal.SIGTERM)
        first.communicate(timeout=120)


OUTLIVES = """
import os, signal, sys, time, torch
from pathlib import Path
from utils.machine.distributed import process_group
with process_group(torch.device("cpu"), 0, [Path(sys.argv[1])]):
    if os.environ["RANK"] == "0":
        os.kill(os.getpid(), signal.SIGKILL)
    print("alone", flush=True)
    time.sleep(60)
"""


@pytest.mark.end_to_end
def test_a_process_that_outlives_the_main_one_keeps_the_lock(tmp_path):
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": str(free_port()), "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-c", OUTLIVES, str(tmp_path / "run")]
    environments = [os.environ | shared | {"RANK": rank, "LOCAL_RANK": rank} for rank in "01"]
    main, other = (subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True) for env in environments)
    try:
        assert main.wait(timeout=60) == -signal.SIGKILL
        assert other.stdout.readline() == "alone\n"
        with pytest.raises(InputError, match="run is in use"), writing(tmp_path / "run", patience=0):
            pass
    finally:
        other.kill()
        other.communicate()
    with writing(tmp_path / "run", patience=0):
        pass


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("localhost", 0))
        return one.getsockname()[1]


@pytest.mark.end_to_end
def test_wrong_input_of_several_processes_is_one_line(tmp_path):
    process = start("train_trm.py --name x --data-path nowhere --nproc 2 --device cpu", tmp_path)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 2
    assert [line for line in errors.splitlines() if line.startswith("error: --data-path nowhere does not exist")]
    assert len(errors.splitlines()) == 1


def test_processes_that_would_start_from_different_places_are_stopped(monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(
        torch.distributed, "all_gather_object", lambda starts, step: starts.__setitem__(slice(None), [step, 0])
    )
    monkeypatch.setenv("WORLD_SIZE", "2")
    require_common_start(0)
    with pytest.raises(InputError, match=r"different places, \[3, 0\]: all machines must see the same experiment folder"):
        require_common_start(3)
