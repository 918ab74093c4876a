"""Inference: which weights, which options, which files."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import evaluation
import infer_trm
import train_trm
from datasets.labels.classes import VOC_CLASSES
from models import load_cam_model, normalize_cam
from tests.helpers.small_runs import SMALL
from tools import crf as crf_tool
from tools import masks as masks_tool
from utils.cams.files import read_cam_dict
from utils.cams.inference import network_pixels
from utils.errors import InputError
from utils.images import open_rgb

BASE = "--device cpu --num_workers 0"


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, Path]:
    """A folder of experiments with one trained run, `run`, and its data set."""
    from tests.helpers.toy_data import make_toy_voc

    root = tmp_path_factory.mktemp("infer")
    data = make_toy_voc(root / "VOC2012")
    train_trm.main(f"--name run --experiments {root} --data-path {data} {SMALL} --epochs 2".split())
    return root, data


def infer(root: Path, extra: str, name: str = "run", before: str = "--overwrite") -> Path:
    infer_trm.main(f"--name {name} --experiments {root} {BASE} {before} {extra}".split())
    return root / name


def test_a_dict_holds_the_labelled_classes_at_image_size(trained):
    root, data = trained
    folder = infer(root, "--load_epo 0 --dict")
    ids = (data / "ImageSets" / "Segmentation" / "train.txt").read_text().split()
    assert sorted(p.stem for p in (folder / "dict").iterdir()) == sorted(ids)
    cams = np.load(folder / "dict" / f"{ids[1]}.npy", allow_pickle=True).item()
    width, height = Image.open(data / "JPEGImages" / f"{ids[1]}.jpg").size
    assert sorted(cams) == [11, 17]  # dog, sofa
    assert all(cam.shape == (height, width) and cam.dtype == np.float32 for cam in cams.values())
    assert all(cam.min() >= 0 and cam.max() <= 1 for cam in cams.values())


def test_the_last_epoch_is_taken_where_none_is_given(trained, capsys):
    infer(trained[0], "--dict")
    assert "001net_trm.pth" in capsys.readouterr().out


def test_another_list_can_be_inferred(trained):
    root, data = trained
    infer(root, "--dict --val_list val")
    for image_id in (data / "ImageSets" / "Segmentation" / "val.txt").read_text().split():
        assert (root / "run" / "dict" / f"{image_id}.npy").exists()


def test_pictures_are_named_after_their_class(trained):
    folder = infer(trained[0], "--vis")
    assert (folder / "vis" / "2007_000001_sofa.png").exists()
    assert (
        Image.open(folder / "vis" / "2007_000001_sofa.png").size
        == Image.open(trained[1] / "JPEGImages" / "2007_000001.jpg").size
    )


def test_crf_scores_have_a_background_and_a_folder_per_alpha(trained):
    pytest.importorskip("pydensecrf", reason="pydensecrf2 is not installed")
    folder = infer(trained[0], "--crf --alphas 4 0.5")
    for alpha in ("4", "0.5"):
        scores = np.load(folder / "crf" / alpha / "2007_000001.npy", allow_pickle=True).item()
        assert sorted(scores) == [0, 12, 18]
        np.testing.assert_allclose(sum(scores.values()), 1, atol=1e-4)


def files(folder: Path) -> dict[str, bytes]:
    """All that lies in a folder but locks and the labels that inference keeps, by its name in there."""
    paths = [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith((".lock", ".labels.json"))]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.fixture
def root(trained, tmp_path) -> Path:
    """A folder of experiments with a copy of the trained run, without results."""
    for name in ("ckpt", "options.json"):
        source = trained[0] / "run" / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, (tmp_path / "run").joinpath(name))
    return tmp_path


def test_settings_of_the_crf_are_flags(root):
    pytest.importorskip("pydensecrf", reason="pydensecrf2 is not installed")
    usual = files(infer(root, "--crf --alphas 4") / "crf")
    other = files(infer(root, "--crf --alphas 4 --iterations 1 --bilateral_srgb 3") / "crf")
    assert usual.keys() == other.keys()
    assert usual["4/2007_000001.npy"] != other["4/2007_000001.npy"]
    with pytest.raises(InputError, match=r"crf/4 was made with .*iterations 1, not 10"):
        infer(root, "--crf --alphas 4", before="")


def test_the_crf_writes_no_cams(root):
    pytest.importorskip("pydensecrf", reason="pydensecrf2 is not installed")
    infer(root, "--crf --png crf")
    assert not (root / "run" / "dict").exists()


def test_files_are_the_same_from_inference_and_from_the_commands(root):
    pytest.importorskip("pydensecrf", reason="pydensecrf2 is not installed")
    folder = infer(root, "--dict --crf --png crf --num_workers 2")
    there = {name: files(folder / name) for name in ("crf", "png")}
    assert len(there["crf"]) == 10  # of four images, and what both folders were made with
    assert len(there["png"]) == 4
    named = f"--name run --experiments {root} --num_workers 1"
    crf_tool.main(f"{named} --overwrite".split())
    masks_tool.main(f"{named} --source crf --overwrite".split())
    assert {name: files(folder / name) for name in ("crf", "png")} == there
    infer(root, "--crf --png crf", before="")  # goes on with what the commands have written


def test_masks_of_a_threshold_are_those_of_the_command(root):
    folder = infer(root, "--dict --png threshold --low 0.05 --high 0.3")
    masks = files(folder / "png")
    assert len(masks) == 4
    masks_tool.main(f"--name run --experiments {root} --num_workers 1 --low 0.05 --high 0.3 --overwrite".split())
    assert files(folder / "png") == masks


def test_masks_take_the_best_threshold_of_these_weights(root):
    with pytest.raises(InputError, match=r"evaluation\.json is missing: --threshold best needs evaluation\.py"):
        infer(root, "--png threshold")
    infer(root, "--dict")
    evaluation.main(f"--name run --experiments {root} --num_workers 1 --json {root}/cam.json".split())
    infer(root, "--png threshold")
    evaluation.main(f"--name run --experiments {root} --num_workers 1 --task png --json {root}/png.json".split())
    cam, png = (json.loads((root / f"{task}.json").read_text()) for task in ("cam", "png"))
    assert png["miou"] == [cam["best"]["miou"]]
    with pytest.raises(InputError, match=r"evaluation\.json is of CAMs with weights '\w+', not '\w+'"):
        infer(root, "--png threshold --load_epo 0")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--png crf --alphas 1 2 3", "--png crf takes one of --alphas or two, got 1 2 3"),
        ("--png threshold --threshold 2", "--threshold takes best or a number from 0 to 1, got '2'"),
        ("--png threshold --high 0.2", "--low and --high take two scores"),
        ("--png other", "--png"),
        ("--crf --alphas 4 4", "--alphas must all differ, got 4 4"),
    ],
)
def test_flags_of_masks_that_do_not_go_together_are_refused(trained, flags, message):
    with pytest.raises(InputError, match=message):
        infer(trained[0], flags)


def test_weights_with_lfca_in_them_give_the_same_cams(trained, tmp_path):
    root, _ = trained
    plain = infer(root, "--load_epo 1 --dict") / "dict" / "2007_000001.npy"
    before = plain.read_bytes()
    last = torch.load(root / "run" / "ckpt" / "last.pth", weights_only=True)["model"]
    assert any(name.startswith("LFCA0") for name in last)
    torch.save(last, tmp_path / "69.3_pascal.pth")
    infer(root, f"--dict --weights {tmp_path}/69.3_pascal.pth")
    assert plain.read_bytes() == before


def test_weights_of_another_network_are_refused_by_name(trained, tmp_path):
    torch.save({"blocks.0.norm1.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match=r"other\.pth does not fit the network: cls_token is missing"):
        infer(trained[0], f"--dict --weights {tmp_path}/other.pth")


def test_weights_that_are_not_finite_are_refused(trained, tmp_path):
    state = torch.load(trained[0] / "run" / "ckpt" / "001net_trm.pth", weights_only=True)
    state["cls_token"][0, 0, 0] = float("nan")
    torch.save(state, tmp_path / "nan.pth")
    with pytest.raises(InputError, match="cls_token is not finite"):
        infer(trained[0], f"--dict --weights {tmp_path}/nan.pth")


def test_a_missing_epoch_says_what_else_will_do(trained):
    with pytest.raises(InputError, match=r"019net_trm\.pth is missing\. .*69\.3_pascal\.pth.*--weights"):
        infer(trained[0], "--load_epo 19 --dict")


def test_nothing_to_write_is_refused(trained):
    with pytest.raises(InputError, match="--dict, --vis or --crf"):
        infer(trained[0], "--load_epo 0")


def test_another_recipe_than_the_runs_is_refused(trained):
    with pytest.raises(InputError, match=r"options\.json says --exp dig_nano, not dig_eccv24"):
        infer(trained[0], "--dict --exp dig_eccv24")


def test_a_data_set_of_other_classes_is_refused(trained, tmp_path):
    from tests.helpers.toy_data import make_toy_voc

    data = make_toy_voc(tmp_path / "other")
    (data / "classes.txt").write_text("cat\ndog\n")
    with pytest.raises(InputError, match="other classes"):
        infer(trained[0], f"--dict --data-path {data}")


def test_an_image_without_a_label_gets_an_empty_dict(trained, tmp_path):
    from tests.helpers.toy_data import make_toy_voc

    data = make_toy_voc(tmp_path / "bare")
    (data / "Annotations" / "2007_000000.xml").write_text("<annotation></annotation>")
    folder = infer(trained[0], f"--dict --data-path {data}")
    assert np.load(folder / "dict" / "2007_000000.npy", allow_pickle=True).item() == {}


def test_images_can_be_bounded_in_size(trained):
    root, _ = trained
    before = (infer(root, "--load_epo 1 --dict") / "dict" / "2007_000001.npy").read_bytes()
    after = (infer(root, "--load_epo 1 --dict --infer-size 16") / "dict" / "2007_000001.npy").read_bytes()
    assert len(before) == len(after)
    assert before != after


def test_a_cap_is_that_size_for_larger_images_alone(trained):
    root, data = trained
    read = [
        {path.name: path.read_bytes() for path in (infer(root, f"--dict {flags}") / "dict").iterdir()}
        for flags in ("--infer-cap 42", "--infer-size 42", "")
    ]
    capped, resized, whole = read
    sizes = {name: Image.open((data / "JPEGImages" / name).with_suffix(".jpg")).size for name in whole}
    smaller = [name for name, size in sizes.items() if min(size) <= 42]
    assert 0 < len(smaller) < len(whole)
    for name in whole:
        assert capped[name] == (whole if name in smaller else resized)[name]


def test_an_image_smaller_than_a_patch_is_refused_by_name(trained):
    with pytest.raises(InputError, match=r"2007_000000 is \d+ x 4 pixels, smaller than one patch of 8"):
        infer(trained[0], "--dict --infer-size 4")


@pytest.mark.parametrize(
    ("command", "line"),
    [
        (infer_trm.main, "--name ruin --dict"),
        (evaluation.main, "--name ruin"),
        (crf_tool.main, "--name ruin"),
        (masks_tool.main, "--name ruin --threshold 0.3"),
    ],
)
def test_a_misspelt_experiment_is_told_which_was_meant(trained, command, line):
    if command is crf_tool.main:
        pytest.importorskip("pydensecrf")
    with pytest.raises(InputError, match=r"^there is no experiment \S+/ruin \(did you mean 'run'\?\)$"):
        command(f"{line} --experiments {trained[0]}".split())


def test_an_epoch_that_is_not_there_is_told_with_the_nearest(trained):
    with pytest.raises(
        InputError, match=r"007net_trm\.pth is missing\. Train first, or take one of 2 epochs there, 1 is nearest"
    ):
        infer(trained[0], "--dict --load_epo 7")


def test_compiling_without_a_compiler_is_refused_at_the_start(trained, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler -O3")
    with pytest.raises(InputError, match=r"^--compile needs a compiler, and no-such-compiler -O3 is not found: install it"):
        infer(trained[0], "--dict --compile")


def test_what_is_there_is_not_written_again_and_what_is_not_is(trained):
    root, _ = trained
    folder = infer(root, "--dict --vis") / "dict"
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    first, *rest = sorted(before)
    content = first.read_bytes()
    first.unlink()
    infer(root, "--dict --vis", before="")
    assert first.read_bytes() == content
    assert [path.stat().st_mtime_ns for path in rest] == [before[path] for path in rest]


def test_files_of_images_whose_labels_have_changed_are_made_anew(trained, tmp_path, capsys):
    shutil.copytree(trained[0], tmp_path, dirs_exist_ok=True)
    annotations = tmp_path / "VOC2012" / "Annotations"
    flags = f"--dict --vis --png threshold --threshold 0.3 --val_list train --data-path {tmp_path}/VOC2012"
    run = infer(tmp_path, flags)
    kept = (run / "dict" / "2007_000002.npy").stat().st_mtime_ns
    first, second = (read_cam_dict(run / "dict" / f"2007_00000{i}.npy") for i in (0, 1))
    assert sorted(first) != sorted(second)
    shutil.copy(annotations / "2007_000000.xml", annotations / "2007_000001.xml")
    infer(tmp_path, flags, before="")
    assert "images have other labels now" in capsys.readouterr().out
    assert sorted(read_cam_dict(run / "dict" / "2007_000001.npy")) == sorted(first)
    assert {path.stem for path in (run / "vis").glob("2007_000001_*")} == {f"2007_000001_{VOC_CLASSES[c]}" for c in first}
    assert set(np.unique(Image.open(run / "png" / "2007_000001.png"))) <= {0, *(c + 1 for c in first)}
    assert (run / "dict" / "2007_000002.npy").stat().st_mtime_ns == kept


def test_an_image_is_finished_only_with_all_its_files(trained, capsys):
    root, _ = trained
    folder = infer(root, "--dict --vis")
    (folder / "vis" / "2007_000001_sofa.png").unlink()
    capsys.readouterr()
    infer(root, "--dict --vis", before="")
    assert "4 images of train, 3 of them there already" in capsys.readouterr().out
    assert (folder / "vis" / "2007_000001_sofa.png").exists()


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        ("--load_epo 0", "weights '.*', not '.*'"),
        ("--infer-size 32", "infer_size 0, not 32"),
        ("--infer-cap 32", "infer_cap None, not 32"),
    ],
)
def test_cams_of_other_weights_or_options_are_not_mixed(trained, other, difference):
    root, _ = trained
    folder = infer(root, "--dict") / "dict"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(InputError, match=f"run/dict was made with {difference}. --overwrite replaces it"):
        infer(root, f"--dict {other}", before="")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_bad_weights_do_not_cost_what_is_there(trained, tmp_path):
    root, _ = trained
    folder = infer(root, "--dict") / "dict"
    (tmp_path / "bad.pth").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"bad\.pth is no PyTorch checkpoint"):
        infer(root, f"--dict --weights {tmp_path}/bad.pth")
    assert len(list(folder.iterdir())) == 4


def test_patch_size_cams_score_as_full_size_ones(trained, capsys):
    root, _ = trained
    scores = []
    for size in ("full", "patch"):
        infer(root, f"--dict --cam_size {size}", before="--overwrite")
        evaluation.main(f"--name run --experiments {root} --num_workers 1 --json {root}/{size}.json".split())
        scores.append(json.loads((root / f"{size}.json").read_text())["miou"])
    np.testing.assert_allclose(*scores, atol=1e-3)
    assert "size" in np.load(root / "run" / "dict" / "2007_000001.npy", allow_pickle=True).item()


def test_pictures_and_masks_are_the_same_from_patch_size_cams(trained):
    root, _ = trained
    files = []
    for size in ("full", "patch"):
        folder = infer(root, f"--vis --png threshold --threshold 0.3 --cam_size {size}")
        files.append([np.asarray(Image.open(path)) for name in ("vis", "png") for path in sorted((folder / name).iterdir())])
    for full, patch in zip(*files, strict=True):
        assert (full != patch).mean() < 1e-3  # of rounding


def test_patch_size_cams_have_one_scale(trained):
    with pytest.raises(InputError, match=r"--cam-size patch takes one of --scales, got 0\.5 1: their grids differ"):
        infer(trained[0], "--dict --cam_size patch --scales 0.5 1")


def cams_of(folder: Path) -> dict[str, dict[int, np.ndarray]]:
    return {path.stem: read_cam_dict(path) for path in sorted((folder / "dict").iterdir())}


def assert_close(found: dict[str, dict[int, np.ndarray]], expected: dict[str, dict[int, np.ndarray]], atol: float) -> None:
    assert found.keys() == expected.keys()
    for image_id, cams in expected.items():
        assert found[image_id].keys() == cams.keys()
        for c, cam in cams.items():
            np.testing.assert_allclose(found[image_id][c], cam, atol=atol)


def test_images_of_one_size_can_go_through_together(trained):
    one = cams_of(infer(trained[0], "--dict"))
    assert_close(cams_of(infer(trained[0], "--dict --batch_size 3")), one, atol=1e-4)


def test_sizes_that_are_equal_only_when_halved_go_through_apart(root, tmp_path):
    from tests.helpers.toy_data import make_toy_voc

    data = make_toy_voc(tmp_path / "mixed")
    for i, height in enumerate((33, 32, 33, 32)):
        noise = np.random.default_rng(i).integers(0, 256, (height, 48, 3), dtype=np.uint8)
        Image.fromarray(noise).save(data / "JPEGImages" / f"2007_{i:06d}.jpg")
    flags = f"--dict --data-path {data} --scales 0.5 1 1.5"
    one = cams_of(infer(root, flags))
    assert_close(cams_of(infer(root, f"{flags} --batch_size 4")), one, atol=1e-4)


def test_the_cams_of_several_scales_are_summed_and_then_normalised(trained):
    root, data = trained
    found = cams_of(infer(root, "--dict --scales 0.5 1.5"))
    model = load_cam_model(root / "run", device="cpu")
    image = open_rgb(data / "JPEGImages" / "2007_000001.jpg")
    for c, cam in found["2007_000001"].items():
        total = 0
        for scale in (0.5, 1.5):
            pixels = network_pixels(image, 0, (scale,))[0][None].float() / 255
            maps = model.net.predict([pixels]).maps[0][:, c, None]
            total = total + torch.nn.functional.interpolate(maps, cam.shape, mode="bilinear")
        np.testing.assert_allclose(cam, normalize_cam(total)[0, 0], atol=1e-5)


def test_maps_that_are_spread_again_are_others_and_do_not_mix_with_those_of_before(root):
    once = cams_of(infer(root, "--dict"))
    with pytest.raises(InputError, match=r"dict was made with .*spreads"):
        infer(root, "--dict --spreads 2", before="")
    twice = cams_of(infer(root, "--dict --spreads 2 --overwrite", before=""))
    assert once.keys() == twice.keys()
    assert any(not np.array_equal(once[key][c], twice[key][c]) for key in once for c in once[key])


def test_the_same_scales_go_on_where_they_were_stopped(trained, capsys):
    folder = infer(trained[0], "--dict --scales 0.5 1.5")
    (folder / "dict" / "2007_000001.npy").unlink()
    infer(trained[0], "--dict --scales 0.5 1.5", before="")
    assert (folder / "dict" / "2007_000001.npy").exists()
    assert "of them there already" in capsys.readouterr().out


def test_an_image_too_small_at_a_scale_is_named(trained):
    with pytest.raises(InputError, match=r"2007_\d+ is \d+ x \d pixels, smaller than one patch of 8"):
        infer(trained[0], "--dict --scales 0.1")


def test_bfloat16_gives_nearly_the_same_cams_and_is_not_mixed_with_others(trained):
    root, _ = trained
    exact = cams_of(infer(root, "--dict"))
    with pytest.raises(InputError, match="amp"):
        infer(root, "--dict --amp bf16", before="")
    found = cams_of(infer(root, "--dict --amp bf16"))
    differences = [np.abs(found[i][c] - cam).mean() for i, cams in exact.items() for c, cam in cams.items()]
    assert 0 < np.mean(differences) < 0.03
