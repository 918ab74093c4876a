"""Preparing releases: COCO's masks and labels against pycocotools, VOC's augmented set, restarts and refusals."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from scipy.io import savemat

from datasets.classes import COCO_CLASSES
from datasets.coco import CocoLayout
from datasets.prepare import main as prepare
from datasets.prepare import sbd_mask
from datasets.voc import VocLayout
from utils.errors import InputError
from utils.masks import read_mask, voc_palette

from .shared import COCO_MINI, needs_coco_mini
from .toy import COCO_OBJECTS, coco_stem, make_toy_coco, make_toy_voc, write_json, write_lines

# Decoding in pycocotools: newer NumPy asks for more than it offers.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SPLITS = ("train2014", "val2014")
VOC_IDS = [f"2007_{i:06d}" for i in range(6)]
SBD_IDS = ["2008_000000", "2008_000001"]
"""Images that only SBD has masks of."""


def prepare_coco(root: Path, extra: str = "") -> None:
    prepare(f"coco --data_path {root} --num_workers 1 {extra}".split())


def prepare_voc(root: Path, extra: str = "") -> None:
    prepare(f"voc --data_path {root} --num_workers 1 {extra}".split())


def change(path: Path, edit: Callable[[dict], object]) -> None:
    content = json.loads(path.read_text())
    edit(content)
    write_json(path, content)


def states(folder: Path, pattern: str = "*.png") -> dict[str, tuple[int, int]]:
    """What changes when a file is written anew."""
    return {str(p): (p.stat().st_ino, p.stat().st_mtime_ns) for p in folder.rglob(pattern)}


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def load(path: Path) -> COCO:
    """COCO's own reader."""
    return COCO(str(path))


def in_front(coco: COCO, image: int) -> list[dict]:
    """Annotations from front to back: the smallest instance first, of one size the last in the file; crowds behind."""
    annotations = coco.loadAnns(coco.getAnnIds(image))
    return sorted(annotations, key=lambda a: (a["iscrowd"], coco.annToMask(a).sum(), -a["id"]))


def reference_mask(coco: COCO, image: int, crowds: str) -> np.ndarray:
    """A mask painted from front to back: a pixel keeps the first value it gets."""
    size = coco.loadImgs(image)[0]
    mask = np.zeros((size["height"], size["width"]), np.uint8)
    for annotation in in_front(coco, image):
        name = coco.loadCats(annotation["category_id"])[0]["name"]
        value = COCO_CLASSES.index(name) + 1
        if annotation["iscrowd"]:
            value = {"ignore": 255, "class": value, "background": 0}[crowds]
        mask[(mask == 0) & coco.annToMask(annotation).astype(bool)] = value
    return mask


def why_unseen(coco: COCO, image: int, category: int) -> str:
    """Why a mask shows nothing of a category that its image is labelled with; empty where it should."""
    free = np.ones_like(coco.annToMask(coco.loadAnns(coco.getAnnIds(image))[0]), bool)
    pixels = instances = 0
    for annotation in in_front(coco, image):
        shape = coco.annToMask(annotation).astype(bool)
        if annotation["category_id"] == category and not annotation["iscrowd"]:
            instances += 1
            pixels += shape.sum()
            if (shape & free).any():
                return ""
        free &= ~shape
    if not instances:
        return "only a crowd"
    return "behind smaller objects" if pixels else "no pixel"


def unseen(root: Path, masks: Path) -> dict[tuple[int, str], str]:
    """(image, class) of all labels of a data set that its masks do not show, and why.

    Fails where a mask shows a class that its image is not labelled with.
    """
    found = {}
    for split in SPLITS:
        coco = load(root / "annotations" / f"instances_{split}.json")
        layout = CocoLayout(root)
        ids = layout.read_list(split)
        assert len(ids) == len(coco.imgs)
        for image_id, row in zip(ids, layout.labels(ids), strict=True):
            image = int(image_id[-12:])
            shown = set(np.unique(read_mask(masks / split / f"{image_id}.png", None, 80)).tolist()) - {0, 255}
            labelled = set((np.flatnonzero(row) + 1).tolist())
            assert shown <= labelled, image_id
            for value in labelled - shown:
                name = COCO_CLASSES[value - 1]
                found[image, name] = why_unseen(coco, image, coco.getCatIds(catNms=[name])[0])
    return found


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """The tiny data set, prepared; tests only read it."""
    root = make_toy_coco(tmp_path_factory.mktemp("prepared") / "COCO2014")
    prepare_coco(root)
    return root


