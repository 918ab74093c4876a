"""Shows what every part of a trained network makes of photographs: python -m tools.tour --name NAME"""

from utils.command_line import check_flags
from utils.options.tools.pictures import TourOptions

if __name__ == "__main__":  # before the imports that take seconds
    check_flags(TourOptions)

import dataclasses
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from datasets.layouts.base import Layout, read_truth
from datasets.runs import open_run
from diffusion import Guidance
from diffusion.trained import load_denoiser, published_spelling
from models import CamModel, DiG, DiGLoss, DiGOutput, load_cam_model, normalize_cam
from models.dig import spread
from models.losses import given
from tools.animate import images_of
from tools.report.gallery import jpeg
from tools.report.views import BACKGROUND, PALETTE, class_iou, mean_iou, outlined, painted, percent
from train_trm import build_network, guidance_settings
from utils.cams.crf import refine, require_crf
from utils.cams.inference import network_pixels
from utils.cams.pictures import cam_overlay
from utils.cams.pseudo_masks import score_mask, threshold_mask
from utils.errors import InputError, run_script
from utils.experiment.folder import last_file, require_experiment
from utils.files import whole_file
from utils.images import open_rgb
from utils.log import RunLog
from utils.options.flags import memory_advice, parse_options, show
from utils.options.training import TrainOptions
from utils.picture_table import Cell, Entry, Group, picture_table
from utils.scoring.best_threshold import background_of
from utils.scoring.metrics import IGNORE
from utils.training.checkpoint import load_file, load_strictly, state_dict_of
from utils.training.seeding import sample_noise

SIDE = 208
"""Longer side of every picture in pixels."""
CLASSES_SHOWN = 2
"""Most classes shown of an image: its first ones in the order of the data set."""
HEAT = "Heat maps: red is the highest score in the image, blue the lowest."
MASKS = "Masks over the photograph in grey. mIoU: of this image, over background and the classes in the true mask."


@dataclass(frozen=True)
class Subject:
    """A photograph that is shown."""

    image_id: str
    image: Image.Image
    cams: Mapping[int, np.ndarray]  # {class index: (H, W) float32}, as infer_trm.py writes them
    truth: np.ndarray | None  # (H, W) of `label_type`; None without a true mask

    @property
    def pixels(self) -> np.ndarray:
        """(H, W, 3) uint8."""
        return np.asarray(self.image)


def main(args: list[str]) -> None:
    # Options: data set, classes and architecture are the run's
    options = parse_options(TourOptions, args, "python -m tools.tour", __doc__)
    require_experiment(options.folder)
    run, layout = open_run(options.folder, "", options.data_path, options.val_list)
    out = Path(options.out) if options.out else options.folder / "tour"

    # Photographs, and their CAMs
    model = load_cam_model(options.folder, device=options.device, classes=layout.classes)
    background, source = background_of(options.folder, model.weights)
    ids = images_of(options.images, options.count, layout, run.val_list)
    subjects = [subject(model, layout, image_id) for image_id in ids]
    print(f"{model.weights}: {len(subjects)} images, background score {background:g} ({source})")

    # Pictures
    write(tokens_picture(model, subjects), out / "tokens.jpg")
    if why := why_no_branch(options.folder, run):
        print(f"left out: diffusion.jpg: {why}")
    else:
        write(diffusion_picture(options.folder, run, model, subjects), out / "diffusion.jpg")
    write(threshold_picture(model, subjects, options.thresholds, background), out / "threshold.jpg")
    try:
        require_crf()
    except InputError as error:
        print(f"left out: crf.jpg: {error}")
    else:
        write(crf_picture(model, subjects, options, background), out / "crf.jpg")


def write(picture: np.ndarray, path: Path) -> None:
    """Writes a picture as a JPEG and says so."""
    with whole_file(path) as file:
        file.write(jpeg(picture))
    print(f"done: {path}")


def subject(model: CamModel, layout: Layout, image_id: str) -> Subject:
    """An image with its CAMs.

    Raises:
        InputError: it is missing, cannot be read, or has no label.
    """
    image = open_rgb(layout.image_path(image_id), model.white)
    labels = layout.labels([image_id])[0].nonzero()[0].tolist()
    if not labels:
        raise InputError(f"{image_id} has no label, so that there is no CAM to show")
    prediction, size = model.predict(image)
    maps = prediction.cams(0, torch.tensor(labels, device=model.precision.device), size).cpu().numpy()
    truth = read_truth(layout, image_id) if layout.mask_path(image_id).exists() else None
    return Subject(image_id, image, dict(zip(labels, maps, strict=True)), truth)


