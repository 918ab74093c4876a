"""The convolutional trunk in the place of the patch embedding."""

import importlib.util

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from models import ConvStem, build_dig, imagenet_normalize, load_stem
from models.stem import PACKAGED, classifier_state, packaged_file
from tests.helpers.shared import VOC_PHOTOS, needs_voc_photos
from utils.errors import InputError
from utils.training.checkpoint import load_file

LITE0 = "tf_efficientnet_lite0"
SMALL = {"image_size": 64, "embed_dim": 16, "depth": 2, "num_heads": 2, "lfca": False, "stem": "efficientnet_lite0"}
needs_weights = pytest.mark.skipif(
    importlib.util.find_spec(PACKAGED[LITE0][0]) is None, reason="requirements-photos.txt is not installed"
)
SHOWN = {
    "2007_000033": "airliner",
    "2007_001288": "airliner",
    "2007_000042": "electric locomotive",
    "2007_000187": "monitor",
    "2007_001321": "sports car",
    "2007_001774": "Egyptian cat",
    "2007_002445": "Siamese cat",
    "2007_002260": "moped",
    "2007_002412": "macaw",
    "2007_003194": "Afghan hound",
}
"""What ten photographs of VOC show, by ImageNet's first name for it; VOC calls them aeroplane, train, tvmonitor, car, …"""


@needs_weights
@needs_voc_photos
@torch.no_grad()
def test_the_packaged_weights_know_what_photographs_show():
    path = packaged_file(LITE0)
    classifier = timm.create_model(LITE0).eval()
    classifier.load_state_dict(classifier_state(LITE0, load_file(path), path))
    info, found = timm.data.ImageNetInfo(), {}
    for image_id in SHOWN:
        image = Image.open(VOC_PHOTOS / "JPEGImages" / f"{image_id}.jpg").convert("RGB")
        scale = 256 / min(image.size)
        image = np.array(image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC))
        y, x = (image.shape[0] - 224) // 2, (image.shape[1] - 224) // 2
        pixels = torch.from_numpy(image[y : y + 224, x : x + 224]).permute(2, 0, 1)[None] / 127.5 - 1
        found[image_id] = info.index_to_description(int(classifier(pixels)[0].argmax())).split(",")[0]
    assert found == SHOWN


@needs_weights
@torch.no_grad()
def test_features_are_those_of_timms_network():
    stem = ConvStem("efficientnet_lite0", 16, 8)
    load_stem(stem, "auto")
    path = packaged_file(LITE0)
    theirs = timm.create_model(LITE0, output_stride=16).eval()
    theirs.load_state_dict(classifier_state(LITE0, load_file(path), path))
    image = torch.randn(1, 3, 96, 64)
    expected = theirs.blocks(theirs.bn1(theirs.conv_stem(image)))
    torch.testing.assert_close(stem.trunk(image)[-1], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["test_efficientnet", "test_resnet", "test_convnext", "ghostnet_050"])
def test_timms_parameters_become_the_trunks(name, tmp_path):
    torch.manual_seed(0)
    classifier = timm.create_model(name)
    torch.save(classifier.state_dict(), tmp_path / "weights.pth")
    stem = ConvStem(name, 16, 8)
    load_stem(stem, str(tmp_path / "weights.pth"))
    largest = {parameter.max().item() for parameter in classifier.parameters()}
    assert {parameter.max().item() for parameter in stem.trunk.parameters()} <= largest


@pytest.mark.parametrize(
    ("name", "levels", "channels"),
    [("efficientnet_lite0", (3, 4), 112 + 320), ("efficientnet_lite0", (2, 3), 40 + 112), ("test_resnet", (), 96)],
)
def test_stages_of_any_trunk_are_projected_at_the_stride_asked_for(name, levels, channels):
    stem = ConvStem(name, 16, 8, levels)
    assert stem.proj.in_channels == channels
    assert stem(torch.randn(1, 3, 64, 96)).shape == (1, 8, 4, 6)


@torch.no_grad()
def test_whole_patches_cover_an_image_of_any_size_and_its_mirror():
    stem = ConvStem("test_resnet", 16, 8).eval()
    image = torch.randn(1, 3, 70, 91)
    assert stem(image).shape[-2:] == (4, 6)
    assert stem(image[..., :5, :5]).shape[-2:] == (1, 1)


def test_normalisation_is_the_stems():
    image01 = torch.rand(2, 3, 4, 4)
    torch.testing.assert_close(build_dig(2, **SMALL).normalize(image01), image01 * 2 - 1)
    torch.testing.assert_close(
        build_dig(2, **SMALL | {"stem": "ghostnet_050"}).normalize(image01), imagenet_normalize(image01)
    )
    assert torch.equal(build_dig(2, **SMALL | {"stem": ""}).normalize(image01), imagenet_normalize(image01))


def test_prediction_normalises_as_the_stem_asks():
    net = build_dig(2, **SMALL).eval()
    seen = []
    net.patch_embed.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    net.predict([torch.ones(1, 3, 64, 64)])
    assert seen[0].unique().tolist() == [1.0]