@pytest.fixture(scope="module")
def prepared_mini(tmp_path_factory) -> Path:
    """The real images, prepared in a folder that links to them; tests only read it."""
    root = tmp_path_factory.mktemp("mini") / "COCO2014"
    (root / "annotations").mkdir(parents=True)
    for split in SPLITS:
        (root / split).symlink_to(COCO_MINI / split)
        name = f"annotations/instances_{split}.json"
        (root / name).symlink_to(COCO_MINI / name)
    prepare(f"coco --data_path {root} --num_workers 2".split())
    return root


@pytest.mark.parametrize("crowds", ["ignore", "class", "background"])
def test_masks_agree_with_pycocotools(toy_coco, crowds):
    prepare_coco(toy_coco, f"--crowds {crowds}")
    for split in SPLITS:
        coco = load(toy_coco / "annotations" / f"instances_{split}.json")
        for image in coco.getImgIds():
            mask = read_mask(toy_coco / "SegmentationClass" / split / f"{coco_stem(split, image)}.png", None, 80)
            np.testing.assert_array_equal(mask, reference_mask(coco, image, crowds), err_msg=str(image))


@needs_coco_mini
@pytest.mark.parametrize("split", SPLITS)
def test_masks_of_real_images_agree_with_pycocotools(prepared_mini, split):
    coco = load(COCO_MINI / "annotations" / f"instances_{split}.json")
    assert len(coco.getImgIds()) > 60
    for image in coco.getImgIds():
        mask = read_mask(prepared_mini / "SegmentationClass" / split / f"{coco_stem(split, image)}.png", None, 80)
        np.testing.assert_array_equal(mask, reference_mask(coco, image, "ignore"), err_msg=str(image))


@pytest.mark.parametrize("split", SPLITS)
def test_labels_agree_with_pycocotools(prepared, split):
    agree_on_labels(prepared, split)


@needs_coco_mini
@pytest.mark.parametrize("split", SPLITS)
def test_labels_of_real_images_agree_with_pycocotools(prepared_mini, split):
    agree_on_labels(prepared_mini, split)


def agree_on_labels(root: Path, split: str) -> None:
    """Labels from the JSON and from the table that was written must be what pycocotools finds for each class."""
    source = root / "annotations" / f"instances_{split}.json"
    coco, layout = load(source), CocoLayout(root)
    ids = layout.read_list(split)
    expected = np.zeros((len(ids), 80), bool)
    for c, name in enumerate(COCO_CLASSES):
        images = {coco_stem(split, i) for i in coco.getImgIds(catIds=coco.getCatIds(catNms=[name]))}
        expected[:, c] = [image_id in images for image_id in ids]
    assert expected.any()
    np.testing.assert_array_equal(layout.labels(ids), expected)
    hidden = source.rename(source.with_suffix(".hidden"))
    try:
        assert layout.label_source(split).suffix == ".csv"
        np.testing.assert_array_equal(layout.labels(ids), expected)
    finally:
        hidden.rename(source)


def test_labels_that_masks_do_not_show_are_crowds_or_hidden(prepared):
    assert unseen(prepared, prepared / "SegmentationClass") == {
        (25, "person"): "only a crowd",
        (30, "chair"): "behind smaller objects",
        (36, "tie"): "no pixel",
    }


@needs_coco_mini
def test_masks_of_real_images_show_all_labels_but_those_that_are_hidden(prepared_mini):
    reasons = unseen(prepared_mini, prepared_mini / "SegmentationClass")
    assert all(reasons.values()), reasons


@needs_coco_mini
def test_masks_of_real_images_are_close_to_the_release_of_others(prepared_mini):
    equal = pixels = 0
    for path in (prepared_mini / "SegmentationClass").glob("*/*.png"):
        ours = read_mask(path, None, 80)
        theirs = read_mask(COCO_MINI / "SegmentationClass" / path.parent.name / path.name, ours.shape, 80)
        equal, pixels = equal + (ours == theirs).sum(), pixels + ours.size
    assert equal / pixels > 0.97


def test_the_table_has_a_line_for_every_image_in_order(prepared):
    lines = (prepared / "annotations" / "labels_train2014.csv").read_text().splitlines()
    assert lines == [
        "COCO_train2014_000000000009,cat,dog",
        "COCO_train2014_000000000025,person,car",
        "COCO_train2014_000000000030,chair,couch,tv",
        "COCO_train2014_000000000034",
        "COCO_train2014_000000000036,person,tie",
        "COCO_train2014_000000000049,horse,toothbrush",
    ]


