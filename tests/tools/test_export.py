"""Folders to share: loaded back to the bit, never half or mixed, with a card that the Hub reads."""

import json
import shutil
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
from huggingface_hub import HfApi, ModelCard
from PIL import Image

import predict
from models import CamModel, SegModel, build_dig, load_cam_model, load_seg_model
from tests.helpers import ROOT
from tests.helpers.folders import names_in
from tests.helpers.trained import cam_experiment, seg_experiment
from tools import export
from utils.errors import InputError
from utils.experiment.exported import CONFIG_FILE, WEIGHTS_FILE
from utils.experiment.folder import add_score, epoch_file
from utils.records import digest_of
from utils.scoring.best_threshold import write_best

FILES = {"config.json", "model.safetensors", "README.md"}


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (45, 61, 3), np.uint8)


def run_export(root: Path, name: str = "run", flags: str = "") -> Path:
    export.main(f"--name {name} --experiments {root} --out {root}/export {flags}".split())
    return root / "export" / name


def change_config(folder: Path, **values: object) -> None:
    content = json.loads((folder / CONFIG_FILE).read_text())
    (folder / CONFIG_FILE).write_text(json.dumps(content | values))


def same_cams(one: CamModel, other: CamModel, image: np.ndarray) -> bool:
    ours, theirs = one.found(image, 0), other.found(image, 0)
    return ours[1] == theirs[1] and all(np.array_equal(ours[0][name], theirs[0][name]) for name in theirs[0])


@pytest.mark.parametrize(
    "options",
    [
        {"infer_size": 48, "infer_scales": (1.0, 1.5), "white_level": 255.0, "cam": "spread", "spreads": 2},
        {"stem": "mobilenetv3_small_050", "patch_size": 16, "infer_cap": 40},
        {"backbone": "vit_small_patch14_reg4_dinov2", "input_size": 56, "backbone_options": ("depth=2", "embed_dim=48")},
    ],
    ids=["deit", "stem", "dinov2"],
)
def test_an_exported_cam_network_gives_the_bits_of_the_experiment(tmp_path, image, options):
    experiment = cam_experiment(tmp_path, **options)
    folder = run_export(tmp_path)
    assert names_in(folder) == FILES
    model = load_cam_model(folder, device="cpu")
    assert model.weights == folder / WEIGHTS_FILE
    assert same_cams(model, load_cam_model(experiment, device="cpu"), image)


def test_an_export_from_before_maps_were_spread_several_times_is_read(tmp_path, image):
    experiment = cam_experiment(tmp_path)
    folder = run_export(tmp_path)
    content = json.loads((folder / CONFIG_FILE).read_text())
    del content["options"]["spreads"]
    (folder / CONFIG_FILE).write_text(json.dumps(content))
    assert same_cams(load_cam_model(folder, device="cpu"), load_cam_model(experiment, device="cpu"), image)


@pytest.mark.parametrize(("scored", "background"), [(0.71, 0.71), (None, 0.4)])
def test_masks_of_an_exported_network_have_the_background_score_of_the_experiment(
    tmp_path, image, scored, background, capsys
):
    experiment = cam_experiment(tmp_path)
    if scored is not None:
        write_best(experiment / "dict", scored, 50.0, "val", tmp_path, {})
    folder = run_export(tmp_path)
    model = load_cam_model(folder, device="cpu")
    assert model.background == load_cam_model(experiment, device="cpu").background == background
    model.save_pretrained(tmp_path / "saved")
    assert CamModel.from_pretrained(str(tmp_path / "saved"), device="cpu").background == background
    Image.fromarray(image).save(tmp_path / "picture.png")
    predict.main(
        f"{tmp_path}/picture.png --name run --experiments {folder.parent} --device cpu --out {tmp_path}/out".split()
    )
    assert f"background score {background:g} (that of {folder / CONFIG_FILE})" in capsys.readouterr().out


def test_an_export_of_before_the_background_score_has_the_usual_one(tmp_path):
    cam_experiment(tmp_path)
    folder = run_export(tmp_path)
    content = json.loads((folder / CONFIG_FILE).read_text())
    del content["background"]
    (folder / CONFIG_FILE).write_text(json.dumps(content))
    assert load_cam_model(folder, device="cpu").background == 0.4


def test_an_exported_segmentation_network_gives_the_bits_of_the_experiment(tmp_path, image):
    experiment = seg_experiment(tmp_path, infer_size=64)
    folder = run_export(tmp_path, "run_seg")
    assert names_in(folder) == FILES
    models = [load_seg_model(place, device="cpu") for place in (folder, experiment)]
    ours, theirs = (model.probabilities(image, (1, 1.5), mirror=True) for model in models)
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)


