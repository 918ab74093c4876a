"""Small good inputs of every kind, and how the scripts and another reader read each."""

import contextlib
import csv
import io
import json
import re
import xml.etree.ElementTree as ElementTree
import zlib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from pycocotools.coco import COCO
from scipy.io import savemat

import infer_trm
from datasets.images import InferenceImages, TrainingImages, Visit
from datasets.labels.classes import COCO_CLASSES, VOC_CLASSES, class_names
from datasets.layouts.coco import CocoLayout
from datasets.layouts.coco_annotations import class_indices, load_annotations
from datasets.layouts.voc import VocLayout
from datasets.prepare import sbd_mask, write_coco_mask
from diffusion import build_denoiser
from diffusion.trained import load_denoiser
from evaluation import Job
from models import build_dig
from tests.helpers.toy_data import make_toy_coco, make_toy_voc, write_json, write_lines
from utils.cams.files import read_cam_dict, write_cam_dict
from utils.cams.masks import read_mask
from utils.experiment.folder import read_scores
from utils.experiment.saved import load_run, save_options
from utils.images import open_rgb
from utils.options.training import TrainOptions
from utils.scoring.metrics import SWEEP
from utils.training.checkpoint import load_last, load_strictly, save_file, state_dict_of

from . import SMALL_NETWORK

ID = "2007_000001"


class Kind(NamedTuple):
    """A kind of input."""

    path: Path  # where the damaged file is put, and a good one is now
    read: Callable[[Path], tuple[Any, Any]]  # what the scripts read, and what the bytes say otherwise
    others: tuple[Path, ...] = ()  # good files of its kind


def make_kinds(folder: Path) -> dict[str, Kind]:
    """Good files of every kind in a folder, with the ways to read them."""
    voc, coco, run = make_toy_voc(folder / "VOC2012"), make_toy_coco(folder / "COCO2014"), folder / "run"
    table = make_toy_coco(folder / "table")  # labels from a table instead of annotations
    options = TrainOptions(
        name="run",
        exp="dig_nano",
        experiments=str(folder),
        feature_steps=(0, 2),
        **SMALL_NETWORK,
    )
    save_options(options, VOC_CLASSES)
    images = make_images(folder / "images")
    checkpoints = make_checkpoints(run, options)
    write_lines(voc / "classes.txt", *VOC_CLASSES)
    write_json(run / "scores.json", {str(epoch): {"miou": 10.5 + epoch, "threshold": 0.1} for epoch in range(3)})
    make_cams(voc, run / "dict")
    for number in range(2):
        mask = np.random.default_rng(number).integers(0, 21, (12, 10), np.uint8)
        content = {"Segmentation": mask, "CategoriesPresent": np.unique(mask), "Boundaries": np.zeros(20)}
        savemat(folder / f"{number}.mat", {"GTcls": content}, do_compression=number == 1)
    (table / "annotations" / "instances_train2014.json").unlink()
    layout = CocoLayout(coco)
    lines = [",".join((image_id, *names_of(layout, image_id))) for image_id in layout.read_list("train2014")]
    labels = write_lines(table / "annotations" / "labels_train2014.csv", *lines)
    numbers = write_lines(folder / "numbers.txt", "9", "COCO_train2014_000000000025.jpg", "000000000030", "34")

    own_list = voc / "ImageSets" / "Segmentation" / "train.txt"
    masks, annotations = sorted((voc / "SegmentationClass").iterdir()), sorted((voc / "Annotations").iterdir())
    instances = coco / "annotations" / "instances_train2014.json"
    job = Job("cam", run / "dict", voc / "SegmentationClass", 20, VocLayout(voc))

    def counted(path: Path) -> tuple[Any, Any]:
        return job.count([ID]), count(job, ID)

    return {
        **{f"image {path.name}": Kind(path, read_image, tuple(images)) for path in images},
        "mask": Kind(masks[1], counted, tuple(masks)),
        "CAM dict": Kind(run / "dict" / f"{ID}.npy", read_cams_and(counted), tuple(sorted((run / "dict").iterdir()))),
        "annotation": Kind(annotations[1], lambda path: read_annotation(voc, path), tuple(annotations)),
        "list": Kind(own_list, lambda path: (VocLayout(voc).read_list("train"), ids_in(path))),
        "list of COCO": Kind(numbers, lambda path: (layout.read_list(str(path)), coco_ids_in(path))),
        "classes": Kind(voc / "classes.txt", lambda path: (class_names(voc), classes_in(path))),
        "instances": Kind(instances, lambda path: read_instances(coco, folder / "drawn", path)),
        "table": Kind(labels, lambda path: read_table(table, path)),
        "options": Kind(run / "options.json", lambda path: read_options(run, path)),
        "scores": Kind(run / "scores.json", lambda path: (read_scores(run), dict(json.loads(path.read_text())))),
        **{f"{number}.mat": Kind(folder / f"{number}.mat", read_mat, (folder / "0.mat",)) for number in range(2)},
        **{f"checkpoint {path.name}": Kind(path, read, (path,)) for path, read in checkpoints.items()},
    }