def test_masks_are_found_by_the_layout(prepared):
    layout = CocoLayout(prepared)
    ids = [i for split in SPLITS for i in layout.read_list(split)]
    assert all(layout.mask_path(i).is_file() for i in ids)


def test_masks_have_the_colours_of_voc(prepared):
    with Image.open(prepared / "SegmentationClass" / "train2014" / "COCO_train2014_000000000009.png") as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.array(image.convert("RGB")), voc_palette()[np.array(image)])


def test_preparation_says_what_it_did(toy_coco, capsys):
    prepare_coco(toy_coco)
    out = capsys.readouterr().out
    assert f"train2014: 6 masks written to {toy_coco}/SegmentationClass/train2014, 0 were there" in out
    assert f"val2014: {toy_coco}/annotations/labels_val2014.csv, 1 of 4 images without a label" in out


def test_the_number_of_processes_changes_no_mask(toy_coco, prepared):
    prepare_coco(toy_coco, "--num_workers 2")
    for path in (prepared / "SegmentationClass").rglob("*.png"):
        assert (toy_coco / path.relative_to(prepared)).read_bytes() == path.read_bytes()


def test_one_split_may_be_prepared_alone(toy_coco):
    prepare_coco(toy_coco, "--splits val2014")
    assert names_in(toy_coco / "SegmentationClass") == {"val2014", "val2014.made_with.json"}
    assert names_in(toy_coco / "annotations") == {
        "instances_train2014.json",
        "instances_val2014.json",
        "labels_val2014.csv",
    }


def test_masks_go_where_they_are_told(toy_coco, tmp_path):
    prepare_coco(toy_coco, f"--out {tmp_path}/masks")
    assert len(states(tmp_path / "masks")) == 10
    assert not (toy_coco / "SegmentationClass").exists()


def test_a_second_run_writes_no_mask(toy_coco, capsys):
    prepare_coco(toy_coco)
    before = states(toy_coco)
    capsys.readouterr()
    prepare_coco(toy_coco)
    assert states(toy_coco) == before
    assert len(before) == 10
    assert "train2014: 0 masks written" in capsys.readouterr().out


def test_a_run_that_was_stopped_writes_what_is_missing(toy_coco):
    prepare_coco(toy_coco)
    masks = toy_coco / "SegmentationClass"
    lost = masks / "train2014" / "COCO_train2014_000000000030.png"
    content, before = lost.read_bytes(), states(masks)
    lost.unlink()
    prepare_coco(toy_coco)
    after = states(masks)
    assert {path for path in before if before[path] != after[path]} == {str(lost)}
    assert lost.read_bytes() == content


def test_a_run_leaves_nothing_but_masks_and_its_record(prepared):
    stems = {coco_stem("val2014", image) for image in COCO_OBJECTS["val2014"]}
    assert names_in(prepared / "SegmentationClass" / "val2014") == {f"{stem}.png" for stem in stems}


def test_masks_with_other_crowds_are_not_mixed(toy_coco):
    prepare_coco(toy_coco)
    before = states(toy_coco)
    with pytest.raises(InputError, match=r"SegmentationClass/train2014 was made with crowds .ignore., not "):
        prepare_coco(toy_coco, "--crowds class")
    assert states(toy_coco) == before


def test_masks_of_other_annotations_are_not_mixed(toy_coco):
    prepare_coco(toy_coco)
    change(toy_coco / "annotations" / "instances_train2014.json", lambda content: content["annotations"].pop())
    with pytest.raises(InputError, match="SegmentationClass/train2014 was made with annotations "):
        prepare_coco(toy_coco)


def test_masks_from_elsewhere_are_left_alone(tmp_path):
    root = make_toy_coco(tmp_path, masks=True)
    before = states(root, "*")
    with pytest.raises(InputError, match="SegmentationClass/train2014 holds files from elsewhere"):
        prepare_coco(root)
    assert states(root, "*") == before


def test_damaged_annotations_are_named_and_leave_nothing(toy_coco):
    path = toy_coco / "annotations" / "instances_train2014.json"
    path.write_bytes(path.read_bytes()[:1000])
    before = states(toy_coco, "*")
    with pytest.raises(InputError, match=r"instances_train2014\.json is no file of COCO instances"):
        prepare_coco(toy_coco)
    assert states(toy_coco, "*") == before


