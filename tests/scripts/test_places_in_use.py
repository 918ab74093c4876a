"""Every command that writes to a place that another process writes to is refused with one line, before it changes a file."""

import importlib
import re
from pathlib import Path

import pytest

from tests.helpers.experiments import make_experiment
from tests.helpers.folders import states
from tests.helpers.locked import held_elsewhere
from tests.helpers.small_runs import SMALL
from utils.errors import InputError
from utils.machine import locks

DENOISER = "--dim 8 --image-size 16 --batch-size 2 --steps 1 --num_workers 0"


@pytest.fixture
def experiment(tmp_path, toy_voc, monkeypatch) -> Path:
    """CAMs of the toy, in a folder without a run."""
    monkeypatch.setattr(locks, "PATIENCE_SECONDS", 0.0)
    return make_experiment(tmp_path, toy_voc)


@pytest.mark.parametrize(
    ("script", "flags", "place"),
    [
        ("train_trm", SMALL, ""),
        ("train_trm_coco", SMALL, ""),
        ("train_diffusion", f"--data DATA/JPEGImages {DENOISER}", ""),
        ("train_diffusion", f"--data DATA/JPEGImages {DENOISER} --out run/denoiser.pt", "denoiser.pt"),
        ("infer_trm", "--weights WEIGHTS --exp dig_nano --dict", "dict"),
        ("infer_trm", "--weights WEIGHTS --exp dig_nano --vis", "vis"),
        ("tools.masks", "--low 0.3 --high 0.5", "png"),
        ("tools.masks", "--low 0.3 --high 0.5", "dict"),
        ("tools.report.__main__", "", "dict"),
        ("evaluation", "", "dict"),
    ],
)
def test_a_place_in_use_is_refused_and_stays_as_it_is(experiment, toy_voc, monkeypatch, script, flags, place):
    monkeypatch.chdir(experiment.parent)
    weights = experiment.parent / "weights.pth"
    weights.write_bytes(b"these are not looked at")
    data = {"train_diffusion": "--device cpu"}.get(script, f"--data-path {toy_voc}")
    args = f"--name run --experiments . {data} {flags}".replace("DATA", str(toy_voc)).replace("WEIGHTS", str(weights))
    with held_elsewhere(experiment / place) as process:
        before = states(experiment.parent, "*[!k]")  # but for *.lock
        where = re.escape(str(Path("run", place)))
        with pytest.raises(InputError, match=rf"^{where} is in use by process {process.pid} on"):
            importlib.import_module(script).main(args.split())
        assert states(experiment.parent, "*[!k]") == before != {}


def test_crf_scores_in_use_are_refused(experiment, toy_voc):
    pytest.importorskip("pydensecrf", reason="pydensecrf2 is not installed")
    with held_elsewhere(experiment / "crf" / "4"), pytest.raises(InputError, match=r"crf/4 is in use by process"):
        importlib.import_module("tools.crf").main(
            f"--name run --experiments {experiment.parent} --data-path {toy_voc} --alphas 4".split()
        )