def test_batch_statistics_stay_as_they_were():
    net = build_dig(2, **SMALL).train()
    before = {name: value.clone() for name, value in net.patch_embed.trunk.named_buffers()}
    net(torch.randn(2, 3, 64, 64)).cls_logits.sum().backward()
    assert before
    assert all(torch.equal(value, before[name]) for name, value in net.patch_embed.trunk.named_buffers())


@pytest.mark.parametrize("frozen", [True, False])
def test_a_trunk_learns_unless_it_is_frozen(frozen):
    net = build_dig(2, **SMALL).train()
    if frozen:
        net.patch_embed.freeze()
    output = net(torch.randn(2, 3, 64, 64))
    (output.patch_logits.sum() + output.cls_logits.sum()).backward()
    gradients = [parameter.grad for parameter in net.patch_embed.trunk.parameters()]
    assert all((gradient is None) == frozen for gradient in gradients)
    assert net.patch_embed.proj.weight.grad.any()


@pytest.mark.parametrize(
    ("name", "stages", "learns"),
    [
        ("test_efficientnet", 2, "blocks.2.0.conv_exp.weight"),
        ("resnet18", 1, "layer1.0.conv1.weight"),
        ("test_convnext", 2, "stages_2.downsample.0.weight"),
    ],
)
def test_the_first_stages_can_be_frozen_alone(name, stages, learns):
    stem = ConvStem(name, 16, 8)
    stem.freeze(stages)
    learning = [name for name, parameter in stem.trunk.named_parameters() if parameter.requires_grad]
    names = [name for name, _ in stem.trunk.named_parameters()]
    assert learning[0] == learns
    assert learning == names[names.index(learns) :]


def test_more_frozen_stages_than_there_are_is_refused():
    with pytest.raises(InputError, match="has 5 stages, fewer than the 6 of --stem-frozen"):
        ConvStem("resnet18", 16, 8).freeze(6)


def test_calibrated_features_have_one_size():
    stem = ConvStem("test_resnet", 16, 8)
    image = torch.randn(4, 3, 64, 64)
    stem.calibrate(image)
    projected = []
    stem.proj.register_forward_pre_hook(lambda _module, inputs: projected.append(inputs[0]))
    stem(image)
    torch.testing.assert_close(projected[0].mean((0, 2, 3)), torch.zeros(stem.proj.in_channels), rtol=0, atol=1e-4)
    spread = projected[0].std((0, 2, 3), correction=0)
    torch.testing.assert_close(spread[spread > 0.5], torch.ones(int((spread > 0.5).sum())), rtol=0, atol=1e-3)
    assert (spread > 0.5).any()


def test_no_image_of_a_batch_changes_what_becomes_of_another():
    stem = ConvStem("test_resnet", 16, 8).train()
    one, other = torch.randn(2, 1, 3, 64, 64)
    torch.testing.assert_close(stem(torch.cat((one, other)))[:1], stem(one), rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("levels", [(), (3, 4)])
def test_the_trunk_computes_in_channels_last_memory(levels):
    stem = ConvStem("efficientnet_lite0", 16, 8, levels)
    assert stem.trunk.conv_stem.weight.is_contiguous(memory_format=torch.channels_last)
    features = stem.features(torch.rand(2, 3, 64, 64))
    assert features.shape[-2:] == (4, 4)
    assert features.stride(1) == 1
    assert features.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("name", "stride", "message"),
    [
        ("no_such_net", 16, "no_such_net is no model of timm"),
        ("efficientnet_lite0", 5, "cannot give a stage down to a stride of 5 pixels; its stages have 0: 2, 1: 4, 2: 4"),
        ("vit_tiny_patch16_224", 4, "cannot give a stage down to a stride of 4 pixels"),
    ],
)
def test_what_is_no_trunk_is_refused(name, stride, message):
    with pytest.raises(InputError, match=message):
        ConvStem(name, stride, 8)


@pytest.mark.parametrize("levels", [(3, 7), (0, 1)])
def test_stages_that_are_not_there_or_end_at_another_stride_are_refused(levels):
    with pytest.raises(InputError, match=rf"cannot give --stem-levels {levels[0]} {levels[1]} down to a stride of 16"):
        ConvStem("efficientnet_lite0", 16, 8, levels)


def test_weights_of_another_network_are_refused(tmp_path):
    torch.save(timm.create_model("test_resnet").state_dict(), tmp_path / "resnet.pth")
    with pytest.raises(InputError, match=r"resnet\.pth holds 92 tensors that are not the 296 of timm's tf_eff"):
        load_stem(ConvStem("efficientnet_lite0", 16, 8), str(tmp_path / "resnet.pth"))
    with pytest.raises(InputError, match=r"missing\.pth is missing\. pip install -r requirements-photos\.txt"):
        load_stem(ConvStem("efficientnet_lite0", 16, 8), str(tmp_path / "missing.pth"))