def test_repaired_annotations_are_taken(toy_coco):
    path = toy_coco / "annotations" / "instances_train2014.json"
    good = path.read_bytes()
    path.write_bytes(good[:1000])
    with pytest.raises(InputError):
        prepare_coco(toy_coco)
    path.write_bytes(good)
    prepare_coco(toy_coco)
    assert len(states(toy_coco)) == 10


def test_an_unknown_category_is_named(toy_coco):
    path = toy_coco / "annotations" / "instances_val2014.json"
    change(path, lambda content: content["categories"][0].update(name="unicorn"))
    with pytest.raises(InputError, match=r"instances_val2014\.json .*differ in 'unicorn'"):
        prepare_coco(toy_coco, "--splits val2014")


def test_missing_annotations_are_named_before_anything_is_written(toy_coco):
    (toy_coco / "annotations" / "instances_val2014.json").unlink()
    with pytest.raises(InputError, match=r"instances_val2014\.json is missing: it is in annotations_trainval2014\.zip"):
        prepare_coco(toy_coco)
    assert not (toy_coco / "SegmentationClass").exists()


REGIONS = {
    "list index out of range": [],
    "size": {},
    "run lengths that are none": {"counts": [5, 10**6], "size": [43, 57]},
    "a region is": {"counts": [6], "size": [2, 3]},
}


@pytest.mark.parametrize("cause", REGIONS)
def test_a_region_that_cannot_be_drawn_is_named_by_image(toy_coco, cause):
    path = toy_coco / "annotations" / "instances_train2014.json"
    change(path, lambda content: content["annotations"][0].update(segmentation=REGIONS[cause]))
    with pytest.raises(InputError, match=rf"annotations of COCO_train2014_000000000009 cannot be drawn: .*{cause}"):
        prepare_coco(toy_coco)


@pytest.mark.parametrize("args", [[], ["imagenet"], ["--help"]])
def test_what_to_prepare_must_be_said(args):
    with pytest.raises(InputError, match=r"say what to prepare: python -m datasets\.prepare coco, or voc"):
        prepare(args)


def test_unknown_crowd_options_are_refused(toy_coco):
    with pytest.raises(InputError, match="--crowds"):
        prepare_coco(toy_coco, "--crowds merge")


