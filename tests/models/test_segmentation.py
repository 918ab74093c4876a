"""Segmentation networks: shapes, padding, weights of the encoder, frozen statistics."""

import pytest
import torch
from torch import nn

from models import build_segmenter
from models.segmentation import SegmentationNet
from models.stem import packaged_file
from utils.options.flags import make_options
from utils.options.seg_recipes import SEG_RECIPES
from utils.options.segmentation import SegOptions

TINY = {"arch": "unet", "encoder": "tu-test_efficientnet", "arch_options": {"decoder_channels": (8, 8, 8, 8, 8)}}


def tiny(**options) -> SegmentationNet:
    torch.manual_seed(0)
    return build_segmenter(5, **(TINY | options))[0].eval()


@pytest.mark.parametrize("shape", [(64, 64), (33, 50), (1, 97)])
def test_every_pixel_of_an_image_of_any_size_gets_its_scores(shape):
    image = torch.rand(2, 3, *shape, generator=torch.Generator().manual_seed(1))
    logits = tiny()(image)
    assert logits.shape == (2, 5, *shape)
    assert logits.isfinite().all()


def test_a_transformer_takes_images_of_any_size_too():
    options = {"img_size": 32, "dynamic_img_size": True, "decoder_fusion_channels": 8}
    net = tiny(arch="dpt", encoder="tu-test_vit", arch_options=options)
    assert net.stride == 32
    assert net(torch.rand(1, 3, 40, 50)).shape == (1, 5, 40, 50)


def test_frozen_batch_statistics_are_the_encoders_alone():
    net = tiny(freeze_bn=True).train()
    norms = {name: m for name, m in net.named_modules() if isinstance(m, nn.BatchNorm2d)}
    assert {m.training for name, m in norms.items() if ".encoder." in name} == {False}
    assert {m.training for name, m in norms.items() if ".encoder." not in name} == {True}


def test_the_packaged_weights_are_the_encoders():
    path = packaged_file("tf_efficientnet_lite0")
    if path is None:
        pytest.skip("requirements-photos.txt is not installed")
    net, source = build_segmenter(
        5, arch="deeplabv3plus", encoder="tu-tf_efficientnet_lite0", arch_options={}, encoder_weights="auto"
    )
    assert source == str(path)
    packaged = [*torch.load(path, weights_only=True).values()]
    own = [*net.model.encoder.model.state_dict().values()]
    assert len(own) > 200
    assert all(torch.equal(a, b) for a, b in zip(own, packaged, strict=False))  # in order; the classifier's head is left out
    assert net.mean == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("name", SEG_RECIPES)
def test_the_network_of_every_recipe_can_be_built(name):
    options = make_options(SegOptions, {**SEG_RECIPES[name].train, "name": "x", "masks": "truth"})
    with torch.device("meta"):
        net, _ = build_segmenter(21, **options.architecture)
    assert any(p.shape[0] == 21 for p in net.model.segmentation_head.parameters())
