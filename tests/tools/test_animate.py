"""The animation of growing CAMs: what it shows, what it refuses."""

import dataclasses
import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import train_trm
from datasets.layouts.base import open_layout
from tests.helpers.small_runs import SMALL
from tests.helpers.toy_data import make_toy_voc
from tools import animate
from tools.animate import main, subject
from utils import animation
from utils.errors import InputError
from utils.experiment.saved import load_run

pytestmark = pytest.mark.slow

EPOCHS = 3


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """The folder of all experiments, with a run in it."""
    root = tmp_path_factory.mktemp("animate")
    data = make_toy_voc(root / "VOC2012")
    flags = f"--name run --experiments {root} --data-path {data} {SMALL} --W 1 0 0 0 0 --epochs {EPOCHS} --lr 0.5"
    train_trm.main(f"{flags} --val_list train --val_from 0".split())
    return root


@pytest.fixture
def root(trained, tmp_path) -> Path:
    shutil.copytree(trained / "run", tmp_path / "run")
    return tmp_path


def run(root: Path, *flags: str) -> Path:
    main(["--name", "run", "--experiments", str(root), "--device", "cpu", *flags])
    return root / "run" / "cams.webp"


def frames(path: Path) -> list[np.ndarray]:
    with Image.open(path) as image:
        result = []
        for i in range(image.n_frames):
            image.seek(i)
            result.append(np.array(image.convert("RGB"), np.int16))
        return result


def test_every_epoch_is_a_frame_and_they_differ(root, capsys):
    shown = frames(run(root))
    assert len(shown) == EPOCHS
    assert "3 of 3 epochs" in capsys.readouterr().out
    assert all(np.abs(a - b).max() > 40 for a, b in itertools.pairwise(shown))


def test_the_same_command_writes_the_same_bytes(root):
    first = run(root).read_bytes()
    assert run(root).read_bytes() == first


def test_the_images_named_are_shown(root, monkeypatch):
    seen = []
    monkeypatch.setattr(animate, "picture_table", lambda groups, *rest: seen.append(groups) or np.zeros((9, 9, 3), np.uint8))
    run(root, "--images", "2007_000001", "2007_000004")
    captions = {cell.caption for group in seen[0] for row in group.rows for cell in row}
    assert captions == {"2007_000001", "2007_000004", "CAM of dog", "CAM of sofa", "CAM of tvmonitor", ""}


def test_it_stays_small_whatever_is_shown(root, monkeypatch):
    monkeypatch.setattr(animation, "MOST_BYTES", 20_000)
    assert run(root, "--count", "4").stat().st_size <= 20_000


def test_long_runs_are_shown_in_even_steps(root, monkeypatch):
    monkeypatch.setattr(animate, "MOST_FRAMES", 2)
    assert len(frames(run(root))) == 2


def test_a_gif_is_written_where_its_name_says_so(root):
    run(root, "--out", str(root / "cams.gif"))
    with Image.open(root / "cams.gif") as image:
        assert (image.format, image.n_frames) == ("GIF", EPOCHS)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--images", "nobody"], "nobody"),
        (["--images", *"aa"], "must all differ"),
        (["--images", *"abcdefghijklm"], "takes 12 at most"),
        (["--val_list", "nothing"], "nothing.txt is missing"),
        (["--out", "cams.mp4"], "must end in .webp or .gif"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_a_line(root, flags, message):
    with pytest.raises(InputError, match=message):
        run(root, *flags)
    assert not (root / "run" / "cams.webp").exists()


def test_one_epoch_cannot_grow(root):
    for epoch in range(1, EPOCHS):
        (root / "run" / "ckpt" / f"{epoch:03d}net_trm.pth").unlink()
    with pytest.raises(InputError, match="holds the weights of one epoch alone, and growth takes two"):
        run(root)


def test_an_experiment_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match="run is missing: give the --name"):
        run(tmp_path)


def test_damaged_weights_are_named(root):
    torch.save({}, root / "run" / "ckpt" / "001net_trm.pth")
    with pytest.raises(InputError, match=r"001net_trm\.pth"):
        run(root)


def test_an_image_is_seen_at_all_scales_of_its_run(trained):
    layout = open_layout(trained / "VOC2012")
    run = dataclasses.replace(load_run(trained / "run")[0], infer_scales=(1.0, 2.0))
    one, other = subject(layout, layout.read_list("train")[0], run).pixels
    assert other.shape == (3, 2 * one.shape[1], 2 * one.shape[2])
