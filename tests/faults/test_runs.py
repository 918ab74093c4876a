"""Runs that are stopped, killed or starved: the promises of the README's "What happens when …", a few times each."""

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.helpers.toy_data import make_toy_voc

from .commands import DENOISER, EVALUATE, INFER, TRAIN, finish, start, succeed
from .disk import try_full_disk
from .kills import Undisturbed, digests, try_kills, undisturbed

pytestmark = [
    pytest.mark.end_to_end,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc, mounts a small disk"),
]
JOBS = {
    TRAIN: ("experiment/run", ("ckpt/*.pth", "scores.json"), "epoch 1 step "),
    DENOISER: ("experiment/denoiser", ("ckpt/last.pth", "samples/*", "../../denoiser.pt"), "resuming|step "),
}


@pytest.fixture(scope="module")
def references(tmp_path_factory) -> dict[str, Undisturbed]:
    """What undisturbed runs of each job end in."""
    folder = tmp_path_factory.mktemp("undisturbed")
    make_toy_voc(folder / "VOC2012", 12)
    return {line: undisturbed(line, folder, place, patterns) for line, (place, patterns, _) in JOBS.items()}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("line", JOBS)
def test_a_stopped_run_saves_and_goes_on_to_the_same_bits(tmp_path, references, line, number, code):
    place, patterns, starts = JOBS[line]
    make_toy_voc(tmp_path / "VOC2012", 12)
    process = start(line.replace("--ckpt_minutes 0", ""), tmp_path)
    process.wait_for(*starts.split("|"))
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == code
    assert output.splitlines()[-1] == f"stopped by {signal.Signals(number).name}"
    assert "resuming after" in succeed(line, tmp_path)
    assert (
        digests(tmp_path / place, patterns).items()
        >= {name: digest for name, digest in references[line].digests.items() if "previous" not in name}.items()
    )


def test_killed_runs_end_in_the_same_bits(tmp_path, references):
    tallies = try_kills(3, 1, tmp_path, references)
    assert {name: (tally.tried, tally.failures) for name, tally in tallies.items()} == {
        "training": (1, []),
        "denoiser training": (1, []),
        "inference": (1, []),
    }


def test_several_processes_stop_together_and_save(tmp_path):
    make_toy_voc(tmp_path / "VOC2012", 12)
    line = f"{TRAIN} --nproc 2".replace("--ckpt_minutes 0", "").replace("--print-freq 3", "--print-freq 1")
    process = start(line, tmp_path)
    process.wait_for("epoch 1 step 1/")
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 143
    assert output.splitlines()[-1] == "stopped by SIGTERM"
    assert "Traceback" not in output
    assert "of epoch 1 from" in succeed(line, tmp_path)


def test_a_loading_process_that_dies_ends_the_run_with_a_line(tmp_path):
    make_toy_voc(tmp_path / "VOC2012", 12)
    process = start(TRAIN, tmp_path)
    process.wait_for("epoch 0 step ")
    for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        os.kill(int(child), signal.SIGKILL)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert output.splitlines()[-1].startswith("error: a process that loads images (")
    assert "Traceback" not in output


def test_a_full_disk_costs_nothing_that_was_there(tmp_path):
    try:
        tally = try_full_disk(tmp_path, ("CAM dicts and pictures",))
    except PermissionError as error:
        pytest.skip(str(error))
    assert (tally.survived, tally.failures) == (tally.tried, [])


def test_a_folder_that_cannot_be_written_to_is_one_line(tmp_path):
    make_toy_voc(tmp_path / "VOC2012", 6)
    (tmp_path / "experiment").write_text("a file where a folder should be")
    code, output = finish(TRAIN, tmp_path)
    assert code == 2
    assert output.startswith("error: experiment: File exists")
    assert len(output.splitlines()) == 1


def test_an_interrupted_inference_goes_on_where_it_stopped(tmp_path):
    make_toy_voc(tmp_path / "VOC2012", 60)
    succeed(TRAIN.replace("--epochs 3", "--epochs 1").replace("--ckpt_minutes 0", ""), tmp_path)
    process = start(INFER, tmp_path)
    process.wait_for("experiment/run/ckpt")
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert (process.returncode, output.splitlines()[1:]) == (143, ["stopped by SIGTERM"])
    succeed(INFER, tmp_path)
    succeed(EVALUATE, tmp_path)
    assert len(list((tmp_path / "experiment" / "run" / "dict").iterdir())) == 40
