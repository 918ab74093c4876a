"""The whole network at a tiny size."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.nn.functional as F

from models import LFCA_PREFIXES, DiGOutput, build_dig, imagenet_normalize
from models.dig import spread, topk_pool

TINY = {"image_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2}
DIFFUSION_FIELDS = ("diffusion_cam", "diffusion_cls_logits", "diffusion_patch_logits")


@pytest.fixture
def net():
    torch.manual_seed(0)
    net = build_dig(3, feature_steps=2, feature_channels=8, drop_path=0.0, **TINY)
    with torch.no_grad():
        net.head.weight.mul_(2000)  # maps with some relief
    return net


@pytest.fixture
def image():
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def features():
    return torch.randn(2, 16, 4, 4, generator=torch.Generator().manual_seed(2))


def test_pooling_takes_the_three_largest_of_both_signs():
    cam = torch.tensor([[[[5.0, 1.0, 3.0], [-6.0, 0.5, -3.0]]]])
    assert topk_pool(cam).item() == pytest.approx((5 + 3 + 1) / 3 - (6 + 3 + 0) / 3)


def test_pooling_of_a_map_smaller_than_three_takes_all_of_it():
    assert topk_pool(torch.tensor([[[[4.0, -2.0]]]])).item() == pytest.approx(4 / 2 - 2 / 2)


def test_refined_cam_is_attention_times_localized_cam(net, image):
    out = net(image)
    localized = out.class_attention * out.patch_cam
    expected = torch.einsum("bij,bcj->bci", out.patch_attention, localized.flatten(2)).reshape(2, 3, 4, 4)
    torch.testing.assert_close(out.refined_cam, expected)


def test_class_logits_are_means_of_the_class_tokens(net, image):
    torch.testing.assert_close(net(image).cls_logits, net.forward_tokens(image).class_tokens.mean(-1))


@pytest.mark.parametrize("training", [True, False])
def test_the_result_has_one_type_in_both_modes(net, image, features, training):
    net.train(training)
    with_features, without = net(image, features), net(image)
    assert type(with_features) is type(without) is DiGOutput
    assert all(getattr(without, name) is None for name in DIFFUSION_FIELDS)
    assert [getattr(with_features, name).shape for name in DIFFUSION_FIELDS] == [(2, 3, 4, 4), (2, 3), (2, 3)]


def test_features_do_not_change_what_the_transformer_says(net, image, features):
    torch.testing.assert_close(net(image, features)[:6], net(image)[:6])


def test_losses_of_the_diffusion_branch_never_reach_the_transformer(net, image, features):
    out = net(image, features)
    sum(getattr(out, name).sum() for name in DIFFUSION_FIELDS).backward()
    with_gradient = {name for name, p in net.named_parameters() if p.grad is not None}
    assert with_gradient
    assert all(name.startswith(LFCA_PREFIXES) for name in with_gradient)


def test_every_trainable_parameter_gets_a_gradient(net, image, features):
    out = net(image, features)
    (out.cls_logits.sum() + out.refined_cam.sum() + out.diffusion_cam.sum() + out.diffusion_cls_logits.sum()).backward()
    assert [name for name, p in net.named_parameters() if p.requires_grad and p.grad is None] == []


def test_each_lfca_has_its_own_queries(net, image, features):
    """LFCA0 listens to the last block: what the last block's queries do not change, LFCA1 does not either."""
    seen = {}
    for name in ("LFCA0", "LFCA1"):
        module = getattr(net, name)
        module.register_forward_hook(lambda _module, inputs, _output, name=name: seen.update({name: inputs[0]}))
    net.eval()(image, features)
    last, before_last = net.forward_tokens(image).queries
    assert torch.equal(seen["LFCA0"], last)
    assert torch.equal(seen["LFCA1"], before_last)


def test_without_lfca_the_same_results_come_from_fewer_parameters(net, image):
    small = build_dig(3, lfca=False, drop_path=0.0, **TINY)
    small.load_state_dict({k: v for k, v in net.state_dict().items() if not k.startswith(LFCA_PREFIXES)})
    assert torch.equal(small(image).refined_cam, net(image).refined_cam)


def test_without_lfca_features_are_refused(image, features):
    with pytest.raises(ValueError, match="without LFCA"):
        build_dig(3, lfca=False, **TINY)(image, features)


def test_the_cam_of_a_mirrored_image_is_the_mirrored_cam(net, image):
    labels = torch.tensor([0, 2])
    straight = net.eval().cam(image[0].sigmoid(), labels, (50, 40))
    mirrored = net.cam(image[0].sigmoid().flip(-1), labels, (50, 40))
    assert straight.shape == (2, 50, 40)
    assert straight.amax() > 0.5
    torch.testing.assert_close(mirrored.flip(-1), straight, rtol=0, atol=1e-3)


