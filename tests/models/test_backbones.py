"""Every family of transformers against timm's own model, at a small size."""

import copy

import pytest
import timm
import torch
from torch import Tensor, nn

from diffusion import Guidance, build_denoiser
from models import DiGLoss, build_dig, init_mimetic, load_backbone
from models.backbones import FAMILIES, build_backbone, family_of, is_deit
from models.dig import DiG, topk_pool
from utils.errors import InputError

SMALL = {"depth": 3, "embed_dim": 32, "num_heads": 2}
BY_NAME = {family.name: family for family in FAMILIES}
every_family = pytest.mark.parametrize("family", BY_NAME)


def patch_size(family: str) -> int:
    return 14 if "patch14" in BY_NAME[family].example else 16


def timms(family: str, **options: object) -> nn.Module:
    """timm's model on a 4 x 4 grid, no parameter of which is zero or one as it starts."""
    torch.manual_seed(0)
    options = {"img_size": 4 * patch_size(family), **SMALL, **options}
    net = timm.create_model(BY_NAME[family].example, num_classes=0, dynamic_img_size=True, **options)
    for parameter in net.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return net.eval()


def ours(family: str, num_classes: int, **options: object) -> DiG:
    torch.manual_seed(1)
    options = {"image_size": 4 * patch_size(family), "lfca": False, "drop_path": 0.0, "backbone_options": SMALL, **options}
    return build_dig(num_classes, backbone=BY_NAME[family].example, **options).eval()


def one_class(family: str) -> tuple[nn.Module, DiG]:
    """timm's model and ours with the same weights; timm's has a class token too."""
    added = {"class_token": True} if family == "SigLIP" else {}
    theirs, net = timms(family, **added), ours(family, 1, backbone_options=SMALL | added)
    load_backbone(net, theirs.state_dict())
    return theirs, net


def before_the_final_norm(net: nn.Module, image: Tensor) -> Tensor:
    """timm's tokens (B, 1 + R + N, D)."""
    net = copy.copy(net)
    net._modules = {**net._modules, "norm": nn.Identity()}
    return net.forward_features(image)


@every_family
def test_with_one_class_tokens_logits_and_gradients_are_timms(family):
    theirs, net = one_class(family)
    image = torch.randn(2, 3, 4 * patch_size(family), 4 * patch_size(family))

    expected = before_the_final_norm(theirs, image)
    patches = expected[:, -16:].transpose(1, 2).unflatten(2, (4, 4))
    expected_logits = expected[:, 0].mean(-1, keepdim=True), topk_pool(net.head(patches))
    tokens, output = net.forward_tokens(image), net(image)
    close = {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(tokens.class_tokens, expected[:, :1], **close)
    torch.testing.assert_close(tokens.patch_tokens, patches, **close)
    torch.testing.assert_close((output.cls_logits, output.patch_logits), expected_logits, **close)

    sum(logits.square().sum() for logits in expected_logits).backward()
    sum(logits.square().sum() for logits in (output.cls_logits, output.patch_logits)).backward()
    gradients = {name: p.grad for name, p in net.named_parameters() if name in dict(theirs.named_parameters())}
    compared = {name: p.grad for name, p in theirs.named_parameters() if name in gradients and p.grad is not None}
    assert len(compared) >= 3 * 10  # at least ten parameters a block
    for name, gradient in compared.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-5, atol=1e-5 * gradient.abs().max().item(), msg=name)