def test_parameters_that_only_training_needs_stay_behind(tmp_path):
    cam_experiment(tmp_path)
    sizes = {"image_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2}
    net = build_dig(20, feature_steps=1, feature_channels=8, **sizes)
    torch.save({"model": net.state_dict()}, tmp_path / "whole.pth")
    folder = run_export(tmp_path, flags=f"--weights {tmp_path}/whole.pth")
    state = load_cam_model(folder, device="cpu").net.state_dict()
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in state.items())


def test_predict_takes_an_exported_folder(tmp_path, image):
    cam_experiment(tmp_path)
    folder = run_export(tmp_path)
    picture = tmp_path / "picture.png"
    Image.fromarray(image).save(picture)
    place = f"--name run --experiments {folder.parent} --device cpu --out {tmp_path}/out --labels dog"
    predict.main(f"{picture} {place}".split())
    assert "picture.png" in names_in(tmp_path / "out")


@pytest.mark.parametrize("kind", ["cam", "seg"])
def test_torch_hub_loads_an_exported_folder(tmp_path, image, kind):
    make, entry = (cam_experiment, "cam_model") if kind == "cam" else (seg_experiment, "seg_model")
    make(tmp_path, "run")
    folder = run_export(tmp_path)
    model = torch.hub.load(str(ROOT), entry, str(folder), source="local", device="cpu")
    assert model.classes[:2] == ("aeroplane", "bicycle")
    assert isinstance(model, CamModel if kind == "cam" else SegModel)


def test_the_card_says_what_is_known(tmp_path):
    experiment = cam_experiment(tmp_path, data_path="data/own", val_list="train")
    add_score(experiment, 0, {"miou": 43.217, "threshold": 0.4, "map": 81.0, "f1": 70.5})
    weights = digest_of(epoch_file(experiment, 0), "")
    write_best(experiment / "dict", 0.38, 46.5, "train_aug", Path("data/own"), {"weights": weights})
    card = ModelCard.load(run_export(tmp_path, flags="--license cc-by-nc-4.0") / "README.md")
    assert card.data.license == "cc-by-nc-4.0"
    assert card.data.pipeline_tag == "image-segmentation"
    assert [result.metric_value for result in card.data.eval_results] == [43.22, 81.0, 70.5, 46.5]
    for line in (
        "| data | own |",
        "| `--exp` | dig_eccv24 |",
        "| CAMs at 0.38 | train_aug | mIoU | 46.50 |",
        "aeroplane, bi",
    ):
        assert line in card.content
    assert str(tmp_path) not in card.content


def test_an_export_made_again_keeps_its_licence_until_another_is_named(tmp_path):
    cam_experiment(tmp_path)
    for flags, licence in (
        ("", "unknown"),
        ("--license cc-by-nc-4.0", "cc-by-nc-4.0"),
        ("", "cc-by-nc-4.0"),
        ("--overwrite", "unknown"),
    ):
        assert ModelCard.load(run_export(tmp_path, flags=flags) / "README.md").data.license == licence
    (tmp_path / "export" / "run" / "README.md").write_bytes(b"\xff no card")
    assert ModelCard.load(run_export(tmp_path) / "README.md").data.license == "unknown"


def test_scores_of_other_weights_stay_out_of_the_card(tmp_path):
    experiment = cam_experiment(tmp_path)
    add_score(experiment, 1, {"miou": 50.0, "threshold": 0.4})
    write_best(experiment / "dict", 0.38, 46.5, "train", Path("data/own"), {"weights": "of_another_epoch"})
    assert "None are recorded." in (run_export(tmp_path) / "README.md").read_text()


def test_an_export_of_other_weights_is_not_overwritten(tmp_path):
    experiment = cam_experiment(tmp_path)
    folder = run_export(tmp_path)
    run_export(tmp_path, flags="--license mit")  # the same weights: the card is written anew
    before = (folder / WEIGHTS_FILE).read_bytes()
    state = {name: value + 1 for name, value in torch.load(epoch_file(experiment, 0), weights_only=True).items()}
    torch.save(state, epoch_file(experiment, 1))
    with pytest.raises(InputError, match=r"export/run was made with weights .* --overwrite replaces it"):
        run_export(tmp_path)
    assert (folder / WEIGHTS_FILE).read_bytes() == before
    run_export(tmp_path, flags="--overwrite")
    assert (folder / WEIGHTS_FILE).read_bytes() != before