@torch.no_grad()
def tokens_picture(model: CamModel, subjects: Sequence[Subject]) -> np.ndarray:
    """For each class in an image: its token's attention to patches, its patch CAM, and how both become the CAM."""
    headings = [
        "photograph",
        "class token:\nits attention to patches",
        "patch CAM",
        "attention x patch CAM,\nspread by patch attention",
        "patch CAM,\nspread by patch attention",
        f"CAM of infer_trm.py\n(--cam {model.net.cam_kind})",
    ]
    rows = []
    for one in subjects:
        (pixels,) = network_pixels(one.image, model.shorter_side, cap=model.cap)
        output = model.net(model.net.normalize(batch_of(pixels, model)))
        maps = (
            output.class_attention,
            output.patch_cam,
            output.refined_cam,
            spread(output.patch_cam, output.patch_attention),
        )
        for label in shown(one):
            name = f"{one.image_id}: {model.classes[label]}"
            cam = cam_overlay(small(one.pixels), small(one.cams[label]))
            rows.append([Cell(small(one.pixels), name), *[heat(one.pixels, part[0, label]) for part in maps], Cell(cam)])
    note = f"{HEAT} The last column adds the mirrored image, and all sizes of --infer_scales."
    return picture_table([Group(rows)], SIDE, "What the transformer sees of a class", note, headings)


def why_no_branch(folder: Path, run: TrainOptions) -> str:
    """Why a run has no diffusion branch to show; empty if it has one."""
    if not DiGLoss(run.W, run.T, run.A, run.start_epoch, run.guided_from).has_diffusion_branch:
        return f"the run was trained without LFCA, with --W {show(run.W)}"
    if run.guided_from >= run.epochs:
        return f"LFCA has learnt nothing with --guided-from {run.guided_from}"
    if run.guide != "denoiser":
        return f"the run was guided by something else in part, with --guide {run.guide}"
    if not last_file(folder).is_file():
        return f"{last_file(folder)} is missing, and the weights of an epoch are without LFCA"
    denoiser = published_spelling(Path(run.diffusion_weights))
    if run.diffusion_weights != "random" and not denoiser.is_file():
        return f"the denoiser {denoiser} is missing"
    return ""


def diffusion_branch(folder: Path, run: TrainOptions, model: CamModel) -> tuple[DiG, Guidance]:
    """The network with LFCA from the last checkpoint, and the denoiser that guided it.

    Raises:
        InputError: checkpoint or denoiser are missing, damaged, or do not fit.
    """
    log = RunLog(folder, silent=True)
    torch.manual_seed(run.seed_of("weights"))  # of a random denoiser, as in training
    denoiser = load_denoiser(run.diffusion_weights, run.diffusion_dim, run.input_size)
    architecture = dataclasses.replace(run, resume=True)  # does not load initial weights
    net = build_network(len(model.classes), denoiser.model.feature_channels, architecture, log)
    last = last_file(folder)
    content = load_file(last)
    averaged = content.get("ema", content) if isinstance(content, Mapping) else content
    load_strictly(net, state_dict_of(averaged, last), last)
    device = model.precision.device
    return net.to(device).eval(), Guidance(denoiser, **guidance_settings(net.patch_size, run)).to(device)


class Guided(NamedTuple):
    """An image as training sees it. S is its side in pixels, s that of the denoiser's images."""

    noisy: Tensor  # (1, 3, s, s) in [0, 1]
    denoised: Tensor  # (1, 3, S, S)
    output: DiGOutput  # of the image, with the diffusion branch
    denoised_output: DiGOutput


@torch.no_grad()
def guided(net: DiG, guidance: Guidance, image01: Tensor, seed: int) -> Guided:
    """Runs both branches on an image (1, 3, S, S) in [0, 1], with the noise of a seed."""
    shape = guidance.noise_shape(image01)
    noise = {t: sample_noise(seed, 0, [0], t, shape, image01.device) for t in (*guidance.feature_steps, guidance.image_step)}
    features, denoised = guidance(image01, noise)
    noisy, _ = guidance.noised(image01, guidance.image_step, noise)
    noisy = (noisy / guidance.denoiser.sqrt_alphas_cumprod[guidance.image_step] + 1) / 2  # as bright as the photograph
    return Guided(noisy.clamp(0, 1), denoised, net(net.normalize(image01), features), net(net.normalize(denoised)))


def diffusion_picture(folder: Path, run: TrainOptions, model: CamModel, subjects: Sequence[Subject]) -> np.ndarray:
    """For each class in an image: the denoised image, and the CAMs of both branches, as in training."""
    net, guidance = diffusion_branch(folder, run, model)
    headings = [
        f"photograph as in training,\n{run.input_size} x {run.input_size} pixels",
        f"with the noise\nof step {run.image_step}",
        "denoised\nin one step",
        "patch CAM\nof the transformer",
        "CAM of LFCA",
        "patch CAM\nof the denoised image",
    ]
    rows = []
    for one in subjects:
        square = one.image.resize((run.input_size, run.input_size), Image.Resampling.BICUBIC)
        pixels = torch.from_numpy(np.array(square)).permute(2, 0, 1)
        seen = guided(net, guidance, batch_of(pixels, model), run.seed)
        picture = np.asarray(square)
        maps = (seen.output.patch_cam, given(seen.output.diffusion_cam), seen.denoised_output.patch_cam)
        for label in shown(one):
            images = [Cell(picture, f"{one.image_id}: {model.classes[label]}")]
            images += [Cell(as_picture(seen.noisy)), Cell(as_picture(seen.denoised))]
            rows.append([*images, *[heat(picture, part[0, label]) for part in maps]])
    return picture_table([Group(rows)], SIDE, "What the diffusion branch adds", HEAT, headings)


