"""The five losses."""

import pytest
import torch
from torch.nn.functional import multilabel_soft_margin_loss as mlsm

from models import LOSS_NAMES, DiGLoss, DiGOutput
from models.losses import LOSSES, Loss

B, C, N = 3, 4, 9
PUBLISHED = LOSS_NAMES[:5]


def output(seed: int, diffusion: bool = True) -> DiGOutput:
    generator = torch.Generator().manual_seed(seed)

    def leaf(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).requires_grad_()

    maps, logits = (B, C, 3, 3), (B, C)
    extra = (leaf(*maps), leaf(*logits), leaf(*logits)) if diffusion else ()
    return DiGOutput(leaf(*logits), leaf(*logits), leaf(*maps), leaf(*maps), leaf(B, N, N), leaf(*maps), *extra)


@pytest.fixture
def original():
    return output(0)


@pytest.fixture
def denoised():
    return output(1, diffusion=False)


@pytest.fixture
def labels():
    return torch.tensor([[1, 0, 0, 1], [0, 1, 0, 0], [1, 1, 1, 0]])


def test_losses_are_named_as_in_the_paper(original, denoised, labels):
    losses = DiGLoss()(original, denoised, labels, epoch=20)
    assert tuple(losses) == LOSS_NAMES
    assert all(losses[name].shape == () and losses[name] > 0 for name in PUBLISHED)


def test_consistency_starts_with_its_epoch(original, denoised, labels):
    loss = DiGLoss(start_epoch=10)
    before, after = loss(original, denoised, labels, 9), loss(original, denoised, labels, 10)
    assert before["cam_consistency"] == before["rcams_consistency"] == 0
    assert after["cam_consistency"] > 0
    assert after["rcams_consistency"] > 0
    assert all(before[name] == after[name] for name in ("cls", "pred_diff", "cls_diff"))


def test_each_weight_scales_its_own_loss(original, denoised, labels):
    plain = DiGLoss((1, 1, 1, 1, 1))(original, denoised, labels, 20)
    weighted = DiGLoss((1, 2, 3, 4, 5))(original, denoised, labels, 20)
    ratios = [(weighted[name] / plain[name]).item() for name in PUBLISHED]
    assert ratios == pytest.approx([1, 2, 3, 4, 5])


def test_classification_is_the_soft_margin_loss_of_both_predictions(original, denoised, labels):
    losses = DiGLoss()(original, denoised, labels, 0)
    assert losses["cls"] == mlsm(original.cls_logits, labels) + mlsm(original.patch_logits, labels)
    assert losses["cls_diff"] == mlsm(denoised.cls_logits, labels) + mlsm(denoised.patch_logits, labels)


def test_with_alpha_one_the_diffusion_branch_learns_from_labels_alone(original, denoised, labels):
    loss = DiGLoss(alpha=1)(original, denoised, labels, 0)["pred_diff"]
    expected = mlsm(original.diffusion_cls_logits, labels) + mlsm(original.diffusion_patch_logits, labels)
    torch.testing.assert_close(loss, expected)


def test_distillation_is_the_divergence_of_both_probabilities(original, denoised, labels):
    T = 2.0
    expected = 0.0
    for student, teacher in (
        (original.diffusion_cls_logits, original.cls_logits),
        (original.diffusion_patch_logits, original.patch_logits),
    ):
        p, q = (teacher / T).softmax(1).double(), (student / T).softmax(1).double()
        divergence = p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()
        expected += divergence.sum() / B
    loss = DiGLoss(temperature=T, alpha=0)(original, denoised, labels, 0)["pred_diff"]
    torch.testing.assert_close(loss.double(), T**2 * expected / 2, rtol=1e-5, atol=1e-6)


def test_distillation_is_finite_where_a_probability_rounds_to_one(original, denoised, labels):
    certain = original._replace(diffusion_cls_logits=torch.tensor([[1e4, 0, 0, 0]] * B, requires_grad=True))
    loss = DiGLoss()(certain, denoised, labels, 0)["pred_diff"]
    loss.backward()
    assert loss.isfinite()
    assert certain.diffusion_cls_logits.grad.isfinite().all()


def gradients(loss: torch.Tensor, output: DiGOutput) -> set[str]:
    """Names of the fields of an output that a loss changes."""
    names = [name for name, value in output._asdict().items() if value is not None]
    grads = torch.autograd.grad(loss, [getattr(output, name) for name in names], allow_unused=True, retain_graph=True)
    return {name for name, grad in zip(names, grads, strict=True) if grad is not None}


