"""A small transformer of each family through the scripts, and where its weights come from."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import safetensors.torch
import timm
import torch

import evaluation
import infer_trm
import predict
import train_trm
from models import load_cam_model
from models.backbones import FAMILIES
from tests.helpers.small_runs import SMALL
from tests.helpers.stopped import stop_in_second_epoch
from tests.helpers.toy_data import make_toy_voc
from tests.helpers.weights import equal, transformer_weights
from utils.errors import InputError, run_script
from utils.options.training import TrainOptions

SIZES = {"depth": 2, "embed_dim": 32, "num_heads": 2}
SMALL_BACKBONE = f"{SMALL} --input_size 112 --backbone_options depth=2 embed_dim=32 num_heads=2"
BASE = "--device cpu --num_workers 0"


class Run(NamedTuple):
    """A run of two epochs, its data, and the flags beside its name."""

    folder: Path
    data: Path
    flags: str


def train(root: Path, name: str, flags: str) -> Path:
    train_trm.main(f"--name {name} --experiments {root} {flags}".split())
    return root / name


@pytest.fixture(scope="module", params=[family.name for family in FAMILIES])
def run(request, tmp_path_factory) -> Run:
    root = tmp_path_factory.mktemp("backbone")
    family = next(family for family in FAMILIES if family.name == request.param)
    data = make_toy_voc(root / "VOC2012", num_images=3)
    flags = f"--data-path {data} {SMALL_BACKBONE} --backbone {family.example} --epochs 2 --start_epoch 0"
    return Run(train(root, "run", flags), data, flags)


def test_a_run_that_was_stopped_ends_with_the_same_bits(run, monkeypatch):
    stop_in_second_epoch(monkeypatch, lambda: train(run.folder.parent, "cut", run.flags))
    cut = train(run.folder.parent, "cut", "--resume")  # the run knows its own backbone
    assert equal(transformer_weights(cut, 1), transformer_weights(run.folder, 1))
    assert not equal(transformer_weights(cut, 1), transformer_weights(cut, 0))


def test_inference_python_predict_and_evaluation_need_no_flag_for_it(run, tmp_path):
    backbone = json.loads((run.folder / "options.json").read_text())["options"]["backbone"]
    infer_trm.main(f"--name run --experiments {run.folder.parent} --dict --overwrite {BASE}".split())
    model = load_cam_model(run.folder, device="cpu")
    assert model.net.backbone == backbone
    dicts = sorted((run.folder / "dict").glob("*.npy"))
    for path in dicts:
        written = np.load(path, allow_pickle=True).item()
        cams = model.cam(run.data / "JPEGImages" / f"{path.stem}.jpg", [model.classes[c] for c in written])
        assert all(np.array_equal(cams[model.classes[c]], cam) for c, cam in written.items())
    assert len(dicts) == 2

    image = run.data / "JPEGImages" / f"{dicts[1].stem}.jpg"
    out = f"--labels dog --out {tmp_path}/out --device cpu"
    predict.main(f"{image} --name run --experiments {run.folder.parent} {out}".split())
    assert list((tmp_path / "out").rglob("*.png"))

    result = tmp_path / "scores.json"
    scored = f"--name run --experiments {run.folder.parent} --task cam --dict_dir dict --json {result} --num_workers 0"
    evaluation.main(scored.split())
    assert 0 <= json.loads(result.read_text())["best"]["miou"] <= 100


PLAIN = "--backbone vit_small_patch16_224"
STILL = "--epochs 1 --warmup-epochs 0 --lr 0 --min-lr 0 --weight-decay 0"


@pytest.mark.parametrize("kind", ["pth", "safetensors", "wrapped"])
def test_a_file_starts_the_backbone(tmp_path, toy_voc, kind):
    torch.manual_seed(0)
    name = "vit_small_patch14_dinov2"
    state = {k: torch.randn_like(v) for k, v in timm.create_model(name, img_size=518, **SIZES).state_dict().items()}
    file = tmp_path / ("weights.safetensors" if kind == "safetensors" else "weights.pth")
    if kind == "safetensors":
        safetensors.torch.save_file(state, file)
    else:
        torch.save({"state_dict": state} if kind == "wrapped" else state, file)
    flags = f"--data-path {toy_voc} {SMALL_BACKBONE} {STILL} --backbone {name} --vit_weights {file}"
    started = transformer_weights(train(tmp_path, "run", flags), 0)
    assert torch.equal(started["blocks.1.mlp.fc1.weight"], state["blocks.1.mlp.fc1.weight"])
    assert torch.equal(started["cls_token"][:, 7], state["cls_token"][:, 0])
    assert started["pos_embed"].shape == (1, 20 + 8 * 8, 32)
    log = (tmp_path / "run" / "log.txt").read_text()
    assert f"transformer: {name} of 2 blocks, width 32, 8 x 8 patches of 14 pixels, {file}" in log


def test_weights_of_another_backbone_are_refused_by_name(tmp_path, toy_voc):
    torch.save(timm.create_model("vit_small_patch16_dinov3", **SIZES).state_dict(), tmp_path / "other.pth")
    flags = f"--data-path {toy_voc} {SMALL_BACKBONE} --backbone vit_small_patch14_dinov2 --vit_weights {tmp_path}/other.pth"
    with pytest.raises(
        InputError, match=r"other\.pth does not fit the network: .*pos_embed is missing; reg_token is not known"
    ):
        train(tmp_path, "run", flags)


def test_a_damaged_safetensors_file_is_refused(tmp_path, toy_voc):
    (tmp_path / "bad.safetensors").write_bytes(b"not a header at all")
    with pytest.raises(InputError, match=r"bad\.safetensors is no safetensors file or is damaged"):
        train(tmp_path, "run", f"--data-path {toy_voc} {SMALL_BACKBONE} {PLAIN} --vit_weights {tmp_path}/bad.safetensors")


def test_timm_provides_what_no_file_is_named_for(tmp_path, toy_voc, monkeypatch):
    asked = []

    def create_model(name, pretrained=False, **options):
        if not pretrained:
            return create(name, **options)
        asked.append(name)
        raise OSError("no network")

    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", create_model)
    flags = f"--data-path {toy_voc} {SMALL_BACKBONE} --backbone vit_small_patch14_dinov2 --vit_weights timm"
    with pytest.raises(InputError, match=r"timm could not provide vit_small_patch14_dinov2: no network\. .*\.safetensors"):
        train(tmp_path, "run", flags)
    assert asked == ["vit_small_patch14_dinov2"]
    assert TrainOptions(name="x", backbone="vit_small_patch14_dinov2").transformer_weights == "timm"
    assert TrainOptions(name="x", backbone="vit_small_patch14_dinov2", vit_weights="a.pth").transformer_weights == "a.pth"
    assert TrainOptions(name="x").transformer_weights == "./pretrained/deit_small_imagenet.pth"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--backbone resnet50", "--backbone resnet50 is a ResNet; plain vision transformers work"),
        ("--backbone vit_small_patch14_dinov2 --input_size 64", "--input-size 64 must be a multiple of 14"),
        ("--backbone vit_small_patch16_224 --backbone_options depth", "--backbone-options takes NAME=VALUE"),
        ("--backbone vit_small_patch16_224 --backbone_options depth=2 depth=3", "each name once, got 'depth=3'"),
        ("--backbone_options depth=2", "--backbone-options needs --backbone"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_with_code_2(tmp_path, toy_voc, capsys, monkeypatch, flags, message):
    line = f"train_trm.py --name run --experiments {tmp_path} --data-path {toy_voc} {SMALL} {flags}"
    monkeypatch.setattr("sys.argv", line.split())
    with pytest.raises(SystemExit) as exit_:
        run_script(train_trm.main)
    assert exit_.value.code == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert "\n" not in error


def test_a_backbone_carries_a_stem(tmp_path, toy_voc):
    flags = "--stem test_efficientnet --stem_weights none --backbone vit_small_patch16_dinov3 --input_size 32"
    folder = train(tmp_path, "run", f"--data-path {toy_voc} {SMALL_BACKBONE} {flags} --epochs 1 --vit_weights mimetic")
    net = load_cam_model(folder, device="cpu").net
    assert (net.patch_embed.name, net.num_registers) == ("test_efficientnet", 4)
