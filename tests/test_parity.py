"""Full-size comparison with the numbers recorded from the published implementation."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

import train_trm
from datasets.images import InferenceImages
from datasets.layouts.voc import VocLayout
from diffusion import Guidance, build_denoiser
from evaluation import main as evaluate
from models import DiGLoss, build_dig, imagenet_normalize, load_deit
from utils.cams.files import write_cam_dict
from utils.cams.masks import read_mask
from utils.machine.cores import available_cores
from utils.machine.device import keep_freed_memory
from utils.options.training import TrainOptions

from .helpers.recorded import fill_, image, manifest, noise, read_evaluation, recorded, shapes, synthetic_cams
from .helpers.shared import VOC_MINI, needs_voc_mini

pytestmark = pytest.mark.parity

HALF = 2**-11  # relative rounding of the float16 that some numbers are stored in


@pytest.fixture(scope="module", autouse=True)
def all_cores():
    """Here the tensors are large."""
    keep_freed_memory()
    before = torch.get_num_threads()
    torch.set_num_threads(available_cores())
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def published_net():
    """The full network with the recorded parameters; every test leaves it as it is."""
    return fill_(build_dig()).eval()


@pytest.fixture(scope="module")
def guidance():
    return Guidance(fill_(build_denoiser()))


def assert_close(ours: torch.Tensor, theirs: np.ndarray, relative: float = 1e-4, stored: float = 0.0) -> None:
    """Within `relative` of the largest value; `stored` admits the rounding of each stored value."""
    theirs = torch.from_numpy(np.asarray(theirs, np.float32))
    assert ours.shape == theirs.shape
    assert ((ours - theirs).abs() <= relative * theirs.abs().max() + stored * theirs.abs()).all()


def test_names_and_shapes_are_those_of_the_published_checkpoints():
    with torch.device("meta"):
        assert shapes(build_dig()) == manifest("net_trm")
    assert shapes(build_denoiser()) == manifest("diffusion")


def test_a_network_takes_every_parameter_of_the_published_deit():
    deit = {name: torch.full(shape, 0.5) for name, shape in manifest("deit_small").items()}
    net = build_dig(lfca=False)
    load_deit(net, deit)
    loaded = [name for name, value in net.state_dict().items() if (value == 0.5).all()]
    assert set(loaded) == {name for name in shapes(net) if not name.startswith("head.")}


def test_schedule_buffers_are_equal_to_the_bit():
    denoiser = build_denoiser(dim=8)
    buffers = recorded("diffusion_buffers")
    assert len(buffers) == 13
    for name, values in buffers.items():
        assert np.array_equal(getattr(denoiser, name).numpy(), values), name


@torch.no_grad()
def test_forward(published_net):
    features = torch.cat([noise(10 + t, (2, 1024, 14, 14)) for t in range(5)], dim=1)
    output = published_net(imagenet_normalize(image(1, 2, 224, 224)), features)
    theirs = recorded("forward")
    assert_close(output.cls_logits, theirs["cls"])
    assert_close(output.patch_logits, theirs["pcls"])
    assert_close(output.patch_cam, theirs["cams"])
    assert_close(output.class_attention, theirs["mtatt"])
    assert_close(output.patch_attention.diagonal(dim1=1, dim2=2), theirs["attn_diag"])
    assert_close(output.refined_cam, theirs["rcams"])
    assert_close(output.diffusion_cam, theirs["cam_diff"])
    assert_close(output.diffusion_cls_logits, theirs["diff_cls"])
    assert_close(output.diffusion_patch_logits, theirs["diff_pcls"])


@torch.no_grad()
def test_forward_of_a_rectangle_that_is_no_multiple_of_the_patch(published_net):
    output = published_net(imagenet_normalize(image(2, 1, 167, 250)))
    assert_close(output.refined_cam, recorded("forward_rect")["rcams"])


def test_guidance(guidance):
    x0 = image(3, 1, 224, 224)
    output = guidance(x0, {t: noise(100 + t, x0.shape) for t in (*guidance.feature_steps, guidance.image_step)})
    theirs = recorded("guidance")
    for i, features in enumerate(output.features.chunk(5, dim=1)):
        assert_close(features[:, ::8], theirs[f"features_t{i}"], stored=HALF)
    assert_close(output.denoised[..., ::4, ::4], theirs["denoised_t100"])


def test_v_at_the_image_step(guidance):
    x0 = image(3, 1, 224, 224)
    step = torch.tensor([100])
    with torch.no_grad():
        x = guidance.denoiser.add_noise(2 * x0 - 1, step, noise(200, x0.shape))
        v = guidance.denoiser.model(x, step)
    assert_close(v[..., ::4, ::4], recorded("guidance")["v_t100"])


def test_two_training_steps(guidance):
    theirs = recorded("train_step")
    options = TrainOptions(name="parity", drop_path=0.0)
    net = fill_(build_dig(drop_path=0.0, lfca_drop_path=0.0)).train()
    optimizer = train_trm.build_optimizer(net, options)
    undecayed = sum(p.numel() for group in optimizer.param_groups for p in group["params"] if not group["weight_decay"])
    # The published optimiser also holds the final norm, which never gets a gradient.
    assert undecayed + net.norm.weight.numel() + net.norm.bias.numel() == theirs["n_no_decay"]
    for group in optimizer.param_groups:
        group["lr"] = 2e-6

    x0 = image(4, 2, 224, 224)
    labels = torch.zeros(2, 20)
    labels[0, [3, 14]] = labels[1, 7] = 1
    guide = guidance(x0, {t: noise(200 + t, x0.shape) for t in (*guidance.feature_steps, guidance.image_step)})
    criterion = DiGLoss(options.W, options.T, options.A, options.start_epoch)
    for update, epoch, tolerance in ((0, 0, 1e-4), (1, 10, 1e-3)):
        original = net(imagenet_normalize(x0), guide.features)
        denoised = net(imagenet_normalize(guide.denoised))
        losses = criterion(original, denoised, labels, epoch)
        total = sum(losses.values())
        optimizer.zero_grad()
        total.backward()

        values = [loss.item() for loss in losses.values()]
        assert values == pytest.approx(theirs[f"losses_step{update}"].tolist(), rel=tolerance)
        assert total.item() == pytest.approx(float(theirs[f"total_step{update}"]), rel=tolerance)
        norms = dict(
            zip(theirs[f"grad_names_step{update}"].tolist(), theirs[f"grad_norms_step{update}"].tolist(), strict=True)
        )
        assert grouped_gradient_norms(net) == pytest.approx(norms, rel=1e-3)
        optimizer.step()


def grouped_gradient_norms(net: torch.nn.Module) -> dict[str, float]:
    """L2 norms of gradients, grouped by the first two parts of the parameters' names."""
    squares: dict[str, float] = {}
    for name, parameter in net.named_parameters():
        if parameter.grad is not None:
            group = ".".join(name.split(".")[:2])
            squares[group] = squares.get(group, 0.0) + parameter.grad.double().square().sum().item()
    return {group: math.sqrt(square) for group, square in squares.items()}