def threshold_picture(
    model: CamModel, subjects: Sequence[Subject], thresholds: Sequence[float], background: float
) -> np.ndarray:
    """For each image: the CAM of its first class with a line at `background`, and the mask at each threshold."""
    scores = sorted({*thresholds, background})
    headings = [f"background score {t:.2f}" + ("\nthe run's own" if t == background else "") for t in scores]
    rows, labels = [], set()
    for one in subjects:
        masks = [threshold_mask(one.cams, one.pixels.shape[:2], (t,)) for t in scores]
        label = shown(one)[0]
        cam = outlined(small(one.pixels), small(one.cams[label]), background)
        rows.append([Cell(small(one.pixels), one.image_id), Cell(cam, model.classes[label]), *masked(one, masks, model)])
        labels |= labels_in(one, masks)
    note = f"{MASKS} The white line in the CAM is at {background:.2f}."
    title = "What the threshold does"
    return picture_table(
        [Group(rows)],
        SIDE,
        title,
        note,
        ["photograph", "CAM", *headings, *["true mask"] * scored(subjects)],
        legend(labels, model),
    )


def crf_picture(model: CamModel, subjects: Sequence[Subject], options: TourOptions, background: float) -> np.ndarray:
    """For each image: the mask of its CAMs, and those of the CRF."""
    rows, labels = [], set()
    for one in subjects:
        masks = [threshold_mask(one.cams, one.pixels.shape[:2], (background,))]
        masks += [score_mask([refine(one.pixels, one.cams, alpha, options)]) for alpha in options.alphas]
        rows.append([Cell(small(one.pixels), one.image_id), *masked(one, masks, model)])
        labels |= labels_in(one, masks)
    headings = ["photograph", f"CAMs,\nbackground score {background:.2f}"]
    headings += [f"dense CRF,\nalpha {alpha:g}" for alpha in options.alphas]
    reach = f"colours within {options.bilateral_sxy:g} pixels and {options.bilateral_srgb:g} grey levels"
    title = f"What the dense CRF changes ({reach})"
    return picture_table(
        [Group(rows)], SIDE, title, MASKS, [*headings, *["true mask"] * scored(subjects)], legend(labels, model)
    )


def masked(one: Subject, masks: Sequence[np.ndarray], model: CamModel) -> list[Cell]:
    """Masks over an image with their scores, and the true mask where there is one."""
    classes, picture = len(model.classes), small(one.pixels)
    if one.truth is None:
        return [Cell(painted(picture, mask)) for mask in masks]
    captions = [percent("mIoU", mean_iou(class_iou(mask, one.truth, classes))) for mask in masks]
    cells = [Cell(painted(picture, mask), caption) for mask, caption in zip(masks, captions, strict=True)]
    return [*cells, Cell(painted(picture, one.truth))]


def labels_in(one: Subject, masks: Sequence[np.ndarray]) -> set[int]:
    """All values in the masks of an image, the true one included."""
    truth = [] if one.truth is None else [one.truth]
    return {int(value) for mask in (*masks, *truth) for value in np.unique(mask)}


def legend(labels: Set[int], model: CamModel) -> list[Entry]:
    """Legend entries for the values in masks."""
    names = ("background", *model.classes)
    entries = [Entry(names[c], PALETTE[c & 255] if c else BACKGROUND) for c in sorted(labels) if c < len(names)]
    return [*entries, *[Entry("not scored", PALETTE[IGNORE])] * (max(labels, default=0) >= len(names))]


def scored(subjects: Sequence[Subject]) -> bool:
    """Whether any of the images has a true mask."""
    return any(one.truth is not None for one in subjects)


def shown(one: Subject) -> list[int]:
    """The classes of an image that are shown."""
    return list(one.cams)[:CLASSES_SHOWN]


def batch_of(pixels: Tensor, model: CamModel) -> Tensor:
    """Pixels (3, H, W) uint8 as a batch of one image in [0, 1], on the network's device."""
    return pixels[None].to(model.precision.device).float() / 255


def heat(image: np.ndarray, cam: Tensor) -> Cell:
    """A map (h, w) over its image (H, W, 3), normalised and upsampled as CAMs are."""
    picture = small(image)
    full = F.interpolate(cam[None, None].float(), picture.shape[:2], mode="bilinear")
    overlay = cam_overlay(picture, normalize_cam(full)[0, 0].cpu().numpy())
    return Cell(overlay, "" if cam.max() > 0 else "no positive score")


def small(picture: np.ndarray) -> np.ndarray:
    """A picture (H, W, 3) uint8, or a map (H, W), resized to a longer side of `SIDE`."""
    factor = SIDE / max(picture.shape[:2])
    size = (max(1, round(picture.shape[1] * factor)), max(1, round(picture.shape[0] * factor)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR))


def as_picture(image01: Tensor) -> np.ndarray:
    """One image (1, 3, H, W) in about [0, 1] as (H, W, 3) uint8."""
    return (image01[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()


if __name__ == "__main__":
    run_script(main, memory_advice(TourOptions))
