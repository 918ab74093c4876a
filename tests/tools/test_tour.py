"""The tour of a run's parts: what its pictures show, what it leaves out, what it refuses."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import train_trm
from models import load_cam_model
from tests.helpers.processes import complete
from tests.helpers.small_runs import SMALL
from tests.helpers.toy_data import make_toy_voc
from tools import tour
from tools.tour import diffusion_branch, main, subject
from utils.errors import InputError
from utils.experiment.folder import last_file
from utils.experiment.saved import run_of

pytestmark = pytest.mark.slow

PICTURES = ("tokens.jpg", "diffusion.jpg", "threshold.jpg", "crf.jpg")
HORSE = "2007_000003"  # and a person


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """The folder of all experiments, with a run of all losses in it, and averaged weights."""
    root = tmp_path_factory.mktemp("tour")
    data = make_toy_voc(root / "VOC2012")
    flags = f"--name run --experiments {root} --data-path {data} {SMALL} --epochs 1 --start_epoch 0 --lr 0.5 --val_from 1"
    train_trm.main([*flags.split(), "--ema_decay", "0.5"])
    return root


@pytest.fixture
def root(trained, tmp_path) -> Path:
    shutil.copytree(trained / "run", tmp_path / "run")
    return tmp_path


@pytest.fixture
def tables(monkeypatch) -> list[dict]:
    """What tables are drawn of, in the place of the tables themselves."""
    seen: list[dict] = []

    def drawn(groups, side, title, note, headings, legend=()):
        seen.append({"rows": groups[0].rows, "headings": headings, "legend": legend})
        return np.zeros((9, 9, 3), np.uint8)

    monkeypatch.setattr(tour, "picture_table", drawn)
    return seen


def run(root: Path, *flags: str) -> Path:
    main(["--name", "run", "--experiments", str(root), "--device", "cpu", *flags])
    return root / "run" / "tour"


def change_options(root: Path, **values) -> None:
    path = root / "run" / "options.json"
    content = json.loads(path.read_text())
    content["options"] |= values
    path.write_text(json.dumps(content))


def test_pictures_of_all_parts_are_written(root, capsys):
    pytest.importorskip("pydensecrf")
    out = run(root, "--images", HORSE)
    printed = capsys.readouterr().out
    for name in PICTURES:
        assert f"done: {out / name}" in printed
        with Image.open(out / name) as picture:
            assert picture.format == "JPEG"
            assert picture.width > 5 * tour.SIDE


def test_the_same_command_writes_the_same_bytes(root):
    first = {path.name: path.read_bytes() for path in run(root, "--out", str(root / "a")).parents[1].glob("a/*")}
    run(root, "--out", str(root / "b"))
    assert first == {path.name: path.read_bytes() for path in (root / "b").iterdir()}
    assert len(first) >= 3


def test_a_row_for_each_class_and_a_mask_for_each_score(root, tables):
    pytest.importorskip("pydensecrf")
    run(root, "--images", HORSE, "--thresholds", "0.1", "0.9", "--alphas", "3")
    tokens, diffusion, threshold, crf = tables
    assert [row[0].caption for row in tokens["rows"]] == [f"{HORSE}: horse", f"{HORSE}: person"]
    assert [len(row) for row in diffusion["rows"]] == [6, 6]
    assert threshold["headings"][2:] == [
        "background score 0.10",
        "background score 0.40\nthe run's own",
        "background score 0.90",
        "true mask",
    ]
    assert crf["headings"] == ["photograph", "CAMs,\nbackground score 0.40", "dense CRF,\nalpha 3", "true mask"]
    assert all("mIoU" in cell.caption for cell in threshold["rows"][0][2:5])
    assert {entry.name for entry in threshold["legend"]} >= {"background", "horse", "person", "not scored"}
    for table in tables:
        assert all(len(row) == len(table["headings"]) for row in table["rows"])


def test_the_last_column_is_the_cam_that_masks_are_made_of(root):
    model = load_cam_model(root / "run", device="cpu")
    layout = tour.open_run(root / "run", "", "", "")[1]
    one = subject(model, layout, HORSE)
    cams = model.cam(layout.image_path(HORSE), ["horse", "person"])
    assert all((one.cams[model.classes.index(name)] == cam).all() for name, cam in cams.items())


def test_lfca_has_the_averaged_weights_of_the_last_checkpoint(root):
    content = torch.load(last_file(root / "run"), weights_only=True)
    net, _ = diffusion_branch(root / "run", run_of(root / "run", "", "")[0], load_cam_model(root / "run", device="cpu"))
    assert all(torch.equal(value, content["ema"][name]) for name, value in net.state_dict().items())
    assert any(not torch.equal(value, content["model"][name]) for name, value in content["ema"].items())


def test_without_true_masks_nothing_is_scored(root, tables):
    data = make_toy_voc(root / "VOC2012")
    shutil.rmtree(data / "SegmentationClass")
    run(root, "--images", HORSE, "--data_path", str(data))
    for table in tables[2:]:
        assert "true mask" not in table["headings"]
        assert not any("mIoU" in cell.caption for row in table["rows"] for cell in row)


def test_a_run_without_lfca_is_shown_without_it(root, capsys):
    change_options(root, W=[1, 0, 0, 0, 0])
    out = run(root)
    assert "left out: diffusion.jpg: the run was trained without LFCA, with --W 1 0 0 0 0" in capsys.readouterr().out
    assert {"tokens.jpg", "threshold.jpg"} <= {path.name for path in out.iterdir()}
    assert not (out / "diffusion.jpg").exists()


def test_lfca_is_left_out_where_its_checkpoint_is_gone(root, capsys):
    last_file(root / "run").unlink()
    out = run(root)
    assert "last.pth is missing, and the weights of an epoch are without LFCA" in capsys.readouterr().out
    assert not (out / "diffusion.jpg").exists()


def test_lfca_is_left_out_where_the_denoiser_is_gone(root, capsys):
    change_options(root, diffusion_weights="moved.pt")
    out = run(root)
    assert "left out: diffusion.jpg: the denoiser moved.pt is missing" in capsys.readouterr().out
    assert (out / "threshold.jpg").exists()


def test_a_damaged_checkpoint_is_named(root):
    torch.save([], last_file(root / "run"))
    with pytest.raises(InputError, match=r"last\.pth holds no parameters"):
        run(root)


def test_the_crf_is_left_out_where_it_is_not_installed(root, capsys, monkeypatch):
    def missing():
        raise InputError("the CRF needs pydensecrf2")

    monkeypatch.setattr(tour, "require_crf", missing)
    out = run(root)
    assert "left out: crf.jpg: the CRF needs pydensecrf2" in capsys.readouterr().out
    assert not (out / "crf.jpg").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--images", "nobody"], "nobody"),
        (["--thresholds", "0.2", "0.2"], "--thresholds must all differ"),
        (["--alphas", "-1"], "--alphas"),
        (["--val_list", "nothing"], "nothing.txt is missing"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_a_line(root, flags, message):
    with pytest.raises(InputError, match=message):
        run(root, *flags)
    assert not (root / "run" / "tour").exists()


def test_an_experiment_that_is_not_there_is_named_at_the_command_line(tmp_path):
    result = complete(f"-m tools.tour --name run --experiments {tmp_path}", tmp_path)
    assert result.returncode == 2
    assert "there is no experiment" in result.stderr
    assert "Traceback" not in result.stderr
