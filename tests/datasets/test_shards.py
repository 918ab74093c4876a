"""Packing a data set into shards: what is in them, restarts, refusals, and a training that gives the same weights."""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from datasets.layouts.base import open_layout, read_truth
from datasets.shards import main as pack
from tests.helpers.folders import states
from tests.helpers.shards import jpeg
from tests.helpers.small_runs import train_small
from tests.helpers.toy_data import make_toy_folder, make_toy_voc, write_lines
from utils.errors import InputError
from utils.experiment.folder import epoch_file
from utils.images import open_rgb


def pack_small(source: Path, out: Path, more: str = "") -> Path:
    pack(f"--data-path {source} --out {out} --images 3 --num_workers 1 {more}".split())
    return out


@pytest.fixture
def voc(tmp_path) -> Path:
    return make_toy_voc(tmp_path / "voc", 9)


def test_shards_hold_the_data_set(voc, tmp_path):
    before, after = open_layout(voc), open_layout(pack_small(voc, tmp_path / "shards"))
    assert sorted(path.name for path in (tmp_path / "shards").glob("*.tar")) == [
        "train-000000.tar",
        "train-000001.tar",
        "val-000000.tar",
    ]
    assert after.classes == before.classes
    for name in ("train", "val"):
        ids = before.read_list(name)
        assert after.read_list(name) == ids
        assert np.array_equal(after.labels(ids), before.labels(ids))
        for image_id in ids:
            assert np.array_equal(open_rgb(after.image_path(image_id)), open_rgb(before.image_path(image_id)))
            assert np.array_equal(read_truth(after, image_id), read_truth(before, image_id))


def test_images_keep_their_bytes(voc, tmp_path):
    pack_small(voc, tmp_path / "shards")
    with tarfile.open(tmp_path / "shards" / "val-000000.tar") as tar:
        assert tar.getnames()[:2] == ["2007_000006.jpg", "2007_000006.json"]
        assert tar.extractfile("2007_000006.jpg").read() == (voc / "JPEGImages" / "2007_000006.jpg").read_bytes()
        assert json.load(tar.extractfile("2007_000006.json")) == {"labels": ["cat"]}


def test_webdataset_reads_the_shards(voc, tmp_path):
    webdataset = pytest.importorskip("webdataset", reason="webdataset is not installed")
    pack_small(voc, tmp_path / "shards")
    samples = list(webdataset.WebDataset(str(tmp_path / "shards" / "val-000000.tar"), shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == ["2007_000006", "2007_000007", "2007_000008"]
    assert json.loads(samples[0]["json"]) == {"labels": ["cat"]}


def test_packing_goes_on_where_it_was_stopped(voc, tmp_path, capsys):
    shards = pack_small(voc, tmp_path / "shards")
    whole = states(shards)
    (shards / "train-000001.tar").unlink()
    capsys.readouterr()
    pack_small(voc, shards)
    assert f"train: 6 images, 1 shards written to {shards}, 1 were there" in capsys.readouterr().out
    assert states(shards) == whole


def test_other_settings_are_refused(voc, tmp_path):
    pack_small(voc, tmp_path / "shards")
    with pytest.raises(InputError, match="was made with images 3, not 2"):
        pack_small(voc, tmp_path / "shards", "--images 2")


def test_an_image_in_two_lists_is_refused(voc, tmp_path):
    write_lines(voc / "ImageSets" / "Segmentation" / "both.txt", "2007_000000")
    with pytest.raises(InputError, match="2007_000000 is in both train and both"):
        pack_small(voc, tmp_path / "shards", "--lists train both")


def test_a_dot_in_a_name_is_refused(tmp_path):
    folder = make_toy_folder(tmp_path / "own")
    (folder / "images" / "0.jpg").rename(folder / "images" / "0.a.jpg")
    table = (folder / "labels.csv").read_text()
    (folder / "labels.csv").write_text(table.replace("0.jpg", "0.a.jpg"))
    with pytest.raises(InputError, match=r"0\.a has a dot"):
        pack_small(folder, tmp_path / "shards", "--lists all")


def test_training_on_shards_gives_the_same_weights(voc, tmp_path):
    shards = pack_small(voc, tmp_path / "shards")
    one, other = (train_small(tmp_path, data, data.name) for data in (voc, shards))
    weights = [torch.load(epoch_file(folder, 0), weights_only=True) for folder in (one, other)]
    assert all(torch.equal(a, b) for a, b in zip(*(w.values() for w in weights), strict=True))


def test_shards_of_other_labels_or_files_are_not_kept(tmp_path):
    source = make_toy_folder(tmp_path / "own")
    pack_small(source, tmp_path / "shards", "--lists all")
    lines = (source / "labels.csv").read_text().splitlines()
    write_lines(source / "labels.csv", *lines[:-1], f"{lines[-1].split(',')[0]},{lines[1].split(',')[1]}")
    with pytest.raises(InputError, match=r"made with labels, lists and files '\w+', not '\w+'\. Move it away first"):
        pack_small(source, tmp_path / "shards", "--lists all")


def test_an_image_may_have_a_long_name_in_any_script(tmp_path):
    name = "犬" * 40
    write_lines(tmp_path / "own" / "labels.csv", f"{name}.jpg,dog", "b.jpg,cat")
    for each in (name, "b"):
        (tmp_path / "own" / f"{each}.jpg").write_bytes(jpeg(1))
    layout = open_layout(pack_small(tmp_path / "own", tmp_path / "shards", "--lists all"))
    assert layout.read_list("all") == [name, "b"]
    assert open_rgb(layout.image_path(name)).size == open_rgb(tmp_path / "own" / "b.jpg").size
