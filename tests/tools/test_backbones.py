"""The list of transformers that --backbone takes."""

import pytest

from models import build_dig
from tools import backbones
from utils.errors import InputError


def test_the_list_has_size_patch_tokens_family_and_weights(capsys):
    backbones.main(["--filter", "*small*dino*"])
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "vit_small_patch14_reg4_dinov2 22.1 M 14 256 + 4 DINOv2, registers lvd142m" in lines
    assert "vit_small_patch16_dinov3 21.6 M 16 196 + 4 DINOv3 lvd1689m" in lines


def test_names_come_by_family_and_size(capsys):
    backbones.main(["--filter", "deit*_small_*"])
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("deit")]
    assert names == ["deit_small_patch16_224", "deit3_small_patch16_224", "deit3_small_patch16_384"]


def test_what_is_listed_can_be_built(capsys):
    backbones.main(["--filter", "test_vit*"])
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("test_vit")]
    assert "test_vit" in names
    for name in names:
        assert build_dig(2, lfca=False, backbone=name, image_size=160).backbone == name


def test_a_filter_that_nothing_passes_is_told():
    with pytest.raises(InputError, match=r"--filter resnet50 matches no plain vision transformer of timm"):
        backbones.main(["--filter", "resnet50"])