@needs_voc_mini
def test_cams_of_two_real_images(published_net):
    theirs = recorded("infer")
    layout = VocLayout(VOC_MINI)
    ids = ["2007_000033", "2007_000187"]
    images = InferenceImages(ids, [layout.image_path(i) for i in ids], layout.labels(ids))
    for sample in (images[0], images[1]):
        assert sample.labels.tolist() == theirs[f"{sample.image_id}_classes"].tolist()
        cams = published_net.cam(sample.pixels[0].float() / 255, sample.labels, sample.size)
        difference = cams[:, ::4, ::4] - torch.from_numpy(theirs[f"{sample.image_id}_cam"].astype(np.float32))
        assert difference.abs().max() <= 2e-3


@needs_voc_mini
def test_evaluation_sweep(tmp_path: Path):
    layout = VocLayout(VOC_MINI)
    ids = layout.read_list("trainval")
    for image_id, labels in zip(ids, layout.labels(ids), strict=True):
        mask = read_mask(layout.mask_path(image_id), None, 20)
        cams = synthetic_cams(image_id, mask, labels.nonzero()[0].tolist())
        write_cam_dict(tmp_path / f"{image_id}.npy", cams)
    scores_file = tmp_path / "scores.json"
    trainval = layout.list_path("trainval")
    evaluate(f"--dict_dir {tmp_path} --gt_dir {layout.mask_folder} --list {trainval} --json {scores_file}".split())

    ours = json.loads(scores_file.read_text())
    theirs = read_evaluation()
    assert len(theirs) == 15
    for threshold, scores in theirs.items():
        row = ours["thresholds"].index(float(threshold))
        assert ours["miou"][row] == pytest.approx(scores["mIoU"], abs=1e-3)
        assert ours["precision"][row] == pytest.approx(scores["mP"], abs=1e-3)
        assert ours["recall"][row] == pytest.approx(scores["mR"], abs=1e-3)
        assert ours["iou"][row] == pytest.approx(scores["IoU"], abs=1e-3)
    assert ours["best"]["miou"] == max(ours["miou"])