def make_images(folder: Path) -> list[Path]:
    """Small images of several kinds."""
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    image, exif = Image.fromarray(pixels), Image.Exif()
    exif[0x0112] = 6
    image.save(folder / "plain.jpg")
    image.save(folder / "turned.jpg", exif=exif)
    image.convert("CMYK").save(folder / "cmyk.jpg", progressive=True)
    image.save(folder / "plain.png")
    image.convert("P").save(folder / "palette.png", transparency=3)
    Image.fromarray(pixels[:, :, 0].astype(np.uint16) * 256).save(folder / "deep.png")
    image.save(folder / "plain.webp")
    return sorted(folder.iterdir())


def make_cams(voc: Path, folder: Path) -> None:
    """A CAM dict for every mask of a data set."""
    for path in sorted((voc / "SegmentationClass").iterdir()):
        with Image.open(path) as image:
            mask = np.array(image)
        classes = sorted({*mask.flat} - {0, 255})
        write_cam_dict(folder / f"{path.stem}.npy", {c - 1: np.where(mask == c, 0.5, 0.25) for c in classes})


def make_checkpoints(run: Path, options: TrainOptions) -> dict[Path, Callable]:
    """Checkpoints of every kind, with the ways to read them."""
    folder = run / "ckpt"
    torch.manual_seed(0)
    denoiser = build_denoiser(8, 32)
    net = build_dig(20, feature_steps=2, feature_channels=denoiser.model.feature_channels, **options.architecture)
    bare = build_dig(20, lfca=False, **options.architecture)
    optimizer = torch.optim.AdamW(net.parameters())
    sum(p.square().sum() for p in net.parameters()).backward()
    optimizer.step()
    last = {"epoch": 1, "step": 2, "sums": {"cls": 0.5}, "model": net.state_dict(), "optimizer": optimizer.state_dict()}
    own = bare.state_dict()
    save_file(own, folder / "000net_trm.pth")
    save_file(last, folder / "last.pth")
    save_file({"step": 3, "model": denoiser.state_dict()}, folder / "denoiser.pt")
    torch.save(own, folder / "old.pth", _use_new_zipfile_serialization=False)

    def read_weights(path: Path) -> tuple[Any, Any]:
        return infer_trm.load_network(path, 20, options).state_dict(), own

    def read_old(path: Path) -> tuple[Any, Any]:
        """Of the format without checksums, what is damaged among the weights cannot be known."""
        found = infer_trm.load_network(path, 20, options).state_dict()
        state = state_dict_of(torch.load(path, weights_only=True), path)
        return found, {name: state[name].to(value.dtype) for name, value in own.items()}

    def read_last(path: Path) -> tuple[Any, Any]:
        content = load_last(path, warn=print)
        load_strictly(net, state_dict_of(content, path), path)
        return content, last

    def read_denoiser(path: Path) -> tuple[Any, Any]:
        return load_denoiser(str(path), 8, options.input_size).state_dict(), denoiser.state_dict()

    return {
        folder / "000net_trm.pth": read_weights,
        folder / "old.pth": read_old,
        folder / "last.pth": read_last,
        folder / "denoiser.pt": read_denoiser,
    }


