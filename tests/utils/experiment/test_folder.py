"""Weights and scores in an experiment's folder."""

import json
from pathlib import Path

import pytest

from utils.errors import InputError
from utils.experiment.folder import add_score, epoch_file, latest_epoch, read_scores, scores_file


def test_weights_of_an_epoch_have_a_name_of_three_digits():
    assert epoch_file(Path("run"), 19) == Path("run/ckpt/019net_trm.pth")


def test_latest_epoch_is_the_largest_number(tmp_path):
    (tmp_path / "ckpt").mkdir()
    found = []
    for epoch in (9, 8, 100, 59, 1000, 7, 500):
        epoch_file(tmp_path, epoch).touch()
        found.append(latest_epoch(tmp_path))
    assert found == [9, 9, 100, 100, 1000, 1000, 1000]


def test_latest_epoch_passes_over_other_files(tmp_path):
    (tmp_path / "ckpt").mkdir()
    for name in ("004net_trm.pth", "last.pth", "099net_trm.pth.tmp", "best-100net_trm.pth"):
        (tmp_path / "ckpt" / name).touch()
    assert latest_epoch(tmp_path) == 4


def test_an_experiment_without_weights_is_refused_with_what_else_will_do(tmp_path):
    with pytest.raises(InputError, match=r"ckpt holds no <epoch>net_trm\.pth; train first or give --weights FILE"):
        latest_epoch(tmp_path)


def test_scores_are_kept_by_epoch(tmp_path):
    first, second = ({"miou": 10.0 + e, "threshold": 0.1, "map": 30.0, "f1": 20.0} for e in (0, 1))
    add_score(tmp_path, 9, first)
    add_score(tmp_path, 19, second)
    assert read_scores(tmp_path) == {"9": first, "19": second}


def test_scores_of_earlier_versions_are_read_and_kept(tmp_path):
    old = {"miou": 10.0, "threshold": 0.1}
    scores_file(tmp_path).write_text(json.dumps({"9": old}))
    assert read_scores(tmp_path) == {"9": old}
    new = {"miou": 11.0, "threshold": 0.2, "map": 30.0, "f1": 20.0}
    add_score(tmp_path, 19, new)
    assert read_scores(tmp_path) == {"9": old, "19": new}


@pytest.mark.parametrize(
    "damaged", ['{"9": {"miou": 1}}', '{"9": {"miou": 1, "threshold": 0, "map": "x"}}', '{"9": 3}', "[1]"]
)
def test_damaged_scores_are_refused_in_one_line(tmp_path, damaged):
    scores_file(tmp_path).write_text(damaged)
    with pytest.raises(InputError, match=r"scores\.json cannot be read: .*; remove it to score anew"):
        read_scores(tmp_path)