@torch.no_grad()
@pytest.mark.parametrize("family", [name for name in BY_NAME if name != "DeiT"])
def test_other_grids_are_timms_too(family):
    theirs, net = one_class(family)
    image = torch.randn(1, 3, 3 * patch_size(family), 5 * patch_size(family))
    expected = before_the_final_norm(theirs, image)
    tokens = net.forward_tokens(image)
    torch.testing.assert_close(tokens.class_tokens, expected[:, :1], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(tokens.patch_tokens.flatten(2).transpose(1, 2), expected[:, -15:], rtol=1e-5, atol=1e-5)


@torch.no_grad()
@every_family
def test_attention_rows_sum_to_one_over_all_tokens_and_registers_are_in_no_map(family):
    net = ours(family, 3)
    matrices, queries = [], []
    for block in net.blocks:
        block.attn.register_forward_hook(lambda module, _inputs, _output: matrices.append(module.kept[0]))
        block.attn.register_forward_hook(lambda module, _inputs, _output: queries.append(module.kept[1]))
    image = torch.randn(1, 3, 3 * patch_size(family), 4 * patch_size(family))
    output, R = net(image), net.num_registers
    assert {"DINOv2, registers": 4, "DINOv3": 4}.get(family, 0) == R
    assert matrices[0].shape == (1, 3 + R + 12, 3 + R + 12)
    torch.testing.assert_close(sum(matrices).sum(-1), torch.full((1, 3 + R + 12), 3.0))

    total = sum(matrices)
    torch.testing.assert_close(output.class_attention.flatten(2), total[:, :3, 3 + R :])
    torch.testing.assert_close(output.patch_attention, total[:, 3 + R :, 3 + R :])
    last, before_last = net.forward_tokens(image).queries
    for ours_, all_queries in ((last, queries[-1]), (before_last, queries[-2])):
        assert torch.equal(ours_, torch.cat((all_queries[:, :3], all_queries[:, 3 + R :]), dim=1))


@every_family
def test_a_step_gives_every_trainable_parameter_a_gradient(family):
    net = ours(family, 3, lfca=True, feature_steps=2, feature_channels=8).train()
    side = 4 * patch_size(family)
    image, features = torch.randn(2, 3, side, side), torch.randn(2, 16, 4, 4)
    losses = DiGLoss((1, 1, 1, 1, 1), 5, 0.2, 0)(net(image, features), net(image.flip(0)), torch.eye(3)[:2], epoch=0)
    sum(losses.values()).backward()
    without = [name for name, p in net.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert without == []


@every_family
def test_every_class_starts_from_the_one_class_token(family):
    theirs, net = timms(family), ours(family, 3)
    random = net.cls_token.detach().clone()
    load_backbone(net, theirs.state_dict())
    for c in range(3):
        own = random[0, c] if theirs.cls_token is None else theirs.cls_token[0, 0]
        assert torch.equal(net.cls_token[0, c], own)
    if net.pos_embed is not None:
        assert torch.equal(net.pos_embed[:, -16:], theirs.pos_embed[:, -16:])
    if net.num_registers:
        assert torch.equal(net.reg_token, theirs.reg_token)


def authors_spelling(family: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights under the names that the family's authors published them with."""
    state = dict(state)
    if family == "DeiT-III":
        return {name.replace("ls1.gamma", "gamma_1").replace("ls2.gamma", "gamma_2"): v for name, v in state.items()}
    if family == "CLIP":
        names = {"patch_embed.proj": "conv1", "pos_embed": "positional_embedding", "blocks.": "transformer.resblocks."}
        names |= {"norm_pre": "ln_pre", "norm1": "ln_1", "norm2": "ln_2", "qkv.": "in_proj_", "attn.proj": "attn.out_proj"}
        names |= {"mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj", "cls_token": "class_embedding"}
        clip = {"logit_scale": torch.ones(()), "visual.proj": torch.randn(32, 16)}
        for name, value in state.items():
            new = "ln_post" + name[4:] if name.startswith("norm.") else name
            for ours_, authors in names.items():
                new = new.replace(ours_, authors)
            clip[f"visual.{new}"] = value.flatten() if name == "cls_token" else value[0] if name == "pos_embed" else value
        return clip
    if family == "DINOv2":
        return state | {"mask_token": torch.zeros(1, 32)}
    if family == "DINOv2, registers":
        position = torch.cat((torch.full((1, 1, 32), 0.5), state["pos_embed"]), dim=1)
        state |= {"cls_token": state["cls_token"] - 0.5, "register_tokens": state.pop("reg_token")}
        return state | {"pos_embed": position, "mask_token": torch.zeros(1, 32)}
    if family == "DINOv3":
        names = {"gamma_1": "ls1.gamma", "gamma_2": "ls2.gamma", "reg_token": "storage_tokens"}
        for ours_, authors in names.items():
            state = {name.replace(ours_, authors): value for name, value in state.items()}
        return state | {"mask_token": torch.zeros(1, 32), "rope_embed.periods": torch.ones(4)}
    if family == "EVA-02":
        names = {"mlp.fc1_g": "mlp.w1", "mlp.fc1_x": "mlp.w2", "mlp.fc2": "mlp.w3", "mlp.norm": "mlp.ffn_ln"}
        names |= {"q_proj.bias": "q_bias", "v_proj.bias": "v_bias"}
        for ours_, authors in names.items():
            state = {name.replace(ours_, authors): value for name, value in state.items()}
        return state | {"rope.freqs_cos": torch.ones(4), "head.weight": torch.ones(5, 32), "head.bias": torch.ones(5)}
    raise KeyError(family)


@pytest.mark.parametrize("family", ["DeiT-III", "CLIP", "DINOv2", "DINOv2, registers", "DINOv3", "EVA-02"])
def test_the_authors_own_spelling_loads_as_timms(family):
    state = timms(family).state_dict()
    loaded = []
    for spelling in (state, authors_spelling(family, state)):
        net = ours(family, 2)
        load_backbone(net, spelling)
        loaded.append(net.state_dict())
    for name, value in loaded[0].items():
        torch.testing.assert_close(loaded[1][name], value, rtol=0, atol=1e-6, msg=name)
    assert set(authors_spelling(family, state)) != set(state)


@torch.no_grad()
def test_positions_of_a_larger_pretraining_grid_are_resized_as_timm_does(tmp_path):
    large = timms("DINOv2", img_size=518)
    torch.save(large.state_dict(), tmp_path / "large.pth")
    theirs = timm.create_model(
        BY_NAME["DINOv2"].example,
        num_classes=0,
        img_size=56,
        pretrained=True,
        pretrained_cfg_overlay={"file": str(tmp_path / "large.pth"), "hf_hub_id": None, "num_classes": 0},
        **SMALL,
    )
    net = ours("DINOv2", 1)
    load_backbone(net, large.state_dict())
    torch.testing.assert_close(net.pos_embed, theirs.pos_embed)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("blocks.1.norm1.weight"), "blocks.1.norm1.weight is missing"),
        (lambda s: s.pop("reg_token"), "reg_token is missing"),
        (lambda s: s.update(extra=torch.zeros(1)), "extra is not known"),
        (lambda s: s.update({"cls_token": torch.zeros(1, 1, 5)}), r"cls_token is \(1, 2, 5\), not \(1, 2, 32\)"),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    state = timms("DINOv3").state_dict()
    change(state)
    with pytest.raises(ValueError, match=message):
        load_backbone(ours("DINOv3", 2), state)


def test_weights_of_another_family_are_refused():
    with pytest.raises(ValueError, match=r"is missing|is not known"):
        load_backbone(ours("DINOv2", 2), timms("DINOv3").state_dict())


@pytest.mark.parametrize(
    ("family", "mean"), [("DeiT", 0.485), ("AugReg", 0.5), ("CLIP", 0.48145466), ("DINOv2", 0.485), ("EVA-02", 0.48145466)]
)
def test_images_are_normalised_as_the_backbones_pretraining_did(family, mean):
    net = ours(family, 2)
    config = timm.get_pretrained_cfg(BY_NAME[family].example)
    image = torch.tensor(config.mean)[:, None, None].expand(3, 2, 2)
    assert image[0, 0, 0] == pytest.approx(mean)
    torch.testing.assert_close(net.normalize(image), torch.zeros(3, 2, 2))
    torch.testing.assert_close(net.normalize(image + torch.tensor(config.std)[:, None, None]), torch.ones(3, 2, 2))


@every_family
def test_the_mimetic_start_is_for_every_family(family):
    net = ours(family, 2)
    init_mimetic(net)
    for block in net.blocks:
        attention = block.attn
        value = attention.v_proj.weight if attention.qkv is None else attention.qkv.weight[64:]
        product = (attention.proj.weight @ value).detach()
        assert product.diagonal().mean() == pytest.approx(-0.4, abs=0.15)


def test_gradient_checkpoints_change_no_gradient():
    gradients = []
    for again in (False, True):
        net = ours("DINOv3", 2, grad_checkpoint=again).train()
        image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        net(image).refined_cam.sum().backward()
        gradients.append({name: p.grad for name, p in net.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert all(torch.equal(gradients[0][name], gradients[1][name]) for name in gradients[0])


def test_names_belong_to_their_family():
    assert {name: family_of(family.example).name for name, family in BY_NAME.items()} == {name: name for name in BY_NAME}
    assert family_of("vit_small_patch14_dinov2.lvd142m").name == "DINOv2"
    assert family_of("vit_7b_patch16_dinov3").name == "DINOv3"
    assert family_of("eva02_base_patch14_448").name == "EVA-02"
    assert family_of("vit_large_patch14_clip_336.openai").name == "CLIP"
    assert family_of("resnet50") is None
    assert family_of("vit_base_patch16_224_miil") is None


def test_the_published_interpolation_is_deits_alone():
    assert [name for name, family in BY_NAME.items() if is_deit(family.example)] == ["DeiT"]
    assert is_deit("")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet50", "is a ResNet; plain vision transformers work, such as deit_small_patch16_224"),
        ("swin_tiny_patch4_window7_224", "is a SwinTransformer; plain vision transformers work"),
        ("convnext_tiny", "is a ConvNeXt; plain"),
        ("vit_small_r26_s32_224", "has a HybridEmbed in place of a patch embedding; plain"),
        ("vit_relpos_small_patch16_224", "is a VisionTransformerRelPos; plain"),
        ("vit_small_patch16_18x2_224", "has blocks of the kind ParallelThingsBlock"),
        ("vit_small_patch14_dino2", r"is no model of timm \(did you mean 'vit_small_patch14_dinov2'\?\); plain"),
    ],
)
def test_models_that_cannot_carry_class_tokens_are_refused_in_one_line(name, message):
    with pytest.raises(InputError, match=message) as refused:
        build_dig(2, lfca=False, backbone=name)
    assert "\n" not in str(refused.value)
    assert "python -m tools.backbones" in str(refused.value)


def test_an_image_size_that_does_not_fit_the_patch_is_refused_with_one_that_does():
    with pytest.raises(InputError, match=r"--input-size 64 must be a multiple of 14, the patch of .*; 56 would do"):
        build_backbone("vit_small_patch14_dinov2", 64, SMALL)


@pytest.mark.parametrize("options", [{"no_such_option": 3}, {"num_heads": 5}, {"num_classes": 3}, {"depth": 1}])
def test_options_that_timm_cannot_build_are_refused(options):
    with pytest.raises(InputError, match=next(iter(options)) if "depth" not in options else "fewer than 2 blocks"):
        build_backbone("vit_small_patch14_dinov2", 56, {**SMALL, **options})


def test_the_guidances_grid_is_the_backbones():
    net = ours("DINOv2", 2)
    guide = Guidance(build_denoiser(8, 56), (0,), 100, stride=net.patch_size)
    image01 = torch.rand(1, 3, 56, 56)
    grid = net(net.normalize(image01)).patch_cam.shape[-2:]
    assert guide(image01).features.shape[-2:] == grid == (4, 4)