def test_the_cam_sums_upsampled_maps_before_normalising(net, image):
    image01, labels = image[0].sigmoid(), torch.tensor([1])
    size = (40, 48)
    upsampled = [
        F.interpolate(net.eval()(imagenet_normalize(x)[None]).refined_cam[:, labels], size, mode="bilinear")
        for x in (image01, image01.flip(-1))
    ]
    summed = (upsampled[0] + upsampled[1].flip(-1))[0, 0]
    expected = (summed - summed.min() - 1e-5).relu() / (summed.max() - summed.min() + 1e-5)
    torch.testing.assert_close(net.cam(image01, labels, size)[0], expected, rtol=0, atol=1e-3)


def test_probabilities_come_from_both_logits_and_know_no_left_or_right(net, image):
    image01 = image[0].sigmoid()
    output = net.eval()(torch.stack([imagenet_normalize(x) for x in (image01, image01.flip(-1))]))
    logits = torch.stack((output.cls_logits, output.patch_logits)).mean((0, 1))
    for x in (image01, image01.flip(-1)):
        torch.testing.assert_close(net.predict([x[None]]).probabilities[0], logits.sigmoid())


def test_compiled_blocks_compute_the_same_whatever_the_size(net, image, monkeypatch):
    # Tracing and its guards without the code generation, which takes minutes.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    expected = [net.eval()(x) for x in (image, image[..., :24])]
    net.compile_blocks()
    torch.testing.assert_close([net(x) for x in (image, image[..., :24])], expected)


def test_what_is_compiled_for_two_sizes_does_for_all(net, monkeypatch):
    graphs = []

    def backend(graph: torch.fx.GraphModule, _inputs: list) -> Callable:
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr("models.attention.LocalizingAttention.query_rows", 16)
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    net.eval().compile_blocks()
    counts = []
    for size in (32, 56, 64, 80, 96, 120):  # 3 + 16 tokens to 3 + 225, in 2 to 15 parts
        net(torch.randn(1, 3, size, size))
        counts.append(len(graphs))
    assert counts[1:] == counts[1:2] * 5


@pytest.mark.parametrize("labels", [[], [2], [0, 1, 2], [2, 0]])
def test_maps_of_a_large_image_are_computed_in_parts_to_the_same_bits(net, image, monkeypatch, labels):
    prediction = net.eval().predict([image[:1], image[:1, :, ::2, ::2]])
    expected = prediction.cams(0, torch.tensor(labels, dtype=torch.long), (90, 70))
    for at_once in (1, 2 * 90 * 70):
        monkeypatch.setattr("models.dig.MAPS_AT_ONCE", at_once)
        assert torch.equal(prediction.cams(0, torch.tensor(labels, dtype=torch.long), (90, 70)), expected)


def test_no_labels_give_no_maps(net, image):
    assert net.eval().cam(image[0], torch.tensor([], dtype=torch.long), (9, 7)).shape == (0, 9, 7)


def test_without_stochastic_depth_training_and_evaluation_agree(image, features):
    net = build_dig(3, feature_steps=2, feature_channels=8, drop_path=0.0, lfca_drop_path=0.0, **TINY)
    torch.testing.assert_close(net.train()(image, features), net.eval()(image, features))


def test_lfca_has_stochastic_depth_of_its_own(net, image, features):
    drops = [module.drop_prob for name, module in net.named_modules() if name.endswith("drop_path") and "LFCA" in name]
    assert drops == [0.1, 0.1]


@pytest.mark.parametrize("kind", ["refined", "spread"])
def test_maps_are_spread_as_often_as_asked(net, image, kind):
    output = net(image)
    net.cam_kind, net.spreads = kind, 3
    first = output.refined_cam if kind == "refined" else spread(output.patch_cam, output.patch_attention)
    expected = spread(spread(first, output.patch_attention), output.patch_attention)
    torch.testing.assert_close(net.final_cam(output), expected)


def test_spread_cams_do_without_class_attention():
    torch.manual_seed(0)
    published = build_dig(4, lfca=False, **TINY).eval()
    net = build_dig(4, lfca=False, cam="spread", **TINY).eval()
    net.load_state_dict(published.state_dict())
    image01 = torch.rand(2, 3, 32, 32)
    image = net.normalize(image01)
    output = net(torch.cat((image, image.flip(-1))))
    spread = torch.einsum("bij,bcj->bci", output.patch_attention, output.patch_cam.flatten(2)).unflatten(2, (4, 4))
    straight, mirrored = spread.chunk(2)
    (maps,) = net.predict([image01]).maps
    torch.testing.assert_close(maps, straight + mirrored.flip(-1))
    assert not torch.allclose(maps, published.predict([image01]).maps[0])
