"""What bounds a run's CAMs, as a command."""

import pytest

import evaluation
from tests.helpers.experiments import make_experiment
from tools import bounds
from utils.errors import InputError


def run(tmp_path, data, more: str = "") -> None:
    bounds.main(f"--name run --experiments {tmp_path} --data-path {data} --num_workers 1 {more}".split())


def test_the_table_starts_with_the_miou_of_evaluation(tmp_path, toy_voc, capsys):
    make_experiment(tmp_path, toy_voc)
    evaluation.main(f"--name run --experiments {tmp_path} --data-path {toy_voc} --num_workers 1".split())
    words = capsys.readouterr().out.splitlines()[-1].split()
    run(tmp_path, toy_voc)
    lines = capsys.readouterr().out.splitlines()
    found = {line[:42].strip(): float(line[42:]) for line in lines[3:7]}
    assert found["nothing: one threshold for all images"] == pytest.approx(float(words[1]), abs=0.01)
    assert found["what is background"] > found["nothing: one threshold for all images"]
    assert f"threshold of all images: {words[-1]};" in lines[-1]


def test_an_image_without_a_true_mask_is_named(tmp_path, toy_voc):
    make_experiment(tmp_path, toy_voc)
    mask = sorted((toy_voc / "SegmentationClass").iterdir())[0]
    mask.unlink()
    with pytest.raises(InputError, match=rf"{mask.name} is missing: bounds are found with the true masks of all images"):
        run(tmp_path, toy_voc)
