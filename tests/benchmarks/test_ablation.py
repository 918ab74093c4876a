"""The ablation: its rows, its table and its going on where it stopped. Training is a stand-in."""

import subprocess
import xml.etree.ElementTree as ElementTree

import pytest

from benchmarks import ablation
from utils.errors import InputError
from utils.experiment import add_score
from utils.options.flags import parse_options
from utils.options.recipes import recipe
from utils.options.training import TrainOptions


@pytest.fixture
def calls(monkeypatch, tmp_path):
    """Commands that were run; each leaves a score of 50 + its seed, and 10 more without guidance."""
    commands = []

    def run(command, **_):
        commands.append(command)
        flags = dict(zip(command[2::2], command[3::2], strict=False))
        miou = 50.0 + int(flags["--seed"]) + 10 * flags["--name"].startswith("baseline")
        scores = {"miou": miou, "threshold": 0.4, "map": 90.0, "f1": 90.0}
        add_score(tmp_path / "runs" / flags["--name"], recipe("dig_toy").train["epochs"] - 1, scores)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
    return commands


def ablate(tmp_path, flags=""):
    ablation.main(f"--experiments {tmp_path / 'runs'} --out {tmp_path / 'table.md'} --rows baseline all {flags}".split())
    return (tmp_path / "table.md").read_text()


def test_the_table_holds_mean_deviation_difference_and_every_seed(calls, tmp_path):
    lines = ablate(tmp_path).splitlines()
    assert lines[0] == "| row | mIoU | against the first row | seed 0 | seed 1 | seed 2 |"
    assert lines[2] == "| multi-class-token baseline | 61.00 ± 1.00 | +0.00 | 60.00 | 61.00 | 62.00 |"
    assert lines[3] == "| all | 51.00 ± 1.00 | -10.00 | 50.00 | 51.00 | 52.00 |"


def test_rows_differ_in_nothing_but_their_flags_and_seed(calls, tmp_path):
    ablate(tmp_path, "--seeds 4")
    baseline, full = calls
    assert [part for part in baseline if part not in ("--W", "1", "0", "baseline-4")] == [p for p in full if p != "all-4"]


def test_runs_that_are_done_are_not_made_again(calls, tmp_path):
    first = ablate(tmp_path, "--seeds 0")
    assert len(calls) == 2
    assert ablate(tmp_path, "--seeds 0") == first
    assert len(calls) == 2
    ablate(tmp_path, "--seeds 0 1")
    assert len(calls) == 4


def test_the_plot_is_well_formed_and_has_a_dot_for_every_run(calls, tmp_path):
    ablate(tmp_path)
    tree = ElementTree.parse(tmp_path / "table.svg")
    assert len(tree.findall(".//{http://www.w3.org/2000/svg}circle")) == 6


def test_a_run_that_fails_is_named_with_its_output(monkeypatch, tmp_path):
    monkeypatch.setattr(subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 2))
    with pytest.raises(InputError, match=r"train_trm.py --name baseline-0 .* failed: see .*output.txt"):
        ablate(tmp_path)


def test_an_unknown_row_is_refused(tmp_path):
    with pytest.raises(InputError, match="--rows magic is no row; there are baseline, lfca"):
        ablation.main(["--rows", "magic"])


@pytest.mark.parametrize("row", ablation.ROWS, ids=lambda row: row.name)
def test_every_row_is_a_training_that_the_script_accepts(row):
    options = parse_options(TrainOptions, ["--name", "x", *row.flags], "", "", recipe("dig_toy").train)
    assert options.epochs > options.start_epoch