def read_image(path: Path) -> tuple[Any, Any]:
    """Pixels as every data set sees them, and by PIL and a table of turns."""
    found = np.array(open_rgb(path))
    sample = InferenceImages([ID], [path], np.ones((1, 3), bool))[0]
    TrainingImages([path], np.ones((1, 3), bool), 16, (0.3, 1.2), (0.75, 1.33), 0)[Visit(0, 0)]
    with Image.open(io.BytesIO(path.read_bytes())) as image:
        image.load()
        turn = TURNS.get(image.getexif().get(0x0112), TURNS[1])
        if image.mode.startswith("I"):
            grey = np.array(image).astype(np.int64)
            expected = np.stack([np.clip(grey, 0, 65535) // 257] * 3, 2).astype(np.uint8)
        else:
            expected = np.array(image.convert("RGB"))
    expected = turn(expected)
    return (found, sample.pixels[0].permute(1, 2, 0).numpy(), sample.size), (expected, expected, expected.shape[:2])


TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}
"""How the pixels of an image are turned upright, by EXIF's orientation."""


def count(job: Job, image_id: str) -> np.ndarray:
    """What `Job.count` counts for CAMs of an image, by another way: pixel by pixel, threshold by threshold."""
    with Image.open(job.truth / f"{image_id}.png") as image:
        mask = np.array(image)
    cams = np.load(job.predictions / f"{image_id}.npy", allow_pickle=True).item()
    scores = np.zeros((20, *mask.shape), np.float32)
    for c, cam in cams.items():
        scores[c] = np.maximum(cam.astype(np.float32), 0)
    counts = np.zeros((3, 21, len(SWEEP) + 1), np.int64)
    exceeded = (scores.max(0)[..., None] > np.array(SWEEP, np.float32)).sum(-1)
    for y, x in np.argwhere(mask != 255):
        best, truth = scores[:, y, x].argmax() + 1, mask[y, x]
        counts[0, best, exceeded[y, x]] += 1
        counts[1, truth, exceeded[y, x]] += truth in (0, best)
        counts[2, truth, 0] += 1
    return counts


def read_cams_and(then: Callable[[Path], tuple[Any, Any]]) -> Callable[[Path], tuple[Any, Any]]:
    """Reads a CAM dict, by NumPy too where it is admitted, and scores it."""

    def read(path: Path) -> tuple[Any, Any]:
        found = read_cam_dict(path)
        content = np.load(path, allow_pickle=True).item()
        expected = {int(c): np.ascontiguousarray(content[c].astype(np.float32)) for c in sorted(content)}
        scored, counted = then(path)
        return (found, scored), (expected, counted)

    return read


def read_annotation(root: Path, path: Path) -> tuple[Any, Any]:
    """The labels of an image, and by the names of the objects."""
    found = VocLayout(root).labels([path.stem])
    things = ElementTree.fromstring(path.read_bytes()).iter("object")
    names = {thing.find("name").text.strip() for thing in things}
    return found, np.array([[name in names for name in VOC_CLASSES]])


def text_lines(path: Path) -> list[str]:
    """Lines of a text file that are not empty."""
    return [line.strip() for line in path.read_bytes().decode("utf-8-sig").splitlines() if line.strip()]


def ids_in(path: Path) -> list[str]:
    """The image ids of a list."""
    return [re.sub(r"(?<=.)\.(jpg|png|jpeg|JPEG)$", "", line.split()[0].split("/")[-1]) for line in text_lines(path)]


def coco_ids_in(path: Path) -> list[str]:
    """The image ids of a list of COCO's training images."""
    return [f"COCO_train2014_{int(image_id.split('_')[-1]):012d}" for image_id in ids_in(path)]


def classes_in(path: Path) -> tuple[str, ...]:
    """The names in classes.txt."""
    return tuple(text_lines(path))


def names_of(layout: CocoLayout, image_id: str) -> list[str]:
    """The classes in an image."""
    return [name for name, there in zip(layout.classes, layout.labels([image_id])[0], strict=True) if there]


def read_table(root: Path, path: Path) -> tuple[Any, Any]:
    """The labels of two images, and by the lines of the table."""
    layout = CocoLayout(root)
    ids = layout.read_list("train2014")[:2]
    found = layout.labels(ids)
    text = io.StringIO(path.read_bytes().decode("utf-8-sig"), newline="")
    rows = {int(Path(row[0]).stem.split("_")[-1]): row[1:] for row in csv.reader(text)}
    return found, np.array([[name in rows[int(i.split("_")[-1])] for name in COCO_CLASSES] for i in ids])


def read_instances(root: Path, drawn: Path, path: Path) -> tuple[Any, Any]:
    """Labels and masks of COCO's annotations, and by its own reader, painted from front to back."""
    layout = CocoLayout(root)
    ids = layout.read_list("train2014")
    labels = layout.labels(ids)
    ours = load_annotations(path, COCO_CLASSES)
    index, masks = class_indices(ours), {}
    for number, image in ours.imgs.items():
        place = drawn / f"{Path(image['file_name']).stem}.png"
        write_coco_mask((place, ours.imgToAnns[number], image["height"], image["width"]), index, "ignore")
        masks[number] = read_mask(place, (image["height"], image["width"]), 80)
    content = json.loads(path.read_text())
    present = {(entry["image_id"], entry["category_id"]) for entry in content["annotations"]}
    categories = sorted({entry["id"] for entry in content["categories"]})
    expected = np.array([[(int(i.split("_")[-1]), c) in present for c in categories] for i in ids])
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = COCO(str(path))
    return (labels, masks), (expected, {number: paint(theirs, number, categories) for number in theirs.imgs})


def paint(coco: COCO, number: int, categories: list[int]) -> np.ndarray:
    """The mask of an image, in which a pixel keeps the first value it gets."""
    size = coco.imgs[number]
    mask = np.zeros((size["height"], size["width"]), np.uint8)
    regions = [(bool(entry.get("iscrowd", 0)), coco.annToMask(entry), entry) for entry in coco.imgToAnns[number]]
    for crowd, pixels, entry in sorted(regions, key=lambda r: (r[0], int(r[1].sum()), -r[2]["id"])):
        mask[(mask == 0) & (pixels == 1)] = 255 if crowd else categories.index(entry["category_id"]) + 1
    return mask


def read_options(run: Path, path: Path) -> tuple[Any, Any]:
    """The options and classes of a run, and those in the text."""
    options, classes = load_run(run)
    content = json.loads(path.read_text())
    values = asdict(TrainOptions(name="x")) | content["options"]
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
    saved = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(options).items()}
    return (saved, classes, options.scaled_lr > -1), ({name: plain[name] for name in saved}, content["classes"], True)


def read_mat(path: Path) -> tuple[Any, Any]:
    """The pixels of an annotation of SBD; whether its bytes hold them, and their size before them, unpacked or not."""
    mask, data = sbd_mask(path), path.read_bytes()
    streams = [data]
    with contextlib.suppress(zlib.error):
        streams.append(zlib.decompressobj().decompress(data[136:]))
    pixels, size = mask.tobytes(order="F"), np.array(mask.shape, np.int32).tobytes()
    return mask.dtype == np.uint8, any(size in stream and pixels in stream for stream in streams)