def test_gradients_go_only_where_they_should(original, denoised, labels):
    losses = DiGLoss()(original, denoised, labels, 20)
    assert gradients(losses["cls"], original) == {"cls_logits", "patch_logits"}
    assert gradients(losses["pred_diff"], original) == {"diffusion_cls_logits", "diffusion_patch_logits"}
    assert gradients(losses["cam_consistency"], original) == {"patch_cam"}
    assert gradients(losses["cls_diff"], denoised) == {"cls_logits", "patch_logits"}
    assert gradients(losses["rcams_consistency"], denoised) == {"refined_cam"}
    with pytest.raises(RuntimeError, match=r"not have been used"):
        torch.autograd.grad(losses["rcams_consistency"], original.refined_cam)


def test_maps_of_absent_classes_do_not_count(original, denoised):
    nothing = torch.zeros(B, C)
    losses = DiGLoss()(original, denoised, nothing, 20)
    assert losses["cam_consistency"] == losses["rcams_consistency"] == 0


def test_consistency_is_the_mean_distance_over_all_maps(original, denoised, labels):
    def stretch(cam):
        cam = cam.relu()
        low, high = cam.flatten(2).min(2).values[..., None, None], cam.flatten(2).max(2).values[..., None, None]
        return (cam - low - 1e-5).relu() / (high - low + 1e-5)

    distance = (stretch(original.diffusion_cam) - stretch(original.patch_cam)).abs()
    expected = (distance * labels[..., None, None]).sum() / distance.numel()
    torch.testing.assert_close(DiGLoss()(original, denoised, labels, 20)["cam_consistency"], expected)


def test_four_weights_are_refused():
    with pytest.raises(ValueError, match=r"\d loss weights are needed, got 4"):
        DiGLoss((1, 1, 1, 1))


def test_a_loss_without_weight_needs_neither_features_nor_denoised_images(original, labels):
    bare = original._replace(diffusion_cam=None, diffusion_cls_logits=None, diffusion_patch_logits=None)
    alone = DiGLoss((1, 0, 0, 0, 0))
    assert not alone.uses_features(20)
    assert not alone.uses_denoised(20)
    losses = alone(bare, None, labels, 20)
    assert losses["cls"] == DiGLoss()(original, output(1, False), labels, 20)["cls"]
    assert all(losses[name] == 0 for name in LOSS_NAMES[1:])


@pytest.mark.parametrize(
    ("weights", "features", "before", "after"),
    [((1, 1, 0, 0, 0), True, False, False), ((1, 0, 1, 0, 1), True, False, True), ((1, 0, 0, 1, 0), False, True, True)],
)
def test_only_what_some_loss_uses_is_asked_for(weights, features, before, after):
    loss = DiGLoss(weights, start_epoch=3)
    assert (loss.uses_features(2), loss.uses_denoised(2), loss.uses_denoised(3)) == (features, before, after)


def test_before_guidance_begins_the_first_loss_is_alone(original, denoised, labels):
    loss = DiGLoss(start_epoch=0, guided_from=2)
    assert not loss.uses_features(1)
    assert not loss.uses_denoised(1)
    bare = original._replace(diffusion_cam=None, diffusion_cls_logits=None, diffusion_patch_logits=None)
    alone, guided = loss(bare, None, labels, 1), loss(original, denoised, labels, 2)
    assert [name for name in LOSS_NAMES if alone[name] != 0] == ["cls"]
    assert all(guided[name] == DiGLoss(start_epoch=0)(original, denoised, labels, 2)[name] != 0 for name in LOSS_NAMES)


def test_a_loss_is_one_row_of_the_table(original, denoised, labels, monkeypatch):
    monkeypatch.setitem(LOSSES, "size", Loss(lambda inputs: inputs.denoised.refined_cam.abs().mean(), needs_denoised=True))
    without = DiGLoss()(original, denoised, labels, 20)
    added = DiGLoss((1, 1, 1, *[0] * (len(LOSSES) - 4), 3))
    assert without["size"] == 0
    assert added.uses_denoised(epoch=0)
    assert added(original, denoised, labels, 0)["size"] == 3 * denoised.refined_cam.abs().mean()


def test_the_options_know_the_losses_by_their_names():
    from utils.options.training import LOSS_NAMES as known

    assert known == tuple(LOSSES)
