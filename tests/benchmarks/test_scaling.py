"""The benchmark of growth, at its smallest: what it makes, measures, keeps and draws."""

import json

import numpy as np
import pytest
from PIL import Image

from benchmarks import scaling, scaling_data, scaling_work
from datasets.layouts.base import open_layout
from utils.errors import InputError


@pytest.mark.parametrize("kind", ["xml", "json", "csv", "shards"])
def test_data_sets_of_links_have_their_labels(tmp_path, kind):
    ids = scaling_data.LAYOUTS[kind](tmp_path / "data", 40, 3)
    layout = open_layout(tmp_path / "data")
    assert layout.read_list("all") == ids
    assert len(layout.classes) == 3
    assert layout.labels(ids).sum(1).tolist() == [1] * 40
    if kind != "shards":
        assert layout.image_path(ids[0]).stat().st_nlink > 2


def test_results_of_many_classes_are_scored(tmp_path):
    ids = [f"{i}" for i in range(20)]
    scaling_data.results(tmp_path, ids, "dict", 919)
    with Image.open(tmp_path / "masks" / "3.png") as mask:
        assert mask.mode == "I;16"
        assert set(np.unique(mask).tolist()) == {0, 4}


def test_what_is_missing_is_found(tmp_path):
    scaling_data.LAYOUTS["xml"](tmp_path / "data", 30)
    assert scaling_work.missing(tmp_path, "xml", 30)["cpu"] >= 0


@pytest.mark.slow
def test_inference_is_measured_on_a_network_of_the_classes_that_are_asked_for(tmp_path):
    scaling_data.LAYOUTS["xml"](tmp_path / "data", 8, 3)
    found = scaling_work.infer(tmp_path, "xml", 8, 3)
    assert found["cpu"] > 0
    assert found["parent"] > 10**8
    assert len(list((tmp_path / "experiments" / "run" / "dict").glob("*.npy"))) == 8


def test_a_slope_is_that_of_the_last_two_sizes():
    assert scaling.slope([10, 100, 1000], [5, 1, 10]) == pytest.approx(1)
    assert scaling.slope([10, 100], [3, 3]) == 0


def test_what_is_kept_is_not_measured_again_and_goes_to_table_and_plot(tmp_path, monkeypatch, capsys):
    calls = []
    found = {"cpu": 1.0, "parent": 2 * 10**6, "worker": 10**6}
    monkeypatch.setattr(scaling, "measure", lambda one, size, folder: calls.append(size) or found)
    line = ["--folder", str(tmp_path), "--no-page", "--images", "100", "1000", "--only", "what is missing"]
    scaling.main(line)
    scaling.main([*line, "--images", "100", "1000", "10000"])
    assert calls == [100, 1000, 10000]
    kept = json.loads((tmp_path / "results.json").read_text())
    assert "| what is missing of results | 100, 1,000, 10,000 | 1, 1, 1 | 0.00 | 2, 2, 2 |" in capsys.readouterr().out
    picture = scaling.plot(scaling.series_of([100, 1000, 10000], [20]), kept)
    assert picture.count("<polyline") == 1


def test_too_few_images_are_refused(tmp_path):
    with pytest.raises(InputError, match="at least 8"):
        scaling.main(["--folder", str(tmp_path), "--images", "4"])