def test_as_a_command_bad_input_ends_with_one_line(tmp_path):
    command = [sys.executable, "-m", "datasets.prepare", "coco", "--data-path", str(tmp_path)]
    result = subprocess.run(command, cwd=Path(__file__).resolve().parents[1], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.splitlines()[0].startswith(f"error: {tmp_path}/annotations/instances_train2014.json is missing")
    assert len(result.stderr.splitlines()) == 1


def make_voc(root: Path) -> Path:
    """The tiny VOC data set, and the images of SBD."""
    make_toy_voc(root)
    for source, image_id in zip(VOC_IDS, SBD_IDS, strict=False):
        shutil.copyfile(root / "JPEGImages" / f"{source}.jpg", root / "JPEGImages" / f"{image_id}.jpg")
    return root


def make_sbd(root: Path) -> Path:
    """SBD with an image of VOC's train, one of its val, and two of its own."""
    ids = [*SBD_IDS, VOC_IDS[1], VOC_IDS[4]]
    for seed, image_id in enumerate(ids):
        write_mat(root / "cls" / f"{image_id}.mat", sbd_pixels(seed))
    write_lines(root / "train.txt", *ids[::2])
    write_lines(root / "val.txt", *ids[1::2])
    return root


def sbd_pixels(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 21, (12, 10 + seed), np.uint8)


def write_mat(path: Path, mask: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {"GTcls": {"Segmentation": mask, "CategoriesPresent": np.unique(mask), "Boundaries": np.zeros(20)}})


@pytest.fixture
def voc(tmp_path) -> Path:
    """VOC with SBD inside."""
    make_sbd(tmp_path / "VOC2012" / "SBD")
    return make_voc(tmp_path / "VOC2012")


def test_a_toy_release_of_sbd_is_read_as_torchvision_reads_it(voc):
    from torchvision.datasets import SBDataset

    # Its reader takes images from SBD's own folder; only the masks matter here.
    reader = SBDataset(str(voc / "SBD"), image_set="val", mode="segmentation")
    for path in map(Path, reader.masks):
        np.testing.assert_array_equal(sbd_mask(path), np.array(reader._get_target(str(path))))


def test_sbd_and_train_less_val_become_the_training_list(voc):
    prepare_voc(voc)
    path = voc / "ImageSets" / "Segmentation" / "train_aug.txt"
    assert path.read_text().splitlines() == [*VOC_IDS[:4], *SBD_IDS]


def test_training_takes_the_prepared_list(voc):
    prepare_voc(voc)
    ids, source = VocLayout(voc).training_ids()
    assert (len(ids), Path(source).name) == (6, "train_aug.txt")


def test_masks_of_sbd_keep_their_classes(voc):
    prepare_voc(voc)
    for seed, image_id in enumerate(SBD_IDS):
        mask = read_mask(voc / "SegmentationClassAug" / f"{image_id}.png", None, 20)
        np.testing.assert_array_equal(mask, sbd_pixels(seed))


def test_masks_of_sbd_get_the_colours_of_voc(voc):
    prepare_voc(voc)
    with Image.open(voc / "SegmentationClassAug" / f"{SBD_IDS[0]}.png") as image:
        np.testing.assert_array_equal(np.array(image.convert("RGB")), voc_palette()[sbd_pixels(0)])


def test_masks_of_voc_go_before_those_of_sbd_byte_by_byte(voc):
    prepare_voc(voc)
    for image_id in VOC_IDS[:4]:
        name = f"{image_id}.png"
        assert (voc / "SegmentationClassAug" / name).read_bytes() == (voc / "SegmentationClass" / name).read_bytes()


def test_every_image_of_the_training_list_has_a_mask_and_no_other(voc):
    prepare_voc(voc)
    masks = {path.stem for path in (voc / "SegmentationClassAug").glob("*.png")}
    assert masks == set(VocLayout(voc).read_list("train_aug"))


def test_sbd_may_be_anywhere(tmp_path):
    root = make_voc(tmp_path / "VOC2012")
    make_sbd(tmp_path / "benchmark" / "benchmark_RELEASE" / "dataset")
    prepare_voc(root, f"--sbd_path {tmp_path}/benchmark")
    assert len(states(root / "SegmentationClassAug")) == 6


def test_a_second_preparation_of_voc_writes_no_mask(voc, capsys):
    prepare_voc(voc)
    before = states(voc)
    capsys.readouterr()
    prepare_voc(voc)
    assert states(voc) == before
    assert "0 masks written" in capsys.readouterr().out


def test_a_preparation_of_voc_that_was_stopped_writes_what_is_missing(voc):
    prepare_voc(voc)
    before = states(voc)
    lost = voc / "SegmentationClassAug" / f"{SBD_IDS[1]}.png"
    lost.unlink()
    prepare_voc(voc)
    after = states(voc)
    assert {path for path in before if before[path] != after[path]} == {str(lost)}


def test_augmented_masks_from_elsewhere_are_left_alone(voc):
    (voc / "SegmentationClassAug").mkdir()
    (voc / "SegmentationClassAug" / "2009_000001.png").touch()
    with pytest.raises(InputError, match="SegmentationClassAug holds files from elsewhere"):
        prepare_voc(voc)
    assert names_in(voc / "SegmentationClassAug") == {"2009_000001.png"}


def test_a_missing_image_is_named_before_anything_is_written(voc):
    (voc / "JPEGImages" / f"{SBD_IDS[1]}.jpg").unlink()
    with pytest.raises(InputError, match=rf"{SBD_IDS[1]}\.jpg is missing"):
        prepare_voc(voc)
    assert not (voc / "SegmentationClassAug").exists()


@pytest.mark.parametrize("name", ["val", "train"])
def test_a_missing_list_is_named(voc, name):
    (voc / "ImageSets" / "Segmentation" / f"{name}.txt").unlink()
    with pytest.raises(InputError, match=rf"{name}\.txt is missing"):
        prepare_voc(voc)
    assert not (voc / "ImageSets" / "Segmentation" / "train_aug.txt").exists()


def test_an_unknown_image_in_a_list_of_sbd_is_named(voc):
    write_lines(voc / "SBD" / "train.txt", "2010_000001")
    with pytest.raises(InputError, match=r"2010_000001\.jpg is missing"):
        prepare_voc(voc)


def test_a_folder_that_is_not_sbd_is_refused(tmp_path):
    root = make_voc(tmp_path / "VOC2012")
    with pytest.raises(InputError, match="VOC2012/SBD is not the SBD release"):
        prepare_voc(root)


DAMAGE = {
    "is missing$": lambda path: path.unlink(),
    "is no annotation of SBD: ": lambda path: path.write_bytes(path.read_bytes()[:150]),
    "is no annotation of SBD: [A-Z]": lambda path: path.write_bytes(b""),
    "is no annotation of SBD: KeyError: 'GTcls'": lambda path: savemat(path, {"GTinst": np.zeros(3)}),
    r"it holds float64 \(2, 2\)": lambda path: write_mat(path, np.zeros((2, 2))),
    r"it holds uint8 \(2, 2, 3\)": lambda path: write_mat(path, np.zeros((2, 2, 3), np.uint8)),
    r"it holds uint8 \(2, 2\)": lambda path: write_mat(path, np.full((2, 2), 21, np.uint8)),
}


@pytest.mark.parametrize("message", DAMAGE)
def test_a_damaged_annotation_of_sbd_is_named(voc, message):
    path = voc / "SBD" / "cls" / f"{SBD_IDS[0]}.mat"
    DAMAGE[message](path)
    with pytest.raises(InputError, match=rf"{path.name} .*{message}"):
        prepare_voc(voc)
    assert not (voc / "ImageSets" / "Segmentation" / "train_aug.txt").exists()


class Mirror:
    """Stands for torchvision's downloads: counts them, and fails on demand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.fetched: list[str] = []
        self.broken = ""
        monkeypatch.setattr("torchvision.datasets.VOCSegmentation", self.voc)
        monkeypatch.setattr("torchvision.datasets.SBDataset", self.sbd)

    def voc(self, root: str, year: str, image_set: str, download: bool) -> None:
        assert (year, download) == ("2012", True)
        self.fetch("voc", Path(root))
        make_voc(Path(root) / "VOCdevkit" / "VOC2012")

    def sbd(self, root: str, mode: str, download: bool) -> None:
        assert (mode, download) == ("segmentation", True)
        self.fetch("sbd", Path(root))
        make_sbd(Path(root))

    def fetch(self, name: str, folder: Path) -> None:
        """As a real download, leaves half an archive where it fails."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.tgz").touch()
        if self.broken == name:
            raise RuntimeError("the line went dead")
        self.fetched.append(name)