def test_an_export_that_was_killed_does_not_load(tmp_path, monkeypatch):
    cam_experiment(tmp_path)
    folder = run_export(tmp_path)
    monkeypatch.setattr("models.trained.hub.whole_file", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        run_export(tmp_path)
    with pytest.raises(InputError, match=r"holds no <epoch>net_trm\.pth"):
        load_cam_model(folder, device="cpu")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "hat"}, "of a network of the kind 'hat', not one of cam, seg"),
        ({"kind": []}, "of a network of the kind"),
        ({"classes": []}, "names no classes"),
        ({"classes": ["dog"]}, "does not fit the network"),
        ({"options": {}}, "must hold the options input_size"),
        ({"normalization": {"mean": [0, 0, 0], "std": [1, 0, 1]}}, "a standard deviation above 0"),
        ({"background": 1.5}, "background score of 1.5"),
        ({"background": "high"}, r"config\.json is no configuration"),
        ({"normalization": 3}, r"config\.json is no configuration"),
    ],
)
def test_a_damaged_configuration_is_told(tmp_path, values, message):
    cam_experiment(tmp_path)
    folder = run_export(tmp_path)
    change_config(folder, **values)
    with pytest.raises(InputError, match=message):
        load_cam_model(folder, device="cpu")


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("depth", 10**30, "has a depth of 1000.*, which no network has"),
        ("embed_dim", "x", r"config\.json cannot be used: --embed-dim takes int, got 'x'"),
        ("backbone", "hf-hub:someone/something", "is no model of timm"),
    ],
)
def test_an_option_that_no_run_can_have_is_told(tmp_path, option, value, message):
    cam_experiment(tmp_path)
    folder = run_export(tmp_path)
    options = json.loads((folder / CONFIG_FILE).read_text())["options"]
    change_config(folder, options=options | {option: value})
    with pytest.raises(InputError, match=message):
        load_cam_model(folder, device="cpu")


def test_kinds_and_epochs_of_exported_folders_are_told_apart(tmp_path):
    cam_experiment(tmp_path)
    folder = run_export(tmp_path)
    with pytest.raises(InputError, match=r"holds no run of train_seg\.py"):
        load_seg_model(folder, device="cpu")
    with pytest.raises(InputError, match="which has one set of weights and no epoch 3"):
        load_cam_model(folder, 3, device="cpu")


def test_what_cannot_be_exported_is_told(tmp_path):
    with pytest.raises(InputError, match="there is no experiment"):
        run_export(tmp_path)
    with pytest.raises(InputError, match="--license must be a licence as the Hub spells it"):
        run_export(tmp_path, flags="--license My.License!")
    cam_experiment(tmp_path)
    model = load_cam_model(tmp_path / "run", device="cpu")
    by_hand = CamModel(model.net, model.classes, 0, model.precision, model.weights)
    with pytest.raises(InputError, match="not loaded from an experiment or an exported folder cannot be exported"):
        by_hand.save_pretrained(tmp_path / "by_hand")


@pytest.fixture
def offline(monkeypatch) -> None:
    """The Hub cannot be reached."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("kind", ["cam", "seg"])
def test_a_saved_model_is_loaded_offline_to_the_bit(tmp_path, image, kind):
    if kind == "cam":
        model = load_cam_model(cam_experiment(tmp_path, infer_size=40), device="cpu")
        model.save_pretrained(tmp_path / "saved")
        assert same_cams(CamModel.from_pretrained(tmp_path / "saved", device="cpu"), model, image)
    else:
        seg = load_seg_model(seg_experiment(tmp_path), device="cpu")
        seg.save_pretrained(tmp_path / "saved")
        np.testing.assert_array_equal(
            SegModel.from_pretrained(tmp_path / "saved", device="cpu").mask(image), seg.mask(image)
        )
    assert names_in(tmp_path / "saved") == FILES


@pytest.mark.usefixtures("offline")
def test_a_model_is_loaded_from_the_hubs_cache(tmp_path, image):
    model = load_cam_model(cam_experiment(tmp_path), device="cpu")
    commit = "0" * 40
    cached = tmp_path / "cache" / "models--user--name"
    model.save_pretrained(cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit)
    again = CamModel.from_pretrained("user/name", cache_dir=tmp_path / "cache", device="cpu")
    assert same_cams(again, model, image)


def test_what_is_pushed_is_the_exported_folder_with_its_card(tmp_path, monkeypatch):
    """With a stub of the Hub's interface, so that nothing leaves the machine."""
    experiment = cam_experiment(tmp_path)
    folder = run_export(tmp_path, flags="--license mit")
    shutil.rmtree(experiment)
    pushed = {}

    def upload(self, *, repo_id, folder_path, **_):
        pushed[repo_id] = {path.name: path.read_bytes() for path in Path(folder_path).iterdir()}
        return "url"

    monkeypatch.setattr(
        HfApi, "create_repo", lambda self, repo_id, **_: huggingface_hub.RepoUrl(f"https://huggingface.co/{repo_id}")
    )
    monkeypatch.setattr(HfApi, "upload_folder", upload)
    assert load_cam_model(folder, device="cpu").push_to_hub("user/name") == "url"
    assert pushed == {"user/name": {path.name: path.read_bytes() for path in folder.iterdir()}}