@pytest.fixture
def mirror(monkeypatch) -> Mirror:
    return Mirror(monkeypatch)


def test_downloads_go_where_the_layout_looks_for_them(tmp_path, mirror):
    prepare_voc(tmp_path / "data" / "VOC2012", "--download")
    assert mirror.fetched == ["voc", "sbd"]
    assert len(VocLayout(tmp_path / "data" / "VOC2012").read_list("train_aug")) == 6


def test_a_release_that_is_there_is_not_fetched(voc, mirror):
    prepare_voc(voc, "--download")
    assert mirror.fetched == []


def test_nothing_is_fetched_unasked(tmp_path, mirror):
    with pytest.raises(InputError, match="JPEGImages is missing"):
        prepare_voc(tmp_path / "VOC2012")
    assert mirror.fetched == []


def test_a_download_joins_what_is_in_the_folder(tmp_path, mirror):
    make_sbd(tmp_path / "VOC2012" / "SBD")
    prepare_voc(tmp_path / "VOC2012", "--download")
    assert mirror.fetched == ["voc"]
    assert len(VocLayout(tmp_path / "VOC2012").read_list("train_aug")) == 6


@pytest.mark.parametrize("name", ["voc", "sbd"])
def test_a_failed_download_says_why(tmp_path, mirror, name):
    mirror.broken = name
    with pytest.raises(InputError, match="--download failed: the line went dead"):
        prepare_voc(tmp_path / "VOC2012", "--download")


@pytest.mark.parametrize(("name", "fetched"), [("voc", ["voc", "sbd"]), ("sbd", ["voc", "sbd"])])
def test_a_failed_download_is_taken_up_again(tmp_path, mirror, name, fetched):
    mirror.broken = name
    with pytest.raises(InputError):
        prepare_voc(tmp_path / "VOC2012", "--download")
    mirror.broken = ""
    prepare_voc(tmp_path / "VOC2012", "--download")
    assert mirror.fetched == fetched
    assert len(VocLayout(tmp_path / "VOC2012").read_list("train_aug")) == 6
